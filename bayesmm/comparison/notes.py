"""What the difference between two results means, in sentences made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd

from bayesmm.bayes.exploring.modes import write_share
from bayesmm.comparison.evidence import Evidence, Parameter, effect_is_certain
from bayesmm.comparison.suspects import CHOSEN_BY, describe
from bayesmm.console import visible
from bayesmm.errors import FitStatus
from bayesmm.inference.fitted import Df
from bayesmm.presenting.numbers import write_like

LISTED = 4  # parameters named in one sentence
VANISHING = 1e-3  # of its largest value at a mode: a spread below is not told from zero
SHORT = 0.1  # share by which conditional sds must be too small to be spoken of
FAR = 0.5  # posterior sds by which a random effect must differ to be named


WIDTHS = 1.33  # the noise of an interval's width over that of a standard deviation, for normal draws and 95 %
INTERVALS = {
    "satterthwaite": "t intervals with Satterthwaite's degrees of freedom",
    "kenward-roger": "Kenward and Roger's t intervals",
    "residual": "t intervals with n − p degrees of freedom",
    "normal": "normal intervals",
}


def write_notes(evidence: Evidence, df: Df) -> tuple[str, ...]:
    """Write the notes of a comparison.

    Parameters
    ----------
    evidence : Evidence
        From `gather`.
    df : str
        How the intervals of the fit's fixed effects are made.

    Returns
    -------
    tuple of str
        What must be known before anything else comes first: whether fit and draws can be used, whether they are of the
        same mode, and where the two are so far apart that no tail explains it. Then where they agree; the boundary; the
        priors; skewness; maximum likelihood; what is left; widths; random effects.
    """
    parts = [_reliability, _modes, _distance, _agreement, _boundary, _priors, _skewness, _maximum_likelihood]
    if evidence.posterior.diagnostics.is_good:
        parts.append(_unexplained)  # else the sampler explains it
    parts += [partial(_fixed_widths, df=df), _effect_widths, _effect_shifts, _certain_effects]
    return tuple(visible(note) for part in parts for note in part(evidence))


def _reliability(evidence: Evidence) -> Iterator[str]:
    fit, diagnostics = evidence.fit, evidence.posterior.diagnostics
    if fit.status is FitStatus.NOT_CONVERGED:
        yield f"The {evidence.method} fit did not converge, so nothing below can be relied on. {fit.status.value}"
    if not diagnostics.is_good:
        advice = diagnostics.advice[:1].upper() + diagnostics.advice[1:]
        yield f"The draws are not reliable yet, so differences may be the sampler's. {advice}"


def _modes(evidence: Evidence) -> Iterator[str]:
    """Say where the fit is at another mode than the one that has most of the probability."""
    data = evidence.posterior.data
    if "modes" not in data.children:
        return
    modes = data["modes"].to_dataset()
    spreads = [each for each in evidence.parameters if each.kind in ("sd", "sigma")]
    values = modes["value"].sel(parameter=[each.name for each in spreads]).to_numpy()  # (modes, spreads)
    estimates = np.array([each.estimate for each in spreads])
    least = VANISHING * values.max(axis=0)
    apart = np.abs(np.log(np.maximum(values, least) / np.maximum(estimates, least)))
    own = int(apart.sum(axis=1).argmin())
    shares = modes["share"].to_numpy()
    if own == 0:
        return
    furthest = np.argsort(-np.abs(np.log(values[0] / values[own])), kind="stable")[:2]
    places = [
        " and ".join(f"{spreads[j].name} {write_like(row[j], row[j])}" for j in sorted(furthest)) for row in values
    ]
    most = write_share(shares[0])
    yield (
        f"The posterior has {len(shares)} modes, and the {evidence.method} fit is at one that has "
        f"{write_share(shares[own])} of the probability ({places[own]}). {most[:1].upper()}{most[1:]} is about "
        f"{places[0]}: differences are those between two explanations of the data."
    )


def _distance(evidence: Evidence) -> Iterator[str]:
    far = [each for each in evidence.parameters if each.is_far and not _is_made_small(each, evidence)]
    if not evidence.suspects:
        far = [each for each in far if not each.on_boundary]  # the boundary explains it
    if not far or any(_modes(evidence)):  # another mode explains it
        return
    apart = [f"{_against(each)}, {abs(each.shift):.1f} posterior sds" for each in far]
    first = f"The posterior is further from {evidence.method} than a tail explains: {_listed(apart)}."
    if not evidence.suspects:
        yield (
            f"{first} No prior speaks against the estimates, so look for several peaks of the likelihood: sample with "
            "other seeds and by another method before either is reported."
        )
        return
    one = len(evidence.suspects) == 1
    advice = "State a wider one, or leave it out for the default" if one else "State wider ones, or leave them out"
    if any(each.origin for each in evidence.suspects):
        advice = "Centre the covariates, or leave the priors out: the defaults are about the means of the covariates"
    yield (
        f"{first} Suspect the prior{'' if one else 's'} first: {_listed(map(describe, evidence.suspects))}. {advice}; "
        "or report what the prior does."
    )


def _is_made_small(parameter: Parameter, evidence: Evidence) -> bool:
    """Whether maximum likelihood explains that an estimate lies below the posterior."""
    return evidence.fit.method == "ml" and parameter.kind in ("sd", "sigma") and parameter.shift > 0


def _agreement(evidence: Evidence) -> Iterator[str]:
    if not any(each.differs or each.on_boundary or each.is_far for each in evidence.parameters):
        yield f"They agree: {_closeness(evidence.parameters, evidence.method)}."
        return
    fixed = evidence.of_kind("fixed")
    if fixed and not any(each.differs or each.is_far for each in fixed):
        yield f"The fixed effects agree: {_closeness(fixed, evidence.method)}."


def _closeness(parameters: Sequence[Parameter], method: str) -> str:
    largest = max(0.01, *(abs(each.shift) for each in parameters))
    if len(parameters) == 1:
        return f"the posterior mean is within {largest:.2f} posterior sds of the {method} estimate"
    return f"every posterior mean is within {largest:.2f} posterior sds of its {method} estimate"


def _boundary(evidence: Evidence) -> Iterator[str]:
    edge = [each for each in evidence.parameters if each.on_boundary]
    for sd in [each for each in edge if each.kind == "sd"][:LISTED]:
        yield (
            f"{evidence.method} puts {sd.name} at exactly zero. The posterior cannot sit on the boundary: it says "
            f"below {write_like(sd.q95, sd.sd)} with probability 0.95, mean {write_like(sd.mean, sd.sd)}."
        )
    for cor in [each for each in edge if each.kind == "cor"][:LISTED]:
        where = "undefined" if math.isnan(cor.estimate) else "+1" if cor.estimate > 0 else "−1"
        mean, lower, upper = (write_like(value, 0.1) for value in (cor.mean, cor.lower, cor.upper))
        yield (
            f"{cor.name} is {where} in the {evidence.method} fit; the posterior has mean {mean} and leaves everything "
            f"from {lower} to {upper} open."
        )
    if not edge and evidence.fit.is_singular:
        directions = "; ".join(evidence.fit.singular_directions)
        yield f"The {evidence.method} fit is singular: {directions}. The posterior gives each of them some variance."


def _priors(evidence: Evidence) -> Iterator[str]:
    priors = {row.name: row for row in evidence.posterior.priors.rows}
    pulls = []
    for parameter in evidence.parameters if not evidence.suspects else ():  # where the first order does not reach
        if parameter.is_pulled and not parameter.is_far:
            row = priors[parameter.puller]
            prior = f"{row.prior}" if row.name == parameter.name else f"{row.prior} of {row.name}"
            direction = "up" if parameter.pull > 0 else "down"
            size = f"{abs(parameter.pull):.1f} posterior sds"
            pulls.append(f"{parameter.name} {direction} by about {size} ({prior}, {CHOSEN_BY[row.source]})")
    if pulls:
        yield f"Priors move posterior means: {_listed(pulls)}."


def _skewness(evidence: Evidence) -> Iterator[str]:
    skewed = [each for each in evidence.parameters if each.is_skewed and not each.is_far]
    spreads = [each for each in skewed if each.kind in ("sd", "sigma")]
    others = [each for each in skewed if each.kind not in ("sd", "sigma") and _is_read_as_shifted(each)]
    if spreads:
        levels = evidence.fit.labels.n_levels
        groups = [
            f"{levels[group]} levels of {group}"
            for group in dict.fromkeys(each.group for each in spreads)
            if group in levels
        ]
        known_from = f" ({_listed(groups, ', ')} inform them)" if groups else ""
        yield (
            f"Standard deviations have posteriors with a long right tail{known_from}, so their means lie above the "
            f"peak that {evidence.method} reports: {_listed(map(_with_median, spreads))}."
        )
    if others:
        yield f"A long tail moves the mean: {_listed(map(_with_median, others))}."


def _maximum_likelihood(evidence: Evidence) -> Iterator[str]:
    if any(each.differs and _is_made_small(each, evidence) for each in evidence.parameters):
        yield (
            "Maximum likelihood makes standard deviations too small, as it takes the fixed effects as known; the "
            "posterior is the counterpart of method='reml'."
        )


def _is_read_as_shifted(parameter: Parameter) -> bool:
    """Whether mean and estimate are written differently; those of correlations next to ±1 are not."""
    return write_like(parameter.mean, parameter.sd) != write_like(parameter.estimate, parameter.sd)


def _with_median(parameter: Parameter) -> str:
    values = (parameter.mean, parameter.median, parameter.estimate)
    mean, median, estimate = (write_like(value, parameter.sd) for value in values)
    return f"{parameter.name} {mean} (median {median}) against {estimate}"


def _unexplained(evidence: Evidence) -> Iterator[str]:
    left = [
        each
        for each in evidence.parameters
        if each.differs and not (each.on_boundary or each.is_pulled or each.is_skewed or each.is_far)
    ]
    at_origin = [each for each in left if each.follows_from]
    if at_origin:
        where = list(dict.fromkeys(each.follows_from for each in at_origin))
        yield (
            f"Where a covariate is zero, standard deviations and correlations depend on each other. The shift of "
            f"{_listed(map(_against, at_origin))} follows from those {_listed(where, ', ')}, which differ by their "
            "tails at most."
        )
    unexplained = [each for each in left if not each.follows_from]
    if unexplained:
        yield (
            "Neither priors (to first order) nor a tail of its own explains the shift of "
            f"{_listed(map(_against, unexplained))}."
        )


def _against(parameter: Parameter) -> str:
    mean, estimate = (write_like(value, parameter.sd) for value in (parameter.mean, parameter.estimate))
    return f"{parameter.name} {mean} against {estimate}"


def _fixed_widths(evidence: Evidence, df: Df) -> Iterator[str]:
    """Say how far the intervals of the fixed effects agree."""
    fixed = evidence.of_kind("fixed")
    if not fixed:
        return
    change = sum((each.upper - each.lower) / (each.fit_upper - each.fit_lower) for each in fixed) / len(fixed) - 1.0
    apart = max(max(abs(each.upper - each.fit_upper), abs(each.lower - each.fit_lower)) / each.sd for each in fixed)
    several = len(fixed) > 1
    what = "the fixed effects" if several else fixed[0].name
    ends = f"their ends differ by {'at most ' if several else ''}{apart:.2f} posterior sds"
    average = " on average" if several else ""
    if math.isnan(change):
        yield f"The fit gives {what} no interval: degrees of freedom cannot be worked out."
    elif abs(change) <= WIDTHS * evidence.width_noise:
        yield f"{_capital(INTERVALS[df])} and posterior intervals of {what} are as wide{average}; {ends}."
    elif change > 0:
        yield (
            f"Posterior intervals of {what} are {_percent(change)} wider{average} than {INTERVALS[df]}, "
            f"{_left_out(evidence, df)}; {ends}."
        )
    else:
        yield (
            f"Posterior intervals of {what} are {_percent(change)} narrower{average} than {INTERVALS[df]}: "
            f"the priors add information, or make the variances smaller; {ends}."
        )


def _left_out(evidence: Evidence, df: Df) -> str:
    """Say what the fit's intervals do not allow for."""
    if df in ("normal", "residual"):
        return "which take the estimated variances as known"
    if evidence.fit.is_singular:
        return "which hold the variance that was estimated as zero there"
    return "which allow for the error of the estimated variances, but not for a posterior's skewed ones"


def _effect_widths(evidence: Evidence) -> Iterator[str]:
    changes = _width_changes(evidence.random_effects)
    noise = evidence.width_noise
    wider = [f"{_larger(change)} ({name})" for name, change in changes.items() if change > noise]
    narrower = [f"{_percent(change)} smaller ({name})" for name, change in changes.items() if change < -noise]
    if wider:
        yield (
            "The BLUPs' conditional sds take variances and fixed effects as known. Posterior sds of the random effects "
            f"are on average {_listed(wider, ', ')}."
        )
        yield from _full_widths(evidence)
    if narrower:
        yield f"Posterior sds of the random effects are on average {_listed(narrower, ', ')} than the conditional sds."
    if changes and not wider and not narrower:
        yield "Posterior sds of the random effects equal the BLUPs' conditional sds on average."


def _full_widths(evidence: Evidence) -> Iterator[str]:
    """Where conditional sds are much smaller, say whether an expansion to second order makes up for it."""
    table = evidence.random_effects
    if evidence.fit.method == "ml" or not np.isfinite(table["full"]).all():
        return  # the expansion is REML's
    short, rest = _width_changes(table, of="full", by="std_error"), _width_changes(table, by="full")
    much = [name for name, change in short.items() if change > SHORT]
    if not much:
        return
    alike = [name for name in much if abs(rest[name]) <= max(evidence.width_noise, SHORT)]
    larger = _listed([f"{_larger(short[name])} ({name})" for name in much], ", ")
    said = f"Full sds, which allow for the errors of both, are {larger} than the conditional ones"
    if len(alike) == len(much):
        yield f"{said} and near the posterior's: report them, as fit.random_effects(uncertainty='full') has them."
    else:
        others = [f"{_signed(rest[name])} ({name})" for name in much if name not in alike]
        yield (
            f"{said}; the posterior's differ from them by {_listed(others, ', ')}: so near zero, or with so few "
            "levels, an expansion is rough, and the posterior is to be reported."
        )


def _signed(change: float) -> str:
    return f"{'+' if change > 0 else '−'}{_percent(change)}"


def _width_changes(random_effects: pd.DataFrame, *, of: str = "sd", by: str = "std_error") -> dict[str, float]:
    """Average relative difference of the widths, by group, and by effect where there are several."""
    table = random_effects.loc[~effect_is_certain(random_effects)]
    groups, effects = table["group"].to_numpy(), table["effect"].to_numpy()
    ratios = table[of].to_numpy() / table[by].to_numpy()
    pairs = list(dict.fromkeys(zip(groups, effects, strict=True)))
    changes = {}
    for group, effect in pairs:
        alone = sum(other == group for other, _ in pairs) == 1
        own = (groups == group) & (effects == effect)
        changes[group if alone else f"{group}, {effect}"] = float(ratios[own].mean()) - 1.0
    return changes


def _effect_shifts(evidence: Evidence) -> Iterator[str]:
    records = evidence.random_effects.to_dict("records")
    if not records:
        return
    furthest = max(records, key=lambda row: abs(row["shift"]))
    size = abs(furthest["shift"])
    if size > FAR:
        mean, estimate = (write_like(furthest[column], furthest["sd"]) for column in ("mean", "estimate"))
        yield (
            f"Random effects differ by up to {size:.1f} posterior sds: {furthest['effect']} of {furthest['group']} "
            f"{furthest['level']} {mean} against {estimate}."
        )


def _certain_effects(evidence: Evidence) -> Iterator[str]:
    table = evidence.random_effects.loc[effect_is_certain(evidence.random_effects)]
    groups, sds = table["group"].to_numpy(), table["sd"].to_numpy()
    for group in dict.fromkeys(groups):
        largest = float(sds[groups == group].max())
        yield (
            f"A variance of zero leaves BLUPs of {group} no uncertainty; in the posterior their sds go up to "
            f"{write_like(largest, largest)}."
        )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _percent(change: float) -> str:
    return f"{abs(change):.0%}".replace("%", " %")


def _larger(change: float) -> str:
    return f"{1.0 + change:.1f} times as large" if change > 1.0 else f"{_percent(change)} larger"


def _listed(items: Iterable[str], separator: str = "; ") -> str:
    """Join the first few, and say how many more there are."""
    items = list(items)
    more = len(items) - LISTED
    shown = [*items[:LISTED], f"{more} more"] if more > 0 else items
    if separator == ", " and len(shown) > 1:
        return f"{', '.join(shown[:-1])} and {shown[-1]}"
    return separator.join(shown)
