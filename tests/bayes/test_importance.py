import numpy as np
import pytest
import scipy.stats as st
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from bayesmm import Model, datasets
from bayesmm.bayes.exploring.importance import DF, SHARES, WIDTHS, Approximation, Weighted, resample, weigh
from bayesmm.bayes.exploring.mode import Mode
from bayesmm.errors import BayesmmWarning
from bayesmm.priors import HalfNormal, Normal, StudentT

PRIORS = {"Intercept": Normal(1500, 250), "sd": HalfNormal(100), "sigma": HalfNormal(100)}


@pytest.fixture(scope="module")
def model():
    return Model("Yield ~ 1 + (1 | Batch)", datasets.load("dyestuff"), priors=PRIORS)


def approximation_of(d: int) -> Approximation:
    """A random one; in many dimensions with weak correlations, since SciPy drops directions of small variance."""
    rng = np.random.default_rng(d)
    lower = np.tril(rng.normal(size=(d, d)), -1) * min(1.0, 5.0 / d)
    return Approximation(rng.normal(size=d), lower + np.diag(rng.uniform(0.5, 2.0, d)))


@pytest.mark.parametrize("d", [1, 2, 5, 100])
def test_proposals_come_with_the_density_of_a_mixture_of_student_t(d: int) -> None:
    approximation = approximation_of(d)
    positions, log_density = approximation.draw(200, np.random.default_rng(0))
    assert positions.shape == (200, d)
    scale = approximation.root @ approximation.root.T
    expected = [
        np.log(share) + st.multivariate_t.logpdf(positions, approximation.mean, width**2 * scale, df=DF)
        for width, share in zip(WIDTHS, SHARES, strict=True)
    ]
    np.testing.assert_allclose(log_density, logsumexp(expected, axis=0), rtol=1e-10)


def test_proposals_are_distributed_as_their_density_says() -> None:
    approximation = approximation_of(2)
    positions, log_density = approximation.draw(40_000, np.random.default_rng(1))
    covariance = DF / (DF - 2.0) * (SHARES @ WIDTHS**2) * approximation.root @ approximation.root.T
    np.testing.assert_allclose(positions.mean(axis=0), approximation.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(positions.T), covariance, atol=0.1 * covariance.max())
    ratios = np.exp(st.multivariate_normal.logpdf(positions, approximation.mean, covariance) - log_density)
    assert ratios.mean() == pytest.approx(1.0, abs=5.0 * ratios.std() / 200.0)


def weighted_of(weights: np.ndarray) -> Weighted:
    m = len(weights)
    return Weighted(
        positions=np.arange(m, dtype=float)[:, None],
        energies=np.arange(m, dtype=float),
        weights=weights / weights.sum(),
        pareto_k=0.1,
        log_evidence=0.0,
        log_evidence_error=0.0,
    )


def test_every_proposal_is_drawn_as_often_as_its_weight_says_up_to_one() -> None:
    n, weighted = 700, weighted_of(np.random.default_rng(3).exponential(size=400) ** 2)
    resampled = resample(weighted, n, np.random.default_rng(4))
    times = np.bincount(resampled.positions[:, 0].astype(int), minlength=400)
    assert times.sum() == n
    assert np.abs(times - n * weighted.weights).max() < 1.0 + 1e-9
    np.testing.assert_array_equal(resampled.positions[:, 0], resampled.energies)
    assert resampled.effective == min(n**2 / (times**2).sum(), 1.0 / (weighted.weights**2).sum())


def test_resampling_is_unbiased() -> None:
    weighted = weighted_of(np.array([1.0, 2.0, 3.0, 0.5]))
    rng = np.random.default_rng(5)
    drawn = np.concatenate([resample(weighted, 3, rng).positions[:, 0] for _ in range(4000)]).astype(int)
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), weighted.weights, atol=0.015)


def test_resampled_draws_are_in_random_order() -> None:
    resampled = resample(weighted_of(np.ones(2000)), 1000, np.random.default_rng(6))
    x = resampled.positions[:, 0]
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.15


def test_effective_draws_of_equal_weights_are_all_of_them() -> None:
    weighted = weighted_of(np.ones(2000))
    assert weighted.efficiency == pytest.approx(1.0)
    assert resample(weighted, 1000, np.random.default_rng(6)).effective == pytest.approx(1000.0)


class Normal2:
    """A surface whose density is a normal one, times e to the power of 2."""

    def energies(self, place, positions):
        return 0.5 * (positions**2).sum(axis=1) - 2.0


def test_weights_recover_integral_and_moments_of_a_normal() -> None:
    mode = Mode(None, np.zeros(2), -2.0, np.eye(2))
    propose = Approximation(np.array([0.3, -0.2]), np.eye(2)).draw
    weighted = weigh(Normal2(), mode, propose, enough=4000, rng=np.random.default_rng(8))
    assert weighted.log_evidence == pytest.approx(2.0 + np.log(2.0 * np.pi), abs=0.05)
    assert weighted.pareto_k < 0.5
    np.testing.assert_allclose(weighted.weights @ weighted.positions, 0.0, atol=0.06)
    np.testing.assert_allclose(weighted.weights @ weighted.positions**2, 1.0, atol=0.1)


@pytest.mark.parametrize("method", ["importance", "quadrature"])
def test_same_seed_gives_the_same_draws(model, method: str) -> None:
    first, second, other = (model.sample(draws=500, seed=seed, method=method) for seed in (2, 2, 3))
    np.testing.assert_array_equal(first.sigma, second.sigma)
    np.testing.assert_array_equal(first.effects[0], second.effects[0])
    assert (first.sigma != other.sigma).mean() > 0.9


def test_draws_fall_back_to_nuts_where_weights_cannot_be_trusted(model, monkeypatch) -> None:
    monkeypatch.setattr("bayesmm.bayes.exploring.explorers.TRUSTED", -10.0)
    with pytest.warns(BayesmmWarning, match="could not be trusted"):
        posterior = model.sample(draws=400, tune=400, chains=4, seed=1, method="importance")
    assert posterior.method == "nuts"
    assert any("these draws are from NUTS" in note for note in posterior.notes)
    assert "diverging" in posterior.data["sample_stats"]
    assert posterior.log_evidence is None


def test_unknown_method_lists_the_methods(model) -> None:
    with pytest.raises(ValueError, match="give 'nuts', 'importance', 'quadrature'"):
        model.sample(method="laplace")


def test_one_chain_of_independent_draws_is_not_complained_of(model) -> None:
    posterior = model.sample(method="importance", chains=1, progress=False)
    assert posterior.diagnostics.is_good
    assert np.isnan(posterior.parameters["r_hat"]).all()


@pytest.mark.parametrize("method", ["importance", "quadrature"])
def test_weights_tell_what_independent_draws_are_worth(model, method: str) -> None:
    """ArviZ's effective size is that of draws without repetition; the weights count those that are taken twice."""
    posterior = model.sample(method=method, draws=1000, chains=4, seed=4, progress=False)
    table = posterior.parameters
    worth = posterior.data["sample_stats"].attrs["effective_draws"]
    assert 0.5 * 4000 < worth <= 4000
    assert (table[["ess_bulk", "ess_tail"]] == worth).all(axis=None)
    assert table["r_hat"].isna().all()
    assert "r_hat" not in str(posterior.summary())
    assert posterior.diagnostics.ess == worth
    draws = posterior.draws("sigma")
    assert array_stats.ess(draws, chain_axis=0, draw_axis=1) == pytest.approx(4000, rel=0.15)


def test_of_a_few_independent_draws_it_is_said_what_they_are_worth(model) -> None:
    with pytest.warns(BayesmmWarning, match="only 6 effective draws of every parameter"):
        model.sample(method="importance", chains=1, draws=6, progress=False)


def test_the_log_density_is_measured_as_in_a_run_of_nuts() -> None:
    """Also where a coefficient is sampled, in units of its standard error."""
    frame = datasets.load("sleepstudy").eval("Reaction = 1000 * Reaction")  # microseconds
    model = Model("Reaction ~ Days + (1 | Subject)", frame, priors={"Days": StudentT(4, 0, 20_000)})
    means, errors = [], []
    for method in ("nuts", "importance"):
        lp = model.sample(method=method, seed=4, progress=False).data["sample_stats"]["lp"].to_numpy()
        means.append(lp.mean())
        errors.append(lp.std() / np.sqrt(1000))  # they are worth more draws than that
    assert abs(means[0] - means[1]) < 5.0 * np.hypot(*errors)
