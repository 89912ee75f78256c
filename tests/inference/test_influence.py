"""Influence of rows and of levels, beside dense textbook algebra, lme4, and refits of smaller data."""

import numpy as np
import pandas as pd
import pytest
from dense_fits import MODELS, SLEEP, dense_of

import bayesmm as bmm
from bayesmm.errors import ArgumentError

# R 4.2, lme4 1.1-31: influence(m, groups = "Subject") of the REML fit, and hatvalues, cooks.distance, rstudent of its rows.
LME4_COOK = [0.0821484798, 0.1320220418, 0.0982418783, 0.0741469514, 0.0501218902, 0.0056134852, 0.0186403662, 0.0055252304, 0.1150937779, 0.1119976332, 0.0458514751, 0.0661323322, 0.0122621119, 0.0304441113, 0.0010645402, 0.0815302189, 0.0011237569, 0.0092162726]  # fmt: skip
LME4_DFBETA = [[0.42426093, -0.66455391], [2.72647996, 0.48267650], [2.81887526, 0.25602277], [-2.25176399, 0.43877725]]
LME4_DFBETAS = [[0.058724853, -0.44892746], [0.410876392, 0.30988975], [0.427614176, 0.15834352]]
LME4_VARIANCES = [[559.17730, 694.13096, 8.1460407, 30.474730], [688.83310, 510.60731, -15.3437900, 32.893180]]
LME4_ROWS = {
    0: (0.0049631239, -0.18265414),
    1: (0.0402059487, -0.62717925),
    9: (0.5707616516, 1.65894810),
    56: (2.1198853320, 5.52700106),
    59: (4.3321526121, -4.57043229),
    179: (0.0128606572, -0.24902158),
}
LEVERAGES = {"ml": 28.611601, "reml": 29.022067}


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")).fit()


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    formula, name, options = MODELS[request.param]
    return bmm.Model(formula, bmm.datasets.load(name), **options).fit()


def test_leverages_are_the_diagonal_of_what_makes_fitted_values(fitted):
    model, G = dense_of(fitted)
    V, W = model.covariance(G, fitted.sigma), model.weights
    inverse = np.linalg.inv(V)
    X = inverse @ model.X
    P = inverse - X @ np.linalg.solve(model.X.T @ X, X.T)
    hat = np.eye(fitted.n) - fitted.sigma**2 * P / W[:, None]  # ŷ = y − RPy with R = σ²W⁻¹
    np.testing.assert_allclose(fitted.influence().table["leverage"], np.diag(hat), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", LEVERAGES)
def test_leverages_add_up_to_those_of_lme4(method):
    fit = bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")).fit(method)
    assert fit.influence().table["leverage"].sum() == pytest.approx(LEVERAGES[method], rel=1e-6)
    assert fit.influence("Subject").table["leverage"].sum() == pytest.approx(LEVERAGES[method], rel=1e-6)


def groups_of(fit):
    yield "rows", [np.array([i]) for i in range(fit.n)]
    for block in fit.design.blocks:
        yield block.group, [rows for rows in block.incidence.members() if len(rows)]


def test_fixed_effects_without_rows_or_levels_are_those_of_the_smaller_data(fitted):
    """Generalised least squares of what is left, at the same variances."""
    model, G = dense_of(fitted)
    V = model.covariance(G, fitted.sigma)
    full = np.linalg.inv(model.X.T @ np.linalg.solve(V, model.X))
    for by, groups in groups_of(fitted):
        found = fitted.influence(by)
        for i, rows in enumerate(groups[:40]):
            kept = np.setdiff1d(np.arange(fitted.n), rows)
            X, y, inverse = model.X[kept], model.y[kept], np.linalg.inv(V[np.ix_(kept, kept)])
            without = np.linalg.inv(X.T @ inverse @ X)
            change = fitted.estimate.beta - without @ X.T @ inverse @ y
            np.testing.assert_allclose(found.dfbeta.iloc[i], change, rtol=1e-6, atol=1e-8 * np.sqrt(full.max()))
            np.testing.assert_allclose(found.dfbetas.iloc[i], change / np.sqrt(np.diag(without)), rtol=1e-6, atol=1e-8)
            row = found.table.iloc[i]
            p = len(change)
            assert row["cooks_distance"] == pytest.approx(
                change @ np.linalg.solve(full, change) / p, rel=1e-6, abs=1e-10
            )
            assert row["mdffits"] == pytest.approx(change @ np.linalg.solve(without, change) / p, rel=1e-6, abs=1e-10)
            assert row["covariance_ratio"] == pytest.approx(np.linalg.det(without) / np.linalg.det(full), rel=1e-7)
            assert row["n_rows"] == len(rows)


def test_statistic_is_the_deviation_from_what_the_others_predict(fitted):
    """e'C⁻¹e of y_g less its prediction, C its covariance given the others with β̂ estimated from them."""
    model, G = dense_of(fitted)
    relative = model.covariance(G, fitted.sigma) / fitted.sigma**2
    for by, groups in groups_of(fitted):
        found = fitted.influence(by)
        for i, rows in list(enumerate(groups))[:12]:
            kept = np.setdiff1d(np.arange(fitted.n), rows)
            inverse, X, y = np.linalg.inv(relative[np.ix_(kept, kept)]), model.X[kept], model.y[kept]
            A = X.T @ inverse @ X
            beta = np.linalg.solve(A, X.T @ inverse @ y)
            across = relative[np.ix_(rows, kept)] @ inverse
            D = model.X[rows] - across @ X
            e = model.y[rows] - model.X[rows] @ beta - across @ (y - X @ beta)
            C = relative[np.ix_(rows, rows)] - across @ relative[np.ix_(kept, rows)] + D @ np.linalg.solve(A, D.T)
            rest = y - X @ beta
            variance = rest @ inverse @ rest / (len(kept) - X.shape[1])
            if fitted.known_sigma is not None:
                variance = fitted.known_sigma**2
            expected = e @ np.linalg.solve(C, e) / len(rows) / variance
            assert found.table["statistic"].iloc[i] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_refits_without_subjects_are_those_of_lme4(sleep):
    found = sleep.influence("Subject", refit=True)
    np.testing.assert_allclose(found.table["cooks_distance"] * (18 - 2) / 18, LME4_COOK, rtol=1e-4)
    np.testing.assert_allclose(-found.dfbeta.iloc[:4], LME4_DFBETA, rtol=1e-5)
    np.testing.assert_allclose(-found.dfbetas.iloc[:3], LME4_DFBETAS, rtol=1e-4)
    for row, (s2, intercept, covariance, slope) in zip(found.parameters.to_numpy(), LME4_VARIANCES, strict=False):
        np.testing.assert_allclose(row[[2, 3, 5]] ** 2, [intercept, slope, s2], rtol=1e-3)
        assert row[2] * row[3] * row[4] == pytest.approx(covariance, rel=3e-3)
    change = found.relative_change.loc["308"]
    assert change["sigma"] == pytest.approx(np.sqrt(LME4_VARIANCES[0][0]) / sleep.sigma - 1, rel=1e-3)


def test_rows_have_the_studentised_residuals_and_the_other_cook_distance_of_lme4(sleep):
    h, t = sleep.influence().table["leverage"].to_numpy(), sleep.residuals("standardised")
    for i, (cook, studentised) in LME4_ROWS.items():
        assert t[i] == pytest.approx(studentised, rel=1e-5)
        assert t[i] ** 2 * h[i] / (1 - h[i]) / 2 == pytest.approx(cook, rel=1e-5)


@pytest.mark.parametrize("by", ["rows", "Worker"])
def test_refits_are_fits_of_the_smaller_data(by):
    data = bmm.datasets.load("machines")
    formula = "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)"
    fit = bmm.Model(formula, data).fit("ml")
    found = fit.influence(by, refit=True)
    for i, rows in list(enumerate(dict(groups_of(fit))[by]))[::11]:
        smaller = bmm.Model(formula, data.drop(index=data.index[rows])).fit("ml")
        np.testing.assert_allclose(found.parameters.iloc[i], smaller.parameters["estimate"], rtol=1e-4, atol=1e-4)


def test_weights_and_offsets_are_in_refits_too():
    rng = np.random.default_rng(2)
    data = bmm.datasets.load("sleepstudy").assign(w=rng.uniform(0.5, 2.0, 180), o=rng.normal(size=180))
    formula = "Reaction ~ Days + offset(o) + (1 | Subject)"
    fit = bmm.Model(formula, data, weights="w").fit()
    found = fit.influence("Subject", refit=True)
    smaller = bmm.Model(formula, data[data["Subject"] != "309"], weights="w").fit()
    np.testing.assert_allclose(found.parameters.loc["309"], smaller.parameters["estimate"], rtol=1e-6)


def test_what_a_coefficient_rests_on_alone_is_said_and_not_computed():
    data = bmm.datasets.load("sleepstudy").assign(only=lambda d: (d["Subject"] == "335") * 1.0)
    fit = bmm.Model("Reaction ~ Days + only + (Days | Subject)", data).fit()
    for refit in (False, True):
        found = fit.influence("Subject", refit=refit)
        assert found.undetermined == ["335"]
        assert found.table.drop(index="335").notna().all().all()
        assert "335" in str(found)
        assert "not determined" in " ".join(str(found).split())


def test_several_memberships_and_dyads_are_left_out_as_a_whole():
    rng = np.random.default_rng(3)
    people = np.array([f"p{i}" for i in range(8)])
    first, second = rng.integers(0, 8, (2, 90))
    keep = first != second
    data = pd.DataFrame({"a": people[first], "b": people[second], "x": rng.normal(size=90)})[keep]
    data["y"] = data["x"] + rng.normal(size=8)[first[keep]] + rng.normal(size=len(data))
    fit = bmm.Model("y ~ x + (1 | mm(a, b))", data).fit()
    model, G = dense_of(fit)
    V = model.covariance(G, fit.sigma)
    (block,) = fit.design.blocks
    found = fit.influence(block.group)
    for i, rows in enumerate(block.incidence.members()):
        assert len(rows) == found.table["n_rows"].iloc[i]
        kept = np.setdiff1d(np.arange(fit.n), rows)
        inverse = np.linalg.inv(V[np.ix_(kept, kept)])
        beta = np.linalg.solve(model.X[kept].T @ inverse @ model.X[kept], model.X[kept].T @ inverse @ model.y[kept])
        np.testing.assert_allclose(found.dfbeta.iloc[i], fit.estimate.beta - beta, rtol=1e-6, atol=1e-9)


def test_measures_do_not_depend_on_units_origin_or_order(sleep):
    data = bmm.datasets.load("sleepstudy")
    moved = data.assign(Reaction=1e3 * data["Reaction"] + 7e4, Days=10.0 * data["Days"] - 400.0)
    moved = moved.sample(frac=1.0, random_state=1)
    again = bmm.Model(SLEEP, moved).fit().influence("Subject").table.loc[sleep.influence("Subject").table.index]
    pd.testing.assert_frame_equal(again, sleep.influence("Subject").table, rtol=1e-6)


def test_large_levels_are_turned_to_few_rows():
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(4), 900)
    data = pd.DataFrame({"g": [f"g{i}" for i in g], "x": rng.normal(size=3600)})
    data["y"] = data["x"] + rng.normal(size=4)[g] + rng.normal(size=3600)
    fit = bmm.Model("y ~ x + (1 | g)", data).fit()
    found = fit.influence("g", refit=True)
    smaller = bmm.Model("y ~ x + (1 | g)", data[data["g"] != "g2"]).fit()
    np.testing.assert_allclose(found.parameters.loc["g2"], smaller.parameters["estimate"], rtol=1e-6)
    fixed = fit.influence("g").table
    assert fixed["statistic"].between(0.8, 1.2).all()


def test_arguments_are_checked(sleep):
    with pytest.raises(ArgumentError, match="'rows', or a grouping factor of the model: 'Subject'"):
        sleep.influence("Days")
    with pytest.raises(ArgumentError, match="give a column of the table"):
        sleep.influence().largest(by="size")
    assert list(sleep.influence().largest(2).index) == [59, 129 + 1]


def test_principal_components_are_those_of_lme4(sleep):
    """R: rePCA(m)$Subject."""
    table = sleep.principal_components().loc["Subject"]
    np.testing.assert_allclose(table["relative"], [0.96685899, 0.23087946], rtol=1e-5)
    np.testing.assert_allclose(np.abs(table[["Intercept", "Days"]].loc[1]), [0.999861581, 0.016637862], rtol=1e-4)
    np.testing.assert_allclose(table["sd"], sleep.sigma * table["relative"])
    assert table["cumulative"].iloc[-1] == pytest.approx(1.0)


def test_principal_components_without_variance_are_exactly_that():
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    assert fit.principal_components()["sd"].tolist() == [0.0]
