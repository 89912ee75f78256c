"""Adjusted tests: against SciPy's studentized range, R's mvtnorm, and by counting errors in simulations."""

import numpy as np
import pytest
from scipy import special, stats

from bayesmm.errors import ArgumentError
from bayesmm.inference.means.adjust import ADJUSTMENTS, Family, adjust_tests, check_adjust
from bayesmm.inference.means.coefficients import build_contrasts
from bayesmm.inference.means.simultaneous import LargestT, StudentizedRange, quantile

EQUAL = 0.5 * np.ones((4, 4)) + 0.5 * np.eye(4)


def family(statistic, df=12.0, correlation=None, means=None):
    m = len(statistic)
    R = np.eye(m) if correlation is None else correlation
    return Family(statistic=np.asarray(statistic), df=np.full(m, df), covariance=R, means=means)


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("df", [1.0, 5.83, 42.0, np.inf])
def test_studentized_range_is_that_of_scipy(k, df):
    ours = StudentizedRange(k)
    for q in (0.5, 3.5, 15.0):
        assert ours.upper_tail(q, df) == pytest.approx(stats.studentized_range.sf(q, k, df), abs=1e-9)


def test_studentized_range_goes_on_to_infinite_df():
    ours = StudentizedRange(3)
    assert ours.upper_tail(2.0, 1e6) == pytest.approx(ours.upper_tail(2.0, np.inf), abs=1e-5)


def test_quantiles_of_the_studentized_range_are_those_of_r():
    # qtukey(p, k, df)
    known = ((0.95, 3, 10.0, 3.876776749), (0.95, 10, 10.0, 5.598386462), (0.95, 10, 20.0, 5.007882655))
    for p, k, df, expected in (*known, (0.99, 4, 5.5, 7.370904504)):
        assert quantile(StudentizedRange(k).upper_tail, 1.0 - p, df) == pytest.approx(
            expected, abs=1e-5
        )  # qtukey has 1e-4 as its own aim


def test_one_and_two_means_have_t():
    for df in (3.0, 30.0, np.inf):
        two_sided = 2.0 * special.stdtr(df, -2.2) if np.isfinite(df) else 2.0 * special.ndtr(-2.2)
        assert StudentizedRange(2).upper_tail(2.2 * np.sqrt(2.0), df) == pytest.approx(two_sided, abs=1e-12)
        assert LargestT(np.ones((3, 3))).upper_tail(2.2, df) == pytest.approx(two_sided, abs=1e-12)


def test_largest_t_is_that_of_mvtnorm():
    # 1 - pmvt(-rep(c, 4), rep(c, 4), corr = R, df = 10L, algorithm = GenzBretz(abseps = 1e-7, maxpts = 1e7))
    uneven = np.array([[1, 0.3, -0.2, 0.6], [0.3, 1, 0.1, 0.2], [-0.2, 0.1, 1, -0.5], [0.6, 0.2, -0.5, 1]])
    for R, c, expected in ((EQUAL, 2.5, 0.0942087746), (uneven, 2.5, 0.100544972), (uneven, 4.0, 0.0087902565)):
        assert LargestT(R).upper_tail(c, 10.0) == pytest.approx(expected, abs=2e-5)


def test_two_correlated_t_by_quadrature():
    # P(|T1|, |T2| < 2.5) with correlation 0.5 and 10 df, by nested quadrature of the bivariate normal over the scale
    s, weights = np.polynomial.legendre.leggauss(200)
    s, weights = 3.0 * (s + 1.0), 3.0 * weights
    z, own = np.polynomial.legendre.leggauss(200)
    w = 2.5 * s[:, None]
    x = w * z
    root = np.sqrt(0.75)
    inside = stats.norm.pdf(x) * (special.ndtr((w - 0.5 * x) / root) - special.ndtr((-w - 0.5 * x) / root))
    both = (inside * w) @ own
    expected = 1.0 - float((both * stats.chi.pdf(s * np.sqrt(10.0), 10) * np.sqrt(10.0)) @ weights)
    assert LargestT(EQUAL[:2, :2]).upper_tail(2.5, 10.0) == pytest.approx(expected, abs=1e-7)


def test_independent_normal_maxima_are_known():
    expected = 1.0 - (1.0 - 2.0 * special.ndtr(-2.0)) ** 5
    assert LargestT(np.eye(5)).upper_tail(2.0, np.inf) == pytest.approx(expected, abs=2e-5)


def test_all_pairs_of_equal_means_have_tukey_s_and_the_multivariate_t_alike():
    pairs = build_contrasts("pairwise", list("abcd"), None).matrix
    covariance = pairs @ pairs.T
    t = np.array([0.5, 1.0, 2.0, 2.5, 3.0, 4.0])
    tests = Family(statistic=t, df=np.full(6, 15.0), covariance=covariance, means=4)
    (p, limits), (own, theirs) = (adjust_tests(method, tests, 0.95) for method in ("tukey", "mvt"))
    np.testing.assert_allclose(own, p, atol=1e-4)
    np.testing.assert_allclose(theirs, limits, atol=1e-3)  # where the density is 0.1


@pytest.mark.parametrize("adjust", [name for name in ADJUSTMENTS if name not in ("none", "fdr")])
def test_intervals_exclude_zero_where_adjusted_p_is_small(adjust):
    pairs = build_contrasts("pairwise", list("abc"), None).matrix
    tests = Family(statistic=np.array([2.4, 2.9, 3.4]), df=np.full(3, 9.0), covariance=pairs @ pairs.T, means=3)
    p, reach = adjust_tests(adjust, tests, 0.95)
    plain, _ = adjust_tests("none", tests, 0.95)
    assert (p >= plain).all()
    if adjust != "holm":  # its intervals are Bonferroni's
        np.testing.assert_array_equal(p < 0.05, reach < np.abs(tests.statistic))


def test_adjusted_p_values_are_those_of_r():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.2), method)
    p = np.array([0.01, 0.02, 0.03, 0.04, 0.2])
    tests = family(special.stdtrit(12.0, 1.0 - p / 2.0))
    expected = {
        "holm": [0.05, 0.08, 0.09, 0.09, 0.20],
        "bonferroni": [0.05, 0.10, 0.15, 0.20, 1.00],
        "fdr": [0.05, 0.05, 0.05, 0.05, 0.20],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(adjust_tests(name, tests, 0.95)[0], values, atol=1e-9)


@pytest.mark.parametrize("adjust", ["tukey", "mvt", "sidak", "scheffe"])
def test_true_nulls_are_rejected_together_at_most_as_often_as_said(adjust):
    rng = np.random.default_rng(3)
    k, df, n = 4, 8, 20_000
    pairs = build_contrasts("pairwise", list("abcd"), None).matrix
    means, scale = rng.standard_normal((n, k)), np.sqrt(rng.chisquare(df, n) / df)
    largest = np.abs(means @ pairs.T).max(axis=1) / np.sqrt(2.0) / scale
    tests = Family(statistic=np.ones(6), df=np.full(6, float(df)), covariance=pairs @ pairs.T, means=k)
    share = (largest > adjust_tests(adjust, tests, 0.95)[1][0]).mean()
    error = np.sqrt(0.05 * 0.95 / n)
    assert share < 0.05 + 3.5 * error
    if adjust in ("tukey", "mvt"):
        assert share > 0.05 - 3.5 * error


def test_polynomials_are_those_of_the_tables():
    # Fisher & Yates (1963), Statistical Tables, table XXIII: n = 5 and 6
    five = build_contrasts("poly", list("abcde"), None)
    assert five.names == ["linear", "quadratic", "cubic", "quartic"]
    assert five.matrix.tolist() == [[-2, -1, 0, 1, 2], [2, -1, -2, -1, 2], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1]]
    six = build_contrasts("poly", list("abcdef"), None).matrix
    assert six[2].tolist() == [-5, 7, 4, -4, -7, 5]
    assert six[4].tolist() == [-1, 5, -10, 10, -5, 1]


def test_unknown_adjustments_are_refused_with_what_there_is():
    with pytest.raises(ArgumentError, match="adjust is 'tuckey': give 'none', 'tukey'"):
        check_adjust("tuckey", is_pairs=True)
    with pytest.raises(ArgumentError, match=r"all pairs of means.*give 'mvt'"):
        check_adjust("tukey", is_pairs=False)
