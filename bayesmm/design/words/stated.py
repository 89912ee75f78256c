"""Values of the parameters that a user states by their names: read, checked, and made covariance matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.covariance.public import assemble_correlation, assemble_covariance, cor_ends, effect_sds
from bayesmm.design.blocks.labels import BlockLabels, Labels
from bayesmm.errors import DesignError

ROUNDING = 1e-10  # how far below zero an eigenvalue of a correlation matrix may lie


def read_values(
    at: Any, labels: Labels, needed: Sequence[str], known_sigma: float | None = None, argument: str = "at"
) -> dict[str, float]:
    """Read parameter values off a fit or a mapping, and check that they are there.

    Parameters
    ----------
    at : Fit, mapping of str to float, or Series
        The values, by the names in ``fit.parameters``.
    labels : Labels
        Names of the model.
    needed : sequence of str
        Names that must be there.
    known_sigma : float, optional
        Residual standard deviation where it is no parameter.
    argument : str
        What the user calls `at`.

    Raises
    ------
    DesignError
        If a name is unknown or lacking, or a value is no finite number. A correlation may be NaN, which a fit has where
        a standard deviation is zero.
    """
    table = getattr(at, "parameters", None)
    if isinstance(table, pd.DataFrame) and "estimate" in table:
        given = {**table["estimate"].to_dict(), "sigma": at.sigma}
    elif isinstance(at, (Mapping, pd.Series)):
        given = dict(at.items())
    else:
        raise DesignError(
            f"{argument} is of type {type(at).__name__}. Give a fit, or a mapping from the names in fit.parameters to "
            "values."
        )
    if known_sigma is not None:
        given.setdefault("sigma", known_sigma)
    rows = labels.parameter_rows()
    names = list(dict.fromkeys([*(row.name for row in rows), "sigma"]))
    known = f"The parameters are {listing(names, quoted=True)}."
    for name in given:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DesignError(f"{argument} names {name!r}, which the model does not have.{hint} {known}")
    lacking = [name for name in needed if name not in given]
    if lacking:
        raise DesignError(
            f"{argument} has no value of {lacking[0]!r}. {known} Give each of them, or take the estimates of a fit."
        )
    correlations = {row.name for row in rows if row.kind == "cor"}
    values = {str(name): _read_number(str(name), given[name], name in correlations, argument) for name in given}
    if not values.get("sigma", 0.0) >= 0:
        raise DesignError(f"'sigma' is {values['sigma']:g} in {argument}: a standard deviation cannot be negative.")
    return values


def stated_covariances(labels: Labels, values: Mapping[str, float], argument: str = "at") -> tuple[np.ndarray, ...]:
    """Make the covariance matrix (k, k) of the effects of a level, of each grouping factor.

    Parameters
    ----------
    labels : Labels
        Names of the model.
    values : mapping of str to float
        Standard deviations and correlations at least, as `read_values` returns them.
    argument : str
        What the user calls them.

    Raises
    ------
    DesignError
        If a standard deviation is negative, a correlation is impossible, or correlations contradict each other.
    """
    return tuple(_checked_covariance(block, values, argument) for block in labels.blocks)


def pick(values: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    """Return the values of some names, in their order."""
    return np.array([values[name] for name in names], dtype=float)


def _read_number(name: str, value: Any, may_be_undefined: bool, argument: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DesignError(f"{name!r} is {shorten(value)} in {argument}: give a number.") from None
    if not math.isfinite(number) and not (may_be_undefined and math.isnan(number)):
        raise DesignError(f"{name!r} is {number:g} in {argument}: give a finite number.")
    return number


def _checked_covariance(block: BlockLabels, values: Mapping[str, float], argument: str) -> np.ndarray:
    for name in block.sd_rows:
        if not values[name] >= 0:
            raise DesignError(f"{name!r} is {values[name]:g} in {argument}: a standard deviation cannot be negative.")
    sd, cor = pick(values, block.sd_rows), pick(values, block.cor_rows)
    sds = effect_sds(np, sd, block.pieces)
    for piece, (start, stop) in zip(block.pieces, pairwise(cor_ends(block.pieces)), strict=True):
        low, high = piece.structure.limits(piece.k)
        for row, varies in zip(block.cor_rows[start:stop], piece.structure.is_defined(sds[piece.inside]), strict=True):
            if varies and not low <= values[row] <= high:
                raise DesignError(
                    f"{row!r} is {values[row]:g} in {argument}: a correlation lies between {low:.4g} and {high:.4g}."
                )
    varying = sds > 0
    correlation = assemble_correlation(np, cor, block.pieces)[np.ix_(varying, varying)]
    smallest = float(np.linalg.eigvalsh(correlation)[0]) if varying.any() else 0.0
    if smallest < -ROUNDING:
        raise DesignError(
            f"The correlations of {block.group!r} in {argument} contradict each other: their matrix has the eigenvalue "
            f"{smallest:.3g}, and no effects can be correlated so. Choose correlations nearer to zero, or take them "
            "from a fit."
        )
    return assemble_covariance(np, sd, cor, block.pieces)
