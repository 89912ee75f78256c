"""Posteriors of several modes, by every method, against brute-force integration over all of them."""

import warnings
from contextlib import nullcontext

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from oracle import DenseModel, block_diagonal, level_covariance, random_columns
from scipy.interpolate import CubicSpline

import bayesmm as bmm
from bayesmm.bayes.exploring.mode import Mode
from bayesmm.bayes.exploring.modes import STARTED, Modes, Partition, share_chains
from bayesmm.bayes.exploring.start import WarmStart, cold_start
from bayesmm.bayes.sample import sample
from bayesmm.errors import BayesmmWarning
from bayesmm.priors import Beta, HalfNormal, InverseGamma, Normal

EXACTLY = 5e-4  # posterior standard deviations, of quadrature
EVIDENCE = 2e-4  # log units, of quadrature with lattices for each of several modes
ERRORS = 4.5  # Monte Carlo standard errors


def limits_of(points: np.ndarray, mass: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Mean, sd and 95 % limits of an increasing function of a coordinate with these masses at equally spaced points."""
    mass = mass / mass.sum()
    mean = float(mass @ values)
    log_mass = CubicSpline(points, np.log(np.maximum(mass, 1e-300)))
    fine = np.linspace(points[0], points[-1], 40_001)
    cumulative = CubicSpline(fine, np.exp(log_mass(fine))).antiderivative()(fine)
    limits = CubicSpline(points, values)(np.interp([0.025, 0.975], cumulative / cumulative[-1], fine))
    return {"mean": mean, "sd": float(np.sqrt(mass @ (values - mean) ** 2)), "lower": limits[0], "upper": limits[1]}


def check_table(posterior, exact, tolerance: float, skip: tuple[str, ...] = ()) -> None:
    for name, numbers in exact.items():
        for what, expected in numbers.items():
            if what not in skip:
                found = (posterior.parameters.loc[name, what] - expected) / numbers["sd"]
                assert abs(found) < tolerance, f"{what} of {name}: off by {found:.2g} sds"


# --- one-way layouts: two coordinates, in closed form -------------------------------------------------------------

ONE_WAY = {  # data, prior of the sd, prior of the mean, scale of sigma, mass below the valley between the modes
    "unequal": ("rail", "travel", "Rail", (2.0, 0.1), (66.0, 30.0), 20.0, 0.0020),
    "comparable": ("rail", "travel", "Rail", (2.92, 0.1), (66.0, 30.0), 20.0, 0.3424),
    "overlapping": ("dyestuff", "Yield", "Batch", (1.2, 1.5), (1500.0, 250.0), 100.0, None),
}


def one_way_model(case: str) -> bmm.Model:
    data, y, group, inverse_gamma, intercept, sigma, _ = ONE_WAY[case]
    priors = {"Intercept": Normal(*intercept), "sd": InverseGamma(*inverse_gamma), "sigma": HalfNormal(sigma)}
    return bmm.Model(f"{y} ~ 1 + (1 | {group})", bmm.datasets.load(data), priors=priors)


def one_way_exact(case: str) -> tuple[dict[str, dict[str, float]], float, float]:
    """Parameters, log evidence, and the probability of an sd below 3, from the eigenvalues of the covariance."""
    data, y, group, (shape, scale), (m, s), sigma_scale, _ = ONE_WAY[case]
    groups = bmm.datasets.load(data).groupby(group, observed=True)[y]
    means, r = groups.mean().to_numpy(), int(groups.size().iloc[0])
    k, n = len(means), len(means) * r
    within, between = float(groups.var(ddof=1).sum() * (r - 1)), r * ((means - means.mean()) ** 2).sum()
    log_sd, log_sigma = np.linspace(-8.0, 8.0, 2401), np.linspace(0.0, 6.0, 801)
    tau, sigma = np.exp(log_sd)[:, None], np.exp(log_sigma)[None]
    batch = sigma**2 + r * tau**2
    whole = batch + n * s**2
    log_density = -0.5 * (
        n * np.log(2.0 * np.pi)
        + np.log(whole)
        + n * (means.mean() - m) ** 2 / whole
        + (k - 1) * np.log(batch)
        + between / batch
        + (n - k) * np.log(sigma**2)
        + within / sigma**2
    )
    log_density += st.invgamma.logpdf(tau, shape, scale=scale) + np.log(tau)
    log_density += st.halfnorm.logpdf(sigma, scale=sigma_scale) + np.log(sigma)
    density = np.exp(log_density - log_density.max())
    cell = (log_sd[1] - log_sd[0]) * (log_sigma[1] - log_sigma[0])
    exact = {
        f"sd(Intercept | {group})": limits_of(log_sd, density.sum(1), tau[:, 0]),
        "sigma": limits_of(log_sigma, density.sum(0), sigma[0]),
    }
    low = density.sum(1)[tau[:, 0] < 3.0].sum() / density.sum()
    return exact, float(np.log(density.sum() * cell) + log_density.max()), float(low)


@pytest.mark.parametrize("case", list(ONE_WAY))
def test_quadrature_is_exact_over_all_modes(case: str) -> None:
    exact, log_evidence, low = one_way_exact(case)
    posterior = one_way_model(case).sample(method="quadrature", draws=500, seed=1)
    check_table(posterior, exact, EXACTLY)
    assert posterior.log_evidence == pytest.approx(log_evidence, abs=1e-5)
    expected = ONE_WAY[case][-1]
    if expected is None:  # one hill with two tops that a chain walks between
        assert "modes" not in posterior.data.children
        assert posterior.notes == ()
    else:
        shares = posterior.data["modes"]["share"].to_numpy()
        assert low == pytest.approx(expected, abs=5e-4)
        assert shares[1] == pytest.approx(low, rel=1e-3)
        assert shares.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("case", list(ONE_WAY))
def test_importance_sampling_draws_from_all_modes(case: str) -> None:
    exact, log_evidence, low = one_way_exact(case)
    posterior = one_way_model(case).sample(method="importance", draws=5000, seed=2)
    worth = posterior.data["sample_stats"].attrs["effective_draws"]
    check_table(posterior, exact, ERRORS / np.sqrt(worth), skip=("sd", "lower", "upper"))
    check_table(posterior, exact, 0.15)
    assert abs(posterior.log_evidence - log_evidence) < ERRORS * posterior.log_evidence_error
    assert posterior.diagnostics.is_good
    group = ONE_WAY[case][2]
    found = (posterior.draws(f"sd_{group}") < 3.0).mean()
    assert abs(found - low) < ERRORS * np.sqrt(low * (1.0 - low) / worth)


def test_standard_error_of_the_log_evidence_is_that_of_other_seeds() -> None:
    for case in ("comparable", "overlapping"):
        model, (_, log_evidence, _) = one_way_model(case), one_way_exact(case)
        runs = [model.sample(method="importance", draws=250, seed=seed) for seed in range(20)]
        scores = [(run.log_evidence - log_evidence) / run.log_evidence_error for run in runs]
        # of 20 squared standard normals the sum is in here with probability 1 − 2e-3
        assert st.chi2(20).ppf(1e-3) < np.square(scores).sum() < st.chi2(20).ppf(1.0 - 1e-3)
        assert abs(np.mean(scores)) < 3.3 / np.sqrt(20)


# --- an uncentred covariate: three coordinates, from dense matrices -----------------------------------------------


@pytest.fixture(scope="module")
def uncentred() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    group, x = np.repeat(np.arange(4), 6), np.tile(np.arange(60.0, 66.0), 4)
    slopes, intercepts = rng.normal(0.0, 0.8, 4), rng.normal(0.0, 1.0, 4)
    y = 3.0 + slopes[group] * (x - x.mean()) + intercepts[group] + rng.normal(0.0, 0.7, 24)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in group]})


SD_SCALES = {"sd(Intercept | g)": 15.0, "sd(x | g)": 2.0, "sigma": 3.0}
AXES = (np.linspace(-13.0, 5.2, 105), np.linspace(-17.0, 2.8, 115), np.linspace(-1.5, 1.7, 41))  # logarithms


def uncentred_model(data: pd.DataFrame, **others) -> bmm.Model:
    priors = {"Intercept": Normal(0, 100), "x": Normal(0, 2)}
    priors |= {name: HalfNormal(scale) for name, scale in SD_SCALES.items()} | others
    return bmm.Model("y ~ x + (x || g)", data, priors=priors)


def dense_log_likelihood(data: pd.DataFrame, a: np.ndarray, b: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Log p(y | sds) with normal priors on the coefficients, shape (a, b, s): V less σ²I by its eigenvalues."""
    codes, x, y = data["g"].str[1:].astype(int).to_numpy(), data["x"].to_numpy(), data["y"].to_numpy()
    same = (codes[:, None] == codes[None]).astype(float)
    known = 100.0**2 + 4.0 * np.outer(x, x)
    found = []
    for own in a:
        values, vectors = np.linalg.eigh(own**2 * same + (b**2)[:, None, None] * same * np.outer(x, x) + known)
        square = (np.swapaxes(vectors, 1, 2) @ y) ** 2  # (b, n)
        variance = np.maximum(values, 0.0)[:, None] + (s**2)[:, None]  # (b, s, n)
        found.append(-0.5 * (np.log(2.0 * np.pi * variance) + square[:, None] / variance).sum(axis=-1))
    return np.stack(found)


@pytest.fixture(scope="module")
def likelihood(uncentred) -> tuple[np.ndarray, np.ndarray]:
    grid = np.exp(np.stack(np.meshgrid(*AXES, indexing="ij"), axis=-1))
    return grid, dense_log_likelihood(uncentred, *map(np.exp, AXES))


def test_the_dense_likelihood_is_the_oracle(uncentred) -> None:
    codes, x = uncentred["g"].str[1:].astype(int).to_numpy(), uncentred["x"].to_numpy()
    columns = [random_columns(codes, np.ones((24, 1)), 4), random_columns(codes, x[:, None], 4)]
    X = np.column_stack([np.ones(24), x])
    dense = DenseModel(y=uncentred["y"].to_numpy(), X=X, Z=np.column_stack(columns))
    for a, b, s in ((0.8, 0.01, 1.4), (30.0, 0.7, 0.7)):
        G = block_diagonal([level_covariance(np.array([[v]]), 4) for v in (a**2, b**2)])
        expected = dense.log_marginal_density(G, s, np.zeros(2), np.diag([1e-4, 0.25]))
        found = dense_log_likelihood(uncentred, np.array([a]), np.array([b]), np.array([s]))
        assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def uncentred_exact(likelihood):
    grid, log_density = likelihood
    log_density = log_density + np.log(grid).sum(axis=-1)
    log_density = log_density + sum(
        st.halfnorm.logpdf(grid[..., i], scale=scale) for i, scale in enumerate(SD_SCALES.values())
    )
    density = np.exp(log_density - log_density.max())
    cell = np.prod([axis[1] - axis[0] for axis in AXES])
    exact = {}
    for i, name in enumerate(SD_SCALES):
        mass = density.sum(axis=tuple(j for j in range(3) if j != i))
        exact[name] = limits_of(AXES[i], mass, np.exp(AXES[i]))
    far = density[:, np.exp(AXES[1]) > 0.15].sum() / density.sum()
    return exact, float(np.log(density.sum() * cell) + log_density.max()), float(far)


def test_both_explanations_of_an_uncentred_covariate_count(uncentred, uncentred_exact) -> None:
    exact, log_evidence, far = uncentred_exact
    assert 0.25 < far < 0.4
    model = uncentred_model(uncentred)
    by_lattices = model.sample(method="quadrature", draws=500, seed=1)
    check_table(by_lattices, exact, 3e-3)  # of the grid's own splines
    assert by_lattices.log_evidence == pytest.approx(log_evidence, abs=EVIDENCE)
    drawn = model.sample(method="importance", draws=5000, seed=1)
    worth = drawn.data["sample_stats"].attrs["effective_draws"]
    check_table(drawn, exact, ERRORS / np.sqrt(worth), skip=("sd", "lower", "upper"))
    check_table(drawn, exact, 0.12)
    assert abs(drawn.log_evidence - log_evidence) < ERRORS * drawn.log_evidence_error
    for posterior in (by_lattices, drawn):
        assert "2 modes: 69 % of the probability about sd(Intercept | g) 0.7" in posterior.notes[-1]


def test_limits_of_functions_of_two_coordinates_are_those_of_brute_force(uncentred, likelihood) -> None:
    """Priors of shares of the variance: coordinates are shares and sigma, sds are functions of both."""
    grid, log_density = likelihood
    a, b, s = np.moveaxis(grid, -1, 0)
    for sd in (a, b):
        share = sd**2 / (sd**2 + s**2)
        log_density = log_density + st.beta.logpdf(share, 2, 3) + np.log(2.0 * share * (1.0 - share))
    log_density = log_density + st.halfnorm.logpdf(s, scale=3.0) + np.log(s)
    density = np.exp(log_density - log_density.max())
    exact = {
        name: limits_of(AXES[i], density.sum(axis=tuple(j for j in range(3) if j != i)), np.exp(AXES[i]))
        for i, name in enumerate(SD_SCALES)
    }
    posterior = uncentred_model(uncentred, sd=Beta(2, 3), **dict.fromkeys(list(SD_SCALES)[:2], Beta(2, 3))).sample(
        method="quadrature", draws=500, seed=1
    )
    check_table(posterior, exact, 3e-3)


def points_to_start_from(design) -> list[WarmStart]:
    cold = cold_start(design)
    spreads = [(0.8, 0.01, 1.4), (30.0, 0.7, 0.7), (0.0, 0.0, 2.0), (60.0, 0.0, 1.0)]
    rows = [(s, np.diag([a / s, b / s])) for a, b, s in spreads]
    return [WarmStart(sigma=s, factors=(f,), beta=cold.beta, beta_covariance=cold.beta_covariance) for s, f in rows]


def test_the_posterior_does_not_depend_on_where_the_search_begins(uncentred, uncentred_exact) -> None:
    model = uncentred_model(uncentred)
    parts = {"problem": model.problem, "priors": model.priors}
    for fit in (*points_to_start_from(model.design), None):
        posterior = sample(**parts, fit=fit, method="quadrature", draws=500)
        assert posterior.log_evidence == pytest.approx(uncentred_exact[1], abs=EVIDENCE)


def test_maxima_that_the_fit_saw_are_starts(uncentred, uncentred_exact, monkeypatch) -> None:
    """Without the points of its own the search knows them from the fit alone."""
    monkeypatch.setattr("bayesmm.bayes.exploring.start._near_and_far", lambda warm, design: [])
    model = uncentred_model(uncentred)
    parts = {"problem": model.problem, "priors": model.priors}
    near, far, *_ = points_to_start_from(model.design)
    both = WarmStart(
        sigma=near.sigma,
        factors=near.factors,
        beta=near.beta,
        beta_covariance=near.beta_covariance,
        elsewhere=((far.sigma, far.factors),),
    )
    alone, aware = (sample(**parts, fit=fit, method="quadrature", draws=500) for fit in (near, both))
    assert (alone.diagnostics.modes, aware.diagnostics.modes) == (1, 2)
    assert aware.log_evidence == pytest.approx(uncentred_exact[1], abs=EVIDENCE)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_methods_agree_on_uncentred_covariates(seed: int) -> None:
    """What one method sees the others see: calendar years, eight groups."""
    rng = np.random.default_rng(seed)
    group, year = np.repeat(np.arange(8), 12), np.tile(np.arange(2001.0, 2013.0), 8)
    y = 9.0 + rng.normal(0.0, 0.3, 8)[group] * (year - 2006.5) + rng.normal(0.0, 3.0, 8)[group] + rng.normal(0, 0.5, 96)
    data = pd.DataFrame({"y": y, "year": year, "country": [f"c{i}" for i in group]})
    fixed = {"Intercept": Normal(0, 1000), "year": Normal(0, 10)}  # the defaults are too narrow so far from the origin
    priors = fixed | {
        "sd(Intercept | country)": HalfNormal(1000),
        "sd(year | country)": HalfNormal(2),
        "sigma": HalfNormal(5),
    }
    model = bmm.Model("y ~ year + (year || country)", data, priors=priors)
    exact = model.sample(method="quadrature", seed=seed)
    assert exact.parameters.loc["sd(year | country)", "mean"] > 0.15
    assert exact.parameters.loc["sigma", "mean"] == pytest.approx(0.5, abs=0.1)
    for posterior in (model.sample(method="importance", seed=seed), model.sample(draws=500, tune=500, seed=seed)):
        worth = posterior.diagnostics.ess
        for name in SD_ROWS:
            difference = posterior.parameters.loc[name, "mean"] - exact.parameters.loc[name, "mean"]
            assert abs(difference) < ERRORS * exact.parameters.loc[name, "sd"] / np.sqrt(worth)


SD_ROWS = ["sd(Intercept | country)", "sd(year | country)", "sigma"]


def test_one_coordinate_of_two_modes_is_exact() -> None:
    """Known sampling errors: the sd is all there is to integrate."""
    y, error = np.array([-3.0, 1.0, 4.0, 9.0, -6.0]), 0.5
    data = pd.DataFrame({"y": y, "study": list("abcde")})
    priors = {"Intercept": Normal(0, 10), "sd": InverseGamma(6.0, 0.1)}
    model = bmm.Model("y ~ 1 + (1 | study)", data, priors=priors, weights=np.full(5, 1.0 / error**2), sigma=1.0)
    log_sd = np.linspace(-9.0, 7.0, 8001)
    tau = np.exp(log_sd)
    own, whole = tau**2 + error**2, tau**2 + error**2 + 5.0 * 100.0
    log_density = -0.5 * (
        5.0 * np.log(2.0 * np.pi)
        + 4.0 * np.log(own)
        + np.log(whole)
        + ((y - y.mean()) ** 2).sum() / own
        + 5.0 * y.mean() ** 2 / whole
    )
    log_density += st.invgamma.logpdf(tau, 6.0, scale=0.1) + np.log(tau)
    density = np.exp(log_density - log_density.max())
    posterior = model.sample(method="quadrature", draws=500)
    expected = np.log(density.sum() * (log_sd[1] - log_sd[0])) + log_density.max()
    assert posterior.log_evidence == pytest.approx(expected, abs=1e-5)
    check_table(posterior, {"sd(Intercept | study)": limits_of(log_sd, density, tau)}, EXACTLY)


# --- NUTS ---------------------------------------------------------------------------------------------------------


LENGTH = {"draws": 120, "tune": 300, "seed": 1, "progress": False}


@pytest.mark.parametrize("program", ["marginal", "conditional"])
def test_chains_begin_in_the_modes_and_disagreement_is_called_by_its_name(program, tmp_path, monkeypatch) -> None:
    """And a run that was stopped goes on to the bit."""
    pytest.importorskip("zarr")
    model = one_way_model("comparable")
    with pytest.warns(BayesmmWarning, match=r"hains stay in different modes of the posterior \(3 and 1 of 4\)"):
        posterior = model.sample(**LENGTH, program=program)
    assert posterior.data["sample_stats"]["mode"].to_numpy()[:, 0].tolist() == [0, 0, 0, 1]
    assert not posterior.diagnostics.is_good
    assert posterior.diagnostics.modes == 2
    assert "use method='importance' or method='quadrature', which weigh the modes" in posterior.diagnostics.advice
    assert "can be used as they are" not in str(posterior.summary())
    assert (posterior.draws("sd_Rail")[3] < 1.0).all()
    assert (posterior.draws("sd_Rail")[:3] > 3.0).all()

    def interrupt(done: int, divergences: int) -> None:
        if done >= 350:
            raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        with monkeypatch.context() as patch:
            patch.setattr("bayesmm.bayes.sample.progress_bar", lambda settings, show: nullcontext(interrupt))
            begun = model.sample(**LENGTH, program=program, checkpoint=tmp_path / "run.zarr")
        resumed = model.sample(**LENGTH, program=program, checkpoint=tmp_path / "run.zarr")
    assert 0 < begun.draws("sigma").shape[1] < 120
    for group in ("posterior", "sample_stats"):
        for name, values in posterior.data[group].data_vars.items():
            np.testing.assert_array_equal(values, resumed.data[group][name], err_msg=name)
    assert resumed.notes == posterior.notes


def test_a_mode_without_draws_is_not_passed_over() -> None:
    model = one_way_model("comparable")
    with pytest.warns(BayesmmWarning, match="no draw is in modes that have 34 % of the probability"):
        posterior = model.sample(**LENGTH, chains=1)
    assert posterior.diagnostics.unseen == pytest.approx(0.34, abs=0.03)


def test_a_mode_of_hardly_any_probability_gets_no_chain_but_a_note(tmp_path) -> None:
    posterior = one_way_model("unequal").sample(draws=500, tune=300, seed=3)
    assert (posterior.data["sample_stats"]["mode"] == 0).all()
    assert posterior.diagnostics.is_good
    assert posterior.diagnostics.modes == 2
    note = posterior.notes[-1]
    assert note.startswith("The posterior has 2 modes: 99.8 % of the probability about sd(Intercept | Rail) ")
    for text in (str(posterior), posterior._repr_html_(), posterior.data["sample_stats"].attrs["notes"]):
        assert note in " ".join(text.split())
    again = bmm.load(posterior.save(tmp_path / "modes.nc"))
    assert note in " ".join(str(again).split())
    assert again.diagnostics == posterior.diagnostics


def test_comparison_says_where_the_fit_is_at_another_mode() -> None:
    priors = {"Intercept": Normal(66, 30), "sd": InverseGamma(4.5, 0.1), "sigma": HalfNormal(20)}
    against = bmm.Model("travel ~ 1 + (1 | Rail)", bmm.datasets.load("rail"), priors=priors)
    notes = {}
    for name, model in (("elsewhere", against), ("there", one_way_model("unequal"))):
        posterior = model.sample(method="importance", seed=1)
        notes[name] = [note for note in bmm.compare(model.fit(), posterior).notes if " modes, and the REML fit" in note]
        assert posterior.diagnostics.modes == 2
    assert notes["there"] == []
    assert notes["elsewhere"][0].startswith("The posterior has 2 modes, and the REML fit is at one that has ")
    assert "differences are those between two explanations of the data" in notes["elsewhere"][0]


def test_one_mode_needs_no_word() -> None:
    for data, formula in (
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        ("dyestuff2", "Yield ~ 1 + (1 | Batch)"),
    ):
        posterior = bmm.Model(formula, bmm.datasets.load(data)).sample(method="importance", draws=400)
        assert posterior.notes == ()
        assert "modes" not in posterior.data.children
        assert posterior.diagnostics.modes == 1


def test_estimates_at_modes_are_of_the_effects_as_labelled() -> None:
    """Where priors are about effects at the means of the covariates the program's factors are of other effects."""
    from bayesmm.bayes.exploring.explorers import _open_marginal, estimates_at
    from bayesmm.bayes.exploring.modes import find_modes
    from bayesmm.bayes.exploring.start import start_marginal
    from bayesmm.bayes.programs.program import MarginalProgram

    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    marginal = model.program("marginal")
    warm = cold_start(model.design)
    with jax.enable_x64(True):
        start = start_marginal(*marginal, warm, model.design)
        surface, others = _open_marginal(*marginal, start, MarginalProgram.recover_coefficients)
        modes = find_modes(surface, others)
        [estimate] = estimates_at(surface, modes, marginal, warm, model.labels)
        [sites] = surface.describe(modes.place, {"dense": modes.found[0].position[None]})
    covariance = estimate.sigma**2 * estimate.factors[0] @ estimate.factors[0].T
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(sd, sites["sd_Subject"][0], rtol=1e-10)
    assert covariance[0, 1] / sd.prod() == pytest.approx(sites["cor_Subject"][0, 0], abs=1e-10)
    assert estimate.effects[0].shape == (18, 2)


# --- the pieces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chains", [1, 2, 4, 7, 20])
def test_chains_are_shared_in_proportion_and_each_mode_that_counts_has_one(chains: int) -> None:
    rng = np.random.default_rng(chains)
    for _ in range(50):
        shares = np.sort(rng.dirichlet(np.full(4, 0.5)))[::-1]
        begun = share_chains(shares, chains)
        counts = np.bincount(begun, minlength=4)
        assert counts.sum() == chains == len(begun)
        wanted = np.flatnonzero(shares >= STARTED)
        assert (counts[shares < STARTED] == 0).all()
        assert (counts[wanted[:chains]] >= 1).all()
        assert (np.diff(counts) <= 0).all()  # never more to a lesser one


def test_a_partition_adds_up_to_one_and_gives_each_mode_its_own() -> None:
    rng = np.random.default_rng(0)
    modes = [
        Mode(None, np.array([0.0, 0.0]), 0.0, np.eye(2)),
        Mode(None, np.array([5.0, 1.0]), 1.0, np.array([[0.04, 0.01], [0.01, 0.09]])),
        Mode(None, np.array([-1.0, 9.0]), 3.0, 4.0 * np.eye(2)),
    ]
    partition = Partition(Modes(found=tuple(modes), shares=np.array([0.6, 0.399, 0.001])))
    logs = partition.log_shares(rng.normal(scale=20.0, size=(1000, 2)))
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1.0, rtol=1e-12)
    own = np.exp(partition.log_shares(np.stack([mode.position for mode in modes])))
    assert (np.diag(own) > 0.999).all()
