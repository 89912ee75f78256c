"""A posterior that was kept without draws of its random effects does all that one with them does, to the last digits."""

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.results.draws import ParameterDraws, read_draws
from bayesmm.bayes.results.recovered import effect_parts, read_effects
from bayesmm.errors import BayesmmError, BayesmmWarning

ROUNDING = 1e-8
DATA = bmm.datasets.load("sleepstudy").assign(team=np.resize(list("pqrst"), 180))
NEW = pd.DataFrame({"Days": [0.0, 5.0, 3.0], "Subject": ["372", "a newcomer", "310"], "team": ["p", "q", "r"]})
SLOPES = "Reaction ~ Days + (Days | Subject)"
CROSSED = "Reaction ~ Days + (1 | Subject) + (0 + Days | team)"


def sample(formula, effects, method="importance", draws=60):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # of so few draws
        return bmm.Model(formula, DATA).sample(
            draws=draws, tune=100, chains=3, seed=3, method=method, random_effects=effects
        )


@pytest.fixture(scope="module", params=[SLOPES, "Reaction ~ 0 + (1 | Subject)"], ids=["slopes", "no fixed effects"])
def three(request):
    return {effects: sample(request.param, effects) for effects in ("draws", "moments", None)}


def y(tree, group):
    return tree[group]["y"].to_numpy()


def numeric(table):
    return table.drop(columns=["kind", "group"])


def drawn(figure):
    return np.concatenate([np.ravel(line.get_xdata()) for axis in figure.axes for line in axis.lines])


# Every public method and property of a posterior that reads random effects, or could.
READERS = {
    "beta": lambda p, _: p.beta,
    "sigma": lambda p, _: p.sigma,
    "chains": lambda p, _: p.chains,
    "n": lambda p, _: p.n,
    "effects": lambda p, _: np.concatenate([b.ravel() for b in p.effects]),
    "draws": lambda p, _: p.draws("b_Subject"),
    "parameters": lambda p, _: numeric(p.parameters),
    "parameter_table": lambda p, _: numeric(p.parameter_table(level=0.5)),
    "predict": lambda p, _: pd.concat(
        [
            p.predict(),
            p.predict(NEW, random="none"),
            p.predict(NEW, random=["Subject"], new_levels="population"),
            p.predict(NEW, new_levels="sample", kind="observation", seed=4),
        ]
    ),
    "posterior_predictive": lambda p, _: y(p.posterior_predictive(draws=30, seed=2), "posterior_predictive"),
    "with_predictive": lambda p, _: y(p.with_predictive(seed=1).data, "posterior_predictive"),
    "log_likelihood": lambda p, _: y(p.log_likelihood("Subject", "conditional", draws=30), "log_likelihood"),
    "loo": lambda p, _: p.loo(predictive="conditional").elpd_i.to_numpy(),
    "loo_pit": lambda p, _: y(p.loo_pit(), "loo_pit"),
    "r2": lambda p, _: p.r2().to_dataframe(),
    "tidy": lambda p, _: p.tidy()[["estimate", "std_error"]],
    "glance": lambda p, _: p.glance()[["nobs", "sigma"]],
    "augment": lambda p, _: p.augment()[[".fitted", ".fixed", ".residual"]],
    "simulate": lambda p, _: p.simulate(3, random="kept", seed=2),
    "explained": lambda p, _: p.explained().table,
    "group_lines": lambda p, _: p.group_lines().drop(columns="level"),
    "plot_groups": lambda p, _: np.concatenate([line.get_ydata() for line in p.plot_groups().axes[0].lines]),
    "variance_shares": lambda p, _: p.variance_shares(total="response"),
    "plot_variance_shares": lambda p, _: drawn(p.plot_variance_shares()),
    "plot_priors": lambda p, _: drawn(p.plot_priors()),
    "plot_predictive": lambda p, _: np.concatenate(
        [each["x"] for each in p.plot_predictive(draws=5, backend="none").viz["predictive_dist"]["y"].values.ravel()]
    ),
    "plot_pit": lambda p, _: p.plot_pit(backend="none").viz["ecdf_lines"]["y"].item()["y"],
    "sensitivity": lambda p, _: p.sensitivity()[["prior", "likelihood"]],
    "diagnostics": lambda p, _: [p.diagnostics.ess, p.diagnostics.pareto_k],
    "log_evidence": lambda p, _: p.log_evidence,
    "log_evidence_error": lambda p, _: p.log_evidence_error,
    "save": lambda p, path: bmm.load(p.save(path / "p.nc")).predict(),
}
OTHERS = {"summary", "origin", "method", "random_effects"}  # texts; and the table with less Monte Carlo error, below
OTHERS |= {"predict_rows", "augment_rows", "loo_rows", "simulate_rows"}  # write what predict, augment and loo return
FIELDS = {"data", "design", "labels", "priors", "program", "notes"}


def test_every_public_method_is_compared():
    public = {name for name, _ in inspect.getmembers(Posterior) if not name.startswith("_")}
    assert public | FIELDS == set(READERS) | OTHERS | FIELDS


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
@pytest.mark.parametrize("name", READERS)
def test_what_is_read_without_draws_of_effects_equals_what_is_read_with_them(three, name, tmp_path):
    read = READERS[name]
    expected = np.asarray(read(three["draws"], tmp_path), dtype=float)
    for effects in ("moments", None):
        found = np.asarray(read(three[effects], tmp_path), dtype=float)
        np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(("formula", "method"), [(SLOPES, "nuts"), (CROSSED, "quadrature")])
def test_effects_of_every_method_are_those_that_it_would_have_drawn(formula, method):
    drawn, left_out = (sample(formula, effects, method, draws=20) for effects in ("draws", None))
    for expected, found in zip(drawn.effects, left_out.effects, strict=True):
        np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    if method == "quadrature":  # its table is exact, with or without draws
        pd.testing.assert_frame_equal(drawn.random_effects(), left_out.random_effects())


def test_effects_that_were_left_out_are_summarised_as_moments_are(three):
    table, expected = three[None].random_effects(level=0.8), three["moments"].random_effects(level=0.8)
    pd.testing.assert_frame_equal(table, expected, rtol=1e-9, check_exact=False)
    drawn = three["draws"].random_effects()
    error = (table["mean"] - drawn["mean"]) / (drawn["sd"] / np.sqrt(180))
    assert np.abs(error).max() < 5.0


def test_a_comparison_needs_no_draws_of_effects(three):
    fit = bmm.Model(three["draws"].design.specification.formula, DATA).fit()
    expected = bmm.compare(fit, three["moments"])
    found = bmm.compare(fit, three[None])
    pd.testing.assert_frame_equal(found.random_effects, expected.random_effects, rtol=1e-9, check_exact=False)
    drawn = bmm.compare(fit, three["draws"])
    pd.testing.assert_frame_equal(numeric(found.table), numeric(drawn.table), rtol=1e-9, check_exact=False)
    columns = ["unpooled", "estimate", "std_error"]
    pd.testing.assert_frame_equal(found.random_effects[columns], drawn.random_effects[columns])
    assert "furthest from the average" in str(found)


def test_parts_are_the_whole_and_thinned_draws_keep_their_effects(three, monkeypatch):
    posterior = three[None]
    whole = read_effects(posterior, read_draws(posterior))
    monkeypatch.setattr("bayesmm.bayes.results.recovered.PART", 18 * 50)
    draws = read_draws(posterior)
    parts = list(effect_parts(posterior, draws))
    assert len(parts) > 1
    for f, expected in enumerate(whole):
        np.testing.assert_allclose(np.concatenate([b[f] for _, b in parts]), expected, rtol=ROUNDING)
    some = read_draws(posterior, 12)
    (of_subjects,) = read_effects(posterior, some, [np.array([3, 5])])
    kept = whole[0].reshape(*posterior.sigma.shape, *whole[0].shape[1:])[:, some.chosen]
    np.testing.assert_allclose(of_subjects.reshape(*some.shape, 2, -1), kept[:, :, [3, 5]], rtol=ROUNDING)


def test_effects_beyond_the_memory_are_refused_with_what_to_do(three, monkeypatch):
    monkeypatch.setattr("bayesmm.bayes.results.recovered.MOST_NUMBERS", 1000)
    with pytest.raises(BayesmmError, match=r"kept without draws.*Ask for fewer levels or fewer draws, or leave the"):
        three[None].predict()
    assert three[None].predict(NEW.iloc[:1], random=["Subject"]).notna().all(axis=None)
    assert three[None].predict(random="none").notna().all(axis=None)
    assert three["draws"].predict().notna().all(axis=None)


def test_factors_are_those_of_the_sampler_also_of_singular_covariances():
    rng = np.random.default_rng(4)
    lower = np.tril(rng.normal(size=(50, 3, 3)))
    lower[:, range(3), range(3)] = np.abs(lower[:, range(3), range(3)])
    lower[:10, 1] = 0.0  # an effect that does not vary
    lower[10:20, 2, 2] = 0.0  # a correlation of ±1
    back = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    covariances = back @ lower @ lower.swapaxes(1, 2) @ back.T
    draws = ParameterDraws(
        chosen=slice(None), shape=(1, 50), beta=np.zeros((50, 0)), covariances=(covariances,), sigma=np.ones(50)
    )
    (found,) = draws.sampled_factors([back])
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), covariances, atol=1e-12)
    np.testing.assert_allclose(found[20:], (back @ lower)[20:], atol=1e-7)


def test_rows_of_new_levels_alone_need_no_effects(three):
    newcomers = NEW.assign(Subject=["u", "v", "w"])
    for new_levels in ("population", "sample"):
        found, expected = (three[each].predict(newcomers, new_levels=new_levels, seed=1) for each in (None, "draws"))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-9, check_exact=False)
