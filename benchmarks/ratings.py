"""Users crossed with films as in MovieLens: 2e7 ratings simulated with known truth, read from Parquet, fitted.

    python benchmarks/ratings.py [--quick] [ROWS ...]

Activity and popularity have long tails: a user rates 20 films at least and 143 on average, a few thousands; most films
have few ratings and some tens of thousands. Each size is a process of its own, so that its peak memory is its own.
Prints a line for each: processor seconds of every part, memory, estimates with their standard errors and Monte Carlo
errors beside the truth, and how far the predicted effects are from the true ones, in their standard errors.
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
from report import print_line

TRUTH = {"Intercept": 3.5, "age": -0.05, "sd(Intercept | user)": 0.45, "sd(Intercept | film)": 0.5, "sigma": 0.8}
ROWS, USERS, FILMS, LEAST, PER_FILE = 20_000_000, 140_000, 27_000, 20, 2_000_000
QUICK = (100_000,)


def write_files(folder: Path, n: int) -> None:
    """Simulate n ratings, users and films in proportion, and write them as Parquet files."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(1)
    n_users, n_films = round(USERS * n / ROWS), round(FILMS * (n / ROWS) ** 0.5)
    activity = rng.lognormal(0.0, 1.2, n_users)
    counts = LEAST + rng.poisson((n / n_users - LEAST) * activity / activity.mean())
    counts = np.minimum(counts, n_films // 2)
    popularity = rng.lognormal(0.0, 2.0, n_films)
    cumulative = np.cumsum(popularity / popularity.sum())
    user, film = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for _ in range(6):  # nobody rates a film twice: what was drawn twice is drawn again
        missing = np.maximum(counts - np.bincount(user, minlength=n_users), 0)
        again = np.repeat(np.arange(n_users), missing)
        key = np.unique(
            np.concatenate([user, again]) * n_films + np.concatenate([film, _draw(rng, cumulative, len(again))])
        )
        user, film = np.divmod(key, n_films)
    order = rng.permutation(len(user))
    user, film = user[order].astype(np.int32), film[order].astype(np.int32)
    of_user = TRUTH["sd(Intercept | user)"] * rng.normal(size=n_users)
    of_film = TRUTH["sd(Intercept | film)"] * rng.normal(size=n_films)
    np.savez(folder / "truth.npz", user=of_user, film=of_film)
    for number, start in enumerate(range(0, len(user), PER_FILE)):
        part = slice(start, start + PER_FILE)
        age = rng.normal(size=len(user[part]))
        rating = TRUTH["Intercept"] + TRUTH["age"] * age + of_user[user[part]] + of_film[film[part]]
        rating += TRUTH["sigma"] * rng.normal(size=len(age))
        columns = {"rating": rating, "age": age, "user": user[part], "film": film[part]}
        parquet.write_table(pa.table(columns), folder / f"{number:05}.parquet")


def _draw(rng: np.random.Generator, cumulative: np.ndarray, n: int) -> np.ndarray:
    return np.minimum(np.searchsorted(cumulative, rng.random(n)), len(cumulative) - 1)


def measure(folder: Path, options: dict) -> dict:
    """Read, fit, and compare with the truth."""
    import bayesmm as bmm

    seconds, started = {}, time.process_time()

    def lap(name: str) -> None:
        nonlocal started
        seconds[name] = time.process_time() - started
        started = time.process_time()

    model = bmm.Model("rating ~ 1 + age + (1 | user) + (1 | film)", str(folder / "*.parquet"), progress=False)
    _ = model.problem.products
    lap("read")
    read_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    fit = model.fit(progress=False, **options)
    lap("search")
    parameters = fit.parameters
    lap("standard errors")
    effects = fit.random_effects()
    lap("effects")
    with np.load(folder / "truth.npz") as truth:
        z = {}
        for group, own in effects.groupby("group", sort=False):
            true = truth[str(group)][own["level"].astype(int).to_numpy()]
            z[str(group)] = float((((own["estimate"] - true) / own["std_error"]) ** 2).mean() ** 0.5)
    carlo = fit.estimate.monte_carlo
    return {
        "levels": dict(fit.labels.n_levels),
        "rows": fit.n,
        "probes": None if carlo is None else carlo.n_probes,
        "evaluations": fit.estimate.minimum.n_evaluations,
        "status": fit.status.name,
        "processor_seconds": seconds,
        "gibibytes": {"after reading": read_memory, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20},
        "loglik": fit.loglik,
        "loglik_mc_error": None if carlo is None else carlo.loglik,
        "parameters": {
            name: {"truth": TRUTH[name]} | {key: float(x) for key, x in row.items() if key not in ("kind", "group")}
            for name, row in parameters.to_dict("index").items()
        },
        "rms_of_effects_in_standard_errors": z,
    }


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--measure"]:
        print(json.dumps(measure(Path(arguments[1]), json.loads(arguments[2]))))
        return
    sizes = [int(float(each)) for each in arguments if each[0] != "-"] or (QUICK if "--quick" in arguments else (ROWS,))
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), n)
            ways = [{}] if n > 2_000_000 else [{"determinant": "stochastic"}, {"determinant": "exact"}]
            for options in ways:
                command = [sys.executable, __file__, "--measure", folder, json.dumps(options)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                print_line({"kind": "ratings", "way": options} | json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
