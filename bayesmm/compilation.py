"""Compiled programs kept on disk, so that a new process need not compile them again."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from bayesmm.arguments import check_path
from bayesmm.files import check_writable, naming


def enable_compilation_cache(path: str | os.PathLike[str] | None = None) -> Path:
    """Keep what JAX compiles in a folder, and take it from there in later processes.

    Compiling is most of the time of a first call to `sample`; fitting compiles nothing. The setting is JAX's own and
    holds for everything that this process compiles, so bayesmm makes it only when it is asked to; the command line does
    so for itself. Where a folder is set already, by ``JAX_COMPILATION_CACHE_DIR`` or in `jax.config`, it is respected
    and nothing changes.

    Parameters
    ----------
    path : path, optional
        The folder; made if it is not there. By default ``bayesmm`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``.

    Returns
    -------
    pathlib.Path
        The folder in use. It only grows; it can be deleted at any time.

    Raises
    ------
    StorageError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> folder = bmm.enable_compilation_cache()  # doctest: +SKIP
    """
    current = jax.config.jax_compilation_cache_dir
    if current:
        return Path(current)
    folder = (check_path("path", path) if path is not None else default_folder()).expanduser().absolute()
    with naming(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder, is_replaced=False)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # By default JAX keeps only what took a second to compile; here many small programs add up.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


def default_folder() -> Path:
    """Return the cache folder of this user, by the XDG base directory specification."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "bayesmm"
