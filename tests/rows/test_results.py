"""Whatever a result of rows that are not in memory is asked for equals that of rows in memory, or is refused."""

from __future__ import annotations

import inspect
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import RowsError

FORMULA = "y ~ t + f + (t | a)"
SAME = 2e-3  # of standard errors by differences, relative
ARGUMENTS = {"boundary": ("a",), "test": ("t",), "predict": (make_rows(5),), "explore": ("a",)}
ASKED_OTHERWISE = {"save", "to_netcdf", "to_zarr", "bootstrap"}  # files; draws, which are held to each other below


def models(formula: str = FORMULA) -> tuple[bmm.Model, bmm.Model]:
    data = make_rows(200)
    return bmm.Model(formula, data), bmm.Model(formula, bmm.scan(data, chunk_rows=60))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        numbers = one.select_dtypes("number").columns
        size = one[numbers].abs().max().max() if len(numbers) else 0.0
        values = (each[numbers].to_numpy(float) for each in (one, other))
        return list(one.index) == list(other.index) and np.allclose(
            *values, rtol=SAME, atol=1e-4 * size, equal_nan=True
        )
    if isinstance(one, (pd.Series, float, np.ndarray)):
        return np.allclose(np.asarray(one, float), np.asarray(other, float), rtol=SAME, atol=1e-5, equal_nan=True)
    if isinstance(getattr(one, "table", None), pd.DataFrame):
        return same(one.table, other.table)
    if hasattr(one, "children") and hasattr(one, "groups"):  # a DataTree: that of rows in memory has groups of rows too
        groups = [each for each in other.groups if each != "/"]
        return all(
            np.allclose(one[each][name], other[each][name], rtol=SAME, atol=1e-4)
            for each in groups
            for name in other[each].data_vars
            if other[each][name].dtype.kind == "f"
        )
    return not isinstance(one, str) or one == other


def compare(here: Any, there: Any) -> set[str]:
    """Ask both for everything; return what was refused."""
    refused = set()
    for name in dir(type(here)):
        if name.startswith("_") or name in ASKED_OTHERWISE:
            continue

        def ask(result: Any, name: str = name) -> Any:
            value = getattr(result, name)
            is_call = callable(value) and not inspect.isclass(value)
            return value(*ARGUMENTS.get(name, ())) if is_call else value

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = ask(here)
            except bmm.errors.BayesmmError:
                continue
            except TypeError as error:
                if "required positional" in str(error):
                    continue
                raise
            try:
                found = ask(there)
            except RowsError:
                refused.add(name)
                continue
        assert same(expected, found), name
    return refused


def test_a_fit_gives_the_same_or_refuses() -> None:
    here, there = (model.fit() for model in models())
    refused = compare(here, there)
    assert {"fitted", "residuals", "simulate", "influence", "check", "augment"} <= refused
    assert not refused & {
        "anova", "coefficients", "explained", "parameters", "predict", "profile", "random_effects", "summary", "tidy",
        "to_datatree", "variance_shares", "test", "principal_components", "loadings", "glance", "confounded",
        "criteria",
    }  # fmt: skip


def test_a_posterior_gives_the_same_or_refuses() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        here, there = (model.sample(method="importance", draws=60, chains=2, progress=False) for model in models())
    refused = compare(here, there)
    assert {"loo", "fitted"} & refused == {"loo", "fitted"} & set(dir(type(here)))
    assert not refused & {"parameters", "random_effects", "summary", "predict", "explained", "variance_shares"}
    for name, values in here.data["posterior"].data_vars.items():
        np.testing.assert_allclose(there.data["posterior"][name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("formula", ["y ~ year * t + (year | a)", "y ~ 0 + f + f:t + (1 | dyad(s, q))"])
def test_default_priors_are_those_of_rows_in_memory(formula: str) -> None:
    here, there = (model.priors for model in models(formula))
    assert str(here) == str(there)
    np.testing.assert_allclose(there.contrast, here.contrast, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("effects", ["x", "0 + x", "x * z"])
@pytest.mark.parametrize("origin", [0.0, 2015.0])
def test_default_priors_by_strata_are_those_of_rows_in_memory(effects: str, origin: float) -> None:
    rng = np.random.default_rng(5)
    level = np.arange(300) % 30
    data = pd.DataFrame(rng.normal(size=(300, 3)), columns=["y", "x", "z"])
    data["x"] = data["x"] * np.where(level < 12, 3.0, 1.0) + origin
    data["g"], data["f"] = [f"g{i:02d}" for i in level], np.where(level < 12, "one", "two")
    formula = f"y ~ x + ({effects} | gr(g, by=f))"
    here, there = bmm.Model(formula, data).priors, bmm.Model(formula, bmm.scan(data, chunk_rows=70)).priors
    assert str(here) == str(there)


def test_a_comparison_and_the_plan_need_no_rows() -> None:
    here, there = models("y ~ t + (1 | a)")
    assert str(there.plan) == str(here.plan)
    one, other = (
        bmm.compare(model.fit(), model.sample(method="quadrature", draws=100, chains=2, progress=False))
        for model in (here, there)
    )
    assert same(one.table, other.table)
    assert same(one.random_effects, other.random_effects)


def test_parametric_bootstraps_need_no_rows() -> None:
    here, there = (model.fit().bootstrap(20, seed=1) for model in models("y ~ t + (1 | a)"))
    assert same(here.parameters, there.parameters)


def test_estimates_of_levels_alone_need_no_rows() -> None:
    for formula in ("y ~ t + (t | a) + (1 | b)", "y ~ t + (1 | mm(s, q))"):
        here, there = models(formula)
        estimate = here.fit().estimate
        own, sums = (model.problem.read_own_rows(estimate.beta, estimate.modes) for model in (here, there))
        for one, other in zip(own, sums, strict=True):
            np.testing.assert_array_equal(other.n, one.n)
            np.testing.assert_allclose(other.unpooled, one.unpooled, rtol=1e-8)
            np.testing.assert_allclose(other.gram, one.gram, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("formula", [FORMULA, "y ~ t + (1 | a) + (1 | mm(s, q))", "y ~ t + (0 + t | a)"])
def test_layers_of_uncertainty_need_no_rows(formula: str) -> None:
    one, other = (bmm.effect_uncertainty(model.fit()) for model in models(formula))
    assert same(one.table, other.table)
    assert one.notes == other.notes  # which say how many rows a level has


def test_a_report_says_what_it_leaves_out(tmp_path: Path) -> None:
    here, there = models()
    pages = {}
    for name, model in (("here", here), ("there", there)):
        bmm.report(model.fit(), path=tmp_path / f"{name}.html")
        pages[name] = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    tables = {name: pd.read_html(StringIO(page)) for name, page in pages.items()}
    levels = {name: next(t for t in found if "fewest rows" in t.columns) for name, found in tables.items()}
    pd.testing.assert_frame_equal(levels["here"], levels["there"])
    columns = next(t for t in tables["there"] if {"smallest", "largest"} <= set(t.columns))
    data = make_rows(200)
    row = columns[columns.iloc[:, 0] == "t"].iloc[0]
    expected = [data["t"].mean(), data["t"].std(), data["t"].min(), data["t"].max()]
    np.testing.assert_allclose([float(str(x).replace("−", "-")) for x in row.iloc[1:]], expected, rtol=1e-4)
    assert "Residuals are not looked at: the rows are in a table" in pages["there"]
    assert "Residuals are not looked at" not in pages["here"]
    assert "Profile of the" in pages["there"]


@pytest.mark.parametrize(
    "formula", ["y ~ t + f + (t | a)", "y ~ t + (t || a) + (1 | mm(s, q))", "y ~ t + (1 | a)", "y ~ t + (0 + f | a)"]
)
def test_tests_of_variances_are_those_of_rows_in_memory(formula: str) -> None:
    here, there = (model.fit().variance_tests(seed=1) for model in models(formula))
    assert here.table["null"].tolist() == there.table["null"].tolist()
    np.testing.assert_allclose(there.table["statistic"], here.table["statistic"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(there.table["p_value"], here.table["p_value"], rtol=1e-6)
    assert [each.remarks for each in here.tests] == [each.remarks for each in there.tests]


@pytest.mark.parametrize("formula", ["y ~ t + (t | b)", "y ~ t + (1 | a) + (1 | b)"])
def test_refits_without_a_variance_are_drawn_as_rows_in_memory_are(formula: str) -> None:
    here, there = (
        model.fit().variance_tests("sd(Intercept | b)", kind="bootstrap", n=200, seed=1) for model in models(formula)
    )
    (one,), (other,) = here.tests, there.tests
    assert stats.ks_2samp(one.draws, other.draws).pvalue > 1e-3
    np.testing.assert_allclose(other.statistic, one.statistic, rtol=1e-6, atol=1e-8)


def test_what_needs_rows_says_where_they_are() -> None:
    _, there = models()
    with pytest.raises(RowsError, match="row by row, and the rows are in a table"):
        there.fit().residuals()
    with pytest.raises(RowsError, match="row by row"):
        there.sample(program="conditional", draws=10, tune=10, chains=1, progress=False)
    with pytest.raises(RowsError, match="row by row"):
        there.problem.with_response(np.zeros(200))
    with pytest.raises(RowsError, match="row by row"):
        _ = there.design.X[0]
