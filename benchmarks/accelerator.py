"""The same models on the processor and on JAX's accelerator, each in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import designs
import numpy as np
from report import is_quick, print_line

import bayesmm as bmm

LENGTHS = {"chains": 4, "tune": 200, "draws": 200}
CHAINS, TURNS = 4, 7
WORK = "--work"  # followed by a platform and the name of a case: what a worker is started with
LONGEST = 400.0  # seconds that a worker may take


def cases(quick: bool) -> dict[str, tuple[str, Any]]:
    """Formulas and data by name."""
    few = 200 if quick else 1
    every = {
        "sleepstudy": ("Reaction ~ Days + (Days | Subject)", lambda: bmm.datasets.load("sleepstudy")),
        "10,000 groups": ("y ~ x + (x | g)", lambda: designs.slopes(groups=10_000 // few, rows=100_000 // few)),
        "100,000 groups": ("y ~ x + (x | g)", lambda: designs.slopes(groups=100_000 // few, rows=1_000_000 // few)),
        "crossed 1,000 x 500": (
            "y ~ x + (1 | g) + (1 | h)",
            lambda: designs.crossed(left=1000 // few, right=500 // few, rows=100_000 // few),
        ),
    }
    return dict(list(every.items())[:2]) if quick else every


def main() -> None:
    if WORK in sys.argv:
        _, _, platform, name, *rest = sys.argv
        work(platform, name, quick="--quick" in rest)
        return
    quick = is_quick(__doc__)
    platforms = found_platforms()
    for name in cases(quick):
        measured = {platform: start_worker(platform, name, quick) for platform in platforms}
        print_line(
            {
                "kind": "accelerator",
                "name": name,
                "measures": "seconds for one value and gradient of four chains, and for a second call of NUTS",
                "lengths": LENGTHS,
                "platforms": measured,
            }
        )


def found_platforms() -> list[str]:
    """Name the processor, and what JAX would use by itself if that is something else."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    default = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    return ["cpu"] if default == "cpu" else ["cpu", {"gpu": "cuda"}.get(default, default)]


def start_worker(platform: str, name: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, WORK, platform, name, *(["--quick"] if quick else [])]
    environment = os.environ | {"JAX_PLATFORMS": platform}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"timed_out_after": LONGEST}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.splitlines()[-1])


def work(platform: str, name: str, *, quick: bool) -> None:
    """Measure one case on one platform, and print it."""
    import jax

    formula, load = cases(quick)[name]
    model = bmm.Model(formula, load())
    model.fit()
    evaluated = time_gradient(model)
    first, second = (time_call(model, seed) for seed in (1, 2))
    table = second.pop("posterior").parameters
    print(
        json.dumps(
            {
                "device": jax.devices()[0].device_kind,
                "gradient": evaluated,
                "first_call": first["seconds"],
                "second_call": second["seconds"],
                "means": table["mean"].to_dict(),
                "sds": table["sd"].to_dict(),
                "least_ess": float(table["ess_bulk"].min()),
            }
        )
    )


def time_gradient(model: Any) -> float:
    """Median seconds of one evaluation for four chains, of the compiled program."""
    import jax
    from numpyro.infer.util import initialize_model

    program, data = model.program("marginal")
    with jax.enable_x64(True):
        begun = initialize_model(jax.random.key(0), program, model_args=(data,), dynamic_args=True)
        evaluate = jax.jit(jax.vmap(jax.value_and_grad(lambda at, data: begun.potential_fn(data)(at)), (0, None)))
        at = jax.tree.map(lambda x: np.stack([np.asarray(x)] * CHAINS), begun.param_info.z)
        at, data = jax.device_put((at, data))
        jax.block_until_ready(evaluate(at, data))
        times = []
        for _ in range(TURNS):
            start = time.perf_counter()
            for _ in range(20):
                found = evaluate(at, data)
            jax.block_until_ready(found)
            times.append((time.perf_counter() - start) / 20)
    return statistics.median(times)


def time_call(model: Any, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    posterior = model.sample(seed=seed, progress=False, **LENGTHS)
    return {"seconds": time.perf_counter() - start, "posterior": posterior}


if __name__ == "__main__":
    main()
