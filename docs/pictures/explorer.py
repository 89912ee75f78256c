"""Photograph the shrinkage explorer, moved away from the estimate: python docs/pictures/explorer.py.

Needs playwright, and Chromium where the system has it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import bayesmm as bmm


def main() -> None:
    """Write the page, move a slider, take the picture."""
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = model.fit().explore(Path(folder) / "explorer.html", posterior=model.sample(seed=1))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 672})
        page.goto(path.as_uri())
        page.locator("input[name=ratio-0]").focus()
        for _ in range(230):
            page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(500)
        picture = Path(__file__).with_suffix(".png")
        page.screenshot(path=picture)
        Image.open(picture).quantize(160).save(picture, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
