"""What a formula may name: columns, NumPy's elementwise functions, formulae's transformations, the user's namespace.

Two walls keep everything else out. The names of an expression are checked against these lists before anything is
evaluated, and what is evaluated sees a namespace that holds nothing else: no builtins, no modules, no attributes.
"""

import difflib
from collections.abc import Collection, Mapping
from functools import cached_property, lru_cache
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.console import listing, quoted
from bayesmm.design.reading.frame import missing_column
from bayesmm.errors import SpecificationError
from bayesmm.specification.smooths import CALLEE
from bayesmm.specification.syntax import Call, Name, Node, walk, write

_NOT_FOR_GAUSSIAN = ("p", "prop", "proportion")  # formulae's binomial responses
_ELSEWHERE = ("offset", CALLEE, "at", *_NOT_FOR_GAUSSIAN)
_ADVICE = MappingProxyType(
    {
        "ns": "Write cr(x, df=4) for a natural cubic spline, or bs(x, df=4).",
        CALLEE: "A smooth term stands by itself in a sum: y ~ s(x) + (1 | g).",
        **dict.fromkeys(("cr", "cc", "tp"), "It came with formulae 0.8: pip install --upgrade formulae."),
        "as.numeric": "Convert the column in the data.",
        "factor": "Write C(x).",
        "relevel": "Write C(x, Treatment('reference')).",
        "np.mean": "A mean must be remembered for new data: write center(x).",
        "np.std": "A standard deviation must be remembered for new data: write scale(x).",
        "p": "For a proportion of counts write the response as I(k / n), with weights='n'.",
        "prop": "For a proportion of counts write the response as I(k / n), with weights='n'.",
        "proportion": "For a proportion of counts write the response as I(k / n), with weights='n'.",
    }
)


def _elementwise() -> dict[str, tuple[Any, int, int]]:
    """Collect NumPy's elementwise functions with the least and the greatest number of their arguments.

    An argument more would be NumPy's ``out``, which writes into a column.
    """
    found = {
        name: (function, function.nin, function.nin)
        for name, function in vars(np).items()
        if isinstance(function, np.ufunc) and function.nout == 1 and function.signature is None
    }
    return found | {"where": (np.where, 3, 3), "clip": (np.clip, 3, 3), "round": (np.round, 1, 2)}


_NUMPY = MappingProxyType(_elementwise())
_NUMPY_CONSTANTS = MappingProxyType({"np.pi": np.pi, "np.e": np.e})
_NUMPY_NAMESPACE = SimpleNamespace(**{name: function for name, (function, _, _) in _NUMPY.items()})


@lru_cache(maxsize=1)
def _transforms() -> tuple[str, ...]:
    """List formulae's transformations; importing it takes 0.3 seconds that formulas without calls need not spend."""
    from formulae.transforms import TRANSFORMS

    return tuple(sorted(name for name in TRANSFORMS if name not in _ELSEWHERE))


@lru_cache(maxsize=1)
def _encodings() -> tuple[str, ...]:
    from formulae.categorical import ENCODINGS

    return tuple(ENCODINGS)


MEANS = ("center", "scale", "standardize")  # transformations that remember a mean and a standard deviation


STATES = "states of calls"  # no name that a formula could have


class Names:
    """The names that the expressions of one model may use, besides the columns of the data.

    Parameters
    ----------
    namespace : mapping of str to object, optional
        The user's functions and values.
    states : mapping of str to mapping, optional
        What transformations remember, by the calls as they are written, where not all rows are there to find it in; see
        `bayesmm.design.columns.remembered`.

    Raises
    ------
    SpecificationError
        If the namespace holds modules, names with dots, or names that the formula language already has.
    """

    def __init__(
        self, namespace: Mapping[str, Any] | None = None, states: Mapping[str, Mapping[str, Any]] | None = None
    ):
        self.states = dict(states or {})
        if namespace is not None and not isinstance(namespace, Mapping):
            raise SpecificationError(
                f"namespace is {shorten(namespace)}: give a mapping from names to functions, {{'f': f}}."
            )
        self.user = dict(namespace or {})
        for name, value in self.user.items():
            _check_user_name(name, value)

    @cached_property
    def environment(self) -> Any:
        """What formulae evaluates calls in."""
        from formulae.environment import Environment

        return Environment([{**self.user, "np": _NUMPY_NAMESPACE, **_NUMPY_CONSTANTS, STATES: self.states}])

    def columns_of(self, node: Node, columns: Collection[str]) -> tuple[str, ...]:
        """Check every name of an expression, and return the columns of the data that it uses.

        Parameters
        ----------
        node : Node
            The expression.
        columns : collection of str
            Names of the columns that the data have.

        Returns
        -------
        tuple of str
            In order of appearance.

        Raises
        ------
        SpecificationError
            For a function that is not known.
        DesignError
            For a column that the data do not have.
        """
        if isinstance(node, Name) and node.text in columns:
            return (node.text,)
        used: dict[str, None] = {}
        for each in walk(node):
            if isinstance(each, Call):
                self._check_call(each)
            elif isinstance(each, Name) and each.text in columns:
                used[each.text] = None
            elif isinstance(each, Name) and (node is each or not self._is_value(each.text)):
                raise missing_column(each.text, columns, used_in="" if node is each else write(node))
        return tuple(used)

    def _is_value(self, name: str) -> bool:
        return name in self.user or name in _NUMPY_CONSTANTS or name in _encodings()

    def _check_call(self, call: Call) -> None:
        if call.callee.startswith("np."):
            _check_numpy_call(call)
        elif call.callee in self.user:
            if not callable(self.user[call.callee]):
                kind = type(self.user[call.callee]).__name__
                raise SpecificationError(
                    f"{quoted(write(call))}: {quoted(call.callee)} of the namespace is a {kind}, no function."
                )
        elif call.callee not in ("at", *_transforms(), *_encodings()):
            raise SpecificationError(self._unknown_function(call))

    def _unknown_function(self, call: Call) -> str:
        name = call.callee
        known = [*_transforms(), *sorted(self.user), *(f"np.{each}" for each in _NUMPY)]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        advice = _ADVICE.get(name) or (
            f"Write np.{name}."
            if name in _NUMPY
            else f"Did you mean {near[0]}?"
            if near
            else "Pass it as namespace={'" + name.rpartition(".")[2] + "': function} if it is yours."
        )
        user = f", your {listing(sorted(self.user))}" if self.user else ""
        return (
            f"The function {quoted(name)} in {quoted(write(call))} is not known to formulas. {advice} Known "
            f"are {', '.join(_transforms())}{user}, and NumPy's elementwise functions such as np.log, np.exp, np.sqrt."
        )


def _check_numpy_call(call: Call) -> None:
    name = call.callee.removeprefix("np.")
    if name not in _NUMPY:
        instead = "Compute the column in the data, or pass a function in namespace={...}."
        raise SpecificationError(
            f"{quoted(call.callee)} in {quoted(write(call))} cannot be used in a formula: only NumPy's elementwise "
            f"functions can. {_ADVICE.get(call.callee, instead)}"
        )
    _, least, most = _NUMPY[name]
    if call.keywords or not least <= len(call.arguments) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        raise SpecificationError(
            f"{quoted(write(call))}: {call.callee} takes {count} unnamed argument(s) in a formula."
        )


def _check_user_name(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise SpecificationError(f"The namespace has the name {name!r}: names must be plain identifiers.")
    if isinstance(value, ModuleType):
        raise SpecificationError(
            f"The namespace has the module {name!r}. Pass its functions one by one: namespace={{'f': {name}.f}}."
        )
    if name in _transforms() or name in _encodings() or name in ("np", *_ELSEWHERE):
        raise SpecificationError(
            f"The namespace redefines {name!r}, which the formula language already has. Choose another name."
        )
