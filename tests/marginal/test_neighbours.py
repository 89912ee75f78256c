from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm.marginal.plan.neighbours import Neighbours, count_pairs, list_incidence, lookup_pairs, neighbour_pairs

SOME = settings(max_examples=30, deadline=None, derandomize=True)
N_OWN = 6


def as_levels(codes: np.ndarray) -> tuple[np.ndarray, int]:
    """Levels numbered as they are in designs, where each occurs."""
    found, codes = np.unique(codes, return_inverse=True)
    return codes, len(found)


ROWS = {  # levels of two factors, one case for each way of looking up
    "nested": lambda rng: (rng.integers(0, 40, 60), 8),
    "table": lambda rng: (rng.integers(0, 9, 60), None),
    "sorted": lambda rng: (rng.integers(0, 10_000, 60), None),
}


@pytest.mark.parametrize("way", ROWS)
@given(seed=st.integers(0, 10_000))
@SOME
def test_pairs_are_the_unique_combinations_of_levels_whichever_way_they_are_found(way, seed) -> None:
    rng = np.random.default_rng(seed)
    first, width = ROWS[way](rng)
    second = rng.permutation(first) if width is None else first // width
    (first, n_first), (second, n_second) = as_levels(first), as_levels(second)
    keys, position = lookup_pairs(first, second, n_first, n_second)
    expected = np.unique(first * n_second + second, return_inverse=True)
    np.testing.assert_array_equal(keys, expected[0])
    np.testing.assert_array_equal(position, expected[1])


INCIDENCES = st.lists(st.tuples(st.integers(0, N_OWN - 1), st.integers(0, 4)), max_size=25, unique=True)


def incidence_of(edges: list[tuple[int, int]]) -> Neighbours:
    ends = np.array(edges, int).reshape(-1, 2)
    return list_incidence(ends[:, 0], ends[:, 1], N_OWN)


def positions_by_level(edges: list[tuple[int, int]]) -> list[list[int]]:
    return [[i for i, (own, _) in enumerate(edges) if own == level] for level in range(N_OWN)]


@given(edges=INCIDENCES, others=INCIDENCES)
@SOME
def test_neighbours_in_two_factors_are_paired_each_with_each(edges, others) -> None:
    left, right = neighbour_pairs(incidence_of(edges), incidence_of(others), same=False)
    lists = zip(positions_by_level(edges), positions_by_level(others), strict=True)
    assert sorted(zip(left, right, strict=True)) == sorted(pair for a, b in lists for pair in product(a, b))


@given(edges=INCIDENCES)
@SOME
def test_neighbours_in_one_factor_are_paired_once_and_none_with_itself(edges) -> None:
    side = incidence_of(edges)
    left, right = neighbour_pairs(side, side, same=True)
    found = [tuple(sorted(pair)) for pair in zip(left, right, strict=True)]
    assert sorted(found) == sorted(pair for a in positions_by_level(edges) for pair in combinations(a, 2))


@given(edges=INCIDENCES, others=INCIDENCES)
@SOME
def test_pairs_are_counted_over_all_factors_together(edges, others) -> None:
    lists = zip(positions_by_level(edges), positions_by_level(others), strict=True)
    expected = sum(len(list(combinations(range(len(a) + len(b)), 2))) for a, b in lists)
    assert count_pairs([incidence_of(edges), incidence_of(others)]) == expected


def test_a_level_without_neighbours_has_none() -> None:
    assert count_pairs([]) == 0
    assert incidence_of([(0, 1), (5, 1), (0, 2)]).degree.tolist() == [2, 0, 0, 0, 0, 1]
