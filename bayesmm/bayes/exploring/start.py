"""Where NUTS starts: at the REML estimate, moved off the boundary, with guesses of how wide the posterior is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bayesmm.bayes.programs.covariances import Block, CovarianceData, Covariances
from bayesmm.bayes.programs.information import choose_automatically, spherical_covariance
from bayesmm.bayes.programs.parameterisation import Choice
from bayesmm.bayes.programs.partial import partial_factor
from bayesmm.bayes.programs.program import ConditionalData, ConditionalProgram, MarginalData, MarginalProgram
from bayesmm.bayes.programs.sites import Numbers, Parameter
from bayesmm.bayes.residual_draws import at_effects, whitener
from bayesmm.covariance.public import free_sds
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.design import Design
from bayesmm.problem import lay_out_design

LEAST_SD = 0.3  # of the standard error that a typical level's own data give its effect: a spread too small to see
MOST_CORRELATION = 0.95  # a start nearer to ±1 has nearly no density
FAR = 10.0  # times its estimate: from where on the largest sd that the response allows is a start of its own
MOST_COMBINED = 9  # combinations of near, estimated and far sds; where there are more, one sd is moved at a time,
MOST_ALONE = 12  # or, beyond so many, all of them only: each start is worth some dozens of gradients a parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """A point estimate to start from, in plain arrays.

    Attributes
    ----------
    sigma : float
        Residual standard deviation.
    factors : tuple of array, shape (k, k)
        Relative factor Λ of each grouping factor on the columns as they stand.
    beta : array, shape (p,)
        Coefficients of the kept columns.
    beta_covariance : array, shape (p, p)
        Their covariance.
    effects : tuple of array, shape (q, k), optional
        Conditional modes of the random effects.
    effect_covariances : tuple of array, shape (q, k, k), optional
        Their conditional covariances.
    elsewhere : tuple of (sigma, factors)
        The same at lower maxima of the likelihood, best first; empty where it has one only.
    residual : array, shape (f,), optional
        Of the covariance of the residuals: logarithms of ratios of standard deviations to σ and exponents, then
        correlations.
    """

    sigma: float
    factors: tuple[np.ndarray, ...]
    beta: np.ndarray
    beta_covariance: np.ndarray
    effects: tuple[np.ndarray, ...] | None = None
    effect_covariances: tuple[np.ndarray, ...] | None = None
    elsewhere: tuple[tuple[float, tuple[np.ndarray, ...]], ...] = ()
    residual: np.ndarray | None = None

    def pose(self, design: Design) -> Design:
        """Take the fitted values of this start into a design whose residual variance changes with them."""
        return at_effects(design, self.beta, self.effects or zero_effects(design))


class Start(NamedTuple):
    """What `run_nuts` wants to know of each site.

    Attributes
    ----------
    values : dict of str to array
        Constrained values.
    scales : dict of str to array
        Guesses of posterior standard deviations on the unconstrained scale.
    small : dict of str to array
        Standard deviations (or variances) of random effects that the data can hardly tell from zero.
    others : tuple of dict
        Constrained values of further starts, in other basins perhaps: `bayesmm.bayes.exploring.modes.find_modes`.
    """

    values: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]
    small: dict[str, np.ndarray]
    others: tuple[dict[str, np.ndarray], ...] = ()


def move_to_means(warm: WarmStart, design: Design, contrasts: Sequence[np.ndarray]) -> tuple[WarmStart, Design]:
    """See an estimate and the effect columns as the priors do.

    Parameters
    ----------
    warm : WarmStart
        The estimate, of effects b on the columns as labelled.
    design : Design
        With those columns.
    contrasts : sequence of array, shape (k, k)
        T of `bayesmm.bayes.priors.resolution.ResolvedPriors`, by grouping factor.

    Returns
    -------
    WarmStart, Design
        Of the effects Tb, and with their columns.
    """
    pairs = list(zip(contrasts, design.blocks, strict=True))
    blocks = tuple(block.times(np.linalg.inv(T)) for T, block in pairs)
    effects, covariances = warm.effects, warm.effect_covariances
    moved = replace(
        warm,
        factors=_times(contrasts, warm.factors),
        elsewhere=tuple((sigma, _times(contrasts, factors)) for sigma, factors in warm.elsewhere),
        effects=effects and tuple(b @ T.T for T, b in zip(contrasts, effects, strict=True)),
        effect_covariances=covariances and tuple(T @ C @ T.T for T, C in zip(contrasts, covariances, strict=True)),
    )
    return moved, replace(design, blocks=blocks)


def _times(contrasts: Sequence[np.ndarray], factors: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(T @ factor for T, factor in zip(contrasts, factors, strict=True))


def _as_priors_see(data: CovarianceData, warm: WarmStart, design: Design) -> tuple[WarmStart, Design]:
    return move_to_means(warm, design, [np.linalg.inv(np.asarray(back)) for back in data.to_columns])


def level_errors(block: RandomBlock, weights: np.ndarray) -> np.ndarray:
    """Return the standard errors (k,) that a typical level's own data give its effects, in units of σ."""
    return 1.0 / np.sqrt(np.maximum(block.level_squares(weights), np.finfo(float).tiny))


def interior_factors(warm: WarmStart, design: Design) -> tuple[np.ndarray, ...]:
    """Relative factors with every standard deviation above zero and every correlation away from ±1."""
    factors = []
    for factor, block in zip(warm.factors, design.blocks, strict=True):
        covariance = factor @ factor.T
        least = LEAST_SD * level_errors(block, design.weights)
        sd = np.sqrt(np.diag(covariance))
        safe = np.where(sd > 0, sd, 1.0)
        correlation = covariance / np.outer(safe, safe)
        off = np.abs(correlation - np.diag(np.diag(correlation))).max(initial=0.0)
        correlation *= min(1.0, MOST_CORRELATION / max(off, MOST_CORRELATION))
        if block.k > 2:
            correlation *= MOST_CORRELATION  # three correlations can be singular together without one being ±1
        np.fill_diagonal(correlation, 1.0)
        unit = np.linalg.cholesky(correlation)
        for piece in block.pieces:
            if not piece.structure.has_shares:
                inside = slice(piece.start, piece.stop)
                directions = piece.structure.directions(factor[inside, inside] / safe[inside, None])
                unit[inside, inside] = np.pad(directions, ((0, 0), (0, piece.k - directions.shape[1])))
        factors.append(np.maximum(sd, least)[:, None] * unit)
    return tuple(factors)


def find_frames(warm: WarmStart, design: Design) -> tuple[np.ndarray, ...]:
    """Rows of loadings (k,) that the effects of each grouping factor have: first those that are known best."""
    frames = []
    for factor, block in zip(warm.factors, design.blocks, strict=True):
        known = factor / level_errors(block, design.weights)[:, None]
        places = np.arange(block.k)
        for piece in block.pieces:
            if not piece.structure.has_shares:
                places[piece.start : piece.stop] = piece.structure.frame(known[piece.start : piece.stop])
        frames.append(places)
    return tuple(frames)


def start_marginal(program: MarginalProgram, data: MarginalData, warm: WarmStart, design: Design) -> Start:
    """Start of the marginal program; the curvature there tells how wide the posterior is."""
    warm, design = _as_priors_see(data.covariances, warm, design)
    values = _covariance_values(program.covariances, data.covariances, warm.sigma, interior_factors(warm, design))
    own, scales = _residual_values(program.covariances, data.covariances, warm, design)
    for block in program.covariances.blocks:
        for loadings in block.loadings:
            scales |= loadings.scales(values, 1.0)
    points = [(sigma, interior_factors(replace(warm, factors=factors), design)) for sigma, factors in warm.elsewhere]
    others = [
        _covariance_values(program.covariances, data.covariances, *point) | own
        for point in [*points, *_near_and_far(warm, design)]
    ]
    mirrored = _mirror(warm, design)
    if mirrored is not None:
        others.append(values | _residual_values(program.covariances, data.covariances, mirrored, design)[0])
    values |= own
    if program.coefficients is not None:
        sampled = np.asarray(data.prior.sampled)
        error = np.sqrt(np.diag(warm.beta_covariance))[sampled]
        start = program.coefficients.start(warm.beta[sampled], data.coefficients)
        scales |= program.coefficients.scales(warm.beta[sampled], error, data.coefficients)
        expected = program.coefficients.start_at_priors(warm.beta[sampled], data.coefficients)
        others = [values | expected, *(other | start for other in others)]
        values |= start
    return Start(values, scales, _small_sds(program.covariances, data.covariances, warm, design), tuple(others))


def _mirror(warm: WarmStart, design: Design) -> WarmStart | None:
    """Change the sign of correlations whose opposites may be nearly as likely; None if there are none."""
    block = design.residual
    if block is None or block.correlation is None or warm.residual is None:
        return None
    parts = block.correlation.parts
    signs = [np.full(len(part.names), -1.0 if part.has_mirror else 1.0) for part in parts]
    if not any(part.has_mirror for part in parts):
        return None
    return replace(warm, residual=warm.residual * np.concatenate([np.ones(len(block.sd_names)), *signs]))


def _near_and_far(warm: WarmStart, design: Design) -> list[tuple[float, tuple[np.ndarray, ...]]]:
    """Points about the estimate with standard deviations as good as zero, or as large as the response allows.

    A standard deviation is far where its effects alone could make the response vary as it does. Where the column of an
    effect does not vary, its effects may have to make up for those of others, which are far and of other columns: an
    intercept at the year 0.
    """
    estimate = interior_factors(warm, design)
    options, response = [], design.response_spread
    for factor, block in zip(estimate, design.blocks, strict=True):
        near, sd = LEAST_SD * level_errors(block, design.weights), np.linalg.norm(factor, axis=1)
        mean, spread = np.abs(block.means), block.spreads
        varies = spread > 1e-8 * mean
        size = np.where(varies, spread, np.maximum(mean, np.finfo(float).tiny))
        most = max((response * mean / size)[varies].max(initial=0.0), response)
        far = np.where(varies, response, most) / size / warm.sigma
        for j in range(block.k):
            moved = [near[j]] if sd[j] > 2.0 * near[j] else []
            moved += [far[j]] if far[j] > FAR * sd[j] else []
            options.append([1.0, *(value / sd[j] for value in moved)])
    if np.prod([float(len(option)) for option in options]) <= MOST_COMBINED:
        combined = list(itertools.product(*options))[1:]
    else:
        ones, combined = [1.0] * len(options), []
        for j, option in enumerate(options):
            combined += [[*ones[:j], ratio, *ones[j + 1 :]] for ratio in option[1:]]
        combined = combined if len(combined) <= MOST_ALONE else []
        combined += [[min(option) for option in options], [max(option) for option in options]]
    ends = np.cumsum([block.k for block in design.blocks])[:-1]
    return [
        (warm.sigma, tuple(r[:, None] * F for r, F in zip(np.split(np.array(ratios), ends), estimate, strict=True)))
        for ratios in combined
    ]


def start_conditional(
    program: ConditionalProgram, data: ConditionalData, warm: WarmStart, design: Design, contrast: np.ndarray
) -> Start:
    """Start of the conditional program, random effects at their conditional modes where these are known."""
    warm, design = _as_priors_see(data.covariances, warm, design)
    factors = interior_factors(warm, design)
    values = _covariance_values(program.covariances, data.covariances, warm.sigma, factors)
    own, scales = _residual_values(program.covariances, data.covariances, warm, design)
    values |= own
    if program.covariances.sigma is not None:
        scales |= _sigma_scale(program.covariances.sigma, design.n)
    if program.coefficients is not None:
        error = np.sqrt(np.diag(contrast @ warm.beta_covariance @ contrast.T))
        values |= program.coefficients.start(contrast @ warm.beta, data.coefficients)
        scales |= program.coefficients.scales(contrast @ warm.beta, error, data.coefficients)
    independent, weights = whiten_blocks(warm, design)
    modes = warm.effects or zero_effects(design)
    sums: dict[int, np.ndarray] = {}
    for f in program.order:
        site, block = program.effect_sites[f], program.covariances.blocks[f]
        factor, b = factors[f], modes[f]
        free = block.directions
        for own, given in zip(block.loadings, data.covariances.loadings[f], strict=True):
            inside = slice(own.start, own.stop)
            factor[inside, inside] = own.turn(factor[inside, inside], values, given)
        V: Any = data.level_roots[f] if data.level_roots else None
        covariance = spherical_covariance(independent[f], weights, factor, V)
        scales |= _block_scales(block, covariance, values)
        around: Any = data.means[f] @ warm.beta
        parent, degree = program.parents[f], data.degrees[f]
        if parent is not None:
            around = around + sums[parent][data.parent_codes[f]] @ data.links[f].T
        sums[f] = around + b
        F = warm.sigma * factor
        K = np.eye(len(free)) if degree == 0.0 else partial_factor(F, data.references[f], degree)
        own = b if V is None else np.linalg.lstsq(V, b, rcond=None)[0]
        spherical = np.linalg.lstsq(F[:, free], own.T, rcond=None)[0].T
        values[site] = (degree * around if degree else 0.0) + spherical @ K.T
        scales[site] = np.sqrt(np.einsum("ij,qjl,il->qi", K, covariance[:, free][:, :, free], K))
    return Start(values, scales, _small_sds(program.covariances, data.covariances, warm, design))


def parameterise(warm: WarmStart, design: Design) -> tuple[Choice, ...]:
    """Choose how the conditional program samples each grouping factor."""
    blocks, weights = whiten_blocks(warm, design)
    return choose_automatically(blocks, weights, warm.factors, warm.sigma, warm.effect_covariances)


def whiten_blocks(warm: WarmStart, design: Design) -> tuple[Sequence[RandomBlock], np.ndarray]:
    """Return the blocks and weights (n,) of rows with independent residuals: the data's own, or those times L⁻¹."""
    if design.residual is None or warm.residual is None:
        return design.blocks, design.weights
    whiten = whitener(design, warm.residual)
    blocks = [replace(each, incidence=each.incidence.map(lambda codes: codes, whiten)) for each in design.blocks]
    return blocks, np.ones(design.n)


def _covariance_values(
    covariances: Covariances, data: CovarianceData, sigma: float, factors: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    each = zip(covariances.blocks, data.sds, data.correlations, data.loadings, factors, strict=True)
    for block, numbers, correlations, loadings, factor in each:
        sd = np.linalg.norm(factor, axis=1)
        free = sigma * free_sds(np, sd, block.pieces)
        values |= block.sd.start(free[list(block.sd_rows)], numbers, sigma)
        unit = factor / sd[:, None]
        for own, given in zip(block.loadings, loadings, strict=True):
            directions = unit[own.start : own.stop, own.start : own.start + own.rank]
            values |= own.start_at(free[list(own.rows)], directions, given, sigma)
        for matrix, given in zip(block.matrices, correlations, strict=True):
            inside = slice(matrix.start, matrix.stop)
            values |= matrix.start_at((unit @ unit.T)[inside, inside], given)
    if covariances.sigma is not None:
        values |= covariances.sigma.start(sigma, _site_numbers(data))
    return values


def _residual_values(
    covariances: Covariances, data: CovarianceData, warm: WarmStart, design: Design
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values of the sites of the residuals' covariance and of σ where its prior is, and guesses of their widths."""
    residuals, numbers, block = covariances.residual, data.residual, design.residual
    if residuals is None or numbers is None or block is None:
        return {}, {}
    assert warm.residual is not None
    rows, groups = design.n, max(len(block.levels), 1) if block.correlation is not None else design.n
    _, sds, counts = block.measure_columns()
    of_exponents = 1.0 / np.sqrt(2.0 * rows) / np.maximum(sds, np.finfo(float).tiny)
    spread = np.where(block.are_sds, 1.0 / np.sqrt(2.0 * np.maximum(counts, 1.0)), of_exponents)
    widths = np.concatenate([spread, np.full(len(block.cor_names), min(1.0 / np.sqrt(groups), 1.0))])
    sigma, values, scales = residuals.start(warm.residual, warm.sigma, numbers, widths)
    if covariances.sigma is not None:
        values |= covariances.sigma.start(sigma, _site_numbers(data))
    return values, scales


def _small_sds(
    covariances: Covariances, data: CovarianceData, warm: WarmStart, design: Design
) -> dict[str, np.ndarray]:
    small: dict[str, np.ndarray] = {}
    each = zip(covariances.blocks, data.sds, data.loadings, warm.factors, design.blocks, strict=True)
    for block, numbers, loadings, factor, rows in each:
        errors = warm.sigma * free_sds(np, level_errors(rows, design.weights), block.pieces)
        sizes = block.sd.start(errors[list(block.sd_rows)], numbers, warm.sigma)
        small |= {site.name: sizes[site.name] for site in block.sd.sites if site.support == "positive numbers"}
        sds = warm.sigma * free_sds(np, np.linalg.norm(factor, axis=1), block.pieces)
        for own, given in zip(block.loadings, loadings, strict=True):
            small |= own.small(sds[list(own.rows)], errors[list(own.rows)], given, warm.sigma)
    return small


def _site_numbers(data: CovarianceData) -> tuple[Numbers, ...]:
    assert isinstance(data.sigma, tuple)
    return data.sigma


def _sigma_scale(sigma: Parameter, n: int) -> dict[str, np.ndarray]:
    return {site.name: np.array(1.0 / np.sqrt(2.0 * n)) for site in sigma.sites}


def _block_scales(block: Block, covariance: np.ndarray, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Guess 1/√(2q) for log standard deviations and 1/√q for correlations, more where levels say little."""
    known = np.clip(1.0 - np.diagonal(covariance, axis1=1, axis2=2).mean(axis=0), 0.1, 1.0)
    log_sd = free_sds(np, np.minimum(1.0, 1.0 / (np.sqrt(2.0 * block.n_levels) * known)), block.pieces)
    log_sd = log_sd[list(block.sd_rows)]
    scales = {site.name: log_sd[list(site.positions)] for site in block.sd.sites}
    for own in block.loadings:
        scales |= own.scales(values, min(1.0, 1.0 / (np.sqrt(block.n_levels) * known[own.start : own.stop].min())))
    for matrix in block.matrices:
        width = min(1.0, 1.0 / (np.sqrt(block.n_levels) * known[matrix.start : matrix.stop].min()))
        scales |= matrix.scales(width)
    return scales


def zero_effects(design: Design) -> tuple[np.ndarray, ...]:
    """No random effects (q, k) of any level."""
    return tuple(np.zeros((block.q, block.k)) for block in design.blocks)


def cold_start(design: Design) -> WarmStart:
    """Least squares and standard deviations of the size of the residual, for want of a fit."""
    X, y = design.X[:, design.kept], design.y - design.offset
    root = np.sqrt(design.weights)
    beta = np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0]
    residual = root * (y - X @ beta)
    scale = float(np.sqrt((residual**2).sum() / max(design.n - design.p, 1))) or 1.0
    gram = np.linalg.pinv((X * design.weights[:, None]).T @ X)
    factors = tuple(
        np.diag(1.0 / np.sqrt(np.maximum((b.columns**2).mean(axis=0), np.finfo(float).tiny))) for b in design.blocks
    )
    sigma = scale if design.known_sigma is None else design.known_sigma
    start = WarmStart(sigma=sigma, factors=factors, beta=beta, beta_covariance=scale**2 * gram)
    if design.residual is None:
        return start
    layout = lay_out_design(design)
    return replace(start, residual=layout.public(np, layout.start(y - X @ beta, design.known_sigma)))
