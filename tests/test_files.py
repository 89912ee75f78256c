"""Whatever is wrong with a file, the error is bayesmm's own, names the file as the user did, and says what to do."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import jax
import pytest
from cli_commands import DYESTUFF, run
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.cli.data import read_data
from bayesmm.errors import BayesmmError, StorageError

LONG = "a" * 300  # no file system takes such a name
SHORT = {"draws": 130, "tune": 120, "chains": 2, "progress": False}  # compiled as in bayes/test_checkpoint.py


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "2000")
    return tmp_path


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayesmm.bayes.results.diagnostics.Diagnostics.is_good", True)
        yield bmm.Model(DYESTUFF[0], bmm.datasets.load("dyestuff"))


@pytest.fixture(scope="module")
def posterior(model):
    return make_posterior(model)


@pytest.fixture
def save(posterior):
    return posterior.save


@pytest.fixture
def checkpoint(model):
    return lambda path: model.sample(**SHORT, checkpoint=path)


@pytest.fixture
def output():
    """Write the table of a command; its message is raised again."""

    def write(path):
        raise StorageError(" ".join(run("fit", *DYESTUFF, "--output", path, code=2).stderr.split()))

    return write


@pytest.fixture
def cache():
    """Set the folder of compiled programs where none is set, and take it back."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield bmm.enable_compilation_cache
    jax.config.update("jax_compilation_cache_dir", before)


USES = {
    "load": (lambda request: bmm.load, ".nc"),
    "load a folder": (lambda request: bmm.load, ".zarr"),
    "data": (lambda request: read_data, ".csv"),
    "packed data": (lambda request: read_data, ".csv.gz"),
    "parquet": (lambda request: read_data, ".parquet"),
    "save": (lambda request: request.getfixturevalue("save"), ".nc"),
    "save a folder": (lambda request: request.getfixturevalue("save"), ".zarr"),
    "checkpoint": (lambda request: request.getfixturevalue("checkpoint"), ".zarr"),
    "output": (lambda request: request.getfixturevalue("output"), ".csv"),
    "cache": (lambda request: request.getfixturevalue("cache"), ""),
}
READING = ("load", "load a folder", "data", "packed data", "parquet")
ADVICE = ("Check", "Choose", "Name", "Ask", "Make", "Is it", "Convert", "Did you mean", "Pass", "Delete", "Say how")


def refuse(request, use, path, reason=""):
    """Use a path, and check the error."""
    call, _ = USES[use]
    with pytest.raises(BayesmmError) as caught:
        call(request)(str(path))
    message = str(caught.value)
    assert str(path) in message, message
    assert any(word in message.split(str(path))[-1] for word in ADVICE), message
    assert reason.lower() in message.lower(), message
    return message


@pytest.mark.parametrize("use", READING)
def test_a_file_that_is_not_there(request, use):
    refuse(request, use, f"no{USES[use][1]}", "no file")


@pytest.mark.parametrize("use", [use for use in USES if use != "cache"])
def test_a_folder_that_is_not_there(request, use):
    refuse(request, use, Path("nowhere", f"results{USES[use][1]}"))


@pytest.mark.parametrize("use", ["load", "data", "parquet", "save", "output"])
def test_a_folder_in_the_place_of_a_file(request, use):
    path = Path(f"results{USES[use][1]}")
    path.mkdir()
    refuse(request, use, path, "folder")


@pytest.mark.parametrize("use", ["load a folder", "save a folder", "checkpoint", "cache"])
def test_a_file_in_the_place_of_a_folder(request, use):
    path = Path(f"results{USES[use][1]}")
    path.write_text("something else")
    refuse(request, use, path)
    assert path.read_text() == "something else"


@pytest.mark.parametrize("use", USES)
def test_a_file_in_the_path(request, use):
    Path("file").write_text("")
    refuse(request, use, Path("file", f"results{USES[use][1]}"))


@pytest.mark.parametrize("use", USES)
def test_a_name_that_is_too_long(request, use):
    refuse(request, use, f"{LONG}{USES[use][1]}", "too long")


@pytest.mark.parametrize("use", ["load", "data", "packed data", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x80" * 9, gzip.compress(b"y,g\n1,a\n" * 99, mtime=0)[:30]])
def test_a_file_that_is_empty_or_of_another_format(request, use, content):
    path = Path(f"results{USES[use][1]}")
    path.write_bytes(content)
    refuse(request, use, path, "cannot be read")


def test_an_empty_folder_is_no_posterior(request):
    Path("results.zarr").mkdir()
    refuse(request, "load a folder", "results.zarr", "cannot be read")


@pytest.mark.parametrize("use", ["load", "data", "packed data", "parquet"])
def test_a_file_that_must_not_be_read(request, use, posterior, monkeypatch):
    path = Path(f"results{USES[use][1]}")
    path.write_bytes(b"y")

    def forbid(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    # The test may run as root, who may read everything: the libraries' own way of opening it is forbidden.
    for opening in (
        "builtins.open",
        "gzip.GzipFile",
        "h5py.File",
        "pandas.read_parquet",
        "pyarrow.parquet.read_metadata",
    ):
        if use != "load" or opening == "h5py.File":
            monkeypatch.setattr(opening, forbid)
    call, _ = USES[use]
    with pytest.raises(StorageError, match=rf"'{path}' cannot be read: Permission denied\. Ask for its permissions"):
        call(request)(str(path))


@pytest.mark.parametrize("use", [use for use in USES if use not in READING])
def test_a_place_that_must_not_be_written_to(request, use, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    refuse(request, use, f"results{USES[use][1]}", "Permission denied")


@pytest.mark.parametrize("use", ["checkpoint", "cache"])
def test_what_is_written_into_needs_no_rights_beside_it(request, use, monkeypatch):
    path = Path(f"own{USES[use][1]}").absolute()
    if use == "cache":
        path.mkdir()
    else:
        USES[use][0](request)(path)
    monkeypatch.setattr(os, "access", lambda each, mode: Path(each) == path)
    USES[use][0](request)(path)


def test_a_pipe_is_no_saved_posterior(request):
    os.mkfifo("results.nc")
    refuse(request, "load", "results.nc", "is a pipe or a device")


@pytest.mark.parametrize("use", ["save", "save a folder", "output"])
def test_a_disk_that_is_full(request, use, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "some part of it")

    for writing in ("xarray.DataTree.to_netcdf", "xarray.DataTree.to_zarr", "pandas.DataFrame.to_csv"):
        monkeypatch.setattr(writing, fill)
    call, _ = USES[use]
    with pytest.raises(StorageError, match=r"No space left on device\. Make room") as caught:
        call(request)(f"results{USES[use][1]}")
    assert f"'results{USES[use][1]}'" in str(caught.value)
    assert not list(Path().glob("*"))


def test_a_saved_posterior_whose_description_is_damaged(posterior):
    import xarray as xr

    whole = posterior.save("whole.nc")
    for i, damage in enumerate(
        [
            lambda stored: stored.attrs.pop("format"),
            lambda stored: stored.attrs.pop("order"),
            lambda stored: stored.update({"description": ((), "{")}),
            lambda stored: stored.update({"description": ((), "{}")}),
        ]
    ):
        with xr.open_datatree(whole, engine="h5netcdf") as tree:
            tree = tree.load()
        stored = tree["bayesmm"].to_dataset()
        del stored.attrs["checksums"]  # as in older files
        stored.attrs["format"] = 2
        damage(stored)
        tree["bayesmm"] = xr.DataTree(stored)
        tree.to_netcdf(f"{i}.nc", engine="h5netcdf")
        with pytest.raises(StorageError, match=rf"'{i}\.nc' is damaged: what describes its model cannot be read"):
            bmm.load(f"{i}.nc")


def test_a_model_that_cannot_be_built_again_names_the_file():
    table = bmm.datasets.load("dyestuff").assign(x=range(30))
    model = bmm.Model("Yield ~ own(x) + (1 | Batch)", table, namespace={"own": lambda x: x / 3})
    make_posterior(model).save("own.nc")
    with pytest.raises(StorageError, match=r"The model of 'own\.nc' cannot be built again: "):
        bmm.load("own.nc", namespace={"own": lambda x: [1.0, 2.0]})


@pytest.mark.parametrize("content", [b"", b"PK no more", None])
def test_a_checkpoint_whose_state_is_damaged(model, content):
    model.sample(**SHORT, checkpoint="run.zarr")
    state = Path("run.zarr", "state.npz")
    state.write_bytes(state.read_bytes()[:200] if content is None else content)
    with pytest.raises(
        StorageError, match=r"'run\.zarr/state\.npz' is no state of a run .*Delete the folder 'run\.zarr'"
    ):
        model.sample(**SHORT, checkpoint="run.zarr")


def test_a_checkpoint_whose_description_is_damaged(model):
    model.sample(**SHORT, checkpoint="run.zarr")
    Path("run.zarr", "draws", ".zattrs").write_text("{")
    with pytest.raises(StorageError, match=r"'run\.zarr' is no checkpoint that can be read"):
        model.sample(**SHORT, checkpoint="run.zarr")
