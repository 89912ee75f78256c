"""What a first call loads and compiles, in processes of their own: counted, since seconds depend on the machine."""

import json
import subprocess
import sys

BEGIN = """
import json, sys
import bayesmm as bmm
from bayesmm.priors import HalfNormal, LKJ
programs, found = [], {}

def watch():  # loads JAX
    import jax
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: programs.append(event) if event.endswith("backend_compile_duration") else None
    )

def tell(name):
    found[name] = {"compiled": len(programs), "jax": "jaxlib" in sys.modules, "scipy.stats": "scipy.stats" in sys.modules}
    programs.clear()

data = bmm.datasets.load("sleepstudy")
models = [
    bmm.Model("Reaction ~ Days + (Days | Subject)", data, priors=priors)
    for priors in (None, {"sd": HalfNormal(30, on="variance"), "cor": LKJ(2)})
]
"""
END = """
print(json.dumps(found))
"""


def run(code):
    """Run code in a process of its own; say how many programs each of its steps compiled and what was loaded then."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code + END], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_fits_and_priors_neither_compile_nor_load_jax():
    code = """
models[0].fit(), str(models[0].fit())
tell("fit")
for model in models:
    str(model.priors), model.priors.table()
tell("priors")
for model in models:
    model.prior_predictive(50)
tell("prior predictive")
"""
    figures = """
import matplotlib
matplotlib.use("agg")
for model in models:
    model.fit(), model.plot_priors()
tell("plot of priors")
"""
    nothing = {"compiled": 0, "jax": False, "scipy.stats": False}
    assert run(code) == dict.fromkeys(["fit", "priors", "prior predictive"], nothing)
    assert run(figures) == {"plot of priors": nothing}


def test_where_jax_is_loaded_priors_compile_nothing_and_the_identity_the_programs_density_alone():
    """One program, that is compiled for values only; peaks are searched by the optimiser's code. What is compiled is seen."""
    code = """
watch()
import arviz, matplotlib
matplotlib.use("agg")
models[0].plot_priors(), models[0].prior_predictive(50)
tell("priors")
str(models[0].check_identity())
tell("identity")
import jax
jax.jit(lambda x: x + 1)(1.0)
tell("another")
"""
    found = run(code)
    assert found["priors"]["jax"]
    assert {step: each["compiled"] for step, each in found.items()} == {"priors": 0, "identity": 1, "another": 1}


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
