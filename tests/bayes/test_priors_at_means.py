"""Default priors of random effects are about the effects where the covariates are at their means."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from oracle import DenseModel, level_covariance, random_columns

import bayesmm as bmm
from bayesmm.bayes.priors.column_rows import ColumnRows
from bayesmm.bayes.priors.contrasts import constant_combination, effects_at_means
from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.covariance.public import read_covariance
from bayesmm.priors import LKJ, Flat, Gamma, HalfNormal

NODES = 22  # of Gauss–Legendre, along each of two standard deviations and a correlation
EXACTLY = 5e-3  # posterior standard deviations: both sides are sums over nodes
FAR = 2015.0
SLEEP = "Reaction ~ Days + (Days | Subject)"


def growth(seed: int = 3) -> pd.DataFrame:
    """Six groups of five rows with residuals of one."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(6), 5), np.tile(np.arange(5.0), 6) + rng.uniform(-0.5, 0.5, 30)
    b = rng.multivariate_normal([0.0, 0.0], [[2.0, 0.5], [0.5, 0.6]], 6)
    y = 3.0 + b[g, 0] + (0.5 + b[g, 1]) * (x - 2.0) + rng.normal(size=30)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def integrate_by_hand(data: pd.DataFrame, origin: float) -> pd.DataFrame:
    """Means and sds of the parameters of y ~ x + (x | g) with σ = 1, the covariate being x + origin.

    Every number of the priors is computed here; the likelihood is the dense oracle's, on the columns as labelled.
    """
    y, x = data["y"].to_numpy(), data["x"].to_numpy() + origin
    width, mean = 2.5 * y.std(ddof=1), x.mean()
    slope = width / x.std(ddof=1)
    T = np.array([[1.0, mean], [0.0, 1.0]])  # (expected response at the mean, slope) from (intercept, slope)
    back = np.linalg.inv(T)
    columns = np.column_stack([np.ones(len(x)), x])
    prior_mean, precision = back @ [y.mean(), 0.0], T.T @ np.diag([width**-2.0, slope**-2.0]) @ T
    node, weight = np.polynomial.legendre.leggauss(NODES)
    u, w = 0.5 * (node + 1.0), 0.5 * weight
    i, j, k = np.indices((NODES, NODES, NODES)).reshape(3, -1)
    sds = np.stack([1.5 * u[i] / (1.0 - u[i]), 0.7 * u[j] / (1.0 - u[j])], axis=1)
    log_measure = np.log(w[i] * w[j] * weight[k]) - 2.0 * np.log((1.0 - u[i]) * (1.0 - u[j]))
    log_prior = np.log(st.t.pdf(sds, 3, scale=[width, slope])).sum(axis=1)  # LKJ(1) is constant
    R = np.array([[np.ones(len(i)), node[k]], [node[k], np.ones(len(i))]]).transpose(2, 0, 1)
    G = back @ (R * sds[:, :, None] * sds[:, None, :]) @ back.T
    log_likelihood, beta = dense_posterior(data["g"].to_numpy(), y, columns, G, prior_mean, precision)
    sd = np.sqrt(np.diagonal(G, axis1=1, axis2=2))
    values = np.column_stack([beta, sd, G[:, 0, 1] / sd.prod(axis=1)])
    logs = log_likelihood + log_prior + log_measure
    mass = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    average = mass @ values
    return pd.DataFrame({"mean": average, "sd": np.sqrt(mass @ (values - average) ** 2)})


def dense_posterior(codes, y, columns, G, prior_mean, precision) -> tuple[np.ndarray, np.ndarray]:
    """log p(y | G) and E(β | y, G) for many G at once; the first is compared with the oracle's."""
    same = codes[:, None] == codes
    V = same * (columns @ G @ columns.T) + np.eye(len(y)) + columns @ np.linalg.solve(precision, columns.T)
    residual = y - columns @ prior_mean
    solved = np.linalg.solve(V, residual)
    values = -0.5 * (np.linalg.slogdet(V)[1] + solved @ residual + len(y) * np.log(2.0 * np.pi))
    dense = DenseModel(y=y, X=columns, Z=random_columns(codes, columns, codes.max() + 1))
    for at in (len(G) // 3, len(G) // 2):
        each = level_covariance(G[at], codes.max() + 1)
        assert values[at] == pytest.approx(dense.log_marginal_density(each, 1.0, prior_mean, precision), rel=1e-7)
    return values, prior_mean + solved @ columns @ np.linalg.inv(precision)


@pytest.mark.parametrize("origin", [0.0, 50.0])
def test_posterior_is_that_of_the_dense_likelihood_with_priors_at_the_means(origin: float) -> None:
    data = growth()
    expected = integrate_by_hand(data, origin)
    model = bmm.Model("y ~ x + (x | g)", data.assign(x=data["x"] + origin), sigma=1.0)
    found = model.sample(method="quadrature", seed=1).parameters
    error = (found["mean"].to_numpy() - expected["mean"].to_numpy()) / found["sd"].to_numpy()
    np.testing.assert_allclose(error, 0.0, atol=EXACTLY)
    np.testing.assert_allclose(found["sd"].to_numpy()[2:4], expected["sd"].to_numpy()[2:4], rtol=EXACTLY)


@pytest.fixture(scope="module")
def sleep() -> pd.DataFrame:
    return bmm.datasets.load("sleepstudy").assign(Year=lambda data: data["Days"] + FAR)


COLUMNS = {
    "a covariate": lambda x, f: [np.ones(len(x)), x],
    "two covariates": lambda x, f: [np.ones(len(x)), x, x**3],
    "a covariate beside a factor": lambda x, f: [np.ones(len(x)), f == 1, f == 2, x],
    "cell means": lambda x, f: [f == 0, f == 1, f == 2, x],
    "a slope in every cell": lambda x, f: [f == 0, f == 1, f == 2, (f == 0) * x, (f == 1) * x, (f == 2) * x],
    "a product": lambda x, f: [np.ones(len(x)), f == 1, f == 2, x, (f == 1) * x, (f == 2) * x],
    "powers": lambda x, f: [np.ones(len(x)), x, x**2, x**3],
    "a product of three": lambda x, f: [
        np.ones(len(x)),
        f == 1,
        x,
        x**2,
        (f == 1) * x,
        (f == 1) * x**2,
    ],
    "a constant of seven": lambda x, f: [7.0 * np.ones(len(x)), x],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_effects_at_means_are_the_same_at_every_origin_and_those_of_centred_columns(name: str) -> None:
    rng = np.random.default_rng(1)
    x, f = rng.normal(3.0, 2.0, 60), np.arange(60) % 3
    matrices, others = [], []
    for origin in (0.0, 100.0):
        X = np.column_stack(COLUMNS[name](x, f) if name == "two covariates" else COLUMNS[name](x + origin, f)).astype(
            float
        )
        if name == "two covariates":
            X[:, 1:] += origin
        constant = constant_combination(ColumnRows(X=X))
        T = effects_at_means(ColumnRows(X=X), constant)
        centred = X @ np.linalg.inv(T)
        inside = centred[:, constant != 0]
        np.testing.assert_allclose(inside, X[:, constant != 0], atol=1e-12)
        others_centred = centred[:, constant == 0]
        np.testing.assert_allclose(inside.T @ others_centred / others_centred.std(axis=0), 0.0, atol=1e-7)
        matrices.append(centred)
        others.append((constant == 0).sum())
    assert_close(matrices[1], matrices[0])
    assert others[0] >= 1


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Within the rounding of cubes a hundred units away."""
    scale = np.maximum(np.abs(expected).max(axis=0), np.finfo(float).tiny)
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-7)


def test_columns_that_are_centred_or_without_a_constant_stay_as_they_are() -> None:
    x = np.linspace(0.0, 1.0, 7)
    for X in (np.column_stack([np.ones(7), x - x.mean()]), np.column_stack([x, x**2]), np.zeros((7, 0))):
        np.testing.assert_array_equal(
            effects_at_means(ColumnRows(X=X), constant_combination(ColumnRows(X=X))), np.eye(X.shape[1])
        )


def prior_of(model: bmm.Model, name: str):
    return next(row for row in model.priors.rows if row.name == name)


def test_priors_do_not_depend_on_the_origin_and_say_what_they_are_about(sleep: pd.DataFrame) -> None:
    near, far = bmm.Model(SLEEP, sleep), bmm.Model(SLEEP.replace("Days", "Year"), sleep)
    assert [row.prior.numbers for row in far.priors.rows] == [
        pytest.approx(row.prior.numbers, rel=1e-12) for row in near.priors.rows
    ]
    about = far.priors.table()["about"]
    assert about["sd(Intercept | Subject)"] == "standard deviation at the mean of Year"
    assert about["cor(Intercept, Year | Subject)"] == "correlations of (1 + Year | Subject) at the mean of Year"
    assert about["sd(Year | Subject)"] == "standard deviation"
    for text in (str(far.priors), far.priors._repr_html_()):
        assert "standard deviation at the mean of Year" in text


@pytest.mark.parametrize(
    ("priors", "moved"),
    [
        (None, True),
        ({"sd(Year | Subject)": HalfNormal(20)}, True),
        ({"sd(Year | Subject)": Gamma(2, 0.1, on="variance"), "Intercept": bmm.priors.Normal(0, 1e5)}, True),
        ({"sd(Intercept | Subject)": HalfNormal(20)}, False),
        ({"sd": HalfNormal(20)}, False),
        ({"cor": LKJ(2)}, False),
        ({"cor(Intercept, Year | Subject)": Flat()}, False),
        ("flat", False),
    ],
    ids=str,
)
def test_what_the_user_states_is_about_the_columns_as_labelled(sleep: pd.DataFrame, priors, moved: bool) -> None:
    model = bmm.Model(SLEEP.replace("Days", "Year"), sleep, priors=priors)
    expected = [[1.0, FAR + 4.5], [0.0, 1.0]] if moved else np.eye(2)
    np.testing.assert_allclose(model.priors.effect_contrasts[0], expected, rtol=1e-14)
    row = prior_of(model, "sd(Intercept | Subject)")
    assert ("mean of Year" in row.about) == moved
    program, _ = model.program()
    assert ("at_means_sd_Subject" in str(program)) == moved


@pytest.mark.parametrize("formula", ["Reaction ~ Year + (Year || Subject)", SLEEP.replace("Days", "Year")])
def test_a_default_at_the_origin_is_as_wide_as_the_way_there(sleep: pd.DataFrame, formula: str) -> None:
    """sd of b₀ = c₀ − m b₁ with independent c₀ and b₁ of the default scales."""
    model = bmm.Model(formula, sleep, priors={"cor": LKJ(2)} if "||" not in formula else None)
    width = 2.5 * sleep["Reaction"].std()
    slope = width / sleep["Year"].std()
    scale = prior_of(model, "sd(Intercept | Subject)").prior.numbers["scale"]
    assert scale == pytest.approx(np.hypot(width, (FAR + 4.5) * slope))
    assert prior_of(model, "sd(Year | Subject)").prior.numbers["scale"] == pytest.approx(slope)


def test_terms_on_one_group_widen_each_others_intercept_only(sleep: pd.DataFrame) -> None:
    apart = bmm.Model("Reaction ~ Year + (1 | Subject) + (0 + Year | Subject)", sleep)
    bars = bmm.Model("Reaction ~ Year + (Year || Subject)", sleep)
    assert [row.prior for row in apart.priors.rows] == [row.prior for row in bars.priors.rows]
    alone = bmm.Model("Reaction ~ Year + (0 + Year | Subject)", sleep)
    assert prior_of(alone, "sd(Year | Subject)").prior == prior_of(bars, "sd(Year | Subject)").prior
    assert prior_of(bmm.Model("Reaction ~ Year + (1 | Subject)", sleep), "sd(Intercept | Subject)").prior.numbers[
        "scale"
    ] == pytest.approx(2.5 * sleep["Reaction"].std())


def test_quantities_are_those_of_the_covariance_of_the_moved_effects(sleep: pd.DataFrame) -> None:
    model = bmm.Model("Reaction ~ Days + (Days + I(Days**2) | Subject)", sleep)
    rng = np.random.default_rng(0)
    T = model.priors.effect_contrasts[0]
    assert (np.diag(T) == 1.0).all()
    assert (np.eye(3) != T).any()
    tables, expected = [], []
    pieces = model.labels.blocks[0].pieces
    for _ in range(4):
        F = rng.normal(size=(3, 3))
        beta = rng.normal(size=2)
        tables.append([*beta, *np.concatenate(read_covariance(np, F @ F.T, pieces)), 3.0])
        expected.append(
            [*(model.priors.contrast @ beta), *np.concatenate(read_covariance(np, T @ F @ F.T @ T.T, pieces)), 3.0]
        )
    found = prior_quantities(model.priors, model.labels, np.array(tables).reshape(2, 2, -1))
    np.testing.assert_allclose(found.reshape(4, -1), expected, rtol=1e-9)


def test_quantities_of_an_estimate_on_the_boundary_are_defined_where_they_can_be(sleep: pd.DataFrame) -> None:
    model = bmm.Model(SLEEP, sleep)
    without_slopes = np.array([250.0, 10.0, 24.0, 0.0, np.nan, 25.0])
    np.testing.assert_allclose(
        prior_quantities(model.priors, model.labels, without_slopes), [295.0, 10.0, 24.0, 0.0, np.nan, 25.0]
    )
    through_zero = np.array([250.0, 10.0, 0.0, 6.0, np.nan, 25.0])
    np.testing.assert_allclose(
        prior_quantities(model.priors, model.labels, through_zero), [295.0, 10.0, 27.0, 6.0, 1.0, 25.0]
    )


def test_prior_draws_have_their_stated_scale_at_the_means(sleep: pd.DataFrame) -> None:
    """The middle of |t₃| is 0.765 scales; at the origin, 2,000 years away, the deviations are as large as they must."""
    model = bmm.Model(SLEEP.replace("Days", "Year"), sleep)
    prior = model.prior_predictive(4000, seed=2)["prior"]
    table = np.column_stack(
        [prior["beta"][0], prior["sd_Subject"][0], prior["cor_Subject"][0], prior["sigma"].to_numpy()[0]]
    )
    quantities = prior_quantities(model.priors, model.labels, table)
    scales = [row.prior.numbers["scale"] for row in model.priors.of_kind("sd")]
    np.testing.assert_allclose(np.median(quantities[:, 2:4], axis=0), 0.7649 * np.array(scales), rtol=0.06)
    assert st.kstest(quantities[:, 4], st.uniform(-1.0, 2.0).cdf).pvalue > 1e-3
    effects = prior["b_Subject"][0].to_numpy()  # (draws, subjects, 2)
    at_mean = np.abs(effects[:, :, 0] + (FAR + 4.5) * effects[:, :, 1])
    assert np.median(at_mean) < 2.0 * scales[0]


@pytest.mark.parametrize(
    "how",
    [
        {"method": "importance"},
        {},
        {"program": "conditional", "parameterisation": "centred"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
def test_every_method_and_program_finds_the_posterior_far_from_the_origin(sleep: pd.DataFrame, how) -> None:
    exact = bmm.Model(SLEEP, sleep).sample(method="quadrature", seed=1)
    found = bmm.Model(SLEEP.replace("Days", "Year"), sleep).sample(seed=3, progress=False, **how)
    found_table = found.parameters
    names = [("Days", "Year"), ("sd(Days | Subject)", "sd(Year | Subject)"), ("sigma", "sigma")]
    for near, far in names:
        error = (found_table.loc[far, "mean"] - exact.parameters.loc[near, "mean"]) / exact.parameters.loc[near, "sd"]
        assert abs(error) < 5.0 / np.sqrt(found_table.loc[far, "ess_bulk"])
    stay = prior_quantities(exact.priors, exact.labels, stack(exact))
    moved = prior_quantities(found.priors, found.labels, stack(found))
    least = min(found_table["ess_bulk"].min(), len(stay))
    np.testing.assert_allclose((moved.mean(0) - stay.mean(0)) / stay.std(0), 0.0, atol=5.0 * np.sqrt(2.0 / least))


def stack(posterior) -> np.ndarray:
    from bayesmm.bayes.results.tables import stack_parameters

    return stack_parameters(posterior.data, posterior.labels).reshape(-1, len(posterior.priors.rows))


@pytest.mark.parametrize("formula", ["y ~ x + (x || g)", "y ~ x + (0 + x | g)", "y ~ x + (x | g)"])
def test_a_posterior_at_a_thousand_is_near_reml_where_the_data_say_much(formula: str) -> None:
    """Slopes through zero at x = 1000 that vary by a tenth: neither default may pull them to nothing."""
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(40), 8), 1000.0 + 3.0 * rng.normal(size=320)
    b0, b1 = 100.0 * rng.normal(size=40), 0.1 * rng.normal(size=40)
    y = (0.0 if "0 + x" in formula else b0[g]) + b1[g] * x + 0.2 * rng.normal(size=320)
    model = bmm.Model(formula, pd.DataFrame({"y": y, "x": x, "g": g}))
    posterior = model.sample(method="importance", seed=1)
    comparison = bmm.compare(model.fit(), posterior)
    shift = comparison.table.loc[comparison.table["kind"] != "cor", "shift"].abs()
    assert (shift < 0.5).all(), comparison.table
    assert not any("Suspect" in note or note.startswith("Priors move") for note in comparison.notes)


@pytest.mark.parametrize("formula", ["y ~ f * x + (x | g)", "y ~ x + I(x**2) + (x | g)"])
def test_products_and_powers_have_one_posterior_at_every_origin(formula: str) -> None:
    data = growth().assign(f=list("ab") * 15)
    near, far = (
        bmm.Model(formula, data.assign(x=data["x"] + origin)).sample(method="importance", seed=2, draws=500)
        for origin in (0.0, 200.0)
    )
    last = near.labels.coefficients[-1]
    assert last in ("f[T.b]:x", "I(x ** 2)", "I(x**2)")
    for name in (last, "sd(x | g)", "sigma"):
        np.testing.assert_allclose(
            far.parameters.loc[name, ["mean", "sd"]], near.parameters.loc[name, ["mean", "sd"]], rtol=1e-5
        )
    about = near.priors.table()["about"]
    assert about["x"] == "coefficient where what its column is multiplied with is at its mean"
    assert about[last] == "coefficient"
