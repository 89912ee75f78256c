import numpy as np
import pandas as pd
import pytest

from bayesmm.bayes.priors.resolution import default_conflicts
from bayesmm.errors import PriorError
from bayesmm.specification.priors import (
    LKJ,
    Beta,
    BoxTiao,
    Flat,
    Gamma,
    HalfNormal,
    HalfStudentT,
    Normal,
    Reciprocal,
    StudentT,
    Uniform,
)

SLEEP = "Reaction ~ Days + (Days | Subject)"


def prior_of(case, name):
    return next(row.prior for row in case.priors.rows if row.name == name)


def test_defaults_have_the_scales_of_the_data(build):
    case = build(SLEEP, "sleepstudy")
    y, days = case.design.y, case.design.X[:, 1]
    width = 2.5 * y.std(ddof=1)
    assert prior_of(case, "Intercept") == Normal(y.mean(), width)
    assert prior_of(case, "Days") == Normal(0, width / days.std(ddof=1))
    assert prior_of(case, "sd(Intercept | Subject)") == HalfStudentT(3, width)
    assert prior_of(case, "sd(Days | Subject)") == HalfStudentT(3, width / days.std(ddof=1))
    assert prior_of(case, "sigma") == HalfStudentT(3, width)
    assert prior_of(case, "cor(Intercept, Days | Subject)") == LKJ(1)


def test_the_default_intercept_is_about_the_response_at_mean_predictors(build):
    case = build(SLEEP, "sleepstudy")
    np.testing.assert_allclose(case.priors.contrast, [[1.0, 4.5], [0.0, 1.0]])
    assert case.priors.table().loc["Intercept", "about"].startswith("expected response")


def test_a_users_prior_is_on_the_coefficient_as_labelled(build):
    case = build(SLEEP, "sleepstudy", priors={"Intercept": Normal(250, 100)})
    np.testing.assert_array_equal(case.priors.contrast, np.eye(2))
    assert case.priors.table().loc["Intercept", ["source", "about"]].tolist() == ["user", "coefficient"]


def test_cell_means_share_the_default_of_an_intercept(build):
    case = build("Reaction ~ 0 + C(Days) + (1 | Subject)", "sleepstudy")
    y = case.design.y
    for row in case.priors.of_kind("fixed"):
        assert list(row.prior.numbers.values()) == pytest.approx([y.mean(), 2.5 * y.std(ddof=1)])


def test_a_line_through_the_origin_is_scaled_by_root_mean_squares(build):
    case = build("Reaction ~ 0 + Days + (0 + Days | Subject)", "sleepstudy")
    y, days = case.design.y, case.design.X[:, 0]
    assert prior_of(case, "Days") == Normal(0, 2.5 * np.sqrt((y**2).mean() / (days**2).mean()))


def test_sigma_is_scaled_by_the_weighted_response(build):
    data = pd.DataFrame({"y": [1.0, 3, 2, 5, 4, 7], "g": list("aabbcc"), "w": [4.0] * 6})
    weighted, plain = build("y ~ 1 + (1 | g)", data, weights="w"), build("y ~ 1 + (1 | g)", data)
    assert prior_of(weighted, "sigma").scale == pytest.approx(2.0 * prior_of(plain, "sigma").scale)
    assert prior_of(weighted, "sd(Intercept | g)") == prior_of(plain, "sd(Intercept | g)")


def test_the_narrowest_key_wins(build):
    priors = {"sd": HalfNormal(1), "sd(Subject)": HalfNormal(2), "sd(Days | Subject)": HalfNormal(3)}
    case = build(SLEEP, "sleepstudy", priors=priors)
    assert prior_of(case, "sd(Intercept | Subject)") == HalfNormal(2)
    assert prior_of(case, "sd(Days | Subject)") == HalfNormal(3)


@pytest.mark.parametrize(
    "key", ["cor", "cor(Subject)", "cor(Days,Intercept|Subject)", "cor(Intercept, Days | Subject)"]
)
def test_a_correlation_is_reached_by_kind_group_and_name(build, key):
    assert prior_of(build(SLEEP, "sleepstudy", priors={key: LKJ(2)}), "cor(Intercept, Days | Subject)") == LKJ(2)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"days": Normal(0, 5)}, "no such parameter. Did you mean 'Days'.*'sd\\(Days | Subject\\)'.*'sigma'"),
        ({"sd(Day | Subject)": HalfNormal(1)}, "Did you mean 'sd\\(Days | Subject\\)'"),
        ({"sd": Normal(0, 5)}, "positive. Suitable: HalfNormal.*HalfNormal is the same prior cut at zero"),
        ({"sigma": StudentT(3, 0, 5)}, "HalfStudentT is the same prior cut at zero"),
        ({"Days": LKJ(2)}, "whose values are correlations; 'Days' is a coefficient. Suitable: Normal"),
        ({"cor": Normal(0, 1)}, "is a correlation matrix. Suitable: Flat, LKJ"),
        ({"sd": Uniform(-1, 5)}, "cannot be negative"),
        ({"Days": Gamma(2, 1, on="variance")}, "has no variance"),
        ({"sigma": Beta(1, 1)}, "about a random effect's share of the variance; 'sigma' is a standard deviation"),
        ({"Days": Uniform(0, 1, on="share")}, "'Days' is a coefficient and has none. Give it to 'sd'"),
        ({"sd": Reciprocal()}, "infinite mass at zero.*improper. BoxTiao\\(size\\).*HalfStudentT"),
        ({"sigma": BoxTiao(5)}, "not for 'sigma'.*its companion for sigma is Reciprocal"),
        ({"Days": Reciprocal()}, "not for 'Days', a coefficient. Suitable: Normal"),
        ({"Days": 5}, "is 5, not a prior; write one of Normal, StudentT"),
        ("weak", "priors='weak'; write priors='flat'"),
    ],
)
def test_wrong_priors_are_refused_with_what_would_be_right(build, priors, message):
    with pytest.raises(PriorError, match=message):
        build(SLEEP, "sleepstudy", priors=priors)


def test_parts_of_one_correlation_matrix_cannot_have_different_priors(build):
    formula = "Reaction ~ Days + (Days + I(Days**2) | Subject)"
    with pytest.raises(PriorError, match=r"one prior together.*'cor\(Subject\)': LKJ"):
        build(formula, "sleepstudy", priors={"cor(Intercept, Days | Subject)": LKJ(2)})
    assert prior_of(build(formula, "sleepstudy", priors={"cor": LKJ(2)}), "cor(Intercept, Days | Subject)") == LKJ(2)


def test_a_column_named_like_a_kind_is_named_by_its_row(build):
    data = pd.DataFrame({"y": [1.0, 3, 2, 5, 4, 7], "g": list("aabbcc"), "sd": [1.0, 2, 3, 4, 5, 7]})
    case = build("y ~ sd + (1 | g)", data, priors={"sd": HalfNormal(3), "beta(sd)": Normal(0, 4)})
    assert prior_of(case, "beta(sd)") == Normal(0, 4)
    assert prior_of(case, "sd(Intercept | g)") == HalfNormal(3)


def test_a_key_without_its_blanks_reaches_one_row_or_is_refused(build):
    data = pd.DataFrame(
        {"y": [1.0, 3, 2, 5, 4, 7], "g": list("aabbcc"), "a b": [1.0, 2, 3, 4, 5, 7], "ab": [2.0, 1, 4, 3, 7, 5]}
    )
    formula = "y ~ ab + `a b` + (1 | g)"
    case = build(formula, data, priors={"ab": Normal(0, 4), "a b": Normal(0, 5), "sd(Intercept|g)": HalfNormal(3)})
    assert [prior_of(case, name) for name in ("ab", "a b")] == [Normal(0, 4), Normal(0, 5)]
    assert prior_of(case, "sd(Intercept | g)") == HalfNormal(3)
    with pytest.raises(PriorError, match="may be 'ab' or 'a b'"):
        build(formula, data, priors={"a  b": Normal(0, 4)})


def test_two_priors_of_one_row_are_refused(build):
    with pytest.raises(PriorError, match=r"'Days'.*'beta\(Days\)'.*leave one out"):
        build(SLEEP, "sleepstudy", priors={"Days": Normal(0, 4), "beta(Days)": Normal(0, 5)})


def test_a_known_sigma_has_no_prior(build):
    with pytest.raises(PriorError, match="sigma is fixed at 1"):
        build(
            "y ~ 1 + (1 | school)", "eight_schools", weights="1 / sigma**2", sigma=1.0, priors={"sigma": HalfNormal(1)}
        )
    case = build("y ~ 1 + (1 | school)", "eight_schools", weights="1 / sigma**2", sigma=1.0)
    assert [row.name for row in case.priors.rows] == ["Intercept", "sd(Intercept | school)"]
    assert "sigma is fixed at 1" in str(case.priors)


def test_flat_is_flat_in_everything(build):
    case = build(SLEEP, "sleepstudy", priors="flat")
    assert {row.prior for row in case.priors.rows} == {Flat(), LKJ(1)}
    assert {row.source for row in case.priors.rows} == {"flat"}
    np.testing.assert_array_equal(case.priors.contrast, np.eye(2))


def test_flat_is_refused_where_the_posterior_would_be_improper(build):
    data = pd.DataFrame({"y": [1.0, 3, 2, 5, 4, 7], "g": list("aaabbb")})
    with pytest.raises(PriorError, match="'g' has 2 levels and 3 are needed"):
        build("y ~ 1 + (1 | g)", data, priors="flat")
    three = data.assign(g=list("aabbcc"))
    with pytest.raises(PriorError, match="'g' has 3 levels and 4 are needed"):
        build("y ~ 1 + (1 | g)", three, priors={"sd": Flat(on="variance")})


def test_the_table_lists_every_parameter_with_its_prior_in_data_units(build):
    table = build(SLEEP, "sleepstudy", priors={"Days": Normal(0, 50)}).priors.table()
    assert list(table.columns) == ["kind", "group", "prior", "source", "about"]
    assert table.loc["Days", ["prior", "source"]].tolist() == ["Normal(0, 50)", "user"]
    assert table.loc["sd(Intercept | Subject)", "prior"] == "HalfStudentT(3, 140.8)"


def test_a_default_at_odds_with_the_data_is_named(build):
    case = build(SLEEP, "sleepstudy")
    assert default_conflicts(case.priors, np.array([251.0, 10.5]), np.diag([46.0, 2.4])) == []
    (conflict,) = default_conflicts(case.priors, np.array([298.0 - 4.5 * 200.0, 200.0]), np.diag([46.0, 2.4]))
    assert conflict.startswith("The default prior of 'Days'")
    assert "centre the covariates" in conflict


def test_the_table_says_what_a_share_and_a_variance_are_about(build):
    case = build("Yield ~ 1 + (1 | Batch)", "dyestuff", priors={"sd": Beta(1, 3), "sigma": Reciprocal()})
    assert case.priors.table()["about"].tolist() == ["coefficient", "share of the variance", "standard deviation"]
    assert [row.is_proper for row in case.priors.rows] == [True, True, False]
    flat = build(SLEEP, "sleepstudy", priors={"cor": Flat()})
    assert next(row for row in flat.priors.rows if row.kind == "cor").is_proper
