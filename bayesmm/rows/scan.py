"""Where rows are: files, folders, tables of other libraries; read chunk by chunk, again and again."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.rows.cluster import ClusterScan, DaskScan, PartedScan, find_client, is_dask
from bayesmm.rows.files import FileScan
from bayesmm.rows.source import CHUNK_ROWS, Scan
from bayesmm.rows.tables import DatasetScan, LazyScan, RelationScan, to_arrow

if TYPE_CHECKING:
    from distributed import Client

ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv"}
SHOWN = 3


def scan(
    source: Any, *, chunk_rows: int = CHUNK_ROWS, threads: int | None = None, cluster: Client | str | None = None
) -> Scan:
    """Say where rows are, without reading them: a model of them takes memory for its levels, not for its rows.

    Parameters
    ----------
    source : path, list or data frame
        A file of Parquet or CSV, a pattern such as ``"visits/*.parquet"``, a folder (with folders in it that are named
        ``column=value``, too), or a list of files; a pyarrow dataset, a polars LazyFrame, a DuckDB relation; a Dask
        DataFrame; or a data frame, or a list of them.
    chunk_rows : int
        Rows that are read at a time; each thread has as many in memory.
    threads : int, optional
        How many sum rows at the same time. By default as many as there are processors, at most eight, and fewer where
        there are very many levels, of which each has its sums. The last digits of results depend on it. Workers of a
        cluster have one each.
    cluster : distributed.Client or str, optional
        Whose workers read the files; or the address of its scheduler, ``"tcp://host:8786"``. By default files are read
        by this process, and Dask DataFrames are computed by what Dask is set to.

    Returns
    -------
    Scan
        `bayesmm.Model` takes it as its data.

    Raises
    ------
    RowsError
        If there is no such file, or what is given holds no rows; or no scheduler answers.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> rows = bmm.scan(bmm.datasets.load("sleepstudy"), chunk_rows=50)
    >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", rows)
    >>> round(model.fit().loglik, 3)
    -871.814
    """
    _require_pyarrow()
    if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int) or chunk_rows < 1:
        raise ArgumentError(f"chunk_rows is {shorten(chunk_rows)}: give a positive whole number.")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ArgumentError(f"threads is {shorten(threads)}: give a positive whole number.")
    if threads is not None and (cluster is not None or is_dask(source) or isinstance(source, PartedScan)):
        raise ArgumentError("threads are those of this process, and workers of a cluster read: leave threads out.")
    client = None if cluster is None else find_client(cluster)
    if is_dask(source):
        return DaskScan(source, client, chunk_rows)
    found = _scan_here(source, chunk_rows)
    if threads is not None:
        found = replace(found, threads=threads)
    if client is None:
        return found
    if not isinstance(found, FileScan):
        raise ArgumentError(
            f"A cluster does not see {found}, which is in this process: give paths of files, or a Dask DataFrame."
        )
    return ClusterScan(found, client)


def _scan_here(source: Any, chunk_rows: int) -> Any:
    if isinstance(source, Scan):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _scan_paths([source], chunk_rows)
    if isinstance(source, (list, tuple)) and source and all(isinstance(each, (str, os.PathLike)) for each in source):
        return _scan_paths(list(source), chunk_rows)
    found = _scan_table(source, chunk_rows)
    if found is None:
        raise RowsError(
            f"{shorten(source)} cannot be scanned: give a path, a list of paths, a folder, a pyarrow dataset, a polars "
            "LazyFrame, a DuckDB relation, a Dask DataFrame or a data frame."
        )
    return found


def is_elsewhere(data: Any) -> bool:
    """Whether data are not in memory: what `scan` takes and is no data frame."""
    if isinstance(data, (Scan, str, os.PathLike)):
        return True
    if isinstance(data, (list, tuple)):
        return bool(data) and all(isinstance(each, (str, os.PathLike)) for each in data)
    return _library(data) in ("polars.lazyframe.frame", "pyarrow._dataset") or _is_relation(data) or is_dask(data)


def _library(data: Any) -> str:
    return type(data).__module__


def _is_relation(data: Any) -> bool:
    return type(data).__name__ == "DuckDBPyRelation"


def _scan_table(source: Any, chunk_rows: int) -> Scan | None:
    import pyarrow as pa
    from pyarrow import dataset

    if isinstance(source, dataset.Dataset):
        return DatasetScan((source,), "a pyarrow dataset", chunk_rows)
    if _library(source).startswith("polars.") and type(source).__name__ == "LazyFrame":
        return LazyScan(source, chunk_rows)
    if _is_relation(source):
        return RelationScan(source, chunk_rows)
    frames = list(source) if isinstance(source, (list, tuple)) else [source]
    tables: list[Any] = []
    for frame in frames:
        tables.append(frame if isinstance(frame, (pa.Table, dataset.Dataset)) else to_arrow(frame))
        if tables[-1] is None:
            return None
    if not tables:
        return None
    shown = f"{len(tables)} tables" if len(tables) > 1 else "a table"
    return DatasetScan(tuple(tables), shown, chunk_rows)


def _scan_paths(sources: Sequence[str | os.PathLike[str]], chunk_rows: int) -> FileScan:
    paths: list[str] = []
    root = None
    for source in sources:
        text = os.path.expanduser(os.fspath(source))
        if os.path.isdir(text):
            found = sorted(str(path) for path in Path(text).rglob("*") if path.is_file() and _kind_of(path.name))
            root = text if len(sources) == 1 else None
            what = "a folder without a file of Parquet or CSV"
        elif os.path.exists(text):
            found, what = [text], ""
        else:
            found, what = sorted(glob.glob(text, recursive=True)), "not there"
        if not found:
            raise RowsError(f"{text!r} is {what}. Check the path.")
        paths += found
    kinds = {path: _kind_of(path) for path in paths}
    strange = [path for path, kind in kinds.items() if kind is None]
    if strange:
        raise RowsError(f"{strange[0]!r} ends in none of {', '.join(ENDINGS)}, so its format is not known.")
    if len(set(kinds.values())) > 1:
        raise RowsError(f"{paths[0]!r} and others are of different formats. Scan files of one format.")
    twice = next((path for i, path in enumerate(paths) if path in paths[:i]), None) if len(paths) < 10_000 else None
    if twice:
        raise RowsError(f"{twice!r} is named twice: its rows would count twice.")
    shown = listing([os.fspath(source) for source in sources], SHOWN)
    return FileScan(tuple(paths), shown, str(kinds[paths[0]]), root, chunk_rows)


def _kind_of(name: str) -> str | None:
    return next((kind for ending, kind in ENDINGS.items() if name.lower().endswith(ending)), None)


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise RowsError("Rows are read chunk by chunk by pyarrow: pip install pyarrow.") from None
