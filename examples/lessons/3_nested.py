# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Nested groups: neighbourhoods in cities in states
#
# People live in neighbourhoods, neighbourhoods lie in cities, and cities in states. We ask people how content they are,
# on a scale with a mean of 50. **If two people are alike, is it because of the street, the town or the state?**
#
# The data are made, so that we know the truth: 12 states, 4 cities in each, 5 neighbourhoods in each city, 3 people in
# each neighbourhood.

# %%
import numpy as np
import pandas as pd

import bayesmm as bmm

truth = {"state": 2.0, "city": 1.5, "neighbourhood": 1.0}
made = bmm.datasets.simulate_nested(
    {"state": 12, "city": 4, "neighbourhood": 5}, sds=truth, sigma=2.0, intercept=50.0, observations=3, seed=1
)
people = made.data
model = bmm.Model("y ~ 1 + (1 | state/city/neighbourhood)", people)
fit = model.fit()
fit.plot_variance_shares()

# %% [markdown]
# The model of person $l$ in neighbourhood $k$ of city $j$ in state $i$ is a sum of four independent parts:
#
# $$y_{ijkl} = \mu + s_i + c_{ij} + n_{ijk} + \varepsilon_{ijkl}$$
#
# `(1 | state/city/neighbourhood)` is short for one intercept for each state, one for each city of each state, and one
# for each neighbourhood of each city: `(1 | state) + (1 | state:city) + (1 | state:city:neighbourhood)`.
#
# **Predict before you read on.** Ann and Bob live in the same neighbourhood. Cleo lives in the same city, in another
# neighbourhood.
#
# 1. Which of the four parts do Ann and Bob share? Which do Ann and Cleo share?
# 2. Write down the $3 \times 3$ covariance matrix of the three, with $\sigma_s^2, \sigma_c^2, \sigma_n^2, \sigma^2$.
#
# ## Three people
#
# What two people share is what makes them covary. Everything else is independent. So
#
# $$Cov(Ann, Bob) = \sigma_s^2 + \sigma_c^2 + \sigma_n^2, \qquad Cov(Ann, Cleo) = \sigma_s^2 + \sigma_c^2$$
#
# and the variance of each is the sum of all four. bayesmm writes it down for any rows of the data. Rows 0, 1 and 3
# are such people:

# %%
three = [0, 1, 3]
people.loc[three, ["state", "city", "neighbourhood"]].assign(person=["Ann", "Bob", "Cleo"])

# %%
symbols = model.marginal_covariance(rows=three)
assert symbols.iloc[0, 1] == "σ²(state) + σ²(state:city) + σ²(state:city:neighbourhood)"
assert symbols.iloc[0, 2] == symbols.iloc[1, 2] == "σ²(state) + σ²(state:city)"
assert symbols.iloc[0, 0] == symbols.iloc[0, 1] + " + σ²"
symbols.set_axis(["Ann", "Bob", "Cleo"]).set_axis(["Ann", "Bob", "Cleo"], axis=1)

# %% [markdown]
# Now in numbers: at the estimates, by hand, and from data. For the last we let the fit draw 4000 new worlds, and
# compute the covariances of the three people over these.

# %%
sds = fit.parameters["estimate"]
s2, c2, n2 = (sds[f"sd(Intercept | {group})"] ** 2 for group in ("state", "state:city", "state:city:neighbourhood"))
e2 = sds["sigma"] ** 2
same = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])  # who shares a neighbourhood
by_hand = (s2 + c2) * np.ones((3, 3)) + n2 * same + e2 * np.eye(3)
at_fit = model.marginal_covariance(rows=three, at=fit).to_numpy()
assert np.allclose(by_hand, at_fit)
worlds = np.cov(fit.simulate(4000, seed=1).loc[three].to_numpy(dtype=float))
assert np.allclose(worlds, by_hand, atol=0.8)
print("by hand")
print(by_hand.round(2))
print("from 4000 worlds")
print(worlds.round(2))

# %% [markdown]
# For more people the matrix has blocks in blocks. Here are two cities of one state and one of another:

# %%
some = people.index[(people["state"].astype(str).isin(["1", "2"])) & (people["city"].astype(str).isin(["1", "2"]))]
fit.plot_marginal_covariance(list(some), correlation=True)

# %% [markdown]
# ## Did we find the truth?
#
# **Predict:** for which of the four standard deviations will the interval be widest?

# %%
table = fit.parameters[["estimate", "lower", "upper"]].iloc[1:]
table.assign(truth=[*truth.values(), 2.0]).round(2)

# %% [markdown]
# The widest is that of the states. There are 720 people, but only 12 states, and nobody but states tells how much
# states differ. How many people each state has matters little. To learn about a level, sample more groups of it.
#
# ## How alike are two people?
#
# A correlation is what two people share, divided by the whole. Such shares are called intraclass correlations:

# %%
total = s2 + c2 + n2 + e2
shares = {"same state": s2, "same city": s2 + c2, "same neighbourhood": s2 + c2 + n2}
pd.Series({name: part / total for name, part in shares.items()}).round(2)

# %% [markdown]
# ## Pastes
#
# Ten batches of a paste were delivered in casks. Three casks of each batch were sampled, and each sample analysed
# twice. The strength depends on the batch, the cask, and the analysis.
#
# **Predict:** look at the picture. Which of the three is the largest source of variation?

# %%
pastes = bmm.datasets.load("pastes")
pastes_model = bmm.Model("strength ~ 1 + (1 | batch/cask)", pastes)
pastes_fit = pastes_model.fit()
pastes_fit.plot_marginal_covariance({"batch": ["A", "B"]})

# %%
pastes_fit.variance_shares().round(2)

# %% [markdown]
# It is the cask, and not the batch or the analysis. Note the interval of the batch's share: ten batches are few. To
# know a batch better, should one analyse each sample more often, or open more casks? The second exercise says.
#
# ## A trap: names that begin again
#
# In both data sets names begin again: every state has a city 1, every batch a cask a. `(1 | state) + (1 | city)` takes
# all cities called 1 for one city. That is a wrong model here, and no program can know. Write `(1 | state/city)`, or
# give the cities names of their own. `print(model)` tells what was understood: look at the numbers of levels.

# %%
print(model)

# %% [markdown]
# ## Exercises
#
# **1.** Dan lives in the state of Ann, in another city; Eve in another state. What are their covariances with Ann?
# Find two such rows, and check.

# %% tags=["hide-cell"]
dan, eve = 15, people.index[people["state"].astype(str) == "2"][0]
with_ann = model.marginal_covariance(rows=[0, dan, eve], at=fit).to_numpy()[0]
assert np.allclose(with_ann, [total, s2, 0.0])
print(f"Dan shares the state only: σ_s² = {s2:.2f}. Eve shares nothing with Ann: 0.")

# %% [markdown]
# **2.** The strength of a batch is reported as the mean of four analyses. Compare two samples from each of two casks
# with one from each of four casks: what is the variance of the mean around the batch's true strength?

# %% tags=["hide-cell"]
cask2 = pastes_fit.parameters.loc["sd(Intercept | batch:cask)", "estimate"] ** 2
analysis2 = pastes_fit.sigma**2
two_casks, four_casks = cask2 / 2 + analysis2 / 4, cask2 / 4 + analysis2 / 4
# The same from the covariance matrices of the four analyses, without the batch.
blocks = np.kron(np.eye(2), np.ones((2, 2)))
assert np.isclose((cask2 * blocks + analysis2 * np.eye(4)).mean(), two_casks)
assert np.isclose((cask2 * np.eye(4) + analysis2 * np.eye(4)).mean(), four_casks)
print(f"two casks {two_casks:.2f}, four casks {four_casks:.2f}: open more casks.")

# %% [markdown]
# **3.** Fit the trap: `(1 | state) + (1 | city)`. How many cities does it see, and where does their variance go?

# %% tags=["hide-cell"]
wrong = bmm.Model("y ~ 1 + (1 | state) + (1 | city)", people).fit()
right = bmm.Model("y ~ 1 + (1 | state/city)", people).fit()
assert wrong.random_effects().query("group == 'city'")["level"].nunique() == 4
assert wrong.sigma > right.sigma + 0.2
print(f"It sees 4 cities for 48. Sigma rises from {right.sigma:.2f} to {wrong.sigma:.2f}: cities end up in the rest.")

# %% [markdown]
# ## What to remember
#
# - Two observations covary by what they share. In nested groups the covariances add up from the outside to the inside.
# - An intraclass correlation is the shared part, divided by the whole.
# - How well a variance is known depends on the number of groups of that level, not on the number of rows.
# - Names that begin again in every group need `a/b`. Read the numbers of levels before the estimates.
#
# More: [formulas](../../docs/formulas.md), [estimates](../../docs/estimates.md).
