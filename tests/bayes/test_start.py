import numpy as np
import pytest
from programs import density_of

from bayesmm import Model, datasets
from bayesmm.bayes.exploring.start import WarmStart, cold_start, start_conditional, start_marginal
from bayesmm.bayes.programs.binding import bind_conditional, bind_marginal
from bayesmm.bayes.programs.centring import centre_effects
from bayesmm.specification.priors import StudentT, Uniform


def warm_start(case, sd, correlation=None, sigma=2.0):
    factors = []
    for block in case.design.blocks:
        R = np.eye(block.k) if correlation is None else np.full((block.k, block.k), correlation)
        np.fill_diagonal(R, 1.0)
        values, vectors = np.linalg.eigh(R)
        factors.append(sd * vectors * np.sqrt(np.maximum(values, 0.0)))
    cold = cold_start(case.design)
    return WarmStart(sigma=sigma, factors=tuple(factors), beta=cold.beta, beta_covariance=cold.beta_covariance)


@pytest.mark.parametrize(("sd", "correlation"), [(0.0, None), (1.0, 1.0), (1.0, -0.5), (1e-12, 0.3)])
def test_a_singular_fit_gives_a_start_of_finite_density(build, sd, correlation):
    """Zero standard deviations, a correlation of one, three correlations of -1/2: all singular."""
    case = build("Reaction ~ Days + (Days + I(Days**2) | Subject)", "sleepstudy", priors={"Days": StudentT(3, 0, 50)})
    warm = warm_start(case, sd, correlation)
    conditional, data = bind_conditional(case.design, case.priors, ("noncentred",))
    marginal, marginal_data = bind_marginal(case.problem, case.priors)
    starts = [
        (marginal, marginal_data, start_marginal(marginal, marginal_data, warm, case.design)),
        (conditional, data, start_conditional(conditional, data, warm, case.design, case.priors.contrast)),
    ]
    for program, arguments, start in starts:
        assert np.isfinite(density_of(program, arguments, start.values))


def test_a_start_is_inside_a_bounded_prior(build):
    priors = {"sd": Uniform(0, 1), "sigma": Uniform(5, 9), "Days": Uniform(0, 3)}
    case = build("Reaction ~ Days + (1 | Subject)", "sleepstudy", priors=priors)
    program, data = bind_marginal(case.problem, case.priors)
    values = start_marginal(program, data, warm_start(case, 20.0), case.design).values
    assert 0 < values["sd_Subject"][0] < 1
    assert 5 < values["sigma"] < 9
    assert 0 < values["beta_sampled"][0] < 3


@pytest.mark.parametrize(
    ("formula", "data", "expected"),
    [
        ("travel ~ 1 + (1 | Rail)", "rail", ("centred",)),  # 97 % of the variance between 6 rails
        ("Yield ~ 1 + (1 | Batch)", "dyestuff2", ("noncentred",)),  # estimated as zero
        ("strength ~ 1 + (1 | batch/cask)", "pastes", ("noncentred", "centred")),
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy", ("centred",)),
        ("cog ~ tos + tos:trt + (tos | id)", "early", ("noncentred",)),  # a correlation of one
    ],
)
def test_centring_follows_what_the_data_know_of_each_level(formula, data, expected):
    program, _ = Model(formula, datasets.load(data)).program("conditional")
    assert program.parameterisations == expected


def test_inner_levels_are_centred_around_outer_ones_and_these_around_the_intercept(build):
    case = build("strength ~ 1 + (1 | batch/cask)", "pastes")
    blocks, X = case.design.blocks, case.design.X
    both = centre_effects(X, blocks, ("centred", "centred"))
    assert both.parents == (None, 0)
    assert [M.sum() for M in both.means] == [1.0, 0.0]
    assert not both.X.any()
    assert not both.incidences[0].only.columns.any()
    assert (both.parent_codes[1][blocks[1].incidence.only.codes] == blocks[0].incidence.only.codes).all()
    inner = centre_effects(X, blocks, ("noncentred", "centred"))
    assert [M.sum() for M in inner.means] == [0.0, 1.0]
    neither = centre_effects(X, blocks, ("noncentred", "noncentred"))
    assert neither.parents == (None, None)
    np.testing.assert_array_equal(neither.X, X)


def test_crossed_levels_have_no_parents(build):
    case = build("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin")
    assert centre_effects(case.design.X, case.design.blocks, ("centred", "centred")).parents == (None, None)
