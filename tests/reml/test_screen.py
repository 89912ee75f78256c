"""A heavy design is looked at in few places, and of these only where a value may be lower than what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_models import SmallModel, irregular, layout_of, uncentred

from bayesmm import Model
from bayesmm.incidence import Incidence
from bayesmm.marginal.sums.crossproducts import build_products
from bayesmm.marginal.sums.rows import BlockArrays
from bayesmm.reml import screen
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import AbsorbedError, first_theta
from bayesmm.reml.screen import COARSE, _few_rays, _Grid, choose_starts, look_around


@pytest.fixture(autouse=True)
def _all_are_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "LIGHT", 0.0)
    monkeypatch.setattr(screen, "LIGHT_IF_MANY", 0.0)


def criterion_of(model: SmallModel, method: Any, sigma: float | None) -> Criterion:
    layout = layout_of(model.factors)
    blocks = [
        BlockArrays(incidence=Incidence.single(each.codes, each.columns, each.q), pieces=pieces)
        for each, pieces in zip(model.factors, layout, strict=True)
    ]
    return Criterion(build_products(model.X, model.y, model.weights, blocks)[0], layout, method, sigma)


def compare(criterion: Criterion) -> tuple[int, int]:
    """Check that no place is lower than the start; how many there are, and how many were looked at."""
    try:
        moments = first_theta(criterion)
    except AbsorbedError:
        return 0, 0
    starts, n_screened = choose_starts(criterion, moments)
    look = look_around(criterion, moments)[0]
    values = criterion.screen.values([np.stack(each) for each in zip(*look.factors, strict=True)])
    lowest = min(np.min(values), criterion(moments).value)
    assert criterion(starts[0]).value < lowest + 1e-7 * abs(lowest) + 1e-5
    return len(values) + 1, n_screened


@pytest.mark.parametrize("make", [uncentred, irregular])
def test_no_place_is_lower_than_the_start(make: Any) -> None:
    counts = []
    for seed in range(1000, 1040):
        model = make(seed)
        sigma = float(np.std(model.y)) / 3.0 if seed % 5 == 0 else None
        counts.append(compare(criterion_of(model, ("reml", "ml")[seed % 2], sigma)))
    places, looked_at = np.sum(counts, axis=0)
    assert looked_at < 0.9 * places


@pytest.mark.parametrize("term", ["ar1(0 + f | g)", "cs(0 + f | g)", "homcs(0 + f | g)", "fa(0 + f | g, d=1)"])
@pytest.mark.parametrize("seed", range(6))
def test_so_it_is_where_axes_are_of_rows_of_the_factor(term: str, seed: int) -> None:
    """Then larger standard deviations are not always larger covariances: correlated effects may cancel."""
    rng = np.random.default_rng(seed)
    g, t = np.repeat(np.arange(12), 8), np.tile(np.arange(4), 24)
    sds = 10.0 ** rng.uniform(-2, 3, size=4)
    level = rng.normal(size=(12, 1)) + 0.1 * rng.normal(size=(12, 4))
    frame = pd.DataFrame({"g": g, "f": np.char.add("f", t.astype(str)), "y": (level * sds)[g, t]})
    frame["y"] += rng.normal(size=len(frame))
    criterion = Model(f"y ~ 1 + {term} + (1 | f)", frame).fit().estimate.criterion_function
    compare(criterion)
    grid = _Grid(criterion, first_theta(criterion), COARSE)
    places = _few_rays(grid)
    below = [(low, high) for low in places for high in places if grid.is_below(low, high)]
    assert len(below) >= len(places)
    for low, high in below:
        for smaller, larger in zip(grid.factors(low), grid.factors(high), strict=True):
            rise = larger @ larger.T - smaller @ smaller.T
            assert np.linalg.eigvalsh(rise)[0] >= -1e-12 * np.abs(rise).max()


def test_in_plain_crossed_data_most_places_need_no_elimination() -> None:
    rng = np.random.default_rng(1)
    g, h = rng.integers(0, 60, 4000), rng.integers(0, 50, 4000)
    y = 0.5 * rng.normal(size=60)[g] + 0.5 * rng.normal(size=50)[h] + rng.normal(size=4000)
    criterion = Model("y ~ 1 + (1 | g) + (1 | h)", pd.DataFrame({"g": g, "h": h, "y": y})).fit().estimate
    places, looked_at = compare(criterion.criterion_function)
    assert (places, looked_at) == (13, 6)
