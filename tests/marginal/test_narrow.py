"""Products of few columns over many rows are those of NumPy, and no thread of the BLAS takes part."""

import time

import numpy as np
import pytest

from bayesmm.marginal.arrays.narrow import product, turn

SHAPES = [(0, 0), (1, 1), (1, 4), (3, 1), (0, 3), (3, 0), (2, 5), (10, 10), (30, 40)]
ROWS = [0, 1, 7, 4096, 30_001]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("n", ROWS)
def test_products_are_those_of_numpy(a: int, b: int, n: int) -> None:
    r = np.random.default_rng(0)
    T, left, right = r.normal(size=(a, b)), r.normal(size=(a, n)), r.normal(size=(b, n))
    np.testing.assert_allclose(turn(T, right), T @ right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(turn(T, np.ascontiguousarray(right.T).T), T @ right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(product(left, right), left @ right.T, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 5), (5, 5), (10, 10)])
def test_products_are_made_by_the_thread_that_asks(a: int, b: int) -> None:
    r = np.random.default_rng(0)
    T, left, right = r.normal(size=(a, b)), r.normal(size=(a, 2**17)), r.normal(size=(b, 2**17))
    all_threads, own = time.process_time(), time.thread_time()
    for _ in range(5):
        turn(T, right)
        product(left, right)
        product(right, right)
    own = time.thread_time() - own
    assert time.process_time() - all_threads < 1.5 * own + 0.01
