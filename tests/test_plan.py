"""The elimination plan as a model shows it, and what evaluates the likelihood by it."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.marginal.plan import planning

CROSSED = "diameter ~ 1 + (1 | plate) + (1 | sample)"
NESTED = "strength ~ 1 + (1 | batch/cask)"


def bound(formula: str, name: str) -> bmm.Model:
    return bmm.Model(formula, bmm.datasets.load(name))


def clustered(sizes: tuple[int, ...]) -> pd.DataFrame:
    """Pupils crossed with teachers inside each school; `sizes` are numbers of teachers."""
    rows = [(s, p, t) for s, n in enumerate(sizes) for p in range(6) for t in range(n)]
    table = pd.DataFrame(rows, columns=["school", "p", "t"])
    table["pupil"] = table["school"].astype(str) + "p" + table["p"].astype(str)
    table["teacher"] = table["school"].astype(str) + "t" + table["t"].astype(str)
    return table.assign(y=np.random.default_rng(0).normal(size=len(table)))


def test_table_has_one_row_for_each_grouping_factor_in_the_order_of_elimination() -> None:
    steps = bound("pixel ~ day + (day | Dog) + (1 | Dog:Side)", "pixel").plan.steps
    assert list(steps["group"]) == ["Dog:Side", "Dog"]
    assert list(steps["levels"]) == [20, 10]
    assert list(steps["effects"]) == [1, 2]
    assert list(steps["how"]) == ["batch", "batch"]
    assert list(steps["fill"]) == ["none", "none"]


def test_nested_factors_are_said_to_join_nothing() -> None:
    text = str(bound(NESTED, "pastes").plan)
    assert text.startswith(f"Elimination plan of {NESTED}")
    assert "1. batch:cask, 30 levels" in text
    assert "2. batch, 10 levels" in text
    assert "nothing new is joined" in text
    assert "dense block" not in text


@pytest.mark.parametrize(
    ("cost", "fill", "sentence"),
    [
        (1e-6, "scatter", r"360 pairs, scattered one by one \(predicted .* as a dense product"),
        (1e6, "product", r"360 pairs, as one dense product \(predicted .* scattered one by one 0\.36 s\)"),
    ],
)
def test_text_names_the_way_of_fill_and_what_either_was_predicted_to_cost(
    cost: float, fill: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "SCATTER_NS", cost)
    shown = bound(CROSSED, "penicillin").plan
    first, last = shown.steps.to_dict("records")
    assert (first["group"], first["fill"], first["pairs"]) == ("plate", fill, 360)
    assert (last["group"], last["how"]) == ("sample", "dense block")
    assert (first["scatter_seconds"] < first["product_seconds"]) == (fill == "scatter")
    text = " ".join(str(shown).split())
    assert re.search(sentence, text)
    assert "sample (6 levels): their levels now touch each other. What is left is one dense block of 6 rows" in text


def test_dense_blocks_of_clusters_are_counted_with_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SCATTER_NS", 1e-6)
    formula = "y ~ 1 + (1 | pupil) + (1 | teacher)"
    for sizes, rows in (((3, 4, 2), "2 to 4"), ((3, 3, 3), "3")):
        shown = bmm.Model(formula, clustered(sizes)).plan
        assert sorted(shown.block_sizes) == sorted(sizes)
        assert f"3 connected components of {rows} rows" in " ".join(str(shown).split())


def test_plan_is_shown_in_notebooks_as_it_prints() -> None:
    shown = bound(CROSSED, "penicillin").plan
    assert repr(shown) == str(shown)
    assert "their levels now touch each other" in shown._repr_html_()


@pytest.mark.parametrize(
    ("formula", "name"), [("Reaction ~ Days + (Days | Subject)", "sleepstudy"), (CROSSED, "penicillin")]
)
def test_fit_by_jax_equals_fit_by_numpy(formula: str, name: str) -> None:
    model = bound(formula, name)
    ours, theirs = model.fit(), model.fit(engine="jax")
    assert theirs is model.fit(engine="jax")
    assert theirs is not ours
    assert theirs.loglik == pytest.approx(ours.loglik, abs=1e-9)
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(theirs.parameters[column], ours.parameters[column], rtol=1e-5)
    np.testing.assert_allclose(theirs.random_effects()["estimate"], ours.random_effects()["estimate"], atol=1e-4)


def test_unknown_engine_says_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"engine is 'torch': give 'numpy' or 'jax'\."):
        bound(CROSSED, "penicillin").fit(engine="torch")  # type: ignore[arg-type]


def test_fitting_in_a_fresh_process_imports_no_compiler_and_no_sampler() -> None:
    script = (
        "import sys, bayesmm as bmm\n"
        f"bmm.Model({CROSSED!r}, bmm.datasets.load('penicillin')).fit().summary()\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert not set(result.stdout.split()) & {"jax", "jaxtyping", "numpyro", "arviz", "matplotlib"}
