# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Shrinkage: between none and all
#
# Eighteen drivers slept three hours a night, and their reaction time was measured on ten days. **By how many
# milliseconds a day does driver 335 slow down?** His own ten points say: not at all, he becomes faster. Do you believe
# it?

# %%
import numpy as np
import pandas as pd

import bayesmm as bmm

sleep = bmm.datasets.load("sleepstudy")
model = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep)
fit = model.fit()
fit.plot_groups(levels=["308", "309", "335", "337"])

# %% [markdown]
# There are three lines for each driver. One comes from his own points only. One is the same for all. The third lies
# between them. This lesson is about the third.
#
# ## No pooling
#
# A regression for each driver alone, by least squares:

# %%
own_lines = {
    name: np.polyfit(rows["Days"], rows["Reaction"], 1)[::-1] for name, rows in sleep.groupby("Subject", observed=True)
}
alone = pd.DataFrame(own_lines, index=["Intercept", "Days"]).T
alone.index = alone.index.astype(str)
alone.describe().loc[["mean", "std", "min", "max"]].round(1)

# %% [markdown]
# ## Complete pooling
#
# One regression for everybody has one slope, about 10.5 ms a day. It says that all drivers are alike, and the slopes
# above, from about −3 to about 22, say that they are not.
#
# ## Something between
#
# The mixed model says that each driver has his own line, and that the lines come from a population of lines:
#
# $$y_{ij} = (\beta_0 + b_{0i}) + (\beta_1 + b_{1i}) t_{ij} + \varepsilon_{ij}$$
#
# The pairs $(b_{0i}, b_{1i})$ are normal with mean zero and a covariance matrix $G$, and $\varepsilon_{ij}$ is normal
# with variance $\sigma^2$. The fit estimates $\beta$, $G$ and $\sigma$, and then predicts the $b$. These predictions
# are the BLUPs.
#
# **Predict before you read on.**
#
# 1. Will the BLUP of driver 335's slope be above or below his own slope?
# 2. Whose slope moves more, that of a driver near the average or that of one far from it?
# 3. Which spread more, the slopes alone or the BLUPs?

# %%
found = bmm.shrinkage(fit, of="coefficients")
columns = ["level", "unpooled", "complete", "estimate"]
slopes = found.table.query("effect == 'Days'")[columns].set_index("level")
assert np.allclose(slopes["unpooled"], alone.loc[slopes.index, "Days"], atol=1e-6)
slopes.sort_values("unpooled").iloc[[0, 1, -2, -1]].round(2)

# %%
found.plot()

# %% [markdown]
# Each arrow goes from a driver's own line to his BLUP. Nearly all point towards the middle, and those far out are the
# longest. Some are not quite straight to the middle: intercept and slope of one driver are learnt together.
#
# ## The weight
#
# For a driver with regression matrix $Z$ the BLUP is $W$ times his own deviation, with
#
# $$W = G (G + \sigma^2 (Z' Z)^{-1})^{-1}$$
#
# $G$ is how much drivers differ. $\sigma^2 (Z'Z)^{-1}$ is how badly one driver's own line is known. Where drivers
# differ much, $W$ is near one, and each keeps his own line. Where their own lines are noisy, $W$ is near zero.

# %%
W = found.weights["Subject"][0]
average = fit.fixed_effects["estimate"].to_numpy()
own = alone.loc["335"].to_numpy()
print("by hand    ", (average + W @ (own - average)).round(2))
blup = found.table.query("level == '335'")["estimate"].to_numpy()
print("from bayesmm", blup.round(2))
assert np.allclose(average + W @ (own - average), blup, atol=1e-4)

# %% [markdown]
# ## The posterior
#
# The weight above takes $G$ and $\sigma$ for known. They were estimated, from 18 drivers. A posterior averages over
# all values of $G$ and $\sigma$ that the data allow. There is then one weight in each draw.
#
# **Predict:** will the posterior means be far from the BLUPs? And the intervals?

# %%
posterior = model.sample(method="importance", draws=500, seed=1, progress=False)
drawn = bmm.shrinkage(posterior, of="coefficients")
shown = ["level", "unpooled", "estimate", "lower", "upper", "weight", "weight_lower", "weight_upper"]
of_slopes = drawn.table.query("effect == 'Days'")[shown].set_index("level")
both = of_slopes.assign(BLUP=slopes["estimate"])
both.loc[["308", "309", "335", "337"]].round(2)

# %%
drawn.plot(effects="Days")

# %% [markdown]
# The means are close to the BLUPs. What the posterior adds is the interval of the weight: these data do not say
# exactly how much to shrink. The interval of driver 335's slope has both signs.
#
# So the answer to our question: he slows down little, if at all. His own points say that he becomes faster; what we
# know of drivers says that this is rare; and the model weighs one against the other.
#
# ## Exercises
#
# **1.** Suppose that we had only the days 0 and 1 of driver 337, whose slope is among the
# steepest. Guess first: what happens
# to the BLUP of his slope? Then drop the other rows, and fit again.

# %% tags=["hide-cell"]
few = sleep[(sleep["Subject"].astype(str) != "337") | (sleep["Days"] <= 1)]
again = bmm.shrinkage(bmm.Model("Reaction ~ Days + (Days | Subject)", few).fit(), of="coefficients").table
now = again.query("effect == 'Days' and level == '337'").iloc[0]
print(f"weight {now['weight']:.2f}; from {now['unpooled']:.1f} alone to {now['estimate']:.1f} ms a day")
before = found.table.query("effect == 'Days' and level == '337'").iloc[0]
assert now["weight"] < 0.5 < before["weight"]
print("Two points say little of a slope, so that nearly all of it comes from the other drivers.")

# %% [markdown]
# **2.** The standard deviation of the 18 BLUPs of the slope is smaller than the estimate of `sd(Days | Subject)`. Why?
# Add what is missing: the variance of the true slopes is that of the BLUPs plus the mean of their squared conditional
# standard errors.

# %% tags=["hide-cell"]
blups = fit.random_effects().query("effect == 'Days'")
of_blups, of_errors = np.mean(blups["estimate"] ** 2), np.mean(blups["std_error"] ** 2)
estimate = fit.parameters.loc["sd(Days | Subject)", "estimate"]
print(f"BLUPs {np.sqrt(of_blups):.2f}, with errors {np.sqrt(of_blups + of_errors):.2f}, estimate {estimate:.2f}")
assert np.sqrt(of_blups) < estimate
assert np.isclose(np.sqrt(of_blups + of_errors), estimate, rtol=0.05)
print("BLUPs are shrunken on purpose: each is the best guess for one driver, and guesses spread less than the truth.")

# %% [markdown]
# **3.** Shrinkage is meant to predict better. Fit on the days 0 to 4, and predict the days 5 to 9 of each driver from
# his own line, from the common line, and from his BLUP. Which has the smallest error?

# %% tags=["hide-cell"]
early, late = sleep[sleep["Days"] <= 4], sleep[sleep["Days"] > 4]
lines = bmm.shrinkage(bmm.Model("Reaction ~ Days + (Days | Subject)", early).fit(), of="coefficients").table
error = {}
for kind in ("unpooled", "complete", "estimate"):
    line = lines.pivot_table(index="level", columns="effect", values=kind).loc[late["Subject"].astype(str)]
    predicted = line["Intercept"].to_numpy() + line["Days"].to_numpy() * late["Days"].to_numpy()
    error[kind] = np.sqrt(np.mean((late["Reaction"] - predicted) ** 2))
print({kind: round(float(value), 1) for kind, value in error.items()})
assert error["estimate"] == min(error.values())

# %% [markdown]
# ## What to remember
#
# - No pooling believes one driver's data only, complete pooling only what all have in common. Partial pooling weighs
#   them.
# - The weight comes from two variances: how much groups differ, and how badly one group's own estimate is known.
# - What is far out and what is badly known moves most.
# - BLUPs spread less than the effects that they predict.
# - A fit has one weight; a posterior has a distribution of weights.
#
# More: [shrinkage](../../docs/shrinkage.md), and the lesson [how sure is a BLUP](6_blup.py).
