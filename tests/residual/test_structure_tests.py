"""Whether residuals need what they have: likelihood ratios against the model without it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from residual_textbook import DATA, dense_loglik

import bayesmm as bmm
from bayesmm.errors import ArgumentError

FORMULA = "y ~ x"
NESTED = [
    ("us(visit | id)", "rho(visit | id)", "het(visit)", 6),
    ("us(visit | id)", "sigma(visit)", "homus(visit | id)", 3),
    ("us(visit | id)", "sigma(visit[v2])", "homus(visit | id)", 3),
    ("us(visit | id)", "rho(v0, v2 | id)", "het(visit)", 6),
    ("cs(visit | id) * het(arm)", "sigma(arm[b])", "cs(visit | id)", 1),
    ("cs(visit | id) * het(arm)", "sigma(arm)", "cs(visit | id)", 1),
    ("us(visit | id) * het(arm)", "het(arm)", "us(visit | id)", 1),
    ("cs(visit | id) * het(arm)", "sigma(visit)", "homcs(visit | id) * het(arm)", 3),
    ("ar1(step | id) * het(arm)", "rho(step | id)", "het(arm)", 1),
    ("ar1(step | id) * power(time)", "power(time)", "ar1(step | id)", 1),
    ("homtoep(visit | id, by=arm)", "rho(v", "het(arm)", 6),
    ("car1(time | id) * het(arm)", "rho(time | id)", "het(arm)", 1),
]


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("residual", "name", "smaller", "m"), NESTED)
def test_statistic_compares_with_the_model_that_lacks_it(
    residual: str, name: str, smaller: str, m: int, method: str
) -> None:
    data = DATA.assign(time=DATA["time"] + 1.0)
    fit = bmm.Model(FORMULA, data, residual=residual).fit(method)
    name = name if name != "rho(v" else "rho(visit | id)"
    test = fit.variance_tests(name).tests[0]
    null = bmm.Model(FORMULA, data, residual=smaller).fit(method)
    assert test.statistic == pytest.approx(max(2.0 * (fit.loglik - null.loglik), 0.0), abs=1e-4)
    assert test.null_loglik == pytest.approx(null.loglik, abs=1e-5)
    one_sided = residual.startswith("car1")
    assert test.null == ("½χ²₀ + ½χ²₁" if one_sided else f"χ²{'₀₁₂₃₄₅₆'[m]}")


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_statistic_compares_with_a_model_without_any_covariance_parameter(method: str) -> None:
    fit = bmm.Model(FORMULA, DATA, residual="ar1(step | id)", weights="w").fit(method)
    test = fit.variance_tests().tests[0]
    X, y, w = np.column_stack([np.ones(len(DATA)), DATA["x"]]), DATA["y"].to_numpy(), DATA["w"].to_numpy()
    root = np.sqrt(w)[:, None]
    left = ((root[:, 0] * y - root * X @ np.linalg.lstsq(root * X, root[:, 0] * y, rcond=None)[0]) ** 2).sum()
    V = np.diag(left / (len(y) - (2 if method == "reml" else 0)) / w)
    assert test.null_loglik == pytest.approx(dense_loglik(V, X, y, method), abs=1e-8)


def test_without_what_residuals_have_a_random_intercept_is_left() -> None:
    fit = bmm.Model("y ~ x + (1 | id)", DATA, residual="het(visit)").fit()
    plain = bmm.Model("y ~ x + (1 | id)", DATA).fit()
    found = fit.variance_tests()
    assert found.table.index.tolist() == ["sd(Intercept | id)", "sigma(visit)"]
    assert found.tests[1].null_loglik == pytest.approx(plain.loglik, abs=1e-6)
    again = fit.variance_tests("sigma(visit)", kind="bootstrap", n=9, progress=False).tests[0]
    assert again.null == "bootstrap, 9 refits"
    assert again.p_value >= 0.1


@pytest.mark.parametrize("residual", ["ar1(step | id)", "het(arm)", "car1(time | id)", "exponential(x)"])
def test_exact_draws_depend_on_neither_means_nor_sigma(residual: str) -> None:
    one = bmm.Model(FORMULA, DATA, residual=residual).fit()
    other = bmm.Model(FORMULA, DATA.assign(y=30.0 * DATA["y"] + 70.0 * DATA["x"] - 5e3), residual=residual).fit()
    first, second = (each.variance_tests(kind="exact", n=12, seed=3, progress=False).tests[0] for each in (one, other))
    assert first.null == "exact, 12 refits"
    assert second.draws == pytest.approx(first.draws, abs=1e-4)
    assert second.p_value == first.p_value


def test_exact_p_values_are_uniform_under_the_null() -> None:
    data = pd.DataFrame({"f": np.repeat(["a", "b"], 5), "x": np.tile(np.arange(5.0), 2)})
    drawn = bmm.simulate("y ~ x", data, {"Intercept": 1.0, "x": 2.0, "sigma": 3.0, "sigma(f[b])": 3.0}, 60,
                         residual="het(f)", seed=4)  # fmt: skip
    statistic = [
        bmm.Model("y ~ x", data.assign(y=drawn[i]), residual="het(f)").fit().variance_tests().tests[0] for i in drawn
    ]
    null = bmm.Model("y ~ x", data.assign(y=drawn[0]), residual="het(f)").fit()
    draws = null.variance_tests(kind="exact", n=299, progress=False).tests[0].draws
    p = np.array([(draws >= each.statistic).mean() for each in statistic])
    assert abs(p.mean() - 0.5) < 4.5 / np.sqrt(12 * 60)
    assert np.abs(np.sort(p) - np.arange(60) / 60).max() < 0.27  # Kolmogorov's at one in a thousand, and of 299 draws


def test_tests_that_there_are_not_say_which_there_are() -> None:
    fit = bmm.Model(FORMULA, DATA, residual="car1(time | id, by=arm)").fit()
    with pytest.raises(ArgumentError, match="no mixture is known"):
        fit.variance_tests("rho(time | id)", kind="mixture")
    with pytest.raises(ArgumentError, match="other covariance parameters"):
        fit.variance_tests("rho(time | id)", kind="exact")
    with pytest.raises(ArgumentError, match=r"Give what residuals have \(rho\(time \| id\), sigma\(arm\[b\]\)\)"):
        fit.variance_tests("rho(visit | id)")
