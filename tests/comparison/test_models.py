"""Likelihood-ratio tests of several models, and what is refused or said of them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from reference_data import REFERENCE
from reference_models import reference_models
from scipy import stats

import bayesmm as bmm
from bayesmm.comparison.nesting import examine
from bayesmm.errors import ComparisonError

BOUNDARY = "Zero is the boundary"


def sleepstudy(formula, method="ml", data=None):
    return bmm.Model(f"Reaction ~ {formula}", bmm.datasets.load("sleepstudy") if data is None else data).fit(method)


def comparisons():
    for path in sorted(REFERENCE.glob("*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")).get("comparisons") or []:
            yield pytest.param(path.stem, entry, id=f"{path.stem}/{entry['id']}")


@pytest.mark.parametrize(("file", "entry"), [*comparisons()])
def test_likelihood_ratio_tests_are_those_of_lme4(file, entry):
    models = {model.id: model for model in reference_models()[0]}
    fits = []
    for which in ("larger", "smaller"):
        model = models[f"{file}/{entry[which]}"]
        fits.append(bmm.Model(model.formula, model.frame(), weights=model.weights).fit(model.method))
    table = bmm.anova(*fits, names=["larger", "smaller"]).table
    assert table.index.tolist() == ["smaller", "larger"]
    row = table.loc["larger"]
    assert row["chisq"] == pytest.approx(entry["chisq"], abs=1e-5)
    assert row["df"] == entry["df"]
    assert row["p_value"] == pytest.approx(entry["p_value"], rel=1e-4)
    assert table["aic"].tolist() == pytest.approx([fit.aic for fit in fits[::-1]])
    assert table["bic"].tolist() == pytest.approx([fit.bic for fit in fits[::-1]])
    assert table["deviance"].tolist() == pytest.approx([-2.0 * fit.loglik for fit in fits[::-1]])


def test_models_come_by_their_parameters_each_against_the_one_before():
    fits = [sleepstudy(f"Days + {term}") for term in ("(Days | Subject)", "(1 | Subject)", "(Days || Subject)")]
    models = bmm.anova(*fits)
    assert models.table.index.tolist() == ["model 2", "model 3", "model 1"]
    assert models.table["n_parameters"].tolist() == [4, 5, 6]
    assert models.table["chisq"].isna().tolist() == [True, False, False]
    assert models.fits["model 1"] is fits[0]
    assert models.table.loc["model 1", "p_value"] == pytest.approx(
        stats.chi2.sf(2 * (fits[0].loglik - fits[2].loglik), 1)
    )
    assert [BOUNDARY in text for text in models.remarks] == [True]
    assert "In model 2 there are variances of zero, by Subject, that model 3 has free" in models.remarks[0]


def test_restricted_likelihoods_of_the_same_fixed_effects_are_compared():
    small, large = sleepstudy("Days + (1 | Subject)", "reml"), sleepstudy("I(Days - 100) + (Days || Subject)", "reml")
    same = sleepstudy("Days + (Days || Subject)", "reml")
    table = bmm.anova(small, large).table
    assert table.loc["model 2", "chisq"] == pytest.approx(2.0 * (same.loglik - small.loglik))
    assert abs(large.loglik - same.loglik) < 1e-6  # no constant between these bases: det 1
    scaled = sleepstudy("I(24 * Days) + (Days || Subject)", "reml")
    assert scaled.loglik - same.loglik == pytest.approx(-np.log(24.0))
    assert bmm.anova(small, scaled).table["loglik"].tolist() == pytest.approx([small.loglik, same.loglik])


def test_restricted_likelihoods_of_other_fixed_effects_are_refused_unless_refitted():
    fits = sleepstudy("Days + (1 | Subject)", "reml"), sleepstudy("1 + (1 | Subject)", "reml")
    with pytest.raises(ComparisonError, match="model 1 and model 2 are REML fits with different fixed effects"):
        bmm.anova(*fits)
    models = bmm.anova(*fits, refit=True)
    by_ml = sleepstudy("Days + (1 | Subject)").loglik, sleepstudy("1 + (1 | Subject)").loglik
    assert models.table.loc["model 1", "chisq"] == pytest.approx(2 * (by_ml[0] - by_ml[1]))
    assert {fit.method for fit in models.fits.values()} == {"ml"}
    assert not models.remarks


def test_methods_are_not_mixed():
    fits = sleepstudy("Days + (1 | Subject)", "reml"), sleepstudy("Days + (Days | Subject)")
    with pytest.raises(ComparisonError, match="different methods \\(model 1 REML, model 2 ML\\): give refit=True"):
        bmm.anova(*fits)
    assert bmm.anova(*fits, refit=True).table.loc["model 2", "df"] == 2


def test_other_rows_responses_and_weights_are_refused():
    data = bmm.datasets.load("sleepstudy")
    fit = sleepstudy("Days + (1 | Subject)")
    with pytest.raises(ComparisonError, match=r"different rows \(180 and 179 rows\)"):
        bmm.anova(fit, sleepstudy("1 + (1 | Subject)", data=data.iloc[1:]))
    with pytest.raises(ComparisonError, match=r"different rows \(180 rows each, but not the same\)"):
        bmm.anova(fit, sleepstudy("1 + (1 | Subject)", data=data.set_axis(range(1, 181))))
    with pytest.raises(
        ComparisonError, match=r"different responses \('Reaction' and 'np.log\(Reaction\)' differ in 180"
    ):
        bmm.anova(fit, bmm.Model("np.log(Reaction) ~ Days + (1 | Subject)", data).fit("ml"))
    with pytest.raises(ComparisonError, match="model 1 and model 2 have different weights"):
        bmm.anova(fit, bmm.Model("Reaction ~ Days + (1 | Subject)", data, weights=np.arange(1.0, 181.0)).fit("ml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda fit: (fit,), "given 1 model"),
        (lambda fit: (), "given 0 model"),
        (lambda fit: (fit, "model"), "given a str: give fits, from model.fit"),
        (lambda fit: (fit, None), "given a NoneType: give fits"),
    ],
)
def test_what_is_no_fit_is_answered(arguments, message):
    with pytest.raises(ComparisonError, match=message):
        bmm.anova(*arguments(sleepstudy("Days + (1 | Subject)")))


def test_names_are_checked():
    fits = sleepstudy("Days + (1 | Subject)"), sleepstudy("1 + (1 | Subject)")
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ComparisonError, match="give 2 different names"):
            bmm.anova(*fits, names=names)


def test_fixed_effects_that_are_not_nested_have_no_test():
    data = bmm.datasets.load("sleepstudy")
    rng = np.random.default_rng(0)
    data = data.assign(x=rng.normal(size=180), z=rng.normal(size=180), u=rng.normal(size=180))
    models = bmm.anova(sleepstudy("x + (1 | Subject)", data=data), sleepstudy("z + u + (1 | Subject)", data=data))
    assert np.isnan(models.table.loc["model 2", "p_value"])
    assert "model 1 and model 2 are not nested" in models.remarks[0]
    same = bmm.anova(sleepstudy("x + (1 | Subject)", data=data), sleepstudy("z + (1 | Subject)", data=data))
    assert same.table.loc["model 2", "df"] == 0
    assert "have as many parameters" in same.remarks[0]


def grid():
    rng = np.random.default_rng(4)
    n = 120
    a, b = rng.integers(0, 8, n), rng.integers(0, 5, n)
    f, x = rng.choice(["u", "v", "w"], n), rng.normal(size=n)
    g = np.array(list("ABCDEFGH"))[a]
    return pd.DataFrame(
        {"y": rng.normal(size=n), "a": a, "b": b, "f": f, "x": x, "also_a": g, "t": rng.integers(0, 4, n), "h": b % 2}
    )


NESTED = [
    # smaller, larger, seen to be nested, grouping factors with variances of zero
    ("(1 | a)", "(x | a)", True, ["a"]),
    ("(x || a)", "(x | a)", True, []),
    ("(0 + x | a) + (1 | a)", "(x | a)", True, []),
    ("(1 | also_a)", "(1 + x || a)", True, ["a"]),
    ("(1 | a)", "(1 | a) + (1 | b)", True, ["b"]),
    ("(1 | a)", "(1 | a) + (0 + x | a)", True, ["a"]),
    ("(1 | a)", "(1 | a/b)", True, ["a:b"]),
    ("(1 | a)", "(f | a)", True, ["a"]),
    ("(1 | a)", "(0 + f | a)", True, ["a"]),
    ("(0 + f || a)", "(f | a)", True, []),
    ("(x | a)", "(I(x - 7) | a)", True, []),
    ("(x || a)", "(I(x - 7) | a)", True, []),
    ("(x || a)", "(I(x - 7) || a)", False, []),
    ("homcs(0 + f | a)", "cs(0 + f | a)", True, []),
    ("homcs(0 + f | a)", "us(0 + f | a)", True, []),
    ("diag(0 + f | a)", "cs(0 + f | a)", True, []),
    ("homdiag(0 + f | a)", "diag(0 + f | a)", True, []),
    ("ar1(0 + C(t) | a)", "us(0 + C(t) | a)", True, []),
    ("ar1(0 + C(t) | a)", "hetar1(0 + C(t) | a)", True, []),
    ("ar1(0 + C(t) | a)", "homtoep(0 + C(t) | a)", True, []),
    ("homtoep(0 + C(t) | a)", "toep(0 + C(t) | a)", True, []),
    ("toep(0 + C(t) | a)", "us(0 + C(t) | a)", True, []),
    ("toep(0 + C(t) | a)", "hetar1(0 + C(t) | a)", False, []),
    ("exp(0 + C(t) | a)", "us(0 + C(t) | a)", True, []),
    ("exp(0 + C(t) | a)", "hetexp(0 + C(t) | a)", True, []),
    ("homcs(0 + C(t) | a)", "hetar1(0 + C(t) | a)", False, []),
    ("kron(homcs(f), ar1(C(t)) | b)", "kron(us(f), homtoep(C(t)) | b)", True, []),
    ("kron(us(f), ar1(C(t)) | b)", "us(0 + f:C(t) | b)", True, []),
    ("us(0 + f:C(t) | b)", "kron(us(f), ar1(C(t)) | b)", False, []),
    ("us(0 + f | b)", "kron(us(f), homcs(C(t)) | b)", True, ["b"]),
    ("rr(0 + C(t) | a, d=1)", "rr(0 + C(t) | a)", True, ["a"]),
    ("rr(0 + C(t) | a)", "rr(0 + C(t) | a, d=1)", False, []),
    ("rr(0 + C(t) | a)", "us(0 + C(t) | a)", True, ["a"]),
    ("us(0 + C(t) | a)", "rr(0 + C(t) | a)", False, []),
    ("(x | b)", "(x | gr(b, by=h))", True, []),
    ("(x || b)", "(x | gr(b, by=h))", True, []),
    ("(1 | b)", "(x | gr(b, by=h))", True, ["b"]),
    ("(x | gr(b, by=h))", "(x | b)", False, []),
    ("(1 | a)", "(0 + x | a) + (1 | b)", False, ["b"]),
    ("(1 | b)", "(x | a)", False, ["a"]),
]


@pytest.mark.parametrize(("small", "large", "is_nested", "on_boundary"), NESTED)
def test_nesting_of_random_effects_is_seen(small, large, is_nested, on_boundary):
    designs = [bmm.Model(f"y ~ x + {term}", grid()).design for term in (small, large)]
    nesting = examine(*designs)
    assert nesting.fixed
    assert nesting.random is is_nested
    if is_nested:
        assert list(nesting.on_boundary) == on_boundary


def test_known_sigma_is_a_special_case_of_an_estimated_one():
    data = bmm.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    known, free = bmm.Model(formula, data, sigma=25.0).fit("ml"), bmm.Model(formula, data).fit("ml")
    models = bmm.anova(free, known)
    assert models.table.loc["model 1", "df"] == 1
    assert not models.remarks
    other = bmm.Model("Reaction ~ Days + (Days || Subject)", data, sigma=30.0).fit("ml")
    assert "was not seen to be a special case" in bmm.anova(known, other).remarks[0]


def test_a_test_of_two_models_that_are_not_seen_to_be_nested_says_what_it_supposes():
    fits = [bmm.Model(f"y ~ x + {term}", grid()).fit("ml") for term in ("(1 | b)", "(x | a)")]
    models = bmm.anova(*fits)
    assert "model 1 was not seen to be a special case of model 2" in models.remarks[0]
    assert models.table.loc["model 2", "df"] == 2


def test_comparison_of_fits_does_without_jax():
    import subprocess
    import sys

    code = (
        "import sys, bayesmm as bmm; d = bmm.datasets.load('dyestuff'); "
        "f = [bmm.Model(m, d).fit('ml') for m in ('Yield ~ 1 + (1 | Batch)', 'Yield ~ 1 + (1 | Batch)')]; "
        "bmm.anova(*f); f[0].criteria(); f[0].explained(); f[0].robust(); "
        "print(sorted({'jax', 'arviz', 'arviz_base', 'xarray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
