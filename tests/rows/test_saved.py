"""Fits and posteriors of rows that are not in memory are saved with their sums, and come back with all they can do."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scanned_rows import close, make_rows
from xarray import open_datatree

import bayesmm as bmm
from bayesmm.errors import RowsError, StorageError

pytest.importorskip("h5netcdf")
FORMULA = "y ~ poly(t, 2) + np.log(w) + (double(t) | a)"
NAMESPACE = {"double": lambda x: 2.0 * x}


@pytest.fixture(scope="module")
def model() -> bmm.Model:
    return bmm.Model(FORMULA, bmm.scan(make_rows(200), chunk_rows=60), weights="w", namespace=NAMESPACE)


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_a_fit_comes_back(ending: str, method, tmp_path: Path, model: bmm.Model) -> None:
    fit, new = model.fit(method), make_rows(9, seed=3).assign(t=0.5)
    path = fit.save(tmp_path / f"fit{ending}")
    again = bmm.load(path, namespace=NAMESPACE)
    assert str(again.summary()) == str(fit.summary())
    close(fit.random_effects(), again.random_effects())
    np.testing.assert_allclose(again.predict(new), fit.predict(new), rtol=1e-9)
    assert again.problem.summed is not None
    assert again.problem.summed.parts == model.problem.sums.summed.parts
    with pytest.raises(RowsError, match="would count twice"):
        _ = again.problem.sums + model.problem.sums
    assert str(bmm.load(again.save(tmp_path / f"again{ending}"), namespace=NAMESPACE)) == str(fit)
    with pytest.raises(StorageError, match="'double'"):
        bmm.load(path)


def test_a_posterior_comes_back(tmp_path: Path, model: bmm.Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        posterior = model.sample(method="importance", draws=40, chains=2, progress=False)
    again = bmm.load(posterior.save(tmp_path / "posterior.nc"), namespace=NAMESPACE)
    assert str(again.summary()) == str(posterior.summary())
    assert str(again.priors) == str(posterior.priors)
    for name, values in posterior.data["posterior"].data_vars.items():
        np.testing.assert_array_equal(again.data["posterior"][name], values)
    new = make_rows(9, seed=3).assign(t=0.5)
    close(posterior.predict(new), again.predict(new))


def test_no_number_of_a_row_is_in_the_file_of_a_fit(tmp_path: Path) -> None:
    data = make_rows(200)
    path = bmm.Model("y ~ t + (1 | a)", bmm.scan(data, chunk_rows=50)).fit().save(tmp_path / "fit.nc")
    with open_datatree(path, engine="h5netcdf") as tree:
        stored = tree["bayesmm"].to_dataset().load()
    limits = {each for name in ("y", "t") for each in (data[name].min(), data[name].max())}
    written = {each for name in stored.data_vars if name != "description" for each in stored[name].to_numpy().ravel()}
    assert written & (set(data["y"]) | set(data["t"])) <= limits


def test_sums_that_were_changed_in_a_file_are_refused(tmp_path: Path, model: bmm.Model) -> None:
    path = model.fit().save(tmp_path / "fit.nc")
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 0xFF
    path.write_bytes(held)
    with pytest.raises(StorageError, match="damaged"):
        bmm.load(path, namespace=NAMESPACE)
