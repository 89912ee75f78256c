"""Rows with several levels of one grouping factor, ``mm(a, b)`` and ``dyad(sender, receiver)``, through the public interface.

Every number is held to dense matrices of the textbook; what models mean is held to models that mean the same.
"""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from made_posterior import make_posterior
from numpy.testing import assert_allclose, assert_array_equal
from oracle import DenseModel, block_diagonal, level_covariance

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning, DesignError, PredictionError

EXACT = 1e-8  # relative, of sums in another order
SEARCH = 1e-4  # of estimates: two searches of one criterion end that near each other
TEACHERS = [f"t{i:02d}" for i in range(9)]


def school(n: int = 80, seed: int = 1) -> pd.DataFrame:
    """Pupils with two teachers of nine, some with one teacher twice; weights that differ from row to row."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, n), rng.integers(0, 9, n)
    effects, slopes = rng.normal(size=9) * 2.0, rng.normal(size=9)
    x, w = rng.normal(size=n), rng.uniform(0.5, 3.0, n)
    y = 3.0 + x + 0.5 * (effects[a] + effects[b]) + 0.5 * x * (slopes[a] + slopes[b]) + rng.normal(size=n) * 0.6
    names = np.array(TEACHERS)
    pupils = {"room": rng.integers(0, 5, n), "w": w, "v": 4.0 - w}
    return pd.DataFrame({"y": y, "x": x, "a": names[a], "b": names[b], **pupils})


def letters(q: int = 9, seed: int = 2) -> pd.DataFrame:
    """Each writes to each other."""
    rng = np.random.default_rng(seed)
    sender, receiver = np.nonzero(~np.eye(q, dtype=bool))
    effects = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.5], [0.5, 0.6]], size=q)
    y = 2.0 + effects[sender, 0] + effects[receiver, 1] + 0.5 * rng.normal(size=len(sender))
    names = np.array([f"p{i}" for i in range(q)])
    x = rng.normal(size=len(sender))
    return pd.DataFrame({"y": y, "x": x, "sender": names[sender], "receiver": names[receiver]})


SCHOOL, LETTERS = school(), letters()


def indicators(values: pd.Series, levels) -> np.ndarray:
    return (values.astype(str).to_numpy()[:, None] == np.array(levels, dtype=str)).astype(float)


def columns(data: pd.DataFrame, effects: list[str]) -> np.ndarray:
    return np.column_stack([np.ones(len(data)) if name == "1" else data[name] for name in effects])


def members_matrix(data, names, effects, weights, levels) -> np.ndarray:
    """Z of members: level by level, inside a level effect by effect."""
    Z = sum(np.asarray(w)[:, None] * indicators(data[name], levels) for name, w in zip(names, weights, strict=True))
    return np.einsum("nq,nk->nqk", Z, columns(data, effects)).reshape(len(data), -1)


def roles_matrix(data, names, effects, levels) -> np.ndarray:
    parts = [np.einsum("nq,nk->nqk", indicators(data[name], levels), columns(data, effects)) for name in names]
    return np.concatenate(parts, axis=2).reshape(len(data), -1)


def equal(data):
    return [np.full(len(data), 0.5)] * 2


CASES = {
    "members": ("y ~ x + (1 | mm(a, b))", SCHOOL, lambda d, q: [members_matrix(d, "ab", ["1"], equal(d), q)]),
    "members, slopes": (
        "y ~ x + (x | mm(a, b))",
        SCHOOL,
        lambda d, q: [members_matrix(d, "ab", ["1", "x"], equal(d), q)],
    ),
    "scaled": (
        "y ~ x + (1 | mm(a, b, weights = cbind(w, v)))",
        SCHOOL,
        lambda d, q: [members_matrix(d, "ab", ["1"], [d.w / (d.w + d.v), d.v / (d.w + d.v)], q)],
    ),
    "unscaled": (
        "y ~ x + (1 | mm(a, b, weights = cbind(w, 2 * v), scale = FALSE))",
        SCHOOL,
        lambda d, q: [members_matrix(d, "ab", ["1"], [d.w, 2 * d.v], q)],
    ),
    "differences": (
        "y ~ x + (1 | mm(a, b, weights = cbind(1, -1), scale = False))",
        SCHOOL,
        lambda d, q: [members_matrix(d, "ab", ["1"], [np.ones(len(d)), -np.ones(len(d))], q)],
    ),
    "beside another factor": (
        "y ~ x + (x || mm(a, b)) + (1 | room)",
        SCHOOL,
        lambda d, q: [members_matrix(d, "ab", ["1", "x"], equal(d), q), indicators(d["room"], range(5))],
    ),
    "dyads": ("y ~ x + (1 | dyad(sender, receiver))", LETTERS, lambda d, q: [roles_matrix(d, d.columns[2:], ["1"], q)]),
    "dyads, uncorrelated": (
        "y ~ x + (1 || dyad(sender, receiver))",
        LETTERS,
        lambda d, q: [roles_matrix(d, d.columns[2:], ["1"], q)],
    ),
    "dyads, slopes": (
        "y ~ x + (x | dyad(sender, receiver))",
        LETTERS,
        lambda d, q: [roles_matrix(d, d.columns[2:], ["1", "x"], q)],
    ),
}


def dense_of(name: str) -> tuple[bmm.Model, DenseModel]:
    formula, data, matrices = CASES[name]
    model = bmm.Model(formula, data)
    Z = np.hstack(matrices(data, model.design.blocks[0].levels))
    return model, DenseModel(y=data["y"].to_numpy(), X=columns(data, ["1", "x"]), Z=Z)


def spread_of(model: bmm.Model, factors) -> np.ndarray:
    blocks = zip(factors, model.design.blocks, strict=True)
    return block_diagonal([level_covariance(F @ F.T, block.q) for F, block in blocks])


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", CASES)
def test_fits_equal_dense_textbook_ones(name, method):
    model, dense = dense_of(name)
    fit = model.fit(method)
    relative = spread_of(model, fit.factors)
    assert_allclose(fit.loglik, dense.profiled_log_likelihood(relative, method), rtol=EXACT)
    for step in (0.97, 1.03):  # no better one beside it
        assert dense.profiled_log_likelihood(step * relative, method) <= fit.loglik + SEARCH
    G = fit.sigma**2 * relative
    assert_allclose(fit.fixed_effects["estimate"], dense.fixed_effects(G, fit.sigma), rtol=1e-6)
    V = dense.covariance(G, fit.sigma)
    residual = dense.y - dense.X @ dense.fixed_effects(G, fit.sigma)
    modes = G @ dense.Z.T @ np.linalg.solve(V, residual)
    assert_allclose(fit.random_effects()["estimate"], modes, atol=1e-6)
    assert_allclose(fit.predict(), dense.X @ fit.fixed_effects["estimate"] + dense.Z @ modes, atol=1e-6)
    assert_allclose(model.marginal_covariance(at=fit), V, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_symbolic_covariances_have_the_values_of_numeric_ones(name):
    model, _ = dense_of(name)
    fit, rows = model.fit(), list(range(6))
    numbers = model.marginal_covariance(rows=rows, at=fit).to_numpy()
    texts = model.marginal_covariance(rows=rows).to_numpy()
    values = _symbol_values(model, fit)
    for text, number in zip(texts.ravel(), numbers.ravel(), strict=True):
        for symbol in sorted(values, key=len, reverse=True):
            text = text.replace(symbol, f"({values[symbol]!r})")
        written = eval(text.replace("·", "*").replace("−", "-").replace("²", "**2"))
        assert written == pytest.approx(number, rel=1e-3, abs=1e-3)


def _symbol_values(model, fit):
    """Values of σ²(...), σ(..., ...) and σ²."""
    table, values = fit.parameters["estimate"], {"σ²": fit.sigma**2}
    for block in model.labels.blocks:
        sds = {effect: table[f"sd({effect} | {block.group})"] for effect in block.effects}
        alone = block.effects == ("Intercept",)
        for effect, sd in sds.items():
            values[f"σ²({block.group})" if alone else f"σ²({effect} | {block.group})"] = sd**2
        for pair in block.cors:
            one, other = pair.split(", ")
            values[f"σ({pair} | {block.group})"] = table[f"cor({pair} | {block.group})"] * sds[one] * sds[other]
    return values


def same_fit(one: bmm.Model, other: bmm.Model) -> None:
    assert_allclose(one.fit().loglik, other.fit().loglik, rtol=1e-9)
    assert_allclose(one.fit().predict(), other.fit().predict(), atol=1e-4)


def test_the_order_of_members_means_nothing():
    first, second = (bmm.Model(f"y ~ x + (x | mm({names}))", SCHOOL) for names in ("a, b", "b, a"))
    assert first.fit().loglik == second.fit().loglik
    assert_array_equal(first.fit().parameters["estimate"], second.fit().parameters["estimate"])


def test_two_equal_members_are_one_level():
    twice = SCHOOL.assign(b=SCHOOL["a"])
    members, single = (bmm.Model(f"y ~ x + (x | {group})", twice) for group in ("mm(a, b)", "a"))
    assert_array_equal(members.fit().parameters["estimate"], single.fit().parameters["estimate"])
    assert_array_equal(members.fit().random_effects()["estimate"], single.fit().random_effects()["estimate"])


def test_a_member_that_a_row_has_twice_adds_up():
    one = SCHOOL.assign(c=SCHOOL["a"])
    three = bmm.Model("y ~ x + (1 | mm(a, b, c))", one)
    weighted = bmm.Model("y ~ x + (1 | mm(a, b, weights=cbind(2, 1)))", one)
    same_fit(three, weighted)


def test_only_ratios_of_scaled_weights_matter():
    plain, constant = (
        bmm.Model(f"y ~ x + (1 | mm(a, b{weights}))", SCHOOL) for weights in ("", ", weights=cbind(w, w)")
    )
    same_fit(plain, constant)


def test_effects_of_unscaled_weights_are_smaller_by_their_size():
    halves = bmm.Model("y ~ x + (1 | mm(a, b))", SCHOOL).fit().parameters["estimate"]
    ones = bmm.Model("y ~ x + (1 | mm(a, b, weights=cbind(1, 1), scale=FALSE))", SCHOOL).fit().parameters["estimate"]
    assert_allclose(halves["sd(Intercept | mm(a, b))"], 2.0 * ones["sd(Intercept | mm(a, b))"], rtol=1e-5)
    assert_allclose(halves["sigma"], ones["sigma"], rtol=1e-6)


def test_uncorrelated_roles_of_disjoint_people_are_two_factors():
    apart = LETTERS.assign(receiver="to " + LETTERS["receiver"])
    dyads = bmm.Model("y ~ x + (1 || dyad(sender, receiver))", apart)
    crossed = bmm.Model("y ~ x + (1 | sender) + (1 | receiver)", apart)
    same_fit(dyads, crossed)
    names = [f"sd({role} | dyad(sender, receiver))" for role in ("sender", "receiver")]
    expected = [f"sd(Intercept | {role})" for role in ("sender", "receiver")]
    found = dyads.fit().parameters["estimate"][names]
    assert_allclose(found, crossed.fit().parameters["estimate"][expected], rtol=SEARCH)


def test_one_factor_nested_in_the_other_way_of_writing_a_dyad():
    """Two roles with one sd each and correlation one are two members that add up: the criteria agree there."""
    dyads, members = (
        dense_of("dyads")[0],
        bmm.Model("y ~ x + (1 | mm(sender, receiver, weights=cbind(1, 1), scale=False))", LETTERS),
    )
    at = {"Intercept": 1.0, "x": 0.0, "sigma": 0.7}
    group = "dyad(sender, receiver)"
    one = dyads.marginal_covariance(
        at={**at, f"sd(sender | {group})": 0.4, f"sd(receiver | {group})": 0.4, f"cor(sender, receiver | {group})": 1.0}
    )
    other = members.marginal_covariance(at={**at, "sd(Intercept | mm(sender, receiver))": 0.4})
    assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", ["scaled", "dyads, slopes", "beside another factor"])
def test_rows_of_the_fit_are_predicted_alike_as_new_rows(name):
    formula, data, _ = CASES[name]
    fit = bmm.Model(formula, data).fit()
    assert_allclose(fit.predict(data.sample(frac=1.0, random_state=0).sort_index()), fit.predict(), atol=1e-12)


def test_new_people_have_effects_of_zero_or_are_refused():
    model, _ = dense_of("dyads")
    fit = model.fit()
    new = LETTERS.iloc[:2].assign(receiver=["nobody yet", "p3"], sender=["p0", None])
    with pytest.raises(PredictionError, match=r"1 level\(s\) of 'dyad\(sender, receiver\)' .*'nobody yet'"):
        fit.predict(new)
    found = fit.predict(new, new_levels="population")
    effects = fit.random_effects().set_index(["level", "effect"])["estimate"]
    fixed = fit.fixed_effects["estimate"]
    mean = fixed["Intercept"] + fixed["x"] * new["x"].to_numpy()
    assert_allclose(found - mean, [effects["p0", "sender"], effects["p3", "receiver"]], atol=1e-10)
    assert np.isnan(fit.predict(new.iloc[1:])).all()


def test_rows_with_a_missing_member_are_dropped_and_counted():
    gaps = SCHOOL.assign(b=SCHOOL["b"].where(SCHOOL.index % 10 != 3))
    with pytest.warns(BayesmmWarning, match=r"8 of 80 rows dropped because of missing values: b \(8\)"):
        model = bmm.Model("y ~ x + (1 | mm(a, b))", gaps)
    assert model.design.n == 72


@pytest.mark.parametrize(
    ("first", "second", "levels"),
    [
        ([10, 2, 2, 3], [3, 10, 4, 2], ("2", "3", "4", "10")),
        ([10, 2, 2, 3], ["3", "10", "b", "2"], ("2", "3", "10", "b")),
        (list("badc"), list("ebea"), ("a", "b", "c", "d", "e")),
        (pd.Categorical(list("badc"), categories=list("dcba")), list("ebea"), ("d", "c", "b", "a", "e")),
    ],
)
def test_levels_are_those_of_either_column_matched_by_label(first, second, levels):
    data = pd.DataFrame({"a": first, "b": second}).loc[np.repeat(range(4), 3)].reset_index(drop=True)
    data["y"] = np.random.default_rng(0).normal(size=12)
    block = bmm.Model("y ~ 1 + (1 | mm(a, b))", data).design.blocks[0]
    assert block.levels == levels
    texts = np.array(block.levels)
    for membership, name in zip(block.incidence.memberships, "ab", strict=True):
        assert_array_equal(texts[membership.codes], data[name].astype(str))


@pytest.mark.parametrize(
    ("formula", "change", "message"),
    [
        ("y ~ 1 + (1 | mm(a, b, weights=cbind(w, v)))", {"w": -1.0}, r"weight 'w' of mm\(a, b\) is -1 .*scale=False"),
        ("y ~ 1 + (1 | mm(a, b, weights=cbind(w, v)))", {"w": 0.0, "v": 0.0}, r"All weights of mm\(a, b\) are zero"),
        ("y ~ 1 + (1 | mm(a, b))", {"a": "t0", "b": "t0"}, r"'mm\(a, b\)' has the single level 't0'"),
        ("y ~ 1 + (1 | dyad(a, b))", {"b": SCHOOL["a"]}, r"column 'b' .* is made up of 'a' in all 80 rows"),
        ("y ~ 1 + (1 | mm(a, b)) + (1 | mm(b, a))", {}, r"effect 'Intercept' varies by 'mm\(b, a\)' in two terms"),
        ("y ~ 1 + (1 | mm(a, b, weights=cbind(u, v)))", {}, "'u'"),
    ],
)
def test_data_that_do_not_suit_are_refused_with_what_to_do(formula, change, message):
    with pytest.raises(DesignError, match=message):
        bmm.Model(formula, SCHOOL.assign(**change))


def test_the_same_members_with_other_weights_have_names_of_their_own():
    model = bmm.Model("y ~ 1 + (1 | mm(a, b)) + (1 | mm(a, b, weights=cbind(w, v)))", SCHOOL)
    assert model.labels.parameter_rows()[1].name == "sd(Intercept | mm(a, b))"
    assert model.labels.parameter_rows()[2].name == "sd(Intercept | mm(a, b, weights=cbind(w, v)))"
    assert (
        model.specification.normalised()
        == bmm.Model(model.specification.normalised(), SCHOOL).specification.normalised()
    )


def test_dyads_are_described_in_words_and_symbols():
    text = " ".join(str(dense_of("dyads, slopes")[0]).split())
    assert "b₀[senderᵢ] + b₁[senderᵢ]·xᵢ + b₂[receiverᵢ] + b₃[receiverᵢ]·xᵢ" in text
    assert "effects sender, x of sender, receiver, x of receiver" in text
    weighted = str(bmm.Model("y ~ 1 + (1 | mm(a, b, weights=cbind(w, 2 * v)))", SCHOOL))
    assert "(wᵢ·b₀[aᵢ] + (2 * v)ᵢ·b₀[bᵢ])/(wᵢ + (2 * v)ᵢ)" in weighted
    assert "rows have several levels of dyad(sender, receiver)" in " ".join(str(dense_of("dyads")[0].plan).split())


def test_arviz_labels_each_effect_of_each_person():
    """Draws have the means of the modes: a number beside a wrong label is a wrong number."""
    model, _ = dense_of("dyads, slopes")
    table = az.summary(make_posterior(model).data, var_names=["b_dyad_sender_receiver"], kind="stats", round_to="none")
    effects = model.fit().random_effects()
    names = [f"b_dyad_sender_receiver[{row.level}, {row.effect}]" for row in effects.itertuples()]
    assert_allclose(table.loc[names, "mean"].astype(float), effects["estimate"], atol=1e-9)
    spreads = az.summary(
        make_posterior(model).data, var_names=["sd_dyad_sender_receiver"], kind="stats", round_to="none"
    )
    group = "dyad(sender, receiver)"
    expected = {name: f"sd_dyad_sender_receiver[{name}]" for name in model.design.blocks[0].effects}
    for effect, label in expected.items():
        value = model.fit().parameters["estimate"][f"sd({effect} | {group})"]
        assert float(spreads.loc[label, "mean"]) == pytest.approx(value)


def test_new_people_are_one_person_whether_they_send_or_receive():
    """Both effects of a new person are drawn together, once: with a correlation of one a sum of two rows is known."""
    simulation = bmm.datasets.simulate_dyads(8, seed=1)
    model = bmm.Model(simulation.formula, simulation.data)
    group = "dyad(sender, receiver)"
    chosen = {f"sd(sender | {group})": 1.0, f"sd(receiver | {group})": 1.0, f"cor(sender, receiver | {group})": -1.0}
    posterior = make_posterior(model, {name: np.full((4, 1000), value) for name, value in chosen.items()})
    new = pd.DataFrame({"sender": ["new", "p1"], "receiver": ["p1", "new"]})
    draws = posterior.predict(new, new_levels="sample", seed=1)
    assert len(draws) == 2
    rows = posterior.posterior_predictive(new, new_levels="sample", seed=1)["posterior_predictive"]["y"]
    both = rows.sum("obs").to_numpy()
    others = posterior.draws("b_dyad_sender_receiver")[:, :, 0].sum(axis=-1) + 2.0 * posterior.draws("beta")[..., 0]
    noise = np.sqrt(2.0 * np.mean(posterior.sigma**2))
    assert np.std(both - others) == pytest.approx(noise, rel=0.05)  # the new person's effects cancel


def test_saved_posteriors_come_back_with_their_people(tmp_path):
    model, _ = dense_of("dyads")
    posterior = make_posterior(model)
    posterior.save(tmp_path / "dyads.nc")
    again = bmm.load(tmp_path / "dyads.nc")
    assert again.design.blocks[0].incidence.equals(model.design.blocks[0].incidence)
    pd.testing.assert_frame_equal(again.parameters, posterior.parameters)
    index = again.data["constant_data"]["dyad_sender_receiver_index"]
    assert index.dims == ("obs", "dyad_sender_receiver_member")
    texts = np.array(again.labels.blocks[0].levels)[index.to_numpy()]
    assert_array_equal(texts, LETTERS[["sender", "receiver"]])


def test_the_command_line_reads_members_and_roles(tmp_path):
    LETTERS.to_csv(tmp_path / "letters.csv", index=False)
    found = run_json("fit", "y ~ x + (1 | dyad(sender, receiver))", "--data", tmp_path / "letters.csv")
    assert "cor(sender, receiver | dyad(sender, receiver))" in str(found)


def test_reml_and_nuts_recover_who_writes_and_who_is_written_to():
    simulation = bmm.datasets.simulate_dyads(25, sender_sd=0.9, receiver_sd=0.6, correlation=0.6, sigma=0.7, seed=4)
    model = bmm.Model(simulation.formula, simulation.data)
    fit, posterior = model.fit(), model.sample(draws=300, tune=300, seed=1, progress=False)
    for table, value, error in ((fit.parameters, "estimate", "std_error"), (posterior.parameters, "mean", "sd")):
        assert (abs(table[value] - simulation.parameters) < 3.0 * table[error]).all()
    truth = simulation.random_effects["value"].to_numpy()
    drawn = posterior.random_effects()
    assert np.corrcoef(drawn["mean"], truth)[0, 1] > 0.95
    assert np.mean(abs(drawn["mean"] - truth) < 2.0 * drawn["sd"]) > 0.85
    comparison = bmm.compare(fit, posterior)
    assert abs(comparison.table.loc["cor(sender, receiver | dyad(sender, receiver))", "shift"]) < 1.0
    assert list(comparison.random_effects["effect"][:2]) == ["sender", "receiver"]


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("y ~ x + (1 | dyad(sender, receiver)) + (1 | sender)", "variances of sender and Intercept add up to"),
        (
            "y ~ x + (1 | dyad(sender, receiver)) + (1 | mm(sender, receiver))",
            "variances of Intercept add up to",
        ),
        ("y ~ x + (1 | mm(sender, receiver)) + (1 | sender)", ""),
    ],
)
def test_variances_that_two_terms_share_arbitrarily_are_named(formula, sentence):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        told = " ".join(bmm.Model(formula, LETTERS).fit("ml").confounded)
    assert (sentence in told) if sentence else not told
