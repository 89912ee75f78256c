"""Rows and groups left out of random designs, against the dense density with and without them."""

from dataclasses import replace

import numpy as np
import pytest
from designs import RandomDesign, design_of, random_design
from oracle import DenseModel
from programs import compiled

from bayesmm.errors import BayesmmError
from bayesmm.marginal.in_jax.fixed_prior import condition_prior
from bayesmm.marginal.in_jax.padding import pad_products
from bayesmm.marginal.leave_out.indispensable import find_indispensable
from bayesmm.marginal.leave_out.leave_out import leave_apart, leave_crossed, leave_together, read_groups, read_rows
from bayesmm.marginal.leave_out.left_out import ApartGroups, CrossedGroups, Draw, TogetherGroups
from bayesmm.marginal.leave_out.row_groups import condition_rows, group_rows, single_rows

TOLERANCE = 1e-9  # of log densities of some units
SIGMA = 1.3

# every way to leave a factor out, with either way of fill
CASES = [
    ("one", "chosen", 0, ApartGroups),
    ("deep", "chosen", 0, TogetherGroups),
    ("deep", "chosen", 2, ApartGroups),
    ("same", "chosen", 0, ApartGroups),
    ("cells", "scatter", 2, TogetherGroups),
    ("three", "product", 0, CrossedGroups),
    ("clustered", "scatter", 2, CrossedGroups),
    ("units", "scatter", 0, TogetherGroups),
]


def log_density_without(design: RandomDesign, factors, prior, codes) -> np.ndarray:
    """log p(y) − log p(y_-g) for every group, each from a covariance matrix of its own."""
    dense, mean, precision = design.dense, *prior
    G = design.covariance_of(factors)

    def value(rows) -> float:
        part = DenseModel(y=dense.y[rows], X=dense.X[rows], Z=dense.Z[rows], weights=design.weights[rows])
        return part.log_marginal_density(G, SIGMA, mean, precision)

    whole = value(codes >= 0)
    return np.array([whole - value(codes != g) for g in range(codes.max() + 1)])


def set_up(shape, fill, *, flat=True, seed=3):
    design = random_design(shape, seed, n=40, most_effects=2)
    rng = np.random.default_rng(seed)
    p = design.X.shape[1]
    precision = np.diag(np.where(np.arange(p) == 0, 0.0 if flat else 0.2, rng.uniform(0.1, 2.0, p)))
    mean = rng.normal(size=p)
    products = design.products(fill)
    padded = pad_products(products)
    rows = condition_rows(design.X, design.y, design.weights, design.blocks, products)
    factors = [SIGMA * L for L in design.factors(design.random_theta(seed))]
    draw = Draw(tuple(factors), np.float64(SIGMA), np.zeros(0))
    return design, padded, rows, draw, condition_prior(padded, mean, precision), (mean, precision)


@pytest.mark.parametrize(("shape", "fill", "factor", "kind"), CASES)
def test_density_of_a_level_given_the_others_is_the_dense_one(shape, fill, factor, kind):
    design, products, rows, draw, prior, given = set_up(shape, fill)
    block = design.blocks[factor]
    groups = group_rows(rows, block.incidence.members(), products)
    assert isinstance(groups, kind)

    def density(groups, draw):
        if kind is ApartGroups:
            return leave_apart(products, prior, groups, draw)
        leave = leave_crossed if kind is CrossedGroups else leave_together
        return read_groups(leave(products, prior, groups, draw), groups.rows, draw.sigma)

    expected = log_density_without(design, draw.factors, given, block.incidence.only.codes)
    np.testing.assert_allclose(compiled(density, groups, draw), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("shape", "fill"), [("deep", "chosen"), ("senders", "scatter"), ("partly", "product")])
def test_rows_given_the_others_are_normal_as_the_dense_conditional(shape, fill):
    design, products, rows, draw, prior, (mean, precision) = set_up(shape, fill, flat=False)
    groups = single_rows(rows, products)
    sd, z = compiled(
        lambda groups, draw: read_rows(leave_together(products, prior, groups, draw), groups.rows, draw.sigma),
        groups,
        draw,
    )
    dense = design.dense
    V = dense.covariance(design.covariance_of(draw.factors), SIGMA)
    P = np.linalg.inv(V + dense.X @ np.linalg.solve(precision, dense.X.T))
    e = P @ (design.y - dense.X @ mean)
    np.testing.assert_allclose(sd, 1.0 / np.sqrt(np.diag(P)), rtol=TOLERANCE)
    np.testing.assert_allclose(z, e / np.sqrt(np.diag(P)), rtol=0, atol=TOLERANCE)
    log_density = -0.5 * (z**2 + np.log(2 * np.pi)) - np.log(sd)
    expected = log_density_without(design, draw.factors, (mean, precision), np.arange(len(z)))
    np.testing.assert_allclose(log_density, expected, rtol=0, atol=TOLERANCE)


def test_spreads_of_zero_are_ordinary():
    design, products, rows, draw, prior, given = set_up("deep", "chosen")
    zero = draw._replace(factors=tuple(np.zeros_like(F) for F in draw.factors))
    groups = single_rows(rows, products)
    sd, z = compiled(
        lambda groups, draw: read_rows(leave_together(products, prior, groups, draw), groups.rows, draw.sigma),
        groups,
        zero,
    )
    log_density = -0.5 * (z**2 + np.log(2 * np.pi)) - np.log(sd)
    expected = log_density_without(design, zero.factors, given, np.arange(len(z)))
    np.testing.assert_allclose(log_density, expected, rtol=0, atol=TOLERANCE)


def test_rows_that_a_flat_coefficient_needs_are_found():
    _, products, rows, _, _, _ = set_up("one", "chosen")
    p = rows.fixed.shape[1] - 1
    alone = rows.fixed.copy()
    alone[:, 0] = 0.0
    alone[7, :p] = np.eye(p)[0]
    some = replace(rows, fixed=alone)
    flat = condition_prior(products, np.zeros(p), np.zeros((p, p)))
    proper = condition_prior(products, np.zeros(p), np.eye(p))
    single = list(np.arange(len(alone))[:, None])
    assert find_indispensable(some, single, flat).tolist() == [7]
    assert find_indispensable(some, single, proper).tolist() == []
    assert find_indispensable(rows, single, flat).tolist() == []


def test_too_many_crossed_effects_are_refused_with_a_way_out():
    rng = np.random.default_rng(0)
    n = 3000
    design = design_of(rng.integers(0, 700, n), rng.integers(0, 600, n))
    products = design.products()
    rows = condition_rows(design.X, design.y, design.weights, design.blocks, products)
    block = design.blocks[0]
    with pytest.raises(
        BayesmmError, match=r"1,\d\d\d random effects in all.* 1,000 effects are the most. Leave out rows"
    ):
        group_rows(rows, block.incidence.members(), pad_products(products))
    assert single_rows(rows, products).levels[0][0].shape == (n,)
