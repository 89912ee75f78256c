"""Simulation-based calibration: whether posteriors of simulated data are where and as wide as they should be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from arviz_base import from_dict
from scipy.special import bdtr
from xarray import DataTree

from bayesmm.arguments import check_seed
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.priors.prior_simulation import simulate_prior
from bayesmm.bayes.priors.resolution import ResolvedPriors
from bayesmm.bayes.residual_draws import read_residual, residuals_of
from bayesmm.bayes.results.diagnostics import Diagnostics
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import PACKAGE, ArgumentError, BayesmmWarning
from bayesmm.presenting.numbers import write_column, write_p
from bayesmm.presenting.parts import Column, Table, notes
from bayesmm.presenting.parts import warnings as warnings_
from bayesmm.presenting.progress import watched
from bayesmm.presenting.report import Report
from bayesmm.problem import Problem

FEWEST = 10  # simulations that say anything
RANKED = 199  # draws that a true value is ranked among, evenly spaced, so that they are nearly independent
APART = 1.05  # R̂ of chains that have not met; of RANKED independent draws in four chains it goes up to 1.04 by chance
LONGER = (1, 4, 16)  # times as many draws as are asked for, until as many as RANKED are effective
NULL_SAMPLES = 4000  # uniform samples that a p-value is read off
DOUBTFUL = 0.05  # of the smallest p-value, corrected for their number


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Calibration:
    """Ranks of true values among posterior draws, uniform if priors, program and sampler agree.

    Made by `bayesmm.Model.calibrate`.

    Attributes
    ----------
    ranks : DataFrame, shape (simulations, quantities)
        Ranks between 0 and 1 of each parameter, of one random effect of each kind (its level chosen at random), and of
        the log-likelihood given all of them.
    p_values : Series
        Of uniform ranks, by quantity: how often uniform ones leave the envelope of their distribution function as far.
    continued : int
        Posteriors that had fewer than 199 effective draws of some parameter at first, or an R̂ above 1.05, and were
        drawn from for four or sixteen times as long.
    untrusted : int
        Posteriors that still had, or whose diagnostics speak against them for another reason: divergences, modes that
        no chain is in, weights of a heavy tail.
    description : str
        What was calibrated.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> found = model.calibrate(200, seed=1)  # doctest: +SKIP
    """

    ranks: pd.DataFrame
    p_values: pd.Series
    continued: int
    untrusted: int
    description: str

    @property
    def is_calibrated(self) -> bool:
        """Whether no p-value is below 0.05 over their number (Bonferroni)."""
        return bool(self.p_values.min() >= DOUBTFUL / len(self.p_values))

    def to_datatree(self) -> DataTree:
        """Give the ranks to ArviZ: ``az.plot_ecdf_pit(tree, group="prior_sbc")`` draws them with their envelope.

        Returns
        -------
        xarray.DataTree
            Group prior_sbc with a variable for each parameter, (chain, draw): one chain, a draw a simulation.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> tree = model.calibrate(simulations=200, seed=1).to_datatree()  # doctest: +SKIP
        """
        ranks = {_variable(str(name)): values.to_numpy()[None] for name, values in self.ranks.items()}
        return from_dict({"prior_sbc": ranks})

    @property
    def _report(self) -> Report:
        quantities = [str(name) for name in self.ranks]
        of = f"of {len(self.ranks)} posteriors"
        continued = f"{self.continued} {of} needed more draws than were asked for, and were drawn from for longer."
        untrusted = f"{self.untrusted} {of} had diagnostics that speak against them."
        wrong = f"The ranks of {self.p_values.idxmin()} are not uniform: the sampler is not right for these priors."
        right = "The ranks are uniform as far as so many simulations can tell."
        told = ((right, self.is_calibrated), (continued, self.continued), (untrusted, self.untrusted))
        return Report(
            title=self.description,
            parts=(
                warnings_(() if self.is_calibrated else (wrong,)),
                Table(
                    names=quantities,
                    columns=(
                        Column(head="mean rank", cells=write_column(self.ranks.mean(), 3)),
                        Column(head="p-value", cells=[write_p(value) for value in self.p_values[self.ranks.columns]]),
                    ),
                    where="calibration.p_values",
                ),
                notes([text for text, holds in told if holds]),
            ),
        )

    def __str__(self) -> str:
        return str(self._report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report._repr_html_()


def _variable(name: str) -> str:
    """Return a name that a DataTree takes: slashes part groups, and variables called like dims are lost."""
    return f"beta({name})" if name in ("chain", "draw") else name.replace("/", "∕")


def calibrate(
    problem: Problem,
    priors: ResolvedPriors,
    sample: Callable[[Problem, int, int], Posterior],
    *,
    simulations: int,
    seed: int,
    way: str,
    progress: bool | None = None,
) -> Calibration:
    """Simulate parameters and data, sample the posterior of each, and rank the truth among its draws.

    Parameters
    ----------
    problem : Problem
        Its response is not looked at.
    priors : ResolvedPriors
        Every prior in force.
    sample : callable
        Takes the problem with another response, a seed, and how many times as many draws as were asked for are drawn,
        to the posterior.
    simulations : int
        How many.
    seed : int
        Of all randomness.
    way : str
        How the posteriors are sampled, for the report.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    References
    ----------
    Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv 1804.06788, whose algorithm 2 draws until there are as
    many effective draws as are ranked. Modrák et al. (2023), Bayesian Analysis: the
    likelihood as a quantity to rank. Säilynoja, Bürkner & Vehtari (2022), Stat. Comput. 32: the envelope.
    """
    if isinstance(simulations, bool) or not isinstance(simulations, (int, np.integer)) or simulations < FEWEST:
        raise ArgumentError(f"simulations is {simulations!r}: give a whole number of at least {FEWEST}.")
    design = problem.design
    truths = simulate_prior(design, priors, draws=simulations, seed=seed)
    problems = problem.with_responses(truths["y"].T)
    if design.residual is not None:
        problems = (problem.with_response(y) for y in truths["y"])
    rng = np.random.default_rng(check_seed(seed))
    ranks, continued, untrusted = [], 0, 0
    for i in watched(range(simulations), "calibrating", progress):
        truth = {name: values[i] for name, values in truths.items()}
        try:
            posterior, times = _draw_enough(sample, next(problems), int(rng.integers(2**31)))
            is_good = _has_enough(posterior.diagnostics) and _is_otherwise_good(posterior.diagnostics)
            ranked = _rank(posterior, truth, rng)
        except KeyboardInterrupt:
            if i < FEWEST:
                raise
            warnings.warn(
                f"Interrupted: there are {i} of {simulations} simulations.",
                BayesmmWarning,
                skip_file_prefixes=(PACKAGE,),
            )
            break
        ranks.append(ranked)
        continued += times > 1
        untrusted += not is_good
    table = pd.DataFrame(ranks)
    return Calibration(
        ranks=table,
        p_values=pd.Series({name: uniformity_p_value(values.to_numpy()) for name, values in table.items()}),
        continued=continued,
        untrusted=untrusted,
        description=f"Calibration of {design.specification.shown}: {len(ranks)} simulations, {way}",
    )


def _draw_enough(
    sample: Callable[[Problem, int, int], Posterior], problem: Problem, seed: int
) -> tuple[Posterior, int]:
    """Sample until there are draws enough to rank, but for what more draws do not mend; return how long it took."""
    posterior, times = None, 0
    for times in LONGER:
        posterior = sample(problem, seed, times)  # of the same seed: a run that goes on
        if _has_enough(posterior.diagnostics) or not _is_otherwise_good(posterior.diagnostics):
            break
    assert posterior is not None
    return posterior, times


def _has_enough(diagnostics: Diagnostics) -> bool:
    """Whether draws are as many, and chains as alike, as ranks need; `Diagnostics` asks for what a report needs."""
    return diagnostics.ess >= RANKED and diagnostics.r_hat <= APART


def _is_otherwise_good(diagnostics: Diagnostics) -> bool:
    return replace(diagnostics, ess=np.inf, r_hat=1.0).is_good


def _rank(posterior: Posterior, truth: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """Rank every quantity of one simulation among thinned draws; ties, and what lies between ranks, at random."""
    total = posterior.sigma.size
    chosen = np.linspace(0, total - 1, min(RANKED, total)).round().astype(int)
    draws = {str(name): _flat(values.to_numpy())[chosen] for name, values in posterior.data["posterior"].items()}
    draws["sigma"] = _flat(posterior.sigma)[chosen]
    values = {
        row.name: (_pick(truth[row.variable], row.index), _pick(draws[row.variable], row.index))
        for row in posterior.labels.parameter_rows()
    }
    for block in posterior.labels.blocks:
        level = int(rng.integers(len(block.levels)))
        for j, effect in enumerate(block.effects):
            name = block.effect_variable
            values[f"b({effect} | {block.group})"] = truth[name][level, j], draws[name][:, level, j]
    one = {name: np.asarray(truth.get(name, draws[name][0]))[None] for name in draws}
    values["log-likelihood"] = (
        _log_likelihood(posterior, one, truth["y"])[0],
        _log_likelihood(posterior, draws, truth["y"]),
    )
    return {
        name: (float((among < true).sum()) + rng.random() * (1 + int((among == true).sum()))) / (len(among) + 1)
        for name, (true, among) in values.items()
    }


def _flat(draws: np.ndarray) -> np.ndarray:
    return draws.reshape(-1, *draws.shape[2:])


def _pick(values: np.ndarray, index: int | None) -> np.ndarray:
    return values if index is None else values[..., index]


def _log_likelihood(posterior: Posterior, draws: Mapping[str, np.ndarray], y: np.ndarray) -> np.ndarray:
    """Evaluate log p(y | β, b, σ) of each draw, constants left out."""
    design = posterior.design
    sigma = draws["sigma"]
    beta = draws.get("beta", np.zeros((len(sigma), 0)))
    mean = build_predictors(design).mean(beta, [draws[block.effect_variable] for block in posterior.labels.blocks])
    public = read_residual(design, draws, sigma)
    if public is not None:
        return residuals_of(design, public, sigma, mean).groups(y - mean)[0].sum(axis=1)
    squares = (design.weights * (y - mean) ** 2).sum(axis=1)
    return -len(y) * np.log(sigma) - 0.5 * squares / sigma**2


def uniformity_p_value(values: np.ndarray) -> float:
    """Return the probability that a uniform sample leaves its envelope as far as these values do.

    Parameters
    ----------
    values : array, shape (n,)
        Between 0 and 1.

    Notes
    -----
    The statistic is the smallest of the binomial tail probabilities of the empirical distribution function at n points,
    whose distribution is simulated once for each n: the simultaneous envelope of Säilynoja, Bürkner & Vehtari (2022),
    turned into a p-value.
    """
    return float((_null_extremes(len(values)) <= _extreme(values[None])[0]).mean())


@lru_cache(maxsize=16)
def _null_extremes(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)  # of the test, not of the data
    return np.concatenate([_extreme(rng.random((100, n))) for _ in range(NULL_SAMPLES // 100)])


def _extreme(samples: np.ndarray) -> np.ndarray:
    """Smallest tail probability of each sample's distribution function, shape (s,)."""
    n = samples.shape[1]
    points = np.arange(1, n) / n
    counts = np.stack([np.searchsorted(np.sort(sample), points, side="right") for sample in samples])
    below = bdtr(counts, n, points)
    above = np.where(counts > 0, 1.0 - bdtr(np.maximum(counts - 1, 0), n, points), 1.0)
    return np.minimum(below, above).min(axis=1)
