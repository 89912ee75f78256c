# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. What is REML?
#
# Six batches of a dyestuff, five samples of each. **How much do batches differ?** Two methods give two answers: a
# standard deviation of 37 by maximum likelihood, 42 by REML. Which is right, and where does the difference come from?

# %%
import numpy as np
import pandas as pd

import bayesmm as bmm

dyes = bmm.datasets.load("dyestuff")
model = bmm.Model("Yield ~ 1 + (1 | Batch)", dyes)
reml, ml = model.fit("reml"), model.fit("ml")
reml.plot_groups()

# %%
pd.DataFrame({"ML": ml.parameters["estimate"], "REML": reml.parameters["estimate"]}).round(2)

# %% [markdown]
# ## A smaller question first
#
# You know one such pair. The variance of $n$ numbers can be computed with $n$ or with $n - 1$:
#
# $$\frac{1}{n} \sum (y_i - \bar y)^2, \qquad \frac{1}{n - 1} \sum (y_i - \bar y)^2$$
#
# The first is maximum likelihood, and too small on average: the mean was fitted to the same numbers, so that they lie
# nearer to it than to the true mean. The second pays for the mean with one degree of freedom. The second is REML.
#
# **Predict before you read on.** In the dyes one mean is estimated too. Why does this matter for the variance between
# batches, and not for that within?
#
# ## The same with batches
#
# Let $a$ be the number of batches, $n$ the samples in each, $S_b$ the mean square between batches and $S_w$ that
# within. In balanced data both estimates of $\tau^2$ can be written down, as long as they are positive:
#
# $$t_{REML} = \frac{S_b - S_w}{n}, \qquad t_{ML} = \frac{(1 - 1/a) S_b - S_w}{n}$$
#
# Only six batch means speak of the variance between batches, and one of six degrees of freedom went to the mean.


# %%
def mean_squares(y):
    """Mean squares between and within; y has shape (..., a, n)."""
    between = y.shape[-1] * y.mean(-1).var(-1, ddof=1)
    within = y.var(-1, ddof=1).mean(-1)
    return between, within


between, within = mean_squares(dyes["Yield"].to_numpy(dtype=float).reshape(6, 5))
by_hand = {"ML": np.sqrt((5 / 6 * between - within) / 5), "REML": np.sqrt((between - within) / 5)}
assert np.isclose(by_hand["ML"], ml.parameters.loc["sd(Intercept | Batch)", "estimate"], rtol=1e-4)
assert np.isclose(by_hand["REML"], reml.parameters.loc["sd(Intercept | Batch)", "estimate"], rtol=1e-4)
print({name: round(float(value), 2) for name, value in by_hand.items()})

# %% [markdown]
# ## Which one is right on average?
#
# We make 20,000 data sets of six batches, with $\tau^2 = 1$ and $\sigma^2 = 1$.
#
# **Predict:** what will the averages of $t_{REML}$ and $t_{ML}$ be, roughly?

# %%
rng = np.random.default_rng(1)
made = rng.standard_normal((20_000, 6, 1)) + rng.standard_normal((20_000, 6, 5))
b, w = mean_squares(made)
for name, estimates in {"ML": (5 / 6 * b - w) / 5, "REML": (b - w) / 5}.items():
    print(f"{name:5} mean {estimates.mean():.2f}, with negative ones set to zero {estimates.clip(0).mean():.2f}")

# %% [markdown]
# ML is too small by a fifth. REML is right on average. Few estimates are negative here; where batches differ less, many
# would be, and with zeros in their place the average of REML becomes too large.
#
# ## The other face of REML
#
# REML maximises the likelihood after the mean has been averaged out, over all its values with equal weight. That is
# what a Bayesian does with a flat prior on the mean. So the REML estimate is the peak of a posterior: flat priors on
# the mean and on both standard deviations. bayesmm checks it in numbers, with the program that draws posteriors.

# %%
identity = model.check_identity()
identity.modes[["REML", "sd", "variance", "log"]].round(2)

# %% [markdown]
# The column `sd` equals `REML`. The next ones are peaks of the very same posterior, on other scales: a peak depends on
# whether we speak of $\tau$, $\tau^2$ or $\log \tau$. A median does not. This is a reason to report medians and
# intervals.
#
# ## On the edge
#
# These are data of the same shape, in which the batches hardly differ.

# %%
flat = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2"))
flat_fit = flat.fit()
flat_fit.plot_groups()

# %% [markdown]
# **Predict:** what will REML say of the standard deviation between batches? And a posterior?

# %%
flat_posterior = flat.sample(method="quadrature", draws=500, seed=1, progress=False)
print(f"REML {flat_fit.parameters.loc['sd(Intercept | Batch)', 'estimate']:.2f}")
flat_posterior.parameters[["mean", "sd", "lower", "upper"]].round(2)

# %%
bmm.compare(flat_fit, flat_posterior).plot()

# %% [markdown]
# REML says zero. Zero is the peak of the likelihood, not a finding that batches are all the same. The posterior is
# highest near zero, too, and most of its probability is above: standard deviations of one half, or one, fit these data
# nearly as well.
#
# ## Eight schools
#
# In eight schools the effect of coaching was estimated, each with its standard error. The standard errors are known,
# so $\sigma$ is fixed at one and the weights are one over their squares. $\tau$ is how much the true effects differ.

# %%
schools = bmm.datasets.load("eight_schools")
coaching = bmm.Model("y ~ 1 + (1 | school)", schools, weights="1 / sigma**2", sigma=1.0)
coaching_fit = coaching.fit()
coaching_posterior = coaching.sample(method="quadrature", draws=1000, seed=1, progress=False)
name = "sd(Intercept | school)"
tau = coaching_posterior.parameters.loc[name]
print(f"REML: τ = {coaching_fit.parameters.loc[name, 'estimate']:.2f}")
print(f"posterior: mean {tau['mean']:.1f}, 95 % interval {tau['lower']:.1f} to {tau['upper']:.1f}")

# %%
coaching_effects = coaching_posterior.random_effects().set_index("level")
mean = coaching_posterior.parameters.loc["Intercept", "mean"]
table = schools.assign(REML=coaching_fit.fitted).set_index("school")
table.assign(posterior=mean + coaching_effects["mean"]).round(1)

# %% [markdown]
# With $\tau = 0$ all schools get the same effect, and no doubt is left about their differences. The posterior averages
# over $\tau$: school A keeps part of its lead.
#
# ## Exercises
#
# **1.** A log-likelihood by REML depends on how the fixed effects are coded. Fit the sleep study with time in days and
# in weeks, by both methods, and compare the log-likelihoods. What follows for likelihood-ratio tests of fixed effects?

# %% tags=["hide-cell"]
sleep = bmm.datasets.load("sleepstudy").assign(Weeks=lambda rows: rows["Days"] / 7)
change = {}
for method in ("ml", "reml"):
    days = bmm.Model("Reaction ~ Days + (1 | Subject)", sleep).fit(method)
    weeks = bmm.Model("Reaction ~ Weeks + (1 | Subject)", sleep).fit(method)
    change[method] = weeks.loglik - days.loglik
assert np.isclose(change["ml"], 0, atol=1e-6)
assert np.isclose(change["reml"], np.log(7), atol=1e-6)
print(f"ML changes by {abs(change['ml']):.2f}, REML by {change['reml']:.3f}, which is log 7.")
print("Models with different fixed effects are compared by ML; REML would compare units.")

# %% [markdown]
# **2.** Batches do differ: $\tau^2 = 0.1$ with $\sigma^2 = 1$, six batches of five. How often is REML's estimate zero
# all the same?

# %% tags=["hide-cell"]
weak = np.sqrt(0.1) * rng.standard_normal((20_000, 6, 1)) + rng.standard_normal((20_000, 6, 5))
b, w = mean_squares(weak)
zero = np.mean(b < w)
# Draws of the F distribution that theory gives: S_b / S_w ~ (1 + 5 · 0.1) F(5, 24).
theory = np.mean(1.5 * rng.f(5, 24, 200_000) < 1)
assert abs(zero - theory) < 0.02
print(f"In {zero:.0%} of the data sets. Theory says {theory:.0%}.")

# %% [markdown]
# **3.** By what factor is ML's estimate of the residual variance too small in a regression with 20 rows and 8
# coefficients, on average? Check with simulated numbers.

# %% tags=["hide-cell"]
X = rng.standard_normal((20, 8))
y = rng.standard_normal((20, 5000))
left = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
ratio = (left**2).sum(0).mean() / 20
assert np.isclose(ratio, 12 / 20, atol=0.02)
print(f"By (20 − 8) / 20 = 0.6; simulated {ratio:.2f}. REML divides by 12.")

# %% [markdown]
# ## What to remember
#
# - REML pays for the estimated fixed effects with degrees of freedom, as $n - 1$ does. The fewer groups, the more it
#   matters.
# - REML is also the peak of a posterior with flat priors, in standard deviations. Peaks depend on the scale.
# - An estimate of zero is a peak at the edge. It does not say that there is no variation. Look at the posterior, or at
#   an interval.
# - Compare models with different fixed effects by ML, not by REML.
#
# More: [REML as a posterior mode](../../docs/identity.md), [tests of variances](../../docs/variance_components.md).
