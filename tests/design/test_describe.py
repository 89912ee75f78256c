"""What a design prints."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design import build_design
from bayesmm.design.blocks.arrangements import find_arrangements
from bayesmm.design.words import describe as words
from bayesmm.design.words.describe import describe
from bayesmm.errors import BayesmmWarning
from bayesmm.specification import parse_formula

N = 72
RNG = np.random.default_rng(9)
DATA = pd.DataFrame(
    {
        "y": RNG.uniform(1, 2, N),
        "x": RNG.normal(size=N),
        "w": RNG.uniform(1, 2, N),
        "f": np.resize(list("abc"), N),
        "batch": np.repeat(list("ABCDEF"), 12),
        "cask": np.tile(np.repeat(list("abc"), 4), 6),
        "sample": np.resize([f"s{i}" for i in range(4)], N),
        "twin": np.repeat(list("UVWXYZ"), 12),
    }
)


def design(formula, data=DATA, **options):
    return build_design(parse_formula(formula), data, **options)


def equations(design):
    return [line for each in words.equations(design) for line in each.lines(100)]


def relations(random):
    return [str(relation) for relation in find_arrangements(design(f"y ~ x + {random}").blocks)]


def test_description_of_a_random_slope_model():
    assert describe(design("y ~ x + (x | batch)")).splitlines() == [
        "Linear mixed model  y ~ x + (x | batch)",
        "",
        "  yᵢ = β₀ + β₁·xᵢ + b₀[batchᵢ] + b₁[batchᵢ]·xᵢ + εᵢ",
        "  (b₀, b₁)[batch] ~ N(0, Σ), Σ 2 × 2 unstructured, 6 levels",
        "  εᵢ ~ N(0, σ²)",
        "",
        "Rows          72 used, none dropped",
        "Columns of X  2: Intercept, x",
        "Groups        batch: 6 levels (A, B, C, ..., F), effects Intercept, x",
    ]


def test_equations_show_offset_weights_and_independent_terms():
    lines = equations(
        design("np.log(y) ~ 0 + x + offset(w) + (1 | batch/cask) + (0 + x + w || batch)", weights="w", known_sigma=1.0)
    )
    assert "β₁·xᵢ + offset(w)ᵢ" in lines[0]
    assert "b₀[batchᵢ, caskᵢ]" in " ".join(lines)
    assert lines[-4:] == [
        "b₀[batch] ~ N(0, sd(Intercept | batch)²), 6 levels",
        "(b₁, b₂)[batch] ~ N(0, Σ), Σ 2 × 2 diagonal, 6 levels",
        "b₀[batch:cask] ~ N(0, sd(Intercept | batch:cask)²), 18 levels",
        "εᵢ ~ N(0, σ²/wᵢ), σ known",
    ]


def test_nesting_is_detected():
    assert relations("(1 | batch/cask)") == ["batch:cask is nested in batch"]


def test_implicit_nesting_is_detected_in_either_order():
    data = DATA.assign(id=DATA["batch"] + DATA["cask"])
    for random in ("(1 | id) + (1 | batch)", "(1 | batch) + (1 | id)"):
        found = find_arrangements(design(f"y ~ x + {random}", data).blocks)
        assert [str(relation) for relation in found] == ["id is nested in batch"]


def test_crossing_is_detected():
    assert relations("(1 | batch) + (1 | sample)") == ["batch and sample are fully crossed: all 24 combinations occur"]
    (found,) = find_arrangements(design("y ~ x + (1 | batch) + (1 | sample)", DATA[1:]).blocks)
    assert found.kind == "fully crossed"
    some = DATA[~((DATA["batch"] == "A") & (DATA["sample"] == "s1"))]
    (found,) = find_arrangements(design("y ~ x + (1 | batch) + (1 | sample)", some).blocks)
    assert str(found) == "batch and sample are partially crossed: 23 of 24 combinations occur"


def test_same_grouping_twice_is_said():
    assert "same grouping" in relations("(1 | batch) + (1 | twin)")[0]


def test_dropped_rows_are_shown():
    data = DATA.copy()
    data.loc[:3, "x"] = np.nan
    with pytest.warns(BayesmmWarning):
        text = describe(design("y ~ x + (1 | batch)", data))
    assert "68 used, 4 dropped because of missing values (x 4)" in text


def test_long_descriptions_stay_within_the_page():
    text = describe(design("y ~ x * f * w * C(cask) + poly(x, 6) + (poly(x, 5) | batch) + (1 | sample)"))
    assert max(map(len, text.splitlines()[1:])) <= 100
    assert "Σⱼ βⱼ·Xᵢⱼ" in text


def test_names_with_spaces_are_bracketed():
    lines = equations(design("`my y` ~ `my x` + (1 | batch)", DATA.rename(columns={"y": "my y", "x": "my x"})))
    assert "(my x)ᵢ" in lines[0]
