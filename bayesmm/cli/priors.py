"""Priors from the command line: ``flat``, or ``NAME=FAMILY(numbers)``."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal

from bayesmm.console import quoted
from bayesmm.errors import PriorError
from bayesmm.limits import PRIOR_CHARACTERS
from bayesmm.specification.priors import PRIORS, Prior

# The name may hold "=" itself: "bs(x, df=4)[0]=Normal(0, 1)".
DECLARATION = re.compile(r"(?P<name>.+)=\s*(?P<prior>[A-Za-z]\w*(?:\s*\(.*\))?)", re.DOTALL)
EXAMPLE = "Write, for example, --priors flat or --priors 'Days=Normal(0, 20)'."


def read_priors(texts: Sequence[str] | None) -> dict[str, Prior] | Literal["flat"] | None:
    """Read the values of ``--priors``.

    Parameters
    ----------
    texts : sequence of str, optional
        ``["flat"]``, or declarations such as ``"Days=Normal(0, 20)"``.

    Returns
    -------
    dict of str to Prior, "flat", or None
        As `bayesmm.Model` takes them.

    Raises
    ------
    PriorError
        If one of them cannot be read. Nothing in a text is ever run.
    """
    if not texts:
        return None
    if any(text.strip() == "flat" for text in texts):
        if len(texts) > 1:
            raise PriorError(f"--priors flat is about all parameters, and {len(texts)} --priors were given. Drop one.")
        return "flat"
    priors: dict[str, Prior] = {}
    for text in texts:
        if len(text) > PRIOR_CHARACTERS:
            raise PriorError(
                f"--priors {quoted(text)} has {len(text):,} characters, more than the {PRIOR_CHARACTERS:,} of a "
                f"declaration. {EXAMPLE}"
            )
        match = DECLARATION.fullmatch(text.strip())
        if match is None:
            raise PriorError(f"--priors {quoted(text)} is neither 'flat' nor NAME=PRIOR. {EXAMPLE}")
        name = match["name"].strip()
        if name in priors:
            raise PriorError(f"--priors names {quoted(name)} twice. Drop one.")
        priors[name] = _read_prior(match["prior"], text)
    return priors


def _read_prior(declaration: str, text: str) -> Prior:
    try:
        call = ast.parse(declaration.strip(), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):  # as Python's parser says that brackets are too deep
        raise PriorError(f"--priors {quoted(text)} cannot be read. {EXAMPLE}") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise PriorError(f"--priors {quoted(text)}: the prior lacks its numbers in brackets. {EXAMPLE}")
    family = _family(call.func.id)
    try:
        positional = [ast.literal_eval(argument) for argument in call.args]
        named: dict[str, Any] = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
        return family(*positional, **named)
    except (TypeError, ValueError, MemoryError, RecursionError) as error:
        if isinstance(error, PriorError):
            raise
        raise PriorError(f"--priors {quoted(text)}: {family.__name__} takes {_signature(family)}.") from None


def _family(name: str) -> type[Prior]:
    families = {family.__name__: family for family in PRIORS}
    if name in families:
        return families[name]
    near = difflib.get_close_matches(name, families, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise PriorError(f"There is no prior {quoted(name)}.{hint} There are {', '.join(families)}.")


def _signature(family: type[Prior]) -> str:
    names = ", ".join(family.parameters())
    return f"the numbers {names}" if names else "no numbers"
