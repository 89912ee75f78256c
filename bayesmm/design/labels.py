"""The one table of names, dims and coordinates that both wings use.

Row names are for people (``sd(Days | Subject)``); variables, dims and coordinates are for ArviZ's DataTree, where a
variable may not be named like a dim, nor contain a slash.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from bayesmm.design.blocks import RandomBlock
from bayesmm.design.design import Design
from bayesmm.errors import DesignError
from bayesmm.specification.priors import PRIORS

type Kind = Literal["fixed", "sd", "cor", "sigma"]

KINDS: tuple[Kind, ...] = ("fixed", "sd", "cor", "sigma")
_OURS = {
    "beta",
    "sigma",
    "coef",
    "obs",
    "y",
    "X",
    "offset",
    "weights",
    "lp",
    "node",
    "parameter",
    "point",
    "weight",
    "name",
}
_ARVIZ = {"chain", "draw", "sample", "summary", "variable", "label", "ci_bound", "column", "model"}
_ARVIZ |= {"plot_axis", "kwarg"}
_PREFIXES = ("sd", "cor", "b", "z", "r", "t", "cholesky", "variance", "share")
_SUFFIXES = ("effect", "sd", "pair", "index")
_ENDS = ("mean", "sd", "variance", *map(str, range(10)), *(family.__name__ for family in PRIORS))
_NOT_IN_FILES = re.compile(r"[/\x00-\x1f\x7f-\x9f]|^[\s.]+|\s+$")
_TAKEN = frozenset(_OURS | _ARVIZ)  # names of variables and dims, in our groups or in what ArviZ makes of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRow:
    """One row of a table of parameters, and where its draws are.

    Attributes
    ----------
    name : str
        ``"Days"``, ``"sd(Days | Subject)"``, ``"cor(Intercept, Days | Subject)"``, ``"sigma"``.
    kind : {"fixed", "sd", "cor", "sigma"}
        What it is.
    group : str or None
        Grouping factor of an sd or a cor.
    variable : str
        Variable of the DataTree.
    index : int or None
        Position along that variable's dim; None for a scalar.
    alias : str
        What a person may also write for it: ``"beta(Days)"``, ``"cor(Days, Intercept | Subject)"``; "" if nothing.
    """

    name: str
    kind: Kind
    group: str | None
    variable: str
    index: int | None
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLabels:
    """The names of one grouping factor.

    Attributes
    ----------
    group : str
        Name in tables.
    dim : str
        Dim of its levels; the group's name, unless that would break the DataTree.
    effects : tuple of str
        Effects (k,), the coordinates of ``effect_dim`` and ``sd_dim``.
    levels : tuple of str
        Levels (q,), the coordinates of ``dim``.
    pairs : tuple of (int, int)
        Effects i < j that are correlated: those of one unstructured term.
    """

    group: str
    dim: str
    effects: tuple[str, ...]
    levels: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def effect_dim(self) -> str:
        """Dim of the effects of a level."""
        return f"{self.dim}_effect"

    @property
    def sd_dim(self) -> str:
        """Dim of their standard deviations, with the same coordinates; not shared, or ArviZ would mislabel."""
        return f"{self.dim}_sd"

    @property
    def pair_dim(self) -> str:
        """Dim of the correlated pairs."""
        return f"{self.dim}_pair"

    @property
    def pair_labels(self) -> tuple[str, ...]:
        """Coordinates of the pairs: ``"Intercept, Days"``."""
        return tuple(f"{self.effects[i]}, {self.effects[j]}" for i, j in self.pairs)

    @property
    def sd_variable(self) -> str:
        """Variable of the standard deviations, over ``sd_dim``."""
        return f"sd_{self.dim}"

    @property
    def cor_variable(self) -> str:
        """Variable of the correlations, over ``pair_dim``; absent if there are no pairs."""
        return f"cor_{self.dim}"

    @property
    def effect_variable(self) -> str:
        """Variable of the random effects, over ``dim`` and ``effect_dim``."""
        return f"b_{self.dim}"

    def sd_row(self, effect: str) -> str:
        """Return the row name of a standard deviation."""
        return f"sd({effect} | {self.group})"

    def cor_row(self, i: int, j: int) -> str:
        """Return the row name of the correlation of the effects i and j."""
        return f"cor({self.effects[i]}, {self.effects[j]} | {self.group})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """All names of one model.

    Attributes
    ----------
    coefficients : tuple of str
        Fixed effects that are estimated (p,), the coordinates of ``coef``.
    blocks : tuple of BlockLabels
        One for each grouping factor.
    sigma_fixed : bool
        Whether sigma is known, and so not a parameter.
    """

    coefficients: tuple[str, ...]
    blocks: tuple[BlockLabels, ...]
    sigma_fixed: bool = False

    def parameter_rows(self) -> list[ParameterRow]:
        """Return the rows of every table of parameters, in their order.

        Returns
        -------
        list of ParameterRow
            Coefficients; for each grouping factor its standard deviations, then its correlations; sigma.
        """
        spreads = [row for block in self.blocks for row in _block_rows(block)]
        if not self.sigma_fixed:
            spreads.append(ParameterRow(name="sigma", kind="sigma", group=None, variable="sigma", index=None))
        return [*self._fixed_rows(spreads), *spreads]

    def _fixed_rows(self, spreads: Sequence[ParameterRow]) -> list[ParameterRow]:
        """Name coefficients by their columns, or ``beta(column)`` where the name has another meaning in the table."""
        others = {*KINDS, *(f"beta({name})" for name in self.coefficients)}
        for row in spreads:
            others |= {row.name, row.alias, f"{row.kind}({row.group})"}
        return [
            ParameterRow(
                name=f"beta({name})" if name in others else name,
                kind="fixed",
                group=None,
                variable="beta",
                index=i,
                alias=f"beta({name})",
            )
            for i, name in enumerate(self.coefficients)
        ]


def build_labels(design: Design) -> Labels:
    """Name everything in a design.

    Parameters
    ----------
    design : Design
        Data and specification.

    Returns
    -------
    Labels

    Raises
    ------
    DesignError
        If two parameters would have one name.
    """
    coefficients = tuple(design.coefficients[j] for j in design.kept)
    blocks: list[BlockLabels] = []
    for block in design.blocks:
        dim = _safe_dim(block, (other.dim for other in blocks))
        blocks.append(
            BlockLabels(group=block.group, dim=dim, effects=block.effects, levels=block.levels, pairs=_pairs(block))
        )
    labels = Labels(coefficients=coefficients, blocks=tuple(blocks), sigma_fixed=design.sigma_fixed)
    _check_distinct(labels)
    return labels


def _check_distinct(labels: Labels) -> None:
    names = [row.name for row in labels.parameter_rows()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DesignError(
            f"Two parameters would both be called {twice!r}. Rename the columns in the data so that their names, with "
            "commas and bars between them, can be told apart."
        )


def _block_rows(block: BlockLabels) -> list[ParameterRow]:
    sds = [
        ParameterRow(name=block.sd_row(effect), kind="sd", group=block.group, variable=block.sd_variable, index=i)
        for i, effect in enumerate(block.effects)
    ]
    return sds + [
        ParameterRow(
            name=block.cor_row(i, j),
            kind="cor",
            group=block.group,
            variable=block.cor_variable,
            index=pair,
            alias=block.cor_row(j, i),
        )
        for pair, (i, j) in enumerate(block.pairs)
    ]


def _pairs(block: RandomBlock) -> tuple[tuple[int, int], ...]:
    """Return the correlated pairs of effects, (0, 1), (0, 2), (1, 2), ..., within one unstructured piece."""
    return tuple(
        (i, j)
        for piece in block.pieces
        if piece.term.structure == "unstructured"
        for j in range(piece.start, piece.stop)
        for i in range(piece.start, j)
    )


def _safe_dim(block: RandomBlock, others: Iterable[str]) -> str:
    """Return a dim's name that a file can hold, and that goes with no name of a variable or another dim."""
    dim = _NOT_IN_FILES.sub("_", block.group) or "_"
    used = set(_TAKEN).union(*map(_derived, others))
    while _derived(dim) & used:
        dim += "_"
    return dim


@lru_cache(maxsize=256)
def _derived(dim: str) -> frozenset[str]:
    """Names that are made of a dim's, of variables, dims and sites of the programs."""
    sites = {f"{prefix}_{dim}" for prefix in _PREFIXES}
    names = (*(f"{dim}_{suffix}" for suffix in _SUFFIXES), *sites, *(f"{s}_{end}" for s in sites for end in _ENDS))
    return frozenset((dim, *names))
