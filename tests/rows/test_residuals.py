"""Residuals with a covariance, of rows from files: the model of the same rows in memory, however they are parted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scanned_visits import MODELS, assert_same, make_visits, scanned

import bayesmm as bmm
from bayesmm.errors import DesignError, RowsError
from bayesmm.marginal.residual import group_totals
from bayesmm.rows import grouping

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few rows of many again and again."""
    monkeypatch.setattr(group_totals, "WAITING", 100)


@pytest.mark.parametrize(("formula", "residual", "how"), MODELS)
def test_any_partition_and_order_give_the_model_of_a_data_frame(formula: str, residual: str, how: dict) -> None:
    data = make_visits()
    here = bmm.Model(formula, data, residual=residual, **how).fit()
    for seed, chunk_rows, threads in ((0, 23, 1), (1, 37, 3)):
        there = bmm.Model(formula, scanned(data, seed, chunk_rows, threads), residual=residual, **how)
        assert_same(there.fit(), here)
    small = there.problem.residual_rows
    assert small.n == here.n
    counts = sum(stack.counts.sum() * stack.rows.shape[1] for stack in small.layout.stacks)
    assert counts == pytest.approx(here.n)


@pytest.mark.parametrize("residual", ["het(arm)", "ar1(week | id)"])
def test_levels_may_be_related(residual: str) -> None:
    data, formula = make_visits(30), "y ~ week + (1 | rel(id, A))"
    ids = sorted(data["id"].unique())
    near = 0.5 ** np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    how = {"residual": residual, "relations": {"A": pd.DataFrame(near, ids, ids)}}
    here = bmm.Model(formula, data, **how).fit()
    assert_same(bmm.Model(formula, scanned(data, 1, 30, 2), **how).fit(), here)


def test_many_groups_become_few_rows() -> None:
    data = make_visits(600, seed=3)
    model = bmm.Model("y ~ arm * visit", scanned(data, 1, 100, 2), residual="us(visit | id)")
    assert len(model.problem.residual_rows.fixed) < len(data) / 2
    assert_same(model.fit("ml"), bmm.Model("y ~ arm * visit", data, residual="us(visit | id)").fit("ml"))
    het = bmm.Model("y ~ arm * visit", scanned(data, 2, 100, 2), residual="het(arm)")
    assert len(het.problem.residual_rows.fixed) == 2 * (5 + 1)  # in each arm


@pytest.mark.parametrize(("formula", "residual"), [(each[0], each[1]) for each in (MODELS[7], MODELS[8])])
def test_what_follows_from_a_fit_is_the_same(formula: str, residual: str, tmp_path: Path) -> None:
    data = make_visits()
    one, other = (bmm.Model(formula, rows, residual=residual) for rows in (data, scanned(data, 1, 31, 2)))
    here, there = one.fit(), other.fit()
    for df in ("satterthwaite", "kenward-roger"):
        np.testing.assert_allclose(here.coefficients(df=df), there.coefficients(df=df), rtol=1e-6)
    tables = (
        lambda fit: fit.predict(data[:9], interval="prediction"),
        lambda fit: fit.random_effects()[["estimate", "std_error"]].astype(float),
        lambda fit: fit.variance_shares(),
        lambda fit: fit.profile("sigma", progress=False).intervals().select_dtypes("number"),
    )
    for table in tables:
        np.testing.assert_allclose(table(here), table(there), rtol=1e-5, atol=1e-7)
    assert str(here) == str(there)
    assert str(one).partition("Rows")[0] == str(other).partition("Rows")[0]
    assert str(one.plan) == str(other.plan)
    if "|" in residual:
        np.testing.assert_allclose(here.residual_correlation(), there.residual_correlation(), rtol=1e-7)
    for refused in (there.residuals, there.influence, there.simulate):
        with pytest.raises(RowsError, match="in 3 tables"):
            refused()
    assert_same(bmm.load(there.save(tmp_path / "fit.nc")), here)
    assert_same(bmm.Model.from_sums(other.problem.sums).fit(), here)


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")  # few draws cannot be checked
def test_the_posterior_is_that_of_the_data_frame() -> None:
    data = make_visits(40)
    asked = {"draws": 20, "tune": 20, "chains": 1, "seed": 1, "progress": False}
    found = [
        bmm.Model("y ~ week", rows, residual="ar1(week | id)").sample(**asked)
        for rows in (data, scanned(data, 1, 31, 2))
    ]
    one, other = (each.predict(data[:5])["mean"] for each in found)
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_what_cannot_be_is_refused_with_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_visits()

    def model(formula: str, rows: pd.DataFrame, residual: str) -> bmm.Model:
        return bmm.Model(formula, scanned(rows, 1, 29, 2), residual=residual)

    twice = data.assign(week=data["week"].where(data["id"] != "p3", 1))
    with pytest.raises(DesignError, match=r"Group 'p3' of 'id' has several rows at one week"):
        model("y ~ x", twice, "ar1(week | id)")
    with pytest.raises(DesignError, match=r"several levels of a grouping factor"):
        model("y ~ x + (1 | visit)", data, "ar1(week | id)")
    with pytest.raises(RowsError, match="fitted value of every row"):
        model("y ~ x", data, "power(fitted)")
    with pytest.raises(DesignError, match="several levels of 'mm"):
        model("y ~ x + (1 | mm(id, site))", data, "het(arm)")
    with monkeypatch.context() as patch:
        patch.setattr(grouping, "MOST_WAITING", 20)
        with pytest.raises(RowsError, match="sort the rows by id"):
            model("y ~ x", data, "ar1(week | id)")
    with monkeypatch.context() as patch:
        patch.setattr(group_totals, "MOST_NUMBERS", 200)
        with pytest.raises(RowsError, match="round the times"):
            model("y ~ x", data.assign(week=data["week"] + data["w"]), "car1(week | id)")
