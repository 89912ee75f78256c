"""Units, origins, names and orders are the user's: what is reported follows them, and nothing else changes.

Draws by importance sampling are functions of the model's density in the sampler's own coordinates, of the seed, and of
nothing else, so that the posteriors of two statements of one model are compared draw by draw.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.bayes.results.draws import read_draws
from bayesmm.covariance.table import STRUCTURES

FORMULA = "y ~ x + f + (x | g)"
ROUNDING = 1e-6  # relative to a draw's posterior sd: of sums and of steps to the mode
SEARCH = 1e-5  # of a point estimate's standard error: where the search stops
CHANCE = 5.0 * np.sqrt(2.0 / 4000)  # posterior sds between the means of two times 4000 independent draws
NUMBER = re.compile(r"[−-]?\d+(?:\.\d+)?(?:e[+−-]?\d+)?")


def made() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(10), 6), np.tile(np.arange(6.0), 10) + rng.uniform(-0.4, 0.4, 60)
    f = np.where(rng.random(60) < 0.5, "a", "b")
    b = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.2], [0.2, 0.3]], 10)
    y = 5.0 + b[g, 0] + (1.0 + b[g, 1]) * x + 0.7 * (f == "b") + 0.8 * rng.normal(size=60)
    return pd.DataFrame({"y": y, "x": x, "f": f, "g": [f"g{i}" for i in g]})


@dataclass(frozen=True, kw_only=True)
class Statement:
    """Another statement of the same model.

    With ``y' = unit * y + level`` and the columns ``[1 x f]' = [1 x f] C``, coefficients are C⁻¹β times the unit, and so
    are effects by the part of C that is theirs.
    """

    change: Callable[[pd.DataFrame], pd.DataFrame]
    columns: tuple[tuple[float, ...], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    unit: float = 1.0
    level: float = 0.0
    levels: Callable[[str], str] = str  # new names of the groups
    f_names: tuple[str, str] = ("f[T.b]", "f[T.b]")  # the coefficient's name here and there
    same: Literal["draws", "spreads", "posterior"] = "draws"  # random numbers go with the order of levels and columns
    same_words: bool = True  # of the comparison: sds at another origin are others


STATEMENTS = {
    "x from another origin": Statement(
        change=lambda d: d.assign(x=d["x"] + 2015.0),
        columns=((1, 2015.0, 0), (0, 1, 0), (0, 0, 1)),
        same_words=False,
    ),
    "x in millionths": Statement(
        change=lambda d: d.assign(x=1e6 * d["x"]), columns=((1, 0, 0), (0, 1e6, 0), (0, 0, 1))
    ),
    "x in millions": Statement(
        change=lambda d: d.assign(x=1e-6 * d["x"]), columns=((1, 0, 0), (0, 1e-6, 0), (0, 0, 1))
    ),
    "x downwards": Statement(
        change=lambda d: d.assign(x=-d["x"]), columns=((1, 0, 0), (0, -1, 0), (0, 0, 1)), same="posterior"
    ),
    "y from another origin": Statement(change=lambda d: d.assign(y=d["y"] + 1e4), level=1e4),
    "y in thousandths": Statement(change=lambda d: d.assign(y=1e3 * d["y"]), unit=1e3),
    "y in millions, from another origin": Statement(
        change=lambda d: d.assign(y=1e-6 * d["y"] - 3.0), unit=1e-6, level=-3.0
    ),
    "the other level of f first": Statement(
        change=lambda d: d.assign(f=pd.Categorical(d["f"], categories=["b", "a"])),
        columns=((1, 0, 1), (0, 1, 0), (0, 0, -1)),
        f_names=("f[T.b]", "f[T.a]"),
        same="spreads",
    ),
    "levels of f renamed": Statement(
        change=lambda d: d.assign(f=d["f"].map({"a": "0 none", "b": "1 some"})), f_names=("f[T.b]", "f[T.1 some]")
    ),
    "groups renamed": Statement(change=lambda d: d.assign(g="school " + d["g"]), levels="school {}".format),
    "groups in another order": Statement(
        change=lambda d: d.assign(g=d["g"].map(lambda g: f"{9 - int(g[1:])} {g}")),
        levels=lambda g: f"{9 - int(g[1:])} {g}",
        same="spreads",
    ),
    "groups as whole numbers": Statement(
        change=lambda d: d.assign(g=d["g"].str[1:].astype(int) + 100), levels=lambda g: str(int(g[1:]) + 100)
    ),
    "rows in another order": Statement(change=lambda d: d.sample(frac=1.0, random_state=1)),
}


@dataclass(frozen=True, kw_only=True)
class Results:
    model: bmm.Model
    fit: bmm.Fit
    posterior: bmm.Posterior


def results_of(data: pd.DataFrame) -> Results:
    model = bmm.Model(FORMULA, data)
    return Results(model=model, fit=model.fit(), posterior=model.sample(method="importance", seed=7))


@pytest.fixture(scope="module")
def base() -> Results:
    return results_of(made())


@pytest.fixture(scope="module", params=STATEMENTS)
def pair(request) -> tuple[Statement, Results]:
    statement = STATEMENTS[request.param]
    return statement, results_of(statement.change(made()))


def coefficients_there(statement: Statement, beta: np.ndarray) -> np.ndarray:
    moved = statement.unit * beta @ np.linalg.inv(np.array(statement.columns)).T
    return moved + np.array([statement.level, 0.0, 0.0])


def factor_there(statement: Statement, factor: np.ndarray) -> np.ndarray:
    return statement.unit * np.linalg.inv(np.array(statement.columns)[:2, :2]) @ factor


def level_order(statement: Statement, base: Results, other: Results) -> list[int]:
    names = other.model.labels.blocks[0].levels
    return [names.index(statement.levels(level)) for level in base.model.labels.blocks[0].levels]


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Within a part of the standard deviation over the first axis."""
    scale = np.maximum(expected.std(axis=0), np.finfo(float).tiny)
    np.testing.assert_allclose((found - expected) / scale, 0.0, atol=tolerance)


def test_point_estimates_follow(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    columns = np.linalg.inv(np.array(statement.columns))
    covariance = statement.unit**2 * columns @ base.fit.estimate.beta_covariance @ columns.T
    found, errors = other.fit.parameters, np.sqrt(np.diag(covariance))
    expected = coefficients_there(statement, base.fit.estimate.beta)
    np.testing.assert_allclose((found["estimate"].to_numpy()[:3] - expected) / errors, 0.0, atol=SEARCH)
    np.testing.assert_allclose(found["std_error"].to_numpy()[:3], errors, rtol=SEARCH)
    sigma = statement.unit * base.fit.sigma
    assert other.fit.sigma == pytest.approx(sigma, rel=SEARCH)
    sd = np.linalg.norm(sigma * factor_there(statement, base.fit.factors[0]) / statement.unit, axis=1)
    np.testing.assert_allclose(found["estimate"].to_numpy()[3:5], sd, rtol=SEARCH)
    slope = base.fit.parameters["std_error"].iloc[4] * statement.unit / abs(np.array(statement.columns)[1, 1])
    assert other.fit.status == base.fit.status
    fitted = other.fit.predict().loc[base.fit.predict().index]
    np.testing.assert_allclose(fitted, statement.unit * base.fit.predict() + statement.level, rtol=1e-7)
    assert found["std_error"].iloc[4] == pytest.approx(slope, rel=1e-3)


def test_conditional_modes_follow(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    effects = base.fit.random_effects()["estimate"].to_numpy().reshape(10, 2)
    expected = factor_there(statement, effects.T).T
    found = other.fit.random_effects()["estimate"].to_numpy().reshape(10, 2)[level_order(statement, base, other)]
    assert_close(found, expected, 1e-4)


def test_priors_follow(base: Results, pair: tuple[Statement, Results]) -> None:
    """Of what they are about: locations and scales of the response's and the column's units, and none of an origin."""
    statement, other = pair
    size = np.abs(np.diag(statement.columns))
    units = np.concatenate([statement.unit / size, statement.unit / size[:2], [1.0, statement.unit]])
    for here, there, unit in zip(base.model.priors.rows, other.model.priors.rows, units, strict=True):
        level = statement.level if here.name == "Intercept" else 0.0
        moved = {
            name: value * unit + level * (name == "mean") if name in ("mean", "sd", "scale") else value
            for name, value in here.prior.numbers.items()
        }
        assert there.prior.numbers == pytest.approx(moved, rel=1e-9, abs=1e-12 * unit)
        assert there.about == here.about.replace(*statement.f_names)


def assert_mean_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Within chance."""
    np.testing.assert_allclose((found.mean(axis=0) - expected.mean(axis=0)) / expected.std(axis=0), 0.0, atol=CHANCE)


def test_draws_follow(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    here, there = read_draws(base.posterior), read_draws(other.posterior)
    F = statement.unit * np.linalg.inv(np.array(statement.columns)[:2, :2])
    sd, cor = STRUCTURES["us"].read(np, F @ here.covariances[0] @ F.T)
    expected = np.column_stack([statement.unit * here.sigma, sd])
    found = np.column_stack([there.sigma, other.posterior.draws("sd_g").reshape(-1, 2)])
    found_cor, beta = other.posterior.draws("cor_g").reshape(-1, 1), coefficients_there(statement, here.beta)
    if statement.same == "posterior":
        assert_mean_close(np.column_stack([found, found_cor]), np.column_stack([expected, cor]))
    else:
        np.testing.assert_allclose(found, expected, rtol=ROUNDING)
        np.testing.assert_allclose(1.0 - np.abs(found_cor), 1.0 - np.abs(cor), rtol=1e-3, atol=ROUNDING)
    if statement.same == "draws":
        assert_close(there.beta, beta, 1e-4)
    else:
        assert_mean_close(there.beta, beta)


def test_effects_follow(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    order = level_order(statement, base, other)
    here = base.posterior.effects[0].reshape(4000, 10, 2)
    there = other.posterior.effects[0].reshape(4000, 10, 2)[:, order]
    expected = here @ (statement.unit * np.linalg.inv(np.array(statement.columns)[:2, :2])).T
    if statement.same == "draws":
        assert_close(there, expected, 1e-4)
    else:
        assert_mean_close(there, expected)
    table = other.posterior.random_effects()
    assert table["level"].drop_duplicates().to_list() == list(other.model.labels.blocks[0].levels)


def test_predictions_follow(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    here, there = base.posterior.predict(), other.posterior.predict().loc[base.posterior.predict().index]
    tolerance = 1e-4 if statement.same == "draws" else CHANCE
    for column in ("mean", "lower", "upper"):
        expected = statement.unit * here[column] + statement.level
        wide = 1.0 if column == "mean" else 3.0
        error = (there[column] - expected) / (statement.unit * here["sd"])
        np.testing.assert_allclose(error, 0.0, atol=wide * tolerance)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_shares_and_predictive_densities_do_not_change(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    tolerance = {"draws": 1e-5, "spreads": 0.01, "posterior": 0.01}[statement.same]
    for name in ("marginal", "conditional"):
        here, there = (each.posterior.r2()[name].to_numpy() for each in (base, other))
        np.testing.assert_allclose(there.mean(), here.mean(), atol=tolerance)
    shares = [each.posterior.variance_shares() for each in (base, other)]
    np.testing.assert_allclose(
        shares[1]["mean"], shares[0]["mean"], atol=0.005 if statement.same == "posterior" else 1e-5
    )
    loos = [each.posterior.loo() for each in (base, other)]
    moved = loos[0].elpd - 60 * np.log(statement.unit)
    assert loos[1].elpd == pytest.approx(moved, abs=1e-3 if statement.same == "draws" else 0.3)
    assert loos[1].p == pytest.approx(loos[0].p, abs=1e-3 if statement.same == "draws" else 0.3)
    groups = [each.posterior.loo("g").elpd for each in (base, other)]
    assert groups[1] == pytest.approx(
        groups[0] - 60 * np.log(statement.unit), abs=0.02 if statement.same == "draws" else 0.5
    )


def test_sensitivity_does_not_change(base: Results, pair: tuple[Statement, Results]) -> None:
    """Of the parameters that are the same ones; those at another origin move with others."""
    statement, other = pair
    here, there = (each.posterior.sensitivity()[["prior", "likelihood"]].to_numpy() for each in (base, other))
    same = [1, 4, 6] if statement.same == "draws" else [4, 6]
    np.testing.assert_allclose(there[same], here[same], atol=0.03 if statement.same == "posterior" else 2e-3)


def test_the_comparison_says_the_same(base: Results, pair: tuple[Statement, Results]) -> None:
    statement, other = pair
    here, there = (bmm.compare(each.fit, each.posterior) for each in (base, other))
    same = here.table.index.isin(["x", "sd(x | g)", "sigma"])
    sign = np.sign(np.array(statement.columns)[1, 1])
    shift = there.table["shift"].to_numpy()[same] * np.array([sign, 1.0, 1.0])
    error = 1e-3 if statement.same == "draws" else CHANCE
    np.testing.assert_allclose(shift, here.table["shift"].to_numpy()[same], atol=error)
    assert not any(word in note for note in there.notes for word in ("exactly zero", "Suspect", "undefined"))
    if statement.same_words and statement.same == "draws":
        assert [_words(note, statement) for note in there.notes] == [_words(note, statement) for note in here.notes]


def _words(note: str, statement: Statement) -> str:
    """Without numbers, and without what is named only for being first in order."""
    there, here = statement.f_names[1], statement.f_names[0]
    return NUMBER.sub("#", note.replace(there, here).partition("Random effects differ")[0])
