# ruff: noqa -- a record of how the reference values were made, kept as it ran (folder names and layout apart)
"""Simulated blood-pressure data with the shape of NHANES 2011-12 (long format).

9,756 simulated subjects; systolic (SY) and diastolic (DI) pressure, up to four readings each; age, sex and
body-mass index; readings, whole examinations and BMI values missing at random; about 60,000 rows after
dropping incomplete rows.  Nothing here is NHANES data: only the layout imitates it.

    python nhanes_like.py OUT.csv            # writes the table (about 2 MB)
    from nhanes_like import make, subset, add_indicators

The reference values were computed from the stored file ../data/nhanes_like.csv.gz (made by this script with the
default seed); use that file when exact agreement is needed, since random streams may change between numpy versions.
"""

import sys
import numpy as np
import pandas as pd

SEED = 20112012
N_SUBJECTS = 9756
# values used in the simulation
TRUTH = dict(
    intercept=40.0,
    age=0.30,
    female=-2.5,
    bmi=0.35,
    SY=50.0,
    reading=-0.6,
    sd_subject=6.0,
    sd_sy=10.0,
    sd_di=6.5,
    sd_slope=1.2,
    corr_slope=-0.3,
    sd_resid=4.0,
    sd_di123=2.8,
)


def make(seed=SEED, n_subjects=N_SUBJECTS):
    rng = np.random.default_rng(seed)
    n, T = n_subjects, TRUTH
    age = rng.integers(8, 81, n).astype(float)
    female = rng.integers(0, 2, n)
    bmi = np.round(np.exp(np.log(18 + 10 * np.minimum(age, 40) / 40) + 0.22 * rng.standard_normal(n)), 1)
    bmi_missing = rng.random(n) < 0.01
    no_exam = rng.random(n) < 0.03
    u = T["sd_subject"] * rng.standard_normal(n)
    v_sy = T["sd_sy"] * rng.standard_normal(n)
    v_di = T["sd_di"] * rng.standard_normal(n)
    # slope over readings, correlated with the total diastolic intercept u + v_di
    z = (u + v_di) / np.hypot(T["sd_subject"], T["sd_di"])
    slope = T["sd_slope"] * (T["corr_slope"] * z + np.sqrt(1 - T["corr_slope"] ** 2) * rng.standard_normal(n))
    mean = T["intercept"] + T["age"] * age + T["female"] * female + T["bmi"] * bmi
    fourth = rng.random(n) < 0.40  # a fourth reading is taken only for some
    parts = []
    for i in (1, 2, 3, 4):
        e_sy = T["sd_resid"] * rng.standard_normal(n)
        e_di = T["sd_resid"] * rng.standard_normal(n)
        extra = T["sd_di123"] * rng.standard_normal(n) if i < 4 else np.zeros(n)
        drift = (T["reading"] + slope) * (i - 1)
        sy = mean + T["SY"] + u + v_sy + drift + e_sy
        di = mean + u + v_di + drift + e_di + extra
        miss = rng.random(n) < 0.07
        if i == 4:
            miss = ~fourth
        miss_di = miss | (rng.random(n) < 0.01)
        for bpt, val, m in (("SY", sy, miss), ("DI", di, miss_di)):
            bp = 2 * np.round(val / 2)  # recorded to even mmHg
            parts.append(
                pd.DataFrame(
                    dict(
                        subject=np.arange(1, n + 1) + 60000,
                        bpt=bpt,
                        bpi=i,
                        bp=np.where(m | no_exam, np.nan, bp),
                        age=age,
                        female=female,
                        bmi=np.where(bmi_missing, np.nan, bmi),
                    )
                )
            )
    dx = pd.concat(parts, ignore_index=True).dropna()
    dx["bpt"] = pd.Categorical(dx["bpt"], categories=["SY", "DI"], ordered=True)
    dx = dx.sort_values(["subject", "bpt", "bpi"], kind="stable").reset_index(drop=True)
    dx["bpt"] = dx["bpt"].astype(str)
    for c in ("bp", "age"):
        dx[c] = dx[c].astype(int)
    return dx


def add_indicators(dx):
    """Columns used by models 4-8: sy, di, di1, di2, di3, and di123 = di1 + di2 + di3."""
    dx = dx.copy()
    dx["sy"] = (dx["bpt"] == "SY").astype(int)
    dx["di"] = (dx["bpt"] == "DI").astype(int)
    for i in (1, 2, 3):
        dx[f"di{i}"] = ((dx["bpt"] == "DI") & (dx["bpi"] == i)).astype(int)
    dx["di123"] = dx["di1"] + dx["di2"] + dx["di3"]
    return dx


def subset(dx, model, n_rows=5000):
    """First n_rows rows of the table a model uses (systolic rows only for 2, diastolic only for 3 and 4)."""
    t = {2: "SY", 3: "DI", 4: "DI"}.get(model)
    d = dx if t is None else dx[dx["bpt"] == t]
    return d.iloc[:n_rows] if n_rows else d


if __name__ == "__main__":
    d = make()
    d.to_csv(sys.argv[1] if len(sys.argv) > 1 else sys.stdout, index=False, lineterminator="\n")
