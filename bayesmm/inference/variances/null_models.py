"""Models without some of their random effects, or without some correlations: the null hypotheses of variances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.covariance.structure import Structure
from bayesmm.covariance.table import STRUCTURES
from bayesmm.design.blocks.blocks import BlockPiece, RandomBlock
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError, SpecificationError
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.variances.residual_nulls import (
    ResidualHypothesis,
    layout_without,
    residual_hypotheses,
    without,
)
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.marginal.many.drawn import SumSource
from bayesmm.marginal.residual.whitened import ResidualRows, whiten_at
from bayesmm.marginal.sums.crossproducts import plan_elimination
from bayesmm.marginal.sums.responses import Responses
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate, estimate
from bayesmm.reml.refits import refit, refit_alone
from bayesmm.reml.residual import ResidualCriterion
from bayesmm.reml.residual_search import estimate_residual, refit_each, refit_responses, residual_criterion
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


def find_hypothesis(fit: Fitted, name: str) -> Hypothesis | ResidualHypothesis:
    """Read what is to be tested: a standard deviation, a correlation, or a term as the formula has it.

    Of residuals it is all of a kind that a name is among: their correlations, or what one thing changes in their
    standard deviations.

    Raises
    ------
    ArgumentError
        If it is none of these.
    """
    of_sds = variance_hypotheses(fit)
    if name in of_sds:
        return of_sds[name]
    of_residuals = list(residual_hypotheses(fit.design.residual))
    for each in of_residuals:
        if name == each.name or name in each.names or name in each.also_called:
            return each
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
    ways = [
        *([f"the name of a standard deviation ({', '.join(of_sds)})"] if of_sds else ()),
        *([f"of a correlation ({', '.join(cors)})"] if cors else ()),
        *(["a random-effects term as the formula has it"] if of_sds else ()),
        *([f"what residuals have ({', '.join(each.name for each in of_residuals)})"] if of_residuals else ()),
    ]
    raise ArgumentError(f"There is no variance {name!r} to test. Give {' or '.join(ways)}.")


def _is_term(text: str, piece: BlockPiece) -> bool:
    try:
        return parse_formula(f"y ~ 1 + {text}").random_terms == (piece.term,)
    except SpecificationError:
        return False


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearModel:
    """A model without covariance parameters but σ.

    Attributes
    ----------
    df : float
        What the residual square is divided by for σ̂².
    constant : float
        What its −2 log likelihood has that depends on no response.
    sigma : float, optional
        Residual standard deviation where it is known.
    """

    df: float
    constant: float
    sigma: float | None

    @classmethod
    def within(cls, full: Criterion) -> LinearModel:
        """Leave all random effects out of a model whose residuals are independent."""
        products = full.products
        constant = full.restriction * products.log_det_root - products.log_weights
        return cls(df=full.degrees_of_freedom, constant=float(constant), sigma=full.sigma)

    @classmethod
    def under(cls, full: ResidualCriterion) -> LinearModel:
        """Leave everything out of one whose residuals have a covariance."""
        log_det = 2.0 * np.log(np.abs(np.diag(full.rows.root))).sum()
        constant = full.restriction * log_det - full.rows.log_weights
        return cls(df=full.degrees_of_freedom, constant=float(constant), sigma=full.sigma)

    def deviance(self, residual_square: np.ndarray) -> np.ndarray:
        """−2 log likelihood from residual squares (...)."""
        if self.sigma is None:
            return self.constant + self.df * (1.0 + np.log(2.0 * np.pi * residual_square / self.df))
        return self.constant + self.df * np.log(2.0 * np.pi * self.sigma**2) + residual_square / self.sigma**2


@dataclass(frozen=True, kw_only=True, eq=False)
class Null:
    """The model of a hypothesis, fitted as the larger model was.

    Attributes
    ----------
    hypothesis : Hypothesis or ResidualHypothesis
        What it leaves out.
    design : Design
        The same rows and fixed effects with what is left of the random effects, and of what residuals have.
    problem : Problem or None
        That with its sums; None if no covariance parameter but σ is left.
    estimate : Estimate or None
        Likewise.
    linear : LinearModel
        What it is then.
    full : Criterion
        The objective of the larger model.
    rows : ResidualRows or None
        Of the larger model, if its residuals have a covariance.
    """

    hypothesis: Hypothesis | ResidualHypothesis
    design: Design
    problem: Problem | None
    estimate: Estimate | None
    linear: LinearModel
    full: Criterion
    rows: ResidualRows | None = None

    @property
    def _residual_square(self) -> float:
        """What least squares leave."""
        if self.rows is None:
            return float(self.full.products.gram[-1, -1])
        return self.rows.residual_square

    @property
    def deviance(self) -> float:
        """−2 log likelihood."""
        if self.estimate is not None:
            return self.estimate.criterion
        return float(self.linear.deviance(np.array(self._residual_square)))

    @property
    def beta(self) -> np.ndarray:
        """Fixed effects that are estimated (p,)."""
        if self.estimate is not None:
            return self.estimate.beta
        return self.full.products.fixed_origin if self.rows is None else self.rows.origin

    @property
    def sigma(self) -> float:
        """Residual standard deviation, in units of the response (of a row of weight one)."""
        if self.estimate is not None:
            return self.estimate.sigma
        return self.linear.sigma or float(np.sqrt(self._residual_square / self.linear.df))

    def draw_sums(self, source: SumSource, streams: Sequence[np.random.Generator]) -> tuple[Responses, Responses]:
        """Draw responses of this model from sums of the larger one, and return their sums in both.

        Parameters
        ----------
        source : SumSource
            Of the larger model, of which a hypothesis leaves some random effects.
        streams : sequence of Generator
            One a response.
        """
        assert isinstance(self.hypothesis, Hypothesis)
        roots, left = source.products.effect_roots, iter(() if self.estimate is None else self.estimate.factors)
        kept = remaining_effects([len(T) for T in roots], self.hypothesis)
        factors = []
        for T, own in zip(roots, kept, strict=True):
            Lambda = np.zeros((len(T), len(T)))
            if own:
                Lambda[np.ix_(own, own)] = next(left)
            factors.append(T @ Lambda)
        drawn = source.draw(streams, factors, self.sigma, self.beta)
        if self.problem is None:
            return drawn, drawn
        columns = self.problem.products
        every = [(T[:, own], K) for T, own, K in zip(roots, kept, drawn.cross, strict=True) if own]
        cross = [
            host.transform(np.linalg.solve(root.T, T.T).T, K)
            for root, (T, K) in zip(columns.effect_roots, every, strict=True)
        ]
        return drawn, replace(drawn, columns=columns, cross=tuple(cross), levels=None, effects=None)

    def refit(self, responses: Responses) -> np.ndarray:
        """−2 log likelihood (m,) of other responses, from their sums here; NaN where there is no maximum.

        Their sums in the larger model serve where no random effect is left.
        """
        if self.estimate is None:
            return self.linear.deviance(responses.squares)
        return refit(self.estimate.criterion_function, responses, self.estimate.minimum.x).criterion

    def refit_drawn(self, rows: ResidualRows) -> float:
        """−2 log likelihood of a response on few rows that have the sums of all, from `reduce`; NaN likewise."""
        if self.estimate is None:
            return float(self.linear.deviance(np.array(rows.residual_square)))
        residual, start = self.estimate.residual, self.estimate.coordinates[:-1]
        if residual is not None:
            (found,) = refit_each(residual.criterion, [rows], start)
            return np.nan if found is None else found.criterion
        criterion, plan = self.estimate.criterion_function, self.problem and self.problem.plan
        whitened = whiten_at(rows, np.zeros(0), plan)
        return float(refit_alone(replace(criterion, products=whitened.products), start).criterion[0])

    def refit_rows(self, rows: np.ndarray) -> np.ndarray:
        """Do so from their rows (n, m), of a model whose residuals have a covariance."""
        if self.estimate is None or self.problem is None:
            assert self.rows is not None
            return self.linear.deviance(self.rows.residual_squares(rows, self.design.offset, self.design.weights))
        residual = self.estimate.residual
        criterion = self.estimate.criterion_function if residual is None else residual.criterion
        return refit_rows(self.problem, criterion, rows, self.estimate.coordinates[:-1])


def refit_rows(
    problem: Problem, criterion: Criterion | ResidualCriterion, rows: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """−2 log likelihood (m,) of other responses (n, m), searched from one start; NaN where there is no maximum."""
    if isinstance(criterion, ResidualCriterion):
        found = refit_responses(problem, criterion, rows, start)
        return np.array([np.nan if each is None else each.criterion for each in found])
    return refit(criterion, problem.sum_responses(rows), start).criterion


def null_criterion(problem: Problem, method: Method, sigma: float | None) -> Criterion | ResidualCriterion:
    """Return the objective of what a hypothesis leaves."""
    if problem.design.residual is not None:
        return residual_criterion(problem, method)
    return Criterion(problem.products, problem.layout, method, sigma)


def fit_null(fit: Fitted, hypothesis: Hypothesis | ResidualHypothesis) -> Null:
    """Fit the model of a hypothesis by the method of the fit, with the same fixed effects."""
    full, residual = fit.estimate.criterion_function, fit.estimate.residual
    design, rows = remaining_design(fit.design, hypothesis), None
    if residual is None:
        linear = LinearModel.within(full)
    else:
        rows = residual.criterion.rows
        linear = LinearModel.under(residual.criterion)
    problem, found = None, None
    if design.residual is not None or design.blocks:
        problem = _pose(fit, design, hypothesis)
        criterion = null_criterion(problem, full.method, full.sigma)
        if isinstance(criterion, ResidualCriterion):
            found = estimate_residual(criterion)
        else:
            found = estimate(replace(criterion, engine=full.engine))
    return Null(
        hypothesis=hypothesis, design=design, problem=problem, estimate=found, linear=linear, full=full, rows=rows
    )


def _pose(fit: Fitted, design: Design, hypothesis: Hypothesis | ResidualHypothesis) -> Problem:
    """Pose the problem of what is left; rows that are not in memory have its sums among theirs."""
    if fit.problem.summed is not None and fit.design.residual is not None:
        rows = reduce_rows(fit.problem.residual_rows, fit.design, design, hypothesis)
        if design.residual is None:
            return Problem(design, plan=fit.problem.plan, products=whiten_at(rows, np.zeros(0)).products)
        found = Problem(design, plan=plan_elimination(rows.blocks) if rows.blocks else None)
        found.residual_rows = rows
        return found
    if fit.problem.summed is not None and isinstance(hypothesis, Hypothesis):
        kept = remaining_effects([block.k for block in fit.design.blocks], hypothesis)
        return Problem.of_fewer_effects(fit.problem.summed, design, kept)
    keeps_plan = isinstance(hypothesis, Hypothesis) and not hypothesis.effects and design.residual is None
    return Problem(design, plan=fit.problem.plan if keeps_plan else None)


def reduce_rows(
    rows: ResidualRows, full: Design, design: Design, hypothesis: Hypothesis | ResidualHypothesis
) -> ResidualRows:
    """Return rows of a design whose residuals have a covariance as those of what is left under a hypothesis."""
    if isinstance(hypothesis, Hypothesis):
        kept = remaining_effects([block.k for block in full.blocks], hypothesis)
        return rows.of_effects(kept, tuple(block.layout for block in design.blocks))
    assert full.residual is not None
    return replace(rows, layout=layout_without(rows.layout, full.residual, hypothesis))


def remaining_effects(widths: Sequence[int], hypothesis: Hypothesis) -> list[list[int]]:
    """Return the effects of each grouping factor, of which it has so many, that are left under a hypothesis."""
    dropped = {hypothesis.block: hypothesis.effects}
    return [[j for j in range(k) if j not in dropped.get(b, ())] for b, k in enumerate(widths)]


def remaining_design(design: Design, hypothesis: Hypothesis | ResidualHypothesis) -> Design:
    """Return the design of what is left under a hypothesis."""
    if isinstance(hypothesis, Hypothesis):
        return replace(design, blocks=remaining_blocks(design, hypothesis))
    assert design.residual is not None
    return replace(design, residual=without(design.residual, hypothesis))


def remaining_blocks(design: Design, hypothesis: Hypothesis) -> tuple[RandomBlock, ...]:
    """Return the random effects that are left under a hypothesis."""
    blocks = list(design.blocks)
    block = blocks[hypothesis.block]
    if not hypothesis.effects:
        blocks[hypothesis.block] = _without_correlations(block, hypothesis.piece)
    elif len(hypothesis.effects) < block.k:
        kept = remaining_effects([each.k for each in design.blocks], hypothesis)
        blocks[hypothesis.block] = _of_effects(block, kept[hypothesis.block])
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


def _of_effects(block: RandomBlock, kept: list[int]) -> RandomBlock:
    pieces, start = [], 0
    for piece in block.pieces:
        k = sum(piece.start <= j < piece.stop for j in kept)
        if k > 0:
            pieces.append(replace(piece, start=start, stop=start + k))
            start += k
    return replace(
        block,
        effects=tuple(block.effects[j] for j in kept),
        columns=block.columns[:, kept] if block.moments is None else block.columns,
        incidence=block.incidence.of_effects(kept),
        moments=None if block.moments is None else block.moments.of_effects(kept),
        pieces=tuple(pieces),
    )
