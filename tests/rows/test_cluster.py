"""On a cluster of processes: the numbers are those of one process, also when a worker dies on the way."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_commands import mistake, run, run_json
from scanned_rows import close, make_rows

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning, RowsError
from bayesmm.presenting import progress as progress_module
from bayesmm.rows import cluster as cluster_module

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
FORMULA = "y ~ t + f + (t | a) + (1 | b)"
N = 8  # files
PATIENCE = 60.0  # seconds for a cluster to have done something


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
        for each in cluster_module._CLIENTS.values():
            each.close()


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return make_rows(400).drop(columns="long")


@pytest.fixture(scope="module")
def folder(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows")
    for i in range(N):
        data[i * 50 : (i + 1) * 50].to_parquet(path / f"part{i}.parquet", index=False)
    return path


def same(one: bmm.Model, other: bmm.Model) -> None:
    """To the last digit: the tree is that of the parts, whoever makes them."""
    mine, theirs = (pickle.dumps(model.problem.sums.summed.totals.packed()) for model in (one, other))
    assert mine == theirs


def wait_until(is_so) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def expected(client, folder: Path) -> bmm.Model:
    return bmm.Model(FORMULA, bmm.scan(folder, cluster=client))


def test_files_that_workers_read_give_the_numbers_of_one_process(
    client, folder: Path, data: pd.DataFrame, expected: bmm.Model
) -> None:
    here = bmm.Model(FORMULA, data).fit()
    close(here.parameters, expected.fit().parameters)
    close(here.random_effects(), expected.fit().random_effects())
    by_address = bmm.Model(FORMULA, bmm.scan(folder, cluster=client.scheduler.address))
    same(expected, by_address)
    with pytest.raises(RowsError, match="would count twice"):  # also with what one process has read
        expected.problem.sums + bmm.Model(FORMULA, folder).problem.sums


def test_workers_load_neither_jax_nor_arviz(client, expected: bmm.Model) -> None:
    loaded = client.run(lambda: sorted({name.partition(".")[0] for name in sys.modules}))
    assert len(loaded) == 2
    for names in loaded.values():
        assert not {"jax", "numpyro", "arviz", "matplotlib"} & set(names)
    assert any("bayesmm" in names for names in loaded.values())


def test_functions_of_the_user_travel_and_the_rest_is_small(
    client, folder: Path, data: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    travelled: list[int] = []

    def watched(self, what, compute=cluster_module._Run.compute):
        found = compute(self, what)
        travelled.append(len(found))
        return found

    monkeypatch.setattr(cluster_module._Run, "compute", watched)
    how = {"namespace": {"half": lambda x: x / 2}}
    there = bmm.Model("y ~ half(t) + (1 | a)", bmm.scan(folder, cluster=client), **how)
    close(bmm.Model("y ~ half(t) + (1 | a)", data, **how).fit().parameters, there.fit().parameters)
    assert len(travelled) == 3  # what three passes found
    assert max(travelled) < 60_000  # of the first pass: its sample of rows


@pytest.mark.parametrize("how", ["first pass", "second pass"])
def test_the_part_of_a_lost_worker_is_computed_again(
    how: str, client, folder: Path, expected: bmm.Model, tmp_path: Path
) -> None:
    here, paths = os.getpid(), sorted(folder.glob("*.parquet"))

    def die(number: int) -> None:
        """Count the parts that are read, and end the worker that reads this one."""
        if os.getpid() == here:
            return
        while True:
            count = len(os.listdir(tmp_path))
            try:
                os.close(os.open(tmp_path / str(count), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            break
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def read(path: Path) -> pd.DataFrame:
        die(5)
        return pd.read_parquet(path)

    if how == "first pass":
        meta = pd.read_parquet(paths[0]).head(0)
        rows = dd.from_map(read, paths, meta=meta)
        model = bmm.Model(FORMULA, bmm.scan(rows, cluster=client))
        same(expected, model)
    else:
        model = bmm.Model(
            FORMULA.replace("y ~ t", "y ~ alive(t)"),
            bmm.scan(folder, cluster=client),
            namespace={"alive": lambda x: (die(5), x)[1]},
        )
        assert model.fit().loglik == pytest.approx(expected.fit().loglik, abs=1e-9)
    assert len(list(tmp_path.iterdir())) > N  # some part was read again


def test_a_file_that_a_worker_cannot_use_is_named(client, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    pd.read_parquet(tmp_path / "part3.parquet").assign(f=1).to_parquet(tmp_path / "part3.parquet")
    with pytest.raises(RowsError, match=r"'f' holds numbers in .*part3\.parquet, chunk 0 \(rows 0 to 49\), and texts"):
        bmm.Model(FORMULA, bmm.scan(tmp_path, cluster=client))
    (tmp_path / "part3.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(RowsError, match=r"part3\.parquet.*cannot be read as parquet"):
        bmm.Model(FORMULA, bmm.scan(tmp_path, cluster=client))


def test_files_that_a_worker_sees_otherwise_are_refused(client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = cluster_module.FileScan.parts.fget

    def other(self):
        return tuple(f"{part}1" for part in parts(self))

    monkeypatch.setattr(cluster_module.FileScan, "parts", property(other))
    with pytest.raises(RowsError, match=r"part\d\.parquet has changed .* a file system that they share"):
        bmm.Model(FORMULA, bmm.scan(folder, cluster=client))


def test_an_interruption_cancels_what_is_waiting(client, folder: Path, tmp_path: Path) -> None:
    path = folder / "part0.parquet"

    def slow(number: int) -> pd.DataFrame:
        (tmp_path / str(number)).touch()
        time.sleep(0.2)
        return pd.read_parquet(path)

    rows = bmm.scan(dd.from_map(slow, range(60), meta=pd.read_parquet(path).head(0)), cluster=client)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        wait_until(lambda: list(tmp_path.iterdir()))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            bmm.Model(FORMULA, rows)
    finally:
        other.join()
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
    assert len(list(tmp_path.iterdir())) < 40


def test_a_bar_counts_the_parts(client, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    heard: list[str] = []
    monkeypatch.setattr(progress_module._DrawnBar, "tell", lambda self, done, text: heard.append(text))
    bmm.Model(FORMULA, bmm.scan(folder, cluster=client), progress=True)
    wait_until(lambda: f"reading rows for sums: {N} of {N} parts" in heard)
    assert f"reading rows for levels: {N} of {N} parts" in heard


def test_clusters_that_cannot_be_used_are_refused(client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"cluster\.get_client\(\)"):
        bmm.scan(folder, cluster=client.cluster)
    with pytest.raises(ArgumentError, match="which is in this process"):
        bmm.scan(make_rows(10), cluster=client)
    monkeypatch.setattr(cluster_module, "WAIT", "0.2 s")
    with pytest.raises(RowsError, match=r"No scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        bmm.scan(folder, cluster="tcp://127.0.0.1:9")


def test_the_command_line_takes_the_address_of_a_scheduler(client, folder: Path, expected: bmm.Model) -> None:
    address = client.scheduler.address
    found = run_json("fit", FORMULA, "--data", folder, "--cluster", address)["fit"]["parameters"]
    estimates = expected.fit().parameters["estimate"]
    assert [row["estimate"] for row in found] == pytest.approx(list(estimates), rel=1e-9)
    assert " 50 rows" in run("fit", "y ~ t + (1 | a)", "--data", folder / "part0.parquet", "--cluster", address).stdout
    assert "is no file" in mistake("fit", FORMULA, "--data", "sleepstudy", "--cluster", address)
    assert "A cluster sums" in mistake("power", FORMULA, "--data", folder, "--parameters", "t=1", "--cluster", address)


def test_workers_write_predictions_and_their_warnings_are_heard(
    client, folder: Path, data: pd.DataFrame, tmp_path: Path
) -> None:
    fit = bmm.Model("y ~ s(t) + (t | a)", data[data["t"] < 1.0]).fit()
    with pytest.warns(BayesmmWarning, match="t"):
        expected = fit.predict(data)
    with pytest.warns(BayesmmWarning, match="t"):
        path = fit.predict_rows(bmm.scan(folder, cluster=client), to=tmp_path / "predictions")
    assert [each.name for each in sorted(path.iterdir())] == [f"part-{i:05}.parquet" for i in range(N)]
    found = pd.concat(pd.read_parquet(each) for each in sorted(path.iterdir()))
    np.testing.assert_allclose(found["predicted"], expected, rtol=1e-12)


def test_a_part_that_kills_its_workers_is_named(client, folder: Path) -> None:
    here = os.getpid()

    def die(path: Path) -> pd.DataFrame:
        if os.getpid() != here and path.name == "part3.parquet":
            os.kill(os.getpid(), signal.SIGKILL)
        return pd.read_parquet(path)

    def allow(failures: int) -> None:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", failures))

    paths = sorted(folder.glob("*.parquet"))
    rows = dd.from_map(die, paths, meta=pd.read_parquet(paths[0]).head(0))
    allow(0)
    try:
        with pytest.raises(
            RowsError, match=r"Workers died again and again over .* of a Dask DataFrame of 8 partitions"
        ):
            bmm.Model(FORMULA, bmm.scan(rows, cluster=client))
    finally:
        allow(3)
    same(bmm.Model(FORMULA, bmm.scan(folder, cluster=client)), bmm.Model(FORMULA, bmm.scan(folder, cluster=client)))
