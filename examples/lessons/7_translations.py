# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. The same model in other programs
#
# A colleague sends a result of Stata, a paper has SAS code, the course before used lme4 or statsmodels. **Is it the
# same model? And if the numbers differ, who is right?**
#
# Mostly nobody is wrong. The programs fit the same models, but they assume different things where you say nothing.
# This page goes through the features one by one. It has the same data throughout: reaction times of 18 people over ten
# days of short sleep.

# %%
import importlib.util

import numpy as np
import pandas as pd

import bayesmm as bmm

sleep = bmm.datasets.load("sleepstudy")
fit = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep).fit()
fit.plot_groups()

# %% [markdown]
# **Predict before you read on.** You ask five programs for "a random intercept and a random slope", and nothing else.
#
# 1. In which of lme4, Stata, SAS, brms and Bambi are intercept and slope correlated?
# 2. Which of them fit by REML?
#
# ## About the numbers on this page
#
# bayesmm's numbers are computed when the page is made. Where statsmodels and Bambi are installed they run beside it
# and are compared. Where they are not, the page says so and nothing else changes: their numbers in the text were
# recorded, with statsmodels 0.15.0 and Bambi 0.21.0. Those of R were recorded with lme4 1.1-31 and nlme 3.1-162. SAS
# and Stata were not run for it: what is said of them is from their manuals, and their numbers follow from the same
# likelihood.

# %%
has_statsmodels = importlib.util.find_spec("statsmodels") is not None
has_bambi = importlib.util.find_spec("bambi") is not None
plain = sleep.assign(Subject=sleep["Subject"].astype(str))


def beside(fit, formula, data, **options):
    """Fit by statsmodels too, where it is installed, and compare the log-likelihoods."""
    if not has_statsmodels:
        return f"bayesmm {fit.loglik:.3f}; statsmodels is not installed here"
    from statsmodels.formula.api import mixedlm

    reml = options.pop("reml", True)
    other = mixedlm(formula, data, **options).fit(reml=reml)
    assert np.isclose(other.llf, fit.loglik, atol=1e-3)
    return f"bayesmm {fit.loglik:.3f}; statsmodels {other.llf:.3f}"


# %% [markdown]
# ## What they do when you say nothing
#
# | | Method | Random effects of one group | Degrees of freedom of fixed effects | Prints spreads as |
# |---|---|---|---|---|
# | bayesmm | REML | correlated | Satterthwaite | standard deviations, correlations, with intervals |
# | lme4 | REML | correlated | none; lmerTest: Satterthwaite | variances, standard deviations |
# | statsmodels | REML | `re_formula`: correlated; `vc_formula`: not | infinite: z | variances and covariances |
# | Stata `mixed` | **ML** | **not correlated** | infinite: z | variances, with intervals |
# | SAS PROC MIXED | REML | **not correlated** (`TYPE=VC`) | containment | variances and covariances |
# | brms | posterior | correlated | | standard deviations, correlations |
# | Bambi | posterior | **not correlated** | | standard deviations |
#
# So the first question about a result that differs is always: ML or REML, and with the correlation or without?
#
# ## Random intercept
#
# | | |
# |---|---|
# | bayesmm, lme4, brms, Bambi | `Reaction ~ Days + (1 \| Subject)` |
# | statsmodels | `mixedlm("Reaction ~ Days", data, groups="Subject").fit()` |
# | Stata | `mixed reaction days \|\| subject:, reml` |
# | SAS | `model Reaction = Days / solution ddfm=sat; random intercept / sub=Subject;` |

# %%
intercept = bmm.Model("Reaction ~ Days + (1 | Subject)", sleep).fit()
print(beside(intercept, "Reaction ~ Days", plain, groups="Subject"))
print(intercept)

# %% [markdown]
# lme4 and statsmodels have a restricted log-likelihood of −893.2325 too. SAS prints $-2$ times it, 1786.5, as "−2 Res
# Log Likelihood". statsmodels prints the variance of the intercepts, 1378.176, and calls the residual variance
# "Scale", 960.457:

# %%
variances = intercept.parameters.query("kind != 'fixed'")["estimate"] ** 2
assert np.allclose(variances, [1378.176, 960.457], rtol=1e-4)
variances.round(1)

# %% [markdown]
# ## Random slopes, correlated or not
#
# | | Correlated | Uncorrelated |
# |---|---|---|
# | bayesmm, lme4, brms | `(Days \| Subject)` | `(Days \|\| Subject)` |
# | Bambi | not available | `(Days \| Subject)` |
# | statsmodels | `re_formula="~ Days"` | `vc_formula={"level": "1", "slope": "0 + Days"}` |
# | Stata | `\|\| subject: days, cov(unstructured)` | `\|\| subject: days` |
# | SAS | `random intercept Days / subject=Subject type=un;` | `type=vc`, the default |

# %%
uncorrelated = bmm.Model("Reaction ~ Days + (Days || Subject)", sleep).fit()
print(beside(fit, "Reaction ~ Days", plain, groups="Subject", re_formula="~ Days"))
print(beside(uncorrelated, "Reaction ~ Days", plain, groups="Subject", vc_formula={"level": "1", "slope": "0 + Days"}))
pd.DataFrame(
    {"(Days | Subject)": fit.parameters["estimate"], "(Days || Subject)": uncorrelated.parameters["estimate"]}
).round(2)

# %% [markdown]
# lme4 has −871.8141 and −871.8346. What statsmodels 0.15.0 prints for the correlated model:
#
# ```text
#                     Coef.  Std.Err.   z    P>|z|  [0.025  0.975]
# Intercept          251.405    6.825 36.838 0.000 238.029 264.781 Days                10.467    1.546  6.771 0.000
# 7.438  13.497 Subject Var        612.096   11.881 Subject x Days Cov   9.605    1.821 Days Var            35.072
# 0.610
# ```
#
# "Subject Var" is the variance of the intercepts, and "Subject x Days Cov" the covariance of intercept and slope.
# **Look at the standard error of 612.096. Does 11.881 seem right, with 18 people?** The estimates of variances are in
# squared milliseconds, but these standard errors are not: they are those of the ratio to the residual variance, times
# the square root of that variance. The ratio has the error $11.881 / \sqrt{654.94} = 0.464$, and in the units of the
# variance that makes about 300. bayesmm's is near to it, from its standard deviation by the delta method:

# %%
sd, error = fit.parameters.loc["sd(Intercept | Subject)", ["estimate", "std_error"]]
ratio_error = 11.881 / np.sqrt(654.94)
print(f"variance {sd**2:.0f}, standard error {2 * sd * error:.0f}; from statsmodels {ratio_error * 654.94:.0f}")

# %% [markdown]
# The two are not quite the same, since the second leaves out the error of the residual variance. Neither is for ±2: a
# variance has a skewed distribution, and the intervals in bayesmm's tables are not symmetric. Better ones are those of
# `fit.profile()`.
#
# ## Nested
#
# Casks within batches of paste. The casks of every batch are called a, b, c: cask a of batch A has nothing to do with
# cask a of batch B.
#
# | | |
# |---|---|
# | bayesmm, lme4, brms, Bambi | `(1 \| batch/cask)` |
# | statsmodels | `groups="batch", re_formula="1", vc_formula={"cask": "0 + C(cask)"}` |
# | Stata | `\|\| batch: \|\| cask:` |
# | SAS | `random batch cask(batch);` |
#
# The second group is called `batch:cask` by bayesmm, `cask:batch` by lme4. `(1 | batch) + (1 | cask)` would be another
# model, in which the three letters are the levels.

# %%
paste = bmm.datasets.load("pastes")[["strength", "batch", "cask"]]
nested = bmm.Model("strength ~ 1 + (1 | batch/cask)", paste).fit()
text = paste.astype({"batch": str, "cask": str})
print(beside(nested, "strength ~ 1", text, groups="batch", re_formula="1", vc_formula={"cask": "0 + C(cask)"}))
nested.parameters[["estimate", "lower", "upper"]].round(2)

# %% [markdown]
# lme4 has −123.4954.
#
# ## Crossed
#
# Each of six samples of penicillin was tested on each of 24 plates.
#
# | | |
# |---|---|
# | bayesmm, lme4, brms, Bambi | `(1 \| plate) + (1 \| sample)` |
# | statsmodels | `groups="one"`, one group of all rows, and a `vc_formula` for both |
# | Stata | `\|\| _all: R.sample \|\| plate:` |
# | SAS | `random plate sample;` |

# %%
mould = bmm.datasets.load("penicillin")
crossed = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", mould).fit()
text = mould.astype({"plate": str, "sample": str}).assign(one=1)
parts = {"plate": "0 + C(plate)", "sample": "0 + C(sample)"}
print(beside(crossed, "diameter ~ 1", text, groups="one", vc_formula=parts))
crossed.parameters[["estimate", "lower", "upper"]].round(2)

# %% [markdown]
# lme4 has −165.4303. statsmodels gets there by a dense matrix of all rows, and Stata by one for all levels of the
# factor after `R.`: both are for small data. bayesmm and lme4 use what is sparse.
#
# ## ML or REML
#
# | | REML | ML |
# |---|---|---|
# | bayesmm | `.fit()` | `.fit("ml")` |
# | lme4 | `lmer(...)` | `lmer(..., REML = FALSE)` |
# | statsmodels | `.fit()` | `.fit(reml=False)` |
# | Stata | `, reml` | the default |
# | SAS | the default | `proc mixed method=ml` |

# %%
ml = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep).fit("ml")
print(beside(ml, "Reaction ~ Days", plain, groups="Subject", re_formula="~ Days", reml=False))
print(f"AIC {ml.aic:.2f}, BIC {ml.bic:.2f}; by REML {fit.aic:.2f}, {fit.bic:.2f}")

# %% [markdown]
# By ML lme4 and statsmodels have −875.9697, and AIC and BIC are the same in all three, 1763.94 and 1783.10. By REML
# they are not: lme4 and bayesmm count all six parameters. statsmodels gives no AIC then (`nan`). SAS counts the four
# of the covariances only, since the fixed effects are not in the restricted likelihood:

# %%
print(f"AIC as SAS counts by REML: {-2 * fit.loglik + 2 * 4:.2f}")

# %% [markdown]
# ## Weights
#
# Here one word has three meanings. Look at which one your program has before you carry a column over.
#
# | | Weight of a row means |
# |---|---|
# | bayesmm `weights="w"`, lme4 `weights=w`, SAS `weight w;` | precision: residual variance $\sigma^2 / w$ |
# | brms `y \| weights(w)`, Bambi `weighted(y, w)` | the log-likelihood of the row counts $w$ times |
# | Stata `[pw=w]`, `[fw=w]` | sampling probability, or number of copies of the row |
# | statsmodels | not available |

# %%
weighted = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep.assign(w=np.tile([1.0, 2.0], 90)), weights="w").fit()
print(f"restricted log-likelihood {weighted.loglik:.4f}, sigma {weighted.sigma:.4f}; lme4: −875.2783, 30.8777")
assert np.isclose(weighted.loglik, -875.2783, atol=1e-3)

# %% [markdown]
# Precisions in brms are those of $\sigma$: `bf(y ~ ..., sigma ~ offset(-0.5 * log(w)))`. Where the residual variances
# themselves are known, as in a meta-analysis, bayesmm takes `weights="1 / s**2", sigma=1` and brms `y | se(s)`.
#
# ## BLUPs
#
# | | Effects | Their errors |
# |---|---|---|
# | bayesmm | `fit.random_effects()` | conditional; `uncertainty="full"` for more |
# | lme4 | `ranef(m)` | `condVar = TRUE`: conditional |
# | statsmodels | `result.random_effects` | `result.random_effects_cov`: conditional |
# | Stata | `predict b*, reffects` | `reses(se*)` |
# | SAS | `random ... / solution` | with the error of the fixed effects; `uncertainty="fixed"` here |
# | brms, Bambi | `ranef(m)`; draws of `1\|Subject` | of the posterior: all of it |

# %%
effects = fit.random_effects().query("level == '308'")
effects = effects.assign(as_sas=fit.random_effects(uncertainty="fixed").loc[effects.index, "std_error"])
effects[["level", "effect", "estimate", "std_error", "as_sas"]].round(3)

# %%
if has_statsmodels:
    from statsmodels.formula.api import mixedlm

    theirs = mixedlm("Reaction ~ Days", plain, groups="Subject", re_formula="~ Days").fit()
    assert np.allclose(theirs.random_effects["308"], effects["estimate"], rtol=1e-3)
    print("statsmodels:", theirs.random_effects["308"].round(3).tolist())
else:
    print("statsmodels is not installed here. Recorded for 308: 2.259, 9.199")

# %% [markdown]
# ## Prediction
#
# | | With the random effects | Without | New levels |
# |---|---|---|---|
# | bayesmm | `fit.predict(new)` | `random="none"` | `new_levels="population"` |
# | lme4 | `predict(m, new)` | `re.form = NA` | `allow.new.levels = TRUE` |
# | statsmodels | `fittedvalues`, of the data only | `predict(new)` | are all that `predict` knows |
# | Stata | `predict, fitted` | `predict, xb` | |
# | SAS | `outp=` | `outpm=` | rows without response in the data |
# | brms | `posterior_epred(m, new)` | `re_formula = NA` | `allow_new_levels = TRUE` |
# | Bambi | `model.predict(idata, data=new)` | `include_group_specific=False` | `sample_new_groups=True` |
#
# **Predict:** `predict(m)` of lme4 and `result.predict(data)` of statsmodels for the first row, subject 308 on day 0.
# Are they the same?

# %%
row = sleep.head(1)
print(
    f"with subject 308's effects {fit.predict(row).iloc[0]:.1f}, without {fit.predict(row, random='none').iloc[0]:.1f}"
)

# %% [markdown]
# lme4 gives the first, 253.7, statsmodels the second, 251.4.
#
# ## Tests
#
# | | Fixed effects | Variances |
# |---|---|---|
# | bayesmm | t and F; `df=` has four choices | `fit.variance_tests()`: mixtures, exact, bootstrap |
# | lme4 | none; lmerTest and pbkrtest add them | lmerTest `ranova`, RLRsim |
# | statsmodels | z, too sure with few groups | none |
# | Stata | z; `reml dfmethod(kroger)`, `dfmethod(satterthwaite)` | all at once against none (`chibar2`); `lrtest` |
# | SAS | `ddfm=sat`, `ddfm=kr`; the default is containment | `covtest`; `COVTEST` in PROC GLIMMIX |
# | brms, Bambi | intervals of the posterior | leave-one-out, Bayes factors |

# %%
rows = {df: fit.coefficients(df=df).loc["Days"] for df in ("normal", "satterthwaite", "kenward-roger")}
table = pd.DataFrame(rows).T[["df", "statistic", "p_value", "lower", "upper"]]
table["p_value"] = [f"{p:.1e}" for p in table["p_value"]]
table.round(3)

# %% [markdown]
# The first line is what statsmodels prints, 7.438 to 13.497. The second is lmerTest's, with 17.0 degrees of freedom:
# 18 people tell of a mean slope, not 180 rows. The p-value of $z$ is some 250,000 times smaller.
#
# ## Covariance structures
#
# | | bayesmm | SAS | Stata | R |
# |---|---|---|---|---|
# | compound symmetry | `homcs(0 + f \| g)`, or `(1 \| g/f)` | `type=cs` | `cov(exchangeable)` | nlme `pdCompSymm` |
# | the same, own variances | `cs(0 + f \| g)` | `type=csh` | | glmmTMB `cs` |
# | autoregressive | `ar1(0 + C(t) \| g)` | `type=ar(1)` | `residuals(ar 1, t(t))` | nlme `corAR1`, glmmTMB `ar1` |
# | the same, own variances | `hetar1(0 + C(t) \| g)` | `type=arh(1)` | | glmmTMB `hetar1` |
#
# Six workers, three machines, three runs each. Compound symmetry of the machines is the nested model, written in
# another way, where the correlation is positive:

# %%
machines = bmm.datasets.load("machines")
structures = (
    "(1 | Worker/Machine)",
    "homcs(0 + Machine | Worker)",
    "cs(0 + Machine | Worker)",
    "(0 + Machine | Worker)",
)
rows = {}
for structure in structures:
    found = bmm.Model(f"score ~ Machine + {structure}", machines).fit()
    rows[structure] = {"parameters": found.n_parameters, "log-likelihood": found.loglik, "AIC": found.aic}
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# There is a catch. `type=ar(1)` in a REPEATED statement of SAS, `corAR1` of nlme, `residuals(ar 1)` of Stata and
# `ar()` of brms are structures of the *residuals*: there is nothing beside them. Here `ar1` is one of random effects,
# as in glmmTMB, and an independent residual is added. With a residual of next to nothing it is theirs:

# %%
theirs = bmm.Model("Reaction ~ Days + ar1(0 + C(Days) | Subject)", sleep, sigma=0.1).fit()
ours = bmm.Model("Reaction ~ Days + ar1(0 + C(Days) | Subject)", sleep).fit()
assert np.isclose(theirs.loglik, -869.603, atol=1e-3)
for name, found in {"residuals alone": theirs, "and independent ones": ours}.items():
    spread = found.parameters.query("kind != 'fixed'")["estimate"].round(3)
    print(f"{name}: log-likelihood {found.loglik:.3f},", spread.tolist())

# %% [markdown]
# nlme's `gls(Reaction ~ Days, correlation = corAR1(form = ~ Days | Subject))` has −869.603, a standard deviation of
# 49.515 and a correlation of 0.800: the first line. lme4 1.1, statsmodels and Bambi have none of these structures.
#
# ## Posteriors: brms and Bambi
#
# brms reads the same formulas. Bambi's `(Days | Subject)` is `(Days || Subject)` here. Priors differ, and with 18
# people that can be seen:
#
# | Prior of | bayesmm | brms | Bambi |
# |---|---|---|---|
# | standard deviations | half Student t, 3 df, wide | half Student t, 3 df | half normal, wide |
# | correlations | LKJ(1) | LKJ(1) | none there |

# %%
model = bmm.Model("Reaction ~ Days + (Days || Subject)", sleep)
posterior = model.sample(method="quadrature", seed=1, progress=False)
print(model.priors)

# %%
ours = posterior.parameters[["mean", "sd"]].round(1)
if has_bambi:
    import logging

    import bambi

    logging.disable(logging.WARNING)
    drawn = bambi.Model("Reaction ~ Days + (Days | Subject)", plain).fit(
        draws=500, tune=500, chains=2, random_seed=1, progressbar=False
    )
    names = ["Intercept", "Days", "1|Subject_sigma", "Days|Subject_sigma", "sigma"]
    ours["Bambi"] = [float(drawn.posterior[name].mean().round(1)) for name in names]
else:
    print("Bambi is not installed here. Recorded of 600 draws: 250, 10, 27, 6.4, 26")
ours.round(1)

# %% [markdown]
# ## What each of them lacks, and has
#
# - **lme4**: no p-values, degrees of freedom or structures by itself; all of them in packages around it. Also
#   generalised models (`glmer`), which bayesmm does not have.
# - **statsmodels**: no weights, no degrees of freedom, no structures, no prediction with random effects for new rows;
#   crossed effects only for small data. Slow for large data, and it may not converge: model 4 of the [blood
#   pressures](5_longitudinal.py) took it 22 s for 5,000 rows, with a warning and a second attempt.
# - **Stata**: no precision weights; crossed effects of many levels are heavy. Has structures of residuals, and survey
#   weights.
# - **SAS**: has nearly all structures, also of residuals, spatial ones and products. `type=vc` and containment are
#   what you get unless you ask.
# - **brms**: has nearly everything, by sampling; no REML to compare with. Minutes rather than seconds.
# - **Bambi**: other families, and the same formulas; no correlation of random effects, no structures.
# - **bayesmm**: Gaussian responses only. No structures of residuals beside those that random effects can express, no
#   spatial ones. Fits and posteriors of one formula, side by side.
#
# ## Exercises
#
# **1.** A Stata log has `mixed reaction days || subject: days` and a log-likelihood. Write the model and the method in
# bayesmm, and say which two options would make it lme4's default.

# %% tags=["hide-cell"]
stata = bmm.Model("Reaction ~ Days + (Days || Subject)", sleep).fit("ml")
assert stata.n_parameters == 5
assert stata.loglik <= ml.loglik
print(f"(Days || Subject) by ML, {stata.loglik:.4f}. With `cov(unstructured) reml` it is (Days | Subject) by REML.")

# %% [markdown]
# **2.** From the variances 612.096, 9.605 and 35.072 that statsmodels printed, make the standard deviations and the
# correlation. Compare with the fit.

# %% tags=["hide-cell"]
by_hand = [np.sqrt(612.096), np.sqrt(35.072), 9.605 / np.sqrt(612.096 * 35.072)]
names = ["sd(Intercept | Subject)", "sd(Days | Subject)", "cor(Intercept, Days | Subject)"]
assert np.allclose(by_hand, fit.parameters.loc[names, "estimate"].astype(float), rtol=1e-3)
print([round(float(value), 3) for value in by_hand])

# %% [markdown]
# **3.** SAS prints "−2 Res Log Likelihood 1743.6" and "AIC 1751.6", lme4 an AIC of 1755.6. Show that it is one fit.

# %% tags=["hide-cell"]
assert np.isclose(-2 * fit.loglik, 1743.6, atol=0.05)
assert np.isclose(-2 * fit.loglik + 2 * 4, 1751.6, atol=0.05)
assert np.isclose(-2 * fit.loglik + 2 * 6, fit.aic)
print(
    "Four parameters of covariances in the one, six with the fixed effects in the other: 4 less in AIC, one likelihood."
)

# %% [markdown]
# **4.** Show that `(1 | batch) + (1 | cask)` is another model of the pastes, and how it can be seen in the printed
# fit.

# %% tags=["hide-cell"]
wrong = bmm.Model("strength ~ 1 + (1 | batch) + (1 | cask)", paste).fit()
assert wrong.loglik < nested.loglik - 10
print(f"log-likelihood {wrong.loglik:.1f} instead of {nested.loglik:.1f};", *str(wrong).splitlines()[1:2])
print("Three levels of cask: the letters. There are thirty casks.")

# %% [markdown]
# ## What to remember
#
# - Compare in this order: the rows used, ML or REML, correlated or not, the log-likelihood. Where the log-likelihoods
#   agree, it is one model and one fit, and the rest is printing.
# - Variances or standard deviations? Square them before you worry.
# - "Weights" has three meanings.
# - A p-value needs degrees of freedom. If none are printed, they are infinite.
# - A structure is of random effects or of residuals. These are different models.
# - "Predict" is with or without the random effects. Ask for the one you mean.
#
# More: [for users of lme4](../../docs/for_lme4_users.md), [formulas](../../docs/formulas.md),
# [estimates](../../docs/estimates.md), [performance](../../docs/performance.md).
