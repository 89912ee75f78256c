"""Own priors of ranges, of single correlations and of partial autocorrelations."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from numpyro import handlers
from oracle import DenseModel, random_columns
from programs import compiled
from scipy.special import gamma, kv

import bayesmm as bmm
from bayesmm.comparison.prior_pull import log_prior_densities
from bayesmm.errors import PriorError
from bayesmm.priors import LKJ, Beta, Exponential, Flat, Gamma, HalfNormal, LogNormal, Normal, Uniform

SIGMA, LEVELS, REPEATS = 0.5, 8, 2
TIMES = np.array([0.0, 1.0, 3.0, 8.0])
APART = np.abs(np.subtract.outer(TIMES, TIMES))
PROBABILITIES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
DRAWN = 0.03  # of quantiles of 2000 draws, as probabilities: three standard errors of the median
EXACTLY = 2e-3  # posterior standard deviations
ALONE = {"Intercept": Normal(0.0, 5.0), "sigma": HalfNormal(1.0)}
PLAIN = ALONE | {"sd": HalfNormal(2.0)}
CURVES = {
    "exp": lambda s: np.exp(-s),
    "gau": lambda s: np.exp(-(s**2)),
    "ratio": lambda s: 1.0 / (1.0 + s**2),
    "sph": lambda s: np.where(s < 1.0, 1.0 - 1.5 * s + 0.5 * s**3, 0.0),
    "mat": lambda s: 2.0**-0.5 / gamma(1.5) * s**1.5 * kv(1.5, s),
}
MEAN_GAP, LEAST_GAP = 8.0 / 3.0, 1.0


def simulated() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    level, time = (each.ravel() for each in np.indices((LEVELS, 4)).repeat(REPEATS, axis=1).reshape(2, -1))
    b = rng.multivariate_normal(np.zeros(4), np.exp(-APART / 4.0), size=LEVELS)
    y = 1.0 + b[level, time] + SIGMA * rng.normal(size=len(level))
    return pd.DataFrame({"g": [f"g{i}" for i in level], "t": TIMES[time], "y": y, "v": [f"v{i}" for i in time]})


DATA = simulated()
VISITS = DATA.groupby(["g", "t"], as_index=False).first()  # one row a visit, for residuals


def drawn(model: bmm.Model, name: str, draws: int = 2000) -> np.ndarray:
    return np.asarray(model.prior_predictive(draws, seed=1).prior[name])[0]


def partial_of(rho: np.ndarray) -> float:
    """The last coefficient of the regression of a value on those before it, of correlations ρ₁, ..., ρ_h."""
    R = np.abs(np.subtract.outer(np.arange(len(rho)), np.arange(len(rho))))
    return np.linalg.solve(np.concatenate([[1.0], rho])[R], rho)[-1]


@pytest.mark.parametrize("name", CURVES)
def test_drawn_range_has_its_prior_in_the_unit_of_the_coordinates(name) -> None:
    """Whatever distance the correlation in the table is at, it is f of it over a range of that distribution."""
    prior = LogNormal(1.0, 0.7, on="range")
    model = bmm.Model(f"y ~ 1 + {name}(0 + C(t) | g)", DATA, priors=PLAIN | {"cor": prior})
    distance = LEAST_GAP if name == "sph" else MEAN_GAP
    expected = CURVES[name](distance / st.lognorm(0.7, scale=np.e).ppf(PROBABILITIES))
    rho = drawn(model, "cor_g")[:, 0]
    found = np.array([(rho <= each).mean() for each in expected])
    seen = expected > 1e-9  # those of sph may be nothing
    np.testing.assert_allclose(found[seen], PROBABILITIES[seen], atol=DRAWN)
    assert f"range of {name}(0 + C(t) | g)" in str(model.priors)


RESIDUALS = {
    "car1(t | g)": (lambda s: np.exp(-s), 1.0),
    "exp(t | g, nugget=True)": (lambda s: np.exp(-s), 1.0),
    "gau(t | g)": (CURVES["gau"], MEAN_GAP),
    "ratio(t | g)": (CURVES["ratio"], MEAN_GAP),
    "sph(t | g)": (CURVES["sph"], LEAST_GAP),
}


@pytest.mark.parametrize("text", RESIDUALS)
def test_drawn_range_of_residuals_has_its_prior(text) -> None:
    curve, distance = RESIDUALS[text]
    model = bmm.Model("y ~ 1", VISITS, residual=text, priors=ALONE | {"rho": Gamma(3.0, 0.5, on="range")})
    expected = curve(distance / st.gamma(3.0, scale=2.0).ppf(PROBABILITIES))
    rho = drawn(model, "residual_cor")[:, 0]
    found = np.array([(rho <= each).mean() for each in expected])
    seen = expected > 1e-9
    np.testing.assert_allclose(found[seen], PROBABILITIES[seen], atol=DRAWN)


@pytest.mark.parametrize("where", ["effects", "residuals"])
def test_partial_autocorrelations_are_independent_and_have_their_priors(where) -> None:
    """One of a lag's own, of another by a beta, and the third as under the LKJ prior of all."""
    of = "rho(lag {} | g)" if where == "residuals" else "cor(0 + v, lag {} | g)"
    own = {of.format(1): Uniform(0.0, 0.8), of.format(3): Beta(4.0, 2.0, on="partial")}
    if where == "residuals":
        model = bmm.Model("y ~ 1", VISITS, residual="homtoep(v | g)", priors=ALONE | own)
        rho = drawn(model, "residual_cor")
    else:
        model = bmm.Model("y ~ 1 + toep(0 + v | g)", DATA, priors=PLAIN | own)
        rho = drawn(model, "cor_g")
    partial = np.array([[partial_of(each[: h + 1]) for h in range(3)] for each in rho])
    uniform = [
        st.uniform(0.0, 0.8).cdf(partial[:, 0]),
        st.beta(2.0, 2.0).cdf(0.5 + 0.5 * partial[:, 1]),  # (k − h)η = 2
        st.beta(4.0, 2.0).cdf(0.5 + 0.5 * partial[:, 2]),
    ]
    for each in uniform:
        assert st.kstest(each, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(uniform) - np.eye(3)).max() < 0.08
    R = np.concatenate([np.ones((len(rho), 1)), rho], axis=1)[:, np.abs(np.subtract.outer(np.arange(4), np.arange(4)))]
    assert np.linalg.eigvalsh(R).min() > 0.0
    assert str(model.priors).count("partial autocorrelation of") == 3
    assert model.plot_priors() is not None


@pytest.mark.parametrize(
    ("text", "limits"), [("ar1(step | g)", (-1, 1)), ("homcs(v | g)", (-1 / 3, 1)), ("car1(t | g)", (0, 1))]
)
def test_beta_prior_is_of_a_correlation_between_its_limits(text, limits) -> None:
    data = VISITS.assign(step=VISITS["v"].str[1:].astype(int))
    priors = ALONE | {"rho": Beta(2.0, 5.0, on="correlation")}
    rho = drawn(bmm.Model("y ~ 1", data, residual=text, priors=priors), "residual_cor")[:, 0]
    share = (rho - limits[0]) / (limits[1] - limits[0])
    assert st.kstest(share, st.beta(2.0, 5.0).cdf).pvalue > 1e-3
    if text.startswith("homcs"):
        effects = bmm.Model("y ~ 1 + homcs(0 + v | g)", DATA, priors=PLAIN | {"cor": priors["rho"]})
        share = (drawn(effects, "cor_g")[:, 0] - limits[0]) / (limits[1] - limits[0])
        assert st.kstest(share, st.beta(2.0, 5.0).cdf).pvalue > 1e-3


def test_neighbours_of_antedependence_have_priors_of_their_own() -> None:
    own = {"rho(v1, v2 | g)": Uniform(0.2, 0.4), "rho(v2, v3 | g)": Beta(3.0, 1.0, on="correlation")}
    rho = drawn(bmm.Model("y ~ 1", VISITS, residual="ad(v | g)", priors=ALONE | own), "residual_cor")
    cdfs = [st.uniform(-1.0, 2.0).cdf, st.uniform(0.2, 0.2).cdf, lambda x: st.beta(3.0, 1.0).cdf(0.5 + 0.5 * x)]
    for each, cdf in zip(rho.T, cdfs, strict=True):
        assert st.kstest(each, cdf).pvalue > 1e-3


def test_second_factor_of_a_product_has_a_range_of_its_own() -> None:
    data = DATA.assign(h=np.where(np.arange(len(DATA)) // 4 % 2, "a", "b"))
    priors = PLAIN | {"cor(C(t) | g)": Exponential(0.5, on="range")}
    model = bmm.Model("y ~ 1 + kron(us(h), exp(C(t)) | g)", data, priors=priors)
    rho = drawn(model, "cor_g")
    assert st.kstest(0.5 + 0.5 * rho[:, 0], "uniform").pvalue > 1e-3  # 2 × 2 under LKJ(1)
    expected = np.exp(-MEAN_GAP / st.expon(scale=2.0).ppf(PROBABILITIES))
    np.testing.assert_allclose([(rho[:, 1] <= each).mean() for each in expected], PROBABILITIES, atol=DRAWN)
    (piece,) = model.priors.pieces
    at = np.array([[0.3, 1.7]])  # the first correlation, and a range
    np.testing.assert_allclose(piece.log_density(model.priors.of_matrix(piece), at), st.expon.logpdf(1.7, scale=2.0))


PROGRAMS = {
    "effects": ("y ~ 1 + exp(0 + C(t) | g)", "", "range_g", "cor_g", MEAN_GAP),
    "residuals": ("y ~ 1", "car1(t | g)", "residual_range", "residual_cor", 1.0),
}


@pytest.mark.parametrize("program", ["marginal", "conditional"])
@pytest.mark.parametrize("where", PROGRAMS)
def test_both_programs_have_the_density_of_the_range(where, program) -> None:
    """The density of the site is SciPy's, and the correlation is that of the range."""
    formula, residual, site, public, distance = PROGRAMS[where]
    key = "rho" if residual else "cor"
    options = {"residual": residual} if residual else {}
    priors = (ALONE if residual else PLAIN) | {key: LogNormal(1.0, 0.7, on="range")}
    model = bmm.Model(formula, VISITS if residual else DATA, priors=priors, **options)
    traced, data = model.program(program)

    def at(value, data):
        seeded = handlers.substitute(handlers.seed(traced, 0), {site: value})
        trace = handlers.trace(seeded).get_trace(data)
        return trace[site]["fn"].log_prob(trace[site]["value"]), trace[public]["value"]

    density, correlation = compiled(at, np.array([2.5]), data)
    assert float(density) == pytest.approx(st.lognorm(0.7, scale=np.e).logpdf(2.5))
    assert float(correlation[0]) == pytest.approx(np.exp(-distance / 2.5))
    assert f"{site} ~ LogNormal" in str(traced)


@pytest.mark.parametrize("name", ["exp", "mat", "sph"])
def test_factor_has_slopes_where_nothing_is_correlated_and_where_all_is_one(name) -> None:
    model = bmm.Model(f"y ~ 1 + {name}(0 + C(t) | g)", DATA, priors=PLAIN | {"cor": LogNormal(1.0, 0.7, on="range")})
    ((matrix,),) = (block.matrices for block in model.program("marginal")[0].covariances.blocks)
    with jax.enable_x64(True):
        slope = jax.grad(lambda r: (matrix.factor({"range_g": r}) ** 2).sum())
        for r in (1e-3, 1.0, 1e9):
            assert np.isfinite(np.asarray(slope(np.array([r])))).all()


@pytest.fixture(scope="module")
def sampled():
    priors = {"Intercept": Normal(0.0, 5.0), "sd": HalfNormal(2.0), "cor": LogNormal(1.0, 0.7, on="range")}
    model = bmm.Model("y ~ 1 + exp(0 + C(t) | g)", DATA, sigma=SIGMA, priors=priors)
    return model, model.sample(method="quadrature", draws=300, seed=3)


def test_posterior_under_a_prior_of_the_range_is_the_sum_over_a_dense_likelihood(sampled) -> None:
    _, posterior = sampled
    Z = random_columns(pd.factorize(DATA["g"])[0], pd.get_dummies(DATA["t"]).to_numpy(dtype=float), LEVELS)
    dense = DenseModel(y=DATA["y"].to_numpy(), X=np.ones((len(DATA), 1)), Z=Z)
    log_sd, log_r = np.linspace(-1.5, 1.5, 40), np.linspace(-2.0, 4.5, 60)
    found = np.empty((len(log_sd), len(log_r)))
    for i, s in enumerate(log_sd):
        for j, r in enumerate(log_r):
            G = np.kron(np.eye(LEVELS), np.exp(2.0 * s) * np.exp(-APART / np.exp(r)))
            found[i, j] = dense.log_marginal_density(G, SIGMA, np.zeros(1), np.eye(1) / 25.0)
            found[i, j] += st.halfnorm.logpdf(np.exp(s), scale=2.0) + s + st.norm.logpdf(r, 1.0, 0.7)
    weights = np.exp(found - found.max())
    weights /= weights.sum()
    rho = np.broadcast_to(np.exp(-MEAN_GAP / np.exp(log_r)), weights.shape)
    mean = (weights * rho).sum()
    sd = np.sqrt((weights * (rho - mean) ** 2).sum())
    row = posterior.parameters.loc["cor(0 + C(t) | g)"]
    assert row["mean"] == pytest.approx(mean, abs=EXACTLY * sd)
    assert row["sd"] == pytest.approx(sd, rel=2 * EXACTLY)


def test_what_is_read_off_a_posterior_knows_what_the_prior_is_of(sampled, tmp_path) -> None:
    model, posterior = sampled
    again = bmm.load(posterior.save(tmp_path / "posterior.nc"))
    pd.testing.assert_frame_equal(again.parameters, posterior.parameters)
    assert str(again.priors) == str(model.priors)
    assert posterior.sensitivity().loc["cor(0 + C(t) | g)", "prior"] > 0.0
    assert "LogNormal(1, 0.7) on the range" in str(bmm.compare(model.fit(), posterior))
    assert posterior.plot_priors() is not None


def test_densities_and_slopes_of_own_priors_are_those_of_scipy() -> None:
    own = {"cor(lag 1 | g)": Uniform(-0.5, 0.9), "cor(lag 2 | g)": Beta(3.0, 2.0, on="partial")}
    model = bmm.Model("y ~ 1 + toep(0 + v | g)", DATA, priors=PLAIN | own)
    (piece,) = model.priors.pieces
    priors = model.priors.of_matrix(piece)
    rho = np.array([[0.5, 0.4, 0.1], [0.95, 0.9, 0.8]])
    partial = piece.quantities(priors, rho)
    np.testing.assert_allclose(partial[0], [partial_of(rho[0, : h + 1]) for h in range(3)], rtol=1e-12)
    first, second, third = partial[0]
    expected = st.uniform(-0.5, 1.4).logpdf(first) + st.beta(3.0, 2.0, loc=-1.0, scale=2.0).logpdf(second)
    expected += st.beta(1.0, 1.0, loc=-1.0, scale=2.0).logpdf(third)
    np.testing.assert_allclose(piece.log_density(priors, partial), [expected, -np.inf], rtol=1e-12)
    ends = [piece.log_density(priors, partial[:1] + sign * 1e-6 * np.eye(3)) for sign in (1.0, -1.0)]
    np.testing.assert_allclose(piece.log_slopes(priors, partial[0]), (ends[0] - ends[1]) / 2e-6, atol=1e-7)
    names = [row.name for row in model.priors.rows]
    values = np.ones((1, len(names)))
    values[0, [names.index(name) for name in piece.rows]] = partial[0]
    densities = log_prior_densities(model.priors, model.labels, values)
    assert densities[0, names.index(piece.rows[0])] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("term", "prior", "message"),
    [
        ("toep(0 + v | g)", Uniform(0, 1), r"depends on the other lags.*on=\"partial\""),
        ("toep(0 + v | g)", Gamma(2, 1, on="range"), "no curve with a range. Ranges are those of exp"),
        ("ar1(0 + v | g)", Gamma(2, 1, on="range"), "no curve with a range"),
        ("exp(0 + C(t) | g)", Gamma(2, 1), r"Of its range it is Gamma\(..., on=\"range\"\)"),
        ("exp(0 + C(t) | g)", Flat(on="range"), "posterior would be improper"),
        ("exp(0 + C(t) | g)", Uniform(-1, 1, on="range"), "a range cannot be negative"),
        ("exp(0 + C(t) | g)", Beta(2, 2), r"Of a correlation it is Beta\(a, b, on=\"correlation\"\)"),
        ("exp(0 + C(t) | g)", Beta(2, 2, on="partial"), "is not one of lags"),
        ("exp(0 + C(t) | g)", LKJ(2), r"LogNormal\(mean, sd, on=\"range\"\)"),
        ("us(0 + v | g)", Uniform(0, 1), "is a correlation matrix. Suitable: Flat, LKJ"),
    ],
)
def test_what_a_correlation_cannot_have_is_refused(term, prior, message) -> None:
    with pytest.raises(PriorError, match=message):
        bmm.Model(f"y ~ 1 + {term}", DATA, priors={"cor": prior})


@pytest.mark.parametrize("key", ["Intercept", "sd", "sigma"])
def test_only_correlations_have_ranges(key) -> None:
    with pytest.raises(PriorError, match="drop on="):
        bmm.Model("y ~ 1 + exp(0 + C(t) | g)", DATA, priors={key: LogNormal(0, 1, on="range")})
