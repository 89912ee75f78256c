"""What transformations remember of all rows: few numbers, found from distinct values and how often each occurs.

Bases are those of formulae, which finds them in the rows themselves; here each value counts as often as it occurs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.errors import DesignError

type Remembered = Mapping[str, Any]
"""Numbers, texts and nested lists, as JSON holds them."""

OF_WHICH = ("binary", "B")  # what remembers one value
AT_ONCE = 2**14  # distinct values whose basis is in memory at a time
STRAIGHT = 2  # functions without curvature


def no_such_value(success: Any) -> DesignError:
    """Say that ``binary`` is about a value that no row has."""
    return DesignError(f"binary() asks for {success!r}, and no value is equal to it: name one that occurs.")


@dataclass(frozen=True, eq=False)
class Occurrences:
    """Distinct values of a number, and in how many rows each is.

    Attributes
    ----------
    values : array, shape (d,)
        Ascending.
    counts : array, shape (d,)
        Rows.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Occurrences:
        """Count the values of rows (n,)."""
        return cls(*np.unique(np.asarray(x, dtype=np.float64), return_counts=True))

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.counts.sum())

    @property
    def low(self) -> float:
        """Least value."""
        return float(self.values[0])

    @property
    def high(self) -> float:
        """Greatest value."""
        return float(self.values[-1])

    @property
    def mean(self) -> float:
        """Over the rows."""
        return self.low + float(self.counts @ (self.values - self.low)) / self.n

    def quantiles(self, q: np.ndarray) -> np.ndarray:
        """Of the rows, between order statistics along a straight line, as `numpy.quantile` has them."""
        at = np.asarray(q) * (self.n - 1)
        below = np.floor(at)
        ends = np.cumsum(self.counts)
        lower, upper = (
            self.values[np.searchsorted(ends, np.clip(each, 0, self.n - 1), side="right")]
            for each in (below, below + 1)
        )
        return lower + (upper - lower) * (at - below)

    def mapped(self, values: np.ndarray) -> Occurrences:
        """Return those of a function of the values (d,)."""
        found, place = np.unique(values, return_inverse=True)
        return Occurrences(found, np.bincount(place.reshape(-1), weights=self.counts, minlength=len(found)))

    def columns(self, basis: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield columns of functions of some of the values, with their counts."""
        for start in range(0, len(self.values), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            yield basis(self.values[some]), self.counts[some]

    def mean_of(self, basis: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Means over the rows of columns that are functions of the values."""
        return np.sum([counts @ columns for columns, counts in self.columns(basis)], axis=0) / self.n


class Recalled:
    """A transformation that knows what it needs of all rows; further arguments of its call say nothing new.

    Parameters
    ----------
    of : callable
        From values (m,) to columns.
    """

    def __init__(self, of: Callable[[np.ndarray], np.ndarray]) -> None:
        self._of = of

    def __call__(self, x: Any, *_: Any, **__: Any) -> np.ndarray:
        """Return its columns (m, k) of values (m,)."""
        return self._of(np.asarray(x, dtype=np.float64))


def remember(callee: str, given: Mapping[str, Any], x: Occurrences) -> Remembered:
    """Find what a transformation remembers.

    Parameters
    ----------
    callee : {"bs", "cr", "cc", "tp", "poly"}
        Its name.
    given : mapping
        Its arguments but the first, by name, defaults included.
    x : Occurrences
        Of the first.

    Raises
    ------
    ValueError
        If the arguments do not go together or with the values; the texts are those of rows in memory.
    """
    given = dict(given)
    if given.get("intercept") is not None:  # an older name of its contrary
        given["center"] = not given["intercept"]
    given.pop("intercept", None)
    found = _FINDERS[callee](x, **given)
    if not given.get("center"):
        return found
    return found | {"centring": centring(x.mean_of(_basis_of(callee, found))).tolist()}


def recall(callee: str, state: Remembered) -> Recalled:
    """Make the transformation that remembers this."""
    if "mean" in state:
        mean, sd = state["mean"], state["sd"]
        return Recalled((lambda x: x - mean) if callee == "center" else (lambda x: (x - mean) / sd))
    basis = _basis_of(callee, state)
    if "centring" not in state:
        return Recalled(basis)
    matrix = np.array(state["centring"])
    return Recalled(lambda x: basis(x) @ matrix)


def centring(means: np.ndarray) -> np.ndarray:
    """Return (k, k − 1) columns of a reflection that takes the mean out of columns of these means."""
    reflector = means / np.linalg.norm(means)
    reflector[0] += 1.0 if reflector[0] >= 0 else -1.0
    reflector /= np.linalg.norm(reflector)
    return (np.eye(len(means)) - 2.0 * np.outer(reflector, reflector))[:, 1:]


def _basis_of(callee: str, state: Remembered) -> Callable[[np.ndarray], np.ndarray]:
    return _BASES[callee](**{name: value for name, value in state.items() if name != "centring"})


def _find_bs(
    x: Occurrences,
    *,
    df: int | None = None,
    knots: Any = None,
    degree: int = 3,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    center: bool = True,
) -> dict[str, Any]:
    if not isinstance(degree, int) or degree < 0:
        raise ValueError(f"'degree' must be a whole number from 0, not {degree!r}")
    if df is None and knots is None:
        raise ValueError("Must specify either 'df' or 'knots'")
    order = degree + 1
    inner = None if knots is None else np.asarray(knots, dtype=float)
    if df is not None:
        if not isinstance(df, int):
            raise ValueError("'df' must be either None or integer")
        n_inner = df - order + bool(center)
        if n_inner < 0:
            raise ValueError(
                f"df={df} is too small for degree={degree} and center={center}; it must be >= {df - n_inner}"
            )
        if inner is None:
            inner = x.quantiles(np.linspace(0.0, 1.0, n_inner + 2)[1:-1])
        elif len(inner) != n_inner:
            raise ValueError(f"df={df} with degree={degree} implies {n_inner} knots; but {len(inner)} were provided")
    assert inner is not None
    low, high = (x.low if lower_bound is None else lower_bound), (x.high if upper_bound is None else upper_bound)
    if low > high or inner.ndim != 1 or (inner < low).any() or (inner > high).any():
        raise ValueError(f"knots {inner.tolist()} must be numbers from lower_bound {low} to upper_bound {high}")
    return {"knots": np.sort(np.concatenate([[low, high] * order, inner])).tolist(), "degree": degree}


def _bs(knots: list[float], degree: int) -> Callable[[np.ndarray], np.ndarray]:
    from scipy.interpolate import splev

    n = len(knots) - degree - 1
    return lambda x: np.column_stack([splev(x, (np.array(knots), row, degree)) for row in np.eye(n)])


def _inner_knots(
    x: Occurrences, df: int | None, knots: Any, low: float, high: float, offset: int, *, cyclic: bool
) -> np.ndarray:
    """Knots of a cubic regression spline strictly between its limits, at quantiles of the distinct values."""
    least, ends = int(cyclic), 1 if cyclic else 2
    if df is None and knots is None:
        df = 10
    if df is not None and (not isinstance(df, int) or df < offset + least):
        raise ValueError(f"'df' must be an integer, greater than or equal to {offset + least}")
    if knots is not None:
        inner = np.unique(np.asarray(knots, dtype=float))
        if len(inner) != np.size(knots) or not np.isfinite(inner).all() or len(inner) < least:
            raise ValueError("'knots' must be finite values without repetition")
        if (inner <= low).any() or (inner >= high).any():
            raise ValueError("All knots must fall strictly between the boundaries")
        if df is not None and df != len(inner) + offset:
            raise ValueError(f"df={df} implies {df - offset} knots, but {len(inner)} were provided")
    else:
        assert df is not None
        inside = x.values[(x.values >= low) & (x.values <= high)]
        if df > offset and len(inside) < df - offset + ends:
            raise ValueError("Not enough unique values within the boundaries for this 'df'")
        shares = np.linspace(0.0, 1.0, df - offset + 2)[1:-1]
        inner = np.quantile(inside, shares) if df > offset else np.zeros(0)
    if len(x.values) < len(inner) + ends:
        raise ValueError(f"This spline requires at least {len(inner) + ends} unique values")
    return inner


def _check_rank(x: Occurrences, basis: Callable[[np.ndarray], np.ndarray]) -> None:
    R = np.zeros((0, 0))
    for columns, counts in x.columns(basis):
        rows = columns * np.sqrt(counts)[:, None]
        R = np.linalg.qr(np.vstack([R, rows]) if len(R) else rows, mode="r")
    sizes = np.linalg.svd(R, compute_uv=False)
    if (sizes > sizes[0] * max(x.n, len(sizes)) * np.finfo(float).eps).sum() < R.shape[1]:
        raise ValueError("The spline basis is rank deficient on the training data")


def _find_cr(
    x: Occurrences,
    *,
    df: int | None = None,
    knots: Any = None,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    center: bool = True,
) -> dict[str, Any]:
    low = float(x.low if lower_bound is None else lower_bound)
    high = float(x.high if upper_bound is None else upper_bound)
    if low >= high:
        raise ValueError("'lower_bound' must be less than 'upper_bound'")
    inner = _inner_knots(x, df, knots, low, high, 1 if center else 2, cyclic=False)
    found = {"knots": [low, *inner.tolist(), high]}
    _check_rank(x, _cr(**found))
    return found


def _cr(knots: list[float]) -> Callable[[np.ndarray], np.ndarray]:
    from scipy.interpolate import CubicSpline

    low, high = knots[0], knots[-1]
    spline = CubicSpline(np.array(knots), np.eye(len(knots)), axis=0, bc_type="natural", extrapolate=False)
    at_low, at_high = spline(low, nu=1), spline(high, nu=1)

    def basis(x: np.ndarray) -> np.ndarray:
        inside = np.clip(x, low, high)
        beyond = (x - inside)[:, None]
        return spline(inside) + np.minimum(beyond, 0.0) * at_low + np.maximum(beyond, 0.0) * at_high

    return basis


def _find_cc(
    x: Occurrences,
    *,
    period: float,
    df: int | None = None,
    knots: Any = None,
    lower_bound: float | None = None,
    center: bool = True,
) -> dict[str, Any]:
    if not isinstance(period, (int, float)) or not 0.0 < period < np.inf:
        raise ValueError("'period' must be finite and greater than zero")
    low = float(x.low if lower_bound is None else lower_bound)
    wrapped = x.mapped(low + np.mod(x.values - low, period))
    inner = _inner_knots(wrapped, df, knots, low, low + period, 0 if center else 1, cyclic=True)
    found = {"knots": [low, *inner.tolist(), low + float(period)]}
    _check_rank(wrapped, _cc(**found))
    return found


def _cc(knots: list[float]) -> Callable[[np.ndarray], np.ndarray]:
    from scipy.interpolate import CubicSpline

    identity = np.eye(len(knots) - 1)
    spline = CubicSpline(np.array(knots), np.vstack([identity, identity[0]]), axis=0, bc_type="periodic")
    return lambda x: spline(knots[0] + np.mod(x - knots[0], knots[-1] - knots[0]))


def _find_tp(
    x: Occurrences, *, df: int = 10, center: bool = True, max_knots: int = 2000, seed: int = 1
) -> dict[str, Any]:
    for name, value in (("df", df), ("max_knots", max_knots), ("seed", seed)):
        if not isinstance(value, int):
            raise ValueError(f"{name!r} must be an integer")
    if max_knots <= STRAIGHT or df < (2 if center else 3):
        raise ValueError(f"a thin-plate basis has df >= {2 if center else 3} and max_knots >= {STRAIGHT + 1}")
    rank, shift = df + bool(center), x.mean
    scale = float(np.sqrt(x.counts @ (x.values - shift) ** 2 / x.n))
    if not scale:
        raise ValueError("'x' must contain at least two distinct values")
    sites = np.unique((x.values - shift) / scale)
    if len(sites) > max_knots:
        sites = np.sort(np.random.RandomState(seed).choice(sites, size=max_knots, replace=False))
    if len(sites) < rank:
        raise ValueError(f"A thin-plate basis with df={df} requires at least {rank} unique values")
    values, vectors = _largest(_cubes(sites, sites), rank)
    constraints = vectors.T @ np.column_stack([np.ones(len(sites)), sites])
    turned = np.linalg.qr(constraints, mode="complete")[0][:, STRAIGHT:]
    penalty = np.linalg.eigvalsh(turned.T @ (values[:, None] * turned))
    if (penalty <= np.spacing(1.0) * len(penalty) * np.abs(penalty).max()).any():
        raise ValueError("Could not construct a positive-definite thin-plate penalty; try a smaller value of 'df'")
    radial = vectors @ turned
    found = {"shift": shift, "scale": scale, "sites": sites.tolist()}
    squares = x.mean_of(lambda v: (_cubes((v - shift) / scale, sites) @ radial) ** 2)
    return found | {"radial": (radial / np.sqrt(squares)).tolist()}


def _largest(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenpairs of the greatest absolute values, descending."""
    if rank >= len(matrix) // 2 or len(matrix) <= 200:
        values, vectors = np.linalg.eigh(matrix)
    else:
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(matrix, k=rank, which="LM", v0=np.ones(len(matrix)))
    order = np.argsort(np.abs(values))[::-1][:rank]
    return values[order], vectors[:, order]


def _cubes(x: np.ndarray, sites: np.ndarray) -> np.ndarray:
    return np.abs(np.subtract.outer(x, sites)) ** 3 / 12.0


def _tp(
    shift: float, scale: float, sites: list[float], radial: list[list[float]]
) -> Callable[[np.ndarray], np.ndarray]:
    places, change = np.array(sites), np.array(radial)

    def basis(x: np.ndarray) -> np.ndarray:
        z = (x - shift) / scale
        size = max(2**24 // len(places), 1)  # rows whose distances from all sites are in memory at a time
        parts = [_cubes(z[i : i + size], places) @ change for i in range(0, len(z), size)]
        return np.column_stack([np.concatenate(parts) if parts else np.zeros((0, change.shape[1])), np.ones_like(z), z])

    return basis


def _find_poly(x: Occurrences, *, degree: int = 1, raw: bool = False) -> dict[str, Any]:
    if not isinstance(degree, int) or degree < 1:
        raise ValueError(f"'degree' must be a positive integer, not {degree!r}")
    if len(x.values) <= degree:
        raise ValueError(
            f"a polynomial of degree {degree} needs more than {degree} distinct values, not {len(x.values)}"
        )
    alpha, norms = [], [float(x.n)]
    last, own = np.zeros_like(x.values), np.ones_like(x.values)
    for _ in range(degree):
        alpha.append(x.low + float(x.counts @ ((x.values - x.low) * own**2)) / norms[-1])
        beta = norms[-1] / norms[-2] if len(norms) > 1 else 0.0
        last, own = own, (x.values - alpha[-1]) * own - beta * last
        norms.append(float(x.counts @ own**2))
    return {"alpha": alpha, "norms": norms}


def _poly(alpha: list[float], norms: list[float]) -> Callable[[np.ndarray], np.ndarray]:
    def basis(x: np.ndarray) -> np.ndarray:
        found, last, own = [], np.zeros_like(x), np.ones_like(x)
        for i, each in enumerate(alpha):
            beta = norms[i] / norms[i - 1] if i else 0.0
            last, own = own, (x - each) * own - beta * last
            found.append(own / np.sqrt(norms[i + 1]))
        return np.column_stack(found)

    return basis


_FINDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "bs": _find_bs, "cr": _find_cr, "cc": _find_cc, "tp": _find_tp, "poly": _find_poly,
}  # fmt: skip
_BASES: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "bs": _bs, "cr": _cr, "cc": _cc, "tp": _tp, "poly": _poly,
}  # fmt: skip


def check_finite_values(text: str, values: np.ndarray) -> None:
    """Refuse values of which nothing can be remembered.

    Raises
    ------
    DesignError
        With what they are of.
    """
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise DesignError(
            f"{text!r} is not a finite number in {bad} row(s). Logarithms and roots need positive numbers: look at "
            "those rows, or leave them out."
        )
