import numpy as np
import pytest
from designs import random_design

from bayesmm.marginal.crossproducts import BlockArrays, CrossProducts, build_products, effect_root


def products_of_one_group(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> CrossProducts:
    n = len(y)
    block = BlockArrays(codes=np.arange(n) % 5, columns=np.ones((n, 1)), n_levels=5, pieces=((0, 1, "unstructured"),))
    return build_products(X, y, weights, [block])[0]


def test_fixed_columns_become_orthonormal_whatever_their_condition() -> None:
    years = np.arange(1990.0, 2020.0)
    X = np.column_stack([np.ones(30), years, years**2])
    weights = np.linspace(0.5, 2.0, 30)
    products = products_of_one_group(X, years, weights)
    Q = np.linalg.solve(products.fixed_root.T, X.T).T
    np.testing.assert_allclose(Q.T @ (weights[:, None] * Q), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(products.gram[:3, :3], np.eye(3), atol=1e-14)


def test_residual_keeps_its_digits_below_a_mean_of_a_billion() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(200), rng.normal(size=200)])
    noise = rng.normal(size=200)
    high = products_of_one_group(X, 1e9 + noise, np.ones(200))
    low = products_of_one_group(X, (1e9 + noise) - 1e9, np.ones(200))
    np.testing.assert_allclose(high.gram, low.gram, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(high.cross[0], low.cross[0], rtol=1e-7, atol=1e-7)


def test_unstructured_effect_columns_are_orthonormalised_and_diagonal_ones_scaled() -> None:
    design = random_design("one", 12)
    block = design.blocks[0]
    columns = np.column_stack([np.ones(90), np.linspace(2000, 2009, 90)])
    for structure in ("unstructured", "diagonal"):
        changed = type(block)(codes=block.codes, columns=columns, n_levels=block.n_levels, pieces=((0, 2, structure),))
        T = effect_root(changed, np.ones(90))
        mean_squares = (columns @ np.linalg.inv(T)).T @ (columns @ np.linalg.inv(T)) / 90
        np.testing.assert_allclose(np.diag(mean_squares), 1.0, rtol=1e-9)
        assert (abs(mean_squares[0, 1]) < 1e-6) == (structure == "unstructured")


@pytest.mark.parametrize("shape", ["one", "crossed", "deep"])
def test_products_add_up_to_dense_ones(shape: str) -> None:
    design = random_design(shape, 6)
    products, plan = build_products(design.X, design.y, design.weights, design.blocks)
    Z = design.dense.Z
    total = np.trace(Z.T @ (design.weights[:, None] * Z))
    roots = products.effect_roots
    summed = sum(
        np.trace(T.T @ diagonal[:, :, : block.n_levels].sum(-1) @ T)
        for T, diagonal, block in zip(roots, products.diagonal, design.blocks, strict=True)
    )
    assert summed == pytest.approx(total, rel=1e-10)
    assert plan.n_levels == tuple(block.n_levels for block in design.blocks)
