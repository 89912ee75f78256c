"""Where a posterior is far from an estimate, the priors are looked at first, and nothing is said to agree."""

import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior, normal_draws
from scipy import stats as st

import bayesmm as bmm
from bayesmm import priors
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.comparison.evidence import FURTHEST, gather
from bayesmm.comparison.notes import write_notes
from bayesmm.comparison.prior_pull import log_prior_densities
from bayesmm.specification.priors import PRIORS

PROPER = {
    "fixed": [priors.Normal(0.0, 5.0), priors.StudentT(4.0, 0.0, 5.0), priors.Cauchy(0.0, 1.0), priors.Flat()],
    "sd": [priors.HalfNormal(1.0), priors.Exponential(2.0), priors.InverseGamma(2.0, 30.0), priors.Beta(2.0, 3.0)],
    "sigma": [priors.HalfNormal(2.0), priors.Gamma(2.0, 0.1, on="variance"), priors.Reciprocal()],
}


@pytest.fixture(scope="module")
def models() -> list[bmm.Model]:
    sleep = bmm.datasets.load("sleepstudy").assign(Year=lambda data: data["Days"] + 2015.0)
    return [
        bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")),
        bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")),  # zero
        bmm.Model("Reaction ~ Days + (Days | Subject)", sleep),
        bmm.Model("Reaction ~ Year + (Year | Subject)", sleep),
    ]


def random_posterior(model: bmm.Model, rng: np.random.Generator) -> Posterior:
    """Some parameters far away, some with tails, under any priors."""
    fit, chosen = model.fit(), {}
    for name, row in fit.parameters.iterrows():
        error = row["std_error"] if np.isfinite(row["std_error"]) else 0.5
        how = rng.integers(4)
        if row["kind"] == "cor" or how == 0:
            continue
        centre = row["estimate"] + error * rng.choice([-30.0, -4.0, -1.5, 0.0, 1.5, 4.0, 30.0])
        if row["kind"] == "fixed":
            chosen[str(name)] = normal_draws(centre, error, rng)
        else:
            chosen[str(name)] = rng.gamma(rng.uniform(2.0, 50.0), 1.0, SHAPE) * max(centre, 0.1 * error) / 10.0
    declared = {kind: rng.choice(np.array(PROPER[kind], dtype=object)) for kind in PROPER if rng.random() < 0.5}
    return make_posterior(model, chosen, priors=declared, divergences=int(rng.integers(2)) * 9)


def test_nothing_far_is_said_to_agree_and_the_first_thing_said_of_it_is_why(models: list[bmm.Model]) -> None:
    rng = np.random.default_rng(12)
    seen = dict.fromkeys(["prior", "peaks", "agree", "boundary", "ml"], 0)
    for _ in range(60):
        model = models[rng.integers(len(models))]
        method = rng.choice(["reml", "ml"])
        comparison = bmm.compare(model.fit(method), random_posterior(model, rng))
        evidence = gather(comparison.fit, comparison.posterior, comparison.table, comparison.random_effects)
        notes = write_notes(evidence, "satterthwaite")
        far = [each for each in evidence.parameters if abs(each.shift) > FURTHEST]
        about_fit = [
            note for note in notes if not note.startswith(("The draws are not", f"The {method.upper()} fit did"))
        ]
        if not far:
            seen["agree"] += any(note.startswith("They agree") for note in notes)
            continue
        assert not any("They agree" in note for note in notes)
        assert not any(each.kind == "fixed" for each in far) or not any("fixed effects agree" in n for n in notes)
        made_small = [each for each in far if method == "ml" and each.kind in ("sd", "sigma") and each.shift > 0]
        named = [each for each in far if each not in made_small and not each.on_boundary]
        if made_small:
            seen["ml"] += 1
            assert any("counterpart of method='reml'" in note for note in notes)
        if not named:
            seen["boundary"] += any(each.on_boundary for each in far)
            continue
        first = about_fit[0]
        assert first.startswith(f"The posterior is further from {method.upper()} than a tail explains: ")
        assert all(each.name in first for each in named[:4])
        assert first.count("Suspect the prior") == bool(evidence.suspects)
        if evidence.suspects:
            seen["prior"] += 1
            assert evidence.suspects[0].prior in first
        else:
            seen["peaks"] += 1
            assert "several peaks" in first
        unexplained = " ".join(note for note in notes if note.startswith("Neither"))
        assert not any(f"{before}{each.name} " in unexplained for each in named for before in ("of ", "; "))
    assert min(seen[kind] for kind in ("prior", "peaks", "ml")) >= 3, seen


def test_densities_are_those_of_scipy(models: list[bmm.Model]) -> None:
    declared = {
        "Intercept": priors.StudentT(4.0, 250.0, 30.0),
        "Days": priors.Uniform(-20.0, 20.0),
        "sd(Intercept | Subject)": priors.Gamma(2.0, 0.01, on="variance"),
        "sd(Days | Subject)": priors.Beta(2.0, 3.0),
        "cor": priors.LKJ(3.0),
        "sigma": priors.HalfCauchy(10.0),
    }
    model = bmm.Model(models[2].specification.formula, models[2].design.frame, priors=declared)
    at = np.array([[240.0, 12.0, 20.0, 5.0, 0.4, 30.0], [260.0, 25.0, 2.0, 1.0, np.nan, 20.0]])
    found = log_prior_densities(model.priors, model.labels, at)
    share = at[:, 3] ** 2 / (at[:, 3] ** 2 + at[:, 5] ** 2)
    expected = np.column_stack(
        [
            st.t.logpdf(at[:, 0], 4, 250, 30),
            st.uniform.logpdf(at[:, 1], -20, 40),
            st.gamma.logpdf(at[:, 2] ** 2, 2, scale=100) + np.log(2.0 * at[:, 2]),
            st.beta.logpdf(share, 2, 3) + np.log(2.0 * at[:, 3] * at[:, 5] ** 2 / (at[:, 3] ** 2 + at[:, 5] ** 2) ** 2),
            2.0 * np.log(1.0 - np.nan_to_num(at[:, 4]) ** 2),
            st.halfcauchy.logpdf(at[:, 5], scale=10),
        ]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_every_family_has_a_density_at_zero_and_beyond(models: list[bmm.Model]) -> None:
    """An sd estimated as zero is no error, whatever the prior."""
    model = models[1]
    given = [priors.HalfNormal(1), priors.LogNormal(0, 1), priors.InverseGamma(2, 1), priors.Uniform(0.5, 3)]
    given += [priors.Beta(2, 3), priors.BoxTiao(5), priors.Flat(), priors.Gamma(2, 1, on="variance")]
    assert {type(prior) for prior in given} < set(PRIORS)
    for prior in given:
        posterior = make_posterior(model, {"sd(Intercept | Batch)": np.full(SHAPE, 5.0)}, priors={"sd": prior})
        values = model.fit().parameters["estimate"].to_numpy()
        densities = log_prior_densities(
            posterior.priors, posterior.labels, prior_quantities(posterior.priors, posterior.labels, values)[None]
        )
        assert not np.isnan(densities).any()


def test_a_prior_that_rules_an_estimate_out_is_said_to(models: list[bmm.Model]) -> None:
    model = models[0]
    draws = np.random.default_rng(0).uniform(1.0, 5.0, SHAPE)
    posterior = make_posterior(model, {"sd(Intercept | Batch)": draws}, priors={"sd": priors.Uniform(0, 5)})
    note = bmm.compare(model.fit(), posterior).notes[0]
    assert (
        "Suspect the prior first: Uniform(0, 5) of sd(Intercept | Batch) (yours), which rules the estimate out" in note
    )


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
def test_priors_at_a_far_origin_are_suspected_and_the_remedy_is_the_origin() -> None:
    """True data, true sampling: few subjects, so that the prior decides under flat priors too."""
    sleep = bmm.datasets.load("sleepstudy").assign(Year=lambda data: data["Days"] + 2015.0)
    formula = "Reaction ~ Year + (Year | Subject)"
    stated = bmm.Model(formula, sleep, priors={"sd(Intercept | Subject)": priors.HalfNormal(50)})
    notes = bmm.compare(stated.fit(), stated.sample(method="importance", seed=1)).notes
    first = next(note for note in notes if "tail explains" in note)
    assert "Suspect the priors first: HalfNormal(50) of sd(Intercept | Subject) (yours)" in first
    assert "the priors of (1 + Year | Subject) together" in first
    assert "Centre the covariates" in first
    default = bmm.Model(formula, sleep)
    notes = bmm.compare(default.fit(), default.sample(method="importance", seed=1)).notes
    assert not any("Suspect" in note or note.startswith("Priors move") for note in notes)


def test_a_correlation_is_on_the_boundary_at_no_origin_unless_at_the_means(models: list[bmm.Model]) -> None:
    """At 10,000 the correlation of intercepts and slopes is −1 to seven digits, and there is no boundary near."""
    sleep = models[2].design.frame.assign(Far=models[2].design.frame["Days"] + 1e4)
    model = bmm.Model("Reaction ~ Far + (Far | Subject)", sleep)
    fit = model.fit()
    assert fit.parameters.loc["cor(Intercept, Far | Subject)", "estimate"] < -1.0 + 1e-6
    posterior = make_posterior(model)
    comparison = bmm.compare(fit, posterior)
    evidence = gather(fit, posterior, comparison.table, comparison.random_effects)
    assert not any(each.on_boundary for each in evidence.parameters)


def test_an_sd_in_another_unit_is_not_zero() -> None:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(12), 6), np.tile(np.arange(6.0), 12)
    y = 3.0 + rng.normal(size=12)[g] + 0.5 * rng.normal(size=12)[g] * x + rng.normal(size=72)
    for unit in (1.0, 1e7):
        model = bmm.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": unit * x, "g": g}))
        posterior = make_posterior(model, {"sd(x | g)": normal_draws(0.5 / unit, 0.1 / unit, rng)})
        assert not any("exactly zero" in note for note in bmm.compare(model.fit(), posterior).notes)
