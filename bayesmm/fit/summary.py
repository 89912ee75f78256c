"""A fit as a person wants to read it, in a terminal and in a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bayesmm.console import listing
from bayesmm.design.blocks.confounding import find_far_origins
from bayesmm.errors import FitStatus
from bayesmm.inference.fitted import Df, Fitted, Information
from bayesmm.inference.fixed.wald_tests import DEGREES
from bayesmm.presenting.intervals import check_level, interval_head
from bayesmm.presenting.numbers import write_intervals, write_like, write_number, write_p
from bayesmm.presenting.parts import Column, Interval, Table, facts, notes, warnings
from bayesmm.presenting.report import Report
from bayesmm.reml.monte_carlo import MonteCarlo

RESIDUAL = "residual"  # a grouping factor that is called so gets backquotes
METHODS = {"reml": "REML", "ml": "maximum likelihood"}


def build_summary(fit: Fitted, level: float, df: Df, information: Information | None) -> Report:
    """Summarise a fit; see `Fit.summary`."""
    level, design = check_level(level), fit.design
    rows = f"{fit.n} rows" + (f" ({design.n_dropped} dropped for missing values)" if design.n_dropped else "")
    levels = ", ".join(f"{group} {n}" for group, n in fit.labels.n_levels.items())
    groups = f"; levels: {levels}" if levels else ""
    residual = design.residual
    if residual is not None:
        groups += f"; residuals: {residual.words}"
    return Report(
        title=f"Linear mixed model fitted by {METHODS[fit.method]}: {design.specification.shown}",
        parts=(
            facts(
                (
                    rows + groups,
                    f"{_kind(fit)} {write_number(fit.loglik, 4)}, AIC {write_number(fit.aic, 2)}, "
                    f"BIC {write_number(fit.bic, 2)}, {fit.n_parameters} parameters",
                )
            ),
            warnings(_warnings(fit)),
            _random_table(fit, level),
            *_residual_tables(fit, level),
            _fixed_table(fit, level, df, information),
            notes(_notes(fit)),
        ),
    )


def _warnings(fit: Fitted) -> tuple[str, ...]:
    """Say what forbids to rely on the numbers."""
    unfinished = (f"{fit.status.value} Search: {fit.convergence}",) if fit.status is FitStatus.NOT_CONVERGED else ()
    return (*unfinished, *fit.confounded, *find_far_origins(fit.design.blocks))


def _notes(fit: Fitted) -> tuple[str, ...]:
    said = []
    if fit.design.aliased:
        said.append(
            f"Dropped from the fixed effects, being combinations of earlier columns: {listing(fit.design.aliased)}."
        )
    said += [f"The covariance of {term} is known." for term in fit.design.known_terms]
    if fit.status is FitStatus.BOUNDARY:
        said.append(fit.status.value)
    if fit.other_maxima:
        said.append(_other_maxima(fit))
    said += [f"Singular: {direction}." for direction in fit.singular_directions]
    if fit.estimate.monte_carlo is not None:
        said.append(_monte_carlo(fit, fit.estimate.monte_carlo))
    return tuple(said)


def _monte_carlo(fit: Fitted, carlo: MonteCarlo) -> str:
    if not carlo.n_probes:
        return "Log-determinant by conjugate gradients; no probes were needed, so that it has no Monte Carlo error."
    public = fit.estimate.public_parameters
    names = fit.labels.parameter_rows()[len(fit.labels.coefficients) :]
    shares = carlo.parameters / np.sqrt(np.diag(public.covariance))
    said = f"Log-determinant by {carlo.n_probes} random probes: the Monte Carlo error of the {_kind(fit)} is "
    said += f"{write_number(carlo.loglik, 4)}"
    if not np.isfinite(shares).any():
        return f"{said}."
    worst = int(np.nanargmax(shares))
    share = max(100.0 * shares[worst], 0.01)
    return (
        f"{said}, that of {names[worst].name} {share:.2g} % of its standard error, and smaller of other covariance "
        "parameters (mc_error in fit.parameters)."
    )


def _kind(fit: Fitted) -> str:
    return "restricted log-likelihood" if fit.method == "reml" else "log-likelihood"


def _other_maxima(fit: Fitted) -> str:
    lower = [f"{fit.loglik - other.log_likelihood:.3g}" for other in fit.other_maxima]
    residual = fit.design.residual
    if residual is not None and residual.growth:
        names = [residual.sd_names[place] for place, _ in residual.growth.terms]
        at = [
            f"{name} = {other.residual[place]:.3g}"
            for other in fit.other_maxima
            if other.residual is not None
            for name, (place, _) in zip(names, residual.growth.terms, strict=True)
        ]
        return (
            f"Fitted values and the variances that change with them settle elsewhere too, at {' and '.join(at)}, where "
            f"the likelihood is lower by {' and '.join(lower)}: see fit.other_maxima."
        )
    count = "Another maximum" if len(lower) == 1 else f"{len(lower)} other maxima"
    return f"{count} of the likelihood seen, lower by {' and '.join(lower)}: see fit.other_maxima."


def _random_table(fit: Fitted, level: float) -> Table:
    """Tabulate standard deviations by group and effect, correlations to the right as lme4 prints them."""
    parameters = fit.parameter_table(level=level)
    groups, effects, rows, correlations = [], [], [], {}
    for block in fit.labels.blocks:
        for (i, head), name in zip(block.cor_cells, block.cor_rows, strict=True):
            value = float(parameters.loc[name, "estimate"])  # pyright: ignore[reportArgumentType]
            correlations.setdefault(head, {})[len(rows) + i] = value
        groups += [block.group] * len(block.sds)
        effects += block.sds
        rows += [parameters.loc[name].to_dict() for name in block.sd_rows]
    residual = fit.design.residual
    row = residual.in_place if residual is not None and residual.in_place else "sigma"
    known = row == "sigma" and fit.known_sigma is not None
    sigma = {"estimate": fit.sigma, "std_error": math.nan, "lower": math.nan, "upper": math.nan}
    rows.append(sigma if known else parameters.loc[row].to_dict())
    spreads, errors = ([write_like(row[name], row["std_error"]) for row in rows] for name in ("estimate", "std_error"))
    columns = (
        Column(head="effect", cells=[*effects, ""], is_words=True),
        Column(head="sd", cells=[*spreads[:-1], f"{fit.sigma:g}"] if known else spreads),
        Column(head="std_error", cells=[*errors[:-1], "known"] if known else errors),
        _interval(rows, level),
        *(
            Column(head=head, cells=["" if i not in below else write_number(below[i], 3) for i in range(len(rows))])
            for head, below in correlations.items()
        ),
    )
    return Table(
        names=[*(f"`{group}`" if group == RESIDUAL else group for group in groups), RESIDUAL],
        columns=columns,
        caption="Random effects" if groups else "Residuals",
        head="group",
        where="fit.parameters",
        groups_rows=True,
    )


def _residual_tables(fit: Fitted, level: float) -> tuple[Table, ...]:
    """Tabulate what residuals have besides sigma: standard deviations, exponents and correlations."""
    residual = fit.design.residual
    names = [*fit.labels.residual_sds, *fit.labels.residual_cors]
    if residual is None or not (names := [name for name in names if name != residual.in_place]):
        return ()
    parameters = fit.parameter_table(level=level)
    rows = [parameters.loc[name].to_dict() for name in names]
    reference = [f"{spread.strata[0]} of {':'.join(spread.factors)}" for spread in residual.spreads if spread.strata]
    at = f" (sigma is that of {' and '.join(reference)})" if reference else ""
    return (
        Table(
            names=names,
            columns=(
                Column(head="estimate", cells=[write_like(row["estimate"], row["std_error"]) for row in rows]),
                Column(head="std_error", cells=[write_like(row["std_error"], row["std_error"]) for row in rows]),
                _interval(rows, level),
            ),
            caption=f"Covariance of the residuals{at}",
            where="fit.parameters",
        ),
    )


def _interval(rows: Sequence[Mapping[str, float]], level: float) -> Interval:
    columns = ([row[name] for row in rows] for name in ("lower", "upper", "estimate", "std_error"))
    return Interval(head=interval_head(level), cells=write_intervals(*columns))


def _fixed_table(fit: Fitted, level: float, df: Df, information: Information | None) -> Table:
    table = fit.coefficients(df=df, information=information, level=level)
    rows, aliased = table.to_dict("records"), table["estimate"].isna().tolist()
    estimates = [
        "aliased" if out else write_like(row["estimate"], row["std_error"])
        for row, out in zip(rows, aliased, strict=True)
    ]
    is_normal = df == "normal"
    degrees = () if is_normal else (Column(head="df", cells=[write_number(row["df"], 1) for row in rows]),)
    return Table(
        names=[str(name) for name in table.index],
        columns=(
            Column(head="estimate", cells=estimates),
            Column(head="std_error", cells=[write_like(row["std_error"], row["std_error"]) for row in rows]),
            *degrees,
            Column(head="z" if is_normal else "t", cells=[write_number(row["statistic"], 2) for row in rows]),
            Column(head="p", cells=[write_p(row["p_value"]) for row in rows]),
            _interval(rows, level),
        ),
        caption=f"Fixed effects ({DEGREES[df]})",
        where="fit.fixed_effects" if df == "satterthwaite" else f"fit.coefficients(df={df!r})",
    )
