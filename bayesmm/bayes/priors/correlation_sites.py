"""What is sampled of a correlation matrix with priors: its factor, shares of its pattern, or ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayesmm.bayes.priors.correlation_matrices import CorrelationMatrix, CorrelationPiece, ResidualPiece
from bayesmm.bayes.priors.families import cholesky_log_normaliser
from bayesmm.specification.priors import Prior, Uniform

Held = Literal["factor", "shares", "range", "public", "between"]
Numbers = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationSite:
    """What has one family of priors, of a correlation matrix; hashable.

    Attributes
    ----------
    name : str
        Of the NumPyro site.
    family : str
        Of the priors.
    held : {"factor", "shares", "range", "public", "between"}
        Cholesky's factor of the matrix; shares of its pattern, from 0 to 1; ranges; the correlation itself; or where it
        is between its limits, from 0 to 1.
    positions : tuple of int
        Which of the shares or correlations; of a factor none.
    """

    name: str
    family: str
    held: Held
    positions: tuple[int, ...]

    @property
    def support(self) -> str:
        """Where the values lie, as `bayesmm.specification.prior.Prior.support` says it."""
        if self.family == "Uniform":
            return "interval"
        return "positive numbers" if self.held == "range" else "shares"


def effect_sites(
    piece: CorrelationPiece, priors: Sequence[Prior], around: tuple[str, str]
) -> tuple[tuple[CorrelationSite, ...], tuple[Numbers, ...]]:
    """Lay out the sites of the correlations of a term's effects, with the numbers of their priors; flat is LKJ(1).

    `around` is what stands before and after the name of a site.
    """
    stated = piece.stated(priors)
    if not any(stated):
        return _together(piece, priors[0], around)
    found: list[tuple[str, Held, Mapping[str, float]]] = []
    for which, (prior, what) in enumerate(zip(priors, stated, strict=True)):
        if what == "range":
            found.append((prior.family, "range", prior.numbers))
        elif isinstance(prior, Uniform):
            low, high = piece.own_limits[which]
            ends = np.clip((np.array([prior.lower, prior.upper]) - low) / (high - low), 0.0, 1.0)
            found.append(("Uniform", "shares", {"lower": ends[0], "upper": ends[1]}))
        else:
            found.append(("Beta", "shares", _shapes(piece, prior, which)))
    return _gather(found, around)


def residual_sites(
    piece: ResidualPiece, priors: Sequence[Prior], around: tuple[str, str]
) -> tuple[tuple[CorrelationSite, ...], tuple[Numbers, ...]]:
    """Do the same of residuals, of which the one correlation itself is held where its prior is of that."""
    stated = piece.stated(priors)
    if not any(stated):
        return _together(piece, priors[0], around)
    found: list[tuple[str, Held, Mapping[str, float]]] = []
    for which, (prior, what) in enumerate(zip(priors, stated, strict=True)):
        low, high = piece.own_limits[which]
        if what == "range":
            found.append((prior.family, "range", prior.numbers))
        elif isinstance(prior, Uniform) and piece.is_one:
            found.append(("Uniform", "public", prior.numbers))
        elif isinstance(prior, Uniform):
            ends = (np.array([prior.lower, prior.upper]) - low) / (high - low)
            found.append(("Uniform", "shares", {"lower": ends[0], "upper": ends[1]}))
        else:
            found.append(("Beta", "between" if piece.is_one else "shares", _shapes(piece, prior, which)))
    return _gather(found, around)


def _together(
    piece: CorrelationMatrix, prior: Prior, around: tuple[str, str]
) -> tuple[tuple[CorrelationSite, ...], tuple[Numbers, ...]]:
    """Of a prior of the whole matrix."""
    concentration = getattr(prior, "concentration", 1.0)
    if piece.is_free:
        site = CorrelationSite(name="cholesky".join(around), family="LKJ", held="factor", positions=())
        constant = cholesky_log_normaliser(piece.size, concentration)
        return (site,), ({"concentration": np.asarray(concentration), "log_normaliser": np.asarray(constant)},)
    a, b = piece.lkj_shapes(concentration)
    positions = tuple(range(len(a)))
    site = CorrelationSite(name="correlation".join(around), family="Beta", held="shares", positions=positions)
    return (site,), ({"a": a, "b": b},)


def _shapes(piece: CorrelationMatrix, prior: Prior, which: int) -> Mapping[str, float]:
    """Shapes of a beta density: its own, or that of a share under an LKJ prior of all."""
    if prior.family == "Beta":
        return prior.numbers
    a, b = piece.lkj_shapes(getattr(prior, "concentration", 1.0))
    return {"a": a[which], "b": b[which]}


def _gather(
    found: Sequence[tuple[str, Held, Mapping[str, float]]], around: tuple[str, str]
) -> tuple[tuple[CorrelationSite, ...], tuple[Numbers, ...]]:
    """Make one site of all that have one family."""
    kinds: list[tuple[str, Held]] = list(dict.fromkeys(each[:2] for each in found))
    sites, numbers = [], []
    for family, held in kinds:
        positions = tuple(i for i, each in enumerate(found) if each[:2] == (family, held))
        base = ("range" if held == "range" else "correlation").join(around)
        several = len(kinds) > 1
        sites.append(
            CorrelationSite(name=f"{base}_{family}" if several else base, family=family, held=held, positions=positions)
        )
        own = [found[i][2] for i in positions]
        numbers.append({name: np.array([each[name] for each in own]) for name in own[0]})
    return tuple(sites), tuple(numbers)
