"""The two programs against each other, against REML, and against the exact conditional."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from programs import density_of

import bayesmm as bmm

CASES = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "pastes": "strength ~ 1 + (1 | batch/cask)",
    "penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:[0-9]+ of [0-9]+ trajectories diverged")  # the conditional program's, few here
@pytest.mark.parametrize("name", list(CASES))
def test_programs_agree_within_monte_carlo_error(name: str) -> None:
    model = bmm.Model(CASES[name], bmm.datasets.load(name))
    tables = [
        model.sample(draws=1000, tune=600, seed=5, program=program, target_accept=0.97).parameters
        for program in ("marginal", "conditional")
    ]
    error = np.sqrt(sum(table["sd"] ** 2 / table["ess_bulk"] for table in tables))
    shift = (tables[0]["mean"] - tables[1]["mean"]) / error
    assert (shift.abs() < 4.5).all(), shift
    ratio = tables[0]["sd"] / tables[1]["sd"]
    assert ((ratio - 1).abs() < 0.2).all(), ratio


def test_flat_priors_have_their_mode_at_the_reml_estimate() -> None:
    """Log density of (sd, cor, σ) from the program itself: highest at the estimate, with no slope there."""
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"), priors="flat")
    program, data = model.program("marginal")
    fit = model.fit()
    at = {
        "sd_Batch": fit.parameters.loc[["sd(Intercept | Batch)"], "estimate"].to_numpy(),
        "sigma": np.float64(fit.sigma),
    }

    def density(scale: float, sigma: float) -> float:
        return density_of(program, data, {"sd_Batch": at["sd_Batch"] * scale, "sigma": at["sigma"] * sigma})

    best = density(1.0, 1.0)
    assert best == pytest.approx(fit.loglik + 0.0, abs=1e-9)
    for step in (1e-3, 0.05, 0.3):
        for direction in ((1 + step, 1.0), (1 - step, 1.0), (1.0, 1 + step), (1.0, 1 - step)):
            assert density(*direction) < best
    slope = (density(1 + 1e-5, 1.0) - density(1 - 1e-5, 1.0)) / 2e-5
    assert abs(slope) < 1e-5


@pytest.fixture(scope="module")
def brief():
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    return model, model.sample(draws=800, tune=300, seed=3)


def test_seed_reproduces_every_draw_and_another_does_not(brief) -> None:
    model, first = brief
    second = model.sample(draws=800, tune=300, seed=3)
    third = model.sample(draws=800, tune=300, seed=4)
    for name in ("beta", "sd_Batch", "sigma", "b_Batch"):
        np.testing.assert_array_equal(first.draws(name), second.draws(name))
        assert not np.array_equal(first.draws(name), third.draws(name))


def test_second_run_of_the_same_shape_compiles_nothing(brief) -> None:
    _, _ = brief
    other = bmm.datasets.load("dyestuff").assign(Yield=lambda data: data["Yield"] + 3.0)
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", other)
    model.fit()
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    model.sample(draws=800, tune=300, seed=3)
    assert compiled == []


def test_draws_are_doubles_and_the_global_setting_is_left_alone(brief) -> None:
    _, posterior = brief
    assert not jax.config.jax_enable_x64
    for variable in posterior.data["posterior"].data_vars.values():
        assert variable.dtype == np.float64


def test_datatree_has_the_names_of_the_labels(brief) -> None:
    _, posterior = brief
    tree = posterior.data
    assert set(tree["posterior"].data_vars) == {"beta", "sd_Batch", "sigma", "b_Batch"}
    assert {"posterior", "sample_stats", "log_likelihood", "observed_data", "constant_data"} <= set(tree.children)
    assert tree["posterior"]["b_Batch"].dims == ("chain", "draw", "Batch", "Batch_effect")
    assert tree["posterior"].sizes["draw"] == 800
    assert "diverging" in tree["sample_stats"]


def test_arviz_summarises_the_tree(brief) -> None:
    import arviz as az

    _, posterior = brief
    table = az.summary(posterior.data, var_names=["sd_Batch", "sigma"], kind="stats", round_to="none")
    assert table.shape[0] == 2
    assert table["mean"].to_numpy() == pytest.approx(
        posterior.parameters.loc[["sd(Intercept | Batch)", "sigma"], "mean"].to_numpy()
    )
    assert az.loo(posterior.data).elpd == pytest.approx(-160, abs=8)


def test_predictions_of_draws_average_to_their_mean_and_widen_for_the_population(brief) -> None:
    _, posterior = brief
    data = bmm.datasets.load("dyestuff").iloc[[0, 7]]
    table = posterior.predict(data)
    b, beta = posterior.draws("b_Batch"), posterior.draws("beta")
    expected = (beta[..., 0] + b[..., 0, 0]).ravel()
    assert table["mean"].iloc[0] == pytest.approx(expected.mean())
    assert table["sd"].iloc[0] == pytest.approx(expected.std(ddof=1))
    assert (table["lower"] < table["mean"]).all()
    population = posterior.predict(data, random="none")
    assert population["mean"].to_numpy() == pytest.approx(np.full(2, beta.mean()))
    assert len(posterior.predict()) == 30


def test_posterior_prints_with_a_sentence_of_advice(brief) -> None:
    _, posterior = brief
    assert posterior.diagnostics.advice in " ".join(str(posterior).split())
    assert "<table" in posterior._repr_html_()


def test_fit_and_sample_in_one_expression_work_in_a_fresh_process() -> None:
    code = (
        "import bayesmm as bmm; m = bmm.Model('Yield ~ 1 + (1 | Batch)', bmm.datasets.load('dyestuff'));"
        "print(bmm.compare(m.fit(), m.sample(seed=1, draws=800, tune=300)).table.shape[0])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "3", done.stderr


@pytest.mark.parametrize("kind", ["marginal", "conditional"])
def test_programs_print_and_run_with_numpyros_own_sampler(brief, kind: str) -> None:
    from numpyro.infer import MCMC, NUTS

    model, _ = brief
    program, data = model.program(kind)
    assert kind in str(program)
    with jax.enable_x64(True):
        chain = MCMC(NUTS(program), num_warmup=50, num_samples=20, progress_bar=False)
        chain.run(jax.random.key(0), data)
        assert np.asarray(chain.get_samples()["sigma"]).shape == (20,)


def test_unknown_program_says_what_there_is(brief) -> None:
    with pytest.raises(ValueError, match="'marginal' or 'conditional'"):
        brief[0].program("joint")
