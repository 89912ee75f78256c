"""What the search evaluates, sums over few patterns, beside what visits the rows: the same numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from residual_textbook import DATA, TEXTBOOK, criterion_of, make_data

from bayesmm import Model
from bayesmm.incidence import order_rows
from bayesmm.marginal.residual.at_levels import evaluate_levels
from bayesmm.marginal.residual.layout import lay_out_residuals
from bayesmm.marginal.residual.weighted_sums import weigh_rows
from bayesmm.reml.residual import ResidualCriterion

SAME = 1e-9  # of a value or a slope: sums in another order
CHAINS = ["ar1(step | id)", "hetar1(step | id)", "car1(time | id)", "ad(visit | id)", "ar1(step | id) * het(arm)"]


def model_of(text: str, random: str = "") -> Model:
    with_weights = text in ("ar1(step | id)", "us(visit | id)")
    data = DATA.assign(site=(DATA["id"].str[1:].astype(int) // 5).astype(str))
    return Model(f"y ~ x + step{random}", data, residual=text, weights="w" if with_weights else None)


def anywhere(criterion, seed: int = 0) -> np.ndarray:
    """Take a point that is nobody's estimate."""
    rng = np.random.default_rng(seed)
    t = sum(piece.n_theta for pieces in criterion.layout for piece in pieces)
    return 0.4 + 0.3 * rng.normal(size=t + criterion.rows.layout.n_phi)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("text", TEXTBOOK)
def test_pieces_of_groups_give_the_criterion_of_whole_groups(text, method):
    criterion = criterion_of(model_of(text), method)
    psi = anywhere(criterion)
    whole, pieces = criterion.evaluate(psi), criterion.evaluate_pieces(psi)
    assert pieces.value == pytest.approx(whole.value, rel=SAME)
    np.testing.assert_allclose(pieces.gradient, whole.gradient, rtol=SAME, atol=SAME)
    exact = whole.closed.straight + whole.closed.bend()
    np.testing.assert_allclose(criterion.exactly(psi).hessian, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("text", CHAINS)
def test_chains_are_laid_out_as_neighbours(text):
    layout = criterion_of(model_of(text), "reml").rows.layout
    assert max(stack.rows.shape[1] for stack in layout.stacks) > 2
    assert [(stack.rows.shape[1], stack.is_link) for stack in layout.pieces] == [(2, True), (1, False)]
    assert sum(len(stack.rows) for stack in layout.pieces) == len(DATA)


def test_groups_share_a_pattern_where_their_covariance_is_the_same():
    late = DATA.assign(time=DATA["visit"].str[1:].astype(float) * 0.1 + 0.1 * DATA["id"].str[1:].astype(int))
    layout = criterion_of(Model("y ~ x", late, residual="car1(time | id)"), "reml").rows.layout
    assert all(len(stack.positions) <= 4 for stack in layout.pieces)  # gaps of one, two or three steps


BESIDE = [
    ("ar1(step | id)", " + (1 | id)"),
    ("hetar1(step | id)", " + (x | arm)"),
    ("us(visit | id)", " + (1 | arm)"),
    ("homcs(visit | id) * het(arm)", " + (x | arm)"),
    ("het(arm:visit)", " + (1 | id) + (1 | visit)"),
    ("het(arm)", " + (1 | id)"),
    ("car1(time | id)", " - x - step - 1 + (1 | id)"),
    ("ar1(step | id)", " + (1 | arm) + (1 | arm:site) + (0 + x | site)"),
]


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("text", "random"), BESIDE)
def test_weighted_sums_give_the_criterion_of_whitened_rows(text, random, method):
    criterion = criterion_of(model_of(text, random), method)
    psi = anywhere(criterion)
    theta, phi = criterion.split(psi)
    sums = weigh_rows(criterion.rows, criterion.plan)
    at = evaluate_levels(theta, phi, sums, None, criterion.restriction, criterion.layout)
    rows = criterion.evaluate(psi)
    assert at.value == pytest.approx(rows.value, rel=SAME)
    np.testing.assert_allclose(at.gradient, rows.gradient, rtol=SAME, atol=1e-8)
    np.testing.assert_allclose(at.residual_square_gradient, rows.residual_square_gradient, rtol=SAME, atol=1e-8)
    t = len(theta)
    size = np.abs(rows.curvature).max()
    np.testing.assert_allclose(at.curvature[:t], rows.curvature[:t], rtol=1e-7, atol=1e-7 * size)
    if sums.layout.is_chain and len(criterion.layout) == 1:  # of crossed factors traces are near it
        exact = criterion.derivatives(psi).hessian[t:, t:]
        if np.linalg.eigvalsh(exact)[0] > 0.0:
            np.testing.assert_allclose(at.curvature[t:, t:], exact, rtol=1e-5, atol=1e-6 * size)
    elif not sums.layout.is_chain:
        np.testing.assert_allclose(at.curvature, rows.curvature, rtol=1e-7, atol=1e-7 * size)


def test_the_plan_says_what_an_evaluation_needs_of_the_rows():
    said = {
        ("us(visit | id)", ""): "An evaluation weighs the sums",
        ("car1(time | id)", ""): "goes through the rows",
        ("ar1(step | id)", " + (1 | arm)"): "summed once by level",
        ("car1(time | id) * power(time)", " + (x + step + w | id)"): "An evaluation whitens",
    }
    frame = make_data(groups=300)
    for (text, random), part in said.items():
        assert part in " ".join(str(Model(f"y ~ x{random}", frame, residual=text).plan).split()), text


@pytest.mark.parametrize("size", [1.0, 1e5])
def test_sums_are_left_where_they_would_lose_digits(size, monkeypatch):
    frame = make_data(groups=120).drop(columns="w")
    frame["site"] = frame["id"].str[1:].astype(int) % 12
    frame["y"] += size * np.random.default_rng(0).normal(size=12)[frame["site"]]
    formula, text = "y ~ x + (1 | site)", "ar1(step | id)"
    fit = Model(formula, frame, residual=text).fit()
    assert (fit.estimate.residual.criterion.weighted is None) == (size > 1.0)
    monkeypatch.setattr(ResidualCriterion, "weighted", None)
    whitened = Model(formula, frame, residual=text).fit()
    assert fit.loglik == pytest.approx(whitened.loglik, abs=1e-7)
    np.testing.assert_allclose(fit.parameters["estimate"], whitened.parameters["estimate"], rtol=1e-4)


def test_rows_of_irregular_times_stay_beside_sums_by_level():
    model = Model("y ~ x + (1 | id)", make_data(groups=200), residual="car1(time | id)")
    criterion = criterion_of(model, "reml")
    assert criterion.weighted is not None
    assert any(len(each.stack.positions) == len(each.stack.rows) for each in criterion.weighted.gram)
    psi = anywhere(criterion)
    at, rows = criterion.evaluate_pieces(psi), criterion.evaluate(psi)
    assert at.value == pytest.approx(rows.value, rel=SAME)
    np.testing.assert_allclose(at.gradient, rows.gradient, rtol=SAME, atol=1e-8)


def test_slopes_keep_their_digits_near_a_random_walk():
    """Where the criterion is all but flat, and products of neighbours would lose the level that they share."""
    rng = np.random.default_rng(1)
    walk = pd.DataFrame({"id": "a", "t": np.arange(300), "y": 1e3 + rng.standard_normal(300).cumsum()})
    criterion = criterion_of(Model("y ~ 1", walk, residual="ar1(t | id)"), "reml")
    for z in (8.0, 10.0, 12.0):
        up, here, down = (criterion.evaluate_pieces(np.array([z + step])) for step in (0.01, 0.0, -0.01))
        assert up.value < here.value < down.value
        np.testing.assert_allclose(here.gradient, (up.value - down.value) / 0.02, rtol=0.01)
        np.testing.assert_allclose(here.curvature[0], (up.gradient - down.gradient) / 0.02, rtol=0.01)


def own_times(seed: int, groups: int = 20) -> pd.DataFrame:
    """Rows at times of each group's own, without a trend, whose correlation falls by half in one unit of time."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(groups), rng.integers(2, 9, groups))
    t = rng.uniform(0.0, 6.0, len(ids))
    C = np.where(ids[:, None] == ids, 0.5 ** np.abs(t[:, None] - t), 0.0)
    return pd.DataFrame({"id": ids, "t": t, "y": np.linalg.cholesky(C) @ rng.standard_normal(len(ids))})


@pytest.mark.parametrize("seed", range(3))
def test_a_search_of_a_chain_begins_near_what_is_best_for_residuals_of_least_squares(seed):
    frame = own_times(seed)
    layout = criterion_of(Model("y ~ 1", frame, residual="car1(t | id)"), "reml").rows.layout
    e, t = frame["y"] - frame["y"].mean(), frame["t"].to_numpy()
    apart, same = np.abs(t[:, None] - t), frame["id"].to_numpy()[:, None] == frame["id"].to_numpy()

    def value(rho: float) -> float:
        C = np.where(same, rho**apart, 0.0)
        return np.linalg.slogdet(C)[1] + len(e) * np.log(e @ np.linalg.solve(C, e))

    start = layout.public(np, layout.start(e.to_numpy(), None))[0]
    assert value(start) - min(map(value, np.linspace(0.02, 0.98, 97))) < 0.2


def test_a_group_that_stands_for_several_begins_a_search_as_they_do():
    frame = own_times(0)
    correlation = criterion_of(Model("y ~ 1", frame, residual="car1(t | id)"), "reml").rows.layout.correlation
    one, none = np.ones(len(frame)), np.zeros((len(frame), 0))
    few = lay_out_residuals(correlation, *(frame[name].to_numpy() for name in ("id", "t")), none, (), one, 3.0 * one)
    all_ids = np.concatenate([frame["id"] + 100 * copy for copy in range(3)])
    many = lay_out_residuals(correlation, all_ids, np.tile(frame["t"], 3), np.tile(none, (3, 1)), (), np.tile(one, 3))
    e = frame["y"].to_numpy()
    np.testing.assert_allclose(few.start(np.sqrt(3.0) * e, None), many.start(np.tile(e, 3), None), rtol=1e-12)


@pytest.mark.parametrize("groups", [50, 10**6])
def test_rows_are_in_the_order_of_their_groups_and_positions(groups):
    rng = np.random.default_rng(groups)
    codes, positions = rng.integers(0, groups, 500), rng.permutation(500) / 7.0
    np.testing.assert_array_equal(order_rows(codes, positions), np.lexsort((positions, codes)))
