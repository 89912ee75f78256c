"""Value and gradient of the sampler's potential in JAX against the number of rows, at the same number of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from per_row import TURNS, time_against_rows
from report import is_quick


def main() -> None:
    quick = is_quick(__doc__)
    time_against_rows(
        potential,
        name="gradient by rows",
        description="One value and gradient of the marginal program's potential",
        groups=100 if quick else 1_000,
        sizes=[1_000, 10_000, 100_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000],
        evaluations=20,
        turns=5 if quick else TURNS,
    )


def potential(model: Any) -> Callable[[], object]:
    """Make a compiled function that evaluates the potential with its gradient once; it holds sums, not rows."""
    import jax
    from numpyro.infer.util import initialize_model

    program, data = model.program("marginal")
    with jax.enable_x64(True):
        begun = initialize_model(jax.random.key(0), program, model_args=(data,), dynamic_args=True)
        # The data are an argument: as constants they would be folded into the program.
        evaluate = jax.jit(jax.value_and_grad(lambda at, data: begun.potential_fn(data)(at)))
        at, data = jax.device_put((begun.param_info.z, data))

    def once() -> object:
        with jax.enable_x64(True):
            return jax.block_until_ready(evaluate(at, data))

    return once


if __name__ == "__main__":
    main()
