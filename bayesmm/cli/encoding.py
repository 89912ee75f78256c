"""Characters for terminals and files that cannot hold every one: written as others that mean the same.

Output that Windows redirects is in cp1252, which has neither a minus sign nor rules nor Greek letters.
"""

import codecs
import unicodedata
from typing import TextIO

ERRORS = "bayesmm.plain"  # name of the error handler
# What stands in tables is replaced by one character, so that columns stay where they are.
_INSTEAD = {
    "−": "-", "–": "-", "—": "-", "─": "-", "━": "=", "│": "|", "●": "*", "○": "o", "•": "*", "·": "*", "×": "x",
    "\u0302": "-hat", "∞": "inf", "±": "+/-", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "√": "sqrt ",
    "²": "^2", "³": "^3", "½": "1/2", "’": "'", "‘": "'", "“": '"', "”": '"', "…": "...", "→": "->",
    "▶": ">", "✓": "yes", "∼": "~",
    "β": "beta", "ε": "eps", "θ": "theta", "λ": "lambda", "Λ": "Lambda", "μ": "mu",
    "π": "pi", "ρ": "rho", "σ": "sigma",
    "Σ": "Sigma", "τ": "tau",
}  # fmt: skip


def plain(text: str, stream: TextIO) -> str:
    r"""Return a text as the encoding of a stream can hold it.

    Parameters
    ----------
    text : str
        Any text.
    stream : text stream
        Where it will be written.

    Returns
    -------
    str
        A character that the encoding lacks is written as others that mean the same, or as its code ``\u4e2d``: names
        of levels stay different.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, errors=ERRORS).decode(encoding)


def is_universal(stream: TextIO) -> bool:
    """Say whether the encoding of a stream holds every character."""
    return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name.startswith("utf")


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)  # what is read is never decoded with this handler
    return "".join(map(_instead, error.object[error.start : error.end])), error.end


def _instead(character: str) -> str:
    if character in _INSTEAD:
        return _INSTEAD[character]
    folded = unicodedata.normalize("NFKD", character)
    if folded.isascii():  # subscripts, ligatures, full-width forms
        return folded
    return character.encode("ascii", errors="backslashreplace").decode("ascii")


codecs.register_error(ERRORS, _replace)
