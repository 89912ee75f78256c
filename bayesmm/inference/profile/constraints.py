"""Standard deviations and correlations as functions of θ and log σ, to be held at a value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.public_slopes import differentiate_correlations, differentiate_variances
from bayesmm.covariance.structure import Array, lower_triangular
from bayesmm.inference.profile.surface import Surface

TINY = 1e-30  # step of a complex-step derivative
VOID = 1e-3  # a standard deviation, over σ and on conditioned columns, whose square is next to nothing


class Constraint(Protocol):
    """A function of θ and log σ that is held, on a scale of its own."""

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
class Sigma:
    """The residual standard deviation: held as log σ."""

    surface: Surface

    @property
    def limits(self) -> tuple[float, float]:
        """Zero below."""
        return 0.0, np.inf

    @property
    def near(self) -> float:
        """A thousandth: the criterion is smooth in σ²."""
        return 1e-3

    def scale(self, value: float) -> tuple[float, float]:
        """Log."""
        return float(np.log(value)), 1.0 / value

    def unscale(self, at: float) -> float:
        """Exp."""
        return float(np.exp(at))

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Log σ."""
        return float(x[-1]), float(direction[-1])

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Log σ is a coordinate."""
        return float(x[-1]), np.eye(len(x))[-1], np.zeros((len(x), len(x)))

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
        return float(value), float(slope + (0.0 if len(x) == self._n_theta else value * direction[-1]))

    @cached_property
    def _n_theta(self) -> int:
        return sum(piece.n_theta for pieces in self.surface.criterion.layout for piece in pieces)

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate s by way of its square: s s' = ½(s²)', s s'' = ½(s²)'' − s's'."""
        at = differentiate_variances(x[self._own], self._piece, self._back)
        _, sigma = self.surface.split(x)
        square = sigma**2 * at.values[self.index]
        first, second = self._embed(sigma**2 * at.first[self.index], sigma**2 * at.second[self.index], len(x))
        if len(x) > self._n_theta:
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
