"""Parameters of each level of a factor, `us(visit | id, by=arm)`: names, what is refused, and two fits side by side."""

from __future__ import annotations

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm.errors import DesignError, SpecificationError

DATA = bmm.datasets.load("orthodont").assign(occasion=lambda d: (d["age"] / 2).astype(int))
EACH = "distance ~ Sex * C(age)"  # nothing is shared by the sexes


@pytest.mark.parametrize(
    "term", ["us(age | Subject{})", "ar1(occasion | Subject{})", "toep(age | Subject{})", "homad(age | Subject{})"]
)
def test_likelihood_is_that_of_two_models_where_nothing_is_shared(term):
    together = bmm.Model(EACH, DATA, residual=term.format(", by=Sex")).fit()
    apart = [bmm.Model("distance ~ C(age)", own, residual=term.format("")).fit() for _, own in DATA.groupby("Sex")]
    assert together.loglik == pytest.approx(sum(fit.loglik for fit in apart), abs=1e-6)
    for label, fit in zip(("Female", "Male"), apart, strict=True):
        for name in fit.labels.residual_cors:
            own = together.parameters.loc[f"{name[:-1]}, Sex[{label}])"]
            assert own["estimate"] == pytest.approx(fit.parameters.loc[name, "estimate"], abs=2e-5)
            assert own["std_error"] == pytest.approx(fit.parameters.loc[name, "std_error"], rel=1e-3)


def test_parameters_are_named_by_their_level_wherever_they_are_shown(tmp_path):
    fit = bmm.Model(EACH, DATA, residual="homcs(age | Subject, by=Sex)").fit()
    names = ["sigma(Sex[Male])", "rho(age | Subject, Sex[Female])", "rho(age | Subject, Sex[Male])"]
    assert [name for name in fit.parameters.index if name in names] == names
    text = str(fit.summary())
    assert all(name in text for name in names)
    assert "with parameters of its own for each Sex" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert list(fit.to_datatree()["estimate"]["residual_pair"].to_numpy()) == names[1:]
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_allclose(again.parameters["estimate"], fit.parameters["estimate"])
    written = fit.design.residual.specification.write()
    assert written == "homcs(age | Subject, by=Sex)"
    assert bmm.Model(EACH, DATA, residual=written).fit().loglik == fit.loglik


def test_one_set_of_parameters_is_a_special_case():
    one, each = (bmm.Model(EACH, DATA, residual=f"us(age | Subject{by})").fit() for by in ("", ", by=Sex"))
    table = bmm.anova(one, each).table
    assert table["df"].iloc[1] == 10
    assert np.isnan(
        bmm.anova(bmm.Model(EACH, DATA, residual="homcs(age | Subject, by=Sex)").fit(), one).table["p_value"].iloc[1]
    )


def test_beside_random_effects_of_larger_groups():
    data = DATA.assign(site=DATA["Subject"].str[-1])
    fit = bmm.Model("distance ~ Sex * age + (1 | site)", data, residual="ar1(occasion | Subject, by=Sex)").fit()
    assert fit.parameters.loc["sd(Intercept | site)", "estimate"] >= 0.0
    assert fit.status.name in ("CONVERGED", "BOUNDARY")


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("us(age | Subject, by=age)", SpecificationError, "what tells rows apart"),
        ("us(age | Subject, by=Subject)", SpecificationError, "what makes the groups"),
        ("us(age | Subject, by=occasion)", DesignError, "several levels of 'occasion'"),
        ("us(age | Subject, by=Sex, by=Sex)", SpecificationError, "by= once"),
        ("us(age | Subject, by=nothing)", DesignError, "nothing"),
        ("us(age | Subject, by=one)", DesignError, "'one' has one level"),
        ("us(age | Subject, by=Sex) * het(Sex)", DesignError, "others make up already"),
    ],
)
def test_what_cannot_be_is_refused(text, error, said):
    with pytest.raises(error, match=said):
        bmm.Model(EACH, DATA.assign(one="a"), residual=text)
