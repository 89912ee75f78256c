from dataclasses import fields, replace

import numpy as np
import pytest
from designs import RandomDesign, random_design

from bayesmm.marginal.sums import rows
from bayesmm.marginal.sums.crossproducts import effect_root
from bayesmm.marginal.sums.pairs import locate_pairs
from bayesmm.marginal.sums.rows import Conditioning, PairRows, RowSums, chunks, sum_rows, triangular_root

RELATIVE = 1e-12  # of the largest entry: the same terms in another order


def conditioning_of(design: RandomDesign) -> Conditioning:
    root = triangular_root(design.X, design.weights)
    coefficients = np.linalg.solve(root.T, design.X.T @ (design.weights * design.y))
    return Conditioning(root, coefficients, [effect_root(block, design.weights) for block in design.blocks])


def sums_of(design: RandomDesign, conditioning: Conditioning, kept: slice = slice(None)) -> RowSums:
    """Over some of the rows, laid out as those of all rows."""
    blocks = design.blocks
    pairs = {
        pair: PairRows(where.keys, {sides: position[kept] for sides, position in where.positions.items()})
        for pair, where in locate_pairs([block.incidence for block in blocks]).items()
    }
    blocks = [replace(block, incidence=block.incidence.rows(kept)) for block in blocks]
    return sum_rows(design.X[kept], design.y[kept], design.weights[kept], blocks, conditioning, pairs)


def parts(sums: RowSums) -> list[np.ndarray]:
    values = [getattr(sums, field.name) for field in fields(sums)]
    return [array for value in values for array in (value if isinstance(value, list) else [value])]


def assert_equal_sums(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=RELATIVE * np.abs(other).max())


@pytest.mark.parametrize("shape", ["one", "deep", "crossed", "partly"])
def test_sums_over_chunks_are_sums_at_once(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    design = random_design(shape, 3)
    conditioning = conditioning_of(design)
    at_once = sums_of(design, conditioning)
    monkeypatch.setattr(rows, "CHUNK", 7)
    assert max(7, *(block.n_levels for block in design.blocks)) < len(design.y) / 2  # rows at a time
    assert_equal_sums(parts(sums_of(design, conditioning)), parts(at_once))


def test_chunks_cover_each_row_once() -> None:
    assert [(part.start, part.stop) for part in chunks(17, 5)] == [(0, 5), (5, 10), (10, 15), (15, 17)]
    assert list(chunks(0, 5)) == []


@pytest.mark.parametrize("shape", ["nested", "three"])
def test_sums_of_disjoint_rows_add_up(shape: str) -> None:
    design = random_design(shape, 4)
    conditioning = conditioning_of(design)
    halves = [parts(sums_of(design, conditioning, kept)) for kept in (slice(0, 31), slice(31, None))]
    added = [one + other for one, other in zip(*halves, strict=True)]
    assert_equal_sums(added, parts(sums_of(design, conditioning)))


@pytest.mark.parametrize("size", [rows.CHUNK, 90])
@pytest.mark.parametrize("decimals", [0, 6])
def test_triangular_root_keeps_what_the_square_of_nearly_dependent_columns_loses(
    decimals: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the Gram matrix and by QR, at once and over chunks."""
    monkeypatch.setattr(chunks, "__defaults__", (size,))
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(500, 3))
    columns[:, 2] = columns[:, 0] + 10.0**-decimals * columns[:, 2]
    weights = rng.uniform(0.5, 2.0, 500)
    expected = np.linalg.qr(columns * np.sqrt(weights[:, None]), mode="r")
    np.testing.assert_allclose(np.abs(triangular_root(columns, weights)), np.abs(expected), rtol=1e-9, atol=1e-12)
