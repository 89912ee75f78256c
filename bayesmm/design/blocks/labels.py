"""The one table of names, dims and coordinates that both wings use.

Row names are for people (``sd(Days | Subject)``); variables, dims and coordinates are for ArviZ's DataTree, where a
variable may not be named like a dim, nor contain a slash.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from bayesmm.arguments import shorten
from bayesmm.covariance.layout import Piece
from bayesmm.covariance.public import sd_ends
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.residual import ResidualBlock
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.specification.priors import PRIORS
from bayesmm.specification.terms import CALLEES

type Kind = Literal["fixed", "sd", "cor", "sigma", "exponent"]

KINDS: tuple[Kind, ...] = ("fixed", "sd", "cor", "sigma")
RESIDUAL_SD, RESIDUAL_COR = "residual_sd", "residual_cor"  # variables of parameters of the residuals
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
    "residual_sd",
    "residual_sd_name",
    "residual_cor",
    "residual_pair",
    "point",
    "weight",
    "name",
}
_ARVIZ = {"chain", "draw", "sample", "summary", "variable", "label", "ci_bound", "column", "model"}
_ARVIZ |= {"plot_axis", "kwarg"}
_PREFIXES = ("sd", "cor", "b", "z", "r", "t", "cholesky", "correlation", "range", "variance", "share")
_SUFFIXES = ("effect", "sd", "pair", "index", "member")
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
    kind : {"fixed", "sd", "cor", "sigma", "exponent"}
        What it is; an exponent is one of a variance function of the residuals.
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


@dataclass(frozen=True, kw_only=True)
class BlockLabels:
    """The names of one grouping factor.

    Attributes
    ----------
    group : str
        Name in tables.
    dim : str
        Dim of its levels; the group's name, unless that would break the DataTree.
    members : tuple of str
        The columns that each have a level of a row, where there are several.
    relation : str
        Name of the matrix that relates the levels; empty if none does.
    effects : tuple of str
        Effects (k,), the coordinates of ``effect_dim``.
    levels : tuple of str
        Levels (q,), the coordinates of ``dim``.
    pieces : tuple of Piece
        Which effects share a covariance matrix, and its structure.
    expressions : tuple of str
        What each piece's term has left of its bar; ``s(x)`` alone of a smooth term.
    is_whole : bool
        Whether all rows are one level.
    """

    group: str
    dim: str
    effects: tuple[str, ...]
    levels: tuple[str, ...]
    pieces: tuple[Piece, ...]
    expressions: tuple[str, ...]
    members: tuple[str, ...] = ()
    is_whole: bool = False
    relation: str = ""

    @cached_property
    def sds(self) -> tuple[str, ...]:
        """Names of the free standard deviations, the coordinates of ``sd_dim``: effects, or a term's expression."""
        return tuple(
            name
            for piece, expression in self._terms()
            for name in piece.structure.sd_names(self.effects[piece.inside], expression)
        )

    @cached_property
    def cors(self) -> tuple[str, ...]:
        """Names of the free correlations, the coordinates of ``pair_dim``: ``"Intercept, Days"``, or a term's."""
        return tuple(names[0] for names in self._cor_names())

    @property
    def sd_rows(self) -> tuple[str, ...]:
        """Row names of the standard deviations."""
        return tuple(f"sd({name} | {self.group})" for name in self.sds)

    @property
    def cor_rows(self) -> tuple[str, ...]:
        """Row names of the correlations."""
        return tuple(f"cor({name} | {self.group})" for name in self.cors)

    @property
    def cor_aliases(self) -> tuple[str, ...]:
        """How else the correlations may be written; "" if in no other way, or if two may be written so."""
        others = [names[1] if len(names) > 1 else "" for names in self._cor_names()]
        return tuple(f"cor({other} | {self.group})" if other and others.count(other) == 1 else "" for other in others)

    @cached_property
    def sd_effects(self) -> tuple[slice, ...]:
        """Which of the effects have each standard deviation."""
        found: list[slice] = []
        for piece in self.pieces:
            own = piece.structure.sd_slices(piece.k)
            found += [slice(piece.start + each.start, piece.start + each.stop) for each in own]
        return tuple(found)

    @property
    def cor_cells(self) -> tuple[tuple[int, str], ...]:
        """Where a table of the standard deviations shows each correlation: beside which, and under which heading."""
        return tuple(
            (start + row, head)
            for (piece, _), start in zip(self._terms(), sd_ends(self.pieces), strict=False)
            for row, head in piece.structure.cor_cells(self.effects[piece.inside])
        )

    def _terms(self) -> Iterator[tuple[Piece, str]]:
        return zip(self.pieces, self.expressions, strict=True)

    def _cor_names(self) -> list[tuple[str, ...]]:
        return [
            names
            for piece, expression in self._terms()
            for names in piece.structure.cor_names(self.effects[piece.inside], expression)
        ]

    @property
    def member_dim(self) -> str:
        """Dim of the levels of a row, where it has several."""
        return f"{self.dim}_member"

    @property
    def effect_dim(self) -> str:
        """Dim of the effects of a level."""
        return f"{self.dim}_effect"

    @property
    def sd_dim(self) -> str:
        """Dim of the standard deviations; of its own where the effects are its coordinates, or ArviZ would mislabel."""
        return f"{self.dim}_sd"

    @property
    def pair_dim(self) -> str:
        """Dim of the correlations."""
        return f"{self.dim}_pair"

    @property
    def sd_variable(self) -> str:
        """Variable of the standard deviations, over ``sd_dim``."""
        return f"sd_{self.dim}"

    @property
    def cor_variable(self) -> str:
        """Variable of the correlations, over ``pair_dim``; absent if none is free."""
        return f"cor_{self.dim}"

    @property
    def effect_variable(self) -> str:
        """Variable of the random effects, over ``dim`` and ``effect_dim``."""
        return f"b_{self.dim}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """All names of one model.

    Attributes
    ----------
    coefficients : tuple of str
        Fixed effects that are estimated (p,), the coordinates of ``coef``.
    blocks : tuple of BlockLabels
        One for each grouping factor.
    has_sigma : bool
        Whether sigma is a parameter: estimated, and not known.
    residual_sds, residual_cors : tuples of str
        Row names of the other parameters of the residuals: standard deviations and exponents, correlations.
    residual_kinds : tuple of str
        Which of the former are which.
    residual_group : str or None
        Within what residuals are correlated.
    """

    coefficients: tuple[str, ...]
    blocks: tuple[BlockLabels, ...]
    has_sigma: bool = True
    residual_sds: tuple[str, ...] = ()
    residual_cors: tuple[str, ...] = ()
    residual_kinds: tuple[Kind, ...] = ()
    residual_group: str | None = None

    @property
    def n_levels(self) -> dict[str, int]:
        """Numbers of levels by grouping factor, where not all rows are one."""
        return {block.group: len(block.levels) for block in self.blocks if not block.is_whole}

    def parameter_rows(self) -> list[ParameterRow]:
        """Return the rows of every table of parameters, in their order.

        Returns
        -------
        list of ParameterRow
            Coefficients; for each grouping factor its standard deviations, then its correlations; those of residuals;
            sigma.
        """
        covariances = [row for block in self.blocks for row in _block_rows(block)]
        covariances += [
            ParameterRow(name=name, kind=kind, group=None, variable=RESIDUAL_SD, index=i)
            for i, (name, kind) in enumerate(zip(self.residual_sds, self.residual_kinds, strict=True))
        ]
        covariances += [
            ParameterRow(name=name, kind="cor", group=self.residual_group, variable=RESIDUAL_COR, index=i)
            for i, name in enumerate(self.residual_cors)
        ]
        if self.has_sigma:
            covariances.append(ParameterRow(name="sigma", kind="sigma", group=None, variable="sigma", index=None))
        return [*self._fixed_rows(covariances), *covariances]

    def _fixed_rows(self, covariances: Sequence[ParameterRow]) -> list[ParameterRow]:
        """Name coefficients by their columns, or ``beta(column)`` where the name has another meaning in the table."""
        others = {*KINDS, *(f"beta({name})" for name in self.coefficients)}
        for row in covariances:
            others |= {row.kind, row.name, row.alias, f"{row.kind}({row.group})"}
            if row.variable == RESIDUAL_COR:
                head = row.name.partition("(")[0]
                others |= {head, f"{head}({row.group})"}
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


def build_labels(
    coefficients: Sequence[str],
    blocks: Sequence[RandomBlock],
    *,
    has_sigma: bool,
    residual: ResidualBlock | None = None,
) -> Labels:
    """Name everything in a design; see `bayesmm.design.design.Design.labels`."""
    named: list[BlockLabels] = []
    for block in blocks:
        dim = _safe_dim(block, (other.dim for other in named))
        named.append(
            BlockLabels(
                group=block.group,
                dim=dim,
                effects=block.effects,
                levels=block.levels,
                pieces=block.layout,
                expressions=tuple(piece.term.label for piece in block.pieces),
                members=block.factors if block.grouping.has_members else (),
                is_whole=block.is_whole,
                relation=block.grouping.relation,
            )
        )
    return Labels(
        coefficients=tuple(coefficients),
        blocks=tuple(named),
        has_sigma=has_sigma,
        residual_sds=() if residual is None else residual.sd_names,
        residual_cors=() if residual is None else residual.cor_names,
        residual_kinds=() if residual is None else tuple("sigma" if own else "exponent" for own in residual.are_sds),
        residual_group=None if residual is None else residual.group or None,
    )


def has_plain_names(coefficients: Sequence[str], blocks: Sequence[RandomBlock]) -> bool:
    """Whether no two parameters can have one name, as can be told without writing them.

    Coefficients, groups and a group's effects differ among themselves. What is written of them differs, too, where none
    has a comma or a bar in it, and effects stand for themselves rather than for their term.
    """
    names = "".join([*coefficients, *(name for block in blocks for name in (block.group, *block.effects))])
    return not ("|" in names or "," in names) and all(
        piece.structure.correlations in ("none", "matrix") and piece.structure.n_sds(piece.k) == piece.k
        for block in blocks
        for piece in block.pieces
    )


def check_distinct(labels: Labels) -> None:
    """Refuse two parameters of one name.

    Raises
    ------
    DesignError
        Names it.
    """
    names = [row.name for row in labels.parameter_rows()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DesignError(
            f"Two parameters would both be called {twice!r}. Rename the columns in the data so that their names, with "
            "commas and bars between them, can be told apart."
        )


def _block_rows(block: BlockLabels) -> list[ParameterRow]:
    sds = [
        ParameterRow(name=name, kind="sd", group=block.group, variable=block.sd_variable, index=i)
        for i, name in enumerate(block.sd_rows)
    ]
    return sds + [
        ParameterRow(name=name, kind="cor", group=block.group, variable=block.cor_variable, index=i, alias=alias)
        for i, (name, alias) in enumerate(zip(block.cor_rows, block.cor_aliases, strict=True))
    ]


def _safe_dim(block: RandomBlock, others: Iterable[str]) -> str:
    """Return a dim's name that a file can hold, and that goes with no name of a variable or another dim."""
    grouping = block.grouping
    name = block.group if grouping.kind == "combination" else "_".join((CALLEES[grouping.kind], *grouping.factors))
    name = name if grouping.factors else "all"
    dim = _NOT_IN_FILES.sub("_", name) or "_"
    used = set(_TAKEN).union(*map(_derived, others))
    while _derived(dim) & used:
        dim += "_"
    return dim


def safe_name(name: str, taken: Iterable[str] = ()) -> str:
    """Return a name of a dim that a file can hold, and that is no other's: not ours, not ArviZ's, not one taken."""
    dim = _NOT_IN_FILES.sub("_", name) or "_"
    while dim in _TAKEN or dim in taken:
        dim += "_"
    return dim


@lru_cache(maxsize=256)
def _derived(dim: str) -> frozenset[str]:
    """Names that are made of a dim's, of variables, dims and sites of the programs."""
    sites = {f"{prefix}_{dim}" for prefix in _PREFIXES}
    names = (*(f"{dim}_{suffix}" for suffix in _SUFFIXES), *sites, *(f"{s}_{end}" for s in sites for end in _ENDS))
    return frozenset((dim, *names))


def find_group(labels: Labels, group: object) -> int:
    """Return which grouping factor a name is of.

    Raises
    ------
    ArgumentError
        If it is of none.
    """
    for f, block in enumerate(labels.blocks):
        if isinstance(group, str) and group in (block.group, f"`{block.group}`"):
            return f
    groups = ", ".join(repr(block.group) for block in labels.blocks)
    raise ArgumentError(f"group is {shorten(group)}: give a grouping factor of the model: {groups}.")
