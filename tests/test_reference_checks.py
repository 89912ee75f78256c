"""The comparison with the reference values notices what it should: every wrong number, and one in every place."""

from typing import Any

import numpy as np
import pytest
from reference_checks import canonical_row, differ, discrepancies
from reference_models import reference_models, translate
from reference_names import canonical_effect, canonical_group, canonical_level

from bayesmm import Model, datasets

MODEL = next(model for model in reference_models()[0] if model.id == "sleepstudy/ris_reml")


@pytest.fixture(scope="module")
def fit():
    return Model(MODEL.formula, MODEL.frame()).fit()


class Changed:
    """A fit with one answer replaced."""

    def __init__(self, fit: Any, **changes: Any):
        self.__dict__.update(changes, fit=fit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fit, name)


def scale(table, column, row, factor):
    table = table.copy()
    table.loc[table.index[row], column] *= factor
    return table


CHANGES = {
    "loglik": lambda fit: {"loglik": fit.loglik + 2e-6},
    "aic": lambda fit: {"aic": fit.aic + 1e-5},
    "bic": lambda fit: {"bic": fit.bic + 1e-5},
    "Days": lambda fit: {"fixed_effects": scale(fit.fixed_effects, "estimate", 1, 1 + 2e-5)},
    "se of Intercept": lambda fit: {"fixed_effects": scale(fit.fixed_effects, "std_error", 0, 1 + 2e-5)},
    "coefficients": lambda fit: {"fixed_effects": fit.fixed_effects.iloc[:1]},
    "sigma": lambda fit: {"sigma": fit.sigma * (1 - 2e-5)},
    "fitted": lambda fit: {"fitted": fit.fitted + 1e-3},
    "rows used": lambda fit: {"fitted": fit.fitted[1:]},
    "residuals": lambda fit: {"residuals": lambda: fit.residuals() - 1e-3},
    "residual sum of squares": lambda fit: {"residuals": lambda: np.append(fit.residuals()[:-1], 0.0)},
    "sd(Days | Subject)": lambda fit: {"parameters": scale(fit.parameters, "estimate", 3, 1 + 1e-3)},
    "('cor', 'Subject', 'Days', 'Intercept')": lambda fit: {"parameters": scale(fit.parameters, "estimate", 4, 0.99)},
    "no row ('sd', 'Subject', 'Days')": lambda fit: {"parameters": fit.parameters.drop("sd(Days | Subject)")},
    "theta": lambda fit: {"factors": tuple(factor * (1 + 1e-4) for factor in fit.factors)},
    "effects Days of Subject": lambda fit: {
        "random_effects": lambda: fit.random_effects().assign(estimate=lambda table: table["estimate"] * 1.001)
    },
    "conditional sds Intercept of Subject": lambda fit: {
        "random_effects": lambda: fit.random_effects().assign(std_error=lambda table: table["std_error"] * 1.001)
    },
    "is_singular is True": lambda fit: {"is_singular": True},
    "predictions with_random": lambda fit: {"predict": lambda *_, random, **__: fit.predict(random="none").iloc[:5]},
}


def test_a_right_fit_has_no_discrepancy(fit):
    assert discrepancies(MODEL, Changed(fit)) == []


@pytest.mark.parametrize("what", CHANGES)
def test_a_wrong_answer_is_noticed(fit, what):
    found = discrepancies(MODEL, Changed(fit, **CHANGES[what](fit)))
    assert any(what in line for line in found), found


def test_a_number_that_is_not_one_differs():
    assert list(differ("x", np.nan, 1.0, 1e9))
    assert list(differ("x", [1.0, 2.0], [1.0], 1e9))
    assert not list(differ("x", 5.0, None, 0.0))


def test_names_of_lme4_and_of_the_package_become_one():
    assert canonical_effect("cses:sector[T.Public]") == canonical_effect("sector[T.Public]:cses")
    assert canonical_effect("C(Time)[T.1]") == canonical_effect("C(Time)[T.1.0]")
    assert canonical_effect("f[T.b]") != canonical_effect("f[b]")
    assert canonical_group("cask:batch") == canonical_group("batch:cask")
    assert canonical_level("cask:batch", "a:A") == canonical_level("batch:cask", "A:a")
    assert canonical_level("sample", "A:a") == "A:a"
    assert canonical_row("cor(Intercept, Days | b:a)") == ("cor", "a:b", "Days", "Intercept")


def test_double_bar_with_a_factor_is_translated_as_lme4_reads_it():
    data = datasets.load("machines")
    assert translate("score ~ 1 + (Machine || Worker)", data) == "score ~ 1 + (1 | Worker) + (0 + Machine | Worker)"
    assert translate("score ~ 1 + diag(0 + Machine | Worker)", data) == "score ~ 1 + diag(0 + Machine | Worker)"
    assert translate("y ~ factor(x) + I(x^2) + us(1 + x | g)", data) == "y ~ C(x) + I(x**2) + us(1 + x | g)"
