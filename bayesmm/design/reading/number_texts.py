"""Texts that are numbers or dates in disguise, by the distinct texts of a column."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIGN = "[+\u2212-]?"
_PLAIN = re.compile(rf"{_SIGN}(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA = re.compile(rf"{_SIGN}[0-9]*,[0-9]+")
_THOUSANDS = re.compile(rf"{_SIGN}[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]*)?")
_SPACED = re.compile(rf"{_SIGN}[0-9]{{1,3}}(?:['’ \u00a0\u202f][0-9]{{3}})+(?:[,.][0-9]*)?")
_POINTS = re.compile(rf"{_SIGN}[0-9]{{1,3}}(?:\.[0-9]{{3}})+(?:,[0-9]*)?")
_DECORATED = re.compile(rf"[^\w\s.+-]*\s?{_SIGN}[0-9][0-9.,]*\s*[^0-9\s]{{0,6}}")
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    rf"""(?: [0-9]{{4}}[-/.][0-9]{{1,2}}(?:[-/.][0-9]{{1,2}})?   # 2026-11-28, 2026-11
           | [0-9]{{1,2}}[-/.][0-9]{{1,2}}[-/.](?:[0-9]{{4}}|[0-9]{{2}})  # 28.11.2026, 11/28/26
           | [0-9]{{1,2}}[-. ]*{_MONTH}[-., ]*[0-9]{{2,4}}       # 28 Nov 2026
           | {_MONTH}[-. ]*[0-9]{{1,2}}[-., ]+[0-9]{{2,4}}       # Nov 28, 2026
         )(?: [T ]+ [0-9]{{1,2}}:[0-9]{{2}} .* )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLOCK = re.compile(r"[0-9]{1,3}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?")  # 12:30, 12:30:59
_MISSING = frozenset(("", ".", "..", "-", "--", "?", "na", "n/a", "#n/a", "nan", "<na>", "null", "nd", "n.d."))

MOST_OTHERS = 0.2  # share of the distinct texts that may be something else, in a column of numbers
MANY = 10  # distinct numbers with which half of the distinct texts may be something else
MANY_WITH_UNIT = 7  # "10 mg", "20 mg" are levels; that many of them are measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class Disguise:
    """What the texts of a column are.

    Attributes
    ----------
    kind : {"numbers", "dates", "times"}
        What nearly all of them are.
    how : tuple of str
        How the numbers are written, where it is not as Python reads them: "comma" (1,5), "thousands" (1,234.5),
        "points" (1.234,5), "spaces" (1 234), "minus" (a sign that is not the hyphen).
    decorated : tuple of str
        Texts with a number in them: "13 kg", "<0.1".
    others : tuple of str
        Texts that are no numbers however they are read: "unknown", ".".
    """

    kind: str
    how: tuple[str, ...] = ()
    decorated: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def is_missing_mark(text: str) -> bool:
    """Say whether a text is what files write for a value that is not there."""
    return text.strip().lower() in _MISSING


def find_disguise(texts: Iterable[str]) -> Disguise | None:
    """Find out whether distinct texts are numbers or dates; None if they are names of levels.

    Parameters
    ----------
    texts : iterable of str
        The distinct values of a column.

    Notes
    -----
    Marks of missing values do not count. The rest are numbers if four in five can be read as such, however they are
    written, or half of them if these are ten or more.
    """
    written = {text: text.strip() for text in texts}
    said = {text: bare for text, bare in written.items() if not is_missing_mark(bare)}
    if len(said) < 2:
        return None
    for kind, pattern in (("dates", _DATE), ("times", _CLOCK)):
        if sum(pattern.fullmatch(bare) is not None for bare in said.values()) >= (1 - MOST_OTHERS) * len(said):
            return Disguise(kind=kind)
    ways = {text: _way(bare) for text, bare in said.items()}
    decorated = [text for text, way in ways.items() if way == "decorated"]
    n_clean = sum(way not in ("decorated", "none") for way in ways.values())
    if not n_clean and (len(decorated) < MANY_WITH_UNIT or len({_unit(said[text]) for text in decorated}) > 1):
        return None
    n_numbers = n_clean + len(decorated)
    enough = n_numbers >= (1 - MOST_OTHERS) * len(said) or (n_numbers >= MANY and 2 * n_numbers >= len(said))
    if n_numbers < 2 or not enough:
        return None
    others = [text for text in written if ways.get(text, "none") == "none"]
    return Disguise(kind="numbers", how=_how(said, ways), decorated=tuple(decorated), others=tuple(others))


def _how(said: Mapping[str, str], ways: Mapping[str, str]) -> tuple[str, ...]:
    """Return in which ways the numbers differ from Python's, in the order in which these are to be undone."""
    used = set(ways.values())
    spelled = "".join(bare for text, bare in said.items() if ways[text] in ("points", "spaces"))
    if "," in spelled:
        used.add("comma")
    if "comma" in used:  # beside 1,5 the comma of 1,234 is a decimal one
        used.discard("thousands")
    if any("\u2212" in bare for text, bare in said.items() if ways[text] != "none"):
        used.add("minus")
    return tuple(way for way in ("spaces", "points", "thousands", "comma", "minus") if way in used)


def _way(text: str) -> str:
    """Say how a number is written."""
    patterns = {
        "plain": _PLAIN,
        "thousands": _THOUSANDS,
        "comma": _COMMA,
        "points": _POINTS,
        "spaces": _SPACED,
        "decorated": _DECORATED,
    }
    return next((way for way, pattern in patterns.items() if pattern.fullmatch(text)), "none")


def _unit(text: str) -> str:
    return re.sub(r"[0-9.,\s+\u2212-]", "", text)
