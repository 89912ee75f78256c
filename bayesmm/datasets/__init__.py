"""Classical data sets with their sources, and simulated ones with the truth they were drawn from."""

from importlib import import_module
from typing import TYPE_CHECKING

from bayesmm.datasets.catalogue import Column, Description, describe, names

if TYPE_CHECKING:
    from bayesmm.datasets.crossed import simulate_crossed
    from bayesmm.datasets.dyads import simulate_dyads
    from bayesmm.datasets.longitudinal import simulate_longitudinal
    from bayesmm.datasets.nested import simulate_nested
    from bayesmm.datasets.pedigrees import simulate_pedigree
    from bayesmm.datasets.simulation import Simulation
    from bayesmm.datasets.table import load

__all__ = [
    "Column",
    "Description",
    "Simulation",
    "describe",
    "load",
    "names",
    "simulate_crossed",
    "simulate_dyads",
    "simulate_longitudinal",
    "simulate_nested",
    "simulate_pedigree",
]

# What needs pandas is imported when it is first asked for: a list of names should not cost its import.
_HOMES = {
    "Simulation": "simulation",
    "load": "table",
    "simulate_crossed": "crossed",
    "simulate_dyads": "dyads",
    "simulate_longitudinal": "longitudinal",
    "simulate_nested": "nested",
    "simulate_pedigree": "pedigrees",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
