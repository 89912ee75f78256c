"""Models without some of their random effects, or without some correlations: the null hypotheses of variances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.covariance.structure import Structure
from bayesmm.covariance.table import STRUCTURES
from bayesmm.design.blocks.blocks import BlockPiece, RandomBlock
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError, SpecificationError
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.sums.responses import Responses
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate, estimate
from bayesmm.reml.refits import refit
from bayesmm.reml.residual_search import estimate_residual, residual_criterion
from bayesmm.specification.formula import parse_formula


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """Some effects have no variance, or the effects of a term no correlations.

    Attributes
    ----------
    name : str
        What is zero: "sd(Days | Subject)", "cor(1 + Days | Subject)", "(1 + Days | Subject)".
    block, piece : int
        Which grouping factor, and which of its terms.
    effects : tuple of int
        Effects of the grouping factor that are dropped; none where correlations are.
    n_variances, n_correlations : int
        Free standard deviations and correlations that are zero, or go with those that are.
    is_smooth : bool
        Whether the covariances that are left out form a cone at the null, as asymptotic mixtures need it: correlations
        of a pattern lose their meaning there.
    is_one_sided : bool
        Whether it is one correlation that cannot be negative.
    """

    name: str
    block: int
    piece: int
    effects: tuple[int, ...]
    n_variances: int
    n_correlations: int
    is_smooth: bool
    is_one_sided: bool = False

    @property
    def is_one_variance(self) -> bool:
        """Whether one variance alone is zero, and no correlation goes with it."""
        return self.n_variances == 1 and self.n_correlations == 0


def variance_hypotheses(fit: Fitted) -> dict[str, Hypothesis]:
    """Return one for each standard deviation of a fit, by its name in the table of parameters."""
    found: dict[str, Hypothesis] = {}
    for b, labels in enumerate(fit.labels.blocks):
        names = iter(labels.sd_rows)
        for position, piece in enumerate(labels.pieces):
            n, n_cors, structure = piece.structure.n_sds(piece.k), piece.structure.n_cors(piece.k), piece.structure
            whole = n < piece.k or not structure.is_divisible
            for j in range(n):
                name = next(names)
                found[name] = Hypothesis(
                    name=str(fit.design.blocks[b].pieces[position].term) if whole and n > 1 else name,
                    block=b,
                    piece=position,
                    effects=tuple(range(piece.start, piece.stop)) if whole else (piece.start + j,),
                    n_variances=n if whole else 1,
                    n_correlations=n_cors if whole else n_cors - _count_correlations(structure, piece.k - 1),
                    is_smooth=structure.is_divisible,
                )
    return found


def _count_correlations(structure: Structure, k: int) -> int:
    """Count the correlations of k effects, of which there may be none."""
    return structure.n_cors(k) if k > 0 else 0


def find_hypothesis(fit: Fitted, name: str) -> Hypothesis:
    """Read what is to be tested: a standard deviation, a correlation, or a term as the formula has it.

    Raises
    ------
    ArgumentError
        If it is none of these.
    """
    of_sds = variance_hypotheses(fit)
    if name in of_sds:
        return of_sds[name]
    for b, (labels, block) in enumerate(zip(fit.labels.blocks, fit.design.blocks, strict=True)):
        correlations = iter(zip(labels.cor_rows, labels.cor_aliases, strict=True))
        for position, (piece, expression) in enumerate(zip(block.pieces, labels.expressions, strict=True)):
            n_cors = piece.structure.n_cors(piece.k)
            own = [names for names in (next(correlations) for _ in range(n_cors)) if name in names]
            if own and (piece.structure.correlations == "rank" or 1 < piece.structure.n_sds(piece.k) < piece.k):
                raise ArgumentError(
                    f"The correlations of {piece.term} follow from loadings, or are those of a product: the model "
                    "without them is another. Fit that, and compare both by bmm.anova."
                )
            if own:
                return Hypothesis(
                    name=f"cor({expression} | {labels.group})" if n_cors > 1 else own[0][0],
                    block=b,
                    piece=position,
                    effects=(),
                    n_variances=0,
                    n_correlations=n_cors,
                    is_smooth=True,
                    is_one_sided=piece.structure.limits(piece.k)[0] == 0.0,
                )
            if _is_term(name, piece):
                return Hypothesis(
                    name=str(piece.term),
                    block=b,
                    piece=position,
                    effects=tuple(range(piece.start, piece.stop)),
                    n_variances=piece.structure.n_sds(piece.k),
                    n_correlations=n_cors,
                    is_smooth=piece.structure.is_divisible,
                )
    cors = [row for labels in fit.labels.blocks for row in labels.cor_rows]
    raise ArgumentError(
        f"There is no variance {name!r} to test. Give the name of a standard deviation ({', '.join(of_sds)})"
        + (f", of a correlation ({', '.join(cors)})" if cors else "")
        + ", or a random-effects term as the formula has it."
    )


def _is_term(text: str, piece: BlockPiece) -> bool:
    try:
        return parse_formula(f"y ~ 1 + {text}").random_terms == (piece.term,)
    except SpecificationError:
        return False


@dataclass(frozen=True, kw_only=True, eq=False)
class Null:
    """The model of a hypothesis, fitted as the larger model was.

    Attributes
    ----------
    hypothesis : Hypothesis
        What it leaves out.
    design : Design
        The same rows and fixed effects with what is left of the random effects.
    problem : Problem or None
        That with its sums; None if no random effect is left.
    estimate : Estimate or None
        Likewise.
    full : Criterion
        The objective of the larger model.
    """

    hypothesis: Hypothesis
    design: Design
    problem: Problem | None
    estimate: Estimate | None
    full: Criterion

    @property
    def deviance(self) -> float:
        """−2 log likelihood."""
        if self.estimate is not None:
            return self.estimate.criterion
        return float(linear_deviance(self.full, self.full.products.gram[-1, -1]))

    @property
    def beta(self) -> np.ndarray:
        """Fixed effects that are estimated (p,)."""
        return self.full.products.fixed_origin if self.estimate is None else self.estimate.beta

    @property
    def sigma(self) -> float:
        """Residual standard deviation, in units of the response (of a row of weight one)."""
        if self.estimate is not None:
            return self.estimate.sigma
        residual_square = self.full.products.gram[-1, -1]
        return self.full.sigma or float(np.sqrt(residual_square / self.full.degrees_of_freedom))

    def refit(self, responses: Responses) -> np.ndarray:
        """−2 log likelihood (m,) of other responses, from their sums here; NaN where there is no maximum.

        Their sums in the larger model serve where no random effect is left.
        """
        if self.estimate is None:
            return linear_deviance(self.full, responses.squares)
        return refit(self.estimate.criterion_function, responses, self.estimate.minimum.x).criterion


def fit_null(fit: Fitted, hypothesis: Hypothesis) -> Null:
    """Fit the model of a hypothesis by the method of the fit, with the same fixed effects."""
    full = fit.estimate.criterion_function
    design = replace(fit.design, blocks=remaining_blocks(fit.design, hypothesis))
    if design.residual is not None:
        problem = Problem(design)
        found = estimate_residual(residual_criterion(problem, full.method))
        return Null(hypothesis=hypothesis, design=design, problem=problem, estimate=found, full=full)
    if not design.blocks:
        return Null(hypothesis=hypothesis, design=design, problem=None, estimate=None, full=full)
    problem = Problem(design, plan=None if hypothesis.effects else fit.problem.plan)
    criterion = Criterion(problem.products, problem.layout, full.method, full.sigma, full.engine)
    return Null(hypothesis=hypothesis, design=design, problem=problem, estimate=estimate(criterion), full=full)


def linear_deviance(full: Criterion, residual_square: np.ndarray) -> np.ndarray:
    """−2 log likelihood without random effects, from the sums of a model with some and residual squares (...)."""
    products, df = full.products, full.degrees_of_freedom
    constant = full.restriction * products.log_det_root - products.log_weights
    if full.sigma is None:
        return constant + df * (1.0 + np.log(2.0 * np.pi * residual_square / df))
    return constant + df * np.log(2.0 * np.pi * full.sigma**2) + residual_square / full.sigma**2


def remaining_blocks(design: Design, hypothesis: Hypothesis) -> tuple[RandomBlock, ...]:
    """Return the random effects that are left under a hypothesis."""
    blocks = list(design.blocks)
    block = blocks[hypothesis.block]
    if not hypothesis.effects:
        blocks[hypothesis.block] = _without_correlations(block, hypothesis.piece)
    elif len(hypothesis.effects) < block.k:
        blocks[hypothesis.block] = _without_effects(block, hypothesis.effects)
    else:
        del blocks[hypothesis.block]
    return tuple(blocks)


def _without_correlations(block: RandomBlock, position: int) -> RandomBlock:
    """Make the effects of one term independent: with one standard deviation where they have one."""
    piece = block.pieces[position]
    independent = "homdiag" if piece.structure.n_sds(piece.k) < piece.k else "diag"
    pieces = list(block.pieces)
    pieces[position] = replace(
        piece, term=replace(piece.term, structure=independent), structure=STRUCTURES[independent]
    )
    return replace(block, pieces=tuple(pieces))


def _without_effects(block: RandomBlock, dropped: tuple[int, ...]) -> RandomBlock:
    kept = [j for j in range(block.k) if j not in dropped]
    pieces, start = [], 0
    for piece in block.pieces:
        k = sum(piece.start <= j < piece.stop for j in kept)
        if k > 0:
            pieces.append(replace(piece, start=start, stop=start + k))
            start += k
    return replace(
        block,
        effects=tuple(block.effects[j] for j in kept),
        columns=block.columns[:, kept],
        incidence=block.incidence.map(lambda codes: codes, lambda columns: columns[:, kept]),
        pieces=tuple(pieces),
    )
