"""The same files read by one process, and by a Dask cluster on this machine: time, processor time, and what travels.

    python benchmarks/rows_on_a_cluster.py [ROWS ...] [--workers 2] [--people 20000]

The files and the model are those of `rows_from_files.py`. Prints a line for each size: seconds and processor seconds of
all passes of one process and of the cluster, whose workers had been started and had imported what they need; by what
factor the time is shorter, and for how many times the processor time; the bytes of what the workers were told, of what
they sent each other, and of what came back; and whether the fits agree.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import rows_from_files
from rows_from_files import FORMULA, write_files

MIB = 2.0**20


def cpu_of_worker(dask_worker: Any) -> float:
    return time.process_time()


def import_what_passes_need(dask_worker: Any) -> None:
    import bayesmm.design.columns.formulae_terms
    import bayesmm.rows.summing
    import bayesmm.rows.tables  # noqa: F401


def received(dask_worker: Any) -> int:
    return sum(each["total"] for each in dask_worker.transfer_incoming_log)


def one_process(pattern: str) -> dict[str, float]:
    import bayesmm as bmm

    start, cpu = time.perf_counter(), time.process_time()
    model = bmm.Model(FORMULA, pattern)
    spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    return spent | {"loglik": model.fit().loglik}


def on_cluster(pattern: str, client: Any) -> dict[str, float]:
    import cloudpickle

    import bayesmm as bmm
    from bayesmm.rows import cluster

    told: list[int] = []
    returned: list[int] = []
    dumps, compute = cloudpickle.dumps, cluster._Run.compute

    def noted_dumps(what: Any, **how: Any) -> bytes:
        found = dumps(what, **how)
        told.append(len(found))
        return found

    def noted_compute(self: Any, what: Any) -> Any:
        found = compute(self, what)
        returned.append(len(found))
        return found

    before = client.run(received), client.run(cpu_of_worker)
    start, cpu = time.perf_counter(), time.process_time()
    cloudpickle.dumps, cluster._Run.compute = noted_dumps, noted_compute
    try:
        model = bmm.Model(FORMULA, bmm.scan(pattern, cluster=client))
    finally:
        cloudpickle.dumps, cluster._Run.compute = dumps, compute
    spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    after = client.run(received), client.run(cpu_of_worker)
    between, workers = (sum(now.values()) - sum(then.values()) for now, then in zip(after, before, strict=True))
    spent["cpu"] += workers
    return spent | {
        "told": max(told),
        "between": between,
        "returned": sum(returned),
        "loglik": model.fit().loglik,
    }


def main(sizes: list[int], n_workers: int) -> None:
    from distributed import Client, LocalCluster

    print(f"{FORMULA}: {rows_from_files.PEOPLE:,} people; {n_workers} workers of one thread")
    local = LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR")
    with local as cluster, Client(cluster, set_as_default=False) as client:
        client.run(import_what_passes_need)
        for n in sizes:
            with tempfile.TemporaryDirectory() as folder:
                write_files(Path(folder), n)
                pattern = f"{folder}/*.parquet"
                on_cluster(f"{folder}/00000.parquet", client)  # imports of this process
                alone, together = one_process(pattern), on_cluster(pattern, client)
            print(
                f"{n:>12,} rows  one process {alone['seconds']:.1f} s ({alone['cpu']:.1f} of processor)  "
                f"cluster {together['seconds']:.1f} s ({together['cpu']:.1f})  "
                f"shorter by {alone['seconds'] / together['seconds']:.2f}, for {together['cpu'] / alone['cpu']:.2f}  "
                f"told {together['told'] / MIB:.2f} MiB, between workers {together['between'] / MIB:.1f}, returned "
                f"{together['returned'] / MIB:.1f}  log likelihoods differ by "
                f"{abs(alone['loglik'] - together['loglik']):.1e}",
                flush=True,
            )
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):  # of the workers; see docs/rows.md
        os.environ.setdefault(name, str(2**28))
    read = argparse.ArgumentParser()
    read.add_argument("rows", nargs="*", type=float, default=[1e6, 1e7])
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--people", type=int, default=rows_from_files.PEOPLE)
    given = read.parse_args()
    rows_from_files.PEOPLE = given.people
    main([int(each) for each in given.rows], given.workers)
