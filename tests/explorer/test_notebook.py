"""The widget in a JupyterLab that runs; skipped where there is none. What a saved notebook says where nothing runs."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from explorer.browser import CHROMIUM, open_browser

import bayesmm as bmm

CODE = """import bayesmm as bmm
bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit().explore()"""
HARMLESS = ("debug:",)  # connections of JupyterLab


def test_text_beside_the_widget_says_what_it_is_and_what_to_do_where_none_is_drawn():
    widget = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit().explore()
    bundle = widget._repr_mimebundle_()
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert shown["text/plain"] == "Shrinkage explorer; where none is drawn, fit.explore('explorer.html') writes a page"
    assert "application/vnd.jupyter.widget-view+json" in shown
    widget.close()


@pytest.fixture
def jupyter(tmp_path):
    """The address of a JupyterLab with a notebook of one cell."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("there is no JupyterLab to show the explorer in")
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": CODE, "outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "explorer.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / f".{name}") for name in ("CONFIG", "RUNTIME")}
    options = [f"--ServerApp.{name}" for name in (f"port={port}", "token=t", f"root_dir={tmp_path}", "allow_root=True")]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", *options],
            env=os.environ | folders,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api?token=t", timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    yield f"{address}/lab/tree/explorer.ipynb?token=t"
    server.terminate()
    server.wait(30)


@pytest.mark.slow
def test_widget_is_drawn_and_moves_in_a_running_jupyterlab(jupyter):
    with open_browser() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        said = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(jupyter)
        page.wait_for_selector(".jp-Notebook", timeout=60_000)
        page.get_by_text("| Idle").wait_for(timeout=60_000)  # its kernel
        said.clear()  # what JupyterLab says of itself while it starts
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_selector(".bmm-picture svg [data-level]", timeout=120_000)
        output = page.locator("output[for$=ratio-0] data")
        before = float(output.get_attribute("value"))
        page.locator("input[name=ratio-0]").click(position={"x": 40, "y": 12})
        clicked = float(output.get_attribute("value"))
        assert clicked < before
        page.keyboard.press("ArrowRight")  # which JupyterLab might take for itself
        assert clicked < float(output.get_attribute("value")) < before
        page.locator("[data-level]").first.click()
        assert page.locator("select[id$=level]").input_value() != "-1"
        assert [line for line in said if not line.startswith(HARMLESS)] == []
        browser.close()
