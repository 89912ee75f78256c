"""The residuals of a design: which rows hang together, where each is among them, and what their spread changes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.covariance.growth import Growth, grown
from bayesmm.covariance.residual import (
    RESIDUAL,
    Correlation,
    Parted,
    bind_correlation,
    is_by_level,
    is_by_step,
    sees_pairs,
)
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.columns.columns import Columns, build_arithmetic
from bayesmm.design.reading.frame import UsedRows, read_table
from bayesmm.design.reading.levels import Levels, read_levels
from bayesmm.design.reading.names import Names
from bayesmm.errors import DesignError, PredictionError
from bayesmm.incidence import find_parents, order_rows
from bayesmm.limits import COVARIANCE_PARAMETERS
from bayesmm.specification.terms import ResidualSpecification, ResidualTerm, SpreadTerm

ROOM = 16.0  # times the span of the data: how far new rows may be from those where levels have parameters of their own
NOTHING = 1e-9  # share of a spread's column that others leave, where it says nothing of its own
IN_PLACE = "sigma(1)"  # row of one standard deviation of all residuals, in the place of a sigma that is known
ROUNDING = 1e-10  # how far below zero an eigenvalue of a correlation matrix may lie


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """What the logarithm of the residual standard deviation is linear in.

    Attributes
    ----------
    term : str
        As it is written: ``het(arm)``, ``us(visit | id)``.
    kind : {"het", "power", "exponential"}
        A standard deviation for each stratum, or a power of a covariate.
    columns : array, shape (n, s)
        Indicators of all strata but the first; log|x|, or x.
    names : tuple of str
        Rows of tables, (s,): ``sigma(arm[B])``, ``power(x)``.
    strata : tuple of str
        Labels of the strata, the reference first; none of covariates.
    factors : tuple of str
        Columns that the strata are made of.
    source : Columns or None
        How the covariate is computed for new rows.
    of_fitted : bool
        Whether the covariate is the fitted value, Xβ + Zb with the offset, at some estimate of these.
    """

    term: str
    kind: str
    columns: np.ndarray
    names: tuple[str, ...]
    strata: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    source: Columns | None = None
    of_fitted: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualMoments:
    """What is known of the rows of residuals where these are not in memory: rows that stand for several each.

    Attributes
    ----------
    sizes : (int, int)
        Rows of the smallest and the largest group.
    positions : array, shape (N,)
        Place of each row in its group.
    values : array or pandas.Categorical, shape (N,)
        The same as the data have it.
    columns : array, shape (N, s)
        What logarithms of standard deviations are linear in.
    weights : array, shape (N,)
        Prior weights.
    shares : array, shape (N,)
        How many rows each stands for.
    """

    sizes: tuple[int, int]
    positions: np.ndarray
    values: np.ndarray | pd.Categorical
    columns: np.ndarray
    weights: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualBlock:
    """The covariance of the residuals of one design.

    Attributes
    ----------
    specification : ResidualSpecification
        What was asked.
    correlation : Correlation or None
        Of the rows of a group.
    group : str
        What groups are called; "" where rows are independent.
    levels : tuple of str
        The groups.
    codes : array of int, shape (n,)
        Group of each row.
    positions : array, shape (n,)
        Place of each row in its group: level, number of steps, or time.
    places : tuple of str
        Labels of the levels that positions are, if they are levels.
    origin : float
        Time from which positions count, if they are times.
    spreads : tuple of Spread
        What standard deviations change with.
    elsewhere : ResidualMoments or None
        Where rows are not in memory, and have no codes, positions and columns of spreads, what is known of them.
    """

    specification: ResidualSpecification
    correlation: Correlation | None
    group: str
    levels: tuple[str, ...]
    codes: np.ndarray
    positions: np.ndarray
    places: tuple[str, ...]
    origin: float
    spreads: tuple[Spread, ...]
    elsewhere: ResidualMoments | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of the smallest and the largest group."""
        if self.elsewhere is not None:
            return self.elsewhere.sizes
        sizes = np.bincount(self.codes)
        return int(sizes.min()), int(sizes.max())

    @property
    def columns(self) -> np.ndarray:
        """Columns (n, s) of all spreads."""
        return np.hstack([np.zeros((len(self.codes), 0)), *(spread.columns for spread in self.spreads)])

    @property
    def of_fitted(self) -> bool:
        """Whether standard deviations change with the fitted value."""
        return any(spread.of_fitted for spread in self.spreads)

    def at_fitted(self, fitted: np.ndarray, index: pd.Index) -> ResidualBlock:
        """Take other fitted values (n,) of the rows, with their labels.

        Raises
        ------
        DesignError
            If one has no variance: zero, of a power.
        """
        of_fitted = [spread for spread in self.spreads if spread.of_fitted]
        columns = [covariate_column(spread.kind, spread.term, fitted, index) for spread in of_fitted]
        return self.with_fitted_columns(np.column_stack(columns))

    def without_fitted(self) -> ResidualBlock:
        """Leave out what standard deviations have by fitted values, for `growth` to multiply them by."""
        return self.with_fitted_columns(np.zeros_like(self.fitted_columns))

    @property
    def growth(self) -> Growth:
        """What fitted values multiply standard deviations by."""
        kinds = {spread.names[0]: spread.kind for spread in self.spreads if spread.of_fitted}
        return Growth(tuple((self.sd_names.index(name), kind) for name, kind in kinds.items()))

    @property
    def fitted_columns(self) -> np.ndarray:
        """Columns (n, c) that fitted values have made."""
        return np.hstack([np.zeros((len(self.codes), 0)), *(each.columns for each in self.spreads if each.of_fitted)])

    def with_fitted_columns(self, columns: np.ndarray) -> ResidualBlock:
        """Take others (n, c) in their place."""
        new = iter(columns.T)
        return replace(
            self,
            spreads=tuple(
                replace(spread, columns=next(new)[:, None]) if spread.of_fitted else spread for spread in self.spreads
            ),
        )

    @property
    def sd_names(self) -> tuple[str, ...]:
        """Rows of tables for the parameters of the standard deviations, (s,)."""
        return tuple(name for spread in self.spreads for name in spread.names)

    @property
    def in_place(self) -> str:
        """Row of the standard deviation of all residuals in the place of a sigma that is known; "" if there is none."""
        return next((each.names[0] for each in self.spreads if each.kind == "het" and not each.strata), "")

    @property
    def are_sds(self) -> tuple[bool, ...]:
        """Which of them are standard deviations, (s,); the others are exponents."""
        return tuple(spread.kind == "het" for spread in self.spreads for _ in spread.names)

    @property
    def cor_names(self) -> tuple[str, ...]:
        """Rows of tables for the correlations."""
        if self.correlation is None:
            return ()
        return tuple(
            f"{head}({name} | {', '.join(filter(None, (self.group, condition)))})"
            for head, name, condition in zip(
                self.correlation.heads, self.correlation.names, self.correlation.conditions, strict=True
            )
        )

    @property
    def is_linear(self) -> bool:
        """Whether the covariance matrices are those whose entries fulfil some linear equations."""
        if self.correlation is None:
            return len(self.spreads) <= 1 and all(self.are_sds)
        term = self.specification.correlation
        assert term is not None
        has_own = RESIDUAL[term.structure].has_own
        if len(self.spreads) > (has_own or bool(term.by)):
            return False
        return self.correlation.is_linear_with_own if has_own else self.correlation.is_linear

    def covariance(self, values: Mapping[str, float], chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Make the covariance matrix (m, m) of the residuals of some rows.

        Parameters
        ----------
        values : mapping of str to float
            Of the parameters, by their names.
        chosen : int array, shape (m,)
            Which rows.
        weights : array, shape (m,)
            Their prior weights.

        Raises
        ------
        DesignError
            As `public_of`.
        """
        public = self.public_of(values)
        s = public[: len(self.sd_names)]
        sd = values["sigma"] * np.exp(self.columns[chosen] @ s) / np.sqrt(weights)
        if self.correlation is None:
            return np.diag(sd**2)
        codes = self.codes[chosen]
        C = self.correlation.matrix(np, public[len(s) :], self.positions[chosen])
        return np.where(codes[:, None] == codes, C, 0.0) * np.outer(sd, sd)

    def public_of(self, values: Mapping[str, float], argument: str = "at") -> np.ndarray:
        """Read what the covariance is a function of off stated parameters.

        Parameters
        ----------
        values : mapping of str to float
            Of the parameters, by their names.
        argument : str
            What the user calls them.

        Returns
        -------
        array, shape (f,)
            Logarithms of standard deviations over sigma and exponents, then correlations.

        Raises
        ------
        DesignError
            If a standard deviation is not positive, a correlation is impossible, or correlations contradict each other.
        """
        sds = [name for name, own in zip(self.sd_names, self.are_sds, strict=True) if own]
        for name in (*sds, "sigma") if sds else ():
            if not values[name] > 0.0:
                raise DesignError(f"{name!r} is {values[name]:g} in {argument}: give a positive standard deviation.")
        s = [
            np.log(values[name] / values["sigma"]) if own else values[name]
            for name, own in zip(self.sd_names, self.are_sds, strict=True)
        ]
        rho = np.array([values[name] for name in self.cor_names])
        if self.correlation is not None:
            low, high = self.correlation.limits
            for name, value in zip(self.cor_names, rho, strict=True):
                if not low <= value <= high:
                    raise DesignError(f"{name!r} is {value:g} in {argument}: it lies between {low:.4g} and {high:g}.")
            smallest = self._least_eigenvalue(rho)
            if smallest < -ROUNDING:
                raise DesignError(
                    f"The correlations of {self.specification.write()} in {argument} contradict each other: their "
                    f"matrix has the eigenvalue {smallest:.3g}, and no residuals can be correlated so. Choose "
                    "correlations nearer to zero, or take them from a fit."
                )
        return np.concatenate([s, rho])

    def _least_eigenvalue(self, rho: np.ndarray) -> float:
        """Of the matrices that correlations make; where there is one between its limits, there is nothing to see."""
        assert self.correlation is not None
        parts, start, smallest = self.correlation.parts, 0, 0.0
        for part in parts:
            own = rho[start : start + len(part.names)]
            start += len(own)
            if part.kind != "one" and len(own):
                smallest = min(smallest, float(np.linalg.eigvalsh(part.whole(np, own))[0]))
        return smallest

    def relative_variances(self, spreads: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Variances of the rows over σ², (n,), from what their logarithms are linear in; analytic.

        Parameters
        ----------
        spreads : array, shape (s, ...)
            Logarithms of standard deviations over σ, and exponents; more is not looked at.
        weights : array, shape (n,)
            Prior weights.
        """
        columns = self.columns
        return np.exp(2.0 * columns @ spreads[: columns.shape[1]]) / weights

    def mean_variance(self, spreads: np.ndarray, weights: np.ndarray) -> Any:
        """Average the same over the rows."""
        known = self.elsewhere
        if known is None:
            return self.relative_variances(spreads, weights).mean()
        own = np.exp(2.0 * known.columns @ spreads[: known.columns.shape[1]]) / known.weights
        return known.shares @ own / known.shares.sum()

    def measure_columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means and standard deviations (s,) of `columns`, and in how many rows each is not zero."""
        known = self.elsewhere
        if known is None:
            columns = self.columns
            return columns.mean(axis=0), columns.std(axis=0), (columns != 0.0).sum(axis=0).astype(float)
        columns, shares = known.columns, known.shares / known.shares.sum()
        means = shares @ columns
        return means, np.sqrt(shares @ (columns - means) ** 2), known.shares @ (columns != 0.0)

    @property
    def words(self) -> str:
        """The covariance of the residuals in a few words."""
        parts = []
        if self.correlation is not None:
            term = self.specification.correlation
            assert term is not None
            by = f", with parameters of its own for each {':'.join(term.by)}" if term.by else ""
            parts.append(f"{self.correlation.words} within {len(self.levels)} groups by {self.group}{by}")
        strata = [":".join(spread.factors) for spread in self.spreads if spread.strata]
        if strata:
            parts.append(f"a standard deviation for each {' and each '.join(strata)}")
        parts += [
            f"standard deviations by {spread.term}" if spread.kind != "het" else "a standard deviation in sigma's place"
            for spread in self.spreads
            if not spread.strata
        ]
        return ", ".join(parts)


def residual_columns(specification: ResidualSpecification) -> list[str]:
    """Columns of the data that are named as factors, groups or positions; covariates are expressions."""
    found = [name for spread in specification.spreads for name in spread.factors]
    if specification.correlation is not None:
        term = specification.correlation
        found += [term.position, *term.grouping.factors, *term.by]
    return found


def build_residual(
    specification: ResidualSpecification,
    used: UsedRows,
    numbers: UsedRows,
    names: Names,
    blocks: Sequence[RandomBlock],
    first_fitted: Callable[[], np.ndarray],
    known_sigma: float | None,
) -> ResidualBlock:
    """Read the residuals' groups, positions and strata off the data; fitted values (n,) are those to begin with.

    Raises
    ------
    DesignError
        If a position repeats within a group, is no number where it must be one, or a parameter cannot be estimated.
    """
    for block in blocks:
        if block.incidence.touches_itself:
            raise DesignError(
                f"Rows have several levels of {block.group!r}, beside which a covariance of the residuals "
                f"({specification.write()}) is not available."
            )
    n, term = len(used), specification.correlation
    codes, positions = np.arange(n), np.zeros(n)
    levels: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    origin, correlation, spreads = 0.0, None, []
    if term is not None:
        groups = read_levels(term.grouping.factors, [used.columns[name] for name in term.grouping.factors], n)
        codes, levels = groups.codes, groups.labels
        positions, places, origin = _read_positions(term, used)
        gaps = _gaps(term, codes, positions, levels, used.columns[term.position])
        sizes = np.bincount(codes)
        if sizes.max() < 2:
            raise DesignError(
                f"Every group of {term.grouping.name!r} has one row: nothing tells how residuals within a group are "
                f"correlated. Leave {term.write()} out."
            )
        _check_nested(term, codes, levels, blocks)
        correlation = bind_correlation(
            term.structure, term.position, places, int(sizes.max()), gaps, nugget=term.nugget
        )
        if term.by:
            by = read_levels(term.by, [used.columns[name] for name in term.by], n)
            correlation = _part(term, correlation, codes, levels, positions, by)
            for level, label in enumerate(correlation.labels):
                own = by.codes == level
                _check_pairs(term, codes[own], positions[own], places, f" of {label}")
            positions = correlation.place(positions, by.codes)
        else:
            _check_pairs(term, codes, positions, places)
        if RESIDUAL[term.structure].has_own:
            spreads.append(_strata(term.write(), (*term.by, term.position), used))
        elif term.by:
            spreads.append(_strata(term.write(), term.by, used))
    spreads += [
        _strata(each.write(), each.factors, used)
        if each.kind == "het" and each.factors
        else _all_rows(each.write(), n, known_sigma)
        if each.kind == "het"
        else _of_fitted(each, first_fitted(), used)
        if each.of_fitted
        else _covariate(each, numbers, names, used)
        for each in specification.spreads
    ]
    block = ResidualBlock(
        specification=specification,
        correlation=correlation,
        group="" if term is None else term.grouping.name,
        levels=levels,
        codes=codes,
        positions=positions,
        places=places,
        origin=origin,
        spreads=tuple(spreads),
    )
    _check_spreads(block, knows_sigma=known_sigma is not None)
    count = len(block.sd_names) + len(block.cor_names)
    if count > COVARIANCE_PARAMETERS:
        raise DesignError(
            f"{specification.write()} has {count:,} parameters, more than {COVARIANCE_PARAMETERS:,}: take a structure "
            "of fewer."
        )
    return block


def _read_positions(term: ResidualTerm, used: UsedRows) -> tuple[np.ndarray, tuple[str, ...], float]:
    """Read the place of each row in its group, labels where places are levels, and from where times count."""
    values = used.columns[term.position]
    is_number = isinstance(values, np.ndarray) and values.dtype.kind in "iuf"
    if is_by_level(term.structure) or (is_by_step(term.structure) and not is_number):
        read = read_levels((term.position,), [values], len(values))
        return read.codes.astype(float), read.labels, 0.0
    if not is_number:
        raise DesignError(
            f"{term.write()} is about times, and {term.position!r} is not numbers: give a column of numbers, or take "
            f"ar1({term.position} | {term.grouping.name}), which takes the order of levels."
        )
    times = np.asarray(values, dtype=float)
    if is_by_step(term.structure) and not (times == np.round(times)).all():
        first = int((times != np.round(times)).argmax())
        raise DesignError(
            f"{term.write()} counts whole steps, and {term.position!r} is {times[first]:g} in row "
            f"{used.index[first]!r}: number the steps, or take car1({term.position} | {term.grouping.name}), in which "
            "times are any numbers."
        )
    return times - times.min(), (), float(times.min())


def _gaps(
    term: ResidualTerm, codes: np.ndarray, positions: np.ndarray, levels: tuple[str, ...], values: Any
) -> np.ndarray:
    """Measure the times between neighbours in a group, and refuse two rows at one position."""
    order = order_rows(codes, positions)
    within, gaps = np.diff(codes.take(order)) == 0, np.diff(positions.take(order))
    same = within & (gaps == 0.0)
    if not same.any():
        return gaps[within]
    row = order[same.argmax()]
    raise DesignError(
        f"Group {levels[codes[row]]!r} of {term.grouping.name!r} has several rows at {term.position} = "
        f"{np.asarray(values)[row]}, of which {term.write()} can have one. Correct the data, take a finer position, or "
        f"group by a combination ({term.grouping.name}:f) that tells these rows apart."
    )


def _check_nested(
    term: ResidualTerm, codes: np.ndarray, levels: tuple[str, ...], blocks: Sequence[RandomBlock]
) -> None:
    """Refuse groups of residuals whose rows differ in their level of a grouping factor."""
    for block in blocks:
        for membership in block.incidence.memberships:
            if find_parents(codes, membership.codes, len(levels)) is None:
                raise DesignError(
                    f"The rows of a group of {term.grouping.name!r} have several levels of {block.group!r}, whose "
                    f"effects then cross the correlations of {term.write()}: such a model is not available. Residuals "
                    "may be correlated within groups that have one level of every grouping factor."
                )


def _part(
    term: ResidualTerm,
    correlation: Correlation,
    codes: np.ndarray,
    levels: tuple[str, ...],
    positions: np.ndarray,
    by: Levels,
) -> Parted:
    """Give each level of `by` parameters of its own."""
    name = ":".join(term.by)
    level = np.zeros(len(levels), dtype=np.int64)
    level[codes] = by.codes
    apart = level[codes] != by.codes
    if apart.any():
        raise DesignError(
            f"Group {levels[codes[apart.argmax()]]!r} of {term.grouping.name!r} has rows of several levels of "
            f"{name!r}, of which {term.write()} needs one: name a factor that is the same in all rows of a group."
        )
    if len(by.labels) < 2:
        raise DesignError(f"{name!r} has one level: leave by={name} out of {term.write()}.")
    stride = ROOM * 2.0 ** np.ceil(np.log2(positions.max() + 2.0))
    return Parted(correlation, tuple(f"{name}[{label}]" for label in by.labels), float(stride))


def _check_pairs(
    term: ResidualTerm, codes: np.ndarray, positions: np.ndarray, places: tuple[str, ...], of: str = ""
) -> None:
    """Refuse correlations that no group says anything of."""
    if np.bincount(codes).max() < 2:
        raise DesignError(
            f"Every group of {term.grouping.name!r}{of} has one row: nothing tells how residuals within these groups "
            f"are correlated in {term.write()}. Merge levels, or leave by= out."
        )
    seen = sees_pairs(term.structure)
    if seen == "none":
        return
    k = len(places)
    present = np.zeros((int(codes.max()) + 1, k))
    present[codes, positions.astype(np.int64)] = 1.0
    together = present.T @ present > 0
    lacking = [(i, j) for i in range(k) for j in range(i + 1, k) if not together[i, j]]
    if seen == "neighbours":
        lacking = [(i, j) for i, j in lacking if j == i + 1]
    if seen == "lags":
        lacking = [(0, lag) for lag in range(1, k) if not np.diagonal(together, lag).any()]
    if lacking:
        i, j = lacking[0]
        what = f"{j} levels apart" if seen == "lags" else f"at {places[i]} and at {places[j]} of {term.position!r}"
        raise DesignError(
            f"No group of {term.grouping.name!r}{of} has rows {what}, so that nothing tells how these are correlated "
            f"in {term.write()}. Take a structure of fewer parameters, such as ar1 or homcs, or merge levels."
        )


def _strata(term: str, factors: tuple[str, ...], used: UsedRows) -> Spread:
    read = read_levels(factors, [used.columns[name] for name in factors], len(used))
    if len(read.labels) < 2:
        raise DesignError(
            f"{':'.join(factors)!r} has one level: there is nothing that the variances of {term} differ by."
        )
    columns = (read.codes[:, None] == np.arange(1, len(read.labels))).astype(float)
    name = ":".join(factors)
    return Spread(
        term=term,
        kind="het",
        columns=columns,
        names=tuple(f"sigma({name}[{label}])" for label in read.labels[1:]),
        strata=read.labels,
        factors=factors,
    )


def _all_rows(term: str, n: int, known_sigma: float | None) -> Spread:
    if known_sigma is None:
        raise DesignError(
            f"{term} is the standard deviation of all residuals, which sigma is already: leave it out, or give a sigma "
            "that it is in the place of, Model(..., sigma=1.0)."
        )
    return Spread(term=term, kind="het", columns=np.ones((n, 1)), names=(IN_PLACE,))


def _covariate(term: SpreadTerm, numbers: UsedRows, names: Names, used: UsedRows) -> Spread:
    source = build_arithmetic(term.expression, numbers, names, what="variance covariate")
    values = np.asarray(source.raw(), dtype=float)
    return Spread(
        term=term.write(),
        kind=term.kind,
        columns=covariate_column(term.kind, term.write(), values, used.index)[:, None],
        names=(term.write(),),
        source=source,
    )


def _of_fitted(term: SpreadTerm, fitted: np.ndarray, used: UsedRows) -> Spread:
    return Spread(
        term=term.write(),
        kind=term.kind,
        columns=covariate_column(term.kind, term.write(), fitted, used.index)[:, None],
        names=(term.write(),),
        of_fitted=True,
    )


def first_fitted(
    y: np.ndarray, offset: np.ndarray, X: np.ndarray, weights: np.ndarray, blocks: Sequence[RandomBlock]
) -> np.ndarray:
    """Fit values (n,) to begin with: by least squares, or means of a factor's levels where that makes one number.

    Raises
    ------
    DesignError
        If the fitted value is the same in all rows whatever the estimates are.
    """
    root = np.sqrt(weights)
    fitted = offset + X @ np.linalg.lstsq(root[:, None] * X, root * (y - offset), rcond=None)[0]
    if np.ptp(fitted) > NOTHING * np.abs(fitted).max():
        return fitted
    for block in blocks:
        codes = block.incidence.only.codes
        means = np.bincount(codes, weights=weights * y) / np.bincount(codes, weights=weights)
        if len(means) > 1:
            return means[codes]
    raise DesignError(
        "The fitted value is the same in all rows, so that no variance changes with it: leave power(fitted) out."
    )


def covariate_column(kind: str, term: str, values: np.ndarray, index: pd.Index) -> np.ndarray:
    """Return what an exponent is multiplied by in the logarithm of the standard deviation."""
    bad = ~np.isfinite(values) | ((values == 0.0) if kind == "power" else False)
    if bad.any():
        first = int(bad.argmax())
        raise DesignError(
            f"The covariate of {term} is {values[first]:g} in row {index[first]!r}, where there is no variance: "
            f"leave such rows out, shift the covariate, or take exponential({term[term.index('(') + 1 : -1]})."
        )
    return grown(np, kind, values)


def _check_spreads(block: ResidualBlock, *, knows_sigma: bool) -> None:
    """Refuse parameters of standard deviations that cannot be told apart, from each other or from sigma."""
    if not block.spreads:
        return
    columns = np.column_stack([np.full(len(block.codes), 0.0 if knows_sigma else 1.0), block.columns])
    for j in range(1, columns.shape[1]):
        earlier = columns[:, :j]
        left = columns[:, j] - earlier @ np.linalg.lstsq(earlier, columns[:, j], rcond=None)[0]
        if np.linalg.norm(left) <= NOTHING * max(np.linalg.norm(columns[:, j]), 1.0):
            spread = next(s for s in block.spreads if block.sd_names[j - 1] in s.names)
            raise DesignError(
                f"{spread.term} has a standard deviation that others make up already ({block.sd_names[j - 1]}): leave "
                f"it out, or take a structure of one variance. In force: {listing([s.term for s in block.spreads])}."
            )


def evaluate_spreads(block: ResidualBlock, new_data: Any, fitted: np.ndarray | None = None) -> np.ndarray:
    """Compute what the logarithms of standard deviations are linear in for new rows (m, s).

    Where these change with fitted values, they are at those of the new rows (m,), NaN where a row has none; without any
    that part is left out, as by `ResidualBlock.without_fitted`.

    Raises
    ------
    DesignError
        If a column is lacking, or a value has no variance.
    PredictionError
        If a stratum is one that the fit has not seen, or a value is missing.
    """
    found = []
    for spread in block.spreads:
        if spread.of_fitted:
            rows = len(read_table(new_data, [], may_be_empty=True).index)
            found.append(np.zeros((rows, 1)) if fitted is None else _at_new_fitted(spread, fitted)[:, None])
            continue
        uses = list(spread.factors) if spread.source is None else list(spread.source.uses)
        table = read_table(new_data, uses, may_be_empty=True)
        missing = table.missing(uses)
        if missing.any():
            raise PredictionError(
                f"Row {table.index[missing.argmax()]!r} has no value of what its variance depends on in {spread.term}."
            )
        rows = table.rows(~missing)
        if spread.source is not None:
            values = spread.source.evaluate(rows.as_floats().frame)[:, 0]
            found.append(covariate_column(spread.kind, spread.term, values, table.index)[:, None])
            continue
        if not spread.factors:
            found.append(np.ones((len(table.index), 1)))
            continue
        read = read_levels(spread.factors, [rows.columns[name] for name in spread.factors], len(rows))
        unknown = [label for label in read.labels if label not in spread.strata]
        if unknown:
            raise PredictionError(
                f"The fit has no variance at {unknown[0]!r} of {':'.join(spread.factors)!r}: {spread.term} has one for "
                f"each of {listing(spread.strata)}."
            )
        codes = np.array([spread.strata.index(label) for label in read.labels], dtype=int)[read.codes]
        found.append((codes[:, None] == np.arange(1, len(spread.strata))).astype(float))
    return np.hstack([np.zeros((len(read_table(new_data, [], may_be_empty=True).index), 0)), *found])


def _at_new_fitted(spread: Spread, fitted: np.ndarray) -> np.ndarray:
    """Take fitted values of new rows; NaN stays where there is none."""
    known = np.isfinite(fitted)
    column = covariate_column(spread.kind, spread.term, np.where(known, fitted, 1.0), pd.RangeIndex(len(fitted)))
    return np.where(known, column, np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class NewGroups:
    """Groups of new rows, and where each row is in its group.

    Attributes
    ----------
    codes : int array, shape (m,)
        Group of each row, among those of the new rows.
    labels : tuple of str
        These groups.
    positions : array, shape (m,)
        As those of the fit, plus `shift`.
    shift : float
        What puts the earliest of the new rows at zero, where levels of a factor have positions of their own.
    """

    codes: np.ndarray
    labels: tuple[str, ...]
    positions: np.ndarray
    shift: float = 0.0


def read_groups(block: ResidualBlock, new_data: Any) -> NewGroups:
    """Read the groups of new rows, and the place of each row in its group.

    Raises
    ------
    DesignError
        If a column is lacking.
    PredictionError
        If a value is missing or not one that the fit has.
    """
    term = block.specification.correlation
    if term is None:
        m = len(read_table(new_data, [], may_be_empty=True).index)
        return NewGroups(codes=np.arange(m), labels=tuple(map(str, range(m))), positions=np.zeros(m))
    uses = [term.position, *term.grouping.factors, *term.by]
    table = read_table(new_data, uses, may_be_empty=True)
    missing = table.missing(uses)
    if missing.any():
        raise PredictionError(
            f"Row {table.index[missing.argmax()]!r} has no value of what its residual hangs together by in "
            f"{term.write()}."
        )
    rows, m = table.rows(~missing), len(table.index)
    groups = read_levels(term.grouping.factors, [rows.columns[name] for name in term.grouping.factors], m)
    positions, shift = _place(block, term, rows.columns, m)
    return NewGroups(codes=groups.codes, labels=groups.labels, positions=positions, shift=shift)


def place_rows(block: ResidualBlock, columns: Mapping[str, Any], m: int) -> np.ndarray:
    """Read the places (m,) of rows of a fit, whose columns are complete, in their groups."""
    term = block.specification.correlation
    return np.zeros(m) if term is None else _place(block, term, columns, m)[0]


def _place(block: ResidualBlock, term: ResidualTerm, columns: Mapping[str, Any], m: int) -> tuple[np.ndarray, float]:
    """Read places of rows in their groups (m,), and what puts the earliest at zero."""
    positions, shift = _new_positions(block, columns[term.position], m), 0.0
    if term.by:
        assert isinstance(block.correlation, Parted)
        shift = -float(positions.min(initial=0.0))
        name = ":".join(term.by)
        by = read_levels(term.by, [columns[each] for each in term.by], m)
        labels = [f"{name}[{label}]" for label in by.labels]
        unknown = [label for label in labels if label not in block.correlation.labels]
        if unknown or positions.max(initial=0.0) + shift >= block.correlation.stride - 1.0:
            what = unknown[0] if unknown else "so long a time"
            raise PredictionError(
                f"The fit has no residuals such as those of {what}: {term.write()} has "
                f"parameters for each of {listing(block.correlation.labels)}."
            )
        codes = np.array([block.correlation.labels.index(label) for label in labels], dtype=int)[by.codes]
        positions = block.correlation.place(positions + shift, codes)
    return positions, shift


def evaluate_groups(block: ResidualBlock, new_data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read the groups of new rows that are drawn together (m,), and the place of each row in its group (m,).

    Raises
    ------
    DesignError, PredictionError
        As `read_groups`, or if two rows of a group are at one position.
    """
    groups = read_groups(block, new_data)
    check_apart(block, groups)
    return groups.codes, groups.positions


def check_apart(block: ResidualBlock, groups: NewGroups) -> None:
    """Refuse new rows of a group that are at one position, of which there is no joint distribution.

    Raises
    ------
    PredictionError
        With the group.
    """
    term = block.specification.correlation
    order = order_rows(groups.codes, groups.positions)
    same = (np.diff(groups.codes[order]) == 0) & (np.diff(groups.positions[order]) == 0)
    if term is not None and same.any():
        row = order[same.argmax()]
        raise PredictionError(
            f"Group {groups.labels[groups.codes[row]]!r} of {term.grouping.name!r} has several new rows at one "
            f"{term.position}, of which {term.write()} can have one: draw such rows in several calls."
        )


def _new_positions(block: ResidualBlock, values: Any, m: int) -> np.ndarray:
    """Read places of new rows: levels by those of the fit, or times."""
    term = block.specification.correlation
    assert term is not None
    if not block.places:
        times = np.asarray(values, dtype=float)
        if is_by_step(term.structure) and not (times == np.round(times)).all():
            raise PredictionError(f"{term.write()} counts whole steps, and {term.position!r} has others in new rows.")
        return times - block.origin
    read = read_levels((term.position,), [values], m)
    unknown = [label for label in read.labels if label not in block.places]
    if unknown:
        raise PredictionError(
            f"The fit has no residuals at {unknown[0]!r} of {term.position!r}: {term.write()} is about "
            f"{listing(block.places)}."
        )
    return np.array([block.places.index(label) for label in read.labels], dtype=float)[read.codes]
