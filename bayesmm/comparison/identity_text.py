"""The report of an identity check, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.presenting.numbers import write_column
from bayesmm.presenting.parts import Column, Table, Words
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.comparison.identity import Identity

SAME_PEAK = 1e-6  # difference of log densities
NOTHING = 1e-12  # of the values: a constant that is only rounding
HEADS = {"REML": "REML", "sd": "in sds", "variance": "in variances", "log": "in logarithms"}


def build_report(identity: Identity) -> Report:
    """Say what was checked, what was found, and what it means."""
    return Report(
        title=f"REML as a posterior mode: {identity.formula}",
        parts=(
            *_section("The model", _setting(identity)),
            *_section("1. One function", _same_function(identity)),
            *_section("2. One peak", _same_peak(identity)),
            Words(role="heading", texts=("3. The peak depends on the scale",)),
            _table(identity),
            Words(role="paragraph", texts=(" ".join(_scales(identity)),)),
        ),
    )


def _section(heading: str, sentences: Iterator[str]) -> tuple[Words, Words]:
    return Words(role="heading", texts=(heading,)), Words(role="paragraph", texts=(" ".join(sentences),))


def _setting(identity: Identity) -> Iterator[str]:
    kinds = set(identity.modes["kind"])
    if "sigma" in kinds:
        yield "Flat priors on the coefficients, the standard deviations and sigma."
    else:
        yield "Flat priors on the coefficients and the standard deviations; sigma is known."
    if "cor" in kinds:
        yield "LKJ(1), constant over correlation matrices."
    yield "The coefficients and the random effects are integrated out of the posterior."


def _same_function(identity: Identity) -> Iterator[str]:
    size, constant, deviation = identity.size, identity.constant, identity.deviation
    differs = "is" if abs(constant) < NOTHING * size else f"differs by the constant {constant:.6g} from"
    yield (
        f"At {len(identity.points)} points, the REML estimate among them, the log posterior density {differs} the "
        f"restricted log-likelihood, up to {_small(deviation)}."
    )
    yield (
        f"The values are up to {size:.4g} in size, where doubles are {_small(float(np.spacing(size)))} apart. "
        "One is computed by the NumPyro program in JAX, the other by the optimiser's code in NumPy."
    )


def _same_peak(identity: Identity) -> Iterator[str]:
    entries = "θ and log sigma" if "log sigma" in identity.slopes.index else "θ"
    yield f"At the REML estimate the slope of the log posterior density along {entries} is at most"
    yield f"{_small(identity.largest_slope)}."
    if abs(identity.gap) < SAME_PEAK:
        same = _small(abs(identity.gap))
        yield f"A search for the peak, started elsewhere, ends at the same height to within {same}."
    else:
        other = f"{_small(abs(identity.gap))} {'higher' if identity.gap > 0 else 'lower'}"
        yield f"A search for the peak, started elsewhere, ends at another, {other}: the density has more than one."
    if identity.boundary:
        names, are = " and ".join(identity.boundary), "are" if len(identity.boundary) > 1 else "is"
        yield (
            f"The estimate is on the boundary: {names} {are} zero. The density is even in a standard deviation, so its "
            "slope there is zero too; it is a peak because the density falls away from it."
        )
    elif identity.singular_directions:
        yield f"The estimate is on the boundary: {'; '.join(identity.singular_directions)}."


def _small(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _table(identity: Identity) -> Table:
    decimals = [_decimals(row) for row in identity.modes[list(HEADS)].to_numpy(dtype=float)]
    return Table(
        names=[str(name) for name in identity.modes.index],
        columns=[Column(head=head, cells=write_column(identity.modes[name], decimals)) for name, head in HEADS.items()],
        where="identity.modes",
    )


def _decimals(row: np.ndarray) -> int | None:
    """Decimals that show the largest number of a row with five digits."""
    largest = np.nanmax(np.abs(row), initial=0.0)
    decimals = 4 - int(np.floor(np.log10(largest))) if largest > 0 else 4
    return min(max(decimals, 0), 4) if largest > 1e-3 else None


def _scales(identity: Identity) -> Iterator[str]:
    yield (
        "All columns but the first are modes of the same posterior, found numerically. Only the scale on which its "
        "density is taken differs. The mode in standard deviations is REML."
    )
    yield (
        "A density of variances is that of standard deviations divided by 2 sd, which favours small values. Next to "
        "zero it rises without bound; the table has the peak above zero."
    )
    sds = identity.modes.loc[identity.modes["kind"] == "sd"]
    at_zero = [str(name) for name, value in sds["variance"].items() if value == 0.0]
    if at_zero:
        yield f"For {' and '.join(at_zero)} there is none."
    yield (
        "A density of logarithms is that of standard deviations times sd, which favours large values, and it has no "
        "peak at zero. The logarithm of a variance is twice that of the standard deviation, so both have the same mode."
    )
    yield "Probabilities, medians and quantiles do not depend on the scale; modes and means do."
