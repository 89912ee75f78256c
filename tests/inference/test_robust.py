"""Cluster-robust covariances, held to the formulas in n × n matrices and to clubSandwich's published figures."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.fit.estimating import fit_problem

EXACT = 1e-8  # relative, of what is the same number in another order of operations
KINDS = ("CR0", "CR1", "CR2")


def dense_covariance(design, estimate):
    """V (n, n) from its definition."""
    V = np.diag(estimate.sigma**2 / design.weights)
    for block, L in zip(design.blocks, estimate.factors, strict=True):
        Z = np.zeros((design.n, block.q, block.k))
        for each in block.incidence.memberships:
            for row in range(design.n):
                Z[row, each.codes[row]] += each.columns[row]
        factor = estimate.sigma * np.einsum("nqk,kj->nqj", Z, L).reshape(design.n, -1)
        V += factor @ factor.T
    return V


def power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-12 * values.max()
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T


class Textbook:
    """Pustejovsky & Tipton (2018), section 2, matrix by matrix."""

    def __init__(self, fit, codes, kind):
        design = fit.design
        X, V = design.X[:, design.kept], dense_covariance(design, fit.estimate)
        W = np.linalg.inv(V)
        M = np.linalg.inv(X.T @ W @ X)
        H = X @ M @ X.T @ W
        self.beta = M @ X.T @ W @ (design.y - design.offset)
        e = design.y - design.offset - X @ self.beta
        m = codes.max() + 1
        left = []  # what each cluster adds to the estimates is one of these times y
        for c in range(m):
            own = codes == c
            of_cluster = np.eye(design.n)[own]
            A = np.eye(own.sum()) * (np.sqrt(m / (m - 1)) if kind == "CR1" else 1.0)
            if kind == "CR2":
                D = linalg.cholesky(V[np.ix_(own, own)])
                left_over = of_cluster @ (np.eye(design.n) - H)
                A = D.T @ power(D @ left_over @ V @ left_over.T @ D.T, -0.5) @ D
            left.append(M @ X[own].T @ W[np.ix_(own, own)] @ A @ of_cluster @ (np.eye(design.n) - H))
        added = [each @ (design.y - design.offset) for each in left]
        self.covariance = sum(np.outer(a, a) for a in added)
        self.between = np.array([[a @ V @ b.T for b in left] for a in left])  # (m, m, p, p)
        assert np.allclose(
            sum(X[codes == c].T @ W[np.ix_(codes == c, codes == c)] @ e[codes == c] for c in range(m)), 0
        )

    def df(self, row):
        E = np.einsum("p,cdpq,q->cd", row, self.between, row)
        return np.trace(E) ** 2 / (E**2).sum()

    def f_test(self, L):
        q = len(L)
        E = np.einsum("sp,cdpr,tr->cdst", L, self.between, L)
        root = power(np.einsum("ccst->st", E), -0.5)
        E = np.einsum("as,cdst,bt->cdab", root, E, root)
        total = sum(
            (E[:, :, s, s] * E[:, :, t, t]).sum() + (E[:, :, s, t] * E[:, :, t, s]).sum()
            for s, t in product(range(q), repeat=2)
        )
        eta = q * (q + 1) / total
        wald = L @ self.beta @ np.linalg.solve(L @ self.covariance @ L.T, L @ self.beta)
        return (eta - q + 1) / (eta * q) * wald, eta - q + 1


def nested():
    rng = np.random.default_rng(8)
    n = 70
    school = np.sort(rng.integers(0, 9, n))
    pupil = school * 10 + rng.integers(0, 3, n)
    x, z = rng.normal(size=n), rng.normal(size=9)[school]
    y = 3 + x + rng.normal(size=9)[school] + rng.normal(size=90)[pupil] + (1 + school / 4) * rng.normal(size=n)
    frame = {
        "y": y,
        "x": x,
        "z": z,
        "s": np.char.add("s", school.astype(str)),
        "p": np.char.add("p", pupil.astype(str)),
    }
    return pd.DataFrame(frame).assign(w=rng.uniform(0.5, 3.0, n), same=1.0 + school)


CASES = {
    "slopes": ("y ~ x + z + (x | s)", None),
    "nested": ("y ~ x * z + (1 | s) + (0 + x | p)", None),
    "weights": ("y ~ x + z + (x | s)", "w"),
    "weights of clusters": ("y ~ x + z + (x | s)", "same"),
    "structure": ("y ~ x + offset(0.3 * z) + cs(1 + x | s)", None),
    "cell means": ("y ~ 0 + s + x + (1 | p)", None),  # some directions of a cluster are fully fitted
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_covariance_and_degrees_of_freedom_equal_the_formulas_in_full(name, kind):
    formula, weights = CASES[name]
    fit = bmm.Model(formula, nested(), weights=weights).fit()
    codes = pd.factorize(nested()["s"])[0]
    robust, book = fit.robust("s", kind=kind), Textbook(fit, codes, kind)
    size = np.sqrt(np.outer(np.diag(book.covariance), np.diag(book.covariance)))
    assert np.abs((robust.covariance - book.covariance) / size).max() < EXACT
    L = np.vstack([np.eye(len(book.beta)), np.arange(1.0, len(book.beta) + 1)])
    if name == "cell means":
        L = np.eye(len(book.beta))[-1:]
    assert robust.df(L) == pytest.approx([book.df(row) for row in L], rel=EXACT)
    if name != "cell means":
        for rows in (L[1:2], L[-2:], np.eye(len(book.beta))):
            test, (statistic, den_df) = robust.f_test(rows), book.f_test(rows)
            assert (test.statistic, test.den_df) == pytest.approx((statistic, den_df), rel=1e-7)
            assert test.p_value == pytest.approx(stats.f.sf(statistic, len(rows), den_df))


def test_school_calendars_are_those_of_club_sandwich():
    # robust(rma.mv(yi, vi, random = ~ 1 | district/school), cluster = district), documentation of metafor 4.7
    model = bmm.Model(
        "yi ~ 1 + (1 | district/school)", bmm.datasets.load("school_calendar"), weights="1 / vi", sigma=1.0
    )
    table = model.fit().robust("district").table.loc["Intercept"]
    assert table[["std_error", "statistic", "df", "p_value", "lower", "upper"]].round(4).tolist() == [
        0.0845,
        2.1870,
        pytest.approx(9.86, abs=0.005),
        0.0540,
        -0.0038,
        0.3733,
    ]
    first = model.fit().robust("district", kind="CR1").table.loc["Intercept"]  # 11/10 is m/(m − 1) and n/(n − p) alike
    assert first["statistic"] == pytest.approx(2.1859, abs=5e-5)


def test_balanced_slopes_have_the_model_s_errors_and_a_degree_less_than_clusters():
    # each subject's own least squares: their covariance over subjects is unbiased, with 17 degrees of freedom
    data = bmm.datasets.load("sleepstudy")
    fit = bmm.Model("Reaction ~ Days + (Days | Subject)", data).fit()
    own = np.array([np.polyfit(group["Days"], group["Reaction"], 1)[::-1] for _, group in data.groupby("Subject")])
    robust = fit.robust()
    assert robust.covariance == pytest.approx(np.cov(own.T) / 18, rel=1e-6)
    assert robust.table["df"].tolist() == pytest.approx([17.0, 17.0])
    T2 = own.mean(0) @ np.linalg.solve(np.cov(own.T) / 18, own.mean(0))  # Hotelling's, whose F is exact here
    test = robust.f_test(np.eye(2))
    assert (test.statistic, test.den_df) == pytest.approx((T2 * 16 / (2 * 17), 16.0))


def test_square_of_t_is_f():
    robust = bmm.Model("y ~ x + z + (x | s)", nested()).fit().robust()
    row, test = robust.table.loc["z"], robust.f_test([[0.0, 0.0, 1.0]])
    assert (test.statistic, test.den_df) == pytest.approx((row["statistic"] ** 2, row["df"]))
    assert test.p_value == pytest.approx(row["p_value"])


def test_hypotheses_and_terms_are_tested_by_name():
    robust = bmm.Model("y ~ x * z + (x | s)", nested()).fit().robust(kind="CR1")
    test = robust.test("x = 1, z = x", level=0.8)
    L = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, -1.0, 1.0, 0.0]])
    assert test.joint == pytest.approx(robust.f_test(L, np.array([1.0, 0.0])))
    assert test.table["df"].tolist() == pytest.approx(robust.df(L).tolist())
    assert robust.anova().table.loc["x:z", "p_value"] == pytest.approx(robust.table.loc["x:z", "p_value"])
    for result in (test, robust.anova(type=2)):
        assert "cluster-robust covariance CR1 and its degrees of freedom" in " ".join(str(result).split())


def test_combinations_of_contrasts_add_nothing():
    robust = bmm.Model("y ~ x + z + (x | s)", nested()).fit().robust()
    L = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    again = robust.f_test(np.vstack([L, 2.0 * L[0] - L[1], 0.0 * L[0]]), np.array([1.0, 0.5, 1.5, 0.0]))
    assert again == pytest.approx(robust.f_test(L, np.array([1.0, 0.5])))
    assert again.num_df == 2


def test_far_origins_and_units_change_nothing_of_a_slope():
    data = nested()
    moved = data.assign(x=1e-3 * (data["x"] + 2e4), y=50.0 * data["y"] - 7.0)
    one, two = (bmm.Model("y ~ x + z + (x | s)", frame).fit().robust() for frame in (data, moved))
    columns = ["df", "statistic", "p_value"]
    assert two.table.loc[["x", "z"], columns].to_numpy() == pytest.approx(
        one.table.loc[["x", "z"], columns].to_numpy(), rel=1e-5
    )
    slopes = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert two.f_test(slopes) == pytest.approx(one.f_test(slopes), rel=1e-5)


def test_order_of_rows_and_names_of_clusters_change_nothing():
    data = nested()
    shuffled = data.sample(frac=1.0, random_state=3).assign(
        s=lambda frame: frame["s"].map(lambda name: f"other {name}")
    )
    one, two = (bmm.Model("y ~ x * z + (1 | s/p)", frame).fit().robust() for frame in (data, shuffled))
    assert two.table.to_numpy() == pytest.approx(one.table.to_numpy(), rel=1e-6)


def test_clusters_may_be_named_given_or_found():
    data = nested()
    fit = bmm.Model("y ~ x + z + (1 | s/p)", data).fit()
    expected = fit.robust().table
    assert fit.robust().clusters.name == "s"
    for cluster in ("s", data["s"], data["s"].to_numpy(), data["s"].sample(frac=1.0, random_state=1)):
        pd.testing.assert_frame_equal(fit.robust(cluster).table, expected)
    coarser = np.repeat(["a", "b", "c"], [20, 20, 30])
    with pytest.raises(ArgumentError, match="Clusters by cluster are not independent: rows with level 's"):
        fit.robust(coarser)


def test_clusters_coarser_than_every_factor_are_taken():
    data = nested().assign(region=lambda frame: frame["s"].isin(["s0", "s3", "s4", "s7"]).astype(int))
    regions = data["s"].map(lambda name: f"r{int(name[1]) % 5}")
    fit = bmm.Model("y ~ x + z + (1 | p)", data).fit()
    book = Textbook(fit, pd.factorize(regions)[0], "CR2")
    assert fit.robust(regions).covariance == pytest.approx(book.covariance, rel=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster": "nobody"}, "cluster is 'nobody': give a grouping factor of the model \\(s:p, s\\)|\\(s, s:p\\)"),
        ({"cluster": [1, 2]}, r"of shape \(2,\): give the name of a grouping factor, or one label for each of the 70"),
        ({"cluster": [None] * 70}, "70 of the rows used have no cluster"),
        ({"cluster": [0] * 70}, "puts all 70 rows into 1 cluster"),
        ({"cluster": pd.Series(range(3))}, "a Series whose index does not tell each of the 70 rows"),
        ({"cluster": "x"}, "Clusters by x are not independent"),
        ({"kind": "CR4"}, "kind is 'CR4': give 'CR0', 'CR1' or 'CR2'"),
        ({"level": 95}, "level is 95"),
    ],
)
def test_wrong_arguments_are_answered(arguments, message):
    fit = bmm.Model("y ~ x + z + (1 | s/p)", nested()).fit()
    with pytest.raises(ArgumentError, match=message):
        fit.robust(**arguments)


def test_crossed_factors_have_no_independent_clusters():
    fit = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin")).fit()
    with pytest.raises(ArgumentError, match=r"None of the grouping factors \(plate, sample\) has all others nested"):
        fit.robust()
    with pytest.raises(ArgumentError, match="Clusters by plate are not independent: rows with level 'A' of 'sample'"):
        fit.robust("plate")


def test_aliased_coefficients_stay_in_the_table_and_few_clusters_are_said():
    data = nested().assign(twice=lambda frame: 2.0 * frame["x"])
    robust = bmm.Model("y ~ x + twice + z + (1 | s)", data[data["s"] < "s5"]).fit().robust()
    assert robust.table.loc["twice"].isna().all()
    assert "aliased" in str(robust)
    assert robust.table["df"].min() < 4.0
    assert "Fewer than 4 degrees of freedom: " in str(robust)


def test_more_contrasts_than_clusters_tell_of_have_no_test():
    data = nested()
    fit = bmm.Model("y ~ x + z + x:z + I(x**2) + (1 | s)", data[data["s"].isin(["s0", "s1", "s2"])]).fit()
    assert np.isnan(fit.robust().f_test(np.eye(5)).p_value)


def test_wrong_variances_are_made_good_for():
    # residual sds differ tenfold between clusters, and the model has one: the true variance of the slope is known
    rng = np.random.default_rng(5)
    m, size = 30, 8
    s = np.repeat(np.arange(m), size)
    x = rng.normal(size=m * size) * np.where(s < 6, 2.0, 0.5)
    noise = np.where(s < 6, 3.0, 0.3)
    problem = bmm.Model("y ~ x + (1 | s)", pd.DataFrame({"y": x + rng.normal(size=m * size), "x": x, "s": s})).problem
    responses = x[:, None] + rng.normal(size=(m, 40))[s] + noise[:, None] * rng.normal(size=(m * size, 40))
    truth = np.kron(np.eye(m), np.ones((size, size))) + np.diag(noise**2)
    robust, believed, true = [], [], []
    for each in problem.with_responses(responses):
        fit = fit_problem(each, "reml")
        weights = (
            np.linalg.solve(dense_covariance(fit.design, fit.estimate), fit.design.X) @ fit.estimate.beta_covariance
        )
        true.append((weights.T @ truth @ weights)[1, 1])
        robust.append(fit.robust().covariance[1, 1])
        believed.append(fit.estimate.beta_covariance[1, 1])
    assert np.mean(robust) / np.mean(true) == pytest.approx(1.0, abs=0.25)
    assert np.mean(believed) / np.mean(true) < 0.6
