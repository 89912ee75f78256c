"""Pedigrees: one evaluation and one fit, beside one sparse Cholesky factorisation of the same matrix in the same run.

    python benchmarks/pedigrees.py [--quick] [--largest 200000] [--posterior]

Two herds of five generations: half-sibs (one sire for twenty dams, two offspring each) and litters (one sire for ten
dams, eight offspring each). The matrix is Z'Z λ² + A⁻¹ at the estimate. It is factored by SuperLU of SciPy, and by
CHOLMOD where cvxopt is installed: its symbolic part, which has the ordering, apart from the numbers. An evaluation has
value, gradient, curvature, modes and their variances. Seconds of the processor; each the least of several. With
--posterior there are those of a posterior by quadrature, 4 chains of 250 draws, compiling included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from memory import peak_gib
from scipy import sparse
from scipy.sparse.linalg import splu

import bayesmm as bmm

SIZES = (1_000, 5_500, 20_000, 50_000, 200_000)
HERDS = {"half-sibs": (20, 2), "litters": (10, 8)}  # dams for each sire, offspring of each dam
GENERATIONS = 5  # more where dams would be more than are drawn
MOST_DAMS = 10_000
REPEATS = 5


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Least time of the processor that work takes."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def cholmod_seconds(M: Any) -> dict[str, float]:
    """CHOLMOD's symbolic and numeric factorisation; nothing where it is not there."""
    try:
        from cvxopt import cholmod, spmatrix  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {}
    lower = sparse.tril(M).tocoo()
    rows, columns = lower.coords
    A = spmatrix(lower.data.tolist(), rows.tolist(), columns.tolist(), M.shape)
    cholmod.options["supernodal"] = 2
    symbolic = cholmod.symbolic(A)
    return {
        "cholmod_symbolic": seconds(lambda: cholmod.symbolic(A)),
        "cholmod_numeric": seconds(lambda: cholmod.numeric(A, symbolic)),
    }


def posterior_seconds(model: bmm.Model) -> float:
    """Time of a whole posterior, with moments or draws of all effects."""
    start = time.process_time()
    model.sample(method="quadrature", draws=250, seed=1, progress=False)
    return time.process_time() - start


def run(herd: str, animals: int, *, posterior: bool = False) -> dict[str, Any]:
    """Time one pedigree."""
    dams_of_sire, litter = HERDS[herd]
    generations = max(GENERATIONS, -(-animals // (MOST_DAMS * litter)))
    dams = animals // (generations * litter + 1)
    drawn = bmm.datasets.simulate_pedigree(
        max(dams // dams_of_sire, 2), dams, offspring=litter, generations=generations, share_observed=0.8, seed=1
    )
    start = time.process_time()
    A = bmm.pedigree(drawn.pedigree)
    reading = time.process_time() - start
    start = time.process_time()
    model = bmm.Model(drawn.formula, drawn.data, relations={"A": A})
    building = time.process_time() - start
    start = time.process_time()
    _ = model.problem.plan
    planning = time.process_time() - start
    start = time.process_time()
    fit = model.fit()
    fitting = time.process_time() - start

    counts = np.bincount(model.design.blocks[0].incidence.only.codes, minlength=len(A))
    M = (A.inverse + sparse.diags_array(counts * float(fit.factors[0][0, 0]) ** 2)).tocsc()
    options = {"SymmetricMode": True}
    times = {
        "superlu": seconds(
            lambda: splu(M, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options), repeats=2
        ),
        **cholmod_seconds(M),
    }
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
    evaluation = seconds(lambda: criterion.evaluate(theta))
    sparse_plan = model.problem.plan.sparse
    reference = times.get("cholmod_numeric", times["superlu"])
    return {
        "benchmark": "pedigrees",
        "herd": herd,
        "animals": len(A),
        "rows": model.design.n,
        "way": "dense" if sparse_plan is None else "sparse",
        "entries_of_factor": None if sparse_plan is None else sparse_plan.fronts.n_entries,
        **times,
        "pedigree": reading,
        "model": building,
        "plan": planning,
        "evaluation": evaluation,
        "fit": fitting,
        **({"posterior": posterior_seconds(model)} if posterior else {}),
        "evaluation_over_factorisation": evaluation / reference,
        "evaluation_over_superlu": evaluation / times["superlu"],
        "fit_over_factorisation": (planning + fitting) / reference,
        "peak_gib": peak_gib(),
    }


def main() -> None:
    """Print one line of JSON a pedigree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small herds")
    parser.add_argument("--largest", type=int, default=50_000, help="animals")
    parser.add_argument("--posterior", action="store_true", help="a posterior, too")
    asked = parser.parse_args()
    sizes = (1_000, 5_500) if asked.quick else tuple(size for size in SIZES if size <= asked.largest)
    for herd in HERDS:
        for size in sizes:
            print(json.dumps(run(herd, size, posterior=asked.posterior)), flush=True)


if __name__ == "__main__":
    main()
