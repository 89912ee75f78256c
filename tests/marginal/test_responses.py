"""Further responses of a design have the sums that a design of their own would have."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from designs import KINDS, Fill, RandomDesign, random_design

from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.sums import rows
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products
from bayesmm.marginal.sums.responses import Responses, sum_responses

ROUNDING = 1e-11  # of the largest entry of an array: the same sums in another order
SCALES = np.array([1.0, 1e6, 1e-6])
OF_COLUMNS = ("diagonal", "pairs", "fill", "index", "shape", "fixed_root", "effect_roots", "log_weights")


def responses_of(design: RandomDesign, seed: int) -> np.ndarray:
    """Of several sizes, one of them far from zero."""
    rng = np.random.default_rng(seed)
    level = np.array([0.0, 1e8, 3e-6])
    return (level + SCALES * rng.normal(size=(len(design.y), 3))).T


def sum_again(design: RandomDesign, fill: Fill, responses: np.ndarray) -> Responses:
    products = design.products(fill)
    return sum_responses(design.X, responses, design.weights, design.blocks, products)


def arrays_of(tree) -> dict[str, np.ndarray]:
    if is_dataclass(tree) or hasattr(tree, "_fields"):
        names = tree._fields if hasattr(tree, "_fields") else [field.name for field in fields(tree)]
        parts = [(name, getattr(tree, name)) for name in names]
    elif isinstance(tree, (tuple, list)):
        parts = [(str(i), part) for i, part in enumerate(tree)]
    else:
        return {} if tree is None or isinstance(tree, (int, str)) else {"": np.asarray(tree)}
    return {f"{name}.{rest}": array for name, part in parts for rest, array in arrays_of(part).items()}


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_sums_are_those_of_a_design_with_the_response(shape: str, fill: Fill) -> None:
    design = random_design(shape, 8)
    responses = responses_of(design, 1)
    for y, found, scale in zip(responses, sum_again(design, fill, responses), SCALES, strict=True):
        expected = replace(design, y=y).products(fill)
        ours, theirs = arrays_of(found), arrays_of(expected)
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            if name.startswith(("effects.", "levels.")):  # roots are not unique: what is made of them is compared below
                assert ours[name].shape == array.shape
                continue
            size = max(np.abs(array).max(initial=0.0), scale * len(y) * (name.startswith("cross")))
            np.testing.assert_allclose(ours[name], array, rtol=0, atol=ROUNDING * size, err_msg=name)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@pytest.mark.parametrize("sigma", [None, 2.0])
def test_everything_evaluated_from_them_is_the_same(shape: str, fill: Fill, sigma: float | None) -> None:
    design = random_design(shape, 9)
    theta = design.random_theta(2)
    responses = responses_of(design, 3)
    for y, found in zip(responses, sum_again(design, fill, responses), strict=True):
        expected = replace(design, y=y).products(fill)
        ours, theirs = (evaluate(host, theta, each, sigma, 1.0, layout=design.layout) for each in (found, expected))
        ours, theirs = (each._replace(lacking=each.lacking and each.lacking()) for each in (ours, theirs))
        for name, array in arrays_of(theirs).items():
            size = np.abs(array).max(initial=0.0)
            np.testing.assert_allclose(arrays_of(ours)[name], array, rtol=0, atol=1e-8 * size, err_msg=name)


def test_what_is_of_the_columns_alone_is_not_copied() -> None:
    design = random_design("three", 4)
    products = design.products("scatter")
    for found in sum_responses(design.X, responses_of(design, 5), design.weights, design.blocks, products):
        assert all(getattr(found, name) is getattr(products, name) for name in OF_COLUMNS)


@pytest.mark.parametrize(("shape", "fill"), [("one", "chosen"), ("partly", "scatter"), ("crossed", "apart")])
def test_many_at_once_are_one_by_one_and_chunks_do_not_matter(shape, fill, monkeypatch) -> None:
    design = random_design(shape, 10)
    responses = responses_of(design, 6)
    together = sum_again(design, fill, responses)
    monkeypatch.setattr(rows, "CHUNK", 7)
    for i, y in enumerate(responses):
        (alone,) = sum_again(design, fill, y[None])
        for (name, one), other in zip(arrays_of(alone).items(), arrays_of(together[i]).values(), strict=True):
            if not name.startswith(("effects.", "levels.")):
                size = max(np.abs(one).max(initial=0.0), SCALES[i])
                np.testing.assert_allclose(other, one, rtol=0, atol=1e-10 * size, err_msg=name)


def test_a_design_without_fixed_effects_has_responses_too() -> None:
    design = replace(random_design("one", 3), X=np.zeros((90, 0)))
    (found,) = sum_again(design, "chosen", 2.0 * design.y[None])
    expected = build_products(design.X, 2.0 * design.y, design.weights, design.blocks)[0]
    assert isinstance(found, CrossProducts)
    np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-12)
    np.testing.assert_allclose(found.cross[0], expected.cross[0], rtol=1e-12, atol=1e-12)
