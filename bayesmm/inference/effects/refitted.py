"""How far predicted effects move when the variances are estimated anew: the parametric bootstrap of a BLUP's error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bayesmm.arguments import check_refits, check_seed
from bayesmm.errors import ComparisonError
from bayesmm.inference.bootstrap.bootstrap import Bootstrap
from bayesmm.inference.bootstrap.drawing import MOST, ResponseSource
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_responses import simulate_responses
from bayesmm.marginal.sums.responses import Responses
from bayesmm.presenting.progress import watched
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.refits import refit
from bayesmm.reml.residual_search import EffectsAt, read_at, refit_residual


@dataclass(frozen=True, kw_only=True, eq=False)
class Moved:
    """What refits moved.

    Attributes
    ----------
    squares : list of arrays, shapes (q, k)
        Mean square of b̂(θ*) − b̂(θ̂) of each factor, on the user's columns.
    n, n_failed : int
        Refits, and how many of them found no maximum and are left out.
    """

    squares: list[np.ndarray]
    n: int
    n_failed: int


def move_effects(
    fit: Fitted,
    refits: int | Bootstrap,
    seed: int,
    progress: bool | None,
    shifts: list[np.ndarray] | None = None,
) -> Moved:
    """Draw data from the estimates, refit, and see how far the predictions are from those by the true variances.

    Parameters
    ----------
    fit : Fit
        Whose estimates are taken for the truth.
    refits : int or Bootstrap
        How many, or those of a parametric bootstrap of this fit: its data are drawn again, and not fitted again.
    seed : int
        Of the refits that are made here; as `Fit.bootstrap` has the same data for the same seed.
    progress : bool, optional
        Whether to show a bar.
    shifts : list of arrays, shapes (k, p), optional
        J of each factor: fixed effects that are added to those of its levels.

    Raises
    ------
    ArgumentError
        If `refits` is neither, or the seed is none.
    ComparisonError
        If the bootstrap is of another fit, or resampled something else.

    Notes
    -----
    b̂(θ̂) − b is independent of all error contrasts, and θ* with b̂(θ*) − b̂(θ̂) is a function of these (Kackar &
    Harville 1984): the mean squared error is g₁ + g₂, which is known, plus this mean square. So the effects that were
    drawn need not be kept, and what remains to be simulated is the small part. The same holds with Jβ̂ added.
    """
    known = None if not isinstance(refits, Bootstrap) else _check_bootstrap(fit, refits)
    n = check_refits(refits) if known is None else known.n
    seed = check_seed(seed) if known is None else known.seed
    if fit.estimate.residual is not None:
        psi = [None] * n if known is None else list(known.theta)
        return _move_whole(fit, psi, seed, progress, shifts)
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
    source = ResponseSource(fit, "parametric", with_rows=known is not None and bool(known.statistic_names))
    read = _Reader(criterion, shifts)
    squares, done = [np.zeros((block.q, block.k)) for block in fit.design.blocks], 0
    for numbers in _batches(n, min(source.at_once, MOST), progress):
        responses, _ = source.draw([np.random.default_rng([seed, number]) for number in numbers])
        if known is not None:
            found = known.theta[numbers]
        else:
            new = refit(criterion, responses, theta)
            found = np.where(new.converged[:, None], new.theta, np.nan)
        for i in np.flatnonzero(~np.isnan(found).any(axis=1)).tolist():
            done += 1
            for total, after, before in zip(
                squares, read.effects(responses, i, found[i]), read.effects(responses, i, theta), strict=True
            ):
                total += (after - before) ** 2
    return Moved(squares=[total / done if done else total * np.nan for total in squares], n=n, n_failed=n - done)


def _move_whole(
    fit: Fitted,
    psi: Sequence[np.ndarray | None],
    seed: int,
    progress: bool | None,
    shifts: list[np.ndarray] | None,
) -> Moved:
    """Do so where residuals have a covariance; `psi` has what is known of each refit."""
    squares, done = [np.zeros((block.q, block.k)) for block in fit.design.blocks], 0
    for number in watched(range(len(psi)), "bootstrap of predicted effects", progress):
        move = move_once(fit, np.random.default_rng([seed, number]), psi[number])
        if move is None:
            continue
        done += 1
        for f, (total, b) in enumerate(zip(squares, move.modes, strict=True)):
            total += (b if shifts is None else b + shifts[f] @ move.beta) ** 2
    return Moved(
        squares=[total / done if done else total * np.nan for total in squares], n=len(psi), n_failed=len(psi) - done
    )


class Move(NamedTuple):
    """How far predictions of a drawn response (n,) moved with the variances."""

    response: np.ndarray
    before: EffectsAt
    after: EffectsAt

    @property
    def beta(self) -> np.ndarray:
        """Of the coefficients (p,)."""
        return self.after.beta - self.before.beta

    @property
    def modes(self) -> list[np.ndarray]:
        """Of the effects (q, k) of each factor."""
        return [after - before for after, before in zip(self.after.modes, self.before.modes, strict=True)]


def move_once(fit: Fitted, stream: np.random.Generator, psi: np.ndarray | None = None) -> Move | None:
    """Draw data from a fit whose residuals have a covariance, and refit unless it is known where that ends.

    Returns None where no maximum is found.
    """
    found, residual = fit.estimate, fit.estimate.residual
    assert residual is not None
    here = found.coordinates[:-1]
    y = simulate_responses(fit.design, found.beta, found.factors, found.sigma, [stream], residual)[:, 0]
    criterion = replace(residual.criterion, rows=fit.problem.with_response(y).residual_rows)
    anew = criterion
    if psi is None or criterion.design is not None:  # where variances change with fitted values these are needed too
        own = refit_residual(criterion, here)
        psi = own.coordinates[:-1] if own.minimum.converged else np.full(len(here), np.nan)
        assert own.residual is not None
        anew = own.residual.criterion
    if np.isnan(psi).any():
        return None
    return Move(y, before=read_at(criterion, here), after=read_at(anew, psi))


def _check_bootstrap(fit: Fitted, bootstrap: Bootstrap) -> Bootstrap:
    """Refuse refits whose data were not drawn from this fit's estimates."""
    same = bootstrap.problem is fit.problem or (
        bootstrap.labels == fit.labels
        and np.array_equal(bootstrap.problem.design.y, fit.design.y)
        and np.array_equal(bootstrap.problem.design.X, fit.design.X)
        and np.array_equal(bootstrap.problem.design.weights, fit.design.weights)
    )
    if not same or bootstrap.method != fit.method:
        raise ComparisonError("The bootstrap is not of this fit. Write bootstrap=fit.bootstrap(200).")
    if bootstrap.kind != "parametric":
        raise ComparisonError(
            f"The bootstrap is of kind {bootstrap.kind!r}, but only a parametric one draws effects and residuals by "
            "the fit's covariances, which its mean squared error is about. Write bootstrap=fit.bootstrap(200)."
        )
    return bootstrap


def _batches(n: int, size: int, progress: bool | None) -> Iterator[list[int]]:
    """Numbers of the refits, some at a time."""
    numbers: list[int] = []
    for number in watched(range(n), "bootstrap of predicted effects", progress):
        numbers.append(number)
        if len(numbers) == size or number == n - 1:
            yield numbers
            numbers = []


class _Reader:
    """Predictions by θ, on the user's columns."""

    def __init__(self, criterion: Criterion, shifts: list[np.ndarray] | None) -> None:
        self._criterion, self._shifts = criterion, shifts
        self._backs = [np.linalg.inv(T) for T in criterion.products.effect_roots]
        self._fixed_back = np.linalg.inv(criterion.products.fixed_root)

    def effects(self, responses: Responses, i: int, theta: np.ndarray) -> list[np.ndarray]:
        """b̂ + Jβ̂ (q, k) of each factor; the origin of β̂, which θ does not move, is left out."""
        at = replace(self._criterion, products=responses[i]).evaluate(theta)
        found = [(back @ b).T for back, b in zip(self._backs, at.modes, strict=True)]
        if self._shifts is None:
            return found
        beta = self._fixed_back @ at.fixed.beta
        return [b + J @ beta for b, J in zip(found, self._shifts, strict=True)]
