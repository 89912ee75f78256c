"""Sums of a model over rows, as a user holds them: to add, to save, to fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayesmm.arguments import shorten
from bayesmm.errors import ArgumentError
from bayesmm.rows.summing import Summed
from bayesmm.rows.uniting import unite


class Sums:
    """The sums of one model over its rows; of models of the same formula and different rows they can be added.

    Made by ``model.problem.sums``.

    Parameters
    ----------
    summed : Summed
        The sums.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> data = bmm.datasets.load("sleepstudy")
    >>> formula = "Reaction ~ Days + (Days | Subject)"
    >>> first, second = (bmm.Model(formula, bmm.scan(part)).problem.sums for part in (data[:100], data[100:]))
    >>> round(bmm.Model.from_sums(first + second).fit().loglik, 3)
    -871.814
    """

    def __init__(self, summed: Summed) -> None:
        self._summed = summed

    @property
    def summed(self) -> Summed:
        """What they consist of."""
        return self._summed

    @property
    def n(self) -> int:
        """Number of rows."""
        return self._summed.totals.n

    def __add__(self, other: Any) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        return Sums(unite(self._summed, other._summed))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write them to a file, without any row; see the page on more rows than memory for what they disclose.

        Parameters
        ----------
        path : path
            Ends in ``.nc`` or ``.zarr``.

        Returns
        -------
        pathlib.Path
            Where they are.

        Raises
        ------
        StorageError
            For whatever speaks against the path, and whatever the disk says.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> model.problem.sums.save("sums.zarr")  # doctest: +SKIP
        """
        from bayesmm.rows.saving import save_sums

        return save_sums(self._summed, path)

    def __repr__(self) -> str:
        shown = self._summed.declared.specification.shown
        return f"<Sums of {shown} over {self.n} rows of {self._summed.where}>"


def add_up(parts: tuple[Any, ...], namespace: Mapping[str, Any] | None) -> Summed:
    """Add sums, or those in files."""
    if not parts:
        raise ArgumentError("There are no sums: give some, or the paths of files of them.")
    found = [each if isinstance(each, Sums) else Sums(_read(each, namespace)) for each in parts]
    total = found[0]
    for each in found[1:]:
        total = total + each
    return total.summed


def _read(part: Any, namespace: Mapping[str, Any] | None) -> Summed:
    if not isinstance(part, (str, os.PathLike)):
        raise ArgumentError(f"{shorten(part)} are no sums: give those of model.problem.sums, or the path of a file.")
    from bayesmm.rows.saving import read_sums

    return read_sums(part, namespace)
