"""Shrinkage and ranking: the textbook's matrices and closed forms, counted draws, and what must not change a number."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dense_fits import MODELS, SLEEP, dense_of
from made_posterior import make_posterior
from scipy.special import ndtr

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.inference.pooling.levels import read_values

DENSE = 1e-6  # of the largest variance: the estimate's singular values of Λ and a dense inverse
DRAWN = 4.0  # standard errors of a share of the draws


def fit_of(name: str) -> Any:
    formula, data, options = MODELS[name]
    return bmm.Model(formula, bmm.datasets.load(data), **options).fit()


@pytest.fixture(scope="module")
def sleep() -> Any:
    model = bmm.Model(SLEEP, bmm.datasets.load("sleepstudy"))
    return model, model.fit(), make_posterior(model)


def dense_errors(fit: Any) -> tuple[np.ndarray, np.ndarray]:
    """Var(b̂ − b), and that of (β̂ − β, b̂ − b): Henderson's, by the textbook's V."""
    model, G = dense_of(fit)
    V = model.Z @ G @ model.Z.T + fit.sigma**2 * np.diag(1.0 / model.weights)
    solved = np.linalg.solve(V, model.X)
    A = np.linalg.inv(model.X.T @ solved)
    P = np.linalg.inv(V) - solved @ A @ solved.T
    GZ = G @ model.Z.T
    own, cross = G - GZ @ P @ GZ.T, -GZ @ solved @ A
    return own, np.block([[A, cross.T], [cross, own]])


@pytest.mark.parametrize("name", MODELS)
def test_joint_covariance_of_levels_is_the_textbooks(name):
    fit = fit_of(name)
    own, joint = dense_errors(fit)
    p, start = joint.shape[0] - own.shape[0], 0
    for f, block in enumerate(fit.design.blocks):
        for e, effect in enumerate(block.effects):
            at = start + e + block.k * np.arange(block.q)
            pick = np.zeros((block.q, len(joint)))
            pick[np.arange(block.q), p + at] = 1.0
            if effect in fit.labels.coefficients:
                pick[:, fit.labels.coefficients.index(effect)] = 1.0
            for of, expected in (("effects", own[np.ix_(at, at)]), ("coefficients", pick @ joint @ pick.T)):
                values = read_values(fit, of, False).read(f, e)
                covariance = values.own if values.own.ndim == 2 else np.diag(values.own)
                found = covariance + values.shared @ values.shared.T
                np.testing.assert_allclose(found, expected, atol=DENSE * max(np.abs(expected).max(), 1e-12))
                np.testing.assert_allclose(values.sds**2, np.diag(found), rtol=1e-10, atol=1e-20)
        start += block.k * block.q


def test_balanced_groups_have_closed_forms():
    data = bmm.datasets.load("dyestuff")
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", data).fit()
    between, within = fit.parameters.loc[["sd(Intercept | Batch)", "sigma"], "estimate"] ** 2
    weight = between / (between + within / 5)
    means = data.groupby("Batch", observed=True)["Yield"].mean()
    found = bmm.shrinkage(fit)
    np.testing.assert_allclose(found.table["weight"], weight, rtol=1e-10)
    np.testing.assert_allclose(found.table["unpooled"], means - means.mean(), rtol=1e-9)
    np.testing.assert_allclose(found.table["estimate"], weight * (means - means.mean()), rtol=1e-9)
    assert found.table["n"].eq(5).all()
    left = between * (1 - weight)  # conditional variance
    pooling = 1 - weight**2 * means.var() / (weight**2 * means.var() + left)
    assert found.pooling["pooling_factor"].item() == pytest.approx(pooling, rel=1e-9)
    distance = weight * np.subtract.outer(means.to_numpy(), means.to_numpy())
    ranking = bmm.ranking(fit, "Batch", top=2, above=0.0)
    pairs = ndtr(distance / np.sqrt(2 * left))
    np.fill_diagonal(pairs, np.nan)
    np.testing.assert_allclose(ranking.pairs(), pairs, rtol=1e-8)
    np.testing.assert_allclose(ranking.table["expected_rank"], 1 + np.nansum(pairs, axis=0), rtol=1e-8)
    assert ranking.table["best"].sum() == pytest.approx(1.0)
    assert ranking.table["top"].sum() == pytest.approx(2.0)
    # b̂ − b has the error of the mean too: (1 − w)τ² + w²(τ² + σ²/5)/6
    spread = np.sqrt(left + weight**2 * (between + within / 5) / 6)
    np.testing.assert_allclose(ranking.table["std_error"], spread, rtol=1e-8)
    np.testing.assert_allclose(ranking.table["above"], ndtr(ranking.table["estimate"] / spread), rtol=1e-8)


def test_of_two_levels_the_best_is_the_higher_one():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(["a", "b"], [4, 9]), "y": rng.normal(size=13) + np.repeat([0.0, 3.0], [4, 9])})
    ranking = bmm.ranking(bmm.Model("y ~ 1 + (1 | g)", data).fit(), "g", n=20_000)
    exact = ranking.pairs().loc["b", "a"]
    assert ranking.pairs().loc["a", "b"] == pytest.approx(1 - exact)
    assert ranking.table.loc["b", "best"] == pytest.approx(exact, abs=DRAWN * np.sqrt(exact * (1 - exact) / 20_000))
    assert ranking.table.loc["b", "expected_rank"] == pytest.approx(2 - exact)
    lowest = bmm.ranking(bmm.Model("y ~ 1 + (1 | g)", data).fit(), "g", highest=False)
    assert lowest.table.loc["a", "expected_rank"] == pytest.approx(2 - exact)


@pytest.mark.parametrize("name", ["slopes", "one correlation", "known sigma", "singular", "diagonal"])
def test_pooled_effects_are_weights_times_own_estimates(name):
    fit = fit_of(name)
    found = bmm.shrinkage(fit)
    (group, weights), *_ = found.weights.items()
    k = weights.shape[-1]
    unpooled = found.table["unpooled"].to_numpy().reshape(-1, k)
    pooled = found.table["estimate"].to_numpy().reshape(-1, k)
    own = ~np.isnan(unpooled).any(axis=1)
    if name == "diagonal":  # (1 | Worker) with dummies of all machines: no worker's rows tell them apart
        assert not own.any()
        assert np.isnan(weights).all()
        assert "do not determine" in " ".join(str(found).split())
        return
    assert own.all()
    expected = np.einsum("qij,qj->qi", weights, unpooled)
    np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-6 * fit.sigma)
    assert found.table["group"].eq(group).all()


def test_weights_of_fay_herriot_are_its_own():
    fit = fit_of("known sigma")
    data = bmm.datasets.load("eight_schools")
    variance = fit.parameters["estimate"].iloc[-1] ** 2
    expected = variance / (variance + data["sigma"].to_numpy() ** 2)
    np.testing.assert_allclose(bmm.shrinkage(fit).table["weight"], expected, rtol=1e-8, atol=1e-12)


def test_effects_that_do_not_vary_share_all_ranks():
    fit = fit_of("singular")
    ranking = bmm.ranking(fit, "Batch", top=2, above=-1.0, of="effects")
    assert ranking.table["best"].eq(1 / 6).all()
    assert ranking.table["top"].eq(2 / 6).all()
    assert ranking.table["expected_rank"].eq(3.5).all()
    assert ranking.table["rank_upper"].eq(6).all()
    assert ranking.table["above"].eq(1.0).all()
    assert np.nanmin(ranking.pairs()) == np.nanmax(ranking.pairs()) == 0.5
    assert "they are all equal" in " ".join(str(ranking).split())
    found = bmm.shrinkage(fit)
    assert found.pooling["pooling_factor"].item() == 1.0
    assert "pooling is complete" in " ".join(str(found).split())


def test_a_posteriors_numbers_are_counted(sleep):
    _, _, posterior = sleep
    draws = posterior.draws("b_Subject")[..., 1].reshape(-1, 18)
    slopes = draws + posterior.beta[..., 1].reshape(-1, 1)
    ranking = bmm.ranking(posterior, "Subject", "Days", of="coefficients", top=3, above=10.0)
    order = pd.DataFrame(slopes).rank(axis=1, ascending=False).to_numpy()
    np.testing.assert_allclose(ranking.table["best"], (order == 1).mean(axis=0))
    np.testing.assert_allclose(ranking.table["top"], (order <= 3).mean(axis=0))
    np.testing.assert_allclose(ranking.table["above"], (slopes > 10.0).mean(axis=0))
    np.testing.assert_allclose(ranking.table["expected_rank"], order.mean(axis=0))
    pair = ranking.pairs(["309", "308"])
    assert pair.loc["308", "309"] == (draws[:, 0] > draws[:, 1]).mean()
    found = bmm.shrinkage(posterior)
    pooling = 1 - draws.mean(axis=0).var(ddof=1) / draws.var(axis=1, ddof=1).mean()
    assert found.pooling.loc[("Subject", "Days"), "pooling_factor"] == pytest.approx(pooling)
    own = found.table[found.table["effect"] == "Days"]
    np.testing.assert_allclose(own["lower"], np.quantile(draws, 0.025, axis=0))
    assert own["weight_lower"].lt(own["weight"]).all()
    assert own["weight_upper"].gt(own["weight"]).all()


def test_fit_and_posterior_have_the_same_rows_and_columns(sleep):
    _, fit, posterior = sleep
    tables = [bmm.ranking(each, "Subject", "Days", top=3, above=0.0).table for each in (fit, posterior)]
    pd.testing.assert_index_equal(tables[0].index, tables[1].index)
    pd.testing.assert_index_equal(tables[0].columns, tables[1].columns)


def test_ranks_before_and_after_are_counted(sleep):
    table = bmm.shrinkage(sleep[1], of="coefficients").table
    own = table[table["effect"] == "Days"]
    expected = own["unpooled"].rank(ascending=False) - own["estimate"].rank(ascending=False)
    np.testing.assert_array_equal(own["rank_change"], expected)
    fixed = sleep[1].parameters.loc["Days", "estimate"]
    np.testing.assert_allclose(own["complete"], fixed)


def test_units_names_and_order_of_rows_change_nothing(sleep):
    data = bmm.datasets.load("sleepstudy")
    plain, before = bmm.shrinkage(sleep[1]), bmm.ranking(sleep[1], "Subject", "Days", top=3)
    changed = data.assign(
        Reaction=data["Reaction"] * 1e-3, Days=data["Days"] * 24.0, Subject="s" + data["Subject"].astype(str)
    ).sample(frac=1.0, random_state=3)
    fit = bmm.Model(SLEEP, changed).fit()
    found, after = bmm.shrinkage(fit), bmm.ranking(fit, "Subject", "Days", top=3)
    keys = ["level", "effect"]
    one = plain.table.assign(level="s" + plain.table["level"]).set_index(keys).sort_index()
    other = found.table.set_index(keys).sort_index()
    for name in ("n", "weight", "rank", "rank_unpooled"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-5)
    scale = np.where(one.index.get_level_values("effect") == "Days", 1e-3 / 24.0, 1e-3)
    np.testing.assert_allclose(other["unpooled"], one["unpooled"] * scale, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.pooling["pooling_factor"], plain.pooling["pooling_factor"], rtol=1e-5)
    after_table = after.table.rename(index=lambda level: level[1:]).loc[before.table.index]
    np.testing.assert_allclose(after_table["expected_rank"], before.table["expected_rank"], rtol=1e-4)
    np.testing.assert_allclose(after_table["top"], before.table["top"], atol=DRAWN * np.sqrt(0.5 / 10_000))


def test_same_seed_same_numbers(sleep):
    tables = [bmm.ranking(sleep[1], "Subject", "Days", seed=seed).table for seed in (4, 4, 5)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["best"].equals(tables[2]["best"])


def test_many_crossed_levels_have_the_covariances_of_few(monkeypatch):
    fit = fit_of("crossed")
    exact = bmm.ranking(fit, "plate")
    monkeypatch.setattr("bayesmm.inference.pooling.levels.MOST_LEVELS", 5)
    near = bmm.ranking(fit, "plate")
    np.testing.assert_allclose(near.table[["std_error"]], exact.table[["std_error"]], rtol=1e-6)
    np.testing.assert_allclose(near.pairs(), exact.pairs(), atol=1e-9)
    assert near.values.pooling_factor() == pytest.approx(exact.values.pooling_factor(), rel=1e-9)
    drawn = np.concatenate(list(near.values.sample(20_000, 1)))
    covariance = exact.values.own + exact.values.shared @ exact.values.shared.T
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * covariance.max())


def test_several_levels_a_row_are_ranked():
    rng = np.random.default_rng(8)
    names = np.array(list("abcdefgh"))
    one, two = rng.integers(0, 8, 200), rng.integers(0, 8, 200)
    effects = rng.normal(size=8)
    data = pd.DataFrame({"one": names[one], "two": names[two]})
    data["y"] = 0.5 * (effects[one] + effects[two]) + 0.2 * rng.normal(size=200)
    fit = bmm.Model("y ~ 1 + (1 | mm(one, two))", data).fit()
    group = fit.labels.blocks[0].group
    ranking, found = bmm.ranking(fit, group), bmm.shrinkage(fit)
    assert ranking.table["best"].idxmax() == names[effects.argmax()]
    own = dense_errors(fit)[0]
    np.testing.assert_allclose(ranking.table["std_error"], np.sqrt(np.diag(own)), rtol=1e-6)
    assert found.table["n"].tolist() == [int(((one == j) | (two == j)).sum()) for j in range(8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": "Days"}, "grouping factor of the model: 'Subject'"),
        ({"effect": None}, "give an effect of Subject: 'Intercept', 'Days'"),
        ({"top": 19}, "from 1 to 18"),
        ({"above": "high"}, "finite number"),
        ({"of": "levels"}, "'effects' or 'coefficients'"),
        ({"n": 0}, "at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"level": 95}, "level is 95"),
        ({"highest": "yes"}, "True or False"),
    ],
)
def test_wrong_arguments_are_named(sleep, arguments, message):
    given = {"group": "Subject", "effect": "Days"} | arguments
    with pytest.raises(ArgumentError, match=message):
        bmm.ranking(sleep[1], **given)


def test_what_is_no_result_and_no_level_is_refused(sleep):
    with pytest.raises(ArgumentError, match="give a fit or a posterior"):
        bmm.shrinkage(sleep[0])
    with pytest.raises(ArgumentError, match="no level of Subject"):
        bmm.ranking(sleep[1], "Subject", "Days").pairs(["308", "1"])


def test_a_hostile_name_of_a_group_is_seen_and_not_obeyed():
    data = bmm.datasets.load("dyestuff").rename(columns={"Batch": "g\x1b[31m"})
    fit = bmm.Model("Yield ~ 1 + (1 | `g\x1b[31m`)", data).fit()
    for result in (bmm.ranking(fit, "g\x1b[31m"), bmm.shrinkage(fit)):
        assert "g\\x1b[31m" in str(result)
        assert "\x1b" not in str(result) + result._repr_html_()


def test_probabilities_come_true_as_often_as_they_say():
    rng, group, sets = np.random.default_rng(11), np.repeat(np.arange(20), 5), 100
    claims, truth = [], []
    for _ in range(sets):
        effects = 0.7 * rng.normal(size=20)
        fit = bmm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"g": group, "y": effects[group] + rng.normal(size=100)})).fit()
        levels = [int(level) for level in fit.labels.blocks[0].levels]
        pairs = bmm.ranking(fit, "g", n=1).pairs().to_numpy()
        for i in range(0, 20, 2):  # each level once: pairs of a set are then nearly independent
            high, low = (i, i + 1) if pairs[i, i + 1] >= 0.5 else (i + 1, i)
            claims.append(pairs[high, low])
            truth.append(effects[levels[high]] > effects[levels[low]])
    claims, truth = np.array(claims), np.array(truth)
    for lower, upper in ((0.5, 0.75), (0.75, 0.95), (0.95, 1.0)):
        own = (claims >= lower) & (claims <= upper)
        error = np.sqrt((claims[own] * (1 - claims[own])).sum()) / own.sum()
        assert own.sum() > 100
        assert truth[own].mean() == pytest.approx(claims[own].mean(), abs=DRAWN * error)
