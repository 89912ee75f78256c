"""Draws of everything from the priors: parameters, random effects, and a response of the same design."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.arguments import check_seed
from bayesmm.bayes.priors.correlation_sites import CorrelationSite, Numbers, effect_sites, residual_sites
from bayesmm.bayes.priors.families import FAMILIES, draw, draw_cholesky
from bayesmm.bayes.priors.resolution import PriorRow, ResolvedPriors
from bayesmm.bayes.residual_draws import read_residual, residuals_of
from bayesmm.console import listing
from bayesmm.covariance.layout import Piece
from bayesmm.covariance.public import effect_sds, exact_signs, read_covariance
from bayesmm.design.blocks.labels import RESIDUAL_COR, RESIDUAL_SD, Labels
from bayesmm.design.design import Design
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import ArgumentError, PriorError

BATCH_ENTRIES = 2**22  # numbers held at once beside the result, 32 MB
MOST_ENTRIES = 2**28  # of the result, 2 GB
EXAMPLES = {
    "fixed": "Normal(mean, sd)",
    "exponent": "Normal(0, sd)",
    "sd": "HalfStudentT(3, scale)",
    "sigma": "HalfStudentT(3, scale)",
}


def simulate_prior(
    design: Design, priors: ResolvedPriors, *, draws: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw parameters, random effects and responses from the joint distribution that a model states before its data.

    Parameters
    ----------
    design : Design
        Columns, levels, weights, offset and names; its response is not looked at.
    priors : ResolvedPriors
        Every prior in force, all of them proper.
    draws : int
        How many.
    seed : int
        The same seed gives the same draws.

    Returns
    -------
    dict of str to array, shapes (draws, ...)
        ``beta`` (p,), ``sd_Subject`` (k,), ``cor_Subject`` (pairs,), ``sigma``, ``b_Subject`` (q, k) as in a posterior,
        as far as the model has them; and ``y`` (n,), offset included and with the prior weights.

    Raises
    ------
    PriorError
        If a prior is improper, or so wide that its draws are not finite.
    ArgumentError
        If `draws` or `seed` makes no sense, or the draws would need more than 2 GB.
    """
    _check_numbers(draws, seed)
    check_proper(priors)
    _check_size(draws, design)
    rng = np.random.default_rng(check_seed(seed))
    with np.errstate(all="ignore"):  # what is not finite is refused
        arrays, factors = _draw_parameters(design.labels, priors, draws, rng)
    _check_finite(arrays, design.labels, priors)
    sigma = arrays["sigma"] if priors.known_sigma is None else np.full(draws, priors.known_sigma)
    arrays |= _draw_effects(design, factors, rng)
    arrays["y"] = _draw_response(design, arrays, sigma, rng)
    return arrays


def check_proper(priors: ResolvedPriors) -> None:
    """Refuse priors that cannot be drawn from.

    Raises
    ------
    PriorError
        Names every improper row, and says what to give instead.
    """
    improper = [row for row in priors.rows if not row.is_proper]
    if not improper:
        return
    rows = listing([f"{row.name!r} ({row.prior})" for row in improper])
    instead = ", ".join(f"{row.name!r}: {EXAMPLES[row.kind]}" for row in _one_of_each_kind(improper))
    raise PriorError(
        f"Nothing can be drawn from an improper prior, and there are {len(improper)}: {rows}. Give proper ones, for "
        f"example priors={{{instead}}}, or leave them out for the defaults, which are proper."
    )


def _one_of_each_kind(rows: list[PriorRow]) -> list[PriorRow]:
    return list({row.kind: row for row in reversed(rows)}.values())[::-1]


def _draw_parameters(
    labels: Labels, priors: ResolvedPriors, draws: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Draw coefficients, standard deviations, correlations and sigma, and factors F of each Var(b) = FF'."""
    sigma = np.full(draws, priors.known_sigma or np.nan)
    for row in priors.of_kind("sigma"):
        if row.name == "sigma":
            sigma = _draw_spread(row, sigma, rng)
    arrays = _draw_residuals(labels, priors, sigma, rng)
    sigma = arrays.pop("sigma", sigma)
    if labels.coefficients:
        stated = np.column_stack([draw(row.prior, rng, draws) for row in priors.of_kind("fixed")])
        arrays["beta"] = stated @ np.linalg.inv(priors.contrast).T
    factors = []
    for position, block in enumerate(labels.blocks):
        spreads = [_draw_spread(row, sigma, rng) for row in priors.of_kind("sd", block.group)]
        sd = np.reshape(spreads, (len(spreads), draws)).T  # (draws, m), of which m may be zero
        unit = _draw_correlations(priors, position, block.pieces, draws, rng)
        factor = effect_sds(np, sd, block.pieces)[:, :, None] * unit
        T = priors.effect_contrasts[position]
        if (np.eye(len(T)) != T).any():
            factor = np.linalg.inv(T) @ factor
            sd, correlations = read_covariance(np, factor @ factor.swapaxes(1, 2), block.pieces)
        else:
            _, correlations = read_covariance(np, unit @ unit.swapaxes(1, 2), block.pieces)
        if block.sds:
            arrays[block.sd_variable] = sd
        if block.cors:
            arrays[block.cor_variable] = exact_signs(np, correlations)
        factors.append(factor)
    return arrays | ({"sigma": sigma} if priors.known_sigma is None else {}), factors


def _draw_residuals(
    labels: Labels, priors: ResolvedPriors, sigma: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw the parameters of the covariance of the residuals, and σ where its prior is elsewhere."""
    rows = [row for row in priors.rows if row.name in labels.residual_sds]
    found: dict[str, np.ndarray] = {}
    if rows:
        values = np.column_stack(
            [
                draw(row.prior, rng, len(sigma)) if row.kind == "exponent" else _draw_spread(row, sigma, rng)
                for row in rows
            ]
        )
        is_exponent = np.array([row.kind == "exponent" for row in rows])
        if priors.exponent_means.any():
            down = np.exp(-values[:, is_exponent] @ priors.exponent_means)
            values[:, ~is_exponent] *= down[:, None]
            found["sigma"] = sigma * down
        found[RESIDUAL_SD] = values
    parts = []
    for piece in priors.residuals:
        sites, numbers = residual_sites(piece, priors.of_matrix(piece), ("", ""))
        if piece.is_free:
            factors = draw_cholesky(piece.size, float(numbers[0]["concentration"]), rng, len(sigma))
            parts.append(piece.structure.from_factor(factors))  # type: ignore[attr-defined]
            continue
        values = _draw_sites(sites, numbers, rng, len(sigma))
        match sites[0].held:
            case "shares":
                parts.append(np.stack([piece.structure.from_shares(np, each) for each in values]))
            case "range":
                parts.append(piece.structure.at_range(np, values))
            case "between":
                low, high = piece.limits
                parts.append(low + (high - low) * values)
            case _:
                parts.append(values)
    return found | ({RESIDUAL_COR: np.hstack(parts)} if parts else {})


def _draw_spread(row: PriorRow, sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a standard deviation, whatever its prior is stated for."""
    value = draw(row.prior, rng, len(sigma))
    match row.prior.stated_for:
        case "variance":
            return np.sqrt(value)
        case "share":
            return sigma * np.sqrt(value / (1.0 - value))
        case _:
            return value


def _draw_correlations(
    priors: ResolvedPriors, position: int, layout: Sequence[Piece], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw Cholesky factors (draws, k, k) of the correlation matrices of a grouping factor."""
    k = len(priors.effect_contrasts[position])
    factors = np.broadcast_to(np.eye(k), (draws, k, k)).copy()
    for known in layout:
        if known.structure.correlations == "known":
            factors[:, known.inside, known.inside] = known.structure.unit_factor(np, np.zeros(0), known.k)
    for piece in priors.pieces:
        if piece.block == position:
            inside = slice(piece.start, piece.stop)
            if not piece.structure.has_shares:
                factors[:, inside, inside] = _draw_directions(piece.structure.rank(piece.size), piece.size, rng, draws)
                continue
            sites, numbers = effect_sites(piece, priors.of_matrix(piece), ("", ""))
            if piece.is_free:
                concentration = float(numbers[0]["concentration"])
                factors[:, inside, inside] = draw_cholesky(piece.size, concentration, rng, draws)
                continue
            shares = _draw_sites(sites, numbers, rng, draws)
            for site in sites:
                for which in site.positions if site.held == "range" else ():
                    shares[:, which] = piece.structure.at_range(np, shares[:, which], piece.size, which)
            factors[:, inside, inside] = [piece.structure.unit_factor(np, own, piece.size) for own in shares]
    return factors


def _draw_sites(
    sites: Sequence[CorrelationSite], numbers: Sequence[Numbers], rng: np.random.Generator, draws: int
) -> np.ndarray:
    """Draw what the sites of a matrix hold (draws, c), each in its positions."""
    uniform = rng.uniform(size=(draws, sum(len(site.positions) for site in sites)))
    values = np.empty_like(uniform)
    for site, own in zip(sites, numbers, strict=True):
        values[:, site.positions] = FAMILIES[site.family].quantile(uniform[:, site.positions], **own)
    return values


def _draw_directions(d: int, k: int, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Draw unit rows (draws, k, k), uniform in the first d dimensions."""
    normal = rng.standard_normal((draws, k, d))
    return np.pad(normal / np.linalg.norm(normal, axis=2, keepdims=True), ((0, 0), (0, 0), (0, k - d)))


def _draw_effects(design: Design, factors: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw the random effects of every level from N(0, A ⊗ FF')."""
    each = zip(design.labels.blocks, design.blocks, factors, strict=True)
    return {
        names.effect_variable: block.relate(rng.standard_normal((len(F), block.q, block.k)) @ F.swapaxes(1, 2))
        for names, block, F in each
    }


def _draw_response(
    design: Design, arrays: dict[str, np.ndarray], sigma: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    predictors = build_predictors(design)
    beta = arrays.get("beta", np.zeros((len(sigma), 0)))
    y = rng.standard_normal((len(sigma), design.n))
    public = read_residual(design, arrays, sigma)
    if public is None:
        y *= sigma[:, None] / np.sqrt(design.weights)
    batch = max(1, BATCH_ENTRIES // design.n)
    for part in (slice(start, start + batch) for start in range(0, len(sigma), batch)):
        mean = predictors.mean(beta[part], [arrays[block.effect_variable][part] for block in design.labels.blocks])
        if public is not None:
            y[part] = residuals_of(design, public[part], sigma[part], mean).colour(y[part])
        y[part] += mean
    return y


def _entries(design: Design) -> int:
    """Numbers of one draw, the most of them in the rows and the random effects."""
    return design.n + design.p + sum(block.q * block.k for block in design.blocks) + 1


def _check_numbers(draws: int, seed: int) -> None:
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value < 2**63:
            raise ArgumentError(f"{name} is {value!r}: give a whole number of at least {least}.")


def _check_size(draws: int, design: Design) -> None:
    size = draws * _entries(design)
    if size > MOST_ENTRIES:
        raise ArgumentError(
            f"draws is {draws}: with {design.n:,} rows that is {8e-9 * size:.1f} GB. Ask for at most "
            f"{max(1, MOST_ENTRIES // _entries(design))}."
        )


def _check_finite(arrays: dict[str, np.ndarray], labels: Labels, priors: ResolvedPriors) -> None:
    """Refuse draws beyond the largest double, naming the prior; a response can be so only where a parameter is."""
    chosen = {row.name: row.prior for row in priors.rows}
    for row in labels.parameter_rows():
        values = arrays[row.variable] if row.index is None else arrays[row.variable][:, row.index]
        infinite = int((~np.isfinite(values)).sum())
        if infinite and row.kind != "cor":
            raise PriorError(
                f"{infinite} of {len(values)} draws of {row.name!r} are beyond the largest number there is: its prior, "
                f"{chosen[row.name]}, is nearly improper. Give it a narrower one to simulate from."
            )
