"""Subjects followed over time, in one group or in two arms of a trial."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from bayesmm.datasets import arguments
from bayesmm.datasets.simulation import GroupEffects, Simulation, assemble, draw_group, numbered
from bayesmm.errors import DatasetError

TREATED = "treatment[T.treated]"


def simulate_longitudinal(
    subjects: int = 40,
    *,
    times: Iterable[float] = (0, 1, 2, 3, 4),
    intercept: float = 0.0,
    slope: float = 0.0,
    treatment_effect: float | None = None,
    baseline_difference: float = 0.0,
    sd_intercept: float = 1.0,
    sd_slope: float | None = 0.5,
    correlation: float = 0.0,
    sigma: float = 1.0,
    dropout: float = 0.0,
    missed: float = 0.0,
    subject: str = "subject",
    response: str = "y",
    seed: int = 0,
) -> Simulation:
    """Draw data from a growth model: subjects over time, each with an own intercept and slope.

    Parameters
    ----------
    subjects : int
        How many subjects.
    times : iterable of float
        When everybody is meant to be measured, increasing.
    intercept, slope : float
        Mean response at time 0, and its mean change per unit of time (of the control arm, if there are two).
    treatment_effect : float, optional
        How much steeper the mean slope is in the treated arm; every second subject is treated. None draws one arm.
    baseline_difference : float
        How much higher the treated arm is at time 0; 0 as after randomisation.
    sd_intercept, sd_slope : float
        Standard deviations of the subjects' intercepts and slopes; 0 is allowed. None for `sd_slope` draws a random
        intercept only.
    correlation : float
        Correlation of a subject's intercept and slope.
    sigma : float
        Residual standard deviation, in the units of the response.
    dropout : float
        Probability of leaving for good before a visit, the same at every visit after the first.
    missed : float
        Probability of missing a visit other than the first, independently of all else.
    subject, response : str
        Names of these columns; the others are ``time`` and, with two arms, ``treatment``.
    seed : int
        The same seed draws the same data.

    Returns
    -------
    Simulation
        Its formula is ``y ~ time + (time | subject)``, or ``y ~ time * treatment + (time | subject)`` with two arms.

    Raises
    ------
    DatasetError
        A number, a name or a standard deviation is impossible.

    Notes
    -----
    y = (intercept + b₀ᵢ) + (slope + b₁ᵢ) t + ε (Laird & Ware 1982, Biometrics 38). Who leaves or misses a visit does
    not depend on the response: what is missing is missing completely at random.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> simulation = bmm.datasets.simulate_longitudinal(
    ...     60, slope=-1, treatment_effect=-0.5, correlation=0.3, dropout=0.1, seed=1
    ... )
    >>> simulation.formula
    'y ~ time * treatment + (time | subject)'
    """
    _check_names(subject, response)
    visits = _visits(times)
    n = arguments.count("subjects", subjects, at_least=4, at_most=arguments.MOST)
    sigma = arguments.spread("sigma", sigma, positive=True)
    coefficients = _coefficients(intercept, slope, treatment_effect, baseline_difference)
    rng = np.random.default_rng(arguments.count("seed", seed, at_least=0))

    effects = _draw(rng, n, subject, sd_intercept, sd_slope, correlation)
    who, when = np.nonzero(_attended(rng, n, len(visits), dropout, missed))
    time, treated = visits[when], who % 2
    mean = coefficients["Intercept"] + coefficients["time"] * time + effects.values[who, 0]
    mean += treated * (coefficients.get(TREATED, 0.0) + coefficients.get(f"time:{TREATED}", 0.0) * time)
    if sd_slope is not None:
        mean += effects.values[who, 1] * time

    data = pd.DataFrame({subject: numbered(who), "time": time})
    if treatment_effect is not None:
        data["treatment"] = pd.Categorical.from_codes(treated, categories=pd.Index(["control", "treated"], dtype="str"))
    data[response] = mean + sigma * rng.standard_normal(len(who))
    fixed = "time" if treatment_effect is None else "time * treatment"
    formula = f"{response} ~ {fixed} + ({'1' if sd_slope is None else 'time'} | {subject})"
    return assemble(data, formula, coefficients=coefficients, groups=[(effects, effects.levels)], sigma=sigma)


def _check_names(subject: str, response: str) -> None:
    arguments.name("subject", subject, taken=("time", "treatment"))
    arguments.name("response", response, taken=("time", "treatment", subject))


def _visits(times: Iterable[float]) -> np.ndarray:
    if not isinstance(times, Iterable):
        raise DatasetError(f"times is {times!r}; give two or more increasing times.")
    visits = np.array([arguments.number("A value in times", time) for time in times])
    if len(visits) < 2 or np.any(np.diff(visits) <= 0):
        raise DatasetError(f"times is {visits.tolist()!r}; give two or more increasing times.")
    return visits


def _coefficients(
    intercept: float, slope: float, treatment_effect: float | None, baseline_difference: float
) -> dict[str, float]:
    rows = {"Intercept": arguments.number("intercept", intercept), "time": arguments.number("slope", slope)}
    difference = arguments.number("baseline_difference", baseline_difference)
    if treatment_effect is not None:
        rows[TREATED] = difference
        rows[f"time:{TREATED}"] = arguments.number("treatment_effect", treatment_effect)
    elif difference != 0:
        raise DatasetError(
            f"baseline_difference is {difference:g}, but there is one arm; give treatment_effect (0.0: equal slopes)."
        )
    return rows


def _draw(
    rng: np.random.Generator, n: int, subject: str, sd_intercept: float, sd_slope: float | None, correlation: float
) -> GroupEffects:
    sds = [arguments.spread("sd_intercept", sd_intercept)]
    if sd_slope is not None:
        sds.append(arguments.spread("sd_slope", sd_slope))
    correlation = arguments.fraction("correlation", correlation, low=-1.0)
    if sd_slope is None and correlation != 0:
        raise DatasetError(
            f"correlation is {correlation:g}, but sd_slope is None; give a standard deviation of the slopes."
        )
    levels = [str(i + 1) for i in range(n)]
    names = ("Intercept", "time")[: len(sds)]
    return draw_group(rng, group=subject, levels=levels, effects=names, sds=tuple(sds), correlation=correlation)


def _attended(rng: np.random.Generator, n: int, visits: int, dropout: float, missed: float) -> np.ndarray:
    """Say who was there when, (n, visits); everybody comes to the first visit."""
    leaves = rng.random((n, visits)) < arguments.fraction("dropout", dropout)
    misses = rng.random((n, visits)) < arguments.fraction("missed", missed)
    leaves[:, 0] = misses[:, 0] = False
    return ~(np.logical_or.accumulate(leaves, axis=1) | misses)
