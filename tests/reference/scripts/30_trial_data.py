"""Write tests/reference/data/sim_trial.csv, a small trial with missing visits, and its entry in schema.json.

Run from the root of a clone. 44 patients in two arms, five visits at uneven weeks; the residuals of a patient fall off
with time, their variance grows and is larger in one arm. Visits are missing one by one and by dropping out, some
patients have a single visit, and the rows are in no order.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path("tests/reference/data")
WEEKS = np.array([1, 2, 4, 8, 12])
SDS = {"placebo": np.array([4.0, 5.0, 5.5, 7.0, 8.0]), "active": np.array([3.0, 3.5, 4.5, 5.0, 6.5])}
EFFECT = {"placebo": np.array([0.0, 0.6, 1.1, 1.9, 2.2]), "active": np.array([0.5, 2.0, 3.6, 5.1, 6.0])}


def main() -> None:
    rng = np.random.default_rng(20)
    correlation = 0.25 + 0.75 * 0.8 ** np.abs(np.subtract.outer(WEEKS, WEEKS))
    rows = []
    for i in range(44):
        arm = "active" if i % 2 else "placebo"
        base = round(rng.normal(50.0, 8.0), 1)
        residual = SDS[arm] * (np.linalg.cholesky(correlation) @ rng.normal(size=5))
        y = 20.0 + 0.4 * base + EFFECT[arm] + residual
        last = 5 if rng.random() < 0.65 else rng.integers(1, 5)  # dropped out after this visit
        seen = (np.arange(5) < last) & (rng.random(5) < 0.9)
        seen[rng.integers(0, last)] |= not seen.any()
        for k in np.flatnonzero(seen):
            rows.append((f"p{i + 1:02d}", arm, f"V{k + 1}", k + 1, WEEKS[k], base, round(y[k], 2)))
    frame = pd.DataFrame(rows, columns=["id", "arm", "visit", "number", "week", "base", "y"])
    frame = frame.sample(frac=1.0, random_state=3).reset_index(drop=True)
    frame.to_csv(DATA / "sim_trial.csv", index=False, lineterminator="\n")
    add_to_schema(frame)


def add_to_schema(frame: pd.DataFrame) -> None:
    levels = {"id": sorted(frame["id"].unique()), "arm": ["placebo", "active"], "visit": ["V1", "V2", "V3", "V4", "V5"]}
    columns = {}
    for name, column in frame.items():
        if name in levels:
            columns[name] = {"type": "factor", "n_levels": len(levels[name]), "levels": levels[name]}
            continue
        integer = pd.api.types.is_integer_dtype(column)
        about = {"min": column.min(), "max": column.max(), "sum": column.sum()}
        about = {key: int(value) if integer else round(float(value), 10) for key, value in about.items()}
        columns[name] = {"type": "integer" if integer else "numeric", **about, "n_missing": 0}
    schema = json.loads((DATA / "schema.json").read_text(encoding="utf-8"))
    schema["sim_trial"] = {
        "file": "sim_trial.csv",
        "title": "A trial with missing visits at uneven times",
        "rows": len(frame),
        "columns": columns,
        "units": "week: weeks; number: of the visit; else dimensionless",
        "source": "simulated",
        "read_from": "simulated (scripts/30_trial_data.py)",
        "note": None,
    }
    (DATA / "schema.json").write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


main()
