"""Results of single rows of models that are read chunk by chunk go to files, and are those of rows in memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows, with_gaps

import bayesmm as bmm
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.results import loo_rows
from bayesmm.errors import ArgumentError, BayesmmError, PredictionError, RowsError, StorageError

ADDED = [".fitted", ".fixed", ".residual"]


def quietly(ask):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws, rows that are dropped
        return ask()


def both(formula: str, data: pd.DataFrame, **how) -> list[bmm.Model]:
    return quietly(lambda: [bmm.Model(formula, rows, **how) for rows in (data, bmm.scan(data, chunk_rows=70))])


DATA = with_gaps(make_rows(220))


@pytest.fixture(scope="module")
def posteriors() -> tuple[Posterior, Posterior]:
    """One set of draws, with the rows in memory and elsewhere."""
    here, there = both("y ~ poly(t, 2) + f + offset(w) + (1 | a) + (1 | mm(s, q))", DATA, weights="count")
    found = quietly(lambda: there.sample(method="importance", draws=40, chains=2, progress=False))
    how = {"data": found.data, "program": found.program, "notes": found.notes}
    return Posterior(problem=here.problem, priors=here.priors, **how), found


@pytest.mark.parametrize("kind", ["marginal", "conditional"])
def test_leave_one_out_of_rows_in_files_is_that_of_rows_in_memory(
    kind, posteriors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loo_rows, "AT_ONCE", 80 * 23)  # rows at a time, so that chunks are cut
    here, there = posteriors
    expected = quietly(lambda: here.loo(predictive=kind, progress=False))
    found = there.loo_rows(bmm.scan(DATA, chunk_rows=50), tmp_path / "loo.parquet", predictive=kind)
    for name in ("elpd", "se", "p", "good_k", "n_samples", "n_data_points"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6), name
    written = pd.read_parquet(found.path)
    assert list(written.columns) == [*DATA.columns, "elpd_loo", "p_loo", "pareto_k"]
    used = written["elpd_loo"].notna().to_numpy()
    np.testing.assert_array_equal(DATA.index[used], here.design.rows)
    np.testing.assert_allclose(written["elpd_loo"][used], expected.elpd_i, rtol=1e-6)
    np.testing.assert_allclose(written["pareto_k"][used], expected.pareto_k, rtol=1e-4, atol=1e-5)
    k = expected.pareto_k.to_numpy()
    assert found.counts["rows"].tolist() == np.histogram(k, [-np.inf, expected.good_k, 1, np.inf])[0].tolist()
    assert found.largest_k == pytest.approx(k.max(), rel=1e-4)
    assert f"{found.elpd:.1f}" in str(found)


def test_only_the_rows_of_the_model_are_left_out(posteriors, tmp_path: Path) -> None:
    _, posterior = posteriors
    for other in (DATA[:200], DATA.assign(y=DATA["y"] + 0.1), pd.concat([DATA, DATA[DATA["a"] == 3.0]])):
        with pytest.raises(RowsError, match="not the rows that the model was made of"):
            posterior.loo_rows(other, tmp_path / "loo.parquet", predictive="conditional")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError, match="'marginal' or 'conditional'"):
        posterior.loo_rows(DATA, predictive="both")
    with pytest.raises(ArgumentError, match="25 are the fewest"):
        posterior.loo_rows(DATA, draws=20)
    with pytest.raises(ArgumentError, match="as Parquet"):
        posterior.loo_rows(DATA, tmp_path / "loo.csv")
    with pytest.raises(RowsError, match="loo_rows"):
        posterior.loo()


def test_a_row_that_a_flat_prior_needs_is_refused(posteriors) -> None:
    data, (_, posterior) = DATA.copy(), posteriors
    row = int(np.flatnonzero(data.notna().all(axis=1))[7])
    data.loc[data["f"].notna(), "f"] = "u"
    data.loc[data.index[row], "f"] = "v"
    data.loc[data["f"].last_valid_index(), "f"] = "w"
    model = quietly(
        lambda: bmm.Model(
            posterior.problem.design.specification.formula, bmm.scan(data), weights="count", priors="flat"
        )
    )
    how = {"data": posterior.data, "program": posterior.program, "notes": posterior.notes}
    with pytest.raises(PredictionError, match=r"Without row 7 .*chunk 0"):
        Posterior(problem=model.problem, priors=model.priors, **how).loo_rows(data)


def test_residuals_of_files_are_those_of_a_data_frame(tmp_path: Path) -> None:
    data = with_gaps(make_rows(220))
    here, there = both("np.log(y + 20) ~ t + f + offset(w) + (t | a)", data, weights="count")
    expected = quietly(lambda: here.fit().augment(data))
    path = there.fit().augment_rows(bmm.scan(data, chunk_rows=60), tmp_path / "residuals.parquet")
    written = pd.read_parquet(path)
    assert list(written.columns) == [*data.columns, *ADDED, ".pearson"]
    np.testing.assert_allclose(written[ADDED], expected[ADDED], rtol=1e-5, atol=1e-6)
    pearson = here.fit().residuals("pearson")
    np.testing.assert_allclose(written[".pearson"].dropna(), pearson, rtol=1e-5, atol=1e-6)


def test_residuals_of_a_posterior_go_to_a_file(posteriors, tmp_path: Path) -> None:
    here, there = posteriors
    expected = here.augment(DATA, level=0.8)
    path = quietly(lambda: there.augment_rows(bmm.scan(DATA, chunk_rows=60), tmp_path / "rows.parquet", level=0.8))
    names = [name for name in expected if name[0] == "."]
    np.testing.assert_allclose(pd.read_parquet(path)[names], expected[names], rtol=1e-6, atol=1e-7)


def test_a_response_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = make_rows(100)
    fit = bmm.Model("y ~ t + (1 | a)", bmm.scan(data)).fit()
    with pytest.raises(BayesmmError, match="'y'"):
        fit.augment_rows(data.drop(columns="y"), tmp_path / "rows.parquet")
    with pytest.raises(StorageError, match="no-such-folder"):
        fit.augment_rows(data, tmp_path / "no-such-folder" / "rows.parquet")
    assert list(tmp_path.iterdir()) == []
