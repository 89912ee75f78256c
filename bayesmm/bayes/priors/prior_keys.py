"""What a user may write as the key of a prior, and which parameters each key reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from bayesmm.bayes.priors.correlation_matrices import CorrelationMatrix
from bayesmm.console import listing
from bayesmm.design.blocks.labels import RESIDUAL_COR, RESIDUAL_SD, ParameterRow
from bayesmm.design.blocks.residual import IN_PLACE
from bayesmm.errors import PriorError
from bayesmm.specification.priors import LKJ, PRIORS, Flat, Prior

SUITABLE = {
    "fixed": ("real line", "positive numbers", "interval", "anything"),
    "exponent": ("real line", "positive numbers", "interval", "anything"),
    "sd": ("positive numbers", "interval", "shares", "anything"),
    "sigma": ("positive numbers", "interval", "anything"),
    "cor": ("correlations", "anything"),
    "correlation": ("correlations", "interval", "anything"),
    "partial": ("correlations", "interval", "anything"),
}
WHAT = {
    "fixed": "a coefficient",
    "exponent": "an exponent",
    "sd": "a standard deviation, which is positive",
    "sigma": "a standard deviation, which is positive",
    "cor": "a correlation matrix",
    "correlation": "a correlation with a prior of its own",
    "partial": "the correlation at a lag",
}
OF_RANGES = "Ranges are those of exp, ou, car1, gau, mat, ratio, sph and lin."
BY_PARTIAL = (
    "Between which values it may lie depends on the other lags, so that no density of its own is one of a correlation "
    "matrix. State a prior of its partial autocorrelation, which may be anything between -1 and 1: "
    'Uniform(0, 1, on="partial") or Beta(2, 2, on="partial").'
)
ONLY_FOR = {"Reciprocal": "sigma", "BoxTiao": "sd"}
INSTEAD = {
    "Reciprocal": (
        "1/sd puts infinite mass at zero, where the likelihood of a random effect's spread is not zero: the posterior "
        "would be improper. BoxTiao(size) is the reference prior beside Reciprocal() for sigma; HalfStudentT(3, scale) "
        "is a weak proper one."
    ),
    "BoxTiao": "It is a prior of a random effect's variance given sigma; its companion for sigma is Reciprocal().",
}
BROADEST = 4  # more than the breadth of any key
HALVES = {"Normal": "HalfNormal", "StudentT": "HalfStudentT", "Cauchy": "HalfCauchy"}


def match_priors(
    priors: Mapping[str, Prior], rows: Sequence[ParameterRow], pieces: Sequence[CorrelationMatrix], sigma: float | None
) -> dict[str, Prior]:
    """Give each row the user's prior, if there is one; of several keys that reach it the narrowest counts."""
    keys = _reach(rows)
    places = {row: (piece, which) for piece in pieces for which, row in enumerate(piece.rows)}
    chosen: dict[str, tuple[int, str, Prior]] = {}
    for key, prior in priors.items():
        _check_prior(key, prior)
        meant = _find(key, keys)
        if meant is None:
            raise PriorError(_unknown(key, rows, sigma))
        breadth, reached = keys[meant]
        for row in reached:
            if row.kind == "cor":
                _check_correlation(key, prior, row, *places[row.name])
            else:
                _check_suits(key, prior, row, row.kind)
            narrowest, other, own = chosen.get(row.name, (BROADEST, "", prior))
            if breadth == narrowest and own != prior:
                raise PriorError(f"priors[{other!r}] and priors[{key!r}] are both of {row.name!r}: leave one out.")
            if breadth < narrowest:
                chosen[row.name] = (breadth, key, prior)
    matched_priors = {name: prior for name, (_, _, prior) in chosen.items()}
    _check_correlations(matched_priors, pieces)
    return matched_priors


def _reach(rows: Sequence[ParameterRow]) -> dict[str, tuple[int, list[ParameterRow]]]:
    """Rows reached by each key, with its breadth: 0 a row, 1 those of a factor or of residuals, 2 a kind in a group, 3.

    ``sigma(visit)`` is a key of all levels of the factor, ``rho`` and ``rho(id)`` of correlations of residuals alone,
    ``nugget`` of nuggets.
    """
    reach: dict[str, tuple[int, list[ParameterRow]]] = {row.name: (0, [row]) for row in rows}
    for row in rows:
        if row.alias:
            reach.setdefault(row.alias, (0, [row]))
        if row.kind != "sigma":
            reach.setdefault(row.kind, (3, []))[1].append(row)
        elif row.variable == RESIDUAL_SD:
            reach.setdefault(row.name.partition("[")[0] + ")", (1, []))[1].append(row)
        if row.variable == RESIDUAL_COR:
            head = row.name.partition("(")[0]
            for key in (head, f"{head}({row.group})"):
                reach.setdefault(key, (1, []))[1].append(row)
        if row.group:
            reach.setdefault(f"{row.kind}({row.group})", (2, []))[1].append(row)
    return reach


def _find(key: object, keys: Mapping[str, tuple[int, list[ParameterRow]]]) -> str | None:
    """Find the key that is meant, with blanks as written or without."""
    if key in keys:
        return str(key)
    near = [each for each in keys if _squeeze(each) == _squeeze(key)]
    if len({tuple(row.name for row in keys[each][1]) for each in near}) > 1:
        raise PriorError(f"priors[{key!r}] may be {' or '.join(map(repr, near))}: write one of them, blanks included.")
    return near[0] if near else None


def _squeeze(key: object) -> str:
    return "".join(str(key).split())


def _check_prior(key: object, prior: object) -> None:
    if not isinstance(prior, Prior):
        names = ", ".join(family.__name__ for family in PRIORS)
        raise PriorError(f"priors[{key!r}] is {prior!r}, not a prior; write one of {names}, for example Normal(0, 10).")


def _check_suits(key: str, prior: Prior, row: ParameterRow, kind: str, hint: str = "") -> None:
    """Refuse a prior whose values a parameter cannot have; kinds are those of `SUITABLE`."""
    said = f"priors[{key!r}] is {prior}"
    if prior.stated_for == "share" and kind != "sd":
        raise PriorError(
            f"{said}, about a random effect's share of the variance; {row.name!r} is {WHAT[kind]} and has none. "
            f"Give it to 'sd' or to a row sd(... | group).{hint}"
        )
    if prior.support not in SUITABLE[kind]:
        half = HALVES.get(prior.family)
        if half in _suitable(kind) and half is not None:
            hint = f" {half} is the same prior cut at zero."
        raise PriorError(
            f"{said}, whose values are {prior.support}; {row.name!r} is {WHAT[kind]}. "
            f"Suitable: {', '.join(_suitable(kind))}.{hint}"
        )
    if ONLY_FOR.get(prior.family, kind) != kind:
        suitable = f"Suitable: {', '.join(_suitable(kind))}."
        instead = INSTEAD[prior.family] if kind in ("sd", "sigma") else suitable
        raise PriorError(f"{said}, which is not for {row.name!r}, {WHAT[kind]}. {instead}")
    if prior.stated_for in ("range", "correlation", "partial") and row.kind != "cor":
        raise PriorError(f"{said}; {row.name!r} is {WHAT[kind]}: drop on=.")
    if prior.stated_for == "variance" and kind not in ("sd", "sigma"):
        raise PriorError(f"{said}; {row.name!r} is {WHAT[kind]} and has no variance: drop on=.")
    if prior.family == "Uniform" and kind in ("sd", "sigma") and prior.numbers["lower"] < 0:
        raise PriorError(f"{said}; {row.name!r} cannot be negative: give a lower limit of 0 or more.")


def _check_correlation(key: str, prior: Prior, row: ParameterRow, piece: CorrelationMatrix, which: int) -> None:
    """Refuse a prior that a correlation, or what it is stated for, cannot have."""
    said, possible = f"priors[{key!r}] is {prior}", piece.own_priors[which]
    if prior.stated_for == "range":
        if "range" not in possible:
            raise PriorError(f"{said}, and {row.name!r} in {piece.term} is of no curve with a range. {OF_RANGES}")
        if prior.family == "Flat":
            raise PriorError(
                f"{said}: as the range of {piece.term} grows the likelihood comes to a limit that is not zero, and the "
                'posterior would be improper. LogNormal(mean, sd, on="range") is a proper one.'
            )
        if prior.family == "Uniform" and prior.numbers["lower"] < 0.0:
            raise PriorError(f"{said}; a range cannot be negative: give a lower limit of 0 or more.")
        return
    if prior.family in ("Beta", "Uniform") and prior.stated_for in ("sd", "correlation", "partial") and possible:
        if prior.stated_for == "partial" and "partial" not in possible:
            raise PriorError(f"{said}, and {row.name!r} in {piece.term} is not one of lags, as in toep.")
        if prior.stated_for != "partial" and "partial" in possible and which > 0:
            raise PriorError(f"{said}. {BY_PARTIAL}")
        if prior.family == "Uniform":
            _check_limits(prior, row, *piece.own_limits[which])
        return
    hint = ""
    if possible and prior.family == "Beta":
        hint = f' Of a correlation it is {prior.family}(a, b, on="{possible[0]}").'
    elif "range" in possible and prior.support == "positive numbers":
        hint = f' Of its range it is {prior.family}(..., on="range").'
    _check_suits(key, prior, row, possible[0] if possible else "cor", hint)


def _check_limits(prior: Prior, row: ParameterRow, low: float, high: float) -> None:
    if not low - 1e-12 <= prior.numbers["lower"] < prior.numbers["upper"] <= high + 1e-12:
        raise PriorError(
            f"priors: {prior} of {row.name!r}, a correlation that lies between {low:.4g} and {high:.4g}: give "
            "limits inside."
        )


def _suitable(kind: str) -> list[str]:
    """Families that a parameter of one kind may have."""
    return [
        family.__name__
        for family in PRIORS
        if family.support in SUITABLE[kind] and ONLY_FOR.get(family.__name__, kind) == kind
    ]


def _check_correlations(chosen: Mapping[str, Prior], pieces: Sequence[CorrelationMatrix]) -> None:
    """Refuse different priors of one correlation matrix, and those that it cannot have."""
    for piece in pieces:
        whole = {chosen.get(row) for row in piece.rows if isinstance(chosen.get(row), LKJ | Flat | None)}
        kind, group = piece.rows[0].partition("(")[0], piece.rows[0].rpartition(" | ")[2].removesuffix(")")
        group = group.partition(", ")[0] if kind == "rho" else group
        if len(whole) > 1:
            raise PriorError(
                f"The correlations of {piece.term} have one prior together; {len(piece.rows)} were given "
                f"{len(whole)} different ones. Write {{'{kind}({group})': LKJ(2)}} instead."
            )
        prior = next(iter(whole), None)
        if isinstance(prior, LKJ) and not piece.has_lkj and prior.concentration != 1.0:
            other = (
                "what is at distances has no such prior. Give Uniform(0, 1) or limits inside, a prior of the range as "
                'LogNormal(mean, sd, on="range"), or leave the default, which is Uniform(0, 1).'
                if piece.is_one
                else "correlations that follow from loadings, and products with those of distances, have no such "
                "prior. Leave the default, which is flat."
            )
            raise PriorError(f"priors: {prior} of {piece.rows[0]!r}: {other}")
        if isinstance(prior, LKJ) and not piece.is_free:
            shapes = piece.lkj_shapes(prior.concentration)
            if np.min(shapes) <= 0.0:
                what = "rows" if kind == "rho" else "effects"
                least = 1.0 - 1.0 / (piece.size - 1)
                raise PriorError(
                    f"priors: {prior} of {piece.rows[0]!r} is improper with {piece.size} {what}; give a concentration "
                    f"above {least:.4g}."
                )


def _unknown(key: object, rows: Sequence[ParameterRow], sigma: float | None) -> str:
    if key == "sigma" and sigma is not None:
        if any(row.name == IN_PLACE for row in rows):
            return f"{IN_PLACE!r} is the residual standard deviation, not sigma = {sigma:g}: give the prior to it."
        return f"sigma is fixed at {sigma:g}, so it has no prior; leave 'sigma' out of priors."
    names = list(dict.fromkeys(row.name for row in rows))
    kinds = list(dict.fromkeys(row.kind for row in rows))
    groups = [key for key, (breadth, _) in _reach(rows).items() if breadth in (1, 2)]
    valid = list(dict.fromkeys([*names, *kinds, *groups]))
    near = get_close_matches(str(key), valid, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"priors[{key!r}]: the model has no such parameter.{hint} Parameters: {listing(names, quoted=True)}. "
        f"Kinds: {listing(dict.fromkeys([*kinds, *groups]), quoted=True)}."
    )
