"""Many related levels, whose A⁻¹ stays sparse: held to the same models with A dense, and to a dense oracle.

The size decides which way is taken; here small relations are made sparse by hand. What the dense way gives is held to
textbooks and published tables in `test_relations.py`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle import DenseModel, block_diagonal, random_columns
from related_models import DATA, FAMILY, FORMULAS, by_descent, by_entries, model_of, random_pedigree, records
from scipy import sparse

import bayesmm as bmm
from bayesmm.cholesky.factor import Factor
from bayesmm.cholesky.fronts import lay_out_fronts
from bayesmm.design.related import car as car_module
from bayesmm.design.related import relation as relation_module
from bayesmm.design.related.relation import KnownRelation, are_alike
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate

EXACT = 1e-9  # relative, of sums in another order
SEARCH = 1e-5  # of estimates: two searches of one criterion end that near each other


@pytest.mark.parametrize("kind", [by_descent, by_entries])
@pytest.mark.parametrize("name", FORMULAS)
def test_evaluation_is_that_of_a_dense_matrix(name: str, kind: Any) -> None:
    """At ordinary points, far from the maximum, and where variances are zero; values and all derivatives."""
    dense, other = (model_of(name, A, weights="w") for A in (FAMILY, kind(FAMILY)))
    rng = np.random.default_rng(1)
    layout = dense.problem.layout
    n = len(dense.fit().theta)
    for theta in [rng.normal(size=n), 8.0 * rng.normal(size=n), np.zeros(n), np.eye(n)[0]]:
        for restriction, sigma in ((1.0, None), (0.0, None), (1.0, 1.3)):
            here, there = (
                evaluate(host, theta, model.problem.products, sigma, restriction, layout=layout)
                for model in (dense, other)
            )
            assert there.value == pytest.approx(here.value, rel=1e-12)
            for field in ("gradient", "curvature", "residual_square_gradient"):
                size = np.abs(getattr(here, field)).max() + 1.0
                assert_allclose(getattr(there, field), getattr(here, field), atol=EXACT * size)
            for field in ("modes", "expected", "observed", "unrestricted"):
                for one, two in zip(getattr(here, field), getattr(there, field), strict=True):
                    assert_allclose(two, one, atol=1e-8 * (np.abs(one).max() + 1e-8))


@pytest.mark.parametrize("name", FORMULAS)
def test_gradient_is_the_slope_of_the_value(name: str) -> None:
    model = model_of(name, by_descent(FAMILY))
    criterion = model.fit().estimate.criterion_function
    theta = np.random.default_rng(5).normal(size=len(model.fit().theta))
    found = criterion.evaluate(theta).gradient
    slopes = [
        float(criterion.evaluate(theta + e).value - criterion.evaluate(theta - e).value) / 2e-5
        for e in 1e-5 * np.eye(len(theta))
    ]
    assert_allclose(found, slopes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", ["alone", "repeatability", "slopes"])
def test_fit_is_that_of_the_oracle(name: str, method: Any) -> None:
    fit = model_of(name, by_descent(FAMILY), weights="w").fit(method)
    design, A = fit.design, FAMILY.covariance.to_numpy()
    Z = [random_columns(b.incidence.only.codes, b.incidence.only.columns, b.q) for b in design.blocks]
    parts: list[Any] = [
        np.kron(np.eye(b.q) if b.relation is None else A, fit.sigma**2 * L @ L.T)
        for b, L in zip(design.blocks, fit.factors, strict=True)
    ]
    G = block_diagonal(parts)
    dense = DenseModel(y=design.y, X=design.X[:, design.kept], Z=np.hstack(Z), weights=design.weights)
    assert fit.loglik == pytest.approx(dense.log_likelihood(G, fit.sigma, method), abs=1e-8)
    assert fit.sigma == pytest.approx(dense.profiled_sigma(G / fit.sigma**2, method), rel=1e-8)
    assert_allclose(fit.estimate.beta, dense.fixed_effects(G, fit.sigma), rtol=1e-8)
    modes = np.concatenate([b.ravel() for b in fit.estimate.modes])
    assert_allclose(modes, dense.random_effects(G, fit.sigma), rtol=1e-6, atol=1e-7)
    own = np.concatenate([np.einsum("qaa->qa", C).ravel() for C in fit.estimate.mode_covariances])
    assert_allclose(own, np.diag(dense.random_effects_covariance(G, fit.sigma)), rtol=1e-6, atol=1e-9)


def numbers(found: Any) -> np.ndarray:
    if isinstance(found, pd.DataFrame):
        found = found.select_dtypes("number").to_numpy(float)
    return np.nan_to_num(np.asarray(found, dtype=float), posinf=0.0, neginf=0.0)


NEW = pd.DataFrame({"animal": FAMILY.animals[:4], "sex": "male", "x": [0.0, 1.0, -1.0, 3.0], "herd": 1})
READ = {
    "parameters": lambda fit: fit.parameters,
    "tests of fixed effects": lambda fit: fit.fixed_effects,
    "effects": lambda fit: fit.random_effects(),
    "effects with the error of fixed ones": lambda fit: fit.random_effects(uncertainty="fixed"),
    "effects with all errors": lambda fit: fit.random_effects(uncertainty="full"),
    "coefficients": lambda fit: fit.coefficients(),
    "predictions": lambda fit: fit.predict(NEW, interval="prediction", new_levels="sample"),
    "predictions of the rows": lambda fit: fit.predict(interval="confidence"),
    "shares": lambda fit: fit.variance_shares(),
    "criteria": lambda fit: fit.criteria().table,
    "residuals": lambda fit: fit.residuals(kind="standardised", random="none"),
    "whitened residuals": lambda fit: fit.residuals(kind="cholesky", random="none"),
    "influence": lambda fit: fit.influence().table,
    "simulated responses": lambda fit: fit.simulate(3, seed=1),
}


@pytest.mark.parametrize("name", ["repeatability", "slopes"])
def test_what_is_read_off_a_fit_is_that_of_a_dense_matrix(name: str) -> None:
    dense, other = (model_of(name, A).fit() for A in (FAMILY, by_descent(FAMILY)))
    for what, read in READ.items():
        one, two = numbers(read(dense)), numbers(read(other))
        assert_allclose(two, one, rtol=1e-4, atol=SEARCH * np.abs(one).max(), err_msg=what)


def test_a_level_of_one_row_is_left_out_as_the_row_is() -> None:
    fit = model_of("slopes", by_descent(FAMILY), weights="w").fit()
    levels, rows = (fit.influence(of).table for of in ("rel(animal)", "rows"))
    alone = [level for level, n in DATA["animal"].value_counts().items() if n == 1]
    assert len(alone) > 3
    for level in alone:
        row = DATA.index[DATA["animal"] == level][0]
        shared = [name for name in levels.columns if name in rows.columns and name not in ("leverage", "p_value")]
        one, two = (table.loc[label, shared].to_numpy(float) for table, label in ((levels, level), (rows, row)))
        assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_refits_are_those_of_a_dense_matrix() -> None:
    dense, other = (model_of("alone", A).fit() for A in (FAMILY, by_descent(FAMILY)))
    responses = dense.simulate(2, seed=4)
    for fit in (dense, other):
        problem = fit.problem.with_response(np.asarray(responses)[:, 1])
        assert problem.plan is fit.problem.plan
    tables = [fit.bootstrap(4, seed=1, progress=False).replicates for fit in (dense, other)]
    assert tables[0].shape == tables[1].shape
    assert np.isfinite(tables[1]).all()
    again = other.bootstrap(4, seed=1, progress=False).replicates
    assert_allclose(again, tables[1])


@pytest.mark.parametrize("seed", [1, 2])
def test_names_and_order_do_not_matter(seed: int) -> None:
    family = random_pedigree(seed + 10, q=40)
    data = records(family, 70, seed)
    rng = np.random.default_rng(seed)
    new: Any = dict(zip(family.animals, rng.permutation([f"z{i}" for i in range(len(family))]), strict=True))
    renamed: Any = family.table[["animal", "sire", "dam"]]
    renamed = renamed.map(new.get).sample(frac=1.0, random_state=seed)
    other = bmm.pedigree(renamed, selfing=True)
    shuffled = data.assign(animal=data["animal"].map(new)).sample(frac=1.0, random_state=seed)
    first = model_of("repeatability", by_descent(family), data).fit()
    second = model_of("repeatability", by_descent(other), shuffled).fit()
    assert second.loglik == pytest.approx(first.loglik, abs=1e-8)
    assert_allclose(second.parameters["estimate"], first.parameters["estimate"], rtol=1e-4, atol=1e-5)
    one, two = (
        fit.random_effects(uncertainty="fixed").query("group == 'rel(animal)'").set_index("level")
        for fit in (first, second)
    )
    columns = ["estimate", "std_error"]
    assert_allclose(two.loc[[new[level] for level in one.index], columns], one[columns], rtol=1e-3, atol=1e-4)


def test_a_saved_fit_knows_its_relations(tmp_path: Any) -> None:
    for kind in (by_descent, by_entries):
        fit = model_of("alone", kind(FAMILY)).fit()
        fit.save(tmp_path / "fit.nc")
        again = bmm.load(tmp_path / "fit.nc")
        assert are_alike(fit.design.relations["A"], again.design.relations["A"])
        assert isinstance(again.design.relations["A"], SparseRelation)
        assert_allclose(again.predict(NEW), fit.predict(NEW))
        assert_allclose(np.asarray(again.simulate(2, seed=1)), np.asarray(fit.simulate(2, seed=1)))


@pytest.mark.parametrize("kind", [by_descent, by_entries])
def test_roots_and_entries_are_those_of_the_matrix(kind: Any) -> None:
    A, relation = FAMILY.covariance.to_numpy(), kind(FAMILY)
    V = relation.precision.spread(np.eye(len(A))).T
    assert_allclose(V @ V.T, A, atol=1e-12)
    assert_allclose(relation.precision.gather(np.eye(len(A))), V, atol=1e-12)
    assert relation.precision.log_det == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-10)
    assert_allclose(relation.variances, np.diag(A), rtol=1e-12)
    some = np.array([3, 40, 11])
    assert_allclose(relation.covariances(*np.ix_(some, some)), A[np.ix_(some, some)], atol=1e-12)
    effects = np.random.default_rng(1).normal(size=(2, len(A), 3))
    assert_allclose(relation.relate(effects), V @ effects, atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_factor_and_inverse_are_those_of_a_dense_matrix(seed: int) -> None:
    """Random patterns, with parts that do not hang together, and fronts of many rows."""
    rng = np.random.default_rng(seed)
    n = [1, 30, 200, 260][seed]
    entries = rng.integers(0, n, (2, [0, 40, 700, 4000][seed]))
    M = np.zeros((n, n))
    M[entries[0], entries[1]] = rng.normal(size=entries.shape[1])
    M = np.tril(M, -1)
    M += M.T + np.diag(np.abs(M + M.T).sum(axis=0) + 1.0)
    rows, columns = np.nonzero(np.tril(M))
    fronts = lay_out_fronts(n, rows, columns)
    held = np.zeros(fronts.n_numbers)
    held[fronts.positions(rows, columns)] = M[rows, columns]
    factor = Factor(fronts, held)
    inverse = np.linalg.inv(M)
    assert factor.log_det == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-12)
    assert_allclose(factor.solve(np.eye(n)), inverse, atol=1e-12)
    assert_allclose(factor.invert()[fronts.positions(rows, columns)], inverse[rows, columns], atol=1e-12)
    root = factor.forward(np.eye(n))
    assert_allclose(root @ root.T, inverse, atol=1e-12)
    held[fronts.positions(rows, columns)] = -M[rows, columns]
    with pytest.raises(np.linalg.LinAlgError):
        Factor(fronts, held)


def test_a_matrix_that_fills_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.cholesky.fronts.NUMBERS", 100)
    with pytest.raises(DesignError, match=r"60 effects fills up .* 100 are the most"):
        _ = model_of("alone", by_descent(FAMILY)).plan


def test_many_animals_take_the_sparse_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.design.related.pedigree.SPARSE_FROM", 50)
    family = random_pedigree(2)
    assert isinstance(family.relation, SparseRelation)
    model = model_of("alone", family)
    assert "one sparse matrix" in " ".join(str(model.plan).split())
    assert isinstance(model.problem.dense.design.relations["A"], KnownRelation)
    assert model.fit(engine="jax").loglik == pytest.approx(model.fit().loglik, abs=1e-7)
    monkeypatch.setattr("bayesmm.problem.MOST_LEVELS", 50)
    refused = model_of("alone", family)
    with pytest.raises(ArgumentError, match="takes dense matrices, of at most 50"):
        refused.fit(engine="jax")


def test_relations_are_alike_dense_or_sparse() -> None:
    known, other = (model_of("alone", A).design.relations["A"] for A in (FAMILY, by_descent(FAMILY)))
    assert isinstance(known, KnownRelation)
    assert are_alike(other, known)
    assert not are_alike(other, replace(known, levels=known.levels[::-1]))
    assert not are_alike(other, replace(known, covariance=1.1 * known.covariance))


def test_copies_of_parents_need_a_dense_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.design.related.pedigree.SPARSE_FROM", 20)
    copies = bmm.pedigree(
        pd.DataFrame({"animal": range(1, 60), "sire": range(59), "dam": range(59)}).replace({0: None}).astype(object),
        selfing=True,
    )
    monkeypatch.setattr("bayesmm.design.related.pedigree.LEAST", 1e-6)
    assert isinstance(copies.relation, KnownRelation)
    monkeypatch.setattr("bayesmm.design.related.pedigree.MOST_LEVELS", 20)
    with pytest.raises(DesignError, match="copies of their parents"):
        _ = replace(copies).relation


def test_a_sparse_precision_of_many_levels_stays_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation_module, "MOST_LEVELS", 50)
    found = bmm.relation(FAMILY.inverse, FAMILY.animals, precision=True)
    assert isinstance(found, SparseRelation)
    assert_allclose(found.variances, 1.0 + FAMILY.inbreeding)
    with pytest.raises(DesignError, match="Give a pedigree, or A⁻¹"):
        bmm.relation(FAMILY.covariance)
    singular = sparse.diags_array([2.0] * 60).tolil()
    singular[0, 1] = singular[1, 0] = 2.0
    for wrong, message in [
        (singular, "not positive definite"),
        (sparse.eye_array(60, 59), "shape"),
        (sparse.diags_array([0.0, *[1.0] * 59]), "zero or less"),
        (sparse.diags_array([np.nan, *[1.0] * 59]), "not a finite number"),
        (sparse.eye_array(60).tocsr() + sparse.csr_array(([0.5], ([3], [4])), shape=(60, 60)), "not symmetric"),
    ]:
        with pytest.raises(DesignError, match=message):
            bmm.relation(wrong, range(60), precision=True)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_large_map_is_that_of_a_dense_matrix(monkeypatch: pytest.MonkeyPatch, scaled: bool) -> None:
    line = sparse.csr_array(np.eye(60, k=1) + np.eye(60, k=-1))
    dense = bmm.car(line, 0.9, range(60), scaled=scaled)
    assert isinstance(dense, KnownRelation)
    monkeypatch.setattr(car_module, "MOST_LEVELS", 50)
    large = bmm.car(line, 0.9, range(60), scaled=scaled)
    assert isinstance(large, SparseRelation)
    assert_allclose(large.covariances(*np.ix_(range(60), range(60))), dense.covariance, atol=1e-12)


def two_islands(scaled: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A 5 × 6 and a 2 × 4 grid: their intrinsic autoregression with A dense and, made sparse by hand, without."""
    grids = [np.array([(i, j) for i in range(a) for j in range(b)]) for a, b in ((5, 6), (2, 4))]
    W = block_diagonal([(np.abs(at[:, None] - at).sum(axis=2) == 1).astype(float) for at in grids])
    dense = bmm.car(W, 1.0, range(38), scaled=scaled)
    assert isinstance(dense, KnownRelation)
    monkeypatch.setattr(car_module, "MOST_LEVELS", 20)
    return dense, bmm.car(sparse.csr_array(W), 1.0, range(38), scaled=scaled)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_large_intrinsic_map_is_that_of_a_dense_matrix(scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over each island are zero; also where a variance is zero, and beside other effects and slopes."""
    dense, large = two_islands(scaled, monkeypatch)
    assert isinstance(large, SparseRelation)
    every = np.ix_(range(38), range(38))
    assert_allclose(large.covariances(*every), dense.covariance, atol=1e-12)
    assert_allclose(large.variances, np.diag(dense.covariance), rtol=1e-12)
    drawn = large.relate(np.random.default_rng(1).normal(size=(38, 2)))
    assert_allclose([drawn[:30].sum(axis=0), drawn[30:].sum(axis=0)], 0.0, atol=1e-12)
    positive = np.linalg.eigvalsh(dense.covariance)[2:]
    assert large.precision.log_det == pytest.approx(np.log(positive).sum(), abs=1e-10)
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"region": rng.integers(0, 34, 110), "x": rng.normal(size=110), "g": rng.integers(0, 5, 110)})
    data["y"] = 2.0 + data["x"] + 2.0 * drawn[data["region"], 0] + rng.normal(size=110)
    for formula in ("y ~ x + (1 | rel(region, W))", "y ~ x + (x | rel(region, W)) + (1 | region) + (1 | g)"):
        here, there = (bmm.Model(formula, data, relations={"W": A}).problem for A in (dense, large))
        n = len(here.layout) + 2 * (formula.count("|") == 3)
        for theta in (np.zeros(n), rng.normal(size=n), 6.0 * rng.normal(size=n)):
            for restriction in (1.0, 0.0):
                one, two = (
                    evaluate(host, theta, each.products, None, restriction, layout=each.layout)
                    for each in (here, there)
                )
                assert two.value == pytest.approx(one.value, rel=1e-12)
                for field in ("gradient", "curvature"):
                    size = np.abs(getattr(one, field)).max() + 1.0
                    assert_allclose(getattr(two, field), getattr(one, field), atol=EXACT * size)
                for b, c in zip(one.modes, two.modes, strict=True):
                    assert_allclose(c, b, atol=1e-9)


def test_fits_of_a_large_intrinsic_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    dense, large = two_islands(True, monkeypatch)
    rng = np.random.default_rng(3)
    u = dense.relate(rng.normal(size=(38, 1)))[:, 0]
    data = pd.DataFrame({"region": rng.integers(0, 34, 150), "x": rng.normal(size=150)})
    data["y"] = 1.0 + 2.0 * u[data["region"]] + rng.normal(size=150)
    fits = [bmm.Model("y ~ x + (1 | rel(region, W))", data, relations={"W": A}).fit() for A in (dense, large)]
    new = data.head(5).assign(region=[37, 36, 0, 35, 34])  # most have no rows
    for read in (
        lambda fit: fit.parameters[["estimate", "std_error"]],
        lambda fit: fit.random_effects(uncertainty="full"),
        lambda fit: fit.predict(new, interval="prediction"),
        lambda fit: fit.variance_shares(),
    ):
        one, two = (read(fit).select_dtypes("number").to_numpy() for fit in fits)
        assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    again = bmm.load(fits[1].save(tmp_path / "map.nc"))
    assert_allclose(again.predict(new), fits[1].predict(new))
    simulated = fits[1].simulate(2, seed=1)
    assert np.isfinite(np.asarray(simulated)).all()
    monkeypatch.setattr(car_module, "MOST_PARTS", 1)
    with pytest.raises(DesignError, match="falls into 2 parts"):
        two_islands(True, monkeypatch)


def random_tree(n: int, seed: int) -> tuple[str, dict[str, Any]]:
    """Text of a random tree, and the set of tips below each branch with its length."""
    rng = np.random.default_rng(seed)
    parts = [(f"s{i}", frozenset([f"s{i}"])) for i in range(n)]
    branches = []
    while len(parts) > 1:
        chosen = rng.choice(len(parts), min(len(parts), 2 + (rng.random() < 0.2)), replace=False)
        texts, below = [], frozenset()
        for i in chosen:
            length = round(float(rng.uniform(0.1, 2.0)), 3)
            texts.append(f"{parts[i][0]}:{length}")
            branches.append((parts[i][1], length))
            below |= parts[i][1]
        joined = (f"({','.join(texts)})", below)
        parts = [part for i, part in enumerate(parts) if i not in chosen] + [joined]
    return parts[0][0] + ";", {"branches": branches}


@pytest.mark.parametrize("scaled", [True, False])
def test_species_share_the_branches_before_they_parted(monkeypatch: pytest.MonkeyPatch, scaled: bool) -> None:
    tree, found = random_tree(25, 1)
    tips = [f"s{i}" for i in range(25)]
    shared = np.array([[sum(length for own, length in found["branches"] if {a, b} <= own) for b in tips] for a in tips])
    if scaled:
        shared /= np.diag(shared).mean()
    dense = bmm.phylogeny(tree, scaled=scaled)
    monkeypatch.setattr("bayesmm.design.related.phylogeny.SPARSE_FROM", 10)
    large = bmm.phylogeny(tree, scaled=scaled)
    assert isinstance(dense, KnownRelation)
    assert isinstance(large, SparseRelation)
    for relation in (dense, large):
        own = np.array([relation.levels.index(tip) for tip in tips])
        assert_allclose(relation.covariances(*np.ix_(own, own)), shared, rtol=1e-9, atol=1e-12)
    assert are_alike(dense, large)


def test_a_phylogenetic_model_is_that_of_its_tips_and_predicts_ancestors() -> None:
    tree, _ = random_tree(20, 2)
    relation = bmm.phylogeny(tree)
    assert isinstance(relation, KnownRelation)
    own = [i for i, level in enumerate(relation.levels) if not level.startswith("node")]
    table = pd.DataFrame(relation.covariance, relation.levels, relation.levels).iloc[own, own]
    rng = np.random.default_rng(3)
    trait = np.linalg.cholesky(table.to_numpy()) @ rng.normal(size=20) * 2.0
    data = pd.DataFrame({"species": np.repeat(table.index, 3)})
    data["size"] = np.repeat(trait, 3) + 0.5 * rng.normal(size=60)
    one, two = (
        bmm.Model("size ~ 1 + (1 | rel(species, T))", data, relations={"T": T}).fit() for T in (table, relation)
    )
    assert one.loglik == pytest.approx(two.loglik, abs=1e-7)
    effects = two.random_effects(uncertainty="fixed")
    assert len(effects) == len(relation.levels)
    assert (effects["std_error"].to_numpy() > 0).all()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (3, "give a text"),
        ("", "not whole"),
        ("human;", "not whole"),
        ("((a:1,b:1):2,c:3", "not whole"),
        ("(a:1,b:);", "length"),
        ("(a:1,b:1),c:2;", "that no '\\(' stands before"),
        ("(a:1,b:1)):2;", "that no '\\(' stands before"),
        ("(a:1,b:1);(c:1,d:1);", "goes on after"),
        ("(a:1,b);", "no length: those of 'b'"),
        ("(a:1,b:-1);", "at least 0"),
        ("(a:1,b:one);", "at least 0"),
        ("(a:1,:1);", "no name"),
        ("(a:1,a:1);", "occurs twice"),
        ("(a b:1,c:1);", "after 'a'"),
        ("(a:0,b:0);", "No branch"),
    ],
)
def test_what_is_no_tree_is_refused(tree: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        bmm.phylogeny(tree)


def test_names_of_trees_may_be_quoted_and_comments_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = bmm.phylogeny("(('Homo sapiens':1[&rate=2],'it''s':1)great_apes:2,c:3)root;").levels
    assert levels == ("great_apes", "Homo sapiens", "it's", "c")
    monkeypatch.setattr("bayesmm.design.related.phylogeny.SPARSE_FROM", 2)
    with pytest.raises(DesignError, match="length zero: those of 'b'"):
        bmm.phylogeny("((a:1,b:0):2,c:3);")


def test_a_fit_of_many_animals_imports_neither_jax_nor_arviz() -> None:
    code = """
import sys
import bayesmm as bmm
herd = bmm.datasets.simulate_pedigree(40, 850, generations=3, offspring=2, seed=1)
A = bmm.pedigree(herd.pedigree)
fit = bmm.Model(herd.formula, herd.data, relations={"A": A}).fit()
assert len(A) > 5000 and type(A.relation).__name__ == "SparseRelation"
assert abs(fit.parameters["estimate"]["sd(Intercept | rel(animal))"] - 1.0) < 0.3
assert not {"jax", "arviz", "numpyro"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sums_over_rows_know_a_sparse_relation(tmp_path: Any) -> None:
    relations, formula = {"A": by_descent(FAMILY)}, FORMULAS["alone"]
    whole = bmm.Model(formula, DATA, relations=relations)
    whole.problem.sums.save(tmp_path / "sums.nc")
    parts = [bmm.Model(formula, own, relations=relations).problem.sums for own in (DATA[:50], DATA[50:])]
    for model in (bmm.Model.from_sums(tmp_path / "sums.nc"), bmm.Model.from_sums(*parts)):
        assert isinstance(model.design.relations["A"], SparseRelation)
        assert model.fit().loglik == pytest.approx(whole.fit().loglik, abs=1e-8)
