"""Effects that vary in another way in each level of a second factor, ``gr(g, by=f)``, through the public interface."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest
from made_posterior import make_posterior
from numpy.testing import assert_allclose

import bayesmm as bmm
from bayesmm.errors import DesignError, PredictionError, SpecificationError
from bayesmm.specification.formula import parse_formula

GROWTH = bmm.datasets.load("orthodont")
FORMULA = "distance ~ age * Sex + (1 + age | gr(Subject, by=Sex))"
SEARCH = 1e-4  # of estimates: two searches of one criterion end that near each other
# lme4 1.1.31 on nlme::Orthodont, with F and M indicators of the sexes:
# lmer(distance ~ age * Sex + (0 + F + F:age | Subject) + (0 + M + M:age | Subject)), and with (0 + F | Subject) alone.
LME4 = {
    "sd(Intercept:Sex[Female] | Subject)": 1.081887076,
    "sd(age:Sex[Female] | Subject)": 0.084337065,
    "sd(Intercept:Sex[Male] | Subject)": 3.673713114,
    "sd(age:Sex[Male] | Subject)": 0.293766008,
    "cor(Intercept:Sex[Female], age:Sex[Female] | Subject)": 1.0,
    "cor(Intercept:Sex[Male], age:Sex[Male] | Subject)": -0.883951490,
    "sigma": 1.255186274,
}
LME4_LOGLIK = -214.4945496
LME4_INTERCEPTS = {
    "sd(Intercept:Sex[Female] | Subject)": 1.9875024,
    "sd(Intercept:Sex[Male] | Subject)": 1.6924189,
    "sigma": 1.3863818,
}
LME4_INTERCEPTS_DEVIANCE = 433.5163873


@pytest.fixture(scope="module")
def fit():
    return bmm.Model(FORMULA, GROWTH).fit()


def test_fit_is_that_of_lme4_with_indicators(fit) -> None:
    assert_allclose(fit.parameters["estimate"][list(LME4)], list(LME4.values()), rtol=SEARCH)
    assert_allclose(fit.loglik, LME4_LOGLIK, atol=1e-6)
    intercepts = bmm.Model("distance ~ age * Sex + (1 | gr(Subject, by=Sex))", GROWTH).fit()
    estimates = intercepts.parameters["estimate"]
    assert_allclose(estimates[list(LME4_INTERCEPTS)], list(LME4_INTERCEPTS.values()), rtol=SEARCH)
    assert_allclose(-2.0 * intercepts.loglik, LME4_INTERCEPTS_DEVIANCE, atol=1e-6)


def test_same_as_models_of_each_stratum_where_they_share_nothing() -> None:
    """With sigma known and fixed effects of each sex, the likelihood is the product of those of both."""
    fixed = "distance ~ 0 + Sex + Sex:age"
    both = bmm.Model(f"{fixed} + homcs(0 + C(age) | gr(Subject, by=Sex))", GROWTH, sigma=1.0).fit("ml")
    total = 0.0
    for sex in ("Female", "Male"):
        own = bmm.Model("distance ~ age + homcs(0 + C(age) | Subject)", GROWTH.query("Sex == @sex"), sigma=1.0).fit(
            "ml"
        )
        total += own.loglik
        for name in ("sd(0 + C(age) | Subject)", "cor(0 + C(age) | Subject)"):
            there = both.parameters["estimate"][name.replace(" | ", f":Sex[{sex}] | ")]
            assert_allclose(there, own.parameters["estimate"][name], rtol=1e-3)
    assert_allclose(both.loglik, total, atol=1e-6)


def test_formula_is_written_as_it_is_read(fit) -> None:
    (term,) = parse_formula(FORMULA).random_terms
    assert str(term) == "(1 + age | gr(Subject, by=Sex))"
    assert parse_formula(fit.design.specification.normalised()).random_terms == (term,)
    assert parse_formula("y ~ 1 + (1 | gr(g))").random_terms == parse_formula("y ~ 1 + (1 | g)").random_terms
    assert "in each level of Sex by itself" in str(fit.design.specification)
    assert "(b₂, b₃)[Subject] ~ N(0, Σ), Σ 2 × 2 unstructured, 16 levels" in str(bmm.Model(FORMULA, GROWTH))


def test_new_levels_vary_as_those_of_their_stratum(fit) -> None:
    new = GROWTH.iloc[:2].assign(Subject=["new", "other"], Sex=["Female", "Male"], age=10.0)
    kept = {"new_levels": "sample", "interval": "prediction", "uncertainty": "conditional", "df": "normal"}
    std_error = fit.predict(new, **kept)["std_error"].to_numpy()
    value = fit.parameters["estimate"]
    for sex, found in zip(("Female", "Male"), std_error, strict=True):
        a, b = value[f"sd(Intercept:Sex[{sex}] | Subject)"], value[f"sd(age:Sex[{sex}] | Subject)"]
        r = value[f"cor(Intercept:Sex[{sex}], age:Sex[{sex}] | Subject)"]
        assert_allclose(found**2, a**2 + 20.0 * r * a * b + 100.0 * b**2 + fit.sigma**2, rtol=1e-6)


def test_unknown_strata_and_levels_of_several_are_refused(fit) -> None:
    with pytest.raises(PredictionError, match=r"'Sex' has the level\(s\) 'X'.*Known are Female, Male"):
        fit.predict(GROWTH.iloc[:2].assign(Sex="X"))
    with pytest.raises(DesignError, match="'M01' in '8', '10', '12', '14'"):
        bmm.Model("distance ~ age + (1 | gr(Subject, by=age))", GROWTH)
    with pytest.raises(DesignError, match="'Intercept' varies by 'Subject' as a whole and by strata"):
        bmm.Model("distance ~ age + (1 | Subject) + (1 | gr(Subject, by=Sex))", GROWTH)
    one = GROWTH[GROWTH["Subject"].isin(["F01", "M01", "M02", "M03"])]
    with pytest.raises(DesignError, match=r"stratum 'Female' .* has a single level of 'Subject'"):
        bmm.Model("distance ~ age + (1 | gr(Subject, by=Sex))", one)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("gr(g, cov=A)", "no argument 'cov'(.|\n)*rel"),
        ("gr(g, by=g)", "strata of gr.. are its grouping factor 'g'"),
        ("gr(a, b)", "takes one grouping factor, and has 2"),
        ("gr(g, by=a + b)", "by= is 'a . b', not a column"),
        ("gr(g):b", "cannot be combined"),
        ("gr(g, cor=FALSE)", "no argument 'cor'"),
    ],
)
def test_what_gr_does_not_take_is_said(written, problem) -> None:
    with pytest.raises(SpecificationError, match=problem):
        parse_formula(f"y ~ 1 + (1 | {written})")


def test_default_priors_are_those_of_the_rows_of_a_stratum() -> None:
    priors = bmm.Model(FORMULA, GROWTH).priors.table()["prior"]
    ages = GROWTH.groupby("Sex")["age"].std()
    for sex in ("Female", "Male"):
        scale = 2.5 * GROWTH["distance"].std() / ages[sex]
        assert str(priors[f"sd(age:Sex[{sex}] | Subject)"]) == str(bmm.priors.HalfStudentT(3, scale))


def test_saved_fits_posteriors_and_labels(fit, tmp_path) -> None:
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert_allclose(again.parameters["estimate"], fit.parameters["estimate"])
    posterior = make_posterior(bmm.Model(FORMULA, GROWTH))
    table = az.summary(posterior.data, var_names=["sd_Subject"], kind="stats", round_to="none")
    names = posterior.parameters.index
    assert "sd(age:Sex[Male] | Subject)" in names
    own = table.loc["sd_Subject[age:Sex[Male]]", "mean"]
    assert_allclose(own, posterior.parameters.loc["sd(age:Sex[Male] | Subject)", "mean"], rtol=1e-6)


def test_marginal_covariance_of_two_strata(fit) -> None:
    """In each stratum that of a model of it alone, and nothing between them."""
    model = bmm.Model(FORMULA, GROWTH)
    V = model.marginal_covariance({"Subject": ["F01", "M01"]}, at=fit).to_numpy()
    Z = np.column_stack([np.ones(4), GROWTH["age"].unique()])
    value = fit.parameters["estimate"]
    blocks = []
    for sex in ("Male", "Female"):
        sds = np.array([value[f"sd({name}:Sex[{sex}] | Subject)"] for name in ("Intercept", "age")])
        r = value[f"cor(Intercept:Sex[{sex}], age:Sex[{sex}] | Subject)"]
        blocks.append(Z @ (np.array([[1.0, r], [r, 1.0]]) * np.outer(sds, sds)) @ Z.T + fit.sigma**2 * np.eye(4))
    orders = ([0, 1], [1, 0])  # of the rows of both children
    zero = np.zeros((4, 4))
    expected = [np.block([[blocks[i], zero], [zero, blocks[j]]]) for i, j in orders]
    assert any(np.allclose(V, each, rtol=1e-8) for each in expected)
    written = model.marginal_covariance({"Subject": ["M01"]}).to_numpy()
    assert "σ²(Intercept:Sex[Male] | Subject)" in written[0, 0]
