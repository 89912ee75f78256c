"""Names of columns and levels, notes and values come from strangers: a terminal gets them to see, never to obey."""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from cli_commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.bayes.checks.calibration import Calibration
from bayesmm.cli.messages import tell
from bayesmm.console import brief, cells, listing, screenful, visible
from bayesmm.design.blocks.arrangements import find_arrangements
from bayesmm.errors import BayesmmError
from bayesmm.priors import Normal

FORGED = "FORGED"  # stands behind a line break: it must not begin a line
HOSTILE = [
    "\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x08", "\r", "\x0b", "\x0c", "\t", "\x7f", "\x85FORGED", f"\n{FORGED}",
    "\u2028FORGED", "\u2029", "\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\u2060", "\ufeff", "\u00ad", "\u034f",
    "\u3164", "a\u200d", "a\ufe0f", "\U000e0041", "\x1c",
]  # fmt: skip
N = 48
SEEDS = (1, 2)


def hostile_names(seed):
    """Five names that hold everything hostile between them, between pieces of other names."""
    rng = np.random.default_rng(seed)
    words = ["a", "é", "Zeit", "中", "<b>", '"', "' onload='x", "&amp;"]
    pieces = [rng.choice(words) + HOSTILE[i] for i in rng.permutation(len(HOSTILE))]
    return ["".join(pieces[i::5]) + str(i) for i in range(5)]


def check(text, *, lines=True):
    """Nothing in a text moves the cursor, changes a direction, or is not drawn; no name begins a line."""
    for character in text:
        assert character == "\n" or unicodedata.category(character) == "Zs" or character.isprintable(), ascii(text)
    assert not re.search("[\u034f\u3164\u200d\ufe0f]", text), ascii(text)
    if lines:
        assert not re.search(rf"^\W*{FORGED}", text, re.MULTILINE), text
        # an error that points at a place in a formula has one character for each, blanks for line breaks
        assert "^\n" in text or not re.search(rf"(?<!\.\.\.)\s{FORGED}", text), text  # dots: cut


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, tuple(attributes)))


def make_model(column, group, levels, *, missing=False):
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"y": rng.normal(size=N), "x": rng.normal(size=N), column: rng.normal(size=N)})
    data["f"] = np.resize(np.array([f"p{levels[0]}", "q", "r"], dtype=object), N)
    data[group] = np.repeat(np.array([f"{i}{level}" for i, level in enumerate(levels * 2)], dtype=object), N // 6)
    data["twin"] = data[group]  # the same grouping: there is a note
    data["again"] = 2.0 * data[column]  # aliased: there is another
    formula = f"y ~\n x + `{column}` + again + f + (1 + `{column}` | `{group}`) + (1 | twin)"
    return formula, data


def quiet(function, *arguments, **options):
    """Call a function; its warnings go to a terminal too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments, **options)
    for each in caught:
        check(str(each.message))
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_no_text_sends_what_a_name_holds(seed):
    column, group, *levels = hostile_names(seed)
    formula, data = make_model(column, group, levels)
    model = quiet(bmm.Model, formula, data)
    fit = quiet(model.fit)
    posterior = make_posterior(model, divergences=3)
    comparison = bmm.compare(fit, posterior)
    shown = [model, fit, fit.summary(), posterior, posterior.priors, posterior.diagnostics, comparison, model.plan]
    shown += [model.specification, *model.specification.random_terms, *find_arrangements(model.design.blocks)]
    shown += [model.program(kind)[0] for kind in ("marginal", "conditional")]
    ranks = pd.DataFrame({name: np.arange(9) for name in fit.parameters.index})
    p_values = pd.Series(0.5, index=ranks.columns)
    shown.append(
        Calibration(ranks=ranks, p_values=p_values, continued=0, untrusted=0, description=model.specification.shown)
    )
    for each in shown:
        check(str(each))
    for note in (*fit.singular_directions, *fit.confounded, *comparison.notes, posterior.diagnostics.advice):
        check(note)
    plain_formula, plain = make_model("column", "group", ["b", "c", "d"])
    other = quiet(bmm.Model, plain_formula, plain)
    pages = [each._repr_html_() for each in (model, fit, posterior, comparison, posterior.priors)]
    fit, posterior = quiet(other.fit), make_posterior(other, divergences=3)
    expected = [each._repr_html_() for each in (other, fit, posterior, bmm.compare(fit, posterior), posterior.priors)]
    for page, innocent in zip(pages, expected, strict=True):
        # differences between the two sets of data may show or leave out a line, but no name brings a tag of its own
        assert set(Tags(page).found) <= set(Tags(innocent).found)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_error_or_warning_sends_what_a_name_holds(seed):
    column, group, *levels = hostile_names(seed)
    formula, data = make_model(column, group, levels)
    model = quiet(bmm.Model, formula, data)
    gaps, one, infinite = data.copy(), data.copy(), data.copy()
    gaps.loc[:3, column] = np.nan
    one[group] = levels[0]
    infinite.loc[0, column] = np.inf
    mixed = data.assign(mixed=[1.5, levels[0]] * (N // 2))
    posterior = quiet(make_posterior, model)
    mistakes = [
        lambda: bmm.Model(f"y ~ nothing + (1 | `{group}`)", data),
        lambda: bmm.Model(f"y ~ `{column}x` + (1 | `{group}`)", data),
        lambda: bmm.Model(f"y ~ nothing(`{column}`) + (1 | `{group}`)", data),
        lambda: bmm.Model(f"y ~ np.mean(`{column}`) + (1 | `{group}`)", data),
        lambda: bmm.Model(f"y ~ `{column}` + `{column}`` + (1 | g)", data),
        lambda: bmm.Model(f"y ~ `{column}` (1 | g)", data),
        lambda: bmm.Model(f"y ~ I(`{column}`:x) + (1 | `{group}`)", data),
        lambda: bmm.Model(f"y ~ `{column}`", data),
        lambda: bmm.Model(formula, one),
        lambda: bmm.Model(formula, infinite),
        lambda: bmm.Model(formula, gaps, missing="raise"),
        lambda: bmm.Model(f"y ~ mixed + (1 | `{group}`)", mixed),
        lambda: bmm.Model(f"y ~ np.log(`{column}`) + (1 | `{group}`)", data),
        lambda: bmm.Model(formula, data, weights=f"`{column}`"),
        lambda: bmm.Model(formula, data, priors={column + "x": Normal(0, 1)}),
        lambda: bmm.Model(formula, data, priors={group: Normal(0, 1)}),
        lambda: model.fit().predict(data.drop(columns=column)),
        lambda: model.fit().predict(data.assign(**{group: levels[0]})),
        lambda: model.fit().predict(data.assign(f=levels[0])),
        lambda: model.fit().predict(random=[column]),
        lambda: model.marginal_mean({group: [levels[0]]}),
        lambda: model.marginal_mean({column: [levels[0]]}),
        lambda: model.marginal_mean([0], at={column: 1.0}),
        lambda: posterior.draws(column),
        lambda: posterior.log_likelihood(column + "x"),
        lambda: model.sample(parameterisation={column: 0.5}),
    ]
    for mistake in mistakes:
        with pytest.raises(BayesmmError) as caught:
            quiet(mistake)
        check(str(caught.value))
    quiet(bmm.Model, formula, gaps)  # there is a warning of the rows that are dropped


@settings(max_examples=300, deadline=None)
@given(st.text(), st.integers(3, 90))
def test_visible_texts_are_printable_and_their_own(text, most):
    check(visible(text), lines=False)
    assert visible(visible(text)) == visible(text)
    if text.isascii() and text.isprintable():
        assert visible(text) == text
    check(brief(text, most + 12), lines=False)
    assert cells(brief("x" + text, 30)) <= 60


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",
        "क्\u200dष",
        "👩\u200d👩\u200d👧",
        "❤\ufe0f",
        "日本\u3000語",
        "a\u0301",
        "naïve",
        "שלום",
        "a\u00a0b",
    ],
)
def test_what_a_script_needs_stays(text):
    assert visible(text) == text


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=9), max_size=40), st.sampled_from([1, 60, 3000])
)
def test_messages_are_no_longer_than_a_screen(parts, times):
    for text in ("\n".join(parts * times), " ".join(parts * times), "中" * times * len(parts)):
        message = str(BayesmmError(text))
        check(message, lines=False)
        assert sum(max(1, -(-cells(line) // 80)) for line in message.split("\n")) <= 24
        assert str(BayesmmError(message)) == message
        if len(text) < 1000 and text.isascii() and text.isprintable():
            assert message == text


def test_a_long_message_keeps_its_beginning_and_its_advice():
    long = f"Column 'x' is wrong. {'name, ' * 2000}. Rename it."
    text = screenful(long)
    assert text.startswith("Column 'x' is wrong.")
    assert text.endswith("Rename it.")
    assert f"({len(long):,} characters in all)" in text


def test_lists_say_how_many_more_there_are():
    assert listing(["a", "b"]) == "a, b"
    assert listing([f"x{i}" for i in range(16_000)], 2) == "x0, x1 and 15,998 more"
    assert listing(["a\n", "b"], quoted=True) == r"'a\n', 'b'"


def test_the_command_line_sends_nothing_of_a_file(tmp_path):
    path = tmp_path / "data\x1b[31m.csv"
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"y": rng.normal(size=N), "x\x1b[2J": rng.normal(size=N)})
    data["g\x9b31m"] = np.repeat(np.array(["a\u202e", "b\n" + FORGED, "c\x1b]0;t\x07", "d\u200b"]), N // 4)
    data.to_csv(path, index=False)
    arguments = ("y ~ `x\x1b[2J` + (1 | `g\x9b31m`)", "--data", path)
    printed = run("fit", *arguments, "-r").stdout
    check(printed)
    assert "b\\n" + FORGED in printed
    document = run("fit", *arguments, "--json").stdout
    check(document)
    assert json.loads(document)["fit"]["random_effects"][1]["level"] == "b\n" + FORGED  # names are what they were
    for wrong in (
        ("y ~ x + (1 | g)", "--data", path),
        ("y ~ `x\x1b[2J` + (1 | y)", "--data", tmp_path / "\x1b[31mno.csv"),
        (*arguments, "--output", tmp_path / "\x1b[31m" / "a.csv"),
        (*arguments, "--weights", "`x\x1b[2J`"),
    ):
        check(run("fit", *wrong, code=2).stderr)


def test_messages_of_others_are_made_visible_too(capsys):
    tell("Error", "[Errno 2] no file: a\x1b[2J\u202e\n    b", "red")
    check(capsys.readouterr().err)
