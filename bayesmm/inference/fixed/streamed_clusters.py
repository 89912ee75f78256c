"""Independent clusters of rows that are not in memory, read one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.blocks.residual import ResidualBlock, evaluate_spreads, place_rows
from bayesmm.design.elsewhere import Distant
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.incidence import Incidence
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.clusters import LEAST, Clusters, first_apart
from bayesmm.presenting.progress import Bar
from bayesmm.rows.clustering import ClusterReader, ClusterRows
from bayesmm.rows.scan import scan

MOST_NUMBERS = 40_000_000  # of what is held of all clusters, 320 MB


class StreamedCluster(NamedTuple):
    """One cluster: its number, columns X (r, p), y − Xβ̂, prior weights, levels, covariance of the residuals if any."""

    cluster: int
    X: np.ndarray
    residual: np.ndarray
    weights: np.ndarray
    incidences: Sequence[Incidence]
    R: np.ndarray | None


class StreamedClusters:
    """Clusters of the rows of a fit, which are read twice.

    Parameters
    ----------
    fit : Fit
        Of rows that are not in memory.
    cluster : str or None
        A grouping factor, or the groups of the residuals; by default that in which all others are nested.
    rows : path, list, or data frame
        Where the rows are.
    bar : Bar
        What is told how many were read.

    Attributes
    ----------
    clusters : Clusters
        Without rows.

    Raises
    ------
    ArgumentError
        If clusters are not independent in this model, or fewer than two.
    RowsError
        If rows are not given, are not those of the model, or the clusters are too many or not those of a grouping
        factor.
    """

    def __init__(self, fit: Fitted, cluster: Any, rows: Any, bar: Bar) -> None:
        design, summed = fit.design, fit.problem.summed
        assert summed is not None
        assert design.elsewhere is not None
        if rows is None:
            asked = "rows='visits/*.parquet'" if cluster is None else f"{shorten(cluster)}, rows='visits/*.parquet'"
            raise RowsError(
                f"This needs the rows, cluster by cluster, and they are in {design.elsewhere.where}, not in memory: "
                f"give them once more, fit.robust({asked})."
            )
        factor = self._find(fit, cluster)
        name, labels = _called(fit, factor)
        if len(labels) < LEAST:
            raise ArgumentError(
                f"cluster={name} puts all {design.n} rows into {len(labels)} cluster: give one of at least {LEAST}, "
                "and better of ten or more."
            )
        n_numbers = 2 * len(labels) * design.p**2
        if n_numbers > MOST_NUMBERS:
            raise RowsError(
                f"{len(labels):,} clusters by {name} with {design.p} coefficients are {n_numbers:,} numbers to hold "
                f"for degrees of freedom, more than {MOST_NUMBERS:,}. With so many clusters a part of "
                "them says the same: read theirs into a data frame."
            )
        self._fit = fit
        self._reader = ClusterReader(summed, scan(rows), factor, bar)
        self.clusters = Clusters(
            name=name,
            codes=Distant("the clusters", design.elsewhere.where),  # pyright: ignore[reportArgumentType]
            labels=labels,
            counted=self._reader.sizes,
        )

    def __iter__(self) -> Iterator[StreamedCluster]:
        fit, block = self._fit, self._fit.design.residual
        values = fit.parameter_table(df="normal")["estimate"].to_dict()
        values |= {"sigma": fit.sigma}
        for rows in self._reader:
            residual = rows.response - rows.fixed @ fit.estimate.beta
            laid = None if block is None else _Residuals(block, rows, values)
            begins = np.flatnonzero(np.diff(rows.clusters, prepend=-1))
            for start, end in zip(begins, [*begins[1:], len(residual)], strict=True):
                own = slice(start, end)
                yield StreamedCluster(
                    int(rows.clusters[start]),
                    rows.fixed[own],
                    residual[own],
                    rows.weights[own],
                    [each.rows(own) for each in rows.incidences],
                    None if laid is None else laid.covariance(own),
                )

    def _find(self, fit: Fitted, cluster: Any) -> int | None:
        """Find the factor of the clusters; None of groups of the residuals."""
        design = fit.design
        blocks, residual = design.blocks, design.residual
        related = next((block for block in blocks if block.relation is not None), None)
        members = next((block for block in blocks if block.grouping.has_members), None)
        if related is not None or members is not None:
            raise RowsError(
                f"Rows read chunk by chunk have clusters where each has one level of every factor, and levels are "
                f"independent; {(related or members).group!r} is otherwise. Read the rows into a data frame."  # pyright: ignore
            )
        groups = residual.group if residual is not None else ""
        if cluster is None:
            for f in np.argsort([block.q for block in blocks], kind="stable").tolist():
                if _first_divided(fit, f) is None:
                    return f
            if groups and not blocks:
                return None
            if not blocks:
                raise ArgumentError(
                    "The model has no groups of rows: read them into a data frame, and give cluster= a division of the "
                    "rows that are alike."
                )
            raise ArgumentError(
                f"None of the grouping factors ({listing([block.group for block in blocks])}) has all others nested in "
                "it, so that no clusters are independent."
            )
        found = next((f for f, block in enumerate(blocks) if block.group == cluster), None)
        if found is None and not (groups and cluster == groups):
            names = listing(list(dict.fromkeys([*(block.group for block in blocks), *([groups] if groups else [])])))
            raise RowsError(
                f"cluster is {shorten(cluster)}: clusters of rows that are read chunk by chunk are those of a grouping "
                f"factor ({names}). For others read the rows into a data frame."
            )
        divided = _first_divided(fit, found)
        if divided is not None:
            raise ArgumentError(
                f"Clusters by {cluster} are not independent: rows with {divided} are in several of them. Give a "
                "cluster in which every grouping factor of the model is nested; crossed factors have none."
            )
        return found


def _called(fit: Fitted, factor: int | None) -> tuple[str, tuple[str, ...]]:
    if factor is not None:
        return fit.design.blocks[factor].group, tuple(fit.design.blocks[factor].levels)
    assert fit.design.residual is not None
    return fit.design.residual.group, fit.design.residual.levels


def _first_divided(fit: Fitted, factor: int | None) -> str | None:
    """Say which level of another factor has rows in several clusters; residual groups have one level of each factor."""
    summed, blocks = fit.problem.summed, fit.design.blocks
    assert summed is not None
    for g, block in enumerate(blocks):
        if g == factor:
            continue
        if factor is None:
            levels, clusters = summed.level_groups(g)
        else:
            (pair, (keys, _)) = next(each for each in summed.totals.pairs().items() if {*each[0]} == {g, factor})
            first, second = np.divmod(keys, blocks[pair[1]].q)
            levels, clusters = (first, second) if pair[0] == g else (second, first)
        divided = first_apart(levels, block.q, clusters)
        if divided is not None:
            return f"level {block.levels[divided]!r} of {block.group!r}"
    return None


class _Residuals:
    """The covariance of the residuals of rows of whole clusters."""

    def __init__(self, block: ResidualBlock, rows: ClusterRows, values: dict[str, float]) -> None:
        frame = pd.DataFrame(dict(rows.marks), index=pd.RangeIndex(len(rows.response)))
        public = block.public_of(values)
        s = public[: len(block.sd_names)]
        self._sd = values["sigma"] * np.exp(evaluate_spreads(block, frame) @ s) / np.sqrt(rows.weights)
        self._block, self._rho, self._groups = block, public[len(s) :], rows.groups
        self._places = place_rows(block, rows.marks, len(rows.response))

    def covariance(self, own: slice) -> np.ndarray:
        """R (r, r) of some rows."""
        sd, groups = self._sd[own], self._groups[own]
        if self._block.correlation is None:
            return np.diag(sd**2)
        C = self._block.correlation.matrix(np, self._rho, self._places[own])
        return np.where(groups[:, None] == groups, C, 0.0) * np.outer(sd, sd)
