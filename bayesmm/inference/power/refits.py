"""Estimates from simulated data sets: all side by side from their sums, or one by one from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from bayesmm.covariance.layout import assemble_factors, stack_factors
from bayesmm.design.design import Design
from bayesmm.inference.bootstrap.drawing import sum_source
from bayesmm.inference.fitted import Df, Fitted
from bayesmm.inference.fixed.fixed_effects import FixedInference, infer_fixed_effects
from bayesmm.inference.fixed.together import infer_together
from bayesmm.inference.power.starts import start_at
from bayesmm.inference.simulated_responses import draw_effects, draw_rows, simulate_responses
from bayesmm.inference.simulation.simulate import Stated
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.marginal.sums.responses import Responses
from bayesmm.problem import Problem
from bayesmm.reml.boundary import SINGULAR
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate
from bayesmm.reml.refits import Refits, public_values_together, refit
from bayesmm.reml.residual import ResidualCriterion
from bayesmm.reml.residual_search import refit_responses

if TYPE_CHECKING:  # the posterior's libraries are loaded where one is asked for
    from bayesmm.bayes.exploring.start import WarmStart


class Refitted(Protocol):
    """Estimates from some data sets; but for `criterion` of those that have any, g of them."""

    @property
    def criterion(self) -> np.ndarray:
        """−2 log likelihood (m,); NaN of those that have none."""
        ...

    @property
    def residual_squares(self) -> np.ndarray:
        """Residual square (m,) of least squares on the columns of the fixed effects alone."""
        ...

    def inferences(self, df: Df) -> Sequence[FixedInference]:
        """Return what tests of the fixed effects need."""
        ...

    def public_values(self) -> np.ndarray:
        """Return standard deviations, correlations, what residuals have, and σ (g, s), as tables have them."""
        ...

    def is_singular(self) -> np.ndarray:
        """Which have a singular covariance matrix (g,)."""
        ...

    def draw_again(self, i: int, streams: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (B, p) and public values (B, s) of data sets drawn from the estimates of one."""
        ...

    def warm_start(self, i: int, problem: Problem) -> WarmStart:
        """Return where the posterior of one data set is looked for."""
        ...


class Refitter(Protocol):
    """Draws and refits data sets of one design."""

    @property
    def draws_sums(self) -> bool:
        """Whether no rows are drawn."""
        ...

    @property
    def size(self) -> int:
        """Numbers that are held for each data set."""
        ...

    def draw(self, streams: Sequence[np.random.Generator]) -> tuple[Refitted, np.ndarray | None]:
        """Draw and refit data sets: their estimates, and their rows (n, m) where those are there."""
        ...


class SideBySide:
    """Of independent residuals: searches side by side, from sums, which are drawn without rows where that does.

    Parameters
    ----------
    problem, criterion : Problem, Criterion
        The design with any response.
    truth : Stated
        What data are drawn from.
    needs_rows : bool
        Whether rows are to be drawn.
    """

    def __init__(self, problem: Problem, criterion: Criterion, truth: Stated, *, needs_rows: bool) -> None:
        self.problem, self.criterion, self._truth = problem, criterion, truth
        self._start = start_at(criterion, truth.covariances, truth.sigma, problem.design, truth.values)
        self.source = None if needs_rows else sum_source(criterion)
        self._factors = assemble_factors(np, self._start, criterion.layout)

    @property
    def draws_sums(self) -> bool:
        """Whether no rows are drawn."""
        return self.source is not None

    @property
    def size(self) -> int:
        """Numbers of the sums of one data set, or of its rows."""
        size = sum(G.shape[0] * G.shape[2] for G in self.criterion.products.diagonal) + self.problem.design.p
        return size + (0 if self.draws_sums else self.problem.design.n)

    def draw(self, streams: Sequence[np.random.Generator]) -> tuple[Refitted, np.ndarray | None]:
        """Draw and refit."""
        truth, rows = self._truth, None
        if self.source is not None:
            responses = self.source.draw(streams, self._factors, truth.sigma, truth.beta)
        else:
            effects = draw_effects(self.problem.design, truth.factors, streams)
            rows = draw_rows(self.problem.design, truth.beta, effects, truth.sigma, streams)
            responses = self.problem.sum_responses(rows)
        return _Together(of=self, responses=responses, found=refit(self.criterion, responses, self._start)), rows


@dataclass(frozen=True, kw_only=True, eq=False)
class _Together:
    """What came of data sets that were refitted side by side; as `Refitted`."""

    of: SideBySide
    responses: Responses
    found: Refits

    @property
    def criterion(self) -> np.ndarray:
        return self.found.criterion

    @property
    def residual_squares(self) -> np.ndarray:
        return self.responses.squares

    @property
    def _good(self) -> np.ndarray:
        return np.flatnonzero(self.found.converged)

    @property
    def _kept(self) -> Refits:
        found, good = self.found, self._good
        return Refits(
            theta=found.theta[good], criterion=found.criterion[good], sigma=found.sigma[good], beta=found.beta[good]
        )

    def inferences(self, df: Df) -> Sequence[FixedInference]:
        return list(infer_together(self.of.criterion, self.responses.take(self._good), self._kept, df))

    def public_values(self) -> np.ndarray:
        return public_values_together(self._kept.theta, self._kept.sigma, self.of.criterion)

    def is_singular(self) -> np.ndarray:
        return _is_singular(self._kept.theta, self.of.criterion)

    def draw_again(self, i: int, streams: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        of, kept, criterion = self.of, self._kept, self.of.criterion
        theta, sigma, beta = kept.theta[i], float(kept.sigma[i]), kept.beta[i]
        factors = assemble_factors(np, theta, criterion.layout)
        if of.source is not None:
            responses = of.source.draw(streams, factors, sigma, beta)
        else:
            own = [sigma * np.linalg.solve(T, L) for T, L in zip(criterion.products.effect_roots, factors, strict=True)]
            effects = draw_effects(of.problem.design, own, streams)
            responses = of.problem.sum_responses(draw_rows(of.problem.design, beta, effects, sigma, streams))
        again = refit(criterion, responses, theta)
        with np.errstate(all="ignore"):
            return again.beta, public_values_together(again.theta, again.sigma, criterion)

    def warm_start(self, i: int, problem: Problem) -> WarmStart:
        from bayesmm.bayes.exploring.start import WarmStart

        criterion, kept = self.of.criterion, self._kept
        theta, sigma = kept.theta[i], float(kept.sigma[i])
        factors = assemble_factors(np, theta, criterion.layout)
        raw = [np.linalg.solve(T, L) for T, L in zip(criterion.products.effect_roots, factors, strict=True)]
        root = np.linalg.inv(problem.products.fixed_root)
        return WarmStart(
            sigma=sigma,
            factors=tuple(_lower(L) for L in raw),
            beta=kept.beta[i],
            beta_covariance=sigma**2 * root @ criterion.evaluate(theta).fixed.covariance @ root.T,
        )


class OneByOne:
    """Of residuals with a covariance: rows are drawn, and searched one after another.

    Parameters
    ----------
    problem, criterion : Problem, ResidualCriterion
        The design with any response.
    truth : Stated
        What data are drawn from.
    """

    draws_sums = False

    def __init__(self, problem: Problem, criterion: ResidualCriterion, truth: Stated) -> None:
        self.problem, self.criterion, self._truth = problem, criterion, truth
        self._start = start_at(criterion, truth.covariances, truth.sigma, problem.design, truth.values)

    @property
    def size(self) -> int:
        """Its rows."""
        return self.problem.design.n

    def draw(self, streams: Sequence[np.random.Generator]) -> tuple[Refitted, np.ndarray | None]:
        """Draw and refit."""
        truth, design = self._truth, self.problem.design
        effects = draw_effects(design, truth.factors, streams)
        rows = draw_rows(design, truth.beta, effects, truth.sigma, streams, truth.residual)
        found = tuple(refit_responses(self.problem, self.criterion, rows, self._start))
        return _Each(of=self, found=found, rows=rows), rows


@dataclass(frozen=True, kw_only=True, eq=False)
class _Each:
    """What came of data sets that were refitted one by one; as `Refitted`."""

    of: OneByOne
    found: tuple[Estimate | None, ...]
    rows: np.ndarray

    @property
    def _kept(self) -> list[Estimate]:
        return [each for each in self.found if each is not None]

    @property
    def criterion(self) -> np.ndarray:
        return np.array([np.nan if each is None else each.criterion for each in self.found])

    @property
    def residual_squares(self) -> np.ndarray:
        design = self.of.problem.design
        return self.of.criterion.rows.residual_squares(self.rows, design.offset, design.weights)

    def inferences(self, df: Df) -> Sequence[FixedInference]:
        design, method = self.of.problem.design, self.of.criterion.method
        fits = [_Alone(estimate=each, method=method, n=design.n, design=design) for each in self._kept]
        return [infer_fixed_effects(cast(Fitted, cast(Any, fit)), df) for fit in fits]

    def public_values(self) -> np.ndarray:
        return np.array([each.public_values(each.coordinates) for each in self._kept])

    def is_singular(self) -> np.ndarray:
        return np.array([any(way.size for way in each.null_directions) for each in self._kept], dtype=bool)

    def draw_again(self, i: int, streams: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        of, at = self.of, self._kept[i]
        rows = simulate_responses(of.problem.design, at.beta, at.factors, at.sigma, streams, at.residual)
        again = [each for each in refit_responses(of.problem, of.criterion, rows, at.coordinates[:-1]) if each]
        values = [each.public_values(each.coordinates) for each in again]
        count = len(at.coordinates)
        return np.array([each.beta for each in again]).reshape(-1, len(at.beta)), np.array(values).reshape(-1, count)

    def warm_start(self, i: int, problem: Problem) -> WarmStart:
        from bayesmm.bayes.exploring.start import WarmStart

        at = self._kept[i]
        assert at.residual is not None
        return WarmStart(
            sigma=at.sigma,
            factors=at.factors,
            beta=at.beta,
            beta_covariance=at.beta_covariance,
            residual=at.residual.public,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Alone:
    """What inference on the fixed effects reads of a fit."""

    estimate: Estimate
    method: Method
    n: int
    design: Design


def _is_singular(thetas: np.ndarray, criterion: Criterion) -> np.ndarray:
    singular = np.zeros(len(thetas), bool)
    for L, pieces in zip(stack_factors(thetas, criterion.layout), criterion.layout, strict=True):
        for piece in pieces:
            values = np.linalg.svd(L[:, piece.inside, piece.inside], compute_uv=False)
            singular |= values[:, -1] < SINGULAR
    return singular


def _lower(L: np.ndarray) -> np.ndarray:
    """Return a lower triangular factor of LL'."""
    return np.linalg.qr(L.T, mode="r").T
