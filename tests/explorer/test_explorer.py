"""The explorer in a browser: its numbers are the fit's, and a dense textbook formula's wherever its sliders stand."""

from __future__ import annotations

import builtins
import json
import re

import numpy as np
import pandas as pd
import pytest
from dense_fits import SLEEP
from explorer.browser import ASK, open_browser, opened, slide
from made_posterior import make_posterior
from oracle import DenseModel, block_diagonal, level_covariance, random_columns

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmError, ComparisonError, StorageError
from bayesmm.explorer.data import write_data
from bayesmm.explorer.pages import read_module, write_fragment, write_policy

EXACT = 1e-8  # of the largest number of its kind
HOSTILE = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "\"'`${alert(1)}", "</title>&amp;<b>"]

# Formula, data set, options: one effect and two, a covariate, weights, a known sigma, a structure, a boundary.
MODELS = {
    "slopes": (SLEEP, "sleepstudy", {}),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", "sleepstudy", {"method": "ml"}),
    "covariate": ("distance ~ age * Sex + (1 + age | Subject)", "orthodont", {}),
    "one": ("Yield ~ 1 + (1 | Batch)", "dyestuff", {}),
    "boundary": ("Yield ~ 1 + (1 | Batch)", "dyestuff2", {}),
    "known": ("y ~ 1 + (1 | school)", "eight_schools", {"weights": "1 / sigma**2", "sigma": 1.0}),
    "three": ("score ~ Machine + (0 + Machine | Worker)", "machines", {}),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "pastes", {"group": "batch"}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {"group": "sample"}),
    "crossed the other way": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {"group": "plate"}),
    "inner": ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines", {"group": "Worker:Machine"}),
    "slopes beside": ("distance ~ age + (age | Subject) + (1 | Sex)", "orthodont", {"group": "Subject"}),
    "no coefficients": ("Yield ~ 0 + (1 | Batch)", "dyestuff", {}),
    "serial": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"residual": "ar1(Days | Subject)"}),
    "strata": (
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        "penicillin",
        {"residual": "het(sample)", "group": "plate"},
    ),
}


def fitted(name):
    formula, data, options = MODELS[name]
    method = options.get("method", "reml")
    rest = {key: value for key, value in options.items() if key not in ("method", "group")}
    return bmm.Model(formula, bmm.datasets.load(data), **rest).fit(method=method)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as playwright:
        from explorer.browser import CHROMIUM

        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def ask(browser):
    """A function that lets the module compute, at some positions of the sliders."""
    context = browser.new_context()
    page = context.new_page()

    def compute(data, moves):
        page.evaluate("(data) => { window.data = data; }", json.loads(json.dumps(data)))
        return page.evaluate(ASK, [read_module(), moves])

    yield compute
    context.close()


def estimate_of(data):
    return {
        "ratios": data["ratios"],
        "correlations": data["correlations"],
        "choice": {},
        "sigma": data["knownSigma"],
    }


def close(found, expected):
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    return np.allclose(
        found, expected, rtol=EXACT, atol=EXACT * np.nanmax(np.abs(expected), initial=0.0), equal_nan=True
    )


@pytest.mark.parametrize("name", MODELS)
def test_numbers_at_the_estimate_are_the_fits(name, ask):
    fit, group = fitted(name), MODELS[name][2].get("group")
    data = write_data(fit, group=group)
    (found,) = ask(data, [estimate_of(data)])
    group = data["group"]
    assert close(found["sigma"], fit.sigma)
    assert close(found["loglik"], fit.loglik)
    assert close(found["fixed"], fit.estimate.beta)
    given, fixed = fit.random_effects(), fit.random_effects(uncertainty="fixed")
    given, fixed = (table[table["group"] == group] for table in (given, fixed))
    assert close(found["effect"], given["estimate"])
    assert close(found["sd"], given["std_error"])
    assert close(found["sdFixed"], fixed["std_error"])
    shrunk = bmm.shrinkage(fit, of="coefficients").table
    shrunk = shrunk[shrunk["group"] == group]
    if not data["held"]:  # otherwise the others' effects are not taken as they are, as they are there
        assert close(found["own"], shrunk["unpooled"])
        assert close(found["weight"], shrunk["weight"])
    assert close(found["coefficient"], shrunk["estimate"])
    if set(data["effects"]) <= set(fit.labels.coefficients):
        coef = fit.coef()
        coef = coef[coef["group"] == group]
        assert close(found["coefficient"], coef["estimate"])
        assert close(found["sdCoefficient"], coef["std_error"])


def dense(fit, ratios, correlations, rows_count, sigma, group=None):
    """The textbook at a position of the sliders: fixed effects, BLUPs, sds of each layer, sigma, log-likelihood.

    With other grouping factors, their covariance over the variance of the noise is the fit's.
    """
    design = fit.design
    kept, weights = rows_count > 0, design.weights * rows_count
    Z, G, here, start = [], [], slice(0), 0
    for block, L in zip(design.blocks, fit.factors, strict=True):
        own = block.incidence.only
        Z.append(random_columns(own.codes, own.columns, block.q)[kept])
        relative = L @ L.T
        if group in (None, block.group):
            relative = np.outer(ratios, ratios) * np.reshape(correlations, (block.k, block.k))
            here = slice(start, start + block.q * block.k)
        G.append(level_covariance(relative, block.q))
        start += block.q * block.k
    X, y, G = design.X[kept][:, design.kept], (design.y - design.offset)[kept], block_diagonal(G)
    model = DenseModel(y=y, X=X, Z=np.hstack(Z), weights=weights[kept])
    p, df = design.p, rows_count.sum() - (design.p if fit.method == "reml" else 0)
    if sigma is None:
        residual = y - X @ model.fixed_effects(G, 1.0)
        sigma = float(np.sqrt(residual @ np.linalg.solve(model.covariance(G, 1.0), residual) / df))
    mean, covariance = model.joint_moments(sigma**2 * G, sigma)
    at = np.r_[np.arange(p), p + np.arange(start)[here]]
    return {
        "sigma": sigma,
        "fixed": mean[:p],
        "effect": mean[at[p:]],
        "sd": np.sqrt(np.diag(model.random_effects_covariance(sigma**2 * G, sigma))[here]),
        "sdFixed": np.sqrt(np.diag(covariance)[at[p:]]),
        "joint": covariance[np.ix_(at, at)],
        "loglik": model.log_likelihood(sigma**2 * G, sigma, fit.method),
    }


def sds_of_coefficients(joint, p, shifts, q):
    """Of fixed plus random effect, by their joint covariance; NaN where there is no fixed one."""
    k = len(shifts)
    found = np.full(q * k, np.nan)
    for at in range(q * k):
        if shifts[at % k] >= 0:
            pick = np.zeros(len(joint))
            pick[[shifts[at % k], p + at]] = 1.0
            found[at] = np.sqrt(pick @ joint @ pick)
    return found


@pytest.mark.parametrize("name", ["uncorrelated", "covariate", "boundary", "known", "three", "crossed", "nested"])
def test_numbers_elsewhere_are_those_of_a_dense_formula(name, ask):
    fit, group = fitted(name), MODELS[name][2].get("group")
    data = write_data(fit, group=group)
    k, p, q = data["k"], data["p"], data["q"]
    rng = np.random.default_rng(3)
    block = fit.design.blocks[[each.group for each in fit.design.blocks].index(data["group"])]
    moves, expected = [], []
    ways = [(1.0, 1.0, None), (1.0, 1.0, 0.6 * fit.sigma)]
    ways += [] if data["held"] else [(3.0, 1.0, None), (0.5, 0.4, None), (2.0, 0.0, 1.7 * fit.sigma)]
    for times, fade, held in ways:
        ratios = (np.array(data["reach"]) * rng.uniform(0.05, 0.9, k)).tolist()
        r = float(rng.uniform(-0.9, 0.9))
        correlations = [1, r, r, 1] if k == 2 else data["correlations"]
        held = data["knownSigma"] or held
        choice = {"times": times, "picked": 1, "fade": fade}
        moves.append({"ratios": ratios, "correlations": correlations, "choice": choice, "sigma": held})
        counts = times * np.where(block.incidence.only.codes == 1, fade, 1.0)
        expected.append(dense(fit, ratios, correlations, counts, held, group))
    for move, found, right in zip(moves, ask(data, moves), expected, strict=True):
        for each in ("sigma", "fixed", "effect", "sd", "sdFixed"):
            assert close(found[each], right[each]), each
        sds = sds_of_coefficients(right["joint"], p, data["shifts"], q)
        assert close(np.where(np.isnan(sds), np.nan, found["sdCoefficient"]), sds)
        if move["choice"]["fade"] == 1.0 and move["choice"]["times"] == 1.0:
            assert close(found["loglik"], right["loglik"])
        if move["choice"]["fade"] == 0.0:  # a level without rows is the population's
            here = slice(k, 2 * k)
            assert close(np.asarray(found["effect"][here]) + 1.0, np.ones(k))
            assert close(found["sd"][here], np.array(move["ratios"]) * found["sigma"])
            assert close(found["weight"][here] + np.ones(k), np.ones(k))


def test_numbers_elsewhere_beside_correlated_residuals_are_those_of_a_dense_formula(ask):
    fit = fitted("serial")
    data = write_data(fit)
    days, subjects = (bmm.datasets.load("sleepstudy")[name].to_numpy() for name in ("Days", "Subject"))
    rho, Z = fit.parameters.loc["rho(Days | Subject)", "estimate"], subjects[:, None] == np.unique(subjects)
    R = np.where(subjects[:, None] == subjects, rho ** np.abs(days[:, None] - days), 0.0)
    root = np.linalg.inv(np.linalg.cholesky(R))
    X, y = root @ fit.design.X, root @ fit.design.y
    model = DenseModel(y=y, X=X, Z=root @ Z, weights=np.ones(len(y)))
    for ratio, sigma in ((0.3, 30.0), (2.0, 50.0), (0.0, 40.0)):
        G = (ratio * sigma) ** 2 * np.eye(18)
        move = {"ratios": [ratio], "correlations": [1.0], "choice": {}, "sigma": sigma}
        (found,) = ask(data, [move])
        mean, covariance = model.joint_moments(G, sigma)
        assert close(found["fixed"], mean[:2])
        assert close(found["effect"], mean[2:])
        assert close(found["sdFixed"], np.sqrt(np.diag(covariance)[2:]))
        loglik = model.log_likelihood(G, sigma, "reml") - 0.5 * np.linalg.slogdet(R)[1]
        assert close(found["loglik"], loglik)
    assert any("covariance of the residuals, ar1(Days | Subject), stays" in each for each in data["remarks"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Explorers of some fits as files, with a posterior where asked for."""
    folder = tmp_path_factory.mktemp("pages")

    def write(name, *, posterior=False):
        path = folder / f"{name}{'-posterior' * posterior}.html"
        if not path.exists():
            fit = fitted(name)
            drawn = (
                make_posterior(bmm.Model(*MODELS[name][:1], bmm.datasets.load(MODELS[name][1]))) if posterior else None
            )
            assert fit.explore(path, posterior=drawn, group=MODELS[name][2].get("group")) == path
        return path

    return write


def open_table(page):
    page.locator("details summary", has_text="table").click()
    page.wait_for_selector(".bmm-explorer table tbody tr")


def table_of(page):
    """Every number of the page's table, with all its digits, by level."""
    rows = page.locator(".bmm-explorer table tbody tr").evaluate_all(
        "rows => rows.map(row => [row.querySelector('th').textContent, ...[...row.querySelectorAll('data')].map(d => d.value)])"
    )
    names = ["alone", "partial", "sd", "lower", "upper", "weight"]
    return pd.DataFrame([row[1:] for row in rows], index=[row[0] for row in rows], columns=names).astype(float)


@pytest.mark.parametrize("name", ["slopes", "three", "known"])
def test_page_begins_at_the_estimate_and_says_its_numbers(name, browser, pages):
    fit = fitted(name)
    with opened(browser, pages(name)) as page:
        open_table(page)
        table = table_of(page)
        effect = fit.labels.blocks[0].effects[0]
        shrunk = bmm.shrinkage(fit, of="coefficients").table.query("effect == @effect").set_index("level")
        assert close(table["partial"], shrunk.loc[table.index, "estimate"])
        assert close(table["alone"], shrunk.loc[table.index, "unpooled"])
        assert table["alone"].is_monotonic_decreasing
        assert page.locator(".bmm-partial").count() == fit.design.blocks[0].q
        if effect in fit.labels.coefficients:
            coef = fit.coef().query("effect == @effect").set_index("level").loc[table.index]
            assert close(table[["lower", "upper"]], coef[["lower", "upper"]])
            page.select_option("select[id$=layer]", "given")
            given = fit.coef(uncertainty="conditional").query("effect == @effect").set_index("level").loc[table.index]
            assert close(table_of(page)[["sd", "lower", "upper"]], given[["std_error", "lower", "upper"]])


def test_sliders_move_points_where_the_textbook_says(browser, pages):
    fit = fitted("one")
    with opened(browser, pages("one")) as page:
        open_table(page)
        reach = write_data(fit)["reach"][0]
        before = page.locator(".bmm-partial").evaluate_all("all => all.map(m => Number(m.getAttribute('x')))")
        for position in (0, 130, 1000):
            slide(page, "ratio-0", position)
            ratio = reach * position / 1000
            rows = np.ones(fit.n)
            right = dense(fit, np.array([ratio]), [1.0], rows, None)
            table = table_of(page)
            expected = pd.Series(right["fixed"][0] + right["effect"], index=fit.labels.blocks[0].levels)
            assert close(table["partial"], expected[table.index])
            if position == 0:
                assert table["partial"].nunique() == 1
                line = float(page.locator(".bmm-all").get_attribute("x1"))
                middles = page.locator(".bmm-partial").evaluate_all(
                    "all => all.map(m => Number(m.getAttribute('x')) + m.getAttribute('width') / 2)"
                )
                assert np.allclose(middles, line, atol=1e-6)
        after = page.locator(".bmm-partial").evaluate_all("all => all.map(m => Number(m.getAttribute('x')))")
        assert np.ptp(after) > np.ptp(before)
        page.get_by_text("back to the estimate").click()
        again = page.locator(".bmm-partial").evaluate_all("all => all.map(m => Number(m.getAttribute('x')))")
        assert again == before


def test_held_noise_keeps_the_sds_and_lowers_the_ratio(browser, pages):
    with opened(browser, pages("slopes")) as page:
        number = "outputs => outputs.map(each => Number(each.querySelector('data').value))"
        names = ["ratio-0", "ratio-1", "sigma"]

        def read():
            found = [page.locator(f"output[for$={name}]").evaluate_all(number)[0] for name in names]
            return np.array(found)

        before = read()
        assert not page.get_by_label("hold σ").is_checked()
        slide(page, "sigma", 800)
        after = read()
        assert page.get_by_label("hold σ").is_checked()
        assert after[2] > 2 * before[2]
        assert close(after[:2] * after[2], before[:2] * before[2])
        page.get_by_label("hold σ").uncheck()
        assert read()[2] < after[2]


def test_fading_a_level_brings_it_to_the_population(browser, pages):
    with opened(browser, pages("one")) as page:
        open_table(page)
        fade = page.get_by_label("its rows count")
        assert fade.is_disabled()
        page.locator("[data-level]").first.click()  # the largest, by hand
        level = table_of(page).index[0]
        picked = page.locator("select[id$=level] option:checked").text_content()
        assert picked.startswith(level)
        distances = []
        for position in (1000, 500, 100, 0):
            slide(page, "fade", position)
            row = table_of(page).loc[level]
            centre = float(page.locator("caption").text_content().split()[-1])
            distances.append(abs(row["partial"] - centre))
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] < 0.1 < distances[0]
        assert table_of(page).loc[level, "weight"] == 0.0
        page.wait_for_timeout(400)
        assert f"of {level}:" in page.locator("output[aria-live=polite]").text_content()


def test_everything_is_reached_and_moved_by_keyboard(browser, pages):
    with opened(browser, pages("slopes")) as page:
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            name = page.evaluate(
                "document.activeElement.name || document.activeElement.id || document.activeElement.tagName"
            )
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            if name == "BODY":
                break
            assert outline != "none", name
            kept = page.evaluate("document.activeElement.getAttribute('data-lm-suppress-shortcuts')")
            assert kept == "true", f"JupyterLab would take the arrows of {name}"
            reached.append(name)
            if name == "ratio-0":
                before = page.locator("output[for$=ratio-0] data").get_attribute("value")
                for _ in range(5):
                    page.keyboard.press("ArrowRight")
                after = page.locator("output[for$=ratio-0] data").get_attribute("value")
                assert float(after) > float(before)
                page.keyboard.press("Home")
                assert page.locator("output[for$=ratio-0] data").get_attribute("value") == "0"
        assert {"ratio-0", "ratio-1", "correlation", "sigma", "times"} <= set(reached)
        for control in page.locator(".bmm-explorer input, .bmm-explorer select").all():
            assert control.evaluate("c => c.labels.length") == 1
        for slider in page.locator("input[type=range]").all():
            assert slider.get_attribute("aria-valuetext")
        assert page.locator("svg[role=img]").get_attribute("aria-label")


def test_posterior_and_estimate_are_marked_on_the_axes(browser, pages):
    fit = fitted("slopes")
    with opened(browser, pages("slopes", posterior=True)) as page:
        marks = page.locator(".bmm-slider .bmm-mark-partial").evaluate_all(
            "all => all.map(m => Number(m.dataset.value))"
        )
        data = write_data(fit)
        assert close(marks, [*data["ratios"], data["correlations"][1], fit.sigma])
        assert page.locator(".bmm-density").count() == 4
        assert page.locator(".bmm-curve").count() == 3
        assert page.locator(".bmm-posterior").count() == 18
    with opened(browser, pages("slopes")) as page:
        assert page.locator(".bmm-density").count() == 0


def test_likelihood_along_a_slider_is_highest_at_the_estimate(ask):
    fit = fitted("slopes")
    data = write_data(fit)
    (best,) = ask(data, [estimate_of(data)])
    moves = []
    for factor in (0.9, 1.1):
        for e in (0, 1):
            ratios = list(data["ratios"])
            ratios[e] *= factor
            moves.append({**estimate_of(data), "ratios": ratios})
    assert all(found["loglik"] < best["loglik"] for found in ask(data, moves))


def test_simulated_data_have_their_truth_marked_and_their_reml_estimate_is_a_maximum(browser, pages):
    with opened(browser, pages("slopes")) as page:
        open_table(page)
        page.get_by_label("simulated data").check()
        assert page.locator(".bmm-mark-truth").count() == 4
        first = table_of(page)
        curve = page.locator(".bmm-slider .bmm-curve").first.get_attribute("d")
        points = np.array([[float(v) for v in each.split()] for each in re.split("[ML]", curve)[1:]])
        mark = float(page.locator(".bmm-slider .bmm-mark-partial").first.get_attribute("x1"))
        assert abs(points[points[:, 1].argmin(), 0] - mark) < 3.0  # pixels of some 300: the top of the curve
        page.get_by_text("draw anew").click()
        assert not table_of(page).equals(first)
        slide(page, "groups", 97)
        assert page.locator(".bmm-partial").count() == 100
        slide(page, "rows", 58)
        partial, alone = (table_of(page)[name] for name in ("partial", "alone"))
        assert np.median(np.abs(partial - alone)) < 0.1  # with many rows little is pooled
        page.get_by_label("your data").check()
        assert page.locator(".bmm-partial").count() == 18


SIMULATED = """
async (text) => {
  const module = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const options = { k: 2, groups: 3000, rows: 5, unequal: false, sds: [1.5, 0.7], correlation: 0.4, sigma: 0.8, seed: 11 };
  const sums = module.simulate(options);
  const found = module.maximise(sums, [[1, 0, 1]]);
  const sigma = module.evaluate(sums, module.factorOf(found.ratios, [1, found.correlation, found.correlation, 1]), {}).sigma;
  const fewer = module.simulate({ ...options, groups: 10 });
  return { ...found, sigma, few: Array.from(fewer.cross), many: Array.from(sums.cross.subarray(0, fewer.cross.length)) };
}
"""


def test_simulated_data_come_from_what_they_say(browser):
    context = browser.new_context()
    found = context.new_page().evaluate(SIMULATED, read_module())
    context.close()
    assert np.allclose(found["ratios"], [1.5 / 0.8, 0.7 / 0.8], rtol=0.05)  # standard errors of 1.5 and 2 %
    assert abs(found["correlation"] - 0.4) < 0.08  # of 0.02
    assert abs(found["sigma"] - 0.8) < 0.03
    assert found["few"] == found["many"]  # a level stays as it is when others are added


def weighted():
    """A fit of few rows, which weigh up to a hundred times as much as others."""
    rng, g = np.random.default_rng(8), np.repeat(np.arange(6), 4)
    data = pd.DataFrame({"g": g, "x": np.tile(np.arange(4.0), 6), "w": rng.uniform(0.1, 10.0, 24)})
    data["y"] = data["x"] + rng.normal(size=6)[g] + rng.normal(size=6)[g] * data["x"] + rng.normal(size=24)
    return bmm.Model("y ~ x + (x | g)", data, weights="w").fit()


@pytest.mark.parametrize("name", ["weights", "known"])
def test_numbers_of_two_hundred_positions_are_those_of_a_dense_formula(name, ask):
    """Corners among them: standard deviations of zero, correlations of ±1, levels without rows."""
    fit = weighted() if name == "weights" else fitted(name)
    data = write_data(fit)
    k, p, q = data["k"], data["p"], data["q"]
    rng, codes = np.random.default_rng(4), fit.design.blocks[0].incidence.only.codes
    moves, expected = [], []
    for _ in range(200):
        ratios = np.array(data["reach"]) * rng.uniform(0.0, 1.0, k) * (rng.random(k) > 0.1)
        r = float(rng.choice([rng.uniform(-1.0, 1.0), 1.0, -1.0, 0.0], p=[0.7, 0.1, 0.1, 0.1]))
        held = data["knownSigma"] or (float(fit.sigma * np.exp(rng.uniform(-1.6, 1.6))) if rng.random() < 0.4 else None)
        times, fade = (
            (float(10 ** rng.uniform(-1.0, 1.0)), rng.choice([rng.random(), 0.0, 1.0]))
            if rng.random() < 0.7
            else (1.0, 1.0)
        )
        choice = {"times": times, "picked": int(rng.integers(q)), "fade": float(fade)}
        correlations = [1, r, r, 1] if k == 2 else data["correlations"]
        moves.append({"ratios": ratios.tolist(), "correlations": correlations, "choice": choice, "sigma": held})
        counts = times * np.where(codes == choice["picked"], fade, 1.0)
        expected.append((dense(fit, ratios, correlations, counts, held), times == fade == 1.0))
    for found, (right, whole) in zip(ask(data, moves), expected, strict=True):
        for each in ("sigma", "fixed", "sd", "sdFixed"):
            assert close(found[each], right[each]), each
        assert np.allclose(found["effect"], right["effect"], rtol=EXACT, atol=EXACT * np.abs(right["fixed"]).max())
        sds = sds_of_coefficients(right["joint"], p, data["shifts"], q)
        assert close(np.where(np.isnan(sds), np.nan, found["sdCoefficient"]), sds)
        if whole:
            assert close(found["loglik"], right["loglik"])


@pytest.mark.parametrize("sd", [1e2, 1e4])
def test_levels_that_differ_by_thousands_of_sigma_lose_no_digits(sd, ask):
    """Of as many rows each the estimate is known in closed form: no difference of large numbers is in it."""
    rng, q, n = np.random.default_rng(1), 5, 200
    data = pd.DataFrame({"g": np.repeat(np.arange(q), n)})
    data["y"] = sd * rng.normal(size=q)[data["g"]] + rng.normal(size=q * n)
    written = write_data(bmm.Model("y ~ 1 + (1 | g)", data).fit())
    ratio = 1.7 * written["ratios"][0]
    (found,) = ask(written, [{"ratios": [ratio], "correlations": [1], "choice": {"times": 2.0}, "sigma": None}])
    means = data.groupby("g")["y"].mean().to_numpy()
    within = 2.0 * ((data["y"] - means[data["g"]]) ** 2).sum()
    v = ratio**2 + 0.5 / n  # of a mean, over the variance of the noise
    sigma = np.sqrt((within + ((means - means.mean()) ** 2).sum() / v) / (2 * q * n - 1))
    given = sigma * ratio * np.sqrt(0.5 / n / v)
    assert np.isclose(found["sigma"], sigma, rtol=1e-10)
    assert np.allclose(found["sd"], given, rtol=1e-10)
    assert np.allclose(found["sdFixed"], np.hypot(given, sigma * ratio**2 / np.sqrt(q * v)), rtol=1e-10)
    assert close(found["effect"], ratio**2 / v * (means - means.mean()))


def hostile_fit(levels):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=12), "g": np.repeat(levels, 3)})
    data["y"] += np.repeat(rng.normal(size=4), 3) * 3
    return bmm.Model("y ~ 1 + (1 | g)", data).fit()


def test_hostile_names_are_words(browser, tmp_path):
    path = hostile_fit(HOSTILE).explore(tmp_path / "hostile.html")
    with opened(browser, path) as page:
        open_table(page)
        assert set(table_of(page).index) == set(HOSTILE)
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        page.locator("[data-level]").first.click()
        page.wait_for_timeout(400)
        assert any(f"of {name}:" in page.locator("output[aria-live=polite]").text_content() for name in HOSTILE)


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (800, "light"), (1200, "dark")])
def test_page_fits_every_width_and_ground(width, scheme, browser, pages):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, pages("slopes", posterior=True), **options) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        text, ground = (sum(map(float, re.findall(r"[\d.]+", colour)[:3])) for colour in colours)
        assert (text > ground) == (scheme == "dark")
        assert page.evaluate("getComputedStyle(document.querySelector('.bmm-picture text')).fill") == colours[0]
        boxes = page.locator(".bmm-picture svg text").evaluate_all(
            "all => all.map(t => t.getBoundingClientRect()).map(r => [r.left, r.right])"
        )
        assert min(box[0] for box in boxes) >= 0
        assert max(box[1] for box in boxes) <= width


LONG = ["a" * 60, "漢字" * 20, "word " * 12, "שלום עולם (רשימה)", "مرحبا بالعالم", "👩‍👩‍👧‍👦" * 20, "x" * 300, "w" * 40]


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """Two explorers of names that are long, or read from the right, on a page that is read from the right."""
    rng = np.random.default_rng(2)
    x = "x" * 60 + " שלום"
    data = pd.DataFrame({"g": np.repeat(LONG, 6), x: np.tile(np.arange(6.0), 8)})
    data["y"] = 1e9 + rng.normal(size=8)[np.arange(48) // 6] + rng.normal(size=48)
    fit = bmm.Model(f"y ~ `{x}` + (`{x}` | g)", data).fit()
    path = tmp_path_factory.mktemp("long") / "long.html"
    parts = "".join(write_fragment(fit, key=key) for key in ("one", "two"))
    policy = f'<meta http-equiv="Content-Security-Policy" content="{write_policy("one", "two")}">'
    head = f'<meta charset=utf-8>{policy}<meta name=viewport content="width=device-width"><link rel=icon href="data:,">'
    path.write_text(
        f"<!DOCTYPE html><html dir=rtl lang=he><head>{head}<title>t</title></head><body>{parts}</body></html>",
        encoding="utf-8",
    )
    return path


OVERLAPS = """
() => [...document.querySelectorAll(".bmm-picture > svg")].flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
  const outside = boxes.filter(([, r]) => r.left < box.left - 1 || r.right > box.right + 1);
  const touching = boxes.filter(([, r], i) => boxes.some(([, other], j) => j < i
    && Math.min(r.right, other.right) > Math.max(r.left, other.left) + 1 && Math.abs(r.top - other.top) < 4));
  return [...outside, ...touching].map(([text]) => text);
})
"""


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_long_names_stay_in_the_picture_and_on_the_page(width, browser, long_names):
    with opened(browser, long_names, viewport={"width": width, "height": 800}) as page:
        for picker in page.locator("select[id$=level]").all():
            picker.select_option("3")
        for view in ("0", "1", "2"):
            for picker in page.locator("select[id$=view]").all():
                picker.select_option(view)
            assert page.evaluate(OVERLAPS) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".bmm-row label").first.evaluate("l => l.getBoundingClientRect().height") < 40


def test_sliders_go_from_left_to_right_on_a_page_that_is_read_from_the_right(browser, long_names):
    with opened(browser, long_names) as page:
        assert {
            page.locator(".bmm-explorer").nth(i).evaluate("e => getComputedStyle(e).direction") for i in (0, 1)
        } == {"ltr"}
        slider = page.locator("input[name=ratio-0]").first
        before = page.locator("output[for=one-ratio-0] data").get_attribute("value")
        other = page.locator("output[for=two-ratio-0] data").get_attribute("value")
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert float(page.locator("output[for=one-ratio-0] data").get_attribute("value")) > float(before)
        assert page.locator("output[for=two-ratio-0] data").get_attribute("value") == other
        name = page.locator("[data-level='3'] text").first
        assert name.evaluate("t => getComputedStyle(t).unicodeBidi") == "plaintext"


def test_one_live_region_speaks_and_controls_have_names_and_groups(browser, pages):
    with opened(browser, pages("slopes")) as page:
        assert page.locator("[aria-live=polite]").count() == 1
        assert page.locator("output:not([aria-live])").count() == 0
        assert page.get_by_role("radiogroup", name="Data").get_by_role("radio").count() == 2
        for group in ("Between levels", "Noise and rows", "One level"):
            assert page.get_by_role("group", name=group).count() == 1
        assert page.get_by_role("slider", name="sd(Intercept) / σ").count() == 1
        assert page.get_by_role("combobox", name="level").count() == 1
        page.get_by_role("combobox", name="level").focus()
        page.keyboard.press("ArrowDown")
        assert page.get_by_label("its rows count").is_enabled()
        page.get_by_role("button", name="back to the estimate").focus()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineColor") == page.evaluate(
            "getComputedStyle(document.body).color"
        )


def test_marks_stay_under_their_sliders_when_the_window_changes(browser, pages):
    with opened(browser, pages("slopes"), viewport={"width": 1200, "height": 800}) as page:
        for width in (1200, 500, 900):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_timeout(150)
            box, mark = (page.locator(at).first.bounding_box() for at in ("input[name=ratio-0]", ".bmm-mark-partial"))
            share = int(page.locator("input[name=ratio-0]").input_value()) / 1000
            assert abs(mark["x"] + mark["width"] / 2 - (box["x"] + 9 + share * (box["width"] - 18))) < 2


def test_page_runs_no_script_but_its_own(browser, tmp_path):
    text = fitted("one").explore(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "script-src 'sha256-" in text
    for added in ("<script>document.title='run'</script>", "<img src=x onerror=\"document.title='run'\">"):
        path = tmp_path / "added.html"
        path.write_text(text.replace("<main>", f"<main>{added}"), encoding="utf-8")
        context = browser.new_context()
        page = context.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector(".bmm-picture svg [data-level]", state="attached")
        assert page.title().startswith("Shrinkage")
        context.close()


def test_on_a_narrow_page_picture_and_first_slider_are_seen_together(browser, tmp_path):
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(np.arange(500), 3), "y": rng.normal(size=1500)})
    data["y"] += rng.normal(size=500)[data["g"]]
    path = bmm.Model("y ~ 1 + (1 | g)", data).fit().explore(tmp_path / "many.html")
    with opened(browser, path, viewport={"width": 360, "height": 800}) as page:
        top = page.locator(".bmm-picture > svg").bounding_box()["y"]
        slider = page.locator("input[name=ratio-0]").bounding_box()
        assert slider["y"] + slider["height"] - top < 800
        assert "of 500 levels are drawn" in page.locator(".bmm-picture").text_content()


def test_levels_tied_by_another_factor_are_moved_together(browser, pages):
    fit = fitted("crossed")
    with opened(browser, pages("crossed", posterior=True)) as page:
        open_table(page)
        coef = fit.coef().query("group == 'sample'").set_index("level")
        table = table_of(page)
        assert close(table[["partial", "lower", "upper"]], coef.loc[table.index, ["estimate", "lower", "upper"]])
        assert page.get_by_label("each row counts").is_disabled()
        assert page.locator(".bmm-posterior").count() == 6
        slide(page, "ratio-0", 0)
        assert table_of(page)["partial"].nunique() == 1
        page.locator("[data-level]").first.click()
        assert page.get_by_label("its rows count").is_disabled()
        page.locator("summary", has_text="computed").click()
        assert "effects of plate stay" in page.locator(".bmm-explorer").text_content()


def test_a_level_of_a_nested_model_fades_out_as_if_it_were_left_out(ask):
    fit = fitted("nested")
    data = write_data(fit, group="batch")
    design = fit.design
    kept = design.blocks[0].incidence.only.codes != 3
    assert design.blocks[0].group == data["group"]
    move = {"ratios": [0.8], "correlations": [1], "choice": {"picked": 3, "fade": 0.0}, "sigma": None}
    (found,) = ask(data, [move])
    right = dense(fit, [0.8], [1], kept.astype(float), None, "batch")
    for each in ("sigma", "fixed", "effect", "sd", "sdFixed"):
        assert close(found[each], right[each]), each


def test_thousands_of_levels_are_thinned_and_answer_at_once(browser, tmp_path):
    rng = np.random.default_rng(5)
    q = 3000
    data = pd.DataFrame({"g": np.repeat(np.arange(q), 3), "x": rng.normal(size=3 * q)})
    data["y"] = data["x"] + rng.normal(size=q)[data["g"]] + rng.normal(size=3 * q)
    path = bmm.Model("y ~ x + (1 | g)", data).fit().explore(tmp_path / "many.html")
    assert path.stat().st_size < 600_000
    with opened(browser, path) as page:
        assert page.locator(".bmm-partial").count() == 300
        assert "300 of 3000 levels are drawn" in page.locator(".bmm-picture").text_content()
        took = page.evaluate(
            """() => { const input = document.querySelector('input[name=ratio-0]'); const start = performance.now();
            for (let j = 0; j < 5; j++) { input.value = 100 + 100 * j; input.dispatchEvent(new Event('input')); }
            return (performance.now() - start) / 5; }"""
        )
        assert took < 500  # milliseconds; some 30 on a quiet machine


def test_file_has_no_rows_and_asks_for_nothing(pages):
    text = pages("slopes").read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=\S*", text) == ['href="data:,">']
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|sendBeacon|eval)\b", text)
    assert len(text) < 100_000


def test_module_is_small_packaged_and_ends_no_script():
    module = read_module()
    assert len(module.encode()) <= 66_000
    assert "</script" not in module.lower()
    assert "<!--" not in module
    assert "export default { render }" in module


def test_fragments_stand_side_by_side(browser, tmp_path):
    path = tmp_path / "two.html"
    parts = [write_fragment(fitted(name), key=name) for name in ("one", "slopes")]
    path.write_text(
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>two</title><body>{''.join(parts)}</body></html>"
    )
    with opened(browser, path) as page:
        page.wait_for_function("document.querySelectorAll('.bmm-explorer').length === 2")
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
        assert len(ids) == len(set(ids))
    with pytest.raises(ArgumentError, match="key is"):
        write_fragment(fitted("one"), key="1 <")


def test_widget_has_the_module_and_the_data():
    fit = fitted("one")
    widget = fit.explore()
    assert widget.data == write_data(fit)
    assert "export default" in str(widget._esm)
    widget.close()


def test_lacking_anywidget_is_said(monkeypatch):
    fit, ordinary = fitted("one"), builtins.__import__

    def without(name, *rest, **options):
        if name == "anywidget":
            raise ImportError("No module named 'anywidget'")
        return ordinary(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BayesmmError, match=r"pip install anywidget.*writes the explorer as a page"):
        fit.explore()


def test_what_cannot_be_explored_is_said(tmp_path):
    crossed = fitted("crossed")
    with pytest.raises(ArgumentError, match=r"has 2 grouping factors: name one of 'plate', 'sample'\."):
        crossed.explore(tmp_path / "x.html")
    with pytest.raises(ArgumentError, match=r"group is 'no such': name one of 'plate', 'sample'\."):
        crossed.explore(tmp_path / "x.html", group="no such")
    people = bmm.datasets.simulate_crossed(groups={"item": 130, "person": 20}, sds={"item": 1.0, "person": 1.0})
    with pytest.raises(ArgumentError, match=r"one matrix: 130 of item and 20 of the others, where it takes 120"):
        bmm.Model(people.formula, people.data).fit().explore(tmp_path / "x.html", group="item")
    dyads = bmm.datasets.simulate_dyads(n_people=6)
    with pytest.raises(ArgumentError, match="takes one level of"):
        bmm.Model("log_count ~ 1 + (1 | mm(sender, receiver))", dyads.data).fit().explore(tmp_path / "x.html")
    fit = fitted("one")
    with pytest.raises(ArgumentError, match="posterior is"):
        fit.explore(tmp_path / "x.html", posterior=fit)
    other = make_posterior(bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")))
    with pytest.raises(ComparisonError, match="not of the same model"):
        fit.explore(tmp_path / "x.html", posterior=other)
    with pytest.raises(StorageError):
        fit.explore(tmp_path / "no folder" / "x.html")
    for path in ("", ".", tmp_path, "explorer.csv"):
        with pytest.raises(ArgumentError, match=r"ends in \.html"):
            fit.explore(path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_where_nothing_can_be_written_and_is_replaced_otherwise(tmp_path):
    fit = fitted("one")
    folder = tmp_path / "folder.html"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    with pytest.raises(StorageError, match="it is a folder"):
        fit.explore(folder)
    assert (folder / "kept").read_text() == "kept"
    path = tmp_path / "page.html"
    path.write_text("before")
    fit.explore(str(path))
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder.html", "page.html"]


def test_shift_scale_and_order_change_nothing_but_units(ask):
    data = bmm.datasets.load("sleepstudy")
    changed = data.assign(Reaction=1e6 + 1000.0 * data["Reaction"]).sample(frac=1.0, random_state=1)
    found = []
    for frame in (data, changed):
        written = write_data(bmm.Model(SLEEP, frame).fit())
        move = {"ratios": [0.4, 0.1], "correlations": [1, 0.2, 0.2, 1], "choice": {"times": 2.0}, "sigma": None}
        found.append(ask(written, [move])[0])
    assert np.allclose(found[1]["effect"], 1000.0 * np.array(found[0]["effect"]), rtol=1e-6)
    assert np.allclose(found[1]["sdCoefficient"], 1000.0 * np.array(found[0]["sdCoefficient"]), rtol=1e-8)
    assert np.allclose(found[1]["weight"], found[0]["weight"], rtol=1e-8)
