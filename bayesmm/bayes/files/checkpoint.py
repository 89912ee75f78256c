"""A run of NUTS on disk while it goes on: a process that is stopped loses nothing but its last chunk of iterations.

A checkpoint is a folder. ``draws/`` is a Zarr group of the positions and statistics that are kept, which grows with
them. ``state.npz`` is the sampler as it stands, replaced as a whole after the draws that led to it are written.
Whenever the process is killed, the state is a complete one, and all draws before it are there. What was written after
it is written again, with the same numbers. The state has a seal, and the checksums of the draws that led to it.
Nothing in either is code. ``lock`` is held, and says by whom, while the run goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import jax
import numpy as np

from bayesmm.arguments import check_path as as_path
from bayesmm.arguments import shorten
from bayesmm.bayes.exploring.recorder import Progress
from bayesmm.bayes.exploring.run import Settings
from bayesmm.bayes.files.stored_model import pack_prior
from bayesmm.bayes.priors.resolution import ResolvedPriors
from bayesmm.bayes.programs.parameterisation import Wish
from bayesmm.design.design import Design
from bayesmm.errors import StorageError
from bayesmm.files import naming
from bayesmm.locking import HeldError, lock
from bayesmm.replacing import MARK, PARTIAL, remove, replacing
from bayesmm.storage.checksums import check_seal, seal
from bayesmm.storage.plain_files import check_plain_zarr
from bayesmm.storage.trees import DRAWS_FOLDER, ZARR_FORMAT, check_path, is_checkpoint
from bayesmm.version import __version__

FORMAT = 2
STATE = "state.npz"
LOCK = "lock"
POSITION = "position_"  # before the names of the parts of a position, to tell them from statistics
CHUNK = 50  # draws in one chunk of Zarr
_PACKAGES = ("jax", "jaxlib", "numpy", "numpyro")

type Identity = dict[str, Any]


class Checkpoint:
    """The folder of one run; a `Recorder`.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    settings : Settings
        Length, chains, seed.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self._sums: dict[str, Any] = {}  # of the draws so far, one after another, by array

    def resume(self, fresh: Progress) -> Progress:
        """Return where the run stands: as far as it has come, or at its start."""
        if not (self.path / STATE).is_file():
            return fresh
        own = [[_as_array(leaf) for leaf in jax.tree.leaves(part)] for part in fresh.parts]
        joined = [np.concatenate(column) for column in zip(*own, strict=True)]
        leaves, shape = jax.tree.flatten(fresh.place)
        done, arrays, sums = self._read_state([*joined, *map(np.asarray, leaves)])
        states, place = arrays[: -len(leaves)], shape.unflatten(arrays[-len(leaves) :])
        parts, begin = [], 0
        for part in fresh.parts:
            leaves, shape = jax.tree.flatten(part)
            end = begin + len(leaves[0])
            parts.append(shape.unflatten(_as_leaf(a[begin:end], x) for a, x in zip(states, leaves, strict=True)))
            begin = end
        n_kept = done - self.settings.tune
        return Progress(parts, place, done, [self._read(n_kept, sums)] if n_kept > 0 else [])

    def save(self, progress: Progress) -> None:
        """Write the last draws, then the state that goes with them."""
        n_kept = progress.done - self.settings.tune
        columns = zip(*(jax.tree.leaves(part) for part in progress.parts), strict=True)
        leaves = [np.concatenate([_as_array(leaf) for leaf in column]) for column in columns]
        arrays: dict[str, Any] = {_name(i): x for i, x in enumerate(leaves + jax.tree.leaves(progress.place))}
        try:
            if n_kept > 0:
                self._write(progress.kept[-1], n_kept)
            sums = np.array(json.dumps(self._digests()))
            with replacing(self.path / STATE, synced=False) as partial:
                with partial.open("wb") as file:
                    np.savez(file, **arrays, done=np.int64(progress.done), sums=sums)
                seal(partial)
        except StorageError as error:
            raise StorageError(
                f"{error} What was written of the run before is there, and the same call goes on from it."
            ) from error

    def _read_state(self, like: list[np.ndarray]) -> tuple[int, list[np.ndarray], dict[str, str]]:
        """Read the state, of arrays of the shapes and types of some others."""
        path = self.path / STATE
        names = [*map(_name, range(len(like))), "done", "sums"]
        try:
            with naming(path, "read"):
                if not check_seal(path, str(path)):
                    raise ValueError("it is cut off")
                with path.open("rb") as file, ZipFile(file) as packed:
                    members = packed.infolist()
                    if [each.filename for each in members] != [f"{name}.npy" for name in names] or any(
                        each.compress_type != ZIP_STORED or each.file_size > path.stat().st_size for each in members
                    ):
                        raise ValueError("it holds something else")
                    arrays = [_read_array(packed.read(each)) for each in members]
            *leaves, done, sums = arrays
            if [(x.shape, x.dtype) for x in leaves] != [(x.shape, x.dtype) for x in like]:
                raise ValueError("it is that of another sampler")
            if not 0 < int(done) <= self.settings.tune + self.settings.draws:
                raise ValueError(f"it is that of iteration {done}")
            return int(done), leaves, json.loads(sums.item())
        except StorageError as error:
            raise StorageError(f"{error} {self._anew}") from error
        except Exception as error:  # of a damaged file the libraries raise whatever they like
            raise StorageError(f"{str(path)!r} is no state of a run ({shorten(error)}). {self._anew}") from error

    def _write(self, part: Mapping[str, Any], stop: int) -> None:
        arrays = _flat(part)
        with naming(self.path, "written"):
            group = _open_group(self.path / DRAWS_FOLDER)
            for name, values in arrays.items():
                chains, n, *shape = values.shape
                if name not in group:
                    group.create_array(
                        name,
                        shape=(chains, self.settings.draws, *shape),
                        chunks=(chains, min(CHUNK, self.settings.draws), *shape),
                        dtype=values.dtype,
                    )
                group[name][:, stop - n : stop] = values
        self._add(arrays)

    def _read(self, n_kept: int, sums: Mapping[str, str]) -> dict[str, Any]:
        record: dict[str, Any] = {"position": {}}
        try:
            with naming(self.path, "read"):
                group, folders = _open_group(self.path / DRAWS_FOLDER), sorted((self.path / DRAWS_FOLDER).iterdir())
                names = [path.name for path in folders if path.is_dir()]
                arrays = {name: self._first(group[name], n_kept) for name in names}
            self._add(arrays)
            if self._digests() != sums:
                raise ValueError("its draws are not those that were written")
        except StorageError:
            raise
        except Exception as error:  # as above
            raise StorageError(f"{str(self.path)!r} is damaged: {shorten(error)}. {self._anew}") from error
        for name, values in arrays.items():
            target = record["position"] if name.startswith(POSITION) else record
            target[name.removeprefix(POSITION)] = values
        return record

    def _first(self, array: Any, n_kept: int) -> np.ndarray:
        """Read the first draws of an array of the folder."""
        if array.shape[:2] != (self.settings.chains, self.settings.draws):
            raise ValueError(f"{array.name} is of the shape {array.shape}")
        return array[:, :n_kept]

    def _add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the next draws into the checksums, draw by draw, so that parts do not matter."""
        for name, values in arrays.items():
            by_draw = np.ascontiguousarray(np.moveaxis(values, 1, 0))
            head = f"{by_draw.dtype.str}{by_draw.shape[1:]}".encode()
            self._sums.setdefault(name, hashlib.sha256(head)).update(by_draw.tobytes())

    def _digests(self) -> dict[str, str]:
        return {name: digest.hexdigest() for name, digest in self._sums.items()}

    @property
    def _anew(self) -> str:
        return f"Delete the folder {str(self.path)!r} to begin anew."


@contextlib.contextmanager
def open_checkpoint(path: str | os.PathLike[str], settings: Settings, identity: Identity) -> Iterator[Checkpoint]:
    """Open the checkpoint of a run, or begin one, and hold it: no two runs write to one.

    Parameters
    ----------
    path : path
        A folder whose name ends in ``.zarr``.
    settings : Settings
        Length, chains, seed.
    identity : dict
        What the run is, from `identify`.

    Raises
    ------
    StorageError
        If the path cannot be written to, or holds something else, or the checkpoint of another run (the message says in
        what they differ), or one that another process, or thread, is writing.
    """
    folder = as_path("checkpoint", path)
    if folder.suffix.lower() != ".zarr":
        raise StorageError(f"checkpoint={str(path)!r}: a checkpoint is a folder whose name ends in .zarr.")
    check_path(folder, is_replaced=False)
    expected = json.loads(json.dumps({"format": FORMAT, **identity}))
    with naming(path, "written"):
        if not folder.exists():
            _begin(folder, expected)
        elif not is_checkpoint(folder):
            raise StorageError(f"checkpoint={str(path)!r}: there is something else by this name. Choose another.")
    with _held(folder):
        found = _read_identity(folder)
        if found != expected:
            raise StorageError(
                f"checkpoint={str(path)!r} is of another run: {'; '.join(_differences(found, expected))}. Ask for the "
                "same run, choose another name, or delete the folder."
            )
        yield Checkpoint(folder, settings)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a checkpoint; its file ``lock`` says who does."""
    path = folder / LOCK
    with contextlib.ExitStack() as holding:
        with naming(path, "written"):
            path.touch()
            try:
                holding.enter_context(lock(path))
            except HeldError as error:
                holder = path.read_text(errors="replace")[:200] or "another process"
                raise StorageError(
                    f"checkpoint={str(folder)!r} is being written by {holder}. Wait until that run is done, end it, or "
                    "choose another name."
                ) from error
            path.write_text(f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}")
        yield


def _read_identity(folder: Path) -> Identity:
    try:
        with naming(folder, "read"):
            check_plain_zarr(folder / DRAWS_FOLDER, str(folder), is_growing=True)
            return dict(_open_group(folder / DRAWS_FOLDER).attrs)
    except StorageError:
        raise
    except Exception as error:  # of a damaged folder the libraries raise whatever they like
        raise StorageError(
            f"{str(folder)!r} is no checkpoint that can be read ({shorten(error)}). Choose another name, or delete the "
            "folder."
        ) from error


def identify(
    design: Design, priors: ResolvedPriors, settings: Settings, *, program: str, parameterisation: Wish
) -> Identity:
    """Say what determines the draws of a run, in what JSON can hold.

    Parameters
    ----------
    design : Design
        The data.
    priors : ResolvedPriors
        Every prior in force.
    settings : Settings
        Length, chains, seed.
    program : str
        What is sampled.
    parameterisation
        As it was asked for.

    Notes
    -----
    The data are those that the user gave, by a hash. Sums over the rows are not part of it: with another number of
    threads their last digits may differ, and a run that goes on with them is as good.
    """
    known = design.elsewhere
    arrays = [known.numbers] if known else [design.y, design.offset, design.weights, design.X[:, design.kept]]
    arrays += [priors.contrast, *priors.effect_contrasts]
    if design.residual is not None:
        known_rows, own = design.residual.elsewhere, design.residual
        if known_rows is not None:
            arrays += [known_rows.positions, known_rows.columns, known_rows.weights, known_rows.shares]
        else:
            arrays += [own.codes, own.positions, own.columns]
        arrays += [priors.exponent_means]
    for block in () if known else design.blocks:
        for membership in block.incidence.memberships:
            arrays += [membership.codes, membership.columns]
        arrays += [] if block.relation is None else block.relation.arrays
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "formula": design.specification.normalised(),
        **({} if design.residual is None else {"residual": design.residual.specification.write()}),
        "data": _hash(arrays),
        "priors": [[row.name, pack_prior(row.prior)] for row in priors.rows],
        "sigma": priors.known_sigma,
        "program": program,
        "parameterisation": _plain(parameterisation) if program == "conditional" else None,
        "device": jax.default_backend(),
        "versions": {"bayesmm": __version__, **versions},
        **dataclasses.asdict(settings),
    }


def _plain(wish: Wish) -> Any:
    if isinstance(wish, Mapping):
        return {group: _plain(own) for group, own in wish.items()}
    return wish if isinstance(wish, str) else float(wish)


def _hash(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    names = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    long = [name for name in names if name in ("data", "priors")]
    return [f"the {name} differ" for name in long] + [
        f"{name} is {found.get(name)!r} there and {expected.get(name)!r} here" for name in names if name not in long
    ]


def _begin(folder: Path, identity: Identity) -> None:
    """Make an empty checkpoint, complete when it appears under its name."""
    import zarr  # pyright: ignore[reportMissingImports]  an extra

    partial = folder.with_name(f"{MARK}{secrets.token_hex(4)}{PARTIAL}.zarr")
    try:
        zarr.create_group(partial / DRAWS_FOLDER, zarr_format=ZARR_FORMAT, attributes=identity, overwrite=True)
        os.rename(partial, folder)
    except OSError:
        if not is_checkpoint(folder):  # where it is one, another process was faster
            raise
    finally:
        remove(partial)


def _open_group(path: Path) -> Any:
    import zarr  # pyright: ignore[reportMissingImports]  an extra

    return zarr.open_group(path, mode="r+", zarr_format=ZARR_FORMAT)


def _read_array(data: bytes) -> np.ndarray:
    """Read an array of NumPy's format, of the size that is there."""
    file = BytesIO(data)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell() or dtype.hasobject:
        raise ValueError("an array is of another size than its bytes")
    return np.load(BytesIO(data), allow_pickle=False)


def _name(position: int) -> str:
    return f"leaf_{position:03d}"


def _as_array(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _as_leaf(values: Any, fresh: Any) -> Any:
    return jax.random.wrap_key_data(values, impl=jax.random.key_impl(fresh)) if _is_key(fresh) else values


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _flat(part: Mapping[str, Any]) -> dict[str, np.ndarray]:
    positions = {f"{POSITION}{name}": values for name, values in part["position"].items()}
    return positions | {name: values for name, values in part.items() if name != "position"}
