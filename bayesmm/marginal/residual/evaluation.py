"""The criterion where residuals hang together: value, derivatives and average information in (θ, φ).

Var y = σ²Ṽ with Ṽ = R(φ) + ZΛΛ'Z'. The residuals are as if they were random effects of the rows: with P and e = Py as
in `bayesmm.marginal.likelihood.evaluation`, the slope of −2 log likelihood in the covariance matrix R of a pattern is

    Γ = Σ_g P_gg − e_g e_g' / σ²   (P is Ṽ⁻¹ for ML)

over its groups g, so that ∂/∂φ_j = Σ ⟨Γ, ∂_jR⟩, and the average information is that of the columns ∂_jR e beside those
of θ. Without random effects all of it follows from sums over the groups of a pattern (`pattern_sums.py`), and the rows
are not visited; with them, rows are whitened at each φ. A search takes less where there are sums by class of pairs of
rows (`weighted_sums.py`): without random effects of chains, and beside them (`at_levels.py`).

Jennrich & Schluchter (1986), Biometrics 42. Gilmour, Thompson & Cullis (1995), Biometrics 51.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.covariance.tangents import tangents
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import Reduced
from bayesmm.marginal.likelihood.evaluation import evaluate, keep_off_zero
from bayesmm.marginal.likelihood.likelihood import FixedProfile, HeldCoefficient, deviance, hold_fixed, profile_fixed
from bayesmm.marginal.residual.pattern_sums import (
    StackSums,
    invert,
    sandwich,
    sum_by_pattern,
    times,
    total_weighted,
    total_weighted_each,
)
from bayesmm.marginal.residual.through_rows import Eliminated, eliminate_rows
from bayesmm.marginal.residual.weighted_sums import WeightedSums
from bayesmm.marginal.residual.weights import weigh
from bayesmm.marginal.residual.whitened import ResidualRows, Whitened
from bayesmm.marginal.shapes import Array, Float


class ResidualEvaluated(NamedTuple):
    """One evaluation of the criterion at (θ, φ), t entries of θ and f of φ.

    Attributes
    ----------
    value : float
        −2 log likelihood, β and σ profiled or integrated out.
    gradient : array, shape (t + f,)
    curvature : array, shape (t + f, t + f)
        Near the Hessian. From sums: all of it but for second derivatives of R, whose part vanishes at the minimum of an
        unstructured R, or the expected information where that is not positive definite. From rows: average information
        plus the curvature of ΛΛ' in θ.
    fixed : FixedProfile
        Fixed effects and r², on orthonormal columns; none held.
    root, origin : arrays, shapes (p, p), (p,)
        What makes the user's columns of these, and the coefficients of those that `fixed` are less.
    residual_square_gradient : array, shape (t + f,)
        ∂r².
    expected : list of arrays, shape (k, k)
        Σ Z_i'PZ_i of each grouping factor.
    expected_residual : list of arrays, shape (m, o, o)
        Σ P_gg of each pattern.
    closed : Closed or None
        What gives second derivatives in closed form, where that costs little: without random effects.
    """

    value: float
    gradient: Float[Array, " u"]
    curvature: Float[Array, "u u"]
    fixed: FixedProfile
    root: Float[Array, "p p"]
    origin: Float[Array, " p"]
    residual_square_gradient: Float[Array, " u"]
    expected: list[Float[Array, "k k"]]
    expected_residual: list[Float[Array, "m o o"]]
    closed: Closed | None = None


class Closed(NamedTuple):
    """Second derivatives of the criterion without random effects.

    Attributes
    ----------
    traces : array, shape (f, f)
        tr(P∂_iRP∂_jR): twice the expected information.
    straight : array, shape (f, f)
        The Hessian but for what `bend` adds.
    bend : callable
        What second derivatives of R add to it, where they are not in closed form: ⟨Γ, ∂²R⟩.
    """

    traces: Float[Array, "f f"]
    straight: Float[Array, "f f"]
    bend: Callable[[], Float[Array, "f f"]]


class Curved(NamedTuple):
    """What Kenward and Roger's and Satterthwaite's methods need, on orthonormal columns and without σ.

    Attributes
    ----------
    root : array, shape (p, p)
        What makes the user's columns of these.
    covariance : array, shape (p, p)
        A⁻¹.
    falls : array, shape (t + f, p, p)
        X'Ṽ⁻¹Ṽ_jṼ⁻¹X: A falls by it.
    gram : array, shape (p, p)
        Σ W_ij X'Ṽ⁻¹Ṽ_iṼ⁻¹Ṽ_jṼ⁻¹X.
    bent : array, shape (p, p)
        X'Ṽ⁻¹MṼ⁻¹X of given matrices M of the patterns.
    effects : list of arrays, shape (k, p, q)
        Z'Ṽ⁻¹X of each grouping factor, of independent levels.
    """

    root: Float[Array, "p p"]
    covariance: Float[Array, "p p"]
    falls: Float[Array, "u p p"]
    gram: Float[Array, "p p"]
    bent: Float[Array, "p p"]
    effects: list[Float[Array, "k p q"]]


# -- without random effects ------------------------------------------------------------------------------------------


def evaluate_sums(
    phi: np.ndarray,
    rows: ResidualRows,
    sums: tuple[StackSums, ...],
    sigma: float | None,
    restriction: float,
    held: HeldCoefficient | None = None,
) -> ResidualEvaluated:
    """Evaluate from sums over the patterns of whole groups; a coefficient may be held.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix R is not positive definite.
    """
    p, layout = rows.p, rows.layout
    covariances, slopes = layout.covariances(np, phi), layout.derivatives(phi)
    inverses, log_dets = map(list, zip(*(invert(R) for R in covariances), strict=True))
    gram = total_weighted(sums, inverses)
    log_det = sum(float(stack.counts @ own) for stack, own in zip(layout.stacks, log_dets, strict=True))
    at = _Read(rows, gram, log_det, sigma, restriction, held)
    residual = [each.squares(at.v) for each in sums]  # Σ y y' less its fixed part, per pattern
    expected = [stack.counts[:, None, None] * W for stack, W in zip(layout.stacks, inverses, strict=True)]
    if restriction:
        known = [each.contract(at.padded) for each in sums]
        expected = [E - sandwich(W, K) for E, W, K in zip(expected, inverses, known, strict=True)]
    squares = [sandwich(W, T) for W, T in zip(inverses, residual, strict=True)]
    traces = along_residual(expected, slopes)
    fall = along_residual(squares, slopes)  # e'∂V e
    moved = [sandwich(W, dR) for W, dR in zip(inverses, slopes, strict=True)]  # (f, m, o, o)
    by_columns = total_weighted_each(sums, moved)[:, :p]  # X'W∂RW[X y]
    to_fixed = by_columns @ at.v
    average = weighted_traces(moved, slopes, inverses, residual) - to_fixed @ at.best.covariance @ to_fixed.T
    counted = [stack.counts[:, None, None] * R for stack, R in zip(layout.stacks, covariances, strict=True)]
    trace = weighted_traces(moved, slopes, inverses, counted)
    if restriction:
        falls = by_columns[:, :, :p] @ at.fixed.covariance
        trace += np.einsum("icd,jdc->ij", falls, falls) - 2.0 * weighted_traces(moved, slopes, inverses, known)
    information = straight = at.profiled(2.0 * at.precision * average - trace, at.precision * fall)
    if len(phi) and np.linalg.eigvalsh(information)[0] <= 0.0:
        information = at.profiled(trace, traces)
    return ResidualEvaluated(
        value=at.value,
        gradient=traces - at.precision * fall,
        curvature=information,
        fixed=at.fixed,
        root=rows.root,
        origin=rows.origin,
        residual_square_gradient=-fall,
        expected=[],
        expected_residual=expected,
        closed=Closed(
            trace,
            straight,
            lambda: layout.bend(phi, [E - at.precision * S for E, S in zip(expected, squares, strict=True)]),
        ),
    )


def value_of_weights(
    phi: np.ndarray, rows: ResidualRows, sums: WeightedSums, sigma: float | None, restriction: float
) -> float:
    """Evaluate alone; see `evaluate_weights`."""
    weights = weigh(rows.layout, phi)
    gram = sums.weigh_gram(weights.values[None])[0]
    return _Read(rows, gram, weights.log_det, sigma, restriction, None).value


def evaluate_weights(
    phi: np.ndarray, rows: ResidualRows, sums: WeightedSums, sigma: float | None, restriction: float
) -> ResidualEvaluated:
    """Evaluate from sums over classes of pairs of rows; `expected_residual` is left out.

    With g of each class, its Σ e_s e_t/σ² + Σ x_s'A⁻¹x_t (without the last for ML), the slope is Σ g ∂w + ∂log|R|, and
    the Hessian

        Σ g ∂²w + ∂²log|R| − 2u_i'A⁻¹u_j/σ² − tr(A⁻¹A_iA⁻¹A_j),    A_i = X'∂_iR⁻¹X,    u_i = X'∂_iR⁻¹e.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix R is not positive definite.
    """
    p, weights = rows.p, weigh(rows.layout, phi)
    grams = sums.weigh_gram(np.concatenate([weights.values[None], weights.slopes]))
    at = _Read(rows, grams[0], weights.log_det, sigma, restriction, None)
    g = sums.contract_gram(restriction * at.padded + at.precision * at.v[:, None] * at.v)
    to_fixed = grams[1:] @ at.v  # [X y]'∂R⁻¹e
    fall = -to_fixed @ at.v
    to_fixed = to_fixed[:, :p]
    falls = grams[1:, :p, :p] @ at.fixed.covariance
    traces = restriction * (falls.reshape(len(phi), -1) @ falls.swapaxes(1, 2).reshape(len(phi), -1).T)
    left = 2.0 * at.precision * (to_fixed @ at.fixed.covariance @ to_fixed.T)
    information = straight = at.profiled(weights.curve(g) - left - traces, at.precision * fall)
    if len(phi) and np.linalg.eigvalsh(information)[0] <= 0.0:
        information = at.profiled(weights.curve(weights.expected()), weights.log_det_slopes)
    return ResidualEvaluated(
        value=at.value,
        gradient=weights.slopes @ g + weights.log_det_slopes,
        curvature=information,
        fixed=at.fixed,
        root=rows.root,
        origin=rows.origin,
        residual_square_gradient=-fall,
        expected=[],
        expected_residual=[],
        closed=Closed(traces, straight, lambda: weights.bend(g)),
    )


def curve_sums(
    phi: np.ndarray,
    rows: ResidualRows,
    sums: tuple[StackSums, ...],
    weights: np.ndarray,
    second: list[Float[Array, "m o o"]],
) -> Curved:
    """Work out what small-sample methods need; `weights` (f, f) is the covariance of φ, `second` is M of `bent`."""
    layout, p = rows.layout, rows.p
    inverses = [np.linalg.inv(R) for R in layout.covariances(np, phi)]
    slopes = layout.derivatives(phi)
    falls = total_weighted_each(sums, [W @ dR @ W for W, dR in zip(inverses, slopes, strict=True)])[:, :p, :p]
    inner = []
    for W, dR in zip(inverses, slopes, strict=True):
        across = np.einsum("ij,jmab->imab", weights, dR)
        inner.append(W @ np.einsum("imab,mbc,imcd->mad", dR, W, across, optimize=True) @ W)
    return Curved(
        root=rows.root,
        covariance=np.linalg.inv(total_weighted(sums, inverses)[:p, :p]),
        falls=falls,
        gram=total_weighted(sums, inner)[:p, :p],
        bent=total_weighted(sums, [W @ M @ W for W, M in zip(inverses, second, strict=True)])[:p, :p],
        effects=[],
    )


class _Read:
    """The criterion read off S where nothing is eliminated, and what its derivatives take."""

    def __init__(
        self,
        rows: ResidualRows,
        gram: Float[Array, "c c"],
        log_det: float,
        sigma: float | None,
        restriction: float,
        held: HeldCoefficient | None,
    ) -> None:
        n, p = rows.n, rows.p
        log_det_root = 2.0 * float(np.log(np.abs(np.diag(rows.root))).sum())
        self.fixed = profile_fixed(host, Reduced(np.float64(0.0), gram), _Sizes(n, p, -log_det, log_det_root))  # type: ignore[arg-type]
        self.best = self.fixed if held is None else hold_fixed(self.fixed, held.on_conditioned(rows.root, rows.origin))
        self.value = float(
            deviance(
                host,
                Reduced(np.float64(0.0), gram),
                self.best,
                _Sizes(n, p, -log_det, log_det_root),  # type: ignore[arg-type]
                sigma,
                restriction,
            )
        )
        self.df = n - restriction * p
        self.precision = float(self.df / self.best.residual_square if sigma is None else 1.0 / sigma**2)
        self.is_profiled = sigma is None
        self.v = np.append(-self.best.beta, 1.0)
        self.padded = np.zeros((p + 1, p + 1))
        self.padded[:p, :p] = self.fixed.covariance

    def profiled(self, information: Float[Array, "u u"], fall: Float[Array, " u"]) -> Float[Array, "u u"]:
        """Take off what goes to a profiled σ, symmetric."""
        symmetric = 0.5 * (information + information.T)
        return symmetric - fall[:, None] * fall / self.df if self.is_profiled else symmetric


def weighted_traces(
    moved: list[Float[Array, "f m o o"]],
    slopes: list[Float[Array, "f m o o"]],
    inverses: list[Float[Array, "m o o"]],
    inner: list[Float[Array, "m o o"]],
) -> Float[Array, "f f"]:
    """tr(W∂_iRW∂_jRWM) of all patterns, for matrices M that belong to them."""
    total = np.zeros((len(slopes[0]),) * 2)
    for each, dR, W, M in zip(moved, slopes, inverses, inner, strict=True):
        turned = times(dR, times(W, M)).swapaxes(-1, -2)
        total += each.reshape(len(each), -1) @ turned.reshape(len(turned), -1).T
    return total


class _Sizes(NamedTuple):
    """What `deviance` and `profile_fixed` read of sums."""

    n: float
    p: float
    log_weights: float
    log_det_root: float


def along_residual(matrices: list[Float[Array, "m o o"]], slopes: list[Float[Array, "f m o o"]]) -> Float[Array, " f"]:
    """⟨M, ∂R⟩ of all patterns."""
    return sum(
        (dR.reshape(len(dR), -1) @ M.reshape(-1) for M, dR in zip(matrices, slopes, strict=True)),
        np.zeros(len(slopes[0])),
    )


# -- with random effects ---------------------------------------------------------------------------------------------


def evaluate_rows(
    theta: np.ndarray,
    phi: np.ndarray,
    rows: ResidualRows,
    whitened: Whitened,
    sigma: float | None,
    restriction: float,
    factor_layout: Layout,
    held: HeldCoefficient | None = None,
) -> ResidualEvaluated:
    """Evaluate from whitened rows, with a coefficient held at a value or not."""
    layout, products = rows.layout, whitened.products
    here = None if held is None else held.on_conditioned(products.fixed_root, products.fixed_origin)
    at = evaluate(host, theta, products, sigma, restriction, layout=factor_layout, held=here)
    best = at.fixed if here is None else hold_fixed(at.fixed, here)
    df = float(products.n - restriction * products.p)
    precision = float(df / best.residual_square if sigma is None else 1.0 / sigma**2)
    through = _Through(theta, phi, rows, whitened, factor_layout)
    eliminated = through.eliminated
    known = eliminated.own_blocks([stack.rows for stack in layout.stacks])  # Ṽ⁻¹_gg, whitened
    u = eliminated.solved[:, :-1]
    e = eliminated.solved[:, -1] - u @ best.beta
    expected, squares = [], []
    for stack, L, own in zip(layout.stacks, through.roots, known, strict=True):
        back = np.linalg.inv(L)
        if restriction:
            each = u[stack.rows]
            own = own - each @ eliminated.covariance @ each.swapaxes(1, 2)
        residual = e[stack.rows]
        elsewhere = (stack.counts - stack.here)[:, None, None] * np.eye(stack.rows.shape[1])  # few stand for many
        expected.append(back.swapaxes(1, 2) @ (sum_by_pattern(stack, own) + elsewhere) @ back)
        outer = sum_by_pattern(stack, residual[:, :, None] * residual[:, None])
        squares.append(back.swapaxes(1, 2) @ outer @ back)
    fall_residual = along_residual(squares, through.slopes)
    traces = along_residual(expected, through.slopes)
    columns = through.moved(e[:, None])[:, :, 0].T  # (n, u): V_j e
    projected = eliminated.project(columns)[1]
    fall = columns.T @ e
    information = precision * (columns.T @ projected)
    if here is not None:
        to_held = columns.T @ (u @ (at.fixed.covariance @ here.direction))
        spread = here.direction @ at.fixed.covariance @ here.direction
        information = information + precision / spread * to_held[:, None] * to_held
    if sigma is None:
        information = information - precision**2 / df * fall[:, None] * fall
    t = len(theta)
    curvature = 0.5 * (information + information.T)
    curvature[:t, :t] = at.curvature
    return ResidualEvaluated(
        value=float(at.value),
        gradient=np.concatenate([at.gradient, traces - precision * fall_residual]),
        curvature=curvature,
        fixed=at.fixed,
        root=products.fixed_root,
        origin=products.fixed_origin,
        residual_square_gradient=np.concatenate([at.residual_square_gradient, -fall_residual]),
        expected=at.expected,
        expected_residual=expected,
    )


def curve_rows(
    theta: np.ndarray,
    phi: np.ndarray,
    rows: ResidualRows,
    whitened: Whitened,
    factor_layout: Layout,
    weights: np.ndarray,
    second: list[Float[Array, "m o o"]],
) -> Curved:
    """Work out what small-sample methods need; `weights` (t + f, t + f) is the covariance of (θ, φ)."""
    through = _Through(theta, phi, rows, whitened, factor_layout)
    eliminated = through.eliminated
    moved = through.moved(eliminated.solved[:, :-1])  # (u, n, p)
    falls = np.einsum("np,unq->upq", eliminated.solved[:, :-1], moved, optimize=True)
    count, n, p = moved.shape
    columns = moved.transpose(1, 0, 2).reshape(n, count * p)
    solved = columns - eliminated.to_rows(eliminated.solve_levels(eliminated.to_levels(columns)))
    gram = (columns.T @ solved).reshape(count, p, count, p)
    u = eliminated.solved[:, :-1]
    bent = np.zeros((p, p))
    for stack, L, M in zip(rows.layout.stacks, through.roots, second, strict=True):
        back = np.linalg.inv(L)
        own = u[stack.rows]
        moved_on = (back @ M @ back.swapaxes(1, 2))[stack.pattern] @ own
        bent += own.reshape(-1, p).T @ moved_on.reshape(-1, p)
    return Curved(
        root=whitened.products.fixed_root,
        covariance=eliminated.covariance,
        falls=falls,
        gram=np.einsum("ij,icjd->cd", weights, gram),
        bent=bent,
        effects=[level[:, :p] for level in eliminated.gather(eliminated.to_levels(eliminated.solved))],
    )


class _Through:
    """Whitened rows at (θ, φ), with random effects eliminated."""

    def __init__(
        self, theta: np.ndarray, phi: np.ndarray, rows: ResidualRows, whitened: Whitened, factor_layout: Layout
    ) -> None:
        self.layout = rows.layout
        self.theta, self.factor_layout = theta, factor_layout
        self.factors = assemble_factors(np, theta, factor_layout)
        self.eliminated: Eliminated = eliminate_rows(
            whitened.rows, whitened.products, keep_off_zero(host, self.factors), 1.0
        )
        self.roots = [np.linalg.cholesky(R) for R in self.layout.covariances(np, phi)]
        self.slopes = self.layout.derivatives(phi)

    def moved(self, K: Float[Array, "n c"]) -> Float[Array, "u n c"]:
        """Ṽ_j K of whitened columns K, for each entry of (θ, φ)."""
        eliminated, n, c = self.eliminated, *K.shape
        found = []
        if self.factors:
            ways = tangents(np, self.theta, self.factor_layout)
            levels = eliminated.to_levels(K)
            for f, (way, Lambda, r) in enumerate(zip(ways, self.factors, levels, strict=True)):
                k, _, q = r.shape
                a = way.move(np, Lambda, eliminated.covary(f, r).reshape(k, c * q)).reshape(k, -1, c, q)
                for j in range(a.shape[1]):
                    others = [
                        np.zeros((len(L), c, each.shape[2])) for L, each in zip(self.factors, levels, strict=True)
                    ]
                    others[f] = a[:, j]
                    found.append(eliminated.to_rows(others))
        f = self.slopes[0].shape[0]
        by_entry = np.zeros((f, n, c))
        for stack, L, dR in zip(self.layout.stacks, self.roots, self.slopes, strict=True):
            back = np.linalg.inv(L)
            turned = back @ dR @ back.swapaxes(-1, -2)  # (f, m, o, o)
            for j in range(f):
                by_entry[j][stack.rows] = turned[j][stack.pattern] @ K[stack.rows]
        return np.concatenate([np.stack(found), by_entry]) if found else by_entry
