"""Curves that are asked for where no data were."""

import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from bayesmm.design.reading.frame import Table
from bayesmm.errors import PACKAGE, BayesmmWarning
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.syntax import Call, Name, Number, Text, walk, write

_BEYOND = {  # what becomes of a curve outside the data
    "bs": "a polynomial, which soon grows without limit",
    "poly": "a polynomial, which soon grows without limit",
    "cr": "a straight line",
    "tp": "what its knots happen to say",
    "s": "a straight line",
}
_ROUNDING = 1e-9  # of the range


def warn_of_extrapolation(expressions: Iterable[str], table: Table, frame: pd.DataFrame) -> None:
    """Warn of splines and polynomials of columns whose new values lie outside those of the fit.

    Parameters
    ----------
    expressions : iterable of str
        Sums of terms.
    table : Table
        The new rows.
    frame : pandas.DataFrame
        The rows of the fit.

    Warns
    -----
    BayesmmWarning
        Once for each call, with the column, both ranges and the number of rows.
    """
    for call, name in dict.fromkeys(pair for text in expressions for pair in _curves(text)):
        if name not in table.columns or frame[name].dtype.kind not in "iuf":
            continue
        column = table.columns[name]
        new = np.asarray(column.values)[~column.missing]
        values = frame[name].to_numpy(dtype=float)
        low, high = values.min(), values.max()
        slack = _ROUNDING * max(high - low, abs(low), abs(high))
        outside = (new < low - slack) | (new > high + slack)
        if outside.any():
            warnings.warn(
                f"{write(call)!r} is predicted outside its data: {name!r} is {new.min():g} to {new.max():g} in the new "
                f"rows, {int(outside.sum())} of {len(new)} beyond {low:g} to {high:g}, the range of the fit. There the "
                f"curve goes on as {_goes_on(call)}.",
                BayesmmWarning,
                skip_file_prefixes=(PACKAGE,),
            )


def _goes_on(call: Call) -> str:
    is_cubic = any(name == "bs" and isinstance(value, Text) and value.value == "bs" for name, value in call.keywords)
    return _BEYOND["bs" if call.callee == "s" and is_cubic else call.callee]


def _curves(text: str) -> Iterator[tuple[Call, str]]:
    """Yield the calls of splines and of polynomials of a degree above one, with each column in them."""
    for factor in (factor for term in expand_text(text).terms for factor in term):
        for call in walk(factor):
            if isinstance(call, Call) and call.callee in _BEYOND and not _is_straight(call):
                of = call.arguments[0] if call.arguments else dict(call.keywords).get("x", call)
                yield from ((call, each.text) for each in walk(of) if isinstance(each, Name))


def _is_straight(call: Call) -> bool:
    degree = call.arguments[1] if len(call.arguments) > 1 else dict(call.keywords).get("degree", Number("1"))
    return call.callee == "poly" and isinstance(degree, Number) and degree.value == 1
