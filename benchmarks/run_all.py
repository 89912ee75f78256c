"""Run every benchmark, one after another, and collect their lines in one file.

python benchmarks/run_all.py [--quick] [--output benchmarks/results.jsonl] [NAME ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from contenders import BEFORE_VARIABLE

HERE = Path(__file__).parent
SCRIPTS = (
    "machine",
    "cold_start",
    "rows",
    "one_factor",
    "nested",
    "clustered",
    "crossed",
    "insteval",
    "nhanes",
    "residual",
    "gradient_rows",
    "sampling",
    "warmup",
    "sbc",
    "accelerator",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run every benchmark, one after another.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes: a smoke test, its times mean nothing")
    parser.add_argument("--output", type=Path, default=HERE / "results.jsonl", help="written anew")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="an older checkout, in place of all rivals")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCRIPTS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: the names are {', '.join(SCRIPTS)}")
    options = ["--quick"] if arguments.quick else []
    if arguments.before is not None:
        os.environ[BEFORE_VARIABLE] = str(arguments.before.resolve())
    failed = []
    with arguments.output.open("w", encoding="utf-8") as results:
        for name in arguments.names or SCRIPTS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            # Each script writes its lines itself, at once: what is done is kept if a later one fails.
            command = [sys.executable, str(HERE / f"{name}.py"), *([] if name == "machine" else options)]
            if subprocess.run(command, stdout=results, check=False).returncode:
                failed.append(name)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
