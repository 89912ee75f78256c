"""Tables of predicted effects, and of coefficients by level, with the uncertainty of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import check_refits, check_seed, is_one_of, shorten
from bayesmm.design.blocks.labels import BlockLabels
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.inference.fixed.information import check_information
from bayesmm.inference.fixed.student import t_quantile
from bayesmm.presenting.columns import effect_frame
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.tidy import check_named_alike

if TYPE_CHECKING:  # other layers than the conditional one load much
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap

type Layer = Literal["conditional", "fixed", "full", "bootstrap"]

type Errors = tuple[np.ndarray, np.ndarray | None]  # (q, k), and their degrees of freedom if they have any

LAYERS = ("conditional", "fixed", "full", "bootstrap")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which layer is asked for, and how it is worked out.

    Attributes
    ----------
    uncertainty : {"conditional", "fixed", "full", "bootstrap"}
    information : {"expected", "observed"}
    bootstrap : int or Bootstrap
        Refits, for the layer of that name.
    seed : int
    progress : bool, optional
    """

    uncertainty: Layer
    information: Information
    bootstrap: int | Bootstrap
    seed: int
    progress: bool | None

    def __post_init__(self) -> None:
        if self.uncertainty is None or not is_one_of(self.uncertainty, LAYERS):
            raise ArgumentError(
                f"uncertainty is {shorten(self.uncertainty)}: give 'conditional', 'fixed', 'full' or 'bootstrap'; for "
                "a posterior take bayesmm.effect_uncertainty(fit, posterior)."
            )
        check_information(self.information)
        if not _is_bootstrap(self.bootstrap):
            check_refits(self.bootstrap)
        check_seed(self.seed)


def _is_bootstrap(bootstrap: Any) -> bool:
    if isinstance(bootstrap, Integral):
        return False
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap

    return isinstance(bootstrap, Bootstrap)


def tabulate_effects(fit: Fitted, choice: Choice, level: float) -> pd.DataFrame:
    """Tabulate the predicted effects; see `bayesmm.fit.fit.Fit.random_effects`."""
    every = [np.arange(block.k) for block in fit.design.blocks]
    errors: list[Errors] = [(standard_errors(C), None) for C in fit.estimate.mode_covariances]
    if choice.uncertainty != "conditional":
        errors = _errors(fit, choice, None)
    return _table(fit, list(fit.estimate.modes), errors, every, level, fit.estimate.mode_errors)


def tabulate_coefficients(fit: Fitted, choice: Choice, level: float) -> pd.DataFrame:
    """Tabulate fixed plus random effects; see `bayesmm.fit.fit.Fit.coef`."""
    coefficients = list(fit.labels.coefficients)
    shifts = [_shift(block, coefficients) for block in fit.labels.blocks]
    shared = [np.flatnonzero(J.any(axis=1)) for J in shifts]
    check_named_alike(coefficients, [block.effects for block in fit.labels.blocks])
    values = [b + J @ fit.estimate.beta for b, J in zip(fit.estimate.modes, shifts, strict=True)]
    return _table(fit, values, _errors(fit, choice, shifts), shared, level)


def _errors(fit: Fitted, choice: Choice, shifts: list[np.ndarray] | None) -> list[Errors]:
    """Work out standard errors (q, k) of each factor, and their degrees of freedom where they have any.

    Those of an effect are of its mean squared error. Those of a coefficient are of g₁ + g₂, as of predictions and of
    fixed effects by Kenward & Roger: it is what is predicted where the effect is multiplied by one, others by zero.
    """
    from bayesmm.inference.effects.layers import LEAST, build_layers
    from bayesmm.inference.effects.refitted import move_effects

    name = choice.uncertainty
    has_more = name in ("full", "bootstrap")
    layers = build_layers(fit, choice.information, shifts, second_order=has_more, progress=choice.progress)
    if name in ("conditional", "fixed"):
        return [(standard_errors(getattr(own, name)), None) for own in layers]
    squares = [2.0 * np.einsum("qaa->qa", own.of_variances) for own in layers]
    if name == "bootstrap":
        squares = move_effects(fit, choice.bootstrap, choice.seed, choice.progress, shifts).squares
    found = []
    for own, more in zip(layers, squares, strict=True):
        fixed = np.einsum("qaa->qa", own.fixed)
        degrees = own.df(fixed + more) if shifts is None else own.df(fixed, LEAST)
        found.append((np.sqrt(np.maximum(fixed + more, 0.0)), degrees))
    return found


def _shift(block: BlockLabels, coefficients: list[str]) -> np.ndarray:
    """Which fixed effect (k, p) is added to which effect of a factor: the one of its name."""
    return np.array([[float(effect == name) for name in coefficients] for effect in block.effects]).reshape(
        len(block.effects), len(coefficients)
    )


def _table(
    fit: Fitted,
    values: list[np.ndarray],
    errors: list[Errors],
    shown: list[np.ndarray],
    level: float,
    carlo: Sequence[np.ndarray] | None = None,
) -> pd.DataFrame:
    above, blocks = tails(level)[1], []
    for f, (block, estimate, (error, df), own) in enumerate(zip(fit.labels.blocks, values, errors, shown, strict=True)):
        if not len(own):
            continue
        centre, error = estimate[:, own], error[:, own]
        columns = {"estimate": centre, "std_error": error}
        quantiles = NormalDist().inv_cdf(above)
        if df is not None:
            columns["df"] = df[:, own]
            quantiles = t_quantile(above, df[:, own])
        columns |= {"lower": centre - quantiles * error, "upper": centre + quantiles * error}
        if carlo is not None:
            columns["mc_error"] = carlo[f][:, own]
        blocks.append((block.group, block.levels, [block.effects[e] for e in own], columns))
    return effect_frame(blocks)


def standard_errors(covariance: np.ndarray) -> np.ndarray:
    """Return standard deviations (q, k) of covariances (q, k, k)."""
    return np.sqrt(np.maximum(np.einsum("qii->qi", covariance), 0.0))
