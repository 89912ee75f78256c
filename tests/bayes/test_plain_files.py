"""Files of strangers: nothing but their own plain data is read, nothing is run, and nothing is larger than they are."""

import json
import os
import pickle
import shutil
import struct
import tracemalloc

import numpy as np
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import StorageError

h5py = pytest.importorskip("h5py")
pytest.importorskip("zarr")
HUGE = 2**32  # float64: 32 GiB


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("made_posterior.SHAPE", (2, 40))
        posterior = make_posterior(bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")))
    return {ending: posterior.save(folder / f"saved{ending}") for ending in (".nc", ".zarr")}


@pytest.fixture
def secret(tmp_path):
    """A file of somebody else's, as large as the draws of sigma."""
    path = tmp_path / "secret"
    path.write_bytes(np.full(80, 7.0).tobytes())
    return path


def refuse(path, reason, *, measured=False):
    if measured:
        tracemalloc.start()
    with pytest.raises(StorageError, match=reason) as caught:
        bmm.load(path)
    if measured:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5e7
    assert path.name in str(caught.value)
    assert len(str(caught.value)) < 800
    return str(caught.value)


def instead(file, place, **options):
    """Put another dataset where one was, with what made it a variable."""
    old = dict(file[place].attrs)
    del file[place]
    dataset = file.create_dataset(place, **options)
    for name in ("_Netcdf4Coordinates", "_Netcdf4Dimid"):
        if name in old:
            dataset.attrs[name] = old[name]
    return dataset


def external(file, secret):
    instead(file, "posterior/sigma", shape=(2, 40), dtype="f8", external=[(str(secret), 0, 640)])


def external_link(file, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.full((2, 40), 7.0)
    del file["posterior/sigma"]
    file["posterior/sigma"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "x")


def virtual(file, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.full((2, 40), 7.0)
    layout = h5py.VirtualLayout(shape=(2, 40), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "x", shape=(2, 40))
    del file["posterior/sigma"]
    file["posterior"].create_virtual_dataset("sigma", layout)


def soft_link(file, secret):
    del file["posterior/sigma"]
    file["posterior/sigma"] = h5py.SoftLink("/sample_stats/lp")


def twice(file, secret):
    file["posterior/again"] = file["posterior/sigma"]


def circle(file, secret):
    file["posterior/again"] = file["posterior"]


def never_written(file, secret):
    instead(file, "posterior/sigma", shape=(2, HUGE // 2), dtype="f8")


def one_chunk_of_many(file, secret):
    options = {"chunks": (1, 2**20), "compression": "gzip", "shuffle": True}
    instead(file, "posterior/sigma", shape=(2, HUGE // 2), dtype="f8", **options)[0, :10] = 1.0


def packed_beyond_measure(file, secret):
    """One chunk of 4 GiB less a little, which no dataset of this size needs."""
    options = {"chunks": (2**12, 2**13), "maxshape": (None, None), "compression": "gzip"}
    dataset = instead(file, "posterior/sigma", shape=(2, 40), dtype="f8", **options)
    dataset.id.write_direct_chunk((0, 0), b"\x78\x9c" + b"\x00" * 30)


def other_filter(file, secret):
    instead(file, "posterior/sigma", data=np.ones((2, 40)), chunks=(2, 40), compression="lzf")


def structured(file, secret):
    instead(file, "posterior/sigma", data=np.zeros((2, 40), [("a", "f8"), ("b", "i4")]))


def named_type(file, secret):
    file["posterior/kind"] = np.dtype("f8")


def texts_in_an_attribute(file, secret):
    file["posterior"].attrs["many"] = np.full(4000, "x" * 2, dtype=object)


NETCDF = {
    external: "its data are in other files",
    external_link: "it is a link to something else",
    virtual: "its data are in other files",
    soft_link: "it is a link to something else",
    twice: "it is in the file twice",
    circle: "it is in the file twice",
    never_written: r"it would be of 34,359,738,368 bytes, and there are 0 in the file",
    one_chunk_of_many: "parts of its data are not in the file",
    packed_beyond_measure: r"it would be of 268,435,456 bytes, and there are 32 in the file",
    other_filter: r"it needs the filters \[32000\]",
    structured: "and neither numbers nor texts",
    named_type: "it is neither a group nor data",
}


@pytest.mark.parametrize("craft", NETCDF, ids=lambda craft: craft.__name__)
def test_a_crafted_netcdf_file_is_refused_before_anything_is_read(craft, saved, secret, tmp_path):
    path = tmp_path / "crafted.nc"
    shutil.copy(saved[".nc"], path)
    with h5py.File(path, "r+") as file:
        craft(file, secret)
    assert path.stat().st_size < 2e5
    message = refuse(path, NETCDF[craft], measured="bytes" in NETCDF[craft])
    assert "'/posterior" in message
    assert "plain arrays only. If you trust" in message


def test_texts_that_share_their_bytes_are_refused(saved, tmp_path):
    """A thousand labels that are one long text in the file: only bytes can say that, no library writes it."""
    path = tmp_path / "crafted.nc"
    shutil.copy(saved[".nc"], path)
    with h5py.File(path, "r+") as file:
        file["posterior/texts"] = np.array(["y" * 3000] + ["x"] * 999, dtype=object)
        offset = file["posterior/texts"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16_000] = data[offset : offset + 16] * 1000  # references of 16 bytes each
    path.write_bytes(data)
    with h5py.File(path) as file:
        assert file["posterior/texts"][777] == b"y" * 3000
    refuse(path, r"'/posterior/texts' of .* with it there are .* bytes of data in a file of")


def edit(array, **changes):
    path = array / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pickled(folder, secret):
    class Run:
        def __reduce__(self):
            return os.remove, (str(secret),)

    sigma = folder / "posterior" / "sigma"
    edit(sigma, dtype="|O", filters=[{"id": "pickle", "protocol": 5}], compressor=None, fill_value=None)
    (sigma / "0.0").write_bytes(pickle.dumps(Run()))


def other_codec(folder, secret):
    edit(folder / "posterior" / "sigma", compressor={"id": "zlib", "level": 1})


def huge(folder, secret):
    edit(folder / "posterior" / "sigma", shape=[2, HUGE // 2])


def huge_chunks(folder, secret):
    edit(folder / "posterior" / "sigma", chunks=[2, HUGE // 2])


def negative(folder, secret):
    edit(folder / "posterior" / "sigma", shape=[2, -40])


def lying_chunk(folder, secret):
    chunk = folder / "posterior" / "sigma" / "0.0"
    data = bytearray(chunk.read_bytes())
    data[4:8] = struct.pack("<I", 2**31 - 1)
    chunk.write_bytes(data)


def linked_chunk(folder, secret):
    sigma = folder / "posterior" / "sigma"
    edit(sigma, compressor=None)
    (sigma / "0.0").unlink()
    (sigma / "0.0").symlink_to(secret)


def linked_group(folder, secret):
    shutil.move(folder / "posterior", secret.parent / "posterior")
    (folder / "posterior").symlink_to(secret.parent / "posterior")


def pipe(folder, secret):
    (folder / "posterior" / "sigma" / "0.0").unlink()
    os.mkfifo(folder / "posterior" / "sigma" / "0.0")


ZARR = {
    pickled: r"it holds \|O, and neither numbers nor texts|is damaged: '0\.0' says that .* unpack to 0; ",
    other_codec: "it needs the codec 'zlib'",
    huge: "it would be of 34,359,738,880 bytes, from a folder of",
    huge_chunks: "it would be of 34,359,738,368 bytes, from a folder of",
    negative: "it has the shape",
    lying_chunk: r"is damaged: '0\.0' says that its .* bytes unpack to 2,147,483,647; .*to unpack to 640\. Use a copy",
    linked_chunk: "it is a link, a pipe or a device",
    linked_group: "it is a link, a pipe or a device",
    pipe: "it is a link, a pipe or a device",
}


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("craft", ZARR, ids=lambda craft: craft.__name__)
def test_a_crafted_zarr_folder_is_refused_before_anything_is_read(craft, gathered, saved, secret, tmp_path):
    """Also where the description that Zarr gathers says it, and the array's own does not."""
    folder = tmp_path / "crafted.zarr"
    shutil.copytree(saved[".zarr"], folder)
    craft(folder, secret)
    gathers = folder / ".zmetadata"
    if gathered:
        described = json.loads(gathers.read_text())
        own = folder / "posterior" / "sigma" / ".zarray"
        if own.exists():
            described["metadata"]["posterior/sigma/.zarray"] = json.loads(own.read_text())
            own.write_text(json.dumps(json.loads((saved[".zarr"] / "posterior/sigma/.zarray").read_text())))
        gathers.write_text(json.dumps(described))
    else:
        gathers.unlink()
    refuse(folder, ZARR[craft], measured="bytes" in ZARR[craft])
    assert secret.exists()


def test_a_name_that_leads_out_of_the_folder_is_refused(saved, tmp_path):
    folder = tmp_path / "crafted.zarr"
    shutil.copytree(saved[".zarr"], folder)
    described = json.loads((folder / ".zmetadata").read_text())
    described["metadata"]["../other/.zarray"] = described["metadata"]["posterior/sigma/.zarray"]
    (folder / ".zmetadata").write_text(json.dumps(described))
    refuse(folder, r"it names '\.\./other/\.zarray', which leads out of the folder")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.update(formula="Yield ~ 1 + " * 3),
        lambda text: text.update(formula="Yield ~ __import__('os').system('true') + (1 | Batch)"),
        lambda text: text["data"]["rows"].update({"kind": "range", "range": [0, 10**12, 1]}),
        lambda text: text["data"]["columns"][1].update(
            {"categories": {"kind": "range", "name": None, "range": [0, 10**12, 1]}}
        ),
        lambda text: text["data"]["columns"][1].update({"variable": "nothing"}),
        lambda text: text["priors"][0].update({"kind": "sd"}),
        lambda text: text["priors"][0]["prior"].update({"family": "object"}),
        lambda text: text.update(program=["marginal"]),
        lambda text: text.update(sigma="1"),
        lambda text: text.update(notes=[1, None]),
        lambda text: text.update(dropped={"rows": "many", "by": []}),
        lambda text: text["priors"][0].update({"source": 1}),
        lambda text: text["data"]["columns"][0].update({"name": ["Yield"]}),
        lambda text: text.update(weights={"expression": 3}),
        lambda text: text.clear(),
    ],
)
def test_a_description_that_is_made_up_is_refused(change, saved, tmp_path):
    """Without checksums, as in an older file or in that of who knows how they are made."""
    path = tmp_path / "crafted.nc"
    shutil.copy(saved[".nc"], path)
    with h5py.File(path, "r+") as file:
        group = file["bayesmm"]
        text = json.loads(group["description"][()])
        change(text)
        group["description"][()] = json.dumps(text)
        del group.attrs["checksums"]
        group.attrs["format"] = 2
    refuse(path, "(damaged|cannot be built again|has \\d+ priors)")
