"""Products of a few columns over many rows, by the thread that asks and no other."""

from __future__ import annotations

import numpy as np

from bayesmm.marginal.shapes import Array, Float

# Multiplications at a time, from twice as many of which OpenBLAS wakes threads: those wait for each other and for work,
# and by several threads of ours it can be used one after another only.
ALONE = 2**17  # of matrices,
ALONE_VECTORS = 2**12  # and where one of them is a vector
WIDE = 2**9  # multiplications for each row, beyond which there is work for the threads


def turn(T: Float[Array, "a b"], columns: Float[Array, "b n"]) -> Float[Array, "a n"]:
    """T times columns."""
    (a, b), n = T.shape, columns.shape[1]
    if n * a * b <= ALONE_VECTORS:
        return T @ columns
    found = np.empty((a, n))
    for some, size in _parts(n, a, b):
        np.matmul(T, _stacked(columns[:, some], size), out=_stacked(found[:, some], size))
    return found


def product(left: Float[Array, "a n"], right: Float[Array, "b n"]) -> Float[Array, "a b"]:
    """Sum the products of columns over the rows."""
    (a, n), b = left.shape, len(right)
    total = np.zeros((a, b))
    for some, size in _parts(n, a, b):
        total += np.matmul(_stacked(left[:, some], size), _stacked(right[:, some], size).swapaxes(1, 2)).sum(axis=0)
    return total


def _parts(n: int, a: int, b: int) -> list[tuple[slice, int]]:
    """Cut n rows into runs of parts of equal size; and these sizes."""
    size = n
    if a * b <= WIDE:
        size = min((ALONE if min(a, b) > 1 else ALONE_VECTORS) // max(a * b, 1), n)
    whole = n - n % max(size, 1)
    return [part for part in ((slice(whole), size), (slice(whole, n), n - whole)) if part[1]]


def _stacked(columns: Float[Array, "a n"], rows: int) -> Float[Array, "s a r"]:
    """Parts of so many rows one after another, without a copy."""
    return columns.reshape(len(columns), columns.shape[1] // rows, rows).swapaxes(0, 1)
