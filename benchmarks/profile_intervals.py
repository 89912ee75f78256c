"""Profiles of all parameters with their 95 % intervals, beside lme4's, which profiles ML fits alone.

Both fit by ML before the clock starts, and profile to a coverage of 99 %; each turn is a new process of R and one of
ours. What is compared is processor time, since other programs may be at work on the machine.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from fresh import in_fresh_process
from report import is_quick, print_line

from bayesmm import datasets

TIMEOUT = 600.0
MODELS = (  # data set, formula for both, grouping factors
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)", ("Subject",)),
    ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", ("plate", "sample")),
    ("pastes", "strength ~ 1 + (1 | batch/cask)", ("batch", "cask")),
)
IN_R = """
suppressPackageStartupMessages(library(lme4))
frame <- read.csv("{path}", stringsAsFactors = FALSE)
for (name in c({factors})) frame[[name]] <- factor(frame[[name]])
fit <- lmer({formula}, frame, REML = FALSE)
seconds <- system.time(ends <- suppressWarnings(confint(profile(fit), level = 0.95)))
cat("seconds", sum(seconds[1:2]), "\\n")
write.table(ends, col.names = FALSE, quote = TRUE, sep = ",")
"""


def main() -> None:
    quick = is_quick(__doc__)
    for dataset, formula, factors in MODELS[: 1 if quick else None]:
        compare(dataset, formula, factors, turns=1 if quick else 5)


def compare(dataset: str, formula: str, factors: tuple[str, ...], turns: int) -> None:
    """Take turns with lme4, and print both times and their ratio."""
    task = {"task": "profile", "label": f"{dataset}, all parameters", "formula": formula}
    if not shutil.which("Rscript"):
        print_line({**task, "program": "bayesmm", **in_fresh_process(profile_here, dataset, formula)})
        print_line({**task, "program": "lme4", "skipped": "Rscript is not on the PATH"})
        return
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(in_fresh_process(profile_here, dataset, formula))
        theirs.append(profile_in_r(dataset, formula, factors))
    for program, answers in (("bayesmm", ours), ("lme4", theirs)):
        line = next((each for each in answers if "seconds" not in each), None) or {
            "seconds": statistics.median(each["seconds"] for each in answers),
            "turns": turns,
            "widths": answers[-1]["widths"],
        }
        print_line({**task, "program": program, **line})
    if all("seconds" in each for each in (*ours, *theirs)):
        ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
        print_line({**task, "lme4_over_bayesmm": ratio})


def profile_here(dataset: str, formula: str) -> dict[str, Any]:
    """Profile once in this process; the first of it, as lme4's is the first of its own."""
    from bayesmm import Model

    fit = Model(formula, datasets.load(dataset)).fit("ml")
    start = time.process_time()
    intervals = fit.profile(progress=False).intervals()
    seconds = time.process_time() - start
    return {"seconds": seconds, "widths": sorted((intervals["upper"] - intervals["lower"]).tolist())}


def profile_in_r(dataset: str, formula: str, factors: tuple[str, ...]) -> dict[str, Any]:
    """Profile once in a process of R."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.csv"
        datasets.load(dataset).to_csv(path, index=False)
        names = ", ".join(f'"{name}"' for name in factors)
        script = Path(scratch) / "profile.R"
        script.write_text(IN_R.format(path=path, factors=names, formula=formula), encoding="utf-8")
        done = subprocess.run(
            ["Rscript", "--vanilla", str(script)], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    if done.returncode:
        return {"skipped" if "no package called" in done.stderr else "error": done.stderr.strip()[-300:]}
    first, *rows = done.stdout.strip().splitlines()
    ends = [row.rsplit(",", 2)[1:] for row in rows]
    return {"seconds": float(first.split()[1]), "widths": sorted(float(upper) - float(lower) for lower, upper in ends)}


if __name__ == "__main__":
    main()
