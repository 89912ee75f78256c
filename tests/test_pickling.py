"""What comes back from a pickle, here or in another process, gives what the original gives; nothing compiled is in it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from functools import cache
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


@cache
def made(what):
    """One of each for all tests of this process, and its pickle from before it was used."""
    one = make(what)
    return one, pickle.dumps(one)


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
            return bmm.compare(made("fit")[0], made("posterior")[0])
        case "priors":
            return model.priors


@cache
def said(what):
    """What the original says."""
    return SAYS[what](made(what)[0])


@pytest.mark.parametrize("what", SAYS)
def test_copies_made_before_and_after_use_say_what_the_original_says(what):
    (one, before), expected = made(what), said(what)
    after = pickle.dumps(one)
    assert max(len(before), len(after)) < MOST_BYTES[what]
    for other in (pickle.loads(before), pickle.loads(after), copy.deepcopy(one)):
        assert SAYS[what](other) == expected


def test_what_is_read_in_another_process_says_what_the_original_says(tmp_path):
    (tmp_path / "ones.pickle").write_bytes(pickle.dumps({what: made(what)[1] for what in SAYS}))
    script = (
        "import pickle, sys, warnings; warnings.simplefilter('ignore'); sys.path.insert(0, sys.argv[2])\n"
        "from test_pickling import SAYS\n"
        "ones = pickle.load(open(sys.argv[1] + '/ones.pickle', 'rb'))\n"
        "said = {what: SAYS[what](pickle.loads(one)) for what, one in ones.items()}\n"
        "pickle.dump(said, open(sys.argv[1] + '/said.pickle', 'wb'))\n"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), folder], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert pickle.loads((tmp_path / "said.pickle").read_bytes()) == {what: said(what) for what in SAYS}
