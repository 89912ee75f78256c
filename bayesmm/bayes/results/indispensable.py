"""Refusing to leave out what the data cannot do without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.design.design import Design
from bayesmm.errors import PredictionError
from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.leave_out.indispensable import find_indispensable
from bayesmm.marginal.leave_out.row_groups import Rows


def refuse_indispensable(design: Design, rows: Rows, groups: Sequence[np.ndarray], prior: FixedPrior) -> None:
    """Refuse groups of rows without which a coefficient of flat prior is not determined.

    Raises
    ------
    PredictionError
        Names a row.
    """
    found = find_indispensable(rows, groups, prior)
    if len(found) and design.elsewhere is not None:
        raise PredictionError(
            f"Without one of the {len(groups)} groups the data do not determine a coefficient whose prior is flat, so "
            "that nothing can be predicted. Give the coefficients proper priors, such as the defaults."
        )
    if len(found):
        label = design.rows[groups[found[0]][0]]
        what = f"row {label!r}" if len(groups) == design.n else f"the group of row {label!r}"
        more = f" ({len(found) - 1} more likewise)" if len(found) > 1 else ""
        raise PredictionError(
            f"Without {what}{more} the data do not determine a coefficient whose prior is flat, so that nothing can be "
            "predicted. Give the coefficients proper priors, such as the defaults, or leave out something else."
        )
