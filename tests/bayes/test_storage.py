"""Posteriors in files: what is read is what was saved, and does all that it did."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm import priors
from bayesmm.bayes.files.stored_model import pack_prior, unpack_prior
from bayesmm.errors import ComparisonError, StorageError
from bayesmm.replacing import remove
from bayesmm.specification.priors import PRIORS

PACKAGES = {".nc": "h5netcdf", ".zarr": "zarr"}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("made_posterior.SHAPE", (2, 40))


@pytest.fixture(params=list(PACKAGES))
def ending(request):
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture(scope="module")
def table():
    """Columns of every kind that a model may use."""
    rng = np.random.default_rng(3)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(10.0, 2.0, n),
            "x": rng.gamma(2.0, size=n),
            "whole": rng.integers(1, 9, n),
            "flag": rng.random(n) < 0.4,
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), categories=["s", "m", "l", "xl"], ordered=True),
            "town": pd.Categorical(rng.choice(["Köln", "a/b", "x y"], n), categories=["x y", "Köln", "a/b"]),
            "when": pd.Categorical(rng.choice(pd.to_datetime(["2020-01-01", "2021-07-01"]), n)),
            "band": pd.cut(rng.random(n), [0.0, 0.5, 1.0]),
            "text": rng.choice(["b", "a"], n),
            "person": np.arange(n) % 12 + 2**53 + 1,
            "half": (np.arange(n) % 6) / 2,
            "se": rng.uniform(0.5, 2.0, n),
            "unused": rng.normal(size=n),
        }
    )


FORMULAS = [
    "y ~ x + np.log(x) + whole + I(whole**2) + (x | person)",
    "y ~ flag + text + C(whole) + (1 | half)",
    "y ~ size + town + (1 | size:flag) + (0 + x | person)",
    "y ~ center(x) + bs(x, df=4) + (1 | person) + offset(se)",
    "y ~ scale(whole) * flag + (1 + flag || person) + (1 | size:text)",
    "y ~ when + band + (1 | person)",
]


def round_trip(posterior, folder, ending, **options):
    path = posterior.save(folder / f"posterior{ending}")
    return bmm.load(path, **options)


def assert_same(loaded, saved):
    assert loaded.data.identical(saved.data)
    assert [node.path for node in loaded.data.subtree] == [node.path for node in saved.data.subtree]
    for one, other in zip(loaded.data.leaves, saved.data.leaves, strict=True):
        assert list(one.data_vars) == list(other.data_vars)
    assert str(loaded) == str(saved)
    assert str(loaded.design) == str(saved.design)
    assert loaded.program == saved.program
    assert loaded.notes == saved.notes
    assert loaded.priors.rows == saved.priors.rows
    assert loaded.priors.pieces == saved.priors.pieces
    assert loaded.priors.known_sigma == saved.priors.known_sigma
    np.testing.assert_array_equal(loaded.priors.contrast, saved.priors.contrast)
    for one, other in zip(loaded.priors.effect_contrasts, saved.priors.effect_contrasts, strict=True):
        np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(loaded.priors.table(), saved.priors.table())
    pd.testing.assert_frame_equal(loaded.parameters, saved.parameters)
    pd.testing.assert_frame_equal(loaded.random_effects(), saved.random_effects())
    pd.testing.assert_frame_equal(loaded.predict(), saved.predict(), check_freq=False)
    assert loaded.diagnostics == saved.diagnostics


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_kind_of_column_comes_back_to_the_bit(formula, table, tmp_path, ending):
    saved = make_posterior(bmm.Model(formula, table))
    loaded = round_trip(saved, tmp_path, ending)
    assert_same(loaded, saved)
    new = table.iloc[::7].assign(person=2**53 + 3)
    pd.testing.assert_frame_equal(loaded.predict(new), saved.predict(new))
    assert set(loaded.design.frame) == set(saved.design.frame)


INDEXES = {
    "numbers": lambda n: pd.Index(np.arange(n) * 10 + 5, name="id"),
    "texts": lambda n: pd.Index([f"row {i}" for i in range(n)]),
    "times": lambda n: pd.date_range("2020-01-01", periods=n, freq="h", name="time"),
    "times of a zone": lambda n: pd.date_range("2020-01-01", periods=n, freq="D", tz="Europe/Berlin"),
    "durations": lambda n: pd.timedelta_range("1h", periods=n),
    "categories": lambda n: pd.CategoricalIndex([f"c{i}" for i in range(n)]),
    "mixtures": lambda n: pd.Index([i if i % 2 else str(i) for i in range(n)], dtype=object),
    "several levels": lambda n: pd.MultiIndex.from_arrays([np.arange(n) // 2, list("ab") * (n // 2)], names=["i", "j"]),
}


@pytest.mark.parametrize("kind", list(INDEXES))
def test_row_labels_come_back(kind, table, tmp_path):
    pytest.importorskip("h5netcdf")
    labelled = table.set_axis(INDEXES[kind](len(table)), axis=0)
    saved = make_posterior(bmm.Model("y ~ x + (1 | person)", labelled))
    loaded = round_trip(saved, tmp_path, ".nc")
    assert loaded.design.rows.equals(saved.design.rows)
    assert loaded.design.rows.names == saved.design.rows.names
    assert_same(loaded, saved)
    bmm.compare(bmm.Model("y ~ x + (1 | person)", labelled).fit(), loaded)


def test_row_labels_without_a_plain_form_come_back_as_texts(table, tmp_path):
    pytest.importorskip("h5netcdf")
    periods = pd.period_range("2020-01", periods=len(table), freq="M")
    saved = make_posterior(bmm.Model("y ~ x + (1 | person)", table.set_axis(periods, axis=0)))
    loaded = round_trip(saved, tmp_path, ".nc")
    assert loaded.design.rows.tolist() == [str(period) for period in periods]
    np.testing.assert_array_equal(loaded.predict(), saved.predict())


@pytest.mark.parametrize("weights", ["1 / se**2", "given"])
@pytest.mark.parametrize("sigma", [None, 0.1 + 0.2])
def test_weights_and_a_known_sigma_come_back(weights, sigma, table, tmp_path):
    pytest.importorskip("h5netcdf")
    given = (1.0 / table["se"] ** 2).to_numpy() if weights == "given" else weights
    saved = make_posterior(bmm.Model("y ~ x + (1 | person)", table, weights=given, sigma=sigma))
    loaded = round_trip(saved, tmp_path, ".nc")
    assert_same(loaded, saved)
    np.testing.assert_array_equal(loaded.design.weights, saved.design.weights)
    assert ("se" in loaded.design.frame) == (weights != "given")


def test_dropped_rows_are_remembered_and_not_dropped_again(table, tmp_path, ending):
    gaps = table.assign(x=table["x"].where(table.index % 9 > 0))
    with pytest.warns(bmm.errors.BayesmmWarning, match="7 of 60 rows dropped"):
        model = bmm.Model("y ~ x + (1 | person)", gaps)
    loaded = round_trip(make_posterior(model), tmp_path, ending)
    assert loaded.design.n_dropped == 7
    assert loaded.design.dropped_by == {"x": 7}
    assert loaded.design.rows.equals(model.design.rows)


EXAMPLES = {
    "StudentT": [priors.StudentT(3, 0.1 + 0.2, 1 / 3)],
    "Uniform": [priors.Uniform(0, 1 / 3), priors.Uniform(0, 2, on="variance")],
    "Flat": [priors.Flat(), priors.Flat(on="variance")],
}


@pytest.mark.parametrize("family", PRIORS, ids=lambda family: family.__name__)
def test_every_family_of_priors_survives_json(family):
    names = [field.name for field in dataclasses.fields(family) if field.name != "on"]
    examples = EXAMPLES.get(family.__name__, [family(*np.linspace(1 / 3, np.pi, len(names)))])
    if "on" in {field.name for field in dataclasses.fields(family)} and family.__name__ not in EXAMPLES:
        examples += [dataclasses.replace(examples[0], on=scale) for scale in family.scales[1:]]
    for prior in examples:
        assert unpack_prior(json.loads(json.dumps(pack_prior(prior)))) == prior


@pytest.mark.parametrize(
    "choice",
    [
        "flat",
        {"x": priors.Laplace(0, 2), "sd": priors.InverseGamma(2, 10, on="variance"), "cor": priors.LKJ(2)},
        {"Intercept": priors.Cauchy(0, 5), "sigma": priors.Uniform(0, 50), "sd(person)": priors.Flat()},
    ],
    ids=["flat", "some", "others"],
)
def test_priors_come_back_with_who_chose_them(choice, table, tmp_path, ending):
    model = bmm.Model("y ~ x + flag + (x | person)", table, priors=choice)
    saved = make_posterior(model, priors=choice)
    assert_same(round_trip(saved, tmp_path, ending), saved)


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")  # levels that differ by blanks, levels like NA
def test_names_and_levels_may_be_any_text(table, tmp_path, ending):
    odd = table.assign(**{"größe": table["x"], "a b": table["whole"]})
    odd["a/b"] = np.array(["", " ", "nan", "ü😀", "x\ty", "'q'/\"r\""])[np.arange(60) % 6]
    saved = make_posterior(bmm.Model("y ~ größe + `a b` + (1 + größe | `a/b`)", odd))
    assert_same(round_trip(saved, tmp_path, ending), saved)


def test_groups_that_a_user_adds_come_back(table, tmp_path, ending):
    saved = make_posterior(bmm.Model("y ~ x + (1 | person)", table))
    saved.data["mine"] = xr.DataTree(xr.Dataset({"z": ("obs", np.arange(3.0)), "a": ((), 1.0)}))
    assert_same(round_trip(saved, tmp_path, ending), saved)


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")  # so few draws
@pytest.mark.parametrize("method", ["importance", "quadrature"])
def test_posteriors_of_other_methods_come_back(method, tmp_path, ending):
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    saved = model.sample(method=method, draws=50, seed=1, random_effects="moments")
    loaded = bmm.load(saved.save(tmp_path / f"other{ending}"))
    assert loaded.data.identical(saved.data)
    assert str(loaded) == str(saved)
    assert loaded.log_evidence == saved.log_evidence
    pd.testing.assert_frame_equal(loaded.random_effects(), saved.random_effects())


def test_a_loaded_posterior_compares_with_a_refit_and_with_no_other(table, tmp_path, ending):
    formula = "y ~ x + size + (1 | person)"
    saved = make_posterior(bmm.Model(formula, table))
    loaded = round_trip(saved, tmp_path, ending)
    expected = bmm.compare(bmm.Model(formula, table).fit(), saved)
    assert str(bmm.compare(bmm.Model(formula, table).fit(), loaded)) == str(expected)
    again = bmm.Model(loaded.design.specification.formula, loaded.design.frame)
    assert str(bmm.compare(again.fit(), loaded)) == str(expected)
    with pytest.raises(ComparisonError, match="the response 'y' differs"):
        bmm.compare(bmm.Model(formula, table.assign(y=table["y"] + 1)).fit(), loaded)


def test_functions_are_asked_for_again_and_held_to_the_stored_columns(table, tmp_path, ending):
    namespace = {"half_of": lambda x: x / 2, "shift": 3.0, "not_used": 1.0}
    saved = make_posterior(bmm.Model("y ~ half_of(x) + I(x + shift) + (1 | person)", table, namespace=namespace))
    path = saved.save(tmp_path / f"own{ending}")
    with pytest.raises(StorageError, match=r"uses 'half_of', 'shift' of the namespace.*namespace=\{'half_of': half_of"):
        bmm.load(path)
    assert_same(bmm.load(path, namespace=namespace), saved)
    with pytest.raises(StorageError, match="not the one that the draws were made with: X differs"):
        bmm.load(path, namespace=namespace | {"half_of": lambda x: x / 3})


def test_a_saved_posterior_is_replaced_and_other_folders_are_not(table, tmp_path, ending):
    model = bmm.Model("y ~ x + (1 | person)", table)
    path = tmp_path / f"twice{ending}"
    make_posterior(model, seed=1).save(path)
    second = make_posterior(model, seed=2)
    second.save(str(path))
    assert_same(bmm.load(str(path)), second)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    folder = tmp_path / f"precious{ending}"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="is a folder, and no saved fit or posterior"):
        second.save(folder)
    assert (folder / "thesis.txt").exists()


def test_arviz_reads_the_groups_that_it_knows(table, tmp_path):
    pytest.importorskip("h5netcdf")
    import arviz as az

    saved = make_posterior(bmm.Model("y ~ x + (1 | person)", table))
    data = az.from_netcdf(saved.save(tmp_path / "a.nc"))
    pd.testing.assert_frame_equal(az.summary(data, var_names=["beta"]), az.summary(saved.data, var_names=["beta"]))
    data.close()


@pytest.fixture
def saved_file(table, tmp_path):
    pytest.importorskip("h5netcdf")
    return make_posterior(bmm.Model("y ~ x + (1 | person)", table)).save(tmp_path / "saved.nc")


def rewrite(path, change):
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        tree = tree.load()
    change(tree)
    tree.to_netcdf(path, engine="h5netcdf")


def test_a_later_format_is_refused(saved_file):
    rewrite(saved_file, lambda tree: tree["bayesmm"].attrs.update(format=99))
    with pytest.raises(
        StorageError, match=r"is of format 99, from a later bayesmm; this one, .* pip install --upgrade"
    ):
        bmm.load(saved_file)


def test_default_priors_of_the_first_format_were_about_the_columns_as_labelled(table, tmp_path):
    """Their rows say so, and their numbers are kept; a posterior of today's defaults is another one."""
    pytest.importorskip("h5netcdf")
    model = bmm.Model("y ~ whole + (whole | half)", table)
    saved = make_posterior(model)
    assert saved.priors.effect_contrasts[0][0, 1] > 0.0
    path = saved.save(tmp_path / "first.nc")

    def as_before(tree):
        group = tree["bayesmm"]
        del group["prior_effect_contrast_0"]
        group.attrs["format"] = 1
        del group.attrs["checksums"]
        description = json.loads(group["description"].item())
        for row in description["priors"]:
            row["about"] = row["about"].partition(" at the mean")[0]
        group["description"] = xr.DataArray(json.dumps(description))

    rewrite(path, as_before)
    loaded = bmm.load(path)
    np.testing.assert_array_equal(loaded.priors.effect_contrasts[0], np.eye(2))
    assert loaded.priors.table()["about"].to_list()[2:] == [
        "standard deviation",
        "standard deviation",
        "correlations of (1 + whole | half)",
        "standard deviation",
    ]
    assert loaded.parameters.equals(saved.parameters)
    moved = [tree.sensitivity()["prior"] for tree in (loaded, saved)]
    assert not np.allclose(*moved, rtol=1e-3)


def change_column(tree):
    tree["bayesmm"]["column_0"].values[3] += 1.0


def drop_priors(tree):
    text = json.loads(tree["bayesmm"]["description"].item())
    del text["priors"][1:]
    tree["bayesmm"]["description"] = xr.DataArray(json.dumps(text))


CHANGES = {
    "bayesmm/column_0": (change_column, "not the one that the draws were made with: y differs"),
    "bayesmm/description": (
        drop_priors,
        r"has 1 priors for 4 parameters \(lacking: x, sd\(Intercept \| person\), sigma\)",
    ),
    "posterior/sigma": (lambda tree: tree["posterior"].__delitem__("sigma"), "has no draws of sigma"),
    "posterior/beta": (
        lambda tree: tree["posterior"].update({"beta": tree["posterior"]["beta"].astype(int)}),
        r"has draws of beta of the shape \(2, 40, 2\) and type int64, which its model has as floating-point",
    ),
    "posterior/b_person": (
        lambda tree: tree["posterior"].update({"b_person": tree["posterior"]["sigma"]}),
        r"has draws of b_person of the shape \(2, 40\).*of the shape \(2, 40, 12, 1\)",
    ),
    "sample_stats@modeling_interface": (lambda tree: tree["sample_stats"].attrs.pop("modeling_interface"), None),
}


@pytest.mark.parametrize("place", CHANGES)
def test_a_file_that_was_changed_is_refused(place, saved_file):
    """By its checksums; without them, as in older files, where it does not suit the model."""
    change, reason = CHANGES[place]
    rewrite(saved_file, change)
    with pytest.raises(StorageError, match=f"'{saved_file}' is damaged, or was changed after it was saved: {place}"):
        bmm.load(saved_file)
    rewrite(saved_file, as_in_format_2)
    if reason:
        with pytest.raises(StorageError, match=reason):
            bmm.load(saved_file)
    else:
        bmm.load(saved_file)


def as_in_format_2(tree):
    tree["bayesmm"].attrs["format"] = 2
    del tree["bayesmm"].attrs["checksums"]


def test_files_of_earlier_versions_are_read(saved_file):
    """One that an earlier version has written, and one of today's without its sums."""
    saved = bmm.load(saved_file)
    rewrite(saved_file, as_in_format_2)
    assert_same(bmm.load(saved_file), saved)
    earlier = bmm.load(Path(__file__).parent / "format_2.nc")
    now = make_posterior(bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")))
    xr.testing.assert_allclose(earlier.data["posterior"].to_dataset(), now.data["posterior"].to_dataset(), rtol=1e-6)
    assert str(earlier.design) == str(now.design)
    assert [row.name for row in earlier.priors.rows] == [row.name for row in now.priors.rows]
    np.testing.assert_allclose(earlier.predict(), now.predict(), rtol=1e-6)


def test_what_others_add_is_theirs(table, tmp_path, ending):
    """Groups, variables and attributes, by another program, and compressed."""
    saved = make_posterior(bmm.Model("y ~ x + (1 | person)", table))
    path = saved.save(tmp_path / f"saved{ending}")
    with xr.open_datatree(path, engine=PACKAGES[ending]) as tree:
        tree = tree.load()
    tree["mine"] = xr.DataTree(xr.Dataset({"z": ("a", np.zeros(9)), "t": ("a", list("abcdefghi"))}))
    tree["posterior"]["doubled"] = 2.0 * tree["posterior"]["sigma"]
    tree["posterior"].attrs["read_by"] = "me"
    other = tmp_path / f"other{ending}"
    if ending == ".nc":
        packed = {name: {"zlib": True, "complevel": 4} for name in ("beta", "sigma", "b_person")}
        tree.to_netcdf(other, engine="h5netcdf", encoding={"/posterior": packed})
    else:
        tree.to_zarr(other, zarr_format=2)
    loaded = bmm.load(other)
    assert loaded.parameters.equals(saved.parameters)
    np.testing.assert_array_equal(loaded.data["posterior"]["doubled"], 2.0 * saved.data["posterior"]["sigma"])
    assert_same(round_trip(loaded, tmp_path, ".nc"), loaded)
    assert_same(round_trip(loaded, tmp_path, ".zarr"), loaded)


@pytest.mark.parametrize(
    "lost", ["posterior/sigma", "posterior/b_person/0.0.0.0", "observed_data", "posterior/person/0"]
)
def test_a_zarr_folder_that_lacks_something_is_refused(lost, table, tmp_path):
    pytest.importorskip("zarr")
    path = make_posterior(bmm.Model("y ~ x + (1 | person)", table)).save(tmp_path / "saved.zarr")
    remove(path / lost)
    with pytest.raises(StorageError, match=r"saved\.zarr' (is damaged|cannot be read)"):
        bmm.load(path)


def test_a_file_of_arviz_alone_is_refused(saved_file):
    rewrite(saved_file, lambda tree: tree.__delitem__("bayesmm"))
    with pytest.raises(StorageError, match="holds no model: it was not written by fit"):
        bmm.load(saved_file)


def test_paths_that_cannot_be_are_refused_with_advice(table, tmp_path, monkeypatch):
    posterior = make_posterior(bmm.Model("y ~ x + (1 | person)", table))
    with pytest.raises(StorageError, match=r"ends in '.pkl': the ending says the format, .nc for netCDF or .zarr"):
        posterior.save(tmp_path / "draws.pkl")
    pytest.importorskip("h5netcdf")
    with pytest.raises(StorageError, match="there is no folder"):
        posterior.save(tmp_path / "no" / "draws.nc")
    with pytest.raises(StorageError, match="There is no file"):
        bmm.load(tmp_path / "nothing.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(StorageError, match="cannot be read as h5netcdf"):
        bmm.load(tmp_path / "text.nc")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        StorageError, match=r"needs h5netcdf and h5py, not installed here\. Run: pip install h5netcdf h5py"
    ):
        posterior.save(tmp_path / "draws.nc")
    assert not list(tmp_path.glob("*.partial*"))
