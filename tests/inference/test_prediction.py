"""Predictions have the errors of dense formulas, the degrees of freedom of contrasts, and rows that stay in their place."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dense_errors import MODELS, Dense, data, model_fit
from scipy import special

import bayesmm as bmm
from bayesmm.covariance.layout import assemble_factors
from bayesmm.errors import ArgumentError, PredictionError
from bayesmm.fit import Fit
from bayesmm.inference.fixed.information import parameter_covariance
from bayesmm.inference.prediction import joint
from bayesmm.marginal.sums import crossproducts

COLUMNS = ["estimate", "std_error", "df", "lower", "upper"]
STEP = 1e-4  # of a central difference of dense variances


@cache
def rows() -> pd.DataFrame:
    """Levels that were seen in other combinations, beside a new one, and with a missing one."""
    rng, n = np.random.default_rng(9), 12
    frame = data().sample(n, random_state=3, ignore_index=True)
    for name in ("g", "h", "t", "k", "a", "b"):
        frame[name] = frame[name].to_numpy()[rng.permutation(n)]
    frame["k"] = frame["g"].str[1:].map(lambda a: f"n{a}_{int(a) % 2}")  # a combination that is in the data, or new
    frame.loc[[1, 2, 3], ["g", "a"]] = ["new", "newer"]
    frame.loc[[4], ["h", "b"]] = "new"
    frame.loc[[5], ["a", "b"]] = "both"
    return frame.assign(x=rng.normal(size=n), two=np.where(rng.random(n) < 0.5, 1.0, -1.0), w=rng.uniform(0.3, 3.0, n))


@cache
def dense_of(name: str) -> tuple[Dense, list[tuple[np.ndarray, tuple[np.ndarray, ...]]]]:
    """Dense formulas of a model, and its errors at θ and at both ends of a step in each entry."""
    fit = model_fit(name)
    dense, theta = Dense(fit), fit.estimate.coordinates[:-1]
    steps = STEP * np.eye(len(theta))
    return dense, [(at, dense.errors(at)) for at in (theta, *(theta + e for e in steps), *(theta - e for e in steps))]


class DenseRows:
    """What a dense joint covariance says of some rows."""

    def __init__(self, name: str, new: pd.DataFrame | None) -> None:
        self.fit = fit = model_fit(name)
        self.dense, self._errors = dense_of(name)
        design = fit.design
        seen = None if new is None else design.evaluate(new)
        self.X = (design.X if seen is None else seen.X)[:, design.kept]
        self.n = len(self.X)
        parts, self._fresh = [], []
        for f, block in enumerate(design.blocks):
            found = block if seen is None else seen.blocks[f]
            Z = np.zeros((self.n, block.q, block.k))
            others: list[dict[Any, np.ndarray]] = [{} for _ in range(self.n)]
            for m, own in enumerate(found.incidence.memberships):
                for i in range(self.n):
                    if own.codes[i] >= 0:
                        Z[i, own.codes[i]] += own.columns[i]
                    else:
                        label = found.labels[m][i]  # pyright: ignore[reportAttributeAccessIssue]
                        others[i][label] = others[i].get(label, 0.0) + own.columns[i]
            parts.append(Z.reshape(self.n, -1))
            self._fresh.append(others)
        self.L = np.hstack([*parts, self.X])

    def fresh(self, theta: np.ndarray) -> np.ndarray:
        """Variance of the effects of new levels, (m,)."""
        fit, total = self.fit, np.zeros(self.n)
        factors = assemble_factors(np, theta[: len(fit.estimate.minimum.x)], fit.problem.layout)
        roots = fit.estimate.criterion_function.products.effect_roots
        for others, L, T in zip(self._fresh, factors, roots, strict=True):
            F = fit.sigma * np.linalg.solve(T, L)
            total += [sum(float(((z @ F) ** 2).sum()) for z in row.values()) for row in others]
        return total

    def noise(self, psi: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
        """Variance of the residual of each row, from the names of tables."""
        fit = self.fit
        weights = frame["w"].to_numpy() if fit.design.has_weights else np.ones(self.n)
        names = [row.name for row in fit.labels.parameter_rows() if row.kind != "fixed"]
        values = fit.estimate.public_values(np.append(psi, np.log(fit.sigma)))
        own = dict(zip(names, values, strict=False))
        sd = np.array([own.get(f"sigma(t[{t}])", fit.sigma) for t in frame["t"]])
        return (sd * np.exp(own.get("exponential(x)", 0.0) * frame["x"].to_numpy())) ** 2 / weights

    def variances(self, layer: str, frame: pd.DataFrame | None) -> np.ndarray:
        """V at θ, and at the ends of all steps; (1 + 2t, m)."""
        which = int(layer != "conditional")
        return np.array(
            [
                np.einsum("mi,mi->m", self.L @ errors[which], self.L)
                + self.fresh(theta)
                + (0.0 if frame is None else self.noise(theta, frame))
                for theta, errors in self._errors
            ]
        )

    def of_variances(self) -> np.ndarray:
        return np.einsum("mi,ij,mj->m", self.L, self.dense.of_variances, self.L)


def satterthwaite(variances: np.ndarray, W: np.ndarray) -> np.ndarray:
    V, (up, down) = variances[0], np.split(variances[1:], 2)
    slopes = np.column_stack([*((up - down) / (2.0 * STEP)), 2.0 * V])
    spread = np.einsum("mi,ij,mj->m", slopes, W, slopes)
    with np.errstate(divide="ignore"):
        return np.where(spread > 1e-14 * V**2, np.maximum(2.0 * V**2 / spread, 1.0), np.inf)


def check_dense(name: str, new: pd.DataFrame | None) -> None:
    fit, dense = model_fit(name), DenseRows(name, new)
    frame = data() if new is None else new
    W = parameter_covariance(fit, "expected")
    for layer, interval in (("full", "prediction"), ("fixed", "confidence"), ("conditional", "prediction")):
        found = fit.predict(new, interval=interval, uncertainty=layer, new_levels="sample", information="expected")
        assert list(found) == COLUMNS
        variances = dense.variances(layer, frame if interval == "prediction" else None)
        expected, df = variances[0], satterthwaite(variances, W)
        if layer == "full":
            third = 2.0 * dense.of_variances()
            np.testing.assert_allclose(found["std_error"] ** 2 - expected, third, rtol=2e-3, atol=1e-6 * expected.max())
            expected = expected + third
        np.testing.assert_allclose(found["std_error"], np.sqrt(expected), rtol=1e-5)
        np.testing.assert_allclose(found["df"], df, rtol=1e-4)
        half = special.stdtrit(df, 0.975) * np.sqrt(expected)
        np.testing.assert_allclose(found["upper"] - found["estimate"], half, rtol=1e-3)
        np.testing.assert_allclose(found["estimate"] - found["lower"], half, rtol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_errors_in_new_rows_are_those_of_dense_formulas(name: str) -> None:
    new = rows()
    if model_fit(name).design.relations:  # of a level that no matrix has nothing is known
        new.loc[[1, 2, 3], "g"] = ["n15", "n16", "n4"]
    check_dense(name, new)


@pytest.mark.parametrize("name", ["crossed slopes", "multi-membership", "a power, weights"])
def test_errors_in_the_rows_of_the_fit_are_those_of_dense_formulas(name: str) -> None:
    check_dense(name, None)


@pytest.mark.parametrize("name", ["slopes, weights", "crossed slopes", "multi-membership"])
def test_it_is_the_same_whichever_way_the_model_is_solved(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def table() -> pd.DataFrame:
        fit = model_fit.__wrapped__(name)
        return fit.predict(rows(), interval="confidence", new_levels="sample")

    expected = table()
    monkeypatch.setattr(crossproducts, "MOST_LEVELS", 0)
    monkeypatch.setattr(crossproducts, "MOST_EFFECTS", 0)
    monkeypatch.setattr(crossproducts, "FEW_ROWS", 0)
    monkeypatch.setattr(joint, "ROWS", 5)
    monkeypatch.setattr(joint, "SOLVED", 1)
    pd.testing.assert_frame_equal(table(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["slopes, weights", "crossed slopes", "nested", "aliased column"])
def test_fixed_effects_alone_have_the_errors_of_contrasts(name: str) -> None:
    fit, new = model_fit(name), rows()
    X = fit.design.evaluate(new, groups=[]).X[:, fit.design.kept]
    for layer, df in (("full", "kenward-roger"), ("fixed", "satterthwaite")):
        found = fit.predict(new, random="none", interval="confidence", uncertainty=layer, level=0.9)
        expected = [fit.test(row[None], df=df, level=0.9).table[COLUMNS] for row in X]
        np.testing.assert_allclose(found, pd.concat(expected), rtol=2e-4)


def check_coefficients(fit: Fit, group: str, new: pd.DataFrame) -> None:
    """Of intercept 1 and covariate 0, what is predicted of a level is its coefficient, with the same limits."""
    for layer in ("fixed", "full"):
        own = fit.coef(uncertainty=layer)
        own = own[(own["group"] == group) & (own["effect"] == "Intercept")]
        columns = ["estimate", "std_error", *(["df", "lower", "upper"] if layer == "full" else [])]
        found = fit.predict(new, random=[group], interval="confidence", uncertainty=layer)
        size = own[columns].abs().max()
        np.testing.assert_allclose(found[columns] / size, own[columns].to_numpy() / size.to_numpy(), atol=1e-3)


def test_coefficients_of_a_level_are_what_is_predicted_of_it() -> None:
    fit = model_fit("crossed slopes")
    check_coefficients(fit, "g", pd.DataFrame({"g": fit.labels.blocks[0].levels, "x": 0.0, "w": 1.0}))


def test_the_second_order_holds_near_a_variance_of_zero() -> None:
    """Where a step of a part of a standard error would leave what variances may be."""
    for seed in range(2):
        rng = np.random.default_rng(seed)
        g, k = np.repeat(np.arange(6), 6), np.repeat(np.arange(18), 2)
        frame = pd.DataFrame({"g": g, "k": k, "x": rng.normal(size=36)}).astype({"g": str, "k": str})
        noise, own, shared = rng.normal(size=36), rng.normal(size=18)[k], rng.normal(size=6)[g]
        noise -= np.repeat(noise.reshape(-1, 2).mean(axis=1), 2)
        none, some = 0.0, 3.0  # multiples of `own` by which k varies not at all, and much
        for _ in range(20):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                y = noise + shared + 0.5 * (none + some) * own
                fit = bmm.Model("y ~ x + (1 | g) + (1 | k)", frame.assign(y=y)).fit()
            share = fit.parameters["estimate"]["sd(Intercept | k)"] / fit.sigma
            if 0.0 < share < 0.02:
                break
            none, some = (none, 0.5 * (none + some)) if share else (0.5 * (none + some), some)
        assert 0.0 < share < 0.02
        check_coefficients(fit, "g", pd.DataFrame({"g": fit.labels.blocks[0].levels, "k": "0", "x": 0.0}))
        check_coefficients(fit, "k", pd.DataFrame({"g": "0", "k": fit.labels.blocks[1].levels, "x": 0.0}))


@cache
def sleep() -> Fit:
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()


NEW = pd.DataFrame(
    {"Days": [0.0, 5.0, np.nan, 2.0, 9.0], "Subject": ["308", "new", "309", None, "309"]}, index=list("abcde")
)


def test_missing_values_stay_in_their_own_rows() -> None:
    refused = sleep().predict(NEW.drop("b"), interval="prediction")
    assert refused.isna().all(axis=1).to_dict() == {"a": False, "c": True, "d": True, "e": False}
    for new_levels in ("population", "sample"):
        found = sleep().predict(NEW, interval="prediction", new_levels=new_levels)
        assert found.isna().all(axis=1).to_dict() == {"a": False, "b": False, "c": True, "d": False, "e": False}
        pd.testing.assert_frame_equal(
            found.loc[["e", "a"]], sleep().predict(NEW.loc[["e", "a"]], interval="prediction")
        )
        pd.testing.assert_series_equal(
            found["estimate"], sleep().predict(NEW, new_levels=new_levels), check_names=False
        )
    assert sleep().predict(NEW.iloc[:0], interval="confidence").empty


def test_what_new_levels_mean() -> None:
    new, fit = NEW.loc[["b"]], sleep()
    (Sigma,) = (fit.sigma**2 * L @ L.T for L in fit.factors)
    z = np.array([1.0, 5.0])
    population, sample = (fit.predict(new, interval="confidence", new_levels=way) for way in ("population", "sample"))
    pd.testing.assert_frame_equal(population, fit.predict(new, interval="confidence", random="none"))
    assert sample["std_error"]["b"] ** 2 == pytest.approx(population["std_error"]["b"] ** 2 + z @ Sigma @ z, rel=1e-6)
    with pytest.raises(
        PredictionError, match=r"1 level.s. of 'Subject' are not among the 18 of the fit: 'new'.*sample"
    ):
        fit.predict(new, interval="confidence")


def test_a_residual_has_the_weight_of_its_row() -> None:
    fit, new = model_fit("slopes, weights"), rows()
    mean, one = (fit.predict(new, interval=kind, new_levels="sample") for kind in ("confidence", "prediction"))
    np.testing.assert_allclose(one["std_error"] ** 2 - mean["std_error"] ** 2, fit.sigma**2 / new["w"], rtol=1e-6)
    given = fit.predict(new.drop(columns="w"), interval="prediction", new_levels="sample", weights=new["w"])
    pd.testing.assert_frame_equal(given, one)
    with pytest.raises(PredictionError, match="prior weights: say what the weights of the new rows are"):
        fit.predict(new.drop(columns="w"), interval="prediction", new_levels="sample")
    gap = fit.predict(new.assign(w=new["w"].where(new.index != 3)), interval="prediction", new_levels="sample")
    assert gap["estimate"].notna().all()
    assert gap["std_error"].isna().tolist() == [i == 3 for i in range(len(new))]
    with pytest.raises(PredictionError, match="weights 'w' of the new rows must be positive"):
        fit.predict(new.assign(w=-1.0), interval="prediction", new_levels="sample")
    unweighted = model_fit("intercepts").predict(new, interval="prediction", new_levels="sample")
    pd.testing.assert_frame_equal(
        unweighted, model_fit("intercepts").predict(new, interval="prediction", new_levels="sample", weights=1.0)
    )


def test_an_offset_and_transforms_move_the_prediction_alone() -> None:
    frame = data().assign(z=np.arange(len(data())) % 7.0)
    plain = bmm.Model("y ~ scale(x) + (1 | g)", frame).fit()
    moved = bmm.Model("y ~ scale(x) + offset(z) + (1 | g)", frame.assign(y=frame["y"] + frame["z"])).fit()
    new = frame.iloc[[3, 50]].assign(z=[10.0, 20.0])
    one, other = (fit.predict(new, interval="prediction") for fit in (plain, moved))
    np.testing.assert_allclose(other["estimate"] - one["estimate"], [10.0, 20.0], rtol=1e-6)
    np.testing.assert_allclose(other[["std_error", "df"]], one[["std_error", "df"]], rtol=1e-5)
    whole = plain.predict(interval="prediction").iloc[[3, 50]]
    pd.testing.assert_frame_equal(one, whole, rtol=1e-8)


def test_units_order_and_names_change_nothing_else() -> None:
    fit, new = model_fit("crossed slopes"), rows()
    expected = fit.predict(new, interval="prediction", new_levels="sample")

    def other(frame: pd.DataFrame) -> pd.DataFrame:
        levels = {name: frame[name].str.replace("n", "m") for name in ("g", "h")}
        return frame.assign(x=10.0 * frame["x"] + 3.0, **levels)

    frame = other(data()).sample(frac=1.0, random_state=1).assign(y=lambda d: 100.0 * d["y"] - 7.0)
    formula, options = MODELS["crossed slopes"]
    order = np.random.default_rng(0).permutation(len(new))
    found = (
        bmm.Model(formula, frame, **options)
        .fit()
        .predict(other(new).iloc[order], interval="prediction", new_levels="sample")
    )
    found = found.loc[expected.index]
    for name in ("estimate", "lower", "upper"):
        np.testing.assert_allclose((found[name] + 7.0) / 100.0, expected[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["std_error"] / 100.0, expected["std_error"], rtol=1e-5)
    np.testing.assert_allclose(found["df"], expected["df"], rtol=1e-3)


def test_a_variance_of_zero_is_held_there() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    found = fit.predict(pd.DataFrame({"Batch": ["Z"]}), interval="prediction", new_levels="sample").iloc[0]
    y = fit.design.y
    error = y.std(ddof=1) * np.sqrt(1.0 + 1.0 / len(y))  # the textbook's, of one sample
    half = special.stdtrit(len(y) - 1.0, 0.975) * error
    np.testing.assert_allclose(found, [y.mean(), error, len(y) - 1.0, y.mean() - half, y.mean() + half], rtol=1e-6)


def test_a_new_batch_has_satterthwaites_own_degrees_of_freedom() -> None:
    """Of combinations of mean squares, as in Satterthwaite (1946): the balanced one-way layout of Dyestuff."""
    frame = bmm.datasets.load("dyestuff")
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", frame).fit()
    means = frame.groupby("Batch", observed=True)["Yield"].mean()
    q, n = 6, 5
    between = n * means.var(ddof=1)
    within = ((frame["Yield"] - frame["Batch"].map(means).astype(float)) ** 2).sum() / (q * (n - 1))
    for interval, of_within in (("confidence", -1.0 / n), ("prediction", 1.0 - 1.0 / n)):
        parts = np.array([(1.0 + 1.0 / q) / n * between, of_within * within])
        variance, df = parts.sum(), parts.sum() ** 2 / (parts**2 / [q - 1, q * (n - 1)]).sum()
        new = pd.DataFrame({"Batch": ["Z"]})
        found = fit.predict(new, interval=interval, new_levels="sample", uncertainty="fixed", information="expected")
        np.testing.assert_allclose(found["std_error"], np.sqrt(variance), rtol=1e-5)
        np.testing.assert_allclose(found["df"], df, rtol=1e-4)


def test_fit_and_posterior_agree_where_groups_are_many() -> None:
    rng, q = np.random.default_rng(3), 200
    g, x = np.repeat(np.arange(q), 4), rng.normal(size=4 * q)
    y = 1.0 + x + rng.normal(size=q)[g] + 0.5 * rng.normal(size=4 * q)
    model = bmm.Model("y ~ x + (1 | g)", pd.DataFrame({"g": g.astype(str), "x": x, "y": y}), priors="flat")
    posterior = model.sample(method="quadrature", draws=5000, seed=1, progress=False)
    new = pd.DataFrame({"g": ["0", "7", "new"], "x": [0.0, 2.0, 0.0]})
    for interval in ("confidence", "prediction"):
        one, other = (each.predict(new, interval=interval, new_levels="sample") for each in (model.fit(), posterior))
        np.testing.assert_allclose(other["sd"], one["std_error"], rtol=0.02)
        np.testing.assert_allclose(other["mean"], one["estimate"], atol=0.02)
        np.testing.assert_allclose(other[["lower", "upper"]], one[["lower", "upper"]], atol=0.08)


def test_one_rotating_direction_has_the_second_order_of_differences() -> None:
    """Of a singular covariance of slopes the straight line leaves what is possible, and the curve is corrected."""
    rng, g = np.random.default_rng(3), data()["g"].str[1:].astype(int).to_numpy()
    frame = data().assign(y=2.0 * rng.normal(size=15)[g] * (1.0 + 0.8 * data()["x"]) + rng.normal(size=len(g)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bmm.Model("y ~ x + (x | g)", frame).fit()
    assert fit.is_singular
    dense = Dense(fit)
    seen = fit.design.evaluate(frame.iloc[:9])
    Z = np.zeros((9, 15, 2))
    own = seen.blocks[0].incidence.only
    Z[np.arange(9), own.codes] = own.columns
    L = np.hstack([Z.reshape(9, -1), seen.X])
    fixed, full = (fit.predict(frame.iloc[:9], interval="confidence", uncertainty=u) for u in ("fixed", "full"))
    expected = np.einsum("mi,ij,mj->m", L, dense.fixed, L)
    np.testing.assert_allclose(fixed["std_error"] ** 2, expected, rtol=1e-5)
    third = 2.0 * np.einsum("mi,ij,mj->m", L, dense.of_variances, L)
    np.testing.assert_allclose(full["std_error"] ** 2 - expected, third, rtol=0.02, atol=1e-6 * expected.max())


def test_a_bootstrap_is_near_the_second_order_where_that_is_good() -> None:
    fit, new = sleep(), NEW.loc[["a", "e"]]
    fixed, full = (fit.predict(new, interval="confidence", uncertainty=u) for u in ("fixed", "full"))
    drawn = fit.predict(new, interval="confidence", uncertainty="bootstrap", refits=100, progress=False)
    ratio = (drawn["std_error"] ** 2 - fixed["std_error"] ** 2) / (full["std_error"] ** 2 - fixed["std_error"] ** 2)
    assert ratio.between(0.3, 0.8).all()  # g₃ where full has twice that, within the error of 100 refits
    same = fit.predict(new, interval="confidence", uncertainty="bootstrap", refits=100, progress=False)
    pd.testing.assert_frame_equal(drawn, same)


def test_degrees_of_freedom_can_be_chosen() -> None:
    fit = sleep()
    normal, residual = (
        fit.predict(NEW.iloc[:1], interval="prediction", df=df).iloc[0] for df in ("normal", "residual")
    )
    assert normal["df"] == np.inf
    assert residual["df"] == 178.0
    for row, quantile in ((normal, special.ndtri(0.975)), (residual, special.stdtrit(178.0, 0.975))):
        assert row["upper"] - row["estimate"] == pytest.approx(quantile * row["std_error"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": "predictive"}, "interval is 'predictive': give 'confidence'"),
        ({"interval": "confidence", "level": 2}, "level is 2"),
        ({"interval": "confidence", "uncertainty": "all"}, "uncertainty is 'all': give 'conditional', 'fixed'"),
        ({"interval": "confidence", "df": "kenward-roger"}, "df is 'kenward-roger': give 'satterthwaite'"),
        ({"interval": "confidence", "information": "both"}, "information is 'both'"),
        ({"new_levels": None}, "new_levels is None: give 'error', 'population' or 'sample'"),
        ({"refits": 1}, "refits is 1"),
    ],
)
def test_wrong_arguments_are_answered(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, PredictionError), match=message):
        sleep().predict(NEW.iloc[:1], **arguments)
