"""Worker of `sampling.py`: Bambi, with the sampler that the first argument names (pymc, nutpie or numpyro)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from worker_loop import require
from worker_sampling_loop import Drawn, serve_draws

SAMPLER = sys.argv[1]
bambi = require("bambi")
require(SAMPLER)
if SAMPLER == "numpyro":
    require("pymc.sampling.jax")  # imported on first use: imports are not timed


def sample(task: dict[str, Any], frame: Any, seed: int) -> Any:
    return bambi.Model(task["formula"], frame).fit(
        chains=task["chains"],
        draws=task["draws"],
        tune=task["tune"],
        cores=task["cores"],
        random_seed=seed,
        inference_method=SAMPLER,
        progressbar=False,
    )


def read(posterior: Any) -> Drawn:
    """Leave the random effects out: they are the variables with dimensions, where no predictor is a factor."""
    variables = posterior["posterior"].dataset.data_vars
    scalars = {name: v.transpose("chain", "draw").to_numpy() for name, v in variables.items() if v.ndim == 2}
    return Drawn(
        draws=np.stack(list(scalars.values()), axis=-1),
        names=list(scalars),
        divergences=int(posterior["sample_stats"]["diverging"].sum()),
    )


if __name__ == "__main__":
    serve_draws("bambi", sample=sample, read=read)
