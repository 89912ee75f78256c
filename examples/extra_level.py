"""An extra level on top of a program: standard deviations that learn from each other.

Six workers each ran three machines three times. Scores differ between machines, between workers, and between
combinations of both: three standard deviations, of 3, 6 and 18 levels. Three machines say little about how much
machines differ, and the prior decides how far up the posterior reaches. Gelman (2006) gives such standard deviations a
common distribution whose scale is estimated too: each then learns from the others what size to expect.

With `priors="flat"` the program puts no density of its own on the standard deviations, so that a model around it can
give them one: it samples them, and conditions the program on what it has sampled.

Run it with `python examples/extra_level.py`.

Gelman (2006). Prior distributions for variance parameters in hierarchical models. Bayesian Analysis 1.
"""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.handlers import condition
from numpyro.infer import MCMC, NUTS

import bayesmm as bmm

FORMULA = "score ~ 1 + (1 | Machine) + (1 | Worker) + (1 | Machine:Worker)"


def main() -> None:
    machines = bmm.datasets.load("machines")
    model = bmm.Model(FORMULA, machines, priors="flat")
    program, data = model.program("marginal")
    names = [block.sd.name for block in program.covariances.blocks]

    def hierarchical(data):
        scale = numpyro.sample("scale", dist.HalfCauchy(25.0))
        sds = numpyro.sample("sds", dist.HalfNormal(scale).expand([len(names)]).to_event(1))
        condition(program, data={name: sds[i : i + 1] for i, name in enumerate(names)})(data)

    with jax.enable_x64(True):  # the data are doubles
        chains = MCMC(
            NUTS(hierarchical, target_accept_prob=0.95),
            num_warmup=500,
            num_samples=500,
            num_chains=2,
            chain_method="vectorized",
            progress_bar=False,
        )
        chains.run(jax.random.key(1), data)
        draws = {name: np.asarray(values) for name, values in chains.get_samples().items()}

    apart = model.sample(draws=1500, tune=500, seed=1, target_accept=0.95)
    levels = {block.group: len(block.levels) for block in model.labels.blocks}
    print("Posterior median and 95 % interval of the standard deviations", end="\n\n")
    print("                 levels   flat priors            common distribution")
    for i, block in enumerate(model.labels.blocks):
        cells = [np.quantile(x, [0.5, 0.025, 0.975]) for x in (apart.draws(names[i])[..., 0], draws["sds"][:, i])]
        flat, common = (f"{middle:5.1f} ({low:.1f}, {high:.1f})" for middle, low, high in cells)
        print(f"{block.group:16} {levels[block.group]:6}   {flat:20}   {common}")
    print(f"\nScale of the common distribution: {np.median(draws['scale']):.1f}")


if __name__ == "__main__":
    main()
