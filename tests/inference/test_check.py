"""The page that checks a fit says what is there, and nothing else."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning


def made(seed=0, q=20, m=6, **changes):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(q), m)
    x = np.tile(np.linspace(-1.0, 1.0, m), q)
    data = pd.DataFrame({"g": [f"g{i:02}" for i in g], "x": x, "b": rng.normal(size=q)[g], "e": rng.normal(size=q * m)})
    return data.assign(y=changes.get("y", lambda d: d["x"] + d["b"] + d["e"]))


def check(data, formula="y ~ x + (1 | g)", **options):
    return bmm.Model(formula, data, **options).fit().check(n=199)


def concerns(found, topic):
    return [each for each in found.concerns if each.topic == topic]


def test_a_right_model_passes():
    found = check(made())
    assert found.is_good
    assert "nothing stands out" in str(found)
    assert {each.topic for each in found.findings} == {"convergence", "singularity", "levels", "influence", "residuals"}


@pytest.mark.parametrize(
    ("y", "look", "advice"),
    [
        (lambda d: d["b"] + 3.0 * d["x"] ** 2 + 6.0 * d["x"] + d["e"], "curvature", "try a curve"),
        (lambda d: 3.0 * d["x"] + d["b"] + d["e"] * np.exp(1.2 * d["x"]), "spread against fitted", "logarithm of the response"),
        (lambda d: d["x"] + d["b"] + d["e"] * np.where(d["g"] < "g10", 3.0, 1.0), "spread by g", "or weights"),
        (lambda d: d["x"] + d["b"] + np.exp(1.3 * d["e"]), "skewness", ""),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_named(y, look, advice):
    found = check(made(y=y))
    (residual,) = concerns(found, "residuals")
    table = found.patterns.table.set_index(["what", "look"])
    assert table.loc[("residuals", look), "p_value"] < 0.02
    assert found.patterns.p_any < 0.05
    if advice:
        assert look in residual.text
        assert advice in residual.advice


def test_an_outlying_row_and_an_outlying_level_are_named():
    data = made()
    found = check(data.assign(y=data["y"] + 9.0 * (data.index == 17)))
    assert any("1 row lies farther" in each.text and "17 (" in each.text for each in concerns(found, "influence"))
    odd = check(data.assign(y=data["y"] + 6.0 * data["x"] * (data["g"] == "g04")))
    assert any("1 level of g lies farther" in each.text and "g04" in each.text for each in concerns(odd, "influence"))


def test_a_level_that_moves_a_coefficient_is_named():
    data = made(q=6)
    far = data.assign(x=data["x"] + 40.0 * (data["g"] == "g03"), y=data["y"] + 60.0 * (data["g"] == "g03"))
    found = check(far)
    assert any("Without g g03 the coefficient of" in each.text for each in concerns(found, "influence"))


def test_singular_and_confounded_fits_are_said_to_be():
    found = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit().check(n=49)
    assert any("Intercept does not vary between levels of Batch" in e.text for e in concerns(found, "singularity"))
    with pytest.warns(BayesmmWarning, match="divide the rows into the same"):
        twice = check(made().assign(h=lambda d: d["g"]), "y ~ x + (1 | g) + (1 | h)")
    assert any("divide the rows into the same" in each.text for each in concerns(twice, "singularity"))


def test_few_levels_and_levels_of_one_row_are_said():
    assert any("3 levels: that is too few" in each.text for each in concerns(check(made(q=3)), "levels"))
    data = made()
    single = data.groupby("g").head(1).iloc[:14]
    rest = data[data["g"] >= "g14"]
    found = check(pd.concat([single, rest]))
    assert any("14 of the 20 levels of g have one row" in each.text for each in concerns(found, "levels"))
    assert found.levels.loc["g", ["levels", "single", "most"]].tolist() == [20, 14, 6]


def test_levels_that_a_coefficient_rests_on_are_said():
    data = made().assign(only=lambda d: (d["g"] == "g03") * d["x"])
    found = check(data, "y ~ x + only + (1 | g)")
    assert any("Without g03 of g a fixed effect is not determined" in each.text for each in found.concerns)


def test_reliability_is_that_of_balanced_levels():
    """τ²/(τ² + σ²/m), less what the common mean takes: (q − 1)/q."""
    fit = bmm.Model("y ~ 1 + (1 | g)", made(y=lambda d: d["b"] + d["e"])).fit()
    sd = fit.parameters.loc["sd(Intercept | g)", "estimate"]
    expected = sd**2 / (sd**2 + fit.sigma**2 / 6) * 19 / 20
    assert fit.check(n=49).levels.loc["g", "reliability"] == pytest.approx(expected, rel=1e-6)


def test_same_seed_gives_the_same_page_whatever_is_drawn_at_once(monkeypatch):
    from bayesmm.inference.diagnostics import simulated_sets

    fit = bmm.Model("y ~ x + (1 | g)", made()).fit()
    page = str(fit.check(n=60, seed=4))
    monkeypatch.setattr(simulated_sets, "AT_ONCE", 1000)
    assert str(fit.check(n=60, seed=4)) == page


def test_no_look_is_called_unusual_for_being_the_most_unusual_of_many():
    found = check(made(seed=1))
    smallest = found.patterns.table["p_value"].min()
    assert found.patterns.p_any >= smallest


def test_costly_levels_are_left_to_the_reader(monkeypatch):
    from bayesmm.inference.diagnostics import check as module

    monkeypatch.setattr(module, "MOST_WORK", -1)
    found = check(made())
    assert list(found.influence) == ["rows"]
    assert any("fit.influence('g') does it" in each.text for each in found.findings)
