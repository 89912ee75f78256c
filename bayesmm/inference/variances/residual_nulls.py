"""Null hypotheses on the covariance of the residuals: no correlations, or no differences of standard deviations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.blocks.residual import ResidualBlock
from bayesmm.marginal.residual.layout import ResidualLayout


@dataclass(frozen=True, kw_only=True)
class ResidualHypothesis:
    """Residuals of a group are independent, or their standard deviations do not change with something.

    Attributes
    ----------
    name : str
        What is left out: the parameter where it is one, else ``rho(week | id)``, ``sigma(arm)``.
    names : tuple of str
        The parameters that go, as tables have them.
    spread : int or None
        Which of the residuals' spreads; None for the correlations.
    n_one_sided : int
        How many of the parameters cannot be negative.
    also_called : tuple of str
        What else it may be asked for by.
    """

    name: str
    names: tuple[str, ...]
    spread: int | None
    n_one_sided: int
    also_called: tuple[str, ...] = ()

    @property
    def n_parameters(self) -> int:
        """How many go."""
        return len(self.names)


def residual_hypotheses(block: ResidualBlock | None) -> Iterator[ResidualHypothesis]:
    """Yield one for the correlations, and one for each thing that standard deviations change with."""
    if block is None:
        return
    if block.correlation is not None:
        term, names = block.specification.correlation, block.cor_names
        assert term is not None
        yield ResidualHypothesis(
            name=names[0] if len(names) == 1 else f"rho({term.position} | {block.group})",
            names=names,
            spread=None,
            n_one_sided=len(names) if block.correlation.limits[0] == 0.0 else 0,
        )
    for position, spread in enumerate(block.spreads):
        together = f"sigma({':'.join(spread.factors)})" if spread.factors else spread.names[0]
        name = spread.names[0] if len(spread.names) == 1 else together
        yield ResidualHypothesis(
            name=name, names=spread.names, spread=position, n_one_sided=0, also_called=(together, spread.term)
        )


def without(block: ResidualBlock, hypothesis: ResidualHypothesis) -> ResidualBlock | None:
    """Return the residuals under a hypothesis; None where they are independent with one variance.

    The specification stays that of the larger model: what is left is looked at by its arrays alone.
    """
    if hypothesis.spread is not None:
        spreads = tuple(each for position, each in enumerate(block.spreads) if position != hypothesis.spread)
        return replace(block, spreads=spreads) if spreads or block.correlation is not None else None
    if not block.spreads:
        return None
    if block.elsewhere is not None:
        return replace(block, correlation=None, group="", levels=(), places=())
    n = len(block.codes)
    return replace(block, correlation=None, group="", levels=(), codes=np.arange(n), positions=np.zeros(n), places=())


def layout_without(layout: ResidualLayout, block: ResidualBlock, hypothesis: ResidualHypothesis) -> ResidualLayout:
    """Return a layout under a hypothesis on its block."""
    ends = np.cumsum([0, *(len(spread.names) for spread in block.spreads)])
    dropped = range(0) if hypothesis.spread is None else range(*ends[hypothesis.spread : hypothesis.spread + 2])
    kept = [j for j in range(layout.n_spreads) if j not in dropped]
    return layout.of_spreads(kept, keeps_correlation=hypothesis.spread is not None)
