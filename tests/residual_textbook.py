"""Covariances of residuals as a textbook writes them, in full, from the names in the table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from oracle import log_determinant

from bayesmm import Model
from bayesmm.reml.residual import ResidualCriterion

VISITS = 4
type Matrix = np.ndarray


def make_data(seed: int = 3, groups: int = 24) -> pd.DataFrame:
    """Visits of which some are missing, at irregular times, in any order of rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(groups):
        visits = np.flatnonzero(rng.random(VISITS) < 0.8)
        if len(visits) == 0:
            visits = np.array([1])
        level, x = rng.normal(), rng.normal()
        for v in visits:
            y = 10 + x + 0.5 * v + level + (1 + 0.4 * v) * rng.normal()
            rows.append((f"g{g}", f"v{v}", v, 1.5 * v + rng.random(), "ab"[g % 2], x, y, 0.5 + rng.random()))
    frame = pd.DataFrame(rows, columns=["id", "visit", "step", "time", "arm", "x", "y", "w"])
    return frame.sample(frac=1.0, random_state=seed).reset_index(drop=True)


DATA = make_data()


def pairs(cors: Matrix) -> Matrix:
    C = np.eye(VISITS)
    C[np.tril_indices(VISITS, -1)] = cors  # (1, 0), (2, 0), (2, 1), ...: in the order of the labels
    return C + np.tril(C, -1).T


def along(rho: Matrix) -> Matrix:
    C = np.eye(VISITS)
    for i in range(VISITS):
        for j in range(i):
            C[i, j] = C[j, i] = np.prod(rho[j:i])
    return C


def by_visit(C: Callable[[Matrix], Matrix]) -> Callable[[Matrix, pd.DataFrame], Matrix]:
    def at(rho: Matrix, rows: pd.DataFrame) -> Matrix:
        v = rows["visit"].str[1:].astype(int).to_numpy()
        return C(rho)[np.ix_(v, v)]

    return at


def by_time(column: str) -> Callable[[Matrix, pd.DataFrame], Matrix]:
    def at(rho: Matrix, rows: pd.DataFrame) -> Matrix:
        t = rows[column].to_numpy()
        return rho[0] ** np.abs(t[:, None] - t)

    return at


def with_nugget(rho: Matrix, rows: pd.DataFrame) -> Matrix:
    t = rows["time"].to_numpy()
    apart = np.abs(t[:, None] - t)
    return np.where(np.eye(len(rows), dtype=bool), 1.0, (1.0 - rho[1]) * rho[0] ** apart)


def time_gaps(rows: pd.DataFrame) -> tuple[float, float]:
    """Mean and least time between neighbours of a group."""
    gaps = pd.concat([own["time"].sort_values().diff().dropna() for _, own in rows.groupby("id")])
    return float(gaps.mean()), float(gaps.min())


CURVES: dict[str, tuple[int, Callable[[Matrix, float], Matrix]]] = {
    "gau": (0, lambda h, r: np.exp(-((h / r) ** 2))),
    "ratio": (0, lambda h, r: 1.0 / (1.0 + (h / r) ** 2)),
    "lin": (1, lambda h, r: np.maximum(1.0 - h / r, 0.0)),
    "sph": (1, lambda h, r: np.where(h < r, 1.0 - 1.5 * h / r + 0.5 * (h / r) ** 3, 0.0)),
}  # at which gap the correlation is the parameter, and the curve of distances and the range


def by_curve(name: str, *, nugget: bool = False) -> Callable[[Matrix, pd.DataFrame], Matrix]:
    """Correlations of a range, which is found by bisection from that at one distance: of the rows of the fit."""
    which, curve = CURVES[name]

    def at(rho: Matrix, rows: pd.DataFrame) -> Matrix:
        gap = rows.attrs.get("time_gaps", GAPS)[which]
        low, high = np.log(gap) - 20.0, np.log(gap) + 20.0
        for _ in range(200):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if float(curve(np.array(gap), np.exp(middle))) > rho[0] else (middle, high)
        t = rows["time"].to_numpy()
        C = curve(np.abs(t[:, None] - t), float(np.exp(low)))
        return np.where(np.eye(len(rows), dtype=bool), 1.0, (1.0 - rho[1]) * C if nugget else C)

    return at


def by_arm(C: Callable[[Matrix, pd.DataFrame], Matrix]) -> Callable[[Matrix, pd.DataFrame], Matrix]:
    def at(rho: Matrix, rows: pd.DataFrame) -> Matrix:
        arm = rows["arm"].to_numpy()
        found = np.zeros((len(rows), len(rows)))
        for label, own in zip("ab", np.split(rho, 2), strict=True):
            found = np.where((arm == label)[:, None] & (arm == label), C(own, rows), found)
        return found

    return at


GAPS = time_gaps(DATA)
LAGS = np.abs(np.subtract.outer(np.arange(VISITS), np.arange(VISITS)))
TEXTBOOK: dict[str, Callable[[Matrix, pd.DataFrame], Matrix]] = {
    "us(visit | id)": by_visit(pairs),
    "cs(visit | id)": by_visit(lambda rho: np.where(LAGS == 0, 1.0, rho[0])),
    "homcs(visit | id)": by_visit(lambda rho: np.where(LAGS == 0, 1.0, rho[0])),
    "toep(visit | id)": by_visit(lambda rho: np.append(1.0, rho)[LAGS]),
    "homtoep(visit | id)": by_visit(lambda rho: np.append(1.0, rho)[LAGS]),
    "ad(visit | id)": by_visit(along),
    "homad(visit | id)": by_visit(along),
    "homus(visit | id)": by_visit(pairs),
    "ar1(step | id)": by_time("step"),
    "hetar1(step | id)": by_time("step"),
    "ar1(visit | id)": by_visit(lambda rho: rho[0] ** LAGS.astype(float)),
    "car1(time | id)": by_time("time"),
    "ar1(step | id) * het(arm)": by_time("step"),
    "homcs(visit | id) * het(arm)": by_visit(lambda rho: np.where(LAGS == 0, 1.0, rho[0])),
    "us(visit | id) * het(arm)": by_visit(pairs),
    "homcs(visit | id) * power(time)": by_visit(lambda rho: np.where(LAGS == 0, 1.0, rho[0])),
    "car1(time | id) * exponential(x)": by_time("time"),
    "exp(time | id, nugget=True)": with_nugget,
    "exp(time | id, by=arm, nugget=True)": by_arm(with_nugget),
    "gau(time | id)": by_curve("gau"),
    "ratio(time | id, nugget=True)": by_curve("ratio", nugget=True),
    "sph(time | id)": by_curve("sph"),
    "lin(time | id)": by_curve("lin"),
    "sph(time | id, by=arm, nugget=True)": by_arm(by_curve("sph", nugget=True)),
    "us(visit | id, by=arm)": by_arm(by_visit(pairs)),
    "ar1(step | id, by=arm)": by_arm(by_time("step")),
    "car1(time | id, by=arm)": by_arm(by_time("time")),
    "homcs(visit | id, by=arm)": by_arm(by_visit(lambda rho: np.where(LAGS == 0, 1.0, rho[0]))),
    "het(arm:visit)": lambda rho, rows: np.eye(len(rows)),
    "het(arm)": lambda rho, rows: np.eye(len(rows)),
}
RANDOM = ["", " + (1 | id)", " + (x | arm)"]


def dense_residual(model: Model, values: dict[str, float], rows: pd.DataFrame, weights: Matrix) -> Matrix:
    """R in full, on the scale of the data, from the names in the table."""
    residual = model.design.residual
    assert residual is not None
    text = residual.specification.text
    sds = np.full(len(rows), values["sigma"])
    for spread in residual.spreads:
        if spread.kind == "power":
            sds *= np.abs(rows["time"].to_numpy()) ** values[spread.names[0]]
        elif spread.kind == "exponential":
            sds *= np.exp(rows["x"].to_numpy() * values[spread.names[0]])
        else:
            label = rows[list(spread.factors)].astype(str).agg(":".join, axis=1)
            for name, stratum in zip(spread.names, spread.strata[1:], strict=True):
                sds[label == stratum] *= values[name] / values["sigma"]
    rho = np.array([values[name] for name in residual.cor_names])
    same = rows["id"].to_numpy()[:, None] == rows["id"].to_numpy()
    if residual.correlation is None:
        same = np.eye(len(rows), dtype=bool)
    C = np.where(same, TEXTBOOK[text](rho, rows), 0.0)
    return C * np.outer(sds, sds) / np.sqrt(np.outer(weights, weights))


def criterion_of(model: Model, method: str) -> ResidualCriterion:
    problem = model.problem
    return ResidualCriterion(
        rows=problem.residual_rows,
        plan=problem.plan if problem.design.blocks else None,
        layout=problem.layout,
        method=method,  # type: ignore[arg-type]
    )


def dense_loglik(V: Matrix, X: Matrix, y: Matrix, method: str) -> float:
    solved = np.linalg.solve(V, X)
    A = X.T @ solved
    r = y - X @ np.linalg.solve(A, solved.T @ y)
    value = log_determinant(V) + r @ np.linalg.solve(V, r)
    if method == "ml":
        return -0.5 * (value + len(y) * np.log(2 * np.pi))
    return -0.5 * (value + log_determinant(A) + (len(y) - X.shape[1]) * np.log(2 * np.pi))
