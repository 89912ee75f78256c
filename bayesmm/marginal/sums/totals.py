"""Sums over chunks of rows that come from anywhere, and are seen one at a time; they add up in any order.

Rows are conditioned as those of `bayesmm.marginal.sums.rows` are, by what some of them say: nearly orthonormal columns
and nearly least-squares residuals are enough, since the sums are corrected at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesmm.incidence import Incidence
from bayesmm.marginal.arrays.narrow import product, turn
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.planning import elimination_order
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.packed_totals import PackedTotals
from bayesmm.marginal.sums.pair_totals import PairTotals
from bayesmm.marginal.sums.rows import (
    Chunk,
    Conditioning,
    RowSums,
    add_levels,
    add_levels_of_many,
    chunks,
    condition_chunk,
    no_sums,
)

AT_ONCE = 2**16  # rows, at least: more would be written to memory and read again between one step and the next
MANY = 2**14  # rows of which sums by level are sparse products
BY_LEVEL = 3  # rows for each level of a factor, at least, since sums over the levels are added up each time


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How rows are brought to the columns that are summed.

    Attributes
    ----------
    conditioning : Conditioning
        Of the kept columns.
    kept, aliased : array of int, shapes (p,) and (a,)
        Columns of X that are not combinations of others, as far as is known, and those that are.
    combination : array, shape (p, a)
        The aliased columns, from the kept ones.
    centre : float
        What is taken off the response first.
    shift : array, shape (p,)
        Coefficients that make it up.
    sizes, widths : tuple of int
        Levels and effects per level of each factor.
    variances : tuple of array or None, shape (q,)
        Variances of the levels of each factor whose levels are related.
    """

    conditioning: Conditioning
    kept: np.ndarray
    aliased: np.ndarray
    combination: Float[Array, "p a"]
    centre: float
    shift: Float[Array, " p"]
    sizes: tuple[int, ...]
    widths: tuple[int, ...]
    variances: tuple[np.ndarray | None, ...]

    @cached_property
    def to_user(self) -> Float[Array, "m m"]:
        """L, with [1 X y Z] = [1 Q D e ZT⁻¹]L', where D is what the aliased columns of X leave."""
        p, a = len(self.kept), len(self.aliased)
        at = 1 + p + a
        L = np.zeros((at + 1 + sum(self.widths),) * 2)
        L[0, 0] = 1.0
        L[1 + self.kept, 1 : 1 + p] = self.conditioning.root.T
        L[1 + self.aliased, 1 : 1 + p] = (self.conditioning.root @ self.combination).T
        L[1 + self.aliased, 1 + p : at] = np.eye(a)
        L[at, 0], L[at, 1 : 1 + p], L[at, at] = self.centre, self.conditioning.coefficients, 1.0
        at += 1
        for T in self.conditioning.effect_roots:
            L[at : at + len(T), at : at + len(T)] = T.T
            at += len(T)
        return L


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkRows:
    """Columns of some rows, as the formula says.

    Attributes
    ----------
    fixed : array, shape (p_all, n)
        Of the fixed effects, also those that are combinations of others.
    y : array, shape (n,)
        Response less its offset.
    offset : array, shape (n,)
        Offset.
    weights : array, shape (n,)
        Prior weights.
    has_weights : bool
        Whether some may be other than one.
    incidences : tuple of Incidence
        Levels, and what their effects are multiplied by.
    columns : tuple of array, shape (k, n)
        Columns of the effects, as `bayesmm.design.blocks.blocks.RandomBlock` has them: of a factor that has one level a
        row, those that the level's effects are multiplied by.
    """

    fixed: np.ndarray
    y: np.ndarray
    offset: np.ndarray
    weights: np.ndarray
    has_weights: bool
    incidences: tuple[Incidence, ...]
    columns: tuple[np.ndarray, ...]

    def rows(self, some: slice | np.ndarray) -> ChunkRows:
        """Take some of the rows."""
        return ChunkRows(
            fixed=self.fixed[:, some],
            y=self.y[some],
            offset=self.offset[some],
            weights=self.weights[some],
            has_weights=self.has_weights,
            incidences=tuple(incidence.rows(some) for incidence in self.incidences),
            columns=tuple(own[:, some] for own in self.columns),
        )


class Totals:
    """What is summed over the rows.

    Attributes
    ----------
    recipe : Recipe
        Of the columns that are summed.
    sums : RowSums
        All but those of pairs.
    n : int
        Rows.
    log_weights : float
        Σ log wᵢ.
    inverse_weights : float
        Σ 1/wᵢ.
    plain, weighted : array, shape (m, m)
        v'v and v'Wv of v = [1 Q D e ZT⁻¹].
    stacked : list of array, shape (k, k)
        Of each factor, the sum of zz' over the columns z of all levels of all rows, in units of the levels' variances.
    low, high : array, shape (m,)
        Least and greatest value of each column of [1 X y Z], as the formula says.
    touching : list of bool
        Whether some row has two levels of a factor.
    counts : list of array, shape (q,)
        Rows of each level in which some of its columns is not zero.
    variances : list of float
        Of each factor whose levels are related, the sum of the variances of the rows' levels.
    """

    def __init__(self, recipe: Recipe) -> None:
        p, m, sizes, widths = len(recipe.kept), len(recipe.to_user), recipe.sizes, recipe.widths
        self.recipe = recipe
        self.sums = no_sums(p, sizes, widths)
        self.n, self.log_weights, self.inverse_weights = 0, 0.0, 0.0
        self.plain, self.weighted = np.zeros((m, m)), np.zeros((m, m))
        self.stacked = [np.zeros((k, k)) for k in widths]
        self.low, self.high = np.full(m, np.inf), np.full(m, -np.inf)
        self.touching = [False] * len(sizes)
        self.variances = [0.0] * len(sizes)
        self.counts = [np.zeros(q) for q in sizes]
        self._pairs: dict[FactorPair, PairTotals] = {}

    def add(self, rows: ChunkRows) -> None:
        """Add some rows, so many at a time that what is made of them stays near the processor."""
        n, size = len(rows.weights), max(AT_ONCE, BY_LEVEL * max(self.recipe.sizes, default=0))
        for some in chunks(n, size):
            self._add(rows if size >= n else rows.rows(some))

    def _add(self, rows: ChunkRows) -> None:
        recipe, weights = self.recipe, rows.weights
        chunk = condition_rows(rows, recipe)
        (add_levels if len(weights) < MANY else add_levels_of_many)(self.sums, chunk)
        self._add_pairs(chunk)
        p, n = len(recipe.kept), len(weights)
        parts = [np.ones((1, n)), chunk.fixed[:p]]
        if len(recipe.aliased):
            parts.append(rows.fixed[recipe.aliased] - turn(recipe.combination.T, rows.fixed[recipe.kept]))
        parts.append(chunk.fixed[p:])
        every = zip(recipe.conditioning.to_effects, rows.columns, chunk.effects, rows.incidences, strict=True)
        parts += [own[0] if incidence.is_single else turn(T, Z) for T, Z, own, incidence in every]
        v = np.concatenate(parts)
        gram = product(v, v)
        self.plain += gram
        gram = product(v, v * weights) if rows.has_weights else gram
        self.weighted += gram
        fixed = np.append(np.arange(1, 1 + p), 1 + p + len(recipe.aliased))
        self.sums.gram[:] += gram[np.ix_(fixed, fixed)]
        for total, own, incidence, variances in zip(
            self.stacked, chunk.effects, rows.incidences, recipe.variances, strict=True
        ):
            for Z, each in zip(own, incidence.ordered.memberships, strict=True):
                total += product(Z, Z if variances is None else Z * variances[each.codes])
        for f, variances in enumerate(recipe.variances):
            if variances is not None:
                self.variances[f] += float(variances[rows.incidences[f].only.codes].sum())
        for f, (codes, effects) in enumerate(zip(chunk.codes, chunk.effects, strict=True)):
            for own, Z in zip(codes, effects, strict=True):
                reached = None if Z[0].all() else Z.any(axis=0)
                self.counts[f] += np.bincount(own, weights=reached, minlength=len(self.counts[f]))
        for f, incidence in enumerate(rows.incidences):
            self.touching[f] |= incidence.touches_itself
        columns = [np.ones((1, 1)), rows.fixed, rows.y[None], *rows.columns]
        self.low = np.minimum(self.low, np.concatenate([each.min(axis=1) for each in columns]))
        self.high = np.maximum(self.high, np.concatenate([each.max(axis=1) for each in columns]))
        self.n += n
        self.log_weights += float(np.log(weights).sum()) if rows.has_weights else 0.0
        self.inverse_weights += float((1.0 / weights).sum()) if rows.has_weights else n

    def packed(self) -> PackedTotals:
        """Return what `merge` needs of the sums: they are as many as there are levels with rows."""
        levels = tuple(np.flatnonzero(each) for each in self.counts)
        sums, all_present = self.sums, [len(own) == len(each) for own, each in zip(levels, self.counts, strict=True)]

        def of_levels(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
            each = zip(arrays, levels, all_present, strict=True)
            return tuple(array if is_all else array[..., own] for array, own, is_all in each)

        return PackedTotals(
            levels=levels,
            diagonal=of_levels(sums.diagonal),
            cross=of_levels(sums.cross),
            counts=of_levels(self.counts),
            pairs={pair: pairs.read() for pair, pairs in self._pairs.items()},
            gram=sums.gram,
            plain=self.plain,
            weighted=self.weighted,
            stacked=tuple(self.stacked),
            low=self.low,
            high=self.high,
            touching=tuple(self.touching),
            variances=tuple(self.variances),
            n=self.n,
            log_weights=self.log_weights,
            inverse_weights=self.inverse_weights,
        )

    def merge(self, other: PackedTotals) -> None:
        """Add sums over other rows by the same recipe."""
        sums = self.sums
        for f, levels in enumerate(other.levels):
            at = slice(None) if len(levels) == self.recipe.sizes[f] else levels
            sums.diagonal[f][..., at] += other.diagonal[f]
            sums.cross[f][..., at] += other.cross[f]
            self.counts[f][at] += other.counts[f]
            self.stacked[f] += other.stacked[f]
        sums.gram[:] += other.gram
        self.plain += other.plain
        self.weighted += other.weighted
        for (f, g), (keys, pairs) in other.pairs.items():
            self._pairs_of(f, g).add_pairs(keys, pairs)
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.variances = [a + b for a, b in zip(self.variances, other.variances, strict=True)]
        self.touching = [a or b for a, b in zip(self.touching, other.touching, strict=True)]
        self.n += other.n
        self.log_weights += other.log_weights
        self.inverse_weights += other.inverse_weights

    def put_pairs(self, f: int, g: int, first: np.ndarray, second: np.ndarray, sums: Float[Array, "k l P"]) -> None:
        """Add sums of pairs of levels (P,) of two factors, in either order, or of one."""
        order = sorted((f, g), key=lambda h: (-self.recipe.sizes[h], h))
        if (f, g) != tuple(order) or (f == g and (first > second).any()):
            if f == g:
                swapped = first > second
                flipped = np.where(swapped, sums.swapaxes(0, 1), sums)
                first, second, sums = np.minimum(first, second), np.maximum(first, second), flipped
            else:
                f, g, first, second, sums = g, f, second, first, sums.swapaxes(0, 1)
        keys = first.astype(np.int64) * self.recipe.sizes[g] + second
        into = np.argsort(keys)
        self._pairs_of(f, g).add_pairs(keys[into], np.ascontiguousarray(sums[:, :, into]))

    def pairs(self) -> dict[FactorPair, tuple[np.ndarray, Float[Array, "k l P"]]]:
        """Return keys and sums of the pairs of levels, as `bayesmm.marginal.plan.planning.make_plan` orders them."""
        sizes = self.recipe.sizes
        related = {f for f, each in enumerate(self.recipe.variances) if each is not None}
        touching = {f for f, touches in enumerate(self.touching) if touches}
        order = elimination_order(sizes, touching | related)
        found = {}
        for (f, g), pairs in self._pairs.items():
            keys, sums = pairs.read()
            if f == g and f not in touching:
                continue
            if order.index(f) > order.index(g):
                first, second = np.divmod(keys, sizes[g])
                keys = second * sizes[f] + first
                into = np.argsort(keys)
                keys, sums, f, g = keys[into], sums.swapaxes(0, 1)[:, :, into], g, f
            found[f, g] = keys, np.ascontiguousarray(sums)
        return {pair: found[pair] for pair in sorted(found)}

    def _add_pairs(self, chunk: Chunk) -> None:
        order = sorted(range(len(chunk.codes)), key=lambda f: (-self.recipe.sizes[f], f))
        for i, f in enumerate(order):
            for g in order[i + 1 :]:
                for one, left in zip(chunk.codes[f], chunk.effects[f], strict=True):
                    for two, right in zip(chunk.codes[g], chunk.effects[g], strict=True):
                        self._pairs_of(f, g).add(one, two, left, chunk.weighted(right))
            for b, second in enumerate(chunk.codes[f]):
                for a, first in enumerate(chunk.codes[f][:b]):
                    apart = first != second
                    left, right = chunk.effects[f][a][:, apart], chunk.weighted(chunk.effects[f][b])[:, apart]
                    self._pairs_of(f, f).add(first[apart], second[apart], left, right)

    def _pairs_of(self, f: int, g: int) -> PairTotals:
        if (f, g) not in self._pairs:
            widths, sizes = self.recipe.widths, self.recipe.sizes
            self._pairs[f, g] = PairTotals((widths[f], widths[g]), (sizes[f], sizes[g]))
        return self._pairs[f, g]


def condition_rows(rows: ChunkRows, recipe: Recipe) -> Chunk:
    """Bring some rows to the columns that are summed."""
    ordered = [incidence.ordered.memberships for incidence in rows.incidences]
    return condition_chunk(
        (rows.fixed if len(recipe.kept) == len(rows.fixed) else rows.fixed[recipe.kept]).T,
        rows.y - recipe.centre,
        rows.weights,
        [[each.codes for each in own] for own in ordered],
        [[each.columns for each in own] for own in ordered],
        recipe.conditioning,
        has_weights=rows.has_weights,
    )


def changed(sums: RowSums, changes: Sequence[Float[Array, "k k"]], order: Sequence[FactorPair]) -> RowSums:
    """Return the sums on the effect columns ZM, from those on Z, for a matrix M of each factor.

    Parameters
    ----------
    sums : RowSums
        On Z.
    changes : sequence of array, shape (k, k)
        M.
    order : sequence of (int, int)
        Factors of the lists of pairs.
    """
    return RowSums(
        [np.einsum("ia,ijq,jb->abq", M, G, M) for M, G in zip(changes, sums.diagonal, strict=True)],
        [np.einsum("ia,icq->acq", M, K) for M, K in zip(changes, sums.cross, strict=True)],
        [np.einsum("ia,ijP,jb->abP", changes[f], B, changes[g]) for (f, g), B in zip(order, sums.pairs, strict=True)],
        sums.gram,
    )


def of_effects(totals: Totals, effects: Sequence[np.ndarray]) -> Totals:
    """Return the sums of a model that has some of the random effects.

    Parameters
    ----------
    totals : Totals
        Of the model that has all.
    effects : sequence of array of int
        Those of each factor that are kept, ascending; of a factor without any nothing is left.
    """
    recipe, own = totals.recipe, totals.recipe.conditioning
    factors = [f for f, kept in enumerate(effects) if len(kept)]
    turns = {f: np.linalg.qr(own.effect_roots[f][:, effects[f]]) for f in factors}  # ZT[:, kept] = (ZQ)R
    smaller = replace(
        recipe,
        conditioning=Conditioning(own.root, own.coefficients, [turns[f].R for f in factors]),
        sizes=tuple(recipe.sizes[f] for f in factors),
        widths=tuple(len(effects[f]) for f in factors),
        variances=tuple(recipe.variances[f] for f in factors),
    )
    found, starts = Totals(smaller), np.cumsum([0, *recipe.widths])
    n_before = len(totals.low) - starts[-1]
    change, limits = np.zeros((len(totals.low), len(found.low))), list(range(n_before))
    change[:n_before, :n_before] = np.eye(n_before)
    for new, f in enumerate(factors):
        Q, at = turns[f].Q, len(limits)
        change[n_before + starts[f] : n_before + starts[f + 1], at : at + len(effects[f])] = Q
        limits += [int(n_before + starts[f] + j) for j in effects[f]]
        found.sums.diagonal[new][:] = np.einsum("ia,ijq,jb->abq", Q, totals.sums.diagonal[f], Q)
        found.sums.cross[new][:] = np.einsum("ia,icq->acq", Q, totals.sums.cross[f])
        found.counts[new][:] = totals.counts[f]
        found.stacked[new] = Q.T @ totals.stacked[f] @ Q
        found.touching[new], found.variances[new] = totals.touching[f], totals.variances[f]
    found.sums.gram[:] = totals.sums.gram
    found.plain, found.weighted = (change.T @ each @ change for each in (totals.plain, totals.weighted))
    found.low, found.high = totals.low[limits], totals.high[limits]
    for (f, g), (keys, sums) in totals.pairs().items():
        if f in factors and g in factors:
            first, second = np.divmod(keys, recipe.sizes[g])
            turned = np.einsum("ia,ijP,jb->abP", turns[f].Q, sums, turns[g].Q)
            found.put_pairs(factors.index(f), factors.index(g), first, second, turned)
    found.n, found.log_weights, found.inverse_weights = totals.n, totals.log_weights, totals.inverse_weights
    return found


def fixed_root(totals: Totals) -> Float[Array, "r c"]:
    """M with M'M = X'WX for the columns X of the formula, without a square of their condition number."""
    recipe, p = totals.recipe, len(totals.recipe.kept)
    a = len(recipe.aliased)
    gram = totals.weighted[1 : 1 + p + a, 1 : 1 + p + a]
    C = np.linalg.cholesky(gram[:p, :p]).T
    across = np.linalg.solve(C.T, gram[:p, p:])
    values, vectors = np.linalg.eigh(gram[p:, p:] - across.T @ across)
    rest = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    root = C @ recipe.conditioning.root
    M = np.zeros((p + a, p + a))
    M[:p, recipe.kept] = root
    M[:p, recipe.aliased] = root @ recipe.combination + across
    M[p:, recipe.aliased] = rest
    return M


def taken_off(recipe: Recipe) -> Float[Array, " c"]:
    """Coefficients of the columns of the formula (p_all,) that are taken off the response."""
    own = recipe.conditioning
    beta = np.zeros(len(recipe.kept) + len(recipe.aliased))
    if len(recipe.kept):
        beta[recipe.kept] = np.linalg.solve(own.root, own.coefficients) + recipe.shift
    return beta


def level_moments(
    totals: Totals, beta: Float[Array, " p"], effects: Sequence[Float[Array, "q k"]]
) -> list[Float[Array, "q k"]]:
    """Z'We of each level of each factor, of the residuals e from coefficients and effects.

    Parameters
    ----------
    totals : Totals
        Over all rows.
    beta : array, shape (p,)
        Of the kept columns.
    effects : sequence of array, shapes (q, k)
        Of each factor's columns as the formula says.
    """
    _, found = _moments(totals, *_combine(totals, beta, effects, 1.0))
    return [(T.T @ each).T for T, each in zip(totals.recipe.conditioning.effect_roots, found, strict=True)]


def residual_gram(
    totals: Totals,
    beta: Float[Array, " p"],
    effects: Sequence[Float[Array, "q k"]],
    changes: Sequence[tuple[Float[Array, " p"], Sequence[Float[Array, "q k"]]]],
) -> Float[Array, "m m"]:
    """Products over the rows, with the weights, of residuals and of changes of the fitted values.

    Parameters
    ----------
    totals : Totals
        Over all rows.
    beta, effects
        As of `level_moments`: what residuals are from.
    changes : sequence of (array, sequence of arrays)
        By how much coefficients and effects change.

    Returns
    -------
    array, shape (m, m)
        Residuals first, then the changes.
    """
    minus = [(-moved, [-b for b in own]) for moved, own in changes]
    parts = [_combine(totals, beta, effects, 1.0), *(_combine(totals, *each, 0.0) for each in minus)]
    through = [_moments(totals, *part) for part in parts]

    def product(i: int, j: int) -> float:
        (weights, own), (fixed, levels) = parts[i], through[j]
        return float(weights @ fixed - sum(np.sum(b * each) for b, each in zip(own, levels, strict=True)))

    return np.array([[product(i, j) for j in range(len(parts))] for i in range(len(parts))])


def _combine(
    totals: Totals, beta: Float[Array, " p"], effects: Sequence[Float[Array, "q k"]], of_response: float
) -> tuple[Float[Array, " c"], list[Float[Array, "k q"]]]:
    """Write residuals, of the response times a number, as combinations of the summed columns [Q e], less Z times b."""
    recipe = totals.recipe
    origin = taken_off(recipe)[recipe.kept] * of_response
    moved = recipe.conditioning.root @ (origin - beta)
    roots = recipe.conditioning.effect_roots
    return np.append(moved, of_response), [T @ b.T for T, b in zip(roots, effects, strict=True)]


def _moments(
    totals: Totals, weights: Float[Array, " c"], own: list[Float[Array, "k q"]]
) -> tuple[Float[Array, " c"], list[Float[Array, "k q"]]]:
    """Return [Q e]'W and Z'W times such a combination."""
    sizes = totals.recipe.sizes
    fixed = totals.sums.gram @ weights
    found = [np.einsum("kcq,c->kq", K, weights) for K in totals.sums.cross]
    for total, K, G, b in zip(found, totals.sums.cross, totals.sums.diagonal, own, strict=True):
        total -= np.einsum("klq,lq->kq", G, b)
        fixed = fixed - np.einsum("kcq,kq->c", K, b)
    for (f, g), (keys, B) in totals.pairs().items():
        first, second = np.divmod(keys, sizes[g])
        for i, j in np.ndindex(*B.shape[:2]):
            found[f][i] -= np.bincount(first, weights=B[i, j] * own[g][j][second], minlength=sizes[f])
            found[g][j] -= np.bincount(second, weights=B[i, j] * own[f][i][first], minlength=sizes[g])
    return fixed, found
