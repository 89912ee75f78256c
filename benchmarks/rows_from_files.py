"""Memory and time of a model whose rows are in files, beside the group-by sums of polars on the same files.

    python benchmarks/rows_from_files.py [ROWS ...]

A generator writes Parquet files, a million rows each; then each step runs in a process of its own, so that its peak
memory is its own: the pass that gathers, the pass that sums, both with the fit, and polars' streaming sums by level of
the same products of columns. Prints a line for each size, with the ratio of the two passes to polars and to a scan that
only reads the columns.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FORMULA = "y ~ x + f + (x | person) + (1 | site)"
PEOPLE, SITES, PER_FILE = 20_000, 400, 1_000_000


def write_files(folder: Path, n: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    r = np.random.default_rng(0)
    of_person, of_site = r.normal(size=(PEOPLE, 2)), r.normal(size=SITES)
    for number, start in enumerate(range(0, n, PER_FILE)):
        rows = min(PER_FILE, n - start)
        person = r.integers(0, PEOPLE, rows)
        site = person % SITES
        x, f = r.normal(size=rows), r.integers(0, 4, rows)
        y = 1.0 + 0.5 * x + 0.2 * f + of_person[person, 0] + 0.3 * of_person[person, 1] * x + 0.5 * of_site[site]
        columns = {"y": y + r.normal(size=rows), "x": x, "f": np.array(["a", "b", "c", "d"])[f]}
        columns |= {"person": person, "site": site, "other": r.normal(size=rows)}
        parquet.write_table(pa.table(columns), folder / f"{number:05}.parquet")


def read(pattern: str) -> None:
    import bayesmm as bmm

    for _ in bmm.scan(pattern).chunks(["y", "x", "f", "person", "site"]):
        pass


def gather(pattern: str) -> None:
    import bayesmm as bmm
    from bayesmm.rows.gathering import gather as look
    from bayesmm.specification.formula import parse_formula

    look(bmm.scan(pattern), parse_formula(FORMULA), ["y", "x", "f", "person", "site"])


def sums(pattern: str) -> None:
    import bayesmm as bmm

    _ = bmm.Model(FORMULA, pattern).problem.products


def fit(pattern: str) -> None:
    import bayesmm as bmm

    bmm.Model(FORMULA, pattern).fit()


def polars(pattern: str) -> None:
    """Sum by level the products that the model needs of each factor."""
    import polars as pl

    rows = pl.scan_parquet(pattern).select("y", "x", "f", "person", "site")
    rows = rows.with_columns(
        *((pl.col("f") == level).cast(pl.Float64).alias(f"f{level}") for level in "bcd"), one=pl.lit(1.0)
    )
    columns = ["one", "x", "fb", "fc", "fd", "y"]

    def products(effects: list[str], others: list[str]) -> list[pl.Expr]:
        return [(pl.col(a) * pl.col(b)).sum().alias(f"{a}*{b}") for a in effects for b in others]

    rows.group_by("person").agg(products(["one", "x"], columns)).collect(engine="streaming")
    rows.group_by("site").agg(products(["one"], columns)).collect(engine="streaming")
    rows.group_by("person", "site").agg(products(["one", "x"], ["one"])).collect(engine="streaming")


STEPS = {each.__name__: each for each in (read, gather, sums, fit, polars)}


def measure(step: str, pattern: str) -> dict[str, float]:
    found = subprocess.run(
        [sys.executable, __file__, "--step", step, pattern], capture_output=True, text=True, check=True
    )
    return json.loads(found.stdout.splitlines()[-1])


def run_step(step: str, pattern: str) -> None:
    import polars  # noqa: F401  imports are not what is measured
    import pyarrow.dataset  # noqa: F401

    import bayesmm.design.columns.formulae_terms
    import bayesmm.model
    import bayesmm.rows.summing
    import bayesmm.rows.tables  # noqa: F401

    start, cpu = time.perf_counter(), time.process_time()
    STEPS[step](pattern)
    spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    print(json.dumps(spent | {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main(sizes: list[int]) -> None:
    print(f"{FORMULA}: {PEOPLE:,} people, {SITES:,} sites")
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), n)
            pattern = f"{folder}/*.parquet"
            found = {step: measure(step, pattern) for step in STEPS}
        print(
            f"{n:>12,} rows  "
            + "  ".join(f"{step} {each['seconds']:.1f} s {each['mib']:.0f} MiB" for step, each in found.items())
            + f"  both passes over polars {found['sums']['seconds'] / found['polars']['seconds']:.1f}"
            f" (of processor time {found['sums']['cpu'] / found['polars']['cpu']:.1f})",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        run_step(sys.argv[2], sys.argv[3])
    else:
        main([int(float(each)) for each in sys.argv[1:]] or [10**6, 10**7])
