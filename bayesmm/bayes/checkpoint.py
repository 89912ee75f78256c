"""A run of NUTS on disk while it goes on: a process that is stopped loses nothing but its last chunk of iterations.

A checkpoint is a folder. ``draws/`` is a Zarr group of the positions and statistics that are kept, which grows with
them. ``state.npz`` is the sampler as it stands, replaced as a whole after the draws that led to it are written.
Whenever the process is killed, the state is a complete one, and all draws before it are there. What was written after
it is written again, with the same numbers. Nothing in either is code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np

import bayesmm
from bayesmm.arguments import check_path as as_path
from bayesmm.bayes.parameterisation import Wish
from bayesmm.bayes.recorder import Progress
from bayesmm.bayes.resolution import ResolvedPriors
from bayesmm.bayes.run import Settings
from bayesmm.bayes.storage import DRAWS, ZARR_FORMAT, check_path, is_checkpoint
from bayesmm.bayes.stored_model import pack_prior
from bayesmm.design.design import Design
from bayesmm.errors import StorageError
from bayesmm.files import naming

FORMAT = 1
STATE = "state.npz"
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

    def resume(self, fresh: Progress) -> Progress:
        """Return where the run stands: as far as it has come, or at its start."""
        if not (self.path / STATE).is_file():
            return fresh
        done, arrays = self._read_state()
        leaves, shape = jax.tree.flatten(fresh.place)
        states, place = arrays[: -len(leaves)], shape.unflatten(arrays[-len(leaves) :])
        parts, begin = [], 0
        for part in fresh.parts:
            leaves, shape = jax.tree.flatten(part)
            end = begin + len(leaves[0])
            parts.append(shape.unflatten(_as_leaf(a[begin:end], x) for a, x in zip(states, leaves, strict=True)))
            begin = end
        n_kept = done - self.settings.tune
        return Progress(parts, place, done, [self._read(n_kept)] if n_kept > 0 else [])

    def save(self, progress: Progress) -> None:
        """Write the last draws, then the state that goes with them."""
        n_kept = progress.done - self.settings.tune
        if n_kept > 0:
            self._write(progress.kept[-1], n_kept)
        columns = zip(*(jax.tree.leaves(part) for part in progress.parts), strict=True)
        leaves = [np.concatenate([_as_array(leaf) for leaf in column]) for column in columns]
        arrays: dict[str, Any] = {_name(i): x for i, x in enumerate(leaves + jax.tree.leaves(progress.place))}
        partial = self.path / f"{STATE}.partial"
        with naming(partial, "written"):
            with partial.open("wb") as file:
                np.savez(file, **arrays, done=np.int64(progress.done))
            os.replace(partial, self.path / STATE)

    def _read_state(self) -> tuple[int, list[np.ndarray]]:
        path = self.path / STATE
        try:
            with naming(path, "read"), path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return int(stored["done"]), [stored[_name(i)] for i in range(len(stored.files) - 1)]
        except (BadZipFile, EOFError, KeyError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"{str(path)!r} is no state of a run ({error}). Delete the folder {str(self.path)!r} to begin anew."
            ) from error

    def _write(self, part: Mapping[str, Any], stop: int) -> None:
        with naming(self.path, "written"):
            group = _open_group(self.path / DRAWS)
            for name, values in _flat(part).items():
                chains, n, *shape = values.shape
                if name not in group:
                    group.create_array(
                        name,
                        shape=(chains, self.settings.draws, *shape),
                        chunks=(chains, min(CHUNK, self.settings.draws), *shape),
                        dtype=values.dtype,
                    )
                group[name][:, stop - n : stop] = values

    def _read(self, n_kept: int) -> dict[str, Any]:
        record: dict[str, Any] = {"position": {}}
        with naming(self.path, "read"):
            for name, values in _open_group(self.path / DRAWS).arrays():
                target = record["position"] if name.startswith(POSITION) else record
                target[name.removeprefix(POSITION)] = values[:, :n_kept]
        return record


def open_checkpoint(path: str | os.PathLike[str], settings: Settings, identity: Identity) -> Checkpoint:
    """Open the checkpoint of a run, or begin one.

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
        If the path cannot be written to, or holds something else, or the checkpoint of another run; the message says in
        what they differ.
    """
    folder = as_path("checkpoint", path)
    if folder.suffix.lower() != ".zarr":
        raise StorageError(f"checkpoint={str(path)!r}: a checkpoint is a folder whose name ends in .zarr.")
    check_path(folder)
    expected = json.loads(json.dumps({"format": FORMAT, **identity}))
    with naming(path, "written"):
        if not folder.exists():
            _begin(folder, expected)
        elif not is_checkpoint(folder):
            raise StorageError(f"checkpoint={str(path)!r}: there is something else by this name. Choose another.")
        found = _read_identity(folder)
    if found != expected:
        raise StorageError(
            f"checkpoint={str(path)!r} is of another run: {'; '.join(_differences(found, expected))}. Ask for the same "
            "run, choose another name, or delete the folder."
        )
    return Checkpoint(folder, settings)


def _read_identity(folder: Path) -> Identity:
    try:
        return dict(_open_group(folder / DRAWS).attrs)
    except (KeyError, ValueError) as error:
        raise StorageError(
            f"{str(folder)!r} is no checkpoint that can be read ({error}). Choose another name, or delete the folder."
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
    arrays = [design.y, design.offset, design.weights, design.X[:, design.kept], priors.contrast]
    arrays += priors.effect_contrasts
    for block in design.blocks:
        arrays += [block.codes, block.columns]
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "formula": design.specification.normalised(),
        "data": _hash(arrays),
        "priors": [[row.name, pack_prior(row.prior)] for row in priors.rows],
        "sigma": priors.fixed_sigma,
        "program": program,
        "parameterisation": _plain(parameterisation) if program == "conditional" else None,
        "device": jax.default_backend(),
        "versions": {"bayesmm": bayesmm.__version__, **versions},
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

    partial = folder.with_name(f".{folder.stem}.{os.getpid()}.partial.zarr")
    zarr.create_group(partial / DRAWS, zarr_format=ZARR_FORMAT, attributes=identity, overwrite=True)
    os.replace(partial, folder)


def _open_group(path: Path) -> Any:
    import zarr  # pyright: ignore[reportMissingImports]  an extra

    return zarr.open_group(path, mode="r+", zarr_format=ZARR_FORMAT)


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
