"""A report in a notebook: semantic HTML that takes its colours from the page around it, without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from bayesmm.console import visible
from bayesmm.presenting.parts import (
    FIRST_ROWS,
    LAST_ROWS,
    MOST_ROWS,
    AnyColumn,
    Column,
    Interval,
    Part,
    Shrinkage,
    Table,
    Words,
)

CLASS = "bayesmm"

# The text has the colour of its surroundings, rules are that colour thinned: both can be seen on any ground, whatever a
# theme calls dark. Selectors are longer than those by which Jupyter stripes and aligns tables. Where a notebook that is
# not trusted loses the style, tables, heads and words are still there.
STYLE = """
.bayesmm{max-width:100%;line-height:1.4;overflow-wrap:anywhere;font-variant-numeric:tabular-nums lining-nums}
.bayesmm .bayesmm-title{font-weight:600;font-size:1.05em;margin:.3em 0 .2em}
.bayesmm p,.bayesmm ul,.bayesmm ol{margin:.35em 0;max-width:62em}
.bayesmm ul,.bayesmm ol{padding-left:1.4em}
.bayesmm .bayesmm-facts,.bayesmm .bayesmm-legend,.bayesmm .bayesmm-left-out{opacity:.82}
.bayesmm .bayesmm-facts,.bayesmm .bayesmm-legend{font-size:.92em}
.bayesmm .bayesmm-warning{border-left:.3em solid #c77700;padding:.1em .6em}
.bayesmm .bayesmm-heading{font-weight:600;margin-top:.8em}
.bayesmm .bayesmm-equations{white-space:pre-wrap;padding-left:1em}
.bayesmm .bayesmm-mathml{padding-left:2.5em;text-indent:-1.5em;font-size:1.08em;overflow-wrap:normal;
overflow-x:auto}
.bayesmm .bayesmm-mathml mtext{font-size:.94em}
.bayesmm .bayesmm-scroll{overflow-x:auto;margin:.6em 0}
.bayesmm table{border-collapse:collapse;border:0;margin:0;color:inherit;background:none;font-size:inherit}
.bayesmm table caption{caption-side:top;text-align:left;font-weight:600;padding:.2em 0;color:inherit}
.bayesmm table tr,.bayesmm table tbody tr:nth-child(n){background:none;border:0}
.bayesmm table th,.bayesmm table td{text-align:right;vertical-align:baseline;padding:.15em .5em;border:0;
white-space:nowrap;background:none;color:inherit;font-weight:400;max-width:none}
.bayesmm table thead th{font-weight:600;vertical-align:bottom}
.bayesmm table thead tr:last-child>*{border-bottom:1px solid currentColor}
.bayesmm table thead th.bayesmm-over{text-align:center;border-bottom:1px solid currentColor}
.bayesmm table thead th[colspan],.bayesmm table thead th.bayesmm-picture{text-align:center}
.bayesmm table tbody:last-of-type tr:last-child>*{border-bottom:1px solid currentColor}
.bayesmm table tbody th,.bayesmm table .bayesmm-words{text-align:left;white-space:normal;overflow-wrap:break-word;
max-width:20em}
.bayesmm table tbody td.bayesmm-words{max-width:28em}
.bayesmm table tbody th.bayesmm-section{font-weight:600;padding-top:.5em}
.bayesmm table tbody th:not([colspan]),.bayesmm table tbody .bayesmm-words{min-width:5.5em}
.bayesmm table tbody tr.bayesmm-inside th[scope=row]{padding-left:1.5em}
.bayesmm table tbody tr:hover>*{background:rgba(128,128,128,.14)}
.bayesmm svg{vertical-align:middle;overflow:visible}
""".replace("\n", "")


def write_page(title: str, parts: Sequence[Part], *, mathematics: bool = False) -> str:
    """Write a report as HTML.

    Parameters
    ----------
    title : str
        What it is about.
    parts : sequence of Words and Table
        What is said of it.
    mathematics : bool
        Whether equations are MathML.

    Returns
    -------
    str
        A fragment with a style of its own and no scripts. Every text is escaped, and what cannot be seen in it spelled
        out.
    """
    body = "".join(_words(part, mathematics) if isinstance(part, Words) else _table(part) for part in parts)
    return f'<div class="{CLASS}"><style>{STYLE}</style><p class="{CLASS}-title">{_text(title)}</p>{body}</div>'


def write_document(title: str, parts: Sequence[Part]) -> str:
    """Write a report as a whole page, for a file that a browser opens; see `write_page`."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title></head>'
        f"<body>{write_page(title, parts)}</body></html>\n"
    )


def _text(text: str) -> str:
    return escape(visible(text))


def _words(words: Words, mathematics: bool) -> str:
    if mathematics and words.mathml:
        return "".join(f'<p class="{CLASS}-mathml">{each}</p>' for each in words.mathml)
    texts = [_text(text) for text in words.texts]
    if not texts:
        return ""
    match words.role:
        case "warnings":
            return "".join(f'<p class="{CLASS}-warning"><strong>Warning:</strong> {text}</p>' for text in texts)
        case "notes":
            return f"<ul>{''.join(f'<li>{text}</li>' for text in texts)}</ul>"
        case "steps":
            return f"<ol>{''.join(f'<li>{text}</li>' for text in texts)}</ol>"
        case "paragraph":
            return "".join(f"<p>{text}</p>" for text in texts)
        case role:
            return f'<p class="{CLASS}-{role}">{"<br>".join(texts)}</p>'


def _table(table: Table) -> str:
    width = 1 + sum(_span(column) for column in table.columns)
    caption = f"<caption>{_text(table.caption)}</caption>" if table.caption else ""
    if not table.names:
        body = f'<tbody><tr><td colspan="{width}">(none)</td></tr></tbody>'
    else:
        body = "".join(_bodies(table, width))
    heads = "".join(_heads(table))
    table_ = f"<table>{caption}{f'<thead>{heads}</thead>' if heads else ''}{body}</table>"
    return f'<div class="{CLASS}-scroll">{table_}</div>'


def _span(column: AnyColumn) -> int:
    return 2 if isinstance(column, Interval) else 1


def _heads(table: Table) -> Iterator[str]:
    """Yield one row of heads, or two where columns have a name in common."""
    groups: list[tuple[str, int]] = []
    for column in table.columns:
        over = "" if isinstance(column, Shrinkage) else column.over
        if groups and groups[-1][0] == over:
            groups[-1] = over, groups[-1][1] + _span(column)
        else:
            groups.append((over, _span(column)))
    if any(over for over, _ in groups):
        heads = (
            f'<th scope="colgroup" colspan="{span}" class="{CLASS}-over">{_text(over)}</th>'
            if over
            else f'<td colspan="{span}"></td>'
            for over, span in groups
        )
        yield f"<tr><td></td>{''.join(heads)}</tr>"
    if not table.head and not any(column.head for column in table.columns):
        return  # a list of facts by name
    corner = f'<th scope="col" class="{CLASS}-words">{_text(table.head)}</th>' if table.head else "<td></td>"
    yield f"<tr>{corner}{''.join(map(_head, table.columns))}</tr>"


def _head(column: AnyColumn) -> str:
    if isinstance(column, Interval):
        return f'<th scope="colgroup" colspan="2">{_text(column.head)}</th>'
    if isinstance(column, Shrinkage):
        return f'<th scope="col" class="{CLASS}-picture">{_text(column.head)}</th>'
    words = f' class="{CLASS}-words"' if isinstance(column, Column) and column.is_words else ""
    return f'<th scope="col"{words}>{_text(column.head)}</th>'


def _bodies(table: Table, width: int) -> Iterator[str]:
    """Yield a body of the table for each heading."""
    starts = sorted({0, *table.headings})
    shown = set(range(len(table.names))) if table.is_whole else _shown(len(table.names))
    for start, stop in zip(starts, [*starts[1:], len(table.names)], strict=True):
        rows = []
        if start in table.headings:
            head = _text(table.headings[start])
            rows.append(f'<tr><th scope="rowgroup" colspan="{width}" class="{CLASS}-section">{head}</th></tr>')
        for i in range(start, stop):
            if i in shown:
                rows.append(_row(table, i, shown))
            elif i == FIRST_ROWS:
                rows.append(_left_out(table, len(table.names) - len(shown), width))
        yield f"<tbody>{''.join(rows)}</tbody>"


def _shown(n: int) -> set[int]:
    """Positions of the rows that are shown."""
    return set(range(n)) if n <= MOST_ROWS else {*range(FIRST_ROWS), *range(n - LAST_ROWS, n)}


def _left_out(table: Table, n: int, width: int) -> str:
    where = f": all are in {_text(table.where)}" if table.where else ""
    cell = f'<td colspan="{width}" class="{CLASS}-words {CLASS}-left-out">… {n:,} rows are not shown{where} …</td>'
    return f"<tr>{cell}</tr>"


def _row(table: Table, i: int, shown: set[int]) -> str:
    inside = f' class="{CLASS}-inside"' if table.headings else ""
    cells = "".join(cell for column in table.columns for cell in _cells(column, i))
    return f"<tr{inside}>{_name(table, i, shown)}{cells}</tr>"


def _name(table: Table, i: int, shown: set[int]) -> str:
    """Write the name of a row; one that several rows in a run have in common is written once, over all of them."""
    if not table.groups_rows:
        return f'<th scope="row">{_text(table.names[i])}</th>'
    if i - 1 in shown and table.names[i - 1] == table.names[i]:
        return ""
    stop = i + 1
    while stop in shown and table.names[stop] == table.names[i]:
        stop += 1
    return f'<th scope="rowgroup" rowspan="{stop - i}">{_text(table.names[i])}</th>'


def _cells(column: AnyColumn, i: int) -> Iterator[str]:
    if isinstance(column, Shrinkage):
        yield f"<td>{_picture(*column.marks[i], column.labels[i])}</td>"
    elif isinstance(column, Interval):
        yield from (f"<td>{_text(limit)}</td>" for limit in column.cells[i])
    else:
        words = f' class="{CLASS}-words"' if column.is_words else ""
        yield f"<td{words}>{_text(column.cells[i])}</td>"


def _picture(alone: float, pooled: float, label: str) -> str:
    """Draw an effect before (a ring) and after pooling (a disc) on a line with zero in its middle."""
    reach = 70.0  # of a picture of 160 by 16

    def place(value: float) -> str:
        return f"{80.0 + reach * min(max(value, -1.0), 1.0):.1f}"

    parts = ['<path d="M80 1V15" stroke-opacity=".55"/>']
    if not (math.isnan(alone) or math.isnan(pooled)):
        parts.append(f'<path d="M{place(alone)} 8H{place(pooled)}"/>')
        parts.append(f'<circle cx="{place(alone)}" cy="8" r="4" fill="none"/>')
    if not math.isnan(pooled):
        parts.append(f'<circle cx="{place(pooled)}" cy="8" r="4" fill="currentColor"/>')
    return (
        f'<svg role="img" aria-label="{_text(label)}" width="160" height="16" viewBox="0 0 160 16" '
        f'stroke="currentColor" stroke-width="1.5">{"".join(parts)}</svg>'
    )
