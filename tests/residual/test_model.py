"""What a user meets: errors of data and text, invariances, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm import Model
from bayesmm.errors import ArgumentError, DesignError, EstimationError, FitStatus, PredictionError, SpecificationError
from bayesmm.fit import Fit

SLEEP = bmm.datasets.load("sleepstudy")
FORMULA = "Reaction ~ Days"


@pytest.fixture(scope="module")
def fit() -> Fit:
    return Model("Reaction ~ Days + (1 | Subject)", SLEEP, residual="ar1(Days | Subject)").fit()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "residual is empty"),
        ("foo(Days | Subject)", "foo"),
        ("(Days | Subject)", "Name the structure"),
        ("ar1(Days | Subject) * cs(Days | Subject)", "two structures"),
        ("het(Subject) * het(Subject)", "twice"),
        ("ar1(Subject | Subject)", "cannot tell their rows apart"),
        ("ar1(I(Days**2) | Subject)", "is no column"),
        ("ar1(Days)", "has no bar"),
        ("us(Days | Subject, hom=maybe)", "True or False"),
    ],
)
def test_text_that_cannot_be_read_says_what_to_write(text: str, part: str) -> None:
    with pytest.raises(SpecificationError, match=re.escape(part)):
        Model(FORMULA, SLEEP, residual=text)


def test_repeated_time_names_group_and_time() -> None:
    data = pd.concat([SLEEP, SLEEP.iloc[[13]]], ignore_index=True)
    with pytest.raises(DesignError, match=r"Group '309' of 'Subject' has several rows at Days = 3"):
        Model(FORMULA, data, residual="ar1(Days | Subject)")


@pytest.mark.parametrize(
    ("data", "text", "part"),
    [
        (SLEEP.assign(Days=SLEEP.Days / 2), "ar1(Days | Subject)", "counts whole steps"),
        (SLEEP, "car1(Subject | Days)", "is not numbers"),
        (SLEEP, "power(Days)", "shift the covariate"),
        (SLEEP[SLEEP.Days == 1], "ar1(Days | Subject)", "has one row"),
        (SLEEP.assign(f="a"), "het(f)", "one level"),
        (SLEEP, "us(Days | Subject) * het(Days)", "make up already"),
        (SLEEP[(SLEEP.Days != 3) | (SLEEP.index % 20 > 9)], "het(Days) * us(Days | Subject)", "make up already"),
        (SLEEP[~((SLEEP.Days == 3) & (SLEEP.index < 90) | (SLEEP.Days == 4) & (SLEEP.index >= 90))],
         "us(Days | Subject)", "No group of 'Subject' has rows at 3 and at 4"),
    ],
)  # fmt: skip
def test_data_that_a_structure_cannot_take_are_refused(data: pd.DataFrame, text: str, part: str) -> None:
    with pytest.raises(DesignError, match=part):
        Model("Reaction ~ 1", data, residual=text)


def test_crossed_factors_are_refused_within_groups_and_taken_by_strata() -> None:
    data = bmm.datasets.load("penicillin")
    with pytest.raises(DesignError, match="cross the correlations"):
        Model("diameter ~ (1 | plate) + (1 | sample)", data, residual="homcs(sample | plate)")
    fit = Model("diameter ~ (1 | plate) + (1 | sample)", data, residual="het(sample)").fit()
    plain = Model("diameter ~ (1 | plate) + (1 | sample)", data).fit()
    assert fit.n_parameters == plain.n_parameters + 5
    assert fit.loglik > plain.loglik


def test_what_random_effects_say_already_is_refused() -> None:
    with pytest.raises(EstimationError, match="does not tell all covariance parameters"):
        Model("Reaction ~ Days + (1 | Subject)", SLEEP, residual="homcs(Days | Subject)").fit()


def exact_visit(seed: int, visit: int, n: int = 40) -> pd.DataFrame:
    """Three visits, in one of which a response is its subject's level and nothing else."""
    rng, sd = np.random.default_rng(seed), np.ones(3)
    sd[visit] = 0.0
    level = rng.normal(size=n)
    who, when = np.repeat(np.arange(n), 3), np.tile(np.arange(3), n)
    y = 1.0 + level[who] + sd[when] * rng.normal(size=3 * n)
    return pd.DataFrame({"y": y, "id": who, "visit": [f"v{each}" for each in when]})


@pytest.mark.parametrize(("seed", "visit"), [(1, 0), (1, 1), (5, 2)])
def test_a_visit_whose_variance_is_zero_is_named(seed: int, visit: int) -> None:
    """Its likelihood, in full, rises as the variance falls."""
    data = exact_visit(seed, visit)
    own = f"standard deviation at v{visit} of 'visit' is zero .*, drop \\(1 \\| id\\), or sample"
    with pytest.raises(EstimationError, match=own):
        Model("y ~ visit + (1 | id)", data, residual="het(visit)").fit()
    y = data["y"].to_numpy().reshape(-1, 3).T

    def deviance(logs: np.ndarray, smallest: float) -> float:
        """Of subjects that are alike, each visit with a mean of its own: REML."""
        sds = np.insert(np.exp(logs[1:]), visit, smallest)
        V = np.exp(2.0 * logs[0]) + np.diag(sds**2)
        left = y - y.mean(axis=1, keepdims=True)
        return (y.shape[1] - 1) * np.linalg.slogdet(V)[1] + np.sum(left * np.linalg.solve(V, left))

    values = [minimize(deviance, np.zeros(3), args=(smallest,)).fun for smallest in (0.3, 0.1, 0.01, 0.001)]
    assert (np.diff(values) < 0.0).all()


def test_a_variance_that_is_small_and_no_more_is_estimated() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.normal(size=60) * np.tile([1.0, 1e-3], 30), "scale": ["kitchen", "lab"] * 30})
    found = Model("y ~ 1", data, residual="het(scale)").fit().parameters.loc["sigma(scale[lab])", "estimate"]
    assert found == pytest.approx(data["y"][1::2].std(), rel=1e-3)


def test_formula_needs_no_random_effects_and_says_so() -> None:
    with pytest.raises(SpecificationError, match=r"residual='us\(visit \| id\)'"):
        Model(FORMULA, SLEEP)


@pytest.mark.parametrize("text", ["ar1(Days | Subject)", "us(Days | Subject)", "car1(Days | Subject) * het(half)"])
@pytest.mark.parametrize("random", ["", " + (1 | Subject)"])
def test_nothing_depends_on_order_units_or_names(text: str, random: str) -> None:
    if random and text.startswith("us"):
        pytest.skip("not told apart")
    data = SLEEP[SLEEP.Days < 4].assign(half=np.where(SLEEP[SLEEP.Days < 4].index % 4 < 2, "a", "b"))
    one = Model("Reaction ~ Days" + random, data, residual=text).fit()
    moved = data.sample(frac=1.0, random_state=1).reset_index(drop=True)
    moved["Reaction"] = 1e3 * moved["Reaction"] + 1e6
    moved["Subject"] = "s" + (1000 - moved["Subject"].astype(int)).astype(str)
    other = Model("Reaction ~ Days" + random, moved, residual=text).fit()
    df = one.n - one.design.p
    assert other.loglik + df * np.log(1e3) == pytest.approx(one.loglik, abs=1e-6)
    rho = [name for name in one.parameters.index if name.startswith("rho")]
    assert other.parameters.loc[rho, "estimate"].to_numpy() == pytest.approx(
        one.parameters.loc[rho, "estimate"].to_numpy(), rel=1e-5
    )
    table = one.coefficients(df="kenward-roger"), other.coefficients(df="kenward-roger")
    assert table[1]["df"].to_numpy() == pytest.approx(table[0]["df"].to_numpy(), rel=1e-4)
    assert table[1].loc["Days", "estimate"] == pytest.approx(1e3 * table[0].loc["Days", "estimate"], rel=1e-6)


def test_unit_of_time_changes_only_what_is_per_unit() -> None:
    one = Model(FORMULA, SLEEP, residual="car1(Days | Subject)").fit()
    hours = SLEEP.assign(Days=24.0 * SLEEP.Days)
    other = Model(FORMULA, hours, residual="car1(Days | Subject)").fit()
    assert other.loglik == pytest.approx(one.loglik + 0.5 * np.log(24**-2), abs=1e-7)
    assert other.parameters.loc["rho(Days | Subject)", "estimate"] ** 24 == pytest.approx(
        one.parameters.loc["rho(Days | Subject)", "estimate"], rel=1e-6
    )


def test_compound_symmetry_is_a_random_intercept_where_correlation_is_positive() -> None:
    residual = Model(FORMULA, SLEEP, residual="homcs(Days | Subject)").fit()
    random = Model("Reaction ~ Days + (1 | Subject)", SLEEP).fit()
    assert residual.loglik == pytest.approx(random.loglik, abs=1e-8)
    ours, theirs = (each.coefficients(df="kenward-roger") for each in (residual, random))
    assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-6)


def test_negative_correlation_is_found() -> None:
    rng = np.random.default_rng(5)
    e = rng.normal(size=(40, 3))
    e -= 0.8 * e.mean(axis=1, keepdims=True)
    data = pd.DataFrame({"y": e.ravel(), "id": np.repeat(np.arange(40), 3), "v": np.tile([1, 2, 3], 40)})
    fit = Model("y ~ 1", data, residual="homcs(v | id)").fit()
    assert -0.5 < fit.parameters.loc["rho(v | id)", "estimate"] < -0.2


def test_weights_alone_are_prior_weights() -> None:
    data = SLEEP.assign(w=1.0 + SLEEP.index % 3, same="a", h=np.where(SLEEP.index % 2, "a", "b"))
    plain = Model("Reaction ~ Days + (Days | Subject)", data, weights="w").fit()
    strata = Model("Reaction ~ Days + (Days | Subject)", data, weights="w", residual="het(h)").fit()
    assert strata.loglik >= plain.loglik - 1e-9
    ratio = (strata.parameters.loc["sigma(h[b])", "estimate"] / strata.sigma) ** -2
    fixed = data.assign(w=data.w * np.where(data.h == "b", ratio, 1.0))
    again = Model("Reaction ~ Days + (Days | Subject)", fixed, weights="w").fit()
    assert again.loglik == pytest.approx(strata.loglik, abs=1e-7)
    assert again.sigma == pytest.approx(strata.sigma, rel=1e-6)


WORKS = {
    "aic", "anova", "augment", "bootstrap", "check", "coef", "bic", "boundary", "coefficients", "confounded", "convergence", "criteria", "design", "envelopes", "explained", "explore", "factors", "fitted", "fixed_effects", "glance", "group_lines",
    "influence", "is_singular", "known_sigma", "labels", "loadings", "loglik", "method", "n", "n_parameters", "other_maxima", "parameter_table",
    "parameters", "plot_effects", "plot_envelopes", "plot_groups", "plot_marginal_covariance", "plot_residual_correlation", "plot_residuals", "plot_variance_shares", "predict", "principal_components", "profile", "random_effects", "residual_correlation", "residuals", "robust", "sigma", "simulate", "simulated_residuals",
    "singular_directions", "status", "summary", "theta", "tidy", "to_datatree", "variance_shares", "variance_tests",
}  # fmt: skip
TO_FILES = {"save", "predict_rows", "augment_rows", "influence_rows", "simulate_rows"}
FEW = {"n": 20}
OPTIONS = dict.fromkeys(
    ["boundary", "check", "envelopes", "plot_envelopes", "plot_residuals", "simulated_residuals"], FEW
)
ARGUMENTS = {"test": ("Days = 0",), "bootstrap": (2,), "boundary": ("sd(Intercept | Subject)",)}


def test_every_method_of_a_fit_works(fit: Fit, tmp_path: Path) -> None:
    arguments = ARGUMENTS | {"explore": (tmp_path / "explorer.html",)}
    for name in [name for name in dir(fit) if not name.startswith("_")]:
        if name in WORKS | {"test", "problem", "estimate"} | TO_FILES:
            value = getattr(fit, name)
            if callable(value) and name not in TO_FILES:
                value(*arguments.get(name, ()), **OPTIONS.get(name, {}))
            continue
        with pytest.raises(ArgumentError, match="has no smooth term"):
            getattr(fit, name)(*arguments.get(name, ()))


def test_residuals_scaled_by_the_root_of_their_covariance_are_uncorrelated() -> None:
    fit = Model(FORMULA, SLEEP, residual="us(Days | Subject)").fit("ml")
    e = fit.residuals("cholesky").reshape(18, 10)
    X = np.column_stack([np.ones(10), np.arange(10)])
    R = (fit.residuals("response").reshape(18, 10).T @ fit.residuals("response").reshape(18, 10)) / 18
    # Maximum likelihood of complete data makes Σ the mean product of residuals, so that scaled ones have exactly I.
    assert e.T @ e / 18 == pytest.approx(np.eye(10), abs=1e-6)
    estimates = fit.parameters["estimate"]
    sds = np.append(fit.sigma, estimates[[f"sigma(Days[{t}])" for t in range(1, 10)]])
    assert sds == pytest.approx(np.sqrt(np.diag(R)), rel=1e-6)
    pearson = fit.residuals("pearson").reshape(18, 10)
    assert (pearson**2).mean(axis=0) == pytest.approx(np.ones(10), rel=1e-6)
    standardised = fit.residuals("standardised").reshape(18, 10)
    leverage = np.einsum("ti,ij,tj->t", X, fit.estimate.beta_covariance, X)
    assert standardised == pytest.approx(pearson * sds / np.sqrt(sds**2 - leverage), rel=1e-9)


def test_fit_without_random_effects_has_empty_tables_of_them() -> None:
    fit = Model(FORMULA, SLEEP, residual="ar1(Days | Subject)").fit()
    assert len(fit.random_effects()) == len(fit.principal_components()) == 0
    assert list(fit.random_effects())[:4] == ["group", "level", "effect", "estimate"]


def test_effects_and_coefficients_are_those_of_the_dense_model() -> None:
    data = SLEEP[SLEEP.Subject.isin(["308", "309", "310", "330"])]
    fit = Model("Reaction ~ Days + (1 | Subject)", data, residual="ar1(Days | Subject) * exponential(Days)").fit()
    estimates = fit.parameters["estimate"]
    days, codes = data.Days.to_numpy(), data.Subject.cat.remove_unused_categories().cat.codes.to_numpy()
    sds = fit.sigma * np.exp(days * estimates["exponential(Days)"])
    C = estimates["rho(Days | Subject)"] ** np.abs(days[:, None] - days)
    R = np.where(codes[:, None] == codes, C, 0.0) * np.outer(sds, sds)
    X = np.column_stack([np.ones(len(data)), days])
    Z = (codes[:, None] == np.arange(4)).astype(float)
    dense = DenseResidual(data.Reaction.to_numpy(), X, Z, R, estimates["sd(Intercept | Subject)"] ** 2 * np.eye(4))
    beta, b, joint = dense.solve()
    assert fit.fixed_effects["estimate"].to_numpy() == pytest.approx(beta, rel=1e-8)
    effects = fit.random_effects(uncertainty="fixed")
    assert effects["estimate"].to_numpy() == pytest.approx(b, rel=1e-7, abs=1e-7)
    assert effects["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(joint)[2:]), rel=1e-7)
    of_level = fit.coef()
    L = np.hstack([np.tile([1.0, 0.0], (4, 1)), np.eye(4)])
    intercepts = of_level[of_level.effect == "Intercept"]
    assert intercepts["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(L @ joint @ L.T)), rel=1e-7)
    conditional = fit.random_effects()
    known = np.linalg.inv(Z.T @ np.linalg.solve(R, Z) + np.linalg.inv(dense.G))
    assert conditional["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(known)), rel=1e-7)


class DenseResidual:
    """Henderson's equations in full."""

    def __init__(self, y: np.ndarray, X: np.ndarray, Z: np.ndarray, R: np.ndarray, G: np.ndarray) -> None:
        self.y, self.T, self.R, self.G, self.p = y, np.hstack([X, Z]), R, G, X.shape[1]

    def solve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        information = self.T.T @ np.linalg.solve(self.R, self.T)
        information[self.p :, self.p :] += np.linalg.inv(self.G)
        joint = np.linalg.inv(information)
        found = joint @ self.T.T @ np.linalg.solve(self.R, self.y)
        return found[: self.p], found[self.p :], joint


def test_simulated_data_have_the_covariance_of_the_fit() -> None:
    fit = Model("Reaction ~ Days + (1 | Subject)", SLEEP, residual="ar1(Days | Subject) * exponential(Days)").fit()
    e = fit.simulate(4000, seed=2).to_numpy() - fit.predict(random="none").to_numpy()[:, None]
    found = np.einsum("gtm,gum->tu", *2 * [e.reshape(18, 10, -1)]) / (18 * 4000)
    estimates, t = fit.parameters["estimate"], np.arange(10)
    sds = fit.sigma * np.exp(t * estimates["exponential(Days)"])
    expected = estimates["rho(Days | Subject)"] ** np.abs(t[:, None] - t) * np.outer(sds, sds)
    expected += estimates["sd(Intercept | Subject)"] ** 2
    assert found == pytest.approx(expected, rel=0.03)
    assert fit.simulate(2, seed=2).equals(fit.simulate(3, seed=2)[[0, 1]])


@pytest.mark.parametrize(
    ("formula", "text"),
    [("Reaction ~ Days + (1 | Subject)", "ar1(Days | Subject)"), ("Reaction ~ C(Days)", "us(Days | Subject)")],
)
def test_saved_fit_comes_back(formula: str, text: str, tmp_path: Path) -> None:
    data = SLEEP[SLEEP.Days < 4]
    fit = Model(formula, data, residual=text).fit()
    again = bmm.load(fit.save(tmp_path / "fit.nc"))
    assert isinstance(again, Fit)
    assert str(again) == str(fit)
    assert again.coefficients(df="kenward-roger").equals(fit.coefficients(df="kenward-roger"))
    tree = fit.to_datatree()
    assert tree["estimate"]["residual_cor"].to_numpy() == pytest.approx(
        fit.parameters.loc[list(fit.labels.residual_cors), "estimate"].to_numpy()
    )


def test_command_line_takes_a_covariance_of_residuals() -> None:
    table = run_json("fit", "Reaction ~ Days", "--data", "sleepstudy", "--residual", "ar1(Days | Subject)")
    fit = Model(FORMULA, SLEEP, residual="ar1(Days | Subject)").fit()
    assert table["model"]["residual"] == "ar1(Days | Subject)"
    assert table["fit"]["log_likelihood"] == pytest.approx(fit.loglik)
    assert any("rho(Days | Subject)" in row.values() for row in table["fit"]["parameters"])


def test_intervals_of_fitted_means_are_those_of_contrasts() -> None:
    fit = Model("Reaction ~ C(Days)", SLEEP, residual="homtoep(Days | Subject)").fit()
    rows = pd.DataFrame({"Days": [0, 3]})
    table = fit.predict(rows, interval="confidence")
    means = bmm.emmeans(fit, "Days", at={"Days": [0, 3]}, df="kenward-roger").table
    for name in ("estimate", "std_error", "df", "lower", "upper"):
        assert table[name].to_numpy() == pytest.approx(means[name].to_numpy(), rel=1e-9)


def test_models_that_are_no_cases_of_each_other_have_no_test() -> None:
    data = bmm.datasets.load("orthodont")
    one = Model("distance ~ Sex * C(age)", data, residual="homcs(age | Subject) * het(Sex)").fit()
    other = Model("distance ~ Sex * C(age)", data, residual="us(age | Subject)").fit()
    models = bmm.anova(one, other)
    assert np.isnan(models.table["p_value"].to_numpy()).all()
    assert "There is no test" in str(models)


def test_covariance_of_rows_is_that_of_the_textbook_and_of_what_is_simulated() -> None:
    data = SLEEP.assign(half=np.where(SLEEP.index % 2, "a", "b"))
    model = Model("Reaction ~ Days + (1 | Subject)", data, residual="ar1(Days | Subject) * het(half)")
    fit = model.fit()
    found = model.marginal_covariance({"Subject": ["308", "309"]}, at=fit).to_numpy()
    e, t = fit.parameters["estimate"], np.tile(np.arange(10), 2)
    sd = np.where(np.arange(20) % 2, fit.sigma, e["sigma(half[b])"])
    same = np.repeat([0, 1], 10)[:, None] == np.repeat([0, 1], 10)
    C = e["rho(Days | Subject)"] ** np.abs(t[:, None] - t) * np.outer(sd, sd) + e["sd(Intercept | Subject)"] ** 2
    assert found == pytest.approx(np.where(same, C, 0.0), rel=1e-10)
    alone = Model("Reaction ~ 1", SLEEP, residual="us(Days | Subject)")
    rows = alone.marginal_covariance({"Subject": "308"}, at=alone.fit("ml"))
    y = SLEEP.Reaction.to_numpy().reshape(18, 10) - alone.fit("ml").parameters.loc["Intercept", "estimate"]
    assert rows.to_numpy() == pytest.approx(y.T @ y / 18, rel=1e-5)
    with pytest.raises(ArgumentError, match="in symbols"):
        model.marginal_covariance([0, 1])
    with pytest.raises(DesignError, match="Give a list of row labels"):
        alone.marginal_mean("308")


def test_prediction_intervals_have_the_variance_of_their_rows() -> None:
    data = SLEEP.assign(half=np.where(SLEEP.index % 2, "a", "b"))
    fit = Model("Reaction ~ Days", data, residual="ar1(Days | Subject) * het(half) * exponential(Days)").fit()
    rows = pd.DataFrame({"Days": [0, 3, 8], "half": ["a", "b", "a"]})
    mean, new = (fit.predict(rows, interval=kind) for kind in ("confidence", "prediction"))
    e = fit.parameters["estimate"]
    sds = np.array([fit.sigma, e["sigma(half[b])"], fit.sigma]) * np.exp(rows.Days * e["exponential(Days)"])
    assert new["std_error"].to_numpy() ** 2 == pytest.approx(mean["std_error"].to_numpy() ** 2 + sds**2, rel=1e-9)
    own = fit.predict(interval="prediction").iloc[[1, 10]]
    again = fit.predict(data.iloc[[1, 10]], interval="prediction")
    assert own.to_numpy() == pytest.approx(again.to_numpy(), rel=1e-9)
    assert (new["df"] > 5).all()
    with pytest.raises(PredictionError, match="no variance at 'c'"):
        fit.predict(rows.assign(half="c"), interval="prediction")


def test_search_goes_on_with_the_exact_curvature_where_the_likelihood_is_bent() -> None:
    rng = np.random.default_rng(8)
    L = np.array([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [-0.8, 0.2, 0.1]])
    e = rng.normal(size=(9, 3)) @ L.T
    data = pd.DataFrame({"y": e.ravel(), "id": np.repeat(np.arange(9), 3), "v": np.tile([0, 1, 2], 9)})
    data["arm"] = np.where(data.id % 2, "a", "b")
    fit = Model("y ~ v", data, residual="us(v | id) * het(arm)").fit("ml")
    assert fit.status is FitStatus.CONVERGED
    criterion = fit.estimate.residual.criterion
    assert np.linalg.eigvalsh(criterion.derivatives(fit.estimate.residual.phi).hessian)[0] > 0


def test_bootstrap_spreads_as_the_standard_errors_say() -> None:
    fit = Model("Reaction ~ Days", SLEEP, residual="ar1(Days | Subject) * exponential(Days)").fit()
    found = fit.bootstrap(150, statistic=lambda other: other.sigma)
    names = list(fit.parameters.index)
    ratio = found.parameters.loc[names, "std_error"] / fit.parameters["std_error"]
    assert ratio.between(0.75, 1.3).all(), ratio
    assert found.n_failed == 0
    assert found.statistics["statistic"].to_numpy() == pytest.approx(found.draws["sigma"].to_numpy())
    assert fit.bootstrap(2).draws.equals(fit.bootstrap(3).draws.iloc[:2])


def test_correlation_that_ends_at_zero_has_no_standard_error() -> None:
    rng = np.random.default_rng(0)
    e = rng.normal(size=(40, 6))
    data = pd.DataFrame({"y": (e[:, 1:] - 0.6 * e[:, :-1]).ravel(), "id": np.repeat(np.arange(40), 5)})
    data["t"] = np.tile(np.arange(5.0), 40)
    fit = Model("y ~ t", data, residual="car1(t | id)").fit()
    rho = fit.parameters.loc["rho(t | id)"]
    assert rho["estimate"] == pytest.approx(0.0, abs=1e-5)
    assert np.isnan([rho["std_error"], rho["lower"], rho["upper"]]).all()
    table = fit.coefficients(df="kenward-roger")
    assert table["df"].to_numpy() == pytest.approx([198.0, 198.0], rel=1e-4)


def test_several_levels_a_row_are_refused() -> None:
    data = SLEEP.assign(other=np.roll(SLEEP.Subject.astype(str), 10))
    with pytest.raises(DesignError, match="several levels"):
        Model("Reaction ~ Days + (1 | mm(Subject, other))", data, residual="het(Days)")


def test_effects_that_take_all_of_sigma_are_said_to_be_the_residuals() -> None:
    rng = np.random.default_rng(0)
    for k in (2, 3):
        rows = [(g, f"v{v}", y) for g in range(40) for v, y in enumerate(rng.normal(size=k) + rng.normal())]
    data = pd.DataFrame(rows, columns=["g", "v", "y"])
    with pytest.raises(EstimationError, match="highest where sigma is zero"):
        Model("y ~ toep(0 + v | g)", data).fit()
    limit = Model("y ~ 1", data, residual="toep(v | g)").fit().loglik
    logliks = [Model("y ~ toep(0 + v | g)", data, sigma=sigma).fit().loglik for sigma in (0.3, 0.1, 0.01)]
    assert logliks == sorted(logliks)
    assert logliks[-1] == pytest.approx(limit, abs=1e-3)
    assert logliks[-1] < limit
