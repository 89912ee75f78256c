"""Log densities of programs with a covariance of the residuals, at values of their parameters by name."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpyro import handlers
from numpyro.infer.util import log_density
from programs import compile_whole

from bayesmm import Model
from bayesmm.bayes.residual_draws import read_residual

type Matrix = np.ndarray


def at_random(model: Model, rng: np.random.Generator) -> dict[str, float]:
    """Values of all covariance parameters by name."""
    residual = model.design.residual
    assert residual is not None
    values = {name: rng.uniform(1.0, 2.5) for block in model.labels.blocks for name in block.sd_rows}
    values |= {name: rng.uniform(-0.4, 0.4) for block in model.labels.blocks for name in block.cor_rows}
    for name, is_sd in zip(residual.sd_names, residual.are_sds, strict=True):
        values[name] = rng.uniform(1.0, 2.5) if is_sd else rng.uniform(-0.3, 0.3)
    if residual.correlation is not None:
        z = rng.uniform(-0.4, 0.4, len(residual.cor_names))
        values |= dict(zip(residual.cor_names, residual.correlation.public(np, z), strict=True))
    return values | {"sigma": 1.7}


def sites_at(model: Model, program: Any, data: Any, values: dict[str, float]) -> dict[str, Matrix]:
    """Sites of the program at these values."""
    sites: dict[str, Matrix] = {}
    numbers = zip(program.covariances.blocks, data.covariances.sds, model.labels.blocks, strict=True)
    for block, of_sds, labels in numbers:
        sites |= block.sd.start(np.array([values[name] for name in labels.sd_rows]), of_sds, values["sigma"])
        for matrix in block.matrices:
            rho = values[labels.cor_rows[0]]
            sites[matrix.sites[0].name] = np.linalg.cholesky(np.array([[1.0, rho], [rho, 1.0]]))
    residual = model.design.residual
    assert residual is not None
    drawn = {
        "residual_sd": np.array([[values[name] for name in residual.sd_names]]),
        "residual_cor": np.array([[values[name] for name in residual.cor_names]]),
    }
    public = read_residual(model.design, drawn, np.array([values["sigma"]]))
    assert public is not None
    widths = np.ones(public.shape[1])
    sigma, own, _ = program.covariances.residual.start(public[0], values["sigma"], data.covariances.residual, widths)
    return sites | own | program.covariances.sigma.start(sigma, data.covariances.sigma)


def evaluate(program: Any, data: Any, sites: dict[str, Matrix]) -> tuple[float, dict[str, Matrix]]:
    """Log density at sites, with its slopes."""
    with jax.enable_x64(True):
        at = {name: np.asarray(value, float) for name, value in sites.items()}
        value, slope = _density_and_slope(program, data, at)
        return float(value), {name: np.asarray(each) for name, each in slope.items()}


def log_prior_of_sites(program: Any, data: Any, sites: dict[str, Matrix]) -> float:
    """What is left of the log density without the likelihood."""
    with jax.enable_x64(True):
        return float(_log_prior(program, data, {name: np.asarray(value, float) for name, value in sites.items()}))


@compile_whole
def _density_and_slope(program: Any, data: Any, sites: Any) -> Any:
    return jax.value_and_grad(lambda s: log_density(program, (data,), {}, s)[0])(sites)


@compile_whole
def _log_prior(program: Any, data: Any, sites: Any) -> Any:
    trace = handlers.trace(handlers.substitute(program, sites)).get_trace(data)
    own = (site for name, site in trace.items() if site["type"] == "sample" and name != "log_likelihood")
    return sum(site["fn"].log_prob(site["value"]).sum() for site in own)
