"""What ArviZ prints, cell by cell: every label stands beside its own numbers, whatever the model, whoever asks.

Draws are made: each quantity has a mean and a standard deviation of its own, so that a wrong label is a wrong number. The
labels that are expected are spelled out from the structure of the model, not taken from the package.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

import arviz as az
import arviz_base
import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmm as bmm
from bayesmm.bayes.exploring.run import Run
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.results.sensitivity import scaling_tree
from bayesmm.bayes.results.tree import build_prior_tree, build_tree
from bayesmm.errors import BayesmmWarning
from bayesmm.model import Model

CHAINS, DRAWS = 2, 8
Z = np.random.default_rng(5).standard_normal((CHAINS, DRAWS))
Z = (Z - Z.mean()) / Z.std(ddof=1)  # each quantity is mean + sd Z


ONE_SD = ("homdiag", "homcs", "ar1", "homtoep")
BY_LAG = ("toep", "homtoep")
ONE_CORRELATION = ("cs", "homcs", "ar1", "hetar1")


@dataclass(frozen=True)
class Group:
    """A grouping factor: terms of effects, correlated within a term unless ``||``, or as a structure's name says."""

    name: str
    n_levels: int
    terms: tuple[tuple[tuple[str, ...], str], ...]

    @property
    def effects(self):
        return [effect for effects, _ in self.terms for effect in effects]

    @property
    def sds(self):
        """What each standard deviation is called by: its effect, or the term whose effects have one together."""
        return [
            name
            for effects, bar in self.terms
            for name in ([" + ".join(_written(effects))] if bar in ONE_SD else effects)
        ]

    @property
    def cors(self):
        """What each correlation is called by: its pair of effects, or the term that has one."""
        names = []
        for effects, bar in self.terms:
            if bar == "|":
                names += [f"{a}, {b}" for a, b in _pairs(effects)]
            elif bar in ONE_CORRELATION:
                names.append(" + ".join(_written(effects)))
            elif bar in BY_LAG:
                names += [f"{' + '.join(_written(effects))}, lag {h}" for h in range(1, len(effects))]
        return names

    def written(self):
        names = [("", bar) if bar in ("|", "||") else (bar, "|") for _, bar in self.terms]
        terms = [" + ".join(_written(effects)) for effects, _ in self.terms]
        return [f"{name}({term} {bar} {self.name})" for (name, bar), term in zip(names, terms, strict=True)]


def _pairs(effects):
    """(0, 1), (0, 2), (1, 2), ..."""
    return sorted(itertools.combinations(effects, 2), key=lambda pair: (effects.index(pair[1]), effects.index(pair[0])))


def _written(effects):
    return [
        "1" if effect == "Intercept" else effect for effect in (effects if "Intercept" in effects else ("0", *effects))
    ]


@dataclass(frozen=True)
class Structure:
    """A model, and the label of every number in it."""

    groups: tuple[Group, ...]
    fixed: tuple[str, ...] = ("Intercept", "u")
    sigma: float | None = None

    @property
    def formula(self):
        fixed = " + ".join(_written(self.fixed))
        return f"y ~ {fixed} + {' + '.join(term for group in self.groups for term in group.written())}"

    def model(self):
        rng = np.random.default_rng(3)
        n = 60
        columns = {name: rng.normal(size=n) for name in ("y", "u", "v", "w")}
        for group in self.groups:
            for name, divisor in zip(group.name.split(":"), (1, 7), strict=False):
                columns.setdefault(name, np.array([f"{name}{i // divisor % group.n_levels}" for i in range(n)]))
        return Model(self.formula, pd.DataFrame(columns), sigma=self.sigma)

    def level_names(self, group, data):
        parts = [data[name] for name in group.name.split(":")]
        return sorted({":".join(row) for row in zip(*parts, strict=True)}, key=lambda label: label.split(":"))


def numbers(structure, model):
    """Mean and sd of everything, as arrays by variable, and by ArviZ's label with the row of our own tables."""
    arrays, named, count = {}, {}, itertools.count(1)
    data = model.design.frame

    def add(variable, shape, labels):
        found = [(100.0 + 3.0 * i, 1.0 + 0.01 * i) for i in (next(count) for _ in labels)]
        arrays[variable] = np.array(found).reshape(*shape, 2)
        named.update({label: (own, *pair) for (label, own), pair in zip(labels, found, strict=True)})

    if structure.fixed:
        add("beta", (len(structure.fixed),), [(f"beta[{name}]", name) for name in structure.fixed])
    for group in structure.groups:
        g = group.name
        add(f"sd_{g}", (len(group.sds),), [(f"sd_{g}[{name}]", f"sd({name} | {g})") for name in group.sds])
        if group.cors:
            add(f"cor_{g}", (len(group.cors),), [(f"cor_{g}[{name}]", f"cor({name} | {g})") for name in group.cors])
    if structure.sigma is None:
        add("sigma", (), [("sigma", "sigma")])
    for group in structure.groups:
        g, levels = group.name, structure.level_names(group, data)
        both = [(level, effect) for level in levels for effect in group.effects]
        labels = [(f"b_{g}[{level}, {effect}]", (g, level, effect)) for level, effect in both]
        add(f"b_{g}", (len(levels), len(group.effects)), labels)
    return arrays, named


def made(structure, model):
    arrays, named = numbers(structure, model)
    sites = {
        name: np.moveaxis(m[..., 0, None, None] + m[..., 1, None, None] * Z, (-2, -1), (0, 1))
        for name, m in arrays.items()
    }
    stats = {"lp": Z, "diverging": np.zeros(Z.shape, bool)}
    posterior = Posterior(
        data=build_tree(Run(sites=sites, stats=stats), model.design, None, {}),
        problem=model.problem,
        priors=model.priors,
        program="marginal",
    )
    return posterior, named


def check(table, named):
    """Every cell, and no row but these."""
    assert table.index.is_unique
    assert sorted(table.index) == sorted(named)
    expected = pd.DataFrame({label: pair for label, (_, *pair) in named.items()}, index=["mean", "sd"]).T
    np.testing.assert_allclose(table.loc[expected.index, ["mean", "sd"]], expected, rtol=1e-9)


def summarise(data, **options):
    return az.summary(data, kind="stats", round_to="none", **options)


BARS = ["|", "||", "diag", "homdiag", *ONE_CORRELATION, *BY_LAG]
EFFECTS = st.lists(st.sampled_from(["Intercept", "u", "v", "w"]), min_size=1, max_size=4, unique=True)


@st.composite
def structures(draw):
    names = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
    groups = []
    for name in names:
        effects = sorted(draw(EFFECTS), key=["Intercept", "u", "v", "w"].index)
        cut = draw(st.integers(0, len(effects) - 1))
        parts = [part for part in (effects[:cut], effects[cut:]) if part]
        terms = tuple((tuple(part), draw(st.sampled_from(BARS if len(part) > 1 else BARS[:2]))) for part in parts)
        groups.append(Group(name, draw(st.integers(2, 5)), terms))
    if len(groups) > 1 and draw(st.booleans()):
        groups.append(Group(f"{names[0]}:{names[1]}", 2, ((("Intercept",), "|"),)))
    fixed = draw(st.sampled_from([("Intercept", "u"), ("Intercept",), ("u", "v"), ()]))
    return Structure(tuple(groups), fixed, draw(st.sampled_from([None, 1.5])))


@settings(max_examples=12, deadline=None)
@given(structure=structures(), random=st.randoms(use_true_random=False))
def test_arviz_labels_every_number_of_any_model(structure, random):
    model = structure.model()
    posterior, named = made(structure, model)
    check(summarise(posterior.data), named)
    variables = list(map(str, posterior.data["posterior"].data_vars))
    random.shuffle(variables)  # whoever asks chooses the order
    check(summarise(posterior.data, var_names=variables), named)
    shuffled = posterior.data["posterior"].to_dataset()[variables]
    check(summarise(xr.DataTree.from_dict({"posterior": shuffled})), named)


@settings(max_examples=12, deadline=None)
@given(structure=structures())
def test_our_tables_have_the_numbers_that_arviz_labels(structure):
    model = structure.model()
    posterior, named = made(structure, model)
    table = az.summary(posterior.data, round_to="none", ci_kind="eti", ci_prob=0.9)
    parameters = posterior.parameter_table(level=0.9)
    effects = posterior.random_effects(level=0.9).set_index(["group", "level", "effect"])
    assert parameters.index.is_unique
    assert effects.index.is_unique
    assert len(table) == len(parameters) + len(effects) == len(named)
    for label, (own, *_) in named.items():
        row = table.loc[label]
        if isinstance(own, str):
            ours = parameters.loc[own, ["mean", "sd", "lower", "upper", "r_hat", "ess_bulk"]]
            theirs = row[["mean", "sd", "eti90_lb", "eti90_ub", "r_hat", "ess_bulk"]]
        else:
            ours = effects.loc[own, ["mean", "sd", "lower", "upper"]]
            theirs = row[["mean", "sd", "eti90_lb", "eti90_ub"]]
        np.testing.assert_allclose(theirs.to_numpy(float), ours.to_numpy(float), rtol=1e-9, err_msg=label)


NESTED = Structure((Group("a", 3, ((("Intercept", "u"), "|"),)), Group("a:b", 3, ((("Intercept",), "|"),))))
CROSSED = Structure((Group("a", 5, ((("Intercept", "u"), "||"),)), Group("b", 3, ((("Intercept", "v", "w"), "|"),))))
SEVERAL = Structure((Group("a", 3, ((("Intercept",), "|"), (("u", "v"), "|"), (("w",), "|"))),), ("u", "v"), 2.0)
STRUCTURED = Structure(
    (
        Group("a", 3, ((("Intercept", "u"), "cs"), (("v", "w"), "ar1"))),
        Group("b", 2, ((("Intercept", "u"), "hetar1"), (("v", "w"), "homcs"))),
        Group("c", 4, ((("Intercept", "u"), "homdiag"),)),
        Group("d", 5, ((("Intercept", "u", "v"), "toep"),)),
    )
)
EXAMPLES = pytest.mark.parametrize(
    "structure", [NESTED, CROSSED, SEVERAL, STRUCTURED], ids=["nested", "crossed", "several", "structured"]
)


@EXAMPLES
@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_files_keep_every_label_beside_its_number(structure, ending, tmp_path):
    posterior, named = made(structure, structure.model())
    path = posterior.save(tmp_path / f"made.{ending}")
    read = az.from_netcdf(path) if ending == "nc" else az.from_zarr(path)
    check(summarise(read), named)  # Zarr sorts variables by their names
    check(summarise(bmm.load(path).data), named)


@EXAMPLES
def test_draws_from_the_prior_are_labelled_as_those_from_the_posterior(structure):
    model = structure.model()
    arrays, named = numbers(structure, model)
    drawn = {name: np.moveaxis(m[..., 0, None] + m[..., 1, None] * Z.ravel(), -1, 0) for name, m in arrays.items()}
    drawn["y"] = np.zeros((Z.size, model.design.n))
    tree = build_prior_tree(drawn, model.design, {})
    check(summarise(tree, group="prior"), named)
    assert list(tree["prior"].data_vars) == list(made(structure, model)[0].data["posterior"].data_vars)


@EXAMPLES
def test_estimates_are_labelled_as_draws_are_and_so_are_many_of_them(structure):
    fit = structure.model().fit()
    tree = fit.to_datatree()
    _, named = numbers(structure, structure.model())
    effects = fit.random_effects().set_index(["group", "level", "effect"])
    for group, column in (("estimate", "estimate"), ("std_error", "std_error")):
        data = tree[group].to_dataset()
        table = arviz_base.dataset_to_dataframe(data.expand_dims("draw"), sample_dims=["draw"]).T[0]
        assert sorted(table.index) == sorted(named)
        for label, (own, *_) in named.items():
            ours = fit.parameters.loc[own, column] if isinstance(own, str) else effects.loc[own, column]
            np.testing.assert_equal(table[label], ours, err_msg=label)
    one = tree["estimate"].to_dataset()
    repeated = xr.concat([one * factor for factor in (1.0, 1.5, 2.0)], dim="draw").expand_dims("chain")
    many = summarise(repeated)  # as a bootstrap would be put together
    np.testing.assert_allclose(many["mean"], 1.5 * table_of(one)[many.index], rtol=1e-9)


def table_of(dataset):
    return arviz_base.dataset_to_dataframe(dataset.expand_dims("draw"), sample_dims=["draw"]).T[0]


@EXAMPLES
def test_diagnostics_forests_and_frames_are_labelled_alike(structure):
    posterior, named = made(structure, structure.model())
    own = {label: mean for label, (_, mean, _) in named.items()}
    data = posterior.data["posterior"].to_dataset()
    forest = az.plot_forest(posterior.data, combined=True, backend="none")
    with az.rc_context({"plot.max_subplots": 1000}):
        traces = az.plot_trace_dist(posterior.data, compact=False, backend="none")
    hdi = arviz_stats.hdi(posterior.data)
    for label, (name, selection, _) in selections(data).items():
        low, high = hdi[name].sel(selection).to_numpy()
        assert low < own[label] < high, label
        assert high - low < 8 * (1 + 0.01 * len(own)), label
        point = forest.viz["point_estimate"][name].sel(selection).item()
        assert np.ravel(point["x"])[0] == pytest.approx(own[label]), label
        density = traces.viz["dist"][name].sel(selection)
        assert np.mean(np.ravel(density.to_numpy().ravel()[0]["x"])) == pytest.approx(own[label], abs=6), label
    for label, (name, selection, _) in selections(data).items():
        rows = data[[name]].to_dataframe()  # one of all variables has a row for every combination of all dims
        for dim, value in selection.items():
            rows = rows.xs(value, level=dim)
        assert rows[name].mean() == pytest.approx(own[label]), label


def selections(data):
    """Label of each number, its variable, and where in it."""
    labeller = arviz_base.labels.BaseLabeller()
    found = arviz_base.xarray_sel_iter(data, skip_dims={"chain", "draw"})
    return {labeller.make_label_flat(*each): each for each in found}


def test_power_scaling_and_leaving_out_name_parameters_rows_and_levels():
    structure = CROSSED
    model = structure.model()
    posterior = model.sample(method="importance", draws=250, seed=1)
    table = arviz_stats.psense_summary(scaling_tree(posterior))
    assert table.index.tolist() == [f"parameter[{name}]" for name in posterior.parameters.index]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # these effects are noise, so that Pareto k̂ may be large
        rows, groups = az.loo(posterior.data).elpd_i, posterior.loo(of="a", draws=400).elpd_i
    densities = posterior.data["log_likelihood"]["y"].sel(obs=7).to_numpy()
    assert rows.sel(obs=7).item() == pytest.approx(-np.log(np.mean(np.exp(-densities))), abs=0.1)
    assert groups.coords["a"].to_numpy().tolist() == sorted(model.design.frame["a"].unique())


@pytest.mark.parametrize("method", ["importance", "quadrature", "nuts"])
def test_a_sampled_posterior_is_labelled_as_its_own_tables_are(method, tmp_path):
    """The data have effects far apart, so that each label is known by its number too."""
    n_levels, rng = 5, np.random.default_rng(1)
    levels = np.repeat([f"s{i}" for i in range(n_levels)], 12)
    u = np.tile(np.arange(12.0), n_levels)
    truth = pd.DataFrame({"Intercept": [-20.0, 30, -40, 50, -20], "u": [7.0, -8, 9, -7, -1]}, index=sorted(set(levels)))
    y = truth.loc[levels, "Intercept"].to_numpy() + truth.loc[levels, "u"].to_numpy() * u + rng.normal(size=len(u))
    model = Model("y ~ 1 + u + (u | g)", pd.DataFrame({"y": y, "u": u, "g": levels}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # of so few draws
        posterior = model.sample(method=method, draws=300, tune=300, seed=2)
    effects = posterior.random_effects().set_index(["level", "effect"])
    path = posterior.save(tmp_path / "p.zarr")
    for data in (posterior.data, az.from_zarr(path), bmm.load(path).data):
        table = summarise(data)
        assert len(table) == len(posterior.parameters) + len(effects)
        for level, effect in effects.index:
            label = f"b_g[{level}, {effect}]"
            far = table.loc[f"beta[{effect}]", "mean"] + table.loc[label, "mean"] - truth.loc[level, effect]
            assert abs(far) < 3.0, label
            near = effects.loc[(level, effect)]
            assert table.loc[label, "mean"] == pytest.approx(near["mean"], abs=0.2 * near["sd"])
        for name in ("Intercept", "u"):
            row = posterior.parameters.loc[f"sd({name} | g)"]
            assert table.loc[f"sd_g[{name}]", "mean"] == pytest.approx(row["mean"], abs=0.3 * row["sd"])
