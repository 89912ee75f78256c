"""Responses drawn from a fit, or from a formula with stated parameters, as frames."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.design.reading.rows import Missing
from bayesmm.design.words.simulated import Effects, check_simulations, simulation_frame
from bayesmm.design.words.stated import pick, read_values, stated_covariances
from bayesmm.errors import DesignError
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_responses import (
    StatedResiduals,
    draw_effects,
    draw_rows,
    root_of,
    simulate_responses,
    state_residuals,
)
from bayesmm.inference.simulation.without_response import build_without_response, stand_in
from bayesmm.presenting.progress import Bar, progress_bar
from bayesmm.specification.formula import parse_formula
from bayesmm.specification.syntax import quote


def simulate_fit(fit: Fitted, n: int, random: Effects, seed: int) -> pd.DataFrame:
    """Draw responses from the estimates; see `bayesmm.fit.Fit.simulate`."""
    design, estimate = fit.design, fit.estimate
    streams = check_simulations(n, random, seed, design.n)
    if random == "kept":
        drawn = draw_rows(design, estimate.beta, estimate.modes, estimate.sigma, streams, estimate.residual)
    else:
        drawn = simulate_responses(design, estimate.beta, estimate.factors, estimate.sigma, streams, estimate.residual)
    return simulation_frame(drawn, design)


def simulate_fit_rows(
    fit: Fitted, rows: Any, to: str | os.PathLike[str], n: int, random: Effects, seed: int, bar: Bar
) -> Path:
    """Write such responses beside rows that are read chunk by chunk; see `bayesmm.fit.Fit.simulate_rows`."""
    from bayesmm.rows.simulating import simulate_rows

    design, estimate = fit.design, fit.estimate
    streams = check_simulations(n, random, seed, sum(block.q * block.k for block in design.blocks))
    effects = [np.broadcast_to(b, (n, *b.shape)) for b in estimate.modes]
    if random == "redrawn":
        effects = draw_effects(design, [estimate.sigma * L for L in estimate.factors], streams)
    beta, sigma = np.tile(estimate.beta, (n, 1)), np.full(n, estimate.sigma)
    return simulate_rows(fit.problem.sums.summed, rows, to, beta, effects, sigma, streams, bar)


def simulate(
    formula: str,
    data: Any,
    parameters: Any,
    n: int = 1,
    *,
    residual: str | None = None,
    random: Effects = "redrawn",
    seed: int = 0,
    weights: Any = None,
    sigma: float | None = None,
    missing: Missing = "drop",
    namespace: Mapping[str, Any] | None = None,
    relations: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Draw responses from a model whose parameters are stated.

    Parameters
    ----------
    formula : str
        As of `bayesmm.Model`. What stands left of ``~`` only has a name; it need not be in the data, and is not read.
    data : data frame
        Predictors, grouping factors, offsets: a pandas, polars or pyarrow table, one row an observation.
    parameters : mapping of str to float, Series, or Fit
        The value of every parameter, by the names in ``fit.parameters``: ``"Intercept"``, ``"Days"``,
        ``"sd(Days | Subject)"``, ``"cor(Intercept, Days | Subject)"``, ``"sigma"``; of residuals ``"rho(week | id)"``,
        ``"sigma(arm[B])"``. Zero is a value like others.
    n : int
        How many.
    residual : str, optional
        Covariance of the residuals, as of `bayesmm.Model`: ``"ar1(week | id) * het(arm)"``.
    random : {"redrawn", "kept"}
        Whether each simulation draws random effects of its own, or all have the same, drawn once.
    seed : int
        The same seed gives the same numbers; with more simulations the first ones stay.
    weights, sigma, missing, namespace, relations
        As of `bayesmm.Model`; σ may be given here or among the parameters.

    Returns
    -------
    DataFrame
        One row for each row of the data that is used, with its label; columns 0, 1, ..., n − 1. In units of the
        response, as it stands left of ``~``: of ``log(y) ~ x`` the logarithms.

    Raises
    ------
    SpecificationError
        If the formula cannot be read.
    DesignError
        If the data do not suit it; if a parameter is lacking, unknown, or impossible.
    ArgumentError
        If `n`, `random` or `seed` makes no sense.

    Notes
    -----
    y = Xβ + offset + Zb + ε, with b ~ N(0, Σ) for every level and ε ~ N(0, σ²/w), or of the covariance that
    `residual` says, which needs groups and levels as a fit does. Another design from which
    nothing could be estimated, such as one row a level, can be simulated. With ``residual="power(fitted)"`` the
    standard deviation of a row is σ|μ|^t, with μ = Xβ + offset + Zb what that simulation expects of it.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> import pandas as pd
    >>> plan = pd.DataFrame({"x": [0, 1, 2] * 4, "g": [1, 2, 3, 4] * 3})
    >>> truth = {"Intercept": 10, "x": 2, "sd(Intercept | g)": 0, "sigma": 0}
    >>> bmm.simulate("y ~ x + (1 | g)", plan, truth)[0].tolist()[:3]
    [10.0, 12.0, 14.0]
    """
    design = build_without_response(
        formula, data, residual=residual, weights=weights, missing=missing, namespace=namespace, relations=relations
    )
    streams = check_simulations(n, random, seed, design.n)
    stated = read_parameters(design, parameters, sigma)
    own = streams if random == "redrawn" else [np.random.default_rng([seed, 1])]
    effects = draw_effects(design, stated.factors, own)
    return simulation_frame(draw_rows(design, stated.beta, effects, stated.sigma, streams, stated.residual), design)


def simulate_rows(
    formula: str,
    rows: Any,
    parameters: Any,
    to: str | os.PathLike[str],
    n: int = 1,
    *,
    random: Effects = "redrawn",
    seed: int = 0,
    weights: str | None = None,
    sigma: float | None = None,
    missing: Missing = "drop",
    namespace: Mapping[str, Any] | None = None,
    relations: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Path:
    """Draw responses from a model whose parameters are stated, for rows that are read chunk by chunk.

    Parameters
    ----------
    formula : str
        As of `simulate`: what stands left of ``~`` only has a name, and is not read.
    rows : path, list, or data frame
        What `bayesmm.scan` takes; they need not have the response. They are read two or three times.
    parameters : mapping of str to float, Series, or Fit
        As of `simulate`.
    to : path
        Ends in ``.parquet``. It is complete, or not there.
    n, random, seed
        As of `simulate`, which draws the same numbers for rows in memory, however they are read.
    weights, sigma, missing, namespace, relations
        As of `bayesmm.Model`; weights by a column or an expression.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    Returns
    -------
    pathlib.Path
        Where they are: all columns of the rows, then ``simulated_0``, ``simulated_1``, ...; missing where a row is not
        complete.

    Raises
    ------
    SpecificationError
        If the formula cannot be read.
    DesignError
        If the rows do not suit it; if a parameter is lacking, unknown, or impossible.
    ArgumentError
        If `n`, `random` or `seed` makes no sense.
    RowsError
        If the rows cannot be read.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> truth = {"Intercept": 10, "x": 2, "sd(Intercept | g)": 0, "sigma": 0}
    >>> bmm.simulate_rows("y ~ x + (1 | g)", "plan/*.parquet", truth, to="drawn.parquet")  # doctest: +SKIP
    """
    from bayesmm.rows.scan import scan
    from bayesmm.rows.simulating import simulate_rows as draw
    from bayesmm.rows.summing import sum_source
    from bayesmm.rows.without_response import WithNoise

    specification, source = parse_formula(formula), scan(rows)
    name = stand_in(formula, source.columns)
    source = WithNoise.of(source, name)
    with progress_bar("drawing rows", None, progress) as bar:
        summed = sum_source(
            replace(specification, response=quote(name)),
            source,
            weights=weights,
            missing=missing,
            namespace=namespace,
            known_sigma=1.0,
            relations=relations,
            bar=bar,
        )
        design = summed.design
        streams = check_simulations(n, random, seed, sum(block.q * block.k for block in design.blocks))
        stated = read_parameters(design, parameters, sigma)
        own = streams if random == "redrawn" else [np.random.default_rng([seed, 1])]
        effects = [np.broadcast_to(b, (n, *b.shape[1:])) for b in draw_effects(design, stated.factors, own)]
        beta, sds = np.tile(stated.beta, (n, 1)), np.full(n, stated.sigma)
        return draw(summed, source, to, beta, effects, sds, streams, bar, hidden=name)


class Stated(NamedTuple):
    """Parameters that were stated.

    Attributes
    ----------
    values : dict of str to float
        By their names.
    beta : array, shape (p,)
        Coefficients.
    covariances : tuple of arrays, shapes (k, k)
        Of the effects of a level, of each grouping factor.
    sigma : float
        Residual standard deviation.
    residual : StatedResiduals or None
        Covariance of the residuals.
    """

    values: dict[str, float]
    beta: np.ndarray
    covariances: tuple[np.ndarray, ...]
    sigma: float
    residual: StatedResiduals | None

    @property
    def factors(self) -> list[np.ndarray]:
        """F (k, k) with Var(b) = FF', of each grouping factor."""
        return [root_of(each) for each in self.covariances]


def read_parameters(design: Design, parameters: Any, sigma: float | None) -> Stated:
    """Read every parameter of a model by its name; σ may be given beside them."""
    labels = design.labels
    rows = labels.parameter_rows()
    if sigma is not None:
        (sigma,) = read_values({"sigma": sigma}, labels, ["sigma"], argument="sigma").values()
    values = read_values(parameters, labels, [*(row.name for row in rows), "sigma"], sigma, "parameters")
    if sigma is not None and values["sigma"] != sigma:
        raise DesignError(
            f"sigma is {sigma:g}, and {values['sigma']:g} among the parameters: give it once, in either place."
        )
    return Stated(
        values=values,
        beta=pick(values, [row.name for row in rows if row.kind == "fixed"]),
        covariances=stated_covariances(labels, values, "parameters"),
        sigma=values["sigma"],
        residual=state_residuals(design, values, "parameters"),
    )
