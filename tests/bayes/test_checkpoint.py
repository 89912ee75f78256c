"""Runs that are stopped: what they return, and how they go on from a checkpoint."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm import priors
from bayesmm.bayes.exploring.run import make_settings
from bayesmm.bayes.files.checkpoint import open_checkpoint
from bayesmm.errors import BayesmmWarning, StorageError
from bayesmm.storage import checksums

FORMULA = "Yield ~ 1 + (1 | Batch)"
LENGTH = {"draws": 130, "tune": 120, "chains": 2, "seed": 3}  # chunks of 50: three to warm up, the third of both kinds


@pytest.fixture(autouse=True)
def good_draws(monkeypatch):
    """So few draws may or may not pass the diagnostics; here they do."""
    monkeypatch.setattr("bayesmm.bayes.results.diagnostics.Diagnostics.is_good", True)


@pytest.fixture(scope="module")
def dyestuff():
    return bmm.datasets.load("dyestuff")


@pytest.fixture(scope="module")
def model(dyestuff):
    return bmm.Model(FORMULA, dyestuff)


@pytest.fixture(scope="module")
def whole(model):
    """The run that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayesmm.bayes.results.diagnostics.Diagnostics.is_good", True)
        return {name: model.sample(**LENGTH, program=name) for name in ("marginal", "conditional")}


@pytest.fixture
def interrupt_after(monkeypatch):
    """Ctrl-C after so many chunks of each run; None takes it back."""

    def after(chunks):
        @contextlib.contextmanager
        def watched(settings, show):
            heard = []

            def watch(done, divergences):
                heard.append(done)
                if len(heard) == chunks:
                    raise KeyboardInterrupt

            yield watch

        monkeypatch.setattr("bayesmm.bayes.sample.progress_bar", watched)

    return after


@pytest.fixture
def run_path(tmp_path):
    pytest.importorskip("zarr")
    return tmp_path / "run.zarr"


def run_on(model, **options):
    """Sample as far as it goes: None if it was interrupted in warm-up."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Interrupted", BayesmmWarning)
        try:
            return model.sample(**LENGTH, **options)
        except KeyboardInterrupt:
            return None


def assert_same_draws(one, other):
    for group in ("posterior", "sample_stats", "log_likelihood"):
        assert set(one.data[group].data_vars) == set(other.data[group].data_vars)
        for name, values in one.data[group].data_vars.items():
            np.testing.assert_array_equal(values, other.data[group][name], err_msg=name)


def test_an_interrupted_run_returns_its_draws_and_says_so(model, whole, interrupt_after, tmp_path):
    interrupt_after(4)
    with pytest.warns(BayesmmWarning, match=r"^Interrupted: there are 80 of 130 draws per chain\.$"):
        posterior = model.sample(**LENGTH)
    assert posterior.draws("sigma").shape == (2, 80)
    assert posterior.notes == ("Interrupted: there are 80 of 130 draws per chain.",)
    assert posterior.notes[0] in str(posterior)
    assert posterior.data["sample_stats"].attrs["notes"] == posterior.notes[0]
    # What is recovered takes its random numbers from the number of draws; what was sampled is the same.
    for name in ("sigma", "sd_Batch"):
        np.testing.assert_array_equal(posterior.draws(name), whole["marginal"].draws(name)[:, :80])
    assert np.isfinite(posterior.predict()).all(axis=None)


def test_an_interruption_in_warm_up_goes_on(model, interrupt_after):
    interrupt_after(2)
    with pytest.raises(KeyboardInterrupt):
        model.sample(**LENGTH)


@pytest.mark.parametrize("program", ["marginal", "conditional"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(chunks, program, model, whole, interrupt_after, run_path):
    interrupt_after(chunks)
    lengths = [0]
    while lengths[-1] < 130:
        posterior = run_on(model, program=program, checkpoint=run_path)
        lengths.append(posterior.draws("sigma").shape[1] if posterior else 0)
        if 0 < lengths[-1] < 130:
            assert posterior.notes[-1] == (
                f"Interrupted: there are {lengths[-1]} of 130 draws per chain. The same call goes on from "
                f"checkpoint={str(run_path)!r}."
            )
    assert lengths == {1: [0, 0, 0, 30, 80, 130], 3: [0, 30, 130]}[chunks]
    assert_same_draws(posterior, whole[program])
    assert posterior.notes == whole[program].notes


def test_a_run_goes_on_where_chains_are_parted_otherwise(model, whole, interrupt_after, monkeypatch, run_path):
    """Begun with a program for each chain, ended with one for all."""
    interrupt_after(4)
    run_on(model, checkpoint=run_path)
    monkeypatch.setattr("bayesmm.bayes.exploring.nuts.part_chains", lambda chains: [slice(0, chains)])
    interrupt_after(None)
    posterior = run_on(model, checkpoint=run_path)
    expected = whole["marginal"].draws("sigma")
    np.testing.assert_array_equal(posterior.draws("sigma")[:, :80], expected[:, :80])
    np.testing.assert_allclose(posterior.draws("sigma")[:, 80:90], expected[:, 80:90], rtol=1e-6)


def test_a_finished_run_is_read_and_not_sampled_again(model, whole, interrupt_after, run_path):
    model.sample(**LENGTH, checkpoint=str(run_path))
    interrupt_after(1)
    assert_same_draws(model.sample(**LENGTH, checkpoint=run_path), whole["marginal"])


def test_a_state_that_was_half_written_does_not_count(model, whole, monkeypatch, run_path):
    write, calls = np.savez, []

    def fail_halfway(file, **arrays):
        calls.append(1)
        if len(calls) == 4:
            file.write(b"PK half of it")
            raise KeyboardInterrupt
        write(file, **arrays)

    monkeypatch.setattr("numpy.savez", fail_halfway)
    with pytest.warns(BayesmmWarning, match="80 of 130"):
        model.sample(**LENGTH, checkpoint=run_path)
    assert_same_draws(model.sample(**LENGTH, checkpoint=run_path), whole["marginal"])
    assert len(calls) == 6  # the fourth chunk was sampled again


def test_a_checkpoint_grows_with_the_draws_that_are_kept(model, interrupt_after, run_path):
    import zarr

    sizes = []
    for chunks in (2, 2, None):
        interrupt_after(chunks)
        run_on(model, checkpoint=run_path)
        group = zarr.open_group(run_path / "draws", mode="r")
        # Zarr writes no chunk of nothing but zeros: no divergences, no file.
        arrays = [array for name, array in group.arrays() if name != "diverging"]
        sizes.append({array.nchunks_initialized for array in arrays})
    assert sizes == [set(), {2}, {3}]
    assert group["position_dense"].shape == (2, 130, 2)


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(model, dyestuff, interrupt_after, run_path):
    interrupt_after(1)
    with pytest.raises(KeyboardInterrupt):
        model.sample(**LENGTH, checkpoint=run_path)
    changed = dyestuff.assign(Yield=dyestuff["Yield"] + 1e-9 * (dyestuff.index == 3))
    half = np.full(len(dyestuff), 0.5)
    others = {
        "seed is 3 there and 4 here; |draws is 130 there and 99 here": (model, {"seed": 4, "draws": 99}),
        "program is 'marginal' there and 'conditional' here": (model, {"program": "conditional"}),
        "target_accept is 0.8 there and 0.9 here": (model, {"target_accept": 0.9}),
        "the data differ": (bmm.Model(FORMULA, changed, priors={"sigma": model.priors.rows[-1].prior}), {}),
        "the priors differ": (bmm.Model(FORMULA, dyestuff, priors={"sigma": priors.HalfNormal(9)}), {}),
        "of another run: the data differ; the priors differ. Ask": (bmm.Model(FORMULA, dyestuff, weights=half), {}),
    }
    for message, (other, settings) in others.items():
        with pytest.raises(StorageError, match=message):
            other.sample(**(LENGTH | settings), checkpoint=run_path)


def test_a_checkpoint_of_other_versions_is_refused(model, interrupt_after, monkeypatch, run_path):
    interrupt_after(1)
    with pytest.raises(KeyboardInterrupt):
        model.sample(**LENGTH, checkpoint=run_path)
    monkeypatch.setattr("bayesmm.bayes.files.checkpoint.__version__", "9.9")
    with pytest.raises(StorageError, match=r"versions is \{'bayesmm': '0.*there and \{'bayesmm': '9.9'"):
        model.sample(**LENGTH, checkpoint=run_path)


def test_paths_that_cannot_be_checkpoints_are_refused(model, run_path, tmp_path):
    (tmp_path / "other.zarr").mkdir()
    for path, message in [
        (tmp_path / "run.nc", r"a checkpoint is a folder whose name ends in \.zarr"),
        (tmp_path / "no" / "run.zarr", "there is no folder"),
        (tmp_path / "other.zarr", "there is something else by this name"),
    ]:
        with pytest.raises(StorageError, match=message):
            model.sample(**LENGTH, checkpoint=path)


def test_only_runs_of_nuts_have_checkpoints(model, tmp_path):
    with pytest.raises(ValueError, match="checkpoint keeps a run of NUTS, and method='importance' is none"):
        model.sample(method="importance", checkpoint=tmp_path / "run.zarr")


def test_a_checkpoint_is_no_saved_posterior_and_is_not_overwritten_by_one(model, whole, interrupt_after, run_path):
    interrupt_after(1)
    with pytest.raises(KeyboardInterrupt):
        model.sample(**LENGTH, checkpoint=run_path)
    with pytest.raises(StorageError, match=r"is the checkpoint of a run and no saved fit or posterior\. Call"):
        bmm.load(run_path)
    with pytest.raises(StorageError, match="is a folder, and no saved fit or posterior"):
        whole["marginal"].save(run_path)


@pytest.fixture
def half(model, interrupt_after, run_path):
    """A run that was interrupted after warm-up."""
    interrupt_after(4)
    run_on(model, checkpoint=run_path)
    interrupt_after(None)
    return run_path


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 16
    path.write_bytes(data)


DAMAGES = {
    "a bit of the draws": lambda path: flip(path / "draws" / "position_dense" / "0.0.0", 999),
    "a bit of the state": lambda path: flip(path / "state.npz", 999),
    "a bit of the state's seal": lambda path: flip(path / "state.npz", -3),
    "draws that are gone": lambda path: (path / "draws" / "energy" / "0.1").unlink(),
    "an array that is gone": lambda path: shutil.rmtree(path / "draws" / "energy"),
    "an array that is another's": lambda path: (path / "draws" / "energy").rename(path / "draws" / "other"),
    "no text": lambda path: (path / "draws" / "energy" / ".zarray").write_bytes(b"\xff\xfe"),
    "a link": lambda path: (path / "draws" / "mine").symlink_to(path),
    "another shape": lambda path: flip_text(path / "draws" / "energy" / ".zarray", "130", "131"),
    "code": lambda path: flip_text(
        path / "draws" / "energy" / ".zarray", '"filters": null', '"filters": [{"id": "pickle"}]'
    ),
}


def flip_text(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_named(damage, model, half):
    DAMAGES[damage](half)
    with pytest.raises(StorageError, match=r"run\.zarr.*([Dd]elete the folder|Files of fit\.save)"):
        model.sample(**LENGTH, checkpoint=half)


def test_a_state_that_would_not_fit_into_memory_is_refused(model, half):
    """Sealed as one of ours is: members that are packed, or arrays that say they are larger than their bytes."""
    state, seal_after = half / "state.npz", checksums.seal
    with np.load(state) as stored:
        arrays = dict(stored)
    huge = BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    for compress, first in ((8, None), (0, huge.getvalue())):
        with ZipFile(state, "w", compress) as packed:
            for name, values in arrays.items():
                member = BytesIO()
                np.save(member, values)
                packed.writestr(f"{name}.npy", first if first and name == "leaf_000" else member.getvalue())
        seal_after(state)
        with pytest.raises(StorageError, match=r"state\.npz' is no state of a run \(ValueError.*Delete the folder"):
            model.sample(**LENGTH, checkpoint=half)


def test_two_runs_do_not_write_to_one_checkpoint(model, whole, half):
    """Another process holds it; when that is killed, nothing is in the way."""
    code = f"import time; from pathlib import Path; from bayesmm.bayes.files.checkpoint import _held\nwith _held(Path({str(half)!r})): print('held', flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    holder = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(
            StorageError, match=rf"run\.zarr' is being written by process {holder.pid} on .*, since 20.*Wait until"
        ):
            model.sample(**LENGTH, checkpoint=half)
        holder.kill()
    assert f"process {holder.pid}" in (half / "lock").read_text()
    assert_same_draws(model.sample(**LENGTH, checkpoint=half), whole["marginal"])


def test_two_runs_may_begin_at_once(run_path):
    """Both make the folder; one has it."""
    settings, begun = make_settings(**LENGTH, target_accept=0.8, max_tree_depth=10), threading.Barrier(4)
    held, refused = [], []

    def begin():
        begun.wait()
        try:
            with open_checkpoint(run_path, settings, {"a": 1}):
                held.append(1)
                time.sleep(0.5)
        except StorageError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(refused) == 3
    # The one who has it may not have signed yet.
    assert all(re.search("is being written by (another )?process", message) for message in refused)
    assert [each.name for each in run_path.parent.iterdir()] == ["run.zarr"]


def test_a_disk_that_fills_up_costs_no_draws(model, whole, half):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(StorageError, match=r"File too large.* and the same call goes on from it"):
            model.sample(**LENGTH, checkpoint=half)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [each for each in half.iterdir() if "partial" in each.name]
    assert_same_draws(model.sample(**LENGTH, checkpoint=half), whole["marginal"])


KILLED = """
import sys
import bayesmm as bmm
model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
model.sample(seed=7, checkpoint=sys.argv[1], progress=False)
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing(run_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    state = run_path / "state.npz"
    for chunks in (3, 19):  # in warm-up; after it
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(run_path)], env=environment)
        seen, written = None, 0
        while written < chunks and process.poll() is None:
            time.sleep(0.002)
            now = state.stat().st_mtime_ns if state.exists() else None
            written, seen = written + (now != seen), now
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    with np.load(state) as stored:
        assert 1000 < stored["done"] < 2000
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    assert_same_draws(model.sample(seed=7, checkpoint=run_path), model.sample(seed=7))
