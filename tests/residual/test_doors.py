"""What stands on a fit works for every structure, with missing visits, unsorted rows and groups of one row."""

from __future__ import annotations

import numpy as np
import pytest
from residual_textbook import DATA, TEXTBOOK

import bayesmm as bmm


@pytest.mark.parametrize("residual", [text for text in TEXTBOOK if "us(visit | id" not in text])
def test_every_structure_goes_through_every_door(residual: str) -> None:
    fit = bmm.Model("y ~ x", DATA, residual=residual, weights="w").fit()
    parameters = len(fit.labels.parameter_rows())
    found = bmm.power(fit, n=1, progress=False)
    assert np.isfinite(found.p_values.to_numpy()).all()
    for kind in ("parametric", "residual"):
        draws = fit.bootstrap(2, kind=kind, seed=2, progress=False).draws
        assert draws.shape == (2, parameters)
        assert np.isfinite(draws.to_numpy()).all()
    criteria = fit.criteria()
    assert criteria.hat_trace == pytest.approx(2.0, abs=1e-6)  # of generalised least squares
    assert abs(criteria.uncertainty) < 1.0
    held = int(fit.estimate.public_parameters.on_boundary.sum())
    assert criteria.n_residual == parameters - 2 - held
    refits = "nugget" in residual or "car1(time | id, by=arm)" in residual  # by default 999 of them, for seconds
    tests = fit.variance_tests(**({"kind": "bootstrap", "n": 3} if refits else {}), progress=False)
    assert tests.table["p_value"].between(0.0, 1.0).all()
    if not refits:
        goes = sum(int(test.null.count("χ²") == 1) for test in tests.tests)
        assert goes >= len(tests.tests) - 1


def test_a_shifted_and_scaled_response_changes_only_units() -> None:
    one = bmm.Model("y ~ x", DATA, residual="hetar1(step | id)").fit()
    other = bmm.Model("y ~ x", DATA.assign(y=1e4 * DATA["y"] + 1e6), residual="hetar1(step | id)").fit()
    first, second = (fit.bootstrap(3, kind="residual", seed=1, progress=False).draws.to_numpy() for fit in (one, other))
    scale = np.where([row.kind == "cor" for row in one.labels.parameter_rows()], 1.0, 1e4)
    assert second - np.eye(1, len(scale)) * 1e6 == pytest.approx(first * scale, rel=1e-3)
    names = ["effective_df", "hat_trace", "uncertainty"]
    for name in names:
        assert getattr(other.criteria(), name) == pytest.approx(getattr(one.criteria(), name), rel=1e-4, abs=1e-6)
    tests = [fit.variance_tests().table["p_value"].to_numpy() for fit in (one, other)]
    assert tests[1] == pytest.approx(tests[0], rel=1e-3, abs=1e-9)
    power = [bmm.power(fit, test="x", n=3, progress=False).p_values.to_numpy() for fit in (one, other)]
    assert power[1] == pytest.approx(power[0], rel=1e-3)
