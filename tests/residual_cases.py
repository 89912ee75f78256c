"""Residual covariances as formulas write them, for the dense oracle: V of a model as a function of its parameters.

Nothing here is the package's: a formula of residuals is read by a few lines, X comes from a table of indicators.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from oracle import WITHIN_GROUP, Matrix, Method, ParametricModel, random_columns, residual_covariance


@dataclass(frozen=True, kw_only=True)
class Residual:
    """One factor of a residual formula: `ar1(week | id)`, `het(arm)`."""

    structure: str
    of: str  # the column of times, strata or the covariate
    group: str | None = None


def read_residual(formula: str) -> list[Residual]:
    """The factors of a product, the one with groups first."""
    found = re.findall(r"(\w+)\((\w+)(?: \| (\w+))?\)", formula)
    return sorted(
        (Residual(structure=s, of=x, group=g or None) for s, x, g in found), key=lambda each: each.group is None
    )


@dataclass(frozen=True, kw_only=True)
class ResidualCase:
    """Data, fixed effects as columns, random terms and residuals: everything that makes V."""

    frame: pd.DataFrame
    fixed: str
    residual: str
    y: Matrix
    X: Matrix
    random: tuple[str, ...] = ()  # "(1 | id)", "(week || id)": independent effects of one grouping factor each
    by: str | None = None  # an own set of parameters of the residuals in each level of this column
    weights: Matrix | None = None

    @property
    def formula(self) -> str:
        return " + ".join([self.fixed, *self.random])

    def covariance(self) -> tuple[Callable[[Matrix], Matrix], Matrix]:
        """V(ψ) and a start: variances of the random effects, then what `WITHIN_GROUP` says, then what factors add.

        A factor `het(f)` adds the variance in each stratum but the first, where all else is at its reference, as tables
        have it; an exponent is one. Kenward and Roger's correction depends on that.
        """
        first, *others = read_residual(self.residual)
        times, n_times = _times(self.frame, first)
        groups = np.arange(len(self.frame)) if first.group is None else pd.factorize(self.frame[first.group])[0]
        name = "variances and correlations" if first.structure == "us" and others else first.structure
        structure = WITHIN_GROUP[name]
        strata = None if self.by is None else self.frame[self.by].cat.codes.to_numpy()
        own = _start(name, n_times, float(np.var(self.y - self.X @ np.linalg.lstsq(self.X, self.y, rcond=None)[0])))
        own = own if strata is None else np.tile(own, int(strata.max()) + 1)
        Z = [self._columns(term) for term in self.random]
        variances = np.concatenate([np.full(len(each), own[0] / 2.0) for each in Z]) if Z else np.zeros(0)
        spreads = [each @ each.T for blocks in Z for each in blocks]
        factors = [_row_factor(self.frame, each, own[0]) for each in others]
        weights = np.ones(len(self.y)) if self.weights is None else self.weights

        def rows(psi: Matrix) -> Matrix:
            split = np.cumsum([len(variances), len(own), *(len(start) for _, start in factors)])
            parts = np.split(np.asarray(psi, dtype=float), split[:-1])
            R = residual_covariance(structure, parts[1], groups, times, strata)
            sds = 1.0 / np.sqrt(weights)
            for (factor, _), part in zip(factors, parts[2:], strict=True):
                sds = sds * np.sqrt(factor(part, parts[1][0]))
            return sum((v * S for v, S in zip(parts[0], spreads, strict=True)), start=sds[:, None] * R * sds)

        return rows, np.concatenate([variances, own, *(start for _, start in factors)])

    def model(self, method: Method = "reml") -> tuple[ParametricModel, Matrix]:
        V, start = self.covariance()
        return ParametricModel(y=self.y, X=self.X, V=V, method=method), start

    def _columns(self, term: str) -> list[Matrix]:
        """Z of each effect of a term, (n, levels)."""
        found = re.fullmatch(r"\((\w+) (\|\|?) (\w+)\)", term)
        assert found is not None, term
        codes, levels = pd.factorize(self.frame[found[3]])
        ones = np.ones(len(self.frame))
        columns = [ones] if found[1] == "1" else [ones, self.frame[found[1]].to_numpy(dtype=float)]
        return [random_columns(codes, column, len(levels)) for column in columns]


def _times(frame: pd.DataFrame, residual: Residual) -> tuple[Matrix, int]:
    column = frame[residual.of]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(dtype=float), len(column.cat.categories)
    values = column.to_numpy(dtype=float)
    if residual.structure in ("car1", "power", "exponential"):
        return values, 0
    return values - values.min(), int(values.max() - values.min()) + 1


def _start(structure: str, m: int, v: float) -> Matrix:
    """Variances first."""
    half = 0.5 ** np.arange(1, m)
    return {
        "variances and correlations": lambda: np.append(np.full(m, v), np.full(m * (m - 1) // 2, 0.3)),
        "us": lambda: (v * 0.3 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m))))[np.tril_indices(m)],
        "homcs": lambda: np.array([v, 0.3 * v]),
        "cs": lambda: np.append(np.full(m, v), 0.3),
        "ar1": lambda: np.array([v, 0.3]),
        "hetar1": lambda: np.append(np.full(m, v), 0.3),
        "car1": lambda: np.array([v, 0.5]),
        "homus": lambda: np.append(
            v, 0.3 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))[np.tril_indices(m, -1)]
        ),
        "homtoep": lambda: v * np.append(1.0, half),
        "toep": lambda: np.append(np.full(m, v), half),
        "homad": lambda: np.append(v, np.full(m - 1, 0.5)),
        "ad": lambda: np.append(np.full(m, v), np.full(m - 1, 0.5)),
        "het": lambda: np.full(m, v),
        "power": lambda: np.array([v, 0.0]),
        "exponential": lambda: np.array([v, 0.0]),
    }[structure]()


def _row_factor(frame: pd.DataFrame, residual: Residual, v: float) -> tuple[Callable[[Matrix, float], Matrix], Matrix]:
    """What multiplies the variances of rows, given own parameters and the reference variance; and a start."""
    if residual.structure == "het":
        codes = frame[residual.of].cat.codes.to_numpy()
        return lambda own, reference: np.append(1.0, own / reference)[codes], np.full(int(codes.max()), v)
    x = frame[residual.of].to_numpy(dtype=float)
    if residual.structure == "power":
        return lambda delta, _: np.abs(x) ** (2.0 * delta[0]), np.zeros(1)
    return lambda delta, _: np.exp(2.0 * delta[0] * x), np.zeros(1)
