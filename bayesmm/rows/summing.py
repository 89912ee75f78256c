"""A model's sums from rows that are read chunk by chunk, in two passes, or three where that keeps digits."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.checks import (
    check_block,
    check_coefficients,
    check_covariance_parameters,
    check_finite,
    check_rank,
    check_sizes,
    check_spread,
    check_varies,
    refuse_indistinct,
)
from bayesmm.design.blocks.confounding import check_columns, find_confounded
from bayesmm.design.blocks.labels import check_distinct
from bayesmm.design.columns.columns import build_arithmetic, distinct_names
from bayesmm.design.columns.remembered import Remembered
from bayesmm.design.design import Design
from bayesmm.design.elsewhere import BlockMoments, Distant, Elsewhere
from bayesmm.design.reading.check_texts import check_texts
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.names import Names
from bayesmm.design.reading.rows import Missing, report_dropped
from bayesmm.design.related.relation import read_relations
from bayesmm.design.rows.sources import Sources, build_sources, needed_columns
from bayesmm.errors import ArgumentError, BayesmmWarning, DesignError, RowsError
from bayesmm.incidence import DistantIncidence, Membership
from bayesmm.marginal.apart.one_factor import root_levels
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.residual.group_totals import FewRows
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.finished import finish, is_alone
from bayesmm.marginal.sums.rows import left_over_of
from bayesmm.marginal.sums.totals import ChunkRows, Recipe, Totals, condition_rows
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.blocks import as_arrays
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.evaluating import ColumnReader, Evaluator
from bayesmm.rows.gathering import CompleteRows, Gathered, gather, read_chunk
from bayesmm.rows.grouping import Counting, GroupingPass, Groups, residual_of
from bayesmm.rows.indistinct import find_in_sums
from bayesmm.rows.recipes import KeptColumns, better_recipe, first_recipe
from bayesmm.rows.source import CHUNK_ROWS, Scan
from bayesmm.rows.states import StateSums, check_row_by_row, named_values, needed_states, unseen_values
from bayesmm.specification.syntax import Call
from bayesmm.specification.terms import Specification

MOST_PASSES = 3  # over the rows for their sums: columns are conditioned anew twice at most
ROUNDING = 1e-20  # of the greatest sum of squares of a level, below which one is zero
MOST_ROWS = 2**22  # of a chunk, where there are as many levels
_BUILDING = threading.RLock()


@dataclass(frozen=True, kw_only=True, eq=False)
class Declared:
    """What a model was declared with, besides its formula.

    Attributes
    ----------
    specification : Specification
        The formula, read.
    weights : str or None
        Prior weights as an expression.
    namespace : mapping of str to object or None
        Functions and values that the formula uses.
    known_sigma : float or None
        σ where it is known.
    relations : object
        What relates levels.
    states : mapping of str to mapping
        What transformations remember of all rows; see `bayesmm.design.columns.remembered`.
    """

    specification: Specification
    weights: str | None = None
    namespace: Mapping[str, Any] | None = None
    known_sigma: float | None = None
    relations: Any = None
    states: Mapping[str, Remembered] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        """What expressions may use besides columns."""
        return Names(self.namespace, self.states)


@dataclass(frozen=True, kw_only=True, eq=False)
class Summed:
    """Sums of one model over rows that are not in memory.

    Attributes
    ----------
    declared : Declared
        The model.
    found : Gathered
        What the first pass found, with the rows that were kept.
    totals : Totals
        The sums as they add up.
    left : array, shape (c, c), or None
        What the levels of a factor that is alone leave of [Q e].
    parts : tuple of str
        What was read, by hashes of what identifies each part.
    where : str
        The same in words.
    design : Design
        Names, and what is known of the rows; without rows.
    products : CrossProducts
        The sums as the likelihood takes them.
    plan : Plan
        Of the elimination.
    few : FewRows or None
        Few rows with the sums of all, where residuals have a covariance.
    residual_rows : ResidualRows or None
        The same as the likelihood takes them.
    """

    declared: Declared
    found: Gathered
    totals: Totals
    left: np.ndarray | None
    parts: tuple[str, ...]
    where: str
    design: Design
    products: CrossProducts
    plan: Plan
    few: FewRows | None = None
    residual_rows: ResidualRows | None = None

    def level_groups(self, f: int) -> tuple[np.ndarray, np.ndarray]:
        """Return level of a grouping factor and group of the residuals (n,) of the rows that were kept, which have all.

        All rows of a group have one level.
        """
        kept = Kept.of(self.declared, self.found)
        assert kept.groups is not None
        return kept.blocks[f].incidence.only.codes, kept.groups.of_kept


def sum_source(
    specification: Specification,
    source: Scan,
    *,
    weights: Any = None,
    missing: Missing = "drop",
    namespace: Mapping[str, Any] | None = None,
    known_sigma: float | None = None,
    relations: Any = None,
    bar: Bar = SILENT,
) -> Summed:
    """Sum a model over rows that are read chunk by chunk.

    Parameters
    ----------
    specification, weights, missing, namespace, known_sigma, relations
        As `bayesmm.design.design.build_design` takes them.
    source : Scan
        Where the rows are.
    bar : Bar
        What is told how far it is.

    Returns
    -------
    Summed

    Raises
    ------
    RowsError
        If rows cannot be read, change on the way, or are of different types in different parts.
    DesignError
        If the data do not fit the specification.
    """
    if weights is not None and not isinstance(weights, str):
        raise ArgumentError(
            "weights are an array, and the rows are read chunk by chunk: put them into the rows as a column, and name "
            "it, weights='w'."
        )
    declared = Declared(
        specification=specification,
        weights=weights,
        namespace=namespace,
        known_sigma=known_sigma,
        relations=relations,
    )
    before = source.parts
    needed = needed_columns(specification, weights, source.columns, declared.names)
    found = gather(source, specification, needed, bar)
    report_dropped_of(found, missing)
    source.check_unchanged(before)
    named = named_values(specification, weights, _kept_rows(found))
    declared = replace(declared, states=named)
    for calls in needed_states(specification, weights):
        remembering = _Remembering(calls, declared, found, needed, source.texts)
        own = remembering.states(source.fold(remembering, bar))
        declared = replace(declared, states={**declared.states, **own})
        source.check_unchanged(before)
    unseen = unseen_values(specification, weights, _kept_rows(found), declared.names)
    if unseen:
        remembering = _Remembering(unseen, declared, found, needed, source.texts)
        remembering.states(source.fold(remembering, bar))
        source.check_unchanged(before)
    evaluation = Evaluation(declared, found, needed, source.texts)
    kept = evaluation.kept
    _check_beside_residual(kept)
    for block in kept.blocks:
        check_columns(block, n_rows=found.n)
    passes = _Passes(source, evaluation, bar)
    totals = passes.sum()
    source.check_unchanged(before)
    has_residual = specification.residual is not None
    left = passes.left_over(totals) if not has_residual and is_alone(as_arrays(kept.blocks), totals) else None
    few = passes.few_rows(totals) if has_residual else None
    source.check_unchanged(before)
    content = "" if source.is_of_files else found.content
    hashes = tuple(hashlib.sha256((part + content).encode()).hexdigest() for part in before)
    return put_together(declared, kept, found, totals, left, hashes, str(source), few)


class _Remembering:
    """The pass that transformations need before any other column can be computed."""

    rows, text = None, "means and knots"

    def __init__(
        self, calls: Sequence[Call], declared: Declared, found: Gathered, names: Sequence[str], texts: set[str]
    ) -> None:
        self.names, self._texts = names, texts
        self._calls, self._declared, self._found = calls, declared, found
        self._used: UsedRows | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_used": None}

    def begin(self) -> StateSums:
        """Begin with nothing."""
        return StateSums(self._calls, self._kept(), self._declared.names)

    def add(self, so_far: StateSums, chunk: Chunk) -> None:
        """Take in a chunk."""
        complete = read_chunk(chunk, self.names, self._texts)
        if complete.n:
            so_far.add(ColumnReader(self._kept()).frame(complete))

    def states(self, sums: StateSums) -> dict[str, Remembered]:
        """Return what is remembered of all rows."""
        return sums.states(self._kept(), self._declared.names)

    def _kept(self) -> UsedRows:
        with _BUILDING:
            if self._used is None:
                self._used = _kept_rows(self._found).as_floats()
            return self._used


def _kept_rows(found: Gathered) -> UsedRows:
    table = found.table()
    return table.rows(np.ones(table.n_rows, bool))


def put_together(
    declared: Declared,
    kept: Kept,
    found: Gathered,
    totals: Totals,
    left: np.ndarray | None,
    parts: tuple[str, ...],
    where: str,
    few: FewRows | None = None,
) -> Summed:
    """Make a design and its cross-products of sums; the arguments are the attributes of `Summed`."""
    products, plan = finish(totals, as_arrays(kept.blocks), left)
    design, residual_rows = kept.design(totals, found, where), None
    if few is not None:
        assert kept.groups is not None
        block, residual_rows = residual_of(kept.groups, few, totals, products, kept.blocks, where)
        design = replace(design, residual=block)
        check_distinct(design.labels)
    elif declared.known_sigma is None:
        refuse_indistinct(find_in_sums(kept.blocks, products, free_of_fixed=False), kept.blocks, totals.n)
    return Summed(
        declared=declared,
        found=found,
        totals=totals,
        left=left,
        parts=parts,
        where=where,
        design=design,
        products=products,
        plan=plan,
        few=few,
        residual_rows=residual_rows,
    )


def report_dropped_of(found: Gathered, missing: Missing) -> None:
    """Warn of incomplete rows, or refuse them."""
    n_dropped = found.n_read - found.n
    if n_dropped:
        report_dropped(found.n_read, n_dropped, found.missing, missing)


@dataclass(frozen=True, eq=False)
class Kept:
    """The rows that were kept, as a small data set in which all levels occur."""

    declared: Declared
    used: UsedRows
    sources: Sources
    columns: KeptColumns
    groups: Groups | None = None

    @property
    def blocks(self) -> tuple[RandomBlock, ...]:
        """Random effects of these rows."""
        return self.columns.blocks

    @classmethod
    def of(cls, declared: Declared, found: Gathered) -> Kept:
        """Build all columns of these rows."""
        specification, weights, names = declared.specification, declared.weights, declared.names
        table = found.table()
        every = np.ones(table.n_rows, dtype=bool)
        check_texts(table, every, specification, names, weights, n_rows=found.n)
        check_finite(table, every)
        used = table.rows(every)
        numbers = used.as_floats()
        relations = read_relations(declared.relations)
        sources, blocks = build_sources(specification, used, numbers, names, relations, declared.known_sigma)
        n = len(used)
        prior = None if weights is None else build_arithmetic(weights, numbers, names, what="weights")
        offset = sum((each.fitted(n)[:, 0] for each in sources.offsets), np.zeros(n))
        columns = KeptColumns(
            X=sources.fixed.fitted(n),
            y=sources.response.fitted(n)[:, 0] - offset,
            weights=np.ones(n) if prior is None else _checked_weights(prior.raw(), str(weights)),
            blocks=blocks,
            fixed=sources.fixed,
        )
        every = [sources.fixed, sources.response, *sources.offsets, *([] if prior is None else [prior])]
        check_row_by_row([*every, *(each for own in sources.blocks for each in (*own.columns, *own.weights))], used)
        check_covariance_parameters(blocks)
        check_coefficients(distinct_names([sources.fixed]))
        residual, sigma = specification.residual, declared.known_sigma
        groups = None if residual is None else Groups(residual, used, names, sigma)
        return cls(declared, used, replace(sources, weights=prior), columns, groups)

    def design(self, totals: Totals, found: Gathered, where: str) -> Design:
        """Label the sums, after the checks that an analysis of rows in memory makes too."""
        declared, recipe = self.declared, totals.recipe
        specification, known_sigma = declared.specification, declared.known_sigma
        known = _moments(totals, self, found, where)
        coefficients = distinct_names([self.sources.fixed])
        at, sizes = 1 + len(coefficients), np.maximum(np.abs(totals.low), np.abs(totals.high))
        check_sizes([(specification.response, sizes[at : at + 1])])
        check_sizes(zip(coefficients, sizes[1:at, None], strict=True))
        blocks = _distant_blocks(self.blocks, totals, where)
        effects = [effect for block in blocks for effect in block.effects]
        check_sizes(zip(effects, sizes[at + 1 :, None], strict=True))
        check_varies(
            known.response_low,
            known.response_high,
            known.n,
            specification.response,
            has_offset=bool(specification.offsets),
        )
        for block in blocks:
            check_block(block)
        check_rank(known.n, len(recipe.kept), has_sigma=known_sigma is None)
        if known_sigma is not None:
            spread = np.sqrt(known.response_square / known.n) * np.sqrt(np.median(self.columns.weights))
            check_spread(known_sigma, float(spread), specification.response)

        def distant(what: str) -> Any:
            return Distant(what, where)

        design = Design(
            specification=specification,
            response=specification.response,
            y=distant("the response"),
            offset=distant("the offset"),
            weights=distant("the prior weights"),
            has_weights=declared.weights is not None,
            X=distant("the columns of the fixed effects"),
            coefficients=coefficients,
            kept=recipe.kept,
            aliased=tuple(coefficients[j] for j in recipe.aliased),
            blocks=blocks,
            rows=distant("the labels of the rows"),
            n_dropped=found.n_read - found.n,
            dropped_by=found.missing,
            used=distant("the columns of the data"),
            known_sigma=known_sigma,
            weights_text=declared.weights,
            user_names=tuple(declared.names.user),
            sources=self.sources,
            elsewhere=known,
        )
        check_distinct(design.labels)
        return design


def _checked_weights(weights: np.ndarray, text: str) -> np.ndarray:
    bad = ~(np.isfinite(weights) & (weights > 0))
    if bad.any():
        raise DesignError(
            f"The weights {text!r} are not positive and finite in some rows: there is {weights[bad.argmax()]:g}. A "
            "weight is a precision: leave out rows without information."
        )
    return weights


class Evaluation:
    """How the columns of chunks are computed; its pickle has the model and what was found, of which the rest is built.

    Parameters
    ----------
    declared : Declared
        The model.
    found : Gathered
        What the first pass found.
    names : sequence of str
        The columns that are read.
    texts : set of str
        Those that are texts.
    """

    def __init__(self, declared: Declared, found: Gathered, names: Sequence[str], texts: set[str]) -> None:
        self.declared, self.found, self.names, self.texts = declared, found, names, texts
        self._built: tuple[Kept, Evaluator] | None = None
        self._is_copy = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_built": None, "_is_copy": True}

    @property
    def kept(self) -> Kept:
        """The rows that were kept, with their columns."""
        return self._build()[0]

    @property
    def groups(self) -> Groups | None:
        """Groups of the residuals, where these have a covariance."""
        return self.kept.groups

    def read(self, chunk: Chunk) -> ChunkRows | None:
        """Compute the columns of a chunk; None, if none of its rows is complete."""
        return self.read_rows(chunk)[1]

    def read_rows(self, chunk: Chunk) -> tuple[np.ndarray, ChunkRows | None]:
        """Say which rows (n,) of a chunk are complete, and compute their columns."""
        found, rows = self.read_complete(chunk)
        return found.complete, rows

    def read_complete(self, chunk: Chunk) -> tuple[CompleteRows, ChunkRows | None]:
        """Read the complete rows of a chunk, and compute their columns."""
        found = read_chunk(chunk, self.names, self.texts)
        return found, self._build()[1].evaluate(found) if found.n else None

    def _build(self) -> tuple[Kept, Evaluator]:
        with _BUILDING:  # once, if several threads ask together
            if self._built is None:
                with warnings.catch_warnings():
                    if self._is_copy:  # what there is to warn of was said where the model is made
                        warnings.simplefilter("ignore", BayesmmWarning)
                    kept = Kept.of(self.declared, self.found)
                self._built = kept, Evaluator(kept.sources, kept.blocks, kept.used)
            return self._built


@dataclass(frozen=True, kw_only=True, eq=False)
class _Summing:
    """The pass that sums."""

    evaluation: Evaluation
    recipe: Recipe
    rows: int | None
    text: str = "sums"

    @property
    def names(self) -> Sequence[str]:
        return self.evaluation.names

    def begin(self) -> Totals:
        return Totals(self.recipe)

    def add(self, so_far: Totals, chunk: Chunk) -> None:
        rows = self.evaluation.read(chunk)
        if rows is not None:
            so_far.add(rows)


class _LeftOver:
    """Sums [Q e]'W[Q e] of what the levels of the only factor leave of [Q e], and the number of rows."""

    def __init__(self, size: int) -> None:
        self.gram, self.n = np.zeros((size, size)), 0

    def packed(self) -> _LeftOver:
        return self

    def merge(self, other: _LeftOver) -> None:
        self.gram += other.gram
        self.n += other.n


@dataclass(frozen=True, kw_only=True, eq=False)
class _Leaving:
    """The pass that takes the least squares of the levels of the only factor off the rows."""

    evaluation: Evaluation
    recipe: Recipe
    coefficients: np.ndarray
    rows: int | None
    text: str = "residuals"

    @property
    def names(self) -> Sequence[str]:
        return self.evaluation.names

    def begin(self) -> _LeftOver:
        return _LeftOver(self.coefficients.shape[1])

    def add(self, so_far: _LeftOver, chunk: Chunk) -> None:
        rows = self.evaluation.read(chunk)
        if rows is not None:
            so_far.gram += left_over_of(condition_rows(rows, self.recipe), self.coefficients)
            so_far.n += len(rows.weights)


class _Passes:
    """Reads the rows again and again, and sums what the model needs of them."""

    def __init__(self, source: Scan, evaluation: Evaluation, bar: Bar) -> None:
        self._source, self._evaluation, self._bar = source, evaluation, bar
        most = max([CHUNK_ROWS, *(block.q for block in evaluation.kept.blocks)])
        is_usual = source.chunk_rows >= CHUNK_ROWS
        self._rows = max(source.chunk_rows, min(most, MOST_ROWS)) if is_usual else None

    def sum(self) -> Totals:
        """Sum all rows, again where the columns turn out badly conditioned."""
        columns = self._evaluation.kept.columns
        recipe = first_recipe(columns)
        for _ in range(MOST_PASSES):
            whole = _Summing(evaluation=self._evaluation, recipe=recipe, rows=self._rows)
            totals = self._source.fold(whole, self._bar)
            self._check_number(totals.n)
            better = better_recipe(totals, columns)
            if better is None:
                break
            recipe = better
        return totals

    def left_over(self, totals: Totals) -> np.ndarray:
        """Sum [Q e]'W[Q e] of what the levels of the only factor leave of [Q e]."""
        recipe, (diagonal,), (cross,) = totals.recipe, totals.sums.diagonal, totals.sums.cross
        _, back = root_levels(diagonal)
        coefficients = contract(back, contract(back.swapaxes(0, 1), cross))
        whole = _Leaving(evaluation=self._evaluation, recipe=recipe, coefficients=coefficients, rows=self._rows)
        found = self._source.fold(whole, self._bar)
        self._check_number(found.n)
        return found.gram

    def few_rows(self, totals: Totals) -> FewRows:
        """Make few rows that have the sums of groups of residuals."""
        groups, counts = self._evaluation.groups, np.zeros(0, np.int64)
        assert groups is not None
        if groups.factors:
            counts = self._source.fold(Counting(evaluation=self._evaluation, rows=self._rows), self._bar).rows
        whole = GroupingPass(evaluation=self._evaluation, recipe=totals.recipe, counts=counts, rows=self._rows)
        found = self._source.fold(whole, self._bar)
        self._check_number(found.n)
        return found.finish(whole.n_factors)

    def _check_number(self, n: int) -> None:
        found = self._evaluation.found
        if n != found.n:
            raise RowsError(
                f"{self._source} had {found.n} complete rows in the first pass and {n} now: something writes there. "
                "Build the model again when nothing does any more."
            )


def _check_beside_residual(kept: Kept) -> None:
    """Refuse random effects beside which a covariance of the residuals is not available."""
    residual = kept.declared.specification.residual
    if residual is None:
        return
    member = next((block for block in kept.blocks if block.grouping.has_members), None)
    if member is not None:
        raise DesignError(
            f"Rows have several levels of {member.group!r}, beside which a covariance of the residuals "
            f"({residual.write()}) is not available."
        )


def _distant_blocks(blocks: Sequence[RandomBlock], totals: Totals, where: str) -> tuple[RandomBlock, ...]:
    """Blocks without rows."""
    found, at = [], 2 + len(totals.recipe.kept) + len(totals.recipe.aliased)
    n = totals.n
    mean, covariance = _mean_and_covariance(totals)
    for f, block in enumerate(blocks):
        inside, T = slice(at, at + block.k), totals.recipe.conditioning.effect_roots[f]
        at += block.k
        squares = np.einsum("ij,ikq,kj->jq", T, totals.sums.diagonal[f], T)
        reached = squares > ROUNDING * squares.max(axis=1, keepdims=True, initial=0.0)
        moments = BlockMoments(
            mean=mean[inside],
            covariance=covariance[inside, inside],
            low=totals.low[inside],
            high=totals.high[inside],
            weighted=T.T @ totals.sums.diagonal[f].sum(axis=2) @ T,
            stacked=T.T @ totals.stacked[f] @ T / n,
            n_rows=reached @ totals.counts[f],
            mean_variance=totals.variances[f] / n,
        )
        codes, columns = (Distant(f"the {what} of {block.group!r}", where) for what in ("levels", "columns"))
        memberships = tuple(Membership(codes=codes, columns=columns) for _ in block.incidence.memberships)  # pyright: ignore
        incidence = DistantIncidence(
            memberships=memberships,
            n_levels=block.q,
            n_rows=n,
            width=block.k,
            touches=totals.touching[f],
            present=block.incidence.levels_present(),
            counts=totals.counts[f].astype(np.int64),
            reached=reached.sum(axis=1),
        )
        found.append(replace(block, incidence=incidence, columns=columns, moments=moments))
    return tuple(found)


def _mean_and_covariance(totals: Totals) -> tuple[np.ndarray, np.ndarray]:
    """Mean (m,) and covariance (m, m) of the columns of [1 X y Z] over all rows; of constant ones exactly."""
    L, n = totals.recipe.to_user, totals.n
    first = totals.plain[0] / n
    covariance = L @ (totals.plain / n - np.outer(first, first)) @ L.T
    is_constant = totals.low == totals.high
    covariance[is_constant], covariance[:, is_constant] = 0.0, 0.0
    np.fill_diagonal(covariance, np.maximum(np.diag(covariance), 0.0))
    return np.where(is_constant, totals.low, L @ first), covariance


def _pair_counts(totals: Totals) -> dict[tuple[int, int], int]:
    """How many pairs of levels of each two factors share a row."""
    return {pair: len(keys) for pair, (keys, _) in totals.pairs().items()}


def _moments(totals: Totals, kept: Kept, found: Gathered, where: str) -> Elsewhere:
    L, n = totals.recipe.to_user, totals.n
    mean, covariance = _mean_and_covariance(totals)
    total = totals.weighted[0, 0]
    weighted_mean = L @ totals.weighted[0] / total
    scatter = L @ (totals.weighted - np.outer(totals.weighted[0], totals.weighted[0]) / total) @ L.T
    at, n_pairs = 1 + kept.columns.X.shape[1], _pair_counts(totals)
    return Elsewhere(
        where=where,
        n=n,
        n_chunks=found.n_chunks,
        kept=kept.used,
        X=kept.columns.X,
        columns=tuple(block.columns for block in kept.blocks),
        column_means=dict(found.means),
        few=dict(found.few),
        mean=mean[1:at],
        low=totals.low[1:at],
        high=totals.high[1:at],
        covariance=covariance[1:at, 1:at],
        response_mean=float(mean[at]),
        response_square=float(n * covariance[at, at]),
        weighted_mean=float(weighted_mean[at]),
        weighted_square=float(scatter[at, at]),
        response_low=float(totals.low[at]),
        response_high=float(totals.high[at]),
        weight_total=float(total),
        inverse_weight=totals.inverse_weights / n,
        confounded=find_confounded(kept.blocks, n_pairs),
        n_pairs=n_pairs,
    )
