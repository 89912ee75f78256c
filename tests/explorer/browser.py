"""Pages opened in the Chromium of the system; what they log, and what they ask for, is kept."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Numbers of the module itself, with every digit: what the page's table shows is rounded.
ASK = """
async ([text, moves]) => {
  const module = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const sums = module.readData(window.data);
  return moves.map(({ ratios, correlations, choice, sigma }) => {
    const found = module.evaluate(sums, module.factorOf(ratios, correlations), choice, sigma);
    return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, typeof value === "number" ? value : Array.from(value)]));
  });
}
"""


def open_browser():
    """Chromium, or a skip that says so."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open the explorer in")
    sync = pytest.importorskip("playwright.sync_api")
    return sync.sync_playwright()


@contextlib.contextmanager
def opened(browser, path: Path, **options):
    """A page of the explorer; at the end nothing may have been logged, nor asked for from anywhere."""
    context = browser.new_context(**options)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(".bmm-picture svg [data-level]", state="attached")
    try:
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        assert sum(url.startswith("file:") for url in asked) == 1
    finally:
        context.close()


def slide(page, name: str, position: int) -> None:
    """Put a slider somewhere, as a hand would."""
    page.locator(f"input[name={name}]").evaluate(
        "(input, position) => { input.value = position; input.dispatchEvent(new Event('input', { bubbles: true })); }",
        position,
    )
