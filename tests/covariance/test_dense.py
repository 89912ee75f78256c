"""Evaluation and search with covariance structures, against dense likelihoods of the textbook."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from designs import RandomDesign, random_design

from bayesmm.covariance.layout import Piece, assemble_factors, n_theta, parts
from bayesmm.covariance.table import STRUCTURES
from bayesmm.incidence import Incidence
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate

RELATIVE = 1e-9  # of the largest entry, as for the other structures
BY_DIFFERENCES = 1e-6  # curvature, whose second derivatives are differences of complex steps
NEAR_ZERO = 1e-6  # where Λ is singular, which is evaluated with singular values of 1e-8
SHAPES = ("one", "nested", "crossed", "members")
NAMES = tuple(STRUCTURES)


def structured_design(shape: str, name: str, seed: int) -> RandomDesign:
    """Unbalanced, each factor with a piece of the structure, and by chance one of another beside it."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    n = 45
    design = random_design(shape, seed, n=n)
    blocks = []
    for block in design.blocks:
        cut = 4 if name == "kron" else int(rng.integers(2, 4))
        pieces = (Piece(0, cut, STRUCTURES[name]),)
        if rng.random() < 0.5:
            pieces += (Piece(cut, cut + 2, STRUCTURES[str(rng.choice(NAMES))]),)
        k = pieces[-1].stop
        memberships = [
            replace(each, columns=np.column_stack([np.ones(n), rng.normal(size=(n, k - 1)) * 3.0 + 1.0]))
            for each in block.incidence.memberships
        ]
        incidence = Incidence(memberships=tuple(memberships), n_levels=block.n_levels)
        blocks.append(replace(block, incidence=incidence, pieces=pieces))
    return replace(design, blocks=tuple(blocks))


def changes(design: RandomDesign, theta: np.ndarray) -> tuple[np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """∂G and ∂²G by pair, of the dense criterion: ∂Λ by complex steps, ∂²(ΛΛ') by differences of these."""

    def moved(at: np.ndarray) -> np.ndarray:
        L = design.factors(at)
        slopes = [[D.imag / 1e-30 for D in design.factors(at + 1e-30j * e)] for e in np.eye(len(at))]
        found = [design._spread([D @ A.T + A @ D.T for D, A in zip(one, L, strict=True)]) for one in slopes]
        return np.reshape(found, (len(at), *design.covariance(theta).shape))  # of a known covariance none

    step = 1e-5
    second = [(moved(theta + e) - moved(theta - e)) / (2.0 * step) for e in step * np.eye(len(theta))]
    return moved(theta), {(s, t): second[s][t] for s in range(len(theta)) for t in range(len(theta))}


def thetas(design: RandomDesign, seed: int) -> list[np.ndarray]:
    """One θ in the midst; ones with zeros and correlations at their limits, by chance, and with nothing that varies."""
    rng = np.random.default_rng(seed)
    inside = rng.normal(size=n_theta(design.layout))
    at_limits = np.concatenate(
        [
            np.append(np.where(rng.random(len(own) - n) < 0.3, 0.0, own[:-n]), rng.choice([0.0, np.pi / 2], size=n))
            if (n := piece.structure.n_cors(piece.k)) and piece.structure.correlations != "matrix"
            else np.where(rng.random(len(own)) < 0.3, 0.0, own)
            for piece, own in parts(inside, design.layout)
        ]
    )
    return [inside, at_limits, np.zeros_like(inside)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_value_slopes_and_curvature_equal_dense_ones(name, shape) -> None:
    seed = 10 * NAMES.index(name) + SHAPES.index(shape)
    design = structured_design(shape, name, seed)
    products = design.products()
    conditioned = design.conditioned(products)
    for turn, theta in enumerate(thetas(design, seed)):
        is_inside = turn == 0
        first, second = changes(conditioned, theta)
        for method, sigma in (("reml", None), ("ml", 1.7)) if turn % 2 == 0 else (("ml", None), ("reml", 1.7)):
            found = evaluate(host, theta, products, sigma, float(method == "reml"), layout=design.layout)
            dense = conditioned.dense.derivatives(conditioned.covariance(theta), first, second, method, sigma)
            assert found.value == pytest.approx(dense.value, rel=RELATIVE)
            for ours, theirs, tolerance in (
                (found.gradient, dense.gradient, RELATIVE if is_inside else NEAR_ZERO),
                (found.residual_square_gradient, dense.residual_square_gradient, RELATIVE if is_inside else NEAR_ZERO),
                (found.curvature, dense.average_information + dense.bend, BY_DIFFERENCES if is_inside else 1e-5),
            ):
                size = max(1.0, np.abs(theirs).max(initial=0.0))
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("name", NAMES)
def test_conditioning_of_columns_keeps_the_model(name) -> None:
    """Of every factor on conditioned columns, the covariance on the user's columns has the structure too."""
    design = structured_design("crossed", name, 5)
    products = design.products()
    theta = np.random.default_rng(2).normal(size=n_theta(design.layout))
    for L, T, pieces in zip(
        assemble_factors(np, theta, design.layout), products.effect_roots, design.layout, strict=True
    ):
        F = np.linalg.solve(T, L)
        covariance = F @ F.T
        for piece in pieces:
            own = covariance[piece.inside, piece.inside]
            sd, cor = piece.structure.read(np, own)
            sds = piece.structure.effect_sds(sd, piece.k)
            R = piece.structure.correlation(np, cor, piece.k)
            np.testing.assert_allclose(R * np.outer(sds, sds), own, rtol=1e-10, atol=1e-10)
            covariance[piece.inside, piece.inside] = 0.0
        np.testing.assert_allclose(covariance, 0.0, atol=1e-12)
