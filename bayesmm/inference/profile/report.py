"""Profiles as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import pandas as pd

from bayesmm.console import listing
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.profile.path import FALL, Curve
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import write_digits, write_intervals, write_like, write_number
from bayesmm.presenting.parts import AnyColumn, Column, Interval, Table, facts, notes
from bayesmm.presenting.report import Report

METHODS = {"reml": "restricted likelihood", "ml": "likelihood"}
KINDS = {"reml": "restricted log-likelihood", "ml": "log-likelihood"}


def build_report(fit: Fitted, intervals: pd.DataFrame, level: float, remarks: Sequence[str]) -> Report:
    """Tabulate profile intervals; see `Profile.summary`."""
    rows = intervals.to_dict("records")
    widths = [(row["upper"] - row["lower"]) / 4.0 for row in rows]
    estimates = [write_like(row["estimate"], width) for row, width in zip(rows, widths, strict=True)]
    lower, upper, centre = ([row[name] for row in rows] for name in ("lower", "upper", "estimate"))
    limits = write_intervals(lower, upper, centre, widths)
    columns: list[AnyColumn] = [
        Column(head="estimate", cells=estimates),
        Interval(head=interval_head(level), cells=limits),
    ]
    if any(row["at_boundary"] for row in rows):
        columns.append(Column(head="at boundary", cells=[str(row["at_boundary"]) for row in rows], is_words=True))
    return Report(
        title=f"Profile of the {METHODS[fit.method]}: {fit.design.specification.shown}",
        parts=(
            facts([f"{fit.n} rows; {KINDS[fit.method]} at the estimates {write_number(fit.loglik, 4)}"]),
            Table(names=[str(name) for name in intervals.index], columns=columns, where="profile.intervals()"),
            notes(remarks),
        ),
    )


def write_notes(fit: Fitted, curves: Sequence[Curve], level: float) -> tuple[str, ...]:
    """Say what is to be known of the curves, for intervals of one level."""
    zeta = NormalDist().inv_cdf(0.5 + 0.5 * level)
    found = [note for curve in curves for note in _of_curve(curve, zeta)]
    near = [other for other in fit.other_maxima if 2.0 * (fit.loglik - other.log_likelihood) < zeta**2]
    if near:
        lower = " and ".join(f"{fit.loglik - other.log_likelihood:.3g}" for other in near)
        found.append(
            f"The likelihood has other maxima inside the region of this level, lower by {lower} (fit.other_maxima). "
            "Profiles follow the highest one: an interval may leave out values near the others."
        )
    if fit.method == "reml" and any(curve.kind == "fixed" for curve in curves):
        found.append(
            "Fixed effects: restricted likelihood of the variances times the likelihood of the coefficient given them, "
            "over its maximum."
        )
    return tuple(found)


def _of_curve(curve: Curve, zeta: float) -> Iterator[str]:
    name = curve.name
    if not curve.sides and curve.estimate == curve.estimate:
        yield f"{name} is no parameter: effects along one direction leave it where it is."
        return
    if not curve.sides:
        yield f"{name} is undefined, since a standard deviation is zero: any value is as likely."
        return
    if flat := [side for side in curve.sides if side.stopped == "flat" and side.zetas[-1] < zeta]:
        lost = 0.5 * flat[0].zeta(flat[0].points[-1]) ** 2
        yield (
            f"{name} may be anything: with a standard deviation of zero it has no meaning, and there the "
            f"log-likelihood is only {write_digits(lost, 3)} below its maximum."
        )
    for side in curve.sides:
        last = side.points[-1]
        if side.stopped == "lost":
            yield f"The profile of {name} could not be followed beyond {write_digits(last.value)}."
        elif side.stopped == "far":
            yield f"The interval of {name} has no end: the likelihood stays near its maximum however far it goes."
        elif side.stopped == "flat":
            continue
        elif side.ends_at_limit and side.zeta(last) < zeta and len(side.points) > 1:
            lost = 0.5 * side.zeta(last) ** 2
            yield (
                f"{name} may be {write_digits(side.limit)}, its boundary: there the log-likelihood is "
                f"{write_digits(lost, 3)} below its maximum."
            )
        elif side.ends_at_limit and len(side.points) == 1:
            yield f"{name} is estimated at its boundary, {write_digits(side.limit)}: its profile has one side."
        best = min(side.points, key=lambda point: point.criterion)
        if best.criterion < side.floor - FALL:
            yield (
                f"The likelihood is higher than at the estimate where {name} is {write_digits(best.value)}, by "
                f"{write_digits(0.5 * (side.floor - best.criterion), 3)}: the fit is not at the maximum. Its intervals "
                "are not to be used."
            )
        elif side.falls:
            places = listing([write_digits(value) for value in side.maxima])
            yield (
                f"The profile of {name} is not monotone: the likelihood has another maximum near {places}. The "
                "interval reaches over what lies between."
            )
