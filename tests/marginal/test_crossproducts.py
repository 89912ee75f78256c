import numpy as np
import pytest
from designs import SHAPES, random_design

from bayesmm.covariance.layout import Piece
from bayesmm.covariance.table import STRUCTURES
from bayesmm.incidence import Incidence
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products, effect_root
from bayesmm.marginal.sums.rows import BlockArrays

ROUNDING = 1e-10  # absolute, of sums of some hundred terms of order one


def products_of_one_group(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> CrossProducts:
    n = len(y)
    block = BlockArrays(
        incidence=Incidence.single(np.arange(n) % 5, np.ones((n, 1)), 5), pieces=(Piece(0, 1, STRUCTURES["us"]),)
    )
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
    for structure in ("us", "diag"):
        changed = type(block)(
            incidence=Incidence.single(block.incidence.only.codes, columns, block.n_levels),
            pieces=(Piece(0, 2, STRUCTURES[structure]),),
        )
        T = effect_root(changed, np.ones(90))
        mean_squares = (columns @ np.linalg.inv(T)).T @ (columns @ np.linalg.inv(T)) / 90
        np.testing.assert_allclose(np.diag(mean_squares), 1.0, rtol=1e-9)
        assert (abs(mean_squares[0, 1]) < 1e-6) == (structure == "us")


@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_dense_matrices_on_conditioned_columns(shape: str) -> None:
    design = random_design(shape, 6)
    products, made = design.summed()
    Q = design.X @ np.linalg.inv(products.fixed_root)
    columns = np.column_stack([Q, design.y - design.X @ products.fixed_origin])
    Z, W = design.conditioned(products).dense.Z, design.weights[:, None]
    ZWZ, ZWX = Z.T @ (W * Z), Z.T @ (W * columns)
    np.testing.assert_allclose(products.gram, columns.T @ (W * columns), rtol=0, atol=ROUNDING)
    for f, block in enumerate(design.blocks):
        of_factor = ZWX[design.offsets[f] : design.offsets[f + 1]].reshape(block.n_levels, -1, columns.shape[1])
        np.testing.assert_allclose(products.cross[f], np.moveaxis(of_factor, 0, -1), rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(products.diagonal[f], design.diagonal_blocks(ZWZ, f), rtol=0, atol=ROUNDING)
    lists = zip(products.shape.pairs, products.index.rows, products.index.columns, products.pairs, strict=True)
    for (f, g), rows, of_g, blocks in lists:
        expected = design.level_blocks(ZWZ, f, rows, g, of_g)
        np.testing.assert_allclose(blocks, expected, rtol=0, atol=ROUNDING)
    assert made.n_levels == tuple(block.n_levels for block in design.blocks)
    assert (products.n, products.p) == design.X.shape
    assert products.log_weights == pytest.approx(np.log(design.weights).sum(), rel=1e-12)
