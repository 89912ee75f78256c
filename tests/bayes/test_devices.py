"""Chains beside each other, however they are parted."""

import os
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from bayesmm import Model, datasets
from bayesmm.bayes.exploring import nuts
from bayesmm.bayes.exploring.devices import beside, chain_mesh, over_chains, part_chains, place_chains

# Adaptation amplifies rounding until the draws are others: few iterations of it are compared.
PROGRAM = """
import sys, jax, numpy as np, bayesmm as bmm
from bayesmm.bayes.exploring import devices, nuts
placed, place = [], nuts.place_chains
nuts.place_chains = lambda state: placed.append(place(state)) or placed[-1]
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
)
model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
posterior = model.sample(draws=60, tune=10, chains=4, seed=1, progress=False)
before = len(compiled)
model.sample(draws=60, tune=10, chains=4, seed=1, progress=False)
names = ("beta", "sigma", "sd_Batch", "b_Batch")
used = len(placed[-1].z["dense"].sharding.device_set)
print(jax.local_device_count(), used, len(compiled) - before, int(devices.chain_mesh(3) is None))
np.savez(sys.argv[1], **{name: posterior.draws(name) for name in names})
"""


def run(devices: int, path) -> tuple[list[int], dict[str, np.ndarray]]:
    """Sample in a process with so many devices; its counts and the draws."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(path) as draws:
        return [int(word) for word in done.stdout.split()], dict(draws)


@pytest.mark.slow
def test_chains_on_four_devices_are_those_on_one(tmp_path):
    """And a second run compiles nothing; three chains, which four devices cannot share, would stay on one."""
    counts, alone = run(1, tmp_path / "one.npz")
    assert counts == [1, 1, 0, 1]
    counts, shared = run(4, tmp_path / "four.npz")
    assert counts == [4, 4, 0, 1]  # placed once, all in one part
    for name, draws in alone.items():
        np.testing.assert_allclose(shared[name], draws, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:only .* effective draws")
def test_chains_together_are_those_apart(monkeypatch):
    """Together as on an accelerator, in one program for all."""
    model = Model("Yield ~ 1 + (1 | Batch)", datasets.load("dyestuff"))
    length = {"draws": 70, "tune": 10, "seed": 1, "progress": False}
    apart = model.sample(**length)
    monkeypatch.setattr(nuts, "part_chains", lambda chains: [slice(0, chains)])
    together = model.sample(**length)
    for name in ("beta", "sigma", "sd_Batch", "b_Batch"):
        np.testing.assert_allclose(together.draws(name), apart.draws(name), rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu" or jax.local_device_count() > 1, reason="not one processor")
def test_a_processor_takes_every_chain_by_itself():
    assert part_chains(3) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_what_one_part_asks_for_is_asked_by_one_thread_in_order():
    asked: dict[int, list[tuple[int, int]]] = {}

    def ask(what: tuple[int, int]) -> int:
        asked.setdefault(threading.get_ident(), []).append(what)
        return what[0]

    with beside(5) as each:
        for turn in range(3):
            assert each(ask, [(part, turn) for part in range(5)]) == list(range(5))
    for part in range(5):
        (own,) = [[turn for p, turn in calls if p == part] for calls in asked.values() if (part, 0) in calls]
        assert own == [0, 1, 2]


def test_a_failure_beside_is_raised():
    with pytest.raises(ZeroDivisionError), beside(2) as each:
        each(lambda x: 1 / x, [1, 0])


@pytest.mark.skipif(jax.local_device_count() > 1, reason="this machine has several devices")
def test_on_one_device_nothing_is_placed():
    state = {"x": np.zeros((4, 2))}
    assert chain_mesh(4) is None
    assert place_chains(state) is state


def test_all_chains_take_the_step_with_the_same_arguments():
    for chains in (1, 4):
        moved = over_chains(lambda x, step: x + step)(np.arange(float(chains)), 0.5)
        np.testing.assert_allclose(moved, np.arange(chains) + 0.5)


def test_a_device_that_the_user_chose_is_kept():
    with jax.default_device(jax.local_devices()[0]):
        assert chain_mesh(4) is None


CHOSEN = """
import jax, numpy as np
from bayesmm.bayes.exploring.compiling import Program
program = Program(lambda x: x + 1.0, {})
for device in jax.devices():
    with jax.default_device(device), jax.enable_x64(True):
        program.prepare(np.ones(3))
        print(program(np.ones(3)).devices() == {device})
"""


def test_a_program_runs_on_the_device_that_the_user_chooses():
    """Also where it has run on another one before."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", CHOSEN], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["True", "True"]
