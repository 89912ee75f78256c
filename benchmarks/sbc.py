"""Simulation-based calibration: parameters drawn from the prior have uniform ranks among the posterior's draws.

    python benchmarks/sbc.py
    python benchmarks/sbc.py --cases "AR(1) residuals" "unstructured residuals" "Toeplitz residuals by sex"

One line for each model and each way of sampling it: the p-values of uniform ranks, parameter by parameter; how many
posteriors needed more draws than were asked for, and how many have diagnostics that speak against them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from report import print_line

import bayesmm as bmm
from bayesmm import priors

SIMULATIONS = {"marginal": 100, "conditional": 50, "importance": 200}
DRAWS = 200  # a chain, enough for ranks; parameters and data are drawn anew in every simulation
WAYS: dict[str, Mapping[str, Any]] = {
    "marginal": {"program": "marginal"},
    "conditional": {"program": "conditional"},
    "importance": {"method": "importance"},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A design with proper priors that put most of their mass where the data can tell parameters apart.

    Attributes
    ----------
    name, description : str
        What the line is called, and what it is about.
    data : str
        The data set whose design it has; its response is simulated.
    formula : str
        In lme4's grammar.
    priors : mapping
        Of all parameters.
    residual : str, optional
        Covariance of the residuals.
    ways : tuple of str
        How it is sampled.
    """

    name: str
    description: str
    data: str
    formula: str
    priors: Mapping[str, Any]
    residual: str | None = None
    ways: tuple[str, ...] = ("marginal", "conditional", "importance")


CASES = (
    Case(
        name="nested",
        description="Casks in batches",
        data="Pastes",
        formula="strength ~ 1 + (1 | batch) + (1 | batch:cask)",
        priors={"Intercept": priors.Normal(60, 2), "sd": priors.HalfNormal(2), "sigma": priors.HalfNormal(1)},
    ),
    Case(
        name="crossed",
        description="Plates crossed with samples",
        data="Penicillin",
        formula="diameter ~ 1 + (1 | plate) + (1 | sample)",
        priors={"Intercept": priors.Normal(23, 2), "sd": priors.HalfNormal(2), "sigma": priors.HalfNormal(1)},
    ),
    Case(
        name="random slope",
        description="Intercepts and slopes of subjects",
        data="sleepstudy",
        formula="Reaction ~ Days + (Days | Subject)",
        priors={
            "Intercept": priors.Normal(250, 25),
            "Days": priors.Normal(10, 5),
            "sd(Intercept | Subject)": priors.HalfNormal(30),
            "sd(Days | Subject)": priors.HalfNormal(8),
            "cor": priors.LKJ(2),
            "sigma": priors.HalfNormal(30),
        },
    ),
    Case(
        name="Toeplitz",
        description="Temperatures of a replicate, correlated by lag",
        data="cake",
        formula="angle ~ 1 + homtoep(0 + C(temperature) | replicate)",
        priors={
            "Intercept": priors.Normal(30, 5),
            "sd": priors.HalfNormal(6),
            "cor": priors.LKJ(1),
            "sigma": priors.HalfNormal(5),
        },
    ),
    Case(
        name="AR(1) residuals",
        description="Days of a subject that hang together, beside the subject's level",
        data="sleepstudy",
        formula="Reaction ~ Days + (1 | Subject)",
        residual="ar1(Days | Subject)",
        priors={
            "Intercept": priors.Normal(250, 25),
            "Days": priors.Normal(10, 5),
            "sd": priors.HalfNormal(30),
            "sigma": priors.HalfNormal(30),
        },
        ways=("marginal", "importance"),
    ),
    Case(
        name="unstructured residuals",
        description="Distances at four ages",
        data="orthodont",
        formula="distance ~ age",
        residual="us(age | Subject)",
        priors={
            "Intercept": priors.Normal(17, 3),
            "age": priors.Normal(0.6, 0.3),
            "sigma": priors.HalfNormal(3),
            "sigma(age)": priors.HalfNormal(3),
            "rho": priors.LKJ(2),
        },
        ways=("marginal", "importance"),
    ),
    Case(
        name="Toeplitz residuals by sex",
        description="Distances at four ages, correlated by lag, a standard deviation for each sex",
        data="orthodont",
        formula="distance ~ age",
        residual="homtoep(age | Subject) * het(Sex)",
        priors={
            "Intercept": priors.Normal(17, 3),
            "age": priors.Normal(0.6, 0.3),
            "sigma": priors.HalfNormal(3),
            "sigma(Sex)": priors.HalfNormal(3),
        },
        ways=("marginal", "importance"),
    ),
    Case(
        name="variance by the fitted value",
        description="Distances whose residuals grow with what is expected, beside the subject's level",
        data="orthodont",
        formula="distance ~ age + (1 | Subject)",
        residual="power(fitted)",
        priors={
            "Intercept": priors.Normal(24, 1),
            "age": priors.Normal(0.66, 0.1),
            "sd": priors.HalfNormal(2),
            "sigma": priors.HalfNormal(0.2),
            "power(fitted)": priors.Normal(0.7, 0.3),
        },
        ways=("conditional",),
    ),
)


def main() -> None:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ten simulations: a smoke test")
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    for case in CASES:
        if case.name in options.cases:
            run(case, quick=options.quick)


def run(case: Case, *, quick: bool) -> None:
    """Calibrate one model in every way that it is sampled."""
    data, chosen = bmm.datasets.load(case.data), dict(case.priors)
    model = bmm.Model(case.formula, data, residual=case.residual, priors=chosen)
    for way in case.ways:
        simulations = 10 if quick else SIMULATIONS[way]
        begin, processor = time.perf_counter(), time.process_time()
        outcome = calibrate(model, WAYS[way], simulations)
        print_line(
            {
                "kind": "calibration",
                "name": f"calibration, {case.name}, {way}",
                "description": case.description,
                "formula": case.formula + (f", residuals {case.residual}" if case.residual else ""),
                "way": way,
                "simulations": simulations,
                "measures": "p-values of uniform ranks",
                "seconds": time.perf_counter() - begin,
                "processor_seconds": time.process_time() - processor,
                **outcome,
            }
        )


def calibrate(model: bmm.Model, options: Mapping[str, Any], simulations: int) -> dict[str, Any]:
    """Calibrate one model sampled in one way; what goes wrong is part of the line."""
    try:
        calibration = model.calibrate(simulations=simulations, draws=DRAWS, seed=1, **options)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {
        "p_values": calibration.p_values.to_dict(),
        "inside_envelope": bool(calibration.is_calibrated),
        "continued": calibration.continued,
        "untrusted": calibration.untrusted,
    }


if __name__ == "__main__":
    main()
