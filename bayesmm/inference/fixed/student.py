"""Student's t: tail probabilities and quantiles; of few numbers without SciPy, whose import takes longer than a fit."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

FEW = 50  # numbers; of more SciPy's vectors take less time, its import included
MOST = 1e4  # degrees of freedom up to which the continued fraction keeps its digits
LARGE = 30.0  # argument from which on a ratio of gamma functions is good to rounding by its series
EPSILON = 3e-16
TURNS = 10_000  # of a continued fraction, which takes some √df
FAR = 1e9  # beside whose square one is rounding
LARGEST = 700.0  # of what an exponential is taken of
NEWTON = 100
ENOUGH = 1e-8  # of a step in log t: the next is of its square
NORMAL = 1e12  # degrees of freedom beyond which t is normal in all digits, and which are rounding of infinitely many


def or_infinite(df: np.ndarray) -> np.ndarray:
    """Degrees of freedom, infinite where an error variance depends on no parameter but for rounding."""
    return np.where(np.asarray(df) > NORMAL, np.inf, df)


def t_quantile(probability: float, df: np.ndarray) -> np.ndarray:
    """Quantiles of t at a probability, the normal ones where df is infinite."""
    if _is_for_scipy(df):
        from scipy import special

        return special.stdtrit(df, probability)
    found = {each: _quantile(probability, each) for each in set(np.ravel(df).tolist())}
    return np.array([found.get(each, math.nan) for each in np.ravel(df).tolist()]).reshape(np.shape(df))[()]


def two_sided(statistic: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Probability of a t that is further from zero."""
    statistic, df = np.broadcast_arrays(statistic, df)
    if _is_for_scipy(df):
        from scipy import special

        return 2.0 * special.stdtr(df, -np.abs(statistic))
    pairs = zip(statistic.ravel().tolist(), df.ravel().tolist(), strict=True)
    return np.array([_outside(abs(t), own) for t, own in pairs]).reshape(statistic.shape)[()]


def _is_for_scipy(df: np.ndarray) -> bool:
    return np.size(df) > FEW or bool(((df > MOST) & np.isfinite(df)).any())


def _outside(t: float, df: float) -> float:
    """P(|T| > t) = I_x(df/2, 1/2) at x = df/(df + t²) (Abramowitz & Stegun 26.7.1 and 26.5.27)."""
    if not df > 0.0 or math.isnan(t):
        return math.nan
    if math.isinf(df):
        return math.erfc(t / math.sqrt(2.0))
    if t == 0.0 or math.isinf(t):
        return float(t == 0.0)
    a, below, fall = 0.5 * df, t / math.hypot(math.sqrt(df), t), _fall(t, df)
    front = math.exp(-a * fall) * below * _gamma_ratio(a) / math.sqrt(math.pi)  # x^a (1 − x)^½ / B(a, ½)
    x = math.exp(-fall)
    if x < (a + 1.0) / (a + 2.5):
        return front * _fraction(a, 0.5, x) / a
    return 1.0 - 2.0 * front * _fraction(0.5, a, below * below)


def _fall(t: float, df: float) -> float:
    """log(1 + t²/df), also where the square overflows."""
    ratio = t / math.sqrt(df)
    return math.log1p(ratio * ratio) if ratio < FAR else 2.0 * math.log(ratio)


def _gamma_ratio(a: float) -> float:
    """Γ(a + ½)/Γ(a); of a large a by its series (Tricomi & Erdélyi 1951), since differences of ln Γ lose digits."""
    if a < LARGE:
        return math.exp(math.lgamma(a + 0.5) - math.lgamma(a))
    r = 1.0 / a
    series = (1 / 128, 5 / 1024, -21 / 32768, -399 / 262144, 869 / 4194304, 39325 / 33554432)
    return math.sqrt(a) * (1.0 - r / 8 + sum(c * r ** (n + 2) for n, c in enumerate(series)))


def _fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), from its head on (Lentz 1976)."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, TURNS):
        even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        last = value
        for term in (even, odd):
            d, c = 1.0 / (1.0 + term * d), 1.0 + term / c
            value *= c * d
        if abs(value - last) <= EPSILON * abs(value):
            break
    return value


def _quantile(probability: float, df: float) -> float:
    """Newton's steps for the logarithm of the tail in log t, which is concave: they arrive from any start."""
    if not df > 0.0:
        return math.nan
    if probability in (0.0, 1.0):  # of a level that rounds to one
        return math.copysign(math.inf, probability - 0.5)
    if math.isinf(df):
        return NormalDist().inv_cdf(probability)
    tail = min(probability, 1.0 - probability)
    if tail == 0.5:
        return 0.0
    z = -NormalDist().inv_cdf(tail)
    s = z * z  # Abramowitz & Stegun 26.7.5
    t = z * (1.0 + ((s + 1.0) / 4.0 + ((5.0 * s + 16.0) * s + 3.0) / (96.0 * df)) / df)
    if df > 3.0:
        t += z * ((((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0) / df**3
    density = _gamma_ratio(0.5 * df) / math.sqrt(math.pi * df)
    for _ in range(NEWTON):
        outside = 0.5 * _outside(t, df)
        slope = t * density * math.exp(-0.5 * (df + 1.0) * _fall(t, df)) / outside
        step = math.log(outside / tail) / slope
        if math.log(t) + step > LARGEST:
            return math.copysign(math.inf, probability - 0.5)
        t *= math.exp(step)
        if abs(step) < ENOUGH:
            break
    return math.copysign(t, probability - 0.5)
