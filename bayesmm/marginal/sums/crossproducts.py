"""Cross-products of one design: all that the likelihood ever sees of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmm.cholesky.precision import Precision
from bayesmm.marginal.apart.few_effects import EffectRoots, root_effects
from bayesmm.marginal.apart.one_factor import LevelRoots, root_levels
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.plan import FillMap, Plan, PlanIndex, PlanShape
from bayesmm.marginal.plan.planning import TooLargeError, limits, list_fill, make_plan
from bayesmm.marginal.plan.sparse import SparsePlan, plan_sparse
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.pairs import locate_pairs
from bayesmm.marginal.sums.related import relate_keys, relate_sums, related_factors
from bayesmm.marginal.sums.rows import (
    BlockArrays,
    Conditioning,
    PairRows,
    RowSums,
    dense_rows,
    sum_left_over,
    sum_rows,
    triangular_root,
)

if TYPE_CHECKING:  # loaded where effects are too many to be eliminated
    from bayesmm.marginal.stochastic.probing import Probing

MOST_LEVELS = 5000  # beyond, an eigendecomposition of each would take longer than the search
MOST_EFFECTS = 80  # of several factors; beyond, unless rows are fewer, one dense matrix takes longer than elimination
FEW_PAIRS = 1000  # of levels that share a row, up to which a plan is kept for the next model
FEW_ROWS = 4e6  # multiplications that a triangular root of all rows may take
RANK_TOLERANCE = 1e-10  # of a column's norm; below it a random term's columns are only scaled, not orthogonalised


@dataclass(frozen=True)
class CrossProducts:
    """[Z X y]'W[Z X y] in blocks, on conditioned columns: all arguments of every evaluation (in JAX, a pytree).

    X stands for an orthonormal basis of the fixed effects' columns, y for its least-squares residual, and effect
    columns are orthonormalised within each covariance matrix; `fixed_root`, `fixed_origin` and `effect_roots` lead
    back.

    Attributes
    ----------
    shape : PlanShape
        Static part of the elimination plan.
    diagonal : tuple of arrays, shapes (k, k, q)
        Z_f'WZ_f, one k × k matrix per level.
    cross : tuple of arrays, shapes (k, c, q)
        Z_f'W[X y].
    pairs : tuple of arrays, shapes (k_f, k_g, P)
        Z_f'WZ_g per pair of levels that occur together.
    gram : array, shape (c, c)
        [X y]'W[X y], y last.
    fill : FillMap or None
        What the first step adds to the dense blocks.
    index : PlanIndex
        Index lists of the elimination plan.
    fixed_root : array, shape (p, p)
        R, upper triangular: the user's columns are X R.
    log_det_root : scalar
        log|R'R|.
    fixed_origin : array, shape (p,)
        Least-squares coefficients of the user's columns; the y here is what they leave over.
    effect_roots : tuple of arrays, shapes (k, k)
        T, upper triangular: the user's effect columns are those here times T, so the factor here is TΛ.
    n, p : scalars
        Rows and fixed effects.
    log_weights : scalar
        Σ log wᵢ.
    levels : LevelRoots or None
        The same taken apart, where one factor is alone and its levels are not too many.
    effects : EffectRoots or None
        The same taken apart, where several factors have few effects and there are few rows.
    level_roots : tuple of arrays, shapes (q, q), or None
        V of each factor whose levels are related: the effects here are of independent levels, those of the user's
        levels V times them. Empty where no factor's are.
    sparse : SparsePlan or None
        Where levels are related by a sparse matrix: how all effects are eliminated together. The effects here are those
        of the user's levels.
    probing : Probing or None
        Where log|H| is by probes and what remains of crossed factors is never formed: how it is solved.
    """

    diagonal: tuple[Float[Array, "k k q"], ...]
    cross: tuple[Float[Array, "k c q"], ...]
    pairs: tuple[Float[Array, "k l P"], ...]
    gram: Float[Array, "c c"]
    fill: FillMap | None
    index: PlanIndex
    fixed_root: Float[Array, "p p"]
    log_det_root: Float[Array, ""]
    fixed_origin: Float[Array, " p"]
    effect_roots: tuple[Float[Array, "k k"], ...]
    n: Float[Array, ""]
    p: Float[Array, ""]
    log_weights: Float[Array, ""]
    shape: PlanShape = field(metadata={"static": True})
    levels: LevelRoots | None = None
    effects: EffectRoots | None = None
    level_roots: tuple[Float[Array, "q q"] | None, ...] = ()
    sparse: SparsePlan | None = None
    probing: Probing | None = None

    @property
    def is_related(self) -> bool:
        """Whether levels of some factor are related by a dense matrix, so that those here are not the user's."""
        return len(self.level_roots) > 0

    def at_levels(self, effects: Sequence[Float[Array, "*k q"]]) -> list[Float[Array, "*k q"]]:
        """Return effects of the user's levels, from those of the levels here; each factor's with its levels last."""
        if not self.is_related:
            return list(effects)
        return [b if V is None else b @ V.T for V, b in zip(self.level_roots, effects, strict=True)]

    def from_levels(self, sums: Sequence[Float[Array, "*k q"]]) -> list[Float[Array, "*k q"]]:
        """Return sums over the rows of the levels here, from those of the user's levels."""
        if not self.is_related:
            return list(sums)
        return [K if V is None else K @ V for V, K in zip(self.level_roots, sums, strict=True)]

    def precision(self, factor: int) -> Precision | None:
        """A⁻¹ of a factor whose levels are related by a sparse matrix."""
        return None if self.sparse is None else self.sparse.precisions[factor]

    @property
    def is_apart(self) -> bool:
        """Whether an evaluation is a sum of squares, which loses no digits at any Λ."""
        return self.levels is not None or self.effects is not None


def build_products(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    blocks: Sequence[BlockArrays],
    plan: Plan | None = None,
    effect_roots: Sequence[Float[Array, "k k"]] | None = None,
) -> tuple[CrossProducts, Plan]:
    """Sum the cross-products of one design, and plan their elimination unless there is a plan of the same levels.

    Parameters
    ----------
    X : array, shape (n, p)
        Fixed-effect columns of full rank.
    y : array, shape (n,)
        Response less offset.
    weights : array, shape (n,)
        Prior weights, positive.
    blocks : sequence of BlockArrays
        One per grouping factor.
    plan : Plan, optional
        From `plan_elimination`, or from sums with other responses, weights or columns.
    effect_roots : sequence of arrays, shape (k, k), optional
        T of each factor, if θ is to be on the columns of other sums; see `effect_root`.

    Returns
    -------
    products : CrossProducts
        NumPy leaves.
    plan : Plan
        The elimination plan, with what people ask about it.

    Notes
    -----
    The rows are visited twice, in chunks: once for a triangular root of X'WX and the coefficients of least squares, and
    once for the sums over residuals and conditioned columns.
    """
    centre, shift = constant_part(X, y)
    y = y - centre
    roots = list(effect_roots or [effect_root(block, weights) for block in blocks])
    conditioning = Conditioning(*_condition_fixed(X, y, weights), roots)
    positions = locate_block_pairs(blocks)
    plan = plan or make_plan_of(blocks, positions)
    sums = sum_rows(X, y, weights, blocks, conditioning, positions)
    level_roots: tuple[Float[Array, "q q"] | None, ...] = ()
    if plan.sparse is None and related_factors(blocks):
        sums, level_roots = relate_sums(sums, blocks, positions, plan.shape.pairs)
    fixed = orthonormalise(sums, conditioning)
    levels, effects = None, None
    if level_roots or plan.sparse is not None:
        pass  # rows have no few levels of these
    elif len(blocks) == 1 and blocks[0].n_levels <= MOST_LEVELS and not blocks[0].incidence.touches_itself:
        levels = _take_apart(X, y, weights, blocks[0], conditioning, sums, fixed.change)
    elif blocks and has_few_effects(len(y), sum(G.shape[0] * G.shape[2] for G in sums.diagonal), X.shape[1] + 1):
        effects = root_effects(*dense_rows(X, y, weights, blocks, conditioning, fixed.change))
    products = assemble_products(
        sums,
        fixed,
        conditioning,
        plan,
        n=len(y),
        log_weights=float(np.log(weights).sum()),
        shift=shift,
        levels=levels,
        effects=effects,
        level_roots=level_roots,
    )
    return products, plan


def assemble_products(
    sums: RowSums,
    fixed: FixedSums,
    conditioning: Conditioning,
    plan: Plan,
    *,
    n: int,
    log_weights: float,
    shift: Float[Array, " p"],
    levels: LevelRoots | None = None,
    effects: EffectRoots | None = None,
    level_roots: tuple[Float[Array, "q q"] | None, ...] = (),
) -> CrossProducts:
    """Put sums over all rows and the plan of their elimination together; `shift` is that of `constant_part`."""
    return CrossProducts(
        diagonal=tuple(sums.diagonal),
        cross=fixed.cross,
        pairs=tuple(sums.pairs),
        gram=fixed.gram,
        fill=_make_fill(plan, sums.pairs),
        index=plan.index,
        fixed_root=fixed.root,
        log_det_root=_scalar(2.0 * np.log(np.abs(np.diag(fixed.root))).sum()),
        fixed_origin=fixed.origin + shift,
        effect_roots=tuple(conditioning.effect_roots),
        n=_scalar(n),
        p=_scalar(len(conditioning.root)),
        log_weights=_scalar(log_weights),
        shape=plan.shape,
        levels=levels,
        effects=effects,
        level_roots=level_roots,
        sparse=plan.sparse,
    )


def plan_elimination(blocks: Sequence[BlockArrays]) -> Plan:
    """Plan the elimination of all random effects; of the rows it takes only which levels occur together."""
    return make_plan_of(blocks, locate_block_pairs(blocks))


def locate_block_pairs(blocks: Sequence[BlockArrays]) -> dict[FactorPair, PairRows]:
    """List the pairs of levels that share a row, in the order that plans have."""
    found = locate_pairs([block.incidence for block in blocks], related_factors(blocks))
    return {pair: found[pair] for pair in sorted(found)}


def make_plan_of(blocks: Sequence[BlockArrays], positions: Mapping[FactorPair, PairRows]) -> Plan:
    """Plan the elimination of factors whose levels occur together in these pairs."""
    if any(block.precision is not None for block in blocks):
        return _make_sparse_plan(blocks, positions)
    pairs, sizes = relate_keys(blocks, positions), [block.n_levels for block in blocks]
    widths = [block.incidence.k for block in blocks]
    try:
        if sum(map(len, pairs.values())) > FEW_PAIRS:
            return make_plan(pairs, sizes, widths)
        written = tuple((pair, keys.astype(np.int64, copy=False).tobytes()) for pair, keys in pairs.items())
        return _plan_of_few(written, tuple(sizes), tuple(widths), limits())
    except TooLargeError as error:
        if related_factors(blocks):
            raise
        return _whole(pairs, sizes, widths, too_large=str(error))


@lru_cache(maxsize=32)
def _plan_of_few(
    pairs: tuple[tuple[FactorPair, bytes], ...], sizes: tuple[int, ...], widths: tuple[int, ...], _: tuple[float, ...]
) -> Plan:
    """Plan for these pairs, once: models of the same levels in a loop, of other responses or columns, have one plan."""
    return make_plan({pair: np.frombuffer(keys, np.int64) for pair, keys in pairs}, sizes, widths)


def _make_sparse_plan(blocks: Sequence[BlockArrays], positions: Mapping[FactorPair, PairRows]) -> Plan:
    keys, sizes = {pair: where.keys for pair, where in positions.items()}, [block.n_levels for block in blocks]
    widths = [block.incidence.k for block in blocks]
    sparse = plan_sparse(keys, sizes, widths, [block.precision for block in blocks])
    return replace(_whole(keys, sizes, widths), sparse=sparse)


def _whole(
    pair_keys: Mapping[FactorPair, np.ndarray], sizes: Sequence[int], widths: Sequence[int], too_large: str = ""
) -> Plan:
    """Plan no steps: all effects stay together."""
    names = tuple(sorted(pair_keys))
    ends = [np.divmod(pair_keys[pair], sizes[pair[1]]) for pair in names]
    nothing = PlanIndex(tuple(a for a, _ in ends), tuple(b for _, b in ends), (), (), (), (), (), (), (), ())
    return Plan(
        shape=PlanShape(tuple(widths), names, (), (), (), too_large),
        index=nothing,
        n_levels=tuple(sizes),
        block_sizes=np.zeros(0, int),
        costs=(),
    )


def has_few_effects(n: int, m: int, c: int) -> bool:
    """Whether n rows of m random effects and c other columns are few enough to be taken apart as one dense matrix."""
    return m**2 * min(m, n) <= MOST_EFFECTS**3 and n * (m + c) ** 2 <= FEW_ROWS


def constant_part(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each response where a column of X is constant, and the coefficients that make it up.

    Subtracting it first loses no digit, whereas a large mean would round every fitted value.

    Parameters
    ----------
    X : array, shape (n, p)
    y : array, shape (..., n)

    Returns
    -------
    centre : array, shape (..., 1)
    shift : array, shape (..., p)
    """
    centre, shift = np.zeros((*y.shape[:-1], 1)), np.zeros((*y.shape[:-1], X.shape[1]))
    for j, (first, last) in enumerate(zip(X[0].tolist(), X[-1].tolist(), strict=True)):
        if first == last != 0.0 and (X[:, j] == first).all():
            centre = y.sum(axis=-1, keepdims=True) / y.shape[-1]
            shift[..., j] = centre[..., 0] / first
            break
    return centre, shift


def _condition_fixed(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R with X'WX = R'R, and the coefficients of y on XR⁻¹: nearly, since sums over the result are corrected."""
    if X.shape[1] == 0:
        return np.zeros((0, 0)), np.zeros(0)
    R = triangular_root(X, weights)
    return R, np.linalg.solve(R.T, X.T @ (weights * y))


class FixedSums(NamedTuple):
    """Sums over orthonormal columns and least-squares residuals, what made them so, and what leads back."""

    change: Float[Array, "c c"]
    cross: tuple[Float[Array, "k c q"], ...]
    gram: Float[Array, "c c"]
    root: Float[Array, "p p"]
    origin: Float[Array, " p"]


def orthonormalise(sums: RowSums, conditioning: Conditioning) -> FixedSums:
    """Make the nearly orthonormal columns so, and the residual orthogonal to them, by a change of the sums.

    This is the second pass of a Cholesky QR (Yamamoto et al. 2015, ETNA 44), without another visit to the rows: a
    response with a mean of 1e9 loses no digits of its residual.
    """
    p = len(conditioning.coefficients)
    C = np.linalg.cholesky(sums.gram[:p, :p]).T
    inverse = np.linalg.inv(C)
    left_over = inverse.T @ sums.gram[:p, p]  # of the response
    change = np.eye(p + 1)
    change[:p, :p] = inverse
    change[:p, p] = -inverse @ left_over
    gram = np.eye(p + 1)
    gram[p, p] = sums.gram[p, p] - left_over @ left_over
    root = C @ conditioning.root
    origin = np.linalg.solve(root, C @ conditioning.coefficients + left_over)
    cross = tuple(host.transform(change, K.swapaxes(0, 1)).swapaxes(0, 1) for K in sums.cross)
    return FixedSums(change, tuple(np.ascontiguousarray(K) for K in cross), gram, root, origin)


def _take_apart(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    block: BlockArrays,
    conditioning: Conditioning,
    sums: RowSums,
    change: np.ndarray,
) -> LevelRoots:
    """Take each level's own least squares off [X y], in a third pass over the rows."""
    root, back = root_levels(sums.diagonal[0])
    coefficients = contract(back.swapaxes(0, 1), sums.cross[0])  # (k, c, q)
    left = sum_left_over(X, y, weights, block, conditioning, contract(back, coefficients))
    changed = host.transform(change, coefficients.swapaxes(0, 1)).swapaxes(0, 1)
    return LevelRoots(root, np.ascontiguousarray(changed), change.T @ left @ change)


def effect_root(block: BlockArrays, weights: np.ndarray) -> np.ndarray:
    """T, such that columns T⁻¹ have W-norm √n and are uncorrelated, as far as the structure keeps its meaning.

    An unstructured covariance matrix does under any linear change of columns, so θ is optimised where the columns are
    tame and calendar years as a random slope do no harm. Others do where each column is scaled, or all by one number.
    The weights are in the norm, so that θ does not depend on their unit either.
    """
    n, k = block.incidence.n, block.incidence.k
    if block.root is not None:  # A is not of unit variances
        weights = weights * (block.root**2).sum(axis=1)[block.incidence.only.codes]
    elif block.precision is not None:
        weights = weights * block.precision.variances[block.incidence.only.codes]
    T, every = np.zeros((k, k)), block.incidence.ordered.stacked().columns
    weights = block.incidence.ordered.repeat(weights)
    for start, stop, structure in block.pieces:
        columns = every[:, start:stop]
        norms = np.sqrt(np.einsum("ni,ni,n->i", columns, columns, weights) / n)
        norms = np.where(norms > 0, norms, 1.0)
        if structure.invariance == "scale":
            groups = structure.scale_groups(stop - start)
            norms = np.sqrt(np.bincount(groups, norms**2) / np.bincount(groups))[groups]
        elif structure.invariance == "none":
            norms = np.ones_like(norms)
        piece = norms[:, None] if len(norms) == 1 else np.diag(norms)
        if structure.invariance == "linear" and 1 < stop - start <= len(columns):
            R = triangular_root(columns, weights) / np.sqrt(n)
            if (np.abs(np.diag(R)) > RANK_TOLERANCE * norms).all():
                piece = R * np.where(np.diag(R) < 0, -1.0, 1.0)[:, None]
        T[start:stop, start:stop] = piece
    return T


def _scalar(value: float) -> Any:
    return np.float64(value)


def _make_fill(plan: Plan, pairs: Sequence[Float[Array, "k l P"]]) -> FillMap | None:
    """Write what the first step adds to the dense blocks as a linear map of its matrices N."""
    shape, index = plan.shape, plan.index
    if not shape.steps or shape.steps[0].kind == "product":
        return None
    first = shape.steps[0]
    k, q = shape.widths[first.factor], plan.n_levels[first.factor]
    coefficients, rows, columns = [], [], []
    for update, lists in zip(*list_fill(shape, index), strict=True):
        left, right = (pairs[shape.pairs.index((first.factor, g))] for g in (update.left, update.right))
        own = index.rows[shape.pairs.index((first.factor, update.left))][lists.left]
        for i in range(left.shape[1]):
            for j in range(right.shape[1]):
                A, B = left[:, i].take(lists.left, axis=1), right[:, j].take(lists.right, axis=1)
                start = len(rows) * k * k * q
                coefficients.append(-(A[:, None] * B[None]).reshape(-1))
                rows.append(np.tile((lists.target + (i * lists.stride + j)).astype(np.int32), k * k))
                columns.append(np.concatenate([(own + (start + e * q)).astype(np.int32) for e in range(k * k)]))
    if not rows:
        return None
    return FillMap(np.concatenate(coefficients), np.concatenate(rows), np.concatenate(columns), len(rows))
