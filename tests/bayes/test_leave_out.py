"""Leave-one-out of posteriors against textbook densities, and importance weights against exact integration."""

import itertools

import arviz as az
import numpy as np
import pytest
import scipy.stats as st
from made_posterior import make_posterior

from bayesmm import Model, datasets
from bayesmm.bayes.results.draws import read_draws
from bayesmm.bayes.results.pointwise import pointwise_log_likelihood
from bayesmm.errors import BayesmmError
from bayesmm.priors import HalfCauchy, HalfNormal, Normal, StudentT

TOLERANCE = 1e-9  # of log densities of some units
DYADS = datasets.simulate_dyads(8, seed=1)
MEMBERS = "log_count ~ w + (1 + w || mm(sender, receiver, weights=cbind(w, 1))) + (1 | room)"
LARGE_K = "ignore:Estimated shape parameter"
SCHOOLS = {"weights": "1 / sigma**2", "sigma": 1.0}


def left_out(posterior, of, draw) -> np.ndarray:
    """log p(y) − log p(y_-g) of one draw, from (n, n) matrices; priors of coefficients normal or Student-t."""
    design, draws, rows = posterior.design, read_draws(posterior), posterior.priors.of_kind("fixed")
    X, T, beta = design.X[:, design.kept], posterior.priors.contrast, draws.beta[draw]
    V = np.diag(draws.sigma[draw] ** 2 / design.weights)
    for block, covariance in zip(design.blocks, draws.covariances, strict=True):
        for one, two in itertools.product(block.incidence.memberships, repeat=2):
            V += np.where(one.codes[:, None] == two.codes, one.columns @ covariance[draw] @ two.columns.T, 0.0)
    sampled = [j for j, row in enumerate(rows) if not isinstance(row.prior, Normal)]
    free = [j for j in range(len(rows)) if j not in sampled]
    centre = np.array([rows[j].prior.mean for j in free]) - T[np.ix_(free, sampled)] @ beta[sampled]
    spread = np.diag([rows[j].prior.sd ** 2 for j in free])
    back = np.linalg.inv(T[np.ix_(free, free)])
    mean = design.offset + X[:, sampled] @ beta[sampled] + X[:, free] @ (back @ centre)
    V += X[:, free] @ back @ spread @ back.T @ X[:, free].T

    def density(some):
        return st.multivariate_normal(mean[some], V[np.ix_(some, some)]).logpdf(design.y[some])

    codes = [np.arange(design.n)]
    if of != "row":
        block = next(block for block in design.blocks if block.group == of)
        codes = [membership.codes for membership in block.incidence.memberships]
    groups = range(np.max(codes) + 1)
    kept = [np.all([own != g for own in codes], axis=0) for g in groups]
    return density(np.ones(design.n, dtype=bool)) - np.array([density(some) for some in kept])


@pytest.fixture(scope="module")
def sleep_data():
    data = datasets.load("sleepstudy")
    data["w"] = 0.5 + (np.arange(180) % 7) / 4.0
    return data


@pytest.fixture(scope="module")
def slopes(sleep_data):
    return make_posterior(Model("Reaction ~ Days + (Days | Subject)", sleep_data))


@pytest.fixture(scope="module")
def posteriors(sleep_data, slopes):
    heavy = {"Days": StudentT(3, 0, 20)}
    weighted = Model("Reaction ~ Days + offset(2 * Days) + (1 | Subject)", sleep_data, weights="w")
    schools = Model("y ~ 1 + (1 | school)", datasets.load("eight_schools"), **SCHOOLS)
    return {
        "slopes": slopes,
        "student": make_posterior(Model("Reaction ~ Days + (Days | Subject)", sleep_data), priors=heavy),
        "weights and offset": make_posterior(weighted),
        "known sigma": make_posterior(schools, priors={"Intercept": Normal(0, 5), "sd": HalfCauchy(5)}),
        "nested": make_posterior(Model("strength ~ 1 + (1 | batch/cask)", datasets.load("Pastes"))),
        "dyads": make_posterior(Model(DYADS.formula, DYADS.data)),
        "members": make_posterior(Model(MEMBERS, DYADS.data.assign(w=0.5 + np.arange(56) % 5, room=np.arange(56) % 4))),
        "crossed": make_posterior(Model("diameter ~ 1 + (1 | plate) + (1 | sample)", datasets.load("Penicillin"))),
    }


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("slopes", "row"),
        ("slopes", "Subject"),
        ("student", "row"),
        ("student", "Subject"),
        ("weights and offset", "row"),
        ("weights and offset", "Subject"),
        ("known sigma", "school"),
        ("nested", "row"),
        ("nested", "batch"),
        ("nested", "batch:cask"),
        ("crossed", "plate"),
        ("dyads", "row"),
        ("dyads", "dyad(sender, receiver)"),
        ("members", "row"),
        ("members", "mm(sender, receiver)"),
        ("members", "room"),
    ],
)
def test_marginal_log_likelihoods_equal_the_textbook(posteriors, name, of):
    posterior = posteriors[name]
    values = posterior.log_likelihood(of, draws=8)["log_likelihood"]["y"]
    chosen = read_draws(posterior, 8).chosen
    flat = values.to_numpy().reshape(8, -1)
    for place, draw in ((0, chosen[0]), (1, chosen[1]), (7, 3000 + chosen[1])):
        np.testing.assert_allclose(flat[place], left_out(posterior, of, draw), rtol=0, atol=TOLERANCE)


def test_log_likelihoods_are_labelled_by_what_is_left_out(slopes):
    rows, groups = slopes.log_likelihood(draws=8), slopes.log_likelihood("Subject", draws=8)
    assert rows["log_likelihood"]["y"].dims == ("chain", "draw", "obs")
    assert groups["log_likelihood"]["y"].dims == ("chain", "draw", "Subject")
    assert groups["log_likelihood"]["Subject"].to_numpy()[:2].tolist() == ["308", "309"]
    assert (
        rows["log_likelihood"]["draw"].to_numpy().tolist() == rows["posterior"]["draw"].to_numpy().tolist() == [0, 999]
    )
    assert set(groups["posterior"].data_vars) == {"beta", "sd_Subject", "cor_Subject", "sigma"}


def test_conditional_log_likelihoods_are_those_given_the_effects(slopes):
    sites = {name: slopes.draws(name) for name in ("beta", "sigma", "b_Subject")}
    expected, _ = pointwise_log_likelihood(sites, slopes.design, 10**9)
    rows = slopes.log_likelihood(predictive="conditional")["log_likelihood"]["y"].to_numpy()
    np.testing.assert_allclose(rows, expected)
    groups = slopes.log_likelihood("Subject", "conditional", draws=8)["log_likelihood"]["y"].to_numpy()
    third = slopes.design.blocks[0].incidence.only.codes == 2
    np.testing.assert_allclose(groups[:, :, 2], expected[:, [0, 999]][:, :, third].sum(axis=-1))


@pytest.mark.filterwarnings(LARGE_K)
def test_results_are_arvizs_and_compare(slopes, posteriors):
    result = slopes.loo("Subject")
    assert result.kind == "loo"
    assert result.elpd_i.dims == result.pareto_k.dims == ("Subject",)
    other = make_posterior(Model("Reaction ~ Days + (1 | Subject)", datasets.load("sleepstudy"))).loo("Subject")
    table = az.compare({"slopes": result, "intercepts": other})
    assert set(table.index) == {"slopes", "intercepts"}


@pytest.mark.filterwarnings(LARGE_K)
def test_loo_pit_averages_predictive_distribution_functions_by_the_weights(slopes):
    pit = slopes.loo_pit()["loo_pit"]["y"]
    weights = np.exp(slopes.loo().log_weights.to_numpy())
    draws, rows = read_draws(slopes), slopes.design
    X, Z = rows.X, rows.blocks[0]
    below = []
    for draw in range(0, 4000, 40):  # the textbook, on a subset of draws that has its own weights
        V = np.diag(np.full(rows.n, draws.sigma[draw] ** 2))
        V += np.where(
            Z.incidence.only.codes[:, None] == Z.incidence.only.codes,
            Z.columns @ draws.covariances[0][draw] @ Z.columns.T,
            0.0,
        )
        T = slopes.priors.contrast
        back = np.linalg.inv(T)
        prior = [row.prior for row in slopes.priors.of_kind("fixed")]
        mean = X @ back @ [each.mean for each in prior]
        P = np.linalg.inv(V + X @ back @ np.diag([each.sd**2 for each in prior]) @ back.T @ X.T)
        below.append(st.norm.cdf(P @ (rows.y - mean) / np.sqrt(np.diag(P))))
    some = weights.reshape(4000, -1)[::40]
    few = (some * np.array(below)).sum(axis=0) / some.sum(axis=0)
    np.testing.assert_allclose(pit, few, atol=0.05)
    assert 0 < pit.min() < pit.max() < 1


@pytest.mark.filterwarnings(LARGE_K)
def test_pit_is_what_arviz_plots(slopes):
    import matplotlib.pyplot as plt

    az.plot_ecdf_pit(slopes.loo_pit(draws=400), group="loo_pit", sample_dims=["obs"], backend="matplotlib")
    plt.close("all")


def test_wrong_arguments_are_answered(slopes):
    with pytest.raises(
        BayesmmError, match=r"of is 'subject': give 'row', a grouping factor of the model \('Subject'\), or"
    ):
        slopes.loo("subject")
    with pytest.raises(ValueError, match="predictive is 'exact': give 'marginal' or 'conditional'"):
        slopes.loo(predictive="exact")
    with pytest.raises(ValueError, match="draws is 0: give a whole number of at least 1"):
        slopes.loo(draws=0)


def test_too_many_numbers_say_how_many_draws_would_do(slopes, monkeypatch):
    monkeypatch.setattr("bayesmm.bayes.results.leave_out.MOST_NUMBERS", 100_000)
    with pytest.raises(BayesmmError, match=r"4,000 draws of 180 log-likelihoods .* Use fewer draws: draws=555"):
        slopes.loo()


def test_a_row_that_a_flat_coefficient_needs_cannot_be_left_out(sleep_data):
    data = sleep_data.assign(first=(np.arange(180) == 4).astype(float))
    model = Model("Reaction ~ Days + first + (1 | Subject)", data)
    with pytest.raises(BayesmmError, match="Without row 4 the data do not determine a coefficient whose prior is flat"):
        make_posterior(model, priors="flat").log_likelihood(draws=4)
    with pytest.raises(BayesmmError, match="Without the group of row 0 the data do not determine"):
        make_posterior(model, priors="flat").log_likelihood("Subject", draws=4)
    assert np.isfinite(make_posterior(model).log_likelihood(draws=4)["log_likelihood"]["y"]).all()


def elpd_by_quadrature(model, codes, grid, log_prior) -> np.ndarray:
    """Log p(y_g | y_-g) by sums over a grid of (sd, sigma): no importance sampling anywhere."""
    design, (prior,) = model.design, [row.prior for row in model.priors.of_kind("fixed")]
    block = design.blocks[0]
    same = (block.incidence.only.codes[:, None] == block.incidence.only.codes).astype(float)
    n_groups = codes.max() + 1
    whole, without = np.empty(len(grid)), np.empty((len(grid), n_groups))
    for t, (sd, sigma) in enumerate(grid):
        V = sd**2 * same + np.diag(sigma**2 / design.weights) + prior.sd**2
        mean = np.full(design.n, prior.mean)
        whole[t] = st.multivariate_normal(mean, V).logpdf(design.y) + log_prior(sd, sigma)
        for g in range(n_groups):
            rest = np.flatnonzero(codes != g)
            density = st.multivariate_normal(mean[rest], V[np.ix_(rest, rest)]).logpdf(design.y[rest])
            without[t, g] = density + log_prior(sd, sigma)
    return np.logaddexp.reduce(whole) - np.logaddexp.reduce(without, axis=0)


@pytest.mark.slow
@pytest.mark.filterwarnings(LARGE_K)
@pytest.mark.parametrize("program", ["marginal", "conditional"])
def test_importance_weights_find_what_integration_without_a_school_finds(program):
    model = Model(
        "y ~ 1 + (1 | school)",
        datasets.load("eight_schools"),
        priors={"Intercept": Normal(0, 5), "sd": HalfCauchy(5)},
        **SCHOOLS,
    )
    posterior = model.sample(seed=3, program=program, target_accept=0.99, draws=2000, progress=False)
    grid = [(sd, 1.0) for sd in 5.0 * np.tan(np.pi / 2 * (np.arange(300) + 0.5) / 300)]  # even in the prior
    exact = elpd_by_quadrature(model, model.design.blocks[0].incidence.only.codes, grid, lambda sd, sigma: 0.0)
    np.testing.assert_allclose(posterior.loo("school").elpd_i, exact, atol=0.01)


@pytest.mark.slow
@pytest.mark.filterwarnings(LARGE_K)
def test_importance_weights_find_what_integration_without_a_row_or_a_batch_finds():
    priors = {"Intercept": Normal(1500, 250), "sd": HalfNormal(100), "sigma": HalfNormal(100)}
    model = Model("Yield ~ 1 + (1 | Batch)", datasets.load("dyestuff"), priors=priors)
    posterior = model.sample(seed=3, draws=2000, progress=False)
    middles = (np.arange(30) + 0.5) / 30  # with ends of intervals the integrals would be off in the second digit
    grid = [(sd, sigma) for sd in 300.0 * middles for sigma in 20.0 + 100.0 * middles]
    codes = model.design.blocks[0].incidence.only.codes

    def log_prior(sd, sigma):
        return st.halfnorm.logpdf(sd, scale=100) + st.halfnorm.logpdf(sigma, scale=100)

    by_batch = elpd_by_quadrature(model, codes, grid, log_prior)
    np.testing.assert_allclose(posterior.loo("Batch").elpd_i, by_batch, atol=0.06)
    some = np.where(np.arange(30) < 3, np.arange(30), 3)  # the first three rows, and all others together
    by_row = elpd_by_quadrature(model, some, grid, log_prior)
    np.testing.assert_allclose(posterior.loo().elpd_i[:3], by_row[:3], atol=0.02)
