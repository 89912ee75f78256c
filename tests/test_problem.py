"""The same problem for other responses and weights is that of a new model, with the plan that was made once."""

from __future__ import annotations

import contextlib
import warnings
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from designs import KINDS, Fill, random_design

import bayesmm as bmm
from bayesmm.covariance.layout import n_theta
from bayesmm.covariance.table import STRUCTURES
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.incidence import Incidence
from bayesmm.marginal.plan import planning
from bayesmm.marginal.sums import crossproducts
from bayesmm.problem import AT_ONCE, Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import estimate

ROUNDING = 1e-10  # of the largest entry: the same sums in another order
SAME = 1e-6  # of estimates, relative: a search ends where the criterion is flat
COST = {"scatter": 1e-6, "product": 1e6}
SUMMED = ("diagonal", "cross", "pairs", "gram", "fixed_root", "fixed_origin", "effect_roots", "log_weights", "n", "p")


@contextlib.contextmanager
def eliminating(fill: Fill):
    """Choose the way of fill, as the designs' own sums do."""
    with (
        patch.object(planning, "SCATTER_NS", COST[fill]) if fill in COST else contextlib.nullcontext(),
        patch.object(crossproducts, "MOST_EFFECTS", 200 if fill == "apart" else 0),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # rows dropped, factors that divide the rows alike
        yield


def model_of(shape: str, seed: int, *, dropped: bool = False) -> tuple[str, pd.DataFrame, dict]:
    """Formula, data and options of a random design, with weights and an offset."""
    design = random_design(shape, seed, n=90)
    frame = pd.DataFrame({"y": design.y, "w": design.weights, "o": np.linspace(-1.0, 2.0, 90)})
    fixed = [f"x{j}" for j in range(1, design.X.shape[1])]
    frame[fixed] = design.X[:, 1:]
    terms = ["1", *fixed, "offset(o)"]
    for f, block in enumerate(design.blocks):
        group, all_columns, times = grouping_of(block.incidence, f, frame)
        for start, stop, structure in (
            (start // times, stop // times, structure) for start, stop, structure in block.pieces
        ):
            bar = "||" if structure is STRUCTURES["diag"] else "|"
            columns = [f"z{f}{j}" for j in range(max(start, 1), stop)]
            frame[columns] = all_columns[:, max(start, 1) : stop]
            terms.append(f"({' + '.join(['0' if start else '1', *columns])} {bar} {group})")
    if dropped:
        frame.loc[[3, 40, 41], ["y", "o"]] = np.nan
    return "y ~ " + " + ".join(terms), frame, {"weights": "w", "sigma": 1.5 if shape in ("units", "chain4") else None}


def grouping_of(incidence: Incidence, f: int, frame: pd.DataFrame) -> tuple[str, np.ndarray, int]:
    """What stands right of the bar, with its columns in the frame; the columns of one role; how many roles."""
    names = [f"g{f}{m}" for m in range(len(incidence.memberships))]
    for name, membership in zip(names, incidence.memberships, strict=True):
        frame[name] = membership.codes.astype(str)
    first = incidence.memberships[0].columns
    if len(names) == 1:
        return names[0], first, 1
    if not incidence.memberships[1].columns[:, 0].any():
        return f"dyad({', '.join(names)})", first[:, ::2], 2
    weights = [f"w{name}" for name in names]
    frame[weights] = np.column_stack([membership.columns[:, 0] for membership in incidence.memberships])
    group = f"mm({', '.join(names)}, weights=cbind({', '.join(weights)}), scale=False)"
    return group, first / first[:, :1], 1


def flat(value) -> np.ndarray:
    parts = value if isinstance(value, tuple) else (value,)
    return np.concatenate([np.ravel(part) for part in parts])


def assert_same_sums(found: Problem, expected: Problem) -> None:
    for name in SUMMED:
        ours, theirs = (getattr(each.products, name) for each in (found, expected))
        parts = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
        for one, other in parts:
            size = max(np.abs(other).max(initial=0.0), 1.0)
            np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING * size, err_msg=name)


def criterion_of(problem: Problem) -> Criterion:
    return Criterion(problem.products, problem.layout, "reml", problem.known_sigma)


def assert_same_likelihood(found: Problem, expected: Problem) -> None:
    ours, theirs = criterion_of(found), criterion_of(expected)
    rng = np.random.default_rng(0)
    for _ in range(3):
        theta = rng.normal(size=n_theta(found.layout))
        one, other = ours(theta), theirs(theta)
        assert one.value == pytest.approx(other.value, rel=1e-9)
        np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-6, atol=1e-6 * abs(other.value))


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_with_response_is_a_new_model_on_changed_data(shape: str, fill: Fill, dropped: bool) -> None:
    formula, frame, options = model_of(shape, 5, dropped=dropped)
    changed = frame.assign(y=np.random.default_rng(1).normal(3.0, 2.0, 90))
    if dropped:
        changed.loc[[3, 40, 41], "y"] = np.nan
    with eliminating(fill):
        problem = bmm.Model(formula, frame, **options).problem
        expected = bmm.Model(formula, changed, **options).problem
        found = problem.with_response(expected.design.y)
        assert found.plan is problem.plan
        np.testing.assert_array_equal(found.design.y, expected.design.y)
        assert_same_sums(found, expected)
        assert_same_likelihood(found, expected)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_with_weights_is_a_new_model(shape: str, fill: Fill) -> None:
    formula, frame, options = model_of(shape, 6)
    weights = np.random.default_rng(2).uniform(0.2, 5.0, 90)
    with eliminating(fill):
        problem = bmm.Model(formula, frame, **options).problem
        expected = bmm.Model(formula, frame, **options | {"weights": weights}).problem
        found = problem.with_weights(weights)
        assert found.plan is problem.plan
        assert_same_sums(found, expected)
        assert_same_likelihood(found, expected)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        ("pastes", "strength ~ 1 + (1 | batch/cask)"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
        ("oats", "yield ~ nitro + (1 | Block/Variety)"),
    ],
)
def test_fits_of_other_responses_are_those_of_new_models(name: str, formula: str) -> None:
    data = bmm.datasets.load(name)
    model = bmm.Model(formula, data)
    rng = np.random.default_rng(3)
    fitted = model.fit().fitted
    responses = fitted[:, None] + model.fit().sigma * rng.normal(size=(model.design.n, 5))
    for y, problem in zip(responses.T, model.problem.with_responses(responses), strict=True):
        expected = bmm.Model(formula, data.assign(**{model.design.response: y})).fit()
        found = estimate(criterion_of(problem))
        assert found.criterion == pytest.approx(expected.estimate.criterion, abs=1e-8)
        np.testing.assert_allclose(found.beta, expected.estimate.beta, rtol=SAME)
        assert found.sigma == pytest.approx(expected.sigma, rel=SAME)


def test_many_responses_are_one_by_one_and_more_than_are_summed_at_once() -> None:
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    responses = np.random.default_rng(4).normal(300.0, 50.0, (180, AT_ONCE + 3))
    problems = list(model.problem.with_responses(responses))
    assert len(problems) == AT_ONCE + 3
    for y, problem in zip(responses.T, problems, strict=True):
        assert problem.plan is model.problem.plan
        assert problem.labels == model.labels
        assert_same_sums(problem, model.problem.with_response(y))


def test_the_response_itself_gives_the_problem_again() -> None:
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    assert_same_sums(model.problem.with_response(model.design.y), model.problem)
    assert estimate(criterion_of(model.problem.with_response(model.design.y))).criterion == pytest.approx(
        model.fit().estimate.criterion, abs=1e-9
    )


def test_weights_follow_to_another_response() -> None:
    data = bmm.datasets.load("sleepstudy")
    weights = np.linspace(0.5, 2.0, 180)
    y = np.random.default_rng(5).normal(300.0, 50.0, 180)
    formula = "Reaction ~ Days + (Days | Subject)"
    problem = bmm.Model(formula, data).problem
    expected = bmm.Model(formula, data.assign(Reaction=y), weights=weights).problem
    assert_same_sums(problem.with_weights(weights).with_response(y), expected)
    assert_same_sums(problem.with_response(y).with_weights(weights), expected)


def test_nothing_is_summed_or_planned_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("bayesmm.problem.build_products", fail)
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    assert "one batch" in str(model.plan)  # of the pattern alone
    with pytest.raises(AssertionError):
        model.fit()


def test_a_response_that_the_fixed_effects_explain_is_refused_where_sigma_is_estimated() -> None:
    data = bmm.datasets.load("sleepstudy")
    exact = 3.0 + 2.0 * data["Days"].to_numpy(float)
    formula = "Reaction ~ Days + (1 | Subject)"
    with pytest.raises(DesignError, match="explain the response 'Reaction' exactly"):
        _ = bmm.Model(formula, data).problem.with_response(exact).products
    known = bmm.Model(formula, data, sigma=1.0).problem.with_response(exact)
    assert known.products.gram[-1, -1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.with_response(np.ones(179)), ArgumentError, r"y has the shape \(179,\), and the model uses 180"),
        (lambda p: p.with_response(np.full(180, 7.0)), DesignError, "is 7 in all 180 rows"),
        (lambda p: p.with_response(np.where(np.arange(180) == 4, np.nan, 1.0)), DesignError, "not finite.* row 4"),
        (lambda p: p.with_response(1e70 * p.design.y), DesignError, "beyond 1e-60 to 1e.60"),
        (lambda p: p.with_weights(np.zeros(180)), DesignError, "not positive and finite"),
        (lambda p: p.with_weights(np.ones((180, 1))), ArgumentError, r"weights has the shape \(180, 1\)"),
        (lambda p: next(p.with_responses(np.ones((5, 180)))), ArgumentError, r"\(5, 64\).*\(180, m\)"),
        (lambda p: p.sum_responses(np.ones(180)), ArgumentError, r"shape \(180,\)"),
    ],
)
def test_what_is_no_response_or_weight_is_refused(change, error: type[Exception], message: str) -> None:
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    with pytest.raises(error, match=message):
        change(model.problem)
