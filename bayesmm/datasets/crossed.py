"""Subjects crossed with items, raters with essays: every level of one factor meets every level of the others."""

from collections.abc import Mapping
from math import prod

import numpy as np
import pandas as pd

from bayesmm.datasets import arguments
from bayesmm.datasets.simulation import GroupEffects, Simulation, assemble, draw_group, numbered
from bayesmm.errors import DatasetError

CONDITION = "condition"


def simulate_crossed(
    groups: Mapping[str, int],
    *,
    sds: Mapping[str, float | tuple[float, float]],
    correlations: Mapping[str, float] | None = None,
    sigma: float = 1.0,
    intercept: float = 0.0,
    condition_effect: float | None = None,
    repeats: int = 1,
    share_observed: float = 1.0,
    response: str = "y",
    seed: int = 0,
) -> Simulation:
    """Draw data from a crossed model: subjects by items, with or without an experimental condition.

    Parameters
    ----------
    groups : mapping of str to int
        Two or more crossed factors and their numbers of levels: ``{"subject": 30, "item": 20}``.
    sds : mapping of str to float or (float, float)
        Standard deviation of each factor's intercepts; as a pair, of its intercepts and of its slopes of the condition.
        In the units of the response; 0 is allowed.
    correlations : mapping of str to float, optional
        Correlation of intercept and slope, for factors with slopes; 0 where it is not given.
    sigma : float
        Residual standard deviation, in the units of the response.
    intercept : float
        Mean of the response over both conditions.
    condition_effect : float, optional
        Difference between the two conditions; None draws data without conditions.
    repeats : int
        Observations of each combination of levels. Conditions alternate over levels and repeats, so that every level
        of every factor meets both.
    share_observed : float
        Probability that an observation is kept; below 1 the design is unbalanced.
    response : str
        Name of the response column.
    seed : int
        The same seed draws the same data.

    Returns
    -------
    Simulation
        Its formula is ``y ~ 1 + (1 | subject) + (1 | item)``, with ``condition`` in the fixed part and in the terms of
        the factors with slopes. The column ``condition`` is -0.5 or 0.5: the intercept is the mean of both.

    Raises
    ------
    DatasetError
        A number, a name or a standard deviation is impossible, or slopes are asked for without a condition.

    Notes
    -----
    y = intercept + effect · c + Σ (a_g + s_g · c) + ε over the factors g, c = ±0.5 (Baayen, Davidson & Bates 2008,
    J. Memory and Language 59).

    Examples
    --------
    >>> import bayesmm as bmm
    >>> simulation = bmm.datasets.simulate_crossed(
    ...     {"subject": 30, "item": 20}, sds={"subject": (80, 20), "item": 40}, sigma=120, intercept=600,
    ...     condition_effect=30, seed=1,
    ... )
    >>> simulation.formula
    'y ~ 1 + condition + (1 + condition | subject) + (1 | item)'
    """
    correlations = {} if correlations is None else correlations
    spreads = _check(groups, sds, correlations, condition_effect, response)
    sigma = arguments.spread("sigma", sigma, positive=True)
    coefficients = {"Intercept": arguments.number("intercept", intercept)}
    if condition_effect is not None:
        coefficients[CONDITION] = arguments.number("condition_effect", condition_effect)
    share = arguments.fraction("share_observed", share_observed)
    rng = np.random.default_rng(arguments.count("seed", seed, at_least=0))

    sizes = [*groups.values(), arguments.count("repeats", repeats, at_least=1, at_most=arguments.MOST)]
    codes = np.indices(sizes).reshape(len(sizes), prod(sizes))  # one row a factor, the repeats last
    condition = codes.sum(axis=0) % 2 - 0.5
    drawn = _draw(rng, groups, spreads, correlations)
    mean = np.full(codes.shape[1], coefficients["Intercept"]) + coefficients.get(CONDITION, 0.0) * condition
    for effects, code in zip(drawn, codes, strict=False):
        mean += effects.values[code, 0] + (effects.values[code, 1] * condition if len(effects.effects) == 2 else 0.0)

    kept = np.flatnonzero(rng.random(codes.shape[1]) < share)
    _check_kept(kept, share)
    data = pd.DataFrame({group: numbered(code[kept]) for group, code in zip(groups, codes, strict=False)})
    if condition_effect is not None:
        data[CONDITION] = condition[kept]
    data[response] = mean[kept] + sigma * rng.standard_normal(len(kept))
    present = [(effects, list(data[effects.group].cat.categories)) for effects in drawn]
    return assemble(
        data, _formula(response, drawn, coefficients), coefficients=coefficients, groups=present, sigma=sigma
    )


def _check(
    groups: Mapping[str, int],
    sds: Mapping[str, float | tuple[float, float]],
    correlations: Mapping[str, float],
    condition_effect: float | None,
    response: str,
) -> dict[str, tuple[float, ...]]:
    """Check the factors; return the standard deviations of each, one or two."""
    if not isinstance(groups, Mapping) or len(groups) < 2:
        raise DatasetError(
            f"groups is {groups!r}; give two or more crossed factors, such as {{'subject': 30, 'item': 20}}."
        )
    arguments.name("response", response, taken=(CONDITION,))
    arguments.same_groups("sds", sds, groups)
    arguments.same_groups("correlations", correlations, groups, all_of_them=False)
    for group, size in groups.items():
        arguments.name("A factor's name", group, taken=(response, CONDITION))
        arguments.count(f"groups[{group!r}]", size, at_least=2)
    spreads = {group: _spreads(group, sds[group], condition_effect) for group in groups}
    for group, correlation in correlations.items():
        arguments.fraction(f"correlations[{group!r}]", correlation, low=-1.0)
        if len(spreads[group]) == 1:
            raise DatasetError(
                f"correlations[{group!r}] is {correlation:g}, but sds[{group!r}] has no slope; "
                "give a pair (intercept, slope) there."
            )
    return spreads


def _spreads(group: str, given: object, condition_effect: float | None) -> tuple[float, ...]:
    """Check the standard deviations of one factor: one number, or a pair with a slope."""
    pair = given if isinstance(given, tuple) else (given,)
    if len(pair) not in (1, 2):
        raise DatasetError(f"sds[{group!r}] is {given!r}; give one standard deviation, or a pair (intercept, slope).")
    if len(pair) == 2 and condition_effect is None:
        raise DatasetError(
            f"sds[{group!r}] is {given!r}, which asks for slopes, but condition_effect is None; "
            "give it as a number (0.0 for no effect on average), or one standard deviation instead of two."
        )
    return tuple(arguments.spread(f"sds[{group!r}]", sd) for sd in pair)


def _draw(
    rng: np.random.Generator,
    groups: Mapping[str, int],
    spreads: Mapping[str, tuple[float, ...]],
    correlations: Mapping[str, float],
) -> list[GroupEffects]:
    return [
        draw_group(
            rng,
            group=group,
            levels=[str(level + 1) for level in range(size)],
            effects=("Intercept", CONDITION)[: len(spreads[group])],
            sds=spreads[group],
            correlation=correlations.get(group, 0.0),
        )
        for group, size in groups.items()
    ]


def _check_kept(kept: np.ndarray, share: float) -> None:
    if len(kept) < 2:
        raise DatasetError(f"share_observed is {share:g}, which leaves {len(kept)} observations; give a larger share.")


def _formula(response: str, drawn: list[GroupEffects], coefficients: Mapping[str, float]) -> str:
    fixed = " + ".join(["1", *(name for name in coefficients if name != "Intercept")])
    terms = [f"({'1 + ' + CONDITION if len(group.effects) == 2 else '1'} | {group.group})" for group in drawn]
    return " + ".join([f"{response} ~ {fixed}", *terms])
