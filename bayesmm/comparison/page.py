"""A comparison in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from bayesmm.comparison.report import Report, Section

LEFT = ' style="text-align: left"'
CENTRE = ' style="text-align: center"'


def write_page(report: Report) -> str:
    """Write a report as HTML.

    Parameters
    ----------
    report : Report
        What to say.

    Returns
    -------
    str
        A fragment without scripts or style sheets.
    """
    interval = f"{report.level * 100:g} % interval"
    heads = ("estimate", "s.e.", interval, "mean", "sd", interval, "shift", "R̂", "ESS")
    spans = [("", 1), (report.method, 4), ("posterior", 4), ("", 3)]
    columns = [(head, 2 if head == interval else 1) for head in heads]
    parts = [
        f"<p><b>{escape(report.title)}</b><br>{'<br>'.join(map(escape, report.facts))}</p>",
        _table(spans, columns, report.parameters),
        "<p><small>shift: (posterior mean − estimate) / posterior sd; ESS: effective draws, bulk</small></p>",
        f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in report.notes)}</ul>",
    ]
    if report.effects:
        effects = [(head, 1) for head in ("alone", "BLUP", "sd", "mean", "sd", "shift")]
        parts.append(_table([("", 1), (report.method, 3), ("posterior", 2), ("", 1)], effects, report.effects))
        parts.append(
            "<p><small>alone: from the level's own rows, all else as fitted; BLUP: partially pooled</small></p>"
        )
    return "".join(parts)


def _table(spans: Iterable[tuple[str, int]], heads: Sequence[tuple[str, int]], sections: Iterable[Section]) -> str:
    width = 1 + sum(span for _, span in heads)
    rows = [
        "".join(f'<th colspan="{span}"{CENTRE}>{escape(text)}</th>' for text, span in spans),
        "<th></th>" + "".join(f'<th colspan="{span}"{CENTRE}>{escape(text)}</th>' for text, span in heads),
    ]
    for section in sections:
        rows.append(f'<th colspan="{width}"{LEFT}>{escape(section.heading)}</th>')
        for row in section.rows:
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
            rows.append(f"<td{LEFT}>{escape(row.name)}</td>{cells}")
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
