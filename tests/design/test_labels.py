"""One table of names for everything."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design import build_design
from bayesmm.specification import parse_formula

N = 48
RNG = np.random.default_rng(2)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.normal(size=N),
        "w": RNG.normal(size=N),
        "sigma": RNG.normal(size=N),
        "Subject": np.repeat(list("abcdef"), 8),
        "h": np.resize(list("pqrs"), N),
        "a/b": np.resize(list("pqrs"), N),
        "beta": np.resize(list("pqrs"), N),
        "Subject_effect": np.resize(list("pqr"), N),
    }
)


def labels(formula, **options):
    return build_design(parse_formula(formula), DATA, **options).labels


def rows(formula, **options):
    return [row.name for row in labels(formula, **options).parameter_rows()]


def test_rows_of_a_random_slope_model():
    assert rows("y ~ x + (x | Subject)") == [
        "Intercept",
        "x",
        "sd(Intercept | Subject)",
        "sd(x | Subject)",
        "cor(Intercept, x | Subject)",
        "sigma",
    ]


def test_pairs_run_within_one_unstructured_term():
    (block,) = labels("y ~ x + (x + w | Subject) + (0 + sigma | Subject)").blocks
    assert block.cors == ("Intercept, x", "Intercept, w", "x, w")


def test_second_term_of_a_group_has_pairs_of_its_own():
    (block,) = labels("y ~ x + (1 | Subject) + (0 + x + w | Subject)").blocks
    assert block.cors == ("x, w",)


def test_double_bar_has_no_correlations():
    found = labels("y ~ x + (x || Subject)")
    assert found.blocks[0].cors == ()
    assert not [row for row in found.parameter_rows() if row.kind == "cor"]


def test_a_known_sigma_is_no_parameter():
    assert "sigma" not in rows("y ~ x + (1 | Subject)", known_sigma=1.0)


def test_aliased_columns_have_no_row():
    assert rows("y ~ x + I(2 * x) + (1 | Subject)")[:2] == ["Intercept", "x"]
    assert "I(2 * x)" not in rows("y ~ x + I(2 * x) + (1 | Subject)")


def test_rows_say_where_their_draws_are():
    found = {
        row.name: (row.kind, row.group, row.variable, row.index)
        for row in labels("y ~ x + (x | Subject) + (1 | h)").parameter_rows()
    }
    assert found["x"] == ("fixed", None, "beta", 1)
    assert found["sd(x | Subject)"] == ("sd", "Subject", "sd_Subject", 1)
    assert found["cor(Intercept, x | Subject)"] == ("cor", "Subject", "cor_Subject", 0)
    assert found["sd(Intercept | h)"] == ("sd", "h", "sd_h", 0)
    assert found["sigma"] == ("sigma", None, "sigma", None)


def test_column_named_sigma_is_told_from_the_residual_sd():
    names = rows("y ~ sigma + (1 | Subject)")
    assert names == ["Intercept", "beta(sigma)", "sd(Intercept | Subject)", "sigma"]
    assert labels("y ~ sigma + (1 | Subject)").coefficients == ("Intercept", "sigma")


@pytest.mark.parametrize(
    "groups", [["Subject"], ["beta"], ["`a/b`"], ["Subject", "Subject_effect"], ["beta", "h", "beta:h"]]
)
def test_variables_and_dims_never_collide(groups):
    found = labels(f"y ~ x + {' + '.join(f'(x | {group})' for group in groups)}")
    variables = ["beta", "sigma"]
    dims = ["chain", "draw", "coef", "obs"]
    for block in found.blocks:
        variables += [block.sd_variable, block.cor_variable, block.effect_variable]
        dims += [block.dim, block.effect_dim, block.pair_dim]
    assert len(set(variables + dims)) == len(variables + dims)
    assert not any("/" in name for name in variables + dims)


def test_plain_groups_keep_their_name():
    (block,) = labels("y ~ x + (x | Subject)").blocks
    assert (block.dim, block.effect_dim, block.pair_dim) == ("Subject", "Subject_effect", "Subject_pair")
    assert (block.sd_variable, block.cor_variable, block.effect_variable) == ("sd_Subject", "cor_Subject", "b_Subject")
    assert block.levels == tuple("abcdef")
