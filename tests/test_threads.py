"""Threads give what one thread gives, and a fork never waits for threads that it does not have."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import documents
import numpy as np
import numpyro
import pytest
from numpyro.primitives import Messenger

import bayesmm as bmm
from bayesmm.bayes.exploring import compiling as programs
from bayesmm.bayes.exploring import kernel, surface, surface_programs

SHORT = {"seed": 3, "draws": 50, "tune": 120, "chains": 2, "progress": False}
METHODS: dict[str, dict[str, Any]] = {
    "marginal": {},
    "conditional": {"program": "conditional"},
    "importance": {"method": "importance"},
    "quadrature": {"method": "quadrature"},
}
# Runs are short, and the filters of SciPy's and ArviZ's own are one for the process: threads change each other's.
pytestmark = pytest.mark.filterwarnings("ignore")


def one_model(**options: Any) -> bmm.Model:
    return bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"), **options)


def several_models() -> list[bmm.Model]:
    return [
        one_model(),
        one_model(sigma=30.0),
        bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")),
        bmm.Model("strength ~ 1 + (1 | batch)", bmm.datasets.load("pastes"), priors="flat"),
    ]


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call in threads that begin at once; an exception is raised here."""
    gate, found = threading.Barrier(len(calls)), [Future() for _ in calls]

    def run(call: Callable[[], Any], future: Future) -> None:
        gate.wait()
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    for call, future in zip(calls, found, strict=True):
        threading.Thread(target=run, args=(call, future), daemon=True).start()
    return [future.result(timeout=120) for future in found]


def forget_programs() -> None:
    """Make every call the first one of its process; what was compiled comes from the disk."""
    surface._COORDINATES.clear()
    for cached in (kernel.build_kernel, surface_programs.build_programs):
        cached.cache_clear()


def assert_same_draws(one: Any, other: Any) -> None:
    assert set(one.data["posterior"].data_vars) == set(other.data["posterior"].data_vars)
    for name, values in one.data["posterior"].data_vars.items():
        np.testing.assert_array_equal(values, other.data["posterior"][name], err_msg=str(name))


@pytest.mark.parametrize(
    ("method", "sigma"),
    [*((method, None) for method in METHODS), ("marginal", 30.0)],
    ids=[*METHODS, "known sigma"],
)
def test_cold_threads_on_one_model_draw_what_one_thread_draws(method, sigma):
    forget_programs()
    model, options = one_model(sigma=sigma), METHODS[method]
    found = together([lambda: model.sample(**SHORT, **options)] * 4)
    expected = model.sample(**SHORT, **options)
    for posterior in found:
        assert_same_draws(posterior, expected)


@pytest.mark.parametrize(
    "methods",
    [["marginal"] * 4, ["conditional", "marginal", "importance", "quadrature"]],
    ids=["one method", "several methods"],
)
def test_cold_threads_on_several_models_draw_what_one_thread_draws(methods):
    forget_programs()
    pairs = zip(several_models(), methods, strict=True)
    calls = [lambda m=model, o=METHODS[method]: m.sample(**SHORT, **o) for model, method in pairs]
    for posterior, call in zip(together(calls), calls, strict=True):
        assert_same_draws(posterior, call())


def test_threads_of_a_new_process_import_and_sample_together():
    script = """
import threading, warnings
import bayesmm as bmm
warnings.simplefilter("ignore")
data, found, gate = bmm.datasets.load("sleepstudy"), [], threading.Barrier(4)
def run(method):
    gate.wait()
    model = bmm.Model("Reaction ~ Days + (1 | Subject)", data)
    found.append(model.sample(draws=50, tune=120, chains=2, progress=False, method=method).sigma.shape)
threads = [threading.Thread(target=run, args=(m,)) for m in ("nuts", "importance", "quadrature", "nuts")]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(found == [(2, 50)] * 4)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def everything(model: bmm.Model) -> dict[str, Callable[[], str]]:
    """What can be asked of a model, as texts."""
    fit = model.fit()
    posterior = model.sample(**SHORT, random_effects=None)
    return {
        "fit": lambda: str(model.fit("ml")),
        "predict": lambda: fit.predict().to_string(),
        "prior": lambda: str(model.prior_predictive(10)["prior_predictive"]["y"].to_numpy()),
        "identity": lambda: str(model.check_identity()),
        "effects": lambda: posterior.predict().to_string(),
        "moments": lambda: posterior.random_effects().to_string(),
        "loo": lambda: str(posterior.loo()),
        "groups": lambda: str(posterior.loo(model.labels.blocks[0].group)),
        "sensitivity": lambda: posterior.sensitivity().to_string(),
        "compare": lambda: str(bmm.compare(fit, posterior)),
    }


def test_whatever_else_is_asked_threads_get_what_one_thread_gets():
    calls = list(everything(one_model()).values())
    assert together(calls * 2) == [call() for call in calls] * 2


def test_threads_share_one_fit():
    model = one_model()
    fits = together([model.fit] * 8)
    assert all(fit is model.fit() for fit in fits)


def test_every_handler_of_numpyro_is_opened_by_one_thread_at_a_time(monkeypatch):
    """Whatever traces a model: a door that was forgotten is found by walking through all of them."""
    forget_programs()
    alone: list[bool] = []
    enter = Messenger.__enter__

    def watched(self):
        alone.append(programs._TRACING._is_owned())
        return enter(self)

    monkeypatch.setattr(Messenger, "__enter__", watched)
    model = one_model()
    for options in METHODS.values():
        model.sample(**SHORT, **options)
    for call in everything(model).values():
        call()
    model.calibrate(10, draws=50, tune=SHORT["tune"], chains=1)
    assert len(alone) > 100
    assert all(alone)


def test_draws_neither_see_nor_disturb_handlers_that_are_open_outside():
    forget_programs()
    model = one_model()
    with (
        numpyro.handlers.trace() as seen,
        numpyro.handlers.seed(rng_seed=1),
        numpyro.handlers.substitute(data={"sigma": np.float64(1.0)}),
    ):
        inside = model.sample(**SHORT)
    assert not seen
    forget_programs()
    assert_same_draws(inside, model.sample(**SHORT))


def test_double_precision_is_asked_for_at_one_door():
    root = Path(bmm.__file__).parent
    asked = {
        path.name
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "enable_x64"
    }
    assert asked == {"inside_jax.py"}


def test_an_interrupted_thread_leaves_its_compilation_to_those_that_wait():
    waiting, go_on, traced = threading.Event(), threading.Event(), []

    def interrupted_once(x):
        traced.append(x)
        if len(traced) == 1:
            waiting.set()
            go_on.wait(30)
            raise KeyboardInterrupt
        return x + 1.0

    program = programs.Program(interrupted_once, {})
    first, second = Future(), Future()

    def call(future):
        try:
            future.set_result(np.asarray(program(np.zeros(2, np.float32))))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, args=(first,)).start()
    waiting.wait(30)
    threading.Thread(target=call, args=(second,)).start()
    go_on.set()
    with pytest.raises(KeyboardInterrupt):
        first.result(timeout=30)
    np.testing.assert_array_equal(second.result(timeout=30), np.ones(2))


def test_the_script_of_the_page_samples_in_spawned_processes(tmp_path):
    page = documents.ROOT / "docs" / "posterior.md"
    [block] = [each for each in documents.read_blocks(page) if each.not_run]
    script = tmp_path / "script.py"
    script.write_text(block.code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines() == ["Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days | Subject)"], (
        done.stderr
    )


FORK = """
import os, sys, threading, warnings
import bayesmm as bmm
from tests_of_threads import SHORT, everything, one_model
warnings.simplefilter("ignore")
model = one_model()
{before}
read, write = os.pipe()
if os.fork() == 0:
    threading.Timer(60, os._exit, (1,)).start()  # it hangs
    said = []
    for name, call in calls.items():
        try:
            call()
            said.append(f"{{name}} works")
        except Exception as error:
            said.append(f"{{name}} {{type(error).__name__}} {{'spawn' in str(error)}}")
    os.write(write, "\\n".join(said).encode())
    os._exit(0)
os.close(write)
print(os.fdopen(read).read())
"""
SAMPLES = '"sample": lambda: model.sample(**SHORT)'


def in_a_fork(before: str) -> dict[str, str]:
    """Say what became of calls in a fork that is made after some code."""
    code = FORK.format(before=before).replace("tests_of_threads", Path(__file__).stem)
    search = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": search},
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.strip().splitlines())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_a_fork_of_a_process_that_sampled_refuses_jax_and_does_all_else():
    found = in_a_fork(f"calls = everything(model) | {{{SAMPLES}, 'jax': lambda: model.fit(engine='jax')}}")
    refused = {name for name, said in found.items() if said == "ProcessError True"}
    assert refused == {"identity", "effects", "moments", "loo", "groups", "sensitivity", "compare", "sample", "jax"}
    assert {name for name, said in found.items() if said == "works"} == {"fit", "predict", "prior"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.parametrize(
    ("before", "said"),
    [("import jax, numpyro", "works"), ("import jax; jax.numpy.zeros(1)", "ProcessError True")],
    ids=["imported", "used by others"],
)
def test_a_fork_samples_unless_jax_was_running(before, said):
    assert in_a_fork(f"{before}; calls = {{{SAMPLES}}}") == {"sample": said}
