"""Effects with a covariance that is known but for its scale, ``propto(... | g, V)``, through the public interface."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from numpy.testing import assert_allclose
from oracle import DenseModel, level_covariance, random_columns
from scipy.optimize import minimize_scalar

import bayesmm as bmm
from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.proportional import Proportional
from bayesmm.covariance.public import assemble_covariance, read_covariance
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import DesignError, SpecificationError

GROWTH = bmm.datasets.load("orthodont")
FORMULA = "distance ~ age * Sex + propto(0 + C(age) | Subject, V)"
AGES = [8, 10, 12, 14]
WALK = pd.DataFrame(np.minimum.outer(AGES, AGES) - 6.0, index=AGES, columns=AGES)  # of a random walk from age 6 on
SINGULAR = pd.DataFrame(np.outer(AGES, AGES) + 4.0, index=AGES, columns=AGES)  # of an intercept and a slope


def dense() -> DenseModel:
    male, age = (GROWTH["Sex"] == "Male").to_numpy(float), GROWTH["age"].to_numpy(float)
    codes, _ = pd.factorize(GROWTH["Subject"])
    Z = random_columns(codes, (age[:, None] == AGES).astype(float), 27)
    return DenseModel(y=GROWTH["distance"].to_numpy(), X=np.column_stack([np.ones(108), age, male, age * male]), Z=Z)


@pytest.mark.parametrize("matrix", [WALK, SINGULAR], ids=["walk", "singular"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_fit_is_at_the_maximum_of_the_dense_likelihood(matrix, method) -> None:
    fit = bmm.Model(FORMULA, GROWTH, relations={"V": matrix}).fit(method)
    model = dense()

    def loss(log_ratio: float) -> float:
        G = level_covariance(np.exp(2.0 * log_ratio) * matrix.to_numpy(), 27)
        return -model.profiled_log_likelihood(G, method)

    found = minimize_scalar(loss, bracket=(-3.0, 0.0), tol=1e-10)
    assert_allclose(fit.loglik, -found.fun, atol=1e-7)
    sd = fit.parameters.loc["sd(0 + C(age) | Subject)", "estimate"]
    assert_allclose(sd / fit.sigma, np.exp(found.x), rtol=1e-4)
    assert not fit.is_singular
    assert fit.n_parameters == 6


def test_order_of_rows_and_scale_of_the_matrix_do_not_matter() -> None:
    fit = bmm.Model(FORMULA, GROWTH, relations={"V": WALK}).fit()
    turned = WALK.iloc[[2, 0, 3, 1], [2, 0, 3, 1]] * 25.0
    other = bmm.Model(FORMULA, GROWTH, relations={"V": turned}).fit()
    named = WALK.set_axis([f"C(age)[{age}]" for age in AGES]).set_axis([f"C(age)[{age}]" for age in AGES], axis=1)
    same = bmm.Model(FORMULA, GROWTH, relations={"V": named}).fit()
    name = "sd(0 + C(age) | Subject)"
    assert_allclose(other.parameters.loc[name, "estimate"] * 5.0, fit.parameters.loc[name, "estimate"], rtol=1e-6)
    assert_allclose([other.loglik, same.loglik], fit.loglik, atol=1e-9)


def test_structure_of_a_matrix() -> None:
    structure = Proportional(matrix="V").given(("8", "10", "12", "14"), WALK.to_numpy())
    structure = structure.bound([f"C(age)[{age}]" for age in AGES], "")
    piece, theta, V = Piece(0, 4, structure), np.array([0.7]), WALK.to_numpy()
    L = piece_factor(np, theta, piece)
    assert_allclose(L @ L.T, 0.49 * V)
    assert_allclose(read_covariance(np, L @ L.T, (piece,))[0], [0.7])
    assert_allclose(assemble_covariance(np, np.array([0.7]), np.zeros(0), (piece,)), 0.49 * V)
    G = np.add.outer(np.arange(4.0), np.arange(4.0)) + np.eye(4)
    tangent = tangents(np, theta, ((piece,),))[0]
    assert_allclose(2.0 * tangent.along(G @ L), [2.0 * 0.7 * (G * V).sum()])
    assert_allclose(tangent.bend(G, G @ L), [[2.0 * (G * V).sum()]])
    assert_allclose(
        structure.unit_factor(np, np.zeros(0), 4) @ structure.unit_factor(np, np.zeros(0), 4).T,
        V / np.sqrt(np.outer(np.diag(V), np.diag(V))),
    )
    assert structure.rank(4) == 4
    singular = (
        Proportional(matrix="V").given(tuple(map(str, AGES)), SINGULAR.to_numpy()).bound(list(map(str, AGES)), "")
    )
    assert singular.rank(4) == 2
    L = piece_factor(np, theta, Piece(0, 4, singular))
    assert_allclose(L @ L.T, 0.49 * SINGULAR.to_numpy())
    assert_allclose(L, np.tril(L))


def test_program_and_priors_know_the_matrix() -> None:
    model = bmm.Model(FORMULA, GROWTH, relations={"V": WALK})
    points = model.check_identity().points  # the program in JAX, and the criterion in NumPy
    difference = points["log_posterior"] - points["restricted"]
    assert_allclose(difference, difference.iloc[0], atol=1e-9)
    written = model.marginal_covariance({"Subject": ["M01"]}).to_numpy()
    assert written[0, 0] == "2·σ²(0 + C(age) | Subject) + σ²"
    assert written[1, 0] == "2·σ²(0 + C(age) | Subject)"
    found = model.prior_predictive(2000, seed=1)
    effects = found["prior"]["b_Subject"].to_numpy().reshape(-1, 4)
    R = np.corrcoef((effects / np.abs(effects).max(axis=1, keepdims=True)).T)
    V = WALK.to_numpy()
    assert np.abs(R - V / np.sqrt(np.outer(np.diag(V), np.diag(V)))).max() < 0.25


def test_saved_and_on_the_command_line(tmp_path) -> None:
    fit = bmm.Model(FORMULA, GROWTH, relations={"V": WALK}).fit()
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert_allclose(again.parameters["estimate"], fit.parameters["estimate"])
    assert_allclose(again.predict(GROWTH.iloc[:3]), fit.predict(GROWTH.iloc[:3]))
    WALK.to_csv(tmp_path / "V.csv")
    GROWTH.to_csv(tmp_path / "growth.csv", index=False)
    found = run_json("fit", FORMULA, "--data", tmp_path / "growth.csv", "--relation", f"V={tmp_path / 'V.csv'}")
    assert f"{fit.loglik:.6f}"[:10] in str(found)


def test_what_is_lacking_is_said() -> None:
    with pytest.raises(DesignError, match=r"needs the matrix 'V'. None was given"):
        bmm.Model(FORMULA, GROWTH)
    with pytest.raises(DesignError, match=r"has no row for 1 effect.*'C.age.\[14\]'"):
        bmm.Model(FORMULA, GROWTH, relations={"V": WALK.iloc[:3, :3]})
    with pytest.raises(SpecificationError, match="names no matrix"):
        bmm.Model("distance ~ age + propto(0 + C(age) | Subject)", GROWTH)
    with pytest.raises(SpecificationError, match="takes the name of a matrix"):
        bmm.Model("distance ~ age + propto(0 + C(age) | Subject, 3)", GROWTH)
