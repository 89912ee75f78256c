import re
from itertools import combinations

import numpy as np
import pytest
from designs import ALONE, KINDS, WITH_FILL, RandomDesign, design_of, random_design
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm.errors import DesignError
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import factorise
from bayesmm.marginal.plan import planning
from bayesmm.marginal.plan.planning import elimination_order, list_fill

SOME = settings(max_examples=20, deadline=None, derandomize=True)


def component_rows(design: RandomDesign, factors: tuple[int, ...]) -> list[int]:
    """Effects of some factors in each connected component of all levels, by spreading labels until nothing changes."""
    labels = np.arange(len(design.y))
    while True:
        spread = labels
        for block in design.blocks:
            least = np.full(block.n_levels, len(labels))
            for each in block.incidence.memberships:
                np.minimum.at(least, each.codes, spread)
            for each in block.incidence.memberships:
                spread = np.minimum(spread, least[each.codes])
        if (spread == labels).all():
            break
        labels = spread
    rows = dict.fromkeys(labels.tolist(), 0)
    for block in (design.blocks[f] for f in factors):
        for level in range(block.n_levels):
            rows[int(labels[block.incidence.members()[level]][0])] += block.incidence.k
    return sorted(rows.values())


def test_factors_are_taken_from_the_most_levels_and_ties_in_the_order_given() -> None:
    assert elimination_order([3, 7, 7, 9]) == [3, 1, 2, 0]


@pytest.mark.parametrize("seed", range(3))
def test_nested_chain_leaves_no_dense_remainder(seed: int) -> None:
    _, made = random_design("deep", seed).summed()
    assert made.shape.remainder == ()
    assert [step.factor for step in made.shape.steps] == [0, 1, 2]
    assert all(step.kind == "scatter" for step in made.shape.steps)


@pytest.mark.parametrize("shape", WITH_FILL)
@given(seed=st.integers(0, 10_000))
@SOME
def test_dense_blocks_are_the_connected_components(shape: str, seed: int) -> None:
    """One for each cluster that factors are crossed in, whether these are of one size or not."""
    design = random_design(shape, seed, n=40)
    _, made = design.summed("scatter")
    assert sorted(made.block_sizes) == component_rows(design, made.shape.remainder)
    assert made.shape.dense_rows >= made.block_sizes.sum()


def test_crossed_factors_inside_unequal_clusters_become_blocks_of_unequal_sizes() -> None:
    design = random_design("islands", 1, n=300)
    _, made = design.summed("scatter")
    assert len(set(made.block_sizes)) > 1
    assert len(made.shape.buckets) > 1
    assert sum(count for count, _ in made.shape.buckets) == len(made.block_sizes)


def test_a_dense_product_puts_all_that_is_left_into_one_block() -> None:
    design = random_design("islands", 1, n=300)
    _, made = design.summed("product")
    assert [step.kind for step in made.shape.steps] == ["product"]
    assert made.block_sizes.tolist() == [design.offsets[2] - design.offsets[1]]


@pytest.mark.parametrize(("n_levels", "n", "kind"), [((400, 10), 8_000, "product"), ((3_000, 2_000), 6_000, "scatter")])
def test_the_cheaper_way_of_fill_is_chosen(n_levels: tuple[int, int], n: int, kind: str) -> None:
    """Many levels that see all of few: 18,000 pairs. Many that see few of many: 3,000 × 2,000² multiplications."""
    rng = np.random.default_rng(0)
    codes = [np.concatenate([np.arange(q), rng.integers(0, q, n - q)]) for q in n_levels]
    _, made = design_of(codes[0], rng.permutation(codes[1])).summed()
    (step,), (cost,) = made.shape.steps, made.costs
    assert step.kind == kind
    assert min(cost.scatter, cost.product) == getattr(cost, kind)


@pytest.mark.parametrize("shape", ["crossed", "sparse", "three", "partly"])
def test_cost_counts_pairs_of_neighbours_of_the_first_factor(shape: str) -> None:
    design = random_design(shape, 4)
    _, made = design.summed()
    first, *others = elimination_order(made.n_levels)
    degrees = [
        sum(
            len(np.unique(design.blocks[g].incidence.only.codes[design.blocks[first].incidence.only.codes == level]))
            for g in others
        )
        for level in range(made.n_levels[first])
    ]
    assert made.costs[0].n_pairs == sum(d * (d - 1) // 2 for d in degrees)


def test_too_many_pairs_to_list_are_made_by_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_SCATTER", 10)
    _, made = random_design("sparse", 1).summed("scatter")
    assert made.shape.steps[0].kind == "product"


def test_nested_levels_are_never_made_into_a_dense_product_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_SCATTER", 10)
    _, made = random_design("deep", 1).summed()
    assert [step.kind for step in made.shape.steps] == ["scatter"] * 3


def test_neither_way_being_possible_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_PRODUCT", 10)
    monkeypatch.setattr(planning, "MAX_SCATTER", 10)
    products, made = random_design("crossed", 1).summed("product")
    assert re.search("pairs of levels to be joined, more than the 10 that bayesmm lists", made.shape.too_large)
    with pytest.raises(DesignError, match="pairs of levels to be joined, more than the 10 that bayesmm lists"):
        factorise(host, products, [np.eye(k) for k in made.shape.widths])


def test_a_product_too_large_for_memory_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_PRODUCT", 10)
    _, made = random_design("crossed", 1).summed("product")
    assert made.shape.steps[0].kind == "scatter"
    assert made.costs[0].product == np.inf


def test_too_many_pairs_for_either_way_are_refused_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_SCATTER", 10)
    monkeypatch.setattr(planning, "MAX_PRODUCT", 100)
    codes = np.arange(100)
    _, made = design_of(codes // 10, codes % 10).summed()
    assert re.search(r"450 pairs .* more than the 10 .* more than 0 GB\. Drop a crossed term", made.shape.too_large)


def test_too_large_crossed_factors_are_refused_with_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_DENSE", 25)
    codes = np.arange(900)
    _, made = design_of(codes // 30, codes % 30).summed()
    assert re.search(r"dense matrix of 30 rows .* more than the 25 .* Drop a crossed term", made.shape.too_large)
    assert made.shape.steps == made.shape.remainder == ()


@pytest.mark.parametrize("shape", [shape for shape, fill in KINDS if fill != "product" and shape not in ALONE])
def test_fill_joins_each_two_remaining_neighbours_of_a_level_of_the_first_factor(shape: str) -> None:
    design = random_design(shape, 5)
    products, made = design.summed("scatter")
    first = made.shape.steps[0].factor
    remaining = [g for g in made.shape.steps[0].neighbours if g in made.shape.remainder]
    expected = []
    for level in range(made.n_levels[first]):
        rows = design.blocks[first].incidence.only.codes == level
        levels = {g: np.concatenate([m.codes[rows] for m in design.blocks[g].incidence.memberships]) for g in remaining}
        neighbours = [(g, int(j)) for g in remaining for j in np.unique(levels[g])]
        expected += [frozenset(pair) for pair in combinations(neighbours, 2)]
    found = []
    for update, lists in zip(*list_fill(products.shape, products.index), strict=True):
        left, right = (
            products.index.columns[made.shape.pairs.index((first, g))][positions]
            for g, positions in ((update.left, lists.left), (update.right, lists.right))
        )
        found += [frozenset([(update.left, int(i)), (update.right, int(j))]) for i, j in zip(left, right, strict=True)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
