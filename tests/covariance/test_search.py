"""Fits of models with covariance structures end at the highest maximum, on the boundary too."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from oracle import DenseModel, Method, random_columns
from scipy.linalg import toeplitz
from scipy.optimize import brentq, minimize

import bayesmm as bmm

SHORT = 1e-4  # of −2 log likelihood: what a search may miss
NAMES = (
    "homdiag",
    "cs",
    "homcs",
    "ar1",
    "hetar1",
    "exp",
    "hetexp",
    "toep",
    "homtoep",
    "gau",
    "mat",
    "ratio",
    "sph",
)  # the others have searches of their own in tests/reml
OVER_DISTANCES = ("exp", "gau", "mat", "ratio", "sph")
LOG_SDS = (-12.0, 12.0)  # of standard deviations in units of σ


class Small:
    """A few levels with one to three effects each in time, of a truth that may be on the boundary."""

    def __init__(self, name: str, seed: int) -> None:
        rng = np.random.default_rng([NAMES.index(name), seed])
        self.name, self.k = name, int(rng.integers(2, 5))
        self.q, repeats = (
            int(rng.integers(4, 12)),
            int(rng.integers(2 if "hom" in name or "toep" in name or name.endswith(OVER_DISTANCES) else 1, 4)),
        )
        k = self.k
        low, high = limits(name, k)
        n = self.q * k * repeats
        level, time = np.repeat(np.arange(self.q), k * repeats), np.tile(np.arange(k), self.q * repeats)
        keep = (rng.random(n) < rng.choice([0.75, 1.0])) | (time == 0)
        self.level, self.time = level[keep], time[keep]
        n = int(keep.sum())
        sd = rng.choice([0.0, 0.3, 1.0, 3.0], size=k) if "hom" not in name else np.full(k, rng.choice([0.0, 0.5, 2.0]))
        rho = float(rng.choice([low, 0.5 * low, 0.0, 0.5, high]))
        parts = rng.choice([-1.0, -0.5, 0.0, 0.5, 0.9, 1.0], size=k - 1) if "toep" in name else rho
        covariance = matrix(name, np.ones(k), parts, k) * np.outer(sd, sd)
        values, vectors = np.linalg.eigh(covariance)
        b = rng.normal(size=(self.q, k)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        self.x = rng.normal(size=n)
        self.columns = np.eye(k)[self.time]
        if rng.random() < 0.3 and not name.endswith(OVER_DISTANCES):  # continuous covariates in place of times
            self.columns = np.column_stack([np.ones(n), rng.normal(size=(n, k - 1)) + rng.choice([0.0, 3.0])])
        self.is_times = set(np.unique(self.columns)) == {0.0, 1.0} and (self.columns.sum(axis=1) == 1.0).all()
        self.y = 1.0 + 0.5 * self.x + (self.columns * b[self.level]).sum(axis=1) + rng.normal(size=n)

    def model(self) -> bmm.Model:
        columns = {f"z{j}": z for j, z in enumerate(self.columns.T)}
        times = self.time if self.name.endswith(OVER_DISTANCES) else np.array([f"t{t}" for t in self.time])
        frame = pd.DataFrame({"g": [f"g{i}" for i in self.level], "t": times, "x": self.x, "y": self.y, **columns})
        effects = "C(t)" if self.is_times else " + ".join(columns)
        return bmm.Model(f"y ~ x + {self.name}(0 + {effects} | g)", frame)

    def lowest(self, method: Method) -> float:
        """−2 log likelihood where SciPy's searches in log sds and a transformed correlation end, from several starts."""
        k, low_high = self.k, limits(self.name, self.k)
        Z = random_columns(self.level, self.columns, self.q)
        dense = DenseModel(y=self.y, X=np.column_stack([np.ones(len(self.y)), self.x]), Z=Z)
        n_sds = k if self.name in ("cs", "hetar1", "hetexp", "toep") else 1
        n_cors = 0 if self.name == "homdiag" else k - 1 if "toep" in self.name else 1

        def value(at: np.ndarray) -> float:
            sd = np.exp(np.clip(at[:n_sds], *LOG_SDS))
            share = 1.0 / (1.0 + np.exp(-np.clip(at[n_sds:], -30.0, 30.0)))
            rho = low_high[0] + (low_high[1] - low_high[0]) * share
            s = np.broadcast_to(sd, k)
            G = np.kron(np.eye(self.q), matrix(self.name, s, rho, k))
            return -2.0 * dense.profiled_log_likelihood(G, method)

        rng = np.random.default_rng(0)
        starts = [np.append(rng.uniform(-3.0, 2.0, n_sds), rng.uniform(-5.0, 5.0, n_cors)) for _ in range(24)]
        starts.sort(key=value)
        return min(float(minimize(value, start, method="L-BFGS-B").fun) for start in starts[:4])


def limits(name: str, k: int) -> tuple[float, float]:
    return (-1.0 / (k - 1) if "cs" in name else 0.0 if name.endswith(OVER_DISTANCES) else -1.0), 1.0


def matern(rho: np.ndarray | float, h: np.ndarray) -> np.ndarray:
    """(1 + ah)exp(−ah), with a such that it is ρ at h = 1."""
    rho = float(np.squeeze(rho))
    if rho <= 0.0 or rho >= 1.0:
        return np.where(h == 0, 1.0, float(rho >= 1.0))
    a = brentq(lambda a: np.log1p(a) - a - np.log(rho), 0.0, 10.0 - 2.0 * np.log(rho))
    return (1.0 + a * h) * np.exp(-a * h)


def matrix(name: str, s: np.ndarray, rho: np.ndarray | float, k: int) -> np.ndarray:
    """Σ as textbooks write it; of Toeplitz from partial autocorrelations."""
    i, j = np.indices((k, k))
    if "toep" in name:
        return toeplitz([1.0, *autocorrelations(np.atleast_1d(rho))]) * np.outer(s, s)
    powers = {"cs": (i != j) * 1, "homcs": (i != j) * 1, "ar1": abs(i - j), "hetar1": abs(i - j)}
    powers |= {"exp": abs(i - j), "hetexp": abs(i - j), "gau": (i - j) ** 2}
    if name == "ratio":
        return np.where(i == j, 1.0, rho / (rho + (1.0 - rho) * np.where(i == j, 1.0, (i - j) ** 2))) * np.outer(s, s)
    if name == "sph":
        h = np.minimum(abs(i - j) * 2.0 * np.sin(np.arcsin(1.0 - np.float64(rho)) / 3.0), 1.0)
        return (1.0 - 1.5 * h + 0.5 * h**3) * np.outer(s, s)
    if name == "mat":
        return matern(rho, abs(i - j)) * np.outer(s, s)
    R = np.eye(k) if name == "homdiag" else np.where(i == j, 1.0, np.float64(rho) ** powers[name])
    return R * np.outer(s, s)


def autocorrelations(partial: np.ndarray) -> np.ndarray:
    """Of a process whose best predictors are regressions with these last coefficients (Yule and Walker)."""
    rho = np.zeros(0)
    for last in partial:
        R = toeplitz([1.0, *rho])[: len(rho), : len(rho)]
        weights, *_ = np.linalg.lstsq(R, rho)
        rho = np.append(rho, weights @ rho[::-1] + last * max(0.0, 1.0 - weights @ rho))
    return rho


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        *product(NAMES, range(3)),
        ("cs", 61),  # one standard deviation is zero, so that any correlation may be the way on
        ("hetar1", 47),  # two of three are
        ("hetar1", 42),  # the middle one is zero: the sign of the correlation is open
        ("hetar1", 27),  # another maximum at another correlation
        ("hetar1", 44),
        ("ar1", 34),  # at the correlation that moments lead to, sigma goes to zero
    ],
)
def test_no_fit_ends_short_of_what_scipy_finds_on_the_dense_likelihood(name, seed) -> None:
    small, method = Small(name, seed), ("reml", "ml")[seed % 2]
    fit = small.model().fit(method=method)
    assert fit.status.name in ("CONVERGED", "BOUNDARY")
    assert -2.0 * fit.loglik < small.lowest(method) + SHORT


# −2 log likelihood of Potthoff and Roy's growth data, a line for each sex: Jennrich & Schluchter (1986), Biometrics 42.
PUBLISHED = {"us": 419.477, "homtoep": 424.643, "ar1": 440.681, "homcs": 428.639}


@pytest.mark.parametrize("name", PUBLISHED)
def test_covariances_of_residuals_have_the_published_likelihood(name) -> None:
    growth = bmm.datasets.load("orthodont")
    model = bmm.Model(f"distance ~ age * Sex + {name}(0 + C(age) | Subject)", growth, sigma=0.001)
    assert -2.0 * model.fit(method="ml").loglik == pytest.approx(PUBLISHED[name], abs=1e-3)


@pytest.mark.parametrize("name", ["cs", "homcs"])
def test_correlation_at_its_lower_limit_is_a_boundary_with_a_direction_that_does_not_vary(name) -> None:
    """Effects that sum to zero in each level: ρ = −1/(k − 1)."""
    rng = np.random.default_rng(4)
    b = rng.normal(size=(30, 3))
    b = 2.0 * (b - b.mean(axis=1, keepdims=True))
    level, time = (each.ravel() for each in np.indices((30, 3)).repeat(4, axis=1).reshape(2, -1))
    noise = 0.5 * rng.normal(size=len(level))
    y = b[level, time] + noise - np.bincount(level, noise)[level] / 12.0  # so do the means of the levels
    frame = pd.DataFrame({"g": [f"g{i}" for i in level], "t": [f"t{i}" for i in time], "y": y})
    fit = bmm.Model(f"y ~ 1 + {name}(0 + t | g)", frame).fit()
    assert fit.status.name == "BOUNDARY"
    assert fit.parameters["estimate"]["cor(0 + t | g)"] == pytest.approx(-0.5, abs=1e-12)
    assert np.isnan(fit.parameters["std_error"]["cor(0 + t | g)"])
    (direction,) = fit.singular_directions
    assert all(effect in direction for effect in ("t[t0]", "t[t1]", "t[t2]"))
    assert "−0.5" in str(fit.summary())


@pytest.mark.parametrize("name", NAMES)
def test_no_variance_is_a_boundary_at_zero(name) -> None:
    rng = np.random.default_rng(1)
    level, time = (each.ravel() for each in np.indices((20, 3)).repeat(4, axis=1).reshape(2, -1))
    cells = 3 * level + time
    noise = rng.normal(size=len(level))
    y = noise - np.bincount(cells, noise)[cells] / 4.0  # means of cells vary less than they would by chance
    frame = pd.DataFrame({"g": [f"g{i}" for i in level], "t": time, "y": y})
    fit = bmm.Model(f"y ~ 1 + {name}(0 + C(t) | g)", frame).fit()
    assert fit.status.name == "BOUNDARY"
    estimates = fit.parameters["estimate"]
    assert (estimates.filter(like="sd(") == 0.0).all()
    assert estimates.filter(like="cor(").isna().all()
    assert (fit.random_effects()["estimate"] == 0.0).all()
    assert "nan" not in str(fit.summary()).lower()
