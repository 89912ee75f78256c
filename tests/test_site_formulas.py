"""Formulas of the site: MathML whose indices are where a statistician writes them."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("docutils")
pytest.importorskip("sphinx")


@pytest.fixture
def translate(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "docs" / "sphinx"))
    from mathml import translate

    yield lambda formula: "".join(line.strip() for line in translate(formula).splitlines())
    sys.modules.pop("mathml")


@pytest.mark.parametrize(("formula", "letter"), [(r"\hat\beta_j", "β"), (r"\hat{\beta}_{j}", "β"), (r"\bar y_j", "y")])
def test_an_index_of_an_accented_letter_stands_beside_it(formula, letter, translate):
    accented, index = translate(formula).split("</mover>")
    assert accented.endswith("</mo>")
    assert f'<msub><mover accent="true"><mi>{letter}</mi>' in accented
    assert index.startswith("<mi>j</mi></msub>")


def test_blanks_and_signs_of_markup_stay(translate):
    found = translate(r"a \qquad b < c \text{ if } d")
    assert "&lt;" in found
    assert "\N{NO-BREAK SPACE}if" in found or "<mspace" in found


def test_limits_of_a_sum_stay_above_and_below(translate):
    found = translate(r"\sum_{j=1}^n \tilde y_j")
    assert "<munderover><mo" in found
    assert found.count("<msub>") == 1
