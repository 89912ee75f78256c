"""Nonsense gets an error that points at the place, says what is wrong and what to write."""

import pytest

from bayesmm.errors import SpecificationError
from bayesmm.specification import parse_formula


def failure(text):
    with pytest.raises(SpecificationError) as caught:
        parse_formula(text)
    return str(caught.value)


# formula, the text that the caret points at, a part of the problem, a part of the advice
POINTED = [
    ("y ~ x | g", "| g", "must stand in parentheses", "(x | group)"),
    ("y ~ (1 | ID | g)", "| g", "one bar", "brms"),
    ("y ~ (1 | g) * f", "(1 | g) * f", "only be added", "(0 + f | g)"),
    ("y ~ f:(1 | g)", "(1 | g)", "only be added", "(x | g)"),
    ("y ~ -(1 | g)", "(1 | g)", "subtracted", "Leave it out"),
    ("y ~ x - (w + (1 | g))", "(1 | g)", "subtracted", "Leave it out"),
    ("y ~ x + (1 | g", "", "'(' at position 9 is never closed", "Add the closing"),
    ("y ~ x + (1 | g))", ")", "closes nothing", "Remove it"),
    ("y ~ I(x + (1 | g)", "", "never closed", "closing"),
    ("y ~ x ~ z", "~ z", "more than one '~'", "single '~'"),
    ("y", "", "no '~'", "response ~"),
    ("y = x + (1 | g)", "= x", "'=' stands where '~' belongs", "response ~"),
    ("~ x + (1 | g)", "~ x", "response is missing", "response ~ terms"),
    ("y ~ ", "~", "nothing right of '~'", "(1 | group)"),
    ("y ~ . + (1 | g)", ". +", "Unexpected '.'", "name the columns"),
    ("y ~ x + (1 | g) +", "", "ends where a term is expected", "missing term"),
    ("y ~ x * + (1 | g)", "(1 | g)", "only be added", "... + (x | g)"),
    ("y ~ x z + (1 | g)", "z +", "follows a term without an operator", "'+'"),
    ("y ~ x %in% f + (1 | g)", "%in%", "%in% is not known", "a:b"),
    ("y ~ x[1] + (1 | g)", "[1]", "Unexpected '['", "Square brackets"),
    ("y ~ x^2 + (1 | g)", "^2", "not a square", "I(x**2)"),
    ("y ~ (a + b)**w + (1 | g)", "**w", "positive whole number", "(a + b)**2"),
    ("y ~ 2*x + (1 | g)", "2*x", "cannot be part of a term", "I(2 * x)"),
    ("y ~ 2 + (1 | g)", "2 +", "not a term", "offset(2)"),
    ("y ~ x > 1 + (1 | g)", "> 1", "cannot stand between terms", "I(x > 1)"),
    ("y ~ 'x' + (1 | g)", "'x'", "not a term", "Name a column"),
    ("y ~ 'x + (1 | g)", "'x", "Unexpected", "closing quotation"),
    ("y ~ `x + (1 | g)", "`x", "Unexpected", "closing backquote"),
    ("y ~ x + (1 | g) # a comment", "#", "Unexpected '#'", "Comments"),
    ("y ~ x & z + (1 | g)", "&", "Unexpected '&'", "compute the column"),
    ("y ~ f(x, a=1, b) + (1 | g)", "b)", "positional argument", "last"),
    ("y ~ I(a:b) + (1 | g)", ":b", "inside a call", "outside"),
    ("y ~ lambda x: x + (1 | g)", "x: x", "without an operator", "'+'"),
    ("y ~ x * offset(z) + (1 | g)", "offset", "only be added", "offset(x)"),
    ("y ~ x - offset(z) + (1 | g)", "offset", "subtracted", "offset(-x)"),
    ("y ~ offset(a, b) + (1 | g)", "offset", "one expression", "several times"),
    ("y ~ I(offset(z)) + (1 | g)", "offset", "only be added", "offset(x)"),
    ("offset(y) ~ x + (1 | g)", "offset", "cannot stand here", "y ~ x + offset"),
    ("1 ~ x + (1 | g)", "1 ~", "names no column", "response"),
    ("(y | g) ~ x + (1 | g)", "(y | g)", "cannot stand here", "right of '~'"),
    ("y:x ~ x + (1 | g)", ":x", "no meaning in arithmetic", "a * b"),
    ("y ~ (0 | g)", "(0", "No effect is left", "(0 + x | g)"),
    ("y ~ (|g)", "|g", "must stand in parentheses", "(x | group)"),
    ("y ~ (1|)", ")", "Unexpected ')'", "expected here"),
    ("y ~ (1 | a + b)", "a + b", "not a grouping factor", "(1 | a) + (1 | b)"),
    ("y ~ (1 | a * b)", "* b", "not a grouping factor", "(1 | a:b)"),
    ("y ~ (1 | mm(a))", "mm(", "one member", "(1 | a)"),
    ("y ~ (1 | mm(a, b, a))", "a))", "column 'a' twice", "(1 | a)"),
    ("y ~ (1 | mm())", "mm(", "names no column", "(1 | mm(a, b))"),
    ("y ~ (1 | mm(a, b + c))", "b + c", "not a column", "as a column"),
    ("y ~ (1 | mm(a, b:c))", ":c", "not a column", "as a column"),
    ("y ~ (1 | mm(a, b, weights=w))", "w))", "The weights of mm() are 'w'", "weights=cbind(w1, w2)"),
    ("y ~ (1 | mm(a, b, weights=cbind(w)))", "mm(", "2 members and 1 weight(s)", "weights=cbind(w1, w2)"),
    ("y ~ (1 | mm(a, b, weights=cbind(w, 'v')))", "'v'", "is a text", "quotation marks"),
    ("y ~ (1 | mm(a, b, scale=False))", "mm(", "mm() has none", "weights=cbind(1, 1)"),
    ("y ~ (1 | mm(a, b, scale=2))", "2))", "scale is '2'", "scale=True"),
    ("y ~ (1 | mm(a, b, by=c))", "mm(", "no argument 'by'", "weights= and scale="),
    ("y ~ (1 | g/mm(a, b))", "mm(", "cannot be combined", "alone right of a bar"),
    ("y ~ (1 | mm(a, b):g)", "mm(", "cannot be combined", "alone right of a bar"),
    ("y ~ (1 | gr(g, cov=A))", "gr(", "no argument 'cov'", "rel("),
    ("y ~ (1 | rel(a))", "rel(", "names no matrix", "relations={'A': A}"),
    ("y ~ (1 | rel(a, b, c))", "rel(", "takes one column and the name of one matrix", "rel(animal, A)"),
    ("y ~ (1 | rel(a, A, cov=B))", "rel(", "no argument 'cov'", "a column and the name of a matrix"),
    ("y ~ (1 | g/rel(a, A))", "rel(", "cannot be combined", "alone right of a bar"),
    ("y ~ (1 | dyad(a))", "dyad(", "takes two columns, and has 1", "dyad(sender, receiver)"),
    ("y ~ (1 | dyad(a, b, c))", "dyad(", "takes two columns, and has 3", "(1 | mm(a, b))"),
    ("y ~ (1 | dyad(a, a))", "a))", "column 'a' twice", "Name it once"),
    ("y ~ (1 | dyad(a, b, weights=cbind(u, v)))", "dyad(", "no argument 'weights'", "two columns and nothing else"),
    ("y ~ (1 | np.floor(x))", "np.floor", "computed", "as a column"),
    ("y ~ (1 | 1)", "1)", "not a grouping factor", "a:b or a/b"),
    ("y ~ (1 | g/g)", "/g", "combined with itself", "once"),
    ("y ~ (1 | a:(b/c))", "/c", "inside a combination", "a/b:c"),
    ("y ~ (offset(z) | g)", "(offset", "left of a bar", "on its own"),
    ("y ~ ((1 | h) | g)", "((1", "left of a bar", "on its own"),
    ("y ~ x(1)(2) + (1 | g)", "(2)", "Unexpected '('", "expected"),
    ("y ~ x.system('ls').read + (1 | g)", ".read", "without an operator", "'+'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "at", "problem", "advice"), POINTED, ids=[case[0] for case in POINTED])
def test_error_points_at_the_place_and_gives_advice(text, at, problem, advice):
    message = failure(text)
    first, shown, caret, *last = message.splitlines()
    assert shown.strip() == text.strip()
    assert problem in first
    assert advice in " ".join(last)
    pointed = shown[caret.index("^") :]
    assert pointed.startswith(at) if at else not pointed.strip()


def test_formula_without_random_terms_says_what_to_use_instead():
    message = failure("y ~ x")
    assert "no random-effects term" in message
    assert "statsmodels" in message
    assert "formulae" in message
    assert "(1 | group)" in message


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_empty_formula_is_named(text):
    assert "empty" in failure(text)


@pytest.mark.parametrize("text", [None, 3, b"y ~ x", ["y ~ x"]])
def test_formula_that_is_no_text_is_named(text):
    assert type(text).__name__ in failure(text)


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "x", "-" * 5000 + "x", "f(" * 5000 + "x", "a" + "*b" * 5000, "2**" * 5000 + "x"]
)
def test_endless_nesting_is_refused_not_overflowed(text):
    assert "nested more than" in failure(f"y ~ {text}")


def test_exploding_power_is_refused():
    names = " + ".join(f"x{i}" for i in range(26))
    assert "more than 2000 terms" in failure(f"y ~ ({names})**26 + (1 | g)")
