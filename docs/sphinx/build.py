"""Build the site: `make docs`. It needs no network, and a warning or a link that leads nowhere is an error.

The pages are those of `docs/`, as they are read beside the code. They are copied to one folder with what they link to,
the README in front, and a reference from the docstrings of every public name.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sphinx.cmd.build import main as sphinx_build

import bayesmm as bmm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LINK = re.compile(r"(\[[^\]]*\]\()([^)#\s]+)((?:#[^)]*)?\))")

PLACES = {  # pages outside of docs/, by the name that they have on the site
    "README.md": "index.md",
    "docs/index.md": "pages.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    "benchmarks/README.md": "benchmarks.md",
    "tests/reference/README.md": "reference_values.md",
}
CONTENTS = {
    "Begin": ("pages", "for_lme4_users", "datasets", "command_line"),
    "Lessons": ("lessons", "lessons/*"),
    "Models": ("formulas", "structures", "smooths", "relations", "residuals", "rows", "priors", "programs"),
    "Estimates": ("estimates", "variance_components", "profile", "bootstrap", "robust", "means", "diagnostics"),
    "Groups": ("effect_uncertainty", "shrinkage", "ranking", "prediction"),
    "Posterior": ("posterior", "methods", "predictive_checks", "saving"),
    "Side by side": ("comparison", "model_comparison", "identity"),
    "Designs": ("simulation", "power"),
    "Figures, tables": ("gallery", "report", "explorer", "tables", "frames"),
    "Reference": ("reference/*",),
    "How it works": ("engine", "performance", "benchmarks", "limitations", "security", "reporting"),
    "The project": ("changelog", "citation", "design", "contributing", "reference_values"),
}

SOLUTION = '# %% tags=["hide-cell"]'
LIVE = "explorer_sleepstudy.html"
TRY = f"""
## Try it

```{{raw}} html
<p>Reaction times of 18 subjects by days without sleep; also <a href="{LIVE}">on a page of its own</a>.</p>
<iframe src="{LIVE}" title="Shrinkage explorer of sleepstudy" style="width: 100%; height: 60em; border: 0"></iframe>
```
"""


def main() -> int:
    """Put the pages together, build them and follow their links."""
    source, target = ROOT / "build" / "site" / "source", ROOT / "build" / "site" / "html"
    shutil.rmtree(source.parent, ignore_errors=True)
    source.mkdir(parents=True)
    put_together(source)
    options = ["-b", "html", "-W", "--keep-going", "-q", "-c", str(HERE), "-d", str(source.parent / "doctrees")]
    failed = sphinx_build([*options, str(source), str(target)])
    explored().explore(target / LIVE)
    broken = follow_links(target)
    for line in broken:
        print(line, file=sys.stderr)
    if not failed and not broken:
        print(f"The site is in {target.relative_to(ROOT)}/index.html")
    return failed or bool(broken)


def put_together(source: Path) -> None:
    """Copy pages, lessons and what they link to, and write the reference and the lists of contents."""
    pages = [*PLACES, *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md")))]
    for page in dict.fromkeys(pages):
        text = rewrite_links((ROOT / page).read_text(encoding="utf-8"), page, source)
        (source / place(page)).write_text(text, encoding="utf-8")
    lessons = sorted((ROOT / "examples" / "lessons").glob("*.py"))
    if lessons:
        (source / "lessons").mkdir()
    for lesson in lessons:
        text = rewrite_links(lesson.read_text(encoding="utf-8"), str(lesson.relative_to(ROOT)), source)
        text = text.replace(SOLUTION, f'{SOLUTION} mystnb={{"code_prompt_show": "Show a solution"}}')
        (source / "lessons" / lesson.name).write_text(text, encoding="utf-8")
    with (source / "explorer.md").open("a", encoding="utf-8") as page:
        page.write(TRY)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (source / "citation.md").write_text(f"# Citation\n\nThe file `CITATION.cff`:\n\n```yaml\n{citation}```\n", "utf-8")
    write_reference(source / "reference")
    with (source / "index.md").open("a", encoding="utf-8") as index:
        for caption, names in CONTENTS.items():
            kind = ":glob:\n" if any("*" in name for name in names) else ""
            index.write(f"\n```{{toctree}}\n:hidden:\n{kind}:caption: {caption}\n\n" + "\n".join(names) + "\n```\n")


def explored() -> Any:
    """Return the fit that the site's explorer is of."""
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()


def place(path: str) -> str:
    """Say where a file of the repository is on the site."""
    if path in PLACES:
        return PLACES[path]
    for folder in ("docs/", "examples/lessons/"):
        if path.startswith(folder):
            return path.removeprefix("docs/").removeprefix("examples/")
    return f"files/{path}"


def rewrite_links(text: str, page: str, source: Path) -> str:
    """Turn links to files of the repository into links of the site, and copy what is no page."""

    def rewritten(link: re.Match[str]) -> str:
        before, to, after = link.groups()
        path = ((ROOT / page).parent / unquote(to)).resolve()
        if "://" in to or to.startswith("mailto:") or not path.exists():
            return link.group()
        path = path / "README.md" if path.is_dir() else path
        if not path.exists():  # a folder
            return before[1:-2]
        there = place(str(path.relative_to(ROOT)))
        if there.startswith(("files/", "pictures/")):
            (source / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / there)
        if there.endswith(".py") and there.startswith("files/"):  # it would be taken for a lesson
            return f"{{download}}`{before[1:-2].strip('`')} <{there}>`"
        if before == f"[{Path(to).name}](" and path.suffix == ".md":  # a file's name says little on a site
            before = f"[{heading(path)}]("
        return f"{before}{'../' * place(page).count('/')}{there}{after}"

    parts = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)  # blocks of code are left alone
    return "".join(part if part.startswith("```") else LINK.sub(rewritten, part) for part in parts)


def heading(page: Path) -> str:
    """Return the title of a page."""
    return next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))[2:]


def write_reference(folder: Path) -> None:
    """Write a page for the functions, for the model, for every result, and for each public module."""
    folder.mkdir()
    functions = [name for name in bmm.__all__ if inspect.isfunction(getattr(bmm, name))]
    _write(folder / "0_functions.md", "Functions", [f"autofunction:: bayesmm.{name}" for name in functions])
    _write(folder / "1_model.md", "Model", ["autoclass:: bayesmm.Model\n   :members:"])
    for name, home in sorted(results().items()):
        _write(folder / f"result_{name.lower()}.md", name, [f"autoclass:: {home}.{name}\n   :members:"])
    for module in ("datasets", "errors", "priors"):
        members = "\n   :members:\n   :imported-members:"
        _write(folder / f"{module}.md", f"bayesmm.{module}", [f"automodule:: bayesmm.{module}{members}"])


def results() -> dict[str, str]:
    """Name every class of results, which are those that a notebook shows, with its module."""
    found = {}
    for module in pkgutil.walk_packages(bmm.__path__, "bayesmm."):
        for name, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if value.__module__ == module.name and "_repr_html_" in vars(value) and value is not bmm.Model:
                found[name] = module.name
    return found


def _write(path: Path, title: str, directives: list[str]) -> None:
    blocks = "\n".join(f"```{{eval-rst}}\n.. {directive}\n```\n" for directive in directives)
    path.write_text(f"# {title}\n\n{blocks}", encoding="utf-8")


class _Page(HTMLParser):
    """The links of a page and what they may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {place for place in (given.get("id"), given.get("name")) if place}
        self.links += [link for link in (given.get("href"), given.get("src")) if link]


def follow_links(site: Path) -> list[str]:
    """List links of the site that lead nowhere, and whatever a browser would fetch from elsewhere."""
    pages = {path.resolve(): _Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            to, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (path.parent / unquote(to.partition("?")[0])).resolve() if to else path
            if not target.exists():
                broken.append(f"{path.relative_to(site.resolve())}: {link} is not there")
            elif anchor and target in pages and unquote(anchor) not in pages[target].places:
                broken.append(f"{path.relative_to(site.resolve())}: {link} has no such place")
    return broken


if __name__ == "__main__":
    sys.exit(main())
