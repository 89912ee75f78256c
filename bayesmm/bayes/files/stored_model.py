"""What a posterior knows of its model, as arrays and one JSON text, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from xarray import Dataset, DataTree

from bayesmm.bayes.priors.correlation_matrices import correlation_pieces, residual_pieces
from bayesmm.bayes.priors.resolution import PriorRow, ResolvedPriors
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.tree import SAMPLE_DIMS
from bayesmm.design.coordinates import coordinates, dims, variable_order
from bayesmm.design.design import Design
from bayesmm.errors import StorageError
from bayesmm.problem import Problem
from bayesmm.rows.saving import format_of, pack_source, unpack_source
from bayesmm.specification.priors import PRIORS, Prior
from bayesmm.storage.checksums import ADVICE
from bayesmm.storage.stored_design import POSTERIOR_FORMAT, check_types

PRIOR_TEXTS = ("name", "kind", "group", "source", "about")


class StoredModel(NamedTuple):
    """The fields of a posterior other than its draws."""

    problem: Problem
    priors: ResolvedPriors
    program: str
    notes: tuple[str, ...]


def pack_model(posterior: DrawnModel) -> Dataset:
    """Describe the model of a posterior: data, formula, options, priors.

    Returns
    -------
    xarray.Dataset
        Columns of the data, or sums over them, as arrays; everything else in the text ``description``, which is JSON.
        Nothing in it is code.
    """
    priors = posterior.priors
    of_design, variables = pack_source(posterior.design, posterior.problem.summed)
    description = of_design | {
        "sigma": priors.known_sigma,
        "priors": [_pack_prior_row(row) for row in priors.rows],
        "program": posterior.program,
        "notes": list(posterior.notes),
    }
    variables["prior_contrast"] = (("prior_row", "prior_column"), priors.contrast)
    for f, contrast in enumerate(priors.effect_contrasts):
        variables[f"prior_effect_contrast_{f}"] = ((f"prior_effect_row_{f}", f"prior_effect_column_{f}"), contrast)
    if len(priors.exponent_means):
        variables["prior_exponent_means"] = (("prior_exponent",), priors.exponent_means)
    variables["description"] = ((), json.dumps(description))
    summed = posterior.problem.summed
    return Dataset(variables, attrs={"format": POSTERIOR_FORMAT if summed is None else format_of(summed)})


def unpack_model(stored: Dataset, name: str, namespace: Mapping[str, Any] | None) -> StoredModel:
    """Rebuild the model that `pack_model` described.

    Parameters
    ----------
    stored : xarray.Dataset
        What it returned.
    name : str
        The file, for error messages.
    namespace : mapping of str to object, optional
        Functions and values that the formula was given.

    Raises
    ------
    StorageError
        If a name of the namespace is lacking, or the priors are not those of the model's parameters.
    """
    description = json.loads(stored["description"].item())
    check_types(
        [
            (description["program"], str),
            *((each, str) for each in description["notes"]),
            *((row[field], str) for row in description["priors"] for field in PRIOR_TEXTS),
        ]
    )
    arrays = {str(key): values.to_numpy() for key, values in stored.data_vars.items()}
    design, summed = unpack_source(description, arrays, name, namespace)
    priors = ResolvedPriors(
        rows=tuple(_unpack_prior_row(row) for row in description["priors"]),
        pieces=correlation_pieces(design),
        contrast=arrays["prior_contrast"],
        effect_contrasts=tuple(
            arrays.get(f"prior_effect_contrast_{f}", np.eye(block.k)) for f, block in enumerate(design.blocks)
        ),
        known_sigma=description["sigma"],
        residuals=residual_pieces(design),
        exponent_means=arrays.get("prior_exponent_means", np.zeros(0)),
    )
    _check_priors(priors, design, name)
    return StoredModel(Problem.of_source(design, summed), priors, description["program"], tuple(description["notes"]))


def pack_prior(prior: Prior) -> dict[str, Any]:
    """Write a prior as JSON can hold it."""
    return {"family": prior.family, "numbers": prior.numbers, "on": prior.stated_for}


def unpack_prior(packed: Mapping[str, Any]) -> Prior:
    """Read what `pack_prior` wrote."""
    family = next(each for each in PRIORS if each.__name__ == packed["family"])
    takes_scale = any(field.name == "on" for field in dataclasses.fields(family))
    return family(**packed["numbers"], **({"on": packed["on"]} if takes_scale else {}))


def _pack_prior_row(row: PriorRow) -> dict[str, Any]:
    plain = {field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name != "prior"}
    return plain | {"prior": pack_prior(row.prior)}


def _unpack_prior_row(packed: Mapping[str, Any]) -> PriorRow:
    return PriorRow(**{**packed, "prior": unpack_prior(packed["prior"])})


def check_draws(tree: DataTree, model: StoredModel, name: str) -> None:
    """Refuse draws that are not of the parameters, levels and effects of the model.

    Parameters
    ----------
    tree : DataTree
        What was read.
    model : StoredModel
        As rebuilt.
    name : str
        The file, for the error message.

    Raises
    ------
    StorageError
        If a variable of the posterior is not there, or has another shape or type; random effects may be left out.
    """
    draws = tree["posterior"].to_dataset() if "posterior" in tree.children else Dataset()
    own_dims, known = dims(model.problem.labels), coordinates(model.problem.design)
    needed = {row.variable for row in model.problem.labels.parameter_rows()}
    sizes = [draws.sizes.get(dim, 0) for dim in SAMPLE_DIMS]
    for variable in variable_order(model.problem.labels):
        if variable not in draws:
            if variable in needed:
                raise StorageError(f"{name!r} has no draws of {variable}. {ADVICE}.")
            continue
        expected = (*sizes, *(len(known[dim]) for dim in own_dims.get(variable, [])))
        found = draws[variable]
        if found.shape != expected or found.dtype.kind != "f":
            raise StorageError(
                f"{name!r} has draws of {variable} of the shape {found.shape} and type {found.dtype}, which its model "
                f"has as floating-point numbers of the shape {expected}. {ADVICE}."
            )


def _check_priors(priors: ResolvedPriors, design: Design, name: str) -> None:
    labels = design.labels
    found = [(row.name, row.kind, row.group) for row in priors.rows]
    expected = [(row.name, row.kind, row.group or "") for row in labels.parameter_rows()]
    if found != expected:
        lacking = ", ".join(each[0] for each in expected if each not in found) or "none, but in another order"
        raise StorageError(
            f"{name!r} has {len(found)} priors for {len(expected)} parameters (lacking: {lacking}). {ADVICE}."
        )
    exponents = sum(row.kind == "exponent" for row in labels.parameter_rows())
    if priors.exponent_means.shape != (exponents,) or priors.exponent_means.dtype.kind != "f":
        raise StorageError(
            f"{name!r} has priors about {len(priors.exponent_means)} of {exponents} exponents. {ADVICE}."
        )
    for contrast, size in zip(
        (priors.contrast, *priors.effect_contrasts),
        (len(labels.coefficients), *(block.k for block in design.blocks)),
        strict=True,
    ):
        if contrast.shape != (size, size) or contrast.dtype.kind != "f":
            raise StorageError(
                f"{name!r} has priors about {contrast.shape} combinations of {size} coefficients. {ADVICE}."
            )
