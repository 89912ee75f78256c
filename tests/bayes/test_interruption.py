"""Ctrl-C at any moment: nothing that is drawn is lost, and nothing is left behind that hangs or is wrong."""

from __future__ import annotations

import _thread
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm.bayes import posterior as posterior_module
from bayesmm.bayes import sample as sample_module
from bayesmm.bayes.exploring import explorers, importance, nuts
from bayesmm.bayes.exploring.surface import Surface
from bayesmm.marginal.plan.plan import PlanShape
from bayesmm.marginal.sums import crossproducts

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning"),
    pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto"),  # of so few draws
]
LENGTH = {"seed": 2, "draws": 130, "tune": 120, "chains": 2, "progress": False}  # compiled as in test_checkpoint
WAYS = {
    "marginal": {},
    "conditional": {"program": "conditional"},
    "moments": {"random_effects": "moments"},
    "importance": {"method": "importance"},
    "quadrature": {"method": "quadrature"},
}
PACKAGE = str(Path(bmm.__file__).parent)


@pytest.fixture(scope="module")
def model():
    return bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))


@pytest.fixture(scope="module")
def whole(model):
    """The runs that nobody interrupts, everything compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bmm.errors.BayesmmWarning)
        return {name: model.sample(**LENGTH, **options) for name, options in WAYS.items()}


@pytest.fixture
def interrupt(monkeypatch):
    """Ctrl-C when functions are called; the first so many times. Returns how many are left."""

    def at(*places, times=1):
        left = [times]
        for place, name in places:
            usual = getattr(place, name)

            def interrupted(*arguments, _usual=usual, **options):
                if left[0]:
                    left[0] -= 1
                    raise KeyboardInterrupt
                return _usual(*arguments, **options)

            monkeypatch.setattr(place, name, interrupted)
        return left

    return at


def assert_draws_are_those_of(posterior, whole, way, n=None):
    """All that was asked for, computed now where it was left out."""
    n = LENGTH["draws"] if n is None else n
    assert posterior.sigma.shape == (LENGTH["chains"], n)
    for name in ("sigma", "sd_Batch"):
        np.testing.assert_array_equal(posterior.draws(name), whole[way].draws(name)[:, :n])
    if n == LENGTH["draws"]:
        np.testing.assert_allclose(posterior.beta, whole[way].beta, rtol=1e-9)
        np.testing.assert_allclose(posterior.draws("b_Batch"), whole[way].draws("b_Batch"), rtol=1e-6, atol=1e-8)
    assert np.isfinite(posterior.random_effects()["mean"]).all()
    assert np.isfinite(posterior.loo().elpd)
    assert np.isfinite(posterior.predict()).all(axis=None)
    assert str(posterior)


AFTER = {
    "gathering": (nuts, "_gather"),
    "recovery": (Surface, "finish"),
    "moments": (explorers, "average_moments"),
    "tables": (explorers, "quadrature_group"),
    "pointwise": (sample_module, "pointwise_log_likelihood"),
    "labelling": (sample_module, "build_tree"),
}
BEFORE = {
    "surface": (explorers, "open_surface"),
    "compiling": (explorers, "prepare_nuts"),
    "modes": (explorers, "find_modes"),
    "start": (nuts, "_begin"),
    "proposals": (explorers, "sample_importance"),
    "lattice": (explorers, "integrate"),
    "resampling": (explorers, "resample"),
    "resampling within": (importance, "resample"),
}
NUTS = ("marginal", "conditional", "moments")
ONLY = {  # the ways that come by a stage, where not all do
    "gathering": NUTS,
    "moments": ("moments",),
    "tables": ("quadrature",),
    "compiling": NUTS,
    "start": NUTS,
    "proposals": ("importance",),
    "lattice": ("quadrature",),
    "resampling": ("quadrature",),
    "resampling within": ("importance",),
}


def where(stages):
    return pytest.mark.parametrize(
        ("stage", "way"), [(stage, way) for stage in stages for way in ONLY.get(stage, tuple(WAYS))]
    )


@where(AFTER)
def test_an_interruption_after_the_last_draw_loses_no_draw(stage, way, model, whole, interrupt):
    left = interrupt(AFTER[stage])
    posterior = model.sample(**LENGTH, **WAYS[way])
    assert left == [0]
    assert_draws_are_those_of(posterior, whole, way)


@where(BEFORE)
def test_an_interruption_before_the_first_draw_goes_on_and_the_next_call_is_whole(stage, way, model, whole, interrupt):
    left = interrupt(BEFORE[stage])
    try:
        posterior = model.sample(**LENGTH, **WAYS[way])
    except KeyboardInterrupt:
        posterior = model.sample(**LENGTH, **WAYS[way])
    assert left == [0]
    assert_draws_are_those_of(posterior, whole, way)
    assert posterior.notes == whole[way].notes


def test_what_an_interruption_leaves_out_is_said_and_computed_later(model, whole, interrupt, tmp_path):
    interrupt((Surface, "finish"))
    with pytest.warns(
        bmm.errors.BayesmmWarning, match="Interrupted after the last draw. The random effects and the point"
    ):
        posterior = model.sample(**LENGTH)
    assert "b_Batch" not in posterior.data["posterior"]
    assert "log_likelihood" not in posterior.data
    assert posterior.notes[0] in " ".join(str(posterior.summary()).split())
    assert_draws_are_those_of(bmm.load(posterior.save(tmp_path / "posterior.nc")), whole, "marginal")


def test_quadrature_without_its_tables_is_called_what_it_is(model, whole, interrupt):
    interrupt(AFTER["tables"])
    posterior = model.sample(**LENGTH, method="quadrature")
    assert (posterior.method, whole["quadrature"].method) == ("importance", "quadrature")
    assert "Its tables are those of the draws" in posterior.notes[0]
    assert posterior.log_evidence == whole["quadrature"].log_evidence


@pytest.mark.parametrize("stage", ["recovery", "labelling"])
def test_a_second_interruption_stops_at_once(stage, model, interrupt):
    interrupt(AFTER[stage], times=2)
    with pytest.raises(KeyboardInterrupt):
        model.sample(**LENGTH)


def bar(do):
    """A progress bar that hears how far the run is."""

    @contextmanager
    def watched(settings, show):
        yield lambda done, divergences: do(done)

    return watched


@pytest.mark.parametrize("way", ["marginal", "conditional"])
def test_an_interruption_while_drawing_and_one_in_recovery_lose_no_draw(way, model, whole, interrupt, monkeypatch):
    def stop(done):
        if done > 150:
            raise KeyboardInterrupt

    monkeypatch.setattr(sample_module, "progress_bar", bar(stop))
    interrupt(AFTER["pointwise"])
    posterior = model.sample(**LENGTH, **WAYS[way])
    n = posterior.sigma.shape[1]
    assert 0 < n < LENGTH["draws"]
    assert posterior.notes[-1].startswith(f"Interrupted: there are {n} of 130 draws per chain. The ")
    assert_draws_are_those_of(posterior, whole, way, n)


def test_an_interruption_while_draws_are_checked_returns_the_whole_posterior(model, whole, interrupt):
    interrupt((posterior_module, "diagnose"))
    with pytest.warns(bmm.errors.BayesmmWarning, match="while the draws were checked"):
        posterior = model.sample(**LENGTH)
    assert posterior.notes == whole["marginal"].notes
    assert set(posterior.data.children) == set(whole["marginal"].data.children)


def test_an_interruption_while_a_checkpoint_is_written_loses_no_draw(model, whole, monkeypatch, tmp_path):
    pytest.importorskip("zarr")
    from bayesmm.bayes.files.checkpoint import Checkpoint

    save, calls = Checkpoint.save, []

    def interrupted(self, progress):
        calls.append(progress.done)
        if len(calls) == 4:
            raise KeyboardInterrupt
        save(self, progress)

    monkeypatch.setattr(Checkpoint, "save", interrupted)
    posterior = model.sample(**LENGTH, checkpoint=tmp_path / "run.zarr")
    assert_draws_are_those_of(posterior, whole, "marginal", 80)
    assert_draws_are_those_of(model.sample(**LENGTH, checkpoint=tmp_path / "run.zarr"), whole, "marginal")


def count_calls(run, interrupt_at=None):
    """Count the calls of functions of the package while `run` runs; Ctrl-C at one of them, in this thread."""
    calls = []

    def profile(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls.append(frame.f_code.co_name)
            if len(calls) == interrupt_at:
                raise KeyboardInterrupt

    usual = sys.getprofile()
    sys.setprofile(profile)
    try:
        found = run()
    finally:
        sys.setprofile(usual)
    return calls, found


@pytest.mark.parametrize("way", WAYS)
def test_an_interruption_at_any_call_returns_what_is_drawn(way, model, whole):
    def run():
        return model.sample(**LENGTH, **WAYS[way])

    calls, _ = count_calls(run)
    nothing_yet = calls.index({"importance": "sample_importance", "quadrature": "integrate"}.get(way, "_iterate"))
    assert len(calls) - nothing_yet > 50
    rng, lengths = np.random.default_rng(1), set()
    for at in rng.choice(np.arange(1, len(calls) - 1), 25, replace=False):
        try:
            _, posterior = count_calls(run, at)
        except KeyboardInterrupt:
            assert not {"finish", "put_together", "build_tree"} & set(calls[:at])
            continue
        n = posterior.sigma.shape[1]
        lengths.add(n)
        assert at > nothing_yet
        np.testing.assert_array_equal(posterior.sigma, whole[way].sigma[:, :n])
    assert LENGTH["draws"] in lengths
    assert_draws_are_those_of(run(), whole, way)


# Python drops what is raised in a callback of its garbage collector, of which JAX has one: that interruption is lost.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*_xla_gc_callback:pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_at_any_time_returns_what_is_drawn(model, whole):
    rng, returned = np.random.default_rng(1), []
    for way in ("marginal", "conditional", "quadrature"):
        begin = time.perf_counter()
        model.sample(**LENGTH, **WAYS[way])
        for delay in rng.uniform(0.0, time.perf_counter() - begin, 8):
            timer = threading.Timer(delay, _thread.interrupt_main)
            try:
                timer.start()
                posterior = model.sample(**LENGTH, **WAYS[way])
                timer.join()
            except KeyboardInterrupt:
                continue
            returned.append(posterior.sigma.shape[1])
            np.testing.assert_array_equal(posterior.sigma, whole[way].sigma[:, : returned[-1]])
        assert_draws_are_those_of(model.sample(**LENGTH, **WAYS[way]), whole, way)
    assert returned


def test_an_interrupted_calibration_reports_the_simulations_so_far(model, monkeypatch):
    usual, asked = sample_module.sample, []

    def interrupted(**options):
        asked.append(options)
        if len(asked) == 13:
            raise KeyboardInterrupt
        return usual(**options)

    monkeypatch.setattr(sample_module, "sample", interrupted)
    options = {"draws": 400, "tune": 20, "chains": 1, "method": "importance"}
    with pytest.warns(bmm.errors.BayesmmWarning, match="Interrupted: there are 12 of 40 simulations"):
        calibration = model.calibrate(40, **options)
    assert len(calibration.ranks) == 12
    assert "12 simulations" in str(calibration)
    assert not asked[0]["interruptible"]
    asked[:] = asked[:5]
    with pytest.raises(KeyboardInterrupt):
        model.calibrate(40, **options)


def test_an_interruption_while_statics_are_compared_is_one(whole, monkeypatch):
    """JAX makes a ValueError of what is raised there."""
    equal, left = PlanShape.__eq__, []

    def compare(self, other):
        left.append(left.pop() - 1)
        if not left[0]:
            raise KeyboardInterrupt
        return equal(self, other)

    def sample(way, interrupted_at):
        left[:] = [interrupted_at]
        crossproducts._plan_of_few.cache_clear()
        model = bmm.Model(
            "Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")
        )  # statics that are equal, not the same
        return model.sample(**LENGTH, **WAYS[way])

    monkeypatch.setattr(PlanShape, "__eq__", compare)
    for way in WAYS:
        sample(way, 0)
        calls = -left[0]
        assert calls, way
        for at in {1, 1 + calls // 2, calls}:
            try:
                sigma = sample(way, at).sigma
            except KeyboardInterrupt:
                continue
            np.testing.assert_array_equal(sigma, whole[way].sigma[:, : sigma.shape[1]])
