"""Blood pressures: every mixed model of tests/reference/nhanes_like.json, of 5,000 rows and of up to 59,816."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fresh import in_fresh_process
from race import Rival, race
from report import is_quick, print_line

TESTS = Path(__file__).parents[1] / "tests"
STATSMODELS_TIMEOUT = 120.0
FIXED = "bp ~ age + female + bmi"
BOTH_KINDS = "bp ~ age + female + C(bpt) + bmi"
READINGS = "0 + di1 + di2 + di3"
STATSMODELS = {  # the same models as statsmodels writes them (tests/reference/scripts/22_nhanes_statsmodels.py)
    "m2": {"formula": FIXED},
    "m3": {"formula": FIXED},
    "m4": {"formula": f"{FIXED} + bpi", "re_formula": "1 + bpi"},
    "m5": {"formula": BOTH_KINDS},
    "m6": {"formula": BOTH_KINDS, "re_formula": "1", "vc_formula": {"bpt": "0 + C(bpt)"}},
    "m7": {"formula": BOTH_KINDS, "re_formula": "1", "vc_formula": {"sy": "0 + sy", "di": "0 + di"}},
    "m8": {
        "formula": BOTH_KINDS,
        "re_formula": "1",
        "vc_formula": {"sy": "0 + sy", "di": "0 + di", "dye": READINGS},
    },
}


def main() -> None:
    quick = is_quick(__doc__)
    for model in models(quick):
        number = model.id.split("/")[1]
        specification = STATSMODELS[number.split("_")[0]] | {"groups": "subject"}
        race(
            f"nhanes {number}",
            f"Blood pressures, model {number.replace('_', ', ')}",
            with_readings(model.frame()),
            formula=model.formula,
            factors=["subject", "bpt"],
            rivals=[
                Rival(program="statsmodels", repeats=0, timeout=STATSMODELS_TIMEOUT, task=specification),
                Rival(program="lme4"),
                Rival(program="mixedlm"),
            ],
            method=model.method,
            repeats=1 if quick else 3,
        )
    print_line(
        {
            "kind": "set",
            "name": "nhanes set",
            "description": "All these models one after another in one process, twice",
            "measures": "seconds from formula and data frame to the fit, summed",
        }
        | in_fresh_process(whole_set, quick)
    )


def models(quick: bool) -> list[Any]:
    """Read the reference models, with the reader of the tests."""
    sys.path.insert(0, str(TESTS))
    from reference_models import reference_models

    found = [model for model in reference_models()[0] if model.id.startswith("nhanes_like/")]
    return [model for model in found if model.id.endswith("sub5000")] if quick else found


def with_readings(frame: Any) -> Any:
    """Add the indicators of the first three diastolic readings, which only statsmodels' formula needs."""
    diastolic = frame["di"] == 1
    return frame.assign(**{f"di{i}": (diastolic & (frame["bpi"] == i)).astype(int) for i in (1, 2, 3)})


def whole_set(quick: bool) -> dict[str, Any]:
    """Fit all models one after another in one process, twice; what is compiled for one serves the next."""
    import worker_bayesmm
    from worker_loop import timed

    chosen = models(quick)
    frames = [model.frame() for model in chosen]
    calls, differences = {}, []
    for call in ("first", "second"):
        calls[call] = {}
        for model, frame in zip(chosen, frames, strict=True):
            task = {"formula": model.formula, "method": model.method}
            calls[call][model.id.split("/")[1]], fit = timed(worker_bayesmm.fit, task, frame)
            differences.append(abs(fit.loglik - model.loglik))
    return {
        "models": len(chosen),
        "first": sum(calls["first"].values()),
        "second": sum(calls["second"].values()),
        "each_first": calls["first"],
        "each_second": calls["second"],
        "largest_loglik_difference_from_reference": float(max(differences)),
    }


if __name__ == "__main__":
    main()
