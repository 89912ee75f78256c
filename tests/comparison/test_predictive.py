"""Fits and posteriors of several models in one table, beside nlme and ArviZ."""

from __future__ import annotations

import arviz_stats
import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior
from scipy.special import softmax

import bayesmm as bmm
from bayesmm.bayes.posterior import Posterior
from bayesmm.comparison.models import ModelTable
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.specification.priors import Flat

FORMULA = "distance ~ Sex * age"
STRUCTURES = ("ar1(age | Subject)", "homcs(age | Subject)")


@pytest.fixture(scope="module")
def orthodont() -> pd.DataFrame:
    return bmm.datasets.load("orthodont")


@pytest.fixture(scope="module")
def posteriors(orthodont: pd.DataFrame) -> list[Posterior]:
    models = [bmm.Model(FORMULA, orthodont, residual=text) for text in STRUCTURES]
    return [model.sample(method="quadrature", draws=250, seed=1, progress=False) for model in models]


@pytest.fixture(scope="module")
def fabricated(orthodont: pd.DataFrame) -> Posterior:
    model = bmm.Model(FORMULA, orthodont, residual="homtoep(age | Subject)")
    rng = np.random.default_rng(0)
    limits = {f"rho(lag {i} | Subject)": (0.4, 0.6) for i in (1, 2, 3)} | {"sigma": (1.8, 2.6)}
    return make_posterior(model, {name: rng.uniform(low, high, SHAPE) for name, (low, high) in limits.items()})


@pytest.fixture(scope="module")
def models(posteriors: list[Posterior], fabricated: Posterior, orthodont: pd.DataFrame) -> ModelTable:
    fits = [bmm.Model(FORMULA, orthodont, residual=text).fit() for text in (*STRUCTURES, "us(age | Subject)")]
    return bmm.anova(fabricated, *fits, *posteriors, against="largest", progress=False)


def test_criteria_of_structures_are_those_of_nlme(orthodont: pd.DataFrame) -> None:
    """R 4.2, nlme 3.1-162: AIC and BIC of gls(distance ~ Sex * factor(age)), with corAR1, corCompSymm, and corSymm with
    varIdent over the number of the visit, by REML and ML; BIC counts n − p rows by REML, and bayesmm all n.
    """
    nlme = {
        "reml": {"ar1": (454.5471665, 480.5988683), "homcs": (443.4085328, 469.4602347), "us": (450.034801, 496.9278643)},
        "ml": {"ar1": (458.6626565, 485.4839688), "homcs": (446.6329322, 473.4542444), "us": (452.5093018, 500.7876639)},
    }  # fmt: skip
    for method, expected in nlme.items():
        fits = [
            bmm.Model("distance ~ Sex * C(age)", orthodont, residual=f"{name}(age | Subject)").fit(method)  # type: ignore[arg-type]
            for name in expected
        ]
        table = bmm.anova(*fits, names=list(expected)).table
        rows = 108 - 8 * (method == "reml")
        of_nlme = table["bic"] + table["n_parameters"] * np.log(rows / 108)
        for name, (aic, bic) in expected.items():
            assert table.loc[name, "aic"] == pytest.approx(aic, abs=1e-4)
            assert of_nlme[name] == pytest.approx(bic, abs=1e-4)
        assert table["n_covariance"].to_dict() == {"ar1": 2, "homcs": 2, "us": 10}


def test_each_model_has_its_fit_and_its_posterior_in_one_row(models: ModelTable) -> None:
    assert models.table.index.tolist() == [*STRUCTURES, "homtoep(age | Subject)", "us(age | Subject)"]
    assert list(models.fits) == [*STRUCTURES, "us(age | Subject)"]
    assert list(models.posteriors) == [*STRUCTURES, "homtoep(age | Subject)"]
    table = models.table
    assert table["n_parameters"].tolist() == [6, 6, 8, 14]
    assert table["n_covariance"].tolist() == [2, 2, 4, 10]
    assert table["aic"].isna().tolist() == [False, False, True, False]
    assert table["elpd_row"].isna().tolist() == [False, False, False, True]
    assert table["p_value"].notna().tolist() == [True, True, False, False]


@pytest.mark.parametrize("of", ["row", "Subject"])
def test_left_out_predictions_differ_as_by_arviz(models: ModelTable, of: str) -> None:
    by_arviz = arviz_stats.compare(models.loo[of], round_to="none")
    own = models.table.loc[by_arviz.index]
    for name, arviz in (("elpd", "elpd"), ("elpd_error", "se"), ("elpd_diff", "elpd_diff"), ("elpd_diff_error", "dse")):
        np.testing.assert_allclose(own[f"{name}_{of}"].to_numpy(), by_arviz[arviz].to_numpy(dtype=float), atol=1e-9)
    bad = {name: int((np.asarray(each.pareto_k) > each.good_k).sum()) for name, each in models.loo[of].items()}
    assert own[f"doubtful_{of}"].to_dict() == bad


def test_evidence_makes_probabilities_of_those_that_have_one(models: ModelTable, posteriors: list[Posterior]) -> None:
    evidences = np.array([each.log_evidence for each in posteriors], dtype=float)
    own = models.table.loc[list(STRUCTURES)]
    np.testing.assert_allclose(own["log_evidence"].to_numpy(), evidences)
    np.testing.assert_allclose(own["probability"].to_numpy(), softmax(evidences))
    assert models.table["probability"].isna().sum() == 2
    assert "homtoep(age | Subject): NUTS gives no evidence" in " ".join(str(models).split())


def test_report_is_eighty_columns_wide_and_a_page_has_every_cell(models: ModelTable) -> None:
    text, page, tabular = str(models), models.html(), models.latex()
    assert max(map(len, text.splitlines())) <= 80
    assert models._repr_html_()
    for name, row in models.table.iterrows():
        assert text.count(str(name)) >= 2
        for shown in [f"{row['aic']:.2f}", f"{-row['elpd_Subject']:.1f}", f"{-row['elpd_diff_error_row']:.1f}"]:
            for where in (text, page, tabular):
                assert shown.lstrip("-") in where or shown in ("nan", "-0.0"), shown
    assert tabular.count(r"\\") >= len(models.table) + 3
    assert "Subject" in page


def test_posteriors_alone_have_a_table_without_criteria(posteriors: list[Posterior]) -> None:
    found = bmm.anova(*posteriors, leave_out="Subject", progress=False, names=["serial", "equal"])
    assert str(found).startswith("Models by their posteriors\n  serial: distance ~ Sex * age, residuals ar1(age")
    assert list(found.loo) == ["Subject"]
    assert "aic" not in found.table
    assert found.table.index.tolist() == ["serial", "equal"]
    nothing = bmm.anova(*posteriors, leave_out=())
    assert not nothing.loo
    assert not any("elpd" in name for name in nothing.table)


def test_improper_priors_leave_no_evidence_that_could_be_compared(orthodont: pd.DataFrame) -> None:
    def sample(priors: dict) -> Posterior:
        model = bmm.Model("distance ~ 1", orthodont, residual=STRUCTURES[1], priors=priors)
        return model.sample(method="quadrature", draws=120, seed=1, progress=False)

    proper, flat = sample({}), sample({"Intercept": Flat()})
    found = bmm.anova(proper, flat, leave_out=(), names=["proper", "flat"])
    assert found.table["log_evidence"].isna().all()
    assert "priors of Intercept are improper" in " ".join(str(found).split())
    alike = bmm.anova(flat, flat, leave_out=(), names=["one", "other"])  # of the same constant
    assert alike.table["probability"].tolist() == pytest.approx([0.5, 0.5])


def test_what_cannot_be_compared_is_refused(posteriors: list[Posterior], orthodont: pd.DataFrame) -> None:
    other = bmm.Model(FORMULA, orthodont.assign(distance=orthodont["distance"] + 1), residual=STRUCTURES[1]).fit()
    with pytest.raises(ComparisonError, match="different responses"):
        bmm.anova(posteriors[0], other)
    with pytest.raises(ComparisonError, match="given 1 model"):
        bmm.anova(posteriors[0])
    with pytest.raises(ComparisonError, match="give fits, from"):
        bmm.anova(posteriors[0], "us")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="leave_out is 3"):
        bmm.anova(*posteriors, leave_out=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="of is 'sex'"):
        bmm.anova(*posteriors, leave_out="sex")
