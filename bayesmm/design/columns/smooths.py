"""Departures of a smooth curve from a straight line, as columns whose effects have one standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from bayesmm.design.columns.remembered import Occurrences, Remembered
from bayesmm.design.columns.terms import TermPart
from bayesmm.errors import DesignError
from bayesmm.specification.smooths import LEAST, Basis

WIDER = 0.001  # of the range that the knots of B-splines reach beyond the data at either end, as in mgcv


class _Source(Protocol):
    """How the number that a curve is over is computed; see `bayesmm.design.columns.columns.Columns`."""

    def fitted(self, n_rows: int) -> np.ndarray:
        """In the rows used, (n, 1)."""
        ...

    def evaluate(self, frame: pd.DataFrame) -> np.ndarray:
        """In new rows, (m, 1)."""
        ...


class _Spline(Protocol):
    """A basis of k curves over [0, 1] with the penalty ∫f''²."""

    def columns(self, u: np.ndarray) -> np.ndarray:
        """Basis functions at u, (n, k)."""
        ...

    @property
    def penalty(self) -> np.ndarray:
        """S (k, k), β'Sβ = ∫f''²."""
        ...


@dataclass(frozen=True, eq=False)
class _Cardinal:
    """Natural cubic splines by their values at ascending knots (k,)."""

    knots: np.ndarray

    @cached_property
    def _bends(self) -> np.ndarray:
        """Second derivatives at the knots (k, k) of each basis function, zero at both ends."""
        h, k = np.diff(self.knots), len(self.knots)
        D, B, inner = np.zeros((k - 2, k)), np.zeros((k - 2, k - 2)), np.arange(k - 2)
        D[inner, inner], D[inner, inner + 2] = 1.0 / h[:-1], 1.0 / h[1:]
        D[inner, inner + 1] = -1.0 / h[:-1] - 1.0 / h[1:]
        B[inner, inner] = (h[:-1] + h[1:]) / 3.0
        B[inner[:-1], inner[1:]] = B[inner[1:], inner[:-1]] = h[1:-1] / 6.0
        bends = np.zeros((k, k))
        bends[1:-1] = np.linalg.solve(B, D)
        return bends

    @property
    def penalty(self) -> np.ndarray:
        """∫f''² exactly: second derivatives are straight between knots."""
        return _square_of_straight(np.diff(self.knots), self._bends)

    def columns(self, u: np.ndarray) -> np.ndarray:
        """Values at u; straight beyond the outer knots."""
        knots, bends, identity = self.knots, self._bends, np.eye(len(self.knots))
        inside = np.clip(u, knots[0], knots[-1])
        j = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
        h = np.diff(knots)
        left, right = ((knots[j + 1] - inside) / h[j])[:, None], ((inside - knots[j]) / h[j])[:, None]
        sixth = h[j, None] ** 2 / 6.0
        found = left * identity[j] + right * identity[j + 1]
        found += sixth * ((left**3 - left) * bends[j] + (right**3 - right) * bends[j + 1])
        slopes = np.diff(identity, axis=0) / h[:, None]
        first, last = slopes[0] - h[0] / 6.0 * bends[1], slopes[-1] + h[-1] / 6.0 * bends[-2]
        beyond = (u - inside)[:, None]
        return found + np.minimum(beyond, 0.0) * first + np.maximum(beyond, 0.0) * last


@dataclass(frozen=True)
class _BSplines:
    """k cubic B-splines on knots at equal distances, a little wider than [0, 1]; beyond, the outer cubics go on."""

    k: int

    @property
    def _inner(self) -> np.ndarray:
        return np.linspace(-WIDER, 1.0 + WIDER, self.k - 2)

    @cached_property
    def _spline(self) -> object:
        from scipy.interpolate import BSpline  # 0.2 seconds to import

        inner = self._inner
        outer = (inner[1] - inner[0]) * np.arange(1, 4)
        return BSpline(np.concatenate([inner[0] - outer[::-1], inner, inner[-1] + outer]), np.eye(self.k), 3)

    def columns(self, u: np.ndarray) -> np.ndarray:
        """Values at u."""
        return self._spline(u)  # pyright: ignore[reportCallIssue]

    @property
    def penalty(self) -> np.ndarray:
        """∫f''² exactly: second derivatives are straight between knots."""
        knots = self._inner
        return _square_of_straight(np.diff(knots), self._spline(knots, 2))  # pyright: ignore[reportCallIssue]


def _square_of_straight(h: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Integrals of products (k, k) of functions that are straight between knots h apart, from their values there."""
    left, right = values[:-1], values[1:]
    each = np.concatenate([left, right, left + right])
    return (np.tile(h / 6.0, 3)[:, None] * each).T @ each


@dataclass(frozen=True, eq=False)
class SmoothShape:
    """What the columns of a smooth term are, whatever the rows.

    Attributes
    ----------
    low, high : float
        Least and greatest value of what it is a curve over.
    knots : array, shape (k,), or None
        Of natural cubic splines, over (x − low)/(high − low); None of B-splines, whose knots are at equal distances.
    change : array, shape (k, k − 2)
        From basis functions to columns whose effects are independent, of equal variances, under the penalty.
    line : array, shape (2, k − 2)
        Least-squares lines of these columns over the rows used, which are taken off.
    """

    low: float
    high: float
    knots: np.ndarray | None
    change: np.ndarray
    line: np.ndarray

    @classmethod
    def recall(cls, state: Remembered) -> SmoothShape:
        """Read what `remembered` wrote."""
        knots = None if state["knots"] is None else np.array(state["knots"])
        return cls(state["low"], state["high"], knots, np.array(state["change"]), np.array(state["line"]))

    @property
    def remembered(self) -> Remembered:
        """It in plain numbers."""
        return {
            "low": self.low,
            "high": self.high,
            "knots": None if self.knots is None else self.knots.tolist(),
            "change": self.change.tolist(),
            "line": self.line.tolist(),
        }

    @cached_property
    def _spline(self) -> _Spline:
        return _BSplines(len(self.change)) if self.knots is None else _Cardinal(self.knots)

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the columns (m, k − 2) at values (m,) of what the curve is over."""
        u = (x - self.low) / (self.high - self.low)
        return self._spline.columns(u) @ self.change - _straight(u) @ self.line


@dataclass(frozen=True, eq=False)
class SmoothTerm:
    """What a smooth curve has beside its straight line, in the rows used and in new ones.

    Attributes
    ----------
    text, of : str
        The term as it is written, and what it is a curve over.
    source : object
        How that number is computed.
    shape : SmoothShape
        Its columns.
    data : array, shape (n, k − 2)
        The columns in the rows used.
    """

    text: str
    of: str
    source: _Source
    shape: SmoothShape
    data: np.ndarray

    @property
    def low(self) -> float:
        """Least value of what it is a curve over."""
        return self.shape.low

    @property
    def high(self) -> float:
        """Its greatest value."""
        return self.shape.high

    @property
    def column_names(self) -> list[str]:
        """One name for each column."""
        return [f"{self.text}[{j + 1}]" for j in range(self.shape.change.shape[1])]

    @property
    def is_column(self) -> bool:
        """No."""
        return False

    @property
    def parts(self) -> list[tuple[str, np.ndarray]]:
        """Itself."""
        return [(self.text, self.data)]

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """Itself."""
        return (TermPart(self.text, self.shape.change.shape[1], None),)

    def eval_new_data(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the columns of new rows."""
        return self.at(self.source.evaluate(frame)[:, 0])

    def widened(self, frame: pd.DataFrame) -> SmoothTerm:
        """Itself: a curve goes on everywhere."""
        return self

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the columns (m, k − 2) at values (m,) of what the curve is over."""
        return self.shape.at(x)


def build_smooth(
    text: str, of: str, source: _Source, k: int, basis: Basis, n_rows: int, state: Remembered | None = None
) -> SmoothTerm:
    """Build the departures of one smooth term from a straight line.

    Parameters
    ----------
    text, of : str
        The term as it is written, and what it is a curve over, for names and messages.
    source : object
        That number.
    k : int
        Dimension of the basis.
    basis : {"cr", "bs"}
        Natural cubic splines on quantiles of the distinct values, or B-splines on equal distances.
    n_rows : int
        Rows used.
    state : mapping, optional
        What is remembered of all rows, where these are only some of them.

    Raises
    ------
    DesignError
        If there are fewer distinct values than k.
    """
    x = source.fitted(n_rows)[:, 0]
    shape = shape_smooth(text, Occurrences.of(x), k, basis) if state is None else SmoothShape.recall(state)
    return SmoothTerm(text, of, source, shape, shape.at(x))


def shape_smooth(text: str, x: Occurrences, k: int, basis: Basis) -> SmoothShape:
    """Find the columns of one smooth term.

    Parameters
    ----------
    text : str
        The term, for messages.
    x : Occurrences
        Of what it is a curve over.
    k, basis
        As for `build_smooth`.

    Raises
    ------
    DesignError
        If there are fewer distinct values than k.

    Notes
    -----
    With S = UDU' the penalty of the basis B, a curve is a straight line plus BU₊D₊^(−½)b, and ∫f''² = b'b:
    b ~ N(0, τ²I) gives the smoothing spline with the parameter λ = σ²/τ² (Wahba 1978; Wood 2017, section 5.8).
    Least-squares lines are taken off the columns, for which the fixed effects of 1 and x make up, and all are divided
    by one number, so that the mean variance of a row is τ²: τ is how far curves depart from their line, root mean
    square over the rows used, whatever the unit and the origin of x.

    References
    ----------
    Wood (2017), Generalized Additive Models, 2nd ed., sections 5.3 and 5.8. Ruppert, Wand & Carroll (2003),
    Semiparametric Regression, section 4.9. Wahba (1978), JRSS-B 40.
    """
    if len(x.values) < k:
        raise DesignError(_too_few(text, len(x.values), k))
    u = Occurrences((x.values - x.low) / (x.high - x.low), x.counts)
    knots = np.quantile(u.values, np.linspace(0.0, 1.0, k)) if basis == "cr" else None
    spline: _Spline = _BSplines(k) if knots is None else _Cardinal(knots)
    values, vectors = np.linalg.eigh(spline.penalty)
    change = vectors[:, 2:] / np.sqrt(values[2:])  # the first two are straight lines
    middle, columns = u.mean, u.mean_of(spline.columns) @ change
    moments = u.mean_of(
        lambda v: np.column_stack([v - middle, spline.columns(v) @ change - columns]) * (v - middle)[:, None]
    )
    slope = moments[1:] / moments[0]
    line = np.stack([columns - slope * middle, slope])
    squares = u.mean_of(lambda v: (spline.columns(v) @ change - _straight(v) @ line) ** 2)
    size = float(np.sqrt(squares.sum()))
    return SmoothShape(x.low, x.high, knots, change / size, line / size)


def _straight(u: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(u), u])


def _too_few(text: str, n_distinct: int, k: int) -> str:
    found = f"{text} is a curve over {n_distinct} distinct value(s), and its basis has the dimension k={k}."
    if n_distinct < LEAST:
        return f"{found} Fewer than {LEAST} show no curve: take s() out of the formula."
    return f"{found} Write k={n_distinct}, or fewer."
