"""Sums weighted in JAX: the cross-products and the reduction of NumPy's, with slopes, whatever is laid out for them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from residual_textbook import DATA, criterion_of

from bayesmm import Model
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import eliminate
from bayesmm.marginal.in_jax.reduction import reduce_by_sums
from bayesmm.marginal.residual.in_jax import lay_out_products, products_at, weigh_products
from bayesmm.marginal.residual.weighted_sums import weigh_rows
from bayesmm.marginal.residual.whitened import whiten_at

SAME = 1e-9


@pytest.mark.parametrize("lay_out", [lay_out_products, weigh_products])
@pytest.mark.parametrize(
    ("text", "random"),
    [
        ("ar1(step | id)", " + (1 | id)"),
        ("hetexp(time | id)", " + (x | id)"),
        ("het(arm:visit)", " + (1 | id) + (1 | visit)"),
        ("us(visit | id, by=arm)", " + (1 | id)"),
    ],
)
def test_weighted_sums_are_the_same_in_jax_with_their_slopes(text, random, lay_out):
    model = Model(f"y ~ x + step{random}", DATA, residual=text)
    criterion = criterion_of(model, "reml")
    layout, sums = criterion.rows.layout, weigh_rows(criterion.rows, model.problem.plan)
    rng = np.random.default_rng(1)
    phi, way = rng.normal(size=(2, layout.n_phi)) * 0.4
    with jax.enable_x64(True):
        products, stacks, _ = jax.tree.map(jnp.asarray, lay_out(criterion.rows, model.problem.plan))

        def at(phi: jax.Array) -> list[jax.Array]:
            return leaves(products_at(products, stacks, None, layout.correlation, layout.public(jnp, phi)))

        found, slopes = jax.jit(at)(phi), [slope @ way for slope in jax.jit(jax.jacrev(at))(phi)]
    high, low = (leaves(sums.products(phi + sign * 1e-5 * way)) for sign in (1.0, -1.0))
    for each, same, slope, up, down in zip(found, leaves(sums.products(phi)), slopes, high, low, strict=True):
        inside = _without_padding(np.asarray(each), same.shape), _without_padding(np.asarray(slope), same.shape)
        np.testing.assert_allclose(inside[0], same, rtol=SAME, atol=1e-10)
        np.testing.assert_allclose(inside[1], (up - down) / 2e-5, rtol=1e-5, atol=1e-5)


def leaves(products):
    fill = () if products.fill is None else (products.fill.coefficient,)
    return [*products.diagonal, *products.cross, *products.pairs, products.gram, products.log_weights, *fill]


def _without_padding(padded: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Take fixed effects without what pads them before the response, and levels without those after them."""
    for axis, (size, inside) in enumerate(zip(padded.shape, shape, strict=True)):
        is_fixed = len(shape) == 2 or (len(shape) == 3 and axis == 1 and inside > 2)
        keep = [*range(inside - 1), size - 1] if is_fixed else range(inside)
        padded = padded.take(list(keep), axis=axis)
    return padded


@pytest.mark.parametrize("formula", ["y ~ x + (1 | a) + (1 | b)", "y ~ x + (x | a) + (1 | b) + (1 | c)"])
def test_crossed_factors_are_reduced_as_from_whitened_rows(formula):
    """With pairs that the first factor leaves behind, whose coefficients change with the covariance of the residuals."""
    rng = np.random.default_rng(0)
    n = 900
    frame = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "a": rng.integers(200, size=n)})
    frame["b"] = (frame["a"] // 2 + rng.integers(3, size=n)) % 100
    frame["c"], frame["s"] = rng.integers(50, size=n), rng.integers(3, size=n).astype(str)
    problem = Model(formula, frame, residual="het(s)").problem
    rows, plan, public = problem.residual_rows, problem.plan, np.array([0.3, -0.2])
    assert [step.kind for step in plan.shape.steps] == ["scatter"]
    factors = [np.tril(0.4 + 0.2 * rng.random((block.incidence.k,) * 2)) for block in rows.blocks]

    def reduced(public: np.ndarray) -> np.ndarray:
        whole = eliminate(host, whiten_at(rows, public, plan).products, factors)[1].reduced
        return np.array([whole.log_det, whole.gram[-1, -1]])

    weighted = eliminate(host, weigh_rows(rows, plan).products(public), factors)[1].reduced
    assert weighted.log_det == pytest.approx(reduced(public)[0], rel=SAME)
    with jax.enable_x64(True):
        for lay_out in (lay_out_products, weigh_products):
            products, stacks, _ = jax.tree.map(jnp.asarray, lay_out(rows, plan))

            def log_det(public: jax.Array, products=products, stacks=stacks) -> jax.Array:
                at = products_at(products, stacks, None, None, public)
                return reduce_by_sums(at, [jnp.asarray(L) for L in factors]).log_det

            value, slope = jax.jit(jax.value_and_grad(log_det))(jnp.asarray(public))
            assert value == pytest.approx(reduced(public)[0], rel=SAME)
            ends = [(reduced(public + e)[0] - reduced(public - e)[0]) / 2e-5 for e in 1e-5 * np.eye(2)]
            np.testing.assert_allclose(slope, ends, rtol=1e-6)
