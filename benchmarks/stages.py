"""The stages of one small fit in this process, as one line of JSON; run by cold_start.py in processes of its own."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from typing import Any

FORMULA = "Reaction ~ Days + (Days | Subject)"
INNER = {  # stage of Model.fit -> where the function that does it is looked up
    "products": "bayesmm.problem.build_products",
    "search": "bayesmm.reml.estimate.find_minima",
}


def main() -> None:
    seconds: dict[str, float | None] = {}
    begin = time.perf_counter()
    import bayesmm as bmm

    Model, load = bmm.Model, bmm.datasets.load
    seconds["import"] = time.perf_counter() - begin
    frame = load("sleepstudy")
    watched = {stage: _watch(place) for stage, place in INNER.items()}
    seconds["design"], model = _timed(lambda: Model(FORMULA, frame))
    whole, fit = _timed(model.fit)
    inner = {stage: sum(spent) if spent is not None else None for stage, spent in watched.items()}
    seconds |= inner | {"rest of fit": whole - sum(x for x in inner.values() if x is not None)}
    seconds["summary"], _ = _timed(lambda: str(fit.summary()))
    seconds["total"] = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "loglik": fit.loglik}))


def _watch(place: str) -> list[float] | None:
    """Have a function note how long each of its calls took; None where there is no such function any more."""
    owner, name = place.rsplit(".", 1)
    try:
        holder = _find(owner)
        function = getattr(holder, name)
    except (ImportError, AttributeError):
        return None
    spent: list[float] = []

    def noting(*arguments: Any, **keywords: Any) -> Any:
        taken, result = _timed(lambda: function(*arguments, **keywords))
        spent.append(taken)
        return result

    setattr(holder, name, noting)
    return spent


def _find(place: str) -> Any:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError:
        module, name = place.rsplit(".", 1)
        return getattr(importlib.import_module(module), name)


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    main()
