"""Worker: mixedlm (Python, with a Rust core)."""

from __future__ import annotations

from typing import Any

from worker_loop import require, serve

mixedlm = require("mixedlm")
lmer = mixedlm.lmer  # names are imported on first use: imports are not timed


def fit(task: dict[str, Any], frame: Any) -> Any:
    return lmer(task["formula"], frame, REML=task["method"] == "reml")


def tables(result: Any) -> object:
    """Read standard errors of the fixed effects, and conditional modes without theirs: those take a solve a level."""
    return result.vcov(), result.ranef()


def facts(result: Any) -> dict[str, Any]:
    return {"loglik": float(result.logLik().value), "evaluations": int(result.function_evals)}


if __name__ == "__main__":
    serve("mixedlm", fit=fit, tables=tables, facts=facts)
