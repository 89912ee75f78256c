"""Files and folders that are complete or not there: written beside their place, and moved when they are done.

Whatever happens on the way, a full disk, an interruption, a process or machine that ends, what was there by the name
before is there still, or what replaces it, whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import shutil
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bayesmm.files import naming
from bayesmm.locking import is_free, lock

MARK = ".bayesmm-"  # before the names of what is not yet, or no longer, in its place; short, since names have a limit
PARTIAL = ".partial"
PREVIOUS = ".previous"
LEFT = 60.0  # seconds
PAGE = 1 << 16  # bytes


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, folder: bool = False, synced: bool = True) -> Iterator[Path]:
    """Give a name beside a file or folder to write to; what was written is moved to its place at the end.

    Parameters
    ----------
    path : path
        What is to be there in the end. A link stays one: what it names is replaced.
    folder : bool
        Whether it is a folder; its content is what is replaced, and the name given is that of an empty one.
    synced : bool
        Whether it is to be on the disk before it is moved. It takes time, and matters when a machine loses power.

    Yields
    ------
    pathlib.Path
        Where to write: an empty file or folder.

    Raises
    ------
    StorageError
        For any error of the system on the way, with the file as the user named it. Nothing is left behind then, and
        what was there before is as it was.

    Notes
    -----
    A file reaches the disk (`fsync`) before it is moved, so that the name never stands for less than a whole one. A
    folder that is there is moved aside first, since no system moves a folder onto one that is not empty;
    `whole` finds it there should the process end between the two moves.
    """
    target = Path(os.path.realpath(path))
    with naming(path, "written"):
        if _is_stream(target):
            yield target
            return
        if target.is_dir() and not folder:  # whatever is in it is not what is being replaced
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        _remove_leftovers(target.parent)
        partial = target.with_name(f"{MARK}{secrets.token_hex(4)}{PARTIAL}{target.suffix}")
        try:
            if folder:
                partial.mkdir()
            else:
                partial.touch(exist_ok=False)
            with lock(partial):
                yield partial
                if target.is_file():
                    os.chmod(partial, stat.S_IMODE(target.stat().st_mode))  # what others must not read stays so
                if synced:
                    _sync(partial)
                _move(partial, target, synced=synced)
        finally:
            with contextlib.suppress(OSError):
                remove(partial)


def whole(path: Path) -> Path:
    """Where a folder is that `replacing` has written: aside, if it was stopped between the two moves."""
    return path if os.path.lexists(path) or not _aside(path).is_dir() else _aside(path)


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there; it disappears as a whole."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    rest = path.with_name(f"{MARK}{secrets.token_hex(4)}{PARTIAL}")
    os.rename(path, rest)
    shutil.rmtree(rest, ignore_errors=True)  # a rest is deleted by whoever writes there next


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put Ctrl-C off until the end, where libraries would lose what they are doing."""
    if threading.current_thread() is not threading.main_thread():  # others are never interrupted
        yield
        return
    heard: list[tuple[int, object]] = []
    before = signal.signal(signal.SIGINT, lambda *heard_now: heard.append(heard_now))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard and callable(before):
            before(*heard[0])  # pyright: ignore[reportArgumentType]


class SteadyFile(io.RawIOBase):
    """A file that takes everything, and says at the end what it could not keep.

    HDF5 does not survive a write that fails: what it could not write it tries again while the process ends, which
    crashes it. From the first failure on, what is written is kept in memory and read from there.

    Parameters
    ----------
    path : pathlib.Path
        An existing file.
    """

    _error: OSError | None

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)
        self._position = 0
        self._end = 0
        self._pages: dict[int, bytearray] = {}
        self._error = None

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:  # noqa: D102
        return True

    def writable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:  # noqa: D102
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        view = memoryview(buffer).cast("B")
        n = max(0, min(len(view), self._end - self._position))
        view[:n] = self._read(self._position, n)
        self._position += n
        return n

    def write(self, data: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  # noqa: D102
        view = memoryview(data).cast("B")
        if self._error is None:
            try:
                self._write(view)
            except OSError as error:
                self._error = error
        if self._error is not None:
            self._keep(view)
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:  # noqa: D102
        self._end = self._position if size is None else size
        try:
            self._file.truncate(self._end)
        except OSError as error:
            self._error = self._error or error
        return self._end

    def close(self) -> None:  # noqa: D102
        self._file.close()
        super().close()

    def _write(self, view: memoryview) -> None:
        self._file.seek(self._position)
        while len(view) > 0:
            view = view[self._file.write(view) :]

    def _read(self, start: int, n: int) -> bytes:
        found = bytearray(self._on_disk(start, n))
        for page in range(start // PAGE, -(-(start + n) // PAGE)) if self._pages else ():
            if page in self._pages:
                begin, stop = max(start, page * PAGE), min(start + n, (page + 1) * PAGE)
                found[begin - start : stop - start] = self._pages[page][begin - page * PAGE : stop - page * PAGE]
        return bytes(found)

    def _keep(self, view: memoryview) -> None:
        start, stop = self._position, self._position + len(view)
        for page in range(start // PAGE, -(-stop // PAGE)):
            if page not in self._pages:
                self._pages[page] = bytearray(self._on_disk(page * PAGE, PAGE))
            begin, end = max(start, page * PAGE), min(stop, (page + 1) * PAGE)
            self._pages[page][begin - page * PAGE : end - page * PAGE] = view[begin - start : end - start]

    def _on_disk(self, start: int, n: int) -> bytes:
        """Read bytes; zeros where there are none."""
        found = b""
        with contextlib.suppress(OSError):
            self._file.seek(start)
            while len(found) < n and (more := self._file.read(n - len(found))):
                found += more
        return found + bytes(n - len(found))


def _is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device, which is written to and not replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _aside(path: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return path.with_name(f"{MARK}{name}{PREVIOUS}{path.suffix}")


def _move(partial: Path, target: Path, *, synced: bool) -> None:
    aside = _aside(target)
    if target.is_dir():
        remove(aside)
        os.rename(target, aside)
        try:
            os.rename(partial, target)
        except BaseException:
            os.rename(aside, target)
            raise
    else:
        os.replace(partial, target)
    if synced:
        _sync_entry(target.parent)
    with contextlib.suppress(OSError):  # the new one is in its place
        remove(aside)


def _sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk."""
    if path.is_dir():
        for folder, _, files in os.walk(path):
            for name in files:
                _sync_file(Path(folder, name))
            _sync_entry(Path(folder))
    else:
        _sync_file(path)


def _sync_file(path: Path) -> None:
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync_entry(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such thing
            raise
    finally:
        os.close(entry)


def _remove_leftovers(folder: Path) -> None:
    """Delete what processes that were killed have left: what nobody holds, and nobody is about to."""
    for path in folder.glob(f"{MARK}*{PARTIAL}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - LEFT and is_free(path):
                remove(path)
