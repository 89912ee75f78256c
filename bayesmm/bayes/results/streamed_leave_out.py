"""Leaving out rows and groups whose residuals hang together, of rows that are read chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import jax
import numpy as np
import pandas as pd

from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.program import MarginalData, conditional_prior
from bayesmm.bayes.residual_draws import ResidualDraws, normal_log_density
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, map_draws, stack_draws
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.covariance.residual import Correlation
from bayesmm.design.blocks.residual import evaluate_spreads, place_rows
from bayesmm.design.predictors import Predictors
from bayesmm.design.refusal import refuse_related
from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence
from bayesmm.marginal.leave_out.indispensable import find_indispensable
from bayesmm.marginal.leave_out.left_out import Draw
from bayesmm.marginal.leave_out.row_groups import Rows, locate_among
from bayesmm.marginal.residual.in_jax import StackArrays, products_at
from bayesmm.marginal.residual.layout import ResidualLayout, Stack, lay_out_residuals
from bayesmm.marginal.residual.leave_out import leave_residual_groups, leave_residual_rows
from bayesmm.marginal.sums.crossproducts import orthonormalise
from bayesmm.presenting.progress import Bar
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.clustering import ClusterReader, ClusterRows
from bayesmm.rows.source import Scan

AT_ONCE = 5_000_000  # draws times rows: 40 MB, of which a few copies are needed

type What = Literal["rows", "groups"]
type See = Callable[[Chunk, np.ndarray], None]


class Densities(NamedTuple):
    """Log densities (draws, m) of m rows or groups, and which these are (m,)."""

    which: np.ndarray
    values: np.ndarray


def leave_streamed(
    posterior: DrawnModel,
    chosen: ParameterDraws,
    source: Scan,
    predictive: Literal["marginal", "conditional"],
    what: What,
    bar: Bar,
    see: See = lambda chunk, complete: None,
) -> Iterator[Densities]:
    """Leave out rows, or whole groups of the residuals, as their groups are complete.

    Parameters
    ----------
    posterior : DrawnModel
        Of rows that are not in memory, whose residuals have a covariance.
    chosen : ParameterDraws
        Which draws.
    source : Scan
        Where the rows are.
    predictive : {"marginal", "conditional"}
        Whether coefficients and random effects are integrated out.
    what : {"rows", "groups"}
        What is left out.
    bar : Bar
        What is told how many rows were read.
    see : callable
        Is told of every chunk, and which of its rows are complete, before its rows are there.

    Yields
    ------
    Densities
        Rows by their number among all that are read; groups by their number among those of the residuals.

    Raises
    ------
    PredictionError
        If a coefficient with a flat prior is not determined without some row or group.
    RowsError
        As `bayesmm.rows.clustering.ClusterReader`.
    """
    summed = posterior.problem.sums.summed
    evaluate = (_Marginal if predictive == "marginal" else _Conditional)(posterior, chosen, what)
    recipe = summed.totals.recipe if predictive == "marginal" else None
    reader = ClusterReader(summed, source, None, bar, recipe=recipe, beside=what == "rows")
    most = max(AT_ONCE // len(chosen.sigma), 1)
    buffers: dict[int, _Buffer] = {}
    for rows in reader.read(see):
        laid = _lay_out(posterior, rows)
        for stack in laid.stacks:
            o = stack.rows.shape[1]
            if o not in buffers:
                n = int((reader.sizes == o).sum()) if len(reader.sizes) else posterior.n
                buffers[o] = _Buffer(int(np.clip(most // o, 1, n)))
            for full in buffers[o].add(evaluate.groups(rows, laid, stack)):
                yield evaluate(full, buffers[o].size)
    for buffer in buffers.values():
        if buffer.held is not None and len(buffer.held):
            yield evaluate(buffer.held, buffer.size)


def _lay_out(posterior: DrawnModel, rows: ClusterRows) -> ResidualLayout:
    block = posterior.design.residual
    assert block is not None
    n = len(rows.rows)
    spreads = evaluate_spreads(block, pd.DataFrame(dict(rows.marks), index=pd.RangeIndex(n)))
    codes = np.unique(rows.groups, return_inverse=True)[1].reshape(-1)
    return lay_out_residuals(
        block.correlation, codes, place_rows(block, rows.marks, n), spreads, block.are_sds, rows.weights
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Whole groups of o rows.

    Attributes
    ----------
    rows : int array, shape (G, o)
        Number of each row among all.
    groups : int array, shape (G,)
        Number of each among those of the residuals.
    positions, log_weights : arrays, shape (G, o)
    spreads : array, shape (G, o, s)
    levels : int array, shape (G, f)
        Of each grouping factor.
    columns : array, shape (G, o, c)
        What a density is of.
    """

    rows: np.ndarray
    groups: np.ndarray
    positions: np.ndarray
    log_weights: np.ndarray
    spreads: np.ndarray
    levels: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, which: Any) -> Groups:
        """Take some."""
        return Groups(**{name: values[which] for name, values in vars(self).items()})

    def beside(self, other: Groups) -> Groups:
        """Put others after these."""
        return Groups(**{name: np.concatenate([values, getattr(other, name)]) for name, values in vars(self).items()})


class _Buffer:
    """Groups of one size that wait until they are as many as are evaluated together."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held: Groups | None = None

    def add(self, groups: Groups) -> Iterator[Groups]:
        """Take in groups, and give away as many as are evaluated together, as long as there are so many."""
        held = groups if self.held is None else self.held.beside(groups)
        while len(held) >= self.size:
            yield held.take(slice(self.size))
            held = held.take(slice(self.size, None))
        self.held = held


class _Marginal:
    """Log p(y_i | y_-i, θ): other rows of the group are among what is known."""

    def __init__(self, posterior: DrawnModel, chosen: ParameterDraws, what: What) -> None:
        refuse_related(
            posterior.design,
            "Densities of rows read chunk by chunk, random effects integrated out, are there for independent levels",
            "Take predictive='conditional', given the random effects.",
        )
        self._problem, self._what = posterior.problem, what
        summed, own = posterior.problem.sums.summed, posterior.problem.residual_rows
        recipe = summed.totals.recipe
        self._change = orthonormalise(replace(summed.totals.sums, cross=[]), recipe.conditioning).change
        self._turns = [
            T @ np.linalg.inv(new) for T, new in zip(recipe.conditioning.effect_roots, own.effect_roots, strict=True)
        ]
        program, self._data = bind_marginal(posterior.problem, posterior.priors)
        self._correlation: Correlation | None = program.correlation
        self._draws = stack_draws(chosen, self._data.prior)

    def groups(self, rows: ClusterRows, laid: ResidualLayout, stack: Stack) -> Groups:
        """Return the groups of a stack, with [Z X y] on the columns of the sums."""
        c = self._data.arrays.gram.shape[0]
        fixed, p = np.zeros((len(rows.rows), c)), self._problem.residual_rows.p
        fixed[:, [*range(p), c - 1]] = rows.fixed @ self._change
        effects = [each.only.columns @ turn for each, turn in zip(rows.incidences, self._turns, strict=True)]
        return _of_stack(rows, stack, np.hstack([*effects, fixed]))

    def __call__(self, groups: Groups, size: int) -> Densities:
        """Evaluate groups, made as many as `size` by the last one, so that one compiled program serves all."""
        self._check(groups)
        some = groups.take(np.minimum(np.arange(size), len(groups) - 1))
        stack = self._stack(some)
        if self._what == "groups":
            evaluate = partial(_groups, correlation=self._correlation)
            return Densities(groups.groups, map_draws(evaluate, (self._data, stack), self._draws)[:, : len(groups)])
        evaluate = partial(_rows, correlation=self._correlation)
        sd, z = map_draws(evaluate, (self._data, stack), self._draws)
        return Densities(groups.rows.ravel(), normal_log_density(sd, z)[:, : groups.rows.size])

    def _stack(self, groups: Groups) -> StackArrays:
        G = len(groups)
        incidences = [
            Incidence.single(codes, np.zeros((G, block.incidence.k)), block.n_levels)
            for block, codes in zip(self._problem.residual_rows.blocks, groups.levels.T, strict=True)
        ]
        found = locate_among(incidences, cast(Any, self._problem.plan)) if incidences else {}
        leaves: dict[str, Any] = {
            "positions": groups.positions,
            "log_weights": groups.log_weights,
            "spreads": groups.spreads,
            "counts": np.ones(G),
            "pattern": np.arange(G),
            "link": None,
            "rows": groups.columns,
            "sums": None,
            "levels": tuple(groups.levels.T),
            "pairs": tuple(each[0, 0] for each in found.values()),
        }
        return StackArrays(**leaves)

    def _check(self, groups: Groups) -> None:
        o, p = groups.rows.shape[1], self._problem.residual_rows.p
        c = groups.columns.shape[2]
        at = c - self._data.arrays.gram.shape[0]
        fixed = groups.columns[:, :, [*range(at, at + p), c - 1]] * np.exp(0.5 * groups.log_weights)[:, :, None]
        flat = fixed.reshape(-1, p + 1)
        rows = Rows(fixed=flat, incidences=(), log_weights=flat[:, 0])
        each = list(np.arange(len(flat)).reshape(-1, o)) if self._what == "groups" else None
        lost = find_indispensable(rows, each, self._data.prior)
        if len(lost):
            which = groups.groups if self._what == "groups" else groups.rows.ravel()
            called = f"group {self._name(int(which[lost[0]]))!r}" if self._what == "groups" else f"row {which[lost[0]]}"
            raise PredictionError(
                f"Without {called} the data do not determine a coefficient whose prior is flat, so that nothing can be "
                "predicted. Give the coefficients proper priors, such as the defaults."
            )

    def _name(self, group: int) -> str:
        residual = self._problem.design.residual
        assert residual is not None
        return residual.levels[group]


class _Conditional:
    """Log p(y_i | β, b, σ, ...), given the other residuals of the group; of whole groups given none."""

    def __init__(self, posterior: DrawnModel, chosen: ParameterDraws, what: What) -> None:
        self._what, self._chosen, self._design = what, chosen, posterior.design
        self._effects = read_effects(posterior, chosen)

    def groups(self, rows: ClusterRows, laid: ResidualLayout, stack: Stack) -> Groups:
        """Return the groups of a stack, with what the draws leave of their responses."""
        n = len(rows.rows)
        predictors = Predictors(
            index=pd.RangeIndex(n),
            X=rows.fixed,
            offset=np.zeros(n),
            incidences=rows.incidences,
            n_new=(0,) * len(rows.incidences),
        )
        left = rows.response - predictors.mean(self._chosen.beta, self._effects)
        return _of_stack(rows, stack, left.T)

    def __call__(self, groups: Groups, size: int) -> Densities:
        """Evaluate groups."""
        block, chosen = self._design.residual, self._chosen
        assert block is not None
        assert chosen.residual is not None
        G, o = groups.rows.shape
        layout = lay_out_residuals(
            block.correlation,
            np.repeat(np.arange(G), o),
            groups.positions.ravel(),
            groups.spreads.reshape(G * o, -1),
            block.are_sds,
            np.exp(groups.log_weights).ravel(),
        )
        residuals = ResidualDraws(layout=layout, public=chosen.residual, sigma=chosen.sigma)
        left = groups.columns.reshape(G * o, -1).T
        if self._what == "groups":
            values, first = residuals.groups(left)
            return Densities(groups.groups[first // o], values)
        return Densities(groups.rows.ravel(), normal_log_density(*residuals.rows_given_others(left)))


def _of_stack(rows: ClusterRows, stack: Stack, columns: np.ndarray) -> Groups:
    at = stack.rows
    levels = [each.only.codes[at[:, 0]] for each in rows.incidences]
    return Groups(
        rows=rows.rows[at],
        groups=rows.clusters[at[:, 0]],
        positions=stack.positions[stack.pattern],
        log_weights=stack.log_weights[stack.pattern],
        spreads=stack.spreads[stack.pattern],
        levels=np.column_stack([np.zeros((len(at), 0), dtype=np.int64), *levels]),
        columns=columns[at],
    )


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _rows(data: MarginalData, stack: StackArrays, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        products = products_at(data.arrays, data.stacks, data.relating, correlation, draw.residual)
        prior = conditional_prior(data, draw.beta)
        ((sd, z),) = leave_residual_rows(products, (stack,), data.relating, correlation, prior, draw)
        return sd.ravel(), z.ravel()

    return jax.lax.map(one, draws, batch_size=batch)


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _groups(data: MarginalData, stack: StackArrays, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        products = products_at(data.arrays, data.stacks, data.relating, correlation, draw.residual)
        prior = conditional_prior(data, draw.beta)
        (found,) = leave_residual_groups(products, (stack,), data.relating, correlation, prior, draw)
        return found

    return jax.lax.map(one, draws, batch_size=batch)
