"""Work is bounded before it begins: whatever a formula asks for, it is done or refused in a sentence, and soon."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm import limits
from bayesmm.console import cells
from bayesmm.errors import ArgumentError, BayesmmError, DesignError, SpecificationError, StorageError
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.formula import parse_formula

N = 400
SOON = 1.0  # seconds of this process; most take a hundredth
pytestmark = pytest.mark.usefixtures("uncollected")
RNG = np.random.default_rng(8)
DATA = pd.DataFrame({name: RNG.normal(size=N) for name in ("y", "x", "w")} | {"g": np.repeat(list("abcdefgh"), N // 8)})
DATA["f"] = [f"p{i}" for i in RNG.integers(0, 120, N)]
DATA["k"] = [f"q{i}" for i in RNG.integers(0, 120, N)]
DATA["row"] = [f"r{i}" for i in range(N)]
DATA = pd.concat([DATA, pd.DataFrame(RNG.normal(size=(N, 100)), columns=[f"x{i}" for i in range(100)])], axis=1)
NAMES = [f"x{i}" for i in range(100)]


def many(count, joint="+", name="x{}"):
    return joint.join(name.format(i) for i in range(count))


def crowd(depth):
    """Brackets in chains in brackets: neither is deep, but both together are."""
    text = "x"
    for _ in range(depth):
        text = f"({text}{'*w' * depth})"
    return text


def refused(formula, error=BayesmmError, **options):
    """Bind a formula to the data; return why that was refused, after checking how long it took and how it is told."""
    begin = time.process_time()
    with pytest.raises(error) as caught:
        bmm.Model(formula, DATA, **options)
    assert time.process_time() - begin < SOON, formula[:100]
    message = str(caught.value)
    assert sum(max(1, -(-cells(line) // 80)) for line in message.split("\n")) <= 24, message
    return message


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (many(16_000), "100,903 characters, more than the 100,000"),
        (many(3_000, name="z{}"), "more than 2000 terms"),
        (f"({many(30)})**20", "more than 2000 terms"),
        (f"({many(10, '*')})**20", "200000 products"),
        ("+".join([f"({many(6, '*')})**2"] * 1000), "200000 products"),
        (many(3_000, "*"), "nested more than"),
        (many(3_000, ":"), "nested more than"),
        (many(3_000, "/"), "nested more than"),
        (f"I({many(3_000, '*')})", "nested more than"),
        ("I(" + "-" * 3_000 + "x)", "nested more than"),
        ("(" * 3_000 + "x" + ")" * 3_000, "nested more than"),
        (crowd(30), "nested more than"),
        (f"I({crowd(30)})", "nested more than"),
        ("9" * 5_000, "beyond what a double holds"),
        ("I(x * 1e999)", "beyond what a double holds"),
        ("I(x * " + "0" * 5_000 + "1)", "beyond what a double holds"),
        ("I(x**" + "9" * 310 + ")", "beyond what a double holds"),
        ("x" + "9" * 5_000, "no column"),
        ("`" + "x\n" * 5_000 + "`", "no column"),
        ("x9" + "9" * 90_000 + "()", "not known"),
        (f"f({many(10_000)})", "not known"),
        ("'" + "x" * 90_000 + "'", "is not a term"),
        (many(3_000, "+", "(1 | a{})"), "3,001 random-effects terms"),
        (f"(1 | {many(3_000, '/')})", "nested more than"),
        (f"(0 + {many(91)} | g)", "4,187 standard deviations and correlations"),
    ],
)
def test_an_endless_formula_is_refused(terms, message):
    assert message in refused(f"y ~ {terms} + (1 | g)")


@pytest.mark.parametrize(
    "call",
    [
        "bs(x, df=100000)", "bs(x, 100000)", "bs(x, df=5, degree=100000)", "bs(x, knots=knots)", "bs(x, df=size)",
        "poly(x, 1000000)", "poly(x, degree=1000000)", "poly(x, size, raw=True)", "cr(x, df=100000)", "cc(x, 1, 100000)",
        "tp(x, df=100000)", "tp(x, df=5, max_knots=1000000)", "np.exp(bs(scale(x), df=100000))", "bs(x, df=-100000)",
        "{bs(x, df=1000000000000000000000000)}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["y ~ {} + (1 | g)", "y ~ w + ({} | g)", "y ~ w + offset({}) + (1 | g)"])
def test_an_endless_basis_is_refused(call, place):
    found = refused(place.format(call), DesignError, namespace={"knots": np.linspace(-1, 1, 10_000), "size": 10**6})
    assert "that it may have" in found


@pytest.mark.parametrize(
    "terms", ["f * k", "f:k", "f:k:x", "C(f):C(k)", "(f + k + x)**3", "f:bs(x, df=400)", "0 + f:k", "C(row):f"]
)
@pytest.mark.parametrize("place", ["y ~ {} + (1 | g)", "y ~ w + ({} || g)"])
def test_products_of_many_levels_are_refused_before_they_are_made(terms, place):
    message = refused(place.format(terms), DesignError)
    assert ("more than the 2,000" in message) or "cannot be built" in message


def test_columns_beyond_memory_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr("bayesmm.design.columns.terms.NUMBERS", 2_000)
    assert "6 columns of 400 rows, more than the 2,000 numbers" in refused("y ~ x + w + x0 + x1 + x2 + (1 | g)")
    assert "115 columns of 400 rows, more than the 2,000 numbers" in refused("y ~ 0 + f + (1 | g)")
    monkeypatch.setattr("bayesmm.design.columns.components.NUMBERS", 2_000)
    assert "400 rows × 2,000 sites" in refused("y ~ 0 + tp(x, df=5) + (1 | g)")


PIECES = st.recursive(
    st.sampled_from(["x", "w", "f", "k", "x1", "0", "1", "2", "1e3", "'a'", "`y`", "bs(x, df=5)", "np.exp(x)", "C(f)"]),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("{}**{}".format, inner, st.integers(0, 10**6)),
        st.builds("I({})".format, inner),
        st.builds("poly(x, {})".format, st.integers(1, 10**9)),
        st.builds("bs(x, df={})".format, st.integers(3, 10**9)),
        st.builds(
            lambda joint, part, times: joint.join([part] * times),
            st.sampled_from(["+", "-", "*", ":", "/", "**", " | ", ", ", " - 1 + "]),
            inner,
            st.sampled_from([2, 3, 60, 900]),
        ),
        st.builds(
            lambda joint, names: joint.join(names),
            st.sampled_from(["+", "*", ":", "/"]),
            st.lists(st.sampled_from(NAMES), min_size=2, max_size=60),
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(PIECES, PIECES)
def test_every_formula_is_read_or_refused_soon(fixed, random):
    begin = time.process_time()
    message = ""
    try:
        specification = parse_formula(f"y ~ {fixed} + ({random} | g)")
        n_terms = len(expand_text(specification.fixed).terms)
        assert n_terms <= limits.FORMULA_TERMS
        str(specification)
    except BayesmmError as error:
        message = str(error)
    assert sum(max(1, -(-cells(line) // 80)) for line in message.split("\n")) <= 24
    assert time.process_time() - begin < SOON, (fixed[:200], random[:200])


def test_reading_takes_time_in_proportion_to_the_length():
    """Twice the terms take about twice the time; with the quadratic union of before, four times."""
    seconds = {}
    for count in (250, 2_000):
        texts = [many(count, name=f"c{{}}_{i}") for i in range(3)]
        begin = time.process_time()
        for text in texts:
            parse_formula(f"y ~ {text} + (1 | g)")
        seconds[count] = time.process_time() - begin
    assert seconds[2_000] < 4 * 8 * max(seconds[250], 1e-3)


def test_a_long_sum_of_numbers_is_computed():
    sum_of_many = bmm.Model(f"y ~ I({'+'.join(['x'] * 3_000)}-w) + (1 | g)", DATA)
    np.testing.assert_allclose(sum_of_many.design.X[:, 1], 3_000 * DATA["x"] - DATA["w"], rtol=1e-10)
    new = DATA.head(3).assign(x=1.0, w=2.0)
    np.testing.assert_allclose(sum_of_many.design.evaluate(new).X[:, 1], 2_998.0)


def test_what_lies_within_the_limits_is_as_before():
    model = bmm.Model(f"y ~ poly(x, 8) * w + f + bs(w, df=20) + ({many(9)} || g)", DATA)
    assert model.design.X.shape == (N, 1 + 8 + 1 + (DATA["f"].nunique() - 1) + 20 + 8)
    assert model.design.blocks[0].k == 10


@pytest.mark.parametrize("terms", [many(16_000), "bs(x, df=100000)", "f:k", "9" * 5_000, "(" * 3_000, crowd(30)])
def test_a_formula_from_a_file_passes_the_same_door(terms, tmp_path):
    posterior = make_posterior(bmm.Model("y ~ x + (1 | g)", DATA))
    object.__setattr__(posterior.design.specification, "formula", f"y ~ x + {terms} + (1 | g)")
    posterior.design.frame[["f", "k"]] = DATA[["f", "k"]]
    path = posterior.save(tmp_path / "crafted.nc")
    begin = time.process_time()
    with pytest.raises(StorageError, match=r"The model of .*crafted\.nc' cannot be built again") as caught:
        bmm.load(path)
    assert time.process_time() - begin < 2 * SOON  # with the libraries that read the file
    assert len(str(caught.value)) < 1920


@pytest.mark.parametrize(
    "name", ["FORMULA_CHARACTERS", "FORMULA_TERMS", "COLUMNS", "COVARIANCE_PARAMETERS", "BASIS_COLUMNS"]
)
def test_limits_leave_room_for_real_work(name):
    """The widest models that users of lme4, brms and mgcv report have some hundred coefficients and a dozen slopes."""
    assert getattr(limits, name) >= {"FORMULA_CHARACTERS": 20_000, "BASIS_COLUMNS": 200}.get(name, 1_000)


def test_a_name_in_a_wide_table_is_looked_for_soon():
    wide = pd.DataFrame(np.zeros((2, 50_000)), columns=[f"gene{i}" for i in range(50_000)])
    begin = time.process_time()
    with pytest.raises(DesignError, match="and 49,980 more") as caught:
        bmm.Model("gene7 ~ gene50001 + (1 | gene1)", wide)
    assert time.process_time() - begin < 3 * SOON
    assert len(str(caught.value)) < 1920
    with pytest.raises(SpecificationError):
        bmm.Model("gene7 ~ gene1", wide)


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"chains": 10**9}, r"^chains is 1000000000: give at most 10,000\.$"),
        ({"tune": 10**30}, r"^tune is 10+.*: give at most 1,000,000\.$"),
        ({"draws": 10**8}, r"^draws is 100000000, from each of 4 chains: .* Give at most draws=16777216\.$"),
        ({"draws": 10**8, "method": "quadrature"}, r"Give at most draws=16777216\.$"),
    ],
)
def test_more_draws_than_anybody_can_keep_are_refused_before_work_begins(asked, complaint):
    model = bmm.Model("y ~ x + (1 | g)", DATA)
    model.program()  # with its libraries
    begin = time.process_time()
    with pytest.raises(ArgumentError, match=complaint):
        model.sample(**asked)
    assert time.process_time() - begin < SOON
