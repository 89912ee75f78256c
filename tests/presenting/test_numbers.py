"""Numbers as text."""

import math

import pytest

from bayesmm.presenting.numbers import decimals_for, write_intervals, write_like, write_number
from bayesmm.presenting.text import STRIP, strip


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (251.40510, 6.8246, "251.41"),
        (10.467286, 1.5458, "10.47"),
        (-0.06555, 0.325, "−0.066"),
        (1527.5, 19.38, "1527.5"),
        (123456.7, 5000.0, "123457"),
        (1.234e-7, 1e-8, "1.23e−07"),
        (3.2e9, 12.0, "3.20e+09"),
        (0.0, 0.0, "0"),
        (-0.0001, 1.0, "0.00"),
        (math.nan, 1.0, "–"),
        (math.inf, 1.0, "∞"),
    ],
)
def test_spread_decides_the_decimals(value, spread, text):
    assert write_like(value, spread) == text


@pytest.mark.parametrize(
    ("lower", "upper", "shown"),
    [
        (-0.1638, 0.1814, ("−0.1638", "0.1814")),
        (0.0, 2849458.12790, ("0", "2849458")),
        (-3.0e9, 123.456, ("−3.00e+09", "123.46")),
        (math.nan, math.inf, ("–", "∞")),
    ],
)
def test_limits_far_out_have_no_more_digits_than_they_deserve(lower, upper, shown):
    assert write_intervals([lower], [upper], [0.0088], [0.0881]) == [shown]


def test_limits_of_an_unknown_spread_have_five_digits():
    assert write_intervals([1.0], [123456.789], [2.0], [math.nan]) == [("1", "123457")]


def test_smaller_of_two_spreads_decides_and_unknown_ones_do_not_count():
    assert decimals_for(6.8, 0.68) == 3
    assert decimals_for(math.nan, 0.0, 6.8) == 2
    assert write_number(1.0, decimals_for(math.nan)) == "1.000"


@pytest.mark.parametrize(
    ("alone", "pooled", "drawn"),
    [
        (1.0, 0.5, "            │     ●─────○"),
        (-1.0, 0.0, "○───────────●            "),
        (math.nan, 0.25, "            │  ●         "),
        (0.5, 0.5, "            │     ●      "),
        (math.nan, math.nan, "            │            "),
    ],
)
def test_strip_draws_the_pull_towards_zero(alone, pooled, drawn):
    assert strip(alone, pooled) == drawn
    assert len(drawn) == STRIP
