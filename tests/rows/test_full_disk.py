"""A disk that is full in the middle leaves the old file of sums, predictions, residuals or leave-one-out, or none."""

from __future__ import annotations

import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scanned_rows import make_rows

import bayesmm as bmm
from bayesmm.errors import StorageError

pytest.importorskip("h5netcdf")
DATA = make_rows(1200).drop(columns="long")


@pytest.fixture(scope="module")
def fit() -> bmm.fit.Fit:
    return bmm.Model("y ~ t + (1 | a)", bmm.scan(DATA, chunk_rows=400)).fit()


@pytest.fixture(scope="module")
def posterior(fit: bmm.fit.Fit) -> bmm.bayes.posterior.Posterior:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        model = bmm.Model("y ~ t + (1 | a)", bmm.scan(DATA, chunk_rows=400))
        return model.sample(method="quadrature", draws=20, chains=2, progress=False)


def limited(size: int, ask: Callable[[], Any]) -> BaseException | None:
    """Let files have so many bytes at most; return what was raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        ask()
    except StorageError as error:
        return error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return None


def contents(path: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in (path, *path.rglob("*")) if each.is_file()}


def hold(write: Callable[[Path], Any], path: Path, read: Callable[[Path], Any]) -> None:
    """Write to disks of several sizes, over an old file and where there is none: the old one stays, or none is there."""
    write(path)
    before, expected = contents(path), read(path)
    largest = max(map(len, before.values()))
    for size in (0, largest // 2, int(0.98 * largest)):
        fresh = path.with_stem("fresh")
        for target in (path, fresh):
            error = limited(size, lambda target=target: write(target))
            assert error is not None, size
            assert str(target) in str(error)
        assert not fresh.exists()
        assert contents(path) == before
        assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert limited(2 * largest + 2**20, lambda: write(path)) is None
    assert read(path) == expected


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_sums(ending: str, fit: bmm.fit.Fit, tmp_path: Path) -> None:
    hold(fit.problem.save, tmp_path / f"sums{ending}", lambda path: str(bmm.Model.from_sums(path)))


def test_a_fit_of_sums(fit: bmm.fit.Fit, tmp_path: Path) -> None:
    hold(fit.save, tmp_path / "fit.nc", lambda path: str(bmm.load(path)))


@pytest.mark.parametrize("what", ["predict_rows", "augment_rows", "loo_rows"])
def test_files_of_rows(what: str, fit: bmm.fit.Fit, posterior, tmp_path: Path) -> None:
    result = posterior if what == "loo_rows" else fit
    how = {"predictive": "conditional"} if what == "loo_rows" else {}

    def write(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(result, what)(bmm.scan(DATA, chunk_rows=400), path, **how)

    hold(write, tmp_path / "rows.parquet", lambda path: pd.read_parquet(path).round(9).to_csv())
