"""Levels are numbered as they appear, those of a chunk in their order, and each keeps a row that has it."""

from __future__ import annotations

import numpy as np
import pytest

from bayesmm.rows.dictionary import Dictionary, first_rows
from bayesmm.rows.values import Values

LIMITS = [(0, 5), (-3, 4), (10**12, 10**12 + 300), (0, 2**62), (-(2**63), 2**63 - 1)]


@pytest.mark.parametrize(("low", "high"), LIMITS)
def test_numbers_follow_the_order_of_the_levels_of_each_chunk(low: int, high: int) -> None:
    r, levels, known = np.random.default_rng(0), Dictionary(), []
    for n in (50, 1, 200):
        data = r.integers(low, high, n, endpoint=True)
        known += sorted(set(data.tolist()) - set(known))
        codes = levels.learn(Values(kind="numbers", data=data))
        assert [known[code] for code in codes] == data.tolist()
    assert len(levels) == len(known)


def test_numbers_without_a_sign_and_fractions_are_numbered_likewise() -> None:
    for data in (np.array([2**64 - 1, 3, 2**64 - 3], np.uint64), np.array([7, 3, 7], np.uint64), np.array([0.5, 0.25])):
        codes = Dictionary().learn(Values(kind="numbers", data=data))
        assert codes.tolist() == [sorted(set(data.tolist())).index(each) for each in data.tolist()]


@pytest.mark.parametrize("known", [0, 3, 19, 20])
def test_first_rows_are_the_first_of_each_new_number(known: int) -> None:
    codes = np.random.default_rng(1).integers(0, 20, 100)
    fresh = sorted({int(code) for code in codes if code >= known})
    assert first_rows(codes, known).tolist() == [codes.tolist().index(code) for code in fresh]
