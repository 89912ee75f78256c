"""Distributions of functions of several coordinates of a normal density, against low-discrepancy sums."""

import numpy as np
import pytest
import scipy.stats as st

from bayesmm.bayes.exploring.exact import TWICE
from bayesmm.bayes.exploring.lattice import Lattice, grow_lattice
from bayesmm.bayes.exploring.lines import Scattered, distribution_function
from bayesmm.bayes.exploring.quadrature import line_axes

PROBABILITY = 2e-4  # of 2¹⁶ points of a Sobol sequence
STATED = {"raw correlation": 8e-3, "raw sd among four": 8e-3}  # curved so that they turn back along lines


def normal_of(d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(d)
    root = np.tril(rng.normal(scale=0.3, size=(d, d)), -1) + np.diag(rng.uniform(0.2, 0.5, d))
    return rng.normal(scale=0.3, size=d), root


def raw_sd(x: np.ndarray) -> np.ndarray:
    """Log sd of an intercept where the covariate is 0: of log sds at its mean of 4.5, and Fisher's z of a correlation."""
    level, slope, r = np.exp(x[:, 0]), 4.5 * np.exp(x[:, 1] - 1.5), np.tanh(x[:, 2])
    return 0.5 * np.log(level**2 - 2.0 * r * level * slope + slope**2)


def raw_correlation(x: np.ndarray) -> np.ndarray:
    """Fisher's z of the correlation of that intercept with the slope: not monotone in every coordinate."""
    level, slope, r = np.exp(x[:, 0]), 4.5 * np.exp(x[:, 1] - 1.5), np.tanh(x[:, 2])
    return np.arctanh((r * level - slope) / np.exp(raw_sd(x)))


FUNCTIONS = {
    "sum": (2, lambda x: x.sum(axis=1)),
    "falling": (2, lambda x: -np.exp(x[:, 0]) - x[:, 1]),
    "sd of a share": (2, lambda x: x[:, 0] - 0.5 * np.log1p(np.exp(-x[:, 1]))),
    "raw sd": (3, raw_sd),
    "raw correlation": (3, raw_correlation),
    "raw sd among four": (4, raw_sd),
    "raw correlation among four": (4, raw_correlation),
}


def scatter(lattice: Lattice, function, own: np.ndarray) -> Scattered:
    x = lattice.positions[own]
    return Scattered(lattice.index[own], lattice.weights[own], function(x), function(x + 0.5 * lattice.axes[:, 0]))


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_distribution_is_that_of_a_low_discrepancy_sum(name: str) -> None:
    d, function = FUNCTIONS[name]
    mean, root = normal_of(d)
    inverse = np.linalg.inv(root)
    steps = 0.1 * np.vstack([root.T, -root.T])
    near = function(mean + steps)
    axes = 0.6 * root @ line_axes(near[:d] - near[d:])
    lattice = grow_lattice(lambda x: 0.5 * (((x - mean) @ inverse.T) ** 2).sum(axis=1), mean, axes, most=100_000)
    assert lattice is not None
    halves = lattice.index[:, -1] < 0, lattice.index[:, -1] >= 0  # as if of two modes: the parts add up
    found = distribution_function([scatter(lattice, function, own) for own in halves])
    drawn = function(mean + st.norm.ppf(st.qmc.Sobol(d, seed=1).random(2**16)) @ root.T)
    probabilities = np.array([0.005, 0.025, 0.1, 0.5, 0.9, 0.975, 0.995])
    limits = np.interp(probabilities, found.cumulative, found.values)
    below = (drawn[:, None] < limits).mean(axis=0)
    stated = np.abs(found.others - found.cumulative).max()  # what the stated error is made of
    assert np.abs(below - probabilities).max() < PROBABILITY + TWICE * stated
    assert stated < STATED.get(name, 2e-3)
    assert (np.diff(found.cumulative) >= 0).all()


def test_linear_function_of_a_normal_is_normal_to_five_digits() -> None:
    mean, root = normal_of(3)
    gradient = np.array([0.3, -1.0, 0.5])
    inverse, axes = np.linalg.inv(root), 0.8 * root @ line_axes(root.T @ gradient)
    lattice = grow_lattice(lambda x: 0.5 * (((x - mean) @ inverse.T) ** 2).sum(axis=1), mean, axes, most=100_000)
    found = distribution_function([scatter(lattice, lambda x: x @ gradient, np.arange(len(lattice.index)))])
    expected = st.norm.cdf(found.values, mean @ gradient, np.linalg.norm(root.T @ gradient))
    np.testing.assert_allclose(found.cumulative, expected, rtol=0, atol=2e-5)
