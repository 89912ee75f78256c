"""The elimination where what remains of crossed factors is too large to be formed: solutions, and log|H| by probes.

log|H| is known exactly but for log|A|, A = R⁻¹SR⁻ᵀ (`bayesmm.marginal.stochastic.schur`). Since tr A is known too,
log|A| = tr(log A − A + I), of which the first-order part is gone. On a fixed space Q, in which the extreme eigenvectors
of A nearly lie, the trace is taken exactly; on what is orthogonal to Q it is the mean of z'(log A − A + I)z over
probes z of random signs. Q and probes do not change with Λ, so that log|H| is a smooth function of Λ, with
derivatives that are exact given the probes, and their spread says how far it is from the truth.

References
----------
Hutchinson (1989), Commun. Stat. Simul. Comput. 18. Ubaru, Chen & Saad (2017), SIAM J. Matrix Anal. Appl. 38. Meyer,
Musco, Musco & Woodruff (2021), Hutch++. Loh et al. (2015), Nat. Genet. 47, for REML by fixed probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.stochastic.krylov import conjugate_gradients, quadrature, tridiagonalise
from bayesmm.marginal.stochastic.levels import by_effect, end_to_end, times_levels
from bayesmm.marginal.stochastic.matrices import Matrices
from bayesmm.marginal.stochastic.schur import Influence, Schur

FIXED = 16  # vectors of Q at least
SMALL = 64  # effects of a factor that Q has as many vectors more for, since they hang together with all others
MOST_FIXED = 128
POWERS = 4  # products that turn random vectors towards the extreme eigenvectors
TOGETHER = 32  # columns that are multiplied at a time
TOLERANCE = 1e-8  # relative residual to which Lanczos's recursion goes: of derivatives; values have its square
SOLVED = 1e-11  # relative residual of conjugate gradients
NUMBERS = 2**26  # in the bases of the columns that are taken together, half a gigabyte
USUAL_STEPS = 40


class Shares(NamedTuple):
    """What each probe says of log|A|: their mean is used.

    Attributes
    ----------
    values : array, shape (m,)
    influence : list of arrays, shape (k, k, m)
        Half their derivatives with respect to Λ of each factor.
    """

    values: Float[Array, " m"]
    influence: list[Float[Array, "_k _k m"]]


class Probed(NamedTuple):
    """What the elimination gives at one Λ; see `bayesmm.marginal.likelihood.evaluation.Solved`."""

    log_det: float
    gram: Float[Array, "c c"]
    residual: list[Float[Array, "_k c _q"]]
    effects: list[Float[Array, "_k c _q"]]
    weights: list[Float[Array, "_k _k"]]
    gram_of: Callable[[list[Float[Array, "_k t _q"]]], Float[Array, "t t"]]
    shares: Shares
    unsolved: float  # largest residual over its tolerance; above one where the steps did not suffice


class Diagonal(NamedTuple):
    """Blocks of ΛH⁻¹Λ' of every level, and the Monte Carlo error of their diagonals.

    Attributes
    ----------
    covariances : list of arrays, shape (k, k, q)
    errors : list of arrays, shape (k, q)
    """

    covariances: list[Float[Array, "_k _k _q"]]
    errors: list[Float[Array, "_k _q"]]


@dataclass(frozen=True, eq=False)
class Probing:
    """The matrices of one design with probes.

    Attributes
    ----------
    matrices : Matrices
        Z'WZ.
    fixed : array, shape (N, r)
        Q.
    probes : array, shape (N, m)
        Random signs, projected off Q.
    seed : int
        What they were made from.
    place : tuple of arrays, shape (k, k)
        Λ of each factor, at which Q was chosen.
    """

    matrices: Matrices
    fixed: Float[Array, "N r"]
    probes: Float[Array, "N m"]
    seed: int
    place: tuple[Float[Array, "_k _k"], ...]
    _last: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_probes(self) -> int:
        """Number of probes (m)."""
        return self.probes.shape[1]

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without what was worked out last."""
        return {name: {} if name == "_last" else value for name, value in vars(self).items()}

    def solve(
        self,
        factors: Sequence[Float[Array, "_k _k"]],
        cross: Sequence[Float[Array, "_k c _q"]],
        gram: Float[Array, "c c"],
    ) -> Probed:
        """Eliminate all random effects.

        Parameters
        ----------
        factors : sequence of arrays, shape (k, k)
            Λ on the conditioned columns, none of them singular.
        cross, gram : arrays
            Z'W[X y] by factor, and [X y]'W[X y].
        """
        key = b"".join(np.ascontiguousarray(L).tobytes() for L in factors)
        if self._last.get("key") == key and self._last["cross"] is cross:
            return self._last["solved"]
        with _inside(self.matrices):
            solved = self._solve(factors, cross, gram)
        self._last.update(key=key, cross=cross, solved=solved)
        return solved

    def _solve(
        self,
        factors: Sequence[Float[Array, "_k _k"]],
        cross: Sequence[Float[Array, "_k c _q"]],
        gram: Float[Array, "c c"],
    ) -> Probed:
        schur = Schur(self.matrices, factors)
        at = _Solver(schur)
        explained, effects, residual = at.solve(cross)
        values, influence, unsolved = _logarithm(schur, self.fixed)
        own_values, own, own_unsolved = _logarithm(schur, self.probes)
        known = schur.log_influence()
        shares = Shares(own_values, _by_factor(schur, factors, own))
        total = [
            (exact.sum(axis=2) + on_fixed.sum(axis=2) + (each.mean(axis=2) if self.n_probes else 0.0))
            for exact, on_fixed, each in zip(
                _by_factor(schur, factors, known), _by_factor(schur, factors, influence), shares.influence, strict=True
            )
        ]

        def gram_of(moved: list[Float[Array, "_k t _q"]]) -> Float[Array, "t t"]:
            with _inside(self.matrices):
                return at.gram_of(moved)

        log_det = schur.log_det + values.sum() + (own_values.mean() if self.n_probes else 0.0)
        return Probed(
            float(log_det),
            gram - explained,
            residual,
            effects,
            [Q @ np.linalg.inv(L) for Q, L in zip(total, factors, strict=True)],
            gram_of,
            shares,
            max(unsolved, own_unsolved, at.unsolved),
        )

    def diagonal(
        self, factors: Sequence[Float[Array, "_k _k"]], turns: Sequence[Float[Array, "_k _k"]] | None = None
    ) -> Diagonal:
        """Blocks of ΛH⁻¹Λ' of every level.

        Parameters
        ----------
        factors : sequence of arrays, shape (k, k)
            Λ of each factor.
        turns : sequence of arrays, shape (k, k), optional
            T, if the blocks are to be TCT' of each.

        Notes
        -----
        A⁻¹ = 2I − A + h(A), whose first part has the identity as its blocks of one level. The blocks of h(A) are exact
        on Q and a mean of h(A)z z' over the probes. With C of the rest, a level of the first factor has N + NXN,
        X = ACA', to which the blocks R⁻ᵀR⁻¹ of single levels of the rest are known, and others come from the probes.
        """
        with _inside(self.matrices):
            turns = [np.eye(len(L)) for L in factors] if turns is None else turns
            return _diagonal(Schur(self.matrices, factors), self.fixed, self.probes, turns)


def make_probing(matrices: Matrices, factors: Sequence[Float[Array, "_k _k"]], n_probes: int, seed: int) -> Probing:
    """Make probes, and turn Q towards the extreme eigenvectors at one Λ.

    Parameters
    ----------
    matrices : Matrices
        Z'WZ.
    factors : sequence of arrays, shape (k, k)
        Λ of each factor.
    n_probes : int
        Number of probes; none are needed where Q is everything.
    seed : int
        Of the random signs.

    Notes
    -----
    Where many probes are needed, Q has half as many vectors: both then do as much (Hutch++).
    """
    rng = np.random.default_rng(seed)
    layout = matrices.layout
    N, sizes = layout.n_rest, [layout.widths[f] * layout.sizes[f] for f in layout.rest]
    fixed = min(max(FIXED + sum(size for size in sizes if size <= SMALL), n_probes // 2), MOST_FIXED)
    if fixed >= N:
        return Probing(matrices, np.eye(N), np.zeros((N, 0)), seed, tuple(factors))
    with _inside(matrices):
        Q = _extreme_vectors(Schur(matrices, factors), rng.standard_normal((N, fixed)))
    z = rng.integers(0, 2, (N, n_probes)) * 2.0 - 1.0
    return Probing(matrices, Q, z - Q @ (Q.T @ z), seed, tuple(factors))


def _extreme_vectors(schur: Schur, start: Float[Array, "N r"]) -> Float[Array, "N r"]:
    """As many vectors as given, in which the eigenvectors nearly lie whose eigenvalues are the farthest from one.

    Those of the best Ritz values in a block Krylov space (Musco & Musco 2015, NeurIPS 28).
    """
    xp, blocks = schur.xp, [np.linalg.qr(start)[0]]
    for _ in range(min(POWERS, -(-len(start) // start.shape[1]) - 1)):
        blocks.append(np.linalg.qr(np.asarray(schur(xp.asarray(blocks[-1]))) - blocks[-1])[0])
    W = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    through = np.concatenate([np.asarray(schur(xp.asarray(W[:, part]))) for part in _parts(W.shape[1])], axis=1)
    ritz, turn = np.linalg.eigh(W.T @ through)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.abs(np.log(ritz) - ritz + 1.0)
    return W @ turn[:, np.argsort(far)[-start.shape[1] :]]


def _parts(c: int) -> list[slice]:
    return [slice(i, i + TOGETHER) for i in range(0, c, TOGETHER)]


def _inside(matrices: Matrices) -> AbstractContextManager[None]:
    if matrices.xp is np:
        return nullcontext()
    from bayesmm.inside_jax import inside_jax

    return inside_jax()


def _logarithm(schur: Schur, columns: Float[Array, "N c"]) -> tuple[Float[Array, " c"], Influence, float]:
    """z'(log A − A + I)z of each column z, with half their derivatives, some columns at a time."""
    xp, (N, c) = schur.xp, columns.shape
    width = int(np.clip(NUMBERS // (N * USUAL_STEPS), 4, TOGETHER))
    values, parts, unsolved = [], [], 0.0
    for start in range(0, c, width):
        some = xp.asarray(columns[:, start : start + width])
        T = tridiagonalise(xp, schur, some, TOLERANCE)
        of = quadrature(xp, T)
        del T.basis[:]
        values.append(of.values)
        parts.append(schur.influence(of, some))
        unsolved = max(unsolved, T.residual / TOLERANCE)
    if not parts:
        k = schur.width
        return np.zeros(0), Influence(np.zeros((k, k, 0)), [np.zeros((*L.shape, 0)) for L in schur.factors]), 0.0
    first = np.concatenate([np.asarray(each.first) for each in parts], axis=2)
    rest = [
        np.concatenate([np.asarray(R) for R in each], axis=2) for each in zip(*(p.rest for p in parts), strict=True)
    ]
    return np.concatenate(values), Influence(first, rest), unsolved


def _by_factor(
    schur: Schur, factors: Sequence[Float[Array, "_k _k"]], influence: Influence
) -> list[Float[Array, "_k _k c"]]:
    """Half the derivatives with respect to Λ of each factor, in their own order."""
    layout, found = schur.layout, {}
    if layout.first is not None:
        found[layout.first] = np.einsum("abc,bd->adc", np.asarray(influence.first), factors[layout.first])
    found |= {f: np.asarray(own) for f, own in zip(layout.rest, influence.rest, strict=True)}
    return [found[f] for f in range(len(factors))]


class _Solver:
    """Solutions with H at one Λ by conjugate gradients."""

    def __init__(self, schur: Schur) -> None:
        self.schur, self.unsolved = schur, 0.0

    def solve(
        self, cross: Sequence[Float[Array, "_k c _q"]]
    ) -> tuple[Float[Array, "c c"], list[Float[Array, "_k c _q"]], list[Float[Array, "_k c _q"]]]:
        """K'WZ ΛH⁻¹Λ' Z'WK, ΛH⁻¹Λ'Z'WK and Z'Ṽ⁻¹K of columns K."""
        schur, m = self.schur, self.schur.m
        xp = m.xp
        first, rest = self._split(cross)
        solved_first = times_levels(schur.N, first)
        right = schur.gather(rest - m.back(solved_first))
        found = conjugate_gradients(xp, schur, right, SOLVED)
        self.unsolved = max(self.unsolved, found.residual / SOLVED)
        b = schur.spread(found.columns)
        edge = m.across(b)
        b_first = times_levels(schur.N, first - edge)
        explained = np.asarray(first.T @ solved_first + right.T @ found.columns)
        left_first = first - times_levels(m.first, b_first) - edge
        left = rest - m.back(b_first) - m.within(b)
        return 0.5 * (explained + explained.T), self._join(b_first, b), self._join(left_first, left)

    def gram_of(self, moved: Sequence[Float[Array, "_k t _q"]]) -> Float[Array, "t t"]:
        """(Za)'Ṽ⁻¹(Za) of arrays a of each factor, side by side."""
        m = self.schur.m
        counts = [a.shape[1] for a in moved]
        starts = np.cumsum([0, *counts])
        wide = [np.zeros((len(a), starts[-1], a.shape[2])) for a in moved]
        for a, total, start in zip(moved, wide, starts[:-1], strict=True):
            total[:, start : start + a.shape[1]] = a
        first, rest = self._split(wide)
        edge = m.across(rest)
        taken = self._join(times_levels(m.first, first) + edge, m.back(first) + m.within(rest))
        gram = sum(np.einsum("ktq,kuq->tu", a, K, optimize=True) for a, K in zip(wide, taken, strict=True))
        return gram - self.solve(taken)[0]

    def _split(self, cross: Sequence[Float[Array, "_k c _q"]]) -> tuple[Any, Any]:
        layout, xp = self.schur.layout, self.schur.xp
        c = cross[0].shape[1]
        first = np.zeros((0, c)) if layout.first is None else end_to_end(cross[layout.first])
        return xp.asarray(first), xp.asarray(np.concatenate([end_to_end(cross[f]) for f in layout.rest]))

    def _join(self, first: Float[Array, "F c"], rest: Float[Array, "N c"]) -> list[Float[Array, "_k c _q"]]:
        layout = self.schur.layout
        found = {
            f: by_effect(np.asarray(part), layout.widths[f])
            for f, part in zip(layout.rest, layout.each(rest), strict=True)
        }
        if layout.first is not None:
            found[layout.first] = by_effect(np.asarray(first), layout.width)
        return [np.ascontiguousarray(found[f]) for f in range(len(layout.sizes))]


def _diagonal(
    schur: Schur, fixed: Float[Array, "N r"], probes: Float[Array, "N m"], turns: Sequence[Float[Array, "_k _k"]]
) -> Diagonal:
    xp, m, layout = schur.xp, schur.m, schur.layout
    r = fixed.shape[1]
    z = xp.asarray(np.concatenate([fixed, probes], axis=1))
    weights = np.concatenate([np.ones(r), np.full(probes.shape[1], 1.0 / max(probes.shape[1], 1))])
    inverse = conjugate_gradients(xp, schur, z, TOLERANCE).columns
    h = inverse + schur(z) - 2.0 * z
    covariances, errors = {}, {}
    for f, L, B, own, other in zip(
        layout.rest, schur.factors, schur.roots, layout.each(h), layout.each(z), strict=True
    ):
        k = len(L)
        terms = own.reshape(-1, k, 1, own.shape[1]) * other.reshape(-1, 1, k, own.shape[1])
        terms = 0.5 * (terms + terms.swapaxes(1, 2))
        blocks = np.asarray(xp.einsum("iab,ibdc,ied->iaec", B, terms, B))
        exact = np.asarray(B @ B.swapaxes(1, 2))
        covariances[f], errors[f] = _mean(exact, blocks, weights, r, turns[f])
    b, moved = m.across(schur.spread(z)), m.across(schur.spread(inverse - z))
    if layout.first is not None:
        k = layout.width
        terms = moved.reshape(-1, k, 1, z.shape[1]) * b.reshape(-1, 1, k, z.shape[1])
        terms = 0.5 * (terms + terms.swapaxes(1, 2))
        blocks = np.asarray(xp.einsum("iab,ibdc,ied->iaec", schur.N, terms, schur.N))
        known = m.gathered([B @ B.swapaxes(1, 2) for B in schur.roots])
        exact = np.asarray(schur.N + schur.N @ known @ schur.N)
        covariances[layout.first], errors[layout.first] = _mean(exact, blocks, weights, r, turns[layout.first])
    every = range(len(layout.sizes))
    return Diagonal([covariances[f] for f in every], [errors[f] for f in every])


def _mean(
    exact: Float[Array, "q k k"], blocks: Float[Array, "q k k c"], weights: Float[Array, " c"], r: int, T: np.ndarray
) -> tuple[Float[Array, "k k q"], Float[Array, "k q"]]:
    """Add up what is known and what probes say, turned by T; standard errors of the diagonal from their spread."""
    total = T @ (exact + blocks @ weights) @ T.T
    own = np.einsum("ka,qabm,kb->kqm", T, blocks[..., r:], T, optimize=True)
    m = own.shape[2]
    error = own.std(axis=2, ddof=1) / np.sqrt(m) if m > 1 else np.zeros(own.shape[:2])
    return np.ascontiguousarray(np.moveaxis(total, 0, 2)), error
