import numpy as np
import pytest
from designs import A_FEW, KINDS, SEEDS, Case
from hypothesis import given

from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import factorise
from bayesmm.marginal.elimination.inverse import Inverse, invert_on_pattern

TOLERANCE = 1e-9  # of the largest entry of the dense covariance


def inverse_of(case: Case, *, neighbours: bool) -> Inverse:
    factors = case.design.factors(case.theta)
    elimination = factorise(host, case.products, factors)
    return invert_on_pattern(host, case.products, elimination, factors, neighbours=neighbours)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS)
@A_FEW
def test_covariances_of_levels_that_share_rows_equal_dense_ones(shape, fill, seed) -> None:
    """On the user's columns: b there is T⁻¹ times b on the conditioned ones."""
    case = Case(shape, fill, seed)
    design, products = case.design, case.products
    back = [np.linalg.inv(T) for T in products.effect_roots]
    raw = design.covariance_of([T @ L for T, L in zip(back, design.factors(case.theta), strict=True)])
    dense = design.dense.random_effects_covariance(raw, 1.0)
    found = inverse_of(case, neighbours=True).pairs
    assert set(found) == set(products.shape.pairs)
    for (f, g), rows, columns in zip(products.shape.pairs, products.index.rows, products.index.columns, strict=True):
        block = np.einsum("ia,abp,jb->ijp", back[f], found[f, g], back[g])
        expected = design.level_blocks(dense, f, rows, g, columns)
        np.testing.assert_allclose(block, expected, rtol=0, atol=TOLERANCE * np.abs(dense).max())


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_levels_and_weights_do_not_depend_on_whether_pairs_are_wanted(shape, fill) -> None:
    case = Case(shape, fill, 21)
    lean, full = (inverse_of(case, neighbours=wanted) for wanted in (False, True))
    assert set(lean.pairs) <= set(full.pairs)
    for name in ("diagonal", "weights"):
        for one, other in zip(getattr(lean, name), getattr(full, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * np.abs(other).max())
