"""Effects with a covariance that is known with its scale, ``equalto(... | g, V)``, through the public interface."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from numpy.testing import assert_allclose
from oracle import DenseModel, block_diagonal, level_covariance, random_columns
from scipy.optimize import minimize_scalar

import bayesmm as bmm
from bayesmm.errors import ArgumentError, DesignError, SpecificationError
from bayesmm.priors import HalfNormal, Normal

GROWTH = bmm.datasets.load("orthodont")
AGES = [8, 10, 12, 14]
WALK = pd.DataFrame(0.3 * (np.minimum.outer(AGES, AGES) - 6.0), index=AGES, columns=AGES)
SINGULAR = pd.DataFrame((np.outer(AGES, AGES) + 4.0) / 400.0, index=AGES, columns=AGES)  # of an intercept and a slope
BESIDE = "distance ~ age * Sex + (1 | Subject) + equalto(0 + C(age) | Subject, V)"
ALONE = "distance ~ age * Sex + equalto(0 + C(age) | Subject, V)"
SIGMA = 1.1


def model(formula: str = BESIDE, matrix: pd.DataFrame = WALK, **how) -> bmm.Model:
    return bmm.Model(formula, GROWTH, relations={"V": matrix}, **{"sigma": SIGMA, **how})


CODES, _ = pd.factorize(GROWTH["Subject"], sort=True)
MALE, AGE = (GROWTH["Sex"] == "Male").to_numpy(float), GROWTH["age"].to_numpy(float)
BY_AGE = random_columns(CODES, (AGE[:, None] == AGES).astype(float), 27)


def dense(*, beside: bool = True) -> DenseModel:
    Z = np.column_stack([random_columns(CODES, np.ones((108, 1)), 27), BY_AGE]) if beside else BY_AGE
    X = np.column_stack([np.ones(108), AGE, MALE, AGE * MALE])
    return DenseModel(y=GROWTH["distance"].to_numpy(), X=X, Z=Z)


def covariance(sd: float, matrix: pd.DataFrame) -> np.ndarray:
    return block_diagonal([sd**2 * np.eye(27), level_covariance(matrix.to_numpy(), 27)])


@pytest.mark.parametrize("matrix", [WALK, SINGULAR], ids=["walk", "singular"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_fit_is_at_the_maximum_of_the_dense_likelihood(matrix, method) -> None:
    fit, oracle = model(matrix=matrix).fit(method), dense()

    def loss(log_sd: float) -> float:
        return -oracle.log_likelihood(covariance(np.exp(log_sd), matrix), SIGMA, method)

    found = minimize_scalar(loss, bracket=(-1.0, 1.0), tol=1e-10)
    G = covariance(np.exp(found.x), matrix)
    assert_allclose(fit.loglik, -found.fun, atol=1e-8)
    assert_allclose(fit.parameters.loc["sd(Intercept | Subject)", "estimate"], np.exp(found.x), rtol=1e-5)
    assert_allclose(fit.fixed_effects["estimate"], oracle.fixed_effects(G, SIGMA), rtol=1e-6)
    assert_allclose(
        fit.fixed_effects["std_error"], np.sqrt(np.diag(oracle.fixed_effects_covariance(G, SIGMA))), rtol=1e-5
    )
    effects = oracle.random_effects(G, SIGMA)
    own = np.column_stack([effects[:27], effects[27:].reshape(27, 4)])
    assert_allclose(fit.random_effects()["estimate"], own.ravel(), atol=1e-5)
    assert_allclose(fit.fitted, oracle.fitted(G, SIGMA), atol=1e-5)
    assert fit.n_parameters == 5
    assert list(fit.parameters.index[4:]) == ["sd(Intercept | Subject)"]


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_model_without_any_parameter_is_generalised_least_squares(method) -> None:
    fit, oracle, G = model(ALONE).fit(method), dense(beside=False), level_covariance(WALK.to_numpy(), 27)
    errors = np.sqrt(np.diag(oracle.fixed_effects_covariance(G, SIGMA)))
    assert_allclose(fit.loglik, oracle.log_likelihood(G, SIGMA, method), atol=1e-9)
    assert_allclose(fit.fixed_effects["estimate"], oracle.fixed_effects(G, SIGMA), rtol=1e-9)
    assert_allclose(fit.fixed_effects["std_error"], errors, rtol=1e-9)
    assert np.isinf(fit.fixed_effects["df"]).all()
    assert_allclose(fit.random_effects()["estimate"], oracle.random_effects(G, SIGMA), atol=1e-9)
    assert (fit.n_parameters, len(fit.theta), fit.status.name) == (4, 0, "CONVERGED")
    means, variances = oracle.random_effects(G, SIGMA), oracle.joint_moments(G, SIGMA)[1].diagonal()[4:]
    layers = fit.random_effects(uncertainty="full")
    assert_allclose(layers["estimate"], means, atol=1e-9)
    assert_allclose(layers["std_error"], np.sqrt(variances), rtol=1e-7)


def test_what_needs_no_search_works_without_a_parameter() -> None:
    fit = model(ALONE).fit()
    drawn = fit.bootstrap(200, seed=1, progress=False)
    ratio = drawn.parameters["std_error"] / fit.fixed_effects["std_error"]
    assert ratio.between(0.85, 1.15).all()
    profile = fit.profile(progress=False).intervals(0.95)
    expected = fit.fixed_effects["estimate"] - 1.959964 * fit.fixed_effects["std_error"]
    assert_allclose(profile["lower"], expected, rtol=1e-5)


PERIODONTAL = pd.DataFrame(  # Berkey et al. (1998), Stat. Med. 17, Table I
    {
        "trial": np.repeat(["t1", "t2", "t3", "t4", "t5"], 2),
        "outcome": ["PD", "AL"] * 5,
        "yi": [0.47, -0.32, 0.20, -0.60, 0.40, -0.12, 0.26, -0.31, 0.56, -0.39],
        "row": [f"r{i}" for i in range(10)],
    }
)
SAMPLING = [  # variances of both outcomes of a trial, and their covariance
    (0.0075, 0.0077, 0.0030),
    (0.0057, 0.0008, 0.0009),
    (0.0021, 0.0014, 0.0007),
    (0.0029, 0.0015, 0.0009),
    (0.0148, 0.0304, 0.0072),
]


def sampling_covariance() -> pd.DataFrame:
    V = block_diagonal([np.array([[one, both], [both, two]]) for one, two, both in SAMPLING])
    return pd.DataFrame(V, index=PERIODONTAL["row"], columns=PERIODONTAL["row"])


META = "yi ~ 0 + outcome + (0 + outcome | trial) + equalto(0 + row | trial, V)"


def meta(sigma: float = 1e-4, formula: str = META) -> bmm.Model:
    return bmm.Model(formula, PERIODONTAL, relations={"V": sampling_covariance()}, sigma=sigma)


def test_meta_analysis_of_two_outcomes_has_the_figures_of_metafor() -> None:
    # rma.mv(yi, V, mods = ~ 0 + outcome, random = ~ outcome | trial, struct = "UN", data = dat.berkey1998, method =
    # "ML"), as metafor's own tests have it; p-values of anova() against struct = "CS" and against rho = 0
    fit = meta().fit("ml")
    assert_allclose(fit.fixed_effects["estimate"], [-0.3379, 0.3448], atol=5e-5)
    assert_allclose(fit.fixed_effects["std_error"], [0.0798, 0.0495], atol=5e-5)
    sds, rho = fit.parameters["estimate"].iloc[2:4], fit.parameters["estimate"].iloc[4]
    assert_allclose(sds**2, [0.0261, 0.0070], atol=5e-5)
    assert_allclose(rho, 0.6992, atol=5e-5)
    one_sd, no_correlation = (meta(formula=META.replace("(0", name, 1)).fit("ml") for name in ("homcs(0", "diag(0"))
    tests = [bmm.anova(smaller, fit).table["p_value"].iloc[-1] for smaller in (one_sd, no_correlation)]
    assert_allclose(tests, [0.2597, 0.2452], atol=2e-4)


def test_meta_analysis_does_not_depend_on_how_it_is_written() -> None:
    fit = meta().fit()
    whole = PERIODONTAL.assign(all="all").sample(frac=1.0, random_state=1)
    V = sampling_covariance().iloc[::-1, ::-1]
    by_one_level = META.replace("| trial, V", "| all, V")
    other = bmm.Model(by_one_level, whole, relations={"V": V}, sigma=1e-4).fit()
    one = pd.DataFrame([[1.0]], index=["Intercept"], columns=["Intercept"])
    related = META.replace("equalto(0 + row | trial, V)", "equalto(1 | rel(row, V), one)")
    third = bmm.Model(related, PERIODONTAL, relations={"V": V, "one": one}, sigma=1e-4).fit()
    for found in (other, third):
        assert_allclose(found.loglik, fit.loglik, atol=1e-8)
        assert_allclose(found.parameters["estimate"], fit.parameters["estimate"], rtol=1e-5)
    tenfold = PERIODONTAL.assign(yi=10.0 * PERIODONTAL["yi"])
    scaled = bmm.Model(META, tenfold, relations={"V": 100.0 * V}, sigma=1e-3).fit()
    assert_allclose(scaled.parameters["estimate"].iloc[:4], 10.0 * fit.parameters["estimate"].iloc[:4], rtol=1e-6)
    diagonal = pd.DataFrame(np.diag(np.diag(sampling_covariance())), index=V.index[::-1], columns=V.index[::-1])
    by_weights = bmm.Model("yi ~ outcome + (1 | trial)", PERIODONTAL, weights=1.0 / np.diag(diagonal), sigma=1.0).fit()
    by_term = bmm.Model(
        "yi ~ outcome + (1 | trial) + equalto(0 + row | trial, V)", PERIODONTAL, relations={"V": diagonal}, sigma=1e-5
    ).fit()
    assert_allclose(by_term.loglik, by_weights.loglik, atol=1e-5)
    assert_allclose(by_term.parameters["estimate"], by_weights.parameters["estimate"], rtol=1e-5)


def test_texts_of_all_rows_may_be_the_effects_of_a_known_matrix() -> None:
    rng = np.random.default_rng(1)
    names = [f"r{i}" for i in range(60)]
    data = pd.DataFrame({"g": np.repeat(list("abcdefghij"), 6), "row": names, "y": rng.normal(size=60)})
    V = pd.DataFrame(np.eye(60) + 0.5, index=names, columns=names)
    fit = bmm.Model("y ~ 1 + (1 | g) + equalto(0 + row | g, V)", data, relations={"V": V}, sigma=0.01).fit()
    assert len(fit.labels.blocks[0].effects) == 61
    with pytest.raises(DesignError, match="as a fixed effect each would have a coefficient"):
        bmm.Model("y ~ row + (1 | g) + equalto(0 + C(row) | g, V)", data, relations={"V": V}, sigma=0.01)


def test_both_programs_know_the_matrix() -> None:
    points = model().check_identity().points  # the marginal program in JAX, and the criterion in NumPy
    difference = points["log_posterior"] - points["restricted"]
    assert_allclose(difference, difference.iloc[0], atol=1e-9)
    found = model().prior_predictive(2000, seed=1)
    effects = found["prior"]["b_Subject"].to_numpy().reshape(-1, 27, 5)[:, 0, 1:]
    assert_allclose(np.cov(effects.T), WALK.to_numpy(), atol=0.25)


@pytest.mark.slow
def test_both_programs_have_the_same_posterior() -> None:
    priors = {"fixed": Normal(0, 20), "sd": HalfNormal(3)}
    both = [
        model(priors=priors).sample(method=method, draws=1000, seed=2, progress=False, **how)
        for method, how in (("quadrature", {}), ("nuts", {"program": "conditional", "chains": 2, "tune": 500}))
    ]
    exact, drawn = (each.parameters for each in both)
    assert list(exact.index) == list(drawn.index)
    assert (np.abs(exact["mean"] - drawn["mean"]) < 5.0 * exact["sd"] / np.sqrt(500.0)).all()
    assert_allclose(drawn["sd"], exact["sd"], rtol=0.15)
    effects = both[0].data.posterior["b_Subject"]
    G = covariance(float(exact.loc["sd(Intercept | Subject)", "mean"]), WALK)
    own = dense().random_effects(G, SIGMA)[27:].reshape(27, 4)
    names = [f"C(age)[{age}]" for age in AGES]
    found = effects.sel(Subject_effect=names).mean(("chain", "draw")).to_numpy()
    assert np.abs(found - own).max() < 0.15
    assert "sd_Subject[Intercept]" in az.summary(both[0].data, var_names=["sd_Subject"]).index
    assert np.isfinite(np.asarray(both[0].loo().elpd))
    assert "the covariance of equalto(0 + C(age) | Subject, V) is known" in str(both[0]).replace("\n    ", " ")


def test_model_without_any_parameter_is_sampled_by_the_conditional_program_alone() -> None:
    with pytest.raises(ArgumentError, match=r"All variances are known.*program='conditional'"):
        model(ALONE).sample(progress=False)


@pytest.mark.slow
def test_posterior_of_a_model_without_any_parameter_is_the_normal_one() -> None:
    priors = {"fixed": Normal(0, 20)}
    posterior = model(ALONE, priors=priors).sample(program="conditional", draws=1000, chains=2, seed=3, progress=False)
    moments = dense(beside=False).joint_moments(
        level_covariance(WALK.to_numpy(), 27), SIGMA, np.zeros(4), np.eye(4) / 400
    )
    mean, sd = moments[0], np.sqrt(moments[1].diagonal())
    beta = posterior.data.posterior["beta"]
    effects = posterior.random_effects(progress=False)
    assert (np.abs(beta.mean(("chain", "draw")) - mean[:4]) < 0.15 * sd[:4]).all()
    assert_allclose(beta.std(("chain", "draw")), sd[:4], rtol=0.1)
    assert (np.abs(effects["mean"] - mean[4:]) < 0.2 * sd[4:]).all()
    assert_allclose(effects["sd"], sd[4:], rtol=0.12)
    assert np.isfinite(posterior.loo().elpd)


def test_matrix_is_in_words_and_symbols() -> None:
    described = str(model())
    assert "Σ 4 × 4 known, V" in described
    written = model().marginal_covariance({"Subject": ["M01"]}).to_numpy()
    assert written[1, 1] == "σ²(Intercept | Subject) + 1.2 + σ²"
    assert written[1, 0] == "σ²(Intercept | Subject) + 0.6"
    fit = model().fit()
    found = model().marginal_covariance({"Subject": ["M01"]}, at=fit).to_numpy()
    sd = fit.parameters.loc["sd(Intercept | Subject)", "estimate"]
    assert_allclose(found, sd**2 + WALK.to_numpy() + SIGMA**2 * np.eye(4), rtol=1e-12)
    assert "The covariance of equalto(0 + C(age) | Subject, V) is known." in str(fit)
    assert max(map(len, str(fit).splitlines())) <= 80


def test_saved_scanned_and_on_the_command_line(tmp_path) -> None:
    fit = model().fit()
    again = bmm.load(fit.save(tmp_path / "fit.nc"))
    assert_allclose(again.parameters["estimate"], fit.parameters["estimate"])
    assert_allclose(again.predict(GROWTH.iloc[:3]), fit.predict(GROWTH.iloc[:3]))
    WALK.to_csv(tmp_path / "V.csv")
    GROWTH.to_csv(tmp_path / "growth.csv", index=False)
    scanned = bmm.Model(BESIDE, bmm.scan(tmp_path / "growth.csv"), relations={"V": WALK}, sigma=SIGMA).fit()
    assert_allclose(scanned.loglik, fit.loglik, rtol=1e-10)
    said = run_json(
        *("fit", BESIDE, "--data", tmp_path / "growth.csv", "--relation", f"V={tmp_path / 'V.csv'}"),
        *("--sigma", str(SIGMA)),
    )
    assert f"{fit.loglik:.6f}"[:10] in str(said)


def test_what_is_simulated_and_tested_knows_the_matrix() -> None:
    fit = model().fit()
    drawn = fit.simulate(2000, seed=1).to_numpy()  # (n, sets)
    truth = model().marginal_covariance({"Subject": ["M01"]}, at=fit).to_numpy()
    rows = np.flatnonzero(GROWTH["Subject"] == "M01")
    assert_allclose(np.cov(drawn[rows]), truth, atol=0.12 * truth.max())
    assert fit.variance_tests().table["p_value"].iloc[0] < 0.001
    power = bmm.power(fit, n=20, seed=1, progress=False)
    assert "age" in power.table["effect"].to_numpy()


def test_what_is_lacking_is_said() -> None:
    with pytest.raises(DesignError, match=r"known with its scale, so sigma has to be: give Model.*residual='het\(1\)'"):
        bmm.Model(BESIDE, GROWTH, relations={"V": WALK})
    with pytest.raises(DesignError, match=r"needs the matrix 'V'. None was given"):
        bmm.Model(BESIDE, GROWTH, sigma=1.0)
    with pytest.raises(DesignError, match=r"has no row for 1 effect.*'C.age.\[14\]'"):
        model(matrix=WALK.iloc[:3, :3])
    with pytest.raises(SpecificationError, match="names no matrix"):
        bmm.Model("distance ~ age + equalto(0 + C(age) | Subject)", GROWTH, sigma=1.0)
    with pytest.raises(ArgumentError, match="no standard deviation of random effects that is estimated"):
        model(ALONE).fit().boundary("sigma")
