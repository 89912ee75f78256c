"""Relations of levels as sparse precision matrices: A⁻¹, and a root V of A that is never formed.

Effects with the covariance A = VV' are Vv, with independent v. V'x and Vv are all that is needed of V. For descent V
is the recursion itself, an animal the mean of its parents and a part of its own; otherwise it is L'⁻¹ of A⁻¹ = LL'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np

from bayesmm.cholesky.constrained import Constraint, factorise
from bayesmm.cholesky.fronts import Fronts, lay_out_fronts
from bayesmm.descent import generations, sampling_variances

SINGULAR = 1e-12  # share of an entry on the diagonal that is left when others are eliminated, that is only rounding
AT_ONCE = 2**22  # numbers in the columns that are solved for together


class Precision(ABC):
    """A⁻¹ of q levels.

    Attributes
    ----------
    n_levels : int
        q.
    rows, columns, values : arrays
        Entries of A⁻¹ on and below its diagonal, each once.
    log_det : float
        log|A|; where A is singular, of what is not zero of it.
    constraint : Constraint or None
        What sums to zero, where A is singular: the entries then are those of a matrix that is not.
    """

    constraint: Constraint | None = None
    n_levels: int
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    log_det: float

    @property
    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What it is made of, by the names of its parameters."""

    @abstractmethod
    def spread(self, independent: np.ndarray) -> np.ndarray:
        """Vv of effects (..., q) that are independent, of unit variance."""

    @abstractmethod
    def gather(self, sums: np.ndarray) -> np.ndarray:
        """V'x of sums over rows by level, (..., q)."""

    @property
    @abstractmethod
    def variances(self) -> np.ndarray:
        """Diagonal of A (q,)."""

    def relate(self, sums: np.ndarray) -> np.ndarray:
        """Ax of each x (..., q)."""
        return self.spread(self.gather(sums))

    def unrelate(self, effects: np.ndarray) -> np.ndarray:
        """Give the independent effects (..., q) that `spread` makes these of, V'A⁻¹b; where A is singular the least."""
        return self.gather(self.multiply(effects))

    def multiply(self, effects: np.ndarray) -> np.ndarray:
        """A⁻¹b of effects (..., q)."""
        flat = effects.reshape(-1, self.n_levels)
        below = self.rows != self.columns
        ends = np.concatenate([self.rows, self.columns[below]]), np.concatenate([self.columns, self.rows[below]])
        values = np.concatenate([self.values, self.values[below]])
        times = np.stack([np.bincount(ends[0], values * b[ends[1]], self.n_levels) for b in flat])
        if self.constraint is not None:
            times[:, self.constraint.anchors] -= self.constraint.added * flat[:, self.constraint.anchors]
        return times.reshape(effects.shape)

    def covariances(self, levels: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Entries of A between levels and others, that are broadcast against each other."""
        levels, others = np.broadcast_arrays(levels, others)
        if (levels == others).all():
            return self.variances[levels]
        wanted, which = np.unique(levels, return_inverse=True)
        which, found = which.reshape(levels.shape), np.empty(levels.shape)
        size = max(AT_ONCE // self.n_levels, 1)
        for start in range(0, len(wanted), size):
            some = wanted[start : start + size]
            unit = np.zeros((len(some), self.n_levels))
            unit[np.arange(len(some)), some] = 1.0
            inside = (which >= start) & (which < start + size)
            found[inside] = self.relate(unit)[which[inside] - start, others[inside]]
        return found


class Descent(Precision):
    """A⁻¹ of a pedigree by Henderson's rules, (I − P)'D⁻¹(I − P), with one half in P at each animal's parents.

    Parameters
    ----------
    sires, dams : arrays of int, shape (q,)
        Positions of the parents, which come before their offspring; −1 where one is not known.
    inbreeding : array, shape (q,)
        F.

    References
    ----------
    Henderson (1976), Biometrics 32. Quaas (1976), Biometrics 32.
    """

    def __init__(self, sires: np.ndarray, dams: np.ndarray, inbreeding: np.ndarray) -> None:
        self.n_levels = q = len(sires)
        self._inbreeding, self._given = inbreeding, {"sires": sires, "dams": dams, "inbreeding": inbreeding}
        self._parents = np.where(np.stack([sires, dams]) < 0, q, np.stack([sires, dams]))  # q is nobody
        D = sampling_variances(sires, dams, inbreeding)
        self._sds, self.log_det = np.sqrt(D), float(np.log(D).sum())
        self.rows, self.columns, self.values = _henderson(sires, dams, D)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Parents and inbreeding."""
        return self._given

    @property
    def variances(self) -> np.ndarray:
        """Diagonal of A (q,)."""
        return 1.0 + self._inbreeding

    def covariances(self, levels: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Entries of A between levels and others; only they and their ancestors bear on these."""
        wanted = np.zeros(self.n_levels + 1, dtype=bool)
        wanted[levels] = wanted[others] = True
        for own in reversed(self._generations):
            wanted[self._parents[:, own[wanted[own]]]] = True
        kept = np.flatnonzero(wanted[:-1])
        if len(kept) == self.n_levels:
            return super().covariances(levels, others)
        place = np.full(self.n_levels + 1, -1)
        place[kept] = np.arange(len(kept))
        sires, dams = place[self._parents[:, kept]]
        part = Descent(sires, dams, self._inbreeding[kept])
        return part.covariances(place[levels], place[others])

    @cached_property
    def _generations(self) -> list[np.ndarray]:
        _, *later = generations(*np.where(self._parents == self.n_levels, -1, self._parents))
        return later

    def spread(self, independent: np.ndarray) -> np.ndarray:
        """Vv of effects (..., q) that are independent, of unit variance."""
        padded = np.zeros((*independent.shape[:-1], self.n_levels + 1))
        padded[..., :-1] = independent * self._sds
        for own in self._generations:
            for side in self._parents:
                padded[..., own] += 0.5 * padded[..., side[own]]
        return padded[..., :-1]

    def gather(self, sums: np.ndarray) -> np.ndarray:
        """V'x of sums over rows by level, (..., q)."""
        padded = np.zeros((int(np.prod(sums.shape[:-1])), self.n_levels + 1))
        padded[:, :-1] = sums.reshape(len(padded), self.n_levels)
        flat, offsets = padded.reshape(-1), np.arange(len(padded))[:, None] * padded.shape[1]
        for own in reversed(self._generations):
            half = 0.5 * padded[:, own].reshape(-1)
            for side in self._parents:
                np.add.at(flat, (offsets + side[own]).reshape(-1), half)
        return (padded[:, :-1] * self._sds).reshape(sums.shape)


class Factored(Precision):
    """A⁻¹ that is given entry by entry.

    Parameters
    ----------
    n_levels : int
        q.
    rows, columns, values : arrays
        Its entries on and below the diagonal, each once.

    constraint : Constraint, optional
        Of effects that sum to zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not positive definite, but for rounding.
    """

    def __init__(
        self,
        n_levels: int,
        rows: np.ndarray,
        columns: np.ndarray,
        values: np.ndarray,
        constraint: Constraint | None = None,
    ) -> None:
        self.n_levels, self.rows, self.columns, self.values = n_levels, rows, columns, values
        self.constraint = constraint
        self._fronts: Fronts = lay_out_fronts(n_levels, rows, columns)
        numbers = np.zeros(self._fronts.n_numbers)
        numbers[self._fronts.positions(rows, columns)] = values
        self._factor = factorise(self._fronts, numbers, constraint)
        own = rows == columns
        if (self._factor.pivots[rows[own]] ** 2 < SINGULAR * values[own]).any():
            raise np.linalg.LinAlgError("A⁻¹ is singular but for rounding")
        self.log_det = -self._factor.log_det

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Entries of A⁻¹."""
        return {"rows": self.rows, "columns": self.columns, "values": self.values}

    def spread(self, independent: np.ndarray) -> np.ndarray:
        """Vv of effects (..., q) that are independent, of unit variance."""
        return self._factor.backward(independent.reshape(-1, self.n_levels)).reshape(independent.shape)

    def gather(self, sums: np.ndarray) -> np.ndarray:
        """V'x of sums over rows by level, (..., q)."""
        return self._factor.forward(sums.reshape(-1, self.n_levels)).reshape(sums.shape)

    @cached_property
    def variances(self) -> np.ndarray:
        """Diagonal of A (q,)."""
        every = np.arange(self.n_levels)
        return self._factor.invert()[self._fronts.positions(every, every)]


class Intrinsic(Factored):
    """The precision D − W of differences between neighbours, of effects that sum to zero over each part of the map.

    Parameters
    ----------
    n_levels : int
        q.
    rows, columns, values : arrays
        Entries of D − W on and below the diagonal, each once.
    parts : array of int, shape (q,)
        Which connected part of the map each level is in, from 0 on.

    Notes
    -----
    A is its Moore–Penrose inverse.
    """

    def __init__(
        self, n_levels: int, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, parts: np.ndarray
    ) -> None:
        self._given = {"rows": rows, "columns": columns, "values": values, "parts": parts}
        sizes, anchors = np.bincount(parts), np.unique(parts, return_index=True)[1]
        C = np.zeros((len(sizes), n_levels))
        C[parts, np.arange(n_levels)] = 1.0 / np.sqrt(sizes[parts])
        on_diagonal = np.zeros(n_levels)
        on_diagonal[rows[rows == columns]] = values[rows == columns]
        added = on_diagonal[anchors]
        is_anchor = (rows == columns) & np.isin(rows, anchors)
        definite = np.where(is_anchor, 2.0, 1.0) * values
        super().__init__(n_levels, rows, columns, definite, Constraint(rows=C, anchors=anchors, added=added))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Entries of D − W, and parts of the map."""
        return self._given


def make_precision(n_levels: int, arrays: dict[str, Any]) -> Precision:
    """Make a precision again of its `Precision.arrays`."""
    if "sires" in arrays:
        return Descent(**arrays)
    return Intrinsic(n_levels, **arrays) if "parts" in arrays else Factored(n_levels, **arrays)


def _henderson(sires: np.ndarray, dams: np.ndarray, D: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries of A⁻¹ on and below its diagonal."""
    from scipy import sparse  # where a pedigree is read

    q = len(sires)
    own = np.concatenate([np.flatnonzero(sires >= 0), np.flatnonzero(dams >= 0)])
    parent = np.concatenate([sires[sires >= 0], dams[dams >= 0]])
    P: Any = sparse.csc_array((np.full(len(own), 0.5), (own, parent)), shape=(q, q))
    descent: Any = sparse.eye_array(q, format="csc") - P
    lower: Any = sparse.tril(descent.T @ sparse.diags_array(1.0 / D) @ descent).tocoo()
    rows, columns = lower.coords
    return rows, columns, lower.data
