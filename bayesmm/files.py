"""What the system says of a file, as an error that names the file and says what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from bayesmm.errors import BayesmmError, StorageError

ADVICE = {
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path.",
    errno.EISDIR: "Name a file.",
    errno.EEXIST: "Choose another name.",
    errno.EACCES: "Ask for its permissions, or choose another place.",
    errno.EPERM: "Ask for its permissions, or choose another place.",
    errno.EROFS: "Choose another place.",
    errno.ENOSPC: "Make room, or choose another disk.",
    errno.EDQUOT: "Make room, or choose another disk.",
    errno.EFBIG: "Ask for larger files to be allowed (ulimit -f), or choose another disk.",
    errno.EIO: "The disk fails: choose another one.",
    errno.ENOMEM: "Close what else needs memory.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def naming(path: str | os.PathLike[str], done: Literal["read", "written"]) -> Iterator[None]:
    """Turn an error of the system into one that names a file as the user did.

    Parameters
    ----------
    path : path
        The file or folder.
    done : {"read", "written"}
        What is being done with it.

    Raises
    ------
    StorageError
        For any error of the system.
    """
    try:
        yield
    except BayesmmError:
        raise
    except OSError as error:
        raise _name(path, done, error) from error


def check_writable(path: Path, *, is_replaced: bool = True) -> None:
    """Refuse a file or folder that could not be written, before hours are spent on what goes into it.

    Parameters
    ----------
    path : pathlib.Path
        The file or folder.
    is_replaced : bool
        Whether something new is to be moved to its place, and not written into what is there.

    Raises
    ------
    StorageError
        If there is no such folder, or it, or what is there by this name, must not be written to.
    """
    with naming(path, "written"):
        if not path.parent.is_dir():
            raise StorageError(
                f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}. Make it first."
            )
        # Something new is written beside the place, and replaces nothing that must not be written to.
        places = [path] if path.exists() and not is_replaced else [path.parent, path]
        if not all(os.access(each, os.W_OK) for each in places if each.exists()):
            raise _name(path, "written", PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _name(path: str | os.PathLike[str], done: str, error: OSError) -> StorageError:
    reason = (error.strerror or str(error) or type(error).__name__).strip().rstrip(".")
    advice = ADVICE.get(error.errno or 0, "Check the file and the disk.")
    return StorageError(f"{str(path)!r} cannot be {done}: {reason}. {advice}")
