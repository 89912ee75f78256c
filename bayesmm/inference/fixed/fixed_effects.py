"""How sure the fixed effects are: their covariance, degrees of freedom and tests of contrasts of any rank."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from bayesmm.arguments import is_one_of, shorten
from bayesmm.covariance.layout import assemble_factors
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import PACKAGE, ArgumentError, BayesmmWarning
from bayesmm.inference.fitted import Df, Fitted, Information
from bayesmm.inference.fixed.curvature import curvature_of_covariance, curvature_of_residuals
from bayesmm.inference.fixed.information import check_information, parameter_covariance
from bayesmm.inference.fixed.student import NORMAL, or_infinite
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import solve

DFS = ("satterthwaite", "kenward-roger", "residual", "normal")
SHRUNK = 0.25  # of a variance, below which the term of second derivatives is not believed
NO_CONTRAST = 1e-9  # singular value of standardised contrasts below which they are combinations of one another


class FTest(NamedTuple):
    """A test of several contrasts together.

    Attributes
    ----------
    statistic : float
        F: a Wald statistic over its rank, scaled by Kenward & Roger; χ² over its rank where `den_df` is infinite.
    num_df : int
        Rank of the contrasts.
    den_df, p_value : float
        Denominator degrees of freedom; probability of a larger value if all contrasts are zero.
    """

    statistic: float
    num_df: int
    den_df: float
    p_value: float


class FixedInference(Protocol):
    """Fixed effects with whatever says how sure they are: what tests and means are made from."""

    @property
    def beta(self) -> np.ndarray:
        """Coefficients that are estimated (p,)."""
        ...

    @property
    def covariance(self) -> np.ndarray:
        """Their covariance (p, p), adjusted where the method adjusts it."""
        ...

    def df(self, L: np.ndarray) -> np.ndarray:
        """Degrees of freedom (r,) of each row of a contrast matrix (r, p)."""
        ...

    def f_test(self, L: np.ndarray, values: np.ndarray | None = None) -> FTest:
        """Test Lβ = values, all rows together."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Wald:
    """One number of degrees of freedom for all contrasts: infinite, or n − p.

    Attributes
    ----------
    beta, covariance : arrays, shapes (p,), (p, p)
        Coefficients and their covariance at the estimated variances.
    degrees : float
        Degrees of freedom.
    """

    beta: np.ndarray
    covariance: np.ndarray
    degrees: float

    def df(self, L: np.ndarray) -> np.ndarray:
        """Return the same for every row."""
        return np.full(len(L), self.degrees)

    def f_test(self, L: np.ndarray, values: np.ndarray | None = None) -> FTest:
        """Wald's statistic against F, or χ² over its degrees of freedom."""
        statistic, rank = wald_statistic(self, L, values)
        return FTest(statistic, rank, self.degrees, upper_tail(statistic, rank, self.degrees))


@dataclass(frozen=True, kw_only=True, eq=False)
class SmallSample:
    """Degrees of freedom from how the covariance of the coefficients changes with the covariance parameters.

    Attributes
    ----------
    beta : array, shape (p,)
        Coefficients.
    covariance : array, shape (p, p)
        Φ, or Kenward & Roger's Φ_A.
    plug_in : array, shape (p, p)
        Φ = (X'V⁻¹X)⁻¹ at the estimated variances.
    ordinary : array, shape (p, p)
        (X'WX)⁻¹, which it would be in proportion to without random effects.
    slopes : array, shape (m, p, p)
        ∂Φ by (θ, log σ).
    parameters : array, shape (m, m)
        Covariance of (θ, log σ).
    is_scaled : bool
        Whether F is scaled by Kenward & Roger, or gets Fai & Cornelius's degrees of freedom.
    """

    beta: np.ndarray
    covariance: np.ndarray
    plug_in: np.ndarray
    ordinary: np.ndarray
    slopes: np.ndarray
    parameters: np.ndarray
    is_scaled: bool

    def df(self, L: np.ndarray) -> np.ndarray:
        """2v²/Var v of v = l'Φl for each row l (Satterthwaite)."""
        variance = np.einsum("rp,pq,rq->r", L, self.plug_in, L)
        slopes = np.einsum("rp,mpq,rq->rm", L, self.slopes, L)
        noise = np.einsum("rm,mn,rn->r", slopes, self.parameters, slopes)
        with np.errstate(divide="ignore", invalid="ignore"):
            df = 2.0 * variance**2 / noise
        return np.where(noise > 0.0, or_infinite(df), np.where(noise == 0.0, np.inf, np.nan))

    def f_test(self, L: np.ndarray, values: np.ndarray | None = None) -> FTest:
        """F with the degrees of freedom of Fai & Cornelius, or scaled by Kenward & Roger."""
        statistic, rank = wald_statistic(self, L, values)
        basis = row_space(L, self.plug_in)
        den_df, scale = self._scaled(basis) if self.is_scaled else (self._joined(basis), 1.0)
        return FTest(scale * statistic, rank, den_df, upper_tail(scale * statistic, rank, den_df))

    def _joined(self, basis: np.ndarray) -> float:
        """Fai & Cornelius (1996): independent t's, and F's expectation from theirs; `basis` spans L with LΦL' = I.

        Which independent t's is open: here those that least squares would have independent too, so that recoding a
        factor changes nothing. lmerTest's are the principal axes of LΦL', which depend on the coding.
        """
        _, rotation = np.linalg.eigh(basis @ self.ordinary @ basis.T)
        ratios = self.df(rotation.T @ basis)
        if np.isnan(ratios).any() or np.isinf(ratios).all():
            return float(ratios.max())
        if np.allclose(ratios, ratios[0], rtol=1e-8):
            return float(ratios.mean())
        if (ratios <= 2.0).any():
            return 2.0  # F then has no mean
        expectation = float((1.0 / (1.0 - 2.0 / ratios)).sum())
        return 2.0 * expectation / (expectation - len(basis))

    def _scaled(self, basis: np.ndarray) -> tuple[float, float]:
        """Degrees of freedom and scale of F by its two first moments; `basis` spans L with LΦL' = I."""
        inside = np.einsum("rp,mpq,sq->mrs", basis, self.slopes, basis)
        traces = np.einsum("mrr->m", inside)
        first = traces @ self.parameters @ traces
        second = np.einsum("mn,mrs,nsr->", self.parameters, inside, inside)
        q = len(basis)
        if second <= 2.0 * q / NORMAL:
            return float("inf") if second >= 0.0 else float("nan"), 1.0
        B = (first + 6.0 * second) / (2.0 * q)
        g = ((q + 1) * first - (q + 4) * second) / ((q + 2) * second)
        below = 3.0 * q + 2.0 * (1.0 - g)
        c1, c2, c3 = g / below, (q - g) / below, (q + 2 - g) / below
        mean = 1.0 / (1.0 - second / q)
        variance = 2.0 / q * (1.0 + c1 * B) / ((1.0 - c2 * B) ** 2 * (1.0 - c3 * B))
        ratio = variance / (2.0 * mean**2)
        den_df = 4.0 + (q + 2) / (q * ratio - 1.0)
        return float(den_df), float(den_df / (mean * (den_df - 2.0)))


def infer_fixed_effects(
    fit: Fitted, df: Df = "satterthwaite", information: Information | None = None
) -> FixedInference:
    """Work out what tests of the fixed effects need.

    Parameters
    ----------
    fit : Fit
        REML or ML estimates; REML for Kenward & Roger.
    df : {"satterthwaite", "kenward-roger", "residual", "normal"}
        Which degrees of freedom: by Satterthwaite's moments; by Kenward and Roger's, with standard errors corrected for
        small samples; n − p; infinitely many.
    information : {"expected", "observed"}, optional
        What the covariance of the variances comes from. By default observed for Satterthwaite, as in lmerTest, and
        expected for Kenward and Roger, as in pbkrtest; SAS takes observed for both.

    Raises
    ------
    ArgumentError
        If an argument is none of these, if Kenward and Roger's method is asked for an ML fit, or if a method that takes
        no information is given one.

    Notes
    -----
    With P_i = −X'V⁻¹V_iV⁻¹X, Q_ij = X'V⁻¹V_iV⁻¹V_jV⁻¹X and W the covariance of the covariance parameters,
    ∂_iΦ = −ΦP_iΦ, and Φ_A = Φ + 2Φ[Σ W_ij(Q_ij − P_iΦP_j − ¼R_ij)]Φ. All are read off one elimination. R_ij, of the
    second derivatives of V, is zero unless V is no linear function of variances and covariances (AR(1); compound
    symmetry with own standard deviations): there the parameters are variances and correlations, as in SAS. Near a
    variance of zero it can leave less than nothing of Φ_A; where it would take three quarters of a variance away, it is
    left out, with a warning.

    References
    ----------
    Satterthwaite (1946), Biometrics Bull. 2. Fai & Cornelius (1996), J. Stat. Comput. Simul. 54. Kenward & Roger
    (1997), Biometrics 53.
    """
    check_choices(df, information)
    estimate = fit.estimate
    if df in ("residual", "normal"):
        if information is not None:
            raise ArgumentError(f"information is {information!r}, and df={df!r} takes none: leave it out.")
        degrees = float(fit.n - len(estimate.beta)) if df == "residual" else np.inf
        return Wald(beta=estimate.beta, covariance=estimate.beta_covariance, degrees=degrees)
    if df == "kenward-roger" and fit.method != "reml":
        raise ArgumentError(
            "Kenward and Roger's correction is for REML, and this fit is by ML: fit by REML, or take "
            "df='satterthwaite'."
        )
    if not len(estimate.beta):
        return Wald(beta=estimate.beta, covariance=estimate.beta_covariance, degrees=np.inf)
    kind = information or ("observed" if df == "satterthwaite" else "expected")
    W, is_scaled = parameter_covariance(fit, kind), df == "kenward-roger"
    return (_small_sample if estimate.residual is None else small_sample_residual)(fit, W, is_scaled=is_scaled)


def check_choices(df: Any, information: Any) -> None:
    """Refuse degrees of freedom, and information, that there are not.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    if not is_one_of(df, DFS):
        raise ArgumentError(f"df is {shorten(df)}: give {', '.join(map(repr, DFS[:-1]))} or {DFS[-1]!r}.")
    if information is not None:
        check_information(information)


def _small_sample(fit: Fitted, W: np.ndarray, *, is_scaled: bool) -> SmallSample:
    """Differentiate Φ = σ²A⁻¹: ∂A = −Σ R'∂Ψ R over levels, with R = Z'Ṽ⁻¹X."""
    estimate = fit.estimate
    criterion = estimate.criterion_function
    theta, layout, products = estimate.minimum.x, criterion.layout, criterion.products
    factors = assemble_factors(np, theta, layout)
    solved = solve(host, products, factors)
    p = len(estimate.beta)
    R = [block[:, :p] for block in solved.residual]  # (k, p, q)
    moved = [
        way.move(np, L, each.reshape(len(L), -1)).reshape(len(L), -1, *each.shape[1:])
        for way, L, each in zip(tangents(np, theta, layout), factors, R, strict=True)
    ]  # (k, t, p, q)
    falls = np.concatenate(
        [np.einsum("kcq,ktdq->tcd", each, a, optimize=True) for each, a in zip(R, moved, strict=True)]
    )
    inverse = estimate.minimum.evaluation.detail.fixed.covariance  # A⁻¹ on conditioned columns
    root = np.linalg.inv(products.fixed_root)
    outer = estimate.sigma * root

    def back(M: np.ndarray) -> np.ndarray:
        return outer @ M @ outer.T

    plug_in = estimate.beta_covariance
    slopes = np.concatenate([back(inverse @ falls @ inverse), 2.0 * plug_in[None]])
    covariance = plug_in
    if is_scaled:
        columns = [a.reshape(len(a), -1, a.shape[-1]) for a in moved]
        gram = solved.gram_of(columns).reshape(len(theta), p, len(theta), p)
        V = W[:-1, :-1]
        inner = np.einsum("st,sctd->cd", V, gram) - np.einsum(
            "st,scd,de,tef->cf", V, falls, inverse, falls, optimize=True
        )
        curvature = 0.25 * curvature_of_covariance(fit, W, R)
        covariance = _correct(plug_in, *(back(inverse @ each @ inverse) for each in (inner, curvature)))
    return SmallSample(
        beta=estimate.beta,
        covariance=covariance,
        plug_in=plug_in,
        ordinary=root @ root.T,
        slopes=slopes,
        parameters=W,
        is_scaled=is_scaled,
    )


def _correct(plug_in: np.ndarray, inner: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Φ_A, without the term of second derivatives where that would take most of a variance away."""
    covariance, linear = (plug_in + (each + each.T) for each in (inner - curvature, inner))
    if _least_ratio(covariance, plug_in) >= SHRUNK:
        return covariance
    warnings.warn(
        "Kenward and Roger's correction has a term of second derivatives of the covariance, which is rough near a "
        "variance of zero: here it would take most of the variance of a coefficient away, and is left out (as by "
        "FIRSTORDER in SAS).",
        BayesmmWarning,
        skip_file_prefixes=(PACKAGE,),
    )
    return linear


def small_sample_residual(fit: Fitted, W: np.ndarray, *, is_scaled: bool) -> SmallSample:
    """Do so where the residuals have a covariance, whose parameters are after θ in `W`; Φ_A if `is_scaled`."""
    estimate, residual = fit.estimate, fit.estimate.residual
    assert residual is not None
    psi = np.concatenate([estimate.minimum.x, residual.phi])
    second = curvature_of_residuals(fit, W) if is_scaled else [np.zeros_like(R) for R in residual.covariances]
    at = residual.criterion.curve(psi, W[:-1, :-1], second)
    root = np.linalg.inv(at.root)
    outer = estimate.sigma * root @ at.covariance
    plug_in = estimate.beta_covariance
    slopes = np.concatenate([outer @ at.falls @ outer.T, 2.0 * plug_in[None]])
    covariance = plug_in
    if is_scaled:
        inner = at.gram - np.einsum("st,scd,de,tef->cf", W[:-1, :-1], at.falls, at.covariance, at.falls, optimize=True)
        curvature = 0.25 * (curvature_of_covariance(fit, W, at.effects) + at.bent)
        covariance = _correct(plug_in, outer @ inner @ outer.T, outer @ curvature @ outer.T)
    ordinary = np.linalg.inv(residual.criterion.rows.root)
    return SmallSample(
        beta=estimate.beta,
        covariance=covariance,
        plug_in=plug_in,
        ordinary=ordinary @ ordinary.T,
        slopes=slopes,
        parameters=W,
        is_scaled=is_scaled,
    )


def _least_ratio(covariance: np.ndarray, plug_in: np.ndarray) -> float:
    """Find the least ratio of two variances of the same contrast, whichever contrast that is."""
    half = np.linalg.inv(np.linalg.cholesky(plug_in))
    return float(np.linalg.eigvalsh(half @ covariance @ half.T).min())


def wald_statistic(of: FixedInference, L: np.ndarray, values: np.ndarray | None) -> tuple[float, int]:
    """(Lβ − values)'(LΦL')⁻¹(Lβ − values) over the rank of L, and that rank."""
    basis, weights = _independent(L, of.covariance)
    missing = L @ of.beta - (0.0 if values is None else values)
    standard = weights @ missing
    return float(standard @ standard) / len(basis), len(basis)


def row_space(L: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Rows (rank, p) that span those of L, uncorrelated and of variance one."""
    return _independent(L, covariance)[0]


def _independent(L: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find combinations of L's rows that are uncorrelated, of variance one; return what makes them of those too."""
    scale = np.sqrt(np.diag(covariance))
    root = np.linalg.cholesky(covariance / np.outer(scale, scale)) * scale[:, None]
    rows = L @ root
    lengths = np.linalg.norm(rows, axis=1)
    lengths = np.where(lengths > 0.0, lengths, 1.0)
    left, sizes, _ = np.linalg.svd(rows / lengths[:, None], full_matrices=False)
    keep = sizes > NO_CONTRAST * sizes.max(initial=0.0)
    weights = (left[:, keep] / sizes[keep]).T / lengths
    return weights @ L, weights


def upper_tail(statistic: float, num_df: float, den_df: float) -> float:
    """Probability of a larger F; of a larger χ²/df where the denominator's degrees of freedom are infinite."""
    from scipy import special  # not imported by a fit

    if np.isinf(den_df):
        return float(special.chdtrc(num_df, num_df * statistic))
    return float(special.fdtrc(num_df, den_df, statistic))
