"""The marginal program against the dense Gaussian of the textbook, for every covariance of the residuals."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from numpyro import handlers
from oracle import level_covariance, random_columns
from programs import compiled
from residual_density import at_random, evaluate, log_prior_of_sites, sites_at
from residual_textbook import DATA, RANDOM, dense_loglik, dense_residual
from scipy.stats import beta, multivariate_normal

from bayesmm import Model
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.covariance.residual import (
    Antedependence,
    Correlation,
    Decay,
    Exchangeable,
    Free,
    Serial,
    Toeplitz,
)
from bayesmm.specification.priors import Flat

LEVELS = ("a", "b", "c", "d")
RELATIVE = 1e-9  # of log densities of some hundreds
SLOPE, STEP = 1e-5, 1e-5  # of a central difference beside a closed form
type Matrix = np.ndarray

CASES = [
    ("us(visit | id)", ""),
    ("us(visit | id) * het(arm)", RANDOM[2]),
    ("homtoep(visit | id)", ""),
    ("hetar1(step | id)", RANDOM[1]),
    ("us(visit | id, by=arm)", ""),
    ("homcs(visit | id) * power(time)", ""),
    ("car1(time | id) * exponential(x)", RANDOM[1]),
    ("exp(time | id, by=arm, nugget=True)", RANDOM[1]),
    ("het(arm)", " + (1 | id) + (1 | visit)"),
]


def dense_log_likelihood(model: Model, values: dict[str, float]) -> float:
    design = model.design
    V = dense_residual(model, values, DATA, DATA["w"].to_numpy())
    for block, labels in zip(design.blocks, model.labels.blocks, strict=True):
        D = np.diag([values[name] for name in labels.sd_rows])
        rho = [values[name] for name in labels.cor_rows]
        G = D @ (np.array([[1.0, rho[0]], [rho[0], 1.0]]) if rho else np.eye(len(D))) @ D
        Z = random_columns(block.incidence.only.codes, block.columns, block.q)
        V = V + Z @ level_covariance(G, block.q) @ Z.T
    return dense_loglik(V, design.X[:, design.kept], design.y, "reml")


@pytest.mark.parametrize(("text", "random"), CASES)
def test_density_and_its_slope_are_those_of_the_dense_gaussian(text: str, random: str) -> None:
    model = Model("y ~ arm * visit + x" + random, DATA, residual=text, weights="w", priors={"fixed": Flat()})
    program, data = bind_marginal(model.problem, model.priors)
    rng = np.random.default_rng(2)
    values = at_random(model, rng)
    sites = sites_at(model, program, data, values)
    value, slopes = evaluate(program, data, sites)
    expected = dense_log_likelihood(model, values) + log_prior_of_sites(program, data, sites)
    assert value == pytest.approx(expected, rel=RELATIVE)

    along = {name: rng.normal(size=np.shape(each)) for name, each in sites.items() if "cholesky" not in name}
    ends = [
        evaluate(program, data, sites | {name: sites[name] + sign * STEP * step for name, step in along.items()})[0]
        for sign in (1.0, -1.0)
    ]
    slope = sum(float((slopes[name] * step).sum()) for name, step in along.items())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2.0 * STEP), rel=SLOPE, abs=SLOPE)


@pytest.mark.filterwarnings("ignore:The optimiser did not reach")  # homcs beside (1 | id): densities do not mind
@pytest.mark.parametrize("text", ["homcs(visit | id) * power(time)"])
def test_conditional_program_has_the_dense_density_given_the_effects(text: str) -> None:
    model = Model("y ~ arm + x + (1 | id)", DATA, residual=text, weights="w")
    program, data = model.program("conditional")

    def at_a_draw(data: Any) -> Any:
        trace = handlers.trace(handlers.seed(program, 3)).get_trace(data)
        y, value = trace["y"], {name: site["value"] for name, site in trace.items()}
        return value, y["fn"].log_prob(y["value"]), y["fn"].sample(jax.random.key(1), (3,))

    value, found, drawn = compiled(at_a_draw, data)
    residual, block = model.design.residual, model.design.blocks[0]
    assert residual is not None
    values = dict(zip(residual.cor_names, value["residual_cor"], strict=True)) | {"sigma": float(value["sigma"])}
    values |= dict(zip(residual.sd_names, value["residual_sd"], strict=True))
    mean = model.design.X[:, model.design.kept] @ value["beta"] + value["b_id"][block.incidence.only.codes, 0]
    R = dense_residual(model, values, DATA, DATA["w"].to_numpy())
    assert found == pytest.approx(multivariate_normal(mean, R).logpdf(model.design.y), rel=RELATIVE)
    assert drawn.shape == (3, len(DATA))
    assert "jointly" in str(program)


STRUCTURES = [
    Exchangeable("t", 5),
    Serial("t"),
    Decay("t", 2.5, 1.0),
    Toeplitz(LEVELS),
    Antedependence(LEVELS),
    Free(LEVELS),
]


@pytest.mark.parametrize("structure", STRUCTURES[:-1], ids=lambda each: type(each).__name__)  # NumPyro has LKJ's own
@pytest.mark.parametrize("concentration", [1.0, 2.5])
def test_prior_of_shares_is_a_power_of_the_determinant(structure: Correlation, concentration: float) -> None:
    """Change of variables from shares to correlations, with its Jacobian by differences."""
    if not structure.has_lkj:
        concentration = 1.0
    rng = np.random.default_rng(0)
    left = []
    for _ in range(3):
        shares = rng.uniform(0.2, 0.8, len(structure.names))
        rho = structure.from_shares(np, shares)
        np.testing.assert_allclose(structure.shares(rho), shares, rtol=1e-10)
        steps = 1e-6 * np.eye(len(shares))
        J = np.stack(
            [(structure.from_shares(np, shares + e) - structure.from_shares(np, shares - e)) / 2e-6 for e in steps]
        )
        a, b = structure.lkj_shapes(concentration)
        own = beta(a, b).logpdf(shares).sum() - np.linalg.slogdet(J)[1]
        if isinstance(structure, Decay):  # uniform over a gap of 2.5
            left.append(own - np.log(2.5) - 1.5 * np.log(rho[0]))
        else:
            left.append(own - (concentration - 1.0) * np.linalg.slogdet(structure.whole(np, rho))[1])
    np.testing.assert_allclose(left, left[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda each: type(each).__name__)
def test_marginal_densities_of_correlations_integrate_to_one(structure: Correlation) -> None:
    low, high = structure.limits
    x = low + (high - low) * (np.arange(4000) + 0.5) / 4000
    for j in range(len(structure.names)):
        assert structure.cor_density(x, j, 1.0).mean() * (high - low) == pytest.approx(1.0, abs=0.01)
