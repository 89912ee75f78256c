"""Means, slopes and comparisons of models need no rows: those of rows elsewhere are those of rows in memory."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scanned_rows import close, make_rows

import bayesmm as bmm
from bayesmm.errors import BayesmmError, ComparisonError, DesignError, RowsError

DATA = make_rows(240).assign(two=lambda d: 3.0 + 2.0 * (d["count"] > 2), three=lambda d: d["count"].clip(upper=3) * 1.0)
FORMULA = "y ~ t * f + h + two + three + z + offset(w) + (1 | a)"


def fits(formula: str, data: Any = DATA, method: Any = "reml") -> list[bmm.fit.Fit]:
    return [bmm.Model(formula, rows).fit(method) for rows in (data, bmm.scan(data, chunk_rows=70))]


def alike(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Hold two tables to each other, numbers in their index too."""
    assert list(one.columns) == list(other.columns)
    for mine, theirs in zip(one.reset_index().items(), other.reset_index().items(), strict=True):
        if mine[1].dtype.kind == "f":
            np.testing.assert_allclose(theirs[1], mine[1], rtol=1e-4, atol=1e-4, err_msg=str(mine[0]))
        else:
            assert mine[1].tolist() == theirs[1].tolist()


@pytest.fixture(scope="module")
def pair() -> list[bmm.fit.Fit]:
    return fits(FORMULA)


ASKED = {
    "means": lambda fit: bmm.emmeans(fit, "f"),
    "means by": lambda fit: bmm.emmeans(fit, "h", by="f", at={"t": [0.0, 1.0]}),
    "means of few numbers": lambda fit: bmm.emmeans(fit, ["two", "z"]),
    "means of many numbers": lambda fit: bmm.emmeans(fit, "three"),
    "contrasts": lambda fit: bmm.emmeans(fit, "f").contrasts(),
    "slopes": lambda fit: bmm.slopes(fit, "t", "f"),
}


@pytest.mark.parametrize("what", ASKED)
def test_means_and_slopes_equal_those_of_rows_in_memory(what: str, pair: list[bmm.fit.Fit], tmp_path: Path) -> None:
    here, there = map(ASKED[what], pair)
    alike(here.table, there.table)
    if what == "means of few numbers":
        again = bmm.load(pair[1].save(tmp_path / "fit.nc"))
        alike(here.table, ASKED[what](again).table)


def test_means_over_counted_rows_say_that_rows_are_elsewhere(pair: list[bmm.fit.Fit]) -> None:
    with pytest.raises(RowsError, match="row by row"):
        bmm.emmeans(pair[1], "f", weights="proportional")
    there = bmm.Model("y ~ t + offset(np.log(w)) + (1 | a)", bmm.scan(DATA)).fit()
    with pytest.raises(RowsError, match=r"the mean of offset\(np\.log\(w\)\)"):
        bmm.emmeans(there, "t")


def test_distinct_values_are_known_as_long_as_they_are_few() -> None:
    from bayesmm.rows.gathering import FEW

    halves = [DATA[DATA["two"] == value] for value in (3.0, 5.0)]
    sums = [bmm.Model("y ~ t + two:t + (1 | a)", bmm.scan(half)).problem.sums for half in halves]
    both = bmm.Model.from_sums(*sums).design.elsewhere
    assert both is not None
    assert list(both.few["two"]) == [3.0, 5.0]
    assert both.few["t"] == []
    three = bmm.Model("y ~ three + (1 | a)", bmm.scan(DATA)).design.elsewhere
    assert three is not None
    assert three.few["three"] == []
    assert FEW == 2


@pytest.mark.parametrize("formula", ["y ~ t + f + (t | a) + (1 | b)", "y ~ s(t, k=5) + (1 | mm(s, q)) + (1 | b)"])
def test_layers_of_uncertainty_of_crossed_factors_need_no_rows(formula: str) -> None:
    here, there = fits(formula)
    for layer in ("fixed", "full"):
        alike(*(fit.random_effects(uncertainty=layer) for fit in (here, there)))
    if "s(" in formula:
        alike(here.smooths().table, there.smooths().table)
    else:
        alike(here.coef(), there.coef())


NESTED = [
    "y ~ t + (1 | a)",
    "y ~ t + f + (1 | a)",
    "y ~ t + f + (t | a)",
    "y ~ t * f + (t | a) + (1 | b)",
    "y ~ h + (1 | b)",
]


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_comparisons_of_models_equal_those_of_rows_in_memory(method: str) -> None:
    both = [fits(formula, method=method) for formula in NESTED]
    for one in range(len(NESTED)):
        for other in range(one + 1, len(NESTED)):
            found = []
            for k in (0, 1):
                try:
                    found.append(bmm.anova(both[one][k], both[other][k]))
                except BayesmmError as error:
                    found.append(str(error))
            here, there = found
            assert type(here) is type(there)
            if isinstance(here, str):
                assert here == there
            else:
                alike(here.table, there.table)
                assert here.remarks == there.remarks


def test_models_of_other_rows_are_not_compared() -> None:
    one, other = fits(NESTED[0], method="ml"), fits(NESTED[1], DATA[:200], method="ml")
    with pytest.raises(ComparisonError, match="used different rows"):
        bmm.anova(one[1], other[1])
    with pytest.raises(ComparisonError, match="of the same source"):
        bmm.anova(one[0], fits(NESTED[1], method="ml")[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gaps = DATA.assign(f=DATA["f"].where(np.arange(len(DATA)) >= 3))
        other = bmm.Model(NESTED[1], bmm.scan(gaps)).fit("ml")
    with pytest.raises(ComparisonError, match="used different rows"):
        bmm.anova(one[1], other)


@pytest.mark.parametrize(
    "term", ["binary(count)", "B(f)", "binary(h, 'mid')", "B(count, success=3)", "scale(binary(z))"]
)
def test_binary_is_about_the_same_value_as_in_memory(term: str) -> None:
    data = make_rows(300)
    here = bmm.Model(f"y ~ {term} + (1 | a)", data)
    there = bmm.Model(f"y ~ {term} + (1 | a)", bmm.scan(data.iloc[::-1], chunk_rows=37))
    close(here.fit().parameters, there.fit().parameters)
    saved = bmm.Model.from_sums(there.problem.sums).fit()
    new = data[data["count"] == 2][:3]
    for fit in (here.fit(), saved):
        np.testing.assert_allclose(fit.predict(new), here.fit().predict(data).loc[new.index], rtol=1e-8)


def test_binary_of_an_expression_needs_its_value() -> None:
    rows = bmm.scan(make_rows(100))
    with pytest.raises(RowsError, match=r"Name the value: binary\(np\.round\(t\), 1\)"):
        bmm.Model("y ~ binary(np.round(t)) + (1 | a)", rows)
    bmm.Model("y ~ binary(np.round(t), 1) + (1 | a)", rows)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ binary(count, 9) + (1 | a)",
        "y ~ t:binary(np.round(t), 7) + (1 | a)",
        "y ~ t + (0 + binary(f, 'x') | a)",
        "y ~ B(h, 3) + (1 | a)",
        "y ~ binary(z, 2) + (1 | a)",
        "y ~ scale(B(count, success=9)) + (1 | a)",
        "y ~ t + offset(binary(center(t), 0)) + (1 | a)",
    ],
)
def test_binary_of_a_value_that_never_occurs_is_the_same_error(formula: str) -> None:
    data = make_rows(300)
    for rows in (data, bmm.scan(data, chunk_rows=37)):
        with pytest.raises(DesignError, match="and no value is equal to it: name one that occurs"):
            bmm.Model(formula, rows)


def test_a_value_of_binary_may_be_in_any_row() -> None:
    data = make_rows(3000).assign(count=lambda rows: np.where(rows["count"] > 2, rows["count"] + 1, rows["count"]))
    data.loc[1234, "count"] = 3
    here, there = (bmm.Model("y ~ binary(count, 3) + (1 | a)", rows) for rows in (data, bmm.scan(data, chunk_rows=700)))
    close(here.fit().parameters, there.fit().parameters)
