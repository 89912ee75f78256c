"""Why estimates shrink: one regression per rat, one for all rats, and what lies between.

Each of 30 rats was weighed on five days. A line through the five weights of one rat (no pooling) is noisy. One line
for all rats (complete pooling) ignores that rats differ. The mixed model moves each rat's line towards the average
line, the more so the less its own data say (partial pooling).

Run it with `python examples/shrinkage.py`.
"""

import numpy as np
import pandas as pd

import bayesmm as bmm


def slopes_alone(rats: pd.DataFrame) -> pd.Series:
    """Least-squares slope of each rat's own weights, in g per day."""
    return pd.Series({name: np.polyfit(rows["day"], rows["weight"], 1)[0] for name, rows in rats.groupby("rat")})


def main() -> None:
    rats = bmm.datasets.load("rats").astype({"rat": "str"})  # tables label levels by text
    model = bmm.Model("weight ~ day + (day | rat)", rats)
    fit, posterior = model.fit(), model.sample(seed=1)

    average = fit.fixed_effects.loc["day", "estimate"]
    blups = fit.random_effects().query("effect == 'day'").set_index("level")
    drawn = posterior.random_effects().query("effect == 'day'").set_index("level")
    table = pd.DataFrame({"alone": slopes_alone(rats), "BLUP": average + blups["estimate"]})
    table["posterior mean"] = posterior.parameters.loc["day", "mean"] + drawn["mean"]
    table["BLUP sd"], table["posterior sd"] = blups["std_error"], drawn["sd"]
    # The share of a rat's distance from the average that is left.
    table["kept"] = (table["BLUP"] - average) / (table["alone"] - average)

    order = table["alone"].sort_values().index
    print(f"Growth of 30 rats in g per day; the average rat grows by {average:.2f}", end="\n\n")
    print(table.loc[[*order[:4], *order[-4:]]].round(2).to_string(), end="\n\n")
    print(f"Slopes alone have a standard deviation of {table['alone'].std():.2f}, BLUPs of {table['BLUP'].std():.2f};")
    print(f"the model estimates {fit.parameters.loc['sd(day | rat)', 'estimate']:.2f} for the rats' true slopes.")


if __name__ == "__main__":
    main()
