"""A fit into a file, its estimates as other programs read them, and back.

What is stored of the search is where it ended and what it saw. All estimates are read off the likelihood there, as the
fit itself did, and held to those that were stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from xarray import Dataset, DataTree

from bayesmm.covariance.layout import start_theta
from bayesmm.design.coordinates import row_labels
from bayesmm.errors import StorageError
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.stochastic.probing import make_probing
from bayesmm.problem import Problem
from bayesmm.reml.by_probes import make_matrices, with_probing
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate, LocalMaximum, read_off
from bayesmm.reml.optimise import Minimum
from bayesmm.reml.residual_search import read_residual, residual_criterion
from bayesmm.rows.saving import format_of, pack_source, unpack_source
from bayesmm.storage.checksums import ADVICE
from bayesmm.storage.stored_design import (
    FIT,
    FIT_FORMAT,
    RESIDUAL_FORMAT,
    check_design,
    check_types,
)
from bayesmm.storage.trees import arrays_of_data, write_tree

NEAR = 1e-6  # relative to the number, or of its standard errors: what another version of NumPy may sum otherwise
METHODS, ENGINES = ("reml", "ml"), ("numpy", "jax")
_SEARCH = {"converged": bool, "escaped": bool, "decrement": float, "smallest_curvature": float, "n_evaluations": int}


def save(fit: Fitted, tree: DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a fit to a file; see `Fit.save`."""
    return write_tree(tree, _pack(fit), row_labels(fit.design), path)


def _pack(fit: Fitted) -> Dataset:
    """Describe a fit: its design, what was asked, and where the search ended."""
    found, minimum = fit.estimate, fit.estimate.minimum
    of_design, variables = pack_source(fit.design, fit.problem.summed)
    description = of_design | {
        "method": fit.method,
        "engine": found.criterion_function.engine,
        "search": {name: kind(getattr(minimum, name)) for name, kind in _SEARCH.items()},
        "n_screened": int(found.n_screened),
        "others": [{"log_likelihood": float(x.log_likelihood), "sigma": float(x.sigma)} for x in found.other_maxima],
    }
    probing = found.criterion_function.products.probing
    if probing is not None:
        description["probing"] = {"probes": probing.n_probes, "seed": probing.seed}
        for f, factor in enumerate(probing.place):
            variables |= _plain(f"probed_at_{f}", factor)
    if found.residual is not None:
        variables |= _plain("phi", found.residual.phi)
        block = fit.design.residual
        if block is not None and block.of_fitted:
            variables |= _plain("fitted_columns", block.fitted_columns)
    variables |= _plain("theta", minimum.x) | _plain("criterion", np.array([found.criterion]))
    variables |= _plain("sigma", np.array([found.sigma])) | _plain("beta", found.beta)
    variables |= _plain("beta_covariance", found.beta_covariance)
    for i, other in enumerate(found.other_maxima):
        for f, factor in enumerate(other.factors):
            variables |= _plain(f"other_{i}_factor_{f}", factor)
        if other.residual is not None:
            variables |= _plain(f"other_{i}_residual", other.residual)
    variables["description"] = ((), json.dumps(description))
    summed = fit.problem.summed
    written = format_of(summed) if summed else RESIDUAL_FORMAT if found.residual else FIT_FORMAT
    return Dataset(variables, attrs={"format": written, "kind": FIT})


def _plain(name: str, values: np.ndarray) -> dict[str, Any]:
    """Name an array and its dims."""
    return {name: (tuple(f"{name}_{axis}" for axis in range(values.ndim)), np.asarray(values, dtype=float))}


def rebuild(
    tree: DataTree, stored: Dataset, name: str, namespace: Mapping[str, Any] | None
) -> tuple[Problem, Estimate]:
    """Rebuild the fields of a fit.

    Parameters
    ----------
    tree : DataTree
        What was read.
    stored : xarray.Dataset
        Its group of ours.
    name : str
        The file, for error messages.
    namespace : mapping of str to object, optional
        Functions and values that the formula was given.

    Raises
    ------
    StorageError
        If the model is not the one that was fitted, or its likelihood gives other estimates.
    """
    description = json.loads(stored["description"].item())
    search, others = description["search"], description["others"]
    check_types(
        [
            *((search[entry], float | int if kind is float else kind) for entry, kind in _SEARCH.items()),
            (description["n_screened"], int),
            *((other[entry], float | int) for other in others for entry in ("log_likelihood", "sigma")),
        ]
    )
    method, engine = description["method"], description["engine"]
    if method not in METHODS or engine not in ENGINES:
        raise ValueError(f"{method!r} by {engine!r} is no way to fit")
    arrays = {str(key): values.to_numpy() for key, values in stored.data_vars.items()}
    design, summed = unpack_source(description, arrays, name, namespace)
    check_design(design, arrays_of_data(tree), name, "the fit was")
    block = design.residual
    if block is not None and block.of_fitted:
        columns = _read(arrays["fitted_columns"], block.fitted_columns.shape)
        design = replace(design, residual=block.with_fitted_columns(columns))
    problem = Problem.of_source(design, summed)
    theta = _read(arrays["theta"], start_theta(problem.layout).shape)
    maxima = tuple(
        LocalMaximum(
            log_likelihood=float(other["log_likelihood"]),
            sigma=float(other["sigma"]),
            factors=tuple(_read(arrays[f"other_{i}_factor_{f}"], (b.k, b.k)) for f, b in enumerate(design.blocks)),
            residual=_read(arrays[key], arrays[key].shape[:1]) if (key := f"other_{i}_residual") in arrays else None,
        )
        for i, other in enumerate(others)
    )
    if design.residual is None:
        criterion = Criterion(problem.products, problem.layout, method, problem.known_sigma, engine)
        probing = description.get("probing")
        if probing is not None:
            check_types([(probing["probes"], int), (probing["seed"], int)])
            place = [_read(arrays[f"probed_at_{f}"], (b.k, b.k)) for f, b in enumerate(design.blocks)]
            matrices = make_matrices(criterion.products, engine)
            criterion = with_probing(criterion, make_probing(matrices, place, probing["probes"], probing["seed"]))
            problem = problem.with_products(criterion.products)
        found = read_off(criterion, Minimum(theta, criterion(theta), **search), maxima, description["n_screened"])
    else:
        objective = residual_criterion(problem, method)
        psi = np.concatenate([theta, _read(arrays["phi"], (objective.rows.layout.n_phi,))])
        minimum = Minimum(psi, objective(psi), **search)
        found = read_residual(objective, minimum, maxima, description["n_screened"])
    _check_estimates(found, arrays, name)
    # On another machine last digits may differ: what was saved is what is shown.
    return problem, replace(
        found,
        criterion=float(arrays["criterion"][0]),
        sigma=float(arrays["sigma"][0]),
        beta=arrays["beta"],
        beta_covariance=arrays["beta_covariance"],
    )


def _read(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ValueError(f"an array of shape {values.shape} and type {values.dtype} for one of shape {shape}")
    return values


def _check_estimates(found: Estimate, arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Refuse estimates that are not those of the likelihood where the search ended."""
    errors = np.sqrt(np.diag(found.beta_covariance))
    scales = {
        "criterion": (np.array([found.criterion]), max(1.0, abs(found.criterion))),
        "sigma": (np.array([found.sigma]), found.sigma),
        "beta": (found.beta, errors),
        "beta_covariance": (found.beta_covariance, np.outer(errors, errors)),
    }
    for variable, (values, scale) in scales.items():
        other = arrays[variable]
        if other.shape == values.shape and other.dtype.kind == "f" and (np.abs(other - values) <= NEAR * scale).all():
            continue
        raise StorageError(
            f"{name!r} has another {variable} than the likelihood of its model gives where the search ended. {ADVICE}."
        )
