"""Data that no model can be fitted to get their own message."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design import build_design
from bayesmm.errors import DesignError
from bayesmm.specification import parse_formula

N = 12
RNG = np.random.default_rng(3)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.normal(size=N),
        "z": RNG.normal(size=N),
        "flag": np.resize([True, False], N),
        "text": np.resize(["a", "b"], N),
        "one": "same",
        "g": np.repeat(list("abc"), 4),
        "six": np.repeat(range(6), 2),
        "row": range(N),
        "five": 5.0,
    }
)


def failure(formula, data=DATA, **options):
    with pytest.raises(DesignError) as caught:
        build_design(parse_formula(formula), data, **options)
    return str(caught.value)


def test_constant_response_is_refused():
    assert "'five' is 5 in all 12 rows" in failure("five ~ x + (1 | g)")
    assert "minus the offset is 0" in failure("y ~ x + offset(y) + (1 | g)")


def test_constant_response_with_a_varying_offset_is_accepted():
    assert build_design(parse_formula("five ~ x + offset(z) + (1 | g)"), DATA).n == N


@pytest.mark.parametrize(
    ("response", "kind"), [("text", "categorical, such as 'a'"), ("flag", "boolean"), ("`my text`", "categorical")]
)
def test_response_that_is_no_number_is_refused(response, kind):
    message = failure(f"{response} ~ x + (1 | g)", DATA.rename(columns={"z": "my text"}).assign(**{"my text": "q"}))
    assert "response" in message
    assert kind in message
    assert ".astype(float)" in message


def test_response_of_several_columns_is_refused():
    assert "not one number for each row" in failure("poly(y, 2) ~ x + (1 | g)")


def test_group_with_one_level_is_refused():
    message = failure("y ~ x + (1 | one)")
    assert "'one' has the single level 'same' in the 12 rows" in message
    assert "Drop the term (1 | one)" in message
    assert "single level" in failure("y ~ x + (1 | one)", known_sigma=1.0)


@pytest.mark.parametrize("term", ["(1 | row)", "(flag | six)", "(0 + flag | six)"])
def test_as_many_effects_as_rows_that_reach_all_levels_alike_are_refused_unless_sigma_is_fixed(term):
    message = failure(f"y ~ x + {term}")
    assert "random effects" in message
    assert "12 rows" in message
    assert build_design(parse_formula(f"y ~ x + {term}"), DATA, known_sigma=1.0).n == N


@pytest.mark.parametrize("term", ["(x | six)", "(x + z | six)"])
def test_as_many_effects_as_rows_that_reach_levels_differently_are_accepted(term):
    assert build_design(parse_formula(f"y ~ x + {term}"), DATA).n == N


def test_uncorrelated_effects_count_as_terms_of_their_own():
    assert build_design(parse_formula("y ~ x + (x || six)"), DATA).blocks[0].k == 2


def test_as_many_coefficients_as_rows_are_refused():
    assert "12 rows for 12 fixed-effects coefficients" in failure("y ~ C(row) + (1 | g)")


@pytest.mark.parametrize("formula", ["y ~ nosuch + (1 | g)", "y ~ x + (1 | nosuch)", "nosuch ~ x + (1 | g)", "y ~ x + (nosuch | g)", "y ~ I(x + nosuch) + (1 | g)", "y ~ offset(nosuch) + (1 | g)"])  # fmt: skip
def test_missing_column_is_found_wherever_it_is_named(formula):
    message = failure(formula)
    assert "no column 'nosuch'" in message
    assert "Columns: y, x, z" in message


def test_repeated_effect_names_both_terms():
    message = failure("y ~ x + (1 | g) + (x | g)")
    assert "The effect 'Intercept' varies by 'g' in two terms, (1 | g) and (1 + x | g)" in message
    assert "(0 + x | g)" in message
    assert "two terms" in failure("y ~ x + (1 | g) + (1 | g/six)")
    assert "two terms" in failure("y ~ x + (1 | g:text) + (1 | text:g)")


def test_labels_that_collide_are_refused():
    data = DATA.assign(a=np.resize(["p:q", "p"], N), b=np.resize(["r", "q:r"], N))
    assert "both labelled 'p:q:r'" in failure("y ~ x + (1 | a:b)", data)
