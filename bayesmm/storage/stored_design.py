"""What a result knows of its data and formula, as arrays and entries of one JSON text, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from xarray import Dataset

from bayesmm.arguments import shorten
from bayesmm.cholesky.precision import make_precision
from bayesmm.console import listing
from bayesmm.design.coordinates import constants
from bayesmm.design.design import Design, build_design
from bayesmm.design.reading.stored_frame import pack_frame, unpack_frame
from bayesmm.design.related.relation import AnyRelation, relation
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.errors import BayesmmError, StorageError
from bayesmm.specification.formula import parse_formula
from bayesmm.version import __version__

# Raised when what a file lacks means something: 2 has what priors of random effects are about, 3 checksums, 4 is of a
# fit. A posterior is written as 3, which earlier versions read.
POSTERIOR_FORMAT, FIT_FORMAT, RESIDUAL_FORMAT = 3, 4, 5  # the last of fits whose residuals have a covariance
SUMS_FORMAT = 6  # of sums over rows that are elsewhere, and of fits and posteriors of these
RESIDUAL_SUMS_FORMAT = 7  # of those whose residuals have a covariance
CHECKED_FROM = 3
FIT, SUMS = "fit", "sums"  # kinds of what is stored; a posterior says nothing
ROUNDING = 1e-9  # of an array's largest number: logarithms and splines may differ by less between versions of NumPy


def pack_design(design: Design) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe a design: data, formula, weights, known sigma.

    Returns
    -------
    description : dict
        What JSON can hold. Nothing in it is code.
    variables : dict of str to (dim, array)
        Columns of the data.
    """
    frame, arrays = pack_frame(design.frame)
    given = design.has_weights and design.weights_text is None
    description = {
        "bayesmm": __version__,
        "formula": design.specification.formula,
        **({} if design.residual is None else {"residual": design.residual.specification.text}),
        "weights": "given" if given else design.weights_text and {"expression": design.weights_text},
        "sigma": design.known_sigma,
        "names": names_used(design),
        "data": frame,
        "dropped": {"rows": design.n_dropped, "by": dict(design.dropped_by)},
        "relations": {name: list(each.levels) for name, each in design.matrices.items()},
    }
    variables: dict[str, Any] = {name: (f"{name}_row", values) for name, values in arrays.items()}
    if given:
        variables["weights"] = ("weights_row", design.weights)
    variables |= {name: (f"{name}_row", values) for name, values in pack_relations(design).items()}
    return description, variables


def pack_relations(design: Design) -> dict[str, np.ndarray]:
    """Return the known matrices of a design as flat arrays, by the names in a file."""
    found = {}
    for i, each in enumerate(design.matrices.values()):
        if isinstance(each, SparseRelation):
            found |= {f"relation_{i}_{part}": own for part, own in each.precision.arrays.items()}
        else:
            found[f"relation_{i}"] = each.covariance[np.triu_indices(len(each.levels))]
    return found


def unpack_design(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], name: str, namespace: Mapping[str, Any] | None
) -> Design:
    """Rebuild the design that `pack_design` described.

    Parameters
    ----------
    description, arrays : mappings
        What it returned, the arrays alone.
    name : str
        The file, for error messages.
    namespace : mapping of str to object, optional
        Functions and values that the formula was given.

    Raises
    ------
    StorageError
        If a name of the namespace is lacking.
    TypeError
        If an entry is of another type than was written.
    """
    weights, dropped = description["weights"], description["dropped"]
    check_types(
        [
            (description["formula"], str),
            (description.get("residual"), str | None),
            (description["sigma"], float | int | None),
            (dropped["rows"], int),
            *((each, int) for each in dict(dropped["by"]).values()),
            *((weights["expression"], str) for _ in range(isinstance(weights, dict))),
            *((column["name"], str) for column in description["data"]["columns"]),
        ]
    )
    check_namespace(description["names"], name, namespace)
    design = build_design(
        parse_formula(description["formula"], description.get("residual")),
        unpack_frame(description["data"], arrays),
        weights=arrays["weights"] if weights == "given" else weights and weights["expression"],
        namespace=namespace,
        known_sigma=description["sigma"],
        relations=unpack_relations(description.get("relations", {}), arrays),
    )
    return dataclasses.replace(design, n_dropped=dropped["rows"], dropped_by=dropped["by"])


def unpack_relations(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, AnyRelation]:
    """Rebuild the relations between levels of a file."""
    found: dict[str, AnyRelation] = {}
    for i, (name, levels) in enumerate(described.items()):
        check_types((level, str) for level in levels)
        start = f"relation_{i}_"
        parts = {part.removeprefix(start): own for part, own in arrays.items() if part.startswith(start)}
        if parts:
            found[name] = SparseRelation(levels=tuple(levels), precision=make_precision(len(levels), parts))
            continue
        A, pairs = np.zeros((len(levels), len(levels))), np.triu_indices(len(levels))
        A[pairs] = A.T[pairs] = arrays[f"relation_{i}"]
        found[name] = relation(A, levels)
    return found


def check_types(expected: Iterable[tuple[Any, Any]]) -> None:
    """Refuse values of other types than were written, which would be met much later.

    Parameters
    ----------
    expected : iterable of (value, type)
        Each with what it should be.

    Raises
    ------
    TypeError
        With the first that is not.
    """
    for value, kind in expected:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{shorten(value)} is not of the type {getattr(kind, '__name__', kind)}")


@contextmanager
def rebuilding(name: str, what: str, instead: str) -> Iterator[None]:
    """Say of a file what cannot be built again from what it says, whatever the reason.

    Parameters
    ----------
    name : str
        The file.
    what : str
        What it describes: "model", "sums".
    instead : str
        What to do where it is damaged, a sentence.

    Raises
    ------
    StorageError
        In the place of any error.
    """
    try:
        yield
    except StorageError:
        raise
    except BayesmmError as error:
        raise StorageError(f"The model of {name!r} cannot be built again: {error}") from error
    except Exception as error:  # whatever a text says that is not what was written
        raise StorageError(
            f"{name!r} is damaged: what describes its {what} cannot be read ({shorten(error)}). {instead}"
        ) from error


def check_format(stored: Dataset, name: str) -> None:
    """Refuse a file of a later version.

    Raises
    ------
    StorageError
        If its format is one that this version of bayesmm does not know.
    """
    found = int(stored.attrs["format"])
    if found > RESIDUAL_SUMS_FORMAT:
        raise StorageError(
            f"{name!r} is of format {found}, from a later bayesmm; this one, {__version__}, reads formats up "
            f"to {RESIDUAL_SUMS_FORMAT}. Update it: pip install --upgrade bayesmm."
        )


def check_design(design: Design, expected: Mapping[str, np.ndarray], name: str, made: str) -> None:
    """Refuse a rebuilt design that is not the one that a result was made with.

    Parameters
    ----------
    design : Design
        As rebuilt.
    expected : mapping of str to array
        The stored arrays under the names of `constants` in `bayesmm.design.coordinates`, and ``y``.
    name : str
        The file, for the error message.
    made : str
        What was made with it: "the draws were".

    Raises
    ------
    StorageError
        If an array differs by more than rounding, which another version of NumPy may do differently.
    """
    rows = {} if design.elsewhere is not None else {"y": design.y, **constants(design)}
    for variable, values in rows.items():
        if variable not in expected:
            continue
        other = expected[variable]
        if values.shape == other.shape and np.allclose(values, other, rtol=ROUNDING, atol=ROUNDING * _size(other)):
            continue
        raise StorageError(
            f"The model rebuilt from {name!r} is not the one that {made} made with: {variable} differs. If it was "
            "given a namespace, pass the same functions; otherwise the file was changed, or needs the bayesmm that "
            "saved it."
        )


def names_used(design: Design) -> list[str]:
    """List the names of the namespace that the formula or the weights use."""
    residual = "" if design.residual is None else design.residual.specification.text
    written = set(re.findall(r"\w+", f"{design.specification.formula} {design.weights_text or ''} {residual}"))
    return [name for name in design.user_names if name in written and name not in design.known_rows.columns]


def check_namespace(names: list[str], name: str, namespace: Mapping[str, Any] | None) -> None:
    """Refuse a namespace that lacks a function that the formula of a file uses."""
    lacking = [each for each in names if each not in (namespace or {})]
    if lacking:
        entries = listing([f"{each!r}: {each}" for each in lacking])
        raise StorageError(
            f"The formula of {name!r} uses {listing(lacking, quoted=True)} of the namespace that its model was given. "
            f"Functions are not stored: pass them again, bayesmm.load({name!r}, namespace={{{entries}}})."
        )


def _size(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
