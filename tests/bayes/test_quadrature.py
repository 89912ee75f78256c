import numpy as np
import pytest
import scipy.stats as st

import bayesmm as bmm
from bayesmm.bayes.exploring.lattice import DEPTH, grow_lattice
from bayesmm.bayes.exploring.quadrature import marginal_distribution
from bayesmm.priors import Beta, HalfCauchy, HalfNormal, Normal, StudentT

CELL = 0.7  # standard deviations; the trapezoidal rule is exact to 1e-15 there
MOST = 200_000
INTEGRAL = 1e-7  # e⁻²⁰ of the density is left out, times a polynomial
EXACTLY = 1e-3  # posterior standard deviations: quantiles are interpolated
COARSELY = 0.03  # of quantiles of what is no coordinate: read off the weights of nodes


def normal_of(d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(d)
    root = rng.normal(size=(d, d)) + 1.5 * np.eye(d)
    return rng.normal(size=d), root @ root.T


def normal_energies(mean: np.ndarray, covariance: np.ndarray):
    precision = np.linalg.inv(covariance)
    return lambda x: 0.5 * np.einsum("mi,ij,mj->m", x - mean, precision, x - mean) - 3.0


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_lattice_gives_the_moments_of_a_correlated_normal(d: int) -> None:
    mean, covariance = normal_of(d)
    axes = CELL * np.linalg.cholesky(covariance)
    lattice = grow_lattice(normal_energies(mean, covariance), mean + 0.3 * axes.sum(axis=1), axes, most=MOST)
    assert lattice is not None
    expected = 3.0 + 0.5 * np.linalg.slogdet(2.0 * np.pi * covariance)[1]
    assert lattice.log_integral == pytest.approx(expected, abs=INTEGRAL)
    found = lattice.weights @ lattice.positions
    np.testing.assert_allclose(found, mean, rtol=0, atol=INTEGRAL * np.sqrt(covariance.max()))
    deviations = lattice.positions - mean
    spread = deviations.T @ (lattice.weights[:, None] * deviations)
    # what lies beyond the depth has this share of the second moments
    left_out = 2.0 * st.chi2.sf(2.0 * DEPTH, d + 2) + INTEGRAL
    np.testing.assert_allclose(spread, covariance, rtol=0, atol=left_out * np.abs(covariance).max())


def test_lattice_visits_every_node_once() -> None:
    mean, covariance = normal_of(3)
    axes = CELL * np.linalg.cholesky(covariance)
    lattice = grow_lattice(normal_energies(mean, covariance), mean, axes, most=MOST)
    assert len(np.unique(lattice.index, axis=0)) == len(lattice.index)
    radius = np.sqrt(2.0 * DEPTH) / CELL
    side = np.arange(-int(radius) - 1, int(radius) + 2)
    grid = np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
    assert len(lattice.index) == int(((grid**2).sum(axis=1) < radius**2).sum())


def test_lattice_of_too_many_nodes_is_none() -> None:
    mean, covariance = normal_of(2)
    energies, axes = normal_energies(mean, covariance), CELL * np.linalg.cholesky(covariance)
    needed = len(grow_lattice(energies, mean, axes, most=MOST).index)
    assert grow_lattice(energies, mean, axes, most=needed) is not None
    assert grow_lattice(energies, mean, axes, most=needed - 1) is None


def test_lattice_started_away_from_the_mode_forgets_the_nodes_that_do_not_count() -> None:
    mean, covariance = np.zeros(1), np.eye(1)
    lattice = grow_lattice(normal_energies(mean, covariance), np.array([7.0]), CELL * np.eye(1), most=MOST)
    assert np.abs(lattice.positions).max() <= np.sqrt(2.0 * DEPTH)
    assert lattice.log_integral == pytest.approx(3.0 + 0.5 * np.log(2.0 * np.pi), abs=INTEGRAL)


def test_lattice_follows_a_banana() -> None:
    def energies(x: np.ndarray) -> np.ndarray:
        return 0.5 * x[:, 0] ** 2 + 0.5 * (x[:, 1] - 0.3 * x[:, 0] ** 2) ** 2

    lattice = grow_lattice(energies, np.zeros(2), 0.5 * np.eye(2), most=MOST)
    assert lattice.log_integral == pytest.approx(np.log(2.0 * np.pi), abs=1e-6)
    assert lattice.weights @ lattice.positions[:, 1] == pytest.approx(0.3, abs=1e-6)


def test_density_that_is_zero_on_one_side_is_covered() -> None:
    def energies(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, 0] > 0.0, x[:, 0], np.inf)

    lattice = grow_lattice(energies, np.array([0.025]), np.array([[0.05]]), most=MOST)
    assert lattice.log_integral == pytest.approx(0.0, abs=0.05**2 / 12)  # of the midpoint rule


def test_lattice_that_would_reach_further_than_can_be_counted_is_none() -> None:
    mean, covariance = np.zeros(1), np.eye(1)
    assert grow_lattice(normal_energies(mean, covariance), mean, 0.01 * np.eye(1), most=MOST) is None


@pytest.mark.parametrize("c", [0, 1])
def test_marginal_distribution_of_a_normal_is_exact(c: int) -> None:
    mean, covariance = normal_of(2)
    order = np.array([c, 1 - c])
    axes = np.zeros((2, 2))
    axes[order] = 0.6 * np.linalg.cholesky(covariance[np.ix_(order, order)])
    lattice = grow_lattice(normal_energies(mean, covariance), mean, axes, most=MOST)
    values, cumulative = marginal_distribution([(1.0, lattice)], c)
    expected = st.norm.cdf(values, mean[c], np.sqrt(covariance[c, c]))
    np.testing.assert_allclose(cumulative, expected, rtol=0, atol=1e-5)
    assert (np.diff(values) > 0).all()


def test_too_many_parameters_are_refused_and_the_alternatives_named() -> None:
    model = bmm.Model("score ~ Machine + (Machine | Worker)", bmm.datasets.load("machines"))
    with pytest.raises(ValueError, match=r"over 7 .* at most 4\. Use method='importance' or method='nuts'"):
        model.sample(method="quadrature")


def test_conditional_program_is_not_for_quadrature() -> None:
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    with pytest.raises(ValueError, match="leave out program='conditional'"):
        model.sample(method="quadrature", program="conditional")


@pytest.fixture(scope="module")
def student():
    priors = {"Intercept": StudentT(4, 3, 5), "sd": HalfCauchy(5)}
    model = bmm.Model(
        "y ~ 1 + (1 | school)",
        bmm.datasets.load("eight_schools"),
        priors=priors,
        weights="1 / sigma**2",
        sigma=1.0,
    )
    return model.sample(method="quadrature", draws=500, seed=3)


def test_sampled_coefficient_agrees_with_a_dense_grid(student) -> None:
    data = bmm.datasets.load("eight_schools")
    y, s = data["y"].to_numpy(dtype=float), data["sigma"].to_numpy(dtype=float)
    log_tau, mu = np.linspace(-14.0, 7.0, 1401), np.linspace(-60.0, 70.0, 1301)
    tau = np.exp(log_tau)[:, None]
    log_density = st.t.logpdf(mu, 4, 3, 5) + st.halfcauchy.logpdf(tau, scale=5) + np.log(tau)
    for y_j, s_j in zip(y, s, strict=True):
        log_density = log_density + st.norm.logpdf(y_j, mu, np.sqrt(tau**2 + s_j**2))
    check_grid(student, log_density, {"Intercept": mu[None, :], "sd(Intercept | school)": tau}, (log_tau, mu), EXACTLY)


@pytest.fixture(scope="module")
def shares():
    priors = {"Intercept": Normal(1500, 250), "sd": Beta(2, 3), "sigma": HalfNormal(100)}
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"), priors=priors)
    return model.sample(method="quadrature", draws=500, seed=3)


def test_prior_on_a_share_agrees_with_a_dense_grid(shares) -> None:
    groups = bmm.datasets.load("dyestuff").groupby("Batch", observed=True)["Yield"]
    means, within = groups.mean().to_numpy(), float(groups.var(ddof=1).sum() * 4)
    between = 5.0 * ((means - means.mean()) ** 2).sum()
    logit, log_sigma = np.linspace(-14.0, 9.0, 1151), np.linspace(2.5, 6.0, 701)
    share, sigma = 1.0 / (1.0 + np.exp(-logit))[:, None], np.exp(log_sigma)[None, :]
    variance = sigma**2 * share / (1.0 - share)
    batch = sigma**2 + 5.0 * variance  # eigenvalues of the covariance of a balanced design
    whole = batch + 30.0 * 250.0**2
    log_density = -0.5 * (
        30.0 * np.log(2.0 * np.pi)
        + np.log(whole)
        + 30.0 * (means.mean() - 1500.0) ** 2 / whole
        + 5.0 * np.log(batch)
        + between / batch
        + 24.0 * np.log(sigma**2)
        + within / sigma**2
    )
    log_density += st.beta.logpdf(share, 2, 3) + np.log(share * (1.0 - share))
    log_density += st.halfnorm.logpdf(sigma, scale=100) + np.log(sigma)
    quantities = {"sd(Intercept | Batch)": np.sqrt(variance), "sigma": sigma}
    check_grid(shares, log_density, quantities, (logit, log_sigma), COARSELY)


def check_grid(posterior, log_density, quantities, axes, limits: float) -> None:
    """Compare evidence, moments and limits with sums over a fine grid of two equally spaced coordinates."""
    density = np.exp(log_density - log_density.max())
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert posterior.log_evidence == pytest.approx(np.log(density.sum() * cell) + log_density.max(), abs=1e-5)
    weights = (density / density.sum()).ravel()
    for name, values in quantities.items():
        at = np.broadcast_to(values, density.shape).ravel()
        mean = weights @ at
        sd = np.sqrt(weights @ (at - mean) ** 2)
        row = posterior.parameters.loc[name]
        assert row["mean"] == pytest.approx(mean, abs=EXACTLY * sd)
        assert row["sd"] == pytest.approx(sd, rel=EXACTLY)
        order = np.argsort(at, kind="stable")
        cumulative = np.cumsum(weights[order]) - 0.5 * weights[order]
        below = [np.interp(row[end], at[order], cumulative) for end in ("lower", "upper")]
        np.testing.assert_allclose(below, [0.025, 0.975], rtol=0, atol=limits)


def test_exact_tables_survive_a_file(student, tmp_path) -> None:
    again = bmm.load(student.save(tmp_path / "student.nc"))
    assert again.method == "quadrature"
    np.testing.assert_array_equal(again.parameters["mean"], student.parameters["mean"])
    np.testing.assert_array_equal(again.parameters["upper"], student.parameters["upper"])
    np.testing.assert_array_equal(again.random_effects()["lower"], student.random_effects()["lower"])
    assert again.log_evidence == student.log_evidence
