"""Figures of parameters: what is drawn is what the tables say, and the curves are what they are called."""

import math
import sys
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior
from matplotlib import pyplot
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgba
from matplotlib.text import Text

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmError, ComparisonError
from bayesmm.priors import Beta, Flat, Normal

SLEEP = "Reaction ~ Days + (Days | Subject)"
SMOOTH = 2e-3  # of ζ, by which an interpolated profile may be off
TANGENT = 0.003  # of the likelihood that is lost where a contour is vertical or horizontal, near a point of its grid
CONTOUR = 0.06  # between those places, where contours are interpolated: with ν levels likelihoods are like those of t
HOSTILE = "a$b_c^d$"


def load(formula, name, **options):
    return bmm.Model(formula, bmm.datasets.load(name), **options)


@pytest.fixture(scope="module")
def sleep():
    return load(SLEEP, "sleepstudy")


@pytest.fixture(scope="module")
def profile(sleep):
    return sleep.fit("ml").profile()


@pytest.fixture(scope="module")
def bare():
    """A model whose variance is estimated as zero, with a bootstrap of it."""
    fit = load("Yield ~ 1 + (1 | Batch)", "dyestuff2").fit()
    return fit, fit.bootstrap(60, progress=False)


@pytest.fixture(scope="module")
def hostile():
    data = bmm.datasets.load("dyestuff").rename(columns={"Yield": "y", "Batch": HOSTILE})
    data["x$1$"] = np.arange(30.0)
    return bmm.Model(f"y ~ `x$1$` + (1 | `{HOSTILE}`)", data)


def panel(figure, name):
    return next(axis for axis in figure.axes if axis.get_title(loc="left") == name)


def of(axis, gid):
    return [line for line in axis.lines if line.get_gid() == gid]


def texts(figure):
    """All texts as they are shown."""
    figure.draw_without_rendering()
    return [text for text in figure.findobj(match=Text) if text.get_text()]


# Profiles


def test_zeta_goes_through_the_points_of_the_table_and_is_right_between_them(sleep, profile):
    figure, farther = profile.plot(), sleep.fit("ml").profile(level=0.999).table
    for name, own in profile.table.groupby("parameter"):
        line = max(panel(figure, name).lines, key=lambda each: len(each.get_xdata()) + (each.get_linestyle() == "-"))
        x, y = line.get_data()
        np.testing.assert_allclose(np.interp(own["value"], x, y), own["zeta"], atol=1e-9)
        others = farther[(farther["parameter"] == name) & farther["value"].between(x[0], x[-1])]
        np.testing.assert_allclose(np.interp(others["value"], x, y), others["zeta"], atol=SMOOTH)


def test_straight_line_has_the_slope_of_the_standard_error_and_touches_the_curve(profile):
    errors, figure = profile.fit.parameters["std_error"], profile.plot()
    for name in errors.index:
        (straight,) = [
            line for line in panel(figure, name).lines if line.get_linestyle() == "--" and len(line.get_xdata())
        ]
        x, y = straight.get_data()
        np.testing.assert_allclose(np.diff(y) / np.diff(x), 1.0 / errors[name])
        assert np.interp(profile.fit.parameters.loc[name, "estimate"], x, y) == pytest.approx(0.0, abs=1e-9)


def test_ends_of_intervals_are_drawn_where_zeta_is_their_quantile(profile):
    levels = (0.5, 0.9)
    ends = of(panel(profile.plot(levels=levels), "sd(Days | Subject)"), "end")
    drawn = [(line.get_xdata()[0], line.get_ydata()[1]) for line in ends]
    expected = []
    for level in levels:
        row, z = profile.intervals(level).loc["sd(Days | Subject)"], NormalDist().inv_cdf(0.5 + level / 2.0)
        expected += [(row["lower"], -z), (row["upper"], z)]
    np.testing.assert_allclose(drawn, expected, atol=1e-3)


def test_profile_density_holds_the_probability_between_the_ends_and_the_rest_at_the_limit():
    fit = load("strength ~ 1 + (1 | batch/cask)", "pastes").fit()
    profile, normal = fit.profile(), NormalDist()
    for name, density in profile.densities.items():
        zetas = profile.table.loc[profile.table["parameter"] == name, "zeta"]
        inside = normal.cdf(zetas.max()) - normal.cdf(zetas.min())
        assert np.trapezoid(density.density, density.x) == pytest.approx(inside, abs=2e-3)
    # the likelihood ratio of no batches, from fits of both models
    without = bmm.Model("strength ~ 1 + (1 | batch:cask)", bmm.datasets.load("pastes")).fit()
    zeta = math.sqrt(2.0 * (fit.loglik - without.loglik))
    ((at, share),) = profile.densities["sd(Intercept | batch)"].atoms
    assert (at, share) == (0.0, pytest.approx(normal.cdf(-zeta), abs=1e-6))
    (spike,) = of(panel(profile.plot_density(), "sd(Intercept | batch)"), "atom")
    np.testing.assert_allclose(spike.get_ydata(), [0.0, share * profile.densities["sd(Intercept | batch)"].top])


def test_contours_of_two_coefficients_are_where_refits_lose_that_likelihood(sleep):
    fit = sleep.fit("ml")
    (pair,) = fit.profile(["Intercept", "Days"]).pairs(levels=(0.5, 0.8))
    data = bmm.datasets.load("sleepstudy")
    for level, contour in pair.contours.items():
        tangents = [*contour[:, 2:].argmax(axis=0), *contour[:, 2:].argmin(axis=0)]
        lost = {}
        for i in {*tangents, *range(0, len(contour), 20)}:
            held = data.assign(o=contour[i, 0] + contour[i, 1] * data["Days"])
            held = bmm.Model("Reaction ~ 0 + offset(o) + (Days | Subject)", held).fit("ml")
            lost[i] = 2.0 * (fit.loglik - held.loglik)
        quantile = -2.0 * math.log(1.0 - level)
        np.testing.assert_allclose([lost[i] for i in tangents], quantile, rtol=TANGENT)
        np.testing.assert_allclose(list(lost.values()), quantile, rtol=CONTOUR)


def test_pairs_draw_traces_and_contours_on_both_sides_of_the_diagonal(profile):
    names = list(profile.intervals().index)
    figure, m = profile.plot_pairs(levels=(0.5,)), len(names)
    pair = next(each for each in profile.pairs(levels=(0.5,)) if each.second == "sigma" and each.first == "Days")
    upper, lower = figure.axes[1 * m + 5], figure.axes[5 * m + 1]
    for axis, columns in ((upper, [1, 0]), (lower, [2, 3])):
        for gid, expected in (
            ("first", pair.first_trace),
            ("second", pair.second_trace),
            ("contour", pair.contours[0.5]),
        ):
            (line,) = of(axis, gid)
            np.testing.assert_allclose(np.column_stack(line.get_data()), expected[:, columns])
    held = profile.traces[(profile.table["parameter"] == "Days").to_numpy()]
    np.testing.assert_allclose(pair.first_trace[:, :2], held[["Days", "sigma"]])


def test_contours_beyond_a_boundary_are_left_out_and_one_parameter_has_no_pair(sleep):
    profile = load("strength ~ 1 + (1 | batch/cask)", "pastes").fit().profile()
    found = {(pair.first, pair.second): set(pair.contours) for pair in profile.pairs()}
    assert found[("sd(Intercept | batch)", "sigma")] == set()
    assert found[("Intercept", "sigma")] == {0.5, 0.8, 0.95}
    assert profile.plot_pairs()
    with pytest.raises(ArgumentError, match="a pair needs two"):
        sleep.fit().profile("sigma").plot_pairs()


def test_one_parameter_is_drawn_into_the_users_axes_and_several_are_not(sleep, profile):
    figure, axis = pyplot.subplots()
    single = sleep.fit().profile("sigma")
    assert single.plot(ax=axis) is figure
    assert axis.get_title(loc="left") == "sigma"
    assert single.plot_density(ax=pyplot.subplots()[1]).axes[0].get_title(loc="left") == "sigma"
    with pytest.raises(ArgumentError, match="the figure has 6 panels"):
        profile.plot(ax=axis)
    with pytest.raises(ArgumentError, match="must be axes of matplotlib"):
        single.plot(ax=3)
    with pytest.raises(ArgumentError, match=r"as far as 0\.99"):
        profile.plot(levels=(0.999,))


# Bootstrap


def test_bootstrap_shows_estimates_of_zero_as_a_spike_and_the_rest_as_a_density(bare):
    _, bootstrap = bare
    name = "sd(Intercept | Batch)"
    share = float((bootstrap.draws[name] == 0.0).mean())
    assert 0.3 < share < 0.8
    density = bootstrap.densities[name]
    assert density.atoms == ((0.0, pytest.approx(share)),)
    assert np.trapezoid(density.density, density.x) == pytest.approx(1.0 - share, abs=0.02)
    axis = panel(bootstrap.plot(level=0.8), name)
    (spike,), (interval,), (estimate,) = (of(axis, gid) for gid in ("atom", "interval", "estimate"))
    np.testing.assert_allclose(spike.get_xdata(), 0.0)
    assert [text.get_text() for text in axis.texts] == [f"{100 * share:.3g} %"]
    row = bootstrap.parameter_table(level=0.8).loc[name]
    np.testing.assert_allclose(interval.get_xdata(), [row["lower"], row["upper"]])
    np.testing.assert_allclose(estimate.get_xdata(), [row["estimate"]])


def test_densities_of_normal_draws_are_normal(sleep):
    posterior = make_posterior(sleep)
    fit, comparison = sleep.fit(), bmm.compare(sleep.fit(), posterior)
    for name in ("Intercept", "Days"):
        mean, sd = fit.parameters.loc[name, ["estimate", "std_error"]]
        density = comparison.posterior_densities[name]
        exact = np.exp(-0.5 * ((density.x - mean) / sd) ** 2) / (sd * math.sqrt(2.0 * math.pi))
        assert np.abs(density.density - exact).max() < 0.08 * exact.max()
        assert np.trapezoid(density.density, density.x) == pytest.approx(1.0, abs=0.01)


def test_densities_follow_shift_and_scale(sleep):
    base, moved = (
        bmm.compare(sleep.fit(), make_posterior(sleep, {"Days": draws})).posterior_densities["Days"]
        for draws in (Z, 7.0 + 1000.0 * Z)
    )
    np.testing.assert_allclose(moved.x, 7.0 + 1000.0 * base.x, rtol=1e-9)
    np.testing.assert_allclose(moved.density, base.density / 1000.0, rtol=1e-6)


Z = np.random.default_rng(3).standard_normal(SHAPE)


# Comparison


def test_comparison_draws_what_the_table_says_in_one_row_a_parameter(sleep):
    fit = sleep.fit()
    comparison = bmm.compare(fit, make_posterior(sleep), fit.bootstrap(20, progress=False), df="kenward-roger")
    profile = fit.profile()
    figure = comparison.plot(profile=profile)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "REML (Kenward–Roger), 95 % interval",
        "profile, 95 % interval",
        "bootstrap, 95 % interval",
        "posterior mean, 95 % interval",
    ]
    table = comparison.table.join(profile.intervals()[["lower", "upper"]].add_prefix("profile_"))
    for axis in figure.axes:
        for position, label in enumerate(each.get_text() for each in axis.get_yticklabels()):
            row = table.loc[label]
            for marker, value, ends in (
                ("s", "estimate", "fit"),
                ("D", "estimate", "profile"),
                ("^", "estimate", "bootstrap"),
                ("o", "mean", "posterior"),
            ):
                marks = [m for m in axis.lines if m.get_marker() == marker and len(m.get_xdata())]
                mark = next(m for m in marks if abs(m.get_ydata()[0] - position) < 0.5)
                assert mark.get_xdata()[0] == row[value]
                same = [m for m in axis.lines if len(m.get_xdata()) == 2 and m.get_ydata()[0] == mark.get_ydata()[0]]
                np.testing.assert_array_equal(same[0].get_xdata(), row[[f"{ends}_lower", f"{ends}_upper"]])
        assert len(axis.collections) == 2 * len(axis.get_yticklabels())  # a density of draws and one of replicates


def test_interval_without_an_end_runs_to_the_edge_with_an_arrow(sleep):
    comparison = bmm.compare(sleep.fit(), make_posterior(sleep))
    from bayesmm.plots.comparison import plot_comparison

    table = comparison.table.assign(profile_lower=comparison.table["fit_lower"], profile_upper=np.inf)
    figure = plot_comparison(table, method="REML", level=0.95)
    for axis in figure.axes:
        arrows = [line for line in axis.lines if line.get_marker() == ">"]
        assert len(arrows) == len(axis.get_yticklabels())
        assert {float(arrow.get_xdata()[0]) for arrow in arrows} == {axis.get_xlim()[1]}


def test_profile_of_another_fit_is_refused(sleep, profile):
    comparison = bmm.compare(sleep.fit(), make_posterior(sleep))
    with pytest.raises(ComparisonError, match="of another fit"):
        comparison.plot(profile=profile)  # by ML
    with pytest.raises(ArgumentError, match="give a profile of the same fit"):
        comparison.plot(profile="yes")
    assert comparison.plot(profile=True)


def test_names_are_shown_as_they_are(hostile):
    fit, posterior = hostile.fit(), make_posterior(hostile)
    comparison = bmm.compare(fit, posterior, fit.bootstrap(5, progress=False))
    profile, sd = fit.profile(), f"sd(Intercept | {HOSTILE})"
    shown = {
        "comparison": comparison.plot(profile=profile),
        "zeta": profile.plot(),
        "density": profile.plot_density(),
        "bootstrap": comparison.bootstrap.plot(),
        "priors": posterior.plot_priors(),
        "shares": fit.explained().plot(),
        "share densities": posterior.plot_variance_shares(),
        "covariance": fit.plot_marginal_covariance({HOSTILE: ["A", "B"]}),
        "all rows": fit.plot_marginal_covariance(),
        "boundary": fit.boundary(sd, n=5, progress=False).plot(),
        "prior": hostile.plot_priors(),
    }
    for name, figure in shown.items():
        said = texts(figure)
        assert [text.get_text() for text in said if is_math_text(text.get_text())] == [], name
        assert any(HOSTILE in text.get_text().replace("\\$", "$") for text in said), name
    assert profile.plot_pairs()


def test_dark_ground_has_light_texts(sleep, profile):
    with pyplot.style.context("dark_background"):
        figures = [profile.plot(), profile.plot_pairs(), bmm.compare(sleep.fit(), make_posterior(sleep)).plot()]
        for figure in figures:
            dim = [text.get_text() for text in texts(figure) if sum(to_rgba(text.get_color())[:3]) < 1.2]
            assert dim == []


# Shares


def test_bar_is_divided_by_the_shares_and_rows_have_their_intervals():
    fit = load("strength ~ 1 + (1 | batch/cask)", "pastes").fit()
    shares, figure = fit.variance_shares(), fit.plot_variance_shares()
    bar, rows = figure.axes
    widths = {patch.get_gid(): (patch.get_x(), patch.get_width()) for patch in bar.patches}
    assert [start for start, _ in widths.values()] == pytest.approx([0.0, *shares["estimate"].cumsum().iloc[:-1]])
    assert {name: width for name, (_, width) in widths.items()} == pytest.approx(shares["estimate"].to_dict())
    lines = [line.get_xdata() for line in rows.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(lines, shares[["lower", "upper"]])
    assert [each.get_text() for each in rows.get_yticklabels()] == ["batch", "batch:cask", "residual"]


def test_explained_has_r2_above_the_shares_and_densities_of_draws_only(sleep):
    posterior = make_posterior(sleep)
    for result, n_densities in ((sleep.fit(), 0), (posterior, 7)):
        rows = result.explained().plot().axes[1]
        assert [each.get_text() for each in rows.get_yticklabels()] == [
            *["R2 marginal", "R2 conditional", "ICC adjusted", "ICC unadjusted"],
            *["fixed effects", "Subject", "residual"],
        ]
        assert len(rows.collections) == n_densities


# Priors


def test_priors_are_drawn_with_the_density_of_what_they_are_about(sleep):
    rng = np.random.default_rng(1)
    shift = 3.0 * rng.standard_normal(SHAPE)
    chosen = {"Intercept": 250.0 - 4.5 * shift, "Days": 10.0 + shift}  # their sum at the mean of Days does not vary
    posterior = make_posterior(sleep, {**chosen, "Intercept": chosen["Intercept"] + rng.standard_normal(SHAPE)})
    figure = posterior.plot_priors()
    axis = next(each for each in figure.axes if each.get_title(loc="left").startswith("Intercept"))
    assert axis.get_xlabel().replace("\n", " ") == "expected response where the other predictors are at their means"
    (prior,) = of(axis, "prior")
    curve = next(line for line in axis.lines if line is not prior)
    x, y = curve.get_data()
    assert np.average(x, weights=y) == pytest.approx(295.0, abs=0.1)
    assert math.sqrt(np.average((x - 295.0) ** 2, weights=y)) == pytest.approx(1.0, abs=0.1)
    from scipy import stats

    declared = sleep.priors.rows[0].prior
    exact = stats.norm(declared.numbers["mean"], declared.numbers["sd"]).pdf(prior.get_xdata())
    np.testing.assert_allclose(prior.get_ydata(), exact, rtol=1e-9)


def test_improper_priors_are_dashed_beside_a_posterior_and_shares_are_shares():
    priors = {"Days": Flat(), "Intercept": Normal(0, 500), "sd": Beta(2, 2)}
    posterior = make_posterior(load("Reaction ~ Days + (1 | Subject)", "sleepstudy"), priors=priors)
    figure = posterior.plot_priors()
    axis = next(each for each in figure.axes if each.get_title(loc="left").startswith("Days"))
    (prior,) = of(axis, "prior")
    assert prior.get_linestyle() == "--"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "prior",
        "improper prior, of arbitrary height",
        "posterior",
    ]
    axis = next(each for each in figure.axes if each.get_title(loc="left").startswith("sd("))
    x, y = next(line for line in axis.lines if line.get_gid() != "prior").get_data()
    square = posterior.draws("sd_Subject")[..., 0] ** 2
    share = square / (square + posterior.sigma**2)
    assert np.average(x, weights=y) == pytest.approx(share.mean(), abs=0.01)


# Marginal covariance


@pytest.mark.parametrize("correlation", [False, True])
def test_image_is_the_dense_covariance_with_a_block_for_each_level(sleep, correlation):
    fit = sleep.fit()
    figure = fit.plot_marginal_covariance({"Subject": ["308", "309"]}, correlation=correlation)
    axis, p = figure.axes[0], fit.parameters["estimate"]
    sds = p[["sd(Intercept | Subject)", "sd(Days | Subject)"]].to_numpy()
    G = np.outer(sds, sds) * np.array([[1.0, p.iloc[4]], [p.iloc[4], 1.0]])
    z = np.column_stack([np.ones(10), np.arange(10.0)])
    dense = np.kron(np.eye(2), z @ G @ z.T) + p["sigma"] ** 2 * np.eye(20)
    if correlation:
        dense /= np.sqrt(np.outer(np.diag(dense), np.diag(dense)))
        assert axis.images[0].get_clim() == (-1.0, 1.0)
    np.testing.assert_allclose(axis.images[0].get_array(), dense, rtol=1e-9)
    assert [(b.get_gid(), b.get_xy(), b.get_width()) for b in axis.patches] == [
        ("Subject: 308", (-0.5, -0.5), 10),
        ("Subject: 309", (9.5, 9.5), 10),
    ]
    assert axis.get_yticklabels()[0].get_text() == "Subject 308 · row 0"


def test_nested_levels_are_outlined_inside_each_other_and_scattered_rows_are_not():
    fit = load("strength ~ 1 + (1 | batch/cask)", "pastes").fit()
    axis = fit.plot_marginal_covariance().axes[0]
    widths = pd.Series([patch.get_width() for patch in axis.patches]).value_counts().to_dict()
    assert widths == {6: 10, 2: 30}
    assert [each.get_text() for each in axis.get_yticklabels()] == list("ABCDEFGHIJ")
    crossed = load("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin").fit()
    groups = {patch.get_gid().split(":")[0] for patch in crossed.plot_marginal_covariance().axes[0].patches}
    assert groups == {"plate"}
    with pytest.raises(ArgumentError, match="give True or False"):
        fit.plot_marginal_covariance(correlation="yes")


# A standard deviation near zero


def test_boundary_figure_draws_the_likelihood_of_zero_and_the_rows_of_its_table():
    fit = load("strength ~ 1 + (1 | batch/cask)", "pastes").fit()
    report = fit.boundary("sd(Intercept | batch)", n=30, progress=False)
    curve, rows = report.plot().axes
    x, y = curve.lines[0].get_data()
    assert (x[0], y.max()) == (0.0, pytest.approx(1.0))
    assert y[0] == pytest.approx(report.table.loc["profile likelihood", "at_zero"], rel=1e-4)
    spike = next(line for line in curve.lines if list(line.get_xdata()) == [0.0, 0.0])
    assert spike.get_ydata()[1] == report.table.loc["bootstrap", "at_zero"]
    assert [each.get_text() for each in rows.get_yticklabels()] == [
        "REML",
        "profile likelihood",
        "boundary-avoiding",
        "bootstrap",
    ]
    lines = [line.get_xdata() for line in rows.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(lines, report.table.loc[["profile likelihood", "bootstrap"], ["lower", "upper"]])


# ArviZ's figures


def test_forest_of_arviz_has_our_intervals_under_our_names(sleep):
    fit = sleep.fit()
    comparison = bmm.compare(fit, make_posterior(sleep), level=0.8)
    profile = fit.profile(level=0.9)
    collection = comparison.plot_forest(profile=profile, backend="none")
    table = comparison.table.join(profile.intervals(0.8)[["lower", "upper"]].add_prefix("profile_"))
    for source, ends in (("REML (Satterthwaite)", "fit"), ("profile", "profile"), ("posterior", "posterior")):
        for name in table.index:
            drawn = collection.viz["trunk"]["value"].sel(model=source, parameter=name).item()
            np.testing.assert_array_equal(np.asarray(drawn["x"]), table.loc[name, [f"{ends}_lower", f"{ends}_upper"]])
    written = collection.viz["parameter_label"]["value"]
    assert {name: written.sel(parameter=name).item()["string"] for name in table.index} == {n: n for n in table.index}
    assert list(comparison.plot_forest("sigma", backend="none").viz["trunk"]["parameter"].to_numpy()) == ["sigma"]
    with pytest.raises(ArgumentError, match="is no parameter of the model"):
        comparison.plot_forest("Day", backend="none")


def test_arviz_draws_with_matplotlib_names_as_they_are(hostile):
    posterior = make_posterior(hostile)
    collection = bmm.compare(hostile.fit(), posterior).plot_forest(backend="matplotlib")
    figure = collection.viz["figure"].item()
    assert f"sd(Intercept | {HOSTILE})".replace("$", "\\$") in [text.get_text() for text in texts(figure)]


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
@pytest.mark.parametrize("backend", ["plotly", "bokeh"])
def test_other_backends_draw_too_and_have_room_for_names(sleep, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed: its figures of ArviZ are not tried")
    posterior = make_posterior(sleep)
    forest = bmm.compare(sleep.fit(), posterior).plot_forest(backend=backend)
    names, values = (forest.viz["plot"].sel(column=column).item() for column in ("labels", "forest"))
    if backend == "plotly":
        figure = forest.viz["figure"].item()
        assert figure.layout.xaxis.visible is False
        assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0] < 0.5
        written = {text for trace in figure.data for text in np.atleast_1d(trace.text)}
        assert written >= {"cor(Intercept, Days | Subject)", "sigma"}
    else:
        assert not any(axis.visible for axis in names.axis)
        assert names.width < values.width
    for drawn in (posterior.plot_predictive(draws=5, backend=backend), posterior.plot_pit(draws=40, backend=backend)):
        assert "matplotlib" not in type(drawn.viz["figure"].item()).__module__


def test_predictive_check_draws_each_predicted_set_and_the_observed_one(sleep):
    posterior = make_posterior(sleep)
    collection = posterior.plot_predictive(draws=12, backend="none")
    assert collection.viz["predictive_dist"]["y"].size == 12
    assert collection.viz["title"]["y"].item()["string"] == "Reaction"
    with pytest.raises(ArgumentError, match="give 'kde', 'ecdf' or 'hist'"):
        posterior.plot_predictive(kind="bars", backend="none")


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_pit_figure_is_the_distribution_of_loo_pit(sleep):
    posterior = make_posterior(sleep)
    collection = posterior.plot_pit(draws=40, backend="none")
    pit = np.sort(posterior.loo_pit(draws=40)["loo_pit"]["y"].to_numpy())
    drawn = collection.viz["ecdf_lines"]["y"].item()
    x, y = np.asarray(drawn["x"]), np.asarray(drawn["y"])
    np.testing.assert_allclose(y, np.searchsorted(pit, x, side="right") / len(pit) - x, atol=1e-9)


def test_a_backend_that_is_not_there_is_said_with_what_to_install(sleep, monkeypatch):
    comparison = bmm.compare(sleep.fit(), make_posterior(sleep))
    for module in ("matplotlib", "plotly", "bokeh"):
        monkeypatch.setitem(sys.modules, f"arviz_plots.backend.{module}", None)
    for backend in ("matplotlib", "plotly", "bokeh"):
        with pytest.raises(BayesmmError, match=rf"pip install 'arviz-plots\[{backend}\]'"):
            comparison.plot_forest(backend=backend)
    with pytest.raises(ArgumentError, match="give 'matplotlib', 'plotly', 'bokeh' or 'none'"):
        comparison.plot_forest(backend="svg")
