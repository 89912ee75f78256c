"""Whether a result is a fit or a posterior, where either will do."""

from __future__ import annotations

from bayesmm.arguments import shorten
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError


def is_posterior(result: object) -> bool:
    """Tell a posterior from a fit.

    Raises
    ------
    ArgumentError
        If it is neither.
    """
    if isinstance(getattr(result, "design", None), Design):
        if hasattr(result, "estimate"):
            return False
        if hasattr(result, "draws"):
            return True
    raise ArgumentError(f"result is {shorten(result)}: give a fit or a posterior, as model.fit() or model.sample().")
