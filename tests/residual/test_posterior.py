"""Posteriors of models with a covariance of the residuals, beside dense matrices and integrals."""

from __future__ import annotations

from pathlib import Path

import arviz_stats
import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior
from oracle import level_covariance, random_columns
from programs import density_of
from residual_textbook import DATA, dense_residual
from scipy.stats import multivariate_normal, norm
from scipy.stats import t as student

import bayesmm as bmm
from bayesmm import Model
from bayesmm.bayes.exploring.start import WarmStart, parameterise, whiten_blocks
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.priors.prior_simulation import simulate_prior
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.information import spherical_covariance
from bayesmm.bayes.residual_draws import ResidualDraws, lay_out_rows, read_residual
from bayesmm.bayes.results import marginal_covariance as covariance_module
from bayesmm.bayes.results import residual_leave_out
from bayesmm.bayes.results.tables import stack_parameters
from bayesmm.errors import ArgumentError, DesignError, PredictionError, PriorError
from bayesmm.inference.pooling import shrinkage as shrinkage_module
from bayesmm.specification.priors import LKJ, Flat, HalfNormal, Laplace, Normal, Uniform

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
    return dense_residual(Bound(posterior), values, DATA, DATA["w"].to_numpy())  # type: ignore[arg-type]


def given_others(dense: multivariate_normal, y: np.ndarray, own: np.ndarray) -> float:
    others = np.setdiff1d(np.arange(len(y)), own)
    rest = multivariate_normal(dense.mean[others], dense.cov[np.ix_(others, others)])
    return float(dense.logpdf(y) - rest.logpdf(y[others]))


@pytest.mark.parametrize("of", ["row", "id", "arm", "step"])
def test_what_is_left_out_has_the_density_of_the_dense_gaussian(nested: Posterior, of: str) -> None:
    found = nested.log_likelihood(of, draws=4, progress=False)["log_likelihood"]["y"].to_numpy().reshape(4, -1)
    chosen = nested.log_likelihood(of, draws=4, progress=False)["posterior"]["sigma"].to_numpy().ravel()
    draw = int(np.flatnonzero(nested.sigma.ravel() == chosen[2])[0])
    dense, y = dense_marginal(nested, values_of(nested, draw)), nested.design.y
    for g in (0, found.shape[1] - 1):
        own = np.array([g])
        if of != "row":
            own = np.flatnonzero(DATA[of].to_numpy() == np.unique(DATA[of])[g])
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


def test_a_visit_of_all_patients_is_left_out_given_effects_and_their_other_residuals(nested: Posterior) -> None:
    found = nested.log_likelihood("step", "conditional", draws=8, progress=False)
    values, chosen = (
        found[group][name].to_numpy() for group, name in (("log_likelihood", "y"), ("posterior", "sigma"))
    )
    draw = int(np.flatnonzero(nested.sigma.ravel() == chosen.ravel()[5])[0])
    design, y = nested.design, nested.design.y
    mean = design.X[:, design.kept] @ nested.beta.reshape(-1, design.p)[draw]
    for block, b in zip(design.blocks, nested.effects, strict=True):
        mean = mean + b.reshape(-1, block.q, 1)[draw][block.incidence.only.codes, 0]
    dense = multivariate_normal(mean, dense_residual_of(nested, values_of(nested, draw)))
    for g, step in enumerate(np.unique(DATA["step"])):
        own = np.flatnonzero(DATA["step"].to_numpy() == step)
        assert values.reshape(8, -1)[5, g] == pytest.approx(given_others(dense, y, own), abs=EXACT)
    assert found["log_likelihood"]["y"].coords["step"].to_numpy().tolist() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("priors", [{}, {"x": Flat(), "Intercept": Flat()}, {"x": Laplace(0, 1)}])
def test_a_level_of_one_of_two_crossed_factors_is_left_out(priors: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """By differences of dense densities of all rows and of the others; flat coefficients have a wide prior there."""
    site = DATA["id"].str[1:].astype(int) // 2 % 3
    data = DATA.assign(site="s" + site.astype(str))
    model = Model("y ~ x + (1 | arm) + (1 | site)", data, residual="hetar1(step | id)", priors=priors)
    posterior = make_posterior(model, priors=priors)
    found = posterior.log_likelihood("site", draws=4, progress=False)
    values, chosen = (
        found[group][name].to_numpy() for group, name in (("log_likelihood", "y"), ("posterior", "sigma"))
    )
    draw = int(np.flatnonzero(posterior.sigma.ravel() == chosen.ravel()[2])[0])
    drawn, design = values_of(posterior, draw), posterior.design
    X, back = design.X[:, design.kept], np.linalg.inv(posterior.priors.contrast)
    V = dense_residual(Bound(posterior), drawn, data, np.ones(len(data)))
    for block, labels in zip(design.blocks, posterior.labels.blocks, strict=True):
        Z = random_columns(block.incidence.only.codes, block.columns, block.q)
        V = V + Z @ level_covariance(np.array([[drawn[labels.sd_rows[0]] ** 2]]), block.q) @ Z.T
    center, variances = np.zeros(design.p), np.zeros(design.p)
    quantities = posterior.priors.contrast @ posterior.beta.reshape(-1, design.p)[draw]
    for j, row in enumerate(posterior.priors.of_kind("fixed")):
        numbers = row.prior.numbers
        if isinstance(row.prior, Laplace):  # sampled
            center[j] = quantities[j]
        elif isinstance(row.prior, Flat):
            variances[j] = 1e5
        else:
            center[j], variances[j] = numbers["mean"], numbers["sd"] ** 2
    dense = multivariate_normal(X @ back @ center, V + X @ back @ np.diag(variances) @ back.T @ X.T)
    for g in range(3):
        expected = given_others(dense, design.y, np.flatnonzero(site == g))
        assert values.reshape(4, -1)[2, g] == pytest.approx(expected, abs=2e-3 if variances.max() == 1e5 else EXACT)
    monkeypatch.setattr(residual_leave_out, "MOST_ROWS", 50)
    with pytest.raises(PredictionError, match="rows are more than the 50"):
        posterior.loo("site")


class Bound:
    """What the textbook asks of a fit."""

    def __init__(self, posterior: Posterior) -> None:
        self.design = posterior.design


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


def test_pooling_of_a_posterior_is_by_generalised_least_squares(
    nested: Posterior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dense: b̃ of each patient at the means of the draws, weights G(G + σ²(Z'R⁻¹Z)⁻¹)⁻¹ as means over draws."""
    monkeypatch.setattr(shrinkage_module, "FOR_WEIGHTS", 3)
    found, design = bmm.shrinkage(nested), nested.design
    table, block = found.table[found.table["group"] == "id"], design.blocks[0]
    codes = block.incidence.only.codes
    expected = np.zeros(block.q)
    for draw in np.linspace(0, nested.sigma.size - 1, 3).round().astype(int):
        values = values_of(nested, draw)
        R, G = dense_residual_of(nested, values), values["sd(Intercept | id)"] ** 2
        for level in range(block.q):
            own = codes == level
            information = np.linalg.inv(R[np.ix_(own, own)]).sum()
            expected[level] += G / (G + 1.0 / information) / 3.0
    np.testing.assert_allclose(table["weight"], expected, rtol=1e-10)

    public = read_residual(design, {name: _flat_draws(nested, name) for name in SITES}, _flat_draws(nested, "sigma"))
    assert public is not None
    values = values_of(nested, 0)
    log_ratio, rho = public.mean(axis=0)
    sigma = nested.sigma.mean()  # any: generalised least squares do not depend on it
    values |= {"sigma": sigma, "sigma(arm[b])": sigma * np.exp(log_ratio), "rho(step | id)": rho}
    R = dense_residual_of(nested, values)
    left = design.y - design.X[:, design.kept] @ nested.beta.mean(axis=(0, 1))
    arms = design.blocks[1]
    of_arms = nested.draws(nested.labels.blocks[1].effect_variable).mean(axis=(0, 1))[arms.incidence.only.codes, 0]
    left -= of_arms
    alone = []
    for level in range(block.q):
        W = np.linalg.inv(R[np.ix_(codes == level, codes == level)])
        alone.append((W @ left[codes == level]).sum() / W.sum())
    np.testing.assert_allclose(table["unpooled"], alone, rtol=1e-8)
    lines, b = nested.group_lines("x", group="arm"), nested.beta.mean(axis=(0, 1))
    arm = bmm.shrinkage(nested).table.query("group == 'arm'")["unpooled"].to_numpy()
    at = np.array([list(arms.levels).index(level) for level in lines["level"]])
    inside = lines["unpooled"].notna().to_numpy()  # of the x that the arm has
    assert inside.sum() > 10
    line = b[0] + b[1] * lines["x"].to_numpy() + arm[at]
    np.testing.assert_allclose(lines["unpooled"][inside], line[inside], rtol=1e-8)


SITES = ("residual_sd", "residual_cor")


def _flat_draws(posterior: Posterior, name: str) -> np.ndarray:
    values = posterior.sigma if name == "sigma" else posterior.draws(name)
    return values.reshape(-1, *values.shape[2:])


def test_quadrature_is_the_integral_over_two_parameters() -> None:
    data = DATA[["id", "step", "y"]]
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


def test_covariance_of_the_response_has_the_distribution_of_its_draws(
    nested: Posterior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covariance_module, "DRAWS", 50)
    model = Model("y ~ x + (1 | id) + (1 | arm)", DATA, residual="ar1(step | id) * het(arm)", weights="w")
    chosen = np.flatnonzero(np.isin(DATA["id"], ["g1", "g3"]))
    rows = [int(i) for i in chosen]
    cells, same = [], {name: DATA[name].to_numpy()[chosen] for name in ("id", "arm")}
    for draw in np.linspace(0, nested.sigma.size - 1, 50).round().astype(int):
        values = values_of(nested, draw)
        V = dense_residual_of(nested, values)[np.ix_(chosen, chosen)]
        for name, of in same.items():
            V = V + values[f"sd(Intercept | {name})"] ** 2 * (of[:, None] == of)
        cells.append(V)
    expected = {
        "mean": np.mean(cells, axis=0),
        "sd": np.std(cells, axis=0, ddof=1),
        "median": np.median(cells, axis=0),
        "lower": np.quantile(cells, 0.05, axis=0),
        "upper": np.quantile(cells, 0.95, axis=0),
    }
    for summary, table in expected.items():
        found = model.marginal_covariance(rows, at=nested, summary=summary, level=0.9)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.to_numpy(), table, rtol=1e-9, atol=1e-12)
    assert found.index.equals(model.marginal_covariance(rows, at=nested_fit(nested)).index)
    with pytest.raises(ArgumentError, match="summary is 'mode'"):
        model.marginal_covariance(rows, at=nested, summary="mode")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="which is of draws"):
        model.marginal_covariance(rows, at=nested_fit(nested), summary="sd")
    with pytest.raises(DesignError, match="the posterior of another model"):
        Model("y ~ x", DATA, residual="ar1(step | id)").marginal_covariance(rows, at=nested)


def test_what_rows_that_hang_together_say_of_a_level_is_counted_once() -> None:
    """Ten rows of correlation near one tell little: effects that independent rows would centre are not centred."""
    rng = np.random.default_rng(0)
    group, t = np.repeat(np.arange(60), 10), np.tile(np.arange(10), 60)
    root = np.linalg.cholesky(0.8 ** np.abs(np.subtract.outer(np.arange(10), np.arange(10))))
    y = 0.6 * rng.normal(size=60)[group] + (rng.normal(size=(60, 10)) @ root.T).ravel()
    data = pd.DataFrame({"g": group.astype(str), "t": t, "y": y})
    fit = Model("y ~ 1 + (1 | g)", data, residual="ar1(t | g)").fit()
    found = fit.estimate
    assert found.residual is not None
    warm = WarmStart(
        sigma=fit.sigma,
        factors=found.factors,
        beta=found.beta,
        beta_covariance=found.beta_covariance,
        residual=found.residual.public,
    )
    blocks, weights = whiten_blocks(warm, fit.design)
    own = spherical_covariance(blocks[0], weights, found.factors[0]).ravel()
    R = fit.parameters.loc["rho(t | g)", "estimate"] ** np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    np.testing.assert_allclose(own, 1.0 / (1.0 + found.factors[0][0, 0] ** 2 * np.linalg.inv(R).sum()), rtol=1e-9)
    [choice] = parameterise(warm, fit.design)
    assert choice.degree == 0.0
    assert f"the data remove {100 * (1 - own[0]):.0f} % of the prior variance" in choice.reason


def test_density_depends_on_neither_order_nor_names_nor_units() -> None:
    def density(data: pd.DataFrame, unit: float) -> float:
        model = Model("y ~ arm + x", data, residual="hetar1(step | id)")
        program, arguments = bind_marginal(model.problem, model.priors)
        sites = {"residual_sd": unit * np.array([1.5, 2.0, 1.2]), "sigma": unit * 1.7, "residual_correlation": [0.7]}
        return density_of(program, arguments, sites)

    unit = 12.5
    changed = DATA.assign(y=unit * DATA["y"] + 400.0, id="z" + DATA["id"]).sample(frac=1.0, random_state=1)
    expected = density(DATA, 1.0) - (len(DATA) + 4) * np.log(unit)
    assert density(changed, unit) == pytest.approx(expected, rel=1e-9)


def test_opposite_correlation_that_few_rows_speak_against_is_a_second_mode() -> None:
    """One group of fourteen has neighbours an odd number of steps apart."""
    rng, rows = np.random.default_rng(1), []
    for group in range(14):
        times = np.array([0, 2, 4 if group else 3])
        root = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(times, times)))
        rows += [(f"g{group}", *pair) for pair in zip(times, root @ rng.normal(size=3), strict=True)]
    data = pd.DataFrame(rows, columns=["g", "t", "y"])
    model = Model("y ~ 1", data, residual="ar1(t | g)")
    exact, drawn = (model.sample(method=way, seed=1, progress=False) for way in ("quadrature", "importance"))
    below = [(each.draws("residual_cor") < 0.0).mean() for each in (exact, drawn)]
    assert below[0] == pytest.approx(below[1], abs=0.03)
    assert 0.05 < below[0] < 0.15
    assert drawn.log_evidence == pytest.approx(exact.log_evidence, abs=0.03)
    even = Model("y ~ 1", data[data["g"] != "g0"], residual="ar1(t | g)").sample(method="quadrature", seed=1)
    assert (even.draws("residual_cor") > 0.0).all()  # ρ and −ρ have the same likelihood
    assert "modes" not in even.data.children


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
