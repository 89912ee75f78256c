"""The algebra of terms is R's."""

import pytest

from bayesmm.specification.expansion import expand_text
from bayesmm.specification.syntax import write


def terms(text):
    return [":".join(map(write, term)) for term in expand_text(text).terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b + a", "a b"),
        ("a * b", "a b a:b"),
        ("a * b * c", "a b c a:b a:c b:c a:b:c"),
        ("a / b", "a a:b"),
        ("a / b / c", "a a:b a:b:c"),
        ("(a + b) / c", "a b a:b:c"),
        ("a / (b + c)", "a a:b a:c"),
        ("(a + b):c", "a:c b:c"),
        ("(a + b + c)**2", "a b c a:b a:c b:c"),
        ("(a + b)**5", "a b a:b"),
        ("a * b - a", "b a:b"),
        ("a * b - b:a", "a b"),
        ("a * b * c - (a + a:b:c)", "b c a:b a:c b:c"),
        ("a:b + b:a", "a:b"),
        ("a:a", "a"),
        ("x * f + w", "x f w x:f"),
        ("a - (b - a)", "a"),
    ],
)
def test_operators_expand_as_in_r(text, expected):
    assert terms(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "intercept"),
    [
        ("a", True),
        ("0 + a", False),
        ("a - 1", False),
        ("1 + a", True),
        ("-1 + a", False),
        ("a - 0", True),
        ("a - 1 + 1", True),
    ],
)
def test_last_word_on_the_intercept_counts(text, intercept):
    assert expand_text(text).intercept is intercept


def test_written_alike_is_the_same_component():
    assert terms("I( x^2 ) + I(x**2) + C( f ) + factor(f)") == ["I(x**2)", "C(f)"]
