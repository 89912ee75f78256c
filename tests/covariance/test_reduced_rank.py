"""Effects that vary along a few directions, ``rr(... | g, d=2)``, through the public interface."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayesmm as bmm
from bayesmm.errors import ArgumentError, DesignError, PriorError, SpecificationError
from bayesmm.reml.optimise import minimise

GROWTH = bmm.datasets.load("orthodont")
FORMULA = "distance ~ age * Sex + rr(0 + C(age) | Subject, d={d})"
# glmmTMB 1.1.5 on nlme::Orthodont, with A = factor(age):
# glmmTMB(distance ~ age * Sex + rr(0 + A | Subject, d = d), REML = ...)
GLMMTMB = {
    (1, "reml"): (None, 1.3665285, [1.76932, 1.54808, 2.11660, 1.82921], [1.0] * 6),
    (2, "ml"): (
        -211.8071133,
        1.2065634,
        [1.89599, 1.55569, 2.08966, 1.85164],
        [0.761327, 0.935940, 0.940885, 0.755999, 0.999967, 0.938083],
    ),
    (2, "reml"): (
        -214.4046432,
        1.2208325,
        [1.97253, 1.61091, 2.14790, 1.94261],
        [0.789183, 0.918647, 0.967622, 0.742442, 0.997353, 0.946710],
    ),
}


@pytest.mark.parametrize(("d", "method"), GLMMTMB)
def test_fit_is_that_of_glmmtmb(d, method) -> None:
    loglik, sigma, sds, cors = GLMMTMB[d, method]
    fit = bmm.Model(FORMULA.format(d=d), GROWTH).fit(method)
    if loglik is not None:
        assert_allclose(fit.loglik, loglik, atol=1e-6)
    assert_allclose(fit.sigma, sigma, rtol=1e-4)
    table = fit.parameters
    assert_allclose(table.loc[table["kind"] == "sd", "estimate"], sds, rtol=1e-4)
    assert_allclose(table.loc[table["kind"] == "cor", "estimate"], cors, atol=1e-4)
    assert fit.n_parameters == {1: 9, 2: 12}[d]
    assert not fit.is_singular  # of the rank that was asked for


def simulate(seed: int) -> tuple[pd.DataFrame, int]:
    rng = np.random.default_rng(seed)
    k, d, q, times = (int(rng.integers(*ends)) for ends in ((4, 7), (1, 3), (8, 25), (1, 4)))
    loadings = rng.normal(size=(k, d)) * rng.choice([0.3, 1.0, 3.0], size=(1, d))
    b = rng.normal(size=(q, d)) @ loadings.T
    level, t = np.repeat(np.arange(q), k * times), np.tile(np.arange(k), q * times)
    return pd.DataFrame({"y": b[level, t] + rng.normal(size=len(t)), "g": level, "t": [f"t{i}" for i in t]}), d


def test_many_occasions_of_nearly_one_shape_converge() -> None:
    """Average information is far from the Hessian there: the search ends with exact second derivatives."""
    boys = bmm.datasets.load("oxboys")
    fit = bmm.Model("height ~ age + I(age**2) + rr(0 + C(Occasion) | Subject)", boys).fit("ml")
    assert fit.status.name == "CONVERGED"
    assert_allclose(-2.0 * fit.loglik, 633.1356769, atol=1e-5)  # 2 × 316.567838, glmmTMB 1.1.5


@pytest.mark.parametrize("seed", range(5))
def test_search_ends_at_the_highest_maximum(seed) -> None:
    data, d = simulate(seed)
    fit = bmm.Model(f"y ~ t + rr(0 + t | g, d={d})", data).fit()
    criterion, n = fit.estimate.criterion_function, len(fit.theta)
    rng = np.random.default_rng(seed)
    starts = [rng.normal(size=n) * 10.0 ** rng.uniform(-1.0, 1.0) for _ in range(6)]
    found = [minimise(criterion, at, sizes=criterion.sizes, escapes=criterion.escapes) for at in starts]
    assert fit.estimate.criterion <= min(each.evaluation.value for each in found) + 1e-6


def test_variance_along_one_direction_only_is_found_on_the_boundary() -> None:
    """Of rank two, where effects are all one: the second direction has no variance."""
    rng = np.random.default_rng(3)
    level, t = np.repeat(np.arange(20), 12), np.tile(np.repeat(np.arange(4), 3), 20)
    y = rng.normal(size=20)[level] + rng.normal(size=240) * 0.05 + np.tile([0.3, -0.3, 0.0], 80)
    data = pd.DataFrame({"y": y, "g": level, "t": [f"t{i}" for i in t]})
    fits = [bmm.Model(f"y ~ 1 + rr(0 + t | g, d={d})", data).fit() for d in (1, 2)]
    assert_allclose(fits[0].loglik, fits[1].loglik, atol=1e-6)
    assert [fit.is_singular for fit in fits] == [False, True]
    assert len(fits[1].singular_directions) == 3  # two of them of the rank


def test_loadings_have_a_fixed_sign_and_rotation() -> None:
    fit = bmm.Model(FORMULA.format(d=2), GROWTH).fit()
    Lambda = fit.factors[0]
    assert_allclose(Lambda, np.tril(Lambda))
    assert (np.diag(Lambda)[:2] > 0.0).all()
    assert_allclose(Lambda[:, 2:], 0.0, atol=1e-12)
    assert (fit.principal_components()["sd"] > 1e-8).sum() == 2


def test_degrees_of_freedom_are_those_of_some_children() -> None:
    fit = bmm.Model(FORMULA.format(d=1), GROWTH).fit()
    for df in ("kenward-roger", "satterthwaite"):
        table = fit.coefficients(df=df)
        assert_allclose(table["std_error"], fit.fixed_effects["std_error"], rtol=0.05)
        assert table["df"].between(10.0, 104.0).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DesignError, match="rank 4 leaves them free"):
        bmm.Model(FORMULA.format(d=4), GROWTH)
    for d in ("0", "1.5", "x"):
        with pytest.raises(SpecificationError, match="d= is a whole number"):
            bmm.Model(FORMULA.format(d=d), GROWTH)
    model = bmm.Model(FORMULA.format(d=1), GROWTH)
    with pytest.raises(PriorError, match=r"first covariance is of reduced rank.*write us\(\) or fa\(\)"):
        _ = bmm.Model("pixel ~ day + kron(rr(Side, d=1), ar1(C(day)) | Dog)", bmm.datasets.load("pixel")).priors
    with pytest.raises(ArgumentError, match="follow from loadings"):
        model.fit().variance_tests(["cor(C(age)[8], C(age)[10] | Subject)"])


def test_profile_leaves_out_correlations_that_nothing_moves() -> None:
    data = GROWTH[GROWTH["age"] < 11]
    profile = bmm.Model("distance ~ age + rr(0 + C(age) | Subject, d=1)", data, sigma=1.0).fit().profile()
    table = profile.intervals()
    row = table.loc["cor(C(age)[8], C(age)[10] | Subject)"]
    assert row["estimate"] == pytest.approx(1.0)
    assert row[["lower", "upper"]].isna().all()
    assert table.drop(row.name)["lower"].notna().all()
    assert "is no parameter: effects along one direction leave it where it is" in " ".join(str(profile).split())


def test_saved_and_written(tmp_path) -> None:
    fit = bmm.Model(FORMULA.format(d=1), GROWTH).fit()
    assert "rr(0 + C(age) | Subject, d=1)" in fit.design.specification.normalised()
    fit.save(tmp_path / "fit.nc")
    assert_allclose(bmm.load(tmp_path / "fit.nc").parameters["estimate"], fit.parameters["estimate"])
    assert "Σ 4 × 4 of rank 1" in str(bmm.Model(FORMULA.format(d=1), GROWTH))
