"""Sums over rows are saved without a row, read again, and added: the model is that of all rows together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scanned_rows import FORMULAS, close, make_rows

import bayesmm as bmm
from bayesmm.errors import ArgumentError, RowsError, StorageError


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return make_rows(300)


def model_of(formula: str, part: pd.DataFrame) -> bmm.Model:
    return bmm.Model(formula, bmm.scan(part, chunk_rows=100))


@pytest.mark.parametrize("formula", [*FORMULAS[:1], *FORMULAS[3:7], "y ~ t + (t | a)"])
@pytest.mark.parametrize("split", ["alternating", "by level"])
def test_sums_of_two_sites_give_the_model_of_all_rows(formula: str, split: str, data: pd.DataFrame) -> None:
    order = np.argsort(data["a"].to_numpy(), kind="stable") if split == "by level" else np.arange(len(data))
    one, other = data.iloc[order[:120]], data.iloc[order[120:]]
    fit = bmm.Model(formula, data).fit()
    added = bmm.Model.from_sums(*(model_of(formula, part).problem.sums for part in (other, one)))
    again = added.fit()
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-7)
    close(fit.parameters, again.parameters)
    close(fit.random_effects(), again.random_effects())
    assert str(added.priors) == str(bmm.Model(formula, data).priors)


def test_tables_of_equal_size_are_told_apart_by_what_they_hold(data: pd.DataFrame) -> None:
    first, second = data.iloc[:150], data.iloc[150:]
    one, other = (model_of("y ~ t + (1 | a)", part).problem.sums for part in (first, second))
    fit = bmm.Model("y ~ t + (1 | a)", data).fit()
    assert bmm.Model.from_sums(one + other).fit().loglik == pytest.approx(fit.loglik, abs=1e-7)
    again = bmm.Model("y ~ t + (1 | a)", bmm.scan(second, chunk_rows=70)).problem.sums
    with pytest.raises(RowsError, match="would count twice"):
        other + again


@pytest.mark.parametrize("ending", [".zarr", ".nc"])
def test_sums_come_back_from_their_file(ending: str, tmp_path: Path, data: pd.DataFrame) -> None:
    formula = FORMULAS[9]
    model = model_of(formula, data)
    path = model.problem.save(tmp_path / f"sums{ending}")
    again = bmm.Model.from_sums(path)
    assert again.fit().loglik == pytest.approx(model.fit().loglik, abs=1e-9)
    close(model.fit().parameters, again.fit().parameters)
    assert again.design.dropped_by == model.design.dropped_by
    np.testing.assert_allclose(again.fit().predict(data.head(5)), model.fit().predict(data.head(5)), rtol=1e-6)


def test_a_model_of_a_data_frame_has_the_same_sums(data: pd.DataFrame) -> None:
    here = bmm.Model(FORMULAS[0], data)
    assert bmm.Model.from_sums(here.problem.sums).fit().loglik == pytest.approx(here.fit().loglik, abs=1e-8)


def test_a_file_of_sums_holds_no_number_of_a_row(tmp_path: Path, data: pd.DataFrame) -> None:
    from xarray import open_datatree

    path = model_of("y ~ t + (1 | a)", data).problem.save(tmp_path / "sums.nc")
    with open_datatree(path, engine="h5netcdf") as tree:
        stored = tree["bayesmm"].to_dataset().load()
    limits = {data["y"].min(), data["y"].max(), data["t"].min(), data["t"].max()}
    numbers = set(data["y"]) | set(data["t"])
    written = {each for name in stored.data_vars if name != "description" for each in stored[name].to_numpy().ravel()}
    assert written & numbers <= limits
    assert set(json.loads(stored["description"].item())["found"]["low"].values()) <= limits | {0}


def test_the_same_rows_are_not_added_twice(tmp_path: Path, data: pd.DataFrame) -> None:
    data.to_parquet(tmp_path / "rows.parquet")
    one, other = (bmm.Model("y ~ t + (1 | a)", tmp_path / "rows.parquet").problem.sums for _ in range(2))
    with pytest.raises(RowsError, match="would count twice"):
        one + other


@pytest.mark.parametrize(
    ("formula", "part", "said"),
    [
        ("y ~ t + (1 | b)", slice(None), "formulas"),
        ("y ~ t + f + (1 | a)", slice(None), "formulas"),
    ],
)
def test_sums_of_other_models_are_not_added(formula: str, part: slice, said: str, data: pd.DataFrame) -> None:
    one, other = model_of("y ~ t + (1 | a)", data).problem.sums, model_of(formula, data[part]).problem.sums
    with pytest.raises(RowsError, match=said):
        one + other


def test_sums_with_other_levels_of_a_predictor_are_not_added(data: pd.DataFrame) -> None:
    formula = "y ~ f + (1 | a)"
    one, other = (model_of(formula, part).problem.sums for part in (data[data["f"] != "w"], data))
    with pytest.raises(RowsError, match=r"f\[T.w\]"):
        one + other


def test_what_holds_no_sums_is_refused(tmp_path: Path, data: pd.DataFrame) -> None:
    fit = bmm.Model("y ~ t + (1 | a)", data).fit()
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(StorageError, match="holds no sums"):
        bmm.Model.from_sums(tmp_path / "fit.nc")
    path = fit.problem.save(tmp_path / "sums.nc")
    with pytest.raises(StorageError, match=r"Model\.from_sums"):
        bmm.load(path)
    with pytest.raises(ArgumentError, match="are no sums"):
        bmm.Model.from_sums(data)
    with pytest.raises(ArgumentError, match="no sums"):
        bmm.Model.from_sums()
    with pytest.raises(RowsError, match="as an array"):
        _ = bmm.Model("y ~ t + (1 | a)", data, weights=data["w"].to_numpy()).problem.sums


def test_a_damaged_file_of_sums_is_refused(tmp_path: Path, data: pd.DataFrame) -> None:
    path = model_of("y ~ t + (1 | a)", data).problem.save(tmp_path / "sums.nc")
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 0xFF
    path.write_bytes(held)
    with pytest.raises(StorageError, match="damaged"):
        bmm.Model.from_sums(path)
