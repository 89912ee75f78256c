"""Checks at the door: data that no mixed model can be fitted to, each with its own message."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bayesmm.arguments import LARGEST, SMALLEST
from bayesmm.console import brief
from bayesmm.design.blocks.blocks import BlockPiece, RandomBlock
from bayesmm.design.blocks.told_apart import find_crowded, find_indistinct
from bayesmm.design.reading.frame import Table
from bayesmm.errors import DesignError, SpecificationError
from bayesmm.limits import COVARIANCE_PARAMETERS

LARGEST_WEIGHT = 1e18
MOST_RATIO = 1e12  # of the response's standard deviation to a known σ, either way


def check_finite(table: Table, keep: np.ndarray) -> None:
    """Refuse infinite values in the rows of a mask (n_rows,) of any column."""
    for name, column in table.columns.items():
        values = column.values
        if column.mask is None or isinstance(values, pd.Categorical) or values.dtype != np.float64:
            continue
        infinite = np.isinf(values) & keep
        if infinite.any():
            raise DesignError(
                f"Column {name!r} has {int(infinite.sum())} infinite value(s), the first in row "
                f"{table.index[infinite.argmax()]!r}. Correct them, or set them to missing."
            )


def check_sizes(columns: Iterable[tuple[str, np.ndarray]]) -> None:
    """Refuse columns whose largest entry is so large or small that squares and products of it are lost to rounding.

    Parameters
    ----------
    columns : iterable of (str, array)
        Names and values, (n,) each.
    """
    for name, values in columns:
        size = float(np.abs(values).max(initial=0.0))
        if size > 0 and not SMALLEST <= size <= LARGEST:
            raise DesignError(
                f"The numbers of {name!r} are up to {size:.3g} in size, beyond {SMALLEST:g} to {LARGEST:g}, where "
                "their squares are lost to rounding. Choose another unit, or correct the data."
            )


def check_weights(weights: np.ndarray, index: pd.Index) -> None:
    """Refuse weights (n,) that are not positive and finite."""
    bad = ~(np.isfinite(weights) & (weights > 0))
    if bad.any():
        first = int(bad.argmax())
        raise DesignError(
            f"{int(bad.sum())} of the {len(weights)} weights are not positive and finite, the first is "
            f"{weights[first]:g} in row {index[first]!r}. A weight is a precision: leave out rows without information."
        )
    if len(weights) and not 1 / LARGEST_WEIGHT <= float(weights.max()) <= LARGEST_WEIGHT:
        raise DesignError(
            f"The weights are up to {weights.max():.3g}, beyond {1 / LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}, where "
            "they are lost to rounding. Divide them by their mean: while sigma is estimated, only their ratios matter."
        )


def check_response(y: np.ndarray, offset: np.ndarray, text: str) -> None:
    """Refuse a response (n,) that does not vary around the offset (n,)."""
    remainder = y - offset
    low, high = remainder.min(), remainder.max()
    check_varies(low, high, len(y), text, has_offset=low == high and bool(offset.any()))


def check_varies(low: float, high: float, n_rows: int, text: str, *, has_offset: bool) -> None:
    """Refuse a response whose least and greatest value, less the offset, are the same."""
    if low == high:
        less = " minus the offset" if has_offset else ""
        raise DesignError(
            f"The response {text!r}{less} is {low:g} in all {n_rows} rows used: nothing is left to explain. "
            "Check the column and which rows are used."
        )


def check_known_sigma(sigma: float, remainder: np.ndarray, weights: np.ndarray, text: str) -> None:
    """Refuse a known σ beside which the response less its offset (n,), or which beside it, is only rounding."""
    check_spread(sigma, float(np.std(remainder)) * float(np.sqrt(np.median(weights))), text)


def check_spread(sigma: float, spread: float, text: str) -> None:
    """Refuse a known σ that has little in common with the standard deviation of the response, of weight one."""
    if not 1.0 / MOST_RATIO <= spread / sigma <= MOST_RATIO:
        raise SpecificationError(
            f"sigma is {sigma:g}, where the response {text!r} has a standard deviation of {spread:.3g} (of weight "
            "one): with so little in common nothing can be computed. Check the units of both."
        )


def check_block(block: RandomBlock) -> None:
    """Refuse a grouping factor with one level, unless several effects share a variance, and a correlation of one."""
    if block.q < 2 and not all(piece.structure.n_sds(piece.k) < piece.k for piece in block.pieces):
        raise DesignError(
            f"The grouping factor {block.group!r} has the single level {block.levels[0]!r} in the "
            f"{block.incidence.n} rows used; its spread cannot be estimated. Drop the term {block.pieces[0].term} or "
            "add groups."
        )
    for piece in block.pieces:
        grouping = piece.term.grouping
        if grouping.by and piece.structure.n_sds(piece.k) == piece.k:
            reached = block.incidence.n_reached()[piece.start : piece.stop].max()
            if reached < 2:
                raise DesignError(
                    f"The stratum {grouping.stratum!r} of {piece.term} has a single level of {block.group!r}: its "
                    f"spread cannot be estimated. Leave its rows out, or join levels of {grouping.by!r}."
                )
        if piece.k < piece.structure.fewest_effects:
            raise DesignError(
                f"The term {piece.term} has the single effect {block.effects[piece.start]!r}: there is nothing that it "
                f"could correlate with. Name several effects; if they are the values of a number, write "
                f"{piece.term.structure.partition(', ')[0]}(0 + C(x) | {block.group}). For one effect write "
                f"({piece.term.expression} | {block.group})."
            )


def check_told_apart(blocks: Sequence[RandomBlock], weights: np.ndarray) -> None:
    """Refuse terms that can take over a part of the residual variance without any change of the model.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        All random effects.
    weights : array, shape (n,)
        Prior weights of a σ that is estimated.

    Raises
    ------
    DesignError
        Names them.
    """
    refuse_indistinct(find_indistinct(blocks, weights), blocks, len(weights))


def refuse_indistinct(found: Sequence[BlockPiece], blocks: Sequence[RandomBlock], n_rows: int) -> None:
    """Refuse the terms that were found, if any; see `check_told_apart`."""
    if not found:
        return
    terms = [piece.term for piece in found]
    fix = "fix sigma if it is known."
    if len(found) > 1:
        raise DesignError(
            f"The terms {' and '.join(map(str, terms))} together give each of the {n_rows} rows an effect of its own, "
            f"of one variance: it cannot be told from the residual variance. Drop one of the terms, or {fix}"
        )
    crowded = {id(piece): words for piece, words in find_crowded(blocks, n_rows)}
    if id(found[0]) in crowded:
        raise DesignError(
            f"The term {terms[0]} has {crowded[id(found[0])]}, and reaches the rows of every level alike: they cannot "
            "be told from the residuals. Simplify the term; with known residual variances fix sigma instead."
        )
    raise DesignError(
        f"The term {terms[0]} has one row in each of {n_rows} combinations of level and effect: its variances cannot "
        "be told from the residual variance, which each of these rows has too. Drop the term, use data with several "
        f"rows in a combination, or {fix}"
        if _is_of_cells(blocks, found[0])
        else f"The term {terms[0]} can take over a part of the residual variance without any change of the model: it "
        f"reaches the rows of every level alike. Drop the term or some of its effects, or {fix}"
    )


def _is_of_cells(blocks: Sequence[RandomBlock], piece: BlockPiece) -> bool:
    """Whether every row has one effect of a term."""
    (block,) = (block for block in blocks if any(piece is own for own in block.pieces))
    return bool(((block.columns[:, piece.start : piece.stop] != 0).sum(axis=1) == 1).all())


def check_covariance_parameters(blocks: Sequence[RandomBlock]) -> None:
    """Refuse more standard deviations and correlations than a search can find.

    Raises
    ------
    DesignError
        Names the term with most of them.
    """
    pieces = [piece for block in blocks for piece in block.pieces]
    numbers = [piece.structure.n_sds(piece.k) + piece.structure.n_cors(piece.k) for piece in pieces]
    if sum(numbers) > COVARIANCE_PARAMETERS:
        counts: Counter[str] = Counter()
        for piece, number in zip(pieces, numbers, strict=True):
            counts[str(piece.term)] += number
        term = max(counts, key=counts.__getitem__)
        raise DesignError(
            f"The random effects have {sum(counts.values()):,} standard deviations and correlations, {counts[term]:,} "
            f"of them in the term {brief(term)}, more than the {COVARIANCE_PARAMETERS:,} that a model may have. "
            "Let fewer effects vary, or leave their correlations out: (x || g)."
        )


def check_rank(n_rows: int, n_kept: int, *, has_sigma: bool) -> None:
    """Refuse data that leave nothing to estimate σ from."""
    if n_rows <= n_kept and has_sigma:
        raise DesignError(
            f"There are {n_rows} rows for {n_kept} fixed-effects coefficients, so the residual variance cannot be "
            "estimated. Simplify the fixed part or add rows."
        )


def check_coefficients(names: Sequence[str]) -> None:
    """Refuse two fixed effects of one name: columns or levels that are called as something computed is.

    Raises
    ------
    DesignError
        Names it.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DesignError(
            f"Two fixed effects are both called {twice!r}. Rename the columns or the levels in the data so that they "
            "differ."
        )
