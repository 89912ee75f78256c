"""What notebooks show: real tables with the cells of the text, safe from names, seen on light and on dark grounds."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from presenting.results import RESULTS, Page, calibration, page_of, pieces, sleepstudy

import bayesmm as bmm
from bayesmm.bayes.exploring.run import Settings
from bayesmm.bayes.sample import sample
from bayesmm.errors import ArgumentError
from bayesmm.presenting.page import STYLE
from bayesmm.presenting.parts import FIRST_ROWS, LAST_ROWS

PACKAGE = Path(bmm.__file__).parent
ALL = pytest.mark.parametrize("name", RESULTS)
PRINTED = [name for name in RESULTS if name not in ("Diagnostics", "Model", "PlanDescription", "ResolvedPriors")]
HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror='alert(1)'>", "&amp;</td></table>", "</style>\x1b[31m"]
LEVELS = ["<b>a</b>", "</th>", "\u202e", "&lt;", "d", "e"]


def test_every_class_that_shows_itself_is_looked_at_here():
    shown = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                shown |= {node.name} if "_repr_html_" in methods else set()
    assert shown - {"TextTable"} == set(RESULTS)  # that one is pandas' own
    for name in RESULTS:
        assert type(RESULTS[name]()).__name__ == name


@ALL
def test_pages_are_tables_with_heads_and_every_row_is_full(name):
    page = page_of(name)
    assert "pre" not in {tag for tag, _ in page.tags}
    assert page.tables
    for table in page.tables:
        widths, left = set(), []  # cells that reach down from rows above
        for row in [*table.head, *table.body]:
            left = [each - 1 for each in left if each > 1]
            widths.add(sum(cell.span("col") for cell in row) + len(left))
            left += [cell.span("row") for cell in row if cell.span("row") > 1]
        assert len(widths) == 1, widths
        for row in table.body:
            heads = [cell for cell in row if cell.tag == "th"]
            assert all(cell.attributes["scope"] in ("row", "rowgroup") for cell in heads)
        for cell in (cell for row in table.head for cell in row if cell.tag == "th"):
            assert cell.attributes["scope"] in ("col", "colgroup")
            assert cell.text


@pytest.mark.parametrize("name", PRINTED)
def test_pages_hold_the_cells_that_are_printed(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    result = RESULTS[name]()
    lines = [pieces(line) for line in str(result).splitlines()]
    group = ""
    n_rows = 0
    for table in Page(result._repr_html_()).tables:
        for name_, *cells in table.rows():
            expected = [piece for text in (name_, *cells) for piece in pieces(text)]
            again = expected if name_ != group else expected[len(pieces(name_)) :]  # printed once for several rows
            assert again in lines or expected in lines, f"{expected} is not printed"
            group = name_
            n_rows += bool(cells)
    assert n_rows > 1


def numbers(texts):
    return np.array([float(text.replace("−", "-")) for text in texts])


def test_pages_hold_the_numbers_of_the_tables():
    _, fit, posterior = sleepstudy()
    columns = ["mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail"]
    shown = page_of("Posterior").tables[0].rows()
    assert [row[0] for row in shown] == posterior.parameters.index.tolist()
    expected = posterior.parameters
    for row, (_, record) in zip(shown, expected.iterrows(), strict=True):
        near = [0.0051 * record["sd"]] * 4 + [0.00051, 0.51, 0.51]  # three digits of the sd
        assert (np.abs(numbers(row[1:]) - record[columns].to_numpy(dtype=float)) <= near).all(), row
    _, fixed = page_of("Fit").tables
    table = fit.fixed_effects
    assert [row[0] for row in fixed.rows()] == table.index.tolist()
    for row, (_, record) in zip(fixed.rows(), table.iterrows(), strict=True):
        shown = numbers([*row[1:3], *row[6:]])
        error = shown - record[["estimate", "std_error", "lower", "upper"]].to_numpy(dtype=float)
        assert np.abs(error).max() <= 0.0051 * record["std_error"]
        assert row[3] == "17.0"
        assert row[5] == "< 0.001"
    comparison = RESULTS["Comparison"]()
    rows = [row for row in page_of("Comparison").tables[0].rows() if len(row) > 1]
    names = ["estimate", "std_error", "fit_lower", "fit_upper", "mean", "sd", "posterior_lower", "posterior_upper"]
    for row, (_, record) in zip(rows, comparison.table.iterrows(), strict=True):
        near = 0.0051 * max(record["std_error"], record["sd"])
        assert np.abs(numbers(row[1:9]) - record[names].to_numpy(dtype=float)).max() <= near
        assert numbers(row[9:10]) == pytest.approx(record["shift"], abs=0.0051)
        assert re.fullmatch(r"\d\.\d{3}", row[10])  # R̂ of 1 is written like that of 0.9997


def test_intervals_say_their_level():
    _, fit, posterior = sleepstudy()
    for level, text in ((0.95, "95 %"), (0.94, "94 %"), (0.57, "57 %"), (0.995, "99.5 %"), (0.99999999, "99.999999 %")):
        for report in (fit.summary(level=level), posterior.summary(level=level)):
            heads = [cell.text for table in Page(report._repr_html_()).tables for cell in table.head[-1]]
            found = {head for head in heads if head.endswith("interval")}
            assert found == {f"{text} interval"}
            assert f"{text} interval" in str(report)
    heads = [cell.text for cell in Page(bmm.compare(fit, posterior, level=0.5)._repr_html_()).tables[0].head[-1]]
    assert heads.count("50 % interval") == 2


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, np.nan, "0.95", None, True, 10**400])
def test_every_level_is_checked_alike(level):
    _, fit, posterior = sleepstudy()
    said = set()
    takers = (fit.summary, fit.parameter_table, fit.random_effects, posterior.summary, posterior.parameter_table)
    takers += (posterior.random_effects, posterior.predict, posterior.variance_shares)
    for take in (*takers, lambda level: bmm.compare(fit, posterior, level=level)):
        with pytest.raises(
            ArgumentError, match=r"level is .*: give a coverage between 0 and 1, such as 0.95"
        ) as caught:
            take(level=level)
        said.add(str(caught.value))
    assert len(said) == 1


def test_samplers_have_one_default_of_the_acceptance():
    takers = (bmm.Model.sample, bmm.Model.calibrate, sample, Settings)
    found = {inspect.signature(take).parameters["target_accept"].default for take in takers}
    assert found == {0.8}


def test_tables_of_both_wings_have_the_same_columns_in_the_same_order():
    _, fit, posterior = sleepstudy()
    estimates = ["estimate", "std_error", "df", "statistic", "p_value", "lower", "upper"]
    draws = ["mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail"]
    for order, tables in (
        (estimates, (fit.parameters, fit.fixed_effects, fit.random_effects())),
        (draws, (posterior.parameters, posterior.random_effects(), posterior.predict(), posterior.variance_shares())),
    ):
        for table in tables:
            numeric = [name for name in table if name not in ("kind", "group", "level", "effect")]
            assert numeric == [name for name in order if name in numeric]
    pd.testing.assert_index_equal(fit.parameters.index, posterior.parameters.index)
    keys = ["group", "level", "effect"]
    pd.testing.assert_frame_equal(fit.random_effects()[keys], posterior.random_effects()[keys])


def test_estimates_and_draws_have_the_row_labels_of_the_data():
    data = bmm.datasets.load("dyestuff")
    data.index = pd.Index([f"row {i}" for i in range(len(data))])
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", data.drop(index="row 3"))
    expected = [f"row {i}" for i in range(30) if i != 3]
    for tree in (model.fit().to_datatree(), make_posterior(model).data):
        for group in ("observed_data", "constant_data"):
            assert tree[group]["obs"].to_numpy().tolist() == expected


def test_a_group_that_is_called_like_the_residual_is_told_from_it():
    data = bmm.datasets.load("dyestuff").rename(columns={"Batch": "residual"})
    fit = bmm.Model("Yield ~ 1 + (1 | residual)", data).fit()
    assert [row[0] for row in Page(fit._repr_html_()).tables[0].rows()] == ["`residual`", "residual"]


def hostile_results(names, levels):
    rng = np.random.default_rng(4)
    column, group, *_ = names
    data = pd.DataFrame({"y": rng.normal(size=48), column: rng.normal(size=48)})
    data[group] = np.repeat(np.array([f"{i}{level}" for i, level in enumerate(levels)], dtype=object), 8)
    data["again"] = 2.0 * data[column]
    model = bmm.Model(f"y ~ `{column}` + again + (1 + `{column}` | `{group}`)", data)
    fit, posterior = model.fit(), make_posterior(model, divergences=9)
    return {
        "model": model,
        "fit": fit,
        "posterior": posterior,
        "comparison": bmm.compare(fit, posterior),
        "priors": model.priors,
        "plan": model.plan,
        "diagnostics": posterior.diagnostics,
        "calibration": calibration(fit.parameters.index.tolist()),
    }


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
def test_names_bring_no_tags_and_are_shown_as_they_are(turn):
    names = [*HOSTILE[turn:], *HOSTILE[:turn]]
    ours = hostile_results(names, LEVELS)
    innocent = hostile_results(["column", "group"], list("abcdef"))
    for kind, result in ours.items():
        page, expected = Page(result._repr_html_()), Page(innocent[kind]._repr_html_())
        allowed = {(tag, *sorted(attributes)) for tag, attributes in expected.tags}
        allowed |= {("div", "class"), ("td",), ("p", "class"), ("strong",), ("ul",), ("li",), ("br",)}
        assert {(tag, *sorted(attributes)) for tag, attributes in page.tags} <= allowed, kind
        assert "\x1b" not in page.source
        assert "\u202e" not in page.source
        assert page.source.count("</style>") == 1
        seen = names[0].replace("\x1b", "\\x1b")
        assert kind in ("plan", "diagnostics") or seen in page.words, kind


def test_long_tables_say_how_many_rows_they_leave_out_and_where_these_are():
    rng = np.random.default_rng(1)
    n = 600
    data = pd.DataFrame({"y": rng.normal(size=n), "f": np.resize([f"l{i}" for i in range(150)], n)})
    data["g"] = rng.permutation(np.resize(list("abcdefgh"), n))
    model = bmm.Model("y ~ f + (1 | g)", data)
    fit = model.fit()
    rows = Page(fit._repr_html_()).tables[1].rows()
    assert [row[0] for row in rows[:FIRST_ROWS]] == fit.fixed_effects.index[:FIRST_ROWS].tolist()
    assert [row[0] for row in rows[-LAST_ROWS:]] == fit.fixed_effects.index[-LAST_ROWS:].tolist()
    assert rows[FIRST_ROWS] == ["… 100 rows are not shown: all are in fit.fixed_effects …"]
    assert len(rows) == FIRST_ROWS + 1 + LAST_ROWS
    comparison = Page(bmm.compare(fit, make_posterior(model))._repr_html_()).tables[0].rows()
    assert ["… 102 rows are not shown: all are in comparison.table …"] in comparison
    assert comparison[-1][0] == "sigma"


@pytest.mark.parametrize("unit", [1e-12, 1e-5, 1e5, 1e12])
def test_numbers_of_any_size_keep_three_digits_of_their_uncertainty(unit):
    data = bmm.datasets.load("sleepstudy").assign(Reaction=lambda d: d["Reaction"] * unit)
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
    fit = model.fit()
    for row in Page(fit._repr_html_()).tables[1].rows():
        record = fit.fixed_effects.loc[row[0]]
        assert numbers([row[2]])[0] == pytest.approx(record["std_error"], rel=0.0051)
        assert numbers([row[1]])[0] == pytest.approx(record["estimate"], rel=0.0051)
        assert max(map(len, row)) <= 10


def test_verdicts_against_the_numbers_are_said_in_words():
    page = page_of("Diagnostics")
    assert "Warning: 7 of 4000 trajectories diverged" in page.words
    assert "Warning" not in page_of("Posterior").words
    posterior = make_posterior(sleepstudy()[0], divergences=7)
    assert "Warning: 7 of 4000 trajectories diverged" in Page(posterior._repr_html_()).words
    assert "Warning: 7 of 4000 trajectories diverged" in str(posterior)
    assert "Warning: The ranks of Days are not uniform" in page_of("Calibration").words


def test_comparison_draws_shrinkage_and_says_it_in_words():
    page = page_of("Comparison")
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    effects = page.tables[1]
    assert len(pictures) == len(effects.body) == 8
    for row, picture in zip(effects.rows(), pictures, strict=True):
        assert picture["aria-label"] == f"alone {row[1]}, pooled {row[2]}"
    assert {"currentcolor"} == {picture["stroke"].lower() for picture in pictures}


def test_nothing_is_loaded_or_run_and_text_has_no_colour_of_its_own():
    assert not re.search("url|@import|expression", STYLE)
    assert not re.search(r"(?<!-)\bcolor:(?!inherit)", STYLE)
    for selector in re.findall(r"([^{}]+)\{", STYLE):
        assert all(each.startswith(".bayesmm") for each in selector.split(",")), selector
    for name in RESULTS:
        tags = page_of(name).tags
        assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object"}
        assert not [attribute for _, attributes in tags for attribute in attributes if attribute.startswith("on")]


# What notebooks give to what they show: colours, and rules for tables that ours must be stronger than.
JUPYTER = """.out table{border-collapse:collapse;font-size:12px;table-layout:fixed;margin:0 auto}
.out td,.out th,.out tr{padding:.5em;border:none;max-width:none}.out tbody tr:nth-child(odd){background:%s}
.out table td,.out table th{text-align:right}"""
GROUNDS = {  # background, text, stripes
    "Jupyter, light": ("#ffffff", "rgba(0,0,0,.87)", "#f5f5f5"),
    "Jupyter, dark": ("#111111", "rgba(255,255,255,.87)", "#212121"),
    "VS Code, dark": ("#1e1e1e", "#d4d4d4", "#252526"),
    "VS Code, light": ("#ffffff", "#3b3b3b", "#f3f3f3"),
}
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA
MEASURE = """
const solid = (c, under) => { const v = c.match(/[\\d.]+/g).map(Number), a = v.length > 3 ? v[3] : 1;
  return [0, 1, 2].map(i => a * v[i] + (1 - a) * under[i]); };
const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const ground = e => e ? solid(getComputedStyle(e).backgroundColor, ground(e.parentElement)) : [255, 255, 255];
const veil = e => e ? getComputedStyle(e).opacity * veil(e.parentElement) : 1;
let least = 99, texts = 0, wrong = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || /STYLE|SCRIPT/.test(e.tagName)) continue;
  const under = ground(e), o = veil(e), own = solid(getComputedStyle(e).color, under).map((v, i) => o * v + (1 - o) * under[i]);
  const [a, b] = [light(own), light(under)];
  least = Math.min(least, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  texts++;
}
for (const cell of document.querySelectorAll('tbody td, tbody th')) {
  const words = cell.matches('th, .bayesmm-words');
  if (getComputedStyle(cell).textAlign !== (words ? 'left' : 'right')) wrong.push(cell.textContent);
}
const pictures = [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width);
const beyond = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const digits = getComputedStyle(document.querySelector('td')).fontVariantNumeric;
document.body.dataset.found = JSON.stringify({least, texts, wrong, pictures, beyond, digits});
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here: pages are not looked at in a browser")
@pytest.mark.parametrize("ground", GROUNDS)
def test_a_browser_shows_every_text_on_any_ground(ground, tmp_path):
    back, text, stripes = GROUNDS[ground]
    results = "".join(f"<div class='out'>{page_of(name).source}</div>" for name in RESULTS)
    style = f"body{{margin:8px;background:{back};color:{text}}}{JUPYTER % stripes}"
    path = tmp_path / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8><style>{style}</style><body>{results}<script>{MEASURE}</script>",
        encoding="utf-8",
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    for width in (1000, 420):
        command = ["chromium", *options, f"--window-size={width},900", "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
        dumped = re.search(r'data-found="([^"]*)"', done.stdout)
        assert dumped is not None, done.stderr
        found = json.loads(dumped[1].replace("&quot;", '"'))
        assert found["least"] >= LEAST_CONTRAST
        assert found["texts"] > 300
        assert found["wrong"] == []
        assert len(found["pictures"]) == 8 + 36  # of the comparison, and of subjects and effects of the shrinkage
        assert min(found["pictures"]) > 100
        assert found["beyond"] <= 0  # wide tables scroll by themselves
        assert "tabular-nums" in found["digits"]
