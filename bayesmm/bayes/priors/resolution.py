"""Which prior is in force for each parameter: the user's declarations, the defaults, and the labels they meet in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd

from bayesmm.bayes.priors.correlation_matrices import (
    CorrelationMatrix,
    CorrelationPiece,
    ResidualPiece,
    correlation_pieces,
    residual_pieces,
)
from bayesmm.bayes.priors.prior_keys import match_priors
from bayesmm.bayes.priors.scales import DataScales, measure_scales
from bayesmm.console import cells, columns, fold, pad, visible
from bayesmm.covariance.public import free_sds, sd_ends
from bayesmm.design.blocks.labels import RESIDUAL_COR, Labels, ParameterRow
from bayesmm.design.blocks.residual import IN_PLACE
from bayesmm.design.design import Design
from bayesmm.errors import PriorError
from bayesmm.presenting.parts import Column, Table, notes
from bayesmm.presenting.report import Report
from bayesmm.specification.priors import LKJ, Flat, HalfStudentT, Normal, Prior

PriorChoice = Mapping[str, Prior] | Literal["flat"] | None

WIDTH = 2.5  # standard deviations of the response per standard deviation of the predictor, as rstanarm and brms
TAIL = 3.0  # degrees of freedom of the half-Student-t of spreads
MEAN_RESPONSE = "expected response where the other predictors are at their means"
AT_MEANS = " at the mean"
BESIDE_PRODUCTS = " where what its column is multiplied with is at its mean"
SCALES = {"sd": "standard deviation", "variance": "variance", "share": "share of the variance"}  # of spreads
OVER_GAP = " over the mean time between neighbours"
OF_STATEMENTS = {"range": "range of ", "partial": "partial autocorrelation of "}  # what is no row of the tables
NAMED = 3  # columns at whose means something is; of more, their number is said


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorRow:
    """The prior of one row of the parameter table.

    Attributes
    ----------
    name, kind, group : str
        As in the parameter table.
    prior : Prior
        The prior in force, in data units.
    source : {"default", "user", "flat"}
        Who chose it.
    about : str
        The quantity it is a prior on.
    """

    name: str
    kind: str
    group: str
    prior: Prior
    source: Literal["default", "user", "flat"]
    about: str

    @property
    def is_proper(self) -> bool:
        """Whether the prior can be drawn from; a flat one of correlations is LKJ(1)."""
        return self.prior.is_proper or self.kind == "cor"

    @property
    def is_at_means(self) -> bool:
        """Whether it is about what its parameter is where the covariates are at their means."""
        return self.about == MEAN_RESPONSE or any(s in self.about for s in (AT_MEANS, BESIDE_PRODUCTS, OVER_GAP))

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is about something else than the row of the table."""
        return self.is_at_means or self.about.startswith(tuple(OF_STATEMENTS.values()))

    @property
    def where(self) -> str:
        """Where the effects are that a prior of a spread or a correlation is about: "at the mean of Days", or ""."""
        _, at_means, columns = self.about.partition(AT_MEANS)
        return (at_means + columns).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPriors:
    """Every prior in force, in the order of the parameter table.

    Attributes
    ----------
    rows : tuple of PriorRow
        One per row of the parameter table.
    pieces : tuple of CorrelationPiece
        The correlation matrices of the model.
    contrast : array, shape (p, p)
        T: priors of coefficients are independent priors of the entries of Tβ. Row j is that of the identity, except
        where a default prior is about the expected response at the means of the predictors, or about the coefficient of
        a column where what it is multiplied with is at its mean.
    effect_contrasts : tuple of arrays, shapes (k, k)
        T of each grouping factor: priors of standard deviations and correlations are about the effects Tb of a level.
        Blocks of correlated effects are those of `effects_at_means` where their priors are defaults; the rest is that
        of the identity.
    known_sigma : float, optional
        The residual standard deviation where it is known.
    residuals : tuple of ResidualPiece
        The correlation matrices of the residuals of a group: one, or one for each level of a factor.
    exponent_means : array, shape (e,)
        Values of what multiplies the exponents of the residuals, at which priors of their standard deviations are.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> [row.name for row in model.priors.rows]
    ['Intercept', 'sd(Intercept | Batch)', 'sigma']
    """

    rows: tuple[PriorRow, ...]
    pieces: tuple[CorrelationPiece, ...]
    contrast: np.ndarray
    effect_contrasts: tuple[np.ndarray, ...]
    known_sigma: float | None
    residuals: tuple[ResidualPiece, ...] = ()
    exponent_means: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def matrices(self) -> tuple[CorrelationMatrix, ...]:
        """All correlation matrices, that of the residuals last."""
        return (*self.pieces, *self.residuals)

    @property
    def on_sigma(self) -> str:
        """What is to be said of a sigma that is known; "" where it is not."""
        if self.known_sigma is None:
            return ""
        if any(row.name == IN_PLACE for row in self.rows):
            return f"{IN_PLACE} is the residual standard deviation, in the place of sigma = {self.known_sigma:g}"
        return f"sigma is fixed at {self.known_sigma:g}"

    def of_matrix(self, piece: CorrelationMatrix) -> tuple[Prior, ...]:
        """Find the priors of the rows of a correlation matrix.

        Parameters
        ----------
        piece : CorrelationMatrix
            One of `matrices`.

        Returns
        -------
        tuple of Prior
            In the order of its rows.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> [str(prior) for prior in model.priors.of_matrix(model.priors.matrices[0])]
        ['LKJ(1)']
        """
        chosen = {row.name: row.prior for row in self.rows if row.kind == "cor"}
        return tuple(chosen[name] for name in piece.rows)

    def of_kind(self, kind: str, group: str | None = None) -> tuple[PriorRow, ...]:
        """Choose rows of one kind, and of one group if it is named.

        Parameters
        ----------
        kind : {"fixed", "sd", "cor", "sigma"}
            What they are priors of.
        group : str, optional
            A grouping factor.

        Returns
        -------
        tuple of PriorRow
            In the order of the table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> len(model.priors.of_kind("sd"))
        2
        """
        return tuple(row for row in self.rows if row.kind == kind and group in (None, row.group))

    def table(self) -> pd.DataFrame:
        """Tabulate the priors.

        Returns
        -------
        DataFrame
            One row a parameter: kind, group, prior, who chose it (source), and the quantity it is about.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> model.priors.table().columns.tolist()
        ['kind', 'group', 'prior', 'source', 'about']
        """
        columns = ["kind", "group", "prior", "source", "about"]
        values = [(row.kind, row.group, str(row.prior), row.source, row.about) for row in self.rows]
        return pd.DataFrame(values, columns=columns, index=pd.Index([row.name for row in self.rows], name="parameter"))

    def __str__(self) -> str:
        table = self.table()
        names = [visible(str(name)) for name in table.index]
        texts = [[visible(text) for text in table[name]] for name in ("prior", "source", "about")]
        wide = [max(map(cells, column), default=0) for column in (names, *texts)]
        lines = []
        for *words, about in zip(names, *texts, strict=True):
            line = "  ".join(pad(word, width) for word, width in zip(words, wide, strict=False))
            if sum(wide) + 6 <= columns():
                lines.append(f"{line}  {about}".rstrip())
            else:  # what a prior is about stands below it
                lines += [line.rstrip()] if cells(line) <= columns() else fold("  ".join(words).strip(), then="  ")
                lines += fold(about, first="    ", then="    ")
        return "\n".join([*lines, *self._notes])

    def _repr_html_(self) -> str:
        return self._report._repr_html_()

    @property
    def _notes(self) -> tuple[str, ...]:
        return (f"{self.on_sigma}.",) if self.on_sigma else ()

    @property
    def _report(self) -> Report:
        table = self.table()
        columns = [
            Column(head=name, cells=table[name].tolist(), is_words=True) for name in ("prior", "source", "about")
        ]
        names = [str(name) for name in table.index]
        priors = Table(names=names, columns=columns, head="parameter", where="model.priors.table()")
        return Report(title="Priors in force", parts=(priors, notes(self._notes)))


def resolve_priors(priors: PriorChoice, design: Design) -> ResolvedPriors:
    """Give every parameter of a model its prior.

    Parameters
    ----------
    priors : mapping of str to Prior, "flat", or None
        Keys are rows of the parameter table ("Days", "sd(Days | Subject)", "cor(Intercept, Days | Subject)", "sigma"),
        kinds ("fixed", "sd", "cor", "sigma") or a kind in one group ("sd(Subject)"); the narrower key wins. A prior on
        a coefficient is on the coefficient as the table labels it. What is not named keeps its default. With "flat"
        the density is constant in the coefficients, the standard deviations, the correlations (LKJ(1)) and sigma.
    design : Design
        The data, for the scales of the defaults, and the names. Where it knows sigma, that has no prior.

    Returns
    -------
    ResolvedPriors

    Raises
    ------
    PriorError
        For a name that is not a parameter's, a prior that does not suit its parameter, or a flat prior that would leave
        the posterior improper.

    Notes
    -----
    Defaults, with ȳ and s_y of the response less its offset and s_j of column j: coefficients Normal(0, 2.5 s_y / s_j)
    on centred columns, so the intercept's is Normal(ȳ, 2.5 s_y) and about the expected response at the means of the
    predictors; standard deviations HalfStudentT(3, 2.5 s_y / s_j) (s = 1 for an intercept); sigma
    HalfStudentT(3, 2.5 s_y), with s_y weighted; correlations LKJ(1). Standard deviations and correlations of correlated
    effects are those of the effects of a level where the covariates are at their means: with correlations the model
    does not depend on the origin of a covariate, and its prior must not either. A standard deviation at the origin of a
    covariate (of independent effects, or beside a prior of the user's that is about the columns as labelled) has the
    scale 2.5 s_y √(1 + Σ (m_j / s_j)²), with m_j the means. Where only several columns together make a constant
    (``0 + f``), each of them is treated as the intercept is, and the others are centred within levels; where no
    constant can be made, root mean squares stand for standard deviations. A product of two columns
    before it has the s of the product of these as they are centred, and the priors of these are about where the other
    is at its mean. Products of what is not in the model (``f + f:year``) keep all variation of the column, and get
    narrow defaults where the covariate is far from zero: centre it, or state the prior.

    The joint posterior density of (standard deviations, correlations, sigma) under "flat" is the restricted likelihood:
    its mode is the REML estimate. In other coordinates (variances, logarithms) the mode moves.
    """
    if isinstance(priors, str) and priors != "flat":
        raise PriorError(f"priors={priors!r}; write priors='flat', a dictionary of priors, or None for the defaults.")
    labels, sigma = design.labels, design.known_sigma
    pieces, residuals, rows = correlation_pieces(design), residual_pieces(design), labels.parameter_rows()
    scales = measure_scales(design)
    chosen = {} if priors == "flat" else match_priors(priors or {}, rows, (*pieces, *residuals), sigma)
    source = "flat" if priors == "flat" else "default"
    contrast = _contrast([row for row in rows if row.kind == "fixed"], chosen, scales, source)
    effect_contrasts = _effect_contrasts(labels, pieces, chosen, scales, source)
    fallback = [_flat(row) for row in rows] if priors == "flat" else _defaults(rows, labels, scales, effect_contrasts)
    spreads = [row.name for row in rows if row.kind == "sigma"]
    stated = source == "flat" or sigma is not None or any(name in chosen for name in spreads)
    exponent_means = np.zeros_like(scales.exponent_means) if stated else scales.exponent_means
    about = _Wording(
        pieces=pieces,
        residuals=residuals,
        exponents=[row.name for row in rows if row.kind == "exponent"],
        exponent_means=exponent_means,
        labels=labels,
        contrast=contrast,
        carries=scales.constant != 0,
        effect_contrasts=effect_contrasts,
        chosen=chosen,
    )
    resolved = tuple(
        PriorRow(
            name=row.name,
            kind=row.kind,
            group=row.group or "",
            prior=chosen.get(row.name, prior),
            source="user" if row.name in chosen else source,
            about=about.of(row, chosen.get(row.name, prior)),
        )
        for row, prior in zip(rows, fallback, strict=True)
    )
    _check_proper(resolved, labels)
    if design.residual is not None:
        check_residual_proper(resolved, design)
    return ResolvedPriors(
        rows=resolved,
        pieces=pieces,
        contrast=contrast,
        effect_contrasts=effect_contrasts,
        known_sigma=None if sigma is None else float(sigma),
        residuals=residuals,
        exponent_means=exponent_means,
    )


def default_conflicts(priors: ResolvedPriors, beta: np.ndarray, covariance: np.ndarray) -> list[str]:
    """Find default priors of coefficients that are at odds with an estimate, and say what to do.

    Parameters
    ----------
    priors : ResolvedPriors
        The priors in force.
    beta, covariance : arrays, shapes (p,), (p, p)
        Estimate of the coefficients and its covariance.

    Returns
    -------
    list of str
        One sentence for each coefficient whose default prior is narrower than its standard error, or centred more than
        three of its standard deviations away.
    """
    rows = priors.of_kind("fixed")
    value = priors.contrast @ beta
    error = np.sqrt(np.diag(priors.contrast @ covariance @ priors.contrast.T))
    conflicts = []
    for row, estimate, std_error in zip(rows, value, error, strict=True):
        if row.source != "default" or not isinstance(row.prior, Normal):
            continue
        if std_error > row.prior.sd or abs(estimate - row.prior.mean) > 3.0 * row.prior.sd:
            conflicts.append(
                f"The default prior of {row.name!r}, {row.prior}, is at odds with its estimate {estimate:.4g} "
                f"(standard error {std_error:.2g}): centre the covariates that it is a product of, or state a prior, "
                f"priors={{{row.name!r}: Normal(0, sd)}}."
            )
    return conflicts


def _defaults(
    rows: Sequence[ParameterRow], labels: Labels, scales: DataScales, effect_contrasts: Sequence[np.ndarray]
) -> list[Prior]:
    """Make the default prior of every row, in data units."""
    width = WIDTH * scales.response_sd
    coefficients = iter(zip(scales.level * scales.constant, width / scales.column_units, strict=True))
    widths = [
        free_sds(np, each, block.pieces)
        for each, block in zip(_effect_widths(scales, effect_contrasts), labels.blocks, strict=True)
    ]
    spreads = iter(width * np.concatenate([np.zeros(0), *widths]))
    exponents = iter(1.0 / scales.exponent_units)

    def default(row: ParameterRow) -> Prior:
        match row.kind:
            case "fixed":
                return Normal(*next(coefficients))
            case "sd":
                return HalfStudentT(TAIL, next(spreads))
            case "sigma":
                return HalfStudentT(TAIL, WIDTH * scales.residual_sd)
            case "exponent":
                return Normal(0.0, next(exponents))
            case _:
                return LKJ(1)

    return [default(row) for row in rows]


def _effect_widths(scales: DataScales, contrasts: Sequence[np.ndarray]) -> list[np.ndarray]:
    each = zip(scales.effect_contrasts, scales.effect_units, contrasts, strict=True)
    return [_effect_scales(*block) for block in each]


def _effect_scales(at_means: np.ndarray, units: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Scales of the effects that priors are about, where those at the means are independent and of scales 1 / units.

    They are those scales themselves where the priors are about the effects at the means; elsewhere an effect at the
    origin of a covariate is as uncertain as the way to there makes it.
    """
    return np.sqrt(((contrast @ np.linalg.inv(at_means) / units) ** 2).sum(axis=1))


def _flat(row: ParameterRow) -> Prior:
    return LKJ(1) if row.kind == "cor" else Flat()


def _contrast(
    coefficients: Sequence[ParameterRow], chosen: Mapping[str, Prior], scales: DataScales, source: str
) -> np.ndarray:
    """T of `ResolvedPriors`: default priors are about the coefficients where other predictors are at their means."""
    T = np.eye(len(coefficients))
    for j, row in enumerate(coefficients):
        if source == "default" and row.name not in chosen:
            T[j] = scales.contrast[j]
    return T


def _effect_contrasts(
    labels: Labels,
    pieces: Sequence[CorrelationPiece],
    chosen: Mapping[str, Prior],
    scales: DataScales,
    source: str,
) -> tuple[np.ndarray, ...]:
    """T of each grouping factor: correlated effects are those at the means, unless the user has a word in them.

    A prior of a slope is about the same quantity at any origin, and leaves the others as they are.
    """
    contrasts = [np.eye(len(block.effects)) for block in labels.blocks]
    for piece in pieces:
        if piece.structure.invariance != "linear":  # it has no meaning for combinations of the effects
            continue
        inside = slice(piece.start, piece.stop)
        at_means = scales.effect_contrasts[piece.block][inside, inside]
        moved = (at_means - np.eye(piece.size)).any(axis=1)
        concerned = [name for name, m in zip(piece.sd_rows, moved, strict=True) if m]
        if source == "default" and not any(name in chosen for name in (*concerned, *piece.rows)):
            contrasts[piece.block][inside, inside] = at_means
    return tuple(contrasts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wording:
    """What is needed to say what a prior is about."""

    pieces: Sequence[CorrelationPiece]
    residuals: Sequence[ResidualPiece]
    exponents: Sequence[str]
    exponent_means: np.ndarray
    labels: Labels
    contrast: np.ndarray
    carries: np.ndarray
    effect_contrasts: Sequence[np.ndarray]
    chosen: Mapping[str, Prior]

    def of(self, row: ParameterRow, prior: Prior) -> str:
        match row.kind:
            case "fixed":
                moved = self.contrast - np.eye(len(self.contrast))
                if not moved[row.index].any():
                    return "coefficient"
                return MEAN_RESPONSE if self.carries[row.index or 0] else f"coefficient{BESIDE_PRODUCTS}"
            case "exponent":
                return "exponent"
            case "sigma":
                return SCALES[prior.stated_for] + self._at_exponent_means()
            case "cor" if row.variable == RESIDUAL_COR:
                residual = next(each for each in self.residuals if row.name in each.rows)
                if stated := self._stated(residual, row):
                    return f"{stated}{residual.term}"
                if residual.is_over_gap(prior):
                    return f"correlation{OVER_GAP}"
                if residual.structure.heads == ("nugget",):
                    return "part of the residual variance that rows do not share"
                words = "correlation" if residual.is_one else "correlations"
                return f"{words} of residuals, {residual.term}"
            case "cor":
                piece = next(piece for piece in self.pieces if row.name in piece.rows)
                if stated := self._stated(piece, row):
                    return f"{stated}{piece.term}"
                return f"correlations of {piece.term}{self._where(piece.block, slice(piece.start, piece.stop))}"
            case "sd":
                block = [names.group for names in self.labels.blocks].index(row.group or "")
                assert row.index is not None
                return (
                    f"{SCALES[prior.stated_for]}{self._where(block, self.labels.blocks[block].sd_effects[row.index])}"
                )
            case _:
                return SCALES[prior.stated_for]

    def _stated(self, piece: CorrelationMatrix, row: ParameterRow) -> str:
        priors = [self.chosen.get(name, LKJ(1)) for name in piece.rows]
        return OF_STATEMENTS.get(piece.stated(priors)[piece.rows.index(row.name)], "")

    def _at_exponent_means(self) -> str:
        """Say where standard deviations of the residuals are, which exponents move."""
        means = zip(self.exponents, self.exponent_means, strict=True)
        moved = [name for name, mean in means if mean != 0.0]
        if not moved:
            return ""
        inside = (name.partition("(") for name in moved)
        columns = [f"log|{rest[:-1]}|" if head == "power" else rest[:-1] for head, _, rest in inside]
        return f"{AT_MEANS}{'' if len(columns) == 1 else 's'} of {', '.join(columns)}"

    def _where(self, block: int, rows: slice) -> str:
        T = self.effect_contrasts[block]
        moved = T - np.eye(len(T))
        carries = ~moved.any(axis=0)
        rows_of_constant = np.flatnonzero(carries[rows]) + (rows.start or 0)
        if not moved[rows].any():
            return ""
        if not moved[rows_of_constant].any():
            return BESIDE_PRODUCTS
        is_product = moved[~carries].any(axis=0)
        columns = np.flatnonzero(moved[rows_of_constant].any(axis=0) & ~is_product)
        names = [self.labels.blocks[block].effects[j] for j in columns]
        said = f"{len(names)} columns" if len(names) > NAMED else ", ".join(names)
        return f"{AT_MEANS}{'' if len(names) == 1 else 's'} of {said}"


def _check_proper(rows: Sequence[PriorRow], labels: Labels) -> None:
    """Refuse flat priors on spreads of under three levels, on variances of under four; of lower rank, of some more.

    As m standard deviations grow together their density is that of t^(m − 1), and the likelihood of q levels whose
    effects vary along d directions falls as t^(d − qd). Gelman (2006), Bayesian Analysis 1, section 3.2.
    """
    flat = {row.name for row in rows if row.kind == "sd" and isinstance(row.prior, Flat)}
    for block in labels.blocks:
        for piece, (first, last) in zip(block.pieces, pairwise(sd_ends(block.pieces)), strict=True):
            own = [row for row in rows if row.name in flat and row.name in block.sd_rows[first:last]]
            directions = min(piece.structure.rank(piece.k), len(own))
            powers = [2 if row.prior.stated_for == "variance" else 1 for row in own]
            needed = 2 + max(*powers, sum(powers) // directions) if own else 0
            if len(block.levels) < needed:
                raise PriorError(
                    f"A flat prior on {own[0].name!r} leaves its posterior improper: {block.group!r} has "
                    f"{len(block.levels)} levels and {needed} are needed. Give it a proper prior, for example "
                    "HalfStudentT(3, scale)."
                )


def check_residual_proper(rows: Sequence[PriorRow], design: Design) -> None:
    """Refuse flat priors on standard deviations of residuals of too few rows.

    As a standard deviation grows its n_s rows say no more than what coefficients r_s of them alone determine, and the
    restricted likelihood falls as its power −(n_s − r_s): that must be integrable.
    """
    residual = design.residual
    assert residual is not None
    if all(row.kind != "sigma" or row.prior.is_proper for row in rows):
        return
    X = design.X[:, design.kept]
    columns = dict(zip(residual.sd_names, residual.columns.T, strict=True))
    strata = [name for name, is_sd in zip(residual.sd_names, residual.are_sds, strict=True) if is_sd]
    others = np.zeros(design.n, dtype=bool)
    for name in strata:
        others |= columns[name] != 0.0
    for row in rows:
        if row.kind != "sigma" or row.prior.is_proper:
            continue
        inside = ~others if row.name == "sigma" else columns[row.name] != 0.0
        left = design.p - (np.linalg.matrix_rank(X[~inside]) if not inside.all() and design.p else 0)
        needed = 3 if row.prior.stated_for == "variance" else 2
        if inside.sum() - left < needed:
            raise PriorError(
                f"{row.prior} on {row.name!r} leaves its posterior improper: it has {inside.sum()} rows, and "
                f"{left} coefficients that they alone determine. Give it a proper prior, for example "
                "HalfStudentT(3, scale)."
            )
