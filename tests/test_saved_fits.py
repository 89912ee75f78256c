"""Fits in files: what is read is what was saved, to the bit, and does all that it did."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from cli_commands import DYESTUFF, run
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import StorageError
from bayesmm.replacing import remove

PACKAGES = {".nc": "h5netcdf", ".zarr": "zarr"}


@pytest.fixture(params=list(PACKAGES))
def ending(request):
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    n = 60
    person, x = np.arange(n) % 12, rng.gamma(2.0, size=n)
    y = 10.0 + x + rng.normal(size=12)[person] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), categories=["s", "m", "l", "xl"], ordered=True),
            "person": person + 2**53 + 1,
            "half": (np.arange(n) % 6) / 2,
            "quarter": rng.permutation(np.arange(n) % 4),
            "other": rng.permutation(person) + 2**53 + 1,
            "se": rng.uniform(0.5, 2.0, n),
            "a b\x1b<b>": rng.choice(["", " & ", "nan", "ü😀", "x\ty", "'q'/\"r\""], n),
        },
        index=[f"row {i}" for i in range(n)],
    )


# Of each kind: stateful transforms, random effects of every structure, weights, memberships, a boundary, an offset.
FORMULAS = {
    "transforms": ("y ~ center(x) + bs(x, df=4) + (x | person)", {}),
    "structures": ("y ~ scale(x) * size + (x || person) + ar1(0 + C(half) | quarter)", {}),
    "weights": ("y ~ x + (1 | half)", {"weights": "1 / se**2"}),
    "sigma": ("y ~ x + offset(se) + (1 | person)", {"sigma": 0.1 + 0.2}),
    "memberships": ("y ~ x + (1 | mm(person, other))", {}),
    "boundary": ("se ~ 1 + (1 | person)", {}),
    "names": ("y ~ x + (1 | `a b\x1b<b>`)", {}),
}


def assert_same_tables(loaded, saved, new):
    assert str(loaded) == str(saved)
    assert loaded.loglik == saved.loglik
    assert loaded.convergence == saved.convergence
    assert (loaded.method, loaded.status, loaded.n_parameters) == (saved.method, saved.status, saved.n_parameters)
    tables = [
        lambda fit: fit.parameters,
        lambda fit: fit.coefficients(df="residual" if fit.method == "ml" or fit.is_singular else "kenward-roger"),
        lambda fit: fit.fixed_effects,
        lambda fit: fit.random_effects(),
        lambda fit: pd.DataFrame(fit.predict()),
        lambda fit: pd.DataFrame(fit.predict(new, new_levels="population")),
        lambda fit: fit.simulate(3, seed=4),
        lambda fit: pd.DataFrame(fit.residuals()),
        lambda fit: fit.explained().table,
        lambda fit: fit.tidy(["fixed", "ran_pars", "ran_vals"]),
        lambda fit: fit.glance(),
    ]
    for of in tables:
        pd.testing.assert_frame_equal(of(loaded), of(saved), check_exact=True)
    for one, other in zip(loaded.factors, saved.factors, strict=True):
        np.testing.assert_array_equal(one, other)
    xr.testing.assert_identical(loaded.to_datatree(), saved.to_datatree())


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
@pytest.mark.parametrize("kind", FORMULAS)
def test_a_fit_comes_back_to_the_bit(kind, table, tmp_path):
    pytest.importorskip("h5netcdf")
    formula, options = FORMULAS[kind]
    for method in ("reml", "ml") if kind in ("transforms", "boundary") else ("reml",):
        saved = bmm.Model(formula, table, **options).fit(method)
        loaded = bmm.load(saved.save(tmp_path / "fit.nc"))
        assert_same_tables(loaded, saved, table.iloc[::7].assign(person=2**53 + 3))


def test_what_is_computed_of_a_loaded_fit_is_the_same(tmp_path, ending):
    saved = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    loaded = bmm.load(saved.save(tmp_path / f"fit{ending}"))
    draws = [fit.bootstrap(20, seed=2, progress=False).draws for fit in (loaded, saved)]
    pd.testing.assert_frame_equal(*draws, check_exact=True)
    profiles = [fit.profile("sigma", progress=False) for fit in (loaded, saved)]
    assert str(profiles[0]) == str(profiles[1])
    for text in (str, lambda fit: str(fit.anova()), lambda fit: str(fit.influence("Subject").table)):
        assert text(loaded) == text(saved)
    again = bmm.load(loaded.save(tmp_path / f"again{ending}"))
    assert again.parameters.equals(saved.parameters)


def test_lower_maxima_and_dropped_rows_are_remembered(tmp_path, ending):
    data = pd.read_csv(Path(__file__).parent / "reml" / "uncentred_years.csv")
    data = pd.concat([data, data.iloc[:1].assign(year=np.nan)], ignore_index=True)
    with pytest.warns(bmm.errors.BayesmmWarning, match="1 of .* rows dropped"):
        saved = bmm.Model("y ~ year + (year || country)", data).fit()
    assert saved.other_maxima
    loaded = bmm.load(saved.save(tmp_path / f"fit{ending}"))
    assert loaded.design.n_dropped == 1
    for one, other in zip(loaded.other_maxima, saved.other_maxima, strict=True):
        assert (one.log_likelihood, one.sigma) == (other.log_likelihood, other.sigma)
        for left, right in zip(one.factors, other.factors, strict=True):
            np.testing.assert_array_equal(left, right)
    assert str(loaded) == str(saved)


def test_a_fit_by_jax_comes_back(tmp_path):
    pytest.importorskip("h5netcdf")
    saved = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit(engine="jax")
    loaded = bmm.load(saved.save(tmp_path / "fit.nc"))
    assert loaded.estimate.criterion_function.engine == "jax"
    assert_same_tables(loaded, saved, bmm.datasets.load("dyestuff").iloc[:2])


def test_load_tells_fits_from_posteriors_and_both_compare(tmp_path, ending):
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    fit, posterior = model.fit(), make_posterior(model)
    paths = fit.save(tmp_path / f"fit{ending}"), posterior.save(tmp_path / f"posterior{ending}")
    loaded = [bmm.load(path) for path in paths]
    assert [type(each).__name__ for each in loaded] == ["Fit", "Posterior"]
    assert str(bmm.compare(*loaded)) == str(bmm.compare(fit, posterior))
    posterior.save(paths[0])  # either replaces the other
    assert type(bmm.load(paths[0])).__name__ == "Posterior"


def test_functions_are_asked_for_again(table, tmp_path):
    pytest.importorskip("h5netcdf")
    saved = bmm.Model("y ~ half_of(x) + (1 | person)", table, namespace={"half_of": lambda x: x / 2}).fit()
    path = saved.save(tmp_path / "own.nc")
    with pytest.raises(StorageError, match="uses 'half_of' of the namespace"):
        bmm.load(path)
    assert str(bmm.load(path, namespace={"half_of": lambda x: x / 2})) == str(saved)
    with pytest.raises(StorageError, match="not the one that the fit was made with: X differs"):
        bmm.load(path, namespace={"half_of": lambda x: x / 3})


@pytest.fixture
def saved_file(tmp_path):
    pytest.importorskip("h5netcdf")
    return bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit().save(tmp_path / "saved.nc")


def rewrite(path, change):
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        tree = tree.load()
    change(tree)
    tree.to_netcdf(path, engine="h5netcdf")


def in_text(change):
    def apply(tree):
        text = json.loads(tree["bayesmm"]["description"].item())
        change(text)
        tree["bayesmm"]["description"] = xr.DataArray(json.dumps(text))

    return apply


def moved(name):
    def apply(tree):
        tree["bayesmm"][name] = tree["bayesmm"][name] * 1.5

    return apply


CHANGES = {
    "theta": (moved("theta"), r"has another \w+ than the likelihood of its model gives"),
    "beta": (moved("beta"), "has another beta than"),
    "sigma": (moved("sigma"), "has another sigma than"),
    "beta_covariance": (moved("beta_covariance"), "has another beta_covariance than"),
    "column": (moved("column_0"), "not the one that the fit was made with: y differs"),
    "no theta": (lambda tree: tree["bayesmm"].__delitem__("theta"), "is damaged"),
    "method": (in_text(lambda text: text.update(method="__import__('os')")), "is damaged"),
    "engine": (in_text(lambda text: text.update(engine="cuda")), "is damaged"),
    "search": (in_text(lambda text: text["search"].update(converged="yes")), "is damaged"),
    "more of the search": (in_text(lambda text: text["search"].update(__class__="x")), "is damaged"),
    "no others": (in_text(lambda text: text.update(others=[{"sigma": 1.0, "log_likelihood": 1.0}])), "is damaged"),
    "formula": (in_text(lambda text: text.update(formula="Yield ~ exit() + (1 | Batch)")), "saved.nc"),
    "format": (lambda tree: tree["bayesmm"].attrs.update(format=99), "from a later bayesmm"),
    "kind": (lambda tree: tree["bayesmm"].attrs.pop("kind"), "is damaged"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_is_refused(change, saved_file, monkeypatch):
    """By its checksums; and where somebody has made them right again, by what does not suit the model."""
    alter, reason = CHANGES[change]
    rewrite(saved_file, alter)
    with pytest.raises(StorageError, match=r"saved\.nc"):
        bmm.load(saved_file)
    monkeypatch.setattr("bayesmm.loading.check_sums", lambda *_: None)
    with pytest.raises(StorageError, match=reason):
        bmm.load(saved_file)


def test_a_damaged_file_is_refused(saved_file, tmp_path):
    whole = saved_file.read_bytes()
    for place in (8, len(whole) // 2, len(whole) - 3):
        saved_file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StorageError, match=r"saved\.nc' (is damaged|cannot be read)"):
            bmm.load(saved_file)
    saved_file.write_bytes(whole[:-100])
    with pytest.raises(StorageError, match=r"saved\.nc' (is damaged|cannot be read)"):
        bmm.load(saved_file)
    pytest.importorskip("zarr")
    saved_file.write_bytes(whole)
    folder = bmm.load(saved_file).save(tmp_path / "saved.zarr")
    remove(folder / "bayesmm" / "theta")
    with pytest.raises(StorageError, match=r"saved\.zarr' (is damaged|cannot be read)"):
        bmm.load(folder)


def test_saving_and_loading_a_fit_loads_no_jax(tmp_path):
    pytest.importorskip("h5netcdf")
    code = (
        "import sys, bayesmm as bmm\n"
        "fit = bmm.Model('Yield ~ 1 + (1 | Batch)', bmm.datasets.load('dyestuff')).fit()\n"
        "again = bmm.load(fit.save(sys.argv[1]))\n"
        "assert str(again) == str(fit)\n"
        "print([name for name in ('jax', 'numpyro', 'arviz', 'arviz_base', 'matplotlib') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "fit.nc")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_command_line_saves_a_fit(tmp_path, ending):
    path = tmp_path / f"fit{ending}"
    run("fit", *DYESTUFF, "--output", path)
    expected = bmm.Model(DYESTUFF[0], bmm.datasets.load("dyestuff")).fit()
    assert bmm.load(path).parameters.equals(expected.parameters)
