"""Effects that differ in nothing but their names are told of."""

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning, DesignError


@pytest.fixture(scope="module")
def sleepstudy() -> pd.DataFrame:
    data = bmm.datasets.load("sleepstudy")
    first_seen = pd.factorize(data["Subject"])[0]
    return data.assign(
        a=[f"a{(code + 5) % 18}" for code in first_seen],
        const=3.0,
        twice=2.0 * data["Days"],
        late=data["Days"] + 10.0,
        far=1e7 + np.random.default_rng(0).normal(size=len(data)),
    )


@pytest.mark.parametrize(
    ("term", "column", "others"),
    [
        ("(1 + const | Subject)", "const", "'Intercept'"),
        ("(1 + const || Subject)", "const", "'Intercept'"),
        ("(1 + Days + const | Subject)", "const", "'Intercept'"),
        ("(Days + late | Subject)", "late", "'Intercept' and 'Days'"),
        ("(1 | Subject) + (0 + Days | Subject) + (0 + twice | Subject)", "twice", "'Days'"),
    ],
)
def test_column_made_up_of_others_is_named(sleepstudy: pd.DataFrame, term: str, column: str, others: str) -> None:
    with pytest.raises(DesignError, match=f"column '{column}' .* 'Subject' is made up of {others} in all 180 rows"):
        bmm.Model(f"Reaction ~ Days + {term}", sleepstudy)


@pytest.mark.parametrize("term", ["(0 + const | Subject)", "(Days + late || Subject)", "(far | Subject)"])
def test_columns_that_can_be_told_apart_are_not_refused(sleepstudy: pd.DataFrame, term: str) -> None:
    bmm.Model(f"Reaction ~ Days + {term}", sleepstudy)


@pytest.mark.parametrize(
    ("terms", "effects"),
    [
        ("(1 | Subject) + (1 | a)", "Intercept"),
        ("(Days | Subject) + (1 | a)", "Intercept"),
        ("(1 | a) + (late | Subject)", "Intercept"),
        ("(Days || Subject) + (0 + twice | a)", "Days and twice"),
    ],
)
def test_factors_that_divide_the_rows_alike_are_named_by_the_fit(
    sleepstudy: pd.DataFrame, terms: str, effects: str
) -> None:
    with pytest.warns(BayesmmWarning, match="divide the rows into the same 18 groups") as told:
        fit = bmm.Model(f"Reaction ~ Days + {terms}", sleepstudy).fit()
    (sentence,) = fit.confounded
    assert {"a", "Subject"} == set(sentence.split(" divide")[0].split(" and "))
    assert f"variances of {effects} add up to" in sentence
    assert [str(each.message) for each in told] == [sentence]
    assert sentence in " ".join(str(fit).split())


def test_factors_that_differ_in_effects_or_groups_are_not(sleepstudy: pd.DataFrame) -> None:
    for terms in ("(1 | Subject) + (0 + Days | a)", "(1 | Subject) + (1 | Days)"):
        assert bmm.Model(f"Reaction ~ 1 + {terms}", sleepstudy).fit().confounded == ()


@pytest.mark.parametrize(
    ("term", "noted"),
    [("(1 + far || g)", True), ("(1 + far | g)", False), ("(0 + far || g)", False), ("(1 + near || g)", False)],
)
def test_a_covariate_far_from_zero_is_noted_where_its_effects_are_uncorrelated(term, noted):
    rng = np.random.default_rng(2)
    near = rng.normal(size=120)
    effects = rng.normal(scale=3.0, size=(6, 2)).repeat(20, axis=0)
    y = effects[:, 0] + effects[:, 1] * near + rng.normal(size=120)
    data = pd.DataFrame({"y": y, "near": near, "far": 1e7 + near, "g": np.repeat(list("abcdef"), 20)})
    fit = bmm.Model(f"y ~ near + {term}", data).fit()
    notes = [note for note in fit.summary().notes if "further from zero" in note]
    assert [note.split(" times")[0] for note in notes] == ["far in (1 + far || g) is 1e+07"] * noted
    assert ("further from zero than it varies" in " ".join(str(fit).split())) == noted
