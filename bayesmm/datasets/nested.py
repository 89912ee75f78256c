"""Observations within groups within larger groups."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bayesmm.datasets import arguments
from bayesmm.datasets.simulation import Simulation, assemble, draw_group, numbered
from bayesmm.errors import DatasetError


def simulate_nested(
    groups: Mapping[str, int | tuple[int, int]],
    *,
    sds: Mapping[str, float],
    sigma: float = 1.0,
    intercept: float = 0.0,
    observations: int | tuple[int, int] = 10,
    response: str = "y",
    seed: int = 0,
) -> Simulation:
    """Draw data from a nested model: observations within groups within larger groups, to any depth.

    Parameters
    ----------
    groups : mapping of str to int or (int, int)
        From the largest groups to the smallest: how many there are, and how many lie in each of the groups above.
        ``{"school": 20, "classroom": 4}`` makes 20 schools of 4 classrooms. A pair draws the number for each group
        above, uniformly from lowest to highest.
    sds : mapping of str to float
        Standard deviation of each group's effects, in the units of the response; 0 is allowed.
    sigma : float
        Residual standard deviation, in the units of the response.
    intercept : float
        Mean of the response.
    observations : int or (int, int)
        Observations in each of the smallest groups; a pair draws the number for each of them.
    response : str
        Name of the response column.
    seed : int
        The same seed draws the same data.

    Returns
    -------
    Simulation
        Its formula is ``y ~ 1 + (1 | school/classroom)``. Labels of the smaller groups start again at 1 in every larger
        group, as they do in many data sets: ``(1 | school) + (1 | classroom)`` is a wrong model of these data.

    Raises
    ------
    DatasetError
        A number, a name or a standard deviation is impossible.

    Notes
    -----
    y = intercept + a[i] + b[i, j] + ... + ε with independent normal effects, a ~ N(0, sds["school"]²) and so on.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> simulation = bmm.datasets.simulate_nested(
    ...     {"school": 20, "classroom": 4}, sds={"school": 3, "classroom": 2}, sigma=5, seed=1
    ... )
    >>> simulation.formula
    'y ~ 1 + (1 | school/classroom)'
    """
    _check_names(groups, response)
    arguments.same_groups("sds", sds, groups)
    spreads = {group: arguments.spread(f"sds[{group!r}]", sds[group]) for group in groups}
    sigma = arguments.spread("sigma", sigma, positive=True)
    intercept = arguments.number("intercept", intercept)
    rng = np.random.default_rng(arguments.count("seed", seed, at_least=0))

    codes = _units(rng, groups)
    mean, drawn = np.full(len(codes), intercept), []
    for depth, group in enumerate(groups):
        units, rows = np.unique(codes[:, : depth + 1], axis=0, return_inverse=True)
        levels = [":".join(str(code + 1) for code in unit) for unit in units]
        path = ":".join(list(groups)[: depth + 1])
        effects = draw_group(rng, group=path, levels=levels, effects=("Intercept",), sds=(spreads[group],))
        mean += effects.values[rows.ravel(), 0]
        drawn.append((effects, levels))

    low, high = arguments.counts("observations", observations, at_least=1)
    if high < 2:
        raise DatasetError(
            "observations is 1: one observation in each of the smallest groups cannot tell them from sigma."
        )
    rows = np.repeat(np.arange(len(codes)), rng.integers(low, high, len(codes), endpoint=True))
    data = pd.DataFrame({group: numbered(codes[rows, depth]) for depth, group in enumerate(groups)})
    data[response] = mean[rows] + sigma * rng.standard_normal(len(rows))
    formula = f"{response} ~ 1 + (1 | {'/'.join(groups)})"
    return assemble(data, formula, coefficients={"Intercept": intercept}, groups=drawn, sigma=sigma)


def _check_names(groups: Mapping[str, object], response: str) -> None:
    if not isinstance(groups, Mapping) or not groups:
        raise DatasetError(f"groups is {groups!r}; give a dictionary such as {{'school': 20, 'classroom': 4}}.")
    arguments.name("response", response)
    for group in groups:
        arguments.name("A group's name", group, taken=(response,))


def _units(rng: np.random.Generator, groups: Mapping[str, int | tuple[int, int]]) -> np.ndarray:
    """Give each of the smallest groups its path from the largest, (units, depth)."""
    codes = np.zeros((1, 0), dtype=int)
    for depth, (group, size) in enumerate(groups.items()):
        low, high = arguments.counts(f"groups[{group!r}]", size, at_least=1 if depth else 2)
        if high < 2:
            raise DatasetError(
                f"groups[{group!r}] is {size!r}: one in each group above is that group; give at least 2."
            )
        sizes = rng.integers(low, high, len(codes), endpoint=True)
        within = np.concatenate([np.arange(size) for size in sizes])
        codes = np.column_stack([np.repeat(codes, sizes, axis=0), within])
    return codes
