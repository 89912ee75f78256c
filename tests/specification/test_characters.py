"""Characters that were pasted into a formula: the error points at them and says what to write."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm.console import cells
from bayesmm.errors import SpecificationError
from bayesmm.specification.characters import WRITE, plain_character
from bayesmm.specification.formula import parse_formula
from bayesmm.specification.scanner import MOST_SHOWN

FORMULA = """y ~ 0 + a * b - c / d + I(x^2 >= 1) + I(u != 3) + C(f, Treatment('r')) + C(f, Treatment("s")) + (z || g:h) + (1 | k)"""
FULL_WIDTH = [chr(code) for code in range(0xFF01, 0xFF5F) if not chr(code).isalnum() and chr(code) != "＿"]


def refusal(text):
    with pytest.raises(SpecificationError) as caught:
        parse_formula(text)
    return str(caught.value)


def pointed_at(message):
    """The character above the caret."""
    _, shown, caret, _ = message.split("\n")
    assert cells(shown) <= MOST_SHOWN + 4
    column = caret.index("^")
    return next(character for i, character in enumerate(shown) if cells(shown[:i]) == column and cells(character))


@pytest.mark.parametrize("character", sorted({*WRITE, *FULL_WIDTH}), ids=lambda c: f"U+{ord(c):04X}")
def test_look_alike_is_pointed_at_and_what_to_write_is_said(character):
    right = plain_character(character)
    assert right.isascii()
    place = FORMULA.find(right)
    if place < 0:  # a character that is no part of this formula: %, #, ...
        text, place = f"y ~ x {character} z + (1 | g)", 6
    else:
        text = FORMULA[:place] + character + FORMULA[place + len(right) :]
    message = refusal(text)
    assert f"Character {place + 1} is" in message
    assert unicodedata.name(character).lower() in message
    assert f"U+{ord(character):04X}" in message
    assert message.endswith(f"Write {right} instead.")
    assert pointed_at(message) == character


@settings(max_examples=300, deadline=None)
@given(st.characters(min_codepoint=0x80), st.integers(0, 10))
def test_no_strange_character_passes_in_silence(character, place):
    text = "y ~ x + (1 | g)"
    place = [at for at, each in enumerate(text) if each == " "][place % 5]
    pasted = text[:place] + character + text[place:]
    try:
        found = parse_formula(pasted)
    except SpecificationError as error:
        lines = str(error).split("\n")
        assert len(lines) in (1, 4)
        assert len(max(lines, key=len)) < 240
    else:  # a blank, or a letter of a name
        assert character.isspace() or f"{text[:place]}{character}".split()[-1] in str(found)


@pytest.mark.parametrize("blank", ["\u00a0", "\u2009", "\u202f", "\u3000", "\t", "\n"])
def test_any_blank_is_a_blank(blank):
    assert parse_formula(f"y{blank}~{blank}x +{blank}(1 | g)").fixed == parse_formula("y ~ x + (1 | g)").fixed


@pytest.mark.parametrize("character", ["\u200b", "\ufeff", "\u00ad", "\u200e", "\x00", "\x1b"])
def test_invisible_character_is_named_and_pointed_at(character):
    message = refusal(f"y ~ x{character} + (1 | g)")
    assert f"the invisible character U+{ord(character):04X}" in message
    assert message.split("\n")[2] == " " * 9 + "^"
    assert character not in message


def test_digits_of_another_width_are_no_numbers():
    assert "Write 0 instead." in refusal("y ~ ０ + x + (1 | g)")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from("–∼（"))
def test_a_long_formula_is_cut_around_the_place(before, after, character):
    text = "y ~ " + "x1 + " * before + f"a {character} b" + " + x2" * after + " + (1 | g)"
    message = refusal(text)
    assert pointed_at(message) == character
