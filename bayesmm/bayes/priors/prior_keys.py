"""What a user may write as the key of a prior, and which parameters each key reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import numpy as np

from bayesmm.console import listing
from bayesmm.covariance.public import cor_ends, sd_ends
from bayesmm.covariance.residual import Correlation
from bayesmm.covariance.structure import Structure, beta_density
from bayesmm.design.blocks.labels import RESIDUAL_COR, RESIDUAL_SD, ParameterRow
from bayesmm.design.design import Design
from bayesmm.errors import PriorError
from bayesmm.specification.priors import LKJ, PRIORS, Prior, Uniform

SUITABLE = {
    "fixed": ("real line", "positive numbers", "interval", "anything"),
    "exponent": ("real line", "positive numbers", "interval", "anything"),
    "sd": ("positive numbers", "interval", "shares", "anything"),
    "sigma": ("positive numbers", "interval", "anything"),
    "cor": ("correlations", "anything"),
    "one cor": ("correlations", "interval", "anything"),
}
WHAT = {
    "fixed": "a coefficient",
    "exponent": "an exponent",
    "sd": "a standard deviation, which is positive",
    "sigma": "a standard deviation, which is positive",
    "cor": "a correlation matrix",
    "one cor": "a correlation that all effects share",
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
TINY = 1e-30  # step of a complex-step derivative
BROADEST = 4  # more than the breadth of any key
HALVES = {"Normal": "HalfNormal", "StudentT": "HalfStudentT", "Cauchy": "HalfCauchy"}


class CorrelationMatrix:
    """A correlation matrix with one prior: that of the effects of a term, or of the residuals of a group.

    Attributes
    ----------
    rows : tuple of str
        Names of its correlations in the parameter table.
    term : str
        The term as written, "(1 + Days | Subject)" or "us(visit | id)".
    """

    __slots__ = ()
    rows: tuple[str, ...]
    term: str

    @property
    def is_free(self) -> bool:
        """Whether every correlation is a parameter, rather than one or several of a pattern."""
        raise NotImplementedError

    @property
    def is_one(self) -> bool:
        """Whether one correlation gives all: it may have a prior of its own."""
        raise NotImplementedError

    @property
    def has_lkj(self) -> bool:
        """Whether it may have an LKJ prior other than LKJ(1)."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Rows of the matrix that LKJ priors are about."""
        raise NotImplementedError

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values its correlations are."""
        raise NotImplementedError

    def correlation(self, cors: np.ndarray) -> np.ndarray:
        """R (..., k, k) that LKJ priors are about, from the correlations (..., c); analytic."""
        raise NotImplementedError

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """Shapes (c,) of the beta densities of shares, of a pattern."""
        raise NotImplementedError

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Marginal density of a correlation under an LKJ prior."""
        raise NotImplementedError

    def log_density(self, prior: Prior, cors: np.ndarray) -> np.ndarray:
        """Log density of a prior at correlations (..., c), up to a constant; NaN where one is undefined."""
        inside = np.isfinite(cors).all(axis=-1)
        if isinstance(prior, Uniform):
            inside &= ((prior.lower <= cors) & (cors <= prior.upper)).all(axis=-1)
            return np.where(inside, 0.0, np.where(np.isnan(cors).any(axis=-1), np.nan, -np.inf))
        power = getattr(prior, "concentration", 1.0) - 1.0  # a flat prior is LKJ(1)
        if power == 0.0:
            return np.zeros(cors.shape[:-1])
        sign, log_determinant = np.linalg.slogdet(self.correlation(np.nan_to_num(cors)))
        return np.where(inside, power * np.where(sign > 0, log_determinant, -np.inf), np.nan)

    def log_slopes(self, prior: Prior, cors: np.ndarray) -> np.ndarray:
        """Slopes of the log density of a prior by the correlations (c,): for LKJ (η − 1) ∂ log det(R)."""
        if not isinstance(prior, LKJ) or prior.concentration == 1.0:
            return np.zeros(len(cors))
        R: Any = self.correlation(cors + 1j * TINY * np.eye(len(cors)))  # (c, k, k)
        inverse = np.linalg.inv(R[0].real)
        return (prior.concentration - 1.0) * (R.imag / TINY * inverse).sum(axis=(1, 2))  # ∂ log det R = tr(R⁻¹∂R)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationPiece(CorrelationMatrix):
    """The effects of one term that may be correlated.

    Attributes
    ----------
    block : int
        Position of the grouping factor.
    start, stop : int
        Which of its effects, contiguous.
    structure : Structure
        How they covary.
    rows, sd_rows : tuple of str
        Names of its correlations, and of its standard deviations, in the parameter table.
    term : str
        The term as written, "(1 + Days | Subject)".
    """

    block: int
    start: int
    stop: int
    structure: Structure
    rows: tuple[str, ...]
    sd_rows: tuple[str, ...]
    term: str

    @property
    def size(self) -> int:
        """Number of effects."""
        return self.stop - self.start

    @property
    def is_free(self) -> bool:
        """Whether every correlation is a parameter, rather than one or several of a pattern."""
        return self.structure.correlations == "matrix"

    @property
    def is_one(self) -> bool:
        """Whether one correlation gives all: it may have a prior of its own."""
        return self.structure.correlations == "one"

    @property
    def has_lkj(self) -> bool:
        """Whether it may have an LKJ prior other than LKJ(1)."""
        return self.structure.has_lkj

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values its correlations are."""
        return self.structure.limits(self.size)

    def share(self, cor: np.ndarray) -> np.ndarray:
        """Where the one correlation lies between its limits, from 0 to 1, at several values."""
        return self.structure.shares(cor, self.size)

    def correlation(self, cors: np.ndarray) -> np.ndarray:
        """R (..., k, k) of the effects; of a product both beside each other."""
        return self.structure.lkj_matrix(np, cors, self.size)

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """Shapes (c,) of the beta densities of shares, of a pattern."""
        a, b = self.structure.lkj_shapes(concentration, self.size)
        return np.atleast_1d(a), np.atleast_1d(b)

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Marginal density of a correlation under an LKJ prior."""
        if not self.is_one:
            return self.structure.cor_density(x, which, concentration, self.size)
        (low, high), (a, b) = self.limits, self.lkj_shapes(concentration)
        return beta_density(self.share(x), a[0], b[0]) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualPiece(CorrelationMatrix):
    """The residuals of one group.

    Attributes
    ----------
    structure : Correlation
        How they are correlated.
    rows : tuple of str
        Names of the correlations in the parameter table.
    term : str
        The term as written, "us(visit | id)".
    """

    structure: Correlation
    rows: tuple[str, ...]
    term: str

    @property
    def size(self) -> int:
        """Rows of the matrix that LKJ priors are about."""
        return self.structure.size

    @property
    def is_free(self) -> bool:
        """Whether every correlation is a parameter, rather than one or several of a pattern."""
        return self.structure.kind == "matrix"

    @property
    def is_one(self) -> bool:
        """Whether one correlation gives all: it may have a prior of its own."""
        return self.structure.kind == "one"

    @property
    def has_lkj(self) -> bool:
        """Whether it may have an LKJ prior other than LKJ(1)."""
        return self.structure.has_lkj

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values the correlations are."""
        return self.structure.limits

    def is_over_gap(self, prior: Prior) -> bool:
        """Whether a prior is about the correlation over a usual gap, rather than over one unit of time."""
        return self.structure.is_over_gap and not isinstance(prior, Uniform)

    def correlation(self, cors: np.ndarray) -> np.ndarray:
        """R (..., k, k)."""
        return self.structure.whole(np, cors)

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """Shapes (c,) of the beta densities of shares, of a pattern."""
        return self.structure.lkj_shapes(concentration)

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Marginal density of a correlation under an LKJ prior."""
        return self.structure.cor_density(x, which, concentration)


def residual_pieces(design: Design) -> tuple[ResidualPiece, ...]:
    """Find the correlation matrices of the residuals: none, one, or one for each level of a factor."""
    residual = design.residual
    if residual is None or residual.correlation is None:
        return ()
    assert residual.specification.correlation is not None
    parts, term = residual.correlation.parts, residual.specification.correlation.write()
    ends = np.cumsum([0, *(len(part.names) for part in parts)])
    return tuple(
        ResidualPiece(structure=part, rows=residual.cor_names[first:last], term=term)
        for part, (first, last) in zip(parts, pairwise(ends), strict=True)
    )


def correlation_pieces(design: Design) -> tuple[CorrelationPiece, ...]:
    """Find the correlation matrices of a model: terms whose effects may be correlated.

    Raises
    ------
    PriorError
        If they follow from loadings, and those of the first of a product have no prior.
    """
    pieces = []
    for piece in (piece for block in design.blocks for piece in block.pieces):
        if not piece.structure.has_prior:
            raise PriorError(
                f"The term {piece.term} is a product whose first covariance is of reduced rank, and has no prior: it "
                "is fitted by REML and ML alone. For a posterior write us() or fa() in the place of rr()."
            )
    for position, (block, names) in enumerate(zip(design.blocks, design.labels.blocks, strict=True)):
        layout = names.pieces
        ends = zip(block.pieces, pairwise(sd_ends(layout)), pairwise(cor_ends(layout)), strict=True)
        pieces += [
            CorrelationPiece(
                block=position,
                start=piece.start,
                stop=piece.stop,
                structure=piece.structure,
                rows=names.cor_rows[slice(*cors)],
                sd_rows=names.sd_rows[slice(*sds)],
                term=str(piece.term),
            )
            for piece, sds, cors in ends
            if cors[0] < cors[1]
        ]
    return tuple(pieces)


def correlation_prior(prior: Prior, piece: CorrelationPiece) -> tuple[str, dict[str, np.ndarray]]:
    """Family and numbers of the prior of a matrix, or of the shares (c,) of its pattern; a flat prior is LKJ(1)."""
    if isinstance(prior, Uniform):
        lower, upper = np.clip(piece.share(np.array([prior.lower, prior.upper])), 0.0, 1.0)
        return "Uniform", {"lower": np.array([lower]), "upper": np.array([upper])}
    return _lkj(prior, piece)


def residual_prior(prior: Prior, piece: ResidualPiece) -> tuple[str, dict[str, np.ndarray]]:
    """Do the same of residuals, where a uniform prior is of the correlation itself."""
    if isinstance(prior, Uniform):
        return "Uniform", {"lower": np.array([prior.lower]), "upper": np.array([prior.upper])}
    return _lkj(prior, piece)


def _lkj(prior: Prior, piece: CorrelationMatrix) -> tuple[str, dict[str, np.ndarray]]:
    concentration = getattr(prior, "concentration", 1.0)
    if piece.is_free:
        return "LKJ", {"concentration": np.asarray(concentration)}
    a, b = piece.lkj_shapes(concentration)
    return "Beta", {"a": a, "b": b}


def match_priors(
    priors: Mapping[str, Prior], rows: Sequence[ParameterRow], pieces: Sequence[CorrelationMatrix], sigma: float | None
) -> dict[str, Prior]:
    """Give each row the user's prior, if there is one; of several keys that reach it the narrowest counts."""
    keys = _reach(rows)
    shared = {row for piece in pieces if piece.is_one for row in piece.rows}
    chosen: dict[str, tuple[int, str, Prior]] = {}
    for key, prior in priors.items():
        _check_prior(key, prior)
        meant = _find(key, keys)
        if meant is None:
            raise PriorError(_unknown(key, rows, sigma))
        breadth, reached = keys[meant]
        for row in reached:
            _check_suits(key, prior, row, "one cor" if row.name in shared else row.kind)
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


def _check_suits(key: str, prior: Prior, row: ParameterRow, kind: str) -> None:
    """Refuse a prior whose values a parameter cannot have; kinds are those of `SUITABLE`."""
    said = f"priors[{key!r}] is {prior}"
    if prior.stated_for == "share" and kind != "sd":
        raise PriorError(
            f"{said}, about a random effect's share of the variance; {row.name!r} is {WHAT[kind]} and has none. "
            "Give it to 'sd' or to a row sd(... | group)."
        )
    if prior.support not in SUITABLE[kind]:
        half = HALVES.get(prior.family)
        hint = f" {half} is the same prior cut at zero." if half in _suitable(kind) and half is not None else ""
        raise PriorError(
            f"{said}, whose values are {prior.support}; {row.name!r} is {WHAT[kind]}. "
            f"Suitable: {', '.join(_suitable(kind))}.{hint}"
        )
    if ONLY_FOR.get(prior.family, kind) != kind:
        suitable = f"Suitable: {', '.join(_suitable(kind))}."
        instead = INSTEAD[prior.family] if kind in ("sd", "sigma") else suitable
        raise PriorError(f"{said}, which is not for {row.name!r}, {WHAT[kind]}. {instead}")
    if prior.stated_for == "variance" and kind in ("fixed", "exponent", "cor", "one cor"):
        raise PriorError(f"{said}; {row.name!r} is {WHAT[kind]} and has no variance: drop on=.")
    if prior.family == "Uniform" and kind in ("sd", "sigma") and prior.numbers["lower"] < 0:
        raise PriorError(f"{said}; {row.name!r} cannot be negative: give a lower limit of 0 or more.")


def _suitable(kind: str) -> list[str]:
    """Families that a parameter of one kind may have."""
    return [
        family.__name__
        for family in PRIORS
        if family.support in SUITABLE[kind] and ONLY_FOR.get(family.__name__, kind) == kind
    ]


def _check_correlations(chosen: Mapping[str, Prior], pieces: Sequence[CorrelationMatrix]) -> None:
    """Refuse different priors for parts of one correlation matrix, and priors that its correlations cannot have."""
    for piece in pieces:
        priors = {chosen.get(row) for row in piece.rows}
        kind, group = piece.rows[0].partition("(")[0], piece.rows[0].rpartition(" | ")[2].removesuffix(")")
        group = group.partition(", ")[0] if kind == "rho" else group
        if len(priors) > 1:
            raise PriorError(
                f"The correlations of {piece.term} have one prior together; {len(piece.rows)} were given "
                f"{len(priors)} different ones. Write {{'{kind}({group})': LKJ(2)}} instead."
            )
        (prior,) = priors
        if isinstance(prior, Uniform):
            _check_uniform(prior, piece)
        if isinstance(prior, LKJ) and not piece.has_lkj and prior.concentration != 1.0:
            other = (
                "what is at distances has no such prior. Give Uniform(0, 1) or limits inside, or leave the default, "
                "which is Uniform(0, 1)."
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


def _check_uniform(prior: Uniform, piece: CorrelationMatrix) -> None:
    low, high = piece.limits
    if not low - 1e-12 <= prior.lower < prior.upper <= high + 1e-12:
        raise PriorError(
            f"priors: {prior} of {piece.rows[0]!r}, a correlation that lies between {low:.4g} and {high:.4g}: give "
            "limits inside."
        )


def _unknown(key: object, rows: Sequence[ParameterRow], sigma: float | None) -> str:
    if key == "sigma" and sigma is not None:
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
