"""Power by simulation: against distributions that are known exactly, and against fits of the same data one by one."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.fit.estimating import fit_quietly
from bayesmm.inference.fixed.fixed_effects import infer_fixed_effects
from bayesmm.inference.fixed.together import infer_together
from bayesmm.reml.refits import refit

G, K = 8, 3
PLAN = pd.DataFrame({"c": np.tile(list("abc"), G), "g": np.repeat(np.arange(G), K)})
TRUTH = {"Intercept": 1.0, "c[T.b]": 0.9, "c[T.c]": 0.5, "sd(Intercept | g)": 2.0, "sigma": 0.8}
FORMULA = "y ~ c + (1 | g)"
N = 1500
FAR = 4.5  # standard errors of a share: one in 150,000 is farther


def run(formula=FORMULA, data=PLAN, parameters=TRUTH, test=None, **options):
    return bmm.power(formula, data, parameters, test, **{"n": N, "progress": False} | options)


def share(found, effect, column="power"):
    return float(found.table.set_index("effect").loc[effect, column])


def is_near(seen, exact, n=N):
    return abs(seen - exact) < FAR * np.sqrt(exact * (1.0 - exact) / n)


def power_of_t(effect, error, df, alpha=0.05):
    limit = stats.t.ppf(1.0 - alpha / 2.0, df)
    return stats.nct.sf(limit, df, effect / error) + stats.nct.cdf(-limit, df, effect / error)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_balanced_comparisons_have_the_power_of_t_and_f(df):
    found = run(test=["c[T.b]", "c", "c[T.b] - c[T.c] = 0", "c[T.b] = 0.9"], df=df, alpha=0.1)
    inner, error = (G - 1) * (K - 1), 0.8 * np.sqrt(2 / G)
    assert is_near(share(found, "c[T.b]"), power_of_t(0.9, error, inner, 0.1))
    assert is_near(share(found, "c[T.b] - c[T.c] = 0"), power_of_t(0.4, error, inner, 0.1))
    assert is_near(share(found, "c[T.b] = 0.9"), 0.1)
    means = np.array([0.0, 0.9, 0.5])
    ncp = G * ((means - means.mean()) ** 2).sum() / 0.8**2
    exact = stats.ncf.sf(stats.f.ppf(0.9, K - 1, inner), K - 1, inner, ncp)
    assert is_near(share(found, "c"), exact)
    assert is_near(share(found, "c[T.b]", "coverage"), 0.9)
    limit = stats.t.ppf(0.95, inner)
    expected = 2.0 * limit * error * stats.chi.mean(inner) / np.sqrt(inner)
    assert share(found, "c[T.b]", "length") == pytest.approx(expected, rel=0.02)


def test_comparisons_between_groups_have_the_power_of_t_of_their_means():
    truth = {"Intercept": 1.5, "sd(Intercept | g)": 1.5, "sigma": 0.8}
    found = run("y ~ 1 + (1 | g)", PLAN, truth)
    assert is_near(share(found, "Intercept"), power_of_t(1.5, np.sqrt((1.5**2 + 0.8**2 / K) / G), G - 1))


def test_type_s_and_type_m_are_those_of_a_truncated_normal():
    truth = TRUTH | {"c[T.b]": 0.15}
    found = run(parameters=truth, test="c[T.b]", df="normal", sigma=0.8, n=8000, alpha=0.2)
    error = 0.8 * np.sqrt(2 / G)
    z, limit = 0.15 / error, stats.norm.ppf(0.9)
    above, below = stats.norm.sf(limit - z), stats.norm.cdf(-limit - z)
    size = (z * above + stats.norm.pdf(limit - z)) - (z * below - stats.norm.pdf(-limit - z))
    assert is_near(share(found, "c[T.b]"), above + below, 8000)
    assert is_near(share(found, "c[T.b]", "type_s"), below / (above + below), 8000 * (above + below))
    assert share(found, "c[T.b]", "type_m") == pytest.approx(size / (above + below) / z, rel=0.03)


def test_tests_of_no_variance_and_no_effect_keep_their_level():
    null = TRUTH | {"sd(Intercept | g)": 0.0, "c[T.b]": 0.0}
    found = run(parameters=null, test=["c[T.b]", "sd(Intercept | g)"])
    assert is_near(share(found, "sd(Intercept | g)"), 0.05)
    assert share(found, "c[T.b]") < 0.05 + FAR * np.sqrt(0.05 * 0.95 / N)  # conservative at the boundary
    assert share(found, "sd(Intercept | g)", "singular") > 0.4


def test_a_variance_in_a_balanced_layout_has_the_power_of_its_f_test():
    truth = {"Intercept": 0.0, "sd(Intercept | g)": 0.6, "sigma": 0.8}
    ratio = 1.0 + K * (0.6 / 0.8) ** 2
    exact = stats.f.sf(stats.f.ppf(0.95, G - 1, G * (K - 1)) / ratio, G - 1, G * (K - 1))
    assert is_near(share(run("y ~ 1 + (1 | g)", PLAN, truth, "sd(Intercept | g)"), "sd(Intercept | g)"), exact)


CASES = [
    ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
    ("strength ~ 1 + (1 | batch/cask)", "pastes"),
    ("Yield ~ 1 + (1 | Batch)", "dyestuff"),
    ("Yield ~ 1 + (1 | Batch)", "dyestuff2"),
]


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "residual"])
@pytest.mark.parametrize(("formula", "name"), CASES)
def test_inference_side_by_side_is_that_of_each_fit(formula, name, df):
    check_inference(formula, name, df, 6)


def test_inference_of_a_covariance_that_is_not_linear_is_that_of_each_fit():
    check_inference("distance ~ age + cs(1 + age | Subject)", "orthodont", "kenward-roger", 2)


def check_inference(formula, name, df, m):
    model = bmm.Model(formula, bmm.datasets.load(name))
    fit = model.fit()
    criterion = fit.estimate.criterion_function
    drawn = fit.simulate(m, seed=3).to_numpy()
    responses = model.problem.sum_responses(drawn)
    found = refit(criterion, responses, fit.estimate.minimum.x)
    whole = np.eye(model.design.p)
    for y, many in zip(drawn.T, infer_together(criterion, responses, found, df), strict=True):
        alone = infer_fixed_effects(fit_quietly(model.problem.with_response(y), "reml"), df)
        np.testing.assert_allclose(many.covariance, alone.covariance, rtol=2e-5, atol=1e-12)
        np.testing.assert_allclose(many.df(whole), alone.df(whole), rtol=1e-4)
        assert many.f_test(whole).p_value == pytest.approx(alone.f_test(whole).p_value, rel=1e-3, abs=1e-12)


def test_levels_are_added_with_what_is_nested_in_them_and_not_with_what_is_crossed():
    pastes = bmm.Model("strength ~ 1 + (1 | batch/cask)", bmm.datasets.load("pastes")).fit()
    table = bmm.power(pastes, along={"batch": [4, 25]}, within={"batch:cask": [2, 3]}, n=3, progress=False).table
    assert table[["n(batch)", "n(batch:cask)", "rows"]].to_numpy().tolist() == [
        [4, 12, 24], [4, 12, 36], [25, 75, 150], [25, 75, 225]
    ]  # fmt: skip
    penicillin = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin")).fit()
    table = bmm.power(penicillin, along={"plate": 30}, n=3, progress=False).table
    assert table[["n(plate)", "n(sample)", "rows"]].to_numpy().tolist() == [[30, 6, 180]]


def test_levels_with_names_of_their_own_in_what_they_are_nested_in_stay_there():
    data = pd.DataFrame(
        {"x": np.tile([0.0, 1.0], 12), "pupil": np.repeat(np.arange(12), 2), "school": np.repeat(list("abc"), 8)}
    )
    truth = {"Intercept": 0, "x": 1, "sd(Intercept | pupil)": 1, "sd(Intercept | school)": 1, "sigma": 1}
    grown = run("y ~ x + (1 | pupil) + (1 | school)", data, truth, along={"pupil": [6, 24]}, n=3).table
    assert grown[["n(pupil)", "n(school)", "rows"]].to_numpy().tolist() == [[6, 3, 12], [24, 3, 48]]
    more = run("y ~ x + (1 | pupil) + (1 | school)", data, truth, along={"school": [6]}, n=3).table
    assert more[["n(school)", "n(pupil)", "rows"]].to_numpy().tolist() == [[6, 24, 48]]


def test_the_same_seed_gives_the_same_numbers_whatever_else_is_simulated():
    one = run(n=30, along={"g": [5, 9]}, seed=4)
    longer = run(n=40, along={"g": 9}, seed=4)
    np.testing.assert_allclose(one.p_values[1], longer.p_values[0][:30], rtol=1e-6)
    assert not np.allclose(one.p_values[1], run(n=30, along={"g": 9}, seed=5).p_values[0])


def test_units_names_and_kinds_of_tables_change_nothing():
    first = run(n=30, test=["c[T.b]", "c", "sd(Intercept | g)"])
    scaled = {name: 1e4 * value for name, value in TRUTH.items()} | {"Intercept": 3e6}
    renamed = PLAN.assign(g=[f"group {g}" for g in PLAN["g"]])
    for data, parameters in [(PLAN, scaled), (renamed, TRUTH), (pl.from_pandas(PLAN), TRUTH)]:
        again = run(data=data, parameters=parameters, n=30, test=["c[T.b]", "c", "sd(Intercept | g)"])
        np.testing.assert_allclose(again.p_values, first.p_values, rtol=1e-5)
        np.testing.assert_allclose(again.table["type_m"], first.table["type_m"], rtol=1e-5)


def test_weights_and_offsets_of_a_fit_are_carried_along():
    data = PLAN.assign(w=np.linspace(0.2, 3.0, len(PLAN)), y=bmm.simulate(FORMULA, PLAN, TRUTH)[0])
    fit = bmm.Model(FORMULA, data, weights="w").fit()
    stated = bmm.power(FORMULA, data, fit, weights="w", n=20, along={"g": 6}, progress=False)
    np.testing.assert_allclose(
        bmm.power(fit, n=20, along={"g": 6}, progress=False).p_values, stated.p_values, rtol=1e-6
    )
    assert not np.allclose(
        bmm.power(FORMULA, data, fit, n=20, along={"g": 6}, progress=False).p_values, stated.p_values
    )


def test_precision_is_the_share_of_short_intervals_and_bootstrap_intervals_are_like_those_of_the_test():
    wide, narrow = (run(test="c[T.b]", aim={"c[T.b]": length}, n=200) for length in (100.0, 0.01))
    assert (share(wide, "c[T.b]", "precision"), share(narrow, "c[T.b]", "precision")) == (1.0, 0.0)
    resampled = run(test=["c[T.b]", "sd(Intercept | g)"], interval="bootstrap", n=8)
    assert share(resampled, "c[T.b]", "length") == pytest.approx(share(wide, "c[T.b]", "length"), rel=0.25)
    assert share(resampled, "sd(Intercept | g)", "length") > 0.0


def test_failed_refits_count_as_nothing_found():
    from bayesmm.inference.power.power import _summarise
    from bayesmm.inference.power.questions import FixedQuestion
    from bayesmm.inference.power.refitting import Answers

    nothing = np.array([[np.nan]] * 3 + [[1.0]] * 7)
    question = FixedQuestion(name="x", L=np.eye(1), values=np.zeros(1), truth=np.ones(1))
    failed = np.isnan(nothing[:, 0])
    answers = Answers(
        p_values=nothing * 0.01, estimates=nothing, lower=nothing, upper=nothing + 1, failed=failed, singular=~failed
    )
    row = _summarise(question, answers, 0, 0.05, 5.0)
    assert (row["power"], row["failed"], row["singular"], row["precision"]) == (0.7, 3, 1.0, 0.7)
    assert (row["lower"], row["upper"]) == pytest.approx(stats.binomtest(7, 10).proportion_ci(method="exact"))


def test_the_smallest_design_is_the_one_of_fewest_rows_and_the_report_names_it():
    found = run(test="c[T.b]", along={"g": [30, 5, 15]}, n=300)
    (row,) = found.smallest(0.75).to_dict("records")
    assert row["n(g)"] == 15
    assert "the smallest design with a power of 80 % is that of 15 levels of g, 45 rows" in " ".join(str(found).split())
    assert "no design reaches" in str(run(test="c[T.b]", along={"g": [4, 5]}, n=50))
    assert len(found.smallest(0.999999)) == 0 or found.smallest(0.999999)["power"].iloc[0] == 1.0


def test_curves_have_the_words_and_points_of_the_table():
    import matplotlib as mpl

    mpl.use("agg")
    found = run(along={"g": [4, 8]}, within={"g": [3, 6]}, n=20)
    figure = found.plot(power=0.9)
    axis = figure.axes[0]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[0] == "c[T.b], rows for each g 3"
    assert axis.get_xlabel() == "levels of g"
    drawn = np.concatenate([bars[0].get_ydata() for bars in axis.containers]).astype(float)
    assert set(np.round(drawn, 6)) == set(np.round(found.table["power"], 6))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"along": {"c": 3}}, "no column of the grouping factors"),
        ({"along": {"g": 0}}, "at least 1"),
        ({"within": {"g": 1.5}}, "whole number"),
        ({"test": "d"}, "test names 'd'"),
        ({"aim": {"d": 1.0}}, "no interval here"),
        ({"aim": {"c[T.b]": -1.0}}, "positive length"),
        ({"method": "ml", "df": "kenward-roger"}, "for REML"),
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"along": {"g": 10**8}}, "at most 10,000,000"),
    ],
)
def test_what_makes_no_sense_is_said(options, words):
    with pytest.raises(ArgumentError, match=words):
        run(**options)


def test_designs_that_cannot_be_fitted_are_refused():
    truth = {"Intercept": 0, "sd(Intercept | g)": 1, "sigma": 1}
    with pytest.raises(DesignError, match="told from the residuals"):
        run("y ~ 1 + (1 | g)", PLAN, truth, within={"g": 1})
    with pytest.raises(DesignError, match="sigma"):
        run(parameters=TRUTH | {"sigma": 0.0})
    people = pd.concat([pd.DataFrame({"a": list("xyzx"), "b": list("yzxz")})] * 4)
    truth = {"Intercept": 0, "sd(Intercept | mm(a, b))": 1, "sigma": 1}
    with pytest.raises(ArgumentError, match="share rows"):
        run("y ~ 1 + (1 | mm(a, b))", people, truth, along={"a": 9})


def test_posterior_intervals_are_quantiles_of_the_posterior_of_each_data_set(monkeypatch):
    asked = []

    class Posterior:
        def draws(self, name):
            return np.linspace(0.0, 1.0, 101)[None, :, None] * np.array([0.0, 1.0, 2.0])

        def parameter_table(self, level):
            assert level == pytest.approx(0.95)
            return pd.DataFrame({"lower": [0.5], "upper": [3.5]}, index=["sd(Intercept | g)"])

    def sample(**options):
        asked.append(options)
        return Posterior()

    monkeypatch.setattr("bayesmm.bayes.sample.sample", sample)
    found = run(test=["c[T.b]", "sd(Intercept | g)"], interval="posterior", n=2, aim={"c[T.b]": 0.96})
    assert share(found, "c[T.b]", "length") == pytest.approx(0.95)
    assert share(found, "c[T.b]", "precision") == 1.0
    assert share(found, "sd(Intercept | g)", "length") == pytest.approx(3.0)
    assert {each["method"] for each in asked} == {"quadrature"}
    for each in asked:  # it starts at the estimates of the data that it is the posterior of
        estimate = fit_quietly(each["problem"], "reml").estimate
        np.testing.assert_allclose(each["fit"].beta, estimate.beta, rtol=1e-5)
        np.testing.assert_allclose(each["fit"].beta_covariance, estimate.beta_covariance, rtol=1e-4)
        np.testing.assert_allclose(np.abs(each["fit"].factors[0]), np.abs(estimate.factors[0]), rtol=1e-4)
