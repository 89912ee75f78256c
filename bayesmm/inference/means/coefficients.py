"""What multiplies k rows in a contrast: pairs, comparisons with a control, polynomials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import gcd
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError
from bayesmm.inference.means.adjust import Adjust

type Method = Literal["pairwise", "revpairwise", "trt.vs.ctrl", "consec", "poly", "eff", "identity"]

HIGHEST_DEGREE = 6
DEGREES = ("linear", "quadratic", "cubic", "quartic")


class Contrasts(NamedTuple):
    """Rows of coefficients.

    Attributes
    ----------
    names : list of str
        One a contrast.
    matrix : array, shape (m, k)
        Coefficients of the k rows.
    adjust : str
        How their tests are adjusted unless told otherwise.
    is_pairs : bool
        Whether they are all pairs.
    """

    names: list[str]
    matrix: np.ndarray
    adjust: Adjust
    is_pairs: bool


def build_contrasts(method: Any, labels: Sequence[str], ref: Any) -> Contrasts:
    """Find the coefficients of a method.

    Parameters
    ----------
    method : str, mapping or array
        A name; coefficients (k,) by name; or an array (m, k), a data frame with names.
    labels : sequence of str
        Of the rows (k,).
    ref : str, int or None
        Label or position of the control, the first by default.

    Raises
    ------
    ArgumentError
        If there is no such method, or coefficients are not k numbers.
    """
    if isinstance(method, str):
        if not is_one_of(method, METHODS):
            raise ArgumentError(
                f"method is {method!r}: give one of {listing(METHODS, quoted=True)}, or coefficients by name."
            )
        if ref is not None and method != "trt.vs.ctrl":
            raise ArgumentError(f"ref is {shorten(ref)}, and {method!r} has no control: leave it out.")
        if len(labels) < 2:
            raise ArgumentError(
                f"There is one row only ({listing(labels)}), and nothing to compare it with: name a column with "
                "several values, or take them out of by=."
            )
        return METHODS[method](labels, ref)
    if ref is not None:
        raise ArgumentError(f"ref is {shorten(ref)}, and coefficients that are given have no control: leave it out.")
    return _given(method, labels)


def bracket(label: str) -> str:
    """Set a label that is itself a contrast in brackets."""
    return f"({label})" if " - " in label or " + " in label else label


def _pairs(labels: Sequence[str], _: Any) -> Contrasts:
    k = len(labels)
    return _differences(labels, [(i, j) for i in range(k) for j in range(i + 1, k)], "tukey", is_pairs=True)


def _reversed_pairs(labels: Sequence[str], _: Any) -> Contrasts:
    return _differences(labels, [(j, i) for j in range(len(labels)) for i in range(j)], "tukey", is_pairs=True)


def _consecutive(labels: Sequence[str], _: Any) -> Contrasts:
    return _differences(labels, [(i + 1, i) for i in range(len(labels) - 1)], "mvt")


def _against_control(labels: Sequence[str], ref: Any) -> Contrasts:
    k = len(labels)
    if isinstance(ref, str):
        if ref not in labels:
            raise ArgumentError(
                f"ref is {ref!r}, which is none of the rows: give one of {listing(labels, quoted=True)}."
            )
        ref = labels.index(ref)
    ref = 0 if ref is None else ref
    if isinstance(ref, bool) or not isinstance(ref, (int, np.integer)) or not -k <= ref < k:
        raise ArgumentError(f"ref is {shorten(ref)}: give the label of a row, or its position below {k}.")
    control = int(ref) % k
    return _differences(labels, [(i, control) for i in range(k) if i != control], "dunnett")


def _differences(
    labels: Sequence[str], pairs: Sequence[tuple[int, int]], adjust: Adjust, *, is_pairs: bool = False
) -> Contrasts:
    matrix = np.zeros((len(pairs), len(labels)))
    for row, (plus, minus) in zip(matrix, pairs, strict=True):
        row[plus], row[minus] = 1.0, -1.0
    names = [f"{bracket(labels[plus])} - {bracket(labels[minus])}" for plus, minus in pairs]
    return Contrasts(names, matrix, adjust, is_pairs)


def _effects(labels: Sequence[str], _: Any) -> Contrasts:
    k = len(labels)
    return Contrasts([f"{bracket(label)} effect" for label in labels], np.eye(k) - 1.0 / k, "fdr", is_pairs=False)


def _rows(labels: Sequence[str], _: Any) -> Contrasts:
    return Contrasts(list(labels), np.eye(len(labels)), "none", is_pairs=False)


def _polynomials(labels: Sequence[str], _: Any) -> Contrasts:
    """Orthogonal polynomials of equally spaced rows, in the smallest whole numbers, as in printed tables."""
    k = len(labels)
    basis: list[list[Any]] = []
    for degree in range(min(k, HIGHEST_DEGREE + 1)):
        column = [Fraction(x) ** degree for x in range(k)]
        for other in basis:
            share = sum(a * b for a, b in zip(column, other, strict=True)) / sum(b * b for b in other)
            column = [a - share * b for a, b in zip(column, other, strict=True)]
        basis.append(column)
    names = [*DEGREES, *(f"degree {d}" for d in range(len(DEGREES) + 1, HIGHEST_DEGREE + 1))]
    matrix = np.array([_whole(column) for column in basis[1:]]).reshape(-1, k)
    return Contrasts(names[: len(matrix)], matrix, "none", is_pairs=False)


def _whole(column: Sequence[Fraction]) -> list[float]:
    common = int(np.lcm.reduce([each.denominator for each in column]))
    numbers = [int(each * common) for each in column]
    return [float(each // gcd(*numbers)) for each in numbers]


def _given(method: Any, labels: Sequence[str]) -> Contrasts:
    if isinstance(method, Mapping):
        names, values = [str(name) for name in method], list(method.values())
    elif isinstance(method, pd.DataFrame):
        names, values = [str(name) for name in method.index], method.to_numpy()
    else:
        values, names = method, []
    try:
        matrix = np.atleast_2d(np.array(values, dtype=float))
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty((0, 0))
    if matrix.ndim != 2 or not len(matrix) or matrix.shape[1] != len(labels) or not np.isfinite(matrix).all():
        raise ArgumentError(
            f"The coefficients of the contrasts are {shorten(method)}: give {len(labels)} numbers for each, one a row "
            f"({listing(labels, 5)})."
        )
    return Contrasts(names or [f"c{i + 1}" for i in range(len(matrix))], matrix, "none", is_pairs=False)


METHODS: dict[str, Callable[[Sequence[str], Any], Contrasts]] = {
    "pairwise": _pairs,
    "revpairwise": _reversed_pairs,
    "trt.vs.ctrl": _against_control,
    "consec": _consecutive,
    "poly": _polynomials,
    "eff": _effects,
    "identity": _rows,
}
