"""The components of terms: formulae's variables and calls, built from trees that we have parsed.

formulae's own scanner, parser and names are not used: they read ``1e-3`` as four tokens, ``-x**2`` as ``(-x)**2``, drop
what follows an unknown operator, and give ``I((a + b) * c)`` and ``I(a + b * c)`` one name.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
from formulae.categorical import CategoricalBox, Treatment
from formulae.categorical import Sum as SumCoding
from formulae.terms import Call as FormulaeCall
from formulae.terms import Variable
from formulae.terms.call_resolver import LazyCall, LazyOperator, LazyValue, LazyVariable
from formulae.transforms import TRANSFORMS

from bayesmm.design.columns.factors import check_levels, recode
from bayesmm.design.columns.remembered import OF_WHICH, Occurrences, Remembered, no_such_value, recall, remember
from bayesmm.design.columns.terms import label_column
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.names import STATES
from bayesmm.errors import BayesmmError, DesignError
from bayesmm.limits import BASIS_COLUMNS, BASIS_SITES, NUMBERS
from bayesmm.specification.syntax import Binary, Call, Constant, Name, Node, Number, Sum, Text, write

_OPERATORS: dict[str, Callable] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_CODINGS = ("C", "S", "T")
BASES = ("bs", "cr", "cc", "tp", "poly")
_SIZES = {"df": BASIS_COLUMNS, "degree": BASIS_COLUMNS, "knots": BASIS_COLUMNS, "max_knots": BASIS_SITES}


def component_width(component: Any) -> int:
    """Count the columns of a component whose type has been set, every level of a factor counted."""
    values = component._intermediate_data
    if component.kind == "numeric":
        return 1 if np.ndim(values) < 2 else np.shape(values)[1]
    if isinstance(values, CategoricalBox):
        return len(values.levels) if values.levels is not None else pd.Series(values.data).nunique()
    return len(values.cat.categories) if hasattr(values, "cat") else pd.Series(values).nunique()


type Component = ColumnComponent | CallComponent


def build_component(node: Node, name: str | None = None) -> Component:
    """Build a component of its own, because formulae stores the coding of a factor in it.

    Parameters
    ----------
    node : Name or Call
        A factor of a term.
    name : str, optional
        What to call it; the expression as we write it if None.

    Returns
    -------
    Component
    """
    if isinstance(node, Name):
        return ColumnComponent(node.text)
    if isinstance(node, Call):
        return CallComponent(node, name or write(node))
    raise DesignError(f"{write(node)!r} is neither a column nor a call. Write I({write(node)}) for arithmetic.")


def component_names(component: Any) -> list[str]:
    """Name the columns of a component: ``x``, ``poly(x, 2)[0]``, ``f[T.b]`` (reduced), ``f[b]`` (every level)."""
    own = _label(component)
    if component.kind == "numeric":
        width = component.value.shape[1] if component.value.ndim == 2 else 1
        return [own] if width == 1 else [f"{own}[{i}]" for i in range(width)]
    box = component._intermediate_data
    coding = box.contrast if isinstance(box, CategoricalBox) else None
    is_sum = isinstance(coding, SumCoding)
    is_reduced_treatment = (coding is None or isinstance(coding, Treatment)) and not component.spans_intercept
    prefix = "S." if is_sum else "T." if is_reduced_treatment else ""
    texts = {str(level): prefix + level_text(level) for level in component.levels}
    return [f"{own}[{texts.get(label, label)}]" for label in component.contrast_matrix.labels]


def _label(component: Component) -> str:
    return label_column(component.name) if isinstance(component, ColumnComponent) else component.name


class ColumnComponent(Variable):
    """A column of the data as a component of a term; a boolean is a factor with the levels False and True."""

    def set_type(self, data_mask: pd.DataFrame) -> None:
        """Find out what kind of column it is."""
        values = data_mask[self.name]
        if values.dtype == bool:
            values = pd.Series(pd.Categorical(values, ordered=True), index=values.index)
        self.kind = "categoric" if isinstance(values.dtype, pd.CategoricalDtype) else "numeric"
        self._intermediate_data = values

    def set_data(self, spans_intercept: bool | None = None) -> None:
        """Code the column; formulae prints to stdout on failure, this does not."""
        if self.kind == "numeric":
            self.eval_numeric(self._intermediate_data)
        else:
            self.eval_categoric(self._intermediate_data, spans_intercept)
            _check_levels(self)

    def eval_new_data_categoric(self, x: pd.Series) -> np.ndarray:
        """Code the levels of new rows as in the fit."""
        return _recode(self, x)


class CallComponent(FormulaeCall):
    """A call as a component of a term, with the name that we write for it."""

    def __init__(self, node: Call, name: str):
        super().__init__(_Guarded(name, node))
        self.name, self.node = name, node

    def set_data(self, spans_intercept: bool = False) -> None:
        """Code the values; formulae prints to stdout on failure, this does not."""
        with blaming(self.name):
            if self.kind == "numeric":
                self.value = np.asarray(self._intermediate_data, dtype=np.float64)
            elif isinstance(self._intermediate_data, CategoricalBox):
                self.eval_categorical_box(self._intermediate_data, spans_intercept)
            else:
                self.eval_categoric(self._intermediate_data, spans_intercept)
        if self.kind != "numeric":
            _check_levels(self)

    def eval_new_data(self, data_mask: pd.DataFrame) -> np.ndarray:
        """Evaluate the call for new rows, with the state and the levels of the fit."""
        call: Any = self.call
        if isinstance(self._intermediate_data, CategoricalBox):
            # CategoricalBox insists that every level occurs, which new data need not honour: look at what is inside.
            while isinstance(call, LazyCall) and call.callee in _CODINGS:
                call = call.args[0]
        values = call.eval(data_mask, self.env)
        if self.kind == "numeric":
            return np.asarray(values, dtype=np.float64)
        return _recode(self, values.data if isinstance(values, CategoricalBox) else values)


class _BoundedCall(LazyCall):
    """A call; of a transformation that makes as many columns as it is told to, no more than there may be."""

    written = ""
    success: Any = None

    def eval(self, data_mask: pd.DataFrame, env: Any) -> Any:
        state = env.namespace.get(STATES, {}).get(self.written)
        if self.callee in OF_WHICH:
            return self.compare(data_mask, env, state)
        if state is not None and self.stateful_transform is None:
            self.stateful_transform = recall(self.callee, state)
        if self.callee in BASES and state is None:
            self.check(data_mask, env)
        return super().eval(data_mask, env)

    def compare(self, data_mask: pd.DataFrame, env: Any, state: Remembered | None) -> np.ndarray:
        """Say which rows have the value that ``binary`` is about: in new rows that of the fit."""
        given = dict(zip(("x", "success"), self.args, strict=False)) | self.kwargs
        values = given["x"].eval(data_mask, env)
        if self.success is None:
            success = given["success"].eval(data_mask, env) if "success" in given else None
            if state is not None:
                success = state["success"]
            elif success is None:
                success = sorted(pd.unique(np.asarray(values)).tolist())[0]
            elif not (values == success).any():
                raise no_such_value(success)
            self.success = success
        return np.where(values == self.success, 1, 0)

    def check(self, data_mask: pd.DataFrame, env: Any) -> None:
        """Refuse a basis before it is computed."""
        names = list(signature(TRANSFORMS[self.callee].__call__).parameters)[1:]
        given = dict(zip(names, self.args, strict=False)) | self.kwargs
        for name in [name for name in given if name in _SIZES]:
            value = given[name].eval(data_mask, env)
            size = np.size(value) if name == "knots" else value if isinstance(value, (int, float)) else 0
            if abs(size) > _SIZES[name]:
                given_size = f"{size:,} knots" if name == "knots" else f"{name}={size:,}"
                raise DesignError(
                    f"{self.callee}() is given {given_size}, more than the {_SIZES[name]:,} that it may have. Some "
                    f"ten are usual: write {name} smaller."
                )
        sites = given["max_knots"].eval(data_mask, env) if "max_knots" in given else BASIS_SITES
        if self.callee == "tp" and isinstance(sites, int) and len(data_mask) * sites > NUMBERS:
            raise DesignError(
                f"tp() makes a matrix of {len(data_mask):,} rows × {sites:,} sites, more than the {NUMBERS:,} numbers "
                f"that one may have. Write max_knots={NUMBERS // len(data_mask)} or fewer, or use cr()."
            )


def remember_basis(node: Call, x: Occurrences, frame: pd.DataFrame, environment: Any) -> Remembered:
    """Find what ``bs``, ``cr``, ``cc``, ``tp`` or ``poly`` remembers of all rows.

    Parameters
    ----------
    node : Call
        As it is written.
    x : Occurrences
        Of its first argument, in all rows.
    frame : DataFrame
        Some rows.
    environment : object
        What formulae evaluates calls in.

    Raises
    ------
    DesignError
        If it would be larger than one may be, or its arguments do not go together or with the values.
    """
    call = _lazy(node)
    with blaming(write(node)):
        call.check(frame.iloc[:1], environment)
        positional = [argument.eval(frame, environment) for argument in call.args[1:]]
        keywords = {name: value.eval(frame, environment) for name, value in call.kwargs.items()}
        given = signature(TRANSFORMS[node.callee].__call__).bind(None, None, *positional, **keywords)
        given.apply_defaults()
        return remember(node.callee, dict(list(given.arguments.items())[2:]), x)


class _Guarded(_BoundedCall):
    """The outermost call of a component: its failures are reported, and a single number fills the column."""

    def __init__(self, name: str, node: Call):
        super().__init__(node.callee, [_lazy(argument) for argument in node.arguments], _lazy_keywords(node))
        self.name, self.written = name, write(node)

    def eval(self, data_mask: pd.DataFrame, env: Any) -> Any:
        with blaming(self.name):
            values = super().eval(data_mask, env)
        if isinstance(values, CategoricalBox):
            return values
        if isinstance(values, (int, float, np.number)):
            return np.full(len(data_mask), float(values))
        if isinstance(values, pd.Categorical):
            values = pd.Series(values)
        if not isinstance(values, (np.ndarray, pd.Series)) or np.ndim(values) > 2 or len(values) != len(data_mask):
            size = f" of shape {np.shape(values)}" if isinstance(values, (np.ndarray, pd.Series)) else ""
            raise DesignError(
                f"{self.name!r} gives a {type(values).__name__}{size} for {len(data_mask)} rows. It must give one "
                "value, or one row of values, for each row of the data."
            )
        return values


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Turn any failure of an expression into a DesignError that names it."""
    try:
        yield
    except BayesmmError:
        raise
    except Exception as error:
        raise DesignError(
            f"{name!r} could not be computed: {type(error).__name__}: {error}. Check that its columns are of the "
            "right type, or compute it in the data."
        ) from error


def _lazy(node: Node, *, in_arithmetic: bool = False) -> Any:
    """Translate a tree into formulae's deferred operations.

    Numbers in arithmetic are floats, so that powers of whole numbers overflow at once instead of filling the memory.
    """
    match node:
        case Number():
            return LazyValue(float(node.value) if in_arithmetic else node.value, node.text)
        case Text(value) | Constant(value):
            return LazyValue(value, write(node))
        case Name(name):
            return LazyVariable(name)
        case Call(callee, arguments):
            call = _BoundedCall(callee, [_lazy(argument) for argument in arguments], _lazy_keywords(node))
            call.written = write(node)
            return call
        case Sum((("-", Number() as number),)) if not in_arithmetic:
            return LazyValue(-number.value, write(node))
        case Sum(parts):
            return _lazy_sum(parts)
        case Binary(symbol, left, right):
            operands = (_lazy(left, in_arithmetic=True), _lazy(right, in_arithmetic=symbol not in _COMPARISONS))
            return LazyOperator(_OPERATORS[symbol], *operands)
    raise DesignError(f"{write(node)!r} is not arithmetic. Write columns, numbers and + - * / ** between them.")


def _lazy_sum(parts: tuple[tuple[str, Node], ...]) -> Any:
    (first_sign, first), *others = parts
    total = _lazy(first, in_arithmetic=True)
    total = LazyOperator(operator.neg, total) if first_sign == "-" else total
    return _LazySum(total, [(_OPERATORS[sign], _lazy(part, in_arithmetic=True)) for sign, part in others])


class _LazySum:
    """A chain of sums and differences from left to right, however long; formulae's operators would go as deep."""

    def __init__(self, first: Any, others: list[tuple[Callable, Any]]):
        self.first, self.others = first, others

    def eval(self, data_mask: pd.DataFrame, env: Any) -> Any:
        """Evaluate the parts one after another."""
        total = self.first.eval(data_mask, env)
        for operation, part in self.others:
            total = operation(total, part.eval(data_mask, env))
        return total


def _lazy_keywords(node: Call) -> dict[str, Any]:
    return {keyword: _lazy(value) for keyword, value in node.keywords}


def _check_levels(component: Any) -> None:
    if not component.spans_intercept:
        check_levels(component.name, component.levels)


def _recode(component: Any, values: Any) -> np.ndarray:
    coding = np.asarray(component.contrast_matrix.matrix, dtype=np.float64)
    return recode(component.name, component.levels, coding, values)
