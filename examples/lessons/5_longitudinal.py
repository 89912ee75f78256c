# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. Longitudinal data
#
# A person's blood pressure is measured at three visits. We call their times −1, 0 and 1. The person has a level of
# their own and a trend of their own. **How alike are the three readings of one person, and how much do people differ
# at each visit?**
#
# Below are lines of thirty people, drawn three times. The lines have the same mean in all three pictures, levels at
# time 0 that differ by the same amount, and slopes that differ by the same amount. Only one number is different: the
# correlation of level and slope.

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesmm as bmm

rng = np.random.default_rng(5)
first, second = rng.standard_normal((2, 30))
ends = np.array([-1.5, 1.5])
figure, panels = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for panel, correlation in zip(panels, (-0.7, 0.0, 0.7), strict=True):
    level = 10 + 2 * first
    slope = 1 + correlation * first + np.sqrt(1 - correlation**2) * second
    panel.plot(ends, level + np.outer(ends, slope), color="C0", alpha=0.5, linewidth=1)
    panel.set(title=f"correlation {correlation:g}".replace("-", "−"), xlabel="time", xticks=(-1, 0, 1))
_ = panels[0].set_ylabel("response")

# %% [markdown]
# **Predict before you read on.**
#
# 1. In which picture do people differ most at time 1? In which at time −1?
# 2. Somebody moves the origin of time, so that the visits are at 0, 1 and 2. Which numbers of the model change?
#
# ## The model, and what it implies
#
# Person $i$ at time $t$ has the response
#
# $$y_{it} = \beta_0 + \beta_1 t + b_{0i} + b_{1i} t + \varepsilon_{it}$$
#
# The level $b_{0i}$ has variance $\sigma_0^2$, the slope $b_{1i}$ has variance $\sigma_1^2$, and their covariance is
# $\sigma_{01} = \rho \sigma_0 \sigma_1$. The residual has variance $\sigma^2$. The formula is `y ~ t + (t | person)`:
# left of the bar what varies, right of it between whom.
#
# Nobody sees $b_{0i}$ and $b_{1i}$. What can be seen is the mean of the responses and how they vary and covary: the
# *marginal* mean and covariance. bayesmm writes them in symbols. There are no data yet, so the responses may be
# anything:

# %%
visits = pd.DataFrame({"person": np.repeat(["a", "b"], 3), "t": np.tile([-1, 0, 1], 2), "y": np.arange(6.0)})
model = bmm.Model("y ~ t + (t | person)", visits)
model.marginal_mean(rows=[0, 1, 2])

# %% [markdown]
# The covariance is a table of three by three. Its diagonal has the variances at −1, 0 and 1:

# %%
symbols = model.marginal_covariance(rows=[0, 1, 2])
for row, t in enumerate((-1, 0, 1)):
    print(f"variance at {t:>2}:  {symbols.iloc[row, row]}")
print(f"covariance of −1 and 0:  {symbols.iloc[0, 1]}")
print(f"covariance of −1 and 1:  {symbols.iloc[0, 2]}")
print(f"covariance of  0 and 1:  {symbols.iloc[1, 2]}")

# %% [markdown]
# By hand it is one line. For times $s$ and $t$ of one person
#
# $$\mathrm{Cov}(y_{is}, y_{it}) = \sigma_0^2 + (s + t) \sigma_{01} + s t \sigma_1^2$$
#
# and $\sigma^2$ is added where both are the same reading. So the variance at time $t$ is
#
# $$\mathrm{Var}(y_{it}) = \sigma_0^2 + 2 t \sigma_{01} + t^2 \sigma_1^2 + \sigma^2$$
#
# a parabola in $t$. If the correlation is positive, people spread out to the right; if it is negative, to the left.
# This answers the first question: people differ most at time 1 in the right picture, and most at time −1 in the left
# one.
#
# ## In numbers
#
# Let $\sigma_0 = 2$, $\sigma_1 = 1$, $\rho = 0.5$ and $\sigma = 1$. Then $\sigma_{01} = 0.5 \cdot 2 \cdot 1 = 1$.
# **Work out the nine numbers on paper before you look.**

# %%
values = {
    "Intercept": 10,
    "t": 1,
    "sd(Intercept | person)": 2,
    "sd(t | person)": 1,
    "cor(Intercept, t | person)": 0.5,
    "sigma": 1,
}
implied = model.marginal_covariance(rows=[0, 1, 2], at=values)
implied.round(1)

# %% [markdown]
# The same in the language of matrices: $Z$ has a row for each visit with 1 and $t$, $G$ is the covariance of level and
# slope, and the marginal covariance is $Z G Z' + \sigma^2 I$.

# %%
Z = np.array([[1, -1], [1, 0], [1, 1]])
G = np.array([[4, 1], [1, 1]])
by_hand = Z @ G @ Z.T + np.eye(3)
assert np.allclose(by_hand, implied)
print(by_hand)

# %% [markdown]
# And a third way, which believes no formula: draw the three readings of one person 20,000 times and look.

# %%
drawn = bmm.simulate("y ~ t + (t | person)", visits, values, n=20_000, seed=1)
print(np.cov(drawn.loc[[0, 1, 2]]).round(1))

# %% [markdown]
# Without a random slope all variances are $\sigma_0^2 + \sigma^2$ and all covariances $\sigma_0^2$, however far apart
# two visits are. That is called compound symmetry. The correlation of any two readings is then $\sigma_0^2 /
# (\sigma_0^2 + \sigma^2)$, the intraclass correlation:

# %%
alone = bmm.Model("y ~ t + (1 | person)", visits)
print(alone.marginal_covariance(rows=[0, 1, 2]).to_string(header=False))

# %% [markdown]
# ## Where is zero?
#
# The second question. Somebody writes $t^* = t + 1$, so that the first visit is at 0. Now "the level" is the level at
# the first visit. Real data show what that does: the distance between two points of the head of 27 children at 8, 10,
# 12 and 14 years.

# %%
children = bmm.datasets.load("orthodont")
children["from8"] = children["age"] - 8
children["from11"] = children["age"] - 11
zeros = {
    name: bmm.Model(f"distance ~ {name} + ({name} | Subject)", children).fit() for name in ("age", "from8", "from11")
}
rows = {}
for name, fit in zeros.items():
    estimates = fit.parameters["estimate"]
    rows[name] = {
        "sd of level": estimates["sd(Intercept | Subject)"],
        "sd of slope": estimates[f"sd({name} | Subject)"],
        "correlation": estimates[f"cor(Intercept, {name} | Subject)"],
        "sigma": estimates["sigma"],
        "log-likelihood": fit.loglik,
    }
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# One model, three ways to say it. The slope, the residual and the likelihood are the same. The level and its
# correlation with the slope depend on the place of zero: with `age` as it is, "level" is that of a newborn, whom
# nobody measured. So:
#
# - A correlation of level and slope means nothing until you say where zero is.
# - Put zero at a time that means something.
# - Do not drop the correlation, `(t || person)`, because it looks small. Without it the model is no longer the same
#   for every zero.

# %%
without = [bmm.Model(f"distance ~ {name} + ({name} || Subject)", children).fit().loglik for name in zeros]
print("without the correlation:", [round(value, 3) for value in without])

# %% [markdown]
# What the fit implies for two children: the further apart two visits, the less alike the readings.

# %%
zeros["from11"].plot_marginal_covariance({"Subject": ["M01", "M02"]}, correlation=True)

# %% [markdown]
# ## Blood pressure, from wide to long
#
# The health survey NHANES takes up to four readings of the systolic pressure (the higher number, when the heart beats)
# and of the diastolic pressure (the lower one). We simulate 600 people in that shape, with a truth that we know. The
# table is *wide*: a row for each person, a column for each reading, and gaps.

# %%
rng = np.random.default_rng(7)
people = 600
wide = pd.DataFrame({"subject": np.arange(1, people + 1), "age": rng.integers(20, 80, people)})
wide["female"] = rng.integers(0, 2, people)
both, systolic, diastolic = (sd * rng.standard_normal(people) for sd in (6.0, 10.0, 6.5))
mean = 50 + 0.3 * wide["age"] - 2.5 * wide["female"] + both
for reading in (1, 2, 3, 4):
    wide[f"SY{reading}"] = mean + 50 + systolic + 4 * rng.standard_normal(people)
    wide[f"DI{reading}"] = mean + diastolic + (5 if reading < 4 else 4) * rng.standard_normal(people)
    missed = rng.random(people) < (0.07 if reading < 4 else 0.6)
    wide.loc[missed, [f"SY{reading}", f"DI{reading}"]] = np.nan
wide.iloc[:3, :7].round(1)

# %% [markdown]
# A mixed model wants a row for each observation. `bmm.to_long` takes the readings apart by the names of their columns,
# and leaves out visits that did not happen. What is constant for a person, as age, is repeated.

# %%
readings = bmm.to_long(wide, pattern="{variable}{time}", id="subject", time="reading", drop_missing=True)
readings.head(4).round(1)

# %% [markdown]
# The two kinds of pressure are two columns yet. A second step puts them below each other, with a column that says
# which it is, and two columns that say so with 0 and 1:

# %%
long = readings.melt(["subject", "reading", "age", "female"], ["SY", "DI"], var_name="kind", value_name="bp")
long = long.dropna().sort_values(["subject", "kind", "reading"], ignore_index=True)
long["sy"], long["di"] = (long["kind"] == "SY").astype(int), (long["kind"] == "DI").astype(int)
long["early"] = ((long["di"] == 1) & (long["reading"] < 4)).astype(int)  # diastolic, of the first three readings
print(f"{len(wide)} rows wide, {len(long):,} rows long")

# %% [markdown]
# ## Eight models for it
#
# All have `bp ~ age + female`, and `kind` where both kinds are in the data. They differ in what a person has of their
# own.
#
# | | Data | Random part | A person has |
# |---|---|---|---|
# | 1 | both | none: least squares | nothing; rows are taken as independent |
# | 2 | systolic | `(1 \| subject)` | a level |
# | 3 | diastolic | `(1 \| subject)` | a level |
# | 4 | diastolic | `(reading \| subject)` | a level and a trend over the readings |
# | 5 | both | `(1 \| subject)` | one level for both kinds |
# | 6 | both | `(1 \| subject/kind)` | a level, and a deviation for each kind, of equal variance |
# | 7 | both | `(1 \| subject) + (0 + sy \| subject) + (0 + di \| subject)` | the same, with a variance for each kind |
# | 8 | both | those of 7 and `(0 + early \| subject:reading)` | and the first three diastolic readings are less exact |
#
# Model 1 is no mixed model. We do it with numpy, to see what it gets wrong.

# %%
of = {"systolic": long[long["kind"] == "SY"], "diastolic": long[long["kind"] == "DI"], "both": long}
own = "(1 | subject) + (0 + sy | subject) + (0 + di | subject)"
formulas = {
    2: ("systolic", "bp ~ age + female + (1 | subject)"),
    3: ("diastolic", "bp ~ age + female + (1 | subject)"),
    4: ("diastolic", "bp ~ age + female + reading + (reading | subject)"),
    5: ("both", "bp ~ age + female + kind + (1 | subject)"),
    6: ("both", "bp ~ age + female + kind + (1 | subject/kind)"),
    7: ("both", f"bp ~ age + female + kind + {own}"),
    8: ("both", f"bp ~ age + female + kind + {own} + (0 + early | subject:reading)"),
}
models = {number: bmm.Model(formula, of[data]) for number, (data, formula) in formulas.items()}

# %% [markdown]
# **Predict.** In model 5 all that a person's two pressures share, and all that they do not, must go into one level and
# the residual. The truth has a residual of 4 to 5. Will σ of model 5 be smaller, equal or larger?

# %%
fits = {number: each.fit() for number, each in models.items()}
spread = {number: fit.parameters.query("kind != 'fixed'")["estimate"] for number, fit in fits.items()}
table = pd.DataFrame(spread).sort_index(key=lambda names: names.str.replace("sigma", "z")).round(2)
table.astype(object).where(table.notna(), "")

# %% [markdown]
# Far larger: it is nearly 8, not 4 to 5. The two pressures of a person differ by more than the kind alone, and model 5
# has no other place for it. Model 6 gives the kinds a deviation of their own, model 7 one of different size for the
# systolic (truth 10) and the diastolic pressure (truth 6.5). Model 8 finds the second part of the residual: the truth
# is 4 for all readings, and $\sqrt{5^2 - 4^2} = 3$ more for the early diastolic ones.
#
# Models 2 and 3 see one kind only. Their level is the sum of what a person's kinds share and what they do not:
# $\sqrt{6^2 + 10^2} = 11.7$ for the systolic pressure.
#
# Model 4 looks for trends, and here there are none. What the fit said:

# %%
print(*fits[4].singular_directions)
fits[4].variance_tests()

# %% [markdown]
# **Predict.** Models 5 to 8 have the same fixed effects, so that their restricted likelihoods can be compared. Each
# has one parameter more than the one before. Where is the largest step?

# %%
steps = pd.DataFrame(
    {
        number: {"parameters": fits[number].n_parameters, "log-likelihood": fits[number].loglik}
        for number in (5, 6, 7, 8)
    }
).T
steps["gained"] = steps["log-likelihood"].diff()
steps.round(1)

# %% [markdown]
# Each step is worth it; a gain of 2 would be. The largest one is that the kinds have deviations at all.
#
# What model 8 says of one person with four visits, as a picture. A systolic reading has more in common with another
# systolic one than with a diastolic one, and the blocks show it:

# %%
complete = long.groupby("subject")["bp"].size().eq(8).idxmax()
fits[8].plot_marginal_covariance({"subject": [str(complete)]})

# %% [markdown]
# ## What least squares gets wrong
#
# Model 1 takes nearly 3,800 rows for as many pieces of evidence. Age is a property of 600 people. **Predict:** is its
# standard error of the effect of age too small or too large?

# %%
X = np.column_stack([np.ones(len(long)), long["age"], long["female"], long["sy"]])
coefficients, squares, *_ = np.linalg.lstsq(X, long["bp"].to_numpy(), rcond=None)
errors = np.sqrt(np.diag(np.linalg.inv(X.T @ X)) * squares[0] / (len(long) - 4))
model8 = fits[8].fixed_effects.loc[["age", "female", "kind[T.SY]"]]
pd.DataFrame(
    {
        "truth": [0.3, -2.5, 50],
        "model 1": coefficients[1:],
        "its std_error": errors[1:],
        "model 8": model8["estimate"],
        "its std_error ": model8["std_error"],
    }
).round(3)

# %% [markdown]
# Too small, by nearly half, for what differs between people. For the kind, which every person has both of, there is
# less to lose, and still some: people differ in how far their kinds are apart.
#
# ## Exercises
#
# **1.** With the values of above, what are the variance at time 2 and the correlation of times 0 and 2? First on
# paper, then with `marginal_covariance`.

# %% tags=["hide-cell"]
variance_at_2 = 4 + 2 * 2 * 1 + 2**2 * 1 + 1
covariance = 4 + (0 + 2) * 1 + 0
correlation = covariance / np.sqrt(5 * variance_at_2)
later = pd.DataFrame({"person": np.repeat(["a", "b"], 3), "t": np.tile([0, 1, 2], 2), "y": np.arange(6.0)})
found = bmm.Model("y ~ t + (t | person)", later).marginal_covariance(rows=[0, 2], at=values).to_numpy()
assert variance_at_2 == 13
assert np.isclose(found[1, 1], 13)
assert np.isclose(found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]), correlation)
print(f"variance 13, correlation 6 / √(5 · 13) = {correlation:.2f}")

# %% [markdown]
# **2.** For the children, at what age are level and slope uncorrelated? Use $\mathrm{Cov}(b_0 + b_1 t^*, b_1) =
# \sigma_{01} + t^* \sigma_1^2$, take that age for zero, and fit again. What does `||` cost now?

# %% tags=["hide-cell"]
estimates = zeros["from11"].parameters["estimate"]
sd_level, sd_slope = estimates["sd(Intercept | Subject)"], estimates["sd(from11 | Subject)"]
place = 11 - estimates["cor(Intercept, from11 | Subject)"] * sd_level / sd_slope
children["from_place"] = children["age"] - place
again = bmm.Model("distance ~ from_place + (from_place | Subject)", children).fit()
uncorrelated = bmm.Model("distance ~ from_place + (from_place || Subject)", children).fit()
assert abs(again.parameters.loc["cor(Intercept, from_place | Subject)", "estimate"]) < 1e-3
assert np.isclose(again.loglik, zeros["age"].loglik)
assert np.isclose(uncorrelated.loglik, again.loglik, atol=1e-4)
print(f"At {place:.1f} years. There the correlation is zero, and || costs nothing. At any other zero it does.")

# %% [markdown]
# **3.** Model 7 has three variances for the two kinds. `(0 + kind | subject)` has two standard deviations and a
# correlation. Show that it is the same model, and say when it would not be.

# %% tags=["hide-cell"]
unstructured = bmm.Model("bp ~ age + female + kind + (0 + kind | subject)", long).fit()
assert np.isclose(unstructured.loglik, fits[7].loglik, atol=1e-3)
e, u = spread[7] ** 2, unstructured.parameters["estimate"]
total = np.sqrt(e["sd(Intercept | subject)"] + e["sd(sy | subject)"])
shared = u["cor(kind[DI], kind[SY] | subject)"] * u["sd(kind[DI] | subject)"] * u["sd(kind[SY] | subject)"]
assert np.isclose(total, u["sd(kind[SY] | subject)"], rtol=1e-3)
assert np.isclose(shared, e["sd(Intercept | subject)"], rtol=1e-2)
print("The covariance of the kinds is the variance of the shared level. Model 7 cannot make it negative, this one can;")
print("and in model 7 it is at most the smaller of the two variances.")

# %% [markdown]
# ## What to remember
#
# - A random intercept makes all readings of a person equally alike. A random slope makes the variance a parabola in
#   time, and readings far apart less alike.
# - Write down the marginal covariance. It is what the data can speak of, and `model.marginal_covariance` writes it for
#   you.
# - The variance of the level, and its correlation with the slope, are about the place of zero. Choose it; keep the
#   correlation.
# - What a model has no place for goes into its residual. Compare models of the same fixed effects by their restricted
#   likelihood.
# - What differs between people is known from people, not from rows. Least squares on all rows is too sure of it.
# - `bmm.to_long` makes one row an observation. Gaps are no problem: nobody is dropped for a missed visit.
#
# More: [estimates](../../docs/estimates.md), [formulas](../../docs/formulas.md), [data sets](../../docs/datasets.md).
