"""Every model entry of the reference files: as a case for the package, or as skipped, with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import pandas as pd
from reference_data import REFERENCE, load_data, select_rows

ONE_STEP_AWAY = {  # entries whose formula is not lme4's: the same model in the grammar of the package
    ("nlme_Orthodont", "lme_ris_reml"): "distance ~ I(age - 11) * Sex + (I(age - 11) | Subject)",
    ("nlme_Orthodont", "lme_pddiag_reml"): "distance ~ I(age - 11) * Sex + (I(age - 11) || Subject)",
    ("nlme_Machines", "lme_pdident_nested_reml"): "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
    ("nlme_Machines", "lme_pdcompsymm_reml"): "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
    ("nlme_sleepstudy_ext", "lme_varfixed_reml"): "Reaction ~ Days + (Days | Subject)",
    ("glmmTMB_sleepstudy_ext", "cs_factor_reml"): "Reaction ~ block + (0 + block | Subject)",  # 2 x 2: unstructured
}
KNOWN_VARIANCE = {  # data set -> weights, random terms, group of each standard deviation
    "bcg": ("1 / vi", "(1 | trial)", {"tau": "trial"}),
    "eight_schools": ("1 / sigma**2", "(1 | school)", {"tau": "school"}),
    "school_calendar": (
        "1 / vi",
        "(1 | district/school)",
        {"sd_district": "district", "sd_school_in_district": "district:school"},
    ),
}


@dataclass(frozen=True, kw_only=True)
class RandomTerm:
    """Standard deviations and correlations of the effects of one term, in the names of the reference file."""

    group: str
    effects: tuple[str, ...]
    sds: tuple[float, ...]
    correlations: list[list[float]] | None  # (k, k)


@dataclass(frozen=True, kw_only=True)
class ReferenceModel:
    """One model to fit, with the entry of the reference file that says what should come out."""

    id: str
    dataset: str
    formula: str
    method: Literal["reml", "ml"]
    loglik: float
    entry: dict[str, Any] = field(repr=False)
    random: tuple[RandomTerm, ...]
    weights: str | None = None
    sigma: float | None = None  # fixed at this value
    variances_identified: bool = True

    @property
    def n(self) -> int:
        return self.entry["n_obs"]

    def frame(self) -> pd.DataFrame:
        return select_rows(load_data(self.dataset), self.entry)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A reference entry that no case is made of, and why."""

    id: str
    reason: str


@cache
def reference_models() -> tuple[tuple[ReferenceModel, ...], tuple[Skipped, ...]]:
    """All entries of all files in `tests/reference`."""
    found = [case for path in sorted(REFERENCE.glob("*.json")) for case in _read(path.stem)]
    covered = tuple(case for case in found if isinstance(case, ReferenceModel))
    return covered, tuple(case for case in found if isinstance(case, Skipped))


def _read(file: str) -> Iterator[ReferenceModel | Skipped]:
    content = json.loads((REFERENCE / f"{file}.json").read_text(encoding="utf-8"))
    for entry in content["models"]:
        if reason := _reason_to_skip(file, entry):
            yield Skipped(id=f"{file}/{entry['id']}", reason=reason)
        elif file.startswith("known_variance"):
            yield _known_variance(file, content["dataset"], entry)
        else:
            yield _mixed_model(file, content["dataset"], entry)


def _reason_to_skip(file: str, entry: dict[str, Any]) -> str | None:
    """Say why an entry has no place in the table; None if it has one."""
    if (file, entry["id"]) in ONE_STEP_AWAY:
        return None
    if file == "bayes_exact":
        return "posterior by quadrature: compared with the samplers, not with a fit"
    if file == "nhanes_like_statsmodels":
        return "another program's estimates of models in nhanes_like.json, less converged"
    if entry["engine"] == "stats::lm" or entry.get("method") == "EE" or entry["id"].startswith("gls_ols"):
        return "no random terms"
    if entry.get("method") == "DL":
        return "moment estimator (DerSimonian-Laird)"
    if entry["engine"].startswith("nlme"):
        return "residual correlation" if "correlation = " in entry["r_code"] else "residual variance by a function"
    if entry["engine"].startswith("glmmTMB"):
        if entry["dispformula"] != "~1":
            return "residual variance by a function"
        if structure := re.search(r"\b(ar1|cs|toep|ou|exp)\(", entry["formula"]):
            return f"covariance structure {structure[1]}"
    return None


def _mixed_model(file: str, dataset: str, entry: dict[str, Any]) -> ReferenceModel:
    key = (file, entry["id"])
    formula = ONE_STEP_AWAY.get(key) or translate(entry["formula"], load_data(dataset))
    random = tuple(_random_term(term, dataset) for term in entry["random"])
    if file == "nlme_Machines":
        random, entry = _split_by_machine(entry), {name: value for name, value in entry.items() if name != "ranef"}
    return ReferenceModel(
        id=f"{file}/{entry['id']}",
        dataset=dataset,
        formula=formula,
        method="reml" if entry["reml"] else "ml",
        weights="w" if entry["id"] == "lme_varfixed_reml" else entry.get("weights"),
        loglik=entry["loglik"],
        variances_identified="gotcha" not in entry["id"],
        random=random,
        entry=entry,
    )


def _random_term(term: dict[str, Any], dataset: str) -> RandomTerm:
    names = term.get("names") or [neutral_name(name, load_data(dataset)) for name in term["names_r"]]
    correlations = term.get("corr") or term.get("corr_head")
    if correlations is None and len(names) > 1:  # nlme gives the covariance alone
        cov, sds = term["cov"], term["sd"]
        correlations = [[cov[i][j] / (sds[i] * sds[j]) for j in range(len(sds))] for i in range(len(sds))]
    return RandomTerm(group=term["group"], effects=tuple(names), sds=tuple(term["sd"]), correlations=correlations)


def _split_by_machine(entry: dict[str, Any]) -> tuple[RandomTerm, ...]:
    """Read exchangeable effects of three machines within a worker as effects of the worker and of each of its machines."""
    cov = entry["random"][0]["cov"]
    worker, machine = (cov[0][1], cov[0][0] - cov[0][1]) if len(cov) == 3 else (cov[0][0], cov[1][1])
    return tuple(
        RandomTerm(group=group, effects=("Intercept",), sds=(variance**0.5,), correlations=None)
        for group, variance in (("Worker", worker), ("Worker:Machine", machine))
    )


def _known_variance(file: str, dataset: str, entry: dict[str, Any]) -> ReferenceModel:
    """Read a meta-analysis: known sampling variances are weights with sigma fixed at 1."""
    weights, terms, groups = KNOWN_VARIANCE[dataset]
    random = [
        RandomTerm(group=group, effects=("Intercept",), sds=(entry[key],), correlations=None)
        for key, group in groups.items()
    ]
    return ReferenceModel(
        id=f"{file}/{entry['id']}",
        dataset=dataset,
        formula=f"{entry['formula']} + {terms}",
        method="reml" if entry["method"] == "REML" else "ml",
        weights=weights,
        sigma=1.0,
        # metafor's restricted likelihood contains log|X'X| / 2, lme4's and the package's does not.
        loglik=entry.get("loglik_lme4_convention", entry["loglik"]),
        random=tuple(random),
        entry=entry,
    )


def translate(formula: str, frame: pd.DataFrame) -> str:
    """An lme4 or glmmTMB formula in the grammar of the package."""
    formula = formula.replace("^", "**").replace("factor(", "C(")
    formula = re.sub(r"\bus\(([^|()]*)\|", r"(\1|", formula)
    formula = re.sub(r"\bdiag\(([^|()]*)\|", r"(\1||", formula)

    def split_factor(match: re.Match[str]) -> str:
        # lme4 leaves the columns of a factor correlated under `||`; in the package `||` makes all columns independent.
        column, group = match[1], match[2]
        return f"(1 | {group}) + (0 + {column} | {group})" if frame[column].dtype == "category" else match[0]

    return re.sub(r"\((\w+) \|\| (\w+)\)", split_factor, formula)


def neutral_name(name: str, frame: pd.DataFrame) -> str:
    """R's name of an effect (`blocklate` of a fully coded factor) as the reference files have it (`block[late]`)."""
    if name == "(Intercept)":
        return "Intercept"
    for column in frame.columns:
        if name.startswith(column) and frame[column].dtype == "category":
            return f"{column}[{name.removeprefix(column)}]"
    return name
