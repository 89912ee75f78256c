"""What the warm start and the mass matrix save: sampling after short warm-ups, from our start and from NumPyro's own.

Both sample the marginal program. Ours starts around the REML estimate with a dense mass matrix from the curvature
there; NumPyro's defaults start at random with a diagonal one of ones. Quality is that of what NUTS samples: standard
deviations, correlations and sigma. Seconds are those of a whole call, most of which is compilation for both; steps
(gradients) are what sampling costs.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from efficiency import summarise
from report import is_quick, print_line

import bayesmm as bmm

MODELS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Pastes": "strength ~ 1 + (1 | batch) + (1 | batch:cask)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
}
LENGTHS = (50, 200, 1000)
CHAINS = 4
TARGET_ACCEPT = 0.8  # the default of both
SEED = 1
Outcome = tuple[np.ndarray, list[str], np.ndarray, np.ndarray]  # draws, names; divergent and steps by chain and draw


def main() -> None:
    quick = is_quick(__doc__)
    draws = 100 if quick else 1000
    for name in ["sleepstudy"] if quick else MODELS:
        model = bmm.Model(MODELS[name], bmm.datasets.load(name))
        points = [
            {"tune": tune, "ours": measure(warm(model, tune, draws)), "cold": measure(cold(model, tune, draws))}
            for tune in (LENGTHS[:2] if quick else LENGTHS)
        ]
        print_line(
            {
                "kind": "warm-up",
                "name": f"warm-up of {name}",
                "description": name,
                "formula": MODELS[name],
                "chains": CHAINS,
                "draws": draws,
                "measures": "least bulk effective draws and largest R-hat of what NUTS samples",
                "points": points,
            }
        )


def measure(run: Callable[[], Outcome]) -> dict[str, Any]:
    """Time one run, and judge it."""
    begin = time.perf_counter()
    draws, names, diverging, steps = run()
    seconds = time.perf_counter() - begin
    summary = summarise(draws, names)
    kept = {key: summary[key] for key in ("ess", "worst", "r_hat")}
    return kept | {
        "divergences": int(diverging.sum()),
        "steps_per_draw": float(steps.mean()),
        "ess_per_step": summary["ess"] / float(steps.sum()),
        "seconds": seconds,
    }


def warm(model: bmm.Model, tune: int, draws: int) -> Callable[[], Outcome]:
    """Sample from our start."""
    from bayesmm.bayes.results.tables import stack_parameters

    def run() -> Outcome:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bmm.errors.BayesmmWarning)  # what is wrong is in the figures
            posterior = model.sample(
                draws=draws, tune=tune, chains=CHAINS, seed=SEED, target_accept=TARGET_ACCEPT, progress=False
            )
        rows = model.labels.parameter_rows()
        sampled = [i for i, row in enumerate(rows) if row.kind != "fixed"]
        stats = posterior.data["sample_stats"]
        drawn = stack_parameters(posterior.data, model.labels)[..., sampled]
        return drawn, [rows[i].name for i in sampled], stats["diverging"].to_numpy(), stats["n_steps"].to_numpy()

    return run


def cold(model: bmm.Model, tune: int, draws: int) -> Callable[[], Outcome]:
    """Sample the same program as NumPyro does by itself."""
    import jax
    from numpyro.infer import MCMC, NUTS

    program, data = model.program("marginal")
    rows = [row for row in model.labels.parameter_rows() if row.kind != "fixed"]

    def run() -> Outcome:
        with jax.enable_x64(True):
            mcmc = MCMC(
                NUTS(program, target_accept_prob=TARGET_ACCEPT),
                num_warmup=tune,
                num_samples=draws,
                num_chains=CHAINS,
                chain_method="vectorized",
                progress_bar=False,
            )
            mcmc.run(jax.random.key(SEED), data, extra_fields=("diverging", "num_steps"))
            sites = {name: np.asarray(value) for name, value in mcmc.get_samples(group_by_chain=True).items()}
            fields = {name: np.asarray(value) for name, value in mcmc.get_extra_fields(group_by_chain=True).items()}
        columns = [sites[row.variable] if row.index is None else sites[row.variable][..., row.index] for row in rows]
        return np.stack(columns, axis=-1), [row.name for row in rows], fields["diverging"], fields["num_steps"]

    return run


if __name__ == "__main__":
    main()
