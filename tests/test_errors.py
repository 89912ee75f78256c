"""Every error that is raised on purpose is a BayesmmError."""

from __future__ import annotations

import ast
import inspect
import pickle
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import typer

import bayesmm
from bayesmm import errors
from bayesmm.errors import BayesmmError
from bayesmm.locking import HeldError

ROOT = Path(bayesmm.__file__).parent
# Other protocols' own: the option parser's, that of module attributes, and a rule of derivatives inside a trace of JAX,
# which raises whatever it likes.
OTHERS = {
    ("cli/app.py", typer.Exit),
    ("cli/messages.py", typer.Exit),
    ("cli/options.py", typer.BadParameter),
    ("__init__.py", AttributeError),
    ("datasets/__init__.py", AttributeError),
    ("habits.py", AttributeError),
    ("design/elsewhere.py", AttributeError),  # what Python asks of every object
    ("rows/saving.py", ValueError),  # becomes a StorageError
    ("design/columns/remembered.py", ValueError),  # becomes a DesignError that names the call
    ("marginal/in_jax/reduction.py", NotImplementedError),
    # Members of the protocol that not every structure is asked for.
    ("covariance/structure.py", NotImplementedError),
    ("covariance/residual.py", NotImplementedError),
    ("covariance/scaled_correlation.py", NotImplementedError),
    ("covariance/one_correlation.py", NotImplementedError),
    ("covariance/exponential.py", NotImplementedError),
    ("covariance/isotropic.py", NotImplementedError),
    ("covariance/kernels.py", NotImplementedError),
    ("covariance/factor_analytic.py", NotImplementedError),
    ("bayes/priors/correlation_matrices.py", NotImplementedError),
    ("marginal/residual/weights.py", NotImplementedError),
    # What NumPy's own factorisation raises, caught where that is.
    ("cholesky/factor.py", np.linalg.LinAlgError),
    ("cholesky/precision.py", np.linalg.LinAlgError),
    ("marginal/residual/pattern_sums.py", np.linalg.LinAlgError),
    ("marginal/residual/layout.py", np.linalg.LinAlgError),
    ("marginal/residual/weights.py", np.linalg.LinAlgError),
    ("marginal/residual/kriging.py", np.linalg.LinAlgError),
    # Caught by those who call, and told as a StorageError that names the file.
    ("bayes/files/checkpoint.py", ValueError),
    ("fit/stored_fit.py", ValueError),
    ("storage/stored_design.py", TypeError),
    ("design/reading/stored_frame.py", ValueError),
    ("locking.py", HeldError),
    ("inside_jax.py", KeyboardInterrupt),  # what the user did
    ("marginal/in_jax/hosted.py", KeyboardInterrupt),  # passed on to other threads
    ("replacing.py", OSError),
}


def _raised(module: ModuleType, tree: ast.Module) -> Iterator[tuple[int, Any]]:
    """Line and class of everything that is raised by name; an error that a function makes, by its annotation."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or node.exc is None:
            continue
        written = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if isinstance(written, ast.Attribute) and isinstance(written.value, ast.Name) and written.value.id == "self":
            yield node.lineno, _of_self(module, written.attr)
            continue
        made = eval(compile(ast.Expression(written), module.__name__, "eval"), dict(vars(module)))
        yield node.lineno, made if inspect.isclass(made) else get_type_hints(made)["return"]


def _of_self(module: ModuleType, name: str) -> Any:
    """What a method of a class of the module returns, or an attribute of it holds."""
    owners = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    method = next((vars(owner)[name] for owner in owners if name in vars(owner)), None)
    if method is not None:
        return get_type_hints(method)["return"]
    held = next(get_type_hints(owner)[name] for owner in owners if name in get_type_hints(owner))
    return next(kind for kind in get_args(held) or (held,) if kind is not type(None))


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_error_raised_is_one_of_bayesmm(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.Raise) for node in ast.walk(tree)):
        return
    place = path.relative_to(ROOT)
    parts = place.with_suffix("").parts
    module = import_module(".".join(["bayesmm", *(part for part in parts if part != "__init__")]))
    strangers = [
        (line, found)
        for line, found in _raised(module, tree)
        if not issubclass(found, BayesmmError) and (place.as_posix(), found) not in OTHERS
    ]
    assert strangers == []


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Exception)]
)
def test_every_error_prints_its_message_alone_and_survives_pickling(kind: type[Exception]) -> None:
    """Errors of other processes and threads arrive as pickles."""
    error = pickle.loads(pickle.dumps(kind("'b' is not there.")))
    assert type(error) is kind
    assert str(error) == "'b' is not there."
