"""A table as LaTeX: every text escaped, and the symbols that tables have as mathematics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bayesmm.console import visible
from bayesmm.presenting.parts import AnyColumn, Column, Shrinkage, Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a line's end it would be a length
    "]": "{]}",
    "-": "{-}",  # two of them would be a dash
    "*": "{*}",  # after a line's end it would be a command
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
MATHEMATICS = {"σ": r"\sigma", "τ": r"\tau", "ρ": r"\rho", "χ": r"\chi", "−": "-", "∞": r"\infty", "·": r"\cdot "}
SCRIPTS = {"²": "^", "₀": "_", "₁": "_"}
DIGITS = str.maketrans("²₀₁", "201")
OTHERS = {"–": "--", ",,": ",{,}"}  # two commas would be a quotation mark
_SCRIPT = re.compile("([στρχ]?)(²+|[₀₁]+)|(.)")
_SIGN = re.compile(f"[{''.join([*MATHEMATICS, *SCRIPTS])}]+|" + "|".join(map(re.escape, [*OTHERS, *SPECIAL])))


def write_latex(table: Table, *, notes: Sequence[str] = ()) -> str:
    r"""Write a table as a LaTeX ``tabular``.

    Parameters
    ----------
    table : Table
        Pictures are left out.
    notes : sequence of str
        Lines below it.

    Returns
    -------
    str
        For a document with ``\usepackage{booktabs,textcomp}`` and T1 fonts, by any engine. Letters beyond ASCII are as
        they are, in UTF-8.
    """
    columns = [column for column in table.columns if not isinstance(column, Shrinkage)]
    sides = "".join("l" if isinstance(column, Column) and column.is_words else "r" for column in columns)
    width = 1 + len(columns)
    lines = [rf"\begin{{tabular}}{{l{sides}}}", r"\toprule", *_heads(table, columns), r"\midrule"]
    cells = [column.texts for column in columns]
    for i, name in enumerate(table.names):
        if i in table.headings:
            lines += [*([r"\midrule"] if i else []), rf"\multicolumn{{{width}}}{{l}}{{{_text(table.headings[i])}}} \\"]
        lines.append(_row([name, *(column[i] for column in cells)]))
    lines.append(r"\bottomrule")
    lines += [rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {_text(note)}}} \\" for note in notes]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _heads(table: Table, columns: Sequence[AnyColumn]) -> Iterator[str]:
    """Yield one row of heads, or two where columns have a name in common."""
    groups: list[tuple[str, int]] = []
    for column in columns:
        over = "" if isinstance(column, Shrinkage) else column.over
        if groups and groups[-1][0] == over:
            groups[-1] = over, groups[-1][1] + 1
        else:
            groups.append((over, 1))
    if any(over for over, _ in groups):
        yield " & ".join(["", *(rf"\multicolumn{{{span}}}{{c}}{{{_text(over)}}}" for over, span in groups)]) + r" \\"
        start, rules = 2, []
        for over, span in groups:
            rules += [rf"\cmidrule(lr){{{start}-{start + span - 1}}}"] if over else []
            start += span
        yield "".join(rules)
    yield _row([table.head, *(column.head for column in columns)])


def _row(texts: Sequence[str]) -> str:
    return " & ".join(map(_text, texts)) + r" \\"


def _text(text: str) -> str:
    """Escape a text, in one pass."""
    return _SIGN.sub(_sign, visible(text))


def _sign(found: re.Match[str]) -> str:
    known = OTHERS | SPECIAL
    return known[found[0]] if found[0] in known else f"${_SCRIPT.sub(_script, found[0])}$"


def _script(found: re.Match[str]) -> str:
    """Write a letter with what stands above or below it; a second script has an empty base."""
    letter, script, other = found.groups()
    if not script:
        return MATHEMATICS[other]
    base = MATHEMATICS[letter] if letter else "{}" if found.start() else ""
    return f"{base}{SCRIPTS[script[0]]}{{{script.translate(DIGITS)}}}"
