import numpy as np
import pytest
from made_posterior import make_posterior

from bayesmm import Model, datasets


@pytest.fixture(scope="module")
def intercepts():
    return make_posterior(Model("Reaction ~ Days + (1 | Subject)", datasets.load("sleepstudy")))


@pytest.fixture(scope="module")
def slopes():
    data = datasets.load("sleepstudy")
    data["w"] = 1.0 + data["Days"] % 3
    return make_posterior(Model("Reaction ~ Days + offset(0.5 * Days) + (Days | Subject)", data, weights="w"))


def test_share_of_one_random_intercept_is_the_intraclass_correlation(intercepts):
    table = intercepts.variance_shares(level=0.8)
    sd, sigma = intercepts.draws("sd_Subject")[..., 0], intercepts.sigma
    icc = sd**2 / (sd**2 + sigma**2)
    assert table.index.tolist() == ["Subject", "residual"]
    assert table.loc["Subject", ["mean", "sd"]].tolist() == pytest.approx([icc.mean(), icc.std(ddof=1)])
    assert table.loc["Subject", ["lower", "upper"]].tolist() == pytest.approx(np.quantile(icc, [0.1, 0.9]))
    assert table.loc["residual", "mean"] == pytest.approx(1.0 - icc.mean())


def test_shares_of_slopes_average_over_the_rows(slopes):
    design, block = slopes.design, slopes.design.blocks[0]
    sd, cor = slopes.draws("sd_Subject").reshape(-1, 2), slopes.draws("cor_Subject").reshape(-1)
    random = np.zeros(len(sd))
    for one, day in block.columns:
        random += (one * sd[:, 0]) ** 2 + (day * sd[:, 1]) ** 2 + 2 * one * day * sd[:, 0] * sd[:, 1] * cor
    random /= design.n
    residual = slopes.sigma.ravel() ** 2 * np.mean(1.0 / design.weights)
    fixed = (slopes.beta.reshape(-1, 2) @ design.X.T).var(axis=1, ddof=1)
    shares = slopes.variance_shares(total="response")["mean"]
    total = fixed + random + residual
    assert shares.index.tolist() == ["fixed effects", "Subject", "residual"]
    assert shares.tolist() == pytest.approx([(part / total).mean() for part in (fixed, random, residual)])
    r2 = slopes.r2()
    assert float(r2["marginal"].mean()) == pytest.approx(shares["fixed effects"])
    mean = slopes.beta.reshape(-1, 2) @ design.X.T
    mean += np.einsum(
        "ni,dni->dn", block.columns, slopes.draws("b_Subject").reshape(4000, 18, 2)[:, block.incidence.only.codes]
    )
    fitted = mean.var(axis=1, ddof=1)
    np.testing.assert_allclose(r2["conditional"].to_numpy().ravel(), fitted / (fitted + residual))


def test_shares_of_several_factors_sum_to_one():
    posterior = make_posterior(Model("diameter ~ 1 + (1 | plate) + (1 | sample)", datasets.load("Penicillin")))
    assert posterior.variance_shares()["mean"].sum() == pytest.approx(1.0)
    assert posterior.variance_shares(total="response").loc["fixed effects", "mean"] == pytest.approx(0.0)
    assert float(posterior.r2()["marginal"].max()) == pytest.approx(0.0)


def test_wrong_arguments_are_answered(intercepts):
    with pytest.raises(ValueError, match="total is 'all': give 'unexplained' or 'response'"):
        intercepts.variance_shares(total="all")
    with pytest.raises(ValueError, match="level is 95"):
        intercepts.variance_shares(level=95)
