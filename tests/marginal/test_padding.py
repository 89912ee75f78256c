from dataclasses import replace

import jax
import numpy as np
import pytest
from designs import SHAPES, WITHOUT_FILL, Fill, RandomDesign, random_design
from programs import QUICK, compiled, traced_criterion

from bayesmm.incidence import Incidence
from bayesmm.marginal.arrays import host
from bayesmm.marginal.in_jax.padding import pad_products
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.likelihood.likelihood import criterion

RELATIVE = 1e-10  # two programs, both in double precision
SCATTERED = [(shape, "chosen" if shape in WITHOUT_FILL else "scatter") for shape in SHAPES]
KINDS = [*SCATTERED, ("crossed", "product"), ("cells", "product"), ("chain4", "product")]


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_padded_criterion_and_gradient_in_jax_equal_those_of_numpy(shape: str, fill: Fill) -> None:
    """NumPy's are held to the dense oracle."""
    design = random_design(shape, 8, n=40, most_effects=2)
    theta, products = design.random_theta(2), design.products(fill)
    program = jax.value_and_grad(traced_criterion(design.layout))
    value, gradient = compiled(program, theta, pad_products(products), 1.0)
    expected = evaluate(host, theta, products, None, 1.0, layout=design.layout)
    assert value == pytest.approx(expected.value, rel=RELATIVE)
    np.testing.assert_allclose(gradient, expected.gradient, rtol=0, atol=RELATIVE * np.abs(gradient).max())


def shortened(design: RandomDesign, n: int) -> RandomDesign:
    """The first rows, and only the levels that are left."""
    blocks = []
    for block in design.blocks:
        found, codes = np.unique(block.incidence.only.codes[:n], return_inverse=True)
        blocks.append(replace(block, incidence=Incidence.single(codes, block.incidence.only.columns[:n], len(found))))
    return RandomDesign(design.X[:n], design.y[:n], design.weights[:n], tuple(blocks))


@pytest.mark.parametrize(
    ("shape", "fill", "seed"), [("nested", "chosen", 44), ("sparse", "scatter", 1), ("clustered", "product", 2)]
)
def test_data_sets_of_nearly_the_same_size_share_one_compiled_program(shape: str, fill: Fill, seed: int) -> None:
    longer = random_design(shape, seed, n=87, most_effects=2)
    shorter = shortened(longer, 84)
    assert [block.n_levels for block in shorter.blocks] != [block.n_levels for block in longer.blocks]
    theta = longer.random_theta(3)
    program = jax.jit(traced_criterion(longer.layout), compiler_options=QUICK)
    for design in (longer, shorter):
        products = design.products(fill)
        for restriction in (0.0, 1.0):
            with jax.enable_x64(True):
                value = float(program(theta, pad_products(products), restriction))
            expected = criterion(host, theta, products, None, restriction, layout=design.layout)
            assert value == pytest.approx(expected, rel=RELATIVE)
    assert program._cache_size() == 1
