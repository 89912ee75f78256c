"""Formula text into tokens, and errors that point at a place in the text."""

import re
from dataclasses import dataclass

from bayesmm.console import brief, visible
from bayesmm.errors import SpecificationError
from bayesmm.limits import FORMULA_CHARACTERS
from bayesmm.specification.characters import advise, describe_character, excerpt

MOST_SHOWN = 54  # columns of a formula in an error: with its indent in a terminal of sixty

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>(?:[^\W\d]|\.(?=[^\W\d]))[\w.]*)
    |(?P<quoted>`[^`]+`)
    |(?P<string>'[^']*'|"[^"]*")
    |(?P<special>%[^%\s]*%)
    |(?P<operator>\|\||\*\*|==|!=|<=|>=|[-+*/:^~|(){},=<>])
    """,
    re.VERBOSE,
)

_STRANGE = {
    ".": "R's '.' (all other columns) is not available: name the columns.",
    "[": "Square brackets have no meaning in a formula: choose levels or columns in the data.",
    "]": "Square brackets have no meaning in a formula: choose levels or columns in the data.",
    "`": "A backquoted name needs a closing backquote: `my column`.",
    "'": "A text needs a closing quotation mark.",
    '"': "A text needs a closing quotation mark.",
    "%": "Use np.mod(x, 2) for a remainder.",
    "@": "Matrix products have no meaning in a formula.",
    "&": "Conditions cannot be joined in a formula: compute the column in the data first.",
    "!": "Conditions cannot be negated in a formula: write x != 1, or compute the column in the data first.",
    "$": "Columns are named alone, without the table that they are of: x for data$x.",
    "#": "Comments are not part of a formula: leave them out.",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the formula: its kind (number, name, string, operator, end), its text and where it starts."""

    kind: str
    text: str
    at: int


def scan(text: str) -> list[Token]:
    """Cut a formula into tokens; the last one is of kind ``"end"``.

    Parameters
    ----------
    text : str
        A formula or an expression of one.

    Returns
    -------
    list of Token

    Raises
    ------
    SpecificationError
        For a character that has no meaning in a formula, and for a text that is too long to be one.
    """
    if len(text) > FORMULA_CHARACTERS:
        raise SpecificationError(
            f"The formula has {len(text):,} characters, more than the {FORMULA_CHARACTERS:,} that one may have: "
            f"{brief(text)}. Name fewer columns, or compute what they add up to in the data."
        )
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unexpected(text, at)
        kind = str(match.lastgroup)
        if kind == "special":
            raise complaint(text, at, f"The operator {match.group()} is not known.", "Write a:b, or a + a:b for a/b.")
        if kind != "space":
            tokens.append(Token(kind, match.group(), at))
        at = match.end()
    tokens.append(Token("end", "", len(text.rstrip())))
    return tokens


def one_line(text: str) -> str:
    """Write a formula in one line for a terminal: blanks and line breaks between its words are a blank.

    Parameters
    ----------
    text : str
        A formula that can be read.

    Returns
    -------
    str
    """
    words = (match for match in _TOKEN.finditer(text))
    return "".join(" " if word.lastgroup == "space" else visible(word.group()) for word in words)


def _unexpected(text: str, at: int) -> SpecificationError:
    character = text[at]
    if character.isascii() and character.isprintable():
        return complaint(text, at, f"Unexpected {character!r}.", _STRANGE.get(character, "Remove it."))
    problem = f"Character {at + 1} is {describe_character(character)}, which has no meaning in a formula."
    return complaint(text, at, problem, advise(character))


def complaint(text: str, at: int, problem: str, advice: str) -> SpecificationError:
    """Return a SpecificationError that shows the text, points at a place in it, and says what to write.

    Parameters
    ----------
    text : str
        The formula.
    at : int
        Index of the character to point at.
    problem, advice : str
        What is wrong, and what to do about it.
    """
    shown, column = excerpt("".join(_shown(character) for character in text), at, MOST_SHOWN)
    return SpecificationError(f"{problem}\n    {shown}\n    {' ' * column}^\n{advice}")


def _shown(character: str) -> str:
    """Return what stands for a character in the line of an error: blanks for blanks, "?" for what cannot be seen."""
    if character.isspace():
        return " "
    return character if character.isprintable() else "?"
