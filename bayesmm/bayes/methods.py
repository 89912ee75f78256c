"""Three ways to explore the posterior of the marginal program: NUTS, importance sampling, quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import jax
import numpy as np

from bayesmm.bayes.exact import quadrature_group
from bayesmm.bayes.importance import FEWEST_EFFECTIVE, TRUSTED, Resampled, Weighted, resample, sample_importance, weigh
from bayesmm.bayes.moments import average_moments
from bayesmm.bayes.nuts import draw_positions
from bayesmm.bayes.program import MarginalData, MarginalProgram
from bayesmm.bayes.quadrature import MOST_PARAMETERS, integrate
from bayesmm.bayes.recorder import Recorder
from bayesmm.bayes.run import Drawn, Run, Settings, Watcher, by_chain
from bayesmm.bayes.start import Start
from bayesmm.bayes.surface import Surface, open_surface
from bayesmm.design.labels import Labels
from bayesmm.errors import ArgumentError

Method = Literal["nuts", "importance", "quadrature"]
Effects = Literal["draws", "moments"] | None
MOST_DRAWN = 50_000_000  # draws of random effects, 400 MB: beyond, "auto" keeps their moments instead


def choose_effects(random_effects: Effects | Literal["auto"], labels: Labels, draws: int) -> Effects:
    """Decide whether random effects are drawn; "auto" draws them unless they would fill the memory.

    Raises
    ------
    ArgumentError
        If it is none of the choices.
    """
    if random_effects == "auto":
        numbers = draws * sum(len(block.levels) * len(block.effects) for block in labels.blocks)
        return "draws" if numbers <= MOST_DRAWN else "moments"
    if random_effects not in ("draws", "moments", None):
        raise ArgumentError(f"random_effects is {random_effects!r}: give 'auto', 'draws', 'moments' or None.")
    return random_effects


def explore(
    program: MarginalProgram,
    data: MarginalData,
    start: Start,
    labels: Labels,
    *,
    method: Method,
    effects: Effects,
    settings: Settings,
    watch: Watcher | None,
    recorder: Recorder | None = None,
) -> Run:
    """Explore the posterior of one model, and put back what its program integrates out.

    Parameters
    ----------
    program, data, start
        The marginal program, its argument, and where to start.
    labels : Labels
        The names.
    method : {"nuts", "importance", "quadrature"}
        How.
    effects : {"draws", "moments"} or None
        Whether random effects are drawn, or only their means and standard deviations computed.
    settings : Settings
        How many draws; the rest is for NUTS.
    watch, recorder : optional
        See `bayesmm.bayes.nuts.run_nuts`.
    """
    recover = MarginalProgram.recover if effects == "draws" else MarginalProgram.recover_coefficients
    with jax.enable_x64(True):
        surface = open_surface(
            program,
            data,
            start=start.values,
            scales=start.scales,
            small=start.small,
            generate=recover,
            describe=MarginalProgram.moments,
            seed=settings.seed,
        )
        drawn = METHODS[method](surface, settings, labels, watch, recorder)
        sites = by_chain(surface.finish(drawn.place, drawn.positions), settings.chains)
        groups = dict(drawn.groups)
        if effects == "moments" and "quadrature" not in groups:
            groups["random_effects"] = average_moments(surface, drawn.place, drawn.positions, labels)
        return Run(
            sites=sites,
            stats=drawn.stats,
            notes=drawn.notes,
            attributes={"method": method} | drawn.attributes,
            groups=groups,
        )


def _by_nuts(
    surface: Surface, settings: Settings, labels: Labels, watch: Watcher | None, recorder: Recorder | None
) -> Drawn:
    return draw_positions(surface, settings, watch, recorder)


def _by_importance(
    surface: Surface, settings: Settings, labels: Labels, watch: Watcher | None, recorder: Recorder | None
) -> Drawn:
    _check_dense(surface)
    n = settings.chains * settings.draws
    mode, weighted, resampled = sample_importance(surface, n, np.random.default_rng(settings.seed))
    if weighted.pareto_k <= TRUSTED and resampled.effective >= FEWEST_EFFECTIVE * n:
        return Drawn(
            place=mode.place,
            positions={"dense": resampled.positions},
            stats={"lp": _log_density(surface, resampled, settings)},
            attributes=_weights(weighted, resampled),
        )
    note = (
        f"Importance sampling could not be trusted (Pareto k̂ {weighted.pareto_k:.2f}, worth {resampled.effective:.0f} "
        f"of {n} draws), so these draws are from NUTS."
    )
    drawn = draw_positions(surface, settings, watch, recorder)
    return replace(drawn, notes=(note,), attributes={"method": "nuts"})


def _by_quadrature(
    surface: Surface, settings: Settings, labels: Labels, watch: Watcher | None, recorder: Recorder | None
) -> Drawn:
    _check_dense(surface)
    if surface.layout.size > MOST_PARAMETERS:
        raise ArgumentError(
            f"The posterior is over {surface.layout.size} standard deviations, correlations and sampled coefficients; "
            f"method='quadrature' is for at most {MOST_PARAMETERS}. Use method='importance' or method='nuts'."
        )
    n, rng = settings.chains * settings.draws, np.random.default_rng(settings.seed)
    quadrature = integrate(surface)
    weighted = weigh(surface, quadrature.mode, quadrature.propose, enough=n, rng=rng)
    resampled = resample(weighted, n, rng)
    return Drawn(
        place=quadrature.mode.place,
        positions={"dense": resampled.positions},
        stats={"lp": _log_density(surface, resampled, settings)},
        attributes=_weights(weighted, resampled) | {"log_evidence": quadrature.log_evidence},
        groups={"quadrature": quadrature_group(surface, quadrature, labels)},
    )


def _log_density(surface: Surface, resampled: Resampled, settings: Settings) -> np.ndarray:
    """Log density of the sites, as in a run of NUTS."""
    return -(resampled.energies + surface.log_unit).reshape(settings.chains, -1)


def _check_dense(surface: Surface) -> None:
    if surface.layout.diagonal:
        raise ArgumentError(
            f"The posterior is over {surface.layout.size} standard deviations, correlations and sampled coefficients, "
            "too many for anything but method='nuts'."
        )


def _weights(weighted: Weighted, resampled: Resampled) -> dict[str, float | int]:
    return {
        "pareto_k": weighted.pareto_k,
        "effective_draws": resampled.effective,
        "proposals": len(weighted.weights),
        "efficiency": weighted.efficiency,
        "log_evidence": weighted.log_evidence,
    }


METHODS: dict[str, Callable[[Surface, Settings, Labels, Watcher | None, Recorder | None], Drawn]] = {
    "nuts": _by_nuts,
    "importance": _by_importance,
    "quadrature": _by_quadrature,
}
