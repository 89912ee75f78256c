"""What somebody gets wrong in the first hour, with habits of other programs: told what is wrong, what was seen, what to write."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from presenting.results import sleepstudy

import bayesmm as bmm
from bayesmm.errors import BayesmmError, KeywordError

SLEEP: pd.DataFrame = bmm.datasets.load("sleepstudy")
FORMULA = "Reaction ~ Days + (Days | Subject)"
WIDTH = 1000  # characters of a message
SLOW = np.where(SLEEP["Reaction"] > 300, "slow", "fast")


def make(formula: Any = FORMULA, data: Any = SLEEP, **how: Any) -> bmm.Model:
    return bmm.Model(formula, data, **how)


def result(name: str) -> Any:
    return dict(zip(("model", "fit", "posterior"), sleepstudy(), strict=True))[name]


def package() -> Any:
    return bmm


# By what is done: the call, what the message sees, and what it says to do.
MISTAKES = {
    "wrong column": (lambda: make("Reaction ~ days + (1 | Subject)"), "'days'", "Did you mean 'Days'?"),
    "wrong response": (lambda: make("RT ~ Days + (1 | Subject)"), "'RT'", "Columns: Reaction, Days, Subject"),
    "wrong group": (lambda: make("Reaction ~ Days + (1 | subject)"), "'subject'", "Did you mean 'Subject'?"),
    "response of words": (lambda: make(data=SLEEP.assign(Reaction=SLOW)), "such as 'fast'", "Name a numeric column"),
    "response of texts": (
        lambda: make(data=SLEEP.assign(Reaction=SLEEP["Reaction"].astype(str))),
        "numbers as texts, such as '194.3322'",
        "pd.to_numeric(data['Reaction'])",
    ),
    "response with units": (
        lambda: make(data=SLEEP.assign(Reaction=SLEEP["Reaction"].astype(str) + " ms")),
        "ms'",
        "str.extract",
    ),
    "response of truth values": (
        lambda: make(data=SLEEP.assign(Reaction=SLEEP["Reaction"] > 300)),
        "it is boolean",
        "Name a numeric column",
    ),
    "response of dates": (
        lambda: make(data=SLEEP.assign(Reaction=pd.date_range("2020-01-01", periods=180))),
        "datetime64",
        "Make it a number",
    ),
    "all missing": (lambda: make(data=SLEEP.assign(Reaction=np.nan)), "each of the 180 rows", "Reaction (180)"),
    "no rows": (lambda: make(data=SLEEP.iloc[:0]), "have no rows", "one row for each observation"),
    "infinite": (lambda: make(data=SLEEP.assign(Reaction=np.inf)), "180 infinite value", "set them to missing"),
    "= for ~": (lambda: make("Reaction = Days + (1 | Subject)"), "'=' stands where '~' belongs", "Write response ~"),
    "== for ~": (lambda: make("Reaction == Days + (1 | Subject)"), "'==' stands where", "Write response ~"),
    "data$x": (lambda: make("sleep$Reaction ~ Days + (1 | Subject)"), "Unexpected '$'", "x for data$x"),
    "data.x": (lambda: make("sleep.Reaction ~ Days + (1 | Subject)"), "'sleep.Reaction'", "Did you mean 'Reaction'?"),
    "data['x']": (lambda: make("sleep['Reaction'] ~ Days + (1 | Subject)"), "Unexpected '['", "in the data"),
    "no random effects": (lambda: make("Reaction ~ Days"), "no random-effects term", "(1 | group)"),
    "a bar without parentheses": (lambda: make("Reaction ~ Days + 1 | Subject"), "in parentheses", "(x | group)"),
    "an open parenthesis": (lambda: make("Reaction ~ (Days | Subject"), "never closed", "Add the closing one"),
    "a slash for a bar": (lambda: make("Reaction ~ (Days / Subject)"), "no random-effects term", "(1 | group)"),
    "nlme's random": (
        lambda: make("Reaction ~ Days, random = ~ 1 | Subject"),
        "more than one '~'",
        "Random effects are terms of the formula",
    ),
    "R's power": (lambda: make("Reaction ~ Days^2 + (1 | Subject)"), "not a square", "I(Days**2)"),
    "R's dot": (lambda: make("Reaction ~ . + (1 | Subject)"), "Unexpected '.'", "name the columns"),
    "mgcv's by=": (lambda: make("Reaction ~ s(Days, by=Subject)"), "s() has no by=", "homdiag(0 + s(x) | f)"),
    "a name with a blank": (lambda: make("Reaction ~ My Days + (1 | Subject)"), "'Days' follows", "Join terms by '+'"),
    "lme4's REML": (lambda: make(REML=False), "takes no REML=", "model.fit(method='ml')"),
    "lme4's REML later": (lambda: result("model").fit(REML=False), "Model.fit takes no REML=", "method='ml'"),
    "another case": (lambda: result("model").fit("REML"), "'REML'", "'reml' or 'ml'"),
    "False for a method": (lambda: result("model").fit(False), "method is False", "'reml' or 'ml'"),
    "statsmodels' groups": (lambda: make("Reaction ~ Days", groups="Subject"), "no groups=", "(x | group)"),
    "statsmodels' re_formula": (lambda: make("Reaction ~ Days", re_formula="~Days"), "no re_formula=", "(x | group)"),
    "brms' prior": (lambda: make(prior={"sd": 1}), "no prior=", "priors={'sd': bmm.priors.HalfNormal(10)}"),
    "brms' family": (lambda: make(family="binomial"), "no family=", "glmmTMB"),
    "brms' iter": (lambda: result("model").sample(iter=2000), "no iter=", "draws="),
    "brms' cores": (lambda: result("model").sample(cores=4), "no cores=", "beside each other"),
    "PyMC's random_seed": (lambda: result("model").sample(random_seed=4), "no random_seed=", "seed=1"),
    "a text for a number": (lambda: result("model").sample(chains="4"), "chains is '4'", "whole number"),
    "one prior": (lambda: make(priors=bmm.priors.HalfNormal(10)), "HalfNormal(sd=10.0", "give a mapping"),
    "a prior as text": (lambda: make(priors={"sd": "normal(0, 10)"}), "'normal(0, 10)'", "Normal(0, 10)"),
    "a prior as number": (lambda: make(priors={"sd": 10}), "priors['sd'] is 10", "write one of Normal"),
    "a prior of nothing": (lambda: make(priors={"sds": bmm.priors.HalfNormal(1)}), "['sds']", "Did you mean 'sd'?"),
    "the formula second": (lambda: make(SLEEP, FORMULA), "not DataFrame", "it comes first"),
    "a series": (lambda: make(data=SLEEP["Reaction"]), "of type Series", "Pass the whole table"),
    "a dict": (lambda: make(data=SLEEP.to_dict("list")), "of type dict", "pd.DataFrame(data)"),
    "a list of dicts": (lambda: make(data=SLEEP.to_dict("records")), "of type list", "pd.DataFrame(data)"),
    "an array": (lambda: make(data=SLEEP.to_numpy()), "of type ndarray", "columns="),
    "a path": (lambda: make(data="sleep.csv"), "'sleep.csv' is not there", "Check the path"),
    "nothing": (lambda: make(data=None), "of type NoneType", "Pass a pandas, polars or pyarrow table"),
    "weights that are not there": (lambda: make(weights="w"), "'w'", "Columns: Reaction"),
    "lmer": (lambda: package().lmer(FORMULA, SLEEP), "'lmer'", "bmm.Model(formula, data).fit()"),
    "brm": (lambda: package().brm(FORMULA, SLEEP), "'brm'", "sample(seed=1)"),
    "ranef of lme4": (lambda: package().ranef(result("fit")), "'ranef'", "fit.random_effects()"),
    "fixef of lme4": (lambda: package().fixef(result("fit")), "'fixef'", "fit.fixed_effects"),
    "ranef": (lambda: result("fit").ranef(), "'Fit' object has no attribute 'ranef'", "random_effects()"),
    "params": (lambda: result("fit").params, "'params'", "fixed_effects['estimate']"),
    "pvalues": (lambda: result("fit").pvalues, "'pvalues'", "fixed_effects['p_value']"),
    "conf_int": (lambda: result("fit").conf_int(), "'conf_int'", "parameter_table(level=0.95)"),
    "logLik": (lambda: result("fit").logLik, "'logLik'", "write loglik"),
    "resid": (lambda: result("fit").resid, "'resid'", "residuals()"),
    "idata": (lambda: result("posterior").idata, "'idata'", "a tree for ArviZ"),
    "pp_check": (lambda: result("posterior").pp_check(), "'pp_check'", "plot_predictive()"),
    "no fit yet": (lambda: result("model").summary(), "'Model' object has no attribute 'summary'", "fit.summary"),
    "no draws yet": (lambda: result("model").loo(), "'loo'", "model.sample(seed=1)"),
    "new data as dict": (lambda: result("fit").predict({"Days": [1]}), "of type dict", "pd.DataFrame(data)"),
    "new data without a column": (lambda: result("fit").predict(SLEEP[["Days"]]), "'Subject'", "Columns: Days"),
    "a level that is new": (lambda: result("fit").predict(SLEEP.assign(Subject="z")), "'z'", "new_levels='population'"),
    "standard errors": (lambda: result("fit").predict(se=True), "no se=", "interval='confidence'"),
    "per cent": (lambda: result("fit").summary(level=95), "level is 95", "such as 0.95"),
    "a parameter of another name": (lambda: result("fit").profile("days"), "'days'", "Intercept, Days"),
    "means by R's formula": (lambda: bmm.emmeans(result("fit"), "~ Days"), "'~ Days'", "it has Days"),
    "means of a model": (lambda: bmm.emmeans(result("model"), "Days"), "the type Model", "model.fit()"),
    "two fits compared": (lambda: bmm.compare(result("fit"), result("fit")), "a Fit and a Fit", "model.sample(seed=1)"),
    "ranking of no group": (lambda: bmm.ranking(result("fit"), "subject", "Days"), "'subject'", "'Subject'"),
    "an optimiser": (lambda: result("model").fit(maxiter=100), "no maxiter=", "ends by itself"),
    "lmerTest's ddf": (lambda: result("fit").anova(ddf="KR"), "Fit.anova takes no ddf=", "df='kenward-roger'"),
    "brms' re_formula": (lambda: result("fit").predict(re_formula=None), "no re_formula=", "random='none'"),
    "PyMC's sampler": (lambda: result("model").sample(nuts_sampler="x"), "no nuts_sampler=", "'importance'"),
    "ArviZ's interval": (lambda: result("posterior").summary(hdi_prob=0.9), "no hdi_prob=", "level=0.95"),
    "lme4's nsim": (lambda: bmm.power(result("fit"), nsim=9), "no nsim=", "write n="),
    "PyMC's sigma": (lambda: bmm.priors.HalfNormal(sigma=2), "no sigma=", "HalfNormal(sd)"),
    "PyMC's mu": (lambda: bmm.priors.Normal(mu=0, sigma=2), "no mu=", "Normal(mean, sd)"),
    "a plot of everything": (lambda: result("fit").plot(), "'plot'", "plot_groups()"),
    "a label of nothing": (
        lambda: bmm.publication_table(result("fit"), labels={"days": "Days awake"}),
        "'days', which is a coefficient of no model",
        "Did you mean 'Days'?",
    ),
    "a data set of another name": (lambda: bmm.datasets.load("sleep"), "'sleep'", "Did you mean 'sleepstudy'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_by_what_is_wrong_what_was_seen_and_what_to_do(name):
    call, seen, advice = MISTAKES[name]
    with pytest.raises((BayesmmError, AttributeError)) as caught:
        call()
    said = str(caught.value)
    assert seen in said, said
    assert advice in said, said
    assert len(said) < WIDTH
    assert said.rstrip()[-1] in ".?", said


def test_a_keyword_of_another_program_is_a_type_error_as_every_unknown_keyword():
    for call in (lambda: make(REML=True), lambda: result("model").sample(cores=2)):
        with pytest.raises(TypeError) as caught:
            call()
        assert isinstance(caught.value, KeywordError)
    with pytest.raises(TypeError, match=r"Did you mean 'draws'\?|unexpected keyword argument 'draw'"):
        result("model").sample(draw=10)


def test_what_other_libraries_look_for_is_answered_as_by_any_object():
    """Copies and pickles look for names that are not there, and so do notebooks."""
    for thing in sleepstudy():
        assert not hasattr(thing, "_ipython_canary_method_should_not_exist_")
        assert not hasattr(thing, "__array__")
        assert getattr(thing, "no_such_name", None) is None
        assert type(deepcopy(thing)) is type(thing)
    assert pickle.loads(pickle.dumps(sleepstudy()[1])).loglik == sleepstudy()[1].loglik


def test_tables_of_other_libraries_are_read():
    pl = pytest.importorskip("polars")
    assert make(data=pl.from_pandas(SLEEP)).fit().loglik == pytest.approx(sleepstudy()[1].loglik, abs=1e-9)
