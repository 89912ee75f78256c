"""Which prior is in force for each parameter: the user's declarations, the defaults, and the labels they meet in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bayesmm.bayes.prior_keys import CorrelationPiece, correlation_pieces, match_priors
from bayesmm.bayes.scales import DataScales, measure_scales
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels, ParameterRow
from bayesmm.errors import PriorError
from bayesmm.specification.priors import LKJ, Flat, HalfStudentT, Normal, Prior

PriorChoice = Mapping[str, Prior] | Literal["flat"] | None

WIDTH = 2.5  # standard deviations of the response per standard deviation of the predictor, as rstanarm and brms
TAIL = 3.0  # degrees of freedom of the half-Student-t of spreads
MEAN_RESPONSE = "expected response where the other predictors are at their means"


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
        where a default prior is about the expected response at the means of the predictors.
    fixed_sigma : float, optional
        The residual standard deviation where it is known.
    """

    rows: tuple[PriorRow, ...]
    pieces: tuple[CorrelationPiece, ...]
    contrast: np.ndarray
    fixed_sigma: float | None

    def of_kind(self, kind: str, group: str | None = None) -> tuple[PriorRow, ...]:
        """Rows of one kind ("fixed", "sd", "cor", "sigma"), and of one group if it is named."""
        return tuple(row for row in self.rows if row.kind == kind and group in (None, row.group))

    def table(self) -> pd.DataFrame:
        """One row a parameter: kind, group, prior, who chose it, and the quantity it is about."""
        columns = ["kind", "group", "prior", "source", "about"]
        values = [(row.kind, row.group, str(row.prior), row.source, row.about) for row in self.rows]
        return pd.DataFrame(values, columns=columns, index=pd.Index([row.name for row in self.rows], name="parameter"))

    def __str__(self) -> str:
        text = self.table().drop(columns=["kind", "group"]).to_string()
        return text if self.fixed_sigma is None else f"{text}\nsigma is fixed at {self.fixed_sigma:g}."

    def _repr_html_(self) -> str:
        return self.table().to_html()


def resolve_priors(
    priors: PriorChoice, design: Design, labels: Labels, *, sigma: float | None = None
) -> ResolvedPriors:
    """Give every parameter of a model its prior.

    Parameters
    ----------
    priors : mapping of str to Prior, "flat", or None
        Keys are rows of the parameter table ("Days", "sd(Days | Subject)", "cor(Intercept, Days | Subject)", "sigma"),
        kinds ("fixed", "sd", "cor", "sigma") or a kind in one group ("sd(Subject)"); the narrower key wins. A prior on
        a coefficient is on the coefficient as the table labels it. What is not named keeps its default. With "flat"
        the density is constant in the coefficients, the standard deviations, the correlations (LKJ(1)) and sigma.
    design : Design
        The data, for the scales of the defaults.
    labels : Labels
        The names.
    sigma : float, optional
        The residual standard deviation where it is known; it has no prior then.

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
    HalfStudentT(3, 2.5 s_y), with s_y weighted; correlations LKJ(1). Where only several columns together make a
    constant (``0 + f``), each of them is treated as the intercept is; where no constant can be made, root mean squares
    stand for standard deviations. s_j includes all variation of a column: products with an uncentred covariate
    (``f * year``) get narrow defaults, so centre the covariate or state the prior.

    The joint posterior density of (standard deviations, correlations, sigma) under "flat" is the restricted likelihood:
    its mode is the REML estimate. In other coordinates (variances, logarithms) the mode moves.
    """
    if isinstance(priors, str) and priors != "flat":
        raise PriorError(f"priors={priors!r}; write priors='flat', a dictionary of priors, or None for the defaults.")
    pieces = correlation_pieces(design, labels)
    rows = [row for row in labels.parameter_rows() if row.kind != "sigma" or sigma is None]
    scales = measure_scales(design)
    if priors == "flat":
        chosen, fallback = {}, [_flat(row) for row in rows]
    else:
        chosen, fallback = match_priors(priors or {}, rows, pieces, sigma), _defaults(rows, scales)
    source = "flat" if priors == "flat" else "default"
    contrast = _contrast([row for row in rows if row.kind == "fixed"], chosen, scales, source)
    resolved = tuple(
        PriorRow(
            name=row.name,
            kind=row.kind,
            group=row.group or "",
            prior=chosen.get(row.name, prior),
            source="user" if row.name in chosen else source,
            about=_about(row, chosen.get(row.name, prior), pieces, contrast),
        )
        for row, prior in zip(rows, fallback, strict=True)
    )
    _check_proper(resolved, labels)
    return ResolvedPriors(
        rows=resolved, pieces=pieces, contrast=contrast, fixed_sigma=None if sigma is None else float(sigma)
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
    for row, estimate, spread in zip(rows, value, error, strict=True):
        if row.source != "default" or not isinstance(row.prior, Normal):
            continue
        if spread > row.prior.sd or abs(estimate - row.prior.mean) > 3.0 * row.prior.sd:
            conflicts.append(
                f"The default prior of {row.name!r}, {row.prior}, is at odds with its estimate {estimate:.4g} "
                f"(standard error {spread:.2g}): centre the covariates that it is a product of, or state a prior, "
                f"priors={{{row.name!r}: Normal(0, sd)}}."
            )
    return conflicts


def _defaults(rows: Sequence[ParameterRow], scales: DataScales) -> list[Prior]:
    """Make the default prior of every row, in data units."""
    width = WIDTH * scales.spread
    coefficients = iter(zip(scales.level * scales.constant, width / scales.column_spreads, strict=True))
    spreads = iter(width / np.concatenate([np.zeros(0), *scales.effect_spreads]))

    def default(row: ParameterRow) -> Prior:
        match row.kind:
            case "fixed":
                return Normal(*next(coefficients))
            case "sd":
                return HalfStudentT(TAIL, next(spreads))
            case "sigma":
                return HalfStudentT(TAIL, WIDTH * scales.residual_spread)
            case _:
                return LKJ(1)

    return [default(row) for row in rows]


def _flat(row: ParameterRow) -> Prior:
    return LKJ(1) if row.kind == "cor" else Flat()


def _contrast(
    coefficients: Sequence[ParameterRow], chosen: Mapping[str, Prior], scales: DataScales, source: str
) -> np.ndarray:
    """T of `ResolvedPriors`: default priors of what carries the constant are about the response at mean predictors."""
    T = np.eye(len(coefficients))
    others = np.where(scales.constant == 0, scales.means, 0.0)
    for j, row in enumerate(coefficients):
        if source == "default" and row.name not in chosen:
            T[j] += scales.constant[j] * others
    return T


def _about(row: ParameterRow, prior: Prior, pieces: Sequence[CorrelationPiece], contrast: np.ndarray) -> str:
    if row.kind == "fixed":
        identity = np.eye(len(contrast))[row.index]
        return "coefficient" if (contrast[row.index] == identity).all() else MEAN_RESPONSE
    if row.kind == "cor":
        return f"correlations of {next(piece.term for piece in pieces if row.name in piece.rows)}"
    return {"sd": "standard deviation", "variance": "variance", "share": "share of the variance"}[prior.stated_for]


def _check_proper(rows: Sequence[PriorRow], labels: Labels) -> None:
    """Refuse flat priors on spreads of under three levels, on variances of under four.

    Gelman (2006), Bayesian Analysis 1, section 3.2.
    """
    levels = {block.group: len(block.levels) for block in labels.blocks}
    for row in rows:
        needed = 4 if row.prior.stated_for == "variance" else 3
        if row.kind == "sd" and isinstance(row.prior, Flat) and levels[row.group] < needed:
            raise PriorError(
                f"A flat prior on {row.name!r} leaves its posterior improper: {row.group!r} has {levels[row.group]} "
                f"levels and {needed} are needed. Give it a proper prior, for example HalfStudentT(3, scale)."
            )
