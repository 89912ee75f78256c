"""Against the textbook: V in full, its derivatives by differences, and the formulas of Kenward & Roger as printed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from oracle import level_covariance, random_columns
from residual_textbook import (
    DATA,
    RANDOM,
    TEXTBOOK,
    VISITS,
    Matrix,
    along,
    criterion_of,
    dense_loglik,
    dense_residual,
    make_data,
)

from bayesmm import Model
from bayesmm.reml.residual import ResidualCriterion

CASES = [
    (text, random, method)
    for i, text in enumerate(TEXTBOOK)
    for random, method in (("", "reml"), (RANDOM[1 + i % 2], ("ml", "reml")[i % 3 == 0]))
]


@pytest.mark.parametrize(
    ("text", "random", "method"), [*CASES, ("us(visit | id)", "", "ml"), ("het(arm:visit)", "", "ml")]
)
def test_criterion_and_its_slopes_are_those_of_the_dense_gaussian(text: str, random: str, method: str) -> None:
    model = Model("y ~ arm * visit + x" + random, DATA, residual=text, weights="w")
    criterion = criterion_of(model, method)
    rng = np.random.default_rng(1)
    t = sum(piece.n_theta for pieces in criterion.layout for piece in pieces)
    psi = np.concatenate([1.0 + 0.3 * rng.random(t), rng.uniform(-0.4, 0.4, criterion.rows.layout.n_phi)])
    at = criterion.evaluate(psi)

    values = public(criterion, psi, at)
    R = dense_residual(model, dict(zip(names(model), values, strict=True)), DATA, DATA["w"].to_numpy())
    V = R + dense_effects(model, criterion, psi, values[-1])
    X = model.design.X[:, model.design.kept]
    assert -2 * dense_loglik(V, X, model.design.y, method) == pytest.approx(at.value, rel=1e-10)

    step = 1e-5
    slopes = [
        (criterion.evaluate(psi + e).value - criterion.evaluate(psi - e).value) / 2 / step for e in unit(psi, step)
    ]
    assert at.gradient == pytest.approx(np.array(slopes), rel=1e-5, abs=1e-5)
    radii = [
        (residual_square(criterion, psi + e) - residual_square(criterion, psi - e)) / 2 / step for e in unit(psi, step)
    ]
    assert at.residual_square_gradient == pytest.approx(np.array(radii), rel=1e-5, abs=1e-4)


def unit(psi: Matrix, step: float) -> Matrix:
    return step * np.eye(len(psi))


def residual_square(criterion: ResidualCriterion, psi: Matrix) -> float:
    return float(criterion.evaluate(psi).fixed.residual_square)


def names(model: Model) -> list[str]:
    labels = model.labels
    return [*labels.residual_sds, *labels.residual_cors, "sigma"]


def public(criterion: ResidualCriterion, psi: Matrix, at: object) -> Matrix:
    layout, phi = criterion.rows.layout, criterion.split(psi)[1]
    df = criterion.rows.n - criterion.restriction * criterion.rows.p
    sigma = np.sqrt(at.fixed.residual_square / df)  # type: ignore[attr-defined]
    values = layout.public(np, phi)
    s = values[: layout.n_spreads]
    return np.concatenate([np.where(layout.are_sds, sigma * np.exp(s), s), values[layout.n_spreads :], [sigma]])


def dense_effects(model: Model, criterion: ResidualCriterion, psi: Matrix, sigma: float) -> Matrix:
    from bayesmm.covariance.layout import assemble_factors, raw_factor

    total = np.zeros((len(DATA), len(DATA)))
    conditioned = assemble_factors(np, criterion.split(psi)[0], criterion.layout)
    for block, L, T in zip(model.design.blocks, conditioned, criterion.rows.effect_roots, strict=True):
        Z = random_columns(block.incidence.only.codes, block.columns, block.q)
        factor = sigma * raw_factor(L, T)
        total += Z @ level_covariance(factor @ factor.T, block.q) @ Z.T
    return total


KENWARD_ROGER = [  # whether V is linear in variances and covariances: then it has no second derivatives in them
    ("y ~ arm * visit", "us(visit | id)", True),
    ("y ~ arm + visit", "cs(visit | id)", False),
    ("y ~ arm + visit", "homcs(visit | id)", True),
    ("y ~ arm + step", "ar1(step | id)", False),
    ("y ~ arm + step", "homtoep(visit | id)", True),
    ("y ~ arm + step", "ar1(step | id) * het(arm)", False),
    ("y ~ arm + step + (1 | id)", "ar1(step | id)", False),
    ("y ~ arm + visit + (1 | id)", "het(arm)", True),
]


@pytest.mark.parametrize(("formula", "text", "is_linear"), KENWARD_ROGER)
def test_kenward_roger_and_satterthwaite_are_those_of_the_papers(formula: str, text: str, is_linear: bool) -> None:
    data = make_data(seed=11, groups=30)
    model = Model(formula, data, residual=text)
    fit = model.fit()
    X, estimates = model.design.X[:, model.design.kept], fit.parameters["estimate"]
    blocks = [
        (block, random_columns(block.incidence.only.codes, block.columns, block.q)) for block in model.design.blocks
    ]
    sd_rows = [name for block in fit.labels.blocks for name in block.sd_rows]
    spreads = [*sd_rows, *(n for n in fit.labels.residual_sds), "sigma"]
    etas = [*spreads, *fit.labels.residual_cors]
    eta = np.array([estimates[name] ** 2 if name in spreads else estimates[name] for name in etas])

    def V(eta: Matrix) -> Matrix:  # noqa: N802
        values = {name: np.sqrt(e) if name in spreads else e for name, e in zip(etas, eta, strict=True)}
        total = dense_residual(model, values, data, np.ones(len(data)))
        for (_, Z), name in zip(blocks, sd_rows, strict=True):
            total = total + values[name] ** 2 * Z @ Z.T
        return total

    Vi, first, second = derivatives(V, eta, is_linear=is_linear)
    Phi = np.linalg.inv(X.T @ Vi @ X)
    Pm = Vi - Vi @ X @ Phi @ X.T @ Vi
    t = len(eta)
    information = 0.5 * np.array([[np.trace(Pm @ first[i] @ Pm @ first[j]) for j in range(t)] for i in range(t)])
    W = np.linalg.inv(information)
    P = [-X.T @ Vi @ D @ Vi @ X for D in first]
    inner = np.zeros_like(Phi)
    for i in range(t):
        for j in range(t):
            Q = X.T @ Vi @ first[i] @ Vi @ first[j] @ Vi @ X
            R = 0.0 if is_linear else X.T @ Vi @ second[i][j] @ Vi @ X
            inner += W[i, j] * (Q - P[i] @ Phi @ P[j] - 0.25 * R)
    adjusted = Phi + 2 * Phi @ inner @ Phi

    table = fit.coefficients(df="kenward-roger")
    assert table["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(adjusted)), rel=2e-5)
    slopes = np.array([[-(Phi @ P[i] @ Phi)[c, c] for i in range(t)] for c in range(len(Phi))])
    df = 2 * np.diag(Phi) ** 2 / np.einsum("ci,ij,cj->c", slopes, W, slopes)
    assert table["df"].to_numpy() == pytest.approx(df, rel=2e-5)
    expected = fit.coefficients(df="satterthwaite", information="expected")
    assert expected["df"].to_numpy() == pytest.approx(df, rel=2e-5)
    assert expected["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(Phi)), rel=1e-7)


def derivatives(
    V: Callable[[Matrix], Matrix], eta: Matrix, *, is_linear: bool
) -> tuple[Matrix, list[Matrix], list[list[Matrix]]]:
    """V⁻¹, and first and second derivatives of V by differences."""
    t, size = len(eta), np.maximum(np.abs(eta), 0.1)
    e = 1e-4 * np.diag(size)
    first = [(8 * (V(eta + d) - V(eta - d)) - (V(eta + 2 * d) - V(eta - 2 * d))) / (12 * d.sum()) for d in e]
    if is_linear:
        return np.linalg.inv(V(eta)), first, []
    h = 10 * e
    second = [
        [
            (V(eta + h[i] + h[j]) - V(eta + h[i] - h[j]) - V(eta - h[i] + h[j]) + V(eta - h[i] - h[j]))
            / (4 * h[i].sum() * h[j].sum())
            for j in range(t)
        ]
        for i in range(t)
    ]
    return np.linalg.inv(V(eta)), first, second


def test_standard_errors_are_those_of_the_likelihood_in_the_parameters_of_the_table() -> None:
    model = Model("y ~ arm * visit", DATA, residual="homcs(visit | id) * het(arm)")
    fit = model.fit("ml")
    X, names_ = model.design.X[:, model.design.kept], names(model)
    at = fit.parameters.loc[names_, "estimate"].to_numpy()

    def loglik(values: Matrix) -> float:
        R = dense_residual(model, dict(zip(names_, values, strict=True)), DATA, np.ones(len(DATA)))
        return dense_loglik(R, X, model.design.y, "ml")

    assert loglik(at) == pytest.approx(fit.loglik, rel=1e-10)
    t, e = len(at), 1e-4 * np.diag(np.maximum(np.abs(at), 0.3))
    hessian = np.empty((t, t))
    for i in range(t):
        for j in range(t):
            signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
            hessian[i, j] = sum(s * loglik(at + a * e[i] + b * e[j]) for a, b, s in signs) / (4 * e[i, i] * e[j, j])
    errors = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    assert fit.parameters.loc[names_, "std_error"].to_numpy() == pytest.approx(errors, rel=1e-3)


def test_neighbours_of_antedependence_are_independent_given_what_is_between() -> None:
    model = Model("y ~ visit", DATA, residual="homad(visit | id)")
    rho = np.array([model.fit().parameters.loc[name, "estimate"] for name in model.labels.residual_cors])
    inverse = np.linalg.inv(along(rho))
    assert all(abs(inverse[i, j]) < 1e-12 for i in range(VISITS) for j in range(i - 1))
    assert len(list(pairwise(range(VISITS)))) == len(rho)
