"""The table of reference models: everything in `tests/reference` that the grammar covers, fitted and compared."""

from collections import Counter

import pytest
from reference_checks import discrepancies
from reference_models import ReferenceModel, Skipped, reference_models

from bayesmm import Model

COVERED, SKIPPED = reference_models()


@pytest.mark.filterwarnings("ignore:2 of 378 rows dropped")  # Glucose has two missing values
@pytest.mark.parametrize("model", COVERED, ids=lambda model: model.id)
def test_fit_agrees_with_reference(model: ReferenceModel) -> None:
    fit = Model(model.formula, model.frame(), weights=model.weights, sigma=model.sigma).fit(method=model.method)
    found = discrepancies(model, fit)
    assert not found, "\n".join([f"{model.formula} ({model.method}), {fit.status}", *found])


@pytest.mark.parametrize("entry", SKIPPED, ids=lambda entry: entry.id)
def test_reference_entry_is_left_for_later(entry: Skipped) -> None:
    pytest.skip(entry.reason)  # the summary of the run counts them by reason


def test_every_reference_entry_is_covered_or_skipped_for_a_reason() -> None:
    assert len(COVERED) == 230
    assert Counter(entry.reason for entry in SKIPPED) == {
        "another program's estimates of models in nhanes_like.json, less converged": 16,
        "no random terms": 7,
        "posterior by quadrature: compared with the samplers, not with a fit": 6,
        "moment estimator (DerSimonian-Laird)": 3,
    }
