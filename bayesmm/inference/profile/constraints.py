"""Covariance parameters as functions of ψ and log σ, to be held at a value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.public_slopes import differentiate_correlations, differentiate_variances
from bayesmm.covariance.residual import Correlation as Structure
from bayesmm.covariance.structure import Array, lower_triangular
from bayesmm.inference.profile.surface import Surface

INSIDE = 2.0  # of a free parameter of residual correlations, whose limits are infinite
STEP = 1e-5  # of a central difference of derivatives by these
TINY = 1e-30  # step of a complex-step derivative
VOID = 1e-3  # a standard deviation, over σ and on conditioned columns, whose square is next to nothing


class Constraint(Protocol):
    """A function of ψ and log σ that is held, on a scale of its own."""

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values the parameter may lie."""
        ...

    @property
    def near(self) -> float:
        """Which part of the way from a limit is as good as the limit itself."""
        ...

    def scale(self, value: float) -> tuple[float, float]:
        """Put a value of the parameter on the scale of the function, with the derivative of that."""
        ...

    def unscale(self, at: float) -> float:
        """Undo `scale`."""
        ...

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate the function, and its derivative in a direction."""
        ...

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Evaluate the function, its gradient (m,) and its Hessian (m, m)."""
        ...

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Find a point near x where the parameter is inside its limits."""
        ...

    def is_void(self, x: np.ndarray) -> bool:
        """Say whether the parameter has next to no meaning at x."""
        ...


@dataclass(frozen=True)
class ResidualSpread:
    """A standard deviation of residuals, held as its logarithm, or an exponent: a sum of coordinates.

    Attributes
    ----------
    surface : Surface
        The criterion.
    index : int or None
        Which of the parameters of standard deviations; None for σ.
    """

    surface: Surface
    index: int | None = None

    @property
    def _is_sd(self) -> bool:
        residual = self.surface.residual
        return self.index is None or residual is None or bool(residual.rows.layout.are_sds[self.index])

    @property
    def limits(self) -> tuple[float, float]:
        """Zero below, of a standard deviation."""
        return (0.0, np.inf) if self._is_sd else (-np.inf, np.inf)

    @property
    def near(self) -> float:
        """A thousandth: the criterion is smooth in σ²."""
        return 1e-3 if self._is_sd else 0.0

    def scale(self, value: float) -> tuple[float, float]:
        """Log, of a standard deviation."""
        return (float(np.log(value)), 1.0 / value) if self._is_sd else (value, 1.0)

    def unscale(self, at: float) -> float:
        """Exp, of a standard deviation."""
        return float(np.exp(at)) if self._is_sd else at

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate the sum."""
        value, gradient, _ = self.slopes(x)
        return value, float(gradient @ direction)

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate; a known σ is no coordinate."""
        has_sigma = self.surface.criterion.sigma is None
        gradient = np.zeros(len(x))
        if self.index is not None:
            gradient[self.surface.n_theta + self.index] = 1.0
        if self._is_sd and has_sigma:
            gradient[-1] = 1.0
        value = float(gradient @ x)
        if self._is_sd and not has_sigma:
            value += float(np.log(self.surface.split(x)[1]))
        return value, gradient, np.zeros((len(x), len(x)))

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Stay: it is inside."""
        return x

    def is_void(self, x: np.ndarray) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class _OfPiece:
    """A parameter of the covariance matrix of some effects.

    Attributes
    ----------
    surface : Surface
        The criterion.
    factor, piece : int
        Which piece of which grouping factor.
    index : int
        Which of its standard deviations, or of its correlations.
    """

    surface: Surface
    factor: int
    piece: int
    index: int

    @property
    def near(self) -> float:
        """A millionth, by which the criterion changes at most linearly."""
        return 1e-6

    @cached_property
    def _piece(self) -> Piece:
        return self.surface.criterion.layout[self.factor][self.piece]

    @cached_property
    def _root(self) -> np.ndarray:
        return self.surface.criterion.products.effect_roots[self.factor][self._piece.inside, self._piece.inside]

    @cached_property
    def _back(self) -> np.ndarray:
        return np.linalg.inv(self._root)

    @cached_property
    def _own(self) -> slice:
        """Its entries of θ."""
        layout = self.surface.criterion.layout
        before = [piece for pieces in layout[: self.factor] for piece in pieces]
        start = sum(piece.n_theta for piece in [*before, *layout[self.factor][: self.piece]])
        return slice(start, start + self._piece.n_theta)

    def scale(self, value: float) -> tuple[float, float]:
        """As it is."""
        return value, 1.0

    def unscale(self, at: float) -> float:
        """As it is."""
        return at

    def _embed(self, gradient: np.ndarray, hessian: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = np.zeros(m), np.zeros((m, m))
        first[self._own], second[self._own, self._own] = gradient, hessian
        return first, second

    def _read(self, x: np.ndarray, direction: np.ndarray) -> tuple[Array, Array]:
        """Read standard deviations over σ and correlations, with a complex step in a direction."""
        theta = x[self._own] + 1j * TINY * direction[self._own]
        M = self._back @ piece_factor(np, theta, self._piece)
        with np.errstate(all="ignore"):
            return self._piece.structure.read(np, M @ M.T)

    def _spread_out(self, x: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Add independent effects with these standard deviations (k,), as far as the structure has room for them."""
        piece, own = self._piece, self._own
        L = piece_factor(np, x[own], piece)
        wider = lower_triangular(np.hstack([L, self._root @ np.diag(spread)]))
        moved = x.copy()
        moved[own] = piece.structure.nearest(wider)
        return moved


@dataclass(frozen=True)
class StandardDeviation(_OfPiece):
    """A standard deviation of random effects."""

    @property
    def limits(self) -> tuple[float, float]:
        """Zero below."""
        return 0.0, np.inf

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate σ times that of the relative factor."""
        relative = self._read(x, direction)[0][self.index]
        _, sigma = self.surface.split(x)
        value, slope = sigma * relative.real, sigma * relative.imag / TINY
        return float(value), float(slope + (value * direction[-1] if self._has_sigma else 0.0))

    @property
    def _has_sigma(self) -> bool:
        return self.surface.criterion.sigma is None

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate s by way of its square: s s' = ½(s²)', s s'' = ½(s²)'' − s's'."""
        at = differentiate_variances(x[self._own], self._piece, self._back)
        _, sigma = self.surface.split(x)
        square = sigma**2 * at.values[self.index]
        first, second = self._embed(sigma**2 * at.first[self.index], sigma**2 * at.second[self.index], len(x))
        if self._has_sigma:
            second[-1, :-1] = second[:-1, -1] = 2.0 * first[:-1]
            first[-1], second[-1, -1] = 2.0 * square, 4.0 * square
        value = np.sqrt(square)
        if value == 0.0:
            return 0.0, np.zeros_like(first), np.zeros_like(second)
        slope = 0.5 * first / value
        return float(value), slope, (0.5 * second - slope[:, None] * slope) / value

    def is_void(self, x: np.ndarray) -> bool:
        """Never."""
        return False

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Give the effects that have it some variance."""
        piece = self._piece
        own = np.eye(piece.structure.n_sds(piece.k))[self.index]
        spread = piece.structure.effect_sds(own, piece.k)
        return self._spread_out(x, 0.1 * spread / np.linalg.norm(self._root @ np.diag(spread)))


@dataclass(frozen=True)
class Correlation(_OfPiece):
    """A correlation of random effects."""

    @property
    def limits(self) -> tuple[float, float]:
        """Of the structure."""
        return self._piece.structure.limits(self._piece.k)

    @property
    def vanishing(self) -> tuple[StandardDeviation, ...]:
        """Standard deviations that leave it without meaning where one of them is zero."""
        structure, k = self._piece.structure, self._piece.k
        ways = 1.0 - np.eye(structure.n_sds(k))
        return tuple(
            StandardDeviation(self.surface, self.factor, self.piece, s)
            for s, sd in enumerate(ways)
            if not structure.is_defined(structure.effect_sds(sd, k))[self.index]
        )

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate that of the relative factor."""
        value = self._read(x, direction)[1][self.index]
        return float(value.real), float(value.imag / TINY)

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate in θ."""
        at = differentiate_correlations(x[self._own], self._piece, self._back)
        return float(at.values[self.index]), *self._embed(at.first[self.index], at.second[self.index], len(x))

    def is_void(self, x: np.ndarray) -> bool:
        """Where a standard deviation is next to zero, in units of what a factor of one gives."""
        sd, _ = self._read(x, np.zeros_like(x))
        small = sd.real < VOID * self._units
        return (
            bool(small.any())
            and not self._piece.structure.is_defined(
                self._piece.structure.effect_sds(np.where(small, 0.0, 1.0), self._piece.k)
            )[self.index]
        )

    @cached_property
    def _units(self) -> np.ndarray:
        spread = np.sqrt((self._back**2).sum(axis=1))
        return self._piece.structure.free_sds(np, spread)

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Add independent effects, a tenth as large as those that are there."""
        sd, _ = self._read(x, np.zeros_like(x))
        return self._spread_out(x, 0.1 * self._piece.structure.effect_sds(sd.real, self._piece.k))


@dataclass(frozen=True)
class ResidualCorrelation:
    """A correlation of residuals.

    Attributes
    ----------
    surface : Surface
        The criterion.
    index : int
        Which.
    """

    surface: Surface
    index: int

    @cached_property
    def _structure(self) -> Structure:
        residual = self.surface.residual
        assert residual is not None
        assert residual.rows.layout.correlation is not None
        return residual.rows.layout.correlation

    @cached_property
    def _own(self) -> slice:
        """Free parameters of the correlations, in ψ."""
        assert self.surface.residual is not None
        start = self.surface.n_theta + self.surface.residual.rows.layout.n_spreads
        return slice(start, start + len(self._structure.names))

    @property
    def limits(self) -> tuple[float, float]:
        """Of the structure."""
        return self._structure.limits

    @property
    def near(self) -> float:
        """Of the structure."""
        return self._structure.near

    def scale(self, value: float) -> tuple[float, float]:
        """As it is."""
        return value, 1.0

    def unscale(self, at: float) -> float:
        """As it is."""
        return at

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate with a complex step."""
        own = self._own
        value = self._structure.public(np, x[own] + 1j * TINY * direction[own])[self.index]
        return float(value.real), float(value.imag / TINY)

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate by complex steps, and those by central differences."""
        own, z, m = self._own, x[self._own], len(x)
        ways = np.eye(len(z))

        def gradient(z: np.ndarray) -> np.ndarray:
            return np.array([self._structure.public(np, z + 1j * TINY * e)[self.index].imag / TINY for e in ways])

        first, second = np.zeros(m), np.zeros((m, m))
        first[own] = gradient(z)
        bent = np.array([(gradient(z + STEP * e) - gradient(z - STEP * e)) / (2.0 * STEP) for e in ways])
        second[own, own] = 0.5 * (bent + bent.T)
        return float(self._structure.public(np, z)[self.index]), first, second

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Take free parameters back to where they change something."""
        moved = x.copy()
        moved[self._own] = np.clip(x[self._own], -INSIDE, INSIDE)
        return moved

    def is_void(self, x: np.ndarray) -> bool:
        """Never."""
        return False
