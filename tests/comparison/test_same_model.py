"""Results of different models or data are not compared."""

import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmError, ComparisonError

FORMULA = "Yield ~ 1 + (1 | Batch)"


@pytest.fixture(scope="module")
def data():
    return bmm.datasets.load("dyestuff")


@pytest.fixture(scope="module")
def posterior(data):
    return make_posterior(bmm.Model(FORMULA, data))


def test_models_built_twice_from_the_same_data_are_the_same(data, posterior):
    again = bmm.Model("Yield~(1|Batch)", data.copy())
    assert len(bmm.compare(again.fit("ml"), posterior).table) == 3


def test_other_formula_is_refused_with_both_formulas(data, posterior):
    other = bmm.Model("np.log(Yield) ~ 1 + (1 | Batch)", data).fit()
    with pytest.raises(
        ComparisonError, match=r"formulas are 'np.log\(Yield\).*' and 'Yield .*Fit and sample one Model"
    ):
        bmm.compare(other, posterior)


def test_other_number_of_rows_is_refused_with_both_numbers(data, posterior):
    with pytest.raises(ComparisonError, match="the fit used 29 rows, the posterior 30"):
        bmm.compare(bmm.Model(FORMULA, data.iloc[1:]).fit(), posterior)


def test_other_rows_are_refused(data, posterior):
    with pytest.raises(ComparisonError, match="each used 30 rows, but not the same ones"):
        bmm.compare(bmm.Model(FORMULA, data.set_axis(range(1, 31), axis=0)).fit(), posterior)


def test_other_response_is_refused_with_the_number_of_rows(data, posterior):
    changed = data.assign(Yield=data["Yield"].where(data.index > 2, 0.0))
    with pytest.raises(ComparisonError, match="response 'Yield' differs in 3 of 30 rows"):
        bmm.compare(bmm.Model(FORMULA, changed).fit(), posterior)


def test_other_groups_are_refused(data, posterior):
    changed = data.assign(Batch=data["Batch"].to_numpy()[::-1])
    with pytest.raises(ComparisonError, match="grouping factors differ"):
        bmm.compare(bmm.Model(FORMULA, changed).fit(), posterior)


def test_other_predictor_is_refused(data):
    formula = "Yield ~ x + (1 | Batch)"
    posterior = make_posterior(bmm.Model(formula, data.assign(x=range(30))))
    with pytest.raises(ComparisonError, match="columns of the fixed effects differ"):
        bmm.compare(bmm.Model(formula, data.assign(x=range(1, 31))).fit(), posterior)


def test_other_weights_are_refused(data, posterior):
    with pytest.raises(ComparisonError, match=r"weights differ \(1 to 30 and none\)"):
        bmm.compare(bmm.Model(FORMULA, data, weights=range(1, 31)).fit(), posterior)


def test_other_sigma_is_refused(data, posterior):
    with pytest.raises(ComparisonError, match="sigma is known as 50 in the fit and estimated in the posterior"):
        bmm.compare(bmm.Model(FORMULA, data, sigma=50.0).fit(), posterior)


def test_swapped_arguments_are_named(data, posterior):
    fit = bmm.Model(FORMULA, data).fit()
    with pytest.raises(BayesmmError, match=r"given a Posterior and a Fit.*Write compare\(model.fit\(\)"):
        bmm.compare(posterior, fit)


def test_level_outside_the_unit_interval_is_refused(data, posterior):
    with pytest.raises(ArgumentError, match=r"level is 95: give a coverage between 0 and 1"):
        bmm.compare(bmm.Model(FORMULA, data).fit(), posterior, level=95)
