"""Residual covariances: trials with missing visits, beside nlme, glmmTMB and mmrm; an evaluation against the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import designs
import numpy as np
from gradient_rows import potential
from per_row import mean_seconds
from race import Rival, race
from report import is_quick, print_line
from straight_line import log_slope

import bayesmm as bmm
from bayesmm.covariance.layout import start_theta
from bayesmm.reml.residual_search import residual_criterion

FORMULA = "y ~ arm * visit"
METHOD = "if (reml) 'REML' else 'ML'"
SITES, CLINICS = 200, 37  # crossed, of patients
EVALUATIONS = 21  # the least of which is reported: what else a machine does only adds
BY_VISIT = "weights = varIdent(form = ~ 1 | visit)"


def gls(*arguments: str, formula: str = FORMULA) -> Rival:
    """Call nlme, without random effects."""
    call = f"gls({', '.join([formula, 'data = frame', f'method = {METHOD}', *arguments])})"
    return Rival(program="nlme", task={"call": call})


def lme(*arguments: str, formula: str = FORMULA) -> Rival:
    """Call nlme, with random intercepts of patients."""
    call = f"lme({', '.join([formula, 'data = frame', 'random = ~ 1 | id', f'method = {METHOD}', *arguments])})"
    return Rival(program="nlme", task={"call": call})


def glmmtmb(term: str, dispersion: str = "~ 0") -> Rival:
    """Call glmmTMB, whose residual structures are those of random effects without a residual."""
    call = f"glmmTMB({FORMULA} + {term}, data = frame, REML = reml, dispformula = {dispersion})"
    return Rival(program="glmmTMB", task={"call": call})


def mmrm(term: str) -> Rival:
    """Call R's mmrm."""
    return Rival(program="mmrm", task={"call": f"mmrm({FORMULA} + {term}, data = frame, reml = reml)"})


def trials(*, quick: bool) -> None:
    """Race on trials of some hundred patients."""
    repeats = 2 if quick else 5
    small = designs.trial(patients=60 if quick else 400, visits=4)
    long = designs.trial(patients=40 if quick else 200, visits=8 if quick else 20, missing=0.2)
    wide = designs.trial(patients=80 if quick else 1_000, visits=5 if quick else 10)
    unstructured = "correlation = corSymm(form = ~ number | id)"
    serial = "correlation = corAR1(form = ~ number | id)"
    continuous = "correlation = corCAR1(form = ~ number | id)"
    apart = long.assign(t=long["number"] + np.random.default_rng(1).uniform(-0.4, 0.4, len(long)))
    own = "correlation = corCAR1(form = ~ t | id)"
    factors = ["arm", "visit", "id"]
    common: dict[str, Any] = {"factors": factors, "repeats": repeats, "timeout": 60.0 if quick else 600.0}
    race(
        "mmrm 4",
        "A trial, four visits unstructured",
        small,
        formula=FORMULA,
        residual="us(visit | id)",
        rivals=[gls(unstructured, BY_VISIT), glmmtmb("us(0 + visit | id)"), mmrm("us(visit | id)")],
        **common,
    )
    race(
        "mmrm 10",
        "A larger trial, ten visits unstructured",
        wide,
        formula=FORMULA,
        residual="us(visit | id)",
        rivals=[gls(unstructured, BY_VISIT), glmmtmb("us(0 + visit | id)"), mmrm("us(visit | id)")],
        **(common | {"repeats": 1}),
    )
    race(
        "ar1",
        "Twenty visits, some missing, AR(1)",
        long,
        formula=FORMULA,
        residual="ar1(number | id)",
        rivals=[gls(serial), glmmtmb("ar1(0 + visit | id)"), mmrm("ar1(visit | id)")],
        **common,
    )
    race(
        "hetar1",
        "Twenty visits, AR(1), a variance each",
        long,
        formula=FORMULA,
        residual="hetar1(visit | id)",
        rivals=[gls(serial, BY_VISIT), mmrm("ar1h(visit | id)")],
        **common,
    )
    race(
        "intercept and car1",
        "Random intercepts and continuous AR(1)",
        long,
        formula=f"{FORMULA} + (1 | id)",
        residual="car1(number | id)",
        rivals=[lme(continuous)],
        **common,
    )
    race(
        "own times",
        "Times of each patient's own, continuous AR(1)",
        apart,
        formula="y ~ arm * t",
        residual="car1(t | id)",
        rivals=[gls(own, formula="y ~ arm * t")],
        **common,
    )
    race(
        "intercept and own times",
        "Random intercepts and times of each patient's own",
        apart,
        formula="y ~ arm * t + (1 | id)",
        residual="car1(t | id)",
        rivals=[lme(own, formula="y ~ arm * t")],
        **common,
    )
    race(
        "intercept and het",
        "Random intercepts, a variance each visit",
        wide,
        formula=f"{FORMULA} + (1 | id)",
        residual="het(visit)",
        rivals=[lme(BY_VISIT), glmmtmb("(1 | id)", "~ visit")],
        **common,
    )


def against_rows(*, quick: bool) -> None:
    """Time an evaluation (value, slopes, curvature) with the same five visits and sites, and ever more patients.

    There are 16 sets of visits; what has one of them shares a covariance.
    """
    sizes = [500, 2_000, 8_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000]
    for residual, formula in (
        ("us(visit | id)", "y ~ arm + visit"),
        ("ar1(number | id)", "y ~ arm + visit"),
        ("us(visit | id) * het(arm)", "y ~ arm + visit"),
        ("ar1(number | id)", "y ~ arm + visit + (number | site)"),
        ("us(visit | id)", "y ~ arm + visit + (1 | site)"),
        ("het(visit)", "y ~ arm + visit + (1 | site) + (1 | clinic)"),
    ):
        time_evaluations(search_of, "One evaluation of the criterion, derivatives included", formula, residual, sizes)
    for residual, formula in (
        ("ar1(number | id)", "y ~ arm + visit"),
        ("ar1(number | id)", "y ~ arm + visit + (number | site)"),
    ):
        what = "One value and gradient of the marginal program's potential"
        time_evaluations(potential, what, formula, residual, sizes[:-1])


def time_evaluations(
    make: Callable[[bmm.Model], Callable[[], object]], what: str, formula: str, residual: str, sizes: Sequence[int]
) -> None:
    """Time what `make` makes of models of several sizes, and print one line."""
    taken, built = [], []
    for rows in sizes:
        frame = designs.trial(patients=round(rows / 4.6), visits=5)
        frame["site"], frame["clinic"] = frame["id"] % SITES, frame["id"] % CLINICS
        begin = time.perf_counter()
        evaluate = make(bmm.Model(formula, frame, residual=residual))
        evaluate()
        built.append(time.perf_counter() - begin)
        taken.append(min(mean_seconds(evaluate, 1) for _ in range(EVALUATIONS)))
        del evaluate, frame
    slope, error = log_slope(sizes, taken)
    print_line(
        {
            "kind": "rows",
            "name": f"residual rows {what} {residual} {formula}",
            "description": f"{what}, `{formula}` with residuals `{residual}`, five visits",
            "formula": formula,
            "measures": "least seconds of some evaluations; with_sums from formula and data frame to the first one",
            "rows": list(sizes),
            "seconds": taken,
            "with_sums": built,
            "slope": slope,
            "slope_std_error": error,
        }
    )


def search_of(model: bmm.Model) -> Callable[[], object]:
    """Return what a search evaluates, at where it begins."""
    criterion = residual_criterion(model.problem, "reml")
    phi = criterion.rows.layout.start(criterion.rows.fixed[:, -1])
    at = np.concatenate([start_theta(criterion.layout), phi])
    return lambda: criterion(at)


def main() -> None:
    quick = is_quick(__doc__)
    trials(quick=quick)
    against_rows(quick=quick)


if __name__ == "__main__":
    main()
