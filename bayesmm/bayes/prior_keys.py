"""What a user may write as the key of a prior, and which parameters each key reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels, ParameterRow
from bayesmm.errors import PriorError
from bayesmm.specification.priors import PRIORS, Prior

SUITABLE = {
    "fixed": ("real line", "positive numbers", "interval", "anything"),
    "sd": ("positive numbers", "interval", "shares", "anything"),
    "sigma": ("positive numbers", "interval", "anything"),
    "cor": ("correlations", "anything"),
}
WHAT = {
    "fixed": "a coefficient",
    "sd": "a standard deviation, which is positive",
    "sigma": "a standard deviation, which is positive",
    "cor": "a correlation matrix",
}
ONLY_FOR = {"Reciprocal": "sigma", "BoxTiao": "sd"}
INSTEAD = {
    "Reciprocal": (
        "1/sd puts infinite mass at zero, where the likelihood of a random effect's spread is not zero: the posterior "
        "would be improper. BoxTiao(size) is the reference prior beside Reciprocal() for sigma; HalfStudentT(3, scale) "
        "is a weak proper one."
    ),
    "BoxTiao": "It is a prior of a random effect's variance given sigma; its companion for sigma is Reciprocal().",
}
BROADEST = 3  # more than the breadth of any key
HALVES = {"Normal": "HalfNormal", "StudentT": "HalfStudentT", "Cauchy": "HalfCauchy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationPiece:
    """One correlation matrix: the effects of one term that are free to be correlated.

    Attributes
    ----------
    block : int
        Position of the grouping factor.
    start, stop : int
        Which of its effects, contiguous.
    rows : tuple of str
        Names of its correlations in the parameter table.
    term : str
        The term as written, "(1 + Days | Subject)".
    """

    block: int
    start: int
    stop: int
    rows: tuple[str, ...]
    term: str

    @property
    def size(self) -> int:
        """Number of effects."""
        return self.stop - self.start

    def pairs(self, labels: Labels) -> tuple[tuple[int, int], ...]:
        """Effects of each correlation, counted from the first of the piece."""
        inside = [(i - self.start, j - self.start) for i, j in labels.blocks[self.block].pairs]
        return tuple((i, j) for i, j in inside if i >= 0 and j < self.size)


def correlation_pieces(design: Design, labels: Labels) -> tuple[CorrelationPiece, ...]:
    """Find the correlation matrices of a model: unstructured terms of two effects and more."""
    pieces = []
    for position, (block, names) in enumerate(zip(design.blocks, labels.blocks, strict=True)):
        for piece in block.pieces:
            inside = [(i, j) for i, j in names.pairs if piece.start <= i and j < piece.stop]
            if piece.term.structure == "unstructured" and inside:
                rows = tuple(names.cor_row(i, j) for i, j in inside)
                pieces.append(
                    CorrelationPiece(
                        block=position, start=piece.start, stop=piece.stop, rows=rows, term=str(piece.term)
                    )
                )
    return tuple(pieces)


def match_priors(
    priors: Mapping[str, Prior], rows: Sequence[ParameterRow], pieces: Sequence[CorrelationPiece], sigma: float | None
) -> dict[str, Prior]:
    """Give each row the user's prior, if there is one; of several keys that reach it the narrowest counts."""
    keys = _reach(rows)
    chosen: dict[str, tuple[int, str, Prior]] = {}
    for key, prior in priors.items():
        _check_prior(key, prior)
        meant = _find(key, keys)
        if meant is None:
            raise PriorError(_unknown(key, rows, sigma))
        breadth, reached = keys[meant]
        for row in reached:
            _check_suits(key, prior, row)
            narrowest, other, own = chosen.get(row.name, (BROADEST, "", prior))
            if breadth == narrowest and own != prior:
                raise PriorError(f"priors[{other!r}] and priors[{key!r}] are both of {row.name!r}: leave one out.")
            if breadth < narrowest:
                chosen[row.name] = (breadth, key, prior)
    matched_priors = {name: prior for name, (_, _, prior) in chosen.items()}
    _check_whole_matrices(matched_priors, pieces)
    return matched_priors


def _reach(rows: Sequence[ParameterRow]) -> dict[str, tuple[int, list[ParameterRow]]]:
    """Rows reached by each key, with its breadth: 0 a row, 1 a kind in a group, 2 a kind."""
    reach: dict[str, tuple[int, list[ParameterRow]]] = {row.name: (0, [row]) for row in rows}
    for row in rows:
        if row.alias:
            reach.setdefault(row.alias, (0, [row]))
        if row.kind != "sigma":
            reach.setdefault(row.kind, (2, []))[1].append(row)
        if row.group:
            reach.setdefault(f"{row.kind}({row.group})", (1, []))[1].append(row)
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


def _check_suits(key: str, prior: Prior, row: ParameterRow) -> None:
    said = f"priors[{key!r}] is {prior}"
    if prior.stated_for == "share" and row.kind != "sd":
        raise PriorError(
            f"{said}, about a random effect's share of the variance; {row.name!r} is {WHAT[row.kind]} and has none. "
            "Give it to 'sd' or to a row sd(... | group)."
        )
    if prior.support not in SUITABLE[row.kind]:
        half = HALVES.get(prior.family)
        hint = f" {half} is the same prior cut at zero." if half in _suitable(row.kind) and half is not None else ""
        raise PriorError(
            f"{said}, whose values are {prior.support}; {row.name!r} is {WHAT[row.kind]}. "
            f"Suitable: {', '.join(_suitable(row.kind))}.{hint}"
        )
    if ONLY_FOR.get(prior.family, row.kind) != row.kind:
        suitable = f"Suitable: {', '.join(_suitable(row.kind))}."
        instead = INSTEAD[prior.family] if row.kind in ("sd", "sigma") else suitable
        raise PriorError(f"{said}, which is not for {row.name!r}, {WHAT[row.kind]}. {instead}")
    if prior.stated_for == "variance" and row.kind in ("fixed", "cor"):
        raise PriorError(f"{said}; {row.name!r} is {WHAT[row.kind]} and has no variance: drop on=.")
    if prior.family == "Uniform" and row.kind in ("sd", "sigma") and prior.numbers["lower"] < 0:
        raise PriorError(f"{said}; {row.name!r} cannot be negative: give a lower limit of 0 or more.")


def _suitable(kind: str) -> list[str]:
    """Families that a parameter of one kind may have."""
    return [
        family.__name__
        for family in PRIORS
        if family.support in SUITABLE[kind] and ONLY_FOR.get(family.__name__, kind) == kind
    ]


def _check_whole_matrices(chosen: Mapping[str, Prior], pieces: Sequence[CorrelationPiece]) -> None:
    """Refuse different priors for parts of one correlation matrix: LKJ is a prior of all of it."""
    for piece in pieces:
        priors = {chosen.get(row) for row in piece.rows}
        if len(priors) > 1:
            group = piece.rows[0].rpartition(" | ")[2].removesuffix(")")
            raise PriorError(
                f"The correlations of {piece.term} have one prior together; {len(piece.rows)} were given "
                f"{len(priors)} different ones. Write {{'cor({group})': LKJ(2)}} instead."
            )


def _unknown(key: object, rows: Sequence[ParameterRow], sigma: float | None) -> str:
    if key == "sigma" and sigma is not None:
        return f"sigma is fixed at {sigma:g}, so it has no prior; leave 'sigma' out of priors."
    names = list(dict.fromkeys(row.name for row in rows))
    kinds = list(dict.fromkeys(row.kind for row in rows))
    groups = list(dict.fromkeys(f"{row.kind}({row.group})" for row in rows if row.group))
    valid = list(dict.fromkeys([*names, *kinds, *groups]))
    near = get_close_matches(str(key), valid, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"priors[{key!r}]: the model has no such parameter.{hint} Parameters: {listing(names, quoted=True)}. "
        f"Kinds: {listing(dict.fromkeys([*kinds, *groups]), quoted=True)}."
    )
