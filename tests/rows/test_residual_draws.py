"""Responses of rows from files whose residuals have a covariance are drawn on few rows, and have the sums of all."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from scanned_visits import MODELS, make_visits, scanned
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import RowsError
from bayesmm.marginal.residual import group_totals
from bayesmm.marginal.residual.drawn import RowSource
from bayesmm.marginal.residual.layout import solve_residuals

CHANCE = 1e-4  # of a p-value below it, in each of the comparisons of draws


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few rows of many again and again."""
    monkeypatch.setattr(group_totals, "WAITING", 100)


def both(formula: str, residual: str, how: dict[str, Any], n: int = 60) -> tuple[bmm.Fit, bmm.Fit]:
    data = make_visits(n, seed=4)
    models = (bmm.Model(formula, rows, residual=residual, **how) for rows in (data, scanned(data, 1, 97, 1)))
    here, there = (model.fit() for model in models)
    return here, there


@pytest.mark.parametrize("i", [0, 1, 3, 5, 9, 11])
def test_squares_of_what_is_drawn_have_their_distribution(i: int) -> None:
    """y'R⁻¹y − (what generalised least squares explain) is σ²χ² with n − p degrees of freedom, whatever R is."""
    _, there = both(*MODELS[i], n=300)
    rows, at = RowSource(there.problem.residual_rows).rows, there.estimate.residual
    source, stacks = RowSource(there.problem.residual_rows), rows.layout.stacks
    roots = [np.linalg.cholesky(R) for R in rows.layout.covariances(np, at.phi)]
    white = source.draw([np.random.default_rng([1, each]) for each in range(400)])
    noise = np.empty_like(white)
    for stack, L in zip(stacks, roots, strict=True):
        noise[stack.rows] = L[stack.pattern] @ white[stack.rows]
    covariances = [L @ L.swapaxes(1, 2) for L in roots]
    Q = rows.fixed[:, :-1]
    solved = np.column_stack([solve_residuals(stacks, covariances, each) for each in Q.T])
    squares = np.array([each @ solve_residuals(stacks, covariances, each) for each in noise.T])
    assert stats.kstest(squares, stats.chi2(there.n).cdf).pvalue > CHANCE
    explained = solved.T @ noise
    left = squares - (explained * np.linalg.solve(Q.T @ solved, explained)).sum(axis=0)
    assert stats.kstest(left, stats.chi2(there.n - Q.shape[1]).cdf).pvalue > CHANCE


@pytest.mark.parametrize("i", [1, 7])
def test_sums_of_a_pattern_are_those_of_wishart(i: int) -> None:
    _, there = both(*MODELS[i], n=400)
    before, source = there.problem.residual_rows, RowSource(there.problem.residual_rows)
    stack = max(source.rows.layout.stacks, key=lambda each: each.counts.max())
    pattern = int(stack.counts.argmax())
    own, G = stack.rows[stack.pattern == pattern], stack.counts[pattern]
    o = own.shape[1]
    white = source.draw([np.random.default_rng([2, each]) for each in range(1000)])[own]  # (g, o, m)
    squares = np.einsum("gim,gjm->mij", white, white)
    variance = G * (1.0 + np.eye(o))
    np.testing.assert_allclose((squares.mean(axis=0) - G * np.eye(o)) / np.sqrt(variance / 1000), 0.0, atol=4.5)
    np.testing.assert_allclose(squares.var(axis=0) / variance, 1.0, atol=0.25)
    held = next(each for each in before.layout.stacks if each.rows.shape[1] == o)
    for one, other in zip(_products(before, held), _products(source.rows, stack), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())


def _products(rows: Any, stack: Any) -> list[np.ndarray]:
    """V'V of the fixed columns of each pattern, in the order of its places and spreads."""
    order = np.lexsort(np.column_stack([stack.positions, stack.spreads[:, :, 0] if stack.spreads.size else []]).T)
    lines = rows.fixed[stack.rows, :-1].reshape(len(stack.rows), -1)
    return [lines[stack.pattern == each].T @ lines[stack.pattern == each] for each in order]


@pytest.mark.parametrize("i", [1, 8])
def test_parametric_bootstraps_are_those_of_rows_in_memory(i: int) -> None:
    here, there = both(*MODELS[i])
    one, other = here.bootstrap(60, seed=1, progress=False), there.bootstrap(60, seed=2, progress=False)
    assert other.n_failed == 0
    for name in one.draws:
        assert cast(Any, stats.ks_2samp(one.draws[name], other.draws[name])).pvalue > CHANCE, name
    np.testing.assert_allclose(one.parameters["estimate"], other.parameters["estimate"], rtol=1e-7)
    np.testing.assert_array_equal(there.bootstrap(5, seed=2, progress=False).draws, other.draws[:5])


def test_what_resamples_rows_or_groups_says_where_they_are() -> None:
    _, there = both(*MODELS[1])
    with pytest.raises(RowsError, match="row by row"):
        there.bootstrap(5, kind="residual", progress=False)
    with pytest.raises(RowsError, match="row by row"):
        there.bootstrap(5, kind="case", progress=False)
    with pytest.raises(RowsError, match="row by row"):
        there.bootstrap(5, statistic=lambda fit: fit.sigma, progress=False)


@pytest.mark.parametrize("i", [3, 4, 6, 8, 9, 10, 11])
def test_tests_of_variances_are_those_of_rows_in_memory(i: int) -> None:
    here, there = (fit.variance_tests(progress=False) for fit in both(*MODELS[i]))
    for name in ("null", "kind"):
        assert here.table[name].tolist() == there.table[name].tolist()
    for name in ("statistic", "p_value"):
        np.testing.assert_allclose(there.table[name], here.table[name], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("i", "tested"), [(0, "sigma(arm)"), (8, "sd(week | id)"), (11, "sigma(1)"), (3, "het(arm)")])
def test_refits_under_the_null_are_those_of_rows_in_memory(i: int, tested: str) -> None:
    one, other = (
        fit.variance_tests(tested, kind="bootstrap", n=60, seed=seed, progress=False).tests[0]
        for fit, seed in zip(both(*MODELS[i]), (1, 2), strict=True)
    )
    np.testing.assert_allclose(other.statistic, one.statistic, rtol=1e-7)
    assert other.n_failed == 0
    assert cast(Any, stats.ks_2samp(one.draws, other.draws)).pvalue > CHANCE


@pytest.mark.parametrize(("formula", "residual", "how"), MODELS)
def test_criteria_are_those_of_rows_in_memory(formula: str, residual: str, how: dict[str, Any]) -> None:
    here, there = (fit.criteria().table for fit in both(formula, residual, how))
    np.testing.assert_allclose(there, here, rtol=1e-8)
