"""Each layer of the error of predicted effects is what dense formulas, published ones, and simulation say."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dense_errors import MODELS, Dense, model_fit
from made_posterior import make_posterior
from scipy import special, stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.fit import Fit
from bayesmm.inference.effects import layers as module
from bayesmm.inference.effects.layers import build_layers
from bayesmm.inference.effects.refitted import move_effects
from bayesmm.reml.estimate import estimate

load = bmm.datasets.load
SLOPES = "Reaction ~ Days + (Days | Subject)"


@cache
def sleepstudy() -> Fit:
    return bmm.Model(SLOPES, load("sleepstudy")).fit()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_layers_are_those_of_dense_formulas(name: str, method: str) -> None:
    fit = model_fit(name, method)
    dense = Dense(fit)
    for own, conditional, fixed, third in zip(
        build_layers(fit, "expected"),
        *map(dense.blocks, (dense.conditional, dense.fixed, dense.of_variances)),
        strict=True,
    ):
        size = np.abs(fixed).max()
        np.testing.assert_allclose(own.conditional, conditional, rtol=1e-7, atol=1e-9 * size)
        np.testing.assert_allclose(own.fixed, fixed, rtol=1e-7, atol=1e-9 * size)
        np.testing.assert_allclose(own.of_variances, third, rtol=1e-4, atol=1e-6 * np.abs(third).max())


@pytest.mark.parametrize(
    "name", ["intercepts", "crossed slopes", "aliased column", "autoregressive residuals", "smaller groups"]
)
def test_degrees_of_freedom_are_those_of_differences_of_dense_errors(name: str) -> None:
    fit, p = model_fit(name), 2
    dense, shifts = Dense(fit), [np.eye(b.k, p) for b in model_fit(name).design.blocks]
    for J in (None, shifts):
        for own, noise in zip(build_layers(fit, "expected", J), dense.noise(J), strict=True):
            np.testing.assert_allclose(own.noise, noise, rtol=1e-5)
    table = fit.random_effects(uncertainty="full")
    errors = np.concatenate([np.sqrt(n).ravel() for n in dense.noise()])
    satterthwaite = np.maximum(2.0 * table["std_error"] ** 4 / errors**2, 2.0)
    np.testing.assert_allclose(table["df"], satterthwaite, rtol=1e-5)
    np.testing.assert_allclose(
        table["upper"] - table["estimate"], stats.t(table["df"]).ppf(0.975) * table["std_error"], rtol=1e-9
    )


def test_degrees_of_freedom_without_variance_between_levels_are_those_of_the_residuals() -> None:
    """A mean with its standard error s/√n, for which t with n − 1 degrees of freedom is exact."""
    y = load("dyestuff2")["Yield"]
    table = bmm.Model("Yield ~ 1 + (1 | Batch)", load("dyestuff2")).fit().coef(uncertainty="full")
    lower, upper = stats.t.interval(0.95, 29, loc=y.mean(), scale=y.std() / np.sqrt(30))
    np.testing.assert_allclose(table["df"], 29.0, rtol=1e-6)
    np.testing.assert_allclose(table["lower"], lower, rtol=1e-8)
    np.testing.assert_allclose(table["upper"], upper, rtol=1e-8)


@pytest.mark.parametrize("name", ["slopes, weights", "crossed slopes"])
def test_coefficients_have_the_joint_covariance_of_fixed_and_predicted_effects(name: str) -> None:
    fit = model_fit(name)
    dense, shifts = Dense(fit), [np.eye(b.k, 2) for b in fit.design.blocks]
    for layer, matrix in (("fixed", dense.fixed), ("full", dense.fixed + 2.0 * dense.of_variances)):
        table = fit.coef(uncertainty=layer)
        expected = np.concatenate([np.sqrt(np.einsum("qii->qi", C)).ravel() for C in dense.blocks(matrix, shifts)])
        np.testing.assert_allclose(table["std_error"], expected, rtol=1e-4)
    effects = fit.random_effects()
    np.testing.assert_allclose(
        table["estimate"], effects["estimate"] + effects["effect"].map(fit.fixed_effects["estimate"]), rtol=1e-12
    )


def test_batches_of_solves_give_what_one_matrix_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = model_fit("crossed slopes")
    whole = build_layers(fit, "expected")
    monkeypatch.setattr(module, "DENSE", 0)
    monkeypatch.setattr(module, "SOLVED", 300)
    for one, other in zip(whole, build_layers(fit, "expected"), strict=True):
        np.testing.assert_allclose(one.of_variances, other.of_variances, rtol=1e-8, atol=1e-12)


def area_layers(variances: np.ndarray, X: np.ndarray, between: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g₁, g₂, g₃ of Fay and Herriot's model as Datta & Lahiri (2000, section 3) print them, ψ by REML.

    θᵢ = xᵢ'β + bᵢ: g₁ = ψD/(ψ + D), g₂ = (D/(ψ + D))² x'(Σ xx'/(ψ + D))⁻¹x, g₃ = D²(ψ + D)⁻³ · 2/Σ(ψ + D)⁻².
    """
    total = between + variances
    A = np.linalg.inv((X / total[:, None]).T @ X)
    g2 = (variances / total) ** 2 * np.einsum("ni,ij,nj->n", X, A, X)
    return between * variances / total, g2, variances**2 / total**3 * 2.0 / (total**-2.0).sum()


@pytest.mark.parametrize("n", [13, 2000])
def test_area_models_have_the_published_mean_squared_error(n: int) -> None:
    if n == 13:
        frame = load("bcg")
        y, D = frame["yi"].to_numpy(), frame["vi"].to_numpy()
    else:
        rng = np.random.default_rng(3)
        D = rng.choice([0.4, 0.7, 1.0, 2.0], n)
        y = 1.0 + rng.normal(size=n) + np.sqrt(D) * rng.normal(size=n)
    areas = pd.DataFrame({"y": y, "v": D, "area": [f"a{i}" for i in range(n)]})
    fit = bmm.Model("y ~ 1 + (1 | area)", areas, weights="1 / v", sigma=1).fit()
    between = float(fit.parameters.loc["sd(Intercept | area)", "estimate"]) ** 2
    X = np.ones((n, 1))
    g1, g2, g3 = area_layers(D, X, between)
    coefficients = fit.coef(uncertainty="full")
    order = coefficients["level"].str[1:].astype(int).to_numpy()
    np.testing.assert_allclose(fit.coef(uncertainty="fixed")["std_error"] ** 2, (g1 + g2)[order], rtol=1e-8)
    # they drop terms of the order 1/n in g₃ itself
    ours = coefficients["std_error"] ** 2 - (g1 + g2)[order]
    np.testing.assert_allclose(ours, 2.0 * g3[order], rtol=2.5 / n)


def test_full_is_the_mean_squared_error_in_simulations_of_few_groups() -> None:
    rng, q, m, n = np.random.default_rng(8), 12, 5, 250
    g = np.repeat([f"g{i:02}" for i in range(q)], m)
    fit = bmm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"g": g, "y": rng.normal(size=q * m)})).fit()
    b, held = rng.normal(size=(n, q)), []
    y = np.repeat(b, m, axis=1) + rng.normal(size=(n, q * m))
    squares, claimed = [], []
    for problem, truth in zip(fit.problem.with_responses(y.T), b, strict=True):
        found = estimate(replace(fit.estimate.criterion_function, products=problem.products))
        (own,) = build_layers(replace(fit, problem=problem, estimate=found), "expected")
        size, length = np.abs(found.modes[0][:, 0] - truth), np.sqrt(own.full[:, 0, 0])
        t_quantile = special.stdtrit(own.df(own.full[:, :, 0])[:, 0], 0.975)
        held.append([(size <= quantile * length).mean() for quantile in (1.96, t_quantile)])
        squares.append(((found.modes[0][:, 0] - truth) ** 2).mean())
        claimed.append([each.mean() for each in (own.conditional, own.fixed, own.full)])
    error, noise = np.mean(squares), np.std(squares) / np.sqrt(n)
    conditional, fixed, full = np.mean(claimed, axis=0)
    assert conditional < fixed < full
    assert conditional < error - 2.0 * noise
    assert abs(full - error) < 3.0 * noise
    (normal, t), spread = np.mean(held, axis=0), np.std(held, axis=0).max() / np.sqrt(n)
    assert normal < t
    assert abs(t - 0.95) < 2.0 * spread


def test_bootstrap_and_second_order_term_agree_where_groups_are_many() -> None:
    rng, q, m = np.random.default_rng(2), 150, 4
    g = np.repeat(np.arange(q), m)
    frame = pd.DataFrame({"g": [f"{i}" for i in g], "y": rng.normal(size=q)[g] + rng.normal(size=q * m)})
    fit = bmm.Model("y ~ 1 + (1 | g)", frame).fit()
    (own,) = build_layers(fit, "expected")
    moved = move_effects(fit, 200, 1, False)
    assert moved.n_failed == 0
    assert moved.squares[0].mean() == pytest.approx(own.of_variances.mean(), rel=4.0 * np.sqrt(2.0 / 200))


def test_same_seed_same_bootstrap() -> None:
    one, same, other = (bmm.effect_uncertainty(sleepstudy(), bootstrap=20, seed=s).table for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not np.allclose(one["bootstrap"], other["bootstrap"])


def test_a_variance_of_zero_leaves_it_to_bootstrap_and_posterior() -> None:
    schools = load("eight_schools")
    fit = bmm.Model("y ~ 1 + (1 | school)", schools, weights="1 / sigma**2", sigma=1).fit()
    found = bmm.effect_uncertainty(fit, bootstrap=50)
    assert (found.table[["conditional", "fixed", "full"]] == 0.0).all(axis=None)
    assert (found.table["bootstrap"] > 1.0).all()
    assert any("cannot know; the bootstrap can" in note for note in found.notes)
    np.testing.assert_allclose(  # of the mean alone
        fit.coef(uncertainty="full")["std_error"], fit.fixed_effects.loc["Intercept", "std_error"], rtol=1e-8
    )


def test_units_and_origins_do_not_matter() -> None:
    frame = load("sleepstudy")
    moved = bmm.Model(SLOPES, frame.assign(Days=frame["Days"] * 24.0, Reaction=frame["Reaction"] / 1000.0)).fit()
    one, other = (bmm.effect_uncertainty(fit, bootstrap=20).table for fit in (sleepstudy(), moved))
    scale = np.where(one["effect"] == "Days", 24e3, 1e3)
    for layer in ("conditional", "fixed", "full"):
        np.testing.assert_allclose(one[layer], scale * other[layer], rtol=1e-4)
    np.testing.assert_allclose(one["bootstrap"], scale * other["bootstrap"], rtol=1e-3)  # refits stop where it is flat
    mine, theirs = (fit.random_effects(uncertainty="full")["df"] for fit in (sleepstudy(), moved))
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    later = bmm.Model("Reaction ~ I(Days - 4) + (I(Days - 4) | Subject)", frame).fit()
    for layer in ("fixed", "full"):
        mine, theirs = (fit.coef(uncertainty=layer).query("effect != 'Intercept'") for fit in (sleepstudy(), later))
        np.testing.assert_allclose(mine["std_error"], theirs["std_error"], rtol=1e-5)


def test_names_and_order_of_levels_do_not_matter() -> None:
    frame = load("sleepstudy")
    names = {name: f"z{99 - i}" for i, name in enumerate(frame["Subject"].unique())}
    shuffled = frame.sample(frac=1.0, random_state=1).assign(Subject=lambda d: d["Subject"].map(names).astype(str))
    one = bmm.effect_uncertainty(sleepstudy()).table
    other = bmm.effect_uncertainty(bmm.Model(SLOPES, shuffled).fit()).table.set_index(["level", "effect"])
    wanted = other.loc[list(zip(one["level"].map(names), one["effect"], strict=True))]
    for layer in ("estimate", "conditional", "fixed", "full"):
        np.testing.assert_allclose(one[layer], wanted[layer], rtol=1e-5)


def test_the_posterior_stands_beside_by_level() -> None:
    model = bmm.Model(SLOPES, load("sleepstudy"))
    posterior = make_posterior(model)
    found = bmm.effect_uncertainty(sleepstudy(), posterior)
    np.testing.assert_array_equal(found.table["posterior"], posterior.random_effects()["sd"])
    assert "posterior: " in str(found)
    with pytest.raises(ComparisonError, match="not of the same model"):
        bmm.effect_uncertainty(bmm.Model("Reaction ~ Days + (1 | Subject)", load("sleepstudy")).fit(), posterior)


def test_random_effects_take_a_layer_and_stay_conditional_by_default() -> None:
    fit, table = sleepstudy(), bmm.effect_uncertainty(sleepstudy()).table
    pd.testing.assert_frame_equal(fit.random_effects(), fit.random_effects(uncertainty="conditional"))
    for layer in ("conditional", "fixed", "full"):
        own = fit.random_effects(uncertainty=layer, level=0.5)
        np.testing.assert_allclose(own["std_error"], table[layer], rtol=1e-12)
        quantiles = stats.t(own["df"]).ppf(0.75) if layer == "full" else 0.6744897501960817
        np.testing.assert_allclose(own["upper"] - own["estimate"], quantiles * own["std_error"], rtol=1e-9)


@pytest.mark.parametrize("statistic", [None, lambda fit: fit.sigma])
def test_refits_of_a_bootstrap_are_used_again(statistic: Any) -> None:
    fit = sleepstudy()
    given = fit.bootstrap(30, seed=4, statistic=statistic, progress=False)
    one = fit.random_effects(uncertainty="bootstrap", bootstrap=given)
    found = bmm.effect_uncertainty(fit, bootstrap=given).table
    np.testing.assert_allclose(one["std_error"], found["bootstrap"], rtol=1e-12)
    if statistic is None:
        pd.testing.assert_frame_equal(one, fit.random_effects(uncertainty="bootstrap", bootstrap=30, seed=4))
    assert (one["std_error"] > fit.random_effects(uncertainty="fixed")["std_error"]).all()


def test_bootstrap_of_coefficients_is_that_of_new_data_by_dense_formulas() -> None:
    """New responses with known truth: the error of b̂ + β̂ by the estimated θ, every time from matrices."""
    fit, rng, n = model_fit("intercepts"), np.random.default_rng(3), 60
    dense, J = Dense(fit), np.eye(1, 2)
    y = fit.design.X[:, fit.design.kept] @ fit.estimate.beta + rng.multivariate_normal(np.zeros(fit.n), dense.V, size=n)
    moved, at = [], dense._linear(dense._at(fit.estimate.minimum.x))
    for problem, own in zip(fit.problem.with_responses(y.T), y, strict=True):
        theta = estimate(replace(fit.estimate.criterion_function, products=problem.products)).minimum.x
        both = (dense._linear(dense._at(theta)) - at) @ own
        moved.append(both[:-2] + both[-2:] @ J[0])
    square, noise = np.mean(np.square(moved)), np.std(np.mean(np.square(moved), axis=1)) / np.sqrt(n)
    ours = fit.coef(uncertainty="bootstrap", bootstrap=400)["std_error"] ** 2
    ours -= fit.coef(uncertainty="fixed")["std_error"] ** 2
    assert abs(ours.mean() - square) < 4.0 * noise


def test_bootstraps_of_something_else_are_refused() -> None:
    fit = sleepstudy()
    with pytest.raises(ComparisonError, match="of kind 'residual'"):
        fit.coef(uncertainty="bootstrap", bootstrap=fit.bootstrap(3, kind="residual", progress=False))
    other = bmm.Model("Reaction ~ Days + (1 | Subject)", load("sleepstudy")).fit().bootstrap(3, progress=False)
    with pytest.raises(ComparisonError, match="not of this fit"):
        bmm.effect_uncertainty(fit, bootstrap=other)


def test_intervals_are_those_of_each_layer() -> None:
    model, fit = bmm.Model(SLOPES, load("sleepstudy")), sleepstudy()
    posterior = make_posterior(model)
    found = bmm.effect_uncertainty(fit, posterior, 20)
    assert found.layers == ("conditional", "fixed", "full", "bootstrap", "posterior")
    table = found.intervals(level=0.8)
    for layer, own in table.groupby("layer"):
        if layer == "posterior":
            wanted = posterior.random_effects(level=0.8).rename(columns={"mean": "estimate", "sd": "std_error"})
        else:
            wanted = fit.random_effects(uncertainty=layer, bootstrap=20, level=0.8)  # pyright: ignore[reportArgumentType]
        for column in ("group", "level", "effect", "estimate", "std_error", "lower", "upper"):
            assert own[column].tolist() == pytest.approx(wanted[column].tolist()), (layer, column)
    days = found.only("Days", "Subject")
    pd.testing.assert_frame_equal(
        days.intervals(0.8), table[table["effect"] == "Days"].reset_index(drop=True), check_like=True
    )


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    with pytest.raises(ArgumentError, match="uncertainty is 'posterior': give"):
        sleepstudy().random_effects(uncertainty="posterior")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="bootstrap is 1: give how many refits"):
        sleepstudy().random_effects(uncertainty="bootstrap", bootstrap=1)
    with pytest.raises(ArgumentError, match="bootstrap is True"):
        bmm.effect_uncertainty(sleepstudy(), bootstrap=True)
    with pytest.raises(ArgumentError, match="No random effect has the name"):
        bmm.Model("Reaction ~ 0 + Days + (1 | Subject)", load("sleepstudy")).fit().coef()


def test_notes_say_which_layer_to_report() -> None:
    assert any("report full" in note for note in bmm.effect_uncertainty(sleepstudy()).notes)
    penicillin = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", load("penicillin"))
    notes = " ".join(bmm.effect_uncertainty(penicillin.fit(method="ml")).notes)
    assert "plate: 24 levels, 6 rows each (median)" in notes
    assert "conditional is too small" in notes
    assert "Maximum likelihood" in notes
