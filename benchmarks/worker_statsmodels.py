"""Worker: statsmodels' MixedLM. Its task has `groups`, and `re_formula` and `vc_formula` where they are needed."""

from __future__ import annotations

from typing import Any

from worker_loop import require, serve

MixedLM = require("statsmodels.regression.mixed_linear_model").MixedLM


def fit(task: dict[str, Any], frame: Any) -> Any:
    model = MixedLM.from_formula(
        task["formula"],
        frame,
        groups=task["groups"],
        re_formula=task.get("re_formula"),
        vc_formula=task.get("vc_formula"),
    )
    return model.fit(reml=task["method"] == "reml")


def tables(result: Any) -> object:
    """Read standard errors of all parameters, and conditional modes."""
    return result.bse, result.random_effects


def facts(result: Any) -> dict[str, Any]:
    return {"loglik": float(result.llf)}


if __name__ == "__main__":
    serve("statsmodels", fit=fit, tables=tables, facts=facts)
