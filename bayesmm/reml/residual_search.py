"""From a criterion of (θ, φ) to estimates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import held_theta, scale_theta, start_theta, to_edges
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import DesignError, EstimationError
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.marginal.residual.whitened import ResidualRows, whiten_at
from bayesmm.problem import Problem, lay_out_design
from bayesmm.reml.boundary import is_inside, leave_saddle, snap_to_boundary
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.edges import stop_on_edge
from bayesmm.reml.estimate import Estimate, LocalMaximum, first_theta, read_off
from bayesmm.reml.optimise import ACCEPTED, Evaluation, Minimum, minimise
from bayesmm.reml.residual import ResidualCriterion, ResidualEstimate
from bayesmm.reml.search import find_minima

SAME = 1e-5  # of −2 log likelihood: two searches that end this near ended in one minimum
MOST_LOST = 1e3  # times r² is y'R⁻¹y, from which on differences of sums lose too many digits
NEAR = 0.5  # of −2 log likelihood: less by value and by the curvature at a minimum is in its basin
FEW = 6  # parameters of residuals alone, up to which a second search from independent ones costs nothing
TOO_HIGH = 20.0  # of −2 log likelihood above the lowest minimum: no search begins there
MOST_ELSEWHERE = 5  # searches that begin in low places on lines through a minimum
FIRST = 40  # evaluations with an approximate Hessian, where there is an exact one
MOST = 200  # evaluations of a search
MOST_UPDATES = 200  # of fitted values
UNDAMPED = 25  # updates, from which on fitted values move half of the way
SETTLED = 1e-9  # share of the largest fitted value that none moves by
NEARLY_SETTLED = 1e-6  # the same where rounding moves them
WAY = (0.0, 0.15, 0.35, 0.6, 0.8)  # shares of the way from a start to a minimum, of which values are looked at
OFF = 0.2  # of the way to factors of one, where a search begins that would begin on the boundary
FIRST_UPDATES = 5  # of fitted values at exponents that are held, where another start begins
APART = 30.0  # times the smallest standard deviation is the largest one at the ends of exponents
MATTERS = 20.0  # of log likelihood: points that are less likely by more are not told of
SAME_FITTED = 0.01  # share of the largest fitted value, and
SAME_RATIO = 0.1  # of the logarithm of the largest standard deviation over the smallest: so near, points are one
MOST_ROUNDS = 5  # of leaving boundaries of θ
INDISTINCT = 1e-7  # least curvature relative to the largest, in units of each entry's own, that says anything
SMALL = np.log(100.0)  # a standard deviation is e to this below the largest where it is asked whether it is zero:
FURTHER = np.log(10.0)  # whether −2 log likelihood is no higher, but for
NO_HIGHER = 0.01  # this, where it is e to that smaller
ROUNDED = 1e-6  # of a curvature that is next to nothing: where a standard deviation or a correlation ended at its end


def estimate_residual(criterion: ResidualCriterion) -> Estimate:
    """Minimise the criterion over (θ, φ), and read the estimates off at the minimum.

    Parameters
    ----------
    criterion : ResidualCriterion
        The objective.

    Raises
    ------
    AbsorbedError
        If the restricted likelihood does not depend on some variance of random effects.
    IndistinctError
        If it does not tell some covariance parameters apart.
    """
    layout = criterion.rows.layout
    moments = layout.start(criterion.rows.fixed[:, -1], criterion.sigma)
    starts = [moments]
    if criterion.layout or layout.n_phi <= FEW:
        starts.append(np.zeros(layout.n_phi))
    found, n_evaluations, n_screened = [], 0, 0
    for phi in starts:
        at_phi = fixed_at(criterion, phi) if criterion.layout else None
        theta = start_theta(()) if at_phi is None else first_theta(at_phi)
        if found and _leads_to(criterion, np.concatenate([theta, phi]), found[0]):
            continue
        if at_phi is not None:
            minima = find_minima(at_phi, theta, ACCEPTED)
            if _loses_digits(at_phi, minima.lowest):
                criterion = replace(criterion, whitens=True)
                at_phi = fixed_at(criterion, phi)
                minima = find_minima(at_phi, first_theta(at_phi), ACCEPTED)
            theta, n_screened = minima.lowest.x, n_screened + minima.n_screened
            n_evaluations += minima.lowest.n_evaluations
            if held_theta(theta, criterion.layout).any():  # where no slope leads off
                theta = theta + OFF * (start_theta(criterion.layout) - theta)
        each = _search(criterion, np.concatenate([theta, phi]), found[0] if found else None)
        n_evaluations += each.n_evaluations
        if not each.escaped:
            found.append(each)
    found.sort(key=_height)
    for start in _elsewhere(criterion, found[0]):
        each = _search(criterion, start, found[0])
        n_evaluations += each.n_evaluations
        if not each.escaped and all(abs(each.evaluation.value - one.evaluation.value) > SAME for one in found):
            found.append(each)
    found.sort(key=_height)
    best = found[0]
    if criterion.design is None:
        _check_distinct(criterion, best)
    others = [each for each in found[1:] if each.converged and each.evaluation.value > best.evaluation.value + SAME]
    first = read_residual(
        criterion,
        replace(best, n_evaluations=n_evaluations),
        tuple(_local(criterion, each) for each in others),
        n_screened,
    )
    if criterion.design is None:
        return first
    settled, last = _settle_everywhere(first, [read_residual(criterion, each, (), 0) for each in others])
    assert settled.residual is not None
    _check_distinct(settled.residual.criterion, last)
    if first.minimum.converged and not settled.minimum.converged:
        raise UnsettledError
    return settled


def _height(found: Minimum) -> tuple[bool, float]:
    return not np.isfinite(found.evaluation.value), found.evaluation.value


def _elsewhere(criterion: ResidualCriterion, best: Minimum) -> list[np.ndarray]:
    """Find where to search once more: low places on lines through a minimum, but that of the minimum itself."""
    theta, phi = criterion.split(best.x)
    starts: list[tuple[float, np.ndarray]] = []
    for line in criterion.rows.layout.elsewhere(phi):
        points = [np.concatenate([theta, each]) for each in line]
        values = np.array([np.inf, *(criterion(each).value for each in points), np.inf])
        moves = (line != phi).any(axis=0)
        home = int(np.abs(line[:, moves] - phi[moves]).sum(axis=1).argmin())
        for i in np.flatnonzero((values[1:-1] <= values[:-2]) & (values[1:-1] < values[2:])):
            if abs(int(i) - home) > 1 and values[i + 1] < best.evaluation.value + TOO_HIGH:
                starts.append((float(values[i + 1]), points[i]))
    return [start for _, start in sorted(starts, key=lambda each: each[0])[:MOST_ELSEWHERE]]


def residual_criterion(problem: Problem, method: Method) -> ResidualCriterion:
    """Return the objective of a problem with a covariance of the residuals."""
    return ResidualCriterion(
        rows=problem.residual_rows,
        plan=problem.plan if problem.design.blocks else None,
        layout=problem.layout,
        method=method,
        sigma=problem.known_sigma,
        design=problem.design if problem.design.residual and problem.design.residual.of_fitted else None,
    )


def refit_residual(criterion: ResidualCriterion, start: np.ndarray) -> Estimate:
    """Estimate anew for another response, from where the search for one like it ended."""
    found = read_residual(criterion, _search(criterion, start), (), 0)
    return found if criterion.design is None else _settle(found)[0]


def pose_settled(problem: Problem, found: Estimate) -> Problem:
    """Take the fitted values of an estimate, where the residual variance changes with them, into its problem."""
    residual = found.residual
    if residual is None or residual.criterion.design is None:
        return problem
    block = residual.criterion.design.residual
    return Problem(replace(problem.design, residual=block), plan=problem.known_plan)


def _settle_everywhere(first: Estimate, others: Sequence[Estimate]) -> tuple[Estimate, Minimum]:
    """Settle from several places, and take the point of highest likelihood; others are its other maxima.

    From all maxima at the fitted values of least squares; and from a constant variance, and exponents that make the
    largest standard deviation `APART` times the smallest, or the reverse, with the fitted values that these make.

    Parameters
    ----------
    first, others : Estimate
        The highest maximum at the fitted values that are begun with, and the others.
    """
    with np.errstate(all="ignore"):  # far from what is likely numbers end
        every = [_settle(first)]
        for start in (*others, *_of_other_exponents(first)):
            with contextlib.suppress(EstimationError, ArithmeticError, np.linalg.LinAlgError):
                every.append(_settle(start, [each for each, _ in every if each.minimum.converged]))
    settled = [each for each in every if each[0].minimum.converged]
    if not settled:
        return every[0]
    best, last = min(settled, key=lambda each: each[0].criterion)
    likely = best.criterion + 2.0 * MATTERS
    lower = sorted(
        (each for each, _ in settled if each is not best and each.criterion < likely), key=lambda each: each.criterion
    )
    minimum = replace(best.minimum, n_evaluations=sum(each.minimum.n_evaluations for each, _ in every))
    return replace(best, minimum=minimum, other_maxima=tuple(map(_settled_elsewhere, lower))), last


def _of_other_exponents(first: Estimate) -> Iterator[Estimate]:
    """Estimate from other exponents of fitted values, at the fitted values that these make."""
    assert first.residual is not None
    begun = first.residual.criterion
    assert begun.design is not None
    assert begun.design.residual is not None
    block = begun.design.residual
    ends = np.log(APART) / np.ptp(block.fitted_columns, axis=0)
    for share in (0.0, -1.0, 1.0):
        phi = first.residual.phi.copy()
        phi[[place for place, _ in block.growth.terms]] = share * ends
        with contextlib.suppress(EstimationError, DesignError, ArithmeticError, np.linalg.LinAlgError):
            theta = first_theta(fixed_at(begun, phi)) if begun.layout else start_theta(begun.layout)
            criterion, psi = begun, np.concatenate([theta, phi])
            for _ in range(FIRST_UPDATES):
                effects = read_at(criterion, psi)
                fitted = build_predictors(begun.design).expectation(effects.beta, effects.modes)
                criterion = _at_fitted(criterion, fitted)
            yield read_residual(criterion, _search(criterion, psi), (), 0)


def _at_fitted(criterion: ResidualCriterion, fitted: np.ndarray) -> ResidualCriterion:
    """Take other fitted values (n,) of the rows.

    Raises
    ------
    DesignError
        If one has no variance.
    """
    assert criterion.design is not None
    design = criterion.design.with_fitted(fitted)
    return replace(criterion, rows=replace(criterion.rows, layout=lay_out_design(design)), design=design)


def _settled_elsewhere(found: Estimate) -> LocalMaximum:
    assert found.residual is not None
    at = found.residual.public
    return LocalMaximum(log_likelihood=-0.5 * found.criterion, sigma=found.sigma, factors=found.factors, residual=at)


def _settle(found: Estimate, known: Sequence[Estimate] = ()) -> tuple[Estimate, Minimum]:
    """Estimate anew at the fitted values of the last estimate, until these are those that it has.

    What is found is a fixed point: covariance parameters that are best for the variances of the rows at β̂ and b̂, and
    β̂ and b̂ that are best at the covariance (nlme's `gls` and `lme`; Carroll & Ruppert 1988, Transformation and
    Weighting in Regression, chapter 3: generalised least squares with pseudo-likelihood).

    Parameters
    ----------
    found : Estimate
        Where to begin.
    known : sequence of Estimate
        Points that were settled on before: what comes near one of them ends, and is not converged.

    Returns
    -------
    Estimate
        Not converged where fitted values do not settle.
    Minimum
        Of all covariance parameters, at the last of them.
    """
    at, last, moved = found, found.minimum, np.inf
    fitted: np.ndarray | None = None
    for update in range(MOST_UPDATES):
        assert at.residual is not None
        criterion = at.residual.criterion
        design = criterion.design
        assert design is not None
        values, before = build_predictors(design).expectation(at.beta, at.modes), fitted
        if before is not None:
            moved = float(np.abs(values - before).max() / np.abs(values).max())
        fitted = values if before is None or update < UNDAMPED else 0.5 * (values + before)
        try:
            criterion = _at_fitted(criterion, fitted)
        except DesignError:
            moved = np.inf
            break
        if any(_is_near(at, values, each) for each in known):
            moved = np.inf
            break
        rows = criterion.rows
        last = _search(criterion, at.coordinates[:-1])
        if not last.converged:  # other variances may be best far from those before
            begun = rows.layout.start(rows.fixed[:, -1], criterion.sigma)
            last = _search(criterion, np.concatenate([criterion.split(at.coordinates[:-1])[0], begun]))
        last = replace(last, n_evaluations=last.n_evaluations + at.minimum.n_evaluations)
        at = read_residual(criterion, last, found.other_maxima, found.n_screened)
        if moved < SETTLED or not last.converged:
            break
    is_settled = found.minimum.converged and at.minimum.converged and moved < NEARLY_SETTLED
    return replace(at, minimum=replace(at.minimum, converged=is_settled)), last


def _is_near(at: Estimate, fitted: np.ndarray, known: Estimate) -> bool:
    """Whether exponents and fitted values (n,) are next to those of a point that was settled on."""
    assert at.residual is not None
    assert known.residual is not None
    design = known.residual.criterion.design
    assert design is not None
    assert design.residual is not None
    others = build_predictors(design).expectation(known.beta, known.modes)
    places = [place for place, _ in design.residual.growth.terms]
    apart = np.abs(at.residual.phi - known.residual.phi)[places] * np.ptp(design.residual.fitted_columns, axis=0)
    return bool(np.abs(fitted - others).max() < SAME_FITTED * np.abs(others).max() and apart.max() < SAME_RATIO)


class UnsettledError(EstimationError):
    """Fitted values, and variances that change with them, do not settle."""


def refit_responses(
    problem: Problem, criterion: ResidualCriterion, responses: np.ndarray, start: np.ndarray
) -> Iterator[Estimate | None]:
    """Estimate anew for other responses (n, m), offset included; from everywhere where one start does not do.

    Parameters
    ----------
    problem : Problem
        Of the rows.
    criterion : ResidualCriterion
        Of the same rows with a response whose estimates are known.
    responses : array, shape (n, m)
        One a column.
    start : array
        Those estimates, (θ, φ).

    Returns
    -------
    iterator of Estimate or None
        Of one response after another; None where there is no maximum, or none was reached.
    """
    return refit_each(criterion, (problem.with_response(y).residual_rows for y in responses.T), start)


def refit_each(
    criterion: ResidualCriterion, rows: Iterable[ResidualRows], start: np.ndarray
) -> Iterator[Estimate | None]:
    """Do so for rows that differ in the response."""
    for each in rows:
        own = replace(criterion, rows=each)
        try:
            found = refit_residual(own, start)
            if not found.minimum.converged:
                found = estimate_residual(own)
        except (EstimationError, np.linalg.LinAlgError):
            found = None
        yield found if found is not None and found.minimum.converged else None


def _leads_to(criterion: ResidualCriterion, start: np.ndarray, known: Minimum) -> bool:
    """Whether the criterion only falls straight from a start to a minimum, where values cost less than a search."""
    if not known.converged or criterion.weighted is None:
        return False
    values = [criterion.weighted_value(start + share * (known.x - start)) for share in WAY]
    return bool((np.diff([*values, known.evaluation.value]) <= 0.0).all())


def _loses_digits(criterion: Criterion, found: Minimum) -> bool:
    """Whether r² is so small beside what random effects explain that a difference of sums has too few digits."""
    products, detail = criterion.products, found.evaluation.detail
    return not products.is_apart and products.gram[-1, -1] > MOST_LOST * detail.fixed.residual_square


def fixed_at(criterion: ResidualCriterion, phi: np.ndarray) -> Criterion:
    """Take the residuals' covariance up to σ² as known: the objective of θ alone."""
    if criterion.layout and criterion.weighted is not None:
        products = criterion.weighted.products(phi)
    else:
        products = whiten_at(criterion.rows, phi, criterion.plan).products
    return Criterion(products, criterion.layout, criterion.method, criterion.sigma)


class EffectsAt(NamedTuple):
    """At parameters φ (f,) of the residuals: coefficients (p,), modes (q, k) of each factor, on the user's columns."""

    phi: np.ndarray
    beta: np.ndarray
    modes: list[np.ndarray]


def read_at(criterion: ResidualCriterion, psi: np.ndarray) -> EffectsAt:
    """Read effects off at any covariance parameters (θ, φ)."""
    theta, phi = criterion.split(psi)
    at_phi = fixed_at(criterion, phi)
    at, products = at_phi.evaluate(theta), at_phi.products
    beta = products.fixed_origin + np.linalg.solve(products.fixed_root, at.fixed.beta)
    modes = [np.linalg.solve(T, b).T for T, b in zip(products.effect_roots, at.modes, strict=True)]
    return EffectsAt(phi, beta, modes)


def read_residual(
    criterion: ResidualCriterion, minimum: Minimum, others: tuple[LocalMaximum, ...], n_screened: int
) -> Estimate:
    """Read the estimates off at a minimum of the criterion of (θ, φ)."""
    theta, phi = criterion.split(minimum.x)
    products = whiten_at(criterion.rows, phi, criterion.plan).products  # sums of squares, on columns orthonormal there
    at_phi = Criterion(products, criterion.layout, criterion.method, criterion.sigma)
    own = replace(minimum, x=theta, evaluation=at_phi(theta))
    found = read_off(at_phi, own, others, n_screened)
    return replace(found, residual=ResidualEstimate(phi=phi, criterion=criterion))


class IndistinctError(EstimationError):
    """The likelihood does not tell covariance parameters apart.

    Attributes
    ----------
    entries : int array
        Which of (θ, φ) can be changed together without a change of the likelihood.
    at : array
        (θ, φ) there.
    """

    def __init__(self, entries: np.ndarray, at: np.ndarray) -> None:
        super().__init__(entries, at)
        self.entries, self.at = entries, at


class Vanishing(NamedTuple):
    """A standard deviation of a stratum that the likelihood is no lower without: of which spread, stratum, and what."""

    spread: int
    stratum: int
    sd: float


def find_vanishing(criterion: ResidualCriterion, psi: np.ndarray, spreads: Sequence[slice]) -> Vanishing | None:
    """Find a standard deviation that goes to zero: everything else in the model explains the rows of its stratum.

    Parameters
    ----------
    criterion : ResidualCriterion
        The objective.
    psi : array
        (θ, φ) where the search ended.
    spreads : sequence of slice
        Entries of φ that are standard deviations over that of a first stratum, one for each set of strata.
    """
    theta, phi = criterion.split(psi)
    by_rows = replace(criterion, whitens=True)  # next to a singular R sums have no digits left
    here = None
    for number, own in enumerate(spreads):
        logs = np.append(0.0, phi[own])
        smallest, moved, further = int(logs.argmin()), theta, phi.copy()
        if logs.max() - logs[smallest] < SMALL or (smallest == 0 and criterion.sigma is not None):
            continue
        if smallest:
            further[own.start + smallest - 1] -= FURTHER
        else:  # σ falls, and all else stays
            further[own] += FURTHER
            moved = scale_theta(theta, np.exp(FURTHER), criterion.layout)
        here = here or by_rows(psi)
        if by_rows(np.concatenate([moved, further])).value < here.value + NO_HIGHER:
            square = here.detail.fixed.residual_square / criterion.degrees_of_freedom
            return Vanishing(number, smallest, (criterion.sigma or np.sqrt(square)) * float(np.exp(logs[smallest])))
    return None


def _search(criterion: ResidualCriterion, start: np.ndarray, known: Minimum | None = None) -> Minimum:
    """Search from one start; a search that comes near a minimum that is known ends there as `escaped`."""
    most = MOST if criterion.layout else FIRST

    def is_known(x: np.ndarray, at: Evaluation) -> bool:
        assert known is not None
        away = x - known.x
        apart = max(0.5 * away @ known.evaluation.hessian @ away, at.value - known.evaluation.value)
        return bool(apart < NEAR)

    escapes = is_known if known is not None and known.converged else None
    found = minimise(criterion, start, sizes=criterion.sizes, escapes=escapes, max_evaluations=most)
    n_evaluations = found.n_evaluations
    if found.escaped:
        return found
    if not found.converged and not criterion.layout and np.isfinite(found.evaluation.value):
        found = minimise(criterion.exactly, found.x, sizes=criterion.sizes, max_evaluations=MOST)
        n_evaluations += found.n_evaluations
    for _ in range(MOST_ROUNDS):
        theta, phi = criterion.split(found.x)
        if not found.converged or is_inside(theta, criterion.layout):
            break
        at_phi = fixed_at(criterion, phi)
        here = replace(found, x=theta, evaluation=at_phi(theta))
        moved = leave_saddle(at_phi, snap_to_boundary(at_phi, here))
        if (moved.x == theta).all():
            break
        psi = np.concatenate([moved.x, phi])
        fell = found.evaluation.value - moved.evaluation.value
        again = minimise(criterion, psi, sizes=criterion.sizes) if fell > SAME else None
        n_evaluations += 1 if again is None else again.n_evaluations
        found = again or replace(found, x=psi, evaluation=criterion(psi))
        if again is None:
            break
    theta, phi = criterion.split(found.x)
    edge = np.concatenate([to_edges(theta, criterion.layout), criterion.rows.layout.to_edges(phi)])
    return stop_on_edge(criterion, replace(found, n_evaluations=n_evaluations), edge, criterion.sizes)


def _check_distinct(criterion: ResidualCriterion, found: Minimum) -> None:
    """Refuse a minimum that is a valley: parameters that another set of them is as good as."""
    if not found.converged or not np.isfinite(found.evaluation.value):
        return
    if not _is_valley(found.evaluation.detail.curvature)[0]:
        return
    is_valley, entries = _is_valley(criterion.derivatives(found.x).hessian)
    if is_valley:
        raise IndistinctError(entries, found.x)


def _is_valley(information: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether some entries can change together without a change of the value, and which."""
    size = np.sqrt(np.abs(np.diag(information)))
    free = size > ROUNDED * max(size.max(initial=0.0), 1e-300)
    scaled = information[np.ix_(free, free)] / np.outer(size[free], size[free])
    values, vectors = np.linalg.eigh(scaled)
    if not len(values) or values[0] >= INDISTINCT * values[-1]:
        return False, np.zeros(0, dtype=int)
    return True, np.flatnonzero(free)[np.abs(vectors[:, 0]) > 0.1]


def _local(criterion: ResidualCriterion, found: Minimum) -> LocalMaximum:
    whole = read_residual(criterion, found, (), 0)
    return LocalMaximum(log_likelihood=-0.5 * found.evaluation.value, sigma=whole.sigma, factors=whole.factors)
