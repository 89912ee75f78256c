"""The explorer as HTML: a piece of a page, or a page of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm.arguments import check_path, shorten
from bayesmm.console import visible
from bayesmm.errors import ArgumentError, StorageError
from bayesmm.explorer.data import write_data
from bayesmm.files import naming
from bayesmm.inference.fitted import Fitted
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.replacing import replacing

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior

STYLE = (
    "html{color-scheme:light dark}body{margin:0;padding:1rem;color:CanvasText;background:Canvas}"
    "@media print{html{color-scheme:light}}"
)


@cache
def read_module() -> str:
    """Return the text of the ES module."""
    return files("bayesmm.explorer").joinpath("explorer.js").read_text(encoding="utf-8")


def write_fragment(
    fit: Fitted,
    posterior: Posterior | None = None,
    *,
    group: str | None = None,
    level: float = 0.95,
    key: str = "explorer",
    rows: Any = None,
    bar: Bar = SILENT,
) -> str:
    """Write the explorer as a piece of the body of a page.

    Parameters
    ----------
    fit : Fit
        Any that `bayesmm.explorer.data.why_not` does not refuse.
    posterior : Posterior, optional
        Of the same model and data.
    group : str, optional
        Grouping factor, where there are several.
    level : float
        Coverage of the intervals.
    key : str
        What ids begin with: a letter, then letters, digits, ``-`` and ``_``; another one for each fragment of a page.
    rows, bar
        As of `bayesmm.explorer.data.write_data`.

    Returns
    -------
    str
        HTML with data and program in it.

    Raises
    ------
    ArgumentError
        If the model is not one that the explorer takes, or an argument is none of these.
    ComparisonError
        If the posterior is of another model.
    """
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
        raise ArgumentError(f"key is {shorten(key)}: give a letter, and letters, digits, - and _ after it.")
    data = write_json(write_data(fit, posterior, group=group, level=level, rows=rows, bar=bar))
    return (
        f'<div id="{key}-place"><noscript>The shrinkage explorer needs JavaScript.</noscript></div>\n'
        f'<script type="application/json" id="{key}-data">{data}</script>\n'
        f'<script type="module">{_script(key)}</script>\n'
    )


def write_policy(*keys: str) -> str:
    """Write the content security policy of a page with the fragments of these keys.

    Nothing may be asked for from anywhere, and no script runs but theirs, each known by its hash, whatever else the
    page should hold.
    """
    hashes = (hashlib.sha256(_script(key).encode()).digest() for key in keys)
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode('ascii')}'" for each in hashes) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; "
        "form-action 'none'"
    )


def _script(key: str) -> str:
    """Write the module with the lines that mount it."""
    return (
        f"\n{read_module()}\n"
        f'const read = (id) => document.getElementById("{key}-" + id);\n'
        f'const given = {{ data: JSON.parse(read("data").textContent), key: "{key}" }};\n'
        'render({ model: { get: (name) => given[name] }, el: read("place") });\n'
    )


def write_page(fit: Fitted, posterior: Posterior | None = None, **how: Any) -> str:
    """Write the explorer as a page of its own; arguments and errors as of `write_fragment`."""
    key = "explorer"
    fragment = write_fragment(fit, posterior, **how, key=key)
    title = escape(visible(f"Shrinkage: {fit.design.specification.shown}"))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{write_policy(key)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{fragment}</main>\n</body>\n</html>\n"
    )


def save_page(fit: Fitted, path: str | os.PathLike[str], posterior: Posterior | None = None, **how: Any) -> Path:
    """Write that page to a file, and return its path.

    Raises
    ------
    ArgumentError
        If the file is not named as a page is, or of `write_fragment`.
    StorageError
        If it cannot be written.
    """
    where = check_path("path", path)
    if where.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"path is {shorten(path)}: name a file that ends in .html, such as 'explorer.html'.")
    if where.is_dir():
        raise StorageError(f"{str(path)!r} cannot be written: it is a folder. Name a file.")
    text = write_page(fit, posterior, **how)
    with naming(where, "written"), replacing(where) as partial:
        partial.write_text(text, encoding="utf-8")
    return where


def write_json(data: dict[str, Any]) -> str:
    """Write JSON that ends no element of HTML: no <, > or & is left in it, nor what ends a line of JavaScript."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
