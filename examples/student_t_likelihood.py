"""Another likelihood on the conditional program: sleepstudy with Student-t residuals, which shrug at outliers.

A few reaction times lie far from their person's line, two of subject 332 and two of subject 308 most of all. A normal
likelihood pays for them with a larger sigma. `linear_predictor` declares the whole model but the response, so that the
response can be given any distribution.

Run it with `python examples/student_t_likelihood.py`.
"""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS

import bayesmm as bmm


def main() -> None:
    sleep = bmm.datasets.load("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep)
    program, data = model.program("conditional", parameterisation="noncentred")

    def robust(data):
        mean, scale = program.linear_predictor(data)
        df = numpyro.sample("df", dist.Gamma(2.0, 0.1))
        numpyro.sample("y", dist.StudentT(df, mean, scale), obs=data.y)

    with jax.enable_x64(True):  # the data are doubles
        chains = MCMC(
            NUTS(robust),
            num_warmup=500,
            num_samples=500,
            num_chains=2,
            chain_method="vectorized",
            progress_bar=False,
        )
        chains.run(jax.random.key(1), data)
        draws = {name: np.asarray(values) for name, values in chains.get_samples().items()}
        divergences = int(np.asarray(chains.get_extra_fields()["diverging"]).sum())

    normal = model.sample(seed=1).parameters
    slope = draws["beta"][:, 1]
    print(f"{divergences} divergences in {len(slope)} draws", end="\n\n")
    print("               normal   Student-t")
    print(f"Days           {normal.loc['Days', 'mean']:6.2f}   {slope.mean():6.2f}")
    print(f"sd of Days     {normal.loc['Days', 'sd']:6.2f}   {slope.std():6.2f}")
    print(f"sigma          {normal.loc['sigma', 'mean']:6.2f}   {draws['sigma'].mean():6.2f}")
    print(f"degrees of freedom {np.median(draws['df']):.1f} (median)", end="\n\n")

    # The weight that a row has left: (df + 1) / (df + z²), 1 or a little more for a row on its line.
    columns, codes = np.column_stack([np.ones(len(sleep)), sleep["Days"]]), np.asarray(data.codes[0][0])
    mean = draws["beta"] @ columns.T + (draws["b_Subject"][:, codes] * columns).sum(axis=2)
    z = (sleep["Reaction"].to_numpy() - mean) / draws["sigma"][:, None]
    df = draws["df"][:, None]
    table = sleep.assign(weight=((df + 1.0) / (df + z**2)).mean(axis=0).round(2))
    print("The rows that count least:")
    print(table.nsmallest(5, "weight").to_string(index=False))


if __name__ == "__main__":
    main()
