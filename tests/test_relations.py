"""Levels related by a known matrix, ``rel(animal, A)``, through the public interface.

Every number is held to dense matrices of the textbook, to published tables, or to a model that means the same. Errors of
effects and predictions, influence and residuals are held to dense algebra where all other models are: `dense_errors.py`
and `dense_fits.py` have related ones among theirs.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from numpy.testing import assert_allclose
from numpyro import handlers
from oracle import DenseModel, block_diagonal, random_columns
from programs import compiled
from scipy.stats import norm

import bayesmm as bmm
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.results.draws import read_draws
from bayesmm.design.related.relation import as_sparse
from bayesmm.errors import ArgumentError, BayesmmError, DesignError, PredictionError
from bayesmm.inference.bootstrap.resampling import residual_rows
from bayesmm.marginal.in_jax.density import log_density
from bayesmm.marginal.in_jax.recovery import draw_effects, effect_moments
from bayesmm.reml.criterion import Criterion

EXACT = 1e-8  # relative, of sums in another order
SEARCH = 1e-5  # of estimates: two searches of one criterion end that near each other
LEVELS = [f"a{i}" for i in np.random.default_rng(4).permutation(14)]  # the last three have no rows


def relations(rank: int = 20) -> pd.DataFrame:
    M = np.random.default_rng(5).normal(size=(14, rank))
    M[:, 0] += 2.0
    return pd.DataFrame(M @ M.T / rank, LEVELS, LEVELS)


def records(n: int = 70) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    g = rng.integers(0, 11, n)
    C = np.linalg.cholesky(relations().to_numpy())
    b = C @ rng.normal(size=(14, 2)) * [1.5, 0.8]
    x, h = rng.normal(size=n) + 1.0, rng.integers(0, 6, n)
    y = 3.0 + x + b[g, 0] + b[g, 1] * x + rng.normal(size=6)[h] + rng.normal(size=n)
    frame = {"y": y, "x": x, "g": np.array(LEVELS)[g], "h": h, "w": rng.uniform(0.5, 3.0, n)}
    return pd.DataFrame(frame)


DATA, A = records(), relations()
SINGULAR = relations(rank=9)
FORMULAS = {
    "alone": "y ~ x + (1 | rel(g, A))",
    "slopes": "y ~ x + (x | rel(g, A))",
    "uncorrelated": "y ~ x + (x || rel(g, A))",
    "beside another factor": "y ~ x + (1 | rel(g, A)) + (1 | h)",
    "repeatability": "y ~ x + (x | rel(g, A)) + (1 | g)",
    "two matrices": "y ~ x + (1 | rel(g, A)) + (1 | rel(h, B))",
}
B = pd.DataFrame(np.eye(7) + 0.5, range(7), range(7))


def model_of(name: str, **options: Any) -> bmm.Model:
    return bmm.Model(FORMULAS[name], DATA, relations={"A": A, "B": B}, **options)


def dense_of(model: bmm.Model, factors: Any, sigma: float) -> tuple[DenseModel, np.ndarray]:
    design = model.design
    Z = [random_columns(b.incidence.only.codes, b.incidence.only.columns, b.q) for b in design.blocks]
    G = [
        np.kron(np.eye(b.q) if b.relation is None else b.relation.covariance, sigma**2 * L @ L.T)
        for b, L in zip(design.blocks, factors, strict=True)
    ]
    dense = DenseModel(y=design.y, X=design.X[:, design.kept], Z=np.hstack(Z), weights=design.weights)
    return dense, block_diagonal(G)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", FORMULAS)
def test_fit_is_that_of_dense_matrices(name: str, method: Any) -> None:
    fit = model_of(name, weights="w").fit(method)
    dense, G = dense_of(model_of(name, weights="w"), fit.factors, fit.sigma)
    assert fit.loglik == pytest.approx(dense.log_likelihood(G, fit.sigma, method), abs=1e-8)
    assert fit.sigma == pytest.approx(dense.profiled_sigma(G / fit.sigma**2, method), rel=EXACT)
    assert_allclose(fit.estimate.beta, dense.fixed_effects(G, fit.sigma), rtol=EXACT)
    modes = np.concatenate([b.ravel() for b in fit.estimate.modes])
    assert_allclose(modes, dense.random_effects(G, fit.sigma), rtol=1e-6, atol=1e-7)
    own = np.concatenate([np.einsum("qaa->qa", C).ravel() for C in fit.estimate.mode_covariances])
    assert_allclose(own, np.diag(dense.random_effects_covariance(G, fit.sigma)), rtol=1e-6, atol=1e-9)
    assert np.abs(fit.estimate.minimum.evaluation.gradient).max() < 1e-3


def test_maximum_is_that_of_a_dense_search() -> None:
    fit = model_of("alone").fit("ml")
    scales = np.linspace(-0.2, 0.2, 5)
    values = []
    for scale in scales:
        factors = [np.exp(scale) * L for L in fit.factors]
        dense, G = dense_of(model_of("alone"), factors, 1.0)
        values.append(dense.profiled_log_likelihood(G, "ml"))
    assert np.argmax(values) == 2
    assert values[2] == pytest.approx(fit.loglik, abs=1e-8)


def same(one: bmm.Model, other: bmm.Model) -> None:
    first, second = one.fit(), other.fit()
    assert first.loglik == pytest.approx(second.loglik, abs=1e-7)
    assert_allclose(first.parameters["estimate"], second.parameters["estimate"], rtol=1e-4, atol=1e-6)
    keys = ["level", "effect"]
    ones, others = (each.random_effects(uncertainty="full").set_index(keys) for each in (first, second))
    others = others.reindex(ones.index)
    assert_allclose(ones["estimate"], others["estimate"], rtol=1e-4, atol=1e-5)
    assert_allclose(ones["std_error"], others["std_error"], rtol=1e-4)


@pytest.mark.parametrize("name", ["alone", "slopes"])
def test_order_of_levels_and_rows_does_not_matter(name: str) -> None:
    order = np.random.default_rng(1).permutation(14)
    moved = A.iloc[order, order]
    rows = DATA.sample(frac=1.0, random_state=2)
    same(model_of(name), bmm.Model(FORMULAS[name], rows, relations={"A": moved}))


@pytest.mark.parametrize("name", ["alone", "slopes"])
def test_identity_is_independent_levels(name: str) -> None:
    unrelated = pd.DataFrame(np.eye(11), LEVELS[:11], LEVELS[:11])
    same(
        bmm.Model(FORMULAS[name], DATA, relations={"A": unrelated}),
        bmm.Model(FORMULAS[name].replace("rel(g, A)", "g"), DATA),
    )


def test_variances_are_in_units_of_the_matrix() -> None:
    one, other = model_of("slopes").fit(), bmm.Model(FORMULAS["slopes"], DATA, relations={"A": 100.0 * A}).fit()
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    sds = ["sd(Intercept | rel(g))", "sd(x | rel(g))"]
    assert_allclose(one.parameters["estimate"][sds], 10.0 * other.parameters["estimate"][sds], rtol=SEARCH)
    assert_allclose(one.variance_shares()["estimate"], other.variance_shares()["estimate"], rtol=SEARCH)


def test_default_priors_are_in_units_of_the_matrix() -> None:
    one, other = (bmm.Model(FORMULAS["alone"], DATA, relations={"A": size * A}).priors.rows for size in (1.0, 100.0))
    scales = [next(r.prior.numbers["scale"] for r in rows if r.kind == "sd") for rows in (one, other)]
    assert scales[0] == pytest.approx(10.0 * scales[1])


def test_levels_without_rows_change_nothing_of_the_others() -> None:
    part = A.iloc[:11, :11]
    whole, fewer = model_of("slopes").fit(), bmm.Model(FORMULAS["slopes"], DATA, relations={"A": part}).fit()
    assert whole.loglik == pytest.approx(fewer.loglik, abs=1e-7)
    found = whole.random_effects().head(22)
    assert_allclose(found["estimate"], fewer.random_effects()["estimate"], rtol=1e-4, atol=1e-5)


def test_identical_levels_have_one_effect() -> None:
    """Clones: A has no inverse, and two levels are one."""
    clones = pd.DataFrame(np.kron(A.iloc[:7, :7], np.ones((2, 2))), range(14), range(14))
    data = DATA.assign(g=np.random.default_rng(8).integers(0, 14, len(DATA)))
    data["pair"] = [LEVELS[g // 2] for g in data["g"]]
    split = bmm.Model("y ~ x + (1 | rel(g, A))", data, relations={"A": clones}).fit()
    joint = bmm.Model("y ~ x + (1 | rel(pair, A))", data, relations={"A": A.iloc[:7, :7]}).fit()
    assert split.loglik == pytest.approx(joint.loglik, abs=1e-6)
    own = split.random_effects()["estimate"].to_numpy()
    assert_allclose(own[::2], own[1::2], atol=1e-9)
    assert_allclose(own[::2], joint.random_effects()["estimate"], rtol=1e-4, atol=1e-6)


def test_marginal_covariance_has_the_relation() -> None:
    fit = model_of("slopes").fit()
    dense, G = dense_of(model_of("slopes"), fit.factors, fit.sigma)
    found = model_of("slopes").marginal_covariance(at=fit).to_numpy()
    assert_allclose(found, dense.covariance(G, fit.sigma), rtol=1e-10)
    text = model_of("alone").marginal_covariance([0, 1]).iloc[0, 0]
    assert f"{A.loc[DATA['g'][0], DATA['g'][0]]:.5g}" in text


def test_simulated_effects_covary_as_stated() -> None:
    model = bmm.Model("y ~ 1 + (1 | rel(g, A))", DATA, relations={"A": A})
    drawn = model.fit().simulate(4000, seed=1).to_numpy()
    dense, G = dense_of(model, model.fit().factors, model.fit().sigma)
    V = dense.covariance(G, model.fit().sigma)
    assert_allclose(np.cov(drawn), V, atol=6.0 * V.max() / np.sqrt(4000))


def test_stated_parameters_simulate_and_have_power() -> None:
    data = DATA.assign(g=np.resize(LEVELS, len(DATA)))
    truth = {"Intercept": 3.0, "x": 1.0, "sd(Intercept | rel(g, A))": 2.0, "sigma": 0.5}
    truth = {name.replace(", A", ""): value for name, value in truth.items()}
    drawn = bmm.simulate(FORMULAS["alone"], data, truth, n=4000, seed=1, relations={"A": A}).to_numpy()
    own = [LEVELS.index(level) for level in data["g"]]
    V = 4.0 * A.to_numpy()[np.ix_(own, own)] + 0.25 * np.eye(len(own))
    assert np.linalg.norm(np.cov(drawn) - V) < 0.15 * np.linalg.norm(V)
    found = bmm.power(FORMULAS["alone"], data, truth, n=20, progress=False, relations={"A": A})
    assert found.table["power"].tolist() == [1.0]
    fit = model_of("alone").fit()
    assert len(bmm.power(fit, n=4, progress=False).table) == 1
    with pytest.raises(ArgumentError, match="which has its own"):
        bmm.power(fit, n=4, progress=False, relations={"A": A})
    with pytest.raises(DesignError, match="needs the matrix 'A'"):
        bmm.simulate(FORMULAS["alone"], data, truth)


def test_a_smooth_of_related_levels_has_the_prior_of_independent_ones() -> None:
    identity = pd.DataFrame(4.0 * np.eye(14), LEVELS, LEVELS)
    related = bmm.Model("y ~ x + (s(x, k=5) | rel(g, A))", DATA, relations={"A": identity})
    alone = bmm.Model("y ~ x + (s(x, k=5) | g)", DATA)
    one, two = (
        {row.name.replace("rel(g)", "g"): row.prior for row in model.priors.rows if row.name.startswith("sd(")}
        for model in (related, alone)
    )
    assert one.keys() == two.keys()
    for name, prior in one.items():
        assert prior.numbers["scale"] == pytest.approx(0.5 * two[name].numbers["scale"], rel=1e-3), name
    first, second = related.fit(), alone.fit()
    assert first.loglik == pytest.approx(second.loglik, abs=1e-6)
    assert_allclose(2.0 * first.parameters["estimate"].iloc[2:5], second.parameters["estimate"].iloc[2:5], rtol=1e-3)


def test_bootstrap_draws_are_those_of_simulated_responses() -> None:
    """Refits to sums that are drawn without rows are centred where the fit is."""
    fit = model_of("alone").fit()
    draws = fit.bootstrap(60, seed=3, progress=False).draws[["x", "sigma"]]
    off = draws.mean() - fit.parameters["estimate"][["x", "sigma"]]
    assert (off.abs() < 4.0 * draws.std() / np.sqrt(60)).all()


@pytest.mark.parametrize("matrix", [A, SINGULAR], ids=["regular", "singular"])
def test_resampled_effects_have_the_relation(matrix: pd.DataFrame) -> None:
    """Independent parts are resampled: responses have the marginal covariance of the estimates, A dense or sparse."""
    fit = bmm.Model(FORMULAS["slopes"], DATA, weights="w", relations={"A": matrix}).fit()
    block = fit.design.blocks[0]
    b = fit.estimate.modes[0]
    relation = block.relation
    assert relation is not None
    for known in (relation, as_sparse(relation)):
        v = known.unrelate(b)
        assert_allclose(known.relate(v), b, atol=1e-8)
        assert np.linalg.norm(v) ** 2 == pytest.approx(float(np.sum(b * (np.linalg.pinv(matrix) @ b))), rel=1e-6)
    drawn = residual_rows(fit)([np.random.default_rng(seed) for seed in range(4000)])
    Z = random_columns(block.incidence.only.codes, block.incidence.only.columns, block.q)
    L = fit.estimate.factors[0]
    V = fit.sigma**2 * (Z @ np.kron(matrix, L @ L.T) @ Z.T + np.diag(1.0 / fit.design.weights))
    assert_allclose(np.cov(drawn), V, atol=6.0 * V.max() / np.sqrt(4000))
    assert np.isfinite(fit.bootstrap(4, kind="residual", seed=1, progress=False).replicates).all()


def test_a_saved_fit_knows_its_relations(tmp_path: Any) -> None:
    fit = model_of("slopes").fit()
    again = bmm.load(fit.save(tmp_path / "related.nc"))
    pd.testing.assert_frame_equal(again.random_effects(), fit.random_effects())
    assert list(again.design.relations) == ["A"]


# --- posterior -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alone", pytest.param("beside another factor", marks=pytest.mark.slow)])
def test_density_draws_and_moments_are_those_of_dense_matrices(name: str) -> None:
    model, sigma = model_of(name, weights="w", priors="flat"), 1.3
    _, data = bind_marginal(model.problem, model.priors)
    factors = [0.8 * np.eye(block.k) for block in model.design.blocks]
    dense, G = dense_of(model, factors, sigma)

    def asked(*of: Any) -> Any:
        return log_density(*of), draw_effects(*of, None), effect_moments(*of)

    value, middle, moments = compiled(asked, data.products, factors, np.float64(sigma), data.prior)
    assert float(value) == pytest.approx(dense.log_marginal_density(G, sigma), abs=1e-6)
    mean, covariance = dense.joint_moments(G, sigma)
    sizes = [block.q for block in model.design.blocks]
    for found in (middle.b, moments.b_mean):
        b = np.concatenate([np.asarray(each)[:q].ravel() for each, q in zip(found, sizes, strict=True)])
        assert_allclose(b, mean[2:], rtol=1e-6, atol=1e-8)
    b = np.concatenate([np.asarray(each)[:q].ravel() for each, q in zip(moments.b_variance, sizes, strict=True)])
    assert_allclose(b, np.diag(covariance)[2:], rtol=1e-6)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("name", ["slopes", "beside another factor"])
def test_the_conditional_program_samples_independent_effects(name: str, is_sparse: bool) -> None:
    """Of which effects are a root of A times them: b = VzF', so that Var b = A ⊗ FF', and rows have Xβ + Zb."""
    given = as_sparse(bmm.relation(A)) if is_sparse else A
    model = bmm.Model(FORMULAS[name], DATA, relations={"A": given}, weights="w")
    program, data = model.program("conditional")
    assert "times a root of A over the levels" in str(program)

    def draw(data: Any) -> Any:
        trace: Any = handlers.trace(handlers.seed(program, jax.random.key(2))).get_trace(data)
        effects, at = trace["z_rel_g"], {site: own["value"] for site, own in trace.items()}
        return at, effects["fn"].log_prob(effects["value"]), trace["y"]["fn"].loc

    at, density, mean = compiled(draw, data)
    z, b = at["z_rel_g"], at["b_rel_g"]
    assert density == pytest.approx(norm.logpdf(z).sum())
    M = np.linalg.lstsq(z, np.linalg.solve(np.linalg.cholesky(A.to_numpy()), b), rcond=None)[0]
    assert_allclose(np.linalg.cholesky(A.to_numpy()) @ z @ M, b, rtol=1e-9, atol=1e-9)
    sd = at["sd_rel_g"]
    assert_allclose(np.sqrt(np.diag(M.T @ M)), sd, rtol=1e-9)
    if name == "slopes":
        assert (M.T @ M)[0, 1] / sd.prod() == pytest.approx(float(at["cor_rel_g"].ravel()[0]), rel=1e-9)
    design = model.design
    own = design.blocks[0].incidence.only
    expected = design.X @ at["beta"] + (own.columns * b[own.codes]).sum(axis=1)
    if name != "slopes":
        expected += at["b_h"][design.blocks[1].incidence.only.codes, 0]
    assert_allclose(mean, expected, rtol=1e-9)


@pytest.mark.slow
def test_both_programs_have_one_posterior() -> None:
    model = model_of("alone")
    one, two = (
        model.sample(program=program, draws=5000, tune=500, chains=2, seed=3, progress=False)
        for program in ("marginal", "conditional")
    )
    effects = [each.data["posterior"]["b_rel_g"].mean(("chain", "draw")).to_numpy() for each in (one, two)]
    assert_allclose(effects[1], effects[0], atol=0.15)
    for name in ("sd_rel_g", "sigma"):
        means = [float(each.data["posterior"][name].mean()) for each in (one, two)]
        assert means[1] == pytest.approx(means[0], rel=0.1)


# --- published -------------------------------------------------------------------------------------------------------


def test_solutions_are_those_of_mrode() -> None:
    """Mrode (2014), example 3.1: five calves, σ²_a = 20, σ²_e = 40."""
    calves = pd.DataFrame(
        {
            "calf": [4, 5, 6, 7, 8],
            "sire": [1, 3, 1, 4, 3],
            "dam": [None, 2, 2, 5, 6],
            "sex": ["male", "female", "female", "male", "male"],
            "gain": [4.5, 2.9, 3.9, 3.5, 5.0],
        }
    )
    family = bmm.pedigree(calves, animal="calf")
    model = bmm.Model(
        "gain ~ 0 + sex + (1 | rel(calf, A))", calves, sigma=float(np.sqrt(40.0)), relations={"A": family}
    )
    products = model.problem.products
    T, R = products.effect_roots[0][0, 0], products.fixed_root
    at = Criterion(products, model.problem.layout, "reml", model.known_sigma).evaluate(np.array([T * np.sqrt(0.5)]))
    beta = products.fixed_origin + np.linalg.solve(R, at.fixed.beta)
    assert model.design.coefficients == ("sex[female]", "sex[male]")
    assert_allclose(beta, [3.404, 4.358], atol=6e-4)
    found = dict(zip(model.design.blocks[0].levels, (at.modes[0][0] / T).round(3), strict=True))
    published = [0.098, -0.019, -0.041, -0.009, -0.186, 0.177, -0.249, 0.183]
    assert [found[str(animal)] for animal in range(1, 9)] == published


def test_relationships_are_those_of_mrode() -> None:
    """Mrode (2014), example 2.1."""
    family = bmm.pedigree(pd.DataFrame({"animal": [3, 4, 5, 6], "sire": [1, 1, 4, 5], "dam": [2, 0, 3, 2]}))
    expected = [
        [1, 0, 0.5, 0.5, 0.5, 0.25],
        [0, 1, 0.5, 0, 0.25, 0.625],
        [0.5, 0.5, 1, 0.25, 0.625, 0.563],
        [0.5, 0, 0.25, 1, 0.625, 0.313],
        [0.5, 0.25, 0.625, 0.625, 1.125, 0.688],
        [0.25, 0.625, 0.563, 0.313, 0.688, 1.125],
    ]
    names = [str(i) for i in range(1, 7)]
    assert_allclose(family.covariance.loc[names, names], expected, atol=6e-4)


@pytest.mark.parametrize(
    ("method", "loglik", "estimates", "errors", "effects"),
    [
        (
            "reml",
            -509.666869040,
            [19.483046511, 2.599738296, 1.117916169, 1.656422236],
            [0.35421478, 0.24514152],
            [0.30193862, 0.51184199, -0.45200659],
        ),
        (
            "ml",
            -508.944951858,
            [19.477737178, 2.604308574, 1.054190614, 1.675176187],
            [0.34105103, 0.24432444],
            [0.29160039, 0.48947958, -0.38018099],
        ),
    ],
)
def test_estimates_are_those_of_lme4_with_a_root_of_the_matrix(
    method: Any, loglik: float, estimates: list[float], errors: list[float], effects: list[float]
) -> None:
    """R 4.2, lme4 1.1-31, as pedigreemm does it: Zt of lFormula times the root of A of the animals with records."""
    herd = bmm.datasets.simulate_pedigree(5, 30, generations=3, animal_sd=1.2, share_observed=0.9, seed=11)
    fit = bmm.Model(herd.formula, herd.data, relations={"A": bmm.pedigree(herd.pedigree)}).fit(method)
    assert fit.loglik == pytest.approx(loglik, abs=1e-7)
    assert_allclose(fit.parameters["estimate"], estimates, rtol=2e-6)
    assert_allclose(fit.parameters["std_error"].iloc[:2], errors, rtol=1e-5)
    found = fit.random_effects().set_index("level")["estimate"]
    assert_allclose(found[["a036", "a037", "a038"]], effects, rtol=1e-5)


# --- pedigrees -------------------------------------------------------------------------------------------------------


def random_pedigree(q: int = 60, seed: int = 1) -> pd.DataFrame:
    """Overlapping generations, one parent or none known now and then, selfing among them."""
    rng = np.random.default_rng(seed)
    sire = [None if i < 4 or rng.random() < 0.1 else f"p{rng.integers(0, i)}" for i in range(q)]
    dam = [None if i < 4 or rng.random() < 0.1 else f"p{rng.integers(0, i)}" for i in range(q)]
    return pd.DataFrame({"animal": [f"p{i}" for i in range(q)], "sire": sire, "dam": dam})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_inbreeding_and_inverse_are_those_of_the_tabular_method(seed: int) -> None:
    table = random_pedigree(seed=seed)
    known = {None: None} | {name: i for i, name in enumerate(table["animal"])}
    parents = [(known[s], known[d]) for s, d in table[["sire", "dam"]].to_numpy(dtype=object, na_value=None)]
    expected = np.zeros((60, 60))
    for i, (s, d) in enumerate(parents):
        for j in range(i):
            expected[i, j] = expected[j, i] = sum(0.5 * expected[j, p] for p in (s, d) if p is not None)
        expected[i, i] = 1.0 + (0.5 * expected[s, d] if s is not None and d is not None else 0.0)
    family = bmm.pedigree(table.sample(frac=1.0, random_state=seed), selfing=True)
    order = [int(name[1:]) for name in family.animals]
    expected = expected[np.ix_(order, order)]
    assert_allclose(family.inbreeding, np.diag(expected) - 1.0, atol=1e-12)
    assert_allclose(family.covariance, expected, atol=1e-12)
    assert_allclose(family.inverse @ expected, np.eye(60), atol=1e-8)


def test_pruning_keeps_relationships() -> None:
    family = bmm.pedigree(random_pedigree(), selfing=True)
    some = ["p20", "p31", "p59"]
    pruned = family.prune(some)
    assert len(pruned) < len(family)
    assert_allclose(pruned.covariance.loc[some, some], family.covariance.loc[some, some], atol=1e-12)
    with pytest.raises(DesignError, match="1 of the animals are not in the pedigree of 60: 'nobody'"):
        family.prune(["p1", "nobody"])


def test_a_herd_is_found_again() -> None:
    herd = bmm.datasets.simulate_pedigree(8, 60, generations=4, animal_sd=1.2, share_observed=0.9, seed=5)
    fit = bmm.Model(herd.formula, herd.data, relations={"A": bmm.pedigree(herd.pedigree)}).fit()
    table = fit.parameters
    assert list(table.index) == list(herd.parameters.index)
    off = (table["estimate"] - herd.parameters) / table["std_error"]
    assert off.abs().max() < 3.5
    both = fit.random_effects(uncertainty="full").merge(herd.random_effects)
    assert len(both) == len(herd.pedigree)
    inside = ((both["lower"] < both["value"]) & (both["value"] < both["upper"])).mean()
    assert 0.85 < inside < 1.0  # effects of one family are right or wrong together
    assert both[["estimate", "value"]].corr().iloc[0, 1] > 0.5


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"animal": ["a", "b"], "sire": ["b", "a"], "dam": [None, None]}, "'a' is its own ancestor: 'a' of 'b' of 'a'"),
        ({"animal": ["a"], "sire": ["a"], "dam": [None]}, "'a' is its own ancestor: 'a' of 'a'"),
        ({"animal": ["a", "a"], "sire": ["b", "c"], "dam": [None] * 2}, "'a' is in the pedigree twice"),
        ({"animal": ["a", "b"], "sire": ["c", None], "dam": [None, "c"]}, "both a sire and a dam: 'c'"),
        ({"animal": ["a", None], "sire": ["c", None], "dam": [None, "d"]}, "a row without an animal"),
        ({"animal": ["a"], "father": ["c"], "dam": ["d"]}, "no column 'sire'"),
    ],
)
def test_impossible_pedigrees_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        bmm.pedigree(pd.DataFrame(table))


# --- regions ---------------------------------------------------------------------------------------------------------


def ring(q: int = 8) -> pd.DataFrame:
    W = np.roll(np.eye(q), 1, axis=1)
    names = [f"r{i}" for i in range(q)]
    return pd.DataFrame(W + W.T, names, names)


def test_a_region_given_others_has_the_mean_of_its_neighbours() -> None:
    W = ring()
    W.loc["r0", "r4"] = W.loc["r4", "r0"] = 1.0
    for rho in (0.7, 1.0):
        A = bmm.car(W, rho, scaled=False).covariance
        if rho == 1.0:
            assert_allclose(A.sum(axis=0), 0.0, atol=1e-12)
            A = A + 1e3  # the density of differences says nothing of the sum
        towards = A[0, 1:] @ np.linalg.inv(A[1:, 1:])
        assert_allclose(towards, rho * W.to_numpy()[0, 1:] / 3.0, atol=2e-3 if rho == 1.0 else 1e-12)
    assert np.exp(np.log(np.diag(bmm.car(W).covariance)).mean()) == pytest.approx(1.0)


def test_parts_of_a_map_sum_to_zero_apart() -> None:
    W = np.kron(np.eye(2), ring(4))
    A = bmm.car(W, levels=range(8)).covariance
    assert_allclose(A[:4].sum(axis=0), 0.0, atol=1e-12)
    assert_allclose(A[:4, 4:], 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda W: W.assign(r0=0.0), "symmetric matrix"),
        (lambda W: W + np.eye(8), "no region is its own neighbour"),
        (lambda W: W * np.outer(np.arange(8) > 1, np.arange(8) > 1), "2 region.s. have no neighbours: 'r0', 'r1'"),
        (lambda W: W.to_numpy(), "matrix of neighbours has no labels"),
    ],
)
def test_impossible_maps_are_refused(change: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        bmm.car(change(ring()))
    with pytest.raises(DesignError, match=r"rho is 1\.5"):
        bmm.car(ring(), 1.5)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "needs the matrix 'A'. None was given"),
        ({"B": A}, "needs the matrix 'A'. Given are B"),
        ({"A": A.to_numpy()}, "relations\\['A'\\]: The matrix of relations has no labels"),
        ({"A": A.iloc[:9, :9]}, "2 level.s. of 'g' are not in the matrix 'A'"),
        ({"A": A.rename(columns={"a1": "b"})}, "both must be the levels"),
        ({"A": A - 3.0 * np.eye(14)}, "is -"),
        ({"A": A.where(np.eye(14) == 1, 50.0)}, "no covariance matrix: its eigenvalues go from -"),
        ({"A": A.where(A.iloc[0, 3] != A)}, "give a number|Give a number"),
        ({"A": A + np.triu(np.ones((14, 14)))}, "not symmetric"),
        ([A], "relations is"),
    ],
)
def test_matrices_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        bmm.Model(FORMULAS["alone"], DATA, relations=given)


def test_precision_is_inverted() -> None:
    whole = relations(rank=30)
    again = bmm.relation(np.linalg.inv(whole), LEVELS, precision=True)
    assert_allclose(again.covariance, whole, rtol=1e-6, atol=1e-9)
    with pytest.raises(DesignError, match="has no inverse"):
        bmm.relation(
            np.diag([1.0, 0.0]) + np.ones((2, 2)) - np.ones((2, 2)) + [[0, 0], [0, 1e-16]], "ab", precision=True
        )


def test_what_counts_on_independent_levels_says_so() -> None:
    fit = model_of("alone").fit()
    calls = [
        (lambda: fit.robust(), "ties all levels of rel.g. that have rows"),
        (lambda: fit.bootstrap(20, kind="case"), "there is 1 of rel.g.: too few"),
        (lambda: fit.explore("never.html"), "are related"),
        (lambda: model_of("alone").program("conditional", parameterisation="centred"), "related by A.*non-centred"),
        (lambda: fit.group_lines(levels=[LEVELS[-1]]), "without rows"),
    ]
    for call, message in calls:
        with pytest.raises(BayesmmError, match=message):
            call()
    with pytest.raises(PredictionError, match=r"1 level.s. of 'rel.g.' are not in the matrix 'A': 'new'"):
        fit.predict(DATA.head(2).assign(g="new"), new_levels="sample")


@pytest.mark.parametrize(
    ("name", "of"), [("alone", "row"), ("repeatability", "row"), ("slopes", "rel(g)"), ("beside another factor", "h")]
)
@pytest.mark.parametrize("matrix", [A, SINGULAR], ids=["regular", "singular"])
def test_rows_given_the_others_are_those_of_dense_matrices(
    name: str, of: str, matrix: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From y ~ N(Xm, V) with the coefficients' priors in V: the inverse of V has what all other rows say of some."""
    model = bmm.Model(FORMULAS[name], DATA, weights="w", relations={"A": matrix})
    posterior = make_posterior(model)
    found = posterior.log_likelihood(of, draws=8, progress=False)["log_likelihood"]["y"].to_numpy()
    draws, design = read_draws(posterior, 8), model.design
    X, rows = design.X[:, design.kept], model.priors.of_kind("fixed")
    T = np.linalg.inv(model.priors.contrast)
    prior = T @ np.diag([row.prior.numbers["sd"] ** 2 for row in rows]) @ T.T
    e = design.y - X @ T @ [row.prior.numbers["mean"] for row in rows]
    codes = design.blocks[0].incidence.only.codes
    groups = [[i] for i in range(design.n)] if of == "row" else [np.flatnonzero(codes == g) for g in np.unique(codes)]
    if of == "h":  # whose rows differ in their levels of g
        groups = [np.flatnonzero(DATA["h"] == h) for h in sorted(set(DATA["h"]))]
        monkeypatch.setattr("bayesmm.bayes.results.residual_leave_out.MOST_ROWS", 10)
        with pytest.raises(PredictionError, match="70 rows are more than the 10"):
            posterior.log_likelihood(of, draws=8, progress=False)
    elif of != "row":
        assert found.shape[-1] == 11  # of 14 levels three have no rows
    for d in (0, 7):
        V = X @ prior @ X.T + np.diag(draws.sigma[d] ** 2 / design.weights)
        for block, S in zip(design.blocks, draws.covariances, strict=True):
            Z = random_columns(block.incidence.only.codes, block.incidence.only.columns, block.q)
            relation = np.eye(block.q) if block.relation is None else matrix.to_numpy()
            V += Z @ np.kron(relation, S[d]) @ Z.T
        Q = np.linalg.inv(V)
        for g, own in enumerate(groups):
            precision = Q[np.ix_(own, own)]
            r = np.linalg.solve(precision, (Q @ e)[own])  # y less its mean given the others
            expected = 0.5 * (np.linalg.slogdet(precision)[1] - len(own) * np.log(2.0 * np.pi) - r @ precision @ r)
            assert found.reshape(8, -1)[d, g] == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # of a hundred draws
def test_rows_given_the_others_say_how_good_a_posterior_is() -> None:
    model = model_of("alone")
    posterior = make_posterior(model)
    assert np.isfinite(posterior.loo(draws=100, progress=False).elpd)
    below = posterior.loo_pit(draws=100, progress=False)["loo_pit"]["y"].to_numpy()
    assert ((below > 0) & (below < 1)).all()
    table = posterior.predict(DATA.head(3).assign(g=LEVELS[-3:]))
    assert table.notna().all().all()


def test_words_say_that_levels_are_related() -> None:
    text = " ".join(str(model_of("alone")).split())
    assert "N(0, sd(Intercept | rel(g))²·A), 14 levels" in text
    assert "related by A; 11 levels have rows" in text
    assert "N(0, A ⊗ Σ)" in " ".join(str(model_of("slopes")).split())
    assert "turned once into as many that are independent" in " ".join(str(model_of("alone").plan).split())
    assert "levels of rel(g) are related" in " ".join(str(model_of("slopes").plan).split())
