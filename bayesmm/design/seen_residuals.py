"""New rows of groups whose residuals the fit has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.arguments import is_one_of, shorten
from bayesmm.covariance.residual import Correlation, EvenSteps, GroupedRows, Parted
from bayesmm.design.blocks.residual import NewGroups, ResidualBlock, check_apart, evaluate_spreads, read_groups
from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence

if TYPE_CHECKING:
    from bayesmm.design.design import Design
    from bayesmm.design.predictors import Predictors


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenResiduals:
    """New rows beside those of the fit.

    Attributes
    ----------
    correlation : Correlation
        Of the rows of a group.
    known, new : GroupedRows
        Those of the fit (n,), and new ones (m,), whose group is −1 where the fit has no row of it.
    groups : int array, shape (m,)
        Which new rows share a group.
    """

    correlation: Correlation
    known: GroupedRows
    new: GroupedRows
    groups: np.ndarray


def check_residuals(residuals: Any, random: Any, new_data: Any) -> bool:
    """Say whether the residuals of the fit's rows are to count for new ones.

    Raises
    ------
    PredictionError
        If the argument is none of its values, or goes with neither the rows nor the effects that are asked for.
    """
    if residuals is None or not is_one_of(residuals, ("none", "conditional")):
        raise PredictionError(
            f"residuals is {shorten(residuals)}: give 'none' (the mean alone), or 'conditional' (with what the "
            "residuals of a group's other rows say)."
        )
    if residuals == "none":
        return False
    if not is_one_of(random, ("all",)):
        raise PredictionError(
            "residuals='conditional' is about groups that are known, with all their effects: leave random= out."
        )
    if new_data is None:
        raise PredictionError(
            "residuals='conditional' is for new rows: those of the fit have residuals of their own, so that each would "
            "be predicted to be what was measured. Give new_data, or take fitted()."
        )
    return True


def read_seen(
    design: Design, new_data: Any, weights: np.ndarray, fitted: np.ndarray | None = None, *, apart: bool
) -> SeenResiduals | None:
    """Read which new rows belong to groups of the fit; None where residuals are not correlated.

    Parameters
    ----------
    design : Design
        Of the fit.
    new_data : data frame
        New rows.
    weights : array, shape (m,)
        Their prior weights.
    fitted : array, shape (m,), optional
        Their fitted values, where variances change with these.
    apart : bool
        Whether rows of a group at one position are refused.

    Raises
    ------
    DesignError, PredictionError
        As `read_groups` and `evaluate_spreads`.
    """
    block = design.residual
    if block is None or block.correlation is None:
        return None
    groups = read_groups(block, new_data)
    if apart:
        check_apart(block, groups)
    own = seen_groups(block, groups)
    positions = block.positions + groups.shift
    if isinstance(block.correlation, Parted):
        _check_parts(design, own, block.correlation.part_of(groups.positions), positions)
    if any(isinstance(part, EvenSteps) for part in block.correlation.parts):
        _check_steps(block, own, groups, positions)
    spreads = np.nan_to_num(evaluate_spreads(block, new_data, fitted))  # rows without fitted values have no prediction
    known = np.where(np.isfinite(weights), weights, 1.0)
    return SeenResiduals(
        correlation=block.correlation,
        known=GroupedRows(block.codes, positions, block.columns, design.weights),
        new=GroupedRows(own, groups.positions, spreads, known),
        groups=groups.codes,
    )


def seen_groups(block: ResidualBlock, groups: NewGroups) -> np.ndarray:
    """Find the groups of new rows (m,) among those of the fit; −1 where they are not."""
    place = {label: i for i, label in enumerate(block.levels)}
    return np.array([place.get(label, -1) for label in groups.labels], dtype=np.int64)[groups.codes]


def _check_parts(design: Design, own: np.ndarray, parts: np.ndarray, positions: np.ndarray) -> None:
    """Refuse new rows of a known group in another level of what has parameters of its own, or too far from all."""
    block = design.residual
    assert block is not None
    assert isinstance(block.correlation, Parted)
    before = block.correlation.part_of(block.positions)
    if (block.correlation.part_of(positions) != before).any():
        raise PredictionError(
            f"The new rows begin so long before those of the fit that {block.specification.text!r} cannot place both."
        )
    level = np.full(len(block.levels) + 1, -1)
    level[block.codes] = before
    wrong = (own >= 0) & (level[own] != parts)
    if wrong.any():
        row = int(wrong.argmax())
        raise PredictionError(
            f"Group {block.levels[own[row]]!r} of {block.group!r} has new rows of "
            f"{block.correlation.labels[int(parts[row])]}, and those of the fit are of another level: a group has one."
        )


def check_levels(design: Design, predictors: Predictors, groups: np.ndarray) -> None:
    """Refuse new rows (m,) of groups of the fit, or −1, with other levels of grouping factors than those have.

    Raises
    ------
    PredictionError
        With the row.
    """
    block = design.residual
    assert block is not None
    for own, each in zip(predictors.incidences, design.blocks, strict=True):
        if own is None:
            continue
        level = np.full(len(block.levels) + 1, -1)
        level[block.codes] = each.incidence.only.codes
        wrong = (groups >= 0) & (level[groups] != own.only.codes)
        if wrong.any():
            row = int(wrong.argmax())
            raise PredictionError(
                f"Group {block.levels[groups[row]]!r} of {block.group!r} has a new row {predictors.index[row]!r} with "
                f"another level of {each.group!r} than the rows of the fit: residuals hang together within groups that "
                "have one."
            )


def _check_steps(block: ResidualBlock, own: np.ndarray, groups: NewGroups, positions: np.ndarray) -> None:
    """Refuse new rows an odd number of steps from those of their group, where all of these are even ones apart."""
    parity = np.zeros(len(block.levels) + 1)
    parity[block.codes] = positions % 2.0
    odd = (own >= 0) & (parity[own] != groups.positions % 2.0)
    if odd.any():
        row, term = int(odd.argmax()), block.specification.correlation
        assert term is not None
        raise PredictionError(
            f"Group {block.levels[own[row]]!r} of {block.group!r} has a new row an odd number of steps of "
            f"{term.position!r} from its others, and the fit has even ones alone, which do not tell the sign of the "
            "correlation over one step: take residuals='none', or car1() in the place of ar1(), "
            "in which it is positive."
        )


def less_known(design: Design, predictors: Predictors, K: Any) -> Predictors:
    """Take what known rows say off the rows that are predicted.

    Parameters
    ----------
    design : Design
        Of the fit.
    predictors : Predictors
        New rows (m), with the levels that their groups have.
    K : sparse array, shape (m, n)
        What their residuals are expected to be, of residuals of the fit's rows.

    Returns
    -------
    Predictors
        x'β + z'b + K(y − Xβ − Zb) as a function of (β, b), K taken as known.
    """
    incidences: list[Incidence | None] = []
    for own, each in zip(predictors.incidences, design.blocks, strict=True):
        added = K @ each.incidence.only.columns
        incidences.append(own and own.map(lambda codes: codes, lambda columns, added=added: columns - added))
    return replace(
        predictors,
        X=predictors.X - K @ design.X[:, design.kept],
        offset=predictors.offset + K @ (design.y - design.offset),
        incidences=tuple(incidences),
    )
