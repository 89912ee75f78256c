from dataclasses import fields, replace

import numpy as np
import pytest
from designs import RandomDesign, random_design

from bayesmm.marginal.sums import rows
from bayesmm.marginal.sums.crossproducts import effect_root
from bayesmm.marginal.sums.pairs import locate_pairs
from bayesmm.marginal.sums.rows import (
    Chunk,
    Conditioning,
    PairRows,
    RowSums,
    add_levels,
    add_levels_of_many,
    chunks,
    no_sums,
    sum_rows,
    triangular_root,
)

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


def test_many_rows_have_the_sums_of_few() -> None:
    r, n, q = np.random.default_rng(0), 500, 12
    codes, effects = [r.integers(0, q - 1, n) for _ in range(3)], [r.normal(size=(k, n)) for k in (2, 2, 1)]
    shape = [[codes[0], codes[1]], [codes[2]]], [[effects[0], effects[1]], [effects[2]]]
    for has_weights in (False, True):
        weights = r.uniform(1, 2, n) if has_weights else np.ones(n)
        chunk = Chunk(r.normal(size=(4, n)), weights, *shape, has_weights)
        few, many = no_sums(3, (q, q), (2, 1)), no_sums(3, (q, q), (2, 1))
        add_levels(few, chunk)
        add_levels_of_many(many, chunk)
        for one, other in zip((*few.diagonal, *few.cross), (*many.diagonal, *many.cross), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-13)
        by_hand = sum(
            np.stack([(Z * chunk.weights * (own == j)) @ chunk.fixed.T for j in range(q)], axis=2)
            for own, Z in zip(codes[:2], effects[:2], strict=True)
        )
        np.testing.assert_allclose(many.cross[0], by_hand, rtol=1e-12, atol=1e-12)
