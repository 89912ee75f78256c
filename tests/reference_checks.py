"""Compare a fit with a reference entry: every function yields the discrepancies it finds, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from reference_models import ReferenceModel
from reference_names import canonical_effect, canonical_group, canonical_level
from scipy.sparse.csgraph import minimum_spanning_tree

LOGLIK = 1e-6  # absolute; the reference values agree between optimisers to 1e-9
LOGLIK_LARGE = 1e-9  # relative, from 10,000 rows on
FIXED = 1e-5  # relative; of the standard error where an estimate is near zero
SIGMA = 1e-5  # relative
THETA = 5e-5  # of sigma, for standard deviations; absolute, for correlations
MODES = 1e-4  # of the standard deviation of the effect
CONDITIONAL_SD = 1e-4  # relative
FITTED = 1e-5  # of sigma
SUM_OF_SQUARES = 1e-5  # relative, over all rows
ZERO = 1e-3  # of sigma: a smaller standard deviation leaves its correlations and effects undetermined


def discrepancies(model: ReferenceModel, fit: Any) -> list[str]:
    """All of them; an empty list is agreement."""
    found = [*compare_likelihood(model, fit), *compare_fixed_effects(model, fit), *compare_sigma(model, fit)]
    found += compare_fitted(model, fit)
    if model.variances_identified:
        found += [*compare_variances(model, fit), *compare_theta(model, fit), *compare_random_effects(model, fit)]
        found += [*compare_singularity(model, fit), *compare_predictions(model, fit)]
    return found


def compare_likelihood(model: ReferenceModel, fit: Any) -> Iterator[str]:
    tolerance = model.rough * (LOGLIK if model.n < 10_000 else LOGLIK_LARGE * abs(model.loglik))
    yield from differ("loglik", fit.loglik, model.loglik, tolerance)
    if "lme4" in model.entry["engine"]:  # the others count parameters or rows in their own way
        yield from differ("aic", fit.aic, model.entry["aic"], 2 * tolerance)
        yield from differ("bic", fit.bic, model.entry["bic"], 2 * tolerance)


def compare_fixed_effects(model: ReferenceModel, fit: Any) -> Iterator[str]:
    expected = model.entry["fixef"]
    names = [canonical_effect(name) for name in expected["names"]]
    table = fit.fixed_effects.rename(index=canonical_effect)
    dropped = {canonical_effect(name) for name in model.entry.get("dropped_columns") or []}
    shown = set(table.index[table["estimate"].notna()])
    if shown != set(names) or not dropped.isdisjoint(shown):
        yield f"coefficients {sorted(shown)}, expected {sorted(names)} without {sorted(dropped)}"
        return
    aliased = {canonical_effect(name) for name in fit.design.aliased}
    if aliased != dropped:
        yield f"aliased columns {sorted(aliased)}, expected {sorted(dropped)}"
    for name, estimate, se in zip(names, expected["estimate"], expected.get("se", []), strict=True):
        # Relative to the estimate where it is far from zero, to its standard error where it is near.
        yield from differ(
            f"{name}", table.loc[name, "estimate"], estimate, model.rough * FIXED * max(abs(estimate), se)
        )
        yield from differ(f"se of {name}", table.loc[name, "std_error"], se, model.rough * FIXED * se)


def compare_sigma(model: ReferenceModel, fit: Any) -> Iterator[str]:
    expected = model.sigma or model.entry["sigma"]
    yield from differ("sigma", fit.sigma, expected, SIGMA * expected)


def compare_fitted(model: ReferenceModel, fit: Any) -> Iterator[str]:
    fitted, residuals = np.asarray(fit.fitted), np.asarray(fit.residuals())
    scale = FITTED * model.scale
    if len(fitted) != model.n:
        yield f"{len(fitted)} rows used, expected {model.n}"
        return
    yield from differ("fitted", fitted[:10], model.entry.get("fitted_head"), scale)
    yield from differ("residuals", residuals[:10], model.entry.get("residual_head"), scale)
    if "blup" in model.entry:  # metafor: the fixed part with the random effects
        yield from differ("fitted", fitted, model.entry["blup"]["estimate"], MODES * max(model.random[0].sds[0], ZERO))
    rss = model.entry.get("residual_sum_of_squares")
    if rss is not None:
        yield from differ("residual sum of squares", residuals @ residuals, rss, SUM_OF_SQUARES * rss)


def compare_variances(model: ReferenceModel, fit: Any) -> Iterator[str]:
    """Compare standard deviations and correlations, as rows of the table of parameters and as covariances of effects."""
    estimates = {canonical_row(name): value for name, value in fit.parameters["estimate"].items()}
    for block, factor in zip(fit.design.blocks, fit.factors, strict=True):
        estimates |= rows_of_effects(block, fit.sigma * factor, estimates)
    for term in model.random:
        group = canonical_group(term.group)
        effects = [canonical_effect(effect) for effect in term.effects]
        for i, sd in enumerate(term.sds):
            row = ("sd", group, effects[i])
            if row not in estimates:
                yield f"no row {row} among {sorted(estimates)}"
                continue
            within = model.rough * THETA * model.scale
            yield from differ(f"sd({effects[i]} | {group})", estimates[row], sd, within)
            for j in range(i):
                if min(sd, term.sds[j]) < ZERO * model.scale:
                    continue
                row = ("cor", group, *sorted((effects[i], effects[j])))
                correlation = term.correlations[i][j] if term.correlations else 0.0
                tolerance = model.rough * THETA * max(1.0, model.scale / max(sd, term.sds[j]))
                # A diagonal term has no row for its correlations, which are zero.
                yield from differ(f"{row}", estimates.get(row, 0.0), correlation, tolerance)


def rows_of_effects(block: Any, factor: np.ndarray, estimates: dict[tuple[str, ...], float]) -> dict[Any, float]:
    """Rows of single effects where the table has one for a term: what the covariance says, if the table says the same."""
    found: dict[Any, float] = {}
    group, covariance = canonical_group(block.group), factor @ factor.T
    for piece in block.pieces:
        row = canonical_effect(piece.term.expression)
        names = [canonical_effect(effect) for effect in block.effects[piece.start : piece.stop]]
        own = covariance[piece.start : piece.stop, piece.start : piece.stop]
        sds = np.sqrt(np.diag(own))
        if ("sd", group, row) in estimates:
            assert np.allclose(sds, estimates["sd", group, row], rtol=1e-10)
            found |= {("sd", group, name): float(sd) for name, sd in zip(names, sds, strict=True)}
        by_lag = {each[-1]: value for each, value in estimates.items() if each[:3] == ("cor", group, row)}
        for i, name in enumerate(names if "lag1" in by_lag else ()):
            for j in range(i):
                correlation = own[i, j] / (sds[i] * sds[j])
                assert np.isclose(correlation, by_lag[f"lag{i - j}"], rtol=1e-8)
                found["cor", group, *sorted((name, names[j]))] = float(correlation)
        if ("cor", group, row) in estimates:
            first = own[0, 1] / (sds[0] * sds[1])
            if piece.term.structure in ("exp", "ou", "gau"):  # at the mean distance of neighbours
                places = np.array([re.search(r"\[(.*)\]$", name)[1].split(",") for name in names], dtype=float)  # type: ignore[index]
                h = np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))
                unit = minimum_spanning_tree(h).data.mean()
                first **= (unit / h[0, 1]) ** (2 if piece.term.structure == "gau" else 1)
            assert np.isclose(first, estimates["cor", group, row], rtol=1e-8)
            for i, name in enumerate(names):
                for j in range(i):
                    found["cor", group, *sorted((name, names[j]))] = float(own[i, j] / (sds[i] * sds[j]))
    return found


def compare_theta(model: ReferenceModel, fit: Any) -> Iterator[str]:
    """Compare the relative factors with lme4's θ, the lower triangle of each term column by column."""
    if "theta" not in model.entry:
        return
    factors = {
        canonical_group(block.group): ([canonical_effect(effect) for effect in block.effects], factor)
        for block, factor in zip(fit.design.blocks, fit.factors, strict=True)
    }
    found: list[float] = []
    for term in model.random:
        effects, factor = factors[canonical_group(term.group)]
        where = [effects.index(canonical_effect(effect)) for effect in term.effects]
        lower = factor[np.ix_(where, where)]
        found += [lower[i, j] for j in range(len(where)) for i in range(j, len(where))]
    yield from differ("theta", found, model.entry["theta"], THETA)


def compare_random_effects(model: ReferenceModel, fit: Any) -> Iterator[str]:
    if "ranef" not in model.entry:
        return
    table = fit.random_effects()
    levels = [canonical_level(*pair) for pair in zip(table["group"], table["level"].astype(str), strict=True)]
    table.index = pd.MultiIndex.from_arrays(
        [table["group"].map(canonical_group), table["effect"].map(canonical_effect), levels]
    )
    table = table.sort_index()
    for term, expected in zip(model.random, model.entry["ranef"], strict=True):
        for i, effect in enumerate(term.effects):
            key = (canonical_group(term.group), canonical_effect(effect))
            labels = [canonical_level(term.group, level) for level in expected["levels"]]
            column = {name: np.array(expected[name])[:, i] for name in ("values", "cond_sd") if expected.get(name)}
            column["sum_of_squares"] = expected["sum_of_squares"][i]
            yield from compare_effect(table.loc[key], labels, column, term.sds[i], model.entry["sigma"])


def compare_effect(
    rows: pd.DataFrame, labels: list[str], expected: dict[str, Any], sd: float, sigma: float
) -> Iterator[str]:
    """Compare one effect of one grouping factor: rows of all levels, of which `labels` are listed in the reference."""
    where, scale = f"{rows['effect'].iloc[0]} of {rows['group'].iloc[0]}", max(sd, ZERO * sigma)
    listed = rows.loc[labels]
    yield from differ(f"effects {where}", listed["estimate"], expected["values"], MODES * scale)
    if "cond_sd" in expected:
        tolerance = CONDITIONAL_SD * expected["cond_sd"] + (THETA * sigma if sd == 0 else 0.0)
        yield from differ(f"conditional sds {where}", listed["std_error"], expected["cond_sd"], tolerance)
    tolerance = MODES * (expected["sum_of_squares"] + len(rows) * scale**2)
    yield from differ(f"sum of squares {where}", (rows["estimate"] ** 2).sum(), expected["sum_of_squares"], tolerance)


def compare_singularity(model: ReferenceModel, fit: Any) -> Iterator[str]:
    expected = model.entry.get("singular", model.sigma is not None and min(min(t.sds) for t in model.random) == 0.0)
    if fit.is_singular != expected:
        yield f"is_singular is {fit.is_singular}, expected {expected}"


def compare_predictions(model: ReferenceModel, fit: Any) -> Iterator[str]:
    expected = model.entry.get("predict")
    if expected is None:
        return
    new_data = pd.DataFrame(expected["newdata"])
    ways: dict[str, Any] = {"with_random": "all", "fixed_only": "none"}
    if "partial" in expected:
        ways["partial"] = [re.search(r"\| (\w+)\)", expected["partial_re_form"])[1]]
    for key, random in ways.items():
        predicted = fit.predict(new_data, random=random, new_levels="population")
        yield from differ(
            f"predictions {key}", np.asarray(predicted).ravel(), expected[key], FITTED * model.entry["sigma"]
        )


def canonical_row(name: str) -> tuple[str, ...]:
    """Row `cor(a, b | g)` as ("cor", g, a, b) in canonical names."""
    match = re.fullmatch(r"(sd|cor)\((.*) \| (.*)\)", name)
    if match is None:
        return (name,)
    effects = re.split(r", (?![^(\[]*[)\]])", match[2]) if match[1] == "cor" else [match[2]]
    return (match[1], canonical_group(match[3]), *sorted(map(canonical_effect, effects)))


def differ(what: str, value: Any, expected: Any, tolerance: Any) -> Iterator[str]:
    """Yield one line if the two differ by more than the tolerance anywhere; nothing is expected of None."""
    if expected is None:
        return
    value, expected = np.asarray(value, dtype=float), np.asarray(expected, dtype=float)
    if value.shape != expected.shape:
        yield f"{what}: shape {value.shape}, expected {expected.shape}"
        return
    excess = np.abs(value - expected) - tolerance
    if not np.all(excess <= 0):  # also true of NaN
        worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
        yield (
            f"{what}: {value.flat[worst]!r}, expected {expected.flat[worst]!r}, "
            f"allowed {np.broadcast_to(tolerance, expected.shape).flat[worst]:.2g}"
        )
