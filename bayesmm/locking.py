"""Files and folders that one process or thread holds at a time; the system lets go of them when it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is held there, and nothing found free
    fcntl = None


class HeldError(OSError):
    """Somebody else holds the file."""


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a file or folder, which must be there.

    Raises
    ------
    HeldError
        If another process, or another thread, holds it.

    Notes
    -----
    The lock is that of the system (`flock`) and ends with the process, however that ends. File systems that have none,
    as some of networks, hold nothing.
    """
    if fcntl is None:
        yield
        return
    file = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError(error.errno, error.strerror) from error
        except OSError:
            pass
        yield
    finally:
        os.close(file)


def is_free(path: Path) -> bool:
    """Say whether nobody holds a file or folder; never where nothing can be held."""
    if fcntl is None:
        return False
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(file)
