import numpy as np
import pytest
import scipy.stats as st
from made_posterior import SHAPE, make_posterior

from bayesmm import Model, datasets
from bayesmm.bayes.results.draws import read_draws
from bayesmm.bayes.results.sensitivity import CONFLICT, SOUND, STRONG, scaling_tree
from bayesmm.errors import PriorError
from bayesmm.priors import LKJ, Beta, Flat, HalfNormal, InverseGamma, Normal, StudentT


@pytest.fixture(scope="module")
def model():
    return Model("Reaction ~ Days + (Days | Subject)", datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def varied(model):
    priors = {
        "Days": StudentT(4, 5, 10),
        "sd(Intercept | Subject)": InverseGamma(2, 500, on="variance"),
        "sd(Days | Subject)": Beta(2, 3),
        "cor": LKJ(3),
        "sigma": HalfNormal(40),
    }
    cor = np.tanh(np.random.default_rng(0).normal(scale=0.3, size=SHAPE))  # inside its limits
    return make_posterior(model, {"cor(Intercept, Days | Subject)": cor}, priors=priors)


def test_log_priors_are_those_of_the_textbook(varied):
    tree, posterior = scaling_tree(varied), varied.data["posterior"]
    log_prior = tree["log_prior"]["parameter"]
    beta, sd = posterior["beta"].to_numpy(), posterior["sd_Subject"].to_numpy()
    by_name = {str(name): log_prior.sel(name=name).to_numpy() for name in log_prior["name"].to_numpy()}
    rows = {row.name: row.prior for row in varied.priors.rows}
    about = beta[..., 0] + 4.5 * beta[..., 1]  # the default is about the response at mean Days
    intercept = rows["Intercept"]
    np.testing.assert_allclose(by_name["Intercept"], st.norm.logpdf(about, intercept.mean, intercept.sd))
    np.testing.assert_allclose(by_name["Days"], st.t.logpdf(beta[..., 1], 4, 5, 10))
    variance = st.invgamma.logpdf(sd[..., 0] ** 2, 2, scale=500)
    np.testing.assert_allclose(by_name["sd(Intercept | Subject)"], variance)
    share = sd[..., 1] ** 2 / (sd[..., 1] ** 2 + posterior["sigma"].to_numpy() ** 2)
    np.testing.assert_allclose(by_name["sd(Days | Subject)"], st.beta.logpdf(share, 2, 3))
    np.testing.assert_allclose(by_name["sigma"], st.halfnorm.logpdf(posterior["sigma"], scale=40))
    cor = posterior["cor_Subject"].to_numpy()[..., 0]
    np.testing.assert_allclose(by_name["cor(Intercept, Days | Subject)"], 2.0 * np.log1p(-(cor**2)))


def test_log_likelihood_is_that_of_all_data_given_the_parameters(varied):
    values = scaling_tree(varied)["log_likelihood"]["y"].to_numpy().reshape(-1)
    draws, design, (block,) = read_draws(varied), varied.design, varied.design.blocks
    same = block.incidence.only.codes[:, None] == block.incidence.only.codes
    for draw in (0, 1234, 3999):
        V = np.where(same, block.columns @ draws.covariances[0][draw] @ block.columns.T, 0.0)
        V += draws.sigma[draw] ** 2 * np.eye(design.n)
        expected = st.multivariate_normal(design.X @ draws.beta[draw], V).logpdf(design.y)
        assert values[draw] == pytest.approx(expected, abs=1e-8)


def test_parameters_are_sensitive_where_prior_and_data_disagree(model):
    conflicting = make_posterior(model, priors={"Days": Normal(-10, 1)}).sensitivity()
    assert conflicting.index.tolist() == model.fit().parameters.index.tolist()
    assert conflicting.loc["Days", "diagnosis"] == CONFLICT
    assert "check that Normal(-10, 1) is what you mean" in conflicting.loc["Days", "advice"]
    default = make_posterior(model).sensitivity()
    assert default.loc["Days", "prior"] < 0.05 < default.loc["Days", "likelihood"]
    assert (default.loc["Days", "diagnosis"], default.loc["Days", "advice"]) == (SOUND, "")
    assert not default.loc["cor(Intercept, Days | Subject)", "has_prior"]
    assert STRONG not in default["diagnosis"].tolist()


def test_a_flat_prior_has_nothing_to_scale(model):
    some = make_posterior(model, priors={"Days": Flat(), "Intercept": Normal(250, 1)}).sensitivity()
    assert not some.loc["Days", "has_prior"]
    assert some.loc["Intercept", "has_prior"]
    with pytest.raises(PriorError, match="All priors are flat"):
        make_posterior(model, priors="flat").sensitivity()


def test_known_sigma_is_no_parameter():
    data = datasets.load("eight_schools")
    schools = Model("y ~ 1 + (1 | school)", data, weights="1 / sigma**2", sigma=1.0)
    assert make_posterior(schools).sensitivity().index.tolist() == ["Intercept", "sd(Intercept | school)"]
