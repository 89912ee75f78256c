"""Characters that word processors, web pages and keyboards put where a formula's own should stand.

Nothing is replaced silently: a dash of a pasted formula may be a minus sign or part of a name, and only its writer
knows. A blank is a blank, whatever its width.
"""

import unicodedata

from bayesmm.console import cells

_LOOK_LIKE = {
    "~": "∼˜∽〜⁓∿",
    "-": "−–—‐‑‒―⁻",
    "+": "⁺∔",
    "*": "∗×⋅·•✱",
    "/": "∕⁄÷",
    "|": "∣│┃¦❘",
    "||": "‖∥║",
    ":": "∶",
    "<=": "≤⩽",
    ">=": "≥⩾",
    "!=": "≠",
    "^": "＾",
    "'": "‘’‚‛′",
    '"': "“”„‟″«»",
    "`": "´",
    "(": "❨⟮",
    ")": "❩⟯",
}
WRITE = {character: right for right, characters in _LOOK_LIKE.items() for character in characters}


def plain_character(character: str) -> str | None:
    """Return what to write for a character that looks like one of a formula's own; None if it looks like none."""
    found = WRITE.get(character)
    if found is None and not character.isascii():
        folded = unicodedata.normalize("NFKC", character)  # full-width and small forms
        found = folded if len(folded) == 1 and folded.isascii() and folded.strip() else None
    return found


def describe_character(character: str) -> str:
    """Name a character so that it can be searched for: ``'–' (en dash, U+2013)``."""
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "").lower()
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return f"the invisible character {code}" + (f" ({name})" if name else "")
    shown = f"◌{character}" if unicodedata.combining(character) else character
    return f"{shown!r} ({name}, {code})" if name else f"{shown!r} ({code})"


def advise(character: str) -> str:
    """Say what to do about a character that has no meaning in a formula."""
    right = plain_character(character)
    if right is not None:
        return f"Write {right} instead."
    if unicodedata.combining(character):
        return "If it is part of a column's name, write the name in backquotes: `my column`."
    if unicodedata.category(character) in ("Cc", "Cf"):
        return "Remove it: delete the characters around it and type them again."
    return "Remove it; if it is part of a column's name, write the name in backquotes: `my column`."


def excerpt(text: str, at: int, most: int) -> tuple[str, int]:
    """Cut a long text to what is around one place.

    Parameters
    ----------
    text : str
        One line.
    at : int
        Index of a character in it.
    most : int
        Columns of a terminal that there are.

    Returns
    -------
    str
        The text, or a part of it between dots.
    int
        In which column of it the character is.
    """
    if cells(text) <= most:
        return text, cells(text[:at])
    start, stop = at, at
    while cells(text[start:stop]) <= most - 14:  # dots on both sides, and up to three wide characters more
        start, stop = max(start - 2, 0), min(stop + 1, len(text))
    before, after = "... " if start else "", " ..." if stop < len(text) else ""
    return f"{before}{text[start:stop].rstrip()}{after}", len(before) + cells(text[start:at])
