"""Every block of Python in the README and in docs/ runs, and prints what the page says; every example runs."""

import re
import runpy

import documents
import pytest

from bayesmm import datasets

PAGES = documents.PAGES
RUN_ELSEWHERE = {"gallery.md": "tests/plots/test_gallery.py"}
EXAMPLES = sorted((documents.ROOT / "examples").glob("*.py"))
NOT_RUN = [block for page in PAGES for block in documents.read_blocks(page) if block.not_run]
LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def name(path):
    return str(path.relative_to(documents.ROOT))


@pytest.fixture(autouse=True)
def _no_window():
    """Draw into memory, and leave no figure open."""
    import matplotlib as mpl

    mpl.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.filterwarnings("ignore:More than 20 figures have been opened")
@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in RUN_ELSEWHERE], ids=name)
def test_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in documents.read_blocks(page):
        if block.not_run:
            continue
        shown = documents.run(block, namespace)
        if block.output is not None:
            difference = documents.differences(shown, block.output, varies=block.output_varies)
            assert not difference, f"{block.id} prints {difference}. It printed:\n{shown}"


def test_blocks_that_are_not_run_are_counted_and_compile():
    for block in NOT_RUN:
        if block.language == "python":
            compile(block.code, block.id, "exec")
    if NOT_RUN:
        reasons = "; ".join(f"{block.id}: {block.not_run}" for block in NOT_RUN)
        pytest.skip(f"{len(NOT_RUN)} block(s) not run, {reasons}")


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_example_runs(example, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 5


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name(page)} links to {target}, which is not there"


def test_index_lists_every_page():
    index = (documents.ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [page.name for page in PAGES if page.parent.name == "docs" and f"({page.name})" not in index]
    assert missing == ["index.md"]


def test_data_set_page_lists_every_data_set():
    page = (documents.ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert [each for each in datasets.names() if f"| `{each}` |" not in page] == []


def test_a_wrong_output_would_be_seen():
    differences = documents.differences
    assert not differences("sd  24.7405 (se 5.84)\n", "sd 24.7406 (se 5.84)", varies=False)
    assert differences("sd 24.7405", "sd 24.9", varies=False)
    assert differences("sd 24.7405", "se 24.7405", varies=False)
    assert differences("180 rows", "181 rows", varies=False)
    assert differences("one two", "one", varies=False)
    assert not differences("mean 24.7405 -1", "mean 24.8 3", varies=True)
    assert differences("mean 24.7405", "estimate 24.7405", varies=True)
    words = " ".join(f"word{i} and more" for i in range(9))
    assert differences(
        f"mean 1.5\n{words}\nalone: own rows, all else as fitted", f"mean 1.5\n{words}\nalone: own rows", varies=True
    )
