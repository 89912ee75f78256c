"""Make the notebooks of the lessons from their scripts: `make lessons`. They hold no outputs."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat

LESSONS = Path(__file__).parents[2] / "examples" / "lessons"


def notebook(script: Path) -> str:
    """Give the notebook of a script in the percent format, as the text of its file."""
    made = jupytext.read(script, fmt="py:percent")
    made.metadata.pop("jupytext", None)
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"  # jupytext draws them
    return nbformat.writes(made, version=nbformat.NO_CONVERT) + "\n"


def main() -> None:
    """Write the notebook of every lesson beside it."""
    for script in sorted(LESSONS.glob("*.py")):
        script.with_suffix(".ipynb").write_text(notebook(script), encoding="utf-8")


if __name__ == "__main__":
    main()
