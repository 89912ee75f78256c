"""What a user is told about a structure that cannot be had, and that nothing outside the folder asks which it is."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.covariance.table import STRUCTURES
from bayesmm.errors import DesignError, SpecificationError
from bayesmm.specification import parse_formula

PACKAGE = Path(bmm.__file__).parent
CLASSES = {type(structure).__name__ for structure in STRUCTURES.values()}


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """One row for each of three times in six levels."""
    rng = np.random.default_rng(0)
    level, time = np.indices((6, 3)).reshape(2, -1)
    return pd.DataFrame(
        {
            "g": [f"g{i}" for i in level],
            "f": [f"t{i}" for i in time],
            "time": time,
            "x": rng.normal(size=18),
            "w": rng.uniform(1.0, 2.0, 18),
            "y": rng.normal(size=18),
        }
    )


@pytest.mark.parametrize(("term", "effect"), [("cs(1 | g)", "Intercept"), ("ar1(0 + time | g)", "time")])
def test_one_effect_has_no_correlation(cells, term, effect) -> None:
    with pytest.raises(DesignError, match=rf"single effect '{effect}'.*\(0 \+ C\(x\) \| g\)"):
        bmm.Model(f"y ~ 1 + {term}", cells)


ABSORBED = ("homdiag(0 + f | g)", "diag(0 + f | g)", "(0 + f || g)", "homcs(0 + f | g)")


@pytest.mark.parametrize("term", ABSORBED)
def test_term_that_is_the_residual_is_refused_unless_sigma_is_known(cells, term) -> None:
    with pytest.raises(DesignError, match="one row in each of 18 combinations"):
        bmm.Model(f"y ~ 1 + {term}", cells)
    assert bmm.Model(f"y ~ 1 + {term}", cells, sigma=0.3).fit().status.name in ("CONVERGED", "BOUNDARY")
    bmm.Model(f"y ~ 1 + {term}", cells, weights="w")  # the residual variance differs by row
    bmm.Model(f"y ~ 1 + {term}", pd.concat([cells, cells[:3]], ignore_index=True))


@pytest.mark.parametrize("term", ["ar1(0 + f | g)", "cs(0 + f | g)", "hetar1(0 + f | g)", "homdiag(0 + x | g)"])
def test_structure_that_tells_effects_from_residuals_is_fitted_with_one_row_a_cell(cells, term) -> None:
    bmm.Model(f"y ~ 1 + {term}", cells)


def test_two_effects_of_one_correlation_are_the_residual_too(cells) -> None:
    two = cells[cells["f"] != "t2"].reset_index(drop=True)
    with pytest.raises(DesignError, match="one row in each of 12 combinations"):
        bmm.Model("y ~ 1 + ar1(0 + f | g)", two)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("cs(x || g)", r"'\|\|' cannot stand inside cs\(\)"),
        ("cs(x | g, hom=2)", "hom= is True or False"),
        ("cs(x | g, 2)", r"cs\(\) takes hom=True or hom=False after its bar"),
        ("us(x | g, hom=TRUE)", r"(?s)us\(\) takes nothing after its bar.*homcs\(x \| g\)"),
        ("arma(x | g)", r"(?s)A bar cannot stand inside a function call.*us\(\), diag\(\), homdiag\(\), cs\(\)"),
        ("cs(x | f | g)", "A term has one bar"),
        ("cs(x | g", "never closed"),
    ],
)
def test_what_cannot_be_read_says_what_can(cells, term, message) -> None:
    with pytest.raises(SpecificationError, match=message):
        bmm.Model(f"y ~ 1 + {term}", cells)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cs(x | g, hom=TRUE)", "homcs(1 + x | g)"),
        ("cs(x | g, hom=False)", "cs(1 + x | g)"),
        ("ar1(0 + f | g, hom=False)", "hetar1(0 + f | g)"),
        ("ar1(0 + f | g, hom=True)", "ar1(0 + f | g)"),
        ("diag(x | g, hom=True)", "homdiag(1 + x | g)"),
        ("diag(x | g)", "(1 + x || g)"),
        ("us(x | g)", "(1 + x | g)"),
    ],
)
def test_forms_of_one_structure(written, meant) -> None:
    specification = parse_formula(f"y ~ 1 + {written}")
    (term,) = specification.random_terms
    assert str(term) == meant
    (again,) = parse_formula(specification.normalised()).random_terms
    assert again == term


def test_columns_and_functions_called_as_a_structure_keep_working(cells) -> None:
    named = cells.rename(columns={"x": "cs", "time": "ar1"})
    model = bmm.Model("y ~ cs + diag(ar1) + (1 | g)", named, namespace={"diag": lambda x: x + 1.0})
    assert model.design.coefficients == ("Intercept", "cs", "diag(ar1)")


def test_nothing_outside_asks_which_structure_it_is() -> None:
    """No comparison with a structure's name, no isinstance of a structure, no import of one file of the folder."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "covariance"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Compare):
                compared = [node.left, *node.comparators]
                names = {
                    each.value
                    for side in compared
                    for each in ast.walk(side)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                } & set(STRUCTURES)
            elif isinstance(node, ast.Match):
                names = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)} & set(STRUCTURES)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bayesmm.covariance"):
                names = {alias.name for alias in node.names} & CLASSES
            if names:
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {sorted(names)}")
    assert not found, found
