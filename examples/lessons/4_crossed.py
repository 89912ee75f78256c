# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Crossed effects: who writes to whom
#
# In an office of 18 people, everybody writes to everybody else. For each ordered pair we have the logarithm of the
# number of e-mails. **Is a number large because the one writes much, or because the other is written to much?**

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesmm as bmm

made = bmm.datasets.simulate_dyads(18, sender_sd=0.9, receiver_sd=0.6, correlation=0.6, sigma=0.7, seed=1)
emails = made.data
square = emails.pivot_table(index="sender", columns="receiver", values="log_count", observed=True)
figure, ax = plt.subplots(figsize=(5.5, 4.5))
image = ax.imshow(square.to_numpy(), cmap="viridis")
ax.set(xlabel="receiver", ylabel="sender", xticks=[], yticks=[], title="log number of e-mails")
bar = figure.colorbar(image)
# %% [markdown]
# A bright row is a person who writes much. A bright column is one who is written to much. Senders are not nested in
# receivers, nor receivers in senders: every sender meets every receiver. Such factors are called crossed. The additive
# model is
#
# $$y_{ij} = \mu + a_i + b_j + \varepsilon_{ij}$$
#
# with $Var(a_i) = \sigma_a^2$, $Var(b_j) = \sigma_b^2$ and $Var(\varepsilon_{ij}) = \sigma^2$, all independent.
#
# **Predict before you read on.** What is the covariance of two numbers of e-mails
#
# 1. with the same sender, $y_{12}$ and $y_{13}$?
# 2. with the same receiver, $y_{13}$ and $y_{23}$?
# 3. with neither, $y_{12}$ and $y_{34}$?
#
# ## Three covariances
#
# Again, two numbers covary by what they share:
#
# $$Cov(y_{12}, y_{13}) = \sigma_a^2, \qquad Cov(y_{13}, y_{23}) = \sigma_b^2, \qquad Cov(y_{12}, y_{34}) = 0$$

# %%
crossed_model = bmm.Model("log_count ~ 1 + (1 | sender) + (1 | receiver)", emails)
crossed = crossed_model.fit()
row = {(pair.sender, pair.receiver): index for index, pair in zip(emails.index, emails.itertuples(), strict=True)}
pairs = [row["p01", "p02"], row["p01", "p03"], row["p02", "p03"], row["p03", "p04"]]
symbols = crossed_model.marginal_covariance(rows=pairs)
names = ["1 to 2", "1 to 3", "2 to 3", "3 to 4"]
assert symbols.iloc[0, 1] == "σ²(sender)"
assert symbols.iloc[1, 2] == "σ²(receiver)"
assert str(symbols.iloc[0, 3]) == "0"
symbols.set_axis(names).set_axis(names, axis=1)

# %%
at_fit = crossed_model.marginal_covariance(rows=pairs, at=crossed).to_numpy()
sds = crossed.parameters["estimate"]
a2, b2, e2 = sds["sd(Intercept | sender)"] ** 2, sds["sd(Intercept | receiver)"] ** 2, sds["sigma"] ** 2
senders, receivers = np.array([1, 1, 2, 3]), np.array([2, 3, 3, 4])
by_hand = a2 * (senders[:, None] == senders) + b2 * (receivers[:, None] == receivers) + e2 * np.eye(4)
assert np.allclose(at_fit, by_hand)
by_hand.round(2)

# %% [markdown]
# ## Look at the data
#
# The model says what the three covariances must be. The data can be asked without any model: take what is left after
# the mean, and average the products over all pairs of the kind. There is a fourth kind that we have not thought of: a
# number and its answer, $y_{12}$ and $y_{21}$.
#
# **Predict:** what does the additive model say of $Cov(y_{12}, y_{21})$? And what do you expect in an office?

# %%
left = square.to_numpy() - np.nanmean(square.to_numpy())
n = len(left)
filled = np.nan_to_num(left)  # nobody writes to oneself
same_sender = (filled.sum(1) ** 2 - (filled**2).sum(1)).sum() / (n * (n - 1) * (n - 2))
same_receiver = (filled.sum(0) ** 2 - (filled**2).sum(0)).sum() / (n * (n - 1) * (n - 2))
answer = (filled * filled.T).sum() / (n * (n - 1))
print(f"same sender {same_sender:.2f} (model {a2:.2f}), same receiver {same_receiver:.2f} (model {b2:.2f})")
print(f"a number and its answer {answer:.2f} (model 0)")

# %% [markdown]
# The first two are some 0.1 below the estimates of the model. This is because the mean was taken from the same data: it
# is the story of $n$ and $n - 1$ again, in the lesson on [REML](2_reml.py). The third is another matter.
#
# The additive model says zero, since nothing is shared: person 1 as a sender and person 1 as a receiver are different
# things to it. But those who write much are also written to much. The two effects of one person are correlated.
#
# ## One person, two effects
#
# `(1 | dyad(sender, receiver))` knows that a sender and a receiver of one name are one person. Each person has a pair
# of effects $(a_i, b_i)$, with a covariance $\sigma_{ab}$ between them.
#
# **Predict:** what is now $Cov(y_{12}, y_{21})$? It is a sum of covariances: $y_{12}$ has $a_1$ and $b_2$, $y_{21}$ has
# $a_2$ and $b_1$. And $Cov(y_{12}, y_{23})$?

# %%
model = bmm.Model(made.formula, emails)
fit = model.fit()
there_and_back = [row["p01", "p02"], row["p02", "p01"], row["p02", "p03"]]
covariance = model.marginal_covariance(rows=there_and_back)
assert covariance.iloc[0, 1] == "2·σ(sender, receiver | dyad(sender, receiver))"
assert covariance.iloc[0, 2] == "σ(sender, receiver | dyad(sender, receiver))"
print("1 to 2 and 2 to 1:", covariance.iloc[0, 1])
print("1 to 2 and 2 to 3:", covariance.iloc[0, 2])

# %%
pd.DataFrame({"truth": made.parameters, "estimate": fit.parameters["estimate"]}).round(2)

# %%
numbers = model.marginal_covariance(rows=there_and_back, at=fit).to_numpy()
print(f"a number and its answer: model {numbers[0, 1]:.2f}, data {answer:.2f}")
ratio = 2 * (model.fit("ml").loglik - crossed_model.fit("ml").loglik)
print(f"likelihood ratio against the additive model: {ratio:.1f}, one degree of freedom")

# %% [markdown]
# The data, with the 0.1 that they lack, and the model with correlated effects agree. The likelihood says so too: 3.8
# would be remarkable.
#
# ## Penicillin
#
# Six samples of penicillin were tested on each of 24 plates. The diameter of a zone is measured in mm. Every sample is
# on every plate: crossed again.
#
# **Predict:** do the plates or the samples differ more? Which of the two standard deviations is known better?

# %%
penicillin = bmm.datasets.load("penicillin")
zones = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", penicillin).fit()
zones.parameters[["estimate", "lower", "upper"]].round(2)

# %%
zones.plot_marginal_covariance({"plate": ["a", "b", "c"]})

# %% [markdown]
# The samples differ more, and there are six of them: their standard deviation has the wider interval. The small blocks
# are plates. The stripes beside them are samples, which come again on every plate. In nested data there would be
# blocks only.
#
# ## Students and lecturers
#
# Students rate lecturers from 1 to 5. No student rates all lecturers: the factors are crossed in part. This is one
# department of 14.

# %%
ratings = bmm.datasets.load("insteval")
ratings = ratings[ratings["dept"].astype(str) == "7"]
school = bmm.Model("y ~ 1 + (1 | s) + (1 | d)", ratings)
school_fit = school.fit()
print(f"{len(ratings)} ratings, {ratings['s'].nunique()} students, {ratings['d'].nunique()} lecturers")
school_fit.variance_shares().round(2)

# %% [markdown]
# Lecturers differ, students differ in how kindly they rate, and most is neither: what one student thinks of one
# lecturer. A lecturer's mean depends on who has rated. The crossed model takes the kindness of the students into
# account, and shrinks the lecturers with few ratings.
#
# ## Exercises
#
# **1.** What is the correlation of two numbers of e-mails with the same receiver, in the additive model? Compute it
# from the estimates, and check with `marginal_covariance`.

# %% tags=["hide-cell"]
total = a2 + b2 + e2
assert np.isclose(b2 / total, at_fit[1, 2] / np.sqrt(at_fit[1, 1] * at_fit[2, 2]))
print(f"σ_b² / (σ_a² + σ_b² + σ²) = {b2 / total:.2f}")

# %% [markdown]
# **2.** Is the sum of all that a person sends and receives, $a_i + b_i$, more or less variable when the effects are
# correlated? Compute its variance by the estimates of both models.

# %% tags=["hide-cell"]
group = "dyad(sender, receiver)"
sa, sb = (fit.parameters.loc[f"sd({effect} | {group})", "estimate"] for effect in ("sender", "receiver"))
covariance_ab = fit.parameters.loc[f"cor(sender, receiver | {group})", "estimate"] * sa * sb
assert np.isclose(2 * covariance_ab, numbers[0, 1])
assert sa**2 + sb**2 + 2 * covariance_ab > a2 + b2
print(f"crossed {a2 + b2:.2f}, dyad {sa**2 + sb**2 + 2 * covariance_ab:.2f}: more, by twice the covariance.")

# %% [markdown]
# **3.** The design of Penicillin is balanced, so that the BLUP of a plate is its own deviation from the mean, times
# $\sigma_p^2 / (\sigma_p^2 + \sigma^2 / 6)$. Check it. Why does the variance of the samples not occur?

# %% tags=["hide-cell"]
p2 = zones.parameters.loc["sd(Intercept | plate)", "estimate"] ** 2
own = penicillin.groupby("plate", observed=True)["diameter"].mean() - penicillin["diameter"].mean()
blups = zones.random_effects().query("group == 'plate'").set_index("level")["estimate"]
own.index = own.index.astype(str)
assert np.allclose(blups, own[blups.index] * p2 / (p2 + zones.sigma**2 / 6), atol=1e-4)
print("Every plate has all six samples, so that their effects drop out of the differences between plates.")

# %% [markdown]
# ## What to remember
#
# - Factors are crossed where levels of the one meet several levels of the other. Write one term for each.
# - In the additive model two observations covary by the sender, by the receiver, or not at all.
# - Where both factors are the same people, their effects may be correlated: `dyad`. Additive terms cannot see it.
# - Ask the data for the covariances that a model calls zero.
# - How well a variance is known depends on the number of levels of its own factor.
#
# More: [formulas](../../docs/formulas.md#several-levels-a-row), [tests of
# variances](../../docs/variance_components.md).
