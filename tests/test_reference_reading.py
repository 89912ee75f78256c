"""Is a reference entry read as it was meant? At its own estimates the dense oracle must give its own numbers.

This tests the formulas, the translation and the design, without any optimiser.
"""

import numpy as np
import pandas as pd
import pytest
from oracle import DenseModel, Matrix, block_diagonal, level_covariance, random_columns
from reference_models import ReferenceModel, reference_models
from reference_names import canonical_effect, canonical_group, canonical_level

from bayesmm.design import Design, build_design
from bayesmm.specification import parse_formula

LARGEST = 1000  # rows; the oracle forms V
LOGLIK = 1e-6  # the reference estimates are refined to 1e-9 in the criterion, printed to 15 digits
RELATIVE = 1e-6  # variances of nlme and metafor are converged to about 1e-7
pytestmark = pytest.mark.filterwarnings("ignore:2 of 378 rows dropped")  # Glucose has two missing values
SMALL = [model for model in reference_models()[0] if model.n <= LARGEST]


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.id)
def test_dense_gaussian_at_reference_estimates_gives_reference_values(model: ReferenceModel) -> None:
    design = build_reference_design(model)
    dense, sigma = dense_model(design), model.sigma or model.entry["sigma"]
    G = reference_covariance(model, design)
    relative = model.rough * RELATIVE

    assert dense.log_likelihood(G, sigma, model.method) == pytest.approx(model.loglik, abs=model.rough * LOGLIK)
    beta = dict(zip(kept_coefficients(design), dense.fixed_effects(G, sigma), strict=True))
    se = np.sqrt(np.diag(dense.fixed_effects_covariance(G, sigma)))
    fixef = model.entry["fixef"]
    assert [beta[canonical_effect(name)] for name in fixef["names"]] == pytest.approx(
        fixef["estimate"], rel=relative, abs=relative * max(se, default=1.0)
    )
    assert sorted(se) == pytest.approx(sorted(fixef.get("se", [])), rel=relative)
    fitted = design.offset + dense.fitted(G, sigma)
    if "fitted_head" in model.entry:
        assert fitted[:10] == pytest.approx(model.entry["fitted_head"], abs=1e-5 * sigma)
    if model.sigma is None:
        assert dense.profiled_sigma(G / sigma**2, model.method) == pytest.approx(sigma, rel=RELATIVE)


@pytest.mark.parametrize(
    "model",
    [model for model in SMALL if model.variances_identified and "lme4" in model.entry["engine"]],
    ids=lambda model: model.id,
)
def test_dense_conditional_modes_at_reference_estimates_are_reference_modes(model: ReferenceModel) -> None:
    design = build_reference_design(model)
    dense, sigma, G = dense_model(design), model.entry["sigma"], reference_covariance(model, design)
    table = pd.DataFrame(
        {
            "mode": dense.random_effects(G, sigma),
            "sd": np.sqrt(np.diag(dense.random_effects_covariance(G, sigma)).clip(0)),
        },
        index=effect_keys(design),
    )
    for term, expected in zip(model.random, model.entry["ranef"], strict=True):
        for i, effect in enumerate(term.effects):
            keys = [
                (canonical_group(term.group), canonical_level(term.group, level), canonical_effect(effect))
                for level in expected["levels"]
            ]
            values, sds = np.array(expected["values"])[:, i], np.array(expected["cond_sd"])[:, i]
            assert table.loc[keys, "mode"].to_numpy() == pytest.approx(
                values, abs=1e-5 * max(term.sds[i], 1e-3 * sigma)
            )
            assert table.loc[keys, "sd"].to_numpy() == pytest.approx(sds, rel=1e-5, abs=1e-6 * sigma)


def build_reference_design(model: ReferenceModel) -> Design:
    return build_design(parse_formula(model.formula), model.frame(), weights=model.weights, known_sigma=model.sigma)


def kept_coefficients(design: Design) -> list[str]:
    return [canonical_effect(design.coefficients[j]) for j in design.kept]


def dense_model(design: Design) -> DenseModel:
    Z = [random_columns(block.incidence.only.codes, block.columns, len(block.levels)) for block in design.blocks]
    return DenseModel(y=design.y - design.offset, X=design.X[:, design.kept], Z=np.hstack(Z), weights=design.weights)


def effect_keys(design: Design) -> pd.MultiIndex:
    """(group, level, effect) of every column of the dense Z, in canonical names."""
    return pd.MultiIndex.from_tuples(
        [
            (canonical_group(block.group), canonical_level(block.group, level), canonical_effect(effect))
            for block in design.blocks
            for level in block.levels
            for effect in block.effects
        ]
    )


def reference_covariance(model: ReferenceModel, design: Design) -> Matrix:
    """G from the standard deviations and correlations of the reference, terms of one group put side by side."""
    covariances = []
    for block in design.blocks:
        effects = [canonical_effect(effect) for effect in block.effects]
        covariance = np.zeros((len(effects), len(effects)))
        for term in model.random:
            if canonical_group(term.group) != canonical_group(block.group):
                continue
            where = [effects.index(canonical_effect(effect)) for effect in term.effects]
            correlations = np.eye(len(where)) if term.correlations is None else np.array(term.correlations, dtype=float)
            covariance[np.ix_(where, where)] = np.outer(term.sds, term.sds) * np.nan_to_num(correlations)
        covariances.append(level_covariance(covariance, len(block.levels)))
    return block_diagonal(covariances)
