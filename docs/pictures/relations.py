"""Draw breeding values that were predicted beside those that were drawn: `relations.png`."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bayesmm as bmm

PLACE = Path(__file__).parent / "relations.png"


def main() -> None:
    """Simulate a herd, fit the animal model and draw all animals."""
    herd = bmm.datasets.simulate_pedigree(8, 60, generations=3, animal_sd=1.2, share_observed=0.9, seed=8)
    model = bmm.Model(herd.formula, herd.data, relations={"A": bmm.pedigree(herd.pedigree)})
    found = model.fit().random_effects(uncertainty="full").merge(herd.random_effects)
    has_record = found["level"].isin(herd.data["animal"]).to_numpy()
    figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    for mask, name, colour in ((has_record, "with a record", "C0"), (~has_record, "without", "C1")):
        own = found[mask]
        axes.errorbar(
            own["value"],
            own["estimate"],
            yerr=np.stack([own["estimate"] - own["lower"], own["upper"] - own["estimate"]]),
            fmt="o",
            markersize=4,
            elinewidth=0.4,
            alpha=0.35,
            markeredgewidth=0,
            color=colour,
            label=f"{int(mask.sum())} {name}",
        )
    ends = np.array([found["value"].min(), found["value"].max()])
    axes.plot(ends, ends, color="0.4", linewidth=1)
    axes.set(xlabel="breeding value, drawn", ylabel="predicted, with 95 % limits")
    axes.legend(loc="upper left", framealpha=1.0)
    figure.savefig(PLACE, dpi=120)


if __name__ == "__main__":
    main()
