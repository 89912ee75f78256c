"""Where effects are: coordinates of one dimension or more, read off their names, and distances between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bayesmm.errors import DesignError

type Place = tuple[float, ...]
type Neighbours = tuple[tuple[tuple[int, float], ...], ...]

VALUE = re.compile(r"\[([^\[\]]*)\]$")  # what an effect's name says of its level: "C(Days)[1.5]", "at(x, y)[2, 0.5]"
CLOSEST = 1e-6  # of the mean distance of neighbours; two effects nearer to each other cannot be told apart


class Frame(NamedTuple):
    """What distances are measured by, of the effects of a fit.

    Attributes
    ----------
    unit : float
        The mean distance of neighbours: the mean edge of the shortest tree that joins all places. In one dimension that
        is (max − min)/(k − 1). It does not depend on the origin, on the directions of the axes, or on the order.
    least : float
        The least distance between two places, over the unit.
    """

    unit: float
    least: float


def read_places(effects: Sequence[str], term: object) -> tuple[Place, ...]:
    """Read the coordinates of every effect off its name.

    Raises
    ------
    DesignError
        If a name has none, or not as many as the others; or if two effects are at nearly one place. `term` is what the
        message calls their term.
    """
    places = tuple(_read(effect, term) for effect in effects)
    distances = between(places)
    others = distances + np.where(np.eye(len(places)), np.inf, 0.0)
    i, j = sorted(map(int, np.unravel_index(others.argmin(), others.shape)))
    mean = frame_of(places).unit
    if not others[i, j] > CLOSEST * mean:
        raise DesignError(
            f"The term {term} has the effects {effects[i]!r} and {effects[j]!r} at (nearly) one place: "
            f"their distance is {others[i, j]:g}, where neighbours are {mean:g} apart on average. Give both the same "
            "numbers."
        )
    return places


def between(places: Sequence[Place]) -> np.ndarray:
    """Euclidean distances (k, k)."""
    at = np.array(places)
    at = (at - at.min(axis=0))[:, None] - (at - at.min(axis=0))
    return np.abs(at[..., 0]) if at.shape[-1] == 1 else np.sqrt((at**2).sum(axis=-1))


@lru_cache(maxsize=256)
def frame_of(places: tuple[Place, ...]) -> Frame:
    """Measure the distances of neighbours, by Prim's algorithm for the shortest tree."""
    distances = between(places)
    k = len(places)
    nearest, edges = distances[0].copy(), []
    outside = np.arange(k) > 0
    while outside.any():
        new = np.where(outside, nearest, np.inf).argmin()
        edges.append(nearest[new])
        outside[new] = False
        nearest = np.minimum(nearest, distances[new])
    unit = float(np.mean(edges)) if edges else 1.0
    least = float(distances[np.tril_indices(k, -1)].min(initial=np.inf))
    return Frame(unit, least / unit if unit > 0.0 else 0.0)


def neighbours_before(t: np.ndarray) -> Neighbours:
    """Find, of each time but the first, the nearest one on either side among those before it, and how far it is."""
    found = []
    for i in range(1, len(t)):
        sides = [[j for j in range(i) if sign * (t[i] - t[j]) > 0.0] for sign in (1.0, -1.0)]
        nearest = [min(side, key=lambda j, i=i: abs(t[i] - t[j])) for side in sides if side]
        found.append(tuple((j, float(abs(t[i] - t[j]))) for j in nearest))
    return tuple(found)


def read_times(effects: Sequence[str]) -> np.ndarray | None:
    """Read one number (k,) off each name; None if one of them has none, or more."""
    found = [_numbers(effect) for effect in effects]
    return np.array(found)[:, 0] if all(len(each) == 1 for each in found) else None


def _numbers(effect: str) -> Place:
    found = VALUE.search(effect)
    try:
        place = tuple(map(float, found[1].split(","))) if found else ()
    except ValueError:
        place = ()
    return place if np.isfinite(place).all() else ()


def _read(effect: str, term: object) -> Place:
    place = _numbers(effect)
    if not place:
        raise DesignError(
            f"The term {term} needs a number for each effect, a place or a time, and {effect!r} names none. Its "
            "effects are to be the levels of one column of numbers, or of several coordinates, and nothing else, "
            "without an intercept: exp(0 + C(t) | g), exp(0 + at(x, y) | g)."
        )
    return place
