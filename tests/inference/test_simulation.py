"""Simulated responses: their moments are those of the dense model, whatever the structure; what cannot be is refused."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning, DesignError, SpecificationError

N = 4000
SLEEP = "Reaction ~ Days + (Days | Subject)"
FAR = 5.5  # standard errors: one number in 26 million is farther
TRUTH = {
    "Intercept": 10.0,
    "x": -2.0,
    "sd(Intercept | g)": 1.5,
    "sd(x | g)": 0.7,
    "cor(Intercept, x | g)": -0.4,
    "sigma": 0.5,
}


def plan(n: int = 36) -> pd.DataFrame:
    """Rows with everything but a response."""
    rng = np.random.default_rng(3)
    people = np.array([f"p{i}" for i in range(6)])
    sender = rng.integers(0, 6, n)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "g": np.repeat([f"g{i}" for i in range(4)], n // 4),
            "h": rng.permutation(np.arange(n) % 5),
            "t": np.array(["a", "b", "c"])[np.arange(n) % 3],
            "sender": people[sender],
            "receiver": people[(sender + rng.integers(1, 6, n)) % 6],
            "known": rng.normal(size=n),
            "w": rng.uniform(0.5, 4.0, n),
        },
        index=np.arange(n) * 2 + 7,
    )


PLAN = plan()
MODELS = {
    "us": ("(x | g)", {"sd(Intercept | g)": 1.5, "sd(x | g)": 0.7, "cor(Intercept, x | g)": -0.4}),
    "diag": ("(x || g)", {"sd(Intercept | g)": 1.5, "sd(x | g)": 0.7}),
    "on the boundary": ("(x | g)", {"sd(Intercept | g)": 1.5, "sd(x | g)": 0.7, "cor(Intercept, x | g)": 1.0}),
    "without variance": ("(x | g)", {"sd(Intercept | g)": 0.0, "sd(x | g)": 0.7, "cor(Intercept, x | g)": np.nan}),
    "cs": ("cs(0 + t | g)", None),
    "homcs": ("homcs(0 + t | g)", None),
    "ar1": ("ar1(0 + t | g)", None),
    "hetar1": ("hetar1(0 + t | g)", None),
    "toep": ("toep(0 + t | g)", None),
    "homdiag": ("homdiag(0 + t | g)", None),
    "crossed": ("(1 | g) + (x || h)", None),
    "nested": ("(1 | g/t)", None),
    "members": ("(x | mm(sender, receiver))", None),
    "dyad": ("(1 | dyad(sender, receiver))", None),
    "offset": ("offset(known) + (1 | h)", None),
}


def stated(model: bmm.Model) -> dict[str, float]:
    """A value for each parameter."""
    of_kind = {"fixed": (2.0, -3.0), "sd": (0.8, 1.3, 0.5, 1.1), "cor": (-0.3, 0.2), "sigma": (0.6,)}
    seen = dict.fromkeys(of_kind, 0)
    values = {}
    for row in model.labels.parameter_rows():
        values[row.name] = of_kind[row.kind][seen[row.kind] % len(of_kind[row.kind])]
        seen[row.kind] += 1
    return values


def assert_moments(drawn: pd.DataFrame, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Whitened by the dense root, they are independent with mean zero and variance one."""
    z = np.linalg.solve(np.linalg.cholesky(covariance), drawn.to_numpy() - mean[:, None])
    n = z.shape[1]
    assert np.abs(z.mean(axis=1)).max() < FAR / np.sqrt(n)
    products = z @ z.T / n
    spread = np.where(np.eye(len(z)) == 1, np.sqrt(2.0), 1.0) / np.sqrt(n)
    assert (np.abs(products - np.eye(len(z))) / spread).max() < FAR


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weights", [None, "w"])
def test_moments_are_those_of_the_dense_model(name, weights):
    formula, covariances = MODELS[name]
    formula = f"y ~ x + {formula}"
    noise = PLAN.assign(y=np.random.default_rng(1).normal(size=len(PLAN)))
    model = bmm.Model(formula, noise, weights=weights, sigma=1.0)
    values = stated(model) | {"sigma": 0.6} | (covariances or {})
    drawn = bmm.simulate(formula, PLAN, values, N, seed=5, weights=weights)
    assert drawn.index.equals(PLAN.index)
    mean, covariance = model.marginal_mean(at=values)["mean"], model.marginal_covariance(at=values)
    assert_moments(drawn, mean.to_numpy(), covariance.to_numpy())


@pytest.mark.parametrize("name", ["us", "crossed", "members", "offset"])
def test_moments_of_a_fit_are_those_of_its_estimates(name):
    formula = f"y ~ x + {MODELS[name][0]}"
    model = bmm.Model(formula, PLAN.assign(y=np.random.default_rng(8).normal(size=len(PLAN)) * PLAN["x"]), weights="w")
    fit = model.fit()
    mean, covariance = model.marginal_mean(at=fit)["mean"], model.marginal_covariance(at=fit)
    assert_moments(fit.simulate(N, seed=2), mean.to_numpy(), covariance.to_numpy())
    assert_moments(fit.simulate(N, random="kept", seed=2), fit.fitted, np.diag(fit.sigma**2 / model.design.weights))


def test_kept_effects_of_stated_parameters_are_the_same_in_all_simulations():
    quiet = TRUTH | {"sigma": 1e-9}
    kept = bmm.simulate("y ~ x + (x | g)", PLAN, quiet, 5, random="kept", seed=1)
    redrawn = bmm.simulate("y ~ x + (x | g)", PLAN, quiet, 5, seed=1)
    assert kept.std(axis=1).max() < 1e-8
    assert redrawn.std(axis=1).min() > 0.01
    lines = kept[0] - (TRUTH["Intercept"] + TRUTH["x"] * PLAN["x"])
    for _, own in PLAN.groupby("g"):  # a line for each level
        columns = np.column_stack([np.ones(len(own)), own["x"]])
        assert np.linalg.lstsq(columns, lines[own.index])[1] < 1e-12


def test_without_any_variance_only_the_line_is_left():
    still = TRUTH | {"sd(Intercept | g)": 0.0, "sd(x | g)": 0.0, "sigma": 0.0}
    drawn = bmm.simulate("y ~ x + offset(known) + (x | g)", PLAN, still)
    np.testing.assert_allclose(drawn[0], 10.0 - 2.0 * PLAN["x"] + PLAN["known"], rtol=1e-12)


def test_the_same_seed_gives_the_same_numbers_and_more_simulations_keep_the_first():
    fit = bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")).fit()
    posterior = make_posterior(bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")))
    ways = [
        fit.simulate,
        posterior.simulate,
        lambda n, **more: bmm.simulate("y ~ x + (x | g)", PLAN, TRUTH, n, **more),
    ]
    for simulate in ways:
        for random in ("redrawn", "kept"):
            few, many = simulate(2, random=random, seed=4), simulate(5, random=random, seed=4)
            pd.testing.assert_frame_equal(many.iloc[:, :2], few)
            assert not np.allclose(simulate(2, random=random, seed=5), few)


def test_response_need_not_be_there_and_is_not_read():
    without = bmm.simulate("y ~ x + (x | g)", PLAN, TRUTH, seed=1)
    spoilt = PLAN.assign(y="no number", z=np.nan)
    pd.testing.assert_frame_equal(bmm.simulate("y ~ x + (x | g)", spoilt, TRUTH, seed=1), without)
    pd.testing.assert_frame_equal(bmm.simulate("log(z) ~ x + (x | g)", spoilt, TRUTH, seed=1), without)
    pd.testing.assert_frame_equal(bmm.simulate("`simulated response` ~ x + (x | g)", spoilt, TRUTH, seed=1), without)
    polars = bmm.simulate("y ~ x + (x | g)", pl.from_pandas(PLAN), TRUTH, seed=1)
    np.testing.assert_array_equal(polars, without)


def test_a_fit_can_state_the_parameters():
    sleep = bmm.datasets.load("sleepstudy")
    fit = bmm.Model(SLEEP, sleep).fit()
    by_fit = bmm.simulate(SLEEP, sleep.drop(columns="Reaction"), fit, 3, seed=1)
    by_name = bmm.simulate(SLEEP, sleep, fit.parameters["estimate"], 3, seed=1)
    pd.testing.assert_frame_equal(by_fit, by_name)


def test_a_fit_states_the_parameters_for_other_rows_than_its_own():
    fit = bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")).fit()
    others = pd.DataFrame({"Subject": np.repeat(["a newcomer", "another"], 2), "Days": [0, 20, 0, 20]})
    drawn = bmm.simulate(SLEEP, others, fit, N, seed=1)
    z = np.kron(np.eye(2), [[1.0, 0.0], [1.0, 20.0]])
    G = np.array([[612.10, 9.604], [9.604, 35.072]])  # lme4's VarCorr
    mean = np.tile(fit.estimate.beta @ [[1.0, 1.0], [0.0, 20.0]], 2)
    assert_moments(drawn, mean, z @ np.kron(np.eye(2), G) @ z.T + fit.sigma**2 * np.eye(4))


def test_known_sigma_is_stated_in_either_place():
    values = {name: value for name, value in TRUTH.items() if name != "sigma"}
    one = bmm.simulate("y ~ x + (x | g)", PLAN, values, seed=1, sigma=0.5)
    pd.testing.assert_frame_equal(one, bmm.simulate("y ~ x + (x | g)", PLAN, TRUTH, seed=1))
    with pytest.raises(DesignError, match="give it once"):
        bmm.simulate("y ~ x + (x | g)", PLAN, TRUTH, sigma=0.6)


def test_a_design_that_nothing_could_be_estimated_from_is_simulated():
    one_each = PLAN.assign(g=np.arange(len(PLAN)))
    values = {"Intercept": 0.0, "sd(Intercept | g)": 2.0, "sigma": 1.0}
    drawn = bmm.simulate("y ~ 1 + (1 | g)", one_each, values, 400, seed=1)
    assert drawn.to_numpy().var() == pytest.approx(5.0, rel=FAR * np.sqrt(2.0 / drawn.size))


def test_rows_with_missing_predictors_are_left_out():
    holes = PLAN.copy()
    holes.loc[holes.index[3], "x"] = np.nan
    with pytest.warns(BayesmmWarning, match="1 of 36 rows dropped"):
        drawn = bmm.simulate("y ~ x + (x | g)", holes, TRUTH)
    assert drawn.index.equals(holes.index.delete(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sd(z | g)": 1.0}, r"'sd\(z \| g\)', which the model does not have. Did you mean"),
        ({"sigma": None}, "'sigma' is None in parameters: give a number"),
        ({"sigma": -1.0}, "a standard deviation cannot be negative"),
        ({"sd(x | g)": np.inf}, "give a finite number"),
        ({"x": np.nan}, "give a finite number"),
        ({"cor(Intercept, x | g)": 1.1}, "a correlation lies between -1 and 1"),
        ({"cor(Intercept, x | g)": np.nan}, "a correlation lies between -1 and 1"),
    ],
)
def test_impossible_parameters_are_named(change, message):
    with pytest.raises(DesignError, match=message):
        bmm.simulate("y ~ x + (x | g)", PLAN, TRUTH | change)


@pytest.mark.parametrize("name", TRUTH)
def test_a_parameter_that_is_lacking_is_named(name):
    values = {each: value for each, value in TRUTH.items() if each != name}
    with pytest.raises(DesignError) as error:
        bmm.simulate("y ~ x + (x | g)", PLAN, values)
    assert f"parameters has no value of {name!r}" in str(error.value)


def test_correlations_that_contradict_each_other_are_refused():
    noise = PLAN.assign(y=np.random.default_rng(1).normal(size=len(PLAN)))
    model = bmm.Model("y ~ x + (0 + t | g)", noise)
    values = {name: -0.9 if name.startswith("cor") else 1.0 for name in stated(model)}
    with pytest.raises(DesignError, match="contradict each other"):
        bmm.simulate("y ~ x + (0 + t | g)", PLAN, values)
    with pytest.raises(DesignError, match="contradict each other"):
        model.marginal_covariance(at=values)
    assert bmm.simulate("y ~ x + (0 + t | g)", PLAN, values | {"sd(t[a] | g)": 0.0}).shape == (36, 1)


def test_arguments_are_checked():
    fit = bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")).fit()
    posterior = make_posterior(bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")))
    wrong: tuple[Any, ...] = (0, 1.5, True, None, 10**30)
    for n in wrong:
        with pytest.raises(ArgumentError, match="n is"):
            fit.simulate(n)
    with pytest.raises(ArgumentError, match="random is 'none': give 'redrawn' or 'kept'"):
        fit.simulate(random="none")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="seed is -1"):
        fit.simulate(seed=-1)
    with pytest.raises(ArgumentError, match="the posterior has 4000 draws"):
        posterior.simulate(4001)
    with pytest.raises(SpecificationError, match="A formula is a text"):
        bmm.simulate(None, PLAN, TRUTH)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DesignError, match="parameters is of type list"):
        bmm.simulate("y ~ x + (x | g)", PLAN, [1.0])


@pytest.mark.parametrize("random", ["redrawn", "kept"])
def test_moments_of_a_posterior_are_those_of_its_draws(random):
    """By the laws of total expectation and variance over the draws, all of which are used."""
    model = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin"))
    posterior = make_posterior(model)
    drawn = posterior.simulate(4000, random=random, seed=1).to_numpy()
    beta, sigma = posterior.beta.reshape(4000), posterior.sigma.reshape(4000)
    sds = [posterior.draws(block.sd_variable).reshape(4000) for block in model.labels.blocks]
    codes = [block.incidence.memberships[0].codes for block in model.design.blocks]
    mean, between = np.full(model.design.n, beta.mean()), sigma**2 + sum(sd**2 for sd in sds)
    if random == "kept":
        effects = [b.reshape(4000, -1)[:, own] for b, own in zip(posterior.effects, codes, strict=True)]
        each = beta[:, None] + sum(effects)
        mean, variance = each.mean(axis=0), each.var(axis=0) + (sigma**2).mean()
    else:
        variance = np.full(model.design.n, beta.var() + between.mean())
        pair = np.flatnonzero((codes[0] == codes[0][0]) & (codes[1] != codes[1][0]))[0]  # rows of one plate
        shared = beta.var() + (sds[0] ** 2).mean()
        error = np.sqrt((variance[0] ** 2 + shared**2) / 4000) * 2.0
        assert np.cov(drawn[0], drawn[pair])[0, 1] == pytest.approx(shared, abs=3.0 * error)
    np.testing.assert_allclose(drawn.mean(axis=1), mean, atol=FAR * np.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(drawn.var(axis=1), variance, rtol=0.2)
