"""Posteriors of models with a covariance of the residuals, beside dense matrices and integrals."""

from __future__ import annotations

from pathlib import Path

import arviz_stats
import jax
import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior
from numpyro.infer.util import log_density
from oracle import level_covariance, random_columns
from residual_textbook import DATA, dense_residual
from scipy.stats import multivariate_normal, norm
from scipy.stats import t as student

import bayesmm as bmm
from bayesmm import Model
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.priors.prior_simulation import simulate_prior
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.residual_draws import ResidualDraws, lay_out_rows, read_residual
from bayesmm.bayes.results.tables import stack_parameters
from bayesmm.errors import ArgumentError, PredictionError, PriorError
from bayesmm.specification.priors import LKJ, Flat, HalfNormal, Normal, Uniform

EXACT = 1e-8  # of a log density
FORMULA = "y ~ arm + x + (1 | id)"


@pytest.fixture(scope="module")
def nested() -> Posterior:
    model = Model("y ~ x + (1 | id) + (1 | arm)", DATA, residual="ar1(step | id) * het(arm)", weights="w")
    rng = np.random.default_rng(3)
    limits = {"rho(step | id)": (-0.3, 0.8), "sigma(arm[b])": (1.0, 3.0), "sigma": (1.0, 3.0)}
    limits |= {"sd(Intercept | id)": (0.2, 2.0), "sd(Intercept | arm)": (0.2, 2.0)}
    return make_posterior(model, {name: rng.uniform(low, high, SHAPE) for name, (low, high) in limits.items()})


def values_of(posterior: Posterior, draw: int) -> dict[str, float]:
    drawn = stack_parameters(posterior.data, posterior.labels)
    names = [row.name for row in posterior.labels.parameter_rows()]
    return dict(zip(names, drawn.reshape(-1, len(names))[draw], strict=True))


def dense_marginal(posterior: Posterior, values: dict[str, float]) -> multivariate_normal:
    """y with coefficients and random effects integrated out."""
    design, priors = posterior.design, posterior.priors
    X, back = design.X[:, design.kept], np.linalg.inv(priors.contrast)
    prior = [row.prior.numbers for row in priors.of_kind("fixed")]
    V = dense_residual_of(posterior, values)
    V = V + X @ back @ np.diag([each["sd"] ** 2 for each in prior]) @ back.T @ X.T
    for block, labels in zip(design.blocks, posterior.labels.blocks, strict=True):
        Z = random_columns(block.incidence.only.codes, block.columns, block.q)
        V = V + Z @ level_covariance(np.array([[values[labels.sd_rows[0]] ** 2]]), block.q) @ Z.T
    return multivariate_normal(X @ back @ [each["mean"] for each in prior], V)


def dense_residual_of(posterior: Posterior, values: dict[str, float]) -> np.ndarray:
    class Bound:
        design = posterior.design

    return dense_residual(Bound, values, DATA, DATA["w"].to_numpy())  # type: ignore[arg-type]


def given_others(dense: multivariate_normal, y: np.ndarray, own: np.ndarray) -> float:
    others = np.setdiff1d(np.arange(len(y)), own)
    rest = multivariate_normal(dense.mean[others], dense.cov[np.ix_(others, others)])
    return float(dense.logpdf(y) - rest.logpdf(y[others]))


@pytest.mark.parametrize("of", ["row", "id", "arm"])
def test_what_is_left_out_has_the_density_of_the_dense_gaussian(nested: Posterior, of: str) -> None:
    found = nested.log_likelihood(of, draws=4, progress=False)["log_likelihood"]["y"].to_numpy().reshape(4, -1)
    chosen = nested.log_likelihood(of, draws=4, progress=False)["posterior"]["sigma"].to_numpy().ravel()
    draw = int(np.flatnonzero(nested.sigma.ravel() == chosen[2])[0])
    dense, y = dense_marginal(nested, values_of(nested, draw)), nested.design.y
    for g in (0, found.shape[1] - 1):
        own = np.array([g])
        if of != "row":
            levels = next(block.levels for block in nested.labels.blocks if block.group == of)
            own = np.flatnonzero(DATA[of].to_numpy() == levels[g])
        assert found[2, g] == pytest.approx(given_others(dense, y, own), abs=EXACT)


def test_given_effects_rows_have_their_density_given_the_others_of_their_group(nested: Posterior) -> None:
    by_row = nested.log_likelihood("row", "conditional", progress=False)["log_likelihood"]["y"].to_numpy()
    by_group = nested.log_likelihood("id", "conditional", progress=False)["log_likelihood"]["y"].to_numpy()
    draw, y, design = 5, nested.design.y, nested.design
    R = dense_residual_of(nested, values_of(nested, draw))
    mean = design.X[:, design.kept] @ nested.beta.reshape(-1, design.p)[draw]
    for block, b in zip(design.blocks, nested.effects, strict=True):
        mean = mean + b.reshape(-1, block.q, 1)[draw][block.incidence.only.codes, 0]
    dense = multivariate_normal(mean, R)
    rows = by_row.reshape(-1, design.n)[draw]
    assert rows[7] == pytest.approx(given_others(dense, y, np.array([7])), abs=EXACT)
    groups = by_group.reshape(len(nested.sigma.ravel()), -1)[draw]
    assert groups.sum() == pytest.approx(dense.logpdf(y), abs=EXACT)


@pytest.mark.parametrize(
    "text", ["us(visit | id) * het(arm)", "car1(time | id) * exponential(x)", "toep(visit | id, by=arm)"]
)
def test_residuals_of_rows_old_and_new_are_drawn_with_their_covariance(text: str) -> None:
    """Of unit vectors in the place of noise residuals are a root of the covariance."""
    model = Model("y ~ arm + x", DATA, residual=text, weights="w")
    values = dict(model.fit().parameters["estimate"])
    residual, new = model.design.residual, DATA.iloc[::-2].assign(id=lambda rows: rows["id"] + "new")
    assert residual is not None
    sites = {
        "residual_sd": np.array([[values[name] for name in residual.sd_names]]),
        "residual_cor": np.array([[values[name] for name in residual.cor_names]]),
    }
    public = read_residual(model.design, sites, np.array([values["sigma"]]))
    assert public is not None
    for new_data, rows in ((None, np.arange(len(DATA))), (new, np.arange(len(DATA))[::-2])):
        n, weights = len(rows), DATA["w"].to_numpy()[rows]
        layout = lay_out_rows(model.design, new_data, weights)
        draws = ResidualDraws(layout=layout, public=np.tile(public, (n, 1)), sigma=np.full(n, values["sigma"]))
        root = draws.colour(np.eye(n)).T
        np.testing.assert_allclose(root @ root.T, residual.covariance(values, rows, weights), rtol=1e-9, atol=1e-12)


def test_new_rows_that_no_residual_can_have_are_refused(nested: Posterior) -> None:
    for new, part in (
        (DATA.assign(arm="c"), "no variance at 'c'"),
        (pd.concat([DATA, DATA]), "several new rows at one step"),
        (DATA.assign(step=DATA["step"] + 0.5), "whole steps"),
    ):
        with pytest.raises(PredictionError, match=part):
            nested.posterior_predictive(new, random="none", draws=2, progress=False)
    with pytest.raises(ArgumentError, match="residual="):
        bmm.shrinkage(nested)


def test_everything_that_reads_a_posterior_has_the_residuals_in_it(nested: Posterior, tmp_path: Path) -> None:
    summary = arviz_stats.summary(nested.data, var_names=["residual_sd", "residual_cor", "sigma"], round_to="none")
    own = nested.parameters
    for label, name in (
        ("residual_sd[sigma(arm[b])]", "sigma(arm[b])"),
        ("residual_cor[rho(step | id)]", "rho(step | id)"),
        ("sigma", "sigma"),
    ):
        assert summary.loc[label, "mean"] == pytest.approx(own.loc[name, "mean"], rel=1e-12)
    again = bmm.load(nested.save(tmp_path / "posterior.nc"))
    pd.testing.assert_frame_equal(again.parameters, own)
    assert str(again.priors) == str(nested.priors)
    assert nested.predict(interval="prediction", progress=False).shape == (len(DATA), 4)
    assert nested.simulate(2, random="kept", progress=False).shape == (len(DATA), 2)
    assert {".fitted", ".residual"} <= set(nested.augment(progress=False))
    own = [residual_variance(nested, draw) for draw in (0, 7)]
    assert nested.r2(kind="variances")["conditional"].to_numpy().ravel()[[0, 7]] == pytest.approx(
        [explained_share(nested, draw, each) for draw, each in zip((0, 7), own, strict=True)], rel=1e-10
    )
    assert "rho(step | id)" in str(nested.summary())
    assert "rho(step | id)" in str(bmm.compare(nested_fit(nested), nested))


def residual_variance(posterior: Posterior, draw: int) -> float:
    return float(np.diag(dense_residual_of(posterior, values_of(posterior, draw))).mean())


def explained_share(posterior: Posterior, draw: int, residual: float) -> float:
    """What fixed effects and levels explain, over all."""
    values, design = values_of(posterior, draw), posterior.design
    fixed = (design.X[:, design.kept] @ posterior.beta.reshape(-1, design.p)[draw]).var(ddof=1)
    explained = fixed + values["sd(Intercept | id)"] ** 2 + values["sd(Intercept | arm)"] ** 2
    return float(explained / (explained + residual))


def nested_fit(posterior: Posterior) -> bmm.fit.fit.Fit:
    return Model("y ~ x + (1 | id) + (1 | arm)", DATA, residual="ar1(step | id) * het(arm)", weights="w").fit()


def test_quadrature_is_the_integral_over_two_parameters() -> None:
    data = DATA[["id", "step", "y"]].assign(step=DATA["step"] // 2)  # odd steps tell the sign of ρ
    model = Model("y ~ 1", data, residual="ar1(step | id)")
    posterior = model.sample(method="quadrature", draws=400, seed=1, progress=False)
    prior = model.priors.rows[0].prior
    scale = next(row.prior.numbers["scale"] for row in model.priors.rows if row.name == "sigma")
    rho, sigma = np.meshgrid(np.linspace(-0.4, 0.98, 45), np.linspace(1.0, 4.0, 45), indexing="ij")
    same = data["id"].to_numpy()[:, None] == data["id"].to_numpy()
    steps = np.abs(np.subtract.outer(data["step"].to_numpy(), data["step"].to_numpy()))
    order = np.argsort(data["id"].to_numpy(), kind="stable")
    logs = np.empty(rho.shape)
    for at in np.ndindex(rho.shape):
        R = np.where(same, rho[at] ** steps.astype(float), 0.0) * sigma[at] ** 2
        V = (R + prior.numbers["sd"] ** 2)[np.ix_(order, order)]
        L = np.linalg.cholesky(V)
        z = np.linalg.solve(L, data["y"].to_numpy()[order] - prior.numbers["mean"])
        logs[at] = -np.log(np.diag(L)).sum() - 0.5 * z @ z + student(3, scale=scale).logpdf(sigma[at])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    for name, values in (("rho(step | id)", rho), ("sigma", sigma)):
        mean = (weights * values).sum()
        sd = np.sqrt((weights * (values - mean) ** 2).sum())
        found = posterior.parameters.loc[name]
        assert found["mean"] == pytest.approx(mean, abs=0.01 * sd)
        assert found["sd"] == pytest.approx(sd, rel=0.01)
    assert posterior.sensitivity(progress=False)["has_prior"].tolist() == [True, False, True]


def test_density_depends_on_neither_order_nor_names_nor_units() -> None:
    def density(data: pd.DataFrame, unit: float) -> float:
        model = Model("y ~ arm + x", data, residual="hetar1(step | id)")
        program, arguments = bind_marginal(model.problem, model.priors)
        sites = {"residual_sd": unit * np.array([1.5, 2.0, 1.2]), "sigma": unit * 1.7, "residual_correlation": [0.7]}
        with jax.enable_x64(True):
            at = {name: np.asarray(value, float) for name, value in sites.items()}
            return float(log_density(program, (arguments,), {}, at)[0])

    unit = 12.5
    changed = DATA.assign(y=unit * DATA["y"] + 400.0, id="z" + DATA["id"]).sample(frac=1.0, random_state=1)
    expected = density(DATA, 1.0) - (len(DATA) + 4) * np.log(unit)
    assert density(changed, unit) == pytest.approx(expected, rel=1e-9)


def test_priors_of_residuals_have_keys_scales_and_words() -> None:
    model = Model("y ~ arm", DATA, residual="us(visit | id)", priors={"sigma(visit)": HalfNormal(2), "rho(id)": LKJ(3)})
    table = model.priors.table()
    assert table.loc["sigma(visit[v2])", "prior"] == "HalfNormal(2)"
    assert table.loc["sigma", "source"] == "default"
    assert table.loc["rho(v0, v1 | id)", "prior"] == "LKJ(3)"
    rescaled = Model("y ~ arm", DATA.assign(y=10.0 * DATA["y"]), residual="us(visit | id)").priors.table()
    assert rescaled.loc["sigma(visit[v1])", "prior"] == rescaled.loc["sigma", "prior"]
    moved = Model("y ~ arm", DATA, residual="car1(time | id) * exponential(x)").priors.table()
    assert moved.loc["sigma", "about"] == "standard deviation at the mean of x"
    assert moved.loc["rho(time | id)", "about"] == "correlation over the mean time between neighbours"
    assert moved.loc["exponential(x)", "prior"].startswith("Normal(0, ")
    own = Model(
        "y ~ arm", DATA, residual="homcs(visit | id) * power(time)", priors={"sigma": HalfNormal(3)}
    ).priors.table()
    assert own.loc["sigma", "about"] == "standard deviation"


@pytest.mark.parametrize(
    ("text", "priors", "part"),
    [
        ("us(visit | id)", {"sigma(visit[v1])": Normal(0, 1)}, "HalfNormal is the same prior"),
        ("us(visit | id)", {"rho(v0, v1 | id)": LKJ(2)}, "have one prior together"),
        ("us(visit | id)", {"rho": Uniform(0, 1)}, "a correlation matrix"),
        ("car1(time | id)", {"rho": LKJ(2)}, "no such prior"),
        ("homcs(visit | id)", {"rho": Uniform(-0.9, 1)}, "lies between -0.333"),
        ("het(arm)", {"sigma(amr)": HalfNormal(2)}, "Did you mean 'sigma\\(arm\\)'"),
        ("power(time)", {"power(time)": LKJ(2)}, "an exponent"),
        ("het(id:visit)", {"sigma(id:visit)": Flat()}, "leaves its posterior improper"),
    ],
)
def test_priors_that_do_not_suit_are_refused(text: str, priors: dict, part: str) -> None:
    data = DATA if text != "het(id:visit)" else DATA[DATA["id"].isin(["g1", "g2", "g3"])]
    with pytest.raises(PriorError, match=part):
        Model("y ~ 1", data, residual=text, priors=priors)


def test_draws_from_the_priors_have_their_distributions() -> None:
    model = Model("y ~ 1", DATA, residual="homus(visit | id) * power(time)")
    drawn = simulate_prior(model.design, model.priors, draws=4000, seed=1)
    rho = drawn["residual_cor"]
    assert np.abs(rho.mean(axis=0)).max() < 0.03
    np.testing.assert_allclose(rho.var(axis=0), 0.2, atol=0.02)  # LKJ(1) of 4: (ρ + 1)/2 ~ Beta(2, 2)
    sd = model.priors.of_kind("exponent")[0].prior.numbers["sd"]
    at_mean = drawn["sigma"] * np.exp(drawn["residual_sd"][:, 0] * model.priors.exponent_means[0])
    scale = next(row.prior.numbers["scale"] for row in model.priors.rows if row.name == "sigma")
    np.testing.assert_allclose(np.median(at_mean), scale * student(3).ppf(0.75), rtol=0.06)
    np.testing.assert_allclose(np.quantile(drawn["residual_sd"], 0.9), sd * norm.ppf(0.9), rtol=0.08)
    assert np.isfinite(drawn["y"]).all()


def test_without_random_effects_a_comparison_is_of_parameters_alone() -> None:
    model = Model("y ~ arm + x", DATA, residual="homcs(visit | id) * power(time)")
    values = {"rho(visit | id)": 0.3, "sigma": 1.5, "power(time)": 0.2}
    rng = np.random.default_rng(1)
    posterior = make_posterior(model, {name: at + 0.05 * rng.normal(size=SHAPE) for name, at in values.items()})
    report = bmm.compare(model.fit(), posterior)
    assert report.random_effects.empty
    assert list(posterior.random_effects()) == ["group", "level", "effect", "mean", "sd", "lower", "upper"]
    below = str(report).partition("Residual\n")[2]
    assert [line.split()[0] for line in below.splitlines()[:3]] == ["power(time)", "rho(visit", "sigma"]
    assert "BLUP" not in str(report)
    with pytest.raises(ArgumentError, match="random effects"):
        posterior.group_lines()


def test_command_line_samples_and_compares(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from bayesmm.cli.app import app

    DATA.to_csv(tmp_path / "data.csv", index=False)
    asked = ["compare", "y ~ 1", "--data", str(tmp_path / "data.csv"), "--residual", "het(arm)", "--by", "quadrature"]
    found = CliRunner().invoke(app, [*asked, "--draws", "500"])
    assert found.exit_code == 0, found.output
    assert "sigma(arm[b])" in found.output
