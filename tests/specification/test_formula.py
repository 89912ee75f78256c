"""What a formula is read as."""

import pytest

from bayesmm.specification import parse_formula


def random_terms(text):
    return [str(term) for term in parse_formula(f"y ~ x + {text}").random_terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1 | g)", ["(1 | g)"]),
        ("(x | g)", ["(1 + x | g)"]),
        ("(0 + x | g)", ["(0 + x | g)"]),
        ("(x - 1 | g)", ["(0 + x | g)"]),
        ("(-1 + x | g)", ["(0 + x | g)"]),
        ("(x + 0 | g)", ["(0 + x | g)"]),
        ("((0 + x) | g)", ["(0 + x | g)"]),
        ("(x || g)", ["(1 + x || g)"]),
        ("(x * w | g)", ["(1 + x * w | g)"]),
        ("(poly(x, 2) | g)", ["(1 + poly(x, 2) | g)"]),
        ("(0 + C(f) | g)", ["(0 + C(f) | g)"]),
        ("(0 + a + b | g)", ["(0 + a + b | g)"]),
        ("(1 | a:b)", ["(1 | a:b)"]),
        ("(1 | a/b)", ["(1 | a)", "(1 | a:b)"]),
        ("(x | a/b/c)", ["(1 + x | a)", "(1 + x | a:b)", "(1 + x | a:b:c)"]),
        ("(1 | a/b:c)", ["(1 | a)", "(1 | a:b:c)"]),
        ("(1 | a:b/c)", ["(1 | a:b)", "(1 | a:b:c)"]),
        ("(1 | factor(g))", ["(1 | g)"]),
        ("(1 | `my group`)", ["(1 | `my group`)"]),
        ("(1 | g) + (0 + x | g) + (1 | h)", ["(1 | g)", "(0 + x | g)", "(1 | h)"]),
    ],
)
def test_bars_are_read_as_lme4_reads_them(text, expected):
    assert random_terms(text) == expected


def test_double_bar_gives_diagonal_structure():
    single, double = (parse_formula(f"y ~ x + (x {bar} g)").random_terms[0] for bar in ("|", "||"))
    assert (single.structure, double.structure) == ("us", "diag")
    assert single.expression == double.expression == "1 + x"


def test_one_correlated_term_differs_from_two_uncorrelated_ones():
    assert len(parse_formula("y ~ x + (x | g)").random_terms) == 1
    assert len(parse_formula("y ~ x + (1 | g) + (0 + x | g)").random_terms) == 2


def test_group_names_go_from_coarse_to_fine():
    term = parse_formula("y ~ 1 + (1 | batch/cask)").random_terms[1]
    assert (term.group, term.factors) == ("batch:cask", ("batch", "cask"))


@pytest.mark.parametrize(
    ("terms", "fixed"),
    [
        ("x", "1 + x"),
        ("1", "1"),
        ("0", "0"),
        ("0 + x", "0 + x"),
        ("x - 1", "0 + x"),
        ("x + 0", "0 + x"),
        ("-1 + x", "0 + x"),
        ("(0 + x)", "0 + x"),
        ("(x + w)", "1 + x + w"),
        ("x - 1 + 1", "1 + x"),
        ("x * w - x:w", "1 + x * w - x:w"),
        ("(x + w + z)^2", "1 + (x + w + z)**2"),
        ("I(x^2)", "1 + I(x**2)"),
        ("{x + 1}", "1 + I(x + 1)"),
        ("factor(f)", "1 + C(f)"),
        ("C(f,Sum)", "1 + C(f, Sum)"),
        ('T(f, "b")', "1 + T(f, 'b')"),
        ("bs(x,df=4)", "1 + bs(x, df=4)"),
        ("poly(x, 2, raw=TRUE)", "1 + poly(x, 2, raw=True)"),
        ("I(-x^2)", "1 + I(-x**2)"),
        ("I((a+b)*c)", "1 + I((a + b) * c)"),
        ("I(a-(b-c))", "1 + I(a - (b - c))"),
        ("I(a**b**c)", "1 + I(a**b**c)"),
        ("I((a**b)**c)", "1 + I((a**b)**c)"),
        ("I(1e-3*x)", "1 + I(1e-3 * x)"),
        ("my.var + _v + größe", "1 + my.var + _v + größe"),
        ("`my var`:f", "1 + `my var`:f"),
    ],
)
def test_fixed_part_has_its_intercept_explicit(terms, fixed):
    assert parse_formula(f"y ~ {terms} + (1 | g)").fixed == fixed


@pytest.mark.parametrize("place", ["{bar} + x", "x + {bar}", "x + ({bar} + w)", "({bar}) + x", "x + {bar} - 1"])
def test_bars_may_stand_anywhere_in_the_sum(place):
    specification = parse_formula(f"y ~ {place.format(bar='(1 | g)')}")
    assert [str(term) for term in specification.random_terms] == ["(1 | g)"]
    assert "|" not in specification.fixed


def test_offsets_are_split_out():
    specification = parse_formula("y ~ x + offset(z) + (1 | g) + offset(np.log(w) + 2)")
    assert specification.fixed == "1 + x"
    assert specification.offsets == ("z", "np.log(w) + 2")


@pytest.mark.parametrize("response", ["y", "np.log(y)", "y / 2", "I(y - x)", "`my y`", "y**0.5", "-y"])
def test_response_may_be_an_expression(response):
    assert parse_formula(f"{response} ~ x + (1 | g)").response == response


def test_specification_prints_its_parts():
    text = str(parse_formula("y ~ x + offset(z) + (x | g) + (0 + x || h)"))
    assert text.splitlines()[0] == "y ~ x + offset(z) + (x | g) + (0 + x || h)"
    assert "fixed effects   1 + x" in text
    assert "offset          z" in text
    assert "(1 + x | g)  intercept and x by g, correlated" in text
    assert "(0 + x || h)  x by h" in text


def test_line_breaks_are_spaces():
    assert parse_formula("y ~ x\n  + (1 |\n g)").random_terms == parse_formula("y ~ x + (1 | g)").random_terms


def test_formula_with_hundreds_of_columns_is_read():
    names = [f"x{i}" for i in range(600)]
    assert parse_formula(f"y ~ {' + '.join(names)} + (1 | g)").fixed == f"1 + {' + '.join(names)}"
