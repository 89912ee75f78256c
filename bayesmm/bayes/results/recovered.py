"""Random effects that a posterior was kept without: given each draw of the rest, their distribution is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from xarray import Dataset

from bayesmm.bayes.exploring.moments import MomentSum, choose_averaged, moment_group
from bayesmm.bayes.exploring.surface_programs import generation_key
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.program import MarginalData, conditional_prior
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, map_draws, read_draws, stack_draws
from bayesmm.covariance.residual import Correlation
from bayesmm.design.blocks.labels import BlockLabels, Labels
from bayesmm.errors import BayesmmError
from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.in_jax.fixed_prior import condition_prior
from bayesmm.marginal.in_jax.hosted import n_hosted
from bayesmm.marginal.in_jax.recovery import draw_effects, effect_moments
from bayesmm.marginal.leave_out.left_out import Draw
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.presenting.progress import SILENT, Bar, progress_bar

type Levels = Sequence[np.ndarray | None]
MOST_NUMBERS = 50_000_000  # draws times random effects, 400 MB
PART = 2**22  # numbers held at once beside the result, 32 MB


class Numbered(NamedTuple):
    """One draw of all parameters, and its number among those of the run."""

    factors: tuple[Float[Array, "k k"], ...]
    sigma: Float[Array, ""]
    beta: Float[Array, " p"]
    number: Int[Array, ""]
    residual: Float[Array, " f"] | None = None


def read_effects(
    posterior: DrawnModel, draws: ParameterDraws, levels: Levels | None = None, progress: bool | None = False
) -> tuple[np.ndarray, ...]:
    """Read random effects off a posterior; draw them where it was kept without.

    Parameters
    ----------
    posterior : DrawnModel
        The draws.
    draws : ParameterDraws
        Which of them.
    levels : sequence of int array or None, optional
        Of each grouping factor, the levels that are wanted; None for all.
    progress : bool, optional
        Whether to show a progress bar where they are drawn; None shows it where a person can see it.

    Returns
    -------
    tuple of array, shapes (D, q, k)

    Raises
    ------
    BayesmmError
        If they would be too many numbers.
    """
    wanted = levels or [None] * len(posterior.labels.blocks)
    sizes = [_n_wanted(block, own) for block, own in zip(posterior.labels.blocks, wanted, strict=True)]
    n_draws = len(draws.sigma)
    if not is_kept(posterior) and n_draws * sum(sizes) > MOST_NUMBERS:
        raise BayesmmError(
            f"This posterior was kept without draws of its random effects (random_effects='moments' or None); "
            f"{n_draws:,} draws of {sum(sizes):,} effects would be {n_draws * sum(sizes):,} numbers, more than the "
            f"{MOST_NUMBERS:,} that are drawn at once. Ask for fewer levels or fewer draws, or leave the effects out."
        )
    with progress_bar("drawing random effects", n_draws, False if is_kept(posterior) else progress) as bar:
        parts = [effects for _, effects in effect_parts(posterior, draws, levels, bar)]
    return tuple(own[0] if len(own) == 1 else np.concatenate(own) for own in zip(*parts, strict=True))


def effect_parts(
    posterior: DrawnModel, draws: ParameterDraws, levels: Levels | None = None, bar: Bar = SILENT
) -> Iterator[tuple[slice, tuple[np.ndarray, ...]]]:
    """Read random effects part by part, so that all draws of all effects need not fit in the memory.

    Yields
    ------
    part : slice
        Which of the draws.
    effects : tuple of array, shapes (m, q, k)
    """
    wanted = levels or [None] * len(posterior.labels.blocks)
    n_draws = len(draws.sigma)
    if is_kept(posterior):
        kept = posterior.data["posterior"]
        stored = [kept[block.effect_variable].to_numpy()[:, draws.chosen] for block in posterior.labels.blocks]
        flat = [b.reshape(n_draws, *b.shape[2:]) for b in stored]
        yield slice(0, n_draws), tuple(b if own is None else b[:, own] for b, own in zip(flat, wanted, strict=True))
        return
    program, data = bind_marginal(posterior.problem, posterior.priors)
    products = data.products
    p = draws.beta.shape[1]
    everything_sampled = condition_prior(products, np.zeros(p), np.zeros((p, p)), range(p))
    seed = np.int64(posterior.data["sample_stats"].attrs.get("seed", 0))
    stacked: Any = {
        "factors": draws.sampled_factors(data.covariances.to_columns),
        "sigma": draws.sigma,
        "beta": draws.beta,
        "residual": draws.residual,
    }
    evaluate = partial(_effects, correlation=program.correlation)
    numbered = Numbered(**stacked, number=_numbers(posterior, draws))  # pyright: ignore[reportArgumentType]
    size = _part_size(posterior.labels, n_draws)
    for start in range(0, n_draws, size):
        part = slice(start, min(start + size, n_draws))
        some = jax.tree.map(lambda x, part=part: x[part], numbered)
        found = map_draws(evaluate, (data, everything_sampled, seed), some, bar=bar, whole=size)
        pairs = zip(posterior.labels.blocks, found, wanted, strict=True)
        yield part, tuple(b[:, : len(block.levels)] if own is None else b[:, own] for block, b, own in pairs)


def recover_moments(posterior: DrawnModel, progress: bool | None) -> Dataset:
    """Average the conditional moments of the random effects over all draws, as `random_effects="moments"` does."""
    labels = posterior.labels
    program, data = bind_marginal(posterior.problem, posterior.priors)
    draws = read_draws(posterior, len(choose_averaged(posterior.sigma.size, n_hosted(data))))
    evaluate = partial(_moments, correlation=program.correlation)
    stacked = stack_draws(draws, data.prior)
    sums = [MomentSum() for _ in labels.blocks]
    size = _part_size(labels, len(draws.sigma))
    with progress_bar("averaging random effects", len(draws.sigma), progress) as bar:
        for start in range(0, len(draws.sigma), size):
            some = jax.tree.map(lambda x, start=start: x[start : start + size], stacked)
            means, variances = map_draws(evaluate, (data,), some, bar=bar, whole=size)
            for block, total, mean, variance in zip(labels.blocks, sums, means, variances, strict=True):
                q = len(block.levels)  # others are padding
                total.add(np.ones(len(mean)), mean[:, :q], variance[:, :q])
    return moment_group(labels, sums)


def is_kept(posterior: DrawnModel) -> bool:
    """Whether there are draws of the random effects."""
    kept = posterior.data["posterior"].data_vars
    return all(block.effect_variable in kept for block in posterior.labels.blocks)


def _part_size(labels: Labels, n_draws: int) -> int:
    """How many draws of all random effects are held at once."""
    return min(n_draws, max(1, PART // sum(_n_wanted(block, None) for block in labels.blocks)))


def _n_wanted(block: BlockLabels, levels: np.ndarray | None) -> int:
    return (len(block.levels) if levels is None else len(levels)) * len(block.effects)


def _numbers(posterior: DrawnModel, draws: ParameterDraws) -> np.ndarray:
    """Count the draws as the run did, chains one after the other."""
    return np.arange(posterior.sigma.size).reshape(posterior.sigma.shape)[:, draws.chosen].ravel()


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _effects(
    data: MarginalData, prior: FixedPrior, seed: Array, draws: Numbered, batch: int, correlation: Correlation | None
) -> Any:
    def one(draw: Numbered) -> Any:
        relative = [F / draw.sigma for F in draw.factors]
        key = generation_key(seed, draw.number)
        products = data.at(correlation, draw.residual)
        return draw_effects(products, relative, draw.sigma, prior, key, draw.beta).b

    return jax.lax.map(one, draws, batch_size=batch)


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _moments(data: MarginalData, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        relative = [F / draw.sigma for F in draw.factors]
        prior = conditional_prior(data, draw.beta)
        found = effect_moments(data.at(correlation, draw.residual), relative, draw.sigma, prior, draw.beta)
        return found.b_mean, found.b_variance

    return jax.lax.map(one, draws, batch_size=batch)
