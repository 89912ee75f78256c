"""REML as a posterior mode, against the whole NumPyro program and closed forms."""

import numpy as np
import pytest
from programs import density_of
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm.bayes.checks.flat_posterior import build_flat_posterior
from bayesmm.comparison.identity import check_identity
from bayesmm.errors import ComparisonError, PriorError

ROUNDING = 50.0  # spacings of doubles of the size of the log densities
MODE = 2e-4  # relative; searches end at slopes of 1e-7
DISTANCE = "distance ~ Sex * age"
KNOWN = {"weights": "1 / sigma**2", "sigma": 1.0}
MODELS = {
    "intercepts": ("Yield ~ 1 + (1 | Batch)", "dyestuff", {}),
    "on the boundary": ("Yield ~ 1 + (1 | Batch)", "dyestuff2", {}),
    "correlated": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {}),
    "diagonal": ("Reaction ~ Days + (Days || Subject)", "sleepstudy", {}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {}),
    "known sigma": ("y ~ 1 + (1 | school)", "eight_schools", KNOWN),
    "correlation of one": ("yield ~ nitro + Variety + (nitro | Block)", "oats", {}),
    "no fixed effects": ("Yield ~ 0 + (1 | Batch)", "dyestuff", {}),
    "residuals": (DISTANCE, "orthodont", {"residual": "homcs(age | Subject) * het(Sex)"}),
    "both": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"residual": "ar1(Days | Subject)"}),
}


@pytest.fixture(scope="module")
def identities():
    made = {}

    def identity_of(name):
        if name not in made:
            formula, data, known = MODELS[name]
            made[name] = bmm.Model(formula, bmm.datasets.load(data), **known).check_identity()
        return made[name]

    return identity_of


@pytest.mark.parametrize("name", MODELS)
def test_log_posterior_is_the_restricted_likelihood_up_to_rounding(identities, name):
    identity = identities(name)
    assert len(identity.points) == (11 if name == "residuals" else 12)  # one without random effects
    assert np.ptp(identity.points["restricted"]) > 0.1
    assert abs(identity.constant) < ROUNDING * np.spacing(identity.size)
    assert identity.deviation < ROUNDING * np.spacing(identity.size)


@pytest.mark.parametrize("name", MODELS)
def test_the_slope_vanishes_at_reml_and_a_search_finds_the_same_peak(identities, name):
    identity = identities(name)
    assert identity.largest_slope < 1e-3
    assert abs(identity.gap) < 1e-8
    reml, found = identity.modes["REML"], identity.modes["sd"]
    np.testing.assert_allclose(found, reml, rtol=1e-3, atol=1e-5 * np.nanmax(reml))


@pytest.mark.parametrize(("scale", "power"), [("sd", 0.0), ("variance", -1.0), ("log", 1.0)])
def test_modes_with_a_covariance_of_the_residuals_are_those_of_a_dense_likelihood(identities, scale, power):
    data = bmm.datasets.load("orthodont")
    male = (data["Sex"] == "Male").to_numpy(dtype=float)
    age, y = data["age"].to_numpy(dtype=float), data["distance"].to_numpy()
    X = np.stack([np.ones(len(y)), male, age, male * age], 1)
    same = data["Subject"].to_numpy()[:, None] == data["Subject"].to_numpy()

    def downhill(point):
        of_male, rho, sigma = np.exp(point[0]), np.tanh(point[1]), np.exp(point[2])
        sd = np.where(male == 1.0, of_male, sigma)
        V = np.outer(sd, sd) * np.where(same, rho + (1.0 - rho) * np.eye(len(y)), 0.0)
        W = np.linalg.inv(V)
        A = X.T @ W @ X
        r = y - X @ np.linalg.solve(A, X.T @ W @ y)
        value = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + r @ W @ r
        return 0.5 * value - power * (point[0] + point[2])

    best = minimize(downhill, [0.8, 0.7, 0.8], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-11}).x
    found = identities("residuals").modes[scale]
    assert found.index.tolist() == ["sigma(Sex[Male])", "rho(age | Subject)", "sigma"]
    np.testing.assert_allclose(found, [np.exp(best[0]), np.tanh(best[1]), np.exp(best[2])], rtol=MODE)


def test_a_report_says_what_is_flat_and_integrated_out(identities):
    alone, both = (" ".join(str(identities(name)).split()) for name in ("residuals", "both"))
    assert "Flat ones on exponents and correlations of the residuals" in alone
    assert "The coefficients are integrated out" in alone
    assert "along φ and log sigma is at most" in alone
    assert "The coefficients and the random effects are integrated out" in both
    assert "along θ, φ and log sigma is at most" in both


def test_the_evaluated_density_is_that_of_the_whole_program():
    """Up to the constant density of LKJ(1), 1/2 on (−1, 1) for a pair, and the Jacobian of its Cholesky factor, 1."""
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"), priors="flat")
    fit = model.fit()
    flat = build_flat_posterior(model.problem)
    program, data = model.program()
    point = np.append(1.2 * fit.estimate.minimum.x, np.log(30.0))
    (F,), _, sigma = flat.factors(point)
    G = F @ F.T
    sd = np.sqrt(np.diag(G))
    sites = {"sd_Subject": sd, "cholesky_Subject": np.linalg.cholesky(G / np.outer(sd, sd)), "sigma": sigma}
    assert density_of(program, data, sites) - np.log(0.5) == pytest.approx(flat.evaluate(point), rel=1e-12)


@pytest.mark.parametrize(("column", "power"), [("sd", 0.0), ("variance", -1.0), ("log", 1.0)])
def test_modes_of_dyestuff_are_those_of_the_closed_form(identities, column, power):
    """Balanced one-way layout: s = σ² + 5 sd², independent scaled chi-squares; density times (sd σ)^power."""
    yields = bmm.datasets.load("dyestuff").groupby("Batch", observed=True)["Yield"]
    within, between = 4.0 * yields.var().sum(), 25.0 * yields.mean().var()

    def downhill(logs):
        sd, sigma = np.exp(logs)
        s = sigma**2 + 5.0 * sd**2
        log_density = -0.5 * (24.0 * np.log(sigma**2) + within / sigma**2 + 5.0 * np.log(s) + between / s)
        return -log_density - power * logs.sum()

    exact = np.exp(
        minimize(downhill, np.log([40.0, 50.0]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    )
    np.testing.assert_allclose(identities("intercepts").modes[column], exact, rtol=MODE)


def test_logarithms_move_the_mode_up_and_variances_down(identities):
    for name in ("intercepts", "diagonal"):
        modes = identities(name).modes
        assert (modes["variance"] < modes["REML"]).all()
        assert (modes["log"] > modes["REML"]).all()


def test_a_boundary_estimate_is_said_and_left_by_logarithms(identities):
    identity = identities("on the boundary")
    assert identity.boundary == ("sd(Intercept | Batch)",)
    assert identity.modes.loc["sd(Intercept | Batch)", ["REML", "sd", "variance"]].tolist() == [0.0, 0.0, 0.0]
    assert identity.modes.loc["sd(Intercept | Batch)", "log"] > 0.5
    text = " ".join(str(identity).split())
    assert "The estimate is on the boundary: sd(Intercept | Batch) is zero." in text
    assert "For sd(Intercept | Batch) there is none." in text


def test_the_report_says_what_was_integrated_and_what_is_known(identities):
    assert "sigma is known" in str(identities("known sigma"))
    assert "log sigma" not in identities("known sigma").slopes.index
    assert "LKJ(1)" in str(identities("correlated"))
    assert "LKJ(1)" not in str(identities("diagonal"))
    assert "does not vary between levels of Block" in " ".join(str(identities("correlation of one")).split())


def test_the_report_fits_a_terminal_and_a_notebook(identities):
    identity = identities("correlated")
    assert max(map(len, str(identity).splitlines())) <= 100
    assert "REML as a posterior mode" in identity._repr_html_()


def test_maximum_likelihood_and_improper_posteriors_are_refused():
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    with pytest.raises(ComparisonError, match=r"maximises over the coefficients.*model.fit\('reml'\)"):
        check_identity(model.fit("ml"))
    two = bmm.datasets.load("dyestuff").query("Batch in ['A', 'B']")
    with pytest.raises(PriorError, match="2 levels and 3 are needed"):
        bmm.Model("Yield ~ 1 + (1 | Batch)", two).check_identity()
