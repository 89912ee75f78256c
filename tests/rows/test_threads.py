"""Several threads take the chunks of a pass: what comes of it does not depend on which of them is the fastest."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scanned_rows import FORMULAS, close, make_rows, with_gaps

import bayesmm as bmm
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.rows import lanes
from bayesmm.rows.summing import Evaluation

pytest.importorskip("pyarrow")
FORMULA = "y ~ t * f + h + (t | a) + (1 | s)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    make_rows(400).to_parquet(path, index=False)
    return path


def arrays_of(model: bmm.Model) -> list[np.ndarray]:
    products = model.problem.products
    return [products.gram, *products.diagonal, *products.cross, *products.pairs]


def slow_by(monkeypatch: pytest.MonkeyPatch, pauses: list[float], wrong: tuple[int, ...] = ()) -> set[int]:
    """Let chunk i take so long, some have an error; return which threads evaluated chunks."""
    found: set[int] = set()
    read = Evaluation.read_rows

    def slow(self: Evaluation, chunk: Any) -> Any:
        found.add(threading.get_ident())
        time.sleep(pauses[chunk.number % len(pauses)])
        if chunk.number in wrong:
            raise RowsError(f"In {chunk}: wrong.")
        return read(self, chunk)

    monkeypatch.setattr(Evaluation, "read_rows", slow)
    return found


@pytest.mark.parametrize("formula", FORMULAS[::4])
@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
def test_any_number_of_threads_gives_the_model_of_a_data_frame(formula: str) -> None:
    data = with_gaps(make_rows(300))
    here = bmm.Model(formula, data).fit()
    for threads, chunk_rows in ((2, 40), (5, 13)):
        there = bmm.Model(formula, bmm.scan(data, threads=threads, chunk_rows=chunk_rows)).fit()
        assert there.loglik == pytest.approx(here.loglik, abs=1e-6)
        close(here.parameters, there.parameters)


def test_the_same_threads_give_the_same_bits_whichever_is_slow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bmm.scan(path, threads=3, chunk_rows=40)
    expected = arrays_of(bmm.Model(FORMULA, rows))
    for pauses in ([0.004, 0.0, 0.0, 0.0], [0.0, 0.0, 0.003, 0.006, 0.0]):
        with monkeypatch.context() as patch:
            others = slow_by(patch, pauses)
            found = arrays_of(bmm.Model(FORMULA, rows))
        assert len(others) >= 3
        assert threading.get_ident() not in others
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_first_chunk_with_an_error_is_named_whichever_is_found_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pauses in ([0.0], [0.0, 0.0, 0.0, 0.02]):
        with monkeypatch.context() as patch:
            slow_by(patch, pauses, wrong=(3, 4, 8))
            rows = bmm.scan(path, threads=4, chunk_rows=40)
            with pytest.raises(RowsError, match=r"rows\.parquet, chunk 3 \(rows 120 to 159\)"):
                bmm.Model(FORMULA, rows)


def test_an_interruption_ends_all_threads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, told = threading.active_count(), 0

    def interrupted(_: Any, rows: int, text: str) -> None:
        nonlocal told
        told += 1
        raise KeyboardInterrupt

    monkeypatch.setattr("bayesmm.presenting.progress.Bar.tell", interrupted)
    slow_by(monkeypatch, [0.01])
    with pytest.raises(KeyboardInterrupt):
        bmm.Model(FORMULA, bmm.scan(path, threads=4, chunk_rows=10))
    assert told == 1
    assert threading.active_count() == before


def test_many_levels_and_orders_take_one_thread(path: Path, tmp_path: Path) -> None:
    assert lanes.threads_for(lanes.MOST_ROWS + 1) == 1
    assert 1 <= lanes.threads_for(2**18) <= lanes.MOST_THREADS
    fit = bmm.Model(FORMULA, bmm.scan(path, threads=4, chunk_rows=30)).fit()
    fit.predict_rows(bmm.scan(path, threads=4, chunk_rows=30), to=tmp_path / "predicted")
    written = bmm.scan(tmp_path / "predicted")
    y = np.concatenate([chunk.table.column("y").to_numpy() for chunk in written.chunks(["y"])])
    np.testing.assert_array_equal(y, make_rows(400)["y"])


def test_what_threads_may_be(path: Path) -> None:
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ArgumentError, match="threads is"):
            bmm.scan(path, threads=wrong)  # pyright: ignore
    with pytest.raises(ArgumentError, match="workers of a cluster read"):
        bmm.scan(path, threads=2, cluster="tcp://nowhere:1")
