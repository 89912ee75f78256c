"""Every reference entry whose residuals have a covariance: nlme's gls and lme, glmmTMB's dispersion formulas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from reference_data import REFERENCE, load_data, select_rows
from reference_names import canonical_effect
from residual_entries import ENTRIES

from bayesmm import Model
from bayesmm.fit import Fit

LOGLIK = 1e-6  # the references agree between optimisers to 1e-9
FINITE = 5e-5  # glmmTMB's dispformula = ~0 leaves a small residual variance: good to this, as the files say
RELATIVE = 1e-5
PARAMETERS = 1e-4  # nlme stops where a parameter is known to five digits


def read(file: str, id: str) -> tuple[str, dict[str, Any]]:
    content = json.loads((REFERENCE / f"{file}.json").read_text(encoding="utf-8"))
    return content["dataset"], next(entry for entry in content["models"] if entry["id"] == id)


@pytest.mark.parametrize("key", ENTRIES, ids="/".join)
def test_fit_agrees_with_reference(key: tuple[str, str]) -> None:
    dataset, entry = read(*key)
    data = select_rows(load_data(dataset), entry)
    if "age" in data:
        data["occasion"] = ((data["age"] - 8) / 2).astype(int)
    formula, residual = ENTRIES[key]
    fit = Model(formula, data, residual=residual).fit("reml" if entry["reml"] else "ml")

    without_residual = entry.get("dispformula") == "~0"
    assert fit.loglik == pytest.approx(entry["loglik"], abs=FINITE if without_residual else LOGLIK)
    fixef = entry["fixef"]
    table = fit.fixed_effects.rename(index=canonical_effect).loc[[canonical_effect(name) for name in fixef["names"]]]
    rough = 100.0 if without_residual else 1.0
    assert table["estimate"].to_numpy() == pytest.approx(fixef["estimate"], rel=rough * RELATIVE, abs=1e-6 * fit.sigma)
    assert table["std_error"].to_numpy() == pytest.approx(fixef["se"], rel=rough * RELATIVE)
    for name, value, expected in parameters(fit, entry):
        assert value == pytest.approx(expected, rel=1e-3 if without_residual else PARAMETERS), name
    if "fitted_head" in entry and not without_residual:
        assert fit.fitted[:10] == pytest.approx(entry["fitted_head"], abs=1e-4 * fit.sigma)


def parameters(fit: Fit, entry: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Pairs of what the fit has and what the entry says, of residuals and of random effects."""
    estimates, residual = fit.parameters["estimate"], fit.design.residual
    assert residual is not None
    strata = [spread for spread in residual.spreads if spread.strata]
    sds = np.append(fit.sigma, [estimates[name] for spread in strata for name in spread.names])
    if "variance_function" in entry and strata:
        labels = dict(entry["variance_function"]["parameters"])
        names = strata[0].strata if set(labels) == set(strata[0].strata) else list(labels)
        yield "sds", sds, [entry["sigma"] * labels[name] for name in names]
    elif "variance_function" in entry:
        yield "exponent", estimates[residual.sd_names[0]], *entry["variance_function"]["parameters"].values()
        yield "sigma", fit.sigma, entry["sigma"]
    elif entry.get("sigma"):
        yield "sigma", fit.sigma, entry["sigma"]
    if "dispersion" in entry and "log_scale" in (entry["dispersion"] or {}):
        first, second = entry["dispersion"]["log_scale"]
        yield "dispersion", sds, np.exp(0.5 * np.array([first, first + second]))
    if "correlation" in entry:
        correlations = np.array(entry["correlation"]["matrix_largest_group"])
        names = residual.cor_names
        if len(names) == 1:
            yield "correlation", estimates[names[0]], next(iter(entry["correlation"]["parameters"].values()))
        else:
            rows, columns = np.tril_indices(len(correlations), -1)
            yield "correlations", [estimates[name] for name in names], correlations[rows, columns]
    if entry.get("dispformula") == "~0":
        term = entry["random"][0]
        if len(sds) == 1:
            sds = np.full(len(term["sd"]), fit.sigma)
        yield "sds", sds, term["sd"]
        return
    for term, block in zip(entry.get("random", []), fit.labels.blocks, strict=True):
        yield f"sd of {term['group']}", [estimates[name] for name in block.sd_rows], term["sd"]
