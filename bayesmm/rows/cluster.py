"""Rows that Dask holds or reads: each part is summed where it is, and what is known of parts is merged in a tree."""

from __future__ import annotations

import itertools
import pickle
import sys
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesmm.arguments import shorten
from bayesmm.errors import ArgumentError, BayesmmError, RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.files import FileScan
from bayesmm.rows.passes import Account, Pass
from bayesmm.rows.source import CHUNK_ROWS, Scan, reason_of
from bayesmm.rows.tables import DatasetScan, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

FAN_IN = 4  # accounts that are merged at a time: one is unpacked, the others wait as bytes
MOST_PARTS = 256  # of files, whatever the cluster: the same files give the same sums to the last digit
TOPIC = "bayesmm-"  # of the events by which workers say that a part is done
WAIT = "10 s"  # for a scheduler to answer


class PartedScan(Scan):
    """Rows in parts, each of which a task reads."""

    client: Any
    threads = 1  # of each worker

    @abstractmethod
    def _parts_of(self, names: Sequence[str]) -> list[Part]:
        """Cut the rows into parts, which are read in this order, or as if they were."""

    def fold[A: Account](self, whole: Pass[A], bar: Bar = SILENT, *, in_order: bool = False) -> A:
        """Make a pass over all rows, each part where it is."""
        from dask import delayed

        parts = self._parts_of(whole.names)
        with _Run(self.client, f"reading rows for {whole.text}", parts, str(self), bar) as run:
            opened, add, merge = run.spread(whole), delayed(_add, pure=False), delayed(_merge, pure=False)
            level = [add(opened, part.open, part.rows, run.topic, dask_key_name=run.key(part)) for part in parts]
            while len(level) > 1:
                level = [merge(opened, *group) for group in itertools.batched(level, FAN_IN)]
            so_far = whole.begin()
            for packed in level:
                so_far.merge(pickle.loads(run.compute(packed)))
        return so_far


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the rows.

    Attributes
    ----------
    where : str
        What it is, for error messages.
    open : callable
        Makes of `rows` what reads them, on a worker.
    rows : object
        May be delayed by Dask.
    """

    where: str
    open: Callable[[Any], Scan]
    rows: Any


@dataclass(frozen=True, eq=False, repr=False)
class ClusterScan(PartedScan):
    """Files that the workers of a cluster read."""

    files: FileScan
    client: Any

    def __str__(self) -> str:
        return str(self.files)

    @property
    def chunk_rows(self) -> int:
        """Rows that a worker has in memory at a time."""
        return self.files.chunk_rows

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the first file."""
        return self.files.columns

    @property
    def texts(self) -> set[str]:
        """Columns of texts."""
        return self.files.texts

    @property
    def parts(self) -> tuple[str, ...]:
        """Path, size and time of each file."""
        return self.files.parts

    @property
    def is_of_files(self) -> bool:
        """It does."""
        return True

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        return self.files._pieces(names)

    def _parts_of(self, names: Sequence[str]) -> list[Part]:
        return [
            Part(
                " to ".join(dict.fromkeys((part.paths[0], part.paths[-1]))),
                _open_files,
                pickle.dumps((part, part.parts)),
            )
            for part in self.files.split(MOST_PARTS)
        ]


@dataclass(frozen=True, eq=False, repr=False)
class DaskScan(PartedScan):
    """A Dask DataFrame: computed anew in each pass, partition by partition."""

    frame: Any
    client: Any
    chunk_rows: int = CHUNK_ROWS

    def __str__(self) -> str:
        n = self.frame.npartitions
        return f"a Dask DataFrame of {n} partition{'s' if n > 1 else ''}"

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self.frame.columns]

    @property
    def texts(self) -> set[str]:
        """None: texts of pandas come as texts, and categories with their order."""
        return set()

    @property
    def parts(self) -> tuple[str, ...]:
        """Says nothing: rows are told from others by what the first pass finds."""
        return ("the Dask DataFrame\t",)

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        parts = self._parts_of(names)
        with _Run(self.client, "computing partitions", parts, str(self), SILENT) as run:
            for part in parts:
                yield from part.open(run.compute(part.rows))._pieces(names)

    def _parts_of(self, names: Sequence[str]) -> list[Part]:
        own = {str(name): name for name in self.frame.columns}
        partitions = self.frame[[own[name] for name in names]].to_delayed()
        places = [f"partition {i} of {len(partitions)}" for i in range(len(partitions))]
        return [
            Part(where, _Partition(where, self.chunk_rows), rows)
            for where, rows in zip(places, partitions, strict=True)
        ]


@dataclass(frozen=True)
class _Partition:
    """Opens a partition of a Dask DataFrame."""

    where: str
    chunk_rows: int

    def __call__(self, frame: Any) -> Scan:
        try:
            table = to_arrow(frame)
        except RowsError as error:
            raise RowsError(f"In {self.where}: {error}") from None
        if table is None:
            raise RowsError(f"{self.where} holds {type(frame).__name__}, and no data frame.")
        return DatasetScan((table,), self.where, self.chunk_rows, threads=1)


def _open_files(described: bytes) -> Scan:
    part, expected = pickle.loads(described)
    try:
        part.check_unchanged(expected)
    except RowsError as error:
        raise RowsError(
            f"{error} That is what a worker sees: files must be at the same place for all of them, and for the process "
            "that makes the model, in a file system that they share."
        ) from None
    return part


def _add(whole: Pass[Any], open_part: Callable[[Any], Scan], part: Any, topic: str | None) -> bytes:
    """Make the pass over one part, on a worker."""
    found = pickle.dumps(open_part(part).fold(whole).packed(), protocol=5)
    if topic is not None:
        from distributed import get_worker

        get_worker().log_event(topic, 1)
    return found


def _merge(whole: Pass[Any], *parts: bytes) -> bytes:
    """Merge what is known of some parts, in their order, on a worker."""
    if len(parts) == 1:
        return parts[0]
    so_far = whole.begin()
    for part in parts:
        so_far.merge(pickle.loads(part))
    return pickle.dumps(so_far.packed(), protocol=5)


class _Run:
    """Computes what is delayed, on a cluster or by the scheduler that Dask is set to.

    Parameters
    ----------
    client : distributed.Client or None
        By default that of Dask, if there is one.
    text : str
        What is done, for the bar.
    parts : sequence of Part
        All there are.
    where : str
        Where rows are, for error messages.
    bar : Bar
        What is told how many parts are done.
    """

    def __init__(self, client: Any, text: str, parts: Sequence[Part], where: str, bar: Bar) -> None:
        self._client = _current_client() if client is None else client
        self._text, self._n, self._done, self._where, self._bar = text, len(parts), 0, where, bar
        self._name = uuid.uuid4().hex
        self._places: dict[str, str] = {}
        self.topic = f"{TOPIC}{self._name}" if self._client is not None and bar.is_watched else None
        if self._client is not None and self._client.asynchronous:
            raise ArgumentError(
                "The client of the cluster is asynchronous, and a model waits for its sums: give "
                "distributed.Client(client.scheduler.address)."
            )

    def __enter__(self) -> _Run:
        if self.topic is not None:
            self._client.subscribe_topic(self.topic, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self.topic is not None and self._client.status == "running":
            self._client.unsubscribe_topic(self.topic)

    def key(self, part: Part) -> str:
        """Name the task of a part."""
        key = f"part-{len(self._places)}-{self._name}"
        self._places[key] = part.where
        return key

    def spread(self, whole: Pass[Any]) -> Any:
        """Return a pass as an argument of tasks: each worker has it once."""
        from dask import delayed

        if self._client is None:  # in this process: what is built already need not be built again
            return delayed(whole, traverse=False, name=f"pass-{self._name}")
        import cloudpickle

        try:
            described = cloudpickle.dumps(whole, protocol=5)  # functions of the user's, too
        except Exception as error:  # of any object of a namespace
            raise RowsError(
                f"The model cannot be sent to the workers ({reason_of(error)}): give functions and plain values in "
                "namespace=."
            ) from None
        return delayed(pickle.loads, pure=False)(described)

    def compute(self, what: Any) -> Any:
        """Wait for something; an interruption cancels it.

        Raises
        ------
        RowsError
            If a part cannot be computed, or its workers die.
        """
        try:
            return what.compute() if self._client is None else self._wait(what)
        except BayesmmError:
            raise
        except Exception as error:  # of readers, of the user's functions, of the cluster
            kind = type(error).__name__
            if kind == "KilledWorker":
                place = self._places.get(getattr(error, "task", ""), "a part")
                raise RowsError(
                    f"Workers died again and again over {place} of {self._where}. Most often memory was too small: "
                    "start them with more, or with fewer threads, or read with a smaller chunk_rows."
                ) from None
            raise RowsError(f"{self._where} cannot be computed ({kind}: {reason_of(error)}).") from error

    def _wait(self, what: Any) -> Any:
        import warnings

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # levels of the first pass: once, not by task
            future = self._client.compute(what)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _hear(self, _: Any) -> None:
        self._done = min(self._done + 1, self._n)  # the part of a worker that was lost is done again
        self._bar.tell(self._done, f"{self._text}: {self._done} of {self._n} parts")


def _current_client() -> Any:
    """Return the client by which Dask would compute; None, if it would do so in this process."""
    from dask.base import get_scheduler

    owner = getattr(get_scheduler(), "__self__", None)
    return owner if type(owner).__module__.startswith("distributed") else None


def find_client(cluster: Any) -> Any:
    """Return the client of a cluster.

    Parameters
    ----------
    cluster : distributed.Client or str
        Or the address of a scheduler.

    Raises
    ------
    ArgumentError
        If it is none of these.
    RowsError
        If Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise RowsError("A cluster needs Dask: pip install bayesmm[cluster].") from None
    if isinstance(cluster, Client):
        return cluster
    if not isinstance(cluster, str):
        hint = " Write cluster=cluster.get_client()." if hasattr(cluster, "get_client") else ""
        raise ArgumentError(
            f"cluster is {shorten(cluster)}: give a distributed.Client, or the address of a scheduler, "
            f"'tcp://host:8786'.{hint}"
        )
    known = _CLIENTS.get(cluster)
    if known is None or known.status != "running":
        try:
            known = Client(cluster, timeout=WAIT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise RowsError(
                f"No scheduler answers at {cluster!r} ({reason_of(error)}). Start one with: dask scheduler, and "
                "workers with: dask worker ADDRESS."
            ) from None
        _CLIENTS[cluster] = known
    return known


_CLIENTS: dict[str, Any] = {}  # of schedulers that were named by their address


def is_worker() -> bool:
    """Whether a task of a cluster runs here."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def is_dask(data: Any) -> bool:
    """Whether something is a Dask DataFrame."""
    return type(data).__module__.startswith("dask.dataframe") and type(data).__name__ == "DataFrame"
