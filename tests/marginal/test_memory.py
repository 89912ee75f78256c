"""What is allocated at most, by size and not by time: NumPy reports its arrays to tracemalloc."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from designs import RandomDesign, design_of

from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.rows import CHUNK

DOUBLE = 8  # bytes


def peak_bytes(function: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def size_of(tree: Any) -> int:
    """Bytes of all arrays of nested dataclasses and sequences."""
    if is_dataclass(tree):
        return sum(size_of(getattr(tree, field.name)) for field in fields(tree))
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return sum(size_of(part) for part in tree)
    return getattr(tree, "nbytes", 0)


def evaluation_peak(design: RandomDesign, products: CrossProducts) -> int:
    theta = design.random_theta(1)
    return peak_bytes(lambda: evaluate(host, theta, products, None, 1.0, layout=design.layout))


@pytest.mark.parametrize("n_factors", [1, 2])
def test_summing_takes_chunks_and_one_vector_for_the_response_and_for_each_pair_of_factors(n_factors: int) -> None:
    def peak(n: int) -> int:
        codes = [np.arange(n) % 50, np.arange(n) // 3 % 20][:n_factors]
        design = design_of(*codes, slopes=True)
        return peak_bytes(design.products)

    few, many = 3 * CHUNK, 6 * CHUNK
    vectors = n_factors  # one pair of factors, if there are two
    small, large = peak(few), peak(many)
    columns = 12 + 4 * n_factors  # of a chunk: fixed effects, effects, their products with weights
    assert large - small < 1.1 * DOUBLE * vectors * (many - few)
    assert large < DOUBLE * (vectors * many + columns * CHUNK)


def test_nested_levels_are_evaluated_in_memory_of_the_order_of_their_cross_products() -> None:
    """30,000 levels with intercepts and slopes in 300: a matrix of all would take 29 GB, one of both factors 290 MB."""
    fine = np.arange(120_000) % 30_000
    design = design_of(fine, fine // 100, slopes=True)
    products = design.products()
    size = size_of(products)
    assert size < 5e6
    assert evaluation_peak(design, products) < 12 * size


def test_factors_crossed_inside_clusters_are_evaluated_without_a_matrix_of_all_levels() -> None:
    cluster = np.repeat(np.arange(300), 200)
    within = np.tile(np.arange(200), 300)
    design = design_of(cluster * 20 + within % 20, cluster * 5 + within // 20 % 5)
    products = design.products()
    of_all_levels = DOUBLE * int(design.offsets[-1]) ** 2
    assert size_of(products) < 0.01 * of_all_levels
    assert evaluation_peak(design, products) < 0.02 * of_all_levels
