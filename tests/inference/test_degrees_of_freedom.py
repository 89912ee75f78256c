"""Satterthwaite's and Kenward and Roger's methods against lmerTest, pbkrtest, SAS and dense formulas of the textbook."""

from __future__ import annotations

import re
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from reference_models import ReferenceModel, reference_models
from reference_names import canonical_effect

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.inference.fixed.fixed_effects import infer_fixed_effects

SATTERTHWAITE = 1e-3  # lmerTest's are numerical derivatives
DF, ERROR = 1e-7, 1e-8  # pbkrtest's are exact; ours differences of exact gradients
JOINT = 5e-3  # of several numerator degrees of freedom: lmerTest's depend on the coding of a factor, ours do not
F = 1e-6
UNRELIABLE = "do not compare"  # what the files say where a variance is zero
COVERED = reference_models()[0]
TYPES = {"I": 1, "II": 2, "III": 3}
DEGREES = {"Satterthwaite": "satterthwaite", "Kenward-Roger": "kenward-roger"}


def reliable(model: ReferenceModel, *entries: str) -> bool:
    return not model.entry.get("singular") and any(model.entry.get(name) for name in entries)


def fitted(model: ReferenceModel) -> bmm.Model:
    return bmm.Model(model.formula, model.frame(), weights=model.weights, sigma=model.sigma).fit(method=model.method)


def in_order(model: ReferenceModel, table: pd.DataFrame, column: str) -> np.ndarray:
    """Our rows in the order of R's coefficients, those that R dropped left out."""
    ours = {canonical_effect(str(name)): value for name, value in table[column].items()}
    return np.array([ours[canonical_effect(name)] for name in model.entry["fixef"]["names"]])


@pytest.mark.filterwarnings("ignore:2 of 378 rows dropped")  # Glucose has two missing values
@pytest.mark.parametrize(
    "model",
    [model for model in COVERED if reliable(model, "satterthwaite", "kenward_roger")],
    ids=lambda model: model.id,
)
def test_degrees_of_freedom_and_standard_errors_are_those_of_r(model: ReferenceModel) -> None:
    fit, entry = fitted(model), model.entry
    assert in_order(model, fit.fixed_effects, "df") == pytest.approx(entry["satterthwaite"]["df"], rel=SATTERTHWAITE)
    if entry.get("kenward_roger"):
        table, expected = fit.coefficients(df="kenward-roger"), entry["kenward_roger"]
        assert in_order(model, table, "df") == pytest.approx(expected["df"], rel=DF)
        assert in_order(model, table, "std_error") == pytest.approx(expected["se_adjusted"], rel=ERROR)
        assert in_order(model, table, "p_value") == pytest.approx(expected["p_value"], rel=1e-5, abs=1e-300)


@pytest.mark.parametrize("model", [model for model in COVERED if reliable(model, "anova")], ids=lambda model: model.id)
def test_tests_of_terms_are_those_of_r(model: ReferenceModel) -> None:
    fit = fitted(model)
    for entry in model.entry["anova"]:
        table = fit.anova(type=TYPES[entry["type"]], df=DEGREES[entry["ddf"]]).table
        assert table["num_df"].tolist() == entry["num_df"]
        assert table["statistic"].to_numpy() == pytest.approx(entry["F"], rel=F)
        assert table["den_df"].to_numpy() == pytest.approx(entry["den_df"], rel=JOINT)


def test_expected_and_observed_information_are_both_as_published() -> None:
    """18.18747 is pbkrtest's, 18.15621 is SAS's."""
    fit = bmm.Model("Reaction ~ Days + (Days || Subject)", bmm.datasets.load("sleepstudy")).fit()
    expected = fit.coefficients(df="kenward-roger", information="expected")["df"]
    observed = fit.coefficients(df="kenward-roger", information="observed")["df"]
    assert expected.to_numpy() == pytest.approx([18.18747] * 2, abs=2e-5)
    assert observed.to_numpy() == pytest.approx([18.15621] * 2, abs=2e-5)


# -- dense formulas ---------------------------------------------------------------------------------------------------

LEVELS, GROUPS, PEOPLE = 4, 9, 5


def unbalanced(seed: int = 3) -> pd.DataFrame:
    """Groups crossed with people, a factor inside; some rows are missing."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(list(product(range(GROUPS), range(LEVELS), range(3))), columns=["g", "f", "copy"])
    rows["h"] = (rows["g"] + rows["f"] + 2 * rows["copy"]) % PEOPLE
    rows["x"] = rng.normal(size=len(rows)) + rows["g"] / 4.0
    time = np.arange(LEVELS)
    covariance = 2.0 * 0.6 ** np.abs(time[:, None] - time) * np.outer(1 + time / 5, 1 + time / 5)
    effects = rng.multivariate_normal(np.zeros(LEVELS), covariance, size=GROUPS)
    people = rng.normal(size=PEOPLE)
    rows["y"] = effects[rows["g"], rows["f"]] + people[rows["h"]] + rows["x"] + rng.normal(size=len(rows))
    rows = rows.sample(frac=0.8, random_state=seed).reset_index(drop=True)
    return rows.assign(f=rows["f"].map(lambda i: f"f{i}"), g=rows["g"].map(lambda i: f"g{i}"), h=rows["h"].astype(str))


def one_correlation(variances: np.ndarray, power: np.ndarray, rho: float) -> np.ndarray:
    return np.sqrt(np.outer(variances, variances)) * rho**power


TIMES = np.abs(np.subtract.outer(np.arange(LEVELS), np.arange(LEVELS)))
WHEN = np.array([0.0, 0.5, 2.0, 6.0])  # neighbours are 2 apart on average
APART = np.abs(np.subtract.outer(WHEN, WHEN)) / 2.0
EQUAL = (TIMES > 0).astype(float)
TRIANGLE = np.tril_indices(LEVELS)


def symmetric(entries: np.ndarray) -> np.ndarray:
    M = np.zeros((LEVELS, LEVELS))
    M[TRIANGLE] = entries
    return np.where(TIMES > 0, M + M.T, M)


# Textbook covariances of the four effects, by the parameters in which Kenward & Roger's method is defined, and how many
# standard deviations of the table these have.
COVARIANCES = {
    "us": symmetric,
    "diag": np.diag,
    "homdiag": lambda eta: eta[0] * np.eye(LEVELS),
    "homcs": lambda eta: eta[0] * np.eye(LEVELS) + eta[1] * EQUAL,
    "cs": lambda eta: one_correlation(eta[:LEVELS], EQUAL, eta[LEVELS]),
    "ar1": lambda eta: one_correlation(np.full(LEVELS, eta[0]), TIMES, eta[1]),
    "hetar1": lambda eta: one_correlation(eta[:LEVELS], TIMES, eta[LEVELS]),
    "exp": lambda eta: one_correlation(np.full(LEVELS, eta[0]), APART, eta[1]),
    "hetexp": lambda eta: one_correlation(eta[:LEVELS], APART, eta[LEVELS]),
    "homtoep": lambda eta: eta[:LEVELS][TIMES],
    "toep": lambda eta: np.sqrt(np.outer(eta[:LEVELS], eta[:LEVELS])) * np.append(1.0, eta[LEVELS:])[TIMES],
}


def parameters_of(name: str, sds: np.ndarray, by_name: pd.Series) -> np.ndarray:
    """η from the standard deviations and correlations of the table of parameters."""
    correlations = by_name.to_numpy()
    if name == "us":
        R = np.eye(LEVELS)
        for row, rho in by_name.items():
            j, i = (int(found) for found in re.findall(r"f\[f(\d)\]", str(row)))
            R[i, j] = R[j, i] = rho
        return (R * np.outer(sds, sds))[TRIANGLE]
    if name in ("homcs", "homtoep"):
        return sds[0] ** 2 * np.append(1.0, correlations)
    return np.concatenate([sds**2, correlations])


class Dense:
    """V as a function of (η, variance of people, σ²), and all that the methods are made of, in n × n matrices."""

    def __init__(self, name: str, frame: pd.DataFrame, fit: bmm.Model) -> None:
        self.name = name
        table = fit.parameters
        of_groups = table[table["group"] == "g"]
        sds = of_groups.loc[of_groups["kind"] == "sd", "estimate"].to_numpy()
        correlations = of_groups.loc[of_groups["kind"] == "cor", "estimate"]
        eta = parameters_of(name, sds, correlations)
        people, sigma = table.loc[["sd(Intercept | h)", "sigma"], "estimate"]
        self.eta = np.append(eta, [people**2, sigma**2])
        self.y, self.X = frame["y"].to_numpy(), fit.design.X
        self.same_group = (frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()).astype(float)
        self.same_person = (frame["h"].to_numpy()[:, None] == frame["h"].to_numpy()).astype(float)
        self.level = frame["f"].str[1:].astype(int).to_numpy()

    def total(self, eta: np.ndarray) -> np.ndarray:
        S = COVARIANCES[self.name](eta[:-2])[np.ix_(self.level, self.level)]
        return S * self.same_group + eta[-2] * self.same_person + eta[-1] * np.eye(len(self.y))

    def slopes(self) -> list[np.ndarray]:
        steps = 1e-5 * np.diag(np.maximum(np.abs(self.eta), 0.1))
        return [(self.total(self.eta + h) - self.total(self.eta - h)) / (2.0 * h.sum()) for h in steps]

    def bends(self) -> list[list[np.ndarray]]:
        steps = 1e-4 * np.diag(np.maximum(np.abs(self.eta), 0.1))
        V = self.total
        return [
            [
                (V(self.eta + h + k) - V(self.eta + h - k) - V(self.eta - h + k) + V(self.eta - h - k))
                / (4.0 * h.sum() * k.sum())
                for k in steps
            ]
            for h in steps
        ]

    def criterion(self, eta: np.ndarray) -> float:
        """Compute −2 restricted log-likelihood, up to a constant."""
        V = self.total(eta)
        inverse = np.linalg.inv(V)
        A = self.X.T @ inverse @ self.X
        beta = np.linalg.solve(A, self.X.T @ inverse @ self.y)
        e = self.y - self.X @ beta
        return float(np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + e @ inverse @ e)

    def covariance(self, information: str) -> np.ndarray:
        if information == "expected":
            inverse = np.linalg.inv(self.total(self.eta))
            A = self.X.T @ inverse @ self.X
            P = inverse - inverse @ self.X @ np.linalg.solve(A, self.X.T @ inverse)
            products = [P @ slope for slope in self.slopes()]
            return np.linalg.inv(0.5 * np.array([[np.sum(a * b.T) for b in products] for a in products]))
        steps = 1e-3 * np.diag(np.maximum(np.abs(self.eta), 0.1))
        f = self.criterion
        hessian = [
            [
                (f(self.eta + h + k) - f(self.eta + h - k) - f(self.eta - h + k) + f(self.eta - h - k))
                / (4.0 * h.sum() * k.sum())
                for k in steps
            ]
            for h in steps
        ]
        return 2.0 * np.linalg.inv(np.array(hessian))

    def methods(self, information: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Φ_A, and the degrees of freedom of single coefficients and Φ."""
        W, slopes, bends = self.covariance(information), self.slopes(), self.bends()
        inverse = np.linalg.inv(self.total(self.eta))
        U = inverse @ self.X
        Phi = np.linalg.inv(self.X.T @ U)
        first = [-U.T @ slope @ U for slope in slopes]
        total = np.zeros_like(Phi)
        for i, j in product(range(len(W)), repeat=2):
            Q = U.T @ slopes[i] @ inverse @ slopes[j] @ U
            total += W[i, j] * (Q - first[i] @ Phi @ first[j] - 0.25 * U.T @ bends[i][j] @ U)
        gradients = np.array([np.diag(-Phi @ P @ Phi) for P in first])  # (m, p)
        df = 2.0 * np.diag(Phi) ** 2 / np.einsum("mp,mn,np->p", gradients, W, gradients)
        return Phi + 2.0 * Phi @ total @ Phi, df, Phi


@pytest.mark.parametrize("name", COVARIANCES)
def test_methods_equal_dense_formulas_for_each_structure(name: str) -> None:
    frame = unbalanced(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        effects = "C(t)" if "exp" in name else "f"
        timed = frame.assign(t=WHEN[frame["f"].str[1:].astype(int)])
        fit = bmm.Model(f"y ~ x + f + {name}(0 + {effects} | g) + (1 | h)", timed).fit()
    assert not fit.is_singular
    dense = Dense(name, frame, fit)
    for information, tolerance in (("expected", 1e-6), ("observed", 1e-3)):
        adjusted, df, _ = dense.methods(information)
        found = infer_fixed_effects(fit, "kenward-roger", information)
        assert found.covariance == pytest.approx(adjusted, rel=tolerance, abs=tolerance * np.abs(adjusted).max())
        assert found.df(np.eye(len(df))) == pytest.approx(df, rel=10.0 * tolerance)


def test_scaled_f_equals_the_dense_moments() -> None:
    """Kenward & Roger's λF and its degrees of freedom, from their formulas with L, not from a rotated basis."""
    frame = unbalanced(5)
    fit = bmm.Model("y ~ x + f + ar1(0 + f | g) + (1 | h)", frame).fit()
    dense = Dense("ar1", frame, fit)
    adjusted, _, Phi = dense.methods("expected")
    W, slopes = dense.covariance("expected"), dense.slopes()
    U = np.linalg.solve(dense.total(dense.eta), dense.X)
    L = np.array([[0.0, 0, 1, 0, 0], [0, 0, 1, -1, 0], [0, 0, 0, 0, 1]])
    Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
    first = [Theta @ Phi @ (-U.T @ slope @ U) @ Phi for slope in slopes]
    A1 = sum(W[i, j] * np.trace(a) * np.trace(b) for i, a in enumerate(first) for j, b in enumerate(first))
    A2 = sum(W[i, j] * np.trace(a @ b) for i, a in enumerate(first) for j, b in enumerate(first))
    q = len(L)
    B = (A1 + 6 * A2) / (2 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    c1, c2, c3 = (n / (3 * q + 2 * (1 - g)) for n in (g, q - g, q + 2 - g))
    mean, variance = 1 / (1 - A2 / q), 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
    m = 4 + (q + 2) / (q * variance / (2 * mean**2) - 1)
    beta = fit.estimate.beta
    wald = L @ beta @ np.linalg.solve(L @ adjusted @ L.T, L @ beta) / q
    found = infer_fixed_effects(fit, "kenward-roger").f_test(L)
    assert found.num_df == q
    assert found.den_df == pytest.approx(m, rel=1e-5)
    assert found.statistic == pytest.approx(m / (mean * (m - 2)) * wald, rel=1e-5)


# -- invariance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_recoding_and_units_change_no_test(df: str) -> None:
    frame = unbalanced(7)
    names = {"f0": "zz", "f1": "b", "f2": "a", "f3": "M"}
    other = frame.assign(y=1e4 * frame["y"] - 3e5, x=(frame["x"] - 50.0) / 1e3, f=frame["f"].map(names))
    other = other.sample(frac=1.0, random_state=2)
    one = bmm.Model("y ~ x * f + (1 + x | g) + (1 | h)", frame).fit()
    two = bmm.Model("y ~ x * f + (1 + x | g) + (1 | h)", other).fit()
    for type in (1, 2, 3):
        a, b = (fit.anova(type=type, df=df).table for fit in (one, two))
        moved = ["x", "f", "x:f"] if type == 1 else ["x", "x:f"]  # at zero of x the differences of f are others
        assert a.loc[moved].to_numpy() == pytest.approx(b.loc[moved].to_numpy(), rel=2e-4)


def test_known_sigma_and_variances_of_zero_have_their_limits() -> None:
    schools = bmm.datasets.load("eight_schools")
    fit = bmm.Model("y ~ 1 + (1 | school)", schools, weights="1 / sigma**2", sigma=1.0).fit()
    assert fit.is_singular
    assert fit.fixed_effects.loc["Intercept", "df"] == np.inf  # nothing is estimated but the mean
    zero = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    for df in ("satterthwaite", "kenward-roger", "residual"):
        assert zero.coefficients(df=df).loc["Intercept", "df"] == pytest.approx(29.0)


def test_correlated_structures_near_a_variance_of_zero_have_standard_errors() -> None:
    """Where nothing varies between groups the numbers are those of least squares; nowhere are there none."""
    times, zeros, left_out = np.tile(np.arange(6), 24), 0, 0
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 12).astype(str), "t": [f"t{i}" for i in times]})
    for seed in (100, 103, 106, 107):
        rng = np.random.default_rng(seed)
        frame = frame.assign(x=rng.normal(size=144), y=rng.normal(size=144))
        for name in ("ar1", "hetar1", "cs"):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                fit = bmm.Model(f"y ~ x + {name}(0 + t | g)", frame).fit()
                found = fit.coefficients(df="kenward-roger")
            assert not [each for each in said if issubclass(each.category, RuntimeWarning)]
            left_out += any("second derivatives" in str(each.message) for each in said)
            assert (found["std_error"] > 0.5 * fit.fixed_effects["std_error"]).all()
            if name == "ar1" and fit.parameters["estimate"]["sd(0 + t | g)"] == 0.0:
                zeros += 1
                assert found["df"].to_numpy() == pytest.approx(142.0)
                assert found["std_error"].to_numpy() == pytest.approx(fit.fixed_effects["std_error"].to_numpy())
    assert zeros
    assert left_out


def test_mistakes_are_told() -> None:
    data = bmm.datasets.load("sleepstudy")
    fit = bmm.Model("Reaction ~ Days + (1 | Subject)", data).fit("ml")
    with pytest.raises(ArgumentError, match="fit by REML"):
        fit.coefficients(df="kenward-roger")
    with pytest.raises(ArgumentError, match="df is 'kr'"):
        fit.coefficients(df="kr")
    with pytest.raises(ArgumentError, match="takes none"):
        fit.coefficients(df="normal", information="expected")
    with pytest.raises(ArgumentError, match="give 'expected' or 'observed'"):
        fit.coefficients(information="fisher")


def test_every_choice_tells_the_same_of_one_coefficient_and_of_its_contrast() -> None:
    fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    for df in ("satterthwaite", "kenward-roger", "residual", "normal"):
        alone, joint = fit.coefficients(df=df).loc["Days"], fit.test("Days", df=df).joint
        assert joint.statistic == pytest.approx(alone["statistic"] ** 2)
        assert joint.den_df == pytest.approx(alone["df"])
        assert joint.p_value == pytest.approx(alone["p_value"], rel=1e-6)
        assert fit.parameter_table(df=df).loc["Days", "lower"] == pytest.approx(alone["lower"])
