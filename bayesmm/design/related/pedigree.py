"""Pedigrees: who descends from whom, and what relationships follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.cholesky.precision import Descent
from bayesmm.console import listing
from bayesmm.descent import find_inbreeding, sampling_variances
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.frame import read_table
from bayesmm.design.related.relation import MOST_LEVELS, AnyRelation, KnownRelation, check_size
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.errors import DesignError

UNKNOWN = ("", "0")  # how files write a parent that is not known, unless an animal is called so
SPARSE_FROM = 2000  # animals up to which A itself is taken: what eigenvalues take is then a second, and gives more
LEAST = 1e-10  # of the variance of a founder, below which a part of an animal's own is rounding
SHOWN = 8  # animals of a circle that an error names


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Pedigree:
    """Animals with their parents, parents before their offspring.

    Attributes
    ----------
    animals : tuple of str
        Labels of the animals (q,), founders first: parents that are not listed themselves are founders, too.
    sires, dams : array of int, shape (q,)
        Positions of the parents among the animals; −1 where one is not known.
    inbreeding : array, shape (q,)
        F of each animal: the probability that its two copies of a gene come from one in a common ancestor.
    """

    animals: tuple[str, ...]
    sires: np.ndarray
    dams: np.ndarray
    inbreeding: np.ndarray

    @property
    def table(self) -> pd.DataFrame:
        """Animal, sire, dam (None where not known) and inbreeding, one row an animal."""
        names = np.array([*self.animals, None], dtype=object)
        return pd.DataFrame(
            {
                "animal": list(self.animals),
                "sire": names[self.sires],
                "dam": names[self.dams],
                "inbreeding": self.inbreeding,
            }
        )

    @cached_property
    def sampling_variances(self) -> np.ndarray:
        """D (q,): variance of an animal given its parents, in units of that of founders."""
        return sampling_variances(self.sires, self.dams, self.inbreeding)

    @cached_property
    def inverse(self) -> Any:
        """A⁻¹ as a sparse matrix (q, q), by Henderson's rules with inbreeding.

        Notes
        -----
        A⁻¹ = (I − P)'D⁻¹(I − P), with one half in P at each animal's parents.

        References
        ----------
        Henderson (1976), Biometrics 32. Quaas (1976), Biometrics 32.
        """
        from scipy import sparse

        A, q = Descent(self.sires, self.dams, self.inbreeding), len(self.animals)
        lower: Any = sparse.csc_array((A.values, (A.rows, A.columns)), shape=(q, q))
        return (lower + sparse.tril(lower, -1).T).tocsc()

    @property
    def covariance(self) -> pd.DataFrame:
        """A (q, q), the numerator relationship matrix: one plus inbreeding on the diagonal.

        Raises
        ------
        DesignError
            If there are more animals than a dense matrix is made for: see `prune`.
        """
        check_size(len(self.animals))
        return pd.DataFrame(self._tabular(), list(self.animals), list(self.animals))

    @cached_property
    def relation(self) -> AnyRelation:
        """What a model takes: of many animals the inverse of A, of others A itself.

        Raises
        ------
        DesignError
            If many animals are no more variable than their parents, so that A has no inverse.
        """
        if len(self.animals) <= SPARSE_FROM:
            return KnownRelation(levels=self.animals, covariance=self._tabular())
        copies = np.flatnonzero(self.sampling_variances < LEAST)
        if len(copies) and len(self.animals) <= MOST_LEVELS:
            return KnownRelation(levels=self.animals, covariance=self._tabular())
        if len(copies):
            raise DesignError(
                f"{len(copies)} animal(s) are copies of their parents: "
                f"{listing([self.animals[i] for i in copies], 5, quoted=True)}. Of so many animals the inverse of A is "
                "needed, and there is none. Give copies one name."
            )
        return SparseRelation(levels=self.animals, precision=Descent(self.sires, self.dams, self.inbreeding))

    def _tabular(self) -> np.ndarray:
        """Work out A by the tabular method: an animal's relation to older ones is the mean of its parents'."""
        q = len(self.animals)
        A = np.zeros((q + 1, q + 1))  # the last row and column are of a parent that is not known
        for i, (sire, dam) in enumerate(zip(self.sires, self.dams, strict=True)):
            A[i, :i] = A[:i, i] = 0.5 * (A[sire, :i] + A[dam, :i])
            A[i, i] = 1.0 + self.inbreeding[i]
        return A[:q, :q]

    def prune(self, animals: Iterable[Any]) -> Pedigree:
        """Keep some animals and their ancestors: nothing else bears on them.

        Parameters
        ----------
        animals : iterable
            Labels, as those with records.

        Raises
        ------
        DesignError
            If one is not in the pedigree.
        """
        position = {label: i for i, label in enumerate(self.animals)}
        wanted = list(dict.fromkeys(level_text(each) for each in animals))
        lacking = [label for label in wanted if label not in position]
        if lacking:
            raise DesignError(
                f"{len(lacking)} of the animals are not in the pedigree of {len(self.animals)}: "
                f"{listing(lacking, 5, quoted=True)}."
            )
        keep = np.zeros(len(self.animals) + 1, dtype=bool)
        keep[[position[label] for label in wanted]] = True
        for i in range(len(self.animals) - 1, -1, -1):
            if keep[i]:
                keep[self.sires[i]] = keep[self.dams[i]] = True
        kept = np.flatnonzero(keep[:-1])
        place = np.full(len(keep), -1)
        place[kept] = np.arange(len(kept))
        return Pedigree(
            animals=tuple(self.animals[i] for i in kept),
            sires=place[self.sires[kept]],
            dams=place[self.dams[kept]],
            inbreeding=self.inbreeding[kept],
        )

    def __len__(self) -> int:
        return len(self.animals)

    def __repr__(self) -> str:
        founders = int(((self.sires < 0) & (self.dams < 0)).sum())
        inbred = int((self.inbreeding > 0).sum())
        return f"<Pedigree of {len(self.animals):,} animals: {founders:,} founders, {inbred:,} inbred>"


def pedigree(
    data: Any, animal: str = "animal", sire: str = "sire", dam: str = "dam", *, selfing: bool = False
) -> Pedigree:
    """Read a pedigree, and work out the inbreeding of each animal.

    Parameters
    ----------
    data : data frame
        One row an animal, in any order.
    animal, sire, dam : str
        Names of the columns with the animal, its father and its mother. A parent that is missing, an empty text or 0
        is not known.
    selfing : bool
        Whether an animal (a plant) may be father and mother.

    Returns
    -------
    Pedigree
        For ``relations`` of `Model`: ``Model("y ~ 1 + (1 | rel(animal, A))", data, relations={"A": pedigree(frame)})``.
        Parents that are not listed are added as founders: not inbred, related to no other founder.

    Raises
    ------
    DesignError
        If an animal is listed twice with different parents, is its own ancestor, or is father and mother without
        `selfing`.

    Notes
    -----
    F_i is half the relationship of the parents, Σ_j T_sj T_dj D_j, with T the shares of each ancestor's own part that
    an animal has: generation by generation, all mates of a parent together.

    References
    ----------
    Quaas (1976), Biometrics 32. Meuwissen & Luo (1992), Genet. Sel. Evol. 24. Mrode (2014), Linear Models for the
    Prediction of Animal Breeding Values, chapter 2.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> import pandas as pd
    >>> family = pd.DataFrame({"animal": ["c", "d"], "sire": ["a", "a"], "dam": ["b", "c"]})
    >>> bmm.pedigree(family).table["inbreeding"].tolist()
    [0.0, 0.0, 0.0, 0.25]
    """
    for name, value in (("animal", animal), ("sire", sire), ("dam", dam)):
        if not isinstance(value, str):
            raise DesignError(f"{name} is {shorten(value)}: give the name of a column of the pedigree.")
    if len({animal, sire, dam}) < 3:
        raise DesignError(f"animal, sire and dam are {animal!r}, {sire!r} and {dam!r}: give three columns.")
    if not isinstance(selfing, bool):
        raise DesignError(f"selfing is {shorten(selfing)}: give True or False.")
    animals, sires, dams = _read(data, (animal, sire, dam))
    parents = _merge(animals, sires, dams)
    if not selfing:
        both = {s for s, _ in parents.values() if s is not None} & {d for _, d in parents.values() if d is not None}
        if both:
            raise DesignError(
                f"{len(both)} animal(s) are both a sire and a dam: {listing(sorted(both), 5, quoted=True)}. Correct "
                "the pedigree; where one individual can be both, say selfing=True."
            )
    order = _oldest_first(parents)
    position: dict[str | None, int] = {label: i for i, label in enumerate(order)}
    position[None] = -1
    sire_codes, dam_codes = (
        np.array([position[parents.get(label, (None, None))[side]] for label in order], dtype=np.int64)
        for side in (0, 1)
    )
    return Pedigree(
        animals=tuple(order),
        sires=sire_codes,
        dams=dam_codes,
        inbreeding=find_inbreeding(sire_codes, dam_codes),
    )


def _read(data: Any, names: Sequence[str]) -> tuple[list[str], list[str | None], list[str | None]]:
    """Labels of the animals and their parents, None where one is not known."""
    table = read_table(data, list(dict.fromkeys(names)))
    columns: list[list[str | None]] = []
    for name in names:
        column = table.columns[name]
        columns.append(
            [
                None if missing else level_text(value)
                for value, missing in zip(column.values, column.missing, strict=True)
            ]
        )
    own, *others = columns
    if any(label is None or label == "" for label in own):
        raise DesignError(f"The column {names[0]!r} of the pedigree has a row without an animal. Leave it out.")
    known = set(own)
    unknown = [text for text in UNKNOWN if text not in known]
    sires, dams = ([None if label in unknown else label for label in side] for side in others)
    return [str(label) for label in own], sires, dams


def _merge(
    animals: Sequence[str], sires: Sequence[str | None], dams: Sequence[str | None]
) -> dict[str, tuple[str | None, str | None]]:
    """Parents of each animal, (sire, dam)."""
    parents: dict[str, tuple[str | None, str | None]] = {}
    for label, sire, dam in zip(animals, sires, dams, strict=True):
        if parents.setdefault(label, (sire, dam)) != (sire, dam):
            raise DesignError(
                f"The animal {label!r} is in the pedigree twice, of {parents[label][0]!r} and {parents[label][1]!r} "
                f"and of {sire!r} and {dam!r}. Keep one row for each animal."
            )
    return parents


def _oldest_first(parents: dict[str, tuple[str | None, str | None]]) -> list[str]:
    """Order animals by generations, unlisted parents first, otherwise as listed.

    Raises
    ------
    DesignError
        If an animal descends from itself.
    """
    unlisted = dict.fromkeys(p for pair in parents.values() for p in pair if p is not None and p not in parents)
    generation: dict[str, int] = dict.fromkeys(unlisted, 0)
    for start in parents:
        path = [start]
        while path:
            label = path[-1]
            if label in generation:
                path.pop()
                continue
            waiting = [p for p in parents[label] if p is not None and p not in generation]
            if not waiting:
                known = [generation[p] for p in parents[label] if p is not None]
                generation[label] = 1 + max(known) if known else 0
                path.pop()
            elif waiting[0] in path:
                circle = [*path[path.index(waiting[0]) :], waiting[0]]
                shown = " of ".join(map(repr, circle[:SHOWN])) + (" ..." if len(circle) > SHOWN else "")
                raise DesignError(
                    f"{circle[0]!r} is its own ancestor: {shown}, each the offspring of the next. Correct the pedigree."
                )
            else:
                path.append(waiting[0])
    return sorted([*unlisted, *parents], key=generation.__getitem__)
