"""Sums that are drawn without rows are those of rows: every random number goes where the textbook has it."""

from __future__ import annotations

import numpy as np
import pytest
from designs import KINDS, Case, Fill, RandomDesign, dense_columns, random_design

from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.many.drawn import SumSource
from bayesmm.marginal.sums.responses import Responses, sum_responses

ROUNDING = 1e-5  # relative; apart, 1e-11, but a root of Z'WZ where it has none is one of Z'WZ and a little


CROWDED = ("units", "sparse", "among", "chain4", "deep", "same")  # as many effects as rows: these are drawn row by row


class Stream(np.random.Generator):
    """Numbers that are known, in the place of random ones."""

    def __init__(self, normal: np.ndarray, square: float = 0.0) -> None:
        super().__init__(np.random.PCG64(0))
        self.normal, self.square, self.df = normal, square, np.nan

    def standard_normal(self, size: int) -> np.ndarray:  # type: ignore[override]
        assert size == len(self.normal)
        return self.normal

    def chisquare(self, df: float) -> float:  # type: ignore[override]
        self.df = df
        return self.square


def drawn(case: Case, normals: np.ndarray, square: float = 0.0) -> tuple[Responses, list[Stream]]:
    """Responses of columns of numbers: of the effects, then of the space of Z, then of what it leaves of X."""
    streams = [Stream(normal, square) for normal in normals]
    beta = np.arange(1.0, case.design.X.shape[1] + 1.0)
    factors = case.design.factors(case.theta)
    return SumSource(case.products).draw(streams, factors, 1.5, beta), streams


def n_noise(case: Case) -> int:
    return SumSource(case.products)._space.n_coordinates + case.design.X.shape[1]


def n_effects(design: RandomDesign) -> int:
    return sum(block.n_levels * block.incidence.k for block in design.blocks)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_effects_alone_give_the_sums_of_their_rows(shape: str, fill: Fill) -> None:
    case = Case(shape, fill, 5)
    design, conditioned = case.design, case.conditioned
    rng = np.random.default_rng(1)
    u = rng.normal(size=(3, n_effects(design)))
    found, _ = drawn(case, np.hstack([u, np.zeros((3, n_noise(case)))]))
    rows = np.tile(design.X @ np.arange(1.0, design.X.shape[1] + 1.0), (3, 1))
    start = 0
    for block, L in zip(conditioned.blocks, design.factors(case.theta), strict=True):
        k, q = block.incidence.k, block.n_levels
        own = u[:, start : start + k * q].reshape(3, k, q)
        start += k * q
        rows += 1.5 * np.stack([dense_columns(block) @ (L @ each).T.ravel() for each in own])
    expected = sum_responses(design.X, rows, design.weights, design.blocks, case.products)
    for ours, theirs in zip(found.cross, expected.cross, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=ROUNDING * np.abs(theirs).max())
    np.testing.assert_allclose(found.squares, expected.squares, rtol=ROUNDING)
    np.testing.assert_allclose(found.origins, expected.origins, rtol=ROUNDING, atol=ROUNDING)
    theta = 0.3 * design.random_theta(2)
    for one, other in zip(found, expected, strict=True):
        mine, other_one = (evaluate(host, theta, each, None, 1.0, layout=design.layout) for each in (one, other))
        np.testing.assert_allclose(mine.value, other_one.value, rtol=ROUNDING)
        np.testing.assert_allclose(mine.gradient, other_one.gradient, rtol=ROUNDING, atol=1e-4)


@pytest.mark.parametrize(("shape", "fill"), [kind for kind in KINDS if kind[0] not in CROWDED or kind[1] == "apart"])
def test_residuals_have_the_covariance_of_the_textbook(shape: str, fill: Fill) -> None:
    case = Case(shape, fill, 6)
    design, n, p = case.design, len(case.design.y), case.design.X.shape[1]
    noise = np.eye(n_noise(case))
    found, streams = drawn(case, np.hstack([np.zeros((len(noise), n_effects(design))), noise]))
    X, W, Z = design.X, np.diag(design.weights), np.hstack([dense_columns(b) for b in case.conditioned.blocks])
    inverse = np.linalg.inv(X.T @ W @ X)
    left = Z.T @ W @ Z - Z.T @ W @ X @ inverse @ X.T @ W @ Z
    sums = np.hstack([K.transpose(1, 2, 0).reshape(len(noise), -1) for K in found.cross])
    size = np.abs(Z.T @ W @ Z).max()
    np.testing.assert_allclose(sums.T @ sums, 1.5**2 * left, atol=ROUNDING * 1.5**2 * size)
    beta = found.origins - np.arange(1.0, p + 1.0)
    np.testing.assert_allclose(beta.T @ beta, 1.5**2 * inverse, atol=ROUNDING * np.abs(inverse).max())
    np.testing.assert_allclose(beta.T @ sums, 0.0, atol=ROUNDING * np.sqrt(size * np.abs(inverse).max()))
    df = streams[0].df if np.isfinite(streams[0].df) else 0.0
    np.testing.assert_allclose(found.squares.sum() / 1.5**2 + df, n - p, rtol=ROUNDING)
    if case.products.effects is None:  # a root of all effects may count directions that they do not have
        rank = np.linalg.matrix_rank(np.hstack([Z, X]))
        assert n - rank - p <= df <= n - rank  # what all but depends on other columns may be counted


def test_what_is_beyond_all_columns_is_added_to_the_squares() -> None:
    case = Case("one", "chosen", 5)
    zeros = np.zeros((1, n_effects(case.design) + n_noise(case)))
    without, with_rest = (drawn(case, zeros, square)[0] for square in (0.0, 4.0))
    np.testing.assert_allclose(with_rest.squares - without.squares, 4.0 * 1.5**2)


def test_it_does_not_matter_how_many_are_drawn_together() -> None:
    design = random_design("crossed", 3)
    source = SumSource(design.products("scatter"))

    def draw(numbers: range) -> Responses:
        streams = [np.random.default_rng([4, i]) for i in numbers]
        return source.draw(streams, design.factors(design.random_theta(1)), 2.0, np.zeros(design.X.shape[1]))

    all_of_them, later = draw(range(6)), draw(range(3, 5))
    for ours, theirs in zip(later.cross, all_of_them.cross, strict=True):
        np.testing.assert_allclose(ours, theirs[:, 3:5], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(later.origins, all_of_them.origins[3:5], rtol=1e-10, atol=1e-12)
