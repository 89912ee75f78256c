"""What a posterior knows of its model, as arrays and one JSON text, and back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from xarray import Dataset, DataTree

from bayesmm.arguments import shorten
from bayesmm.bayes.files.checksums import ADVICE
from bayesmm.bayes.priors.prior_keys import correlation_pieces
from bayesmm.bayes.priors.resolution import PriorRow, ResolvedPriors
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.tree import SAMPLE_DIMS
from bayesmm.console import listing
from bayesmm.design.coordinates import constants, coordinates, dims, variable_order
from bayesmm.design.design import Design, build_design
from bayesmm.design.reading.stored_frame import pack_frame, unpack_frame
from bayesmm.errors import StorageError
from bayesmm.problem import Problem
from bayesmm.specification.formula import parse_formula
from bayesmm.specification.priors import PRIORS, Prior
from bayesmm.version import __version__

FORMAT = 3  # raised when what a file lacks means something: 2 has what priors of random effects are about
CHECKED_FROM = 3  # checksums
ROUNDING = 1e-9  # of an array's largest number: logarithms and splines may differ by less between versions of NumPy


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
        Columns of the data as arrays; everything else in the text ``description``, which is JSON. Nothing in it is
        code.
    """
    design, priors = posterior.design, posterior.priors
    frame, arrays = pack_frame(design.frame)
    given = design.has_weights and design.weights_text is None
    description = {
        "bayesmm": __version__,
        "formula": design.specification.formula,
        "weights": "given" if given else design.weights_text and {"expression": design.weights_text},
        "sigma": priors.known_sigma,
        "names": _names_used(design),
        "data": frame,
        "dropped": {"rows": design.n_dropped, "by": dict(design.dropped_by)},
        "priors": [_pack_prior_row(row) for row in priors.rows],
        "program": posterior.program,
        "notes": list(posterior.notes),
    }
    variables: dict[str, Any] = {name: (f"{name}_row", values) for name, values in arrays.items()}
    if given:
        variables["weights"] = ("weights_row", design.weights)
    variables["prior_contrast"] = (("prior_row", "prior_column"), priors.contrast)
    for f, contrast in enumerate(priors.effect_contrasts):
        variables[f"prior_effect_contrast_{f}"] = ((f"prior_effect_row_{f}", f"prior_effect_column_{f}"), contrast)
    variables["description"] = ((), json.dumps(description))
    return Dataset(variables, attrs={"format": FORMAT})


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
    _check_types(description)
    _check_namespace(description["names"], name, namespace)
    arrays = {str(key): values.to_numpy() for key, values in stored.data_vars.items()}
    weights = description["weights"]
    design = build_design(
        parse_formula(description["formula"]),
        unpack_frame(description["data"], arrays),
        weights=arrays["weights"] if weights == "given" else weights and weights["expression"],
        namespace=namespace,
        known_sigma=description["sigma"],
    )
    dropped = description["dropped"]
    design = dataclasses.replace(design, n_dropped=dropped["rows"], dropped_by=dropped["by"])
    priors = ResolvedPriors(
        rows=tuple(_unpack_prior_row(row) for row in description["priors"]),
        pieces=correlation_pieces(design),
        contrast=arrays["prior_contrast"],
        effect_contrasts=tuple(
            arrays.get(f"prior_effect_contrast_{f}", np.eye(block.k)) for f, block in enumerate(design.blocks)
        ),
        known_sigma=description["sigma"],
    )
    _check_priors(priors, design, name)
    return StoredModel(Problem(design), priors, description["program"], tuple(description["notes"]))


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


def _names_used(design: Design) -> list[str]:
    """Names of the namespace that the formula or the weights use."""
    written = set(re.findall(r"\w+", f"{design.specification.formula} {design.weights_text or ''}"))
    return [name for name in design.user_names if name in written and name not in design.frame]


def _check_types(description: Mapping[str, Any]) -> None:
    """Refuse values of other types than `pack_model` writes, which would be met much later.

    Raises
    ------
    TypeError
        With the first of them.
    """
    weights, dropped = description["weights"], description["dropped"]
    expected = [
        (description["formula"], str),
        (description["sigma"], float | int | None),
        (description["program"], str),
        (dropped["rows"], int),
        *((each, str) for each in description["notes"]),
        *((each, int) for each in dict(dropped["by"]).values()),
        *((weights["expression"], str) for _ in range(isinstance(weights, dict))),
        *((column["name"], str) for column in description["data"]["columns"]),
        *((row[field], str) for row in description["priors"] for field in ("name", "kind", "group", "source", "about")),
    ]
    for value, kind in expected:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{shorten(value)} is not of the type {getattr(kind, '__name__', kind)}")


def _check_namespace(names: list[str], name: str, namespace: Mapping[str, Any] | None) -> None:
    lacking = [each for each in names if each not in (namespace or {})]
    if lacking:
        entries = listing([f"{each!r}: {each}" for each in lacking])
        raise StorageError(
            f"The formula of {name!r} uses {listing(lacking, quoted=True)} of the namespace that its model was given. "
            f"Functions are not stored: pass them again, bayesmm.load({name!r}, namespace={{{entries}}})."
        )


def check_format(stored: Dataset, name: str) -> None:
    """Refuse a file of a later version.

    Raises
    ------
    StorageError
        If its format is one that this version of bayesmm does not know.
    """
    found = int(stored.attrs["format"])
    if found > FORMAT:
        raise StorageError(
            f"{name!r} is of format {found}, from a later bayesmm; this one, {__version__}, reads formats up "
            f"to {FORMAT}. Update it: pip install --upgrade bayesmm."
        )


def check_design(design: Design, expected: Mapping[str, np.ndarray], name: str) -> None:
    """Refuse a rebuilt design that is not the one that the draws were made with.

    Parameters
    ----------
    design : Design
        As rebuilt.
    expected : mapping of str to array
        The stored arrays under the names of `constants` in `bayesmm.design.coordinates`, and ``y``.
    name : str
        The file, for the error message.

    Raises
    ------
    StorageError
        If an array differs by more than rounding, which another version of NumPy may do differently.
    """
    for variable, values in {"y": design.y, **constants(design)}.items():
        if variable not in expected:
            continue
        other = expected[variable]
        if values.shape == other.shape and np.allclose(values, other, rtol=ROUNDING, atol=ROUNDING * _size(other)):
            continue
        raise StorageError(
            f"The model rebuilt from {name!r} is not the one that the draws were made with: {variable} differs. If it "
            "was given a namespace, pass the same functions; otherwise the file was changed, or needs the bayesmm "
            "that saved it."
        )


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
    for contrast, size in zip(
        (priors.contrast, *priors.effect_contrasts),
        (len(labels.coefficients), *(block.k for block in design.blocks)),
        strict=True,
    ):
        if contrast.shape != (size, size) or contrast.dtype.kind != "f":
            raise StorageError(
                f"{name!r} has priors about {contrast.shape} combinations of {size} coefficients. {ADVICE}."
            )


def _size(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
