"""Does the search find the highest maximum? Random awkward models against SciPy on a dense criterion.

    python benchmarks/search.py uncentred 0 1000
    python benchmarks/search.py irregular 0 1000

The models and the criterion are those of `tests/small_models.py`, which imports nothing of bayesmm. One line of JSON
for each piece: how many models ended short and by how much, how many did not converge, were refused, or were lower than
anything that SciPy found; evaluations with derivatives, and values that were looked at, on average.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import small_models

from bayesmm.incidence import Incidence
from bayesmm.marginal.sums.crossproducts import build_products
from bayesmm.marginal.sums.rows import BlockArrays
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import AbsorbedError, estimate
from bayesmm.reml.search import SaturatedError

SHORT = 1e-4  # of −2 log likelihood
STARTS = 6  # SciPy's, the best of ten times as many that are tried


def run(kind: str, first: int, last: int) -> dict[str, Any]:
    """Fit models of consecutive seeds by REML and ML."""
    outcomes: Counter[str] = Counter()
    short, evaluations, screened, seconds = [], [], [], 0.0
    for seed in range(first, last):
        model = getattr(small_models, kind)(seed)
        layout = small_models.layout_of(model.factors)
        blocks = [
            BlockArrays(incidence=Incidence.single(each.codes, each.columns, each.q), pieces=pieces)
            for each, pieces in zip(model.factors, layout, strict=True)
        ]
        products = build_products(model.X, model.y, model.weights, blocks)[0]
        for method in ("reml", "ml"):
            begin = time.process_time()
            try:
                found = estimate(Criterion(products, layout, method))
            except AbsorbedError:
                outcomes["absorbed"] += 1
                continue
            except SaturatedError:
                outcomes["saturated"] += 1
                continue
            finally:
                seconds += time.process_time() - begin
            outcomes["fitted"] += 1
            outcomes["not converged"] += not found.minimum.converged
            outcomes["with other maxima"] += bool(found.other_maxima)
            evaluations.append(found.minimum.n_evaluations)
            screened.append(found.n_screened)
            gap = found.criterion - small_models.DenseCriterion(model, method).lowest(STARTS, seed)
            outcomes["SciPy higher"] += gap < -SHORT
            if gap > SHORT:
                short.append((seed, method, round(gap, 4)))
    return {
        "models": kind,
        "seeds": [first, last],
        **outcomes,
        "short": short,
        "evaluations": round(float(np.mean(evaluations)), 2),
        "median evaluations": float(np.median(evaluations)),
        "values looked at": round(float(np.mean(screened)), 1),
        "CPU seconds of the searches": round(seconds, 2),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), flush=True)
