"""Shrinkage of related levels, against the mixed model equations written out, and regressions on relatives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from related_models import FAMILY, by_descent, records

import bayesmm as bmm
from bayesmm.priors import HalfNormal, Normal

DATA = records(FAMILY)
A = FAMILY.covariance.to_numpy()
SLOPES = "y ~ x + (x | rel(animal, A))"


def columns_of(table: pd.DataFrame, name: str, k: int) -> np.ndarray:
    return table[name].to_numpy(dtype=float).reshape(-1, k)


def on_relatives(A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each level given all others, by regression."""
    means, left = np.empty_like(b), np.empty(len(A))
    for i in range(len(A)):
        others = np.arange(len(A)) != i
        weights = np.linalg.solve(A[np.ix_(others, others)], A[others, i])
        means[i], left[i] = weights @ b[others], A[i, i] - weights @ A[others, i]
    return means, left


@pytest.mark.parametrize("relation", [FAMILY, by_descent(FAMILY)], ids=["dense", "sparse"])
def test_level_lies_between_its_own_rows_and_what_relatives_say(relation) -> None:
    fit = bmm.Model(SLOPES, DATA, relations={"A": relation}).fit()
    found = bmm.shrinkage(fit)
    (W,) = found.weights.values()
    n, alone, relatives, pooled = (
        columns_of(found.table, name, 2) for name in ("n", "unpooled", "relatives", "estimate")
    )
    expected, left = on_relatives(A, pooled)
    assert_allclose(relatives, expected, atol=1e-8)
    has = np.isfinite(alone).all(axis=1)
    G = fit.sigma**2 * fit.estimate.factors[0] @ fit.estimate.factors[0].T
    assert_allclose(pooled[has], relatives[has] + np.einsum("qij,qj->qi", W[has], (alone - relatives)[has]), atol=1e-8)
    assert_allclose(pooled[n[:, 0] == 0], relatives[n[:, 0] == 0], atol=1e-8)
    level = int(np.flatnonzero(has)[0])
    own = DATA["x"][DATA["animal"] == fit.labels.blocks[0].levels[level]].to_numpy()
    Z = np.column_stack([np.ones(len(own)), own])
    own_G = G * left[level]
    textbook = own_G @ np.linalg.inv(own_G + fit.sigma**2 * np.linalg.inv(Z.T @ Z))
    assert_allclose(W[level], textbook, rtol=1e-6, atol=1e-9)
    assert found.pooling["pooling_factor"].isna().all()


def test_reliability_is_that_of_the_mixed_model_equations() -> None:
    fit = bmm.Model("y ~ sex + (1 | rel(animal, A)) + (1 | herd)", DATA, relations={"A": FAMILY}).fit()
    found = bmm.shrinkage(fit)
    levels = [np.array(block.levels, dtype=str) for block in fit.labels.blocks]
    of_animals = 0 if "animal" in fit.labels.blocks[0].group else 1
    Z = [(DATA[name].astype(str).to_numpy()[:, None] == own).astype(float) for name, own in zip(
        ("animal", "herd") if of_animals == 0 else ("herd", "animal"), levels, strict=True)]  # fmt: skip
    X = fit.design.X[:, fit.design.kept]
    variances = [float(fit.sigma**2 * (L @ L.T)[0, 0]) for L in fit.estimate.factors]
    W = np.column_stack([X, *Z])
    precision = np.zeros((W.shape[1],) * 2)
    start = X.shape[1]
    for f, own in enumerate(Z):
        q = own.shape[1]
        inverse = np.linalg.inv(A) if f == of_animals else np.eye(q)
        precision[start : start + q, start : start + q] = inverse / variances[f]
        start += q
    C = np.linalg.inv(W.T @ W / fit.sigma**2 + precision)  # Henderson's equations
    at = X.shape[1] + (0 if of_animals == 0 else Z[0].shape[1]) + np.arange(len(A))
    expected = 1.0 - np.diag(C)[at] / (variances[of_animals] * np.diag(A))
    table = found.table[found.table["group"] == fit.labels.blocks[of_animals].group]
    assert_allclose(table["reliability"].to_numpy(dtype=float), expected, rtol=1e-6, atol=1e-8)
    others = found.table[found.table["group"] != fit.labels.blocks[of_animals].group]
    assert others["reliability"].isna().all()
    assert others["weight"].notna().all()
    coefficients = bmm.shrinkage(fit, of="coefficients").table["reliability"].to_numpy(dtype=float)
    assert_allclose(coefficients, found.table["reliability"].to_numpy(dtype=float))
    text = str(found)
    assert "not towards the mean alone" in text
    assert "relatives" in text
    from matplotlib import pyplot

    figure = found.plot(fit.labels.blocks[of_animals].group)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][-1].replace(
        "\n", " "
    ) == "what relatives say"
    pyplot.close(figure)


def test_relation_of_strangers_is_pooling_as_usual() -> None:
    strangers = pd.DataFrame(np.eye(len(A)), FAMILY.animals, FAMILY.animals)
    related = bmm.shrinkage(bmm.Model("y ~ sex + (1 | rel(animal, I))", DATA, relations={"I": strangers}).fit()).table
    alone = bmm.shrinkage(bmm.Model("y ~ sex + (1 | animal)", DATA).fit()).table
    both = related.merge(alone, on="level", suffixes=("", "_alone"))
    assert len(both) == len(alone)
    assert (both["relatives"].abs() < 1e-9).all()
    for name in ("unpooled", "estimate", "weight"):
        assert_allclose(both[name], both[f"{name}_alone"], rtol=1e-5, atol=1e-6)


def test_singular_relation_has_reliabilities_alone() -> None:
    twins = FAMILY.covariance.copy()
    first, second = twins.index[:2]
    twins.loc[second, :], twins.loc[:, second] = twins.loc[first, :], twins.loc[:, first]
    twins.loc[second, second] = twins.loc[first, first]
    fit = bmm.Model("y ~ sex + (1 | rel(animal, T))", DATA, relations={"T": twins}).fit()
    table = bmm.shrinkage(fit).table
    assert table[["relatives", "weight"]].isna().all(axis=None)
    both = table.set_index("level").loc[[first, second], "reliability"].to_numpy(dtype=float)
    assert both[0] == pytest.approx(both[1])
    assert 0.0 < both[0] < 1.0


def test_posterior_has_the_relatives_of_its_means() -> None:
    priors = {"fixed": Normal(0, 10), "sd": HalfNormal(2), "sigma": HalfNormal(2)}
    model = bmm.Model("y ~ 1 + (1 | rel(animal, A))", DATA, relations={"A": FAMILY}, priors=priors)
    posterior = model.sample(method="quadrature", draws=400, seed=1)
    found = bmm.shrinkage(posterior).table
    expected, _ = on_relatives(A, columns_of(found, "estimate", 1))
    assert_allclose(columns_of(found, "relatives", 1), expected, atol=1e-8)
    variance = (posterior.data["posterior"][model.labels.blocks[0].sd_variable].to_numpy() ** 2).mean()
    reliability = 1.0 - found["sd"].to_numpy() ** 2 / (variance * np.diag(A))
    assert_allclose(found["reliability"], np.clip(reliability, 0.0, 1.0), rtol=1e-9)
    of_fit = bmm.shrinkage(model.fit()).table["reliability"].mean()
    assert found["reliability"].mean() == pytest.approx(of_fit, abs=0.1)
