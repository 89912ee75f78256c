"""What a person takes for granted: bars where it takes long, names that are found, a session that stays as it was."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from presenting.results import RESULTS, sleepstudy
from xarray import DataTree

import bayesmm as bmm
from bayesmm.console import LEAST_COLUMNS, cells
from bayesmm.inference.pooling.ranking import Ranking
from bayesmm.presenting import progress as progress_module
from bayesmm.presenting.parts import FIRST_ROWS, LAST_ROWS, MOST_ROWS

FUNCTIONS = [name for name in bmm.__all__ if inspect.isfunction(getattr(bmm, name))]
# What refits, simulates or samples many times, and so takes seconds where there are many rows or levels.
WATCHED = {
    "Model": {"calibrate", "check_identity", "fit", "prior_predictive", "sample"},
    "Fit": {
        *("anova", "augment", "augment_rows", "bootstrap", "boundary", "check", "coef", "coefficients", "envelopes"),
        *("group_lines", "influence", "influence_rows"),
        *("parameter_table", "plot_effects", "plot_envelopes", "plot_groups", "plot_residuals", "predict"),
        *("predict_rows", "profile", "random_effects", "robust", "save", "simulated_residuals", "test"),
        *("explore", "simulate_rows", "variance_tests"),
    },
    "Posterior": {
        *("augment", "augment_rows", "draws", "glance", "group_lines", "log_likelihood", "loo", "loo_pit", "loo_rows"),
        *("plot_groups", "plot_pit"),
        *("plot_predictive", "posterior_predictive", "predict", "predict_rows", "r2", "random_effects", "save"),
        *("sensitivity", "simulate", "simulate_rows", "tidy", "with_predictive"),
    },
    "Ranking": {"pairs"},
    "bayesmm": {
        *("anova", "compare", "comparisons", "effect_uncertainty", "emmeans", "load", "power", "ranking", "report"),
        *("shrinkage", "simulate_rows", "slopes"),
    },
}


def public_methods(kind):
    return {name for name, value in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_what_takes_long_can_be_watched_and_be_silent():
    _, fit, posterior = sleepstudy()
    found = {"bayesmm": {name for name in FUNCTIONS if "progress" in inspect.signature(getattr(bmm, name)).parameters}}
    for kind in (bmm.Model, type(fit), type(posterior), Ranking):
        watched = {
            name
            for name in public_methods(kind)
            if "progress" in inspect.signature(inspect.getattr_static(kind, name)).parameters
        }
        found |= {kind.__name__: watched} if watched else {}
    assert found == WATCHED


@pytest.mark.parametrize("progress", [True, False, None])
def test_bars_are_drawn_when_they_are_asked_for(progress, capsys, tmp_path):
    model, fit, _ = sleepstudy()
    path, crossed = tmp_path / "fit.nc", bmm.datasets.load("penicillin")
    crossed = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", crossed)
    calls = {
        "check": lambda: fit.check(n=20, progress=progress),
        "envelopes": lambda: fit.envelopes(n=20, progress=progress),
        "envelopes of refits": lambda: fit.envelopes(n=20, refit=True, progress=progress),
        "influence": lambda: fit.influence("Subject", refit=True, progress=progress),
        "simulated_residuals": lambda: fit.simulated_residuals(20, progress=progress),
        "fit": lambda: crossed.fit(progress=progress),
        "prior_predictive": lambda: model.prior_predictive(10, progress=progress),
        "robust": lambda: fit.robust(progress=progress),
        "model": lambda: bmm.Model("diameter ~ 1 + (1 | plate)", bmm.datasets.load("penicillin"), progress=progress),
        "coefficients": lambda: crossed.fit().coefficients(df="kenward-roger", progress=progress),
        "anova": lambda: fit.anova(df="residual", progress=progress),
        "parameter_table": lambda: fit.parameter_table(information="expected", progress=progress),
        "slopes": lambda: bmm.slopes(fit, "Days", progress=progress),
        "influence without refits": lambda: fit.influence(progress=progress),
        "group_lines": lambda: fit.group_lines(progress=progress),
        "effect_uncertainty": lambda: bmm.effect_uncertainty(crossed.fit(), progress=progress),
        "save": lambda: fit.save(path, progress=progress),
        "load": lambda: bmm.load(path, progress=progress),
    }
    for name, call in calls.items():
        call()
        said = capsys.readouterr()
        assert said.out == ""
        assert bool(said.err) is (progress is True), name


# What goes through the draws of a posterior, with effects that were kept and without.
DRAWN = {
    "loo": lambda p, progress: p.loo(draws=200, progress=progress).elpd_i,
    "loo of groups": lambda p, progress: p.loo("Subject", draws=200, progress=progress).elpd_i,
    "loo given effects": lambda p, progress: p.loo(predictive="conditional", draws=200, progress=progress).elpd_i,
    "loo_pit": lambda p, progress: p.loo_pit(draws=200, progress=progress)["loo_pit"]["y"],
    "sensitivity": lambda p, progress: p.sensitivity(progress=progress)[["prior", "likelihood"]],
    "predict": lambda p, progress: p.predict(progress=progress),
    "posterior_predictive": lambda p, progress: p.posterior_predictive(progress=progress)["posterior_predictive"]["y"],
    "r2": lambda p, progress: p.r2(progress=progress)["conditional"],
    "random_effects": lambda p, progress: p.random_effects(progress=progress)[["mean", "sd"]],
    "ranking": lambda p, progress: bmm.ranking(p, "Subject", "Days", progress=progress).table,
    "pairs": lambda p, progress: bmm.ranking(p, "Subject", "Days", progress=False).pairs(progress=progress),
}


@pytest.fixture(scope="module")
def without_effects():
    kept = sleepstudy()[2]
    groups = {name: node.to_dataset() for name, node in kept.data.children.items()}
    groups["posterior"] = groups["posterior"].drop_vars("b_Subject")
    return replace(kept, data=DataTree.from_dict(groups))


def are_over(before):
    """Whether threads that came later end within a second or two."""
    for each in set(threading.enumerate()) - before:
        each.join(2.0)
    return not set(threading.enumerate()) - before


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
@pytest.mark.parametrize("name", DRAWN)
def test_draws_are_gone_through_part_by_part_with_a_bar_that_changes_nothing(
    name, without_effects, capsys, monkeypatch
):
    """The bar hears of every part; Ctrl-C ends the call between two of them, and the next call is as if it had not been."""
    expected = np.asarray(DRAWN[name](without_effects, False), dtype=float)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("bayesmm.bayes.results.draws.BATCH", 50_000)
    monkeypatch.setattr("bayesmm.bayes.results.prediction.BATCH", 50_000)
    monkeypatch.setattr("bayesmm.bayes.results.shares.BATCH", 50_000)
    monkeypatch.setattr("bayesmm.bayes.results.leave_out.SMOOTHED", 10_000)
    monkeypatch.setattr("bayesmm.inference.pooling.levels.AT_ONCE", 20_000)
    heard = []

    def stop(self, steps=1, usual=progress_module._DrawnBar.advance):
        usual(self, steps)
        heard.append(steps)
        if len(heard) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress_module._DrawnBar, "advance", stop)
    before = set(threading.enumerate())
    if name == "random_effects":
        without_effects.__dict__.pop("_moments", None)
    with pytest.raises(KeyboardInterrupt):
        DRAWN[name](without_effects, True)
    assert are_over(before)
    found = np.asarray(DRAWN[name](without_effects, True), dtype=float)
    assert len(heard) > 4
    assert "━" in capsys.readouterr().err
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_bar_that_was_not_asked_for_comes_after_a_moment_and_goes_away(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    before = set(threading.enumerate())
    for delay, is_seen in ((60.0, False), (0.0, True)):
        monkeypatch.setattr(progress_module, "DELAY", delay)
        with progress_module.progress_bar("counting", 3, None) as bar:
            for _ in range(3):
                time.sleep(0.1)
                bar.advance()
        assert ("counting" in capsys.readouterr().err) is is_seen
        assert are_over(before)


def test_bars_within_each_other_and_without_an_end_are_drawn(capsys):
    with progress_module.progress_bar("the whole", None, True), progress_module.progress_bar("a part", 2, True) as bar:
        bar.advance(2)
    said = capsys.readouterr().err
    assert "the whole" in said
    assert "2/2" in said
    assert "None" not in said


def test_a_bar_changes_no_number():
    fit = sleepstudy()[1]
    for refit in (False, True):
        watched, silent = (fit.envelopes(n=30, refit=refit, progress=each) for each in (True, False))
        pd.testing.assert_frame_equal(watched, silent)


@pytest.mark.parametrize("name", RESULTS)
def test_help_has_a_word_on_everything_that_completion_offers(name):
    kind = type(RESULTS[name]())
    text = inspect.getdoc(kind)
    assert text
    for attribute in (each for each in dir(kind) if not each.startswith("_")):
        value = inspect.getattr_static(kind, attribute)
        value = getattr(value, "__func__", value)  # of class methods
        if inspect.isfunction(value):
            words = inspect.getdoc(value)
            assert words, f"{name}.{attribute}"
            for parameter in (each for each in inspect.signature(value).parameters if each not in ("self", "cls")):
                assert parameter in words, f"{name}.{attribute} does not explain {parameter}"
        elif isinstance(value, (property, cached_property)):
            assert value.__doc__, f"{name}.{attribute}"
        else:
            assert attribute in text, f"{name} does not explain {attribute}"


def test_completion_of_the_package_is_its_list_and_a_misspelled_name_is_put_right():
    assert dir(bmm) == sorted(bmm.__all__)
    for name in FUNCTIONS:
        words = inspect.getdoc(getattr(bmm, name))
        assert words is not None
        assert "Returns" in words
        assert "Raises" in words
        assert "Examples" in words, name
    with pytest.raises(AttributeError) as caught:
        _ = bmm.emmean
    assert caught.value.name == "emmean"
    assert caught.value.obj is bmm
    run = [sys.executable, "-c", "import bayesmm as bmm; bmm.emmean"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert "Did you mean: 'emmeans'?" in done.stderr


# NumPyro, on import, ignores one warning of JAX: that library is loaded beforehand, as everybody else's.
SESSION = """
import decimal, locale, logging, os, random, signal, sys, warnings
import matplotlib; matplotlib.use("Agg")
import arviz, arviz_base, jax, numpyro, numpy as np, pandas as pd
from matplotlib import pyplot

def state():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {key: pd.get_option(key) for key in pd._config.config._registered_options}
    return {
        "matplotlib": dict(matplotlib.rcParams), "arviz": dict(arviz_base.rcParams), "pandas": options,
        "numpy prints": np.get_printoptions(), "numpy errors": np.geterr(), "jax": dict(jax.config.values),
        "warnings": [*warnings.filters], "showwarning": warnings.showwarning, "locale": locale.setlocale(locale.LC_ALL),
        "random": random.getstate(), "numpy random": str(np.random.get_state()), "decimal": str(decimal.getcontext()),
        "logging": (logging.root.level, [*logging.root.handlers]),
        "loggers": {n: (x.level, [*x.handlers], x.disabled, x.propagate) for n, x in logging.root.manager.loggerDict.items()
                    if isinstance(x, logging.Logger) and (x.level, [*x.handlers], x.disabled) != (0, [], False)},
        "environment": dict(os.environ), "interrupts": signal.getsignal(signal.SIGINT), "path": [*sys.path],
        "hooks": (sys.excepthook, sys.displayhook), "recursion": sys.getrecursionlimit(),
    }

before = state()
def same(when):
    now = state()
    changed = [key for key in before if now[key] != before[key]]
    assert not changed, (when, changed)

import bayesmm as bmm
same("import")
model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
fit = model.fit()
same("fit")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    posterior = model.sample(draws=50, tune=120, chains=2, seed=1, progress=False)
same("sample")
comparison = bmm.compare(fit, posterior)
str(comparison), comparison._repr_html_(), bmm.publication_table(fit).latex()
same("report")
comparison.plot(), fit.profile("Days", progress=True).plot()
pyplot.close("all")
same("plot")
"""


def test_a_session_stays_as_it_was():
    environment = dict(os.environ) | {"PYTHONWARNINGS": "default", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SESSION], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def crowd():
    """A thousand levels with long names."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(1000), 3)
    x = np.tile([0.0, 1.0, 2.0], 1000)
    y = rng.normal(size=1000)[g] + x + rng.normal(size=3000)
    data = pd.DataFrame({"y": y, "x": x, "group": [f"a level with quite a long name {i:04d}" for i in g]})
    model = bmm.Model("y ~ x + (1 | group)", data)
    return model, model.fit(), make_posterior(model), "group"


@pytest.fixture(scope="module")
def throng():
    """Thirty coefficients with long names, and ten standard deviations and correlations."""
    rng = np.random.default_rng(2)
    columns = {f"a_predictor_with_a_long_name_{i:02d}": rng.normal(size=900) for i in range(30)}
    plot = np.arange(900) % 60
    y = rng.normal(size=900) + rng.normal(size=60)[plot]
    y = y + sum(columns[name] * rng.normal(size=60)[plot] for name in [*columns][:3])
    data = pd.DataFrame({**columns, "y": y, "plot of the field": [f"plot number {i} of the field" for i in plot]})
    formula = f"y ~ {' + '.join(columns)} + ({' + '.join([*columns][:3])} | `plot of the field`)"
    model = bmm.Model(formula, data)
    return model, model.fit(), make_posterior(model), "plot of the field"


def results_of(model, fit, posterior, group):
    return {
        "model": model, "priors": model.priors, "fit": fit, "posterior": posterior, "plan": model.plan,
        "comparison": bmm.compare(fit, posterior), "criteria": fit.criteria(), "explained": posterior.explained(),
        "influence": fit.influence(group), "ranking": bmm.ranking(fit, group, "Intercept", n=100),
        "shrinkage": bmm.shrinkage(fit), "robust": fit.robust(group), "anova": fit.anova(), "check": fit.check(n=20),
        "publication": bmm.publication_table(fit, posterior), "residuals": fit.simulated_residuals(20),
        "uncertainty": bmm.effect_uncertainty(fit, posterior), "models": bmm.anova(fit, fit),
        "variances": fit.variance_tests(), "diagnostics": posterior.diagnostics, "summary": posterior.summary(level=0.8),
    }  # fmt: skip


WIDTHS = (LEAST_COLUMNS, 60, 80, 120)


def words_of(text):
    """Words that no width breaks."""
    return {word for word in re.sub("[│○●─]", " ", text).split() if len(word) < LEAST_COLUMNS // 2}


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_as_wide_as_the_terminal_and_loses_nothing_in_a_narrow_one(name, monkeypatch):
    result, said = RESULTS[name](), {}
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        said[width] = str(result)
        assert [line for line in said[width].splitlines() if cells(line) > width] == []
    for width in WIDTHS:
        assert words_of(said[120]) <= words_of(said[width]), width


MOST_LINES = {"crowd": 60, "throng": 170}  # of a hundred columns: 44 parameters, some in two tables


@pytest.mark.parametrize("size", MOST_LINES)
def test_results_of_any_size_are_as_wide_as_the_terminal_and_not_longer_than_they_must_be(size, request, monkeypatch):
    results = results_of(*request.getfixturevalue(size))
    for width in (*WIDTHS, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        for name, result in results.items():
            lines = str(result).splitlines()
            wide = [line for line in lines if cells(line) > width]
            assert wide == [], f"{name} at {width}: {wide[:3]}"
            if width == 200:
                assert len(lines) <= MOST_LINES[size], f"{name} has {len(lines)} lines"


def test_long_tables_show_their_first_and_their_last_rows_and_say_where_all_are(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    rng = np.random.default_rng(3)
    n = MOST_ROWS + 20
    columns = {f"x{i:02d}": rng.normal(size=600) for i in range(n)}
    data = pd.DataFrame({**columns, "y": rng.normal(size=600), "g": np.arange(600) % 20})
    data["y"] += rng.normal(size=20)[data["g"]]
    text = str(bmm.Model(f"y ~ {' + '.join(columns)} + (1 | g)", data).fit())
    shown = re.findall(r"^  (x\d\d) +[−\d]", text, re.MULTILINE)
    assert shown == [f"x{i:02d}" for i in (*range(FIRST_ROWS - 1), *range(n - LAST_ROWS, n))]  # after the intercept
    left_out = n + 1 - FIRST_ROWS - LAST_ROWS
    assert f"{left_out} rows between the first {FIRST_ROWS} and the last {LAST_ROWS} are not shown" in " ".join(
        text.split()
    )


def test_values_that_print_as_pages_are_named_by_their_type():
    model, _, posterior = sleepstudy()
    data: Any = bmm.datasets.load("sleepstudy")
    for call, kind in (
        (lambda: bmm.publication_table(data), "DataFrame"),
        (lambda: bmm.ranking(model, "Subject", "Days"), "Model"),
        (lambda: bmm.power(posterior), "Posterior"),
    ):
        with pytest.raises(bmm.errors.ArgumentError) as caught:
            call()
        assert f"is of the type {kind}: give" in str(caught.value)


def test_files_of_other_kinds_are_told_from_saved_results(tmp_path):
    fit = sleepstudy()[1]
    for name, said in (("x.csv", "ends in '.csv'"), ("x.xlsx", "ends in '.xlsx'"), ("x", "has no ending")):
        (tmp_path / name).write_text("a\n1\n", encoding="utf-8")
        for call in (bmm.load, fit.save):
            with pytest.raises(bmm.errors.StorageError, match=rf"{said}: .*\.nc .*by pandas"):
                call(tmp_path / name)
