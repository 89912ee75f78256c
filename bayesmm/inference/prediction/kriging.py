"""What the residuals of a group's rows say of its other rows, and how the error of the estimates gets into that.

With ε̃_n = K'(y − Xβ − Zb) of `bayesmm.marginal.residual.kriging` the expected response of a new row is

    x'β + z'b + ε̃_n = (x − X'K)'β + (z − Z'K)'b + K'y:

a row like others with what is known added, and ε_n − ε̃_n is independent of y. Of the estimated covariance parameters φ
of the residuals K changes, too: by R∂_iK the prediction's weights on the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesmm.design.design import Design
from bayesmm.design.predictors import Predictors
from bayesmm.design.seen_residuals import SeenResiduals, check_levels, less_known, read_seen
from bayesmm.errors import PredictionError
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.kriging import Kriging, lay_out_kriging
from bayesmm.marginal.residual.layout import TINY
from bayesmm.reml.residual import ResidualEstimate


@dataclass(frozen=True, kw_only=True, eq=False)
class Kriged:
    """New rows, some of which belong to groups of the fit.

    Attributes
    ----------
    plain : Predictors
        The rows without what residuals say.
    design : Design
        Of the fit.
    seen : SeenResiduals
        The rows among those of the fit.
    kriging : Kriging
        Those of groups of the fit.
    residual : ResidualEstimate
        Covariance of the residuals.
    part : int array, shape (c,)
        Which of the new rows are asked for; all that is returned is of these.
    """

    plain: Predictors
    design: Design
    seen: SeenResiduals
    kriging: Kriging
    residual: ResidualEstimate
    part: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """Groups (c,) among those of the fit, or −1."""
        return self.seen.new.groups[self.part]

    @property
    def is_seen(self) -> np.ndarray:
        """Which rows (c,) belong to groups of the fit."""
        return self.groups >= 0

    def rows(self, part: np.ndarray) -> Kriged:
        """Ask for some of the rows."""
        return replace(self, part=self.part[part])

    def weights(self, phi: np.ndarray) -> tuple[Any, np.ndarray]:
        """K (c, n), sparse, and the variances (c,) over σ² that are left of rows of groups of the fit; analytic.

        Raises
        ------
        PredictionError
            If a group with its new rows is larger than its correlation admits.
        """
        from scipy import sparse  # not imported by a fit

        m = len(self.seen.new.groups)
        shape = (m, self.kriging.n)
        left = np.zeros(m, dtype=phi.dtype)
        values, rows, columns = [np.zeros(0, dtype=phi.dtype)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        try:
            found = list(self.kriging.conditionals(self.residual.layout.public(np, phi)))
        except np.linalg.LinAlgError:
            raise PredictionError(
                "Residuals of so large a group cannot be as negatively correlated as those of the groups of the fit: "
                "predict with residuals='none'."
            ) from None
        for each in found:
            values.append(each.K.ravel())
            rows.append(np.broadcast_to(each.new[:, None, :], each.K.shape).ravel())
            columns.append(np.broadcast_to(each.known[:, :, None], each.K.shape).ravel())
            left[each.new[:, 0]] = each.variance[:, 0, 0]
        at = np.concatenate(rows), np.concatenate(columns)
        return sparse.csr_array((np.concatenate(values), at), shape=shape)[self.part], left[self.part]

    def predictors(self, phi: np.ndarray, y: np.ndarray | None = None) -> Predictors:
        """Rows as functions of (β, b), at covariance parameters φ, for the fit's response or another."""
        design = self.design if y is None else self.design.with_response(y)
        return less_known(design, self.plain.rows(self.part), self.weights(phi)[0])

    @property
    def left(self) -> np.ndarray:
        """Variances (c,) over σ² that are left at the estimates, of rows of groups of the fit."""
        return np.maximum(self.weights(self.residual.phi)[1], 0.0)

    @cached_property
    def _ways(self) -> list[tuple[Any, np.ndarray]]:
        phi = self.residual.phi
        return [self.weights(phi + step) for step in np.eye(len(phi)) * (1j * TINY)]

    @property
    def slopes(self) -> np.ndarray:
        """Derivatives (c, f) of what is left, by φ."""
        return np.column_stack([np.zeros((len(self.part), 0)), *(np.imag(left) / TINY for _, left in self._ways)])

    def in_rows(self, some: np.ndarray) -> np.ndarray:
        """L'∂K of some rows, (f, n, c), with R = LL'."""
        found = np.zeros((len(self._ways), self.kriging.n, len(some)))
        roots = [np.linalg.cholesky(R) for R in self.residual.covariances]
        for own, (change, _) in zip(found, self._ways, strict=True):
            dense = change[some].toarray().imag.T / TINY
            for stack, L in zip(self.residual.layout.stacks, roots, strict=True):
                own[stack.rows] = L[stack.pattern].swapaxes(1, 2) @ dense[stack.rows]
        return found


def krige(fit: Fitted, new_data: Any, predictors: Predictors, weights: np.ndarray) -> Kriged | None:
    """Lay new rows out beside those of the fit; None where residuals are not correlated."""
    fitted = predictors.expectation(fit.estimate.beta, fit.estimate.modes)
    seen, residual = read_seen(fit.design, new_data, weights, fitted, apart=False), fit.estimate.residual
    if seen is None or residual is None:
        return None
    check_levels(fit.design, predictors, seen.new.groups)
    every = np.arange(len(weights))
    kriging = lay_out_kriging(seen.correlation, seen.known, seen.new, every)
    lacking = (seen.new.groups >= 0) & np.isnan(weights)
    plain = replace(predictors, offset=np.where(lacking, np.nan, predictors.offset))
    return Kriged(plain=plain, design=fit.design, seen=seen, kriging=kriging, residual=residual, part=every)
