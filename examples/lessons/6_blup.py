# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. How sure is a BLUP?
#
# Six batches of a dyestuff were made, and five samples of each were measured. Batch E came out best. **How much better
# than the average batch is it, and how sure are we? Is it the best of all?**

# %%
import warnings
from statistics import NormalDist

import numpy as np
import pandas as pd

import bayesmm as bmm

dyes = bmm.datasets.load("dyestuff")
model = bmm.Model("Yield ~ 1 + (1 | Batch)", dyes)
fit = model.fit()
fit.plot_groups()

# %% [markdown]
# The model is $y_{ij} = \mu + b_i + \varepsilon_{ij}$: batch $i$ deviates from the mean $\mu$ by $b_i$, with variance
# $\tau^2$ between batches, and sample $j$ from its batch, with variance $\sigma^2$. What the fit predicts for $b_i$ is
# called the BLUP, the best linear unbiased predictor. It is the deviation of the batch's own mean, made smaller:
#
# $$\mathrm{BLUP}_i = W (m_i - \hat\mu), \qquad W = \frac{\tau^2}{\tau^2 + \sigma^2 / n}$$
#
# Here $m_i$ is the mean of the batch, and $n = 5$. The weight $W$ is near one where the batches differ much or have
# many samples, and near zero where they do not. By hand, for batch E:

# %%
tau, sigma = fit.parameters.loc["sd(Intercept | Batch)", "estimate"], fit.sigma
W = tau**2 / (tau**2 + sigma**2 / 5)
own = dyes.groupby("Batch", observed=True)["Yield"].mean() - dyes["Yield"].mean()
predicted = fit.random_effects().set_index("level")["estimate"]
assert np.allclose(W * own, predicted, rtol=1e-5)
print(f"W = {W:.2f};  batch E: own mean {own['E']:+.0f}, BLUP {predicted['E']:+.1f}")

# %% [markdown]
# **Predict before you read on.**
#
# 1. The BLUP of batch E is off by some amount. What does the error come from? Find three sources.
# 2. Most programs print a standard error for a BLUP. Which of your three does it know of?
#
# ## Five answers
#
# | Layer | What it takes for known | What it adds |
# |---|---|---|
# | `conditional` | the mean and both variances | only that five samples are few: what most programs print |
# | `fixed` | both variances | the mean was estimated |
# | `full` | | the variances were estimated, by a formula |
# | `bootstrap` | | the same, by refitting data that the fit draws |
# | `posterior` | | all of it, and a prior |

# %%
posterior = model.sample(method="quadrature", seed=1, progress=False)
uncertainty = bmm.effect_uncertainty(fit, posterior, bootstrap=200, progress=False)
uncertainty.table.drop(columns=["group", "effect"]).round(1)

# %%
uncertainty.plot()

# %% [markdown]
# From `conditional` to `posterior` the error grows by more than half. Six batches say little of the mean of all
# batches, and less of the variance between them.
#
# The first two layers can be had by hand. Given everything else, the variance of $b_i$ is what the weight leaves of
# $\tau^2$. The error of the mean, with variance $(\tau^2 + \sigma^2 / n) / 6$, goes into the BLUP with the weight $W$:
#
# $$g_1 = (1 - W) \tau^2, \qquad g_2 = W^2 \frac{\tau^2 + \sigma^2 / n}{6}$$
#
# and the two errors are $\sqrt{g_1}$ and $\sqrt{g_1 + g_2}$:

# %%
g1 = (1 - W) * tau**2
g2 = W**2 * (tau**2 + sigma**2 / 5) / 6
print(f"conditional √g₁ = {np.sqrt(g1):.1f}, fixed √(g₁ + g₂) = {np.sqrt(g1 + g2):.1f}")
assert np.allclose(uncertainty.table["conditional"], np.sqrt(g1), rtol=1e-4)
assert np.allclose(uncertainty.table["fixed"], np.sqrt(g1 + g2), rtol=1e-4)

# %% [markdown]
# The third needs more paper: `full` is $\sqrt{g_1 + g_2 + 2 g_3}$, and $g_3$ is how much the BLUP moves when the
# variances move, times how far they may be off. It counts twice, since $g_1$ at estimated variances is too small on
# average by as much again. bayesmm says in a sentence what matters here:

# %%
for note in uncertainty.notes:
    print("•", note)

# %% [markdown]
# ## Which layer tells the truth?
#
# A 95 % interval should hold the true effect in 95 of 100 cases. We cannot know the true effects of these batches. But
# we can make batches whose effects we know: six groups of five, with the same variance between groups as within.
# `simulate_nested` returns the data and the truth.
#
# **Predict:** of 100 intervals of the layer `conditional`, how many hold the true effect?


# %%
def coverage(groups, sd, data_sets):
    """Share of 95 % intervals that hold the true effect, by layer."""
    held = []
    for seed in range(data_sets):
        made = bmm.datasets.simulate_nested({"group": groups}, observations=5, sds={"group": sd}, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bmm.errors.BayesmmWarning)
            refit = bmm.Model(made.formula, made.data).fit()
        intervals = bmm.effect_uncertainty(refit).intervals()
        truth = intervals["level"].map(made.random_effects.set_index("level")["value"])
        holds = (intervals["lower"] <= truth) & (truth <= intervals["upper"])
        held.append(holds.groupby(intervals["layer"]).mean())
    return pd.DataFrame(held).mean()[["conditional", "fixed", "full"]]


wide = coverage(groups=6, sd=1.0, data_sets=80)
wide.round(2)

# %% [markdown]
# `conditional` holds the truth in four of five cases, not in nineteen of twenty. It is too sure. `full` is near to
# what it promises. Here it comes with the longer tails of a $t$ distribution, because variances of six groups are
# rough.
#
# **Predict:** what happens with thirty groups? And what with six groups again, that differ little: a standard
# deviation between groups of 0.3?

# %%
settings = {"6 groups, sd 1": wide, "30 groups, sd 1": coverage(30, 1.0, 20), "6 groups, sd 0.3": coverage(6, 0.3, 80)}
pd.DataFrame(settings).T.round(2)

# %% [markdown]
# With many groups the mean and the variances are well known, and all layers agree. With few groups that differ little
# none of them can be trusted. Why? The variance between groups is then often estimated as zero. Then all BLUPs are
# zero, and all three errors too: intervals of no length. Data of that kind are bundled, of the same shape as the dyes:

# %%
flat = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2"))
flat_fit = flat.fit()
flat_posterior = flat.sample(method="quadrature", seed=1, progress=False)
nothing = bmm.effect_uncertainty(flat_fit, flat_posterior, bootstrap=200, progress=False)
nothing.table.drop(columns=["group", "effect"]).round(2)

# %% [markdown]
# Given a variance of zero nothing is uncertain: so say the first three layers, and they cannot say anything else. That
# is the estimate's answer, not the data's. The bootstrap knows that an estimate may come out above zero; the posterior
# knows that the truth may be.
#
# ## The level, or its deviation?
#
# Often it is not the deviation from the mean that is asked for, but the level itself: the mean $\mu + b_i$ of batch E.
# Then the error of $\hat\mu$ helps and hurts: the BLUP is too low where the mean is too high. `fit.coef()` has the
# levels with their joint error.

# %%
levels = fit.coef(uncertainty="full").set_index("level")[["estimate", "std_error"]]
levels.assign(of_deviation=uncertainty.table.set_index("level")["full"]).round(1)

# %% [markdown]
# ## Is E the best?
#
# The order of the BLUPs is a guess at the order of the batches. `bmm.ranking` says how good a guess.
#
# **Predict:** E is 28 above the next, C, with a standard error of some 25 each. How probable is it that E is the best
# of the six?

# %%
best = bmm.ranking(posterior, "Batch", top=2)
best.table.sort_values("expected_rank").round(2)

# %%
best.pairs(["E", "C", "A"]).round(2)

# %% [markdown]
# E is best with a probability of about 0.8. That is more than the two standard errors suggest, because E and C share
# the error of the mean, which drops out of their difference: this is why a comparison must not be read off two
# intervals that overlap. `pairs` has the probability that the batch of the row exceeds that of the column.
#
# ## League tables
#
# 160 schools and the achievement of their pupils in mathematics, given the pupils' social status. Newspapers print
# such lists from first to last.

# %%
pupils = bmm.datasets.load("hsb82")
schools = bmm.Model("mAch ~ ses + (1 | school)", pupils).fit()
league = bmm.ranking(schools, "school", top=10)
league.plot()

# %%
width = league.table["rank_upper"] - league.table["rank_lower"]
print(f"Half of the intervals are wider than {width.median():.0f} of 160 ranks.")
first = league.table.sort_values("expected_rank").iloc[0]
middle = league.table.sort_values("expected_rank").iloc[79]
for name, school in {"first": first, "80th": middle}.items():
    print(f"The {name}: rank {school['rank_lower']:.0f} to {school['rank_upper']:.0f}, P(best) {school['best']:.2f}")

# %% [markdown]
# Of the first school one can say that it is among the first. Of the 80th one can say next to nothing: it may be among
# the best forty, or among the worst forty. A table from 1 to 160 draws distances of the same length between all
# neighbours, and hides that most of its order is chance.
#
# Do the probabilities hold what they promise? We make schools whose truth we know: 30 schools of 20 pupils, and one
# tenth of the variance between schools. How often is the first of the list the best school, and how often did the
# ranking say so?

# %%
said, was, own_error, blup_error = [], [], [], []
for seed in range(60):
    made = bmm.datasets.simulate_nested({"school": 30}, observations=20, sds={"school": 1 / 3}, seed=seed)
    truth = made.random_effects.set_index("level")["value"]
    refit = bmm.Model(made.formula, made.data).fit()
    table = bmm.ranking(refit, "school", n=2000).table
    winner = table["estimate"].idxmax()
    said.append(table.loc[winner, "best"])
    was.append(winner == truth.idxmax())
    means = made.data.groupby("school", observed=True)["y"].mean()
    own_error.append(means.max() - means.mean() - truth[means.idxmax()] + truth.mean())
    blup_error.append(table.loc[winner, "estimate"] - truth[winner] + truth.mean())
print(f"The first was the best in {np.mean(was):.0%} of the lists; the rankings said {np.mean(said):.0%}.")

# %% [markdown]
# The promise holds, within what sixty lists can tell. And note how small it is: the head of a list of thirty is right
# about every second time.
#
# League tables mislead for four reasons:
#
# - They show an order without its error.
# - They invite to look at the first and the last, and these are where chance has helped most. Small groups are at both
#   ends, unless their means are shrunken.
# - They answer a question nobody has. "Which schools are probably among the best ten?" and "which are probably below
#   what we accept?" have answers: `top=` and `above=`.
# - What is left after adjusting for the pupils is not what the school did.
#
# ## Exercises
#
# **1.** The error of the level $\mu + b_i$ has two parts: $g_1$, and the error of the mean with what weight? Work it
# out, and compare with `fit.coef()`, which has the layer `fixed`.

# %% tags=["hide-cell"]
by_hand = np.sqrt(g1 + (1 - W) ** 2 * (tau**2 + sigma**2 / 5) / 6)
assert np.allclose(fit.coef()["std_error"], by_hand, rtol=1e-4)
print(
    "The level is μ + W (ȳ − μ): an error of μ goes in with the weight 1 − W, not W.\n"
    f"√(g₁ + (1 − W)² Var μ̂) = {by_hand:.1f}"
)

# %% [markdown]
# **2.** How probable is it, given the estimated variances, that E is better than C? The error of $\hat\mu$ drops out
# of $b_E - b_C$, so that its variance is $2 g_1$. Compare with the fit's ranking.

# %% tags=["hide-cell"]
difference = predicted["E"] - predicted["C"]
probability = NormalDist().cdf(difference / np.sqrt(2 * g1))
assert np.isclose(probability, bmm.ranking(fit, "Batch").pairs(["E", "C"]).loc["E", "C"], atol=1e-3)
print(f"Φ({difference:.1f} / {np.sqrt(2 * g1):.1f}) = {probability:.2f}")

# %% [markdown]
# **3.** The loop above kept two errors of the first school of each list: of its own mean, and of its BLUP. Which is
# too high on average, and why?

# %% tags=["hide-cell"]
print(f"own mean {np.mean(own_error):+.2f}, BLUP {np.mean(blup_error):+.2f}, in units of σ")
monte_carlo = np.std(blup_error) / np.sqrt(len(blup_error))
assert np.mean(own_error) > 0.1
assert abs(np.mean(blup_error)) < 3 * monte_carlo
print("The first has mostly been lucky, and its own mean keeps the luck. Shrinkage takes out what luck is worth.")

# %% [markdown]
# ## What to remember
#
# - A BLUP has an error, and the standard error that is usually printed leaves out part of it: the mean and the
#   variances are estimated too.
# - Many groups: all layers agree. Few groups that clearly differ: report `full`. Few groups and a variance near zero:
#   no formula will do; sample.
# - A deviation and a level have different errors. Say which one you report.
# - Two groups are compared by their difference, not by two intervals.
# - Give probabilities and intervals of ranks, never the order alone. Speak of the few at the ends that stand out, not
#   of the many in the middle.
#
# More: [how sure are we of an effect](../../docs/effect_uncertainty.md), [ranking](../../docs/ranking.md), [simulated
# data](../../docs/simulation.md).
