"""What comes back from a pickle, here or in another process, gives what the original gives; nothing compiled is in it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import bayesmm as bmm

SHORT = {"seed": 3, "draws": 50, "tune": 150, "chains": 2, "progress": False}
pytestmark = pytest.mark.filterwarnings("ignore")  # runs are short
SAYS = {
    "model": lambda model: str(model.sample(**SHORT).draws("sd_Subject").tolist()),
    "fit": lambda fit: str(fit) + fit.predict().to_string() + fit.random_effects().to_string(),
    "jax fit": lambda fit: str(fit) + str(fit.estimate.public_parameters) + fit.predict().to_string(),
    "posterior": lambda posterior: str(posterior) + posterior.predict().to_string() + str(posterior.loo()),
    "comparison": str,
    "priors": str,
}
MOST_BYTES = {
    "model": 60_000,
    "fit": 50_000,
    "jax fit": 50_000,
    "posterior": 400_000,
    "comparison": 450_000,
    "priors": 5000,
}


def make(what):
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    match what:
        case "model":
            return model
        case "fit":
            return model.fit()
        case "jax fit":
            return model.fit(engine="jax")
        case "posterior":
            return model.sample(**SHORT)
        case "comparison":
            return bmm.compare(model.fit(), model.sample(**SHORT))
        case "priors":
            return model.priors


@pytest.mark.parametrize("what", SAYS)
def test_copies_made_before_and_after_use_say_what_the_original_says(what):
    one = make(what)
    before = pickle.dumps(one)
    expected = SAYS[what](one)
    after = pickle.dumps(one)
    assert max(len(before), len(after)) < MOST_BYTES[what]
    for other in (pickle.loads(before), pickle.loads(after), copy.deepcopy(one)):
        assert SAYS[what](other) == expected


def test_what_is_read_in_another_process_says_what_the_original_says(tmp_path):
    ones = {what: make(what) for what in SAYS}
    (tmp_path / "ones.pickle").write_bytes(pickle.dumps(ones))
    script = (
        "import pickle, sys, warnings; warnings.simplefilter('ignore'); sys.path.insert(0, sys.argv[2])\n"
        "from test_pickling import SAYS\n"
        "ones = pickle.load(open(sys.argv[1] + '/ones.pickle', 'rb'))\n"
        "said = {what: SAYS[what](one) for what, one in ones.items()}\n"
        "pickle.dump(said, open(sys.argv[1] + '/said.pickle', 'wb'))\n"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), folder], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = pickle.loads((tmp_path / "said.pickle").read_bytes())
    assert said == {what: SAYS[what](one) for what, one in ones.items()}
