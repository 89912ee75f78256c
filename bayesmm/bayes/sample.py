"""From a model to its posterior: programs, warm start, NUTS, exact recovery of what was integrated out."""

from __future__ import annotations

import contextlib
import os
import warnings
from dataclasses import replace
from typing import Literal

from bayesmm.arguments import is_one_of
from bayesmm.bayes.binding import bind_conditional, bind_marginal
from bayesmm.bayes.checkpoint import identify, open_checkpoint
from bayesmm.bayes.methods import METHODS, Effects, Method, choose_effects, explore, explore_conditional
from bayesmm.bayes.parameterisation import Choice, Wish, check_parameterisation, choose_degrees
from bayesmm.bayes.pointwise import pointwise_log_likelihood
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.program import ConditionalData, ConditionalProgram, MarginalData, MarginalProgram
from bayesmm.bayes.progress import progress_bar
from bayesmm.bayes.recorder import Recorder
from bayesmm.bayes.resolution import ResolvedPriors, default_conflicts
from bayesmm.bayes.run import Run, Settings, Watcher, make_settings
from bayesmm.bayes.start import (
    WarmStart,
    cold_start,
    interior_factors,
    move_to_means,
    parameterise,
    start_conditional,
    start_marginal,
)
from bayesmm.bayes.tree import build_tree
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels
from bayesmm.errors import ArgumentError, BayesmmWarning
from bayesmm.marginal.crossproducts import CrossProducts

POINTWISE_LIMIT = 20_000_000  # numbers, 160 MB


def sample(
    *,
    design: Design,
    labels: Labels,
    products: CrossProducts,
    priors: ResolvedPriors,
    fit: WarmStart | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int = 0,
    method: Method = "nuts",
    program: Literal["marginal", "conditional"] = "marginal",
    parameterisation: Wish = "auto",
    random_effects: Effects | Literal["auto"] = "auto",
    target_accept: float = 0.9,
    max_tree_depth: int = 10,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    pointwise_limit: int = POINTWISE_LIMIT,
) -> Posterior:
    """Sample the posterior of one model.

    Parameters
    ----------
    design, labels, products
        The model: data, names, cross-products of the kept columns and the response less its offset.
    priors : ResolvedPriors
        Every prior in force, from `resolve_priors`.
    fit : WarmStart, optional
        Where to start; least squares if there is none.
    draws, tune, chains : int
        Draws kept per chain, iterations of warm-up, chains.
    seed : int
        The same seed gives the same draws.
    method : {"nuts", "importance", "quadrature"}
        How the marginal program's posterior is explored; see `bayesmm.Model.sample`.
    program : {"marginal", "conditional"}
        Whether random effects (and coefficients with flat or normal priors) are integrated out and drawn afterwards
        from their exact conditional, or sampled.
    parameterisation : {"auto", "centred", "noncentred"}, number or mapping
        Of the random effects in the conditional program, see `choose_degrees`; "auto" decides for each grouping factor
        by how much the data say about a level.
    random_effects : {"auto", "draws", "moments"} or None
        Whether the marginal program's random effects are drawn; see `bayesmm.Model.sample`.
    target_accept, max_tree_depth
        See `Settings`.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.
    checkpoint : path, optional
        See `bayesmm.Model.sample`.
    pointwise_limit : int
        Pointwise log-likelihoods are left out when there are more of them than this.

    Returns
    -------
    Posterior

    Warns
    -----
    BayesmmWarning
        If the draws should not be trusted as they are, or a default prior is at odds with the data.
    """
    settings = make_settings(
        draws=draws, tune=tune, chains=chains, seed=seed, target_accept=target_accept, max_tree_depth=max_tree_depth
    )
    _check_kind(program, parameterisation)
    _check_method(method, program, checkpoint)
    warm = fit if fit is not None else cold_start(design, priors.fixed_sigma)
    for conflict in default_conflicts(priors, warm.beta, warm.beta_covariance):
        warnings.warn(conflict, BayesmmWarning, stacklevel=4)
    kept = choose_effects(random_effects, labels, settings.chains * settings.draws)
    if program == "conditional" and not is_one_of(random_effects, ("auto", "draws")):
        raise ArgumentError(
            f"random_effects is {random_effects!r}, but the conditional program samples the random effects: leave it "
            "away, or use program='marginal'."
        )
    held = contextlib.nullcontext()
    if checkpoint is not None:
        identity = identify(design, priors, settings, program=program, parameterisation=parameterisation)
        held = open_checkpoint(checkpoint, settings, identity)
    with held as recorder, progress_bar(settings, progress) as watch:
        if program == "marginal":
            run = _run_marginal(design, labels, products, priors, warm, settings, watch, recorder, method, kept)
        else:
            run = _run_conditional(design, labels, products, priors, warm, settings, watch, recorder, parameterisation)
    interruption = _interruption(run, settings, checkpoint)
    pointwise, left_out = pointwise_log_likelihood(run.sites, design, labels, priors.fixed_sigma, pointwise_limit)
    notes = (*run.notes, *interruption, *_effects_note(random_effects, kept, program), *left_out)
    attributes = {"program": program, "method": "nuts", "tune": settings.tune, "seed": settings.seed} | run.attributes
    posterior = Posterior(
        data=build_tree(run, design, labels, pointwise, attributes | {"notes": " ".join(notes)}),
        design=design,
        labels=labels,
        priors=priors,
        program=program,
        notes=notes,
    )
    for note in run.notes if attributes["method"] != method else ():
        warnings.warn(note, BayesmmWarning, stacklevel=4)
    if not posterior.diagnostics.is_good:
        warnings.warn(posterior.diagnostics.advice, BayesmmWarning, stacklevel=4)
    return posterior


def _check_method(method: Method, program: str, checkpoint: str | os.PathLike[str] | None) -> None:
    if not is_one_of(method, METHODS):
        raise ArgumentError(f"method is {method!r}: give {', '.join(map(repr, METHODS))}.")
    if method == "nuts":
        return
    if checkpoint is not None:
        raise ArgumentError(f"checkpoint keeps a run of NUTS, and method={method!r} is none: leave one of them out.")
    if program == "conditional":
        raise ArgumentError(
            f"method={method!r} explores the marginal program, whose random effects are integrated out: leave out "
            "program='conditional', or use method='nuts'."
        )


def _effects_note(asked: Effects | Literal["auto"], kept: Effects, program: str) -> tuple[str, ...]:
    if asked == "auto" and kept == "moments" and program == "marginal":
        return (
            "There are so many random effects that their means and standard deviations were computed instead of draws; "
            "random_effects='draws' draws them all the same.",
        )
    return ()


def bind_program(
    kind: Literal["marginal", "conditional"],
    design: Design,
    labels: Labels,
    products: CrossProducts,
    priors: ResolvedPriors,
    warm: WarmStart,
    parameterisation: Wish,
) -> tuple[MarginalProgram, MarginalData] | tuple[ConditionalProgram, ConditionalData]:
    """Return a NumPyro model and its argument; see `bayesmm.Model.program`."""
    _check_kind(kind, parameterisation)
    if kind == "marginal":
        return bind_marginal(labels, products, priors)
    return _bind_conditional(design, labels, priors, warm, parameterisation)[:2]


def _check_kind(kind: str, parameterisation: Wish) -> None:
    if not is_one_of(kind, ("marginal", "conditional")):
        raise ArgumentError(f"program is {kind!r}: give 'marginal' or 'conditional'.")
    check_parameterisation(parameterisation)
    if kind == "marginal" and parameterisation != "auto":
        raise ArgumentError(
            f"parameterisation is {parameterisation!r}, but the marginal program integrates the random effects out: "
            "leave it away, or give program='conditional'."
        )


def _bind_conditional(
    design: Design, labels: Labels, priors: ResolvedPriors, warm: WarmStart, wish: Wish
) -> tuple[ConditionalProgram, ConditionalData, dict[str, Choice]]:
    groups = [block.group for block in labels.blocks]
    seen = move_to_means(warm, design, priors.effect_contrasts)
    chosen = choose_degrees(wish, groups, parameterise(*seen))
    references = [warm.sigma * factor for factor in interior_factors(*seen)]
    degrees = [choice.degree for choice in chosen]
    return *bind_conditional(design, labels, priors, degrees, references), dict(zip(groups, chosen, strict=True))


def _interruption(run: Run, settings: Settings, checkpoint: str | os.PathLike[str] | None) -> list[str]:
    """Say in a note and a warning that a run was cut short."""
    n = run.stats["lp"].shape[1]
    if n == settings.draws:
        return []
    resume = "" if checkpoint is None else f" The same call goes on from checkpoint={os.fspath(checkpoint)!r}."
    note = f"Interrupted: there are {n} of {settings.draws} draws per chain.{resume}"
    warnings.warn(note, BayesmmWarning, stacklevel=5)
    return [note]


def _run_marginal(
    design: Design,
    labels: Labels,
    products: CrossProducts,
    priors: ResolvedPriors,
    warm: WarmStart,
    settings: Settings,
    watch: Watcher | None,
    recorder: Recorder | None,
    method: Method,
    kept: Effects,
) -> Run:
    program, data = bind_marginal(labels, products, priors)
    start = start_marginal(program, data, warm, design)
    return explore(
        program, data, start, labels, method=method, effects=kept, settings=settings, watch=watch, recorder=recorder
    )


def _run_conditional(
    design: Design,
    labels: Labels,
    products: CrossProducts,
    priors: ResolvedPriors,
    warm: WarmStart,
    settings: Settings,
    watch: Watcher | None,
    recorder: Recorder | None,
    parameterisation: Wish,
) -> Run:
    program, data, chosen = _bind_conditional(design, labels, priors, warm, parameterisation)
    run = explore_conditional(
        program,
        data,
        lambda point: start_conditional(program, data, point, design, priors.contrast),
        warm,
        design,
        labels,
        bind_marginal(labels, products, priors),
        settings=settings,
        watch=watch,
        recorder=recorder,
    )
    chosen_notes = (f"{group}: {choice.name}: {choice.reason}." for group, choice in chosen.items())
    return replace(
        run,
        notes=(*chosen_notes, *run.notes),
        attributes={"parameterisation": "; ".join(f"{group}: {choice.name}" for group, choice in chosen.items())},
    )
