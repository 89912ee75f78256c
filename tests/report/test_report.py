"""The page of a report: what it says are the numbers of the results, and it asks for nothing and nobody."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from cli_commands import mistake, run
from explorer.browser import open_browser, opened, slide
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm import limits
from bayesmm.design.words.describe import equations
from bayesmm.errors import ArgumentError, BayesmmError, ComparisonError, StorageError
from bayesmm.plots.vector import MOST_MARKS, write_svg
from bayesmm.reporting.page import fill_page
from bayesmm.reporting.pieces import Piece, Section

DYESTUFF = "Yield ~ 1 + (1 | Batch)"
SECTIONS = ("At a glance", "Model", "Data", "Estimates", "Variance components", "Effects of the levels", "Shrinkage")
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"'`${alert(1)}$x$",
    "</style>{{ 7*7 }}&amp;<b>",
]
VOID = {"meta", "link", "br", "img", "input", "hr", "col", "wbr"}


class Page(HTMLParser):
    """Every element closed where it should be; ids, links, texts and tables are kept."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.sources, self.rows, self.texts = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert len(given) == len(attrs), f"{tag} has an attribute twice"
        assert not [name for name in given if name.startswith("on")], f"{tag} runs code"
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[name] for name in ("href", "xlink:href") if name in given]
        self.sources += [given[name] for name in ("src", "srcset", "action", "data") if name in given]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def hostile_frame():
    data = bmm.datasets.load("dyestuff")
    names = dict(zip("ABCDEF", [*HOSTILE, "E", "F"], strict=True))
    named = data.assign(Batch=data["Batch"].astype(str).map(names))
    return named.rename(columns={"Batch": "</script><b onclick=alert(2)>$", "Yield": "y'\"><i>"})


@pytest.fixture(scope="module")
def made():
    model = bmm.Model(DYESTUFF, bmm.datasets.load("dyestuff"))
    return model, model.fit(), make_posterior(model)


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "both.html"
    return bmm.report(made[1], made[2], path=path, data="dyestuff"), path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "hostile.html"
    data = hostile_frame()
    y, group = (f"`{name}`" for name in (data.columns[1], data.columns[0]))
    if data.columns[0].startswith("y"):
        y, group = group, y
    fit = bmm.Model(f"{y} ~ 1 + (1 | {group})", data).fit()
    return bmm.report(fit, path=path, data=HOSTILE[1], title=HOSTILE[0]), path


@pytest.fixture(scope="module")
def browser():
    with open_browser() as playwright:
        from explorer.browser import CHROMIUM

        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def test_page_is_strict_html_with_unique_ids_and_no_address_of_anybody(page):
    report, path = page
    assert path.read_text(encoding="utf-8") == report.html
    read = Page(report.html)
    assert len(read.ids) == len(set(read.ids))
    for link in read.links:
        assert link.startswith(("#", "data:")), link
        assert not link.startswith("#") or link[1:] in read.ids, link
    assert [source for source in read.sources if not source.startswith("data:")] == []
    assert "@import" not in report.html
    assert re.findall(r"url\((?!#)", report.html) == []
    assert len(report.html.encode()) < limits.PAGE_BYTES


def test_sections_are_there_with_links_to_each(page):
    report, _ = page
    assert report.sections[:7] == SECTIONS
    assert report.sections[7:] == ("Explore shrinkage", "Checks", "Priors", "Do it again, and cite")
    assert report.html.count("<h2>") == len(report.sections)


def test_every_table_of_fit_posterior_comparison_and_checks_is_on_the_page_cell_by_cell(made, page):
    model, fit, posterior = made
    rows = [[cell.strip() for cell in row] for row in Page(page[0].html).rows]
    results = [
        model,
        fit.summary(),
        posterior.summary(),
        bmm.compare(fit, posterior),
        bmm.shrinkage(fit),
        bmm.effect_uncertainty(fit, posterior),
        fit.check(),
        fit.profile(["sd(Intercept | Batch)", "sigma"], progress=False).summary(level=0.95),
        posterior.priors,
        posterior.diagnostics,
    ]
    for result in results:
        own = [[cell.strip() for cell in row] for row in Page(result._repr_html_()).rows]
        assert len(own) > 1
        assert [row for row in own if row not in rows] == []


def test_the_data_are_summarised_as_they_are(page):
    rows = {row[0]: row[1:] for row in Page(page[0].html).rows if row}
    values = bmm.datasets.load("dyestuff")["Yield"]
    mean, sd, least, median, most, distinct = (float(cell) for cell in rows["Yield"])
    assert (mean, least, median, most) == (values.mean(), values.min(), values.median(), values.max())
    assert sd == pytest.approx(values.std(), rel=1e-4)
    assert distinct == values.nunique()


def test_rows_left_out_are_counted_with_their_reason(made):
    data = bmm.datasets.load("sleepstudy").assign(Days=lambda d: d["Days"].where(d.index % 60 != 7))
    with pytest.warns(bmm.errors.BayesmmWarning, match="dropped"):
        model = bmm.Model("Reaction ~ Days + (1 | Subject)", data)
    from bayesmm.reporting.data_words import describe_rows

    assert describe_rows(model.design).startswith(
        "177 of 180 rows were used. 3 were left out because a value is missing: Days in 3."
    )


def test_the_code_of_the_page_makes_the_same_fit_again(page, made, tmp_path):
    code = re.findall(r"<code>(.*?)</code>", page[0].html, re.S)[0]
    read = Page(f"<p>{code}</p>")
    lines = "".join(read.texts).splitlines()
    script = "\n".join(line for line in lines if not line.startswith(("posterior", "bmm.report")))
    names: dict = {}
    exec(script, names)
    assert names["fit"].loglik == made[1].loglik
    assert lines[-1] == "bmm.report(fit, posterior, path='both.html')"
    assert lines[-2] == "posterior = model.sample(draws=1000, chains=4)"


def test_code_has_weights_sigma_priors_and_method():
    from bayesmm.reporting.code import write_code

    data = bmm.datasets.load("eight_schools")
    priors = {"Intercept": bmm.priors.Normal(0, 20), "sd": bmm.priors.HalfNormal(9, on="variance")}
    model = bmm.Model("y ~ 1 + (1 | school)", data, weights="1 / sigma**2", sigma=1.0, priors=priors)
    fit, posterior = model.fit("ml"), make_posterior(model, priors=priors)
    lines = write_code(fit, posterior, "results.csv", "x.html").splitlines()
    assert lines[:2] == ["import pandas as pd", ""]
    assert "data = pd.read_csv('results.csv')" in lines
    assert "fit = model.fit('ml')" in lines
    names = {"bmm": bmm, "data": data}
    exec(next(line for line in lines if line.startswith("model")), names)
    again = names["model"]
    assert again.priors.table().equals(model.priors.table())
    assert again.fit("ml").loglik == fit.loglik


def test_a_standard_deviation_near_zero_has_its_report():
    fit = bmm.Model(DYESTUFF, bmm.datasets.load("dyestuff2")).fit()
    report = bmm.report(fit, explorer=False)
    read = Page(report.html)
    assert "sd(Intercept | Batch): is it zero?" in read.text
    expected = fit.boundary("sd(Intercept | Batch)", n=499, seed=1, progress=False)
    own = [row for row in Page(expected._repr_html_()).rows if row]
    assert [row for row in own if row not in read.rows] == []
    assert report.sections[-2:] == ("Checks", "Do it again, and cite")
    assert "explorer" not in read.ids


def test_a_posterior_alone_has_a_page(made):
    report = bmm.report(made[2], title="draws")
    read = Page(report.html)
    assert report.title == "draws"
    assert "Explore shrinkage" not in report.sections
    assert "bmm.report(posterior, path='report.html')" in read.text


def test_same_results_make_the_same_page(made, page, tmp_path):
    assert bmm.report(made[1], made[2], path=tmp_path / "both.html", data="dyestuff").html == page[0].html


def test_hostile_names_are_words(hostile):
    report, _ = hostile
    read = Page(report.html)
    assert read.text.count("<script>alert(1)</script>") > 3
    assert "{{ 7*7 }}" in read.text
    assert "<b onclick" not in report.html
    assert "<img" not in report.html


def test_a_report_of_a_fit_loads_no_jax():
    code = (
        "import sys, bayesmm as bmm; fit = bmm.Model('Yield ~ 1 + (1 | Batch)', bmm.datasets.load('dyestuff')).fit();"
        "bmm.report(fit, explorer=False); print([name for name in ('jax', 'numpyro', 'arviz') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


EQUATIONS = """
() => [...document.querySelectorAll(".bayesmm-mathml")].map((line) => {
  const read = (node) => {
    const parts = [...node.childNodes].map((child) => child.nodeType === 3 ? child.data : read(child));
    if (node.localName === "msup") return `${parts[0]}²`;
    if (node.localName !== "msub") return parts.join("");
    const lowered = { i: "ᵢ", 0: "₀", 1: "₁", 2: "₂" };
    return parts[0] + [...parts[1]].map((letter) => lowered[letter]).join("");
  };
  return read(line);
})
"""


def test_equations_are_mathml_that_says_what_the_text_says(browser, made, page, hostile):
    for path, design in ((page[1], made[0].design), (hostile[1], None)):
        with opened(browser, path) as tab:
            assert tab.evaluate("getComputedStyle(document.querySelector('math')).display").endswith("math")
            lines = [re.sub(r"\s", "", line).replace("∼", "~") for line in tab.evaluate(EQUATIONS)]
            if design is None:
                assert "</script><bonclick=alert(2)>$" in lines[0]
                assert "\\'" not in lines[0]
                assert tab.locator("math b, math i, math script").count() == 0
            else:
                expected = [line for each in equations(design) for line in each.lines(1000)]
                assert lines == [re.sub(r"\s", "", line) for line in expected]


def test_long_names_do_not_widen_a_narrow_page(browser, tmp_path):
    frame = bmm.datasets.load("dyestuff").rename(columns={"Yield": "y" * 60, "Batch": "g" * 60})
    frame["g" * 60] = frame["g" * 60].astype(str) + "n" * 60
    path = tmp_path / "long.html"
    bmm.report(bmm.Model(f"{'y' * 60} ~ 1 + (1 | {'g' * 60})", frame).fit(), path=path, explorer=False)
    context = browser.new_context(viewport={"width": 360, "height": 800})
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_page_runs_no_script_but_its_explorer(page):
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page[0].html)[0].replace("&#39;", "'")
    assert re.search(r"script-src 'sha256-[^']{44}';", policy)
    without = fill_page("t", [Section(key="a", title="A", pieces=())]).html.replace("&#39;", "'")
    assert "script-src 'none'" in without


def test_page_in_a_browser_logs_nothing_asks_for_nothing_and_its_explorer_moves(browser, page):
    with opened(browser, page[1]) as tab:
        before = tab.locator("#explorer-place").inner_text()
        name = tab.locator("#explorer-place input[type=range]").first.get_attribute("name")
        slide(tab, name, 5)
        assert tab.locator("#explorer-place").inner_text() != before
        assert tab.evaluate("document.querySelectorAll('figure svg text').length") > 30


def test_hostile_page_in_a_browser_does_nothing(browser, hostile):
    with opened(browser, hostile[1]) as tab:
        assert tab.title() == HOSTILE[0]
        assert tab.evaluate("document.querySelectorAll('main b, main i, main img').length") == 0


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1200, "dark")])
def test_page_fits_every_width_and_its_words_are_read_on_either_ground(browser, page, width, scheme):
    with opened(browser, page[1], viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        light = tab.evaluate(
            """() => ["fill", "stroke"].map((name) => {
                const found = document.querySelector(name === "fill" ? 'figure svg text:not([style*="fill"])' : 'figure svg [style*="stroke: currentColor"]');
                return getComputedStyle(found)[name].match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3;
            })"""
        )
        assert all(value > 200 if scheme == "dark" else value < 60 for value in light)
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(22, 24, 28)" if scheme == "dark" else "rgb(255, 255, 255)"
        )


def test_print_leaves_the_explorer_out(browser, page):
    with opened(browser, page[1]) as tab:
        tab.emulate_media(media="print", color_scheme="dark")
        assert not tab.locator("#explorer").is_visible()
        assert tab.locator("#checks").is_visible()
        assert tab.locator("nav li:visible").count() == len(page[0].sections) - 1
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_figures_of_many_marks_are_painted_and_words_stay_words():
    def draw(n):
        from matplotlib import pyplot

        figure, axis = pyplot.subplots()
        axis.scatter(range(n), range(n))
        axis.set_title("a < b & c")
        return figure

    few, many = write_svg(lambda: draw(10), key="few"), write_svg(lambda: draw(20 * MOST_MARKS), key="many")
    assert "data:image/png" not in few
    assert many.count("data:image/png") == 1
    assert len(many) < 150_000
    assert all("a &lt; b &amp; c</text>" in text for text in (few, many))
    assert set(re.findall(r'id="([^"]*)"', few)) == {
        name for name in re.findall(r'id="([^"]*)"', few) if name.startswith("few-")
    }


def test_a_page_that_would_be_too_large_leaves_its_largest_figures_out_and_says_so():
    def figure(size, caption):
        return Piece(kind="figure", content=f"<svg>{'x' * size}</svg>", caption=caption)

    pieces = (figure(900_000, "The first."), figure(1_500_000, "The second."), figure(1_000_000, "The third."))
    page = fill_page("t", [Section(key="a", title="A", pieces=pieces)])
    assert len(page.html.encode()) <= limits.PAGE_BYTES
    assert page.left_out == ("The second.",)
    assert "Left out, so that the page has no more than 2 MB: The second." in page.html


def test_lacking_jinja2_is_said_before_anything_is_drawn(made, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "jinja2":
            raise ImportError("No module named 'jinja2'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BayesmmError, match=r"Reports need jinja2.*pip install 'bayesmm\[report\]'"):
        bmm.report(made[1])


def test_what_is_no_report_is_refused(made, tmp_path):
    _, fit, posterior = made
    other = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
    with pytest.raises(ComparisonError, match="not of the same model"):
        bmm.report(other.fit(), posterior)
    with pytest.raises(ArgumentError, match="give the fit first"):
        bmm.report(posterior, posterior)
    with pytest.raises(ArgumentError, match="give a posterior second"):
        bmm.report(fit, fit)
    with pytest.raises(ArgumentError, match=r"ends in \.html"):
        bmm.report(fit, path=tmp_path / "x.pdf")
    with pytest.raises(StorageError):
        bmm.report(fit, path=tmp_path / "nowhere" / "x.html")


def test_a_fit_and_the_name_of_the_function_load_neither_jinja2_nor_matplotlib():
    code = (
        "import sys, bayesmm as bmm; bmm.report; bmm.Model('Yield ~ 1 + (1 | Batch)', bmm.datasets.load('dyestuff')).fit();"
        "print([name for name in ('jinja2', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_command_writes_the_page_and_says_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    found = run("report", DYESTUFF, "--data", "dyestuff", "-o", "out.html", "--no-posterior", "--title", "T <b>")
    lines = found.stdout.splitlines()
    assert lines[0] == "Report: T <b>"
    assert all(len(line) <= 80 for line in lines)
    assert "written to out.html" in found.stdout
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<h1>T &lt;b&gt;</h1>" in text
    assert "bmm.datasets.load(&#39;dyestuff&#39;)" in text


def test_command_refuses_before_it_fits(tmp_path):
    assert "this command writes .html" in mistake("report", DYESTUFF, "-d", "dyestuff", "-o", tmp_path / "x.pdf")
    assert list(tmp_path.iterdir()) == []


def test_command_says_no_folder_of_a_file():
    from bayesmm.cli.data import Reading
    from bayesmm.cli.outcomes import name_source

    assert name_source("/home/someone/own.csv", Reading()) == "own.csv"
    assert name_source("own.csv", Reading(sep=";")) == "own.csv, read with --sep"
    assert name_source("-", Reading()) == "standard input"


def test_command_ends_with_one_where_draws_should_not_be_used(made, page):
    from bayesmm.cli.outcomes import report_outcome
    from bayesmm.cli.outputs import deliver

    model, fit, posterior = made
    for draws, code in ((None, 0), (posterior, 0), (make_posterior(model, divergences=500), 1)):
        outcome = report_outcome(model, fit, draws, page[0], "both.html", "dyestuff", 0.95)
        assert deliver(outcome, [], as_json=True, random_effects=False) == code
    assert outcome.document["report"] == {
        "path": "both.html",
        "title": DYESTUFF,
        "bytes": page[1].stat().st_size,
        "sections": page[0].sections,
        "left_out": (),
    }
