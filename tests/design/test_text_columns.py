"""Numbers and dates that came as texts never become dozens of dummies in silence, and the remedy of the error works."""

import datetime
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmm as bmm
from bayesmm.design.reading.number_texts import find_disguise
from bayesmm.errors import BayesmmWarning, DesignError

N = 60
GROUPS = np.repeat(list("abcdef"), N // 6)

CORRUPTIONS = {  # what becomes of a number in the damaged cells
    "plain": lambda v: f"{v:.2f}",
    "decimal comma": lambda v: f"{v:.2f}".replace(".", ","),
    "thousands": lambda v: f"{1e4 * v:,.1f}",
    "continental": lambda v: f"{1e4 * v:,.1f}".translate(str.maketrans(",.", ".,")),
    "spaces": lambda v: f"{1e4 * v:,.1f}".replace(",", " "),
    "blank behind": lambda v: f"{v:.2f} ",
    "minus sign": lambda v: f"−{v:.2f}",
    "unit": lambda v: f"{v:.2f} kg",
    "percent": lambda v: f"{v:.2f}%",
    "limit": lambda v: f"<{v:.2f}",
    "footnote": lambda v: f"{v:.2f}*",
    "currency": lambda v: f"€{v:.2f}",
    "point": lambda v: ".",
    "NA with a blank": lambda v: "NA ",
    "n/a": lambda v: "n/a",
    "hyphen": lambda v: "-",
    "a word": lambda v: "unbekannt",
    "letter O": lambda v: f"{v:.2f}".replace("0", "O"),
}  # fmt: skip


def damaged(kind, share, seed, decimals=2):
    """Numbers as texts, a share of them damaged; at least one damaged and one whole unless all are."""
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(1, 9, N).round(decimals)
    hit = rng.uniform(size=N) < share
    hit[rng.integers(N)] = True
    texts = [CORRUPTIONS[kind](v) if h else f"{v:.2f}" for v, h in zip(numbers, hit, strict=True)]
    return pd.DataFrame({"y": rng.normal(size=N), "g": GROUPS, "x": texts})


def refusal(formula, data, **options):
    with pytest.raises(DesignError) as caught:
        bmm.Model(formula, data, **options)
    message = str(caught.value)
    assert len(message) < 700
    return message


def apply_remedy(message, data):
    """Run the code that a message gives."""
    code = re.search(r"Convert it: (.+?(?:\)|\.dt\.days))(?:, (?:which|if|for) |; or read|\.(?: |$))", message)[1]
    namespace = {"pd": pd, "data": data.copy()}
    exec(code, namespace)
    return namespace["data"]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(CORRUPTIONS)), st.floats(0.0, 0.45), st.integers(0, 10**6))
def test_damaged_numbers_are_refused_and_the_remedy_makes_them_a_covariate(kind, share, seed):
    data = damaged(kind, share, seed)
    message = refusal("y ~ x + (1 | g)", data)
    assert message.startswith("Column 'x' holds numbers as texts")
    assert "C(x)" in message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # rows that the remedy made missing are dropped with a word
        model = bmm.Model("y ~ x + (1 | g)", apply_remedy(message, data))
        meant = bmm.Model("y ~ C(x) + (1 | g)", data, sigma=1.0)
    assert model.design.coefficients == ("Intercept", "x")
    assert all(name.startswith(("Intercept", "C(x)[T.")) for name in meant.design.coefficients)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ (x | g)", "y ~ g:x + (1 | g)", "y ~ I(x * 2) + (1 | g)",
                                     "y ~ np.log(x) + (1 | g)", "x ~ 1 + (1 | g)", "y ~ offset(x) + (1 | g)"])  # fmt: skip
def test_damaged_numbers_are_refused_wherever_they_stand(kind, formula):
    data = damaged(kind, 0.3, 1)
    message = refusal(formula, data if "log" in formula else pl.DataFrame(data.to_dict("list")))
    assert message.startswith("Column 'x' holds numbers as texts")
    assert ("C(x)" in message) == (formula not in ("x ~ 1 + (1 | g)",) and "(x" not in formula.replace("(x | g)", ""))


@pytest.mark.parametrize("weights", ["x", "1 / x**2"])
def test_weights_of_texts_are_refused(weights):
    assert "holds numbers as texts" in refusal("y ~ 1 + (1 | g)", damaged("decimal comma", 1.0, 1), weights=weights)


@pytest.mark.parametrize("levels", [["0", "1"], ["1", "2", "3"], ["10", "20", "40", "80"]])
def test_whole_numbers_as_texts_are_refused_unless_they_are_said_to_be_levels(levels):
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "x": np.resize(levels, N)})
    assert f"a factor of {len(levels)} levels" in refusal("y ~ x + (1 | g)", data)
    for formula, meant in [
        ("y ~ C(x) + (1 | g)", data),
        ("y ~ x + (1 | g)", data.astype({"x": "category"})),
        ("y ~ x + (1 | g)", pl.DataFrame(data.to_dict("list")).with_columns(pl.col("x").cast(pl.Categorical))),
        ("y ~ x + (1 | g)", pl.DataFrame(data.to_dict("list")).with_columns(pl.col("x").cast(pl.Enum(levels)))),
        ("y ~ 1 + (1 | x)", data),
        (f"y ~ I(x == '{levels[0]}') + (1 | g)", data),
    ]:
        bmm.Model(formula, meant)


@pytest.mark.parametrize(
    "levels",
    [["m", "f"], ["control", "10", "20", "40"], ["10 mg", "20 mg", "50 mg"], ["S1", "S2", "S3"], ["1a", "1b", "2a"],
     ["A.1", "B.2"], ["<5", "5-9", ">9"], ["Q1 2020", "Q2 2020"], ["yes", "no", "0"], ["v1.2", "v1.3"], ["north-1", "south-2"]],
)  # fmt: skip
def test_names_of_levels_stay_a_factor(levels):
    assert find_disguise(levels) is None
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "x": np.resize(levels, N)})
    assert len(bmm.Model("y ~ x + (1 | g)", data).design.coefficients) == len(levels)


DATES = {
    "iso": ("%Y-%m-%d", "days"), "german": ("%d.%m.%Y", "days"), "american": ("%m/%d/%Y", "days"),
    "with time": ("%Y-%m-%d %H:%M", "days"), "named": ("%d %b %Y", "days"), "long": ("%B %d, %Y", "days"),
    "month": ("%Y-%m", "days"), "clock": ("%H:%M", "seconds"), "clock with seconds": ("%H:%M:%S", "seconds"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DATES)
def test_dates_as_texts_are_refused_and_the_remedy_counts(kind):
    written, unit = DATES[kind]
    times = pd.date_range("2026-01-01", periods=N, freq="37h", unit="s")
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "x": times.strftime(written)})
    message = refusal("y ~ x + (1 | g)", data)
    assert "dates as texts" in message if unit == "days" else "times as texts" in message
    counted = apply_remedy(message, data)["x"]
    expected = pd.to_datetime(data["x"], format=written)
    expected = expected - (expected.min() if unit == "days" else pd.Timestamp("1900-01-01"))
    assert counted.tolist() == (expected.dt.days if unit == "days" else expected.dt.total_seconds()).tolist()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pd.date_range("2026-01-01", periods=N), "days since the first"),
        (pd.date_range("2026-01-01", periods=N, tz="UTC"), "days since the first"),
        (pd.period_range("2026-01", periods=N, freq="M"), "to_timestamp()"),
        (pd.to_timedelta(np.arange(N), unit="D"), "86400"),
        ([datetime.date(2026, 1, 1 + i % 28) for i in range(N)], "pd.to_datetime"),
        ([datetime.timedelta(i) for i in range(N)], "86400"),
        ([datetime.time(i % 24) for i in range(N)], "number, for example of seconds"),
    ],
)
def test_times_are_refused_with_what_to_do(values, words):
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "x": values})
    for formula in ("y ~ x + (1 | g)", "y ~ 1 + (1 | x)"):
        assert words in refusal(formula, data)


def test_mixture_of_numbers_and_texts_names_the_texts():
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "x": [1.5 if i % 9 else "n.d." for i in range(N)]})
    message = refusal("y ~ x + (1 | g)", data)
    assert "mixes numbers with the texts 'n.d.'" in message
    assert "errors='coerce'" in message


def test_as_many_texts_as_rows_are_refused_as_fixed_effects_only():
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "id": [f"S{i // 2 if i < 20 else i}" for i in range(N)]})
    assert "50 different ones in the 60 rows used" in refusal("y ~ id + (1 | g)", data)
    assert bmm.Model("y ~ C(id) + (1 | g)", data).design.p == 50
    bmm.Model("y ~ 1 + (1 | id)", data)


@pytest.mark.parametrize("formula", ["y ~ f + (1 | g)", "y ~ 1 + (1 | f)"])
@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (["m", "f", "m "], "'m' and 'm ', which differ by blanks only"),
        (["m", "f", " f"], "differ by blanks only"),
        (["m", "f", "."], "level '.', which files write for a missing value"),
        (["m", "f", "NA "], "level 'NA ', which files write"),
    ],
)
def test_levels_in_disguise_are_noted(formula, levels, words):
    data = pd.DataFrame({"y": np.arange(N) % 7.0, "g": GROUPS, "f": np.resize(levels, N)})
    with pytest.warns(BayesmmWarning, match=re.escape(words)) as caught:
        bmm.Model(formula, data)
    assert caught[0].filename == __file__


def test_a_measured_number_as_grouping_factor_is_noted():
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {"y": rng.normal(size=N), "u": rng.uniform(size=N).round(2), "dose": np.resize([0.5, 1.0, 2.5], N)}
    )
    with pytest.warns(BayesmmWarning, match="numbers with fractions"):
        bmm.Model("y ~ 1 + (1 | u)", data)
    bmm.Model("y ~ 1 + (1 | dose)", data)
