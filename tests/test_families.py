"""Families: related levels that are independent of all others, as clusters of robust standard errors and as cases."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import block_diag

import bayesmm as bmm
from bayesmm.design.blocks.families import find_families
from bayesmm.design.related.relation import as_sparse
from bayesmm.errors import ArgumentError
from bayesmm.fit.estimating import fit_problem
from bayesmm.inference.bootstrap.resampling import LevelSampler
from bayesmm.problem import Problem

FORMULA = "y ~ x + (x | rel(animal, A)) + (1 | animal)"


def make_pedigree(families: int = 15) -> pd.DataFrame:
    """Two parents and three offspring in each, in any order."""
    rows = []
    for f in range(families):
        rows += [(f"{f}s", None, None), (f"{f}d", None, None)] + [(f"{f}o{i}", f"{f}s", f"{f}d") for i in range(3)]
    return pd.DataFrame(rows, columns=["animal", "sire", "dam"]).sample(frac=1.0, random_state=1)


A = bmm.pedigree(make_pedigree())


def make_records() -> pd.DataFrame:
    """Two of each dam and offspring; sires have none."""
    rng = np.random.default_rng(3)
    b = np.linalg.cholesky(A.covariance.to_numpy()) @ rng.normal(size=(len(A.animals), 2))
    own = np.repeat([i for i, name in enumerate(A.animals) if "s" not in name], 2)
    frame = pd.DataFrame({"animal": np.array(A.animals)[own], "x": rng.normal(size=len(own))})
    frame["family"] = frame["animal"].str.extract(r"(\d+)", expand=False)
    frame["t"] = np.tile([0, 1], len(own) // 2)
    frame["y"] = 1.0 + frame.x * (1.0 + 0.6 * b[own, 1]) + b[own, 0] + rng.normal(size=len(own))
    return frame.sample(frac=1.0, random_state=2).reset_index(drop=True)


DATA = make_records()


def formula_of(residual: str | None) -> str:
    """Without what correlations of residuals say already."""
    return FORMULA.removesuffix(" + (1 | animal)") if residual == "ar1(t | animal)" else FORMULA


KINDS: dict[str, Any] = {"dense": A, "sparse": as_sparse(A.relation)}


@cache
def fit_of(kind: str, residual: str | None = None) -> Any:
    return bmm.Model(formula_of(residual), DATA, relations={"A": KINDS[kind]}, residual=residual).fit()


@pytest.mark.parametrize("kind", KINDS)
def test_levels_of_a_family_are_those_that_covary(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = fit_of(kind).design.blocks[0]
    for most in (5000, 10):  # beyond, of paths in the inverse
        monkeypatch.setattr("bayesmm.design.blocks.families.MOST_LEVELS", most)
        codes = block.incidence.only.codes
        found = pd.Series(find_families(block)[codes])
        assert (found.groupby(DATA["family"]).nunique() == 1).all()
        assert found.nunique() == DATA["family"].nunique() == 15


def test_two_that_mate_without_records_tie_nobody() -> None:
    """Their offspring is of both families, and ties these as soon as it has a record."""
    sires, dams = [None, None, "p", None, "p"], [None, None, None, "q", "q"]
    table = pd.DataFrame({"a": list("pqrsm"), "sire": sires, "dam": dams})
    family = bmm.pedigree(table, animal="a")
    rows = pd.DataFrame({"a": list("prqs") * 5, "y": np.random.default_rng(1).normal(size=20)})
    for data, count in ((rows, 2), (pd.concat([rows, pd.DataFrame({"a": ["m"], "y": [0.5]})]), 1)):
        model = bmm.Model("y ~ 1 + (1 | rel(a, A))", data, relations={"A": family})
        block = model.design.blocks[0]
        assert len(np.unique(find_families(block)[block.incidence.only.codes])) == count


def textbook(fit: Any, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """CR0 and CR2 of Pustejovsky & Tipton (2018), section 2, and the degrees of freedom, from V in full."""
    design = fit.design
    X, y, n = design.X, design.y, design.n
    V = np.zeros((n, n))
    for block, L in zip(design.blocks, fit.estimate.factors, strict=True):
        own = block.incidence.only
        relation = A.covariance.to_numpy() if block.relation is not None else np.eye(block.q)
        V += relation[np.ix_(own.codes, own.codes)] * (own.columns @ (fit.sigma**2 * L @ L.T) @ own.columns.T)
    sds = np.where(DATA["t"] == 1, fit.parameters["estimate"].get("sigma(t[1])", fit.sigma), fit.sigma)
    V += np.diag(sds**2)
    W = np.linalg.inv(V)
    M = np.linalg.inv(X.T @ W @ X)
    left_over = np.eye(n) - X @ M @ X.T @ W
    rows = []
    for label in DATA["family"].unique():
        own = np.flatnonzero(DATA["family"] == label)
        adjust = np.eye(len(own))
        if kind == "CR2":
            D = np.linalg.cholesky(V[np.ix_(own, own)]).T
            B = D @ left_over[own] @ V @ left_over[own].T @ D.T
            values, vectors = np.linalg.eigh(B)
            adjust = D.T @ (vectors / np.sqrt(values)) @ vectors.T @ D
        rows.append(M @ X[own].T @ W[np.ix_(own, own)] @ adjust @ left_over[own])
    covariance = sum(np.outer(each @ y, each @ y) for each in rows)
    df = []
    for j in range(X.shape[1]):
        E = np.array([[a[j] @ V @ b[j] for b in rows] for a in rows])
        df.append(np.trace(E) ** 2 / (E**2).sum())
    return covariance, np.array(df)


@pytest.mark.parametrize("residual", [None, "het(t)"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("correction", ["CR0", "CR2"])
def test_robust_covariances_are_those_of_the_textbook(correction: Any, kind: str, residual: str | None) -> None:
    fit = fit_of(kind, residual)
    found = fit.robust(kind=correction)
    covariance, df = textbook(fit, correction)
    assert_allclose(found.covariance, covariance, rtol=1e-7)
    assert_allclose(found.df(np.eye(2)), df, rtol=1e-7)
    assert found.clusters.name == "families of rel(animal)"
    same = fit.robust(DATA["family"], kind=correction)
    assert_allclose(same.covariance, covariance, rtol=1e-7)
    assert max(map(len, str(found).splitlines())) <= 80


@pytest.mark.parametrize("residual", [None, "ar1(t | animal)"])
@pytest.mark.parametrize("kind", KINDS)
def test_resampled_families_are_a_model_of_their_own(kind: str, residual: str | None) -> None:
    """Of families drawn twice: animals with other names, related within each copy and to no other."""
    fit = fit_of(kind, residual)
    sampler = LevelSampler(fit.design, None)
    assert (sampler.group, sampler.n_levels) == ("rel(animal)", 15)
    drawn = sampler.draw(np.array([0, 0, 2, *range(3, 14), 4]))
    parts, tables, names = [], [], []
    table = A.covariance
    first = list(dict.fromkeys(find_families(fit.design.blocks[0])[np.sort(fit.design.blocks[0].incidence.only.codes)]))
    animals = [fit.design.blocks[0].levels[i] for i in sorted(first)]
    for copy, chosen in enumerate([0, 0, 2, *range(3, 14), 4]):
        label = DATA.loc[DATA["animal"] == animals[chosen], "family"].iloc[0]
        own = DATA[DATA["family"] == label]
        levels = list(own["animal"].unique())
        parts.append(own.assign(animal=own["animal"] + f"/{copy}"))
        tables.append(table.loc[levels, levels])
        names += [f"{level}/{copy}" for level in levels]
    relation = pd.DataFrame(block_diag(*tables), names, names)
    frame = pd.concat(parts, ignore_index=True)
    again = bmm.Model(formula_of(residual), frame, relations={"A": relation}, residual=residual).fit()
    own = fit_problem(Problem(drawn), "reml")
    assert own.loglik == pytest.approx(again.loglik, abs=1e-5)
    assert_allclose(own.estimate.beta, again.estimate.beta, rtol=1e-3)


def test_a_bootstrap_of_cases_spreads_as_robust_standard_errors_say() -> None:
    fit = bmm.Model("y ~ x + (1 | rel(animal, A))", DATA, relations={"A": A}).fit()
    found = fit.bootstrap(150, kind="case", seed=1, progress=False)
    assert_allclose(found.draws[["Intercept", "x"]].std(), fit.robust().table["std_error"], rtol=0.3)
    assert "families of rel(animal) resampled" in " ".join(str(found).split())


def test_what_has_no_families_says_so() -> None:
    few = DATA[DATA["family"].isin([str(i) for i in range(5)])]
    model = bmm.Model("y ~ x + (1 | rel(animal, A))", few, relations={"A": A})
    with pytest.raises(ArgumentError, match=r"there are 5 of rel\(animal\): too few.*12 are the fewest"):
        model.fit().bootstrap(20, kind="case")
    assert np.isfinite(model.fit().robust().table["std_error"]).all()
    fit = bmm.Model("y ~ x + (1 | rel(animal, A)) + (1 | t)", DATA, relations={"A": A}).fit()
    with pytest.raises(ArgumentError, match="No grouping factor holds all others"):
        fit.bootstrap(20, kind="case")
    with pytest.raises(ArgumentError, match="None of the grouping factors"):
        fit.robust()
    with pytest.raises(ArgumentError, match="levels that the matrix 'A' ties to"):
        fit_of("dense").robust(DATA["animal"])
