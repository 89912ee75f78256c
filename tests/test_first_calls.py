"""What a first call loads and compiles, in processes of their own: counted, since seconds depend on the machine."""

import json
import subprocess
import sys

import pytest

BEGIN = """
import json, sys
import bayesmm as bmm
from bayesmm.priors import HalfNormal, LKJ
programs = []

def watch():  # loads JAX
    import jax
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: programs.append(event) if event.endswith("backend_compile_duration") else None
    )

model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"), priors={priors})
"""
END = """
print(json.dumps({"compiled": len(programs), "jax": "jaxlib" in sys.modules, "scipy.stats": "scipy.stats" in sys.modules}))
"""
PRIORS = ("None", "{'sd': HalfNormal(30, on='variance'), 'cor': LKJ(2)}")


def run(code, priors="None"):
    """Run code after a model was made; say how many programs it compiled and what it loaded."""
    script = BEGIN.replace("{priors}", priors) + code + END
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "model.fit(); str(model.fit())",
        "str(model.priors); model.priors.table()",
        "model.prior_predictive(50)",
        "import matplotlib; matplotlib.use('agg'); model.fit(); model.plot_priors()",
    ],
    ids=["fit", "priors", "prior predictive", "plot of priors"],
)
def test_fits_and_priors_neither_compile_nor_load_jax(code):
    for priors in PRIORS if "prior" in code else PRIORS[:1]:
        assert run(code, priors) == {"compiled": 0, "jax": False, "scipy.stats": False}


def test_priors_compile_nothing_where_jax_is_loaded():
    code = "watch(); import arviz; import matplotlib; matplotlib.use('agg'); model.plot_priors(); model.prior_predictive(50)"
    found = run(code)
    assert found["jax"]
    assert found["compiled"] == 0


def test_the_identity_compiles_the_programs_density_alone():
    """One program, that is compiled for values only; peaks are searched by the optimiser's code."""
    assert run("watch(); identity = model.check_identity(); str(identity)")["compiled"] == 1


def test_a_program_that_is_compiled_is_seen():
    assert run("watch(); import jax; jax.jit(lambda x: x + 1)(1.0)")["compiled"] >= 1


LOADED = """
print(json.dumps(sorted(name for name in sys.modules if name == "scipy" or name.startswith({rooms}))))
"""
ROOMS = (
    "bayesmm.inference.bootstrap",
    "bayesmm.marginal.residual",
    "bayesmm.marginal.stochastic",
    "bayesmm.rows.scan",
    "bayesmm.bayes",
)


def test_a_fit_with_its_tables_loads_no_scipy_and_only_what_it_takes():
    code = "model = bmm.Model('Reaction ~ Days + (Days | Subject)', bmm.datasets.load('sleepstudy'))\n"
    code += "fit = model.fit(); fit.parameters; fit.random_effects(); str(fit.summary())\n"
    script = "import json, sys\nimport bayesmm as bmm\n" + code + LOADED.replace("{rooms}", repr(ROOMS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
