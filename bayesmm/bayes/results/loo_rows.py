"""Leave-one-out predictions of rows that are read chunk by chunk: weighted, added up and written as they come."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from xarray import DataArray

from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.residual_draws import normal_log_density
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, map_draws, read_draws, stack_draws
from bayesmm.bayes.results.leave_out import (
    ROWS,
    Predictive,
    choose_predictive,
    draws_beside,
    efficiency,
    row_deviations,
)
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.bayes.results.streamed_leave_out import AT_ONCE, leave_streamed
from bayesmm.design.predictors import Predictors
from bayesmm.design.refusal import refuse_related
from bayesmm.errors import ArgumentError, PredictionError, RowsError
from bayesmm.marginal.leave_out.indispensable import find_indispensable
from bayesmm.marginal.leave_out.row_groups import condition_rows, locate_among, single_rows
from bayesmm.marginal.sums.rows import BlockArrays
from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.presenting.progress import Bar
from bayesmm.rows.by_rows import RowsOf
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.grouping import MOST_WAITING
from bayesmm.rows.predicting import beside, writing
from bayesmm.rows.scan import scan
from bayesmm.rows.source import Scan

COLUMNS = ("elpd_loo", "p_loo", "pareto_k")
VERY_BAD = 1.0
FEWEST = 25  # draws, of which a fifth is the tail that a Pareto distribution is fitted to


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedLoo:
    """Leave-one-out predictions of all rows, added up; made by `Posterior.loo_rows`.

    Attributes
    ----------
    elpd, se : float
        Expected log pointwise predictive density, and its standard error.
    p : float
        Effective number of parameters.
    n_samples, n_data_points : int
        Draws, and rows.
    good_k : float
        Greatest shape of a Pareto distribution of the weights at which a row's number can be trusted.
    counts : DataFrame
        Rows by the shape that their weights have.
    largest_k : float
        The greatest of these shapes.
    path : pathlib.Path or None
        Where each row's ``elpd_loo``, ``p_loo`` and ``pareto_k`` are.
    """

    elpd: float
    se: float
    p: float
    n_samples: int
    n_data_points: int
    good_k: float
    counts: pd.DataFrame
    largest_k: float
    path: Path | None

    def __str__(self) -> str:
        head = f"Leave-one-out by {self.n_samples:,} draws of {self.n_data_points:,} rows, read chunk by chunk"
        table = pd.DataFrame(
            {"estimate": [f"{self.elpd:.1f}", f"{self.p:.1f}"], "std_error": [f"{self.se:.1f}", ""]},
            index=["elpd_loo", "p_loo"],
        )
        where = [] if self.path is None else [f"Each row's are in {self.path}."]
        return "\n".join([head, "", table.to_string(), "", self.counts.to_string(), *where])

    __repr__ = __str__


@dataclass
class _Added:
    """What is added up over the rows."""

    n: int = 0
    elpd: float = 0.0
    square: float = 0.0
    p: float = 0.0

    def add(self, elpd: np.ndarray, p: np.ndarray) -> None:
        mean, total = elpd.mean(), self.n + len(elpd)
        apart = mean - (self.elpd / self.n if self.n else mean)
        self.square += float(((elpd - mean) ** 2).sum() + apart**2 * self.n * len(elpd) / total)
        self.n, self.elpd, self.p = total, self.elpd + float(elpd.sum()), self.p + float(p.sum())


def loo_rows(
    posterior: DrawnModel,
    rows: Any,
    to: str | os.PathLike[str] | None,
    predictive: Predictive,
    draws: int | None,
    bar: Bar,
) -> StreamedLoo:
    """Leave out each row of those that are read chunk by chunk; see `Posterior.loo_rows`."""
    predictive = choose_predictive(posterior, predictive, ROWS)
    source, chosen = scan(rows), read_draws(posterior, draws)
    if len(chosen.sigma) < FEWEST:
        raise ArgumentError(
            f"There are {len(chosen.sigma)} draws, and a Pareto distribution is fitted to the largest fifth of the "
            f"weights: {FEWEST} are the fewest. Take some hundreds."
        )
    reff = efficiency(draws_beside(posterior, chosen, predictive))
    n_samples = len(chosen.sigma)
    good = min(1.0 - 1.0 / np.log10(n_samples), 0.7) if n_samples > 1 else 0.7
    limits, added, counts, largest = np.array([-np.inf, good, VERY_BAD, np.inf]), _Added(), np.zeros(3, int), -np.inf
    opened = contextlib.nullcontext(None) if to is None else writing(to, source)
    leave = _in_order if posterior.design.residual is None else _by_groups
    with opened as write:
        for own in leave(posterior, chosen, source, predictive, reff, write, bar):
            added.add(own[0], own[1])
            counts += np.histogram(own[2], limits)[0]
            largest = max(largest, float(own[2].max()))
    shown = [f"up to {good:.2f} (good)", f"{good:.2f} to 1 (bad)", "above 1 (very bad)"]
    table = pd.DataFrame({"rows": counts, "percent": (100.0 * counts / added.n).round(1)}, index=shown)
    return StreamedLoo(
        elpd=added.elpd,
        se=float(np.sqrt(added.n * added.square / max(added.n - 1, 1))),
        p=added.p,
        n_samples=n_samples,
        n_data_points=added.n,
        good_k=good,
        counts=table.rename_axis("Pareto k"),
        largest_k=largest,
        path=None if to is None else Path(to),
    )


type _Write = Callable[[Any], None]


def _in_order(
    posterior: DrawnModel,
    chosen: ParameterDraws,
    source: Scan,
    predictive: Literal["marginal", "conditional"],
    reff: float,
    write: _Write | None,
    bar: Bar,
) -> Iterator[np.ndarray]:
    """Weigh rows in the order in which they come, and write them; yield what is found of some (3, m)."""
    every = RowsOf(posterior.problem.sums.summed, source)
    size = max(AT_ONCE // len(chosen.sigma), 1)
    densities = (_marginal if predictive == "marginal" else _conditional)(posterior, chosen, size)
    for chunk, complete, part in every.chunks(2 * size, beside=write is not None):
        found = np.full((len(COLUMNS), chunk.table.num_rows), np.nan)
        if part is not None:
            own = np.empty((len(COLUMNS), len(part.y)))
            for start in range(0, len(part.y), size):
                some = slice(start, min(start + size, len(part.y)))
                own[:, some] = _weigh(densities(part, some, str(chunk)), chosen.shape, reff)
                bar.advance(some.stop - some.start)
            found[:, complete] = own
            yield own
        if write is not None:
            write(beside(chunk, dict(zip(COLUMNS, found, strict=True))))
    every.check()


def _by_groups(
    posterior: DrawnModel,
    chosen: ParameterDraws,
    source: Scan,
    predictive: Literal["marginal", "conditional"],
    reff: float,
    write: _Write | None,
    bar: Bar,
) -> Iterator[np.ndarray]:
    """Do so as whole groups of the residuals are there; chunks wait until all their rows are done."""
    waiting = None if write is None else _Waiting(write)
    see = (lambda chunk, complete: None) if waiting is None else waiting.see
    for found in leave_streamed(posterior, chosen, source, predictive, "rows", bar, see):
        own = _weigh(found.values, chosen.shape, reff)
        if waiting is not None:
            waiting.put(found.which, own)
        yield own
    if waiting is not None:
        waiting.flush()


class _Waiting:
    """Chunks that wait until what is found of all their complete rows is there, and are then written in their order."""

    def __init__(self, write: _Write) -> None:
        self._write, self._end = write, 0
        self._chunks: list[tuple[Chunk, int, np.ndarray, np.ndarray]] = []  # first row, what is found, what is not yet

    def see(self, chunk: Chunk, complete: np.ndarray) -> None:
        """Take in a chunk."""
        self.flush()
        n = chunk.table.num_rows
        self._chunks.append((chunk, self._end, np.full((len(COLUMNS), n), np.nan), complete.copy()))
        self._end += n
        held = self._end - self._chunks[0][1]
        if held > MOST_WAITING:
            raise RowsError(
                f"{held:,} rows wait to be written until the rows of a group that lie far apart are done: sort the "
                "rows by group, or leave `to` out."
            )

    def put(self, which: np.ndarray, found: np.ndarray) -> None:
        """Take in what was found of some rows, by their numbers."""
        order = np.argsort(which)
        which, found = which[order], found[:, order]
        for chunk, start, into, is_open in self._chunks:
            own = slice(*np.searchsorted(which, [start, start + chunk.table.num_rows]))
            into[:, which[own] - start] = found[:, own]
            is_open[which[own] - start] = False

    def flush(self) -> None:
        """Write chunks that are done."""
        while self._chunks and not self._chunks[0][3].any():
            chunk, _, found, _ = self._chunks.pop(0)
            self._write(beside(chunk, dict(zip(COLUMNS, found, strict=True))))


def _weigh(values: np.ndarray, shape: tuple[int, int], reff: float) -> np.ndarray:
    """Return what is left out of rows of log-likelihoods (draws, m) by Pareto-smoothed weights, (3, m)."""
    drawn = ["chain", "draw"]
    likelihood = cast(Any, DataArray(values.reshape(*shape, -1), dims=(*drawn, "obs")))
    weights, k = likelihood.azstats.psislw(r_eff=reff, dim=drawn)
    elpd, k, p = likelihood.azstats.loo(sample_dims=drawn, r_eff=reff, log_weights=weights, pareto_k=k)
    return np.stack([elpd.to_numpy(), p.to_numpy(), k.to_numpy()])


type _Densities = Callable[[ChunkRows, slice, str], np.ndarray]


def _marginal(posterior: DrawnModel, chosen: ParameterDraws, size: int) -> _Densities:
    """From some rows to log p(yᵢ | y₋ᵢ, θ), (draws, m)."""
    refuse_related(
        posterior.design,
        "Densities of rows read chunk by chunk, their random effects integrated out, are there for independent levels",
        "Take predictive='conditional', given the random effects.",
    )
    problem = posterior.problem
    _, data = bind_marginal(problem, posterior.priors)
    padded = data.arrays
    stacked, kept, products = stack_draws(chosen, data.prior), posterior.design.kept, problem.products

    def densities(part: ChunkRows, some: slice, where: str) -> np.ndarray:
        m = some.stop - some.start
        which = some.start + np.minimum(np.arange(size), m - 1)  # of one length: what is compiled serves all parts
        blocks = [BlockArrays(incidence=each.rows(which), pieces=()) for each in part.incidences]
        rows = condition_rows(part.fixed[kept][:, which].T, part.y[which], part.weights[which], blocks, products)
        lost = find_indispensable(rows, None, data.prior)
        if len(lost):
            raise PredictionError(
                f"Without row {int(which[lost[0]])} of the complete ones in {where} the data do not determine a "
                "coefficient whose prior is flat, so that nothing can be predicted. Give the coefficients proper "
                "priors, such as the defaults."
            )
        groups = single_rows(rows, padded, locate_among(rows.incidences, products))
        sd, z = map_draws(row_deviations, (data, groups), stacked)
        return normal_log_density(sd, z)[:, :m]

    return densities


def _conditional(posterior: DrawnModel, chosen: ParameterDraws, size: int) -> _Densities:
    """From some rows to log p(yᵢ | β, b, σ), (draws, m)."""
    effects, kept = read_effects(posterior, chosen), posterior.design.kept

    def densities(part: ChunkRows, some: slice, where: str) -> np.ndarray:
        m = some.stop - some.start
        predictors = Predictors(
            index=pd.RangeIndex(m),
            X=part.fixed[kept][:, some].T,
            offset=np.zeros(m),
            incidences=tuple(each.rows(some) for each in part.incidences),
            n_new=(0,) * len(part.incidences),
        )
        sd = chosen.sigma[:, None] / np.sqrt(part.weights[some])
        z = (part.y[some] - predictors.mean(chosen.beta, effects)) / sd
        return normal_log_density(sd, z)

    return densities
