"""From a model to its posterior: programs, warm start, NUTS, exact recovery of what was integrated out."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayesmm.arguments import TARGET_ACCEPT, is_one_of
from bayesmm.bayes.exploring.explorers import EXPLORERS, Effects, Explorer, choose_effects, explore, explore_conditional
from bayesmm.bayes.exploring.progress import progress_bar
from bayesmm.bayes.exploring.recorder import Recorder
from bayesmm.bayes.exploring.run import Drawn, InHand, Run, Settings, Watcher, make_settings
from bayesmm.bayes.exploring.start import (
    WarmStart,
    cold_start,
    find_frames,
    interior_factors,
    move_to_means,
    parameterise,
    start_conditional,
    start_marginal,
)
from bayesmm.bayes.files.checkpoint import identify, open_checkpoint
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.priors.resolution import ResolvedPriors, default_conflicts
from bayesmm.bayes.programs.binding import bind_conditional, bind_marginal
from bayesmm.bayes.programs.parameterisation import Choice, Wish, check_parameterisation, choose_degrees
from bayesmm.bayes.programs.program import ConditionalData, ConditionalProgram, MarginalData, MarginalProgram
from bayesmm.bayes.results.pointwise import pointwise_log_likelihood
from bayesmm.bayes.results.tree import build_tree
from bayesmm.errors import PACKAGE, ArgumentError, BayesmmWarning
from bayesmm.problem import Problem

type Program = Literal["auto", "marginal", "conditional"]

POINTWISE_LIMIT = 20_000_000  # numbers, 160 MB
INTERRUPTED = "Interrupted"
UNCHECKED = f"{INTERRUPTED} while the draws were checked: look at posterior.diagnostics before you use them."


def sample(
    *,
    problem: Problem,
    priors: ResolvedPriors,
    fit: WarmStart | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int = 0,
    method: Explorer = "nuts",
    program: Program = "auto",
    parameterisation: Wish = "auto",
    random_effects: Effects | Literal["auto"] = "auto",
    target_accept: float = TARGET_ACCEPT,
    max_tree_depth: int = 10,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    pointwise_limit: int = POINTWISE_LIMIT,
    interruptible: bool = True,
    warn: Callable[[str], None] | None = None,
) -> Posterior:
    """Sample the posterior of one model.

    Parameters
    ----------
    problem : Problem
        Data, names and sums.
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
    program : {"auto", "marginal", "conditional"}
        Whether random effects (and coefficients with flat or normal priors) are integrated out and drawn afterwards
        from their exact conditional, or sampled; see `choose_program`.
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
    interruptible : bool
        Whether an interruption (Ctrl-C) ends the run with what is drawn by then, or goes on.
    warn : callable, optional
        Told every sentence that a user is to know of, instead of a warning.

    Returns
    -------
    Posterior

    Warns
    -----
    BayesmmWarning
        If the draws should not be trusted as they are, or a default prior is at odds with the data.
    """
    warn = warn or _warn_user
    settings = make_settings(
        draws=draws, tune=tune, chains=chains, seed=seed, target_accept=target_accept, max_tree_depth=max_tree_depth
    )
    program = choose_program(program, problem, parameterisation)
    _check_explorer(method, program, checkpoint, problem)
    warm = fit if fit is not None else cold_start(problem.design)
    for said in (*default_conflicts(priors, warm.beta, warm.beta_covariance), *_divided(problem)):
        warn(said)
    kept = choose_effects(
        random_effects, problem.labels, settings.chains * settings.draws, sparse=problem.plan.sparse is not None
    )
    if program == "conditional" and not is_one_of(random_effects, ("auto", "draws")):
        raise ArgumentError(
            f"random_effects is {random_effects!r}, but the conditional program samples the random effects: leave it "
            "away, or use program='marginal'."
        )
    held = contextlib.nullcontext()
    if checkpoint is not None:
        identity = identify(problem.design, priors, settings, program=program, parameterisation=parameterisation)
        held = open_checkpoint(checkpoint, settings, identity)
    asked = _Asked(
        problem=problem,
        priors=priors,
        program=program,
        explorer=method,
        settings=settings,
        checkpoint=checkpoint,
        random_effects=random_effects,
        effects=kept,
        pointwise_limit=pointwise_limit,
    )
    posterior, in_hand = None, InHand()
    try:
        with held as recorder, progress_bar(settings, progress) as watch:
            if program == "marginal":
                run = _run_marginal(warm, asked, watch, recorder, in_hand)
            else:
                run = _run_conditional(warm, asked, watch, recorder, in_hand, parameterisation)
        posterior = asked.put_together(run)
        told = [] if run.attributes.get("method", method) == method else [*run.notes]
        told += [] if posterior.diagnostics.is_good else [posterior.diagnostics.advice]
        for text in told:
            warn(text)
    except KeyboardInterrupt:
        if not interruptible:
            raise
        if posterior is not None:
            warn(UNCHECKED)
            return posterior
        drawn = in_hand.gather()
        if drawn is None:
            raise
        posterior = asked.wind_up(in_hand, drawn)
        told = [note for note in posterior.notes if note.startswith(INTERRUPTED)]
        for text in (*told, *_advice(posterior)):
            warn(text)
    return posterior


def _warn_user(text: str) -> None:
    warnings.warn(text, BayesmmWarning, skip_file_prefixes=(PACKAGE,))


def _advice(posterior: Posterior) -> list[str]:
    """Complain of the draws; say so if that is interrupted too."""
    try:
        return [] if posterior.diagnostics.is_good else [posterior.diagnostics.advice]
    except KeyboardInterrupt:
        return [UNCHECKED]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was asked of a run, for what becomes of it."""

    problem: Problem
    priors: ResolvedPriors
    program: Literal["marginal", "conditional"]
    explorer: Explorer
    settings: Settings
    checkpoint: str | os.PathLike[str] | None
    random_effects: Effects | Literal["auto"]
    effects: Effects
    pointwise_limit: int

    def wind_up(self, in_hand: InHand, drawn: Drawn) -> Posterior:
        """Make a posterior of what an interrupted run has drawn.

        It lacks nothing if drawing was interrupted. If that is over, or another interruption comes, what can be
        computed later is left out. One more goes on.
        """
        if not in_hand.is_drawn:
            try:
                return self.put_together(in_hand.leave(drawn))
            except KeyboardInterrupt:
                pass
        return self.put_together(in_hand.leave(drawn, briefly=True), briefly=True)

    def put_together(self, run: Run, *, briefly: bool = False) -> Posterior:
        """Label the draws, and evaluate their pointwise log-likelihood unless it is to be brief."""
        design = self.problem.design
        pointwise, left_out = None, ()
        if not briefly:
            pointwise, left_out = pointwise_log_likelihood(run.sites, design, self.pointwise_limit)
            left_out = (*_effects_note(self.random_effects, self.effects, self.program), *left_out)
        notes = (*run.notes, *self._interruption(run, briefly), *left_out)
        origin = {"program": self.program, "method": "nuts", "tune": self.settings.tune, "seed": self.settings.seed}
        attributes = origin | run.attributes | {"notes": " ".join(notes)}
        return Posterior(
            data=build_tree(run, design, pointwise, attributes),
            problem=self.problem,
            priors=self.priors,
            program=self.program,
            notes=notes,
        )

    def _interruption(self, run: Run, briefly: bool) -> list[str]:
        """Say that a run was cut short, and where."""
        n, resume, left_out = run.stats["lp"].shape[1], "", []
        if n == self.settings.draws and not briefly:
            return []
        where = (
            f"{INTERRUPTED} after the last draw."
            if n == self.settings.draws
            else f"{INTERRUPTED}: there are {n} of {self.settings.draws} draws per chain."
        )
        if self.checkpoint is not None:
            resume = f" The same call goes on from checkpoint={os.fspath(self.checkpoint)!r}."
        if not briefly:
            return [where + resume]
        if self.program == "marginal" and self.effects is not None:
            left_out.append("the random effects" if self.effects == "draws" else "the moments of the random effects")
        if self.program == "conditional" or self.effects == "draws":
            left_out.append("the pointwise log-likelihood")
        what = " and ".join(left_out).capitalize()
        said = f" {what} are left out here; the posterior computes them when it is asked for them." if left_out else ""
        by_draws = " Its tables are those of the draws, not by quadrature." * (self.explorer == "quadrature")
        return [where + said + by_draws + resume]


def _divided(problem: Problem) -> list[str]:
    """Say where the posterior is in pieces, between which no chain moves."""
    design, residual = problem.design, problem.design.residual
    if residual is None or not residual.growth.has_pole or not design.y.min() < 0.0 < design.y.max():
        return []
    return [
        f"{design.response} is negative in some rows and positive in others, and residual="
        f"{residual.specification.text!r} leaves no variance at an expected response of zero: no chain takes the "
        "expected response of a row from one sign to the other. Shift the response, or take exponential(fitted)."
    ]


def _check_explorer(
    method: Explorer, program: str, checkpoint: str | os.PathLike[str] | None, problem: Problem
) -> None:
    if not is_one_of(method, EXPLORERS):
        raise ArgumentError(f"method is {method!r}: give {', '.join(map(repr, EXPLORERS))}.")
    if method == "nuts":
        return
    problem.design.require_known_spreads(f"method={method!r}, which explores the marginal program,")
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
    kind: Program,
    problem: Problem,
    priors: ResolvedPriors,
    warm: WarmStart,
    parameterisation: Wish,
) -> tuple[MarginalProgram, MarginalData] | tuple[ConditionalProgram, ConditionalData]:
    """Return a NumPyro model and its argument; see `bayesmm.Model.program`."""
    if choose_program(kind, problem, parameterisation) == "marginal":
        return bind_marginal(problem, priors, _frames(problem, priors, warm))
    return _bind_conditional(problem, priors, warm, parameterisation)[:2]


def choose_program(
    wish: Program, problem: Problem, parameterisation: Wish = "auto"
) -> Literal["marginal", "conditional"]:
    """Settle which program is run: by default the marginal one, where it is there.

    Raises
    ------
    ArgumentError
        If the wish is none of the choices, the marginal program is not there for the model, or a parameterisation is
        given that it does not have.
    """
    if not is_one_of(wish, ("auto", "marginal", "conditional")):
        raise ArgumentError(f"program is {wish!r}: give 'marginal' or 'conditional', or leave it out.")
    check_parameterisation(parameterisation)
    if wish == "auto":
        residual = problem.design.residual
        wish = "conditional" if residual is not None and residual.of_fitted else "marginal"
    if wish == "marginal":
        problem.design.require_known_spreads("The marginal program")
        if parameterisation != "auto":
            raise ArgumentError(
                f"parameterisation is {parameterisation!r}, but the marginal program integrates the random effects "
                "out: leave it away, or give program='conditional'."
            )
    return wish


def _bind_conditional(
    problem: Problem, priors: ResolvedPriors, warm: WarmStart, wish: Wish
) -> tuple[ConditionalProgram, ConditionalData, dict[str, Choice]]:
    problem = _with_roots(problem)
    design = problem.design
    groups = [block.group for block in problem.labels.blocks]
    seen = move_to_means(warm, warm.pose(design), priors.effect_contrasts)
    chosen = choose_degrees(wish, groups, parameterise(*seen))
    references = [warm.sigma * factor for factor in interior_factors(*seen)]
    degrees = [choice.degree for choice in chosen]
    bound = bind_conditional(design, priors, degrees, references, find_frames(*seen))
    return *bound, dict(zip(groups, chosen, strict=True))


def _with_roots(problem: Problem) -> Problem:
    """Take dense matrices of related levels, of which the conditional program has roots."""
    return problem.dense if problem.design.relations else problem


def _frames(problem: Problem, priors: ResolvedPriors, warm: WarmStart) -> tuple[np.ndarray, ...]:
    return find_frames(*move_to_means(warm, problem.design, priors.effect_contrasts))


def _run_marginal(
    warm: WarmStart,
    asked: _Asked,
    watch: Watcher | None,
    recorder: Recorder | None,
    in_hand: InHand,
) -> Run:
    problem = asked.problem
    frames = _frames(problem, asked.priors, warm)
    program, data = bind_marginal(problem, asked.priors, frames, is_folded=asked.explorer != "nuts")
    return explore(
        program,
        data,
        start_marginal(program, data, warm, problem.design),
        problem.labels,
        explorer=asked.explorer,
        effects=asked.effects,
        settings=asked.settings,
        watch=watch,
        recorder=recorder,
        in_hand=in_hand,
    )


def _run_conditional(
    warm: WarmStart,
    asked: _Asked,
    watch: Watcher | None,
    recorder: Recorder | None,
    in_hand: InHand,
    parameterisation: Wish,
) -> Run:
    problem, priors = _with_roots(asked.problem), asked.priors
    design = warm.pose(problem.design)
    is_alone = design.residual is not None and design.residual.of_fitted
    program, data, chosen = _bind_conditional(problem, priors, warm, parameterisation)
    return explore_conditional(
        program,
        data,
        lambda point: start_conditional(program, data, point, design, priors.contrast),
        warm,
        design,
        None if is_alone else bind_marginal(problem, priors, _frames(problem, priors, warm)),
        settings=asked.settings,
        watch=watch,
        recorder=recorder,
        in_hand=in_hand,
        notes=tuple(f"{group}: {choice.name}: {choice.reason}." for group, choice in chosen.items()),
        attributes={"parameterisation": "; ".join(f"{group}: {choice.name}" for group, choice in chosen.items())},
    )
