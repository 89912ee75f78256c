"""Covariance matrix of the response, draw by draw."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.bayes.residual_draws import at_effects
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.tables import stack_parameters
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.words.moments import covariance_of_rows
from bayesmm.design.words.row_choice import choose_rows, label_rows
from bayesmm.design.words.stated import stated_covariances
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.presenting.intervals import check_level, tails

type Summary = Literal["mean", "median", "sd", "lower", "upper"]

SUMMARIES: tuple[Summary, ...] = ("mean", "median", "sd", "lower", "upper")
DRAWS = 1000  # at most, equally spaced
MOST_NUMBERS = 20_000_000  # of draws times cells, 160 MB
FEWEST = 100  # draws that a summary is made of


def check_summary(summary: object) -> None:
    """Refuse what is no summary.

    Raises
    ------
    ArgumentError
        If it is none of the choices.
    """
    if not is_one_of(summary, SUMMARIES):
        raise ArgumentError(f"summary is {shorten(summary)}: give {listing(SUMMARIES, quoted=True)}.")


def summarise_covariance(
    design: Design, posterior: DrawnModel, rows: Any, summary: Summary, level: float
) -> pd.DataFrame:
    """Summarise each cell of Var[Y|X] over draws; see `bayesmm.Model.marginal_covariance`.

    Raises
    ------
    DesignError
        If the posterior has other parameters than the design, or the rows are too many.
    """
    level, names = check_level(level), [row.name for row in posterior.labels.parameter_rows()]
    others = [row.name for row in design.labels.parameter_rows()]
    if names != others:
        raise DesignError(
            f"at is the posterior of another model: its parameters are {listing(names, quoted=True)}, and those here "
            f"{listing(others, quoted=True)}."
        )
    chosen = choose_rows(design, rows)
    if FEWEST * len(chosen) ** 2 > MOST_NUMBERS:
        raise DesignError(
            f"Draws of the covariance of {len(chosen):,} rows would be too many numbers: "
            f"{int((MOST_NUMBERS / FEWEST) ** 0.5)} rows are the most. Choose some, rows={{'group': 'level'}}."
        )
    drawn = stack_parameters(posterior.data, posterior.labels).reshape(-1, len(names))
    sigma, beta = posterior.sigma.ravel(), posterior.beta.reshape(len(drawn), -1)
    effects = _effects(posterior) if design.residual is not None and design.residual.growth else []
    count = min(len(drawn), DRAWS, MOST_NUMBERS // len(chosen) ** 2)
    cells = []
    for d in np.linspace(0, len(drawn) - 1, count).round().astype(int):
        values = dict(zip(names, drawn[d].tolist(), strict=True)) | {"sigma": float(sigma[d])}
        own = at_effects(design, beta[d], [b[d] for b in effects])
        cells.append(covariance_of_rows(own, chosen, stated_covariances(design.labels, values), values))
    index = label_rows(design, chosen)
    return pd.DataFrame(_summarise(np.stack(cells), summary, level), index=index, columns=index)


def _effects(posterior: DrawnModel) -> list[np.ndarray]:
    """Random effects (D, q, k), which make fitted values."""
    each = [posterior.draws(block.effect_variable) for block in posterior.labels.blocks]
    return [b.reshape(-1, *b.shape[2:]) for b in each]


def _summarise(cells: np.ndarray, summary: Summary, level: float) -> np.ndarray:
    if summary == "mean":
        return cells.mean(axis=0)
    if summary == "sd":
        return cells.std(axis=0, ddof=1)
    lower, upper = tails(level)
    return np.quantile(cells, {"median": 0.5, "lower": lower, "upper": upper}[summary], axis=0)
