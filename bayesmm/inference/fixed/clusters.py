"""Independent clusters of rows: which rows belong together, and whether all random effects are nested in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.families import find_families
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError

LEAST = 2  # clusters whose spread says anything


@dataclass(frozen=True, kw_only=True, eq=False)
class Clusters:
    """Rows that belong together, each to one cluster.

    Attributes
    ----------
    name : str
        What they are called.
    codes : array of int, shape (n,)
        Cluster of each row.
    labels : tuple of str
        One a cluster (m,).
    counted : int array, shape (m,), optional
        Rows of each, where the rows are not in memory and `codes` cannot be read.
    """

    name: str
    codes: np.ndarray
    labels: tuple[str, ...]
    counted: np.ndarray | None = None

    def rows(self) -> Iterator[np.ndarray]:
        """Positions of the rows of each cluster."""
        order = np.argsort(self.codes, kind="stable")
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.labels)))
        yield from np.split(order, ends[:-1])

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each cluster (m,)."""
        if self.counted is not None:
            return self.counted
        return np.bincount(self.codes, minlength=len(self.labels))


def find_clusters(design: Design, cluster: Any = None) -> Clusters:
    """Read which rows belong together.

    Parameters
    ----------
    design : Design
        Of the model.
    cluster : str or array-like, optional
        A grouping factor of the model, a column that the model uses, or one label for each row used (a Series is taken
        by the labels of its rows). By default the grouping factor in which all others are nested; of related levels,
        families of them.

    Raises
    ------
    ArgumentError
        If it is none of these, has fewer than two clusters, or some level of a grouping factor, or a family of them,
        has rows in several of them.
    """
    families = [find_families(block) for block in design.blocks]
    for block, own in zip(design.blocks, families, strict=True):
        if block.relation is not None and len(np.unique(own[block.incidence.only.codes])) < LEAST:
            raise ArgumentError(
                f"Robust standard errors need clusters of rows that are independent of each other, and the matrix "
                f"{block.grouping.relation!r} ties all levels of {block.group} that have rows to each other, directly "
                "or through others. Take those of the model, fit.coefficients()."
            )
    found = _outermost(design, families) if cluster is None else _read(design, families, cluster)
    if len(found.labels) < LEAST:
        raise ArgumentError(
            f"cluster={found.name} puts all {design.n} rows into {len(found.labels)} cluster: give one of at least "
            f"{LEAST}, and better of ten or more."
        )
    for block, own in zip(design.blocks, families, strict=True):
        level = _first_divided(block, own, found.codes)
        if level is not None:
            whose = f"level {block.levels[level]!r}"
            if block.relation is not None:
                whose = f"levels that the matrix {block.grouping.relation!r} ties to {block.levels[level]!r}"
            raise ArgumentError(
                f"Clusters by {found.name} are not independent: rows with {whose} of "
                f"{block.group!r} are in several of them. Give a cluster in which every grouping factor of the model "
                "is nested; crossed factors have none."
            )
    residual = design.residual
    if residual is not None and residual.group:
        divided = first_apart(residual.codes, len(residual.levels), found.codes)
        if divided is not None:
            raise ArgumentError(
                f"Clusters by {found.name} are not independent: rows of {residual.levels[divided]!r} of "
                f"{residual.group!r}, whose residuals are correlated, are in several of them. Give "
                f"cluster={residual.group!r}, or one in which it is nested."
            )
    return found


def _outermost(design: Design, families: Sequence[np.ndarray]) -> Clusters:
    blocks = list(zip(design.blocks, families, strict=True))
    for block, own in sorted(blocks, key=lambda each: len(np.unique(each[1]))):
        if block.incidence.touches_itself:
            continue
        clusters = _of_block(block, own)
        if all(_first_divided(other, theirs, clusters.codes) is None for other, theirs in blocks):
            return clusters
    residual = design.residual
    if residual is not None and residual.group and not design.blocks:
        return Clusters(name=residual.group, codes=residual.codes, labels=residual.levels)
    groups = listing([block.group for block in design.blocks])
    if not groups:
        raise ArgumentError("The model has no groups of rows: give cluster= a division of the rows that are alike.")
    raise ArgumentError(
        f"None of the grouping factors ({groups}) has all others nested in it, so that no clusters are independent. "
        "Give cluster= a coarser division of the rows, if there is one."
    )


def _of_block(block: RandomBlock, families: np.ndarray) -> Clusters:
    codes = block.incidence.only.codes
    if block.relation is None:
        return Clusters(name=block.group, codes=codes, labels=block.levels)
    first, own = np.unique(families[codes], return_inverse=True)
    labels = tuple(block.levels[level] for level in first)
    return Clusters(name=f"families of {block.group}", codes=own.ravel(), labels=labels)


def _read(design: Design, families: Sequence[np.ndarray], cluster: Any) -> Clusters:
    if isinstance(cluster, str):
        found = ((b, own) for b, own in zip(design.blocks, families, strict=True) if b.group == cluster)
        block, own = next(found, (None, np.zeros(0)))
        if block is not None and not block.incidence.touches_itself:
            return _of_block(block, own)
        residual = design.residual
        if residual is not None and residual.group == cluster:
            return Clusters(name=residual.group, codes=residual.codes, labels=residual.levels)
        if cluster not in design.frame:
            names = [block.group for block in design.blocks]
            groups = listing(names + ([residual.group] if residual is not None and residual.group else []))
            raise ArgumentError(
                f"cluster is {cluster!r}: give a grouping factor of the model ({groups}), a column that it uses, or "
                f"one label for each of its {design.n} rows."
            )
        return _label(cluster, design.frame[cluster].to_numpy())
    if isinstance(cluster, pd.Series) and not cluster.index.equals(design.rows):
        missing = design.rows.difference(cluster.index)
        if len(missing) or not cluster.index.is_unique:
            raise ArgumentError(
                f"cluster is a Series whose index does not tell each of the {design.n} rows used: give one with the "
                "index of the data, or an array in the order of fit.design.rows."
            )
        cluster = cluster.reindex(design.rows)
    values = np.asarray(cluster)
    if values.shape != (design.n,):
        raise ArgumentError(
            f"cluster is {shorten(cluster)}, of shape {values.shape}: give the name of a grouping factor, or one label "
            f"for each of the {design.n} rows used, in the order of fit.design.rows."
        )
    return _label(str(cluster.name) if isinstance(cluster, pd.Series) and cluster.name else "cluster", values)


def _label(name: str, values: np.ndarray) -> Clusters:
    codes, labels = pd.factorize(values, sort=False)
    if (codes < 0).any():
        raise ArgumentError(f"{int((codes < 0).sum())} of the rows used have no cluster: give each row a label.")
    return Clusters(name=name, codes=codes, labels=tuple(map(str, labels)))


def _first_divided(block: RandomBlock, families: np.ndarray, codes: np.ndarray) -> int | None:
    """Find a level whose rows are in several clusters, or the first of a family whose rows are."""
    members = [(each.codes, each.columns.any(axis=1)) for each in block.incidence.memberships]
    levels = families[np.concatenate([own[present] for own, present in members])]
    return first_apart(levels, block.q, np.concatenate([codes[present] for _, present in members]))


def first_apart(levels: np.ndarray, q: int, codes: np.ndarray) -> int | None:
    """Find one of q levels whose rows have several codes."""
    low, high = np.full(q, codes.max(initial=0) + 1), np.full(q, -1)
    np.minimum.at(low, levels, codes)
    np.maximum.at(high, levels, codes)
    divided = low < high
    return int(divided.argmax()) if divided.any() else None
