"""A model's programs with their arguments, from its design, labels and priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from bayesmm.bayes.priors.correlation_matrices import CorrelationPiece
from bayesmm.bayes.priors.correlation_sites import effect_sites, residual_sites
from bayesmm.bayes.priors.resolution import PriorRow, ResolvedPriors
from bayesmm.bayes.programs.centring import centre_effects
from bayesmm.bayes.programs.covariances import Block, CovarianceData, Covariances, Matrix
from bayesmm.bayes.programs.loadings import LoadingNumbers, Loadings
from bayesmm.bayes.programs.parameterisation import Parameterisation, degree_of
from bayesmm.bayes.programs.program import ConditionalData, ConditionalProgram, MarginalData, MarginalProgram
from bayesmm.bayes.programs.residuals import ResidualMatrix, ResidualNumbers, Residuals, lay_out_groups
from bayesmm.bayes.programs.sites import declare_parameter
from bayesmm.design.blocks.labels import RESIDUAL_SD, BlockLabels
from bayesmm.design.blocks.residual import ResidualBlock
from bayesmm.design.design import Design
from bayesmm.design.refusal import refuse_related
from bayesmm.design.related.relation import dense_relation
from bayesmm.errors import DesignError
from bayesmm.marginal.in_jax.fixed_prior import condition_prior
from bayesmm.marginal.in_jax.hosted import HostedProducts, host_products
from bayesmm.marginal.in_jax.padding import pad_products
from bayesmm.marginal.residual.in_jax import PaddedSums, lay_out_products, weigh_products
from bayesmm.marginal.residual.weighted_sums import takes_less
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.problem import Problem, lay_out_design
from bayesmm.specification.priors import Flat, Normal


def bind_marginal(
    problem: Problem, priors: ResolvedPriors, frames: Sequence[np.ndarray] | None = None, *, is_folded: bool = False
) -> tuple[MarginalProgram, MarginalData]:
    """Bind the marginal program: coefficients with flat or normal priors are integrated out, others sampled.

    Parameters
    ----------
    problem : Problem
        Names of the model, and its sums over the rows.
    priors : ResolvedPriors
        Every prior in force.
    frames : sequence of int array, shape (k,), optional
        Rows of the triangle of loadings that the effects of each grouping factor have, from
        `bayesmm.bayes.exploring.start.find_frames`; in their order by default.
    is_folded : bool
        Whether each covariance of loadings is there once; see `bayesmm.bayes.programs.loadings.Loadings`.

    Returns
    -------
    program : MarginalProgram
        The NumPyro model.
    data : MarginalData
        Its argument.

    Raises
    ------
    ArgumentError
        If the residual variance changes with fitted values.
    """
    problem.design.require_known_spreads("The marginal program")
    covariances, covariance_data = _bind_covariances(problem.design, priors, frames, is_folded)
    rows = priors.of_kind("fixed")
    sampled = [j for j, row in enumerate(rows) if not isinstance(row.prior, Flat | Normal)]
    integrated = [j for j in range(len(rows)) if j not in sampled]
    mean, precision, dependence = _gaussian(rows, priors.contrast, integrated, sampled)
    coefficients, numbers = None, ()
    if sampled:
        chosen = [rows[j].prior for j in sampled]
        coefficients, numbers = declare_parameter("beta_sampled", chosen, support="real line")
    padded, stacks, relating = pad_sums(problem)
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "products": padded,
        "prior": condition_prior(padded, mean, precision, sampled),
        "dependence": dependence,
        "covariances": covariance_data,
        "coefficients": numbers,
        "stacks": stacks,
        "relating": relating,
    }
    return MarginalProgram(covariances=covariances, coefficients=coefficients), MarginalData(**leaves)


def pad_sums(problem: Problem) -> PaddedSums | tuple[CrossProducts | HostedProducts, tuple[()], None]:
    """Pad the sums over the rows; where residuals have a covariance, lay out what they are made from at each of it.

    Sums of levels that are related by a sparse matrix stay on the host, unless residuals have a covariance.

    Raises
    ------
    ArgumentError
        If these are too many to be related by a dense matrix.
    """
    if problem.design.residual is None:
        products = problem.products
        return pad_products(products) if products.sparse is None else host_products(products), (), None
    problem = problem.dense
    rows, plan = problem.residual_rows, problem.plan
    is_summed = bool(rows.blocks) and takes_less(rows, all_sums=True)
    return (weigh_products if is_summed else lay_out_products)(rows, plan)


def _gaussian(
    rows: Sequence[PriorRow], contrast: np.ndarray, integrated: list[int], sampled: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and precision of the integrated coefficients where the sampled ones are zero, and how the mean moves.

    With independent priors N(m, D) of T_I β_I + T_S β_S: precision T_I'D⁻¹T_I, mean T_I⁻¹(m − T_S β_S).
    """
    p = len(rows)
    T = contrast[np.ix_(integrated, integrated)]
    inverse = np.linalg.inv(T)
    normal = [rows[j].prior.numbers for j in integrated]
    centres = np.array([numbers.get("mean", 0.0) for numbers in normal])
    precisions = np.array([1.0 / numbers["sd"] ** 2 if numbers else 0.0 for numbers in normal])
    mean, precision = np.zeros(p), np.zeros((p, p))
    mean[integrated] = inverse @ centres
    precision[np.ix_(integrated, integrated)] = T.T @ (precisions[:, None] * T)
    return mean, precision, inverse @ contrast[np.ix_(integrated, sampled)]


def bind_conditional(
    design: Design,
    priors: ResolvedPriors,
    parameterisations: Sequence[Parameterisation],
    references: Sequence[np.ndarray] | None = None,
    frames: Sequence[np.ndarray] | None = None,
) -> tuple[ConditionalProgram, ConditionalData]:
    """Bind the conditional program: every coefficient and every random effect is sampled.

    Parameters
    ----------
    design : Design
        The data, and the names.
    priors : ResolvedPriors
        Every prior in force.
    parameterisations : sequence of {"centred", "noncentred"} or degrees in [0, 1]
        By grouping factor; related levels are sampled non-centred.
    references : sequence of array, shape (k, k), optional
        Factors F of Var(Tb) = FF', of the effects that priors are about and about as large as they will be, for partly
        centred effects; identities by default.
    frames : sequence of int array, shape (k,), optional
        See `bind_marginal`.

    Returns
    -------
    program : ConditionalProgram
        The NumPyro model.
    data : ConditionalData
        Its argument.

    Raises
    ------
    DesignError
        If a response is zero, and the residual variance a power of the expected one.
    """
    if design.residual is not None and design.residual.growth:
        refuse_related(
            design,
            "A variance by the fitted value is sampled with independent levels",
            "Take fit(), or a covariate in its place, power(x).",
        )
    _refuse_zeros(design)
    covariances, covariance_data = _bind_covariances(design, priors, frames)
    rows = priors.of_kind("fixed")
    coefficients, numbers = None, ()
    if rows:
        plain = (priors.contrast == np.eye(len(rows))).all()
        name = "beta" if plain else "beta_at_means"
        coefficients, numbers = declare_parameter(name, [row.prior for row in rows], support="real line")
    centring = centre_effects(
        design.X[:, design.kept], design.blocks, parameterisations, contrasts=priors.effect_contrasts
    )
    degrees = [degree_of(each) for each in parameterisations]
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "y": design.y,
        "offset": design.offset,
        "root_weights": np.sqrt(design.weights),
        "X": centring.X,
        "codes": tuple(tuple(own.codes for own in each.memberships) for each in centring.incidences),
        "columns": tuple(tuple(own.columns for own in each.memberships) for each in centring.incidences),
        "means": centring.means,
        "parent_codes": centring.parent_codes,
        "links": centring.links,
        "inverse_contrast": np.linalg.inv(priors.contrast),
        "degrees": np.array(degrees),
        "references": tuple(references or (np.eye(block.k) for block in design.blocks)),
        "covariances": covariance_data,
        "coefficients": numbers,
        "level_roots": tuple(
            None if block.relation is None else dense_relation(block.relation).root for block in design.blocks
        ),
        "groups": () if design.residual is None else lay_out_groups(lay_out_design(design.without_fitted())),
    }
    program = ConditionalProgram(
        covariances=covariances,
        coefficients=coefficients,
        parameterisations=tuple("centred" if w == 1.0 else "noncentred" if w == 0.0 else "partial" for w in degrees),
        order=centring.order,
        parents=centring.parents,
        relations=tuple(block.grouping.relation if block.relation is not None else "" for block in design.blocks),
    )
    return program, ConditionalData(**leaves)


def _refuse_zeros(design: Design) -> None:
    """Refuse responses at which the density rises without limit as the expected one comes to them."""
    is_zero = design.y == 0.0
    if design.residual is None or not design.residual.growth.has_pole or not is_zero.any():
        return
    raise DesignError(
        f"{design.response} is 0 in row {design.rows[is_zero.argmax()]!r}, where residual="
        f"{design.residual.specification.text!r} leaves no variance, so that an expected response of zero is "
        "infinitely likely: leave such rows out, shift the response, or take exponential(fitted)."
    )


def _bind_covariances(
    design: Design, priors: ResolvedPriors, frames: Sequence[np.ndarray] | None, is_folded: bool = False
) -> tuple[Covariances, CovarianceData]:
    labels, blocks, sds, correlations, loadings = design.labels, [], [], [], []
    by_name = {row.name: row.prior for row in priors.rows}
    for position, names in enumerate(labels.blocks):
        places = np.arange(len(names.effects)) if frames is None else frames[position]
        block, numbers, of_correlations, given = _bind_block(position, names, priors, places, is_folded)
        blocks.append(block)
        sds.append(numbers)
        correlations.append(of_correlations)
        loadings.append(given)
    if priors.known_sigma is not None:
        sigma, sigma_data = None, np.float64(priors.known_sigma)
    else:
        moved = "at_means_" if priors.exponent_means.any() else ""
        sigma, sigma_data = declare_parameter(
            f"{moved}sigma",
            [by_name["sigma"]],
            support="positive numbers",
            scale_names={"variance": f"{moved}variance"},
            scalar=True,
        )
    residual, residual_data = (None, None) if design.residual is None else _bind_residuals(design.residual, priors)
    data = CovarianceData(
        sds=tuple(sds),
        correlations=tuple(correlations),
        loadings=tuple(loadings),
        to_columns=tuple(cast(Any, np.linalg.inv(T)) for T in priors.effect_contrasts),
        sigma=cast(Any, sigma_data),
        residual=residual_data,
    )
    return Covariances(blocks=tuple(blocks), sigma=sigma, residual=residual), data


def _bind_residuals(block: ResidualBlock, priors: ResolvedPriors) -> tuple[Residuals, ResidualNumbers]:
    """Declare standard deviations by strata, exponents and correlations of the residuals."""
    by_name = {row.name: row.prior for row in priors.rows}
    pairs = list(zip(block.sd_names, block.are_sds, strict=True))
    own, others = ([by_name[name] for name, is_sd in pairs if is_sd is wanted] for wanted in (True, False))
    moved, alone = bool(priors.exponent_means.any()), not (own and others)
    spreads = exponents = None
    spread_numbers = exponent_numbers = ()
    matrices, matrix_numbers = [], []
    if own:
        spreads, spread_numbers = declare_parameter(
            RESIDUAL_SD if alone and not moved else "residual_spread",
            own,
            support="positive numbers",
            scale_names={"variance": "residual_variance"},
        )
    if others:
        exponents, exponent_numbers = declare_parameter(
            RESIDUAL_SD if alone else "residual_exponent", others, support="real line"
        )
    for i, piece in enumerate(priors.residuals):
        around = ("residual_", f"_{i}" if len(priors.residuals) > 1 else "")
        sites, given = residual_sites(piece, priors.of_matrix(piece), around)
        matrices.append(ResidualMatrix(sites=sites, structure=piece.structure))
        matrix_numbers.append(given)
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "spreads": spread_numbers,
        "exponents": exponent_numbers,
        "means": priors.exponent_means,
        "matrices": tuple(matrix_numbers),
    }
    residuals = Residuals(
        correlation=block.correlation,
        are_sds=block.are_sds,
        spreads=spreads,
        exponents=exponents,
        moved=moved,
        matrices=tuple(matrices),
        growth=block.growth,
    )
    return residuals, ResidualNumbers(**leaves)


def _bind_block(
    position: int, names: BlockLabels, priors: ResolvedPriors, places: np.ndarray, is_folded: bool
) -> tuple[Block, tuple, tuple, tuple[LoadingNumbers, ...]]:
    rows = priors.of_kind("sd", names.group)
    at_means = (priors.effect_contrasts[position] - np.eye(len(names.effects))).any()
    sd_name = f"at_means_{names.sd_variable}" if at_means else names.sd_variable
    own = [piece for piece in priors.pieces if piece.block == position]
    pieces = [piece for piece in own if piece.structure.has_shares]
    loaded = [
        _bind_loadings(i, names, own, priors, places, is_folded) for i, each in enumerate(own) if each not in pieces
    ]
    taken = {j for each, _ in loaded for j in each.rows}
    others = tuple(j for j in range(len(rows)) if j not in taken)
    sd, numbers = declare_parameter(
        f"{sd_name}_others" if loaded else sd_name,
        [rows[j].prior for j in others],
        support="positive numbers",
        scale_names={"variance": f"variance_{names.dim}", "share": f"share_{names.dim}"},
    )
    matrices, correlations = [], []
    for i, piece in enumerate(own):
        if piece in pieces:
            around = ("", f"_{names.dim}{f'_{i}' if len(own) > 1 else ''}")
            sites, given = effect_sites(piece, priors.of_matrix(piece), around)
            matrices.append(Matrix(sites=sites, start=piece.start, stop=piece.stop, structure=piece.structure))
            correlations.append(given)
    block = Block(
        label=names.dim,
        n_levels=len(names.levels),
        n_effects=len(names.effects),
        sd_name=sd_name,
        sd=sd,
        sd_rows=others,
        at_means=bool(at_means),
        matrices=tuple(matrices),
        loadings=tuple(each for each, _ in loaded),
        pieces=names.pieces,
    )
    return block, numbers, tuple(correlations), tuple(given for _, given in loaded)


def _bind_loadings(
    i: int,
    names: BlockLabels,
    pieces: Sequence[CorrelationPiece],
    priors: ResolvedPriors,
    places: np.ndarray,
    is_folded: bool,
) -> tuple[Loadings, LoadingNumbers]:
    """Declare the loadings of one of the terms of a grouping factor."""
    piece, label = pieces[i], f"{names.dim}{f'_{i}' if len(pieces) > 1 else ''}"
    by_name = {row.name: row.prior for row in priors.rows}
    sd, numbers = declare_parameter(
        names.sd_variable, [by_name[row] for row in piece.sd_rows], support="positive numbers"
    )
    loadings = Loadings(
        pivots=f"pivots_{label}",
        others=f"loadings_{label}",
        start=piece.start,
        stop=piece.stop,
        rows=tuple(names.sd_rows.index(row) for row in piece.sd_rows),
        structure=piece.structure,
        sd=sd,
        is_folded=is_folded,
    )
    return loadings, LoadingNumbers(cast(Any, numbers), cast(Any, places[piece.start : piece.stop]))
