"""The bundled data sets, listed and described."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bayesmm import datasets
from bayesmm.console import fold


def catalogue_text(name: str | None) -> str:
    """Describe one data set, or list all of them by name, rows and title."""
    if name is not None:
        return str(datasets.describe(name))
    entries = [datasets.describe(each) for each in datasets.names()]
    left = max(len(entry.name) for entry in entries)
    rows = max(len(str(entry.rows)) for entry in entries)
    lines = fold(f"{len(entries)} data sets, with their rows; 'bayesmm datasets NAME' describes one")
    for entry in entries:
        first = f"  {entry.name:<{left}}  {entry.rows:>{rows}}  "
        lines += fold(entry.title, first=first, then=" " * len(first))
    return "\n".join(lines)


def catalogue_json(name: str | None, *, ascii_only: bool = False) -> str:
    """Return the same as JSON: one object, or a list of them."""
    entries = [_entry(each) for each in (datasets.names() if name is None else [name])]
    return json.dumps(entries if name is None else entries[0], indent=1, ensure_ascii=ascii_only)


def _entry(name: str) -> dict[str, Any]:
    entry = asdict(datasets.describe(name))
    del entry["file"]  # where it lies inside the package is nobody's business
    return entry
