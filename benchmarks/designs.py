"""Simulated data, one function a design; no true parameter on a boundary; the same seed gives the same data."""

from __future__ import annotations

import numpy as np
import pandas as pd

SLOPE = 0.5
LONG_TAIL = 0.9  # exponent of popularity by rank: the r-th most popular is drawn r^-0.9 times as often as the first


def slopes(*, groups: int, rows: int, seed: int = 1) -> pd.DataFrame:
    """`y ~ x + (x | g)`: intercepts of sd 1, slopes of sd 0.5, correlation 0.3, residual sd 1."""
    rng = np.random.default_rng(seed)
    g = _spread(rng, rows, groups)
    x = rng.standard_normal(rows)
    effects = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.15], [0.15, 0.25]], size=groups)
    y = 2.0 + (SLOPE + effects[g, 1]) * x + effects[g, 0] + rng.standard_normal(rows)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def small_groups(*, groups: int, mean_size: float = 4.0, seed: int = 2) -> pd.DataFrame:
    """`y ~ x + (1 | g)`: sizes of groups Poisson, at least one; sd 0.8 between groups, 1 within."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), np.maximum(rng.poisson(mean_size, groups), 1))
    return _with_response(rng, {"g": (g, 0.8)})


def classrooms(*, schools: int, per_school: int, rows: int, seed: int = 3) -> pd.DataFrame:
    """`y ~ x + (1 | school/classroom)`: classrooms numbered within their school; sds 0.6 and 0.4, residual 1."""
    rng = np.random.default_rng(seed)
    both = _spread(rng, rows, schools * per_school)
    frame = _with_response(rng, {"school": (both // per_school, 0.6), "both": (both, 0.4)})
    return frame.drop(columns="both").assign(classroom=both % per_school)


def four_levels(*, lowest: int, rows_each: int = 5, seed: int = 4) -> pd.DataFrame:
    """`y ~ x + (1 | a) + (1 | b) + (1 | c) + (1 | d)`: five d in each c, ten c in each b, ten b in each a."""
    rng = np.random.default_rng(seed)
    d = np.repeat(np.arange(lowest), rows_each)
    return _with_response(rng, {"a": (d // 500, 0.5), "b": (d // 50, 0.5), "c": (d // 5, 0.6), "d": (d, 0.7)})


def student_teacher(*, schools: int, students: int, teachers: int, rows_each: int, seed: int = 5) -> pd.DataFrame:
    """`y ~ x + (1 | student) + (1 | teacher) + (1 | school)`: crossed within each school, codes unique over all."""
    rng = np.random.default_rng(seed)
    student = np.repeat(np.arange(schools * students), rows_each)
    school = student // students
    teacher = school * teachers + rng.integers(teachers, size=len(student))
    return _with_response(rng, {"student": (student, 0.8), "teacher": (teacher, 0.5), "school": (school, 0.4)})


def crossed(*, left: int, right: int, rows: int, seed: int = 6) -> pd.DataFrame:
    """`y ~ x + (1 | g) + (1 | h)`: every pair of levels as likely as any other."""
    rng = np.random.default_rng(seed)
    return _with_response(rng, {"g": (_spread(rng, rows, left), 0.8), "h": (_spread(rng, rows, right), 0.6)})


def ratings(*, users: int, films: int, rows: int, seed: int = 7) -> pd.DataFrame:
    """`y ~ x + (1 | user) + (1 | film)`: each pair at most once, a few users and films with very many ratings."""
    rng = np.random.default_rng(seed)
    user, film = np.divmod(_rated_pairs(rng, users, films, rows), films)
    return _with_response(rng, {"user": (user, 0.5), "film": (film, 0.6)})


def trial(*, patients: int, visits: int, missing: float = 0.1, decay: float = 0.8, seed: int = 8) -> pd.DataFrame:
    """`y ~ arm * visit`: residuals with correlation decay^|lag| and sds that grow from 1 to 2, visits missing.

    A visit is missing with that probability, the first never; rows are in no order. `number` counts visits from one.
    """
    rng = np.random.default_rng(seed)
    errors = np.empty((patients, visits))
    errors[:, 0] = rng.standard_normal(patients)
    for k in range(1, visits):
        errors[:, k] = decay * errors[:, k - 1] + np.sqrt(1.0 - decay**2) * rng.standard_normal(patients)
    errors *= np.linspace(1.0, 2.0, visits)
    seen = rng.random((patients, visits)) >= missing
    seen[:, 0] = True
    who, when = np.nonzero(seen)
    order = rng.permutation(len(who))
    who, when = who[order], when[order]
    active = who % 2
    y = 10.0 + 0.3 * active * when + errors[who, when]
    arm = pd.Categorical.from_codes(active, ["placebo", "active"])
    visit = pd.Categorical.from_codes(when, [f"V{k + 1:02d}" for k in range(visits)])
    return pd.DataFrame({"y": y, "arm": arm, "visit": visit, "number": when + 1, "id": who})


def _rated_pairs(rng: np.random.Generator, users: int, films: int, rows: int) -> np.ndarray:
    """Draw distinct pairs, user * films + film, in which every user and every film occurs."""
    everyone = np.arange(max(users, films))
    pairs = np.unique((everyone % users) * films + everyone % films)
    chances = [np.arange(1, size + 1) ** -LONG_TAIL for size in (users, films)]
    while len(pairs) < rows:
        user, film = (rng.choice(len(p), size=rows, p=p / p.sum()) for p in chances)
        fresh = np.setdiff1d(user * films + film, pairs)
        pairs = np.concatenate([pairs, rng.permutation(fresh)[: rows - len(pairs)]])
    return rng.permutation(pairs)


def _spread(rng: np.random.Generator, rows: int, levels: int) -> np.ndarray:
    """Draw a level for each row, every level at least once."""
    return rng.permutation(np.concatenate([np.arange(levels), rng.integers(levels, size=rows - levels)]))


def _with_response(rng: np.random.Generator, factors: dict[str, tuple[np.ndarray, float]]) -> pd.DataFrame:
    """Add up y = 2 + 0.5 x + one intercept for each factor + noise of sd 1; a factor is its codes and its sd."""
    rows = len(next(iter(factors.values()))[0])
    x = rng.standard_normal(rows)
    y = 2.0 + SLOPE * x + rng.standard_normal(rows)
    for codes, sd in factors.values():
        y += sd * rng.standard_normal(codes.max() + 1)[codes]
    return pd.DataFrame({"y": y, "x": x} | {name: codes for name, (codes, _) in factors.items()})
