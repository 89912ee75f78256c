"""Choosing rows of a design by their labels or by their levels, and naming them by their levels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.reading.dtypes import level_text
from bayesmm.errors import DesignError


def choose_rows(design: Design, rows: Any) -> np.ndarray:
    """Find the positions of the rows that a user names.

    Parameters
    ----------
    design : Design
        Data and specification.
    rows : list, slice, mapping or None
        Labels of rows; a slice of labels, both ends included; ``{group: level or list of levels}``; or all rows.

    Returns
    -------
    array of int, shape (m,)

    Raises
    ------
    DesignError
        If a row, a group or a level is unknown, or no row is left.
    """
    if rows is None:
        return np.arange(design.n)
    if isinstance(rows, Mapping):
        chosen = _by_levels(design, rows)
    elif isinstance(rows, slice):
        chosen = _by_slice(design, rows)
    elif isinstance(rows, Iterable) and not isinstance(rows, str):
        chosen = _by_labels(design, list(rows))
    else:
        groups = [(each.group, each.levels) for each in (*design.blocks, design.residual) if each and each.group]
        example = f"; or levels, rows={{{groups[0][0]!r}: {groups[0][1][0]!r}}}" if groups else ""
        raise DesignError(f"rows is {rows!r}. Give a list of row labels, rows=[0, 1]; a slice of them{example}.")
    if not len(chosen):
        raise DesignError(f"No row is chosen by rows={rows!r}. The model uses {design.n} rows.")
    return chosen


def label_rows(design: Design, chosen: np.ndarray) -> pd.Index:
    """Name rows by their levels, coarse to fine, and by their label in the data: ``"Subject 308 · row 3"``."""
    factors = list(dict.fromkeys(name for block in design.blocks for name in block.factors))
    factors += [name for name in _residual_factors(design) if name not in factors]
    columns = [[f"{name} {level_text(value)}" for value in design.frame[name].iloc[chosen]] for name in factors]
    rows = [f"row {label}" for label in design.rows[chosen]]
    return pd.Index([" · ".join(parts) for parts in zip(*columns, rows, strict=True)], dtype=object)


def _by_labels(design: Design, labels: list[Any]) -> np.ndarray:
    if labels and all(isinstance(label, (bool, np.bool_)) for label in labels):
        raise DesignError("rows is a mask of truth values. Give the labels of the rows, rows=data.index[mask].")
    for label in labels:
        if not isinstance(label, Hashable):
            raise DesignError(
                f"rows names {shorten(label)}, which is no label of a row. The labels run from {design.rows[0]!r} to "
                f"{design.rows[-1]!r}."
            )
    positions = [np.flatnonzero(np.asarray(design.rows == label)) for label in labels]
    for label, found in zip(labels, positions, strict=True):
        if not len(found):
            raise DesignError(_no_row(design, label))
    return np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)


def _by_slice(design: Design, rows: slice) -> np.ndarray:
    try:
        return np.arange(design.n)[design.rows.slice_indexer(rows.start, rows.stop, rows.step)]
    except (KeyError, TypeError, ValueError, pd.errors.InvalidIndexError):
        raise DesignError(
            f"rows={rows!r} does not fit the row labels, which run from {design.rows[0]!r} to {design.rows[-1]!r}. "
            "Give a list of labels instead."
        ) from None


def _no_row(design: Design, label: Any) -> str:
    dropped = f", {design.n_dropped} were dropped for missing values" if design.n_dropped else ""
    return (
        f"The model uses no row labelled {label!r}: it uses {design.n} rows, {design.rows[0]!r} to "
        f"{design.rows[-1]!r}{dropped}. Rows are chosen by their labels in the data."
    )


def row_levels(design: Design, chosen: np.ndarray) -> dict[str, list[str]]:
    """List the level of each chosen row by grouping factor, coarse ones first, without those that have several."""
    single = [block for block in design.blocks if len(block.incidence.memberships) == 1]
    return {
        block.group: [block.levels[code] for code in block.incidence.memberships[0].codes[chosen]]
        for block in sorted(single, key=lambda block: block.q)
    }


def _by_levels(design: Design, levels: Mapping[Any, Any]) -> np.ndarray:
    keep = np.ones(design.n, dtype=bool)
    for group, wanted in levels.items():
        texts, known = _level_texts(design, group)
        several = isinstance(wanted, Iterable) and not isinstance(wanted, str)
        names = [level_text(level) for level in (wanted if several else [wanted])]
        for name in names:
            if name not in known:
                raise DesignError(_no_level(group, name, known))
        keep &= np.any([np.isin(each, names) for each in texts], axis=0)
    return np.flatnonzero(keep)


def _level_texts(design: Design, group: Any) -> tuple[list[np.ndarray], list[str]]:
    """Return the levels of each row as texts (n,), and those there are, of a grouping factor or of a part of one."""
    for block in design.blocks:
        if block.group == group:
            texts = np.array(block.levels, dtype=object)
            return [texts[membership.codes] for membership in block.incidence.memberships], list(block.levels)
    residual = design.residual
    if residual is not None and residual.group == group:
        return [np.array(residual.levels, dtype=object)[residual.codes]], list(residual.levels)
    parts = [name for block in design.blocks for name in block.factors]
    parts = list(dict.fromkeys([*parts, *_residual_factors(design)]))
    if group not in parts:
        groups = list(dict.fromkeys([*(block.group for block in design.blocks), *parts]))
        near = get_close_matches(str(group), groups, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DesignError(f"rows names {group!r}, which is no grouping factor.{hint} There are {listing(groups)}.")
    codes, found = pd.factorize(design.frame[group], sort=True)
    known = [level_text(level) for level in found]
    return [np.array(known, dtype=object)[codes]], known


def _residual_factors(design: Design) -> tuple[str, ...]:
    """Columns that make the groups in which residuals hang together."""
    if design.residual is None or design.residual.specification.correlation is None:
        return ()
    return design.residual.specification.correlation.grouping.factors


def _no_level(group: Any, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = listing(known)
    return f"{group!r} has no level {name!r} in the rows used.{hint} Its levels are {shown}."
