"""Set up before bayesmm is imported: shapes checked at run time, compiled programs shared between test processes."""

import gc
import os
import sys
from pathlib import Path

# Processes run side by side: threads of NumPy's that wait for a core make small matrices three times as slow.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "agg"

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Continuous integration tries the same examples every time: what it refuses is the change, not the draw.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Most of the time of a test run is compiling. Programs are kept by their content, so that nothing stale can be found.
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Test processes start many others, and all import much: where the environment wants no bytecode beside its sources, each
# would compile all of that anew, which takes three times as long as the rest of the import.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(CACHE.with_name("bytecode"))

# Elsewhere a letter means another number in each element of a sequence (k of each grouping factor), which jaxtyping
# would bind once; those functions are held to the dense oracle instead.
install_import_hook(["bayesmm.marginal.arrays.linalg"], "beartype.beartype")


def pytest_configure():
    """What is imported and collected is never garbage: it is neither looked through meanwhile nor ever after."""
    gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _unhurried_disk():
    """Do not wait for the disk: what a test writes need not outlive the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def _figures_are_closed():
    """Whatever a test draws, into memory, is gone after it."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def uncollected():
    """What is timed is the test's own work: to look through all that earlier tests left behind can take a second."""
    gc.disable()
    yield
    gc.enable()
