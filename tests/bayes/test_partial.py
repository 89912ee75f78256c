"""Partly centred random effects: the same posterior as centred ones, exactly, whatever the degree."""

from functools import partial

import jax
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from programs import compile_whole

import bayesmm as bmm
from bayesmm.bayes.programs.binding import bind_conditional
from bayesmm.bayes.programs.partial import partial_factor

RELATIVE = 1e-10  # of log densities of some hundreds
MODELS = {
    "one effect": ("Yield ~ 1 + (1 | Batch)", "dyestuff"),
    "slopes": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "diagonal slopes": ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
    "two terms on one group": ("Reaction ~ Days + (Days | Subject) + (0 + I(Days**2) | Subject)", "sleepstudy"),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "pastes"),
}


def point(program, seed=2):
    """Covariances, coefficients and effects on their own scales."""
    rng = np.random.default_rng(seed)
    sites = {"sigma": 7.0}
    for block in program.covariances.blocks:
        sites[block.sd.name] = rng.uniform(2.0, 9.0, block.n_effects)
        for matrix in block.matrices:
            root = rng.normal(size=(matrix.stop - matrix.start, 5))
            covariance = root @ root.T
            sd = np.sqrt(np.diag(covariance))
            sites[matrix.sites[0].name] = np.linalg.cholesky(covariance / np.outer(sd, sd))
    sites[program.coefficients.name] = 100.0 + 30.0 * rng.normal(size=program.coefficients.size)
    return sites, [
        rng.normal(scale=4.0, size=(block.n_levels, block.n_effects)) for block in program.covariances.blocks
    ]


@compile_whole
def run(program, data, sites):
    """Log density with all values, deterministic ones included."""
    value, trace = log_density(program, (data,), {}, sites)
    return value, {name: site["value"] for name, site in trace.items() if site["type"] != "plate"}


@partial(compile_whole, static_argnums=(0, 1, 2))
def effects_and_slope(program, site, name, data, sites):
    """Effects as a function of their site, with its derivative."""

    def effects(value):
        traced = handlers.trace(handlers.substitute(program, data=sites | {site: value}))
        return traced.get_trace(data)[name]["value"].ravel()

    return effects(sites[site]), jax.jacobian(effects)(sites[site])


def sites_of_effects(program, data, sites, effects):
    """Solve for the sites that give the effects: they are affine in their site, block by block, outer blocks first."""
    found = dict(sites)
    for f in program.order:
        found[program.effect_sites[f]] = np.zeros_like(effects[f])
    log_jacobian = 0.0
    for f in program.order:
        site, name = program.effect_sites[f], f"b_{program.covariances.blocks[f].label}"
        at_zero, slope = effects_and_slope(program, site, name, data, found)
        slope = np.reshape(slope, 2 * (effects[f].size,))
        found[site] = np.linalg.solve(slope, effects[f].ravel() - at_zero).reshape(effects[f].shape)
        log_jacobian += np.linalg.slogdet(slope)[1]
    return found, log_jacobian


def references(case):
    """Factors with correlations, in other units than one."""
    made = []
    for block in case.design.blocks:
        root = np.linalg.cholesky(np.full((block.k, block.k), 0.4) + 0.6 * np.eye(block.k))
        made.append(np.linspace(5.0, 2.0, block.k)[:, None] * (root if block.k > 1 else np.eye(1)))
    return made


def density_of_effects(case, degrees, seed=2):
    """Log density of spreads, coefficients and effects, from a program that samples something else."""
    program, data = bind_conditional(case.design, case.priors, degrees, references(case))
    with jax.enable_x64(True):
        sites, effects = point(program, seed)
        found, log_jacobian = sites_of_effects(program, data, sites, effects)
        value, trace = run(program, data, found)
        for block, b in zip(program.covariances.blocks, effects, strict=True):
            np.testing.assert_allclose(trace[f"b_{block.label}"], b, atol=1e-9)
        return float(value) - log_jacobian


@pytest.mark.parametrize("name", MODELS)
def test_every_degree_has_the_density_of_centred_effects(build, name):
    case = build(*MODELS[name])
    n = len(case.design.blocks)
    centred = density_of_effects(case, (1.0,) * n)
    for degrees in [(0.0, 0.0), (0.35, 0.35), (0.8, 0.0), (0.0, 0.6), (1.0, 0.3), (0.3, 1.0)]:
        assert density_of_effects(case, degrees[:n]) == pytest.approx(centred, rel=RELATIVE)


@pytest.mark.parametrize("name", ["slopes", "diagonal slopes", "nested"])
def test_degrees_near_the_ends_are_the_ends(build, name):
    """At the same value of the site, not only of the effects: partial centring has no jump at 0 and 1."""
    case = build(*MODELS[name])
    n = len(case.design.blocks)
    for end, near in ((0.0, 1e-12), (1.0, 1.0 - 1e-12)):
        values = []
        for degree in (end, near):
            program, data = bind_conditional(case.design, case.priors, (degree,) * n)
            with jax.enable_x64(True):
                sites, effects = point(program)
                sites |= dict(zip(program.effect_sites, effects, strict=True))
                values.append(run(program, data, sites))
        assert float(values[1][0]) == pytest.approx(float(values[0][0]), rel=1e-8)
        for block in program.covariances.blocks:
            b = f"b_{block.label}"
            np.testing.assert_allclose(values[1][1][b], values[0][1][b], rtol=1e-8, atol=1e-8)


def test_the_factor_is_the_power_of_the_standard_deviation_for_one_effect():
    """Papaspiliopoulos, Roberts & Sköld (2007): t ~ N(wm, sd^2w)."""
    assert partial_factor(np.array([[5.0]]), np.eye(1), 0.3)[0, 0] == pytest.approx(5.0**0.3)


def test_the_factor_is_the_reference_the_factor_itself_or_both():
    F, reference = np.array([[2.0, 0.0], [1.0, 3.0]]), np.array([[4.0, 0.0], [-1.0, 0.5]])
    np.testing.assert_allclose(partial_factor(F, reference, 0.0), reference, rtol=1e-14)
    np.testing.assert_allclose(partial_factor(F, reference, 1.0), F, rtol=1e-14)
    np.testing.assert_allclose(partial_factor(F, F, 0.4), F, rtol=1e-14)


def test_a_degree_means_the_same_in_every_unit(build):
    """Grams or kilograms: the density of t changes by the Jacobian of the unit alone."""
    pairs = []
    for unit in (1.0, 1000.0):
        F, reference = unit * np.array([[2.0, 0.0], [1.0, 3.0]]), unit * np.array([[4.0, 0.0], [-1.0, 0.5]])
        pairs.append(partial_factor(F, reference, 0.4) / unit)
    np.testing.assert_allclose(*pairs, rtol=1e-14)


@pytest.mark.parametrize("name", ["slopes", "nested"])
def test_the_start_of_every_degree_is_the_same_place(name):
    from bayesmm.bayes.exploring.start import start_conditional

    formula, data_name = MODELS[name]
    model = bmm.Model(formula, bmm.datasets.load(data_name))
    for degree in (0.0, 0.4, 1.0):
        program, data = model.program("conditional", parameterisation=degree)
        start = start_conditional(program, data, model._warm_start, model.design, model.priors.contrast)
        with jax.enable_x64(True):
            _, trace = run(program, data, dict(start.values))
        for block, modes in zip(program.covariances.blocks, model._warm_start.effects, strict=True):
            np.testing.assert_allclose(trace[f"b_{block.label}"], modes, atol=1e-9)


WRONG = [
    ("centered", r"parameterisation is 'centered': give 'auto', 'centred', 'noncentred' or a number from 0"),
    (1.5, r"parameterisation is 1.5: give .* or a mapping from grouping factors to these"),
    (True, "parameterisation is True"),
    (None, "parameterisation is None"),
    ({"Subjekt": 0.5}, r"parameterisation\['Subjekt'\]: .* Did you mean 'Subject'\? Grouping factors: 'Subject'"),
    ({"Subject": -1}, r"parameterisation\['Subject'\] is -1: give 'auto'"),
    ({"Subject": {"Days": 1}}, r"parameterisation\['Subject'\] is \{'Days': 1\}"),
    ({"Subject": float("nan")}, r"parameterisation\['Subject'\] is nan"),
]


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=str)
def test_a_wrong_parameterisation_is_refused_with_the_right_ones(sleep, wrong, message):
    with pytest.raises(ValueError, match=message):
        sleep.program("conditional", parameterisation=wrong)
    with pytest.raises(ValueError, match=message):
        sleep.sample(program="conditional", parameterisation=wrong)


def test_a_parameterisation_of_the_marginal_program_is_refused(sleep):
    with pytest.raises(ValueError, match="but the marginal program integrates the random effects out"):
        sleep.sample(parameterisation="centred")


def test_a_mapping_names_some_grouping_factors_and_leaves_the_others_to_auto():
    model = bmm.Model("strength ~ 1 + (1 | batch/cask)", bmm.datasets.load("pastes"))
    groups = [block.group for block in model.labels.blocks]
    program, data = model.program("conditional", parameterisation={groups[0]: 0.5})
    assert program.parameterisations == ("partial", "centred")
    assert data.degrees.tolist() == [0.5, 1.0]
    assert "t_batch[10, 1] ~ Normal (partial)" in str(program)
    other, _ = model.program("conditional", parameterisation={groups[0]: 0.25})
    assert other == program  # the degree is an argument: nothing is compiled anew for another one


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")  # the chains are short
def test_the_choice_and_its_reason_go_with_the_draws():
    model = bmm.Model("strength ~ 1 + (1 | batch/cask)", bmm.datasets.load("pastes"))
    settings = {"draws": 50, "tune": 50, "chains": 2, "seed": 1, "progress": False}
    posterior = model.sample(**settings, program="conditional", parameterisation={"batch": 0.5})
    fit = model.fit()
    errors = fit.random_effects().query("group == 'batch:cask'")["std_error"]
    removed = 1.0 - (errors**2).mean() / fit.parameters.loc["sd(Intercept | batch:cask)", "estimate"] ** 2
    assert posterior.notes == (
        "batch: centred to degree 0.5: as asked for.",
        f"batch:cask: centred: the data remove {100 * removed:.0f} % of the prior variance of a typical level's effect.",
    )
    attributes = posterior.data["sample_stats"].attrs
    assert attributes["parameterisation"] == "batch: centred to degree 0.5; batch:cask: centred"
    assert posterior.notes[0] in attributes["notes"]
    assert posterior.notes[0] in str(posterior)
