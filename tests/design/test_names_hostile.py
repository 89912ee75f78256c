"""A formula can run nothing but columns, elementwise functions, transformations and what the user passes."""

import os

import numpy as np
import pandas as pd
import pytest

from bayesmm.design import build_design
from bayesmm.errors import BayesmmError, SpecificationError
from bayesmm.specification import parse_formula

DATA = pd.DataFrame({"y": np.arange(12.0) ** 2, "x": np.arange(12.0), "g": np.repeat(list("abc"), 4)})

HOSTILE = [
    "__import__('os').system('touch HIT')",
    "__import__('os')",
    "open('HIT', 'w')",
    "eval('open(1)')",
    "exec('x')",
    "compile('x', 'x', 'exec')",
    "getattr(x, 'to_csv')",
    "globals()",
    "breakpoint()",
    "print(x)",
    "os.system('touch HIT')",
    "x.to_csv('HIT')",
    "I(x).to_csv('HIT')",
    "x.__class__",
    "x.__class__.__mro__",
    "I(x.__class__)",
    "np.load('HIT')",
    "np.save('HIT', x)",
    "np.savetxt('HIT', x)",
    "np.fromfile('HIT')",
    "np.memmap('HIT')",
    "np.frompyfunc(x, 1, 1)",
    "np.vectorize(x)",
    "np.lib.npyio.save('HIT', x)",
    "np.os.system('touch HIT')",
    "np.__loader__(x)",
    "np.log.__class__(x)",
    "np.add.reduce(x)",
    "np.log(x, out=x)",
    "np.log(x, x)",
    "np.add(x, x, x)",
    "np.where(x > 0, x, 0, x)",
    "center.__init__(x)",
    "C(x, np.load)",
    "C(x, open)",
    "I(open)",
    "I(np)",
    "I(__builtins__)",
    "(lambda: 1)()",
    "lambda: 1",
    "[c for c in x]",
    "f'{x}'",
    "x if x else x",
    "x; import os",
    "import os",
    "x := 3",
    "@x",
    "$x",
    "x\\n",
    "`x`.y",
    "'x'.join(x)",
    "{'a': 1}",
    "{open('HIT', 'w')}",
    "offset(open('HIT', 'w'))",
    "proportion(x, x)",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("place", ["y ~ {} + (1 | g)", "{} ~ x + (1 | g)", "y ~ x + ({} | g)", "y ~ (1 | {})"])
def test_hostile_formula_is_refused_and_never_run(place, hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(os, "system", calls.append)
    with pytest.raises(BayesmmError):
        build_design(parse_formula(place.format(hostile)), DATA)
    assert calls == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_weights_are_refused_and_never_run(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BayesmmError):
        build_design(parse_formula("y ~ x + (1 | g)"), DATA, weights=hostile)
    assert list(tmp_path.iterdir()) == []


def failure(formula, namespace=None):
    with pytest.raises(SpecificationError) as caught:
        build_design(parse_formula(formula), DATA, namespace=namespace)
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ("log(x)", "Write np.log."),
        ("sqrt(x)", "Write np.sqrt."),
        ("ns(x, 3)", "cr(x, df=4)"),
        ("centre(x)", "Did you mean center?"),
        ("np.mean(x)", "center(x)"),
        ("np.std(x)", "scale(x)"),
        ("np.nosuch(x)", "only NumPy's elementwise functions"),
        ("special.expit(x)", "namespace={'expit': function}"),
        ("np.log(x, x)", "np.log takes 1 unnamed argument(s)"),
        ("proportion(x, x)", "weights='n'"),
    ],
)
def test_unknown_function_gets_advice(call, advice):
    assert advice in failure(f"y ~ {call} + (1 | g)")


def test_unknown_function_error_lists_the_known_ones():
    message = failure("y ~ nosuch(x) + (1 | g)", {"mine": np.tanh})
    assert all(name in message for name in ("bs", "center", "poly", "scale", "np.log", "your mine"))


@pytest.mark.parametrize(
    ("namespace", "part"),
    [
        ({"np": np}, "module 'np'"),
        ({"os": os}, "module 'os'"),
        ({"center": np.tanh}, "redefines 'center'"),
        ({"a.b": np.tanh}, "plain identifiers"),
        ({3: np.tanh}, "plain identifiers"),
    ],
)
def test_namespace_with_modules_or_reserved_names_is_refused(namespace, part):
    assert part in failure("y ~ x + (1 | g)", namespace)


def test_attributes_of_the_namespace_are_out_of_reach():
    class Holder:
        def method(self, x):
            raise AssertionError("must not be reached")

    assert "'holder.method'" in failure("y ~ holder.method(x) + (1 | g)", {"holder": Holder()})


def test_value_of_the_namespace_is_no_function():
    assert "no function" in failure("y ~ k(x) + (1 | g)", {"k": 3})


def test_columns_come_before_the_namespace():
    design = build_design(parse_formula("y ~ I(x + 0) + (1 | g)"), DATA, namespace={"x": 5.0})
    assert design.X[:3, 1].tolist() == [0.0, 1.0, 2.0]
