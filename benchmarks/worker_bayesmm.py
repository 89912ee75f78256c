"""Worker: bayesmm."""

from __future__ import annotations

from typing import Any

from worker_loop import require, serve

bmm = require("bayesmm")
Model = bmm.Model  # names are imported on first use: imports are not timed


def fit(task: dict[str, Any], frame: Any) -> Any:
    residual = {"residual": task["residual"]} if "residual" in task else {}
    return Model(task["formula"], frame, **residual).fit(task["method"])


def tables(result: Any) -> object:
    """Read all parameters with standard errors, variances included, and every conditional mode with its own."""
    return result.parameters, result.random_effects()


def facts(result: Any) -> dict[str, Any]:
    return {"loglik": float(result.loglik), "evaluations": int(result.estimate.minimum.n_evaluations)}


if __name__ == "__main__":
    serve("bayesmm", fit=fit, tables=tables, facts=facts)
