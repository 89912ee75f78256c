"""Files that hold plain data and nothing else: what is looked at before a file that may be a stranger's is read.

HDF5 and Zarr can do more than hold arrays. An HDF5 dataset may lie in another file of the machine, a Zarr folder may
name a codec that runs code, and either may say that it is of a size that no memory holds. A saved result needs
none of this, so that all of it is refused, by the description of the data and before any of them are read.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bayesmm.errors import StorageError
from bayesmm.storage.checksums import ADVICE

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3  # numbers of HDF5's own filters
PACKED = 1000  # times what is stored, at most: deflate packs no more than 1032 into one
SMALL = 1 << 20  # bytes that nobody minds
HELD = 1 << 28  # bytes of texts that are held at once
MOST = 1 << 31  # bytes that the texts of an attribute may take, as far as is known before they are read
LISTED = 100  # texts in an attribute
DEPTH = 16  # of groups in groups
DESCRIBED = 1 << 26  # bytes of one text of Zarr's that describes
UNREAD = b"This is a netCDF dimension but not a netCDF variable."  # h5netcdf reads no values of such a dataset
DTYPE = re.compile(r"[<>|][biufUS]\d{1,8}|[<>][mM]8\[\w+\]")
CODEC = "blosc"
HEADER = struct.Struct("<4B3I")  # of a chunk of Blosc: versions, flags, size of an item; bytes, of a block, packed


def check_plain_netcdf(path: Path, name: str) -> None:
    """Refuse a netCDF file that holds anything but plain data of a size that the file can hold.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    name : str
        As the user named it.

    Raises
    ------
    StorageError
        For links (soft or to other files), data in other files, virtual datasets, filters other than deflate, shuffle
        and Fletcher's sum, types other than numbers, truths and texts, and data that would be larger in memory than
        the file has bytes, or a thousand times of that where they are packed.

    Notes
    -----
    Every dataset must have its bytes in the file, and all of them together no more than the file has. HDF5 returns
    zeros for data that are not there, and reads the same bytes for many datasets, whatever size they say they have.
    """
    import h5py  # pyright: ignore[reportMissingImports]

    size = path.stat().st_size
    stored, texts = 0, 0
    with h5py.File(path, "r") as file:
        for where, item in _items(file, name):
            place = f"{where!r} of {name!r}"
            texts += _check_attributes(item, size, place)
            if isinstance(item, h5py.Dataset) and not _is_unread(item):
                stored += _check_dataset(item, place)
                texts += _length_of_texts(item, size)
            if max(stored, texts) > size:
                raise _refusal(place, f"with it there are {max(stored, texts):,} bytes of data in a file of {size:,}")


def check_plain_zarr(folder: Path, name: str, *, is_growing: bool = False) -> None:
    """Refuse a Zarr folder that holds anything but plain data of a size that its files can hold.

    Parameters
    ----------
    folder : pathlib.Path
        The folder, of Zarr's format 2.
    name : str
        As the user named it.
    is_growing : bool
        Whether most of an array may not be there yet, so that only its chunks have a limit.

    Raises
    ------
    StorageError
        For links, pipes and devices in the folder, codecs other than Blosc, filters, types other than numbers, truths,
        times and texts, names that lead out of the folder, and arrays that are larger than a thousand times the files.
    """
    total = sum(_plain_sizes(folder, name))
    for where, array in _arrays(folder, name):
        place = f"{where!r} of {name!r}"
        chunk, whole = _check_array(array, place)
        size = chunk if is_growing else max(chunk, whole)
        if size > max(PACKED * total, SMALL):  # chunks of nothing but one value need not be there
            raise _refusal(place, f"it would be of {size:,} bytes, from a folder of {total:,}")
        if array["compressor"] is not None:
            for path in (folder / where).iterdir():
                if not path.name.startswith(".z") and path.is_file():
                    _check_packed(path, chunk, place)


def _refusal(place: str, reason: str) -> StorageError:
    return StorageError(
        f"{place} is not read: {reason}. Files of fit.save and posterior.save hold plain arrays only. If you trust "
        "who made this one, open it with xarray and save its data anew."
    )


def _items(file: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All groups and datasets of a file, each found once."""
    import h5py  # pyright: ignore[reportMissingImports]

    root = file["/"]
    seen, waiting = {root.id}, [("", 0, root)]
    while waiting:
        path, depth, group = waiting.pop()
        yield path or "/", group
        for key in group:
            where = f"{path}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise _refusal(f"{where!r} of {name!r}", "it is a link to something else")
            item = group[key]
            if item.id in seen or depth > DEPTH:
                raise _refusal(f"{where!r} of {name!r}", "it is in the file twice, or deep inside others")
            seen.add(item.id)
            if isinstance(item, h5py.Group):
                waiting.append((where, depth + 1, item))
            elif isinstance(item, h5py.Dataset):
                yield where, item
            else:
                raise _refusal(f"{where!r} of {name!r}", "it is neither a group nor data")


def _is_unread(dataset: Any) -> bool:
    """Whether a dataset stands for a dim that has no labels; netCDF keeps no values there."""
    label = dataset.attrs.get("NAME", b"")
    return isinstance(label, bytes) and UNREAD in label


def _check_attributes(item: Any, file_size: int, place: str) -> int:
    """Return the length of the texts of all attributes."""
    import h5py  # pyright: ignore[reportMissingImports]

    total = 0
    for key in item.attrs:
        attribute = item.attrs.get_id(key)
        n, is_text = math.prod(attribute.shape or ()), h5py.check_string_dtype(attribute.dtype) is not None
        if attribute.dtype.kind not in "biufSVO" or n > (max(LISTED, MOST // file_size) if is_text else file_size):
            raise _refusal(place, f"its attribute {key!r} is of {n:,} times {attribute.dtype}")
        if is_text:
            total += sum(len(str(text)) for text in np.ravel(item.attrs[key]))
    return total


def _check_dataset(dataset: Any, place: str) -> int:
    """Return the bytes that a dataset takes in the file."""
    import h5py  # pyright: ignore[reportMissingImports]

    made, dtype = dataset.id.get_create_plist(), dataset.dtype
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count() > 0:
        raise _refusal(place, "its data are in other files")
    text = h5py.check_string_dtype(dtype)
    if dtype.kind not in "biufS" and text is None:
        raise _refusal(place, f"it holds {dtype}, and neither numbers nor texts")
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if set(filters) - {DEFLATE, SHUFFLE, FLETCHER32}:
        raise _refusal(place, f"it needs the filters {filters}")
    stored, whole = dataset.id.get_storage_size(), dataset.size * dtype.itemsize
    if dataset.chunks:
        n_chunks = math.prod(-(-n // each) for n, each in zip(dataset.shape, dataset.chunks, strict=True))
        if dataset.id.get_num_chunks() != n_chunks:
            raise _refusal(place, "parts of its data are not in the file")
        whole = n_chunks * math.prod(dataset.chunks) * dtype.itemsize
    limit = PACKED * stored if DEFLATE in filters else stored
    if whole > limit:
        raise _refusal(place, f"it would be of {whole:,} bytes, and there are {stored:,} in the file")
    return stored


def _length_of_texts(dataset: Any, file_size: int) -> int:
    """Return how long the texts of a dataset are together; many may be one and the same in the file."""
    import h5py  # pyright: ignore[reportMissingImports]

    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or text.length is not None:
        return 0
    step, total = max(1, HELD // file_size), 0  # entries that are held at once
    places = (
        [slice(start, start + step) for start in range(0, dataset.size, step)]
        if dataset.ndim == 1
        else np.ndindex(dataset.shape)
    )
    for place in places:
        total += sum(map(len, np.ravel(dataset[place])))
        if total > file_size:
            break
    return total


def _plain_sizes(folder: Path, name: str) -> Iterator[int]:
    """Sizes of all files of a folder that hold data."""
    for place, folders, files in os.walk(folder):
        for each in (*folders, *files):
            path = Path(place, each)
            mode, size = path.lstat().st_mode, path.lstat().st_size
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise _refusal(f"{str(path)!r}", "it is a link, a pipe or a device")
            if each.startswith(".z") and size > DESCRIBED:
                raise _refusal(f"{str(path)!r}", f"it describes data in {size:,} bytes")
            if stat.S_ISREG(mode) and not each.startswith(".z"):
                yield size


def _arrays(folder: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Descriptions of all arrays by their place in the folder: those of their own, and those that Zarr gathers."""
    own = {str(path.parent.relative_to(folder)): json.loads(path.read_bytes()) for path in folder.rglob(".zarray")}
    yield from own.items()
    gathered = folder / ".zmetadata"
    for key, entry in json.loads(gathered.read_bytes())["metadata"].items() if gathered.is_file() else ():
        parts = key.split("/")
        if not all(parts) or {".", ".."} & set(parts):
            raise _refusal(f"{name!r}", f"it names {key!r}, which leads out of the folder")
        place = "/".join(parts[:-1])
        if parts[-1] == ".zarray" and own.get(place) != entry:
            yield place, entry


def _check_array(array: dict[str, Any], place: str) -> tuple[int, int]:
    """Return the bytes of a chunk, and of all chunks."""
    dtype, shape, chunks, codec = array["dtype"], array["shape"], array["chunks"], array["compressor"]
    if not isinstance(dtype, str) or not DTYPE.fullmatch(dtype):
        raise _refusal(place, f"it holds {dtype}, and neither numbers nor texts")
    if array["filters"]:
        raise _refusal(place, f"it needs the filters {array['filters']}")
    if codec is not None and codec["id"] != CODEC:
        raise _refusal(place, f"it needs the codec {codec['id']!r}")
    if array.get("dimension_separator", ".") != ".":
        raise _refusal(place, "its chunks are in folders")
    if len(shape) != len(chunks) or not all(type(n) is int and n >= 0 for n in (*shape, *chunks)):
        raise _refusal(place, f"it has the shape {shape} in chunks of {chunks}")
    chunk = math.prod(chunks) * np.dtype(dtype).itemsize
    return chunk, chunk * math.prod(-(-n // max(each, 1)) for n, each in zip(shape, chunks, strict=True))


def _check_packed(path: Path, expected: int, place: str) -> None:
    """Refuse a chunk that says it unpacks to another size than that of a chunk."""
    with path.open("rb") as file:
        header = file.read(HEADER.size)
    unpacked, packed = (HEADER.unpack(header)[i] for i in (4, 6)) if len(header) == HEADER.size else (0, 0)
    if unpacked != expected or packed != path.stat().st_size:
        raise StorageError(
            f"{place} is damaged: {path.name!r} says that its {packed:,} bytes unpack to {unpacked:,}; there are "
            f"{path.stat().st_size:,}, which are to unpack to {expected:,}. {ADVICE}."
        )
