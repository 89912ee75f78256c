"""Groups of rows whose residuals hang together, laid out by their size and by what they share.

Groups of the same positions, standard deviations and prior weights have the same covariance matrix R: they are one
pattern. Patterns of one size lie side by side in one stack, so that nothing is done group by group.

Where a row depends on those before it through the last of them alone, a group is a chain: the density of its first row
times those of every other one given the row before it (Lauritzen 1996, Graphical Models, 5.1). With R_c of two
neighbours c and R_i of the first of them,

    R⁻¹ = Σ_heads R_h⁻¹ + Σ_c (R_c⁻¹ − R_i⁻¹),    log|R| = Σ_heads log|R_h| + Σ_c (log|R_c| − log|R_i|)

(each matrix in its place). Heads and links are stacks like others, and their patterns are few: gaps that occur, not
sets of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from bayesmm.covariance.residual import Correlation, PairProducts
from bayesmm.incidence import order_rows
from bayesmm.marginal.shapes import Array, Float, Int

TINY = 1e-30  # step of a complex-step derivative
ON_EDGE = 1e-9  # of a distance: so near an edge of the correlations, they are on it
APART = 1e-5  # step of a central difference of such derivatives, in sizes of φ
MIXED = np.uint64(1)  # odd factors: no bit is lost
FARTHEST_STEP = 1.0  # of scoring, in an entry of z
LEAST_SQUARE = 1e-6  # of the mean square of residuals: smaller ones count as this where their logarithms are taken


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Groups of o rows.

    Attributes
    ----------
    rows : int array, shape (G, o)
        The rows of each group, by position.
    pattern : int array, shape (G,)
        Which pattern each group has.
    positions : array, shape (m, o)
        Of each pattern.
    spreads : array, shape (m, o, s)
        What the parameters of the standard deviations are multiplied by, in their logarithms.
    log_weights : array, shape (m, o)
        Logarithms of prior weights.
    counts : array, shape (m,)
        Groups of each pattern. Where a few have the sums of many these are more than `rows` has.
    is_link : bool
        Whether these are two neighbours of a chain, of which only the second counts, given the first; in products the
        second is then what it has more than the first.
    """

    rows: np.ndarray
    pattern: np.ndarray
    positions: np.ndarray
    spreads: np.ndarray
    log_weights: np.ndarray
    counts: np.ndarray
    is_link: bool = False

    @property
    def here(self) -> np.ndarray:
        """How many groups of each pattern (m,) `rows` has."""
        return np.bincount(self.pattern, minlength=len(self.positions))

    @property
    def shares(self) -> np.ndarray:
        """How many groups each of these (G,) stands for."""
        return (self.counts / self.here)[self.pattern]

    def take(self, columns: Float[Array, "n c"]) -> Float[Array, "o G c"]:
        """Take the rows of the groups for products of them."""
        found = columns.take(self.rows.T, axis=0)
        if self.is_link:
            found[1] -= found[0]
        return found


class Ordered(NamedTuple):
    """Rows group by group, each group by position.

    Attributes
    ----------
    rows : int array, shape (n,)
        Which row each is.
    sizes : int array, shape (G,)
        Rows of each group.
    positions, spreads, log_weights : arrays, shapes (n,), (n, s), (n,)
        As of `Stack`, positions as they were given.
    shares : array, shape (n,)
        How many groups the group of each row stands for.
    """

    rows: np.ndarray
    sizes: np.ndarray
    positions: np.ndarray
    spreads: np.ndarray
    log_weights: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualLayout:
    """Covariance of the residuals, over σ², as a function of φ = (s, z).

    Attributes
    ----------
    correlation : Correlation or None
        Of the rows of a group, by z; None where rows are independent.
    are_sds : bool array, shape (s,)
        Which parameters of the standard deviations are logarithms of ratios of two; others are exponents.
    ordered : Ordered
        The rows.
    """

    correlation: Correlation | None
    are_sds: np.ndarray
    ordered: Ordered

    @property
    def is_chain(self) -> bool:
        """Whether groups are chains."""
        return self.correlation is not None and self.correlation.is_markov

    @cached_property
    def first(self) -> np.ndarray:
        """Where each group begins among the ordered rows (G,)."""
        return np.cumsum(self.ordered.sizes) - self.ordered.sizes

    @cached_property
    def later(self) -> np.ndarray:
        """Where all rows are that have one before them (n − G,)."""
        is_later = np.ones(len(self.ordered.rows), dtype=bool)
        is_later[self.first] = False
        return np.flatnonzero(is_later)

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """Groups by their size."""
        sizes = self.ordered.sizes
        return tuple(self._stack(self.first[sizes == size][:, None] + np.arange(size)) for size in np.unique(sizes))

    @cached_property
    def pieces(self) -> tuple[Stack, ...]:
        """Heads and links, where groups are chains; groups where they are not."""
        if not self.is_chain:
            return self.stacks
        later = self.later
        links = (self._stack(later[:, None] + np.array([-1, 0]), is_link=True),) if len(later) else ()
        return (*links, self._stack(self.first[:, None]))

    def _stack(self, at: Int[Array, "G o"], *, is_link: bool = False) -> Stack:
        """Find the patterns of groups of one size, given by the places of their rows; links that few share are many."""
        known = (self.ordered.rows, *self.ordered[2:])
        rows, positions, spreads, log_weights, shares = (each.take(at, axis=0) for each in known)
        places = np.zeros_like(positions) if self.correlation is None else self.correlation.anchor(positions)
        values = np.column_stack([places, spreads.reshape(len(rows), -1), log_weights])
        example, pattern = find_patterns(values, most=len(rows) // 2 if is_link else None)
        return Stack(
            rows=rows,
            pattern=pattern,
            positions=places[example],
            spreads=spreads[example],
            log_weights=log_weights[example],
            counts=np.bincount(pattern, weights=shares[:, 0]),
            is_link=is_link,
        )

    def shares_of(self, stack: Stack) -> Float[Array, " G"]:
        """How many groups each group of a stack stands for; `Stack.shares` are means over those of a pattern."""
        found = np.empty(len(self.ordered.rows))
        found[self.ordered.rows] = self.ordered.shares
        return found[stack.rows[:, 0]]

    def of_spreads(self, kept: Sequence[int], *, keeps_correlation: bool) -> ResidualLayout:
        """Return the same rows with some parameters of the standard deviations, and correlations if these stay."""
        rows = self.ordered._replace(spreads=self.ordered.spreads[:, list(kept)])
        if not keeps_correlation:
            rows = rows._replace(sizes=np.ones(len(rows.rows), dtype=rows.sizes.dtype))
        return ResidualLayout(
            correlation=self.correlation if keeps_correlation else None,
            are_sds=self.are_sds[list(kept)],
            ordered=rows,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the data alone."""
        return {name: getattr(self, name) for name in ("correlation", "are_sds", "ordered")}

    @property
    def n_spreads(self) -> int:
        """Parameters of the standard deviations (s)."""
        return len(self.are_sds)

    @property
    def n_phi(self) -> int:
        """Number of parameters (f)."""
        return self.n_spreads + (0 if self.correlation is None else len(self.correlation.names))

    def public(self, xp: Any, phi: Array) -> Array:
        """Replace the free parameters of correlations by the public ones."""
        if self.correlation is None:
            return phi
        return xp.concatenate([phi[: self.n_spreads], self.correlation.public(xp, phi[self.n_spreads :])])

    def covariances_of(self, xp: Any, public: Array) -> list[Array]:
        """R (m, o, o) of the patterns of each stack, from logarithms of standard deviations and public correlations."""
        return [pattern_covariances(xp, self.correlation, public, stack) for stack in self.stacks]

    def covariances(self, xp: Any, phi: Array) -> list[Array]:
        """R (m, o, o) of the patterns of each stack."""
        return self.covariances_of(xp, self.public(xp, phi))

    def derivatives(self, phi: np.ndarray, stacks: Sequence[Stack] | None = None) -> list[Float[Array, "f m o o"]]:
        """∂R by each entry of φ, of the patterns of each stack: complex steps."""
        publics = [self.public(np, phi + step) for step in np.eye(len(phi)) * (1j * TINY)]
        return [
            np.stack([pattern_covariances(np, self.correlation, public, stack).imag / TINY for public in publics])
            for stack in (self.stacks if stacks is None else stacks)
        ]

    def held(self, phi: np.ndarray) -> np.ndarray:
        """Which entries of φ are at an end, where they have no standard error."""
        held = np.zeros(len(phi), dtype=bool)
        if self.correlation is not None:
            z = phi[self.n_spreads :]
            held[self.n_spreads :] = self.correlation.held(z)
            edges = self.correlation.edges(z)
            if not np.isnan(edges).all():
                held[self.n_spreads :] |= np.abs(edges / self._nearest(edges) - 1.0) < ON_EDGE
        return held

    def to_edges(self, phi: np.ndarray) -> np.ndarray:
        """φ with correlations that have an edge near there exactly on it."""
        if self.correlation is None:
            return phi
        z = phi[self.n_spreads :]
        edges = self.correlation.edges(z)
        if np.isnan(edges).all():
            return phi
        return np.concatenate([phi[: self.n_spreads], self.correlation.with_edges(z, self._nearest(edges))])

    def _nearest(self, edges: np.ndarray) -> np.ndarray:
        """Distances of two rows of a group that are nearest to some; NaN of NaN."""
        at = np.clip(np.searchsorted(self.distances, edges), 1, max(len(self.distances) - 1, 1))
        near = self.distances[np.minimum([at - 1, at], len(self.distances) - 1)]
        found = np.where(np.abs(near[0] - edges) < np.abs(near[1] - edges), near[0], near[1])
        return np.where(np.isnan(edges), np.nan, found)

    @cached_property
    def distances(self) -> Float[Array, " d"]:
        """All distances of two rows of a group, ascending."""
        ends = np.cumsum(self.ordered.sizes)[:-1]
        each = (own[:, None] - own for own in np.split(self.ordered.positions, ends))
        return np.unique(np.concatenate([own[own > 0.0] for own in each]))

    def bend(
        self, phi: np.ndarray, matrices: Sequence[Float[Array, "m o o"]], stacks: Sequence[Stack] | None = None
    ) -> Float[Array, "f f"]:
        """⟨M, ∂²R⟩ of matrices of the patterns of each stack: central differences of ⟨M, ∂R⟩."""

        def along(phi: np.ndarray) -> np.ndarray:
            slopes = self.derivatives(phi, stacks)
            return sum(
                (dR.reshape(len(dR), -1) @ M.reshape(-1) for M, dR in zip(matrices, slopes, strict=True)),
                np.zeros(len(phi)),
            )

        steps = np.diag(APART * self.sizes)
        bent = np.array([(along(phi + e) - along(phi - e)) / (2.0 * e.sum()) for e in steps])
        return 0.5 * (bent + bent.T)

    @cached_property
    def _ends(self) -> np.ndarray:
        """Least and largest of each spread (2, s)."""
        spreads = self.ordered.spreads
        return np.stack([spreads.min(axis=0), spreads.max(axis=0)])

    @cached_property
    def sizes(self) -> np.ndarray:
        """How large a change of each entry of φ is small: one, or what multiplies a standard deviation by e at most."""
        return np.concatenate([1.0 / np.abs(self._ends).max(axis=0), np.ones(self.n_phi - self.n_spreads)])

    def reach(self, phi: np.ndarray) -> tuple[float, float]:
        """Say by e to which power standard deviations of two rows differ at most, or one from σ; or free correlations.

        Entries that are held count as zero.
        """
        phi = np.where(self.held(phi), 0.0, phi)
        s, free = np.abs(phi[: self.n_spreads]), np.abs(phi[self.n_spreads :]).max(initial=0.0)
        low, high = self._ends
        apart, away = s * (high - low), s * np.maximum(np.abs(low), np.abs(high))
        return max(apart.max(initial=0.0), free), away.max(initial=0.0)

    def elsewhere(self, phi: np.ndarray) -> list[np.ndarray]:
        """φ (m, f) along lines through it on which other maxima may be, each line in its order."""
        if self.correlation is None:
            return []
        s, z = phi[: self.n_spreads], phi[self.n_spreads :]
        return [np.hstack([np.tile(s, (len(line), 1)), line]) for line in self.correlation.elsewhere(z)]

    def start(self, residuals: np.ndarray, sigma: float | None) -> np.ndarray:
        """φ near what residuals (n,) of least squares show, beside a sigma that may be known."""
        rows = self.ordered
        e = residuals.take(rows.rows) / np.sqrt(rows.shares)  # of few groups that have the squares of many
        s = self._start_spreads(e, sigma)
        if self.correlation is None:
            return s
        e /= np.exp(rows.spreads @ s - 0.5 * rows.log_weights)
        first, second = self._pairs()
        pairs = rows.positions[first], rows.positions[second]
        z = self.correlation.start(PairProducts(*pairs, e[first] * e[second] / (e @ e / len(e))))
        return np.concatenate([s, self._score(z, e, np.stack(pairs, axis=1)) if self.is_chain else z])

    def _score(self, z: np.ndarray, e: np.ndarray, positions: Float[Array, "m 2"]) -> np.ndarray:
        """Take a step of Fisher's scoring in z for residuals e (n,) of one variance, given the positions of neighbours.

        With c of two neighbours, q = 1/(1 − c²) and u = e₂ − ce₁, −2 log likelihood is n log Σ(qu² or e², of heads)
        − Σ log q, and the information of c is 2(1 + c²)q², less what goes to the variance.
        """
        assert self.correlation is not None
        shares, later, at = self.ordered.shares, self.later, self.correlation.neighbours(z, positions)
        n, own, c = shares.sum(), shares[later], at.values
        with np.errstate(all="ignore"):  # of neighbours next to each other
            before, q = e[later - 1], 1.0 / (1.0 - c * c)
            u = e[later] - c * before
            square = own @ (q * u * u) + shares[self.first] @ e[self.first] ** 2
            by_log_det = at.slopes @ (-2.0 * own * q * c)
            slope = at.slopes @ (2.0 * n / square * own * q * u * (c * q * u - before)) + by_log_det
            information = (at.slopes * (2.0 * own * (1.0 + c * c) * q * q)) @ at.slopes.T
            information -= by_log_det[:, None] * by_log_det / n
        try:
            step = np.linalg.solve(information, slope)
        except np.linalg.LinAlgError:
            return z
        return z - np.clip(step, -FARTHEST_STEP, FARTHEST_STEP) if np.isfinite(step).all() else z

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of each two rows of one group; of chains, of neighbours."""
        rows = self.ordered
        if self.is_chain:
            return self.later - 1, self.later
        parts = []
        for size in np.unique(rows.sizes):
            at = self.first[rows.sizes == size][:, None]
            parts.append([(at + each).ravel() for each in np.triu_indices(size, 1)])
        first, second = map(np.concatenate, zip(*parts, strict=True))
        return first, second

    def _start_spreads(self, e: np.ndarray, sigma: float | None) -> np.ndarray:
        """Take mean squares of ordered rows by strata, or regress their logarithms on what multiplies parameters."""
        if not self.n_spreads:
            return np.zeros(0)
        columns, log_weights = self.ordered.spreads, self.ordered.log_weights
        if self.are_sds.all() and (columns.sum(axis=1) <= 1.0).all():
            squares, counts = columns.T @ (np.exp(log_weights) * e**2), columns.sum(axis=0)
            first = columns.sum(axis=1) == 0.0
            least = LEAST_SQUARE * np.mean(e**2)
            of_first = (np.exp(log_weights) * e**2)[first]
            reference = max(float(of_first.mean()), least) if len(of_first) else cast(float, sigma) ** 2
            return 0.5 * np.log(np.maximum(squares / counts, least) / reference)
        square = np.maximum(e**2, LEAST_SQUARE * np.mean(e**2))
        X = np.column_stack([np.ones(len(e)), columns])
        return np.linalg.lstsq(X, 0.5 * (np.log(square) + log_weights), rcond=None)[0][1:]


class Patterns(Protocol):
    """What the covariance matrices of the patterns of a stack depend on; attributes as of `Stack`."""

    @property
    def positions(self) -> Any: ...  # noqa: D102

    @property
    def spreads(self) -> Any: ...  # noqa: D102

    @property
    def log_weights(self) -> Any: ...  # noqa: D102


def pattern_covariances(xp: Any, correlation: Correlation | None, public: Array, patterns: Patterns) -> Array:
    """R (m, o, o) of some patterns, from logarithms of standard deviations and public correlations."""
    s = patterns.spreads.shape[-1]
    sd = xp.exp(patterns.spreads @ public[:s] - 0.5 * patterns.log_weights)
    if correlation is None:
        return (sd * sd)[..., None]
    C = correlation.matrix(xp, public[s:], patterns.positions)
    return C * sd[..., :, None] * sd[..., None, :]


def lay_out_residuals(
    correlation: Correlation | None,
    codes: np.ndarray,
    positions: np.ndarray,
    spreads: np.ndarray,
    are_sds: Sequence[bool],
    weights: np.ndarray,
    shares: np.ndarray | None = None,
) -> ResidualLayout:
    """Lay groups out.

    Parameters
    ----------
    correlation : Correlation or None
        Of the rows of a group.
    codes : int array, shape (n,)
        Group of each row.
    positions : array, shape (n,)
        Place of each row in its group.
    spreads : array, shape (n, s)
        What the parameters of the standard deviations are multiplied by, in their logarithms.
    are_sds : sequence of bool
        Which of these are indicators of strata.
    weights : array, shape (n,)
        Prior weights.
    shares : array, shape (n,), optional
        How many groups the group of each row stands for; itself alone by default.
    """
    if correlation is None:
        codes = np.arange(len(codes))
    order, sizes = order_rows(codes, positions), np.bincount(codes)
    shares = np.ones(len(codes)) if shares is None else shares
    known = (each.take(order, axis=0) for each in (positions, spreads, np.log(weights), shares))
    ordered = Ordered(order, sizes[sizes > 0], *known)
    return ResidualLayout(correlation=correlation, are_sds=np.array(are_sds, dtype=bool), ordered=ordered)


def find_patterns(values: Float[Array, "G w"], *, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find an example of each of the lines that differ, and which of them every line is.

    Lines are sorted by one number made of all their bits, in which two that differ are hardly ever equal. Where all
    differ, or more than `most`, each is its own example, in their order.
    """
    varying, keys = _keys(values)
    if not varying.size:
        return np.zeros(min(len(values), 1), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
    if _count(keys) > (len(values) - 1 if most is None else most):
        return np.arange(len(values)), np.arange(len(values))
    _, example, pattern = np.unique(keys, return_index=True, return_inverse=True)
    if not (varying == varying[example][pattern]).all():
        _, example, pattern = np.unique(varying, axis=0, return_index=True, return_inverse=True)
    return example, pattern.ravel()


def _count(keys: np.ndarray) -> int:
    """Count the numbers that differ."""
    keys = np.sort(keys)
    return 1 + int(np.count_nonzero(keys[1:] != keys[:-1]))


def _keys(values: Float[Array, "G w"]) -> tuple[np.ndarray, np.ndarray]:
    """Columns that vary, and a number made of all bits of each line."""
    varying = values[:, (values != values[:1]).any(axis=0)] + 0.0  # zero has one sign
    bits = varying.view(np.uint64)
    return varying, ((bits ^ (bits >> np.uint64(32))) * _factors(varying.shape[1])).sum(axis=1, dtype=np.uint64)


@lru_cache(maxsize=256)
def _factors(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(2**63, size=count, dtype=np.uint64) * np.uint64(2) + MIXED


def whiten(stacks: Sequence[Stack], roots: Sequence[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """L⁻¹ of each group times its rows of columns (n, c), for Cholesky factors L (m, o, o) of the patterns."""
    found = np.empty_like(columns)
    for stack, L in zip(stacks, roots, strict=True):
        found[stack.rows] = np.linalg.inv(L)[stack.pattern] @ columns[stack.rows]
    return found


def whitener(layout: ResidualLayout, phi: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Return what takes columns (n, c) of the rows through L⁻¹ at φ, R = LL', and log|R| over all groups.

    Of chains it takes off each row what the row before it says of it.

    Raises
    ------
    numpy.linalg.LinAlgError
        If R is not positive definite there.
    """
    if not layout.is_chain:
        roots = [np.linalg.cholesky(R) for R in layout.covariances(np, phi)]
        diagonals = [np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1) for L in roots]
        log_det = 2.0 * sum(float(stack.counts @ own) for stack, own in zip(layout.stacks, diagonals, strict=True))
        return partial(whiten, layout.stacks, roots), log_det
    assert layout.correlation is not None
    rows, s = layout.ordered, layout.n_spreads
    log_sd = rows.spreads @ phi[:s] - 0.5 * rows.log_weights
    log_det, said = 2.0 * float(rows.shares @ log_sd), np.zeros(len(log_sd))  # of each row, by the one before it
    for stack in (stack for stack in layout.pieces if stack.is_link):
        c = layout.correlation.neighbours(phi[s:], stack.positions).values
        if not (np.abs(c) < 1.0).all():
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        log_det += float(stack.counts @ np.log1p(-c * c))
        said[layout.later] = c.take(stack.pattern)
    scale, left = np.exp(-log_sd)[:, None], 1.0 / np.sqrt(1.0 - said * said)[:, None]

    def take(columns: np.ndarray) -> np.ndarray:
        ordered = columns.take(rows.rows, axis=0) * scale
        ordered[1:] -= said[1:, None] * ordered[:-1]
        found = np.empty_like(columns)
        found[rows.rows] = ordered * left
        return found

    return take, log_det


def solve_residuals(stacks: Sequence[Stack], covariances: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """R⁻¹ times values (n,) of the rows, for covariances R (m, o, o) of the patterns."""
    found = np.empty_like(values)
    for stack, R in zip(stacks, covariances, strict=True):
        found[stack.rows] = (np.linalg.inv(R)[stack.pattern] @ values[stack.rows][:, :, None])[:, :, 0]
    return found


def row_variances(stacks: Sequence[Stack], covariances: Sequence[np.ndarray]) -> np.ndarray:
    """Diagonal of R, row by row (n,)."""
    found = np.empty(sum(stack.rows.size for stack in stacks))
    for stack, R in zip(stacks, covariances, strict=True):
        found[stack.rows] = np.diagonal(R, axis1=1, axis2=2)[stack.pattern]
    return found


def unwhiten(stacks: Sequence[Stack], roots: Sequence[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """L of each group times its rows of columns (n, c): the inverse of `whiten`."""
    found = np.empty_like(columns)
    for stack, L in zip(stacks, roots, strict=True):
        found[stack.rows] = L[stack.pattern] @ columns[stack.rows]
    return found
