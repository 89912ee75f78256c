"""Thousands of faults: damaged files, full disks, interruptions, kills. What must hold is in tests/faults.py.

It ends with an error, which names the case, where it does not hold. Each kind prints what came of its cases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import faults
import made_posterior

KINDS = {
    "damaged_file": faults.damaged_file,
    "damaged_checkpoint": faults.damaged_checkpoint,
    "full_disk": faults.full_disk,
    "interrupted": faults.interrupted,
}


def fill_tmpfs(seed: int, given: faults.Given, folder: Path) -> str:
    """Fill a file system of few kilobytes; needs the right to mount one."""
    rng = np.random.default_rng(seed)
    disk = folder / "disk"
    disk.mkdir()
    ending = faults.ENDINGS[seed % 2]
    files = [each for each in (given.files[ending], *given.files[ending].rglob("*")) if each.is_file()]
    pages = sum(-(-each.stat().st_size // 4096) + 2 for each in files)  # also those of names
    size = 4 * (pages + 8 + int(rng.integers(0, 1.3 * pages)))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=True, capture_output=True)
    try:
        path = faults.copy(given.files[ending], disk)
        raised = faults.save(given.new, path)
        return f"tmpfs {ending}: {faults.check_replaced(path, given, raised)}"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def run(kinds: list[str], seeds: range, folder: Path) -> None:
    given = faults.make_given(folder)
    for kind in kinds:
        if kind == "killed":
            seen = faults.run_kills(seeds, folder)
        elif kind == "tmpfs":
            try:
                seen = faults.run_cases(fill_tmpfs, seeds, given, folder)
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                seen = Counter({f"skipped: {error}": len(seeds)})
        else:
            owner = faults.make_run(given, folder) if kind == "damaged_checkpoint" else given
            seen = faults.run_cases(KINDS[kind], seeds, owner, folder)
        print(json.dumps({"fault": kind, "cases": len(seeds), "outcomes": dict(sorted(seen.items()))}), flush=True)


if __name__ == "__main__":
    kinds = [*KINDS, "tmpfs", "killed"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*kinds, []], help="all, unless some are named")
    parser.add_argument("--cases", type=int, default=1000, help="cases of each kind")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    given = parser.parse_args()
    made_posterior.SHAPE = (2, 20)
    with tempfile.TemporaryDirectory() as folder:
        run(given.kinds or kinds, range(given.first, given.first + given.cases), Path(folder))
