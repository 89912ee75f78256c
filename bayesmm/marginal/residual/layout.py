"""Groups of rows whose residuals hang together, laid out by their size and by what they share.

Groups of the same positions, standard deviations and prior weights have the same covariance matrix R: they are one
pattern. Patterns of one size lie side by side in one stack, so that nothing is done group by group.

Where a row depends on those before it through the last of them alone, a group is a chain, and with R_c of two
neighbours c and R_i of a row i between two others

    R⁻¹ = Σ_c R_c⁻¹ − Σ_i R_i⁻¹,    log|R| = Σ_c log|R_c| − Σ_i log|R_i|

(each matrix in its place; Lauritzen 1996, Graphical Models, 5.1). Such pieces are stacks like others, those of single
rows with a negative sign, and their patterns are few: gaps that occur, not sets of times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from bayesmm.covariance.residual import Correlation, PairProducts
from bayesmm.marginal.shapes import Array, Float, Int

TINY = 1e-30  # step of a complex-step derivative
APART = 1e-5  # step of a central difference of such derivatives, in sizes of φ
MIXED = np.uint64(1)  # odd factors: no bit is lost
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
        Groups of each pattern, times the sign.
    sign : 1 or -1
        Of these pieces in R⁻¹ and log|R|.
    """

    rows: np.ndarray
    pattern: np.ndarray
    positions: np.ndarray
    spreads: np.ndarray
    log_weights: np.ndarray
    counts: np.ndarray
    sign: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualLayout:
    """Covariance of the residuals, over σ², as a function of φ = (s, z).

    Attributes
    ----------
    correlation : Correlation or None
        Of the rows of a group, by z; None where rows are independent.
    are_sds : bool array, shape (s,)
        Which parameters of the standard deviations are logarithms of ratios of two; others are exponents.
    stacks : tuple of Stack
        By size of the groups.
    """

    correlation: Correlation | None
    are_sds: np.ndarray
    stacks: tuple[Stack, ...]

    @cached_property
    def pieces(self) -> ResidualLayout:
        """The same in pieces of one or two rows, where groups are chains; itself where they are not."""
        if self.correlation is None or not self.correlation.is_markov:
            return self
        return replace(self, stacks=tuple(_take_to_pieces(self.correlation, self.stacks)))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the data alone."""
        return {name: value for name, value in vars(self).items() if name != "pieces"}

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

    def derivatives(self, phi: np.ndarray) -> list[Float[Array, "f m o o"]]:
        """∂R by each entry of φ: complex steps."""
        steps = np.eye(len(phi)) * (1j * TINY)
        by_entry = [self.covariances(np, phi + step) for step in steps]
        return [np.stack([np.imag(R) / TINY for R in each]) for each in zip(*by_entry, strict=True)]

    def held(self, phi: np.ndarray) -> np.ndarray:
        """Which entries of φ are at an end, where they have no standard error."""
        held = np.zeros(len(phi), dtype=bool)
        if self.correlation is not None:
            held[self.n_spreads :] = self.correlation.held(phi[self.n_spreads :])
        return held

    def bend(self, phi: np.ndarray, matrices: Sequence[Float[Array, "m o o"]]) -> Float[Array, "f f"]:
        """⟨M, ∂²R⟩ of matrices of the patterns: central differences of ⟨M, ∂R⟩."""

        def along(phi: np.ndarray) -> np.ndarray:
            slopes = self.derivatives(phi)
            return sum(
                (dR.reshape(len(dR), -1) @ M.reshape(-1) for M, dR in zip(matrices, slopes, strict=True)),
                np.zeros(len(phi)),
            )

        steps = np.diag(APART * self.sizes(phi))
        bent = np.array([(along(phi + e) - along(phi - e)) / (2.0 * e.sum()) for e in steps])
        return 0.5 * (bent + bent.T)

    def sizes(self, phi: np.ndarray) -> np.ndarray:
        """How large a change of each entry is small: one, or what multiplies a standard deviation by e at most."""
        largest = np.zeros(self.n_spreads)
        for stack in self.stacks:
            largest = np.maximum(largest, np.abs(stack.spreads).max(axis=(0, 1)))
        return np.concatenate([1.0 / largest, np.ones(len(phi) - self.n_spreads)])

    def reach(self, phi: np.ndarray) -> tuple[float, float]:
        """Say by e to which power standard deviations of two rows differ at most, or one from σ; or free correlations.

        Entries that are held count as zero.
        """
        phi = np.where(self.held(phi), 0.0, phi)
        s, free = np.abs(phi[: self.n_spreads]), np.abs(phi[self.n_spreads :]).max(initial=0.0)
        low, high = np.full(self.n_spreads, np.inf), np.full(self.n_spreads, -np.inf)
        for stack in self.stacks:
            low = np.minimum(low, stack.spreads.min(axis=(0, 1)))
            high = np.maximum(high, stack.spreads.max(axis=(0, 1)))
        apart, away = s * (high - low), s * np.maximum(np.abs(low), np.abs(high))
        return max(apart.max(initial=0.0), free), away.max(initial=0.0)

    def start(self, residuals: np.ndarray) -> np.ndarray:
        """φ near what residuals (n,) of least squares show."""
        s = self._start_spreads(residuals)
        if self.correlation is None:
            return s
        parts: list[list[np.ndarray]] = [[], [], []]
        scaled, total = [], 0.0
        for stack in self.stacks:
            sd = np.exp(stack.spreads @ s - 0.5 * stack.log_weights)[stack.pattern]
            scaled.append(residuals[stack.rows] / sd)
            total += float((scaled[-1] ** 2).sum())
        variance = total / len(residuals)
        for stack, e in zip(self.stacks, scaled, strict=True):
            i, j = np.triu_indices(stack.rows.shape[1], 1)
            at = stack.positions[stack.pattern]
            for part, values in zip(parts, (at[:, i], at[:, j], e[:, i] * e[:, j] / variance), strict=True):
                part.append(values.ravel())
        return np.concatenate([s, self.correlation.start(PairProducts(*map(np.concatenate, parts)))])

    def _start_spreads(self, residuals: np.ndarray) -> np.ndarray:
        """Take mean squares of strata, or regress logarithms of squares on what multiplies the parameters."""
        if not self.n_spreads:
            return np.zeros(0)
        columns = np.concatenate([s.spreads[s.pattern].reshape(-1, self.n_spreads) for s in self.stacks])
        log_weights = np.concatenate([s.log_weights[s.pattern].ravel() for s in self.stacks])
        e = np.concatenate([residuals[s.rows].ravel() for s in self.stacks])
        if self.are_sds.all() and (columns.sum(axis=1) <= 1.0).all():
            squares, counts = columns.T @ (np.exp(log_weights) * e**2), columns.sum(axis=0)
            first = columns.sum(axis=1) == 0.0
            least = LEAST_SQUARE * np.mean(e**2)
            reference = max(float((np.exp(log_weights) * e**2)[first].mean()), least)
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
    """
    n = len(codes)
    if correlation is None:
        codes = np.arange(n)
    order = np.lexsort((positions, codes))
    sizes = np.bincount(codes)
    first = np.cumsum(sizes) - sizes
    stacks = []
    for size in np.unique(sizes[sizes > 0]):
        rows = order[first[sizes == size][:, None] + np.arange(size)]
        stacks.append(_stack(correlation, rows, positions[rows], spreads[rows], np.log(weights)[rows]))
    return ResidualLayout(correlation=correlation, are_sds=np.array(are_sds, dtype=bool), stacks=tuple(stacks))


def _stack(
    correlation: Correlation | None,
    rows: Int[Array, "G o"],
    positions: Float[Array, "G o"],
    spreads: Float[Array, "G o s"],
    log_weights: Float[Array, "G o"],
    sign: float = 1.0,
) -> Stack:
    """Find the patterns of groups of one size."""
    places = np.zeros_like(positions) if correlation is None else correlation.anchor(positions)
    example, pattern = find_patterns(np.column_stack([places, spreads.reshape(len(rows), -1), log_weights]))
    return Stack(
        rows=rows,
        pattern=pattern,
        positions=places[example],
        spreads=spreads[example],
        log_weights=log_weights[example],
        counts=sign * np.bincount(pattern),
        sign=sign,
    )


def find_patterns(values: Float[Array, "G w"]) -> tuple[np.ndarray, np.ndarray]:
    """Find an example of each of the lines that differ, and which of them every line is.

    Lines are sorted by one number made of all their bits, in which two that differ are hardly ever equal.
    """
    varying = values[:, (values != values[:1]).any(axis=0)] + 0.0  # zero has one sign
    if not varying.size:
        return np.zeros(min(len(values), 1), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
    factors = np.random.default_rng(0).integers(2**63, size=varying.shape[1], dtype=np.uint64) * np.uint64(2) + MIXED
    bits = varying.view(np.uint64)
    keys = ((bits ^ (bits >> np.uint64(32))) * factors).sum(axis=1, dtype=np.uint64)
    _, example, pattern = np.unique(keys, return_index=True, return_inverse=True)
    if not (varying == varying[example][pattern]).all():
        _, example, pattern = np.unique(varying, axis=0, return_index=True, return_inverse=True)
    return example, pattern.ravel()


def _take_to_pieces(correlation: Correlation, stacks: Sequence[Stack]) -> Iterator[Stack]:
    """Take chains to neighbours, and with a negative sign rows between two others; rows that are alone stay."""
    for sign, width, some in (
        (1.0, 1, [s for s in stacks if s.rows.shape[1] == 1]),
        (1.0, 2, [s for s in stacks if s.rows.shape[1] > 1]),
        (-1.0, 1, [s for s in stacks if s.rows.shape[1] > 2]),
    ):
        if some:
            parts = [_windows(stack, width, inner=sign < 0.0) for stack in some]
            yield _stack(correlation, *(np.concatenate(each) for each in zip(*parts, strict=True)), sign=sign)


def _windows(stack: Stack, width: int, *, inner: bool) -> list[np.ndarray]:
    """Rows, positions, spreads and logarithms of weights of rows that follow on each other, in all groups."""
    columns = np.arange(stack.rows.shape[1] - width + 1)[:, None] + np.arange(width)
    columns = columns[1:-1] if inner else columns
    whole = [stack.rows, *(v[stack.pattern] for v in (stack.positions, stack.spreads, stack.log_weights))]
    count = len(stack.rows) * len(columns)
    return [each[:, columns].reshape(count, width, *each.shape[2:]) for each in whole]


def whiten(stacks: Sequence[Stack], roots: Sequence[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """L⁻¹ of each group times its rows of columns (n, c), for Cholesky factors L (m, o, o) of the patterns."""
    found = np.empty_like(columns)
    for stack, L in zip(stacks, roots, strict=True):
        found[stack.rows] = np.linalg.inv(L)[stack.pattern] @ columns[stack.rows]
    return found


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
