"""The design of a formula whose response is yet to be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.design.design import Design, build_design
from bayesmm.design.reading.frame import add_column, open_frame
from bayesmm.design.reading.rows import Missing
from bayesmm.specification.formula import parse_formula
from bayesmm.specification.syntax import quote

STAND_IN = "simulated response"


def build_without_response(
    formula: str,
    data: Any,
    *,
    residual: str | None = None,
    weights: Any = None,
    missing: Missing = "drop",
    namespace: Mapping[str, Any] | None = None,
    known_sigma: float | None = 1.0,
    relations: Mapping[str, Any] | None = None,
) -> Design:
    """Build a design in which a column of noise stands for the response.

    Parameters
    ----------
    formula, data, residual, weights, missing, namespace, relations
        As of `bayesmm.Model`. The response of the formula is not read; the data need not have it.
    known_sigma : float, optional
        σ; None if it will be estimated.

    Returns
    -------
    Design
        Its y means nothing, and neither do fitted values that the residual variance changes with.

    Notes
    -----
    By default σ counts as known: nothing is estimated, so that a design need not tell its variances apart.
    """
    specification, frame = parse_formula(formula, residual), open_frame(data)
    name = stand_in(formula, frame.columns)
    noise = np.random.default_rng(0).standard_normal(len(frame))
    return build_design(
        replace(specification, response=quote(name)),
        add_column(frame, name, noise),
        weights=weights,
        missing=missing,
        namespace=namespace,
        known_sigma=known_sigma,
        relations=relations,
    )


def stand_in(formula: str, columns: Sequence[str]) -> str:
    """Name a column that neither a formula nor the data have."""
    name = STAND_IN
    while name in formula or name in columns:
        name += "_"
    return name
