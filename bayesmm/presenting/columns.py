"""The columns of all tables of results, and the frames that have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

ESTIMATES = ("estimate", "std_error", "df", "statistic", "p_value", "lower", "upper")
MC_ERROR = "mc_error"  # of an estimate, where random probes were drawn for it; it comes last
DRAWS = ("mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail")
CHECKS = ("r_hat", "ess_bulk", "ess_tail")  # of draws; they come last where both wings share a table


def parameter_frame(
    names: Sequence[str], kinds: Sequence[str], groups: Sequence[str | None], columns: Mapping[str, object]
) -> pd.DataFrame:
    """Tabulate parameters.

    Parameters
    ----------
    names, kinds, groups : sequence of str
        One of each a row.
    columns : mapping of str to array
        Some of `ESTIMATES` or of `DRAWS`.

    Returns
    -------
    DataFrame
        Index: names. Columns: kind, group, and those given, in the order that all tables have.
    """
    return pd.DataFrame({"kind": kinds, "group": groups, **in_order(columns)}, index=pd.Index(names, name="parameter"))


def effect_frame(
    blocks: Iterable[tuple[str, Sequence[str], Sequence[str], Mapping[str, np.ndarray]]],
) -> pd.DataFrame:
    """Tabulate random effects.

    Parameters
    ----------
    blocks : iterable of (str, sequence of str, sequence of str, mapping of str to array)
        Of each grouping factor its name, its levels and effects, and columns of shape (levels, effects).

    Returns
    -------
    DataFrame
        One row per level and effect: group, level, effect, and the columns, in the order that all tables have.
    """
    parts = [
        pd.DataFrame(
            {
                "group": group,
                "level": np.repeat(np.asarray(levels, dtype=object), len(effects)),
                "effect": np.tile(np.asarray(effects, dtype=object), len(levels)),
                **{name: np.ravel(values) for name, values in in_order(columns).items()},
            }
        )
        for group, levels, effects, columns in blocks
    ]
    if not parts:  # a model without random effects
        return pd.DataFrame(columns=["group", "level", "effect", "estimate", "std_error", "lower", "upper"])
    return pd.concat(parts, ignore_index=True)


def in_order[T](columns: Mapping[str, T]) -> dict[str, T]:
    """Return columns in the order that all tables have; one that is in no table is refused."""
    order = (*ESTIMATES, MC_ERROR) if "estimate" in columns else DRAWS
    unknown = set(columns) - set(order)
    assert not unknown, f"no table has columns {unknown}"
    return {name: columns[name] for name in order if name in columns}
