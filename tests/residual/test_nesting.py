"""Which covariances of residuals are special cases of which: textbook inclusions, all others refused."""

from __future__ import annotations

import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.comparison.nesting import examine

# What each is a special case of, beside itself; ages are two years apart.
INSIDE = {
    "het(Sex)": {"us * het(Sex)"},
    "homcs": {"cs", "homtoep", "toep", "homus", "us", "us * het(Sex)"},
    "cs": {"toep", "us", "us * het(Sex)"},
    "ar1": {"hetar1", "homtoep", "toep", "homad", "ad", "homus", "us", "us * het(Sex)"},
    "hetar1": {"toep", "ad", "us", "us * het(Sex)"},
    "car1": {"ar1", "hetar1", "homtoep", "toep", "homad", "ad", "homus", "us", "us * het(Sex)"},
    "homtoep": {"toep", "homus", "us", "us * het(Sex)"},
    "toep": {"us", "us * het(Sex)"},
    "homad": {"ad", "homus", "us", "us * het(Sex)"},
    "ad": {"us", "us * het(Sex)"},
    "homus": {"us", "us * het(Sex)"},
    "us": {"us * het(Sex)"},
    "us * het(Sex)": set(),
}


def written(name: str, position: str = "age", group: str = "Subject") -> str:
    structure, _, spread = name.partition(" * ")
    if structure.startswith("het("):
        return structure
    return f"{structure}({position} | {group})" + (f" * {spread}" if spread else "")


@pytest.fixture(scope="module")
def orthodont() -> pd.DataFrame:
    return bmm.datasets.load("orthodont")


def test_special_cases_are_those_of_the_textbook(orthodont: pd.DataFrame) -> None:
    designs = {name: bmm.Model("distance ~ age", orthodont, residual=written(name)).design for name in INSIDE}
    for small, inside in INSIDE.items():
        found = {large for large in designs if examine(designs[small], designs[large]).residual}
        assert found == {small, *inside}, small


def test_steps_of_unequal_length_are_no_lags(orthodont: pd.DataFrame) -> None:
    apart = orthodont.assign(age=orthodont["age"].replace({14: 20}))
    designs = [
        bmm.Model("distance ~ age", apart, residual=written(name)).design for name in ("ar1", "homtoep", "homad")
    ]
    assert not examine(designs[0], designs[1]).residual
    assert examine(designs[0], designs[2]).residual


def test_other_groups_are_no_special_case(orthodont: pd.DataFrame) -> None:
    renamed = orthodont.assign(who="s" + orthodont["Subject"].astype(str), half=orthodont["age"] > 10)
    own, same, other = (
        bmm.Model("distance ~ age", renamed, residual=text).design
        for text in ("homcs(age | Subject)", "us(age | who)", "homcs(age | Subject:half)")
    )
    assert examine(own, same).residual
    assert not examine(own, other).residual


def test_independent_residuals_are_inside_all(orthodont: pd.DataFrame) -> None:
    independent = bmm.Model("distance ~ age + (1 | Subject)", orthodont).design
    for name in ("ar1", "het(Sex)"):
        correlated = bmm.Model("distance ~ age + (1 | Subject)", orthodont, residual=written(name)).design
        assert examine(independent, correlated).random
        assert not examine(correlated, independent).random
