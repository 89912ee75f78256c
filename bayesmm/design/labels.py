"""The one table of names, dims and coordinates that both wings use.

Row names are for people (``sd(Days | Subject)``); variables, dims and coordinates are for ArviZ's DataTree, where a
variable may not be named like a dim, nor contain a slash.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bayesmm.design.blocks import RandomBlock
from bayesmm.design.design import Design

type Kind = Literal["fixed", "sd", "cor", "sigma"]

_TAKEN = frozenset({"beta", "sigma", "coef", "obs", "chain", "draw", "sample", "y", "offset", "weights", "lp"})


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
    """

    name: str
    kind: Kind
    group: str | None
    variable: str
    index: int | None


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
        rows = [
            ParameterRow(name=self._fixed_row(name), kind="fixed", group=None, variable="beta", index=i)
            for i, name in enumerate(self.coefficients)
        ]
        for block in self.blocks:
            rows += _block_rows(block)
        if not self.sigma_fixed:
            rows.append(ParameterRow(name="sigma", kind="sigma", group=None, variable="sigma", index=None))
        return rows

    @staticmethod
    def _fixed_row(name: str) -> str:
        """Tell a column named sigma from the residual standard deviation."""
        return "beta(sigma)" if name == "sigma" else name


def build_labels(design: Design) -> Labels:
    """Name everything in a design.

    Parameters
    ----------
    design : Design
        Data and specification.

    Returns
    -------
    Labels
    """
    coefficients = tuple(design.coefficients[j] for j in design.kept)
    blocks: list[BlockLabels] = []
    for block in design.blocks:
        dim = _safe_dim(block.group, (other.dim for other in blocks))
        blocks.append(
            BlockLabels(group=block.group, dim=dim, effects=block.effects, levels=block.levels, pairs=_pairs(block))
        )
    return Labels(coefficients=coefficients, blocks=tuple(blocks), sigma_fixed=design.sigma_fixed)


def _block_rows(block: BlockLabels) -> list[ParameterRow]:
    sds = [
        ParameterRow(name=block.sd_row(effect), kind="sd", group=block.group, variable=block.sd_variable, index=i)
        for i, effect in enumerate(block.effects)
    ]
    return sds + [
        ParameterRow(name=block.cor_row(i, j), kind="cor", group=block.group, variable=block.cor_variable, index=pair)
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


def _safe_dim(group: str, others: Iterable[str]) -> str:
    """Return a dim's name that no variable, nor any other dim, has."""
    dim = group.replace("/", "_")
    used = set(_TAKEN)
    for other in others:
        used |= {other, f"{other}_effect", f"{other}_pair", f"sd_{other}", f"cor_{other}", f"b_{other}"}
    while {dim, f"{dim}_effect", f"{dim}_pair", f"sd_{dim}", f"cor_{dim}", f"b_{dim}"} & used:
        dim += "_"
    return dim
