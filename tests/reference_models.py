"""Every model entry of the reference files: as a case for the package, or as skipped, with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from reference_data import REFERENCE, load_data, select_rows
from residual_entries import ENTRIES

ONE_STEP_AWAY = {  # entries whose formula is not lme4's: the same model in the grammar of the package
    ("nlme_Orthodont", "lme_ris_reml"): "distance ~ I(age - 11) * Sex + (I(age - 11) | Subject)",
    ("nlme_Orthodont", "lme_pddiag_reml"): "distance ~ I(age - 11) * Sex + (I(age - 11) || Subject)",
    ("nlme_Machines", "lme_pdident_nested_reml"): "score ~ Machine + (1 | Worker) + homdiag(0 + Machine | Worker)",
    ("nlme_Machines", "lme_pdcompsymm_reml"): "score ~ Machine + homcs(0 + Machine | Worker)",
    ("nlme_sleepstudy_ext", "lme_varfixed_reml"): "Reaction ~ Days + (Days | Subject)",
    # Unit steps without gaps, and a correlation above zero, which is all that ou() has.
    ("glmmTMB_sleepstudy", "ou_reml"): "Reaction ~ Days + ar1(0 + C(Days) | Subject)",
    # ARMA(1, 1) with ρ₁ < φ is AR(1) with independent noise.
    ("nlme_sleepstudy", "lme_ri_arma11_reml"): "Reaction ~ Days + (1 | Subject) + ar1(0 + C(Days) | Subject)",
}
AGAIN = {  # entries that are the same model in a second formula
    ("nlme_Machines", "lme_pdident_nested_reml"): "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
    ("nlme_Machines", "lme_pdcompsymm_reml"): "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
    ("glmmTMB_sim_multi", "homog_f_reml"): "y ~ f + homdiag(0 + f | g)",
    ("nlme_Orthodont", "gls_cs_reml"): "distance ~ age * Sex + (1 | Subject)",  # as its correlation is above zero
    ("nlme_Orthodont", "gls_cs_ml"): "distance ~ age * Sex + (1 | Subject)",
    ("nlme_sleepstudy", "gls_cs_reml"): "Reaction ~ Days + (1 | Subject)",
}
# Correlated residuals are random effects with one row in each cell and next to no residual. Its variance adds to that
# of the effects: the likelihood changes by some (sigma / sd)² of itself, below 1e-7 here, where nothing is rounding yet.
NEXT_TO_NOTHING = 3e-5  # of the standard deviation of a row
WITHOUT_RESIDUAL = {
    ("nlme_Orthodont", "gls_cs_reml"): "homcs(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_cs_ml"): "homcs(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_hcs_reml"): "cs(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_ar1_reml"): "ar1(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_ar1_ml"): "ar1(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_har1_reml"): "hetar1(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_un_reml"): "us(0 + C(age) | Subject)",
    ("nlme_Orthodont", "gls_un_ml"): "us(0 + C(age) | Subject)",
    ("nlme_Orthodont", "lme_ri_ar1_reml"): "(1 | Subject) + ar1(0 + C(age) | Subject)",
    ("nlme_sleepstudy", "gls_cs_reml"): "homcs(0 + C(Days) | Subject)",
    ("nlme_sleepstudy", "gls_ar1_reml"): "ar1(0 + C(Days) | Subject)",
    ("nlme_sleepstudy", "lme_ri_ar1_reml"): "(1 | Subject) + ar1(0 + C(Days) | Subject)",
    ("nlme_sleepstudy", "lme_ri_ar1_ml"): "(1 | Subject) + ar1(0 + C(Days) | Subject)",
    ("nlme_sleepstudy_ext", "gls_car1_reml"): "ar1(0 + C(Days) | Subject)",
    ("nlme_sleepstudy_ext", "lme_ri_ar1_gaps_reml"): "(1 | Subject) + ar1(0 + C(Days) | Subject)",
    **{
        ("glmmTMB_Orthodont", id): "" for id in ("un_reml", "hcs_reml", "ar1_reml", "toep_reml", "diag_reml")
    },  # their own formulas
}
# Correlations by distances, of which a nugget is the share that is each row's own, are effects of cells and residuals.
BY_DISTANCES = {
    ("nlme_sim_ou", "gls_exp_nugget_reml"): "ou(0 + C(t) | g)",
    ("nlme_sim_ou", "gls_exp_nugget_ml"): "ou(0 + C(t) | g)",
    ("nlme_sim_ou", "gls_car1_reml"): "ou(0 + C(t) | g)",
    ("nlme_sim_ou", "lme_ri_car1_reml"): "(1 | g) + ou(0 + C(t) | g)",
    ("nlme_sim_spatial", "gls_exp2d_nugget_reml"): "exp(0 + at(px, py) | g)",
    ("nlme_sim_spatial", "gls_gaus2d_nugget_reml"): "gau(0 + at(px, py) | g)",
}
BY_FINITE_STEPS = 100.0  # times the usual tolerances: glmmTMB's dispformula = ~0 is good to 1e-4, as the files say
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
    scale: float  # standard deviation of a row within a cell, of which tolerances are parts
    rough: float = 1.0  # times the usual tolerances

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
            if (file, entry["id"]) in ENTRIES:  # tests/residual/test_references.py has them
                continue
            yield Skipped(id=f"{file}/{entry['id']}", reason=reason)
            continue
        key = (file, entry["id"])
        if file.startswith("known_variance"):
            yield _known_variance(file, content["dataset"], entry)
        elif key in BY_DISTANCES:
            yield _by_distances(file, content["dataset"], entry)
        elif key in WITHOUT_RESIDUAL:
            yield _without_residual(file, content["dataset"], entry)
        else:
            yield _mixed_model(file, content["dataset"], entry)
        if key in AGAIN:
            yield _again(file, content["dataset"], entry)


def _reason_to_skip(file: str, entry: dict[str, Any]) -> str | None:
    """Say why an entry has no place in the table; None if it has one."""
    if (file, entry["id"]) in ONE_STEP_AWAY | WITHOUT_RESIDUAL | BY_DISTANCES:
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
        return "residual variance by a function"
    if entry["engine"].startswith("glmmTMB") and entry["dispformula"] != "~1":
        return "residual variance by a function"
    return None


def _mixed_model(file: str, dataset: str, entry: dict[str, Any]) -> ReferenceModel:
    key = (file, entry["id"])
    formula = ONE_STEP_AWAY.get(key) or translate(entry["formula"], load_data(dataset))
    random = tuple(_random_term(term, dataset) for term in entry["random"])
    sigma = entry["sigma"]
    if key == ("nlme_sleepstudy", "lme_ri_arma11_reml"):
        term, sigma = _noise_apart(entry, load_data(dataset))
        random, entry = (*random, term), _without(entry, "ranef", "fitted_head", "residual_head") | {"sigma": sigma}
        entry = _without(entry, "residual_sum_of_squares")
    if key == ("glmmTMB_sim_ou", "ri_ou_ml"):  # its variance of zero is a small number there, and R numbers the terms
        random = tuple(replace(term, group=term.group.removesuffix(".1")) for term in random)
        entry = entry | {"singular": True}
    if key == ("nlme_Machines", "lme_pdident_nested_reml"):
        random, entry = _split_term(random[0]), _without(entry, "ranef")
    return ReferenceModel(
        id=f"{file}/{entry['id']}",
        dataset=dataset,
        formula=formula,
        method="reml" if entry["reml"] else "ml",
        weights="w" if entry["id"] == "lme_varfixed_reml" else entry.get("weights"),
        loglik=entry["loglik"],
        variances_identified="gotcha" not in entry["id"],
        random=random,
        scale=sigma,
        entry=entry,
    )


def _again(file: str, dataset: str, entry: dict[str, Any]) -> ReferenceModel:
    """Read an entry as the same model by another formula."""
    key = (file, entry["id"])
    if entry["engine"] == "nlme::gls":  # equal correlations are those of a common effect
        rho, variance = entry["correlation"]["parameters"]["Rho"], entry["sigma"] ** 2
        random = (_intercept("Subject", rho * variance),)
        sigma = (variance * (1.0 - rho)) ** 0.5
        entry = _without(entry, "fitted_head", "residual_head", "residual_sum_of_squares") | {"sigma": sigma}
    elif file == "nlme_Machines":
        random, entry = _split_by_machine(entry), _without(entry, "ranef")
    else:  # one standard deviation for all cells
        frame = load_data(dataset)
        effects = tuple(f"f[{level}]" for level in frame["f"].cat.categories)
        sds = tuple(entry["random"][0]["sd"]) * len(effects)
        random = (RandomTerm(group="g", effects=effects, sds=sds, correlations=None),)
        entry = _without(entry, "ranef")
    return ReferenceModel(
        id=f"{file}/{entry['id']}, again",
        dataset=dataset,
        formula=AGAIN[key],
        method="reml" if entry["reml"] else "ml",
        loglik=entry["loglik"],
        random=random,
        scale=entry["sigma"],
        entry=entry,
    )


def _without_residual(file: str, dataset: str, entry: dict[str, Any]) -> ReferenceModel:
    """Read correlated residuals as effects of cells with one row each, and next to no residual."""
    terms = WITHOUT_RESIDUAL[file, entry["id"]]
    if terms:
        response, fixed = re.search(r"\((\w+) ~ ([^,]*),", entry["r_code"]).groups()  # type: ignore[union-attr]
        formula = f"{response} ~ {fixed} + {terms}"
        random = [_random_term(term, dataset) for term in entry.get("random", [])]
        random.append(_residual_term(entry, load_data(dataset)))
    else:
        formula = translate(entry["formula"], load_data(dataset))
        random = [_random_term(term, dataset) for term in entry["random"]]
    scale = random[-1].sds[0]
    left_out = ("sigma", "ranef", "fitted_head", "residual_head", "residual_sum_of_squares")
    return ReferenceModel(
        id=f"{file}/{entry['id']}",
        dataset=dataset,
        formula=formula,
        method="reml" if entry["reml"] else "ml",
        sigma=NEXT_TO_NOTHING * scale,
        loglik=entry["loglik"],
        random=tuple(random),
        scale=scale,
        rough=1.0 if terms else BY_FINITE_STEPS,
        entry=_without(entry, *left_out),
    )


def _by_distances(file: str, dataset: str, entry: dict[str, Any]) -> ReferenceModel:
    """Read residuals whose correlations fall with distance as effects of cells, and their nugget as the residuals."""
    frame, terms = load_data(dataset), BY_DISTANCES[file, entry["id"]]
    response, fixed = re.search(r"\((\w+) ~ ([^,]*),", entry["r_code"]).groups()  # type: ignore[union-attr]
    columns = ["t"] if "C(t)" in terms else ["px", "py"]
    places = frame[columns].drop_duplicates().sort_values(columns).to_numpy()
    h = np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))
    parameters, variance = entry["correlation"]["parameters"], entry["sigma"] ** 2
    nugget = parameters.get("nugget", 0.0)
    if "Phi" in parameters:
        R = parameters["Phi"] ** h
    else:
        R = np.exp(-((h / parameters["range"]) ** (2 if "gau" in terms else 1)))
    cell = RandomTerm(
        group="g",
        effects=tuple(
            f"{'C(t)' if 't' in columns else 'at(px, py)'}[{', '.join(f'{x:g}' for x in at)}]" for at in places
        ),
        sds=((variance * (1.0 - nugget)) ** 0.5,) * len(places),
        correlations=R.tolist(),
    )
    left_out = ("ranef", "fitted_head", "residual_head", "residual_sum_of_squares")
    own = (variance * nugget) ** 0.5
    return ReferenceModel(
        id=f"{file}/{entry['id']}",
        dataset=dataset,
        formula=f"{response} ~ {fixed} + {terms}",
        method="reml" if entry["reml"] else "ml",
        sigma=None if nugget else NEXT_TO_NOTHING * entry["sigma"],
        loglik=entry["loglik"],
        random=(*(_random_term(term, dataset) for term in entry.get("random", [])), cell),
        scale=entry["sigma"],
        entry=_without(entry, *left_out) | {"sigma": own} if nugget else _without(entry, *left_out, "sigma"),
    )


def _residual_term(entry: dict[str, Any], frame: pd.DataFrame) -> RandomTerm:
    """Read the residuals of nlme, by their place in time."""
    time = "age" if "age" in frame else "Days"
    labels = [str(value) for value in sorted(frame[time].unique())]
    ratios = entry.get("variance_function", {}).get("parameters", {})
    sds = tuple(entry["sigma"] * ratios.get(label, 1.0) for label in labels)
    correlations = entry["correlation"]["matrix_largest_group"]
    if len(correlations) < len(labels):  # days are missing
        (phi,) = entry["correlation"]["parameters"].values()
        correlations = [[phi ** abs(i - j) for j in range(len(labels))] for i in range(len(labels))]
    return RandomTerm(
        group="Subject",
        effects=tuple(f"C({time})[{label}]" for label in labels),
        sds=sds,
        correlations=correlations,
    )


def _noise_apart(entry: dict[str, Any], frame: pd.DataFrame) -> tuple[RandomTerm, float]:
    """Read ARMA(1, 1) as AR(1) and noise: its correlations are c·φ^h, of which c is the share of AR(1)."""
    first, second = entry["correlation"]["matrix_largest_group"][0][1:3]
    phi = second / first
    share, variance = first / phi, entry["sigma"] ** 2
    labels = sorted(frame["Days"].unique())
    term = RandomTerm(
        group="Subject",
        effects=tuple(f"C(Days)[{label}]" for label in labels),
        sds=((share * variance) ** 0.5,) * len(labels),
        correlations=[[phi ** abs(i - j) for j in range(len(labels))] for i in range(len(labels))],
    )
    return term, ((1.0 - share) * variance) ** 0.5


def _without(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}


def _random_term(term: dict[str, Any], dataset: str) -> RandomTerm:
    names = term.get("names") or [neutral_name(name, load_data(dataset)) for name in term["names_r"]]
    correlations = term.get("corr") or term.get("corr_head")
    if correlations is None and len(names) > 1:  # nlme gives the covariance alone
        cov, sds = term["cov"], term["sd"]
        correlations = [[cov[i][j] / (sds[i] * sds[j]) for j in range(len(sds))] for i in range(len(sds))]
    if names[0].startswith("at("):
        return _field(term, load_data(dataset))
    return RandomTerm(group=term["group"], effects=tuple(names), sds=tuple(term["sd"]), correlations=correlations)


def _field(term: dict[str, Any], frame: pd.DataFrame) -> RandomTerm:
    """Read effects of all places, of which the file has the first ten, off the range."""
    places = frame[["px", "py"]].drop_duplicates().to_numpy()
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    return RandomTerm(
        group=term["group"],
        effects=tuple(f"at(px, py)[{x:g}, {y:g}]" for x, y in places),
        sds=(term["sd"][0],) * len(places),
        correlations=np.exp(-apart / term["parameters"]["range"]).tolist(),
    )


def _split_term(term: RandomTerm) -> tuple[RandomTerm, ...]:
    """Read a block-diagonal term of nlme as the intercept, and what has one standard deviation."""
    rest = RandomTerm(group=term.group, effects=term.effects[1:], sds=term.sds[1:], correlations=None)
    return _intercept(term.group, term.sds[0] ** 2), rest


def _split_by_machine(entry: dict[str, Any]) -> tuple[RandomTerm, ...]:
    """Read exchangeable effects of three machines within a worker as effects of the worker and of each of its machines."""
    cov = entry["random"][0]["cov"]
    worker, machine = (cov[0][1], cov[0][0] - cov[0][1]) if len(cov) == 3 else (cov[0][0], cov[1][1])
    return _intercept("Worker", worker), _intercept("Worker:Machine", machine)


def _intercept(group: str, variance: float) -> RandomTerm:
    return RandomTerm(group=group, effects=("Intercept",), sds=(variance**0.5,), correlations=None)


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
        scale=1.0,
        entry=entry,
    )


def translate(formula: str, frame: pd.DataFrame) -> str:
    """An lme4 or glmmTMB formula in the grammar of the package."""
    formula = formula.replace("^", "**").replace("factor(", "C(")
    formula = re.sub(r"numFactor\((\w+)\)", r"C(\1)", formula)

    def split_factor(match: re.Match[str]) -> str:
        # lme4 leaves the columns of a factor correlated under `||`; in the package `||` makes all columns independent.
        column, group = match[1], match[2]
        return f"(1 | {group}) + (0 + {column} | {group})" if frame[column].dtype == "category" else match[0]

    return re.sub(r"\((\w+) \|\| (\w+)\)", split_factor, formula)


def neutral_name(name: str, frame: pd.DataFrame) -> str:
    """R's name of an effect (`blocklate` of a fully coded factor) as the reference files have it (`block[late]`)."""
    if name == "(Intercept)":
        return "Intercept"
    if number := re.fullmatch(r"(?:factor|numFactor)\((\w+)\)\(?(\d+)\)?", name):
        return f"C({number[1]})[{number[2]}]"
    if place := re.fullmatch(r"numFactor\((\w+), (\w+)\)\((.*),(.*)\)", name):
        return "at({}, {})[{}, {}]".format(*place.groups())
    for column in frame.columns:
        if name.startswith(column) and frame[column].dtype == "category":
            return f"{column}[{name.removeprefix(column)}]"
    return name
