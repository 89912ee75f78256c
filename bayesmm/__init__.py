"""Linear mixed models: one formula, REML and NUTS side by side."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bayesmm.version import __version__

if TYPE_CHECKING:
    from bayesmm import datasets, errors, priors
    from bayesmm.comparison.comparison import Comparison, compare
    from bayesmm.comparison.models import anova
    from bayesmm.comparison.publication import publication_table
    from bayesmm.compilation import enable_compilation_cache
    from bayesmm.design.reading.reshape import to_long
    from bayesmm.design.related.car import car
    from bayesmm.design.related.pedigree import pedigree
    from bayesmm.design.related.phylogeny import phylogeny
    from bayesmm.design.related.relation import relation
    from bayesmm.inference.effects.uncertainty import effect_uncertainty
    from bayesmm.inference.means.comparisons import comparisons
    from bayesmm.inference.means.emmeans import emmeans
    from bayesmm.inference.means.slopes import slopes
    from bayesmm.inference.pooling.ranking import ranking
    from bayesmm.inference.pooling.shrinkage import shrinkage
    from bayesmm.inference.power.power import power
    from bayesmm.inference.simulation.simulate import simulate, simulate_rows
    from bayesmm.loading import load
    from bayesmm.model import Model
    from bayesmm.reporting.report import report
    from bayesmm.rows.scan import scan

_HOMES = {
    "Comparison": "bayesmm.comparison.comparison",
    "Model": "bayesmm.model",
    "anova": "bayesmm.comparison.models",
    "car": "bayesmm.design.related.car",
    "compare": "bayesmm.comparison.comparison",
    "comparisons": "bayesmm.inference.means.comparisons",
    "effect_uncertainty": "bayesmm.inference.effects.uncertainty",
    "emmeans": "bayesmm.inference.means.emmeans",
    "enable_compilation_cache": "bayesmm.compilation",
    "load": "bayesmm.loading",
    "pedigree": "bayesmm.design.related.pedigree",
    "phylogeny": "bayesmm.design.related.phylogeny",
    "power": "bayesmm.inference.power.power",
    "publication_table": "bayesmm.comparison.publication",
    "ranking": "bayesmm.inference.pooling.ranking",
    "relation": "bayesmm.design.related.relation",
    "report": "bayesmm.reporting.report",
    "scan": "bayesmm.rows.scan",
    "shrinkage": "bayesmm.inference.pooling.shrinkage",
    "simulate": "bayesmm.inference.simulation.simulate",
    "simulate_rows": "bayesmm.inference.simulation.simulate",
    "slopes": "bayesmm.inference.means.slopes",
    "to_long": "bayesmm.design.reading.reshape",
}
_MODULES = ("datasets", "errors", "priors")

__all__ = [
    "Comparison",
    "Model",
    "__version__",
    "anova",
    "car",
    "compare",
    "comparisons",
    "datasets",
    "effect_uncertainty",
    "emmeans",
    "enable_compilation_cache",
    "errors",
    "load",
    "pedigree",
    "phylogeny",
    "power",
    "priors",
    "publication_table",
    "ranking",
    "relation",
    "report",
    "scan",
    "shrinkage",
    "simulate",
    "simulate_rows",
    "slopes",
    "to_long",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _MODULES:
        return import_module(f"bayesmm.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    from bayesmm.habits import FUNCTIONS

    said = f"module 'bayesmm' has no attribute {name!r}"
    if name in FUNCTIONS:
        raise AttributeError(f"{said}: {FUNCTIONS[name]}.")
    raise AttributeError(said, name=name, obj=sys.modules[__name__])  # with it Python says which name was meant


def __dir__() -> list[str]:
    return __all__
