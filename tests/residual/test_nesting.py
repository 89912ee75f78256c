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


NAMES = ("ar1", "car1")


def written(name: str, position: str = "age", group: str = "Subject") -> str:
    structure, _, spread = name.partition(" * ")
    if structure.startswith("het("):
        return structure
    return f"{structure}({position} | {group})" + (f" * {spread}" if spread else "")


@pytest.fixture(scope="module")
def orthodont() -> pd.DataFrame:
    return bmm.datasets.load("orthodont")


def test_special_cases_are_those_of_the_textbook(orthodont: pd.DataFrame) -> None:
    apart = orthodont.assign(age=orthodont["age"] // 2)  # one step
    designs = {name: bmm.Model("distance ~ age", apart, residual=written(name)).design for name in INSIDE}
    for small, inside in INSIDE.items():
        found = {large for large in designs if examine(designs[small], designs[large]).residual}
        assert found == {small, *inside}, small


def test_serial_correlation_over_even_steps_is_that_of_time_and_not_below_zero(orthodont: pd.DataFrame) -> None:
    ar1, car1 = (bmm.Model("distance ~ age", orthodont, residual=f"{name}(age | Subject)").fit() for name in NAMES)
    assert examine(ar1.design, car1.design).residual
    assert ar1.loglik == pytest.approx(car1.loglik, abs=1e-9)
    assert ar1.parameters["estimate"].to_numpy() == pytest.approx(car1.parameters["estimate"].to_numpy(), rel=1e-6)
    assert "residuals: AR(1) within 27 groups" in " ".join(str(ar1.summary()).split())


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


def test_structures_are_chosen_in_one_table_as_by_nlme(orthodont: pd.DataFrame) -> None:
    """nlme 3.1-162: anova of gls with corCompSymm and corAR1, each with corSymm and varIdent."""
    texts = ["us(age | Subject)", "homcs(age | Subject)", "ar1(age | Subject)", "het(Sex)"]
    fits = [bmm.Model("distance ~ Sex * C(age)", orthodont, residual=text).fit() for text in texts]
    found = bmm.anova(*fits, against="largest")
    assert set(found.table.index) == set(texts)  # called by what they differ in
    table = found.table
    assert table.loc["homcs(age | Subject)", "chisq"] == pytest.approx(9.373732, abs=1e-4)
    assert table.loc["homcs(age | Subject)", "p_value"] == pytest.approx(0.3118, abs=1e-4)
    assert table.loc["ar1(age | Subject)", "p_value"] == pytest.approx(0.0086, abs=1e-4)
    assert table["aic"].to_dict() == pytest.approx(
        {texts[0]: 450.0348, texts[1]: 443.4085, texts[2]: 454.5472, texts[3]: fits[3].aic}, abs=1e-3
    )
    assert table.loc[texts[0], "aicc"] == pytest.approx(fits[0].criteria().aicc)
    assert pd.isna(table.loc["het(Sex)", "p_value"])  # in us, variances differ by age, not by sex
    shown = " ".join(str(found).split())
    assert "het(Sex) is no special case of us(age | Subject)" in shown
    assert "distance ~ Sex * C(age); models by the covariance of their residuals" in shown
    with pytest.raises(bmm.errors.ArgumentError, match="'next' or 'largest'"):
        bmm.anova(*fits, against="first")
