import warnings

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import (
    BayesmmWarning,
    DesignError,
    EstimationError,
    FitStatus,
    PredictionError,
    PriorError,
    SpecificationError,
)

SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy() -> pd.DataFrame:
    return bmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def fit(sleepstudy: pd.DataFrame):
    return bmm.Model(SLOPES, sleepstudy).fit()


def test_public_names_are_these() -> None:
    assert sorted(bmm.__all__) == [
        "Comparison",
        "Model",
        "__version__",
        "anova",
        "car",
        "compare",
        "comparisons",
        "datasets",
        "effect_uncertainty",
        "emmeans",
        "enable_compilation_cache",
        "errors",
        "load",
        "pedigree",
        "phylogeny",
        "power",
        "priors",
        "publication_table",
        "ranking",
        "relation",
        "report",
        "scan",
        "shrinkage",
        "simulate",
        "simulate_rows",
        "slopes",
        "to_long",
    ]
    for name in bmm.__all__:
        assert getattr(bmm, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lmer'"):
        bmm.lmer  # noqa: B018


def test_summary_names_every_parameter_and_prints_in_a_notebook(fit) -> None:
    text = str(fit)
    for part in ("REML", SLOPES, "180 rows", "Subject", "24.74", "5.92", "25.59", "251.41", "10.47", "0.066"):
        assert part in text
    assert "<table" in fit._repr_html_()
    assert repr(fit) == text


def test_parameter_rows_have_estimates_errors_and_intervals_around_them(fit) -> None:
    table = fit.parameters
    assert list(table.columns) == ["kind", "group", "estimate", "std_error", "lower", "upper"]
    assert (table["lower"] < table["estimate"]).all()
    assert (table["estimate"] < table["upper"]).all()
    assert table.loc["sd(Days | Subject)", "lower"] > 0
    wider = fit.parameter_table(level=0.99)
    assert (wider["upper"] > table["upper"]).all()


def test_standard_errors_of_spreads_equal_lmertest(fit) -> None:
    """From its covariance of (θ, σ), 2 × inverse Hessian, by the delta method: reference file, satterthwaite."""
    table = fit.parameters["std_error"]
    expected = {"sigma": 1.5080122, "sd(Intercept | Subject)": 5.8362446, "sd(Days | Subject)": 1.2480353}
    for name, value in expected.items():
        assert table[name] == pytest.approx(value, rel=1e-5)


def test_degrees_of_freedom_are_said_in_the_table(fit) -> None:
    assert fit.fixed_effects["df"].to_numpy() == pytest.approx([17.0, 17.0])
    assert "Satterthwaite's degrees of freedom" in str(fit)
    assert "normal quantiles" in str(fit.summary(df="normal"))


def test_status_and_convergence_are_sentences(fit) -> None:
    assert fit.status is FitStatus.CONVERGED
    assert "evaluations" in fit.convergence
    assert fit.estimate.minimum.n_evaluations <= 15


def test_search_reaches_one_optimum_from_many_starts(sleepstudy: pd.DataFrame) -> None:
    from bayesmm.reml.criterion import Criterion
    from bayesmm.reml.estimate import estimate

    model = bmm.Model(SLOPES, sleepstudy)
    criterion = Criterion(model.problem.products, model.problem.layout, "reml")
    rng = np.random.default_rng(1)
    starts = [np.zeros(3), np.array([0.864, 0.1425, 0.0]), *rng.normal(scale=3.0, size=(8, 3))]
    for start in starts:
        found = estimate(criterion, start)
        assert found.minimum.converged
        assert found.criterion == pytest.approx(1743.62827195856, abs=1e-7)


def test_zero_variance_is_an_ordinary_answer_with_a_direction() -> None:
    found = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    assert found.is_singular
    assert found.status is FitStatus.BOUNDARY
    assert found.parameters.loc["sd(Intercept | Batch)", "estimate"] == 0.0
    assert np.isnan(found.parameters.loc["sd(Intercept | Batch)", "std_error"])
    assert found.singular_directions == ("Intercept does not vary between levels of Batch",)
    assert (found.random_effects()["estimate"] == 0.0).all()
    assert "Singular" in str(found)
    assert found.fixed_effects.loc["Intercept", "estimate"] == pytest.approx(5.6656, abs=1e-9)


def test_perfect_correlation_is_exact_and_named() -> None:
    found = bmm.Model("cog ~ tos * trt + (tos | id)", bmm.datasets.load("early")).fit()
    assert found.parameters.loc["cor(Intercept, tos | id)", "estimate"] == pytest.approx(-1.0, abs=1e-12)
    assert len(found.singular_directions) == 1
    assert "tos" in found.singular_directions[0]


def test_slopes_without_any_variance_are_exactly_zero_and_uncorrelated() -> None:
    rng = np.random.default_rng(0)
    x = np.tile(np.arange(6.0), 8)
    X = np.column_stack([np.ones(6), np.arange(6.0)])
    noise = np.concatenate([e - X @ np.linalg.lstsq(X, e)[0] for e in rng.normal(size=(8, 6))])
    data = pd.DataFrame({"y": 1.0 + x + noise, "x": x, "g": np.repeat(list("abcdefgh"), 6)})
    table = bmm.Model("y ~ x + (x | g)", data).fit().parameters["estimate"]
    assert table["sd(Intercept | g)"] == 0.0
    assert table["sd(x | g)"] == 0.0
    assert np.isnan(table["cor(Intercept, x | g)"])


def test_rescaling_and_shifting_move_estimates_as_they_should(sleepstudy: pd.DataFrame, fit) -> None:
    moved = sleepstudy.assign(Reaction=1e9 + 10.0 * sleepstudy["Reaction"], Days=sleepstudy["Days"] + 2000)
    other = bmm.Model(SLOPES, moved).fit()
    assert other.sigma == pytest.approx(10.0 * fit.sigma, rel=1e-6)
    slopes = [each.parameters.loc["sd(Days | Subject)", "estimate"] for each in (other, fit)]
    assert slopes[0] == pytest.approx(10.0 * slopes[1], rel=1e-6)
    np.testing.assert_allclose(other.fitted - 1e9, 10.0 * fit.fitted, rtol=1e-6)


def test_permuting_rows_and_renaming_levels_change_nothing(sleepstudy: pd.DataFrame, fit) -> None:
    moved = sleepstudy.sample(frac=1.0, random_state=3)
    moved["Subject"] = "s" + moved["Subject"].astype(str)
    other = bmm.Model(SLOPES, moved).fit()
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-9)
    np.testing.assert_allclose(other.parameters["estimate"], fit.parameters["estimate"], rtol=1e-7)


def test_ml_has_higher_likelihood_than_any_ml_neighbour(sleepstudy: pd.DataFrame) -> None:
    found = bmm.Model(SLOPES, sleepstudy).fit("ml")
    assert found.loglik == pytest.approx(-875.969672231598, abs=1e-6)
    assert found.aic == pytest.approx(1763.9393444632, abs=1e-5)


def test_aliased_columns_are_named_and_shown(sleepstudy: pd.DataFrame) -> None:
    data = sleepstudy.assign(twice=2.0 * sleepstudy["Days"])
    found = bmm.Model("Reaction ~ Days + twice + (Days | Subject)", data).fit()
    assert found.design.aliased == ("twice",)
    assert np.isnan(found.fixed_effects.loc["twice", "estimate"])
    assert "twice" not in found.parameters.index
    assert "aliased" in str(found)


def test_predictions_of_the_fit_equal_fitted_values(fit, sleepstudy: pd.DataFrame) -> None:
    np.testing.assert_allclose(fit.predict(), fit.fitted)
    np.testing.assert_allclose(fit.predict(sleepstudy), fit.fitted)
    np.testing.assert_allclose(fit.predict(sleepstudy, random=["Subject"]), fit.fitted)
    assert fit.predict(sleepstudy.iloc[:0]).empty


def test_predictions_for_new_levels_are_refused_or_of_the_population(fit) -> None:
    new = pd.DataFrame({"Days": [0.0, 3.0, np.nan], "Subject": ["308", "new", "309"]}, index=["a", "b", "c"])
    with pytest.raises(PredictionError, match=r"'new'.*new_levels='population'"):
        fit.predict(new)
    predicted = fit.predict(new, new_levels="population")
    assert list(predicted.index) == ["a", "b", "c"]
    assert predicted["b"] == pytest.approx(fit.predict(new, random="none")["b"])
    assert np.isnan(predicted["c"])
    with pytest.raises(PredictionError, match="no grouping factor 'Sbject'"):
        fit.predict(new, random=["Sbject"])


def test_predictions_honour_offset_and_stateful_transforms(sleepstudy: pd.DataFrame) -> None:
    data = sleepstudy.assign(shift=np.arange(180.0))
    found = bmm.Model("Reaction ~ poly(Days, 2) + scale(Days) + offset(shift) + (1 | Subject)", data).fit()
    np.testing.assert_allclose(found.predict(data.iloc[[5, 17]]), found.fitted[[5, 17]])


def test_residuals_are_weighted_when_asked(sleepstudy: pd.DataFrame) -> None:
    data = sleepstudy.assign(w=np.linspace(0.5, 2.0, 180))
    found = bmm.Model("Reaction ~ Days + (1 | Subject)", data, weights="w").fit()
    np.testing.assert_allclose(
        found.residuals("pearson"), np.sqrt(data["w"]) * found.residuals() / found.sigma, rtol=1e-12
    )
    with pytest.raises(ValueError, match="'response', 'pearson', 'standardised' or 'cholesky'"):
        found.residuals("scaled")


def test_datatree_has_the_estimates_under_the_posterior_names(fit) -> None:
    tree = fit.to_datatree()
    assert tree["estimate"]["b_Subject"].sel(Subject="308", Subject_effect="Days").item() == pytest.approx(9.19897188)
    assert tree["estimate"]["cor_Subject"].item() == pytest.approx(fit.parameters["estimate"].iloc[4])


def test_dropped_rows_are_counted_and_reported(sleepstudy: pd.DataFrame) -> None:
    data = sleepstudy.copy()
    data.loc[[3, 5], "Days"] = np.nan
    with pytest.warns(BayesmmWarning, match="2 of 180 rows dropped"):
        model = bmm.Model(SLOPES, data)
    assert "178 rows (2 dropped" in str(model.fit())
    with warnings.catch_warnings(), pytest.raises(DesignError):
        bmm.Model(SLOPES, data, missing="raise")


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.inf, "1"])
def test_known_sigma_must_be_a_positive_number(sleepstudy: pd.DataFrame, sigma) -> None:
    with pytest.raises(SpecificationError, match="positive number"):
        bmm.Model(SLOPES, sleepstudy, sigma=sigma)


def test_unknown_method_says_what_there_is(sleepstudy: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="'reml' or 'ml'"):
        bmm.Model(SLOPES, sleepstudy).fit("REML")  # type: ignore[arg-type]


def test_wrong_prior_is_refused_with_the_model(sleepstudy: pd.DataFrame) -> None:
    with pytest.raises(PriorError, match="Days"):
        bmm.Model(SLOPES, sleepstudy, priors={"Dyas": bmm.priors.Normal(0, 1)})


def test_response_that_the_fixed_effects_explain_exactly_is_refused() -> None:
    x = np.arange(12.0)
    data = pd.DataFrame({"y": 1.0 + 2.0 * x, "x": x, "g": np.repeat(list("abcd"), 3)})
    with pytest.raises(DesignError, match="exactly"):
        bmm.Model("y ~ x + (1 | g)", data).fit()


@pytest.fixture(scope="module")
def towns() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": np.repeat(list("abcdef"), 8), "x": rng.normal(size=48)})
    return frame.assign(y=rng.normal(size=48) + frame["x"])


@pytest.mark.parametrize(
    ("formula", "what"),
    [
        ("y ~ town + (1 | town)", "Intercept"),
        ("y ~ 0 + x + town + (x | town)", "Intercept"),
        ("y ~ x + x:town + (x || town)", "x"),
        ("y ~ town * x + (x | town)", "Intercept and x"),
    ],
)
def test_reml_refuses_random_effects_that_fixed_effects_absorb(towns: pd.DataFrame, formula: str, what: str) -> None:
    model = bmm.Model(formula, towns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EstimationError, match=f"every level of town its own {what} already"):
            model.fit()


def test_ml_and_priors_have_an_answer_where_reml_has_none(towns: pd.DataFrame) -> None:
    """ML finds no variance between towns. REML's likelihood being flat there, the posterior of it is the prior."""
    model = bmm.Model("y ~ town + (1 | town)", towns, priors={"sd": bmm.priors.Exponential(2.0)})
    assert model.fit("ml").parameters.loc["sd(Intercept | town)", "estimate"] == 0.0
    table = model.sample(method="quadrature", progress=False).parameters
    assert table.loc["sd(Intercept | town)", "mean"] == pytest.approx(0.5, rel=0.05)


def test_the_conditional_program_cannot_leave_its_random_effects_out(sleepstudy: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="random_effects is 'moments', but the conditional program samples"):
        bmm.Model(SLOPES, sleepstudy).sample(program="conditional", random_effects="moments", progress=False)
