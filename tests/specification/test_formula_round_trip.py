"""What is written down can be read again, for formulas that no one thought of."""

from functools import reduce
from operator import add

from hypothesis import given
from hypothesis import strategies as st

from bayesmm.specification import parse_formula
from bayesmm.specification.grammar import parse_expression
from bayesmm.specification.syntax import Binary, Call, Constant, Name, Number, Sum, Text, write

NAMES = st.sampled_from(["x", "w", "my.var", "_v", "a b", "True", "größe", "np.pi"]).map(Name)
NUMBERS = st.sampled_from(["0", "1", "2", "0.5", "1e-3", ".25"]).map(Number)
LEAVES = st.one_of(NAMES, NUMBERS)


def larger(inner):
    signed = st.tuples(st.sampled_from("+-"), inner)
    chains = st.lists(signed, min_size=2, max_size=3).map(lambda parts: Sum(tuple(parts)))
    return st.one_of(
        chains,
        inner.map(lambda node: Sum((("-", node),))),
        st.builds(Binary, st.sampled_from(["*", "/", "**", ":"]), inner, inner),
        st.builds(
            Call,
            st.sampled_from(["np.log", "I", "poly"]),
            st.lists(inner, min_size=1, max_size=2).map(tuple),
            st.sampled_from([(), (("raw", Constant(True)),), (("ref", Text("it's")),)]),
        ),
    )


EXPRESSIONS = st.recursive(LEAVES, larger, max_leaves=8)


@given(EXPRESSIONS)
def test_written_expression_reads_as_the_same_tree(node):
    text = write(node)
    again = parse_expression(text)
    assert write(again) == text
    assert write(parse_expression(f"({text})")) == text


@given(EXPRESSIONS)
def test_written_arithmetic_has_the_value_of_the_tree(node):
    # Python's own parser is the judge of parentheses: only numbers and operators that both languages share
    python = write(node)
    if any(mark in python for mark in (":", "`", "'", "größe", "poly", "log", "I(", "my", "_v", "np", "x", "w")):
        return
    tree = parse_expression(python)
    try:
        expected = eval(python, {"__builtins__": {}})
    except (ZeroDivisionError, OverflowError, SyntaxError):
        return
    value = evaluate(tree)
    assert value == expected


def evaluate(node):
    match node:
        case Number():
            return node.value
        case Sum(parts):  # term by term: sum() of floats is compensated since Python 3.12
            signed = (evaluate(part) if sign == "+" else -evaluate(part) for sign, part in parts)
            return reduce(add, signed)
        case Binary("*", left, right):
            return evaluate(left) * evaluate(right)
        case Binary("/", left, right):
            return evaluate(left) / evaluate(right)
        case Binary("**", left, right):
            return evaluate(left) ** evaluate(right)
    raise AssertionError(node)


COLUMNS = st.lists(st.sampled_from(["x", "w", "f:x", "poly(x, 2)", "I(x**2)", "C(f)"]), unique=True, max_size=3)
GROUPS = st.sampled_from(["g", "a:b", "a/b", "a/b/c", "`my g`"])
BARS = st.builds(
    lambda intercept, columns, bar, group: f"({' + '.join([intercept, *columns])} {bar} {group})",
    st.just("1"),
    COLUMNS,
    st.sampled_from(["|", "||"]),
    GROUPS,
)
PARTS = st.lists(st.one_of(BARS, COLUMNS.map(" + ".join).filter(bool), st.just("offset(z)")), max_size=5)


@given(PARTS, BARS, st.sampled_from(["", "0 + ", "1 + "]))
def test_normalised_formula_is_a_fixed_point(parts, bar, intercept):
    specification = parse_formula(f"y ~ {intercept}{' + '.join([*parts, bar])}")
    again = parse_formula(specification.normalised())
    assert again.normalised() == specification.normalised()
    assert again.random_terms == specification.random_terms
    assert again.fixed == specification.fixed
