"""Tables for papers: their numbers are lme4's, every form renders, and no name can break one."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmError

REFERENCE = Path(__file__).parents[1] / "reference"
SLOPES, INTERCEPTS = "Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject)"
HOSTILE = "a&b<i>\\x{}$%#_^~ '\"`|--*[]\x1b\u202e²²₀σ</table>"


@pytest.fixture(scope="module")
def sleep():
    return bmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def results(sleep):
    model = bmm.Model(SLOPES, sleep)
    return bmm.Model(INTERCEPTS, sleep).fit(), model.fit(), make_posterior(model)


@pytest.fixture(scope="module")
def table(results):
    return bmm.publication_table(*results, names=["one", "two", "both"])


@pytest.mark.parametrize(("name", "formula"), [("one", INTERCEPTS), ("two", SLOPES)])
def test_numbers_are_those_of_lme4(name, formula, table):
    models = json.loads((REFERENCE / "sleepstudy.json").read_text(encoding="utf-8"))["models"]
    expected = next(each for each in models if each["formula"] == formula and each["reml"] and not each["weights"])
    own = table.frame[name]
    random = expected["random"][0]
    np.testing.assert_allclose(own.loc["Fixed effects", "estimate"], expected["fixef"]["estimate"], rtol=1e-6)
    np.testing.assert_allclose(own.loc["Fixed effects", "std_error"], expected["fixef"]["se"], rtol=1e-5)
    below = own.loc["Random effects", "estimate"]
    assert below["σ²"] == pytest.approx(expected["sigma"] ** 2, rel=1e-5)
    assert below["τ₀₀ Subject"] == pytest.approx(random["variance"][0], rel=1e-4)
    whole = own.loc["Model", "estimate"]
    assert whole["N Subject"] == random["n_levels"]
    assert whole["Observations"] == expected["n_obs"]
    if formula == SLOPES:
        assert below["τ₁₁ Subject.Days"] == pytest.approx(random["variance"][1], rel=1e-4)
        assert below["ρ₀₁ Subject.Days"] == pytest.approx(random["corr"][0][1], abs=1e-4)
        # Johnson (2014): the mean over rows of z'Σz is what the random effects add to the variance of a row
        variances, rho = random["variance"], random["corr"][0][1]
        between = variances[0] + 28.5 * variances[1] + 9.0 * rho * np.sqrt(variances[0] * variances[1])  # Days 0 to 9
        noise, slope = expected["sigma"] ** 2, expected["fixef"]["estimate"][1]
        total = slope**2 * np.var(np.arange(10.0)) * 180 / 179 + between + noise
        assert below["ICC"] == pytest.approx(between / (between + noise), rel=1e-4)
        assert whole["Marginal R²"] == pytest.approx(1.0 - (between + noise) / total, rel=1e-4)
        assert whole["Conditional R²"] == pytest.approx(1.0 - noise / total, rel=1e-4)
    else:
        slope, total = expected["fixef"]["estimate"][1], random["variance"][0] + expected["sigma"] ** 2
        fixed = slope**2 * np.var(np.arange(10.0)) * 180 / 179
        assert below["ICC"] == pytest.approx(random["variance"][0] / total, rel=1e-5)
        assert whole["Marginal R²"] == pytest.approx(fixed / (fixed + total), rel=1e-5)
        assert whole["Conditional R²"] == pytest.approx((fixed + random["variance"][0]) / (fixed + total), rel=1e-5)


def test_a_posterior_has_means_of_its_draws(results, table):
    posterior = results[2]
    own = table.frame["both"]
    below = own.loc["Random effects", "estimate"]
    assert below["σ²"] == pytest.approx((posterior.draws("sigma") ** 2).mean(), rel=1e-12)
    assert below["τ₁₁ Subject.Days"] == pytest.approx((posterior.draws("sd_Subject")[..., 1] ** 2).mean(), rel=1e-12)
    assert below["ρ₀₁ Subject.Days"] == pytest.approx(posterior.draws("cor_Subject").mean(), rel=1e-12)
    assert own.loc[("Fixed effects", "Days"), "estimate"] == pytest.approx(posterior.beta[..., 1].mean(), rel=1e-12)
    ends = np.quantile(posterior.beta[..., 1], [0.025, 0.975])
    np.testing.assert_allclose(own.loc[("Fixed effects", "Days"), ["lower", "upper"]].astype(float), ends)
    assert own[["df", "statistic", "p_value"]].isna().all(axis=None)
    middle = bmm.publication_table(posterior, centre="median").frame["Reaction"]["estimate"]
    assert middle["Fixed effects", "Days"] == pytest.approx(np.median(posterior.beta[..., 1]))
    assert middle["Random effects", "σ²"] == pytest.approx(np.median(posterior.draws("sigma") ** 2))
    r2 = np.median(posterior.r2(kind="variances")["marginal"])
    assert middle["Model", "Marginal R²"] == pytest.approx(r2, rel=1e-6)


def test_intervals_and_tests_are_those_of_the_fit(results):
    fit = results[1]
    for df in ("kenward-roger", "normal"):
        shown = bmm.publication_table(
            fit, df=df, level=0.9, show=["df", "statistic", "interval", "std_error", "p_value"]
        )
        expected = fit.coefficients(df=df, level=0.9)
        own = shown.frame["Reaction"].loc["Fixed effects"]
        np.testing.assert_array_equal(own.to_numpy(), expected.to_numpy())
        assert "90 % interval" in str(shown)
        assert ("z" in str(shown).split()) == (df == "normal")
        assert shown.methods.loc["Reaction", "df"] == {"kenward-roger": "Kenward-Roger", "normal": "none (normal)"}[df]


def test_the_order_of_models_and_units_change_what_they_must(sleep, results):
    forth, back = (bmm.publication_table(*each) for each in (results[:2], results[1::-1]))
    for one, other in (("model 1", "model 2"), ("model 2", "model 1")):
        pd.testing.assert_frame_equal(forth.frame[one], back.frame[other].reindex(forth.frame.index))
    scaled = bmm.Model(SLOPES, sleep.assign(Reaction=sleep["Reaction"] * 8.0)).fit()
    one, other = (bmm.publication_table(each).frame["Reaction"]["estimate"] for each in (results[1], scaled))
    ratio = other / one
    np.testing.assert_allclose(ratio["Fixed effects"], 8.0, rtol=1e-6)
    np.testing.assert_allclose(ratio["Random effects"], [64.0, 64.0, 64.0, 1.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(ratio["Model"], 1.0, rtol=1e-6)


def test_rows_of_all_models_stand_in_one_order():
    data = bmm.datasets.load("penicillin")
    formulas = ["diameter ~ 1 + (1 | sample)", "diameter ~ 1 + (1 | plate) + (1 | sample)"]
    shown = bmm.publication_table(*(bmm.Model(formula, data).fit() for formula in formulas))
    rows = [row for _, row in shown.frame.index]
    assert rows == ["Intercept", "σ²", "τ₀₀ plate", "τ₀₀ sample", "ICC", "N plate", "N sample", "Observations",
                    "Marginal R²", "Conditional R²"]  # fmt: skip
    assert np.isnan(shown.frame.loc[("Random effects", "τ₀₀ plate"), ("model 1", "estimate")])


def test_no_variance_is_lost_where_names_run_together():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(0, 8, 120) for name in ("a", "a.b")})
    frame = frame.assign(**{name: rng.normal(size=120) for name in ("b.c", "c")})
    frame["y"] = rng.normal(size=120) + rng.normal(size=8)[frame["a"]] * frame["b.c"]
    frame["y"] += rng.normal(size=8)[frame["a.b"]] * frame["c"]
    fit = bmm.Model("y ~ 1 + (0 + `b.c` | a) + (0 + c | `a.b`)", frame.astype({"a": str, "a.b": str})).fit()
    below = bmm.publication_table(fit).frame["y"].loc["Random effects", "estimate"].drop("ICC")
    sds = fit.parameters["estimate"][["sigma", "sd(b.c | a)", "sd(c | a.b)"]]
    np.testing.assert_allclose(below, sds**2)


def test_labels_names_and_title_are_the_users(results):
    shown = bmm.publication_table(results[1], names=["A"], labels={"Days": "days awake"}, title="Table 1")
    for text in (str(shown), shown.html(), shown.latex(), shown._repr_html_()):
        assert "days awake" in text
        assert ">Days<" not in text
    assert "Table 1" in shown.html()
    assert shown.frame["A"].index.get_level_values("row")[1] == "Days"


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
def test_what_is_to_be_known_is_said(sleep):
    data = sleep.assign(again=2.0 * sleep["Days"])
    text = str(bmm.publication_table(bmm.Model("Reaction ~ Days + again + (1 | Subject)", data, sigma=31.0).fit()))
    assert re.search(r"again +aliased", text)
    assert "σ was given, not estimated" in text
    singular = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    assert "singular, on the boundary" in str(bmm.publication_table(singular))
    bad = make_posterior(bmm.Model(SLOPES, sleep), divergences=9)
    assert "something speaks against its draws" in str(bmm.publication_table(bad))
    none = bmm.publication_table(bmm.Model("Reaction ~ 0 + (Days | Subject)", sleep).fit())
    assert "Fixed effects" not in none.frame.index.get_level_values("part")
    assert none.html()
    assert none.latex()
    assert str(none)


def hostile():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=40), "x": rng.normal(size=40), "g": np.repeat(np.arange(8), 5)})
    data["f"] = np.resize(np.array([HOSTILE, "b"], dtype=object), 40)
    fit = bmm.Model("y ~ x + f + (1 | g)", data).fit("ml")
    return bmm.publication_table(fit, names=[HOSTILE], title=HOSTILE)


def test_names_cannot_break_html():
    page = hostile().html()
    for found in (page, hostile()._repr_html_()):
        assert "<i>" not in found
        assert found.count("</table>") == found.count("<table")
        assert "\x1b" not in found
        assert "\u202e" not in found
        assert "&lt;/table&gt;" in found


def test_names_cannot_break_latex():
    """Every special sign stands after a backslash or within a command of ours, and all braces are closed."""
    source = hostile().latex()
    rest = source
    for command in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
                    "textquotedbl", "textquotesingle", "textasciigrave"):  # fmt: skip
        rest = rest.replace(f"\\{command}{{}}", "")
    assert "\\x" not in rest  # the name's own command
    assert not re.search(r"(?<!\\)[%#~]", rest)
    body = [line for line in rest.splitlines() if line.endswith(r"\\")]
    width = source.splitlines()[0].count("r") - 1  # columns of numbers; "tabular" has an r
    for line in body:
        spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        cells = len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)
        assert cells == width + 1, line
    plain = re.sub(r"\\[{}]", "", rest)
    depth = 0
    for sign in plain:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", rest)) % 2 == 0


@pytest.mark.skipif(
    not any(map(shutil.which, ("lualatex", "xelatex", "pdflatex", "tectonic"))),
    reason="no LaTeX here: none is compiled",
)
def test_latex_compiles(table, tmp_path):
    engine = next(each for each in ("lualatex", "xelatex", "pdflatex", "tectonic") if shutil.which(each))
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,textcomp}\\begin{document}\n"
    for i, each in enumerate((table, hostile())):
        path = tmp_path / f"table{i}.tex"
        path.write_text(f"{head}{each.latex()}\\end{{document}}\n", encoding="utf-8")
        options = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
        done = subprocess.run([engine, *options, path.name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]


def test_great_tables_take_the_same_cells(table):
    pytest.importorskip("great_tables")
    for each in (table, hostile()):
        page = each.great_table().as_raw_html()
        assert "<i>" not in page
        assert page.count("</table>") == 1
        assert each.great_table().as_latex().count(r"\begin{tabular") == 1
    page = table.great_table().as_raw_html()
    for text in ("251.41", "237.01, 265.80", "τ₁₁ Subject.Days", "&lt; 0.001", "two", "both", "Random effects"):
        assert text in page


def test_without_great_tables_it_is_said_what_to_install(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "great_tables", None)
    with pytest.raises(BayesmmError, match=r'Run: pip install "bayesmm\[tables\]"'):
        table.great_table()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here: the page is not opened in a browser")
def test_a_browser_opens_the_page_without_errors(table, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as opened:
        browser = opened.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for i, each in enumerate((table, hostile())):
            path = tmp_path / f"page{i}.html"
            path.write_text(each.html(), encoding="utf-8")
            page, said = browser.new_page(), []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.goto(path.as_uri())
            assert said == []
            assert page.locator("table").count() == 1
            assert (
                page.locator("tbody tr").count() == len(each.frame) + len(set(each.frame.index.get_level_values(0))) + 2
            )
            assert page.locator("i").count() == 0
        browser.close()


def test_long_tables_are_whole():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=320), "f": np.resize([f"l{i:02}" for i in range(80)], 320)})
    data["g"] = rng.permutation(np.resize(list("abcdefgh"), 320))
    shown = bmm.publication_table(bmm.Model("y ~ f + (1 | g)", data).fit())
    for text in (shown.html(), shown.latex(), shown._repr_html_()):
        assert all(f"l{i:02}" in text for i in range(1, 80))


def test_maketables_takes_both_kinds_of_results(results):
    maketables = pytest.importorskip("maketables")
    made = maketables.ETable([results[0], results[2]]).df
    texts = made.astype(str).to_numpy().ravel().tolist()
    assert any(text.startswith("10.467***") for text in texts)
    assert made.loc[("stats", "N Subject")].tolist() == ["18", "18"]
    assert made.loc[("stats", "Observations")].tolist() == ["180", "180"]
    coefficients = results[1].__maketables_coef_table__
    expected = results[1].fixed_effects
    np.testing.assert_array_equal(
        coefficients.to_numpy(),
        expected[["estimate", "std_error", "statistic", "p_value", "lower", "upper"]].to_numpy(),
    )
    assert results[1].__maketables_stat__("N") == 180
    assert results[1].__maketables_stat__("ll") == results[1].loglik
    assert results[1].__maketables_stat__("r2_within") is None


def test_a_table_of_fits_loads_no_jax():
    code = (
        "import sys, bayesmm as bmm\n"
        "fit = bmm.Model('Yield ~ 1 + (1 | Batch)', bmm.datasets.load('dyestuff')).fit()\n"
        "table = bmm.publication_table(fit)\n"
        "str(table), table.html(), table.latex()\n"
        "print([name for name in ('jax', 'arviz', 'matplotlib', 'great_tables', 'maketables') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_wrong_arguments_are_refused(results):
    fit = results[1]
    with pytest.raises(ArgumentError, match="was given no result"):
        bmm.publication_table()
    with pytest.raises(ArgumentError, match="give a fit or a posterior"):
        bmm.publication_table(fit, "no")
    with pytest.raises(ArgumentError, match="give a list of 2 different"):
        bmm.publication_table(fit, fit, names=["a", "a"])
    with pytest.raises(ArgumentError, match="show is 'stars'"):
        bmm.publication_table(fit, show="stars")
