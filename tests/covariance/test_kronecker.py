"""Products of two covariances, ``kron(us(trait), ar1(C(week)) | g)``, through the public interface."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle import DenseModel, Method, level_covariance, random_columns
from scipy import stats
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm.covariance.layout import piece_factor
from bayesmm.covariance.table import FIRST, SECOND
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import DesignError, PriorError, SpecificationError
from bayesmm.priors import LKJ, HalfNormal, Normal
from bayesmm.specification.formula import parse_formula

WEEKS, Q = (1, 2, 5), 12
FORMULA = "y ~ trait + kron({first}(trait), {second}(C(week)) | g)"


def traits(seed: int = 0, sd_b: float = 2.0) -> pd.DataFrame:
    """Two traits of each level in three weeks, twice."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [(g, trait, week) for g in range(Q) for trait in "ab" for week in WEEKS for _ in range(2)],
        columns=["g", "trait", "week"],
    )
    R = 0.7 ** np.abs(np.subtract.outer(range(3), range(3)))
    S = np.array([[1.0, 0.6 * sd_b], [0.6 * sd_b, sd_b**2]])
    b = rng.multivariate_normal(np.zeros(6), np.kron(S, R), size=Q)
    return frame.assign(y=b.ravel().repeat(2) + rng.normal(size=len(frame)) * 0.5)


DATA = traits()


def dense(data: pd.DataFrame) -> DenseModel:
    cells = [(trait, week) for trait in "ab" for week in WEEKS]
    columns = np.array(
        [[float((t, w) == cell) for cell in cells] for t, w in zip(data["trait"], data["week"], strict=True)]
    )
    X = np.column_stack([np.ones(len(data)), data["trait"] == "b"]).astype(float)
    return DenseModel(y=data["y"].to_numpy(), X=X, Z=random_columns(data["g"].to_numpy(), columns, Q))


FIRST_MATRIX = {
    "us": (3, lambda x: np.array([[np.exp(x[0]), 0.0], [x[2], np.exp(x[1])]])),
    "homcs": (2, lambda x: np.exp(x[0]) * np.linalg.cholesky([[1.0, np.tanh(x[1])], [np.tanh(x[1]), 1.0]])),
    "diag": (2, lambda x: np.diag(np.exp(x))),
}


def test_combination_without_rows_leaves_default_priors_finite() -> None:
    """All combinations are effects; one that no row has says nothing of the scale of its standard deviation."""
    lacking = DATA[(DATA["trait"] != "b") | (DATA["week"] != DATA["week"].max())]
    model = bmm.Model(FORMULA.format(first="us", second="ar1"), lacking)
    whole = bmm.Model(FORMULA.format(first="us", second="ar1"), DATA)
    for name in ("sd(trait[a] | g)", "sd(trait[b] | g)"):
        scales = [each.priors.table().loc[name, "prior"] for each in (model, whole)]
        own, other = (float(str(each).rpartition(", ")[2].rstrip(")")) for each in scales)
        assert own == pytest.approx(other, rel=0.2)


@pytest.mark.parametrize(
    ("first", "second", "method"), [("us", "ar1", "reml"), ("homcs", "homcs", "ml"), ("diag", "exp", "reml")]
)
def test_fit_is_at_the_maximum_of_the_dense_likelihood(first: str, second: str, method: Method) -> None:
    fit = bmm.Model(FORMULA.format(first=first, second=second), DATA).fit(method)
    model = dense(DATA)
    n, root = FIRST_MATRIX[first]
    lags = np.abs(np.subtract.outer(range(3), range(3)))
    distance = np.abs(np.subtract.outer(WEEKS, WEEKS)) / 2.0  # over the mean distance of neighbours

    def loss(x: np.ndarray) -> float:
        L = root(x[:n])
        rho = np.tanh(x[n])
        R = {"ar1": rho**lags, "homcs": np.where(lags, rho, 1.0), "exp": abs(rho) ** distance}[second]
        return -model.profiled_log_likelihood(level_covariance(np.kron(L @ L.T, R), Q), method)

    found = minimize(
        loss, np.append(np.full(n, 0.5), 0.5), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}
    )
    assert_allclose(fit.loglik, -found.fun, atol=1e-6)
    assert fit.n_parameters == 2 + n + 1 + 1
    S = root(found.x[:n]) @ root(found.x[:n]).T
    estimates = fit.parameters["estimate"]
    assert_allclose(abs(np.tanh(found.x[n])), abs(estimates["cor(C(week) | g)"]), atol=1e-4)
    name = "sd(trait | g)" if first == "homcs" else "sd(trait[a] | g)"
    assert_allclose(estimates[name] / fit.sigma, np.sqrt(S[0, 0]), rtol=1e-3)
    if first == "us":
        assert_allclose(estimates["cor(trait[a], trait[b] | g)"], S[0, 1] / np.sqrt(S[0, 0] * S[1, 1]), atol=1e-4)


@pytest.mark.parametrize(
    "first",
    [name for name in FIRST if name not in ("exp", "hetexp", "ou", "gau", "mat", "ratio", "sph", "lin", "rr", "fa")],
)
def test_any_structure_may_be_the_first(first) -> None:
    fit = bmm.Model(FORMULA.format(first=first, second="homcs"), DATA).fit("ml")
    larger = bmm.Model(FORMULA.format(first="us", second="homtoep"), DATA).fit("ml")
    assert fit.loglik <= larger.loglik + 1e-6
    assert fit.status.name == "CONVERGED"


@pytest.mark.parametrize("second", SECOND)
def test_any_structure_of_full_rank_may_be_the_second(second) -> None:
    fit = bmm.Model(FORMULA.format(first="diag", second=second), DATA).fit("ml")
    larger = bmm.Model("y ~ trait + us(0 + trait:C(week) | g)", DATA).fit("ml")
    assert fit.loglik <= larger.loglik + 1e-6


LAGS = np.abs(np.subtract.outer(range(3), range(3)))
OWN = {  # Σ₂ of unit first variance, by logarithms of two standard deviations and correlations
    "us": (5, lambda x: _scaled(x[:2], _root_of(np.array([[1.0, 0, 0], [x[2], 1.0, 0], [x[3], x[4], 1.0]])))),
    "diag": (2, lambda x: _scaled(x[:2], np.eye(3))),
    "cs": (3, lambda x: _scaled(x[:2], np.where(LAGS, 1.5 / (1.0 + np.exp(-x[2])) - 0.5, 1.0))),
    "hetar1": (3, lambda x: _scaled(x[:2], np.tanh(x[2]) ** LAGS)),
}


def _root_of(L: np.ndarray) -> np.ndarray:
    L = L / np.linalg.norm(L, axis=1, keepdims=True)
    return L @ L.T


def _scaled(log_sds: np.ndarray, R: np.ndarray) -> np.ndarray:
    sd = np.exp(np.append(0.0, log_sds))
    return R * np.outer(sd, sd)


@pytest.mark.parametrize(("first", "second", "method"), [("us", "us", "reml"), ("homcs", "hetar1", "ml"), ("diag", "diag", "reml"), ("us", "cs", "ml")])  # fmt: skip
def test_second_factor_with_own_standard_deviations_is_at_the_maximum_of_the_dense_likelihood(
    first: str, second: str, method: Method
) -> None:
    """The fit has the dense value at its own estimates, and no dense slope there."""
    fit = bmm.Model(FORMULA.format(first=first, second=second), DATA).fit(method)
    model, (n, root), (m, of_second) = dense(DATA), FIRST_MATRIX[first], OWN[second]

    def loss(x: np.ndarray) -> float:
        L = root(x[:n])
        return -model.profiled_log_likelihood(level_covariance(np.kron(L @ L.T, of_second(x[n:])), Q), method)

    G = fit.estimate.factors[0] @ fit.estimate.factors[0].T
    assert_allclose(
        model.profiled_log_likelihood(level_covariance(G, Q), method), fit.loglik, atol=1e-7
    )  # those that it prints
    S, V = G.reshape(2, 3, 2, 3)[:, 0, :, 0], G.reshape(2, 3, 2, 3)[0, :, 0, :] / G[0, 0]
    assert_allclose(np.kron(S, V), G, rtol=1e-9, atol=1e-12)
    found = minimize(loss, np.full(n + m, 0.4), method="BFGS", options={"gtol": 1e-5})
    assert_allclose(fit.loglik, -found.fun, atol=1e-6)
    estimates = fit.parameters["estimate"]
    names = ["sd(trait | g)" if first == "homcs" else "sd(trait[a] | g)", "sd(C(week)[2] | g)", "sd(C(week)[5] | g)"]
    at_first = np.sqrt(S[0, 0] * np.diag(V)) * fit.sigma
    assert_allclose(estimates[names], at_first, rtol=1e-9)
    assert fit.n_parameters == 2 + n + m + 1


def test_tangents_of_a_product_of_own_standard_deviations_equal_differences() -> None:
    for second in ("us", "toep", "hetexp"):
        piece = bmm.Model(FORMULA.format(first="us", second=second), DATA).design.blocks[0].layout[0]
        rng, k = np.random.default_rng(1), piece.k
        M = rng.normal(size=(k, k))
        M = M + M.T
        theta = piece.structure.generic(k)

        def value(at: np.ndarray, piece=piece, M=M) -> float:
            L = piece_factor(np, at, piece)
            return float((M * (L @ L.T)).sum())

        found = tangents(np, theta, ((piece,),))[0].along(2.0 * M @ piece_factor(np, theta, piece))
        steps = 1e-6 * np.eye(len(theta))
        expected = [(value(theta + e) - value(theta - e)) / 2e-6 for e in steps]
        assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        L = piece_factor(np, theta, piece)
        again = piece_factor(np, piece.structure.nearest(2.0 * L), piece)
        assert_allclose(again @ again.T, 4.0 * L @ L.T, rtol=1e-8, atol=1e-10)
        sd, cor = piece.structure.read(np, L @ L.T)
        sds = piece.structure.effect_sds(sd, k)
        assert_allclose(piece.structure.correlation(np, cor, k) * np.outer(sds, sds), L @ L.T, rtol=1e-8, atol=1e-10)
        assert_allclose(piece.structure.free_sds(np, sds), sd, rtol=1e-10)


def test_own_standard_deviations_of_the_second_are_read_profiled_saved_and_sampled(tmp_path) -> None:
    model = bmm.Model(FORMULA.format(first="us", second="hetar1"), DATA)
    fit = model.fit()
    V = model.marginal_covariance([0, 2, 6, 8])
    assert V.iloc[1, 1] == "σ²(C(week)[2] | g) + σ²"
    assert V.iloc[3, 3] == "σ²(trait[b] | g)·σ²(C(week)[2] | g)/σ²(trait[a] | g) + σ²"
    numbers = model.marginal_covariance([0, 2, 6, 8], at=fit).to_numpy()
    e = fit.parameters["estimate"]
    ratio = e["sd(C(week)[2] | g)"] / e["sd(trait[a] | g)"]
    assert_allclose(numbers[3, 3], (e["sd(trait[b] | g)"] * ratio) ** 2 + fit.sigma**2, rtol=1e-9)
    fit.save(tmp_path / "fit.nc")
    assert_allclose(bmm.load(tmp_path / "fit.nc").parameters["estimate"], e)
    row = fit.profile(parameters=["sd(C(week)[2] | g)"]).intervals().iloc[0]
    assert row["lower"] < e["sd(C(week)[2] | g)"] < row["upper"]
    points = model.check_identity().points
    difference = points["log_posterior"] - points["restricted"]
    assert_allclose(difference, difference.iloc[0], atol=1e-8)
    own = {"Intercept": Normal(0, 5), "trait[T.b]": Normal(0, 5), "sd": HalfNormal(2), "sigma": HalfNormal(1)}
    drawn = bmm.Model(FORMULA.format(first="us", second="hetar1"), DATA, priors=own).prior_predictive(2000, seed=1)
    sds = drawn["prior"]["sd_g"].to_numpy().reshape(-1, 4)
    for each in sds.T:
        assert stats.kstest(each, stats.halfnorm(scale=2.0).cdf).pvalue > 1e-3


def test_units_of_a_trait_do_not_matter() -> None:
    """The second trait in other units, its rows weighted so that residuals are alike."""
    small = DATA
    large = small.assign(y=np.where(small["trait"] == "b", 1000.0, 1.0) * small["y"])
    weights = np.where(small["trait"] == "b", 1e-6, 1.0)
    formula = FORMULA.format(first="us", second="ar1")
    one, other = bmm.Model(formula, small).fit("ml"), bmm.Model(formula, large, weights=weights).fit("ml")
    names = ["cor(trait[a], trait[b] | g)", "cor(C(week) | g)", "sd(trait[a] | g)", "sigma"]
    assert_allclose(one.parameters["estimate"][names], other.parameters["estimate"][names], rtol=1e-4)
    assert_allclose(
        1000.0 * one.parameters["estimate"]["sd(trait[b] | g)"],
        other.parameters["estimate"]["sd(trait[b] | g)"],
        rtol=1e-4,
    )


def test_written_and_saved(tmp_path) -> None:
    text = "kron(us(trait), mat(C(week), nu=2.5) | g)"
    (term,) = parse_formula(f"y ~ trait + {text}").random_terms
    assert str(term) == text
    assert parse_formula(f"y ~ 1 + {term}").random_terms == (term,)
    model = bmm.Model(FORMULA.format(first="us", second="ar1"), DATA)
    assert "unstructured ⊗ first-order autoregressive correlations" in " ".join(str(model).split())
    fit = model.fit()
    fit.save(tmp_path / "fit.nc")
    assert_allclose(bmm.load(tmp_path / "fit.nc").parameters["estimate"], fit.parameters["estimate"])
    V = model.marginal_covariance([0, 2, 6, 8])
    assert V.iloc[1, 0] == "ρ(C(week) | g)·σ²(trait[a] | g)"
    assert V.iloc[2, 0] == "σ(trait[a], trait[b] | g)"
    assert V.iloc[3, 0] == "ρ(C(week) | g)·σ(trait[a], trait[b] | g)"
    values = model.marginal_covariance([0, 2, 6, 8], at=fit).to_numpy()
    assert_allclose(values[1, 0] * values[2, 0] / values[3, 0], fit.parameters["estimate"]["sd(trait[a] | g)"] ** 2)


def test_program_and_priors() -> None:
    """The program is the criterion; priors of both matrices are flat, whatever the other is."""
    model = bmm.Model(FORMULA.format(first="us", second="ar1"), DATA)
    points = model.check_identity().points
    difference = points["log_posterior"] - points["restricted"]
    assert_allclose(difference, difference.iloc[0], atol=1e-9)
    drawn = model.prior_predictive(4000, seed=1)["prior"]["cor_g"].to_numpy().reshape(-1, 2)
    for own in drawn.T:  # 2 × 2, and one of AR(1): uniform
        assert_allclose(np.quantile(own, [0.25, 0.5, 0.75]), [-0.5, 0.0, 0.5], atol=0.06)


def test_lkj_priors_are_of_both_matrices() -> None:
    """Density ∝ (det R₁ det R₂)^(η − 1): betas of each, and what sensitivity takes for the log density."""
    priors = {"Intercept": Normal(0, 5), "trait[T.b]": Normal(0, 5), "sd": HalfNormal(2), "cor": LKJ(3.0)}
    model = bmm.Model(FORMULA.format(first="us", second="ar1"), DATA, priors=priors)
    drawn = model.prior_predictive(2000, seed=1)["prior"]["cor_g"].to_numpy().reshape(-1, 2)
    assert stats.kstest(0.5 * (1.0 + drawn[:, 0]), stats.beta(3.0, 3.0).cdf).pvalue > 1e-3  # 2 × 2
    assert stats.kstest(0.5 * (1.0 + drawn[:, 1]), stats.beta(5.0, 5.0).cdf).pvalue > 1e-3  # det R₂ = (1 − ρ²)²
    (piece,) = model.priors.pieces
    at = np.array([[0.3, -0.5], [0.1, 0.8]])
    expected = 2.0 * (np.log1p(-(at[:, 0] ** 2)) + 2.0 * np.log1p(-(at[:, 1] ** 2)))
    assert_allclose(piece.log_density(model.priors.of_matrix(piece), at), expected, rtol=1e-10)
    slopes = -2.0 * np.array([1.0, 2.0]) * 2.0 * at[0] / (1.0 - at[0] ** 2)
    assert_allclose(piece.log_slopes(model.priors.of_matrix(piece), at[0]), slopes, rtol=1e-8)
    assert model.plot_priors() is not None
    with pytest.raises(PriorError, match="products with those of distances, have no such prior"):
        bmm.Model(FORMULA.format(first="us", second="exp"), DATA, priors={"cor": LKJ(2.0)})


@pytest.mark.parametrize(
    ("term", "same"),
    [
        ("kron(cs(trait, hom=True), toep(C(week), hom=True) | g)", "kron(homcs(trait), homtoep(C(week)) | g)"),
        ("kron(diag(trait, hom=False), ar1(C(week), hom=True) | g)", "kron(diag(trait), ar1(C(week)) | g)"),
        ("kron(us(trait), ar1(C(week), hom=False) | g)", "kron(us(trait), hetar1(C(week)) | g)"),
    ],
)
def test_hom_is_another_name_of_a_structure(term, same) -> None:
    one, two = (bmm.Model(f"y ~ trait + {each}", DATA) for each in (term, same))
    assert one.design.blocks[0].layout == two.design.blocks[0].layout
    assert one.labels == two.labels


@pytest.mark.parametrize(
    ("term", "error", "problem"),
    [
        ("kron(us(trait, hom=True), ar1(C(week)) | g)", SpecificationError, "cannot stand in kron"),
        ("kron(us(trait), fa(C(week)) | g)", SpecificationError, r"'fa\(C\(week\)\)' cannot stand in kron\(\) here"),
        ("kron(us(trait), ar1(C(week)))", SpecificationError, "lacks its bar"),
        ("kron(us(trait) | g)", SpecificationError, "takes two structures"),
        ("kron(us(trait), ar1(trait) | g)", SpecificationError, "one factor twice"),
        ("kron(propto(trait), ar1(C(week)) | g)", SpecificationError, "cannot stand in kron"),
        ("kron(us(trait), ar1(week) | g)", DesignError, r"no combination of their levels.*C\(\)"),
    ],
)
def test_what_it_does_not_take_is_said(term, error, problem) -> None:
    with pytest.raises(error, match=problem):
        bmm.Model(f"y ~ trait + {term}", DATA)
