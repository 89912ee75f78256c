"""What comes back from a pickle, here or in another process, gives what the original gives; nothing compiled is in it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from presenting.results import RESULTS

import bayesmm as bmm

SHORT = {"seed": 3, "draws": 50, "tune": 120, "chains": 2, "progress": False}
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


# Results that RESULTS has no class of its own for, or that hold what users wrote.
MORE = {
    "Bootstrap of a statistic": lambda: made("fit")[0].bootstrap(
        20, statistic=lambda fit: float(fit.parameters.loc["sigma", "estimate"]), progress=False
    ),
    "Bootstrap compared": lambda: bmm.compare(
        made("fit")[0], made("fit")[0].bootstrap(20, progress=False), made("posterior")[0]
    ),
    "Explained of a posterior": lambda: made("posterior")[0].explained(),
    "Margins of a posterior": lambda: bmm.emmeans(made("posterior")[0], "Days", at={"Days": [0, 9]}).contrasts(),
    "Slopes": lambda: bmm.slopes(made("fit")[0], "Days"),
    "Comparisons": lambda: bmm.comparisons(made("fit")[0], {"Days": [1, 2]}),
    "Shrinkage of a fit": lambda: bmm.shrinkage(made("fit")[0]),
    "Ranking of a posterior": lambda: bmm.ranking(made("posterior")[0], "Subject", "Days"),
    "Influence with refits": lambda: made("fit")[0].influence("Subject", refit=True),
    "Joint test": lambda: bmm.emmeans(made("fit")[0], "Days", at={"Days": [0, 9]}).contrasts().joint_test(),
    "Leave one out": lambda: made("posterior")[0].loo(),
    "Covariance": lambda: made("model")[0].marginal_covariance([0, 1]),
}


def tables(one):
    """Every data frame that a result has as an attribute, by name."""
    found = {}
    for name in dir(one):
        if not name.startswith("_"):
            try:
                value = getattr(one, name)
            except bmm.errors.BayesmmError:
                continue
            if isinstance(value, pd.DataFrame | pd.Series):
                found[name] = value
    return found


@pytest.mark.parametrize("name", [*RESULTS, *MORE])
def test_every_result_survives_a_pickle_with_its_text_and_tables(name):
    """As caches and processes do it, also before anything was asked of the result."""
    one = (RESULTS | MORE)[name]()
    before = pickle.dumps(one)
    text, expected = str(one), tables(one)
    others = [pickle.loads(before), pickle.loads(pickle.dumps(one)), copy.copy(one)]
    for other in others:
        assert type(other) is type(one)
        assert str(other) == text
        own = tables(other)
        assert own.keys() == expected.keys()
        for key, table in expected.items():
            same = pd.testing.assert_frame_equal if isinstance(table, pd.DataFrame) else pd.testing.assert_series_equal
            same(own[key], table, check_exact=True)


def test_every_class_that_prints_a_page_is_pickled():
    """Whatever has a report is in RESULTS, which its own test holds to be complete; most have tables too."""
    assert sum(bool(tables(RESULTS[name]())) for name in ("Fit", "Posterior", "Profile", "Margins", "Ranking")) == 5


def test_joblib_keeps_results(tmp_path):
    joblib = pytest.importorskip("joblib")
    for what in ("fit", "posterior", "comparison"):
        joblib.dump(made(what)[0], tmp_path / "one.joblib")
        assert SAYS[what](joblib.load(tmp_path / "one.joblib")) == said(what)
