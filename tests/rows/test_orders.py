"""Categories keep the order that all parts have, whichever parts know only some of them, and in whatever order they come."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanned_rows import close, make_rows

import bayesmm as bmm
from bayesmm.errors import RowsError
from bayesmm.rows.orders import Order


def ordered(parts: list[list[str]]) -> list[str]:
    order = Order("h")
    for i, part in enumerate(parts):
        order.learn(part, f"part {i}")
    return order.listed()


@given(st.lists(st.sets(st.integers(0, 9)), max_size=6), st.randoms())
def test_any_order_of_parts_and_merges_gives_one_order(parts: list[set[int]], r) -> None:
    names = list("jihgfedcba")  # against the alphabet
    lists = [[names[i] for i in sorted(part)] for part in parts]
    expected = ordered(lists)
    place = {name: i for i, name in enumerate(expected)}
    assert all(place[one] < place[two] for part in lists for one, two in itertools.pairwise(part))
    r.shuffle(lists)
    assert ordered(lists) == expected
    merged = [Order("h") for _ in lists]
    for order, part in zip(merged, lists, strict=True):
        order.learn(part, "here")
    while len(merged) > 1:
        one = merged.pop(r.randrange(len(merged)))
        merged[0].merge(pickle.loads(pickle.dumps(one)))
    assert not merged or merged[0].listed() == expected


def test_a_contradiction_names_both_places() -> None:
    order, other = Order("h"), Order("h")
    order.learn(["a", "b"], "one.parquet")
    order.learn(["b", "c"], "two.parquet")
    with pytest.raises(RowsError, match=r"'h' are in another order in three\.parquet than in two\.parquet"):
        order.learn(["c", "b"], "three.parquet")
    order = Order("h")
    order.learn(["a", "b"], "one.parquet")
    other.learn(["b", "a"], "two.parquet")
    with pytest.raises(RowsError, match=r"another order in two\.parquet than in one\.parquet"):
        order.merge(other)


def test_parts_may_know_some_of_the_categories(tmp_path: Path) -> None:
    data = make_rows(200)
    parts = [data[data["h"] != "mid"], data[data["h"] == "mid"], data[:50]]
    data = pd.concat(parts)
    for i, part in enumerate(parts):
        own = part.assign(h=part["h"].cat.remove_unused_categories())
        own.to_parquet(tmp_path / f"part{i}.parquet", index=False)
    formula = "y ~ h + (1 | a)"
    there = bmm.Model(formula, tmp_path)
    assert there.design.coefficients == ("Intercept", "h[T.mid]", "h[T.high]")
    close(bmm.Model(formula, data).fit().parameters, there.fit().parameters)
