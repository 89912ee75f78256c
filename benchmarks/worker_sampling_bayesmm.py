"""Worker of `sampling.py`: bayesmm, by the method that the first argument names."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Any

from worker_loop import require
from worker_sampling_loop import Drawn, serve_draws

bmm = require("bayesmm")
for module in pkgutil.walk_packages(importlib.import_module("bayesmm.bayes").__path__, "bayesmm.bayes."):
    importlib.import_module(module.name)  # they are imported on first use: imports are not timed
METHOD = {} if sys.argv[1] == "nuts" else {"method": sys.argv[1]}


def sample(task: dict[str, Any], frame: Any, seed: int) -> Any:
    lengths = {name: task[name] for name in ("chains", "draws", "tune")}
    return bmm.Model(task["formula"], frame).sample(seed=seed, progress=False, **lengths, **METHOD)


def read(posterior: Any) -> Drawn:
    from bayesmm.bayes.results.tables import stack_parameters

    draws = stack_parameters(posterior.data, posterior.labels)
    stats = posterior.data["sample_stats"]
    n = draws.shape[0] * draws.shape[1]
    return Drawn(
        draws=draws,
        names=list(posterior.parameters.index),
        divergences=int(stats["diverging"].sum()) if "diverging" in stats else 0,  # only trajectories diverge
        share=stats.attrs.get("effective_draws", n) / n,
        notes=" ".join(posterior.notes),
    )


if __name__ == "__main__":
    bmm.enable_compilation_cache()  # the folder is the task's: empty, or warm
    serve_draws("bayesmm", sample=sample, read=read)
