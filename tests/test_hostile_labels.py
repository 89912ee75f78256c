"""Names of columns, factors and levels that collide with each other, with the table's own words, and with ArviZ's."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import bayesmm as bmm
from bayesmm.bayes.exploring.run import Run
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.results.tree import build_tree
from bayesmm.errors import DesignError
from bayesmm.priors import LKJ, HalfNormal, Normal

COLUMNS = [
    "Intercept", "sigma", "sd", "cor", "fixed", "beta", "sd(g)", "beta(sigma)", "beta(x)", "x:w", "f[T.b]", "a b", "ab",
    "chain", "draw", "obs", "coef", "mean", "log-likelihood", "cor(x, Intercept | g)", "sd(Intercept|g)", "I(x / 2)",
    "1", "ü", "sd(Intercept | g)", "`", "np", "a.b",
]  # fmt: skip
GROUPS = [
    "coef", "obs", "chain", "draw", "sample", "beta", "sigma", "y", "a b", "a_b", "a/b", "b_a", "sd_g", "g_effect", "g_sd",
    "g_pair", "g_0", "g:h", "Intercept", "summary", "variable", "label", "column", "row", "residual", "node", "parameter",
    "ci_bound", "quantile", ".", "..", "1a", " g", "ü", "lp", "model", "X",
]  # fmt: skip
LEVELS = ["a", "b:c", "", "nan", "None", "308", "x, Intercept", "é/è", "[0]"]
PRIOR = {"fixed": Normal(0, 7), "sd": HalfNormal(7), "sigma": HalfNormal(7), "cor": LKJ(7)}
N = 60
pytestmark = pytest.mark.filterwarnings("ignore:.*has the level.*:bayesmm.errors.BayesmmWarning")  # empty, nan, None
Z = np.random.default_rng(5).standard_normal((2, 8))
Z = (Z - Z.mean()) / Z.std(ddof=1)


def make_data(columns, group, levels):
    rng = np.random.default_rng(2)
    data = {name: rng.normal(size=N) for name in ("response", "x", "w", *columns)}
    data |= {"f": np.resize(list("abc"), N), "g": np.repeat(list("stuvw"), 12), "h": np.resize(list("ij"), N)}
    return pd.DataFrame(data | {group: np.array(levels)[np.arange(N) // 3 % len(levels)]})


def made(model):
    """Draws in which every number has a mean of its own."""
    sites, count = {}, 0
    shapes = {name: () for name in ("sigma",) if model.labels.has_sigma}
    for row in model.labels.parameter_rows():
        if row.index is not None:
            shapes[row.variable] = (row.index + 1,)
    for block in model.labels.blocks:
        shapes[block.effect_variable] = (len(block.levels), len(block.effects))
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        means = (50.0 + np.arange(count, count + size)).reshape(shape)
        count += size
        sites[name] = means + np.multiply.outer(Z, np.ones(shape)) if shape else means + Z
    stats = {"lp": Z, "diverging": np.zeros(Z.shape, bool)}
    return Posterior(
        data=build_tree(Run(sites=sites, stats=stats), model.design, None, {}),
        problem=model.problem,
        priors=model.priors,
        program="marginal",
    )


def quoted(name):
    return f"`{name}`"


def formulas(column, other, group):
    column, other, group = map(quoted, (column, other, group))
    return [
        f"response ~ x * w + f + {column} + {other} + (1 + {column} + x | g) + (1 | {group})",
        f"response ~ 0 + {column} + ({column} | {group}) + (0 + x:w + {other} | {group}) + (1 | g:h)",
    ]


@settings(max_examples=5, deadline=None)
@given(
    columns=st.lists(
        st.sampled_from([name for name in COLUMNS if "`" not in name]), min_size=2, max_size=2, unique=True
    ),
    group=st.sampled_from(GROUPS),
    levels=st.lists(st.sampled_from(LEVELS), min_size=3, unique=True),
    which=st.integers(0, 1),
)
@example(columns=["Intercept", "sd"], group="a/b", levels=LEVELS, which=0)
@example(columns=["Intercept", "x:w"], group="g:h", levels=LEVELS, which=1)
@example(columns=["sigma", "beta(sigma)"], group="summary", levels=LEVELS, which=0)
@example(columns=["a b", "ab"], group="coef", levels=LEVELS, which=1)
def test_every_label_is_one_parameter_wherever_it_is_written(columns, group, levels, which):
    assume(group not in columns)
    data = make_data(columns, group, levels)
    formula = formulas(*columns, group)[which]
    model = bmm.Model(formula, data)
    fit, posterior = model.fit(), made(model)
    parameters, effects = posterior.parameters, posterior.random_effects()
    assert parameters.index.is_unique
    assert parameters.index.tolist() == fit.parameters.index.tolist()
    assert fit.fixed_effects.index.is_unique
    assert fit.theta.index.is_unique
    assert not effects.duplicated(["group", "level", "effect"]).any()
    summary = az.summary(posterior.data, kind="stats", round_to="none")
    assert summary.index.is_unique
    assert summary["mean"].tolist() == pytest.approx([*parameters["mean"], *effects["mean"]])
    for values in posterior.data["posterior"].coords.values():
        assert values.to_index().is_unique
    comparison = bmm.compare(fit, posterior)
    assert comparison.table.index.tolist() == parameters.index.tolist()
    assert len(str(comparison)) > 100
    np.testing.assert_allclose(fit.predict(data), fit.fitted, rtol=1e-9, atol=1e-9)
    check_priors(formula, data, parameters)


def check_priors(formula, data, parameters):
    """A prior goes to the row whose label is its key, and to no other."""
    for label, kind in parameters["kind"].items():
        if kind == "cor" and (parameters["kind"] == "cor").sum() > 1:
            continue  # a matrix has one prior
        table = bmm.Model(formula, data, priors={label: PRIOR[kind]}).priors.table()
        assert table.index[table["source"] == "user"].tolist() == [label]
        assert table.loc[label, "prior"] == str(PRIOR[kind])


@pytest.mark.parametrize("group", GROUPS)
def test_factors_of_any_name_are_stored_summarised_and_plotted(group, tmp_path):
    model = bmm.Model(f"response ~ x + (x | {quoted(group)}) + (1 | g)", make_data([], group, LEVELS))
    posterior = made(model)
    expected = [*posterior.parameters["mean"], *posterior.random_effects()["mean"]]
    for path in (posterior.save(tmp_path / "a.nc"), posterior.save(tmp_path / "a.zarr")):
        read = az.from_netcdf(path) if path.suffix == ".nc" else az.from_zarr(path)
        summary = az.summary(read, kind="stats", round_to="none")
        assert sorted(summary["mean"]) == pytest.approx(sorted(expected))
        again = bmm.load(path)
        pd.testing.assert_frame_equal(again.random_effects(), posterior.random_effects())
    estimates = model.fit().to_datatree()["estimate"]
    assert set(estimates.data_vars) == set(posterior.data["posterior"].data_vars)
    if group in ("column", "model", "plot_axis", "a/b"):
        some = posterior.data["posterior"].to_dataset().drop_vars(["b_g", "sd_g"])
        az.plot_forest(some, combined=True, backend="none")


@pytest.mark.parametrize(
    "pair", [("a b", "a_b"), ("a/b", "a_b"), ("g", "g_0"), ("g", "g_sd"), ("g:h", "g_h"), ("g", "b_g")]
)
def test_factors_whose_names_meet_have_sites_variables_and_dims_of_their_own(pair):
    first, second = pair
    data = make_data([], second, LEVELS[:4])
    data[first] = data[first] if first in data else np.resize(list("pqrst"), N)
    formula = f"response ~ x + (1 + x | {quoted(first)}) + (0 + w + f | {quoted(first)}) + (1 + x | {quoted(second)})"
    model = bmm.Model(formula, data)
    assert made(model).data["posterior"].sizes.keys() >= {block.dim for block in model.labels.blocks}
    prior = model.prior_predictive(20, seed=1)["prior"]
    assert set(prior.data_vars) == set(made(model).data["posterior"].data_vars)
    program, _ = model.program("conditional")
    sites = [line.split(" ~ ")[0].split("[")[0] for line in str(program).splitlines()[1:]]
    assert len(set(sites)) == len(sites)


def test_a_column_called_intercept_is_told_from_the_constant():
    data = make_data(["Intercept"], "g", ["a", "b", "c"])
    data["response"] = 5.0 + 3.0 * data["Intercept"] + 0.1 * data["response"]
    model = bmm.Model("response ~ Intercept + (1 | f) + (0 + Intercept | f)", data)
    estimate = model.fit().parameters["estimate"]
    assert estimate["Intercept"] == pytest.approx(5.0, abs=0.2)
    assert estimate["`Intercept`"] == pytest.approx(3.0, abs=0.2)
    assert {"sd(Intercept | f)", "sd(`Intercept` | f)"} < set(estimate.index)
    assert "`Intercept`" in str(model.fit())


def test_labels_that_cannot_be_told_apart_are_refused_with_what_to_do():
    data = make_data(["x, w", "w, u", "u"], "g", ["a", "b", "c"])
    with pytest.raises(DesignError, match=r"both be called 'cor\(x, w, u | g\)'.*Rename the columns"):
        bmm.Model("response ~ 1 + (0 + x + `x, w` + `w, u` + u | g)", data)
    data["f"], data["k"] = np.resize(["a", "b", "b]:k[T.i"], N), np.resize(["h", "i", "i]:f[T.b"], N // 3).repeat(3)
    with pytest.raises(DesignError, match="Rename the columns or the levels"):
        bmm.Model("response ~ f * k + (1 | g)", data)


def test_rows_are_told_from_a_factor_called_row():
    posterior = made(bmm.Model("response ~ x + (1 | row)", make_data([], "row", ["p", "q", "r", "s"])))
    rows, levels = (posterior.log_likelihood(of, "conditional")["log_likelihood"]["y"] for of in ("row", "`row`"))
    assert rows.sizes["obs"] == N
    assert levels.coords["row"].to_numpy().tolist() == list("pqrs")
    assert levels.sum().item() == pytest.approx(rows.sum().item())


def test_shares_of_a_factor_called_residual_are_told_from_those_of_the_residual():
    posterior = made(bmm.Model("response ~ x + (1 | residual)", make_data([], "residual", ["p", "q", "r", "s"])))
    assert posterior.variance_shares().index.tolist() == ["`residual`", "residual"]
