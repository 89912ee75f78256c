import numpy as np
import pytest

from bayesmm.errors import PriorError
from bayesmm.specification.priors import (
    LKJ,
    PRIORS,
    Beta,
    BoxTiao,
    Flat,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Normal,
    Reciprocal,
    StudentT,
    Uniform,
)


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (Normal(0, 5), "Normal(0, 5)"),
        (StudentT(3, 0, 2.5), "StudentT(3, 0, 2.5)"),
        (HalfStudentT(3, 140.81), "HalfStudentT(3, 140.8)"),
        (InverseGamma(0.001, 0.001, on="variance"), "InverseGamma(0.001, 0.001) on the variance"),
        (LKJ(2), "LKJ(2)"),
        (Flat(), "Flat()"),
        (Beta(1, 3), "Beta(1, 3) on the share"),
        (Uniform(0, 1, on="share"), "Uniform(0, 1) on the share"),
        (BoxTiao(5), "BoxTiao(5) on the variance"),
        (Reciprocal(), "Reciprocal()"),
    ],
)
def test_a_prior_prints_as_it_is_written(prior, text):
    assert str(prior) == text


def test_equal_declarations_are_equal_and_hash_alike():
    assert Normal(0, 5) == Normal(0.0, np.float64(5))
    assert len({HalfNormal(2), HalfNormal(2.0), HalfNormal(2, on="variance")}) == 2


def test_numbers_come_by_name_in_the_order_of_the_declaration():
    assert list(StudentT(3, 1, 2).numbers.items()) == [("df", 3.0), ("mean", 1.0), ("scale", 2.0)]
    assert "on" not in Gamma(2, 1, on="variance").numbers


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Normal(0, -1), "Normal: sd is -1; give a number above zero"),
        (lambda: Normal("a", 1), "Normal: mean is 'a'; give a finite number"),
        (lambda: Normal(0, float("inf")), "Normal: sd is inf; give a finite number"),
        (lambda: HalfNormal(True), "HalfNormal: sd is True; give a finite number"),
        (lambda: Uniform(3, 1), "Uniform: the limits are 3 and 1; give the lower one first"),
        (lambda: HalfNormal(1, on="precision"), "on='precision'; write on='sd' .* or on='variance'"),
        (lambda: Beta(0, 1), "Beta: a is 0; give a number above zero"),
        (lambda: Beta(1, 1, on="sd"), "Beta: on='sd'; write on='share' \\(the default\\) or on='correlation'"),
        (lambda: HalfNormal(1, on="share"), "on='share'; write on='sd'"),
        (lambda: Uniform(0, 2, on="share"), "the limits are 0 and 2; a share of the variance lies between 0 and 1"),
        (lambda: BoxTiao(-5), "BoxTiao: size is -5; give a number above zero"),
        (lambda: LKJ(0), "LKJ: concentration is 0; give a number above zero"),
    ],
)
def test_impossible_numbers_are_refused_with_the_value(declare, message):
    with pytest.raises(PriorError, match=message):
        declare()


def test_every_family_says_where_it_lives():
    supports = {"real line", "positive numbers", "interval", "shares", "anything", "correlations"}
    assert {family.support for family in PRIORS} == supports


def test_improper_families_say_so():
    assert {family.__name__ for family in PRIORS if not family.is_proper} == {"Flat", "BoxTiao", "Reciprocal"}
