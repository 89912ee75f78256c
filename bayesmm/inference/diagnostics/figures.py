"""Tables of the figures of residuals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.design.predictors import build_predictors
from bayesmm.errors import ArgumentError
from bayesmm.inference.diagnostics.envelopes import MOST_NUMBERS, Of, simulate_envelopes
from bayesmm.inference.diagnostics.residuals import compute_residuals, standardise
from bayesmm.inference.diagnostics.row_view import view_rows_at
from bayesmm.inference.fitted import Fitted
from bayesmm.problem import FewRows

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Axes, Figure

USUAL, FEWEST = 999, 20  # simulated sets


def plot_envelopes_of(
    fit: Fitted,
    few: FewRows,
    of: Of,
    n: int,
    level: float,
    seed: int,
    *,
    refit: bool,
    progress: bool | None,
    ax: Axes | None,
) -> Figure:
    """Draw envelopes; see `Fit.plot_envelopes`."""
    from bayesmm.plots.residuals import plot_envelopes

    panels = list(_panels(simulate_envelopes(fit, few, of, n, level, seed, refit=refit, progress=progress)))
    if ax is not None and len(panels) > 1:
        raise ArgumentError(f"ax is for one panel, and there are {len(panels)}: leave it out.")
    return plot_envelopes(panels, level=level, ax=ax, sample=few.say(fit.n) if of == "residuals" else None)


def plot_residuals(fit: Fitted, few: FewRows, n: int | None, level: float, seed: int, progress: bool | None) -> Figure:
    """Draw the page of residuals; see `Fit.plot_residuals`."""
    from bayesmm.plots.residuals import ResidualPage, plot_residual_page

    design, seen = few.problem.design, few.seen
    index = design.rows[seen]
    sets = _sets(n, len(index))
    envelope = simulate_envelopes(fit, few, "residuals", sets, level, seed, refit=False, progress=progress)
    rows = {"fitted": build_predictors(design).mean(fit.estimate.beta, fit.estimate.modes)[seen]}
    rows["standardised"] = _standardised(fit, few)
    n_effects = sum(modes.size for modes in fit.estimate.modes)
    effects: list[tuple[str, pd.DataFrame]] = []
    if any(modes.any() for modes in fit.estimate.modes):
        sets = _sets(n, n_effects)
        table = simulate_envelopes(fit, few, "random_effects", sets, level, seed, refit=False, progress=progress)
        effects = list(_panels(table))
    return plot_residual_page(
        ResidualPage(
            rows=pd.DataFrame(rows, index=index),
            envelope=envelope,
            effects=effects,
            levels=[
                (block.group, np.asarray(block.levels, dtype=object)[block.incidence.memberships[0].codes[seen]])
                for block in design.blocks
            ],
            response=fit.design.response,
            level=level,
            sample=few.say(fit.n),
        )
    )


def _standardised(fit: Fitted, few: FewRows) -> np.ndarray:
    """Standardised conditional residuals of the rows of the model."""
    if few.n_sampled is None:
        return compute_residuals(fit, "standardised", "all")
    own = view_rows_at(few.problem, fit.estimate).first(few.n_sampled)
    return standardise(own.residual, fit.sigma**2 * own.left, fit.sigma**2)


def _panels(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Tell the effects of a table of envelopes apart."""
    if "group" not in table:
        yield "standardised residuals", table
        return
    keys = list(zip(table["group"], table["effect"], strict=True))
    for key in dict.fromkeys(keys):
        group, effect = key
        yield f"{effect} by {group}, standardised", table.loc[[other == key for other in keys]]


def _sets(n: int | None, n_values: int) -> int:
    """Take fewer sets than usual where so many values would not be kept."""
    return min(USUAL, max(MOST_NUMBERS // max(n_values, 1) - 1, FEWEST)) if n is None else n
