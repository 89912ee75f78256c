"""Sums over rows into a file, without any row, and back; alone, or in the file of a fit or a posterior of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from xarray import Dataset, DataTree

from bayesmm.design.design import Design
from bayesmm.design.reading.stored_frame import pack_frame, unpack_frame
from bayesmm.errors import StorageError
from bayesmm.files import naming
from bayesmm.marginal.residual.group_totals import FewRows
from bayesmm.marginal.sums.rows import Conditioning
from bayesmm.marginal.sums.totals import Recipe, Totals
from bayesmm.rows.gathering import Gathered
from bayesmm.rows.summing import Declared, Kept, Summed, put_together
from bayesmm.specification.formula import parse_formula
from bayesmm.storage.stored_design import (
    RESIDUAL_SUMS_FORMAT,
    SUMS,
    SUMS_FORMAT,
    check_format,
    check_namespace,
    check_types,
    names_used,
    pack_design,
    pack_relations,
    rebuilding,
    unpack_design,
    unpack_relations,
)
from bayesmm.storage.trees import GROUP, check_sums, read_tree, write_tree
from bayesmm.version import __version__

FEW = "few_"  # before the names of arrays of few rows with the sums of all
OF_SUMS = "sums_"  # before the names of arrays in the file of a fit or a posterior
NUMBERS = ("n_read", "n", "n_chunks", "n_new")


def save_sums(summed: Summed, path: str | os.PathLike[str]) -> Path:
    """Write sums to a file, complete or not at all.

    Parameters
    ----------
    summed : Summed
        The sums.
    path : path
        Ends in ``.nc`` or ``.zarr``.

    Raises
    ------
    StorageError
        For whatever speaks against the path, and whatever the disk says.
    """
    with naming(path, "written"):
        return write_tree(DataTree(), _pack(summed), np.zeros(0), path)


def read_sums(path: str | os.PathLike[str], namespace: Mapping[str, Any] | None = None) -> Summed:
    """Read what `save_sums` has written.

    Raises
    ------
    StorageError
        If it is not there, is damaged, or holds something else.
    """
    name = os.fspath(path)
    tree = read_tree(Path(path))
    stored = tree[GROUP].to_dataset() if GROUP in tree.children else Dataset()
    if stored.attrs.get("kind") != SUMS:
        raise StorageError(f"{name!r} holds no sums: they are written by model.problem.save('sums.zarr').")
    with rebuilding(name, "sums", "Save them again."):
        check_format(stored, name)
        check_sums(tree, stored, name)
        arrays = {str(key): values.to_numpy() for key, values in stored.data_vars.items() if key != "description"}
        return _unpack(json.loads(stored["description"].item()), arrays, name, namespace)


def pack_source(design: Design, summed: Summed | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe what a result is of: the rows of a design, or the sums over rows that are not in memory.

    Parameters
    ----------
    design : Design
        The model.
    summed : Summed or None
        Its sums, where its rows are not in memory.

    Returns
    -------
    description, variables : dict
        As `bayesmm.storage.stored_design.pack_design` returns them.
    """
    if summed is None or design.elsewhere is None:
        return pack_design(design)
    stored = _pack(summed)
    own = {f"{OF_SUMS}{name}": values for name, values in stored.data_vars.items() if name != "description"}
    variables = {
        name: (tuple(f"{OF_SUMS}{dim}" for dim in values.dims), values.to_numpy()) for name, values in own.items()
    }
    return {"bayesmm": __version__, "sums": json.loads(stored["description"].item())}, variables


def unpack_source(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], name: str, namespace: Mapping[str, Any] | None
) -> tuple[Design, Summed | None]:
    """Rebuild what `pack_source` described.

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
    """
    if "sums" not in description:
        return unpack_design(description, arrays, name, namespace), None
    own = {key.removeprefix(OF_SUMS): values for key, values in arrays.items() if key.startswith(OF_SUMS)}
    summed = _unpack(description["sums"], own, name, namespace)
    return summed.design, summed


def _pack(summed: Summed) -> Dataset:
    declared, found, totals = summed.declared, summed.found.skeleton(), summed.totals
    recipe, residual = totals.recipe, declared.specification.residual
    table = found.table()
    frame, arrays = pack_frame(table.rows(np.ones(table.n_rows, bool)).frame)
    description = {
        "bayesmm": __version__,
        "formula": declared.specification.formula,
        "weights": declared.weights,
        **({} if residual is None else {"residual": residual.text}),
        "sigma": declared.known_sigma,
        "states": {text: dict(state) for text, state in declared.states.items()},
        "names": names_used(summed.design),
        "rows": frame,
        "found": {
            **{name: int(getattr(found, name)) for name in NUMBERS},
            "missing": found.missing,
            "kinds": found.kinds,
            "categories": {name: list(map(_plain, values)) for name, values in found.categories.items()},
            "means": found.means,
            "low": found.low,
            "high": found.high,
            "few": found.few,
            "levels": list(found.levels),
        },
        "parts": list(summed.parts),
        "where": summed.where,
        "pairs": [list(pair) for pair in totals.pairs()],
        "n_factors": len(recipe.sizes),
        "touching": totals.touching,
        "relations": {name: list(each.levels) for name, each in summed.design.matrices.items()},
    }
    conditioning = recipe.conditioning
    arrays |= {
        "root": conditioning.root,
        "coefficients": conditioning.coefficients,
        "kept": recipe.kept,
        "aliased": recipe.aliased,
        "combination": recipe.combination,
        "shift": recipe.shift,
        "numbers": np.array([recipe.centre, totals.n, totals.log_weights, totals.inverse_weights]),
        "variances": np.array(totals.variances),
        "gram": totals.sums.gram,
        "plain": totals.plain,
        "weighted": totals.weighted,
        "low": totals.low,
        "high": totals.high,
    }
    for f, T in enumerate(conditioning.effect_roots):
        arrays |= {f"effect_root_{f}": T, f"diagonal_{f}": totals.sums.diagonal[f], f"cross_{f}": totals.sums.cross[f]}
        arrays |= {f"stacked_{f}": totals.stacked[f], f"counts_{f}": totals.counts[f]}
    for i, (keys, sums) in enumerate(totals.pairs().values()):
        arrays |= {f"pair_keys_{i}": keys, f"pair_sums_{i}": sums}
    if summed.left is not None:
        arrays["left"] = summed.left
    if summed.few is not None:
        arrays |= {f"{FEW}{each.name}": getattr(summed.few, each.name) for each in fields(FewRows)}
    arrays |= pack_relations(summed.design)
    variables: dict[str, Any] = {
        name: (tuple(f"{name}_{axis}" for axis in range(np.ndim(values))), np.asarray(values))
        for name, values in arrays.items()
    }
    variables["description"] = ((), json.dumps(description))
    return Dataset(variables, attrs={"format": format_of(summed), "kind": SUMS})


def format_of(summed: Summed) -> int:
    """Say what format a file with these sums has: one that readers do not know who would take residuals for others."""
    return SUMS_FORMAT if summed.few is None else RESIDUAL_SUMS_FORMAT


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _unpack(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], name: str, namespace: Mapping[str, Any] | None
) -> Summed:
    about = description["found"]
    check_types(
        [
            (description["formula"], str),
            (description["weights"], str | None),
            (description.get("residual"), str | None),
            (description["sigma"], float | int | None),
            (description["where"], str),
            *((about[each], int) for each in NUMBERS),
            *((part, str) for part in description["parts"]),
            *((state, dict) for state in description["states"].values()),
        ]
    )
    check_namespace(description["names"], name, namespace)
    frame = unpack_frame(description["rows"], arrays)
    found = Gathered(
        **{each: about[each] for each in NUMBERS},
        missing=about["missing"],
        kinds=about["kinds"],
        categories=about["categories"],
        means=about["means"],
        low=about["low"],
        high=about["high"],
        few=about["few"],
        rows={str(column): _listed(frame[column]) for column in frame},
        levels=tuple(about["levels"]),
    )
    declared = Declared(
        specification=parse_formula(description["formula"], description.get("residual")),
        weights=description["weights"],
        namespace=namespace,
        known_sigma=description["sigma"],
        relations=unpack_relations(description["relations"], arrays),
        states=description["states"],
    )
    kept = Kept.of(declared, found)
    totals = _unpack_totals(description, arrays, kept)
    parts = tuple(description["parts"])
    few = None
    if declared.specification.residual is not None:
        few = FewRows(**{each.name: arrays[f"{FEW}{each.name}"] for each in fields(FewRows)})
    return put_together(declared, kept, found, totals, arrays.get("left"), parts, description["where"], few)


def _listed(column: Any) -> list[Any]:
    """Values as a first pass lists them: whole numbers too large for doubles stay whole."""
    return column.astype(object).tolist() if isinstance(column.dtype, pd.CategoricalDtype) else column.tolist()


def _unpack_totals(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], kept: Kept) -> Totals:
    blocks, n_factors = kept.blocks, description["n_factors"]
    if n_factors != len(blocks):
        raise ValueError(f"sums of {n_factors} factors for {len(blocks)}")
    centre, n, log_weights, inverse_weights = arrays["numbers"].tolist()
    recipe = Recipe(
        conditioning=Conditioning(
            arrays["root"], arrays["coefficients"], [arrays[f"effect_root_{f}"] for f in range(n_factors)]
        ),
        kept=arrays["kept"].astype(np.int64),
        aliased=arrays["aliased"].astype(np.int64),
        combination=arrays["combination"],
        centre=centre,
        shift=arrays["shift"],
        sizes=tuple(block.q for block in blocks),
        widths=tuple(block.k for block in blocks),
        variances=tuple(None if each.relation is None else each.relation.variances for each in blocks),
    )
    totals = Totals(recipe)
    targets = {"gram": totals.sums.gram, "plain": totals.plain, "weighted": totals.weighted}
    targets |= {"low": totals.low, "high": totals.high}
    for f in range(n_factors):
        targets |= {f"diagonal_{f}": totals.sums.diagonal[f], f"cross_{f}": totals.sums.cross[f]}
        targets |= {f"stacked_{f}": totals.stacked[f], f"counts_{f}": totals.counts[f]}
    for each, into in targets.items():
        if arrays[each].shape != into.shape:
            raise ValueError(f"{each} has the shape {arrays[each].shape}, and {into.shape} is expected")
        into[...] = arrays[each]
    for i, (f, g) in enumerate(description["pairs"]):
        first, second = np.divmod(arrays[f"pair_keys_{i}"], recipe.sizes[g])
        totals.put_pairs(f, g, first, second, arrays[f"pair_sums_{i}"])
    totals.n, totals.log_weights, totals.inverse_weights = int(n), log_weights, inverse_weights
    totals.touching, totals.variances = list(description["touching"]), arrays["variances"].tolist()
    return totals
