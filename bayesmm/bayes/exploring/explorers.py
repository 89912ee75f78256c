"""Three ways to explore the posterior of the marginal program: NUTS, importance sampling, quadrature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np

from bayesmm.arguments import is_one_of
from bayesmm.bayes.exploring.exact import quadrature_group
from bayesmm.bayes.exploring.importance import (
    FEWEST_EFFECTIVE,
    TRUSTED,
    Resampled,
    Weighted,
    resample,
    sample_importance,
    weigh,
)
from bayesmm.bayes.exploring.kernel import Kernel
from bayesmm.bayes.exploring.modes import MATTERS, Modes, Portraits, find_modes, portray, share_chains
from bayesmm.bayes.exploring.moments import average_moments, averaged_note, choose_averaged
from bayesmm.bayes.exploring.nuts import Peak, draw_positions, locate, prepare_nuts
from bayesmm.bayes.exploring.quadrature import MOST_PARAMETERS, integrate
from bayesmm.bayes.exploring.recorder import Recorder
from bayesmm.bayes.exploring.run import Drawn, InHand, Run, Settings, Watcher, by_chain
from bayesmm.bayes.exploring.start import Start, WarmStart, start_marginal
from bayesmm.bayes.exploring.surface import Surface, open_surface
from bayesmm.bayes.exploring.surface_programs import Generator
from bayesmm.bayes.programs.program import ConditionalData, ConditionalProgram, MarginalData, MarginalProgram
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.in_jax.hosted import n_hosted

Explorer = Literal["nuts", "importance", "quadrature"]
Effects = Literal["draws", "moments"] | None
MOST_FACTORED = 30_000_000  # likewise where each draw takes a sparse factor: a minute of a processor
MOST_DRAWN = 50_000_000  # draws of random effects, 400 MB: beyond, "auto" keeps their moments instead


def choose_effects(
    random_effects: Effects | Literal["auto"], labels: Labels, draws: int, *, sparse: bool = False
) -> Effects:
    """Decide whether random effects are drawn; "auto" draws them unless they would fill the memory.

    Where they are one sparse matrix each draw takes a factor of it, so that "auto" draws fewer.

    Raises
    ------
    ArgumentError
        If it is none of the choices.
    """
    if is_one_of(random_effects, ("auto",)):
        numbers = draws * sum(len(block.levels) * len(block.effects) for block in labels.blocks)
        return "draws" if numbers <= (MOST_FACTORED if sparse else MOST_DRAWN) else "moments"
    if not is_one_of(random_effects, ("draws", "moments", None)):
        raise ArgumentError(f"random_effects is {random_effects!r}: give 'auto', 'draws', 'moments' or None.")
    return cast(Effects, random_effects)


def explore(
    program: MarginalProgram,
    data: MarginalData,
    start: Start,
    labels: Labels,
    *,
    explorer: Explorer,
    effects: Effects,
    settings: Settings,
    watch: Watcher | None,
    recorder: Recorder | None = None,
    in_hand: InHand,
) -> Run:
    """Explore the posterior of one model, and put back what its program integrates out.

    Parameters
    ----------
    program, data, start
        The marginal program, its argument, and where to start.
    labels : Labels
        The names.
    explorer : {"nuts", "importance", "quadrature"}
        How.
    effects : {"draws", "moments"} or None
        Whether random effects are drawn, or only their means and standard deviations computed.
    settings : Settings
        How many draws; the rest is for NUTS.
    watch, recorder : optional
        See `bayesmm.bayes.exploring.nuts.run_nuts`.
    in_hand : InHand
        Told what there is, should the run be interrupted.

    Raises
    ------
    ArgumentError
        If the program integrates everything out.
    """
    recover = MarginalProgram.recover if effects == "draws" else MarginalProgram.recover_coefficients
    with inside_jax():
        surface, others = _open_marginal(program, data, start, recover, settings.seed)
        if surface.coordinates.size == 0:
            raise ArgumentError(
                "All variances are known, so that nothing is left to explore where coefficients and effects are "
                "integrated out. Sample them, program='conditional'; with flat priors model.fit() has their normal "
                "distribution."
            )
        task = Task(
            surface=surface,
            others=others,
            settings=settings,
            labels=labels,
            watch=watch,
            recorder=recorder,
            in_hand=in_hand,
            effects=effects,
            explorer=explorer,
        )
        return in_hand.leave(EXPLORERS[explorer](task))


def _put_back(task: Task, modes: Modes | None, drawn: Drawn, briefly: bool) -> Run:
    """Read off the draws what was integrated out; briefly, what a posterior cannot do without."""
    surface, labels, groups, notes = task.surface, task.labels, {}, drawn.notes
    explorer = "importance" if briefly and task.explorer == "quadrature" else task.explorer  # without its tables
    with inside_jax():
        finishing = surface.generating(MarginalProgram.recover_coefficients) if briefly else surface
        sites = by_chain(finishing.finish(drawn.place, drawn.positions), task.settings.chains)
        if not briefly:
            groups = drawn.tables()
            if task.effects == "moments" and "quadrature" not in groups:
                some = choose_averaged(n := len(drawn.positions["dense"]), n_hosted(surface.data))
                averaged = {part: positions[some] for part, positions in drawn.positions.items()}
                groups["random_effects"] = average_moments(surface, drawn.place, averaged, labels)
                notes = (*notes, *averaged_note(len(some), n))
        run = Run(
            sites=sites,
            stats=drawn.stats,
            notes=notes,
            attributes={"method": explorer} | drawn.attributes,
            groups=groups,
        )
        if modes is None or len(modes.found) == 1:
            return run
        return tell_modes(run, portray(surface, modes, labels))


def explore_conditional(
    program: ConditionalProgram,
    data: ConditionalData,
    start: Callable[[WarmStart], Start],
    warm: WarmStart,
    design: Design,
    marginal: tuple[MarginalProgram, MarginalData] | None,
    *,
    settings: Settings,
    watch: Watcher | None,
    recorder: Recorder | None = None,
    in_hand: InHand,
    notes: tuple[str, ...],
    attributes: dict[str, Any],
) -> Run:
    """Sample the conditional program by NUTS, its chains begun in the modes of the marginal posterior.

    Parameters
    ----------
    program, data
        The conditional program and its argument.
    start : callable
        Takes a point estimate to a start of that program.
    warm : WarmStart
        The point estimate.
    design : Design
        The data, and the names.
    marginal : (MarginalProgram, MarginalData) or None
        The same posterior, of fewer parameters: its modes are sought while the conditional program compiles. None where
        it is none, so that all chains begin at the estimate.
    settings, watch, recorder
        See `bayesmm.bayes.exploring.nuts.run_nuts`.
    in_hand : InHand
        Told what there is, should the run be interrupted.
    notes, attributes
        Of the run.
    """
    here = start(warm)
    with inside_jax():
        surface = open_surface(
            program,
            data,
            start=here.values,
            scales=here.scales,
            small=here.small,
            diagonal=program.effect_sites,
            seed=settings.seed,
        )
        kernel = prepare_nuts(surface, settings)
        peaks, portrayed = [], None
        if marginal is not None:
            at_start = start_marginal(*marginal, warm, design)
            other = _open_marginal(*marginal, at_start, MarginalProgram.recover_coefficients)
            is_known = other[0].coordinates.size == 0
            modes = None if other[0].coordinates.diagonal or is_known else find_modes(*other)
            if modes is not None and len(modes.found) > 1:
                points = estimates_at(other[0], modes, marginal, warm, design.labels)
                peaks = [locate(surface, start(points[k]).values) for k in share_chains(modes.shares, settings.chains)]
                portrayed = partial(portray, other[0], modes, design.labels)

        def finish(drawn: Drawn, briefly: bool) -> Run:  # nothing that could be left out
            with inside_jax():
                sites = by_chain(surface.finish(drawn.place, drawn.positions), settings.chains)
                run = Run(sites=sites, stats=drawn.stats, notes=notes, attributes=attributes)
                return run if portrayed is None else tell_modes(run, portrayed())

        def hold(gather: Callable[[], Drawn | None]) -> None:
            in_hand.finish, in_hand.gather = finish, gather

        drawn = draw_positions(surface, kernel, settings, peaks, watch=watch, recorder=recorder, hold=hold)
        return in_hand.leave(drawn)


def estimates_at(
    surface: Surface,
    modes: Modes,
    marginal: tuple[MarginalProgram, MarginalData],
    warm: WarmStart,
    labels: Labels,
) -> list[WarmStart]:
    """Read off the marginal program what a point estimate at each mode is."""
    program, data = marginal
    positions = {"dense": np.stack([mode.position for mode in modes.found])}
    [described] = surface.describe(modes.place, positions)
    estimates = []
    for k in range(len(modes.found)):
        sites = {name: values[k] for name, values in described.items()}
        factors, sigma, residual = program.covariances.factors(sites, data.covariances)
        factors = program.covariances.on_columns(factors, data.covariances)
        estimates.append(
            replace(
                warm,
                sigma=float(sigma),
                factors=tuple(np.asarray(factor) / float(sigma) for factor in factors),
                beta=sites.get("beta_mean", warm.beta),
                effects=tuple(sites[f"{block.effect_variable}_mean"] for block in labels.blocks),
                residual=None if residual is None else np.asarray(residual),
            )
        )
    return estimates


def _open_marginal(
    program: MarginalProgram, data: MarginalData, start: Start, generate: Generator, seed: int = 0
) -> tuple[Surface, Sequence[Mapping[str, np.ndarray]]]:
    """Open the surface of the marginal program, with what else to search it from."""
    surface = open_surface(
        program,
        data,
        start=start.values,
        scales=start.scales,
        small=start.small,
        generate=generate,
        describe=MarginalProgram.moments,
        read=MarginalProgram.read_coefficients,
        seed=seed,
    )
    return surface, start.others


def tell_modes(run: Run, portraits: Portraits) -> Run:
    """Say of a run which modes there are, and in which one each draw is."""
    portraits = portraits.distinct()
    if len(portraits.modes.found) == 1:
        return run
    return replace(
        run,
        stats=run.stats | {"mode": portraits.nearest(run.sites)},
        notes=(*run.notes, portraits.note()),
        groups=run.groups | {"modes": portraits.group()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A posterior to explore, with what is asked for."""

    surface: Surface
    others: Sequence[Mapping[str, np.ndarray]]
    settings: Settings
    labels: Labels
    watch: Watcher | None
    recorder: Recorder | None
    in_hand: InHand
    effects: Effects
    explorer: Explorer

    def hold(self, gather: Callable[[], Drawn | None], modes: Modes | None) -> None:
        """Have in hand what there will be."""
        self.in_hand.finish = partial(_put_back, self, modes)
        self.in_hand.gather = gather

    def take(self, drawn: Drawn, modes: Modes) -> Drawn:
        """Have draws in hand."""
        self.hold(lambda: drawn, modes)
        return drawn

    def find_modes(self) -> Modes | None:
        """Find the peaks; None where there are too many coordinates to know the curvature."""
        return None if self.surface.coordinates.diagonal else find_modes(self.surface, self.others)


def _by_nuts(task: Task) -> Drawn:
    kernel = prepare_nuts(task.surface, task.settings)
    return _draw_by_nuts(task, kernel, task.find_modes())


def _draw_by_nuts(task: Task, kernel: Kernel, modes: Modes | None, **told: Any) -> Drawn:
    """Draw; `told` are fields of what is drawn."""
    peaks = []
    if modes is not None and len(modes.found) > 1:
        begun = share_chains(modes.shares, task.settings.chains)
        peaks = [Peak({"dense": modes.found[k].position}, modes.found[k].covariance) for k in begun]

    def hold(gather: Callable[[], Drawn | None]) -> None:
        task.hold(lambda: (drawn := gather()) and replace(drawn, **told), modes)

    drawn = draw_positions(
        task.surface, kernel, task.settings, peaks, watch=task.watch, recorder=task.recorder, hold=hold
    )
    return replace(drawn, **told)


def _by_importance(task: Task) -> Drawn:
    surface, settings = task.surface, task.settings
    _check_dense(surface)
    n, modes = settings.chains * settings.draws, find_modes(surface, task.others)
    weighted, resampled, shares = sample_importance(
        surface, modes.above(MATTERS), n, np.random.default_rng(settings.seed)
    )
    if weighted.pareto_k <= TRUSTED and resampled.effective >= FEWEST_EFFECTIVE * n:
        drawn = Drawn(
            place=modes.place,
            positions={"dense": resampled.positions},
            stats={"lp": _log_density(surface, resampled, settings)},
            attributes=_weights(weighted, resampled),
        )
        return task.take(drawn, modes.with_shares(shares))
    note = (
        f"Importance sampling could not be trusted (Pareto k̂ {weighted.pareto_k:.2f}, worth {resampled.effective:.0f} "
        f"of {n} draws), so these draws are from NUTS."
    )
    return _draw_by_nuts(task, prepare_nuts(surface, settings), modes, notes=(note,), attributes={"method": "nuts"})


def _by_quadrature(task: Task) -> Drawn:
    surface, settings = task.surface, task.settings
    _check_dense(surface)
    if surface.coordinates.size > MOST_PARAMETERS:
        raise ArgumentError(
            f"The posterior is over {surface.coordinates.size} sds, correlations and sampled coefficients; "
            f"method='quadrature' is for at most {MOST_PARAMETERS}. Use method='importance' or method='nuts'."
        )
    n, rng = settings.chains * settings.draws, np.random.default_rng(settings.seed)
    modes = find_modes(surface, task.others)
    quadrature = integrate(surface, modes.above(MATTERS))
    weighted = weigh(surface, modes.found[0], quadrature.propose, enough=n, rng=rng)
    resampled = resample(weighted, n, rng)
    evidence = {"log_evidence": quadrature.log_evidence, "log_evidence_error": quadrature.log_evidence_error}
    drawn = Drawn(
        place=modes.place,
        positions={"dense": resampled.positions},
        stats={"lp": _log_density(surface, resampled, settings)},
        attributes=_weights(weighted, resampled) | evidence,
        tables=lambda: {"quadrature": quadrature_group(surface, quadrature, task.labels)},
    )
    return task.take(drawn, modes.with_shares(quadrature.shares))


def _log_density(surface: Surface, resampled: Resampled, settings: Settings) -> np.ndarray:
    """Log density of the sites, as in a run of NUTS."""
    return -(resampled.energies + surface.log_unit).reshape(settings.chains, -1)


def _check_dense(surface: Surface) -> None:
    if surface.coordinates.diagonal:
        raise ArgumentError(
            f"The posterior is over {surface.coordinates.size} sds, correlations and sampled coefficients, "
            "too many for anything but method='nuts'."
        )


def _weights(weighted: Weighted, resampled: Resampled) -> dict[str, float | int]:
    return {
        "pareto_k": weighted.pareto_k,
        "effective_draws": resampled.effective,
        "proposals": len(weighted.weights),
        "efficiency": weighted.efficiency,
        "log_evidence": weighted.log_evidence,
        "log_evidence_error": weighted.log_evidence_error,
    }


EXPLORERS: dict[str, Callable[[Task], Drawn]] = {
    "nuts": _by_nuts,
    "importance": _by_importance,
    "quadrature": _by_quadrature,
}
