"""Tables of predicted effects, and of coefficients by level, with the uncertainty of one layer."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.design.blocks.labels import BlockLabels
from bayesmm.errors import ArgumentError
from bayesmm.inference.effects.layers import build_layers
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.presenting.columns import effect_frame
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.tidy import check_named_alike

type Layer = Literal["conditional", "fixed", "full"]

LAYERS = ("conditional", "fixed", "full")


def tabulate_effects(fit: Fitted, uncertainty: Layer, information: Information, level: float) -> pd.DataFrame:
    """Tabulate the predicted effects; see `bayesmm.fit.fit.Fit.random_effects`."""
    _check_layer(uncertainty)
    if uncertainty == "conditional":
        covariances = fit.estimate.mode_covariances
    else:
        layers = build_layers(fit, information, second_order=uncertainty == "full")
        covariances = [getattr(own, uncertainty) for own in layers]
    every = [np.arange(block.k) for block in fit.design.blocks]
    return _table(fit, list(fit.estimate.modes), list(covariances), every, level)


def tabulate_coefficients(fit: Fitted, uncertainty: Layer, information: Information, level: float) -> pd.DataFrame:
    """Tabulate fixed plus random effects; see `bayesmm.fit.fit.Fit.coef`."""
    _check_layer(uncertainty)
    coefficients = list(fit.labels.coefficients)
    shifts = [_shift(block, coefficients) for block in fit.labels.blocks]
    shared = [np.flatnonzero(J.any(axis=1)) for J in shifts]
    check_named_alike(coefficients, [block.effects for block in fit.labels.blocks])
    layers = build_layers(fit, information, shifts, second_order=uncertainty == "full")
    values = [b + J @ fit.estimate.beta for b, J in zip(fit.estimate.modes, shifts, strict=True)]
    return _table(fit, values, [getattr(own, uncertainty) for own in layers], shared, level)


def _check_layer(uncertainty: Any) -> None:
    if uncertainty is None or not is_one_of(uncertainty, LAYERS):
        raise ArgumentError(
            f"uncertainty is {shorten(uncertainty)}: give 'conditional', 'fixed' or 'full'; for a bootstrap or a "
            "posterior take bayesmm.effect_uncertainty(fit, posterior, bootstrap=200)."
        )


def _shift(block: BlockLabels, coefficients: list[str]) -> np.ndarray:
    """Which fixed effect (k, p) is added to which effect of a factor: the one of its name."""
    return np.array([[float(effect == name) for name in coefficients] for effect in block.effects]).reshape(
        len(block.effects), len(coefficients)
    )


def _table(
    fit: Fitted, values: list[np.ndarray], covariances: list[np.ndarray], shown: list[np.ndarray], level: float
) -> pd.DataFrame:
    z, blocks = NormalDist().inv_cdf(tails(level)[1]), []
    for block, estimate, covariance, own in zip(fit.labels.blocks, values, covariances, shown, strict=True):
        if not len(own):
            continue
        error = standard_errors(covariance)[:, own]
        centre = estimate[:, own]
        columns = {"estimate": centre, "std_error": error, "lower": centre - z * error, "upper": centre + z * error}
        blocks.append((block.group, block.levels, [block.effects[e] for e in own], columns))
    return effect_frame(blocks)


def standard_errors(covariance: np.ndarray) -> np.ndarray:
    """Return standard deviations (q, k) of covariances (q, k, k)."""
    return np.sqrt(np.maximum(np.einsum("qii->qi", covariance), 0.0))
