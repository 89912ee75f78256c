"""Predictions from the command line: the rows that were given, with what is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from bayesmm.cli import documents
from bayesmm.cli.data import Reading, read_data
from bayesmm.cli.outcomes import Outcome
from bayesmm.errors import ArgumentError, FitStatus
from bayesmm.inference.either import is_posterior
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import decimals_for, write_column
from bayesmm.presenting.parts import Column, Interval, Table, facts, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.bayes.posterior import Posterior
    from bayesmm.design.predictors import IntervalKind, NewLevels, NewResiduals, Random
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.prediction.predict import PredictionLayer
    from bayesmm.model import Model

SHOWN = 20  # rows in the terminal
METHODS = {"reml": "REML", "ml": "maximum likelihood"}
PREFIX = "."  # of what is put beside the columns of the user
OF = {
    None: "the expected response",
    "confidence": "the expected response, with intervals of it",
    "prediction": "the response, with intervals of a new observation",
}
NEW = {
    "error": "",
    "population": "; new levels have effects of zero",
    "sample": "; new levels have effects like the others, whose variance is in the interval",
}
GIVEN = {"none": "", "conditional": "; given the residuals of a group's other rows"}


def read_rows(new: str | None, data: str, reading: Reading) -> pd.DataFrame | None:
    """Read the rows to predict; None for those of the data.

    Raises
    ------
    ArgumentError
        If both are to come from standard input.
    """
    if new is None:
        return None
    if new == data == "-":
        raise ArgumentError("--data - and --new - would both be read from standard input: write one of them to a file.")
    return read_data(new, reading)


def predict_outcome(
    model: Model,
    predicted_by: Fit | Posterior,
    rows: pd.DataFrame | None,
    source: str,
    new: str | None,
    *,
    interval: IntervalKind | None,
    level: float,
    random: Sequence[str] | None,
    new_levels: NewLevels,
    residuals: NewResiduals,
    uncertainty: PredictionLayer,
    weights: float | None,
    seed: int,
) -> Outcome:
    """Present predictions; the options as the user gave them."""
    chosen, result = _random(random), cast(Any, predicted_by)
    by_draws = is_posterior(result)
    shared: dict[str, Any] = {"random": chosen, "new_levels": new_levels, "residuals": residuals}
    shared |= {"level": level, "seed": seed}
    if interval == "prediction":
        shared["weights"] = weights
    if not by_draws:
        shared["uncertainty"] = uncertainty
    found: Any = result.predict(rows, interval=interval, **shared)
    table = found.to_frame("estimate") if found.ndim == 1 else found
    frame = model.design.frame if rows is None else rows
    named = {f"{PREFIX}{name}": table[name].to_numpy() for name in table}
    taken = next((name for name in named if name in frame), None)
    if taken is not None:
        raise ArgumentError(f"The rows have a column {taken!r}, which is one that is added: rename or drop it.")
    missing = int(table.iloc[:, 0].isna().sum())
    by = f"the posterior ({result.origin})" if by_draws else METHODS[result.method]
    said = f"By {by}: {OF[interval]}; with {_effects(chosen)}{NEW[new_levels]}{GIVEN[residuals]}"
    return Outcome(
        text=str(_report(model, said, table, level, missing)),
        document={
            "model": documents.model_entry(model, source),
            "prediction": {
                "rows": source if new is None else new,
                "by": "posterior" if by_draws else result.method,
                "interval": interval,
                "level": level,
                "random": chosen,
                "new_levels": new_levels,
                "residuals": residuals,
                "uncertainty": None if by_draws else uncertainty,
                "missing": missing,
                "table": documents.records(table.rename_axis(index="row").reset_index()),
            },
        },
        parameters=frame.assign(**named).rename_axis(index="row"),
        level=level,
        usable=result.diagnostics.is_good if by_draws else result.status is not FitStatus.NOT_CONVERGED,
    )


def _random(given: Sequence[str] | None) -> Random:
    if not given:
        return "all"
    if list(given) in (["all"], ["none"]):
        return "all" if given[0] == "all" else "none"
    return list(given)


def _effects(random: Random) -> str:
    if isinstance(random, str):
        return f"{'all' if random == 'all' else 'no'} random effects"
    return f"the effects of {', '.join(random)}"


def _report(model: Model, said: str, table: pd.DataFrame, level: float, missing: int) -> Report:
    remarks = []
    if missing:
        remarks.append(f"{missing} of {len(table)} rows have a missing value, and no prediction.")
    if len(table) > SHOWN:
        remarks.append(f"The first {SHOWN} of {len(table)} rows are shown; --output FILE.csv writes all of them.")
    return Report(
        title=f"Predictions: {model.design.specification.shown}",
        parts=(facts((said,)), _table(table, level), *([notes(remarks)] if remarks else [])),
    )


def _table(table: pd.DataFrame, level: float) -> Table:
    """Tabulate the first rows, as precisely as their spreads deserve, or the spread of all predictions."""
    shown, common = table.iloc[:SHOWN], [table.iloc[:, 0].std()] * SHOWN
    spreads = next((shown[name] for name in ("std_error", "sd") if name in shown), common[: len(shown)])
    decimals = [decimals_for(each) for each in spreads]
    columns: list[Column | Interval] = []
    for name in shown:
        if name == "lower":
            ends = (write_column(shown[end], decimals) for end in ("lower", "upper"))
            columns.append(Interval(head=interval_head(level), cells=list(zip(*ends, strict=True))))
        elif name != "upper":
            columns.append(Column(head=str(name), cells=write_column(shown[name], 1 if name == "df" else decimals)))
    return Table(names=[str(label) for label in shown.index], columns=tuple(columns), head="row", caption="Rows")
