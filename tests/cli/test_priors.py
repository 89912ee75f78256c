"""Priors as text."""

import pytest

from bayesmm.cli.priors import read_priors
from bayesmm.errors import PriorError
from bayesmm.specification import priors


def test_no_text_leaves_the_defaults():
    assert read_priors(None) is None
    assert read_priors([]) is None


def test_flat_is_a_word():
    assert read_priors(["flat"]) == "flat"


def test_declarations_become_priors():
    texts = ["Days=Normal(0, -2.5e1 )".replace("-", ""), "sd(Days | Subject) = HalfNormal(sd=10)", "cor=LKJ(2)"]
    assert read_priors(texts) == {
        "Days": priors.Normal(0, 25.0),
        "sd(Days | Subject)": priors.HalfNormal(10),
        "cor": priors.LKJ(2),
    }


def test_names_and_arguments_may_hold_equals_signs():
    assert read_priors(["bs(x, df=4)[0]=Normal(-1, 1)", "sigma=Gamma(2, rate=1, on='variance')"]) == {
        "bs(x, df=4)[0]": priors.Normal(-1, 1),
        "sigma": priors.Gamma(2, 1, on="variance"),
    }


def test_priors_given_sigma_can_be_written():
    texts = ["sd(a)=Beta(1, 3)", "sd(b)=Uniform(0, 1, on='share')", "sd=BoxTiao(5)", "sigma=Reciprocal()"]
    assert list((read_priors(texts) or {}).values()) == [
        priors.Beta(1, 3),
        priors.Uniform(0, 1, on="share"),
        priors.BoxTiao(5),
        priors.Reciprocal(),
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["flat", "Days=Normal(0, 1)"], "is about all parameters, and 2 --priors were given"),
        (["Days"], r"'Days' is neither 'flat' nor NAME=PRIOR. Write, for example,"),
        (["Days=3"], "is neither 'flat' nor NAME=PRIOR"),
        (["Days=Normal"], "lacks its numbers in brackets"),
        (["Days=Normal(0, 1"], "is neither|cannot be read"),
        (["Days=Normal(0, )1)"], "cannot be read"),
        (["Days=Norml(0, 1)"], r"There is no prior 'Norml'. Did you mean Normal\? There are Normal,"),
        (["Days=Normal(0)"], "Normal takes the numbers mean, sd"),
        (["Days=Normal(0, s=1)"], "Normal takes the numbers mean, sd"),
        (["Days=Normal(0, x)"], "Normal takes the numbers mean, sd"),
        (["Days=Normal(0, -1)"], "sd is -1; give a number above zero"),
        (["Days=Normal(0, 1)", "Days=Normal(0, 2)"], "names 'Days' twice"),
        (["Days=Normal(__import__('os').getpid(), 1)"], "Normal takes the numbers mean, sd"),
        (["Days=Normal(**{'mean': 0, 'sd': 1})"], "Normal takes the numbers mean, sd"),
    ],
)
def test_what_cannot_be_read_is_said(texts, message):
    with pytest.raises(PriorError, match=message):
        read_priors(texts)
