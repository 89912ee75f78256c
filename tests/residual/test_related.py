"""Levels related by a known matrix beside a covariance of the residuals: repeated records of animals.

V = Z(A ⊗ Σ)Z' + R is written in full, as a textbook has it. Errors of effects and predictions, residuals and influence are
held to dense algebra where those of all other models are: `dense_errors.py` has such models among its own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from numpy.testing import assert_allclose
from oracle import Matrix, ParametricModel, random_columns
from programs import compiled
from related_models import by_descent, random_pedigree
from residual_density import at_random, evaluate, log_prior_of_sites, sites_at
from scipy.optimize import approx_fprime

import bayesmm as bmm
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.results.draws import read_draws
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.fit import Fit
from bayesmm.inference.bootstrap.resampling import parametric_rows
from bayesmm.marginal.in_jax.recovery import draw_effects, effect_moments
from bayesmm.reml.residual import ResidualCriterion
from bayesmm.reml.residual_search import refit_responses
from bayesmm.specification.priors import Flat

FAMILY = random_pedigree(2, q=40)
A = FAMILY.covariance.to_numpy()
KINDS: dict[str, Any] = {"dense": FAMILY, "sparse": by_descent(FAMILY)}
BOTH = "ar1(parity | animal) * het(sex)"
MODELS = {
    "alone": ("y ~ sex + (1 | rel(animal, A))", BOTH),
    "strata": ("y ~ sex + (1 | rel(animal, A)) + (1 | herd)", "het(sex)"),
    "slopes": ("y ~ x + (x | rel(animal, A))", "ar1(parity | animal)"),
    "repeatability": ("y ~ sex + (1 | rel(animal, A)) + (x | animal)", BOTH),
}


def records(seed: int = 5) -> pd.DataFrame:
    """Up to four parities of 32 of 40 animals, in any order of rows."""
    rng = np.random.default_rng(seed)
    b = np.linalg.cholesky(A) @ rng.normal(size=40) * 1.5
    own, parity = np.repeat(rng.permutation(40)[:32], 4), np.tile(np.arange(4), 32)
    kept = rng.random(128) < 0.9
    e = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))) @ rng.normal(size=(4, 32))
    sex = np.array(["f", "m"])[rng.integers(0, 2, 40)][own]
    columns = {"animal": np.array(FAMILY.animals)[own], "parity": parity, "sex": sex}
    frame = pd.DataFrame(columns | {"herd": rng.integers(0, 6, 128), "x": rng.normal(size=128)})
    frame["y"] = 5.0 + frame.x + b[own] + e.T.ravel() * np.where(sex == "m", 1.6, 1.0)
    frame["w"] = rng.uniform(0.5, 2.0, 128)
    return frame[kept].sample(frac=1.0, random_state=1).reset_index(drop=True)


DATA = records()


def model_of(name: str, kind: str = "dense", data: pd.DataFrame = DATA, **options: Any) -> bmm.Model:
    formula, residual = MODELS[name]
    return bmm.Model(formula, data, relations={"A": KINDS[kind]}, residual=residual, **options)


@cache
def fit_of(name: str, kind: str = "dense") -> Fit:
    return model_of(name, kind).fit()


def residual_of(values: Any, rows: pd.DataFrame, text: str) -> Matrix:
    """R of rows without prior weights, from the names in the table."""
    R = np.eye(len(rows))
    if text.startswith("ar1"):
        animal, parity = rows.animal.to_numpy(), rows.parity.to_numpy()
        lags = np.abs(np.subtract.outer(parity, parity))
        R = np.where(animal[:, None] == animal, values["rho(parity | animal)"] ** lags, 0.0)
    sd = np.full(len(rows), values["sigma"])
    if "het(sex)" in text:
        sd = np.where(rows.sex == "m", values["sigma(sex[m])"], sd)
    return R * np.outer(sd, sd)


def random_part(model: bmm.Model, values: Any) -> tuple[Matrix, Matrix]:
    """Z and G of the textbook, of the values in the table; priors of a density are of effects at the means."""
    Z, G = [], []
    for block, labels, T in zip(model.design.blocks, model.labels.blocks, model.priors.effect_contrasts, strict=True):
        D, rho = np.diag([values[name] for name in labels.sd_rows]), [values[name] for name in labels.cor_rows]
        S = D @ (np.array([[1.0, rho[0]], [rho[0], 1.0]]) if rho else np.eye(len(D))) @ D
        S = np.linalg.solve(T, np.linalg.solve(T, S).T) if values.get("at means") else S
        Z.append(random_columns(block.incidence.only.codes, block.columns, block.q))
        G.append(np.kron(np.eye(block.q) if block.relation is None else A, S))
    sizes = np.cumsum([0, *map(len, G)])
    whole = np.zeros((sizes[-1], sizes[-1]))
    for own, at in zip(G, sizes, strict=False):
        whole[at : at + len(own), at : at + len(own)] = own
    return np.hstack(Z), whole


def covariance_of(model: bmm.Model, values: Any) -> Matrix:
    Z, G = random_part(model, values)
    root = np.sqrt(model.design.weights)
    return Z @ G @ Z.T + residual_of(values, DATA, model.design.residual.specification.text) / np.outer(root, root)


# --- fits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_likelihood_and_its_slopes_are_those_of_dense_matrices(name: str, kind: str, method: Any) -> None:
    """From sums by level, and from whitened rows; somewhere beside the estimates."""
    model = model_of(name, kind, weights="w")
    fit = model.fit(method)
    dense = ParametricModel(
        y=model.design.y, X=model.design.X, V=lambda _: covariance_of(model, fit.parameters["estimate"]), method=method
    )
    assert -2.0 * fit.loglik == pytest.approx(dense.deviance(np.zeros(0)), rel=1e-11)
    problem = model.problem
    criterion = ResidualCriterion(rows=problem.residual_rows, plan=problem.plan, layout=problem.layout, method=method)
    psi = np.concatenate([fit.theta, fit.estimate.residual.phi]) + 0.15
    one, two = criterion.evaluate_pieces(psi), criterion.evaluate(psi)
    assert criterion.weighted is not None
    assert one.value == pytest.approx(two.value, rel=1e-12)
    assert_allclose(one.gradient, two.gradient, rtol=1e-8, atol=1e-8)
    slope = approx_fprime(psi, lambda at: criterion.evaluate_pieces(at).value, 1e-6)
    assert_allclose(one.gradient, slope, rtol=1e-3, atol=1e-3)


def of_variances(name: str) -> tuple[ParametricModel, Matrix, Fit]:
    """The oracle in variances and the correlation, at the estimates."""
    model, fit = model_of(name), fit_of(name)
    names = [row for row in fit.parameters.index if row.startswith(("sd", "sigma", "rho"))]
    estimates = fit.parameters.loc[names, "estimate"].to_numpy()
    squared = np.array([not row.startswith("rho") for row in names])

    def covariance(psi: Matrix) -> Matrix:
        return covariance_of(model, dict(zip(names, np.where(squared, np.sqrt(np.abs(psi)), psi), strict=True)))

    psi = np.where(squared, estimates**2, estimates)
    return ParametricModel(y=model.design.y, X=model.design.X, V=covariance), psi, fit


@pytest.mark.parametrize("name", ["alone", "strata"])
def test_estimates_and_degrees_of_freedom_are_those_of_dense_matrices(name: str) -> None:
    dense, psi, fit = of_variances(name)
    here = dense.at(psi)
    assert_allclose(here.gradient, 0.0, atol=1e-3)
    assert np.linalg.eigvalsh(here.information("observed"))[0] > 0.0
    table = fit.coefficients(df="normal")
    assert_allclose(table["estimate"], here.beta, rtol=1e-8)
    assert_allclose(table["std_error"], np.sqrt(np.diag(here.covariance)), rtol=1e-8)
    sds = fit.parameters.loc["sd(Intercept | rel(animal))"]
    at = list(fit.parameters.index).index("sd(Intercept | rel(animal))") - 2  # after the fixed effects
    variance = here.parameter_covariance("observed")[at, at]
    assert sds["std_error"] == pytest.approx(np.sqrt(variance) / (2.0 * sds["estimate"]), rel=1e-4)
    for kind in ("dense", "sparse"):
        for information in ("observed", "expected"):
            own = fit_of(name, kind)
            found = own.coefficients(df="satterthwaite", information=information)["df"]
            assert_allclose(found, [here.satterthwaite(row, information) for row in np.eye(2)], rtol=2e-4)
            kenward = own.coefficients(df="kenward-roger", information=information)
            adjusted = here.kenward_roger_covariance(information)
            assert_allclose(kenward["std_error"], np.sqrt(np.diag(adjusted)), rtol=2e-4)
            expected = [here.kenward_roger(row, information).denominator for row in np.eye(2)]
            assert_allclose(kenward["df"], expected, rtol=2e-4)


def test_ends_of_a_profile_are_those_of_dense_matrices() -> None:
    """Of σ_a: where it is held, the gradient in all other parameters vanishes, and −2 log likelihood is 3.84 higher."""
    dense, psi, fit = of_variances("strata")
    name = "sd(Intercept | rel(animal))"
    found = fit.profile([name], progress=False)
    upper = found.intervals().loc[name, "upper"]
    at = list(fit.parameters.index).index(name) - 2
    others = np.flatnonzero(np.arange(len(psi)) != at)

    def held(rest: Matrix) -> Matrix:
        return dense.V(np.insert(rest, at, upper**2))

    best = ParametricModel(y=dense.y, X=dense.X, V=held).maximise(psi[others])
    deviance = dense.deviance(np.insert(best, at, upper**2))
    assert deviance - dense.deviance(psi) == pytest.approx(3.841459, abs=2e-3)


# lme(y ~ sex, random = list(one = pdIdent(~ Z - 1)), correlation = corAR1(form = ~ parity | one/animal),
#     weights = varIdent(form = ~ 1 | sex), method = "REML") of nlme 3.1, with Z the animals' columns times a Cholesky
#     factor of A; σ is that of males there.
NLME = {
    "reml": (-229.059858592, [4.25305015, 0.35154342], 1.097430, 1.951421, 0.7820311, 0.3765293),
    "ml": (-229.36542086, [4.22751549, 0.36306477], 0.9885875, 1.9550560, 0.7851892, 0.3817826),
}


@pytest.mark.parametrize("method", NLME)
def test_estimates_are_those_of_nlme_with_a_root_of_the_matrix(method: Any) -> None:
    fit, (loglik, beta, sd, males, ratio, rho) = model_of("alone").fit(method), NLME[method]
    estimates = fit.parameters["estimate"]
    assert loglik - 1e-8 <= fit.loglik < loglik + 1e-4  # nlme ends a little below
    assert_allclose(fit.estimate.beta, beta, rtol=2e-3)
    assert estimates["sd(Intercept | rel(animal))"] == pytest.approx(sd, rel=2e-3)
    assert estimates["sigma(sex[m])"] == pytest.approx(males, rel=2e-3)
    assert estimates["sigma"] / estimates["sigma(sex[m])"] == pytest.approx(ratio, rel=2e-3)
    assert estimates["rho(parity | animal)"] == pytest.approx(rho, rel=5e-3)


def test_nothing_depends_on_order_units_or_the_way_that_the_matrix_is_given() -> None:
    one, moved = fit_of("alone"), DATA.sample(frac=1.0, random_state=4).assign(y=lambda rows: 1e3 * rows.y + 1e5)
    for kind in KINDS:
        other = model_of("alone", kind, moved).fit()
        assert other.loglik + (one.n - 2) * np.log(1e3) == pytest.approx(one.loglik, abs=1e-6)
        effects = [fit.random_effects(uncertainty="full").set_index("level") for fit in (one, other)]
        scaled = effects[1].loc[effects[0].index, ["estimate", "std_error"]] / 1e3
        assert_allclose(scaled, effects[0][["estimate", "std_error"]], rtol=1e-4, atol=1e-5)


def test_the_identity_is_independent_levels() -> None:
    levels = sorted(DATA.animal.unique())
    related = bmm.Model(
        "y ~ sex + (1 | rel(animal, I))",
        DATA,
        relations={"I": pd.DataFrame(np.eye(len(levels)), levels, levels)},
        residual=BOTH,
    )
    plain = bmm.Model("y ~ sex + (1 | animal)", DATA, residual=BOTH).fit()
    assert related.fit().loglik == pytest.approx(plain.loglik, abs=1e-8)
    assert_allclose(related.fit().estimate.beta, plain.estimate.beta, rtol=1e-6)


# --- what follows from a fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_universal_kriging(kind: str) -> None:
    """Of rows of animals with records, at another parity, and of animals without any."""
    unseen = next(name for name in FAMILY.animals if name not in set(DATA.animal))
    new = DATA.drop_duplicates("animal").head(3).assign(parity=5)
    new = pd.concat([new, new.head(1).assign(animal=unseen)], ignore_index=True)
    fit, both = fit_of("alone", kind), pd.concat([DATA, new], ignore_index=True)
    values, n = fit.parameters["estimate"], len(DATA)
    codes = [FAMILY.animals.index(name) for name in both.animal]
    V = values["sd(Intercept | rel(animal))"] ** 2 * A[np.ix_(codes, codes)] + residual_of(values, both, BOTH)
    X, y = np.column_stack([np.ones(len(both)), both.sex == "m"]), DATA.y.to_numpy()
    Vi, c = np.linalg.inv(V[:n, :n]), V[:n, n:]
    cov = np.linalg.inv(X[:n].T @ Vi @ X[:n])
    left = X[n:] - c.T @ Vi @ X[:n]
    mean = X[n:] @ cov @ X[:n].T @ Vi @ y + c.T @ Vi @ (y - X[:n] @ cov @ X[:n].T @ Vi @ y)
    variance = np.diag(V[n:, n:] - c.T @ Vi @ c + left @ cov @ left.T)
    asked: dict[str, Any] = {"interval": "prediction", "uncertainty": "fixed", "residuals": "conditional"}
    found = fit.predict(new, **asked)
    assert_allclose(found["estimate"], mean, rtol=1e-8)
    assert_allclose(found["std_error"] ** 2, variance, rtol=1e-7)


def is_covariance(found: Matrix, V: Matrix, draws: int, *, within: float = 0.05) -> bool:
    """Whether deviations of a covariance of simulations are as large as chance makes them."""
    error = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / draws)
    return abs(((found - V) / error).std() - 1.0) < within


def test_simulated_responses_and_those_of_a_bootstrap_have_both_covariances() -> None:
    fit = fit_of("alone", "sparse")
    V = covariance_of(model_of("alone"), fit.parameters["estimate"])
    assert is_covariance(np.cov(fit.simulate(4000, seed=3).to_numpy()), V, 4000)
    streams = [np.random.default_rng(i) for i in range(4000)]
    assert is_covariance(np.cov(parametric_rows(fit)(streams)), V, 4000)


def test_a_bootstrap_refits_as_a_fit_does() -> None:
    fit = fit_of("alone", "sparse")
    rows = parametric_rows(fit)([np.random.default_rng(i) for i in range(2)])
    refits = refit_responses(fit.problem, fit.estimate.residual.criterion, rows, fit.estimate.coordinates[:-1])
    for y, found in zip(rows.T, refits, strict=True):
        again = model_of("alone", data=DATA.assign(y=y)).fit()
        assert_allclose(found.public_values(found.coordinates), again.parameters["estimate"][2:], rtol=1e-3, atol=1e-4)
    draws = fit.bootstrap(60, kind="residual", seed=3, progress=False).draws[["sex[T.m]", "sigma(sex[m])"]]
    off = draws.mean() - fit.parameters["estimate"][draws.columns]
    assert (off.abs() < 4.0 * draws.std() / np.sqrt(60)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_fit_and_its_page_know_both(kind: str, tmp_path: Path) -> None:
    fit = fit_of("alone", kind)
    again = bmm.load(fit.save(tmp_path / "fit.nc"))
    assert isinstance(again, Fit)
    assert str(again) == str(fit)
    assert_allclose(again.random_effects()["estimate"], fit.random_effects()["estimate"])
    text = " ".join(str(model_of("alone", kind)).split())
    assert "N(0, sd(Intercept | rel(animal))²·A), 40 levels" in text
    assert "weighs the sums" in " ".join(str(model_of("alone", kind).plan).split())
    assert max(map(len, str(fit).splitlines())) <= 80


# --- posterior -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=pytest.mark.slow) for n in ("alone", "slopes")), "repeatability"]
)
def test_density_and_its_slope_are_those_of_the_dense_gaussian(name: str, kind: str) -> None:
    model = model_of(name, kind, weights="w", priors={"fixed": Flat()})
    program, data = bind_marginal(model.problem, model.priors)
    rng = np.random.default_rng(2)
    values = at_random(model, rng)
    sites = sites_at(model, program, data, values)
    value, slopes = evaluate(program, data, sites)
    V = covariance_of(model, values | {"at means": 1.0})
    deviance = ParametricModel(y=model.design.y, X=model.design.X, V=lambda _: V).deviance(np.zeros(0))
    assert value == pytest.approx(-0.5 * deviance + log_prior_of_sites(program, data, sites), rel=1e-9)
    along = {site: rng.normal(size=np.shape(each)) for site, each in sites.items() if "cholesky" not in site}
    ends = [
        evaluate(program, data, sites | {site: sites[site] + sign * 1e-5 * step for site, step in along.items()})[0]
        for sign in (1.0, -1.0)
    ]
    slope = sum(float((slopes[site] * step).sum()) for site, step in along.items())
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-5)


def test_effects_of_a_draw_are_those_of_dense_matrices() -> None:
    model = model_of("strata", "sparse", priors={"fixed": Flat()})
    program, data = bind_marginal(model.problem, model.priors)
    values = at_random(model, np.random.default_rng(3))
    Z, G = random_part(model, values)
    R, X, y = residual_of(values, DATA, "het(sex)"), model.design.X, model.design.y
    T = np.hstack([X, Z])
    information = T.T @ np.linalg.solve(R, T)
    information[2:, 2:] += np.linalg.inv(G)
    covariance = np.linalg.inv(information)
    mean = covariance @ T.T @ np.linalg.solve(R, y)
    sds = [values["sd(Intercept | rel(animal))"], values["sd(Intercept | herd)"]]
    sigma = values["sigma"]
    factors = [np.array([[sd / sigma]]) for sd in sds]

    def recovered(data: Any, public: Any) -> Any:
        asked = data.at(program.correlation, public), factors, sigma, data.prior
        return draw_effects(*asked, None), effect_moments(*asked)

    middle, moments = compiled(recovered, data, np.log([values["sigma(sex[m])"] / sigma]))
    for found in (middle.b, moments.b_mean):
        b = np.concatenate([np.asarray(each)[:q, 0] for each, q in zip(found, (40, 6), strict=True)])
        assert_allclose(b, mean[2:], rtol=1e-7, atol=1e-9)
    b = np.concatenate([np.asarray(each)[:q, 0] for each, q in zip(moments.b_variance, (40, 6), strict=True)])
    assert_allclose(b, np.diag(covariance)[2:], rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "of"),
    [("alone", "row"), pytest.param("alone", "animal", marks=pytest.mark.slow), ("strata", "rel(animal)")],
)
def test_rows_and_groups_given_the_others_are_those_of_dense_matrices(name: str, of: str) -> None:
    """Rows, groups of the residuals, and levels that cross others: y_g | y_-g by the inverse of V with the priors in it."""
    model = model_of(name, "sparse")
    posterior = make_posterior(model)
    found = posterior.log_likelihood(of, draws=8, progress=False)["log_likelihood"]["y"].to_numpy().reshape(8, -1)
    draws, design = read_draws(posterior, 8), model.design
    X, rows = design.X, model.priors.of_kind("fixed")
    T = np.linalg.inv(model.priors.contrast)
    prior = T @ np.diag([row.prior.numbers["sd"] ** 2 for row in rows]) @ T.T
    e = design.y - X @ T @ [row.prior.numbers["mean"] for row in rows]
    codes = design.blocks[0].incidence.only.codes
    groups = [[i] for i in range(design.n)] if of == "row" else [np.flatnonzero(codes == g) for g in np.unique(codes)]
    if of == "animal":  # in the order of the residuals' groups
        groups = [np.flatnonzero(DATA.animal == label) for label in design.residual.levels]
    names = [*model.labels.residual_sds, *model.labels.residual_cors]
    d = 3
    public = draws.residual[d]
    values = {"sigma": draws.sigma[d]} | dict(zip(names, public, strict=True))
    values["sigma(sex[m])"] = draws.sigma[d] * np.exp(values["sigma(sex[m])"])
    V = X @ prior @ X.T + residual_of(values, DATA, design.residual.specification.text)
    for block, S in zip(design.blocks, draws.covariances, strict=True):
        Z = random_columns(block.incidence.only.codes, block.columns, block.q)
        V += Z @ np.kron(np.eye(block.q) if block.relation is None else A, S[d]) @ Z.T
    Q = np.linalg.inv(V)
    for g, own in enumerate(groups):
        precision = Q[np.ix_(own, own)]
        r = np.linalg.solve(precision, (Q @ e)[own])
        expected = 0.5 * (np.linalg.slogdet(precision)[1] - len(own) * np.log(2.0 * np.pi) - r @ precision @ r)
        assert found[d, g] == pytest.approx(expected, rel=1e-8, abs=1e-8)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_too_many_levels_of_a_posterior_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.problem.MOST_LEVELS", 30)
    model = model_of("alone", "sparse")
    assert np.isfinite(model.fit().loglik)
    with pytest.raises(ArgumentError, match=r"40 levels, related by the matrix 'A'.*residual="):
        bind_marginal(model.problem, model.priors)


def test_residual_groups_that_cross_related_levels_are_refused() -> None:
    with pytest.raises(DesignError, match="cross the correlations"):
        bmm.Model(
            "y ~ sex + (1 | rel(animal, A))",
            DATA.assign(day=np.arange(len(DATA))),
            relations={"A": FAMILY},
            residual="homcs(day | herd)",
        )
