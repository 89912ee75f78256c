"""Draws of everything from the priors: parameters, random effects, and a response of the same design."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array
from numpyro import handlers

from bayesmm.bayes.binding import bind_conditional
from bayesmm.bayes.program import ConditionalData, ConditionalProgram
from bayesmm.bayes.resolution import PriorRow, ResolvedPriors
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels
from bayesmm.errors import ArgumentError, PriorError

BATCH_ENTRIES = 2**22  # numbers held at once beside the result, 32 MB
MOST_ENTRIES = 2**28  # of the result, 2 GB
EXAMPLES = {
    "fixed": "Normal(mean, sd)",
    "sd": "HalfStudentT(3, scale)",
    "sigma": "HalfStudentT(3, scale)",
}


def simulate_prior(
    design: Design, labels: Labels, priors: ResolvedPriors, *, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw parameters, random effects and responses from the joint distribution that a model states before its data.

    Parameters
    ----------
    design : Design
        Columns, levels, weights and offset; its response is not looked at.
    labels : Labels
        Names of the variables.
    priors : ResolvedPriors
        Every prior in force, all of them proper.
    draws : int
        How many.
    seed : int
        The same seed gives the same draws.

    Returns
    -------
    dict of str to array, shapes (draws, ...)
        ``beta`` (p,), ``sd_Subject`` (k,), ``cor_Subject`` (pairs,), ``sigma``, ``b_Subject`` (q, k) as in a posterior,
        as far as the model has them; and ``y`` (n,), offset included and with the prior weights.

    Raises
    ------
    PriorError
        If a prior is improper, or so wide that its draws are not finite.
    ArgumentError
        If `draws` or `seed` makes no sense, or the draws would need more than 2 GB.
    """
    _check_numbers(draws, seed)
    check_proper(priors)
    _check_size(draws, design)
    program, data = bind_conditional(design, labels, priors, ("noncentred",) * len(design.blocks))
    names = [*dict.fromkeys(row.variable for row in labels.parameter_rows())]
    names += [*(block.effect_variable for block in labels.blocks), "y"]
    batch = max(1, min(draws, BATCH_ENTRIES // _entries(design)))
    with jax.enable_x64(True):
        drawn = _draw(program, tuple(names), draws, batch, data._replace(y=None), np.int64(seed))
        arrays = {name: np.asarray(values) for name, values in drawn.items()}
    _check_finite(arrays, labels, priors)
    return arrays


def check_proper(priors: ResolvedPriors) -> None:
    """Refuse priors that cannot be drawn from.

    Raises
    ------
    PriorError
        Names every improper row, and says what to give instead.
    """
    improper = [row for row in priors.rows if not row.is_proper]
    if not improper:
        return
    rows = ", ".join(f"{row.name!r} ({row.prior})" for row in improper)
    instead = ", ".join(f"{row.name!r}: {EXAMPLES[row.kind]}" for row in _one_of_each_kind(improper))
    raise PriorError(
        f"Nothing can be drawn from an improper prior, and there are {len(improper)}: {rows}. Give proper ones, for "
        f"example priors={{{instead}}}, or leave them out for the defaults, which are proper."
    )


def _one_of_each_kind(rows: list[PriorRow]) -> list[PriorRow]:
    return list({row.kind: row for row in reversed(rows)}.values())[::-1]


@partial(jax.jit, static_argnums=(0, 1, 2, 3), compiler_options={"xla_backend_optimization_level": 0})
def _draw(
    program: ConditionalProgram, names: tuple[str, ...], draws: int, batch: int, data: ConditionalData, seed: Any
) -> dict[str, Array]:
    def one(key: Array) -> dict[str, Array]:
        trace = handlers.trace(handlers.seed(program, key)).get_trace(data)
        return {name: trace[name]["value"] for name in names}

    return jax.lax.map(one, jax.random.split(jax.random.key(seed), draws), batch_size=batch)


def _entries(design: Design) -> int:
    """Numbers of one draw, the most of them in the rows and the random effects."""
    return design.n + design.p + sum(block.q * block.k for block in design.blocks) + 1


def _check_numbers(draws: int, seed: int) -> None:
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value < 2**63:
            raise ArgumentError(f"{name} is {value!r}: give a whole number of at least {least}.")


def _check_size(draws: int, design: Design) -> None:
    size = draws * _entries(design)
    if size > MOST_ENTRIES:
        raise ArgumentError(
            f"draws is {draws}: with {design.n:,} rows that is {8e-9 * size:.1f} GB. Ask for at most "
            f"{max(1, MOST_ENTRIES // _entries(design))}."
        )


def _check_finite(arrays: dict[str, np.ndarray], labels: Labels, priors: ResolvedPriors) -> None:
    """Refuse draws beyond the largest double, naming the prior; a response can be so only where a parameter is."""
    chosen = {row.name: row.prior for row in priors.rows}
    for row in labels.parameter_rows():
        values = arrays[row.variable] if row.index is None else arrays[row.variable][:, row.index]
        infinite = int((~np.isfinite(values)).sum())
        if infinite and row.kind != "cor":
            raise PriorError(
                f"{infinite} of {len(values)} draws of {row.name!r} are beyond the largest number there is: its prior, "
                f"{chosen[row.name]}, is nearly improper. Give it a narrower one to simulate from."
            )
