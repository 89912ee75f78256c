"""Correlation matrices that have priors: what is said of a whole matrix, and of a single correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from bayesmm.bayes.priors.families import FAMILIES
from bayesmm.covariance.public import cor_ends, sd_ends
from bayesmm.covariance.residual import Correlation
from bayesmm.covariance.structure import Statement, Structure, beta_density
from bayesmm.design.design import Design
from bayesmm.errors import PriorError
from bayesmm.specification.priors import LKJ, Flat, Prior

TINY = 1e-30  # step of a complex-step derivative


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

    @property
    def own_priors(self) -> tuple[tuple[Statement, ...], ...]:
        """What a prior of each correlation alone may be stated for, whatever the others are."""
        raise NotImplementedError

    @property
    def own_limits(self) -> tuple[tuple[float, float], ...]:
        """Between which values each of them is, or its partial autocorrelation."""
        raise NotImplementedError

    def ranges(self, cor: np.ndarray, which: int) -> np.ndarray:
        """Ranges (...) of one of the correlations, where its prior may be of that."""
        raise NotImplementedError

    def shares(self, cors: np.ndarray) -> np.ndarray:
        """Shares (..., c) of the correlations of a pattern."""
        raise NotImplementedError

    def stated(self, priors: Sequence[Prior]) -> tuple[Statement | Literal[""], ...]:
        """Say what the prior of each correlation is stated for; "" where it is the matrix that the prior is of.

        Where a lag has a prior of its own those of the others are of partial autocorrelations too, which are
        independent.
        """
        found: list[Statement | Literal[""]] = []
        for prior, possible in zip(priors, self.own_priors, strict=True):
            if isinstance(prior, LKJ | Flat):
                found.append("")
            elif prior.stated_for == "range":
                found.append("range")
            else:
                found.append("partial" if "partial" in possible else "correlation")
        if not any(found):
            return tuple(found)
        return tuple(
            what or ("partial" if "partial" in possible else "")
            for what, possible in zip(found, self.own_priors, strict=True)
        )

    def quantities(self, priors: Sequence[Prior], cors: np.ndarray) -> np.ndarray:
        """Compute what priors are about (..., c), from the correlations in the tables: these or what they stand for."""
        found, stated = np.array(cors, dtype=float), self.stated(priors)
        if "partial" in stated:
            partial = 2.0 * self.shares(cors) - 1.0
            found = np.where(np.array(stated) == "partial", np.where(np.isnan(cors), np.nan, partial), found)
        for which, what in enumerate(stated):
            if what == "range":
                found[..., which] = self.ranges(found[..., which], which)
        return found

    def log_density(self, priors: Sequence[Prior], values: np.ndarray) -> np.ndarray:
        """Log density of the priors at what they are about (..., c), up to a constant; NaN where one is undefined."""
        stated = self.stated(priors)
        total = np.zeros(values.shape[:-1])
        for which, (prior, what) in enumerate(zip(priors, stated, strict=True)):
            if what:
                total = total + self.own_density(prior, values[..., which], which, what)
        rest = [prior for prior, what in zip(priors, stated, strict=True) if not what]
        power = getattr(rest[0], "concentration", 1.0) - 1.0 if rest else 0.0  # a flat prior is LKJ(1)
        if power == 0.0:
            return total
        together = np.where(np.array(stated) == "", values, 0.0)  # the others are in matrices of their own
        sign, log_determinant = np.linalg.slogdet(self.correlation(np.nan_to_num(together)))
        found = total + power * np.where(sign > 0, log_determinant, -np.inf)
        return np.where(np.isfinite(together).all(axis=-1), found, np.nan)

    def own_density(self, prior: Prior, x: Any, which: int, what: Statement) -> np.ndarray:
        """Log density of one correlation's own prior at what it is about (...); analytic inside."""
        low, high = (0.0, np.inf) if what == "range" else self.own_limits[which]
        numbers = prior.numbers
        if isinstance(prior, LKJ | Flat):  # beside a lag with a prior of its own
            a, b = self.lkj_shapes(getattr(prior, "concentration", 1.0))
            numbers, family = {"a": a[which], "b": b[which]}, "Beta"
        else:
            family = prior.family
            low, high = numbers.get("lower", low), numbers.get("upper", high)
        inside = (x.real > low) & (x.real < high)
        at = np.where(inside, x, min(low + 1.0, 0.5 * (low + high)))
        if family == "Beta":
            found = FAMILIES[family].log_density((at - low) / (high - low), **numbers) - np.log(high - low)
        else:
            found = FAMILIES[family].log_density(at, **numbers)
        return np.where(inside, found, np.where(np.isnan(x), np.nan, -np.inf))

    def log_slopes(self, priors: Sequence[Prior], values: np.ndarray) -> np.ndarray:
        """Slopes of the log density of the priors by what they are about (c,): for LKJ (η − 1) ∂ log det(R)."""
        stated, slopes = self.stated(priors), np.zeros(len(values))
        for which, (prior, what) in enumerate(zip(priors, stated, strict=True)):
            if what:
                found: Any = self.own_density(prior, values[which] + 1j * TINY, which, what)
                slopes[which] = found.imag / TINY if np.isfinite(found.real) else 0.0
        together = np.array(stated) == ""
        rest = [prior for prior, each in zip(priors, together, strict=True) if each]
        if not rest or not isinstance(rest[0], LKJ) or rest[0].concentration == 1.0:
            return slopes
        here = np.where(together, values, 0.0)
        R: Any = self.correlation(here + 1j * TINY * np.eye(len(values)))  # (c, k, k)
        inverse = np.linalg.inv(R[0].real)
        found = (rest[0].concentration - 1.0) * (R.imag / TINY * inverse).sum(axis=(1, 2))  # ∂ log det R = tr(R⁻¹∂R)
        return np.where(together, found, slopes)


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

    @property
    def own_priors(self) -> tuple[tuple[Statement, ...], ...]:
        """What a prior of each correlation alone may be stated for, whatever the others are."""
        return self.structure.own_priors(self.size)

    @property
    def own_limits(self) -> tuple[tuple[float, float], ...]:
        """Between which values each of them is, or its partial autocorrelation."""
        return self.structure.own_limits(self.size)

    def ranges(self, cor: np.ndarray, which: int) -> np.ndarray:
        """Ranges (...) of one of the correlations, where its prior may be of that."""
        return self.structure.range_of(np, cor, self.size, which)

    def shares(self, cors: np.ndarray) -> np.ndarray:
        """Shares (..., c) of the correlations of a pattern."""
        flat = cors.reshape(-1, cors.shape[-1])
        return np.array([self.structure.shares(each, self.size) for each in flat]).reshape(cors.shape)

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
        return beta_density((x - low) / (high - low), a[0], b[0]) / (high - low)


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
        return self.structure.is_over_gap and isinstance(prior, LKJ | Flat)

    @property
    def own_priors(self) -> tuple[tuple[Statement, ...], ...]:
        """What a prior of each correlation alone may be stated for, whatever the others are."""
        return (self.structure.own_prior,) * len(self.rows)

    @property
    def own_limits(self) -> tuple[tuple[float, float], ...]:
        """Between which values each of them is, or its partial autocorrelation."""
        return (self.limits,) * len(self.rows)

    def ranges(self, cor: np.ndarray, which: int) -> np.ndarray:
        """Ranges (...) of the correlation, where its prior may be of that."""
        return self.structure.range_of(np, cor)

    def shares(self, cors: np.ndarray) -> np.ndarray:
        """Shares (..., c) of the correlations of a pattern."""
        return self.structure.shares(cors)

    def quantities(self, priors: Sequence[Prior], cors: np.ndarray) -> np.ndarray:
        """Compute what priors are about (..., c); of a default one the correlation over a usual gap."""
        return self.shares(cors) if self.is_over_gap(priors[0]) else CorrelationMatrix.quantities(self, priors, cors)

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
