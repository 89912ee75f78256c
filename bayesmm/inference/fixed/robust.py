"""Covariance of the fixed effects that holds where the model's variances are wrong: from residuals of clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.console import listing
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError
from bayesmm.incidence import Incidence
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.clusters import Clusters, find_clusters
from bayesmm.inference.fixed.contrasts import coefficient_table
from bayesmm.inference.fixed.fixed_effects import FTest, upper_tail
from bayesmm.inference.fixed.hypotheses import read_hypotheses
from bayesmm.inference.fixed.streamed_clusters import StreamedClusters
from bayesmm.inference.fixed.term_contrasts import Type, term_contrasts
from bayesmm.inference.fixed.wald_tests import LinearTest, TermTests, run_linear_test, run_term_tests
from bayesmm.presenting.intervals import check_level, interval_head
from bayesmm.presenting.numbers import write_intervals, write_like, write_number, write_p
from bayesmm.presenting.parts import Column, Interval, Table, facts, notes
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.presenting.report import Report

type Kind = Literal["CR0", "CR1", "CR2"]

KINDS = ("CR0", "CR1", "CR2")
FULLY_FITTED = 1e-10  # share of a direction's variance that fixed effects leave, below which they leave nothing
NO_CONTRAST = 1e-9  # of the length of contrasts of variance one: what is shorter is a combination of others
FEW_DF = 4.0  # degrees of freedom below which the t distribution is no good approximation (Pustejovsky & Tipton 2018)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Robust:
    """Fixed effects with a cluster-robust covariance.

    Made by `bayesmm.fit.Fit.robust`. Prints as a report.

    Attributes
    ----------
    design : Design
        Names of the coefficients, also of those that are aliased.
    beta, covariance : arrays, shapes (p,), (p, p)
        Coefficients, and their cluster-robust covariance.
    kind : {"CR0", "CR1", "CR2"}
        How residuals are corrected for having been fitted.
    clusters : Clusters
        Which rows belong together.
    root : array, shape (p, p)
        C with Var β̂ = CC' if the fitted variances are right.
    spreads, pulls : arrays, shapes (m, p, p)
        K and N: what clusters c and d add to C⁻¹β̂ has the covariance δ_cd K_c − N_c N_d' if the fitted variances are
        right.
    level : float
        Coverage of the intervals of the report.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = fit.robust("Subject")
    >>> found.covariance.shape
    (2, 2)
    """

    design: Design
    beta: np.ndarray
    covariance: np.ndarray
    kind: Kind
    clusters: Clusters
    root: np.ndarray
    spreads: np.ndarray
    pulls: np.ndarray
    level: float

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a coefficient: estimate, std_error, df, statistic, p_value, lower, upper."""
        return self.coefficients(level=self.level)

    def coefficients(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tabulate the coefficients.

        Parameters
        ----------
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            Index: coefficients. Columns: estimate, std_error, df, statistic, p_value, lower, upper; NaN where aliased.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.robust("Subject").coefficients()["df"].round(1).tolist()
        [17.0, 17.0]
        """
        return coefficient_table(self, self.design, check_level(level))

    def df(self, L: np.ndarray) -> np.ndarray:
        """Degrees of freedom of each row of a contrast matrix, after Bell & McCaffrey.

        Parameters
        ----------
        L : array, shape (r, p)
            Contrasts.

        Returns
        -------
        array, shape (r,)
            2E²/Var of the robust variance of each contrast, if the fitted variances are right.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> import numpy as np
        >>> fit.robust("Subject").df(np.eye(2)).round(1).tolist()
        [17.0, 17.0]
        """
        return np.array([1.0 / self._noise(row[None]) for row in self._on_unit_scale(L)])

    def f_test(self, L: np.ndarray, values: np.ndarray | None = None) -> FTest:
        """Test Lβ = values, all rows together, after Pustejovsky & Tipton (HTZ).

        Parameters
        ----------
        L : array, shape (r, p)
            Contrasts.
        values : array, shape (r,), optional
            What they are under the hypothesis; zero by default.

        Returns
        -------
        FTest
            NaN where there are too few clusters for so many contrasts.

        Notes
        -----
        With q independent contrasts and Q their Wald statistic, (η − q + 1)/(ηq) Q is about F with q and η − q + 1
        degrees of freedom, where η makes the total variance of the robust covariance that of a Wishart matrix. For one
        contrast it is the square of t.

        References
        ----------
        Pustejovsky & Tipton (2018), JBES 36. Zhang (2012), JSPI 142.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> import numpy as np
        >>> fit.robust("Subject").f_test(np.eye(2)).__class__.__name__
        'FTest'
        """
        L = np.atleast_2d(np.asarray(L, dtype=float))
        off = L @ self.beta - (0.0 if values is None else values)
        lengths = np.linalg.norm(L @ self.root, axis=1)
        left, sizes, basis = np.linalg.svd(self._on_unit_scale(L), full_matrices=False)
        kept = sizes > NO_CONTRAST * sizes.max()
        q, basis = int(kept.sum()), basis[kept]
        standard = (left[:, kept] / sizes[kept]).T @ (off / np.where(lengths > 0.0, lengths, 1.0))
        robust = basis @ np.linalg.solve(self.root, np.linalg.solve(self.root, self.covariance).T) @ basis.T
        variances = np.linalg.eigvalsh(robust)
        eta = q * (q + 1) / (2.0 * self._noise(basis))
        if not (eta > q - 1.0 and variances.min() > NO_CONTRAST * variances.max()):
            return FTest(np.nan, q, np.nan, np.nan)
        den_df = float(eta - q + 1.0)
        statistic = float(den_df / (eta * q) * (standard @ np.linalg.solve(robust, standard)))
        return FTest(statistic, q, den_df, upper_tail(statistic, q, den_df))

    def _on_unit_scale(self, L: np.ndarray) -> np.ndarray:
        """Contrasts (r, p) of C⁻¹β, each of variance one if the fitted variances are right; rows of zeros stay."""
        rows = np.atleast_2d(np.asarray(L, dtype=float)) @ self.root
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths > 0.0, lengths, 1.0)

    def _noise(self, rows: np.ndarray) -> float:
        """Half the total variance of the robust covariance of q contrasts, in units where its mean is the identity.

        What clusters c and d add to the contrasts has the covariance E_cd = δ_cd K_c − N_c N_d', and the robust
        covariance the variance Σ_cd [(tr E_cd)² + tr(E_cd E_cd)] over all its entries. The sums over pairs of clusters
        are products of sums over clusters.
        """
        K, N = rows @ self.spreads @ rows.T, rows @ self.pulls  # (m, q, q), (m, q, p)
        mean = K.sum(0) - np.einsum("csi,cti->st", N, N)
        values, vectors = np.linalg.eigh(mean)
        if values.min() <= NO_CONTRAST * max(values.max(), 1.0):
            return np.nan
        unit = (vectors / np.sqrt(values)).T
        K, N = unit @ K @ unit.T, unit @ N
        NN = N @ N.swapaxes(1, 2)
        traces, pulled = np.einsum("css->c", K), np.einsum("css->c", NN)
        own = traces**2 - 2.0 * traces * pulled + np.einsum("cst,cts->c", K, K - 2.0 * NN)
        pairs = np.einsum("csi,ctj->sitj", N, N, optimize=True)
        return 0.5 * float(own.sum() + (pairs**2).sum() + np.einsum("sitj,tisj->", pairs, pairs))

    def test(self, hypotheses: Any, *, level: float = 0.95) -> LinearTest:
        """Test linear hypotheses by name, each by t and all together by F.

        Parameters
        ----------
        hypotheses : str, list of str, dict of str to float, or array of shape (r, p)
            As in `bayesmm.fit.Fit.test`: ``"Days = 0, Intercept = 250"``.
        level : float
            Coverage of the intervals.

        Returns
        -------
        LinearTest
            Prints as a report.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.robust("Subject").test("Days = 0")).splitlines()[0])
        Test of linear hypotheses
        """
        labels, aliased = self.design.labels, self.design.aliased
        others = [row.name for row in labels.parameter_rows() if row.kind != "fixed"]
        read = read_hypotheses(hypotheses, labels.coefficients, aliased, others)
        return run_linear_test(self, read, self._degrees, check_level(level))

    def anova(self, *, type: Type = 3) -> TermTests:
        """Test each term of the fixed part by F.

        Parameters
        ----------
        type : {1, 2, 3}
            As in `bayesmm.fit.Fit.anova`.

        Returns
        -------
        TermTests
            Prints as a report.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.robust("Subject").anova().table.index.tolist()
        ['Days']
        """
        return run_term_tests(self.design, self, term_contrasts(self.design, type), type, self._degrees)

    @property
    def _degrees(self) -> str:
        return f"cluster-robust covariance {self.kind} and its degrees of freedom, clusters by {self.clusters.name}"

    def report(self) -> Report:
        """Write the report.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.robust("Subject").report()).splitlines()[0])
        Fixed effects with cluster-robust standard errors (CR2)
        """
        sizes = self.clusters.sizes
        rows = self.table.to_dict("records")
        few = [name for name, row in zip(self.design.coefficients, rows, strict=True) if row["df"] < FEW_DF]
        said = [
            "Standard errors hold where the model's variances and correlations are wrong, as long as rows of different "
            "clusters are independent. The coefficients are those of the fit."
        ]
        if few:
            said.append(
                f"Fewer than {FEW_DF:g} degrees of freedom: {listing(few)}. So few clusters tell of these that "
                "neither p-value nor interval can be relied on."
            )
        columns = (
            Column(head="estimate", cells=[_write_estimate(row) for row in rows]),
            Column(head="std_error", cells=[write_like(row["std_error"], row["std_error"]) for row in rows]),
            Column(head="df", cells=[write_number(row["df"], 1) for row in rows]),
            Column(head="t", cells=[write_number(row["statistic"], 2) for row in rows]),
            Column(head="p", cells=[write_p(row["p_value"]) for row in rows]),
            Interval(
                head=interval_head(self.level),
                cells=write_intervals(*(self.table[name] for name in ("lower", "upper", "estimate", "std_error"))),
            ),
        )
        between = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
        return Report(
            title=f"Fixed effects with cluster-robust standard errors ({self.kind})",
            parts=(
                facts((f"{len(sizes)} clusters by {self.clusters.name}, of {between} rows",)),
                Table(names=list(self.design.coefficients), columns=columns, where="robust.table"),
                notes(said),
            ),
        )

    def __str__(self) -> str:
        return str(self.report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def _write_estimate(row: Mapping[Any, float]) -> str:
    return "aliased" if np.isnan(row["estimate"]) else write_like(row["estimate"], row["std_error"])


def robust_fixed_effects(
    fit: Fitted, cluster: Any = None, kind: Kind = "CR2", level: float = 0.95, rows: Any = None, bar: Bar = SILENT
) -> Robust:
    """Work out the cluster-robust covariance of the fixed effects; see `bayesmm.fit.Fit.robust`."""
    if not is_one_of(kind, KINDS):
        raise ArgumentError(f"kind is {kind!r}: give {', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}.")
    level = check_level(level)
    root, p = _root(fit), fit.design.p
    if fit.design.elsewhere is None:
        if rows is not None:
            raise ArgumentError(f"rows is {shorten(rows)}, and the model has its rows in memory: leave rows out.")
        clusters = find_clusters(fit.design, cluster)
        pieces = enumerate(_pieces(fit, clusters, root))
    else:
        streamed = StreamedClusters(fit, cluster, rows, bar)
        clusters = streamed.clusters
        pieces = ((each.cluster, _piece(fit, root, *each[1:])) for each in streamed)
    m = len(clusters.labels)
    added, spreads, pulls = np.zeros((m, p)), np.zeros((m, p, p)), np.zeros((m, p, p))
    for c, own in pieces:
        P = own.X.T @ np.linalg.solve(own.V, _adjustment(own, kind, m))  # (p, r)
        added[c], spreads[c], pulls[c] = P @ own.residual, P @ own.V @ P.T, P @ own.X
    return Robust(
        design=fit.design,
        beta=fit.estimate.beta,
        covariance=root @ added.T @ added @ root.T,
        kind=kind,
        clusters=clusters,
        root=root,
        spreads=spreads,
        pulls=pulls,
        level=level,
    )


def _root(fit: Fitted) -> np.ndarray:
    """C with Var β̂ = CC', from the conditioned columns: nothing is lost where the user's are far from their origin."""
    estimate = fit.estimate
    products = estimate.criterion_function.products
    inside = np.linalg.cholesky(estimate.minimum.evaluation.detail.fixed.covariance)
    return estimate.sigma * np.linalg.solve(products.fixed_root, inside)


class _Piece(NamedTuple):
    """One cluster: XC (r, p), y − Xβ̂ (r,) and V (r, r), on an orthonormal basis of all that matters of its rows."""

    X: np.ndarray
    residual: np.ndarray
    V: np.ndarray


def _pieces(fit: Fitted, clusters: Clusters, root: np.ndarray) -> Iterator[_Piece]:
    """Read the rows of each cluster."""
    design = fit.design
    X = design.X[:, design.kept]
    residual = design.y - design.offset - X @ fit.estimate.beta
    values = fit.parameter_table(df="normal")["estimate"].to_dict() if design.residual is not None else {}
    for rows in clusters.rows():
        incidences = [block.incidence.rows(rows) for block in design.blocks]
        R = None
        if design.residual is not None:
            R = design.residual.covariance({"sigma": fit.sigma} | values, rows, design.weights[rows])
        yield _piece(fit, root, X[rows], residual[rows], design.weights[rows], incidences, R)


def _piece(
    fit: Fitted,
    root: np.ndarray,
    X: np.ndarray,
    e: np.ndarray,
    weights: np.ndarray,
    incidences: Sequence[Incidence],
    R: np.ndarray | None,
) -> _Piece:
    """Put together what matters of the rows of a cluster, whose residuals have the covariance R if one was modelled.

    With equal weights V is a multiple of the identity on all that is orthogonal to Z and X, where nothing that is
    estimated lies: r is then the rank of [Z X], not the number of rows.
    """
    estimate = fit.estimate
    effects = [
        _effects(incidence, block, estimate.sigma * L)
        for incidence, block, L in zip(incidences, fit.design.blocks, estimate.factors, strict=True)
    ]
    U, own = np.concatenate([np.zeros((len(X), 0)), *effects], axis=1), X @ root
    if R is not None:
        return _Piece(X=own, residual=e, V=U @ U.T + R)
    noise = estimate.sigma**2 / weights
    if U.shape[1] + own.shape[1] < len(X) and np.ptp(noise) <= 1e-14 * noise[0]:
        basis = np.linalg.qr(np.concatenate([U, own], axis=1))[0]
        U, own, e, noise = basis.T @ U, basis.T @ own, basis.T @ e, np.full(basis.shape[1], noise[0])
    return _Piece(X=own, residual=e, V=U @ U.T + np.diag(noise))


def _effects(incidence: Incidence, block: RandomBlock, L: np.ndarray) -> np.ndarray:
    """Z(I ⊗ L) of the levels that occur in some rows; times a root of A, where they are related."""
    codes = np.concatenate([each.codes for each in incidence.memberships])
    levels, own = np.unique(codes, return_inverse=True)
    n, k = incidence.n, incidence.k
    found = np.zeros((n, len(levels), k))
    for place, each in zip(own.reshape(-1, n), incidence.memberships, strict=True):
        found[np.arange(n), place] += each.columns @ L
    if block.relation is not None:
        values, vectors = np.linalg.eigh(block.relation.covariances(*np.ix_(levels, levels)))
        found = np.einsum("nlk,lj->njk", found, vectors * np.sqrt(np.maximum(values, 0.0)))
    return found.reshape(n, -1)


def _adjustment(piece: _Piece, kind: Kind, m: int) -> np.ndarray:
    """Return the matrix A that residuals are multiplied by: for CR2 with A Var(e) A' = V, where e has all of V's rank.

    Var(e) = V − XCC'X' = V^½(I − Y)V^½. Of the matrices that do this clubSandwich takes A = D'B^{+½}D with V = D'D and
    B = D Var(e) D'; A is the same for every root D. With the symmetric one, B = KK' for K = V(I − Y)^½, whose singular
    values are of the size of V's, not of its square's.
    """
    if kind == "CR0":
        return np.eye(len(piece.V))
    if kind == "CR1":
        return np.sqrt(m / (m - 1.0)) * np.eye(len(piece.V))
    values, vectors = np.linalg.eigh(piece.V)
    root = (vectors * np.sqrt(values)) @ vectors.T
    half = (vectors / np.sqrt(values)) @ vectors.T @ piece.X
    left, shares = _eigen(np.eye(len(root)) - half @ half.T)
    sides, sizes, _ = np.linalg.svd(piece.V @ (left * np.sqrt(shares)), full_matrices=False)
    outer = root @ sides
    return (outer / sizes) @ outer.T


def _eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions (r, s) that fixed effects leave something of, and which share."""
    shares, vectors = np.linalg.eigh(matrix)
    kept = shares > FULLY_FITTED
    return vectors[:, kept], shares[kept]
