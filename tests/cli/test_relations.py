"""Related levels from the command line."""

import pandas as pd
import pytest
from cli_commands import mistake, run_json

import bayesmm as bmm


@pytest.fixture(scope="module")
def herd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("herd")
    simulated = bmm.datasets.simulate_pedigree(3, 12, generations=2, seed=2)
    simulated.data.to_csv(folder / "data.csv", index=False)
    simulated.pedigree.to_csv(folder / "pedigree.csv", index=False)
    bmm.pedigree(simulated.pedigree).covariance.to_csv(folder / "A.csv")
    fit = bmm.Model(simulated.formula, simulated.data, relations={"A": bmm.pedigree(simulated.pedigree)}).fit()
    return folder, simulated.formula, fit


@pytest.mark.parametrize("option", ["--pedigree=A={}/pedigree.csv", "--relation=A={}/A.csv"])
def test_a_file_relates_levels(herd, option):
    folder, formula, fit = herd
    found = run_json("fit", formula, "--data", folder / "data.csv", option.format(folder))
    table = pd.DataFrame(found["fit"]["parameters"]).set_index("parameter")["estimate"]
    pd.testing.assert_series_equal(table, fit.parameters["estimate"], rtol=1e-6, check_index_type=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs the matrix 'A'"),
        (["--pedigree", "pedigree.csv"], "is no assignment"),
        (["--pedigree", "A={}/nowhere.csv"], "There is no file"),
        (["--pedigree", "A={}/pedigree.csv", "--relation", "A={}/A.csv"], "by --relation and by --pedigree"),
        (["--pedigree", "A={}/A.csv", "--pedigree", "A={}/A.csv"], "twice"),
    ],
)
def test_what_is_wrong_is_said(herd, options, message):
    folder, formula, _ = herd
    given = [each.format(folder) for each in options]
    assert message in mistake("fit", formula, "--data", folder / "data.csv", *given)
