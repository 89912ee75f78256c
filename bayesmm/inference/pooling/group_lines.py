"""Lines of the levels of a grouping factor from a fit, with the joint error of fixed and predicted effects."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from bayesmm.design.words.group_lines import GroupLines, Places, lay_out_groups
from bayesmm.inference.eliminated import eliminate_given
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.progress import SILENT, Bar

type Own = dict[tuple[int, int], slice]  # of a factor and a level, the effects among those of some places


def estimate_group_lines(
    fit: Fitted, *, x: Any, group: Any, levels: Any, level: float, rows: Any = None, bar: Bar = SILENT
) -> GroupLines:
    """Evaluate the lines of levels; see `Fit.group_lines`.

    Notes
    -----
    x'β̂ + z'b̂ less what it estimates has, with B and C as in `bayesmm.inference.pooling.levels`, the variance
    σ²[(x − B'z)'A⁻¹(x − B'z) + z'Cz], z over the effects of the level and of the levels of other factors that come in.
    """
    level, estimate = check_level(level), fit.estimate
    problem, beta, modes = fit.problem, estimate.beta, estimate.modes
    near = problem.rows_of_levels(rows, "fit.group_lines(rows='visits/*.parquet')", bar)

    def unpooled(f: int) -> np.ndarray:
        return problem.read_own_rows(beta, modes, estimate.whiten)[f].unpooled

    places = lay_out_groups(fit.design, beta, modes, unpooled, near, x=x, group=group, levels=levels, level=level)
    middle = places.predictors.mean(estimate.beta, estimate.modes)
    reach = ndtri(0.5 + level / 2.0) * _standard_errors(fit, places)
    return places.with_estimates(middle, middle - reach, middle + reach)


def _standard_errors(fit: Fitted, places: Places) -> np.ndarray:
    at = eliminate_given(fit)
    to_user = [np.linalg.inv(T) for T in at.products.effect_roots]
    fixed = places.predictors.X @ np.linalg.inv(np.asarray(at.products.fixed_root))
    variances = np.empty(len(places.codes))
    for code in np.unique(places.codes):
        here = np.flatnonzero(places.codes == code)
        own, Z = _collect(places, here, [len(T) for T in to_user])
        B = np.zeros((Z.shape[1], at.p))
        for (g, level), part in own.items():
            B[part] = to_user[g] @ at.fixed_effects[g][:, : at.p, level]
        if len(to_user) == 1:
            C = fit.estimate.mode_covariances[0][code]
        else:
            C = fit.sigma**2 * _joint_covariance(at, to_user, own, Z.shape[1])
        towards = fixed[here] - Z @ B
        variances[here] = fit.sigma**2 * np.einsum("mp,pq,mq->m", towards, at.covariance, towards)
        variances[here] += np.einsum("mi,ij,mj->m", Z, C, Z)
    return np.sqrt(np.maximum(variances, 0.0))


def _collect(places: Places, here: np.ndarray, sizes: list[int]) -> tuple[Own, np.ndarray]:
    """Columns (m, K) of all effects that some places have."""
    own: Own = {}
    n, parts = 0, []
    for g, incidence in enumerate(places.predictors.incidences):
        for membership in () if incidence is None else incidence.memberships:
            codes = membership.codes[here]
            for level in np.unique(codes[codes >= 0]).tolist():
                if (g, level) not in own:
                    own[g, level] = slice(n, n + sizes[g])
                    n += sizes[g]
                parts.append((own[g, level], codes == level, membership.columns[here]))
    Z = np.zeros((len(here), n))
    for part, rows, columns in parts:
        Z[rows, part] += columns[rows]
    return own, Z


def _joint_covariance(at: Eliminated, to_user: list[np.ndarray], own: Own, n: int) -> np.ndarray:
    """C over σ² between the effects of some levels of several factors, (K, K)."""
    cross = [np.zeros((len(T), n, q)) for T, (_, q) in zip(to_user, at.shapes, strict=True)]
    for (g, level), part in own.items():
        cross[g][:, part, level] = to_user[g].T
    solved = at.solve_levels(cross)
    found = np.empty((n, n))
    for (g, level), part in own.items():
        found[part] = to_user[g] @ solved[g][:, :, level]
    return 0.5 * (found + found.T)
