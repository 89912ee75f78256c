"""What a covariance structure knows: its parameters in the search, on the public scale, and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from bayesmm.console import listing
from bayesmm.errors import PredictionError

Array = Any  # of NumPy or of JAX: the same code serves both
Statement = Literal["correlation", "partial", "range"]  # what a prior of a correlation may be stated for

SNAP = 1e-4  # entries of the factor on conditioned columns, in units of σ, that are tried at exactly zero
ROUNDING = 1e-9  # the same for entries below the diagonal, where small is not special
DOWN = 1e-5  # slope of the criterion relative to its expected part that is not what the search leaves over
STEP = 0.1  # standard deviation, in units of σ on conditioned columns, from which the search goes on then
OF_OTHERS = "ar1, homcs, homdiag, exp, gau and mat, of one standard deviation for all effects, tell of others."
LEAST = 1e-3  # singular values below which a start is too near the boundary, where slopes vanish


class Axes(NamedTuple):
    """Directions along which a coarse look varies standard deviations: F[i, j] = base[i, j] · size[which[i, j]].

    Attributes
    ----------
    base : array, shape (k, k)
        A factor of unit sizes.
    which : int array, shape (k, k)
        The axis that each entry grows with; −1 for one that does not.
    """

    base: np.ndarray
    which: np.ndarray

    @property
    def n(self) -> int:
        """How many axes there are."""
        return int(self.which.max()) + 1


class Structure:
    """A covariance matrix Σ = σ²ΛΛ' of the k effects of one level, by few parameters.

    Structures are hashable, without state of a model, and know k only as an argument. Λ is lower triangular, on columns
    that were conditioned as far as `invariance` allows. θ, shape (t,), is free: zero variances and correlations at
    their limits are ordinary points of it.

    Attributes
    ----------
    words : str
        The structure in a sentence: "unstructured".
    freedom : str
        What it leaves to the effects: "correlated".
    invariance : {"linear", "column", "scale", "none"}
        Which changes of columns keep the structure: any; each column's scale; one common scale; none.
    is_convex : bool
        Whether the matrices between two of the structure have it too.
    is_straight : bool
        Whether a criterion that falls all along the straight way in θ from a start to a minimum tells that a search
        from there ends in it.
    is_linear : bool
        Whether they are all matrices whose variances and covariances fulfil some linear equations.
    is_divisible : bool
        Whether effects have the structure also without one of them, whose variance may be zero by itself.
    fewest_effects : int
        With how few effects it has a meaning: two where it is about their correlations.
    correlations : {"none", "matrix", "one", "several", "rank", "known"}
        Whether no correlation is free, or all of them, or one parameter gives all, or several do, by a pattern, or
        all are named, and follow from a matrix of lower rank, or none is free and they are not zero.
    has_lkj : bool
        Whether a density of the correlations of a pattern that is a power of det R is one of betas; see `lkj_shapes`.
    has_prior : bool
        Whether its correlations have a prior.
    has_shares : bool
        Whether that is one of their shares; or else of directions, which are sampled with the standard deviations: see
        `bayesmm.covariance.reduced_rank.ReducedRank.spread`.
    has_inverse : bool
        Whether Σ can be inverted in floating point inside its limits.
    """

    words: ClassVar[str]
    freedom: ClassVar[str]
    invariance: ClassVar[Literal["linear", "column", "scale", "none"]]
    is_convex: ClassVar[bool] = True
    is_straight: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True
    is_divisible: ClassVar[bool] = True
    fewest_effects: ClassVar[int] = 1
    correlations: ClassVar[Literal["none", "matrix", "one", "several", "rank", "known"]] = "none"
    has_lkj: ClassVar[bool] = True
    has_prior: ClassVar[bool] = True
    has_shares: ClassVar[bool] = True
    has_inverse: ClassVar[bool] = True
    matrix: str = ""  # name of a known matrix that it needs; see `given`

    def given(self, levels: tuple[str, ...], covariance: np.ndarray) -> Structure:
        """Return the structure with the known matrix (m, m) that it needs, whose rows have these labels."""
        raise NotImplementedError

    def bound(self, effects: Sequence[str], term: object) -> Structure:
        """Return the structure of these effects: with their coordinates, where it is one over coordinates.

        Raises
        ------
        DesignError
            If the names of the effects say none; `term` is what the message calls it.
        """
        return self

    def beside(self, sigma: float | None, term: object) -> Structure:
        """Return the structure beside residuals of a known standard deviation, or of one that is estimated.

        Raises
        ------
        DesignError
            If it has to be known; `term` is what the message calls the structure's.
        """
        return self

    def widened(self, effects: Sequence[str], k: int, term: str) -> Structure:
        """Return the structure of these effects with the parameters of this one, which has the first k of them.

        Raises
        ------
        PredictionError
            If its parameters say nothing of the others.
        """
        why = f"nothing is known of other effects where the covariance is {self.words}"
        raise unseen(effects[k:], term, f"{why}. {OF_OTHERS}")

    def is_possible(self, covariance: np.ndarray) -> np.ndarray:
        """Say whether so many effects may covary so (..., k, k), by parameters that were those of fewer."""
        return np.ones(covariance.shape[:-2], dtype=bool)

    def scale_groups(self, k: int) -> np.ndarray:
        """Which columns (k,) have one scale, where they may be scaled and no more."""
        return np.zeros(k, dtype=int)

    # -- θ and Λ: what the search works with ------------------------------------------------------------------------

    def rank(self, k: int) -> int:
        """Rank of Λ inside its limits."""
        return k

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I; of one with variances of about one where I is not of the structure."""
        raise NotImplementedError

    def generic(self, k: int) -> np.ndarray:
        """θ of a matrix that is nothing special: inside, and no effects alike."""
        start = self.start(k)
        return start + 0.2 * np.sin(1.0 + np.arange(len(start)))

    def n_theta(self, k: int) -> int:
        """Count the entries of θ."""
        return len(self.start(k))

    def positions(self, k: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows and columns of the entries of Λ that θ consists of; None where Λ is not made of entries of θ."""
        return None

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ (k, k); analytic in θ, which may be complex in NumPy."""
        raise NotImplementedError

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """∂Λ (t, k, k) and ∂²Λ (t, t, k, k); needed where Λ is not made of entries of θ.

        ∂Λ may have further columns, (t, k, k + e), derivatives of columns of a wider factor that are zero at θ. With
        them the products of ∂Λ, and Λ∂²Λ', are ∂²(ΛΛ') also where Λ is singular and no triangular factor is smooth.
        """
        raise NotImplementedError

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """θ of a given lower-triangular factor: the same ΛΛ' where that has the structure, or else one near it."""
        raise NotImplementedError

    def scaled(self, theta: np.ndarray, by: float, k: int) -> np.ndarray:
        """θ of the factor `by` · Λ."""
        return by * theta

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """How large a change of each entry of θ is small, one at least: far out θ moves in proportion."""
        raise NotImplementedError

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """θ one step towards equal expected and observed Σ Z_i'PZ_i and Σ Z_i'e e'Z_i / σ² (k, k)."""
        raise NotImplementedError

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Directions of the standard deviations at a factor."""
        raise NotImplementedError

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """θ of the same variances where other maxima may be, which no look along the axes meets."""
        return []

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Leave of a matrix (k, k) what the structure's own parameters of variance can see of it."""
        raise NotImplementedError

    def free_entries(self, Lambda: np.ndarray, effects: Sequence[str], expression: str) -> tuple[list[str], np.ndarray]:
        """Names and values of what is free in a factor on the user's columns: "theta(...)", "cor(..." to be closed."""
        sd, cor = self.read(np, Lambda @ Lambda.T)
        names = [f"theta({name}" for name in self.sd_names(effects, expression)]
        names += [f"cor({name}" for name, *_ in self.cor_names(effects, expression)]
        return names, np.concatenate([sd, cor])

    def loadings(self, Lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Give Γ (k, d) and roots of Ψ (k,) with ΛΛ' = ΓΓ' + Ψ, Ψ diagonal; None where it has no factors."""
        return None

    def with_structure(self, covariance: np.ndarray) -> np.ndarray:
        """Give the matrix of its free standard deviations and correlations, equal to it where it has the structure."""
        k = len(covariance)
        with np.errstate(invalid="ignore", divide="ignore"):
            sd, cor = self.read(np, covariance)
        sds = self.effect_sds(np.nan_to_num(sd), k)
        return self.correlation(np, np.nan_to_num(cor), k) * np.outer(sds, sds)

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Which entries of θ are exactly where their variance is zero, or their correlation at its limit."""
        raise NotImplementedError

    def to_edges(self, theta: np.ndarray, k: int) -> np.ndarray:
        """θ with what is near an edge of Λ, where it has two slopes, exactly on it; here there is none."""
        return theta

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """θ with what is next to the boundary exactly there."""
        raise NotImplementedError

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """θ a step off the boundary, where the criterion falls that way; None where it does not.

        The slope of the criterion in ΛΛ' is `expected` − `observed`, whatever that in θ.
        """
        raise NotImplementedError

    # -- the public scale ---------------------------------------------------------------------------------------------

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """Name the free standard deviations: by their effect, or by the term's expression where all have one."""
        return tuple(effects)

    def cor_names(self, effects: Sequence[str], expression: str) -> tuple[tuple[str, ...], ...]:
        """Name the free correlations, each as it is written first and how else it may be: "a, b" and "b, a"."""
        return ()

    def cor_cells(self, effects: Sequence[str]) -> list[tuple[int, str]]:
        """Where a table of standard deviations shows each correlation: beside which, and under which heading."""
        return []

    def n_sds(self, k: int) -> int:
        """Count the free standard deviations."""
        return k

    def n_cors(self, k: int) -> int:
        """Count the free correlations."""
        return 0

    def limits(self, k: int) -> tuple[float, float]:
        """Between which values a correlation may lie."""
        return -1.0, 1.0

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Give each effect its standard deviation: (..., k) from the free ones (..., m)."""
        return sd

    def sd_slices(self, k: int) -> list[slice]:
        """Which effects have each free standard deviation."""
        return [slice(0, k)] if self.n_sds(k) == 1 else [slice(j, j + 1) for j in range(k)]

    def variance_symbol(self, i: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the variance of an effect: "σ²(a | g)"."""
        own = expression if self.n_sds(len(effects)) < len(effects) else effects[i]
        return f"σ²({own} | {group})"

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the covariance of two effects i < j: "σ(a, b | g)"; "" where it is zero."""
        return ""

    def is_defined(self, sds: np.ndarray) -> list[bool]:
        """Which of the free correlations have a meaning where the effects have these standard deviations (k,)."""
        return []

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Free standard deviations (..., m) nearest to those of the effects (..., k); the inverse of `effect_sds`."""
        return sds

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """Correlation matrix (..., k, k) from the free correlations (..., c)."""
        return xp.broadcast_to(xp.eye(k), (*cor.shape[:-1], k, k))

    def n_shares(self, k: int) -> int:
        """Count the shares: as many as correlations, unless these follow from something else."""
        return self.n_cors(k)

    def own_priors(self, k: int) -> tuple[tuple[Statement, ...], ...]:
        """Say what a prior of each correlation alone may be stated for, whatever the others are; nothing by default."""
        return ((),) * self.n_cors(k)

    def own_limits(self, k: int) -> tuple[tuple[float, float], ...]:
        """Between which values each of them is, or its partial autocorrelation."""
        return (self.limits(k),) * self.n_cors(k)

    def at_range(self, xp: Any, r: Array, k: int, which: int = 0) -> Array:
        """Give the correlation of a range, in the unit of the coordinates, where priors may be of that."""
        raise NotImplementedError

    def range_of(self, xp: Any, cor: Array, k: int, which: int = 0) -> Array:
        """Give the range of a correlation: the inverse."""
        raise NotImplementedError

    def lkj_matrix(self, xp: Any, cor: Array, k: int) -> Array:
        """Matrix (..., m, m) whose determinant such a density is a power of: that of the correlations."""
        return self.correlation(xp, cor, k)

    def shares(self, cor: np.ndarray, k: int) -> np.ndarray:
        """Where correlations that follow a pattern lie between their limits, from 0 to 1: (c,) from (c,).

        The limits of one may depend on those before it.
        """
        low, high = self.limits(k)
        return (cor - low) / (high - low)

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """Lower-triangular factor (k, k) of the correlation matrix of such shares (c,); differentiable inside."""
        raise NotImplementedError

    def lkj_shapes(self, concentration: float, k: int) -> tuple[Array, Array]:
        """Shapes of the beta densities of the shares if the density of their R is ∝ det(R)^(concentration − 1).

        Of a structure without `has_lkj` those of a concentration of one are its flat prior, in coordinates of its own.
        """
        raise NotImplementedError

    def directions(self, factor: np.ndarray) -> np.ndarray:
        """Find unit rows (k, d) of the correlation matrix of a factor (k, k), where a prior is of directions."""
        raise NotImplementedError

    def frame(self, factor: np.ndarray) -> np.ndarray:
        """In the triangle of whose rows (k,) effects with such loadings are to be sampled."""
        raise NotImplementedError

    def spread(self, xp: Any, pivots: Array, others: Array, places: Array, k: int) -> tuple[Array, Array, Array]:
        """Take the entries of that triangle to what stands for standard deviations, directions, and their density."""
        raise NotImplementedError

    def gathered(self, volume: np.ndarray, unit: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the pivots and other entries of that triangle."""
        raise NotImplementedError

    def below_pivots(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of its entries below the pivots."""
        raise NotImplementedError

    def cor_density(self, x: np.ndarray, which: int, concentration: float, k: int) -> np.ndarray:
        """Marginal density of one of several free correlations, at x (m,) inside its limits, of that density of R."""
        raise NotImplementedError

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Free standard deviations (..., m) and correlations (..., c) of a covariance matrix (..., k, k).

        Analytic where no variance is zero. A correlation with a variance of zero is NaN.
        """
        return xp.sqrt(diagonal(xp, covariance)), covariance[..., 0, :0]


def unseen(effects: Sequence[str], term: str, why: str) -> PredictionError:
    """Refuse effects that no row of the fit has, of which a structure says nothing; `why` ends with what to do."""
    return PredictionError(
        f"{term} has the effect(s) {listing(effects, 5, quoted=True)} in the new data, which the fit did not see: {why}"
    )


def diagonal(xp: Any, M: Array) -> Array:
    """Diagonals (..., k) of matrices (..., k, k)."""
    return xp.diagonal(M, axis1=-2, axis2=-1)


def lower_triangular(factor: np.ndarray) -> np.ndarray:
    """L, lower triangular and of non-negative diagonal, with LL' = FF' for any factor F, singular ones too."""
    if factor.shape[-2] == 1:
        return np.abs(factor) if factor.shape[-1] == 1 else np.linalg.norm(factor, axis=-1, keepdims=True)
    R = np.linalg.qr(factor.swapaxes(-1, -2), mode="r")
    signs = np.where(np.diagonal(R, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return (R * signs[..., None]).swapaxes(-1, -2)


def symmetric_beta(x: np.ndarray, shape: float) -> np.ndarray:
    """Density on (−1, 1) ∝ (1 − x²)^(shape − 1): that of x if (x + 1)/2 ~ Beta(shape, shape)."""
    log_norm = 2.0 * math.lgamma(shape) - math.lgamma(2.0 * shape) + (2.0 * shape - 1.0) * math.log(2.0)
    return np.exp((shape - 1.0) * np.log1p(-(x**2)) - log_norm)


def beta_density(x: np.ndarray, a: float, b: float) -> np.ndarray:
    """Density of Beta(a, b) inside (0, 1)."""
    log_norm = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return np.exp((a - 1.0) * np.log(x) + (b - 1.0) * np.log1p(-x) - log_norm)


def is_finite_step(D: np.ndarray, U: np.ndarray) -> bool:
    """Whether moments on the factor's columns can be used; far out they may be rounding."""
    if len(D) == 1:
        return bool(0.0 < D[0, 0] < np.inf and math.isfinite(U[0, 0]))
    return bool(np.isfinite(D).all() and np.isfinite(U).all() and (np.diag(D) > 0.0).all())


def divide(xp: Any, numerator: Array, denominator: Array) -> Array:
    """Quotient; NaN where the denominator is zero, without a warning."""
    is_zero = denominator == 0
    return xp.where(is_zero, xp.nan, numerator / xp.where(is_zero, 1.0, denominator))
