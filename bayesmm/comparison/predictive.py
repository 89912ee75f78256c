"""What the posteriors of several models say of these: their evidence, and how well they predict what is left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy.special import softmax

from bayesmm.console import listing
from bayesmm.errors import ArgumentError, PredictionError

if TYPE_CHECKING:
    from arviz_stats import ELPDData

    from bayesmm.bayes.posterior import Posterior

ROWS = "row"
FEW = 100  # left out, below which the standard error of a difference is rough: Sivula, Magnusson, Matamoros & Vehtari
# (2025), Uncertainty in Bayesian leave-one-out cross-validation based model comparison, arXiv 2008.10296


class Predictive(NamedTuple):
    """What posteriors add to a table of models.

    Attributes
    ----------
    columns : DataFrame
        Index: names of the posteriors. Columns: log_evidence, log_evidence_error, probability; and of each kind of what
        is left out, with its name behind an underscore: elpd, elpd_error, elpd_diff, elpd_diff_error, doubtful.
    loo : dict of str to (dict of str to ELPDData)
        By what is left out, and by model.
    remarks : tuple of str
        What is to be known of them.
    """

    columns: pd.DataFrame
    loo: dict[str, dict[str, ELPDData]]
    remarks: tuple[str, ...]


def assess(posteriors: Mapping[str, Posterior], leave_out: Sequence[str] | None, progress: bool | None) -> Predictive:
    """Take evidence and left-out predictions of posteriors of the same data.

    Parameters
    ----------
    posteriors : mapping of str to Posterior
        By name.
    leave_out : sequence of str, optional
        "row" or grouping factors; rows, and the groups that all have, by default.
    progress : bool, optional
        Whether to show a progress bar.

    Raises
    ------
    PredictionError
        If something that was asked for cannot be left out.
    """
    columns, remarks = _evidence(posteriors)
    loo: dict[str, dict[str, ELPDData]] = {}
    for of in _groups_of_all(posteriors) if leave_out is None else leave_out:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Estimated shape")  # of Pareto k̂, which the remarks tell
                loo[of] = {name: each.loo(of, progress=progress) for name, each in posteriors.items()}
        except PredictionError as error:
            if leave_out is not None:
                raise
            remarks.append(f"{of} was not left out: {error}")
            continue
        columns = columns.join(_differences(loo[of]).add_suffix(f"_{of}"))
        remarks += _doubts(columns, of, next(iter(loo[of].values())).n_data_points)
    return Predictive(columns, loo, tuple(remarks))


def _groups_of_all(posteriors: Mapping[str, Posterior]) -> list[str]:
    """Rows; and the groups of the residuals, or the one grouping factor, if all posteriors have it."""
    factors, own = [], set()
    for each in posteriors.values():
        design = each.design
        groups = {block.group for block in design.blocks if not block.is_whole}
        if design.residual is not None and design.residual.group:
            groups.add(design.residual.group)
            own.add(design.residual.group)
        factors.append(groups)
    common = set.intersection(*factors)
    chosen = (common & own) or common
    return [ROWS, *chosen] if len(chosen) == 1 else [ROWS]


def _evidence(posteriors: Mapping[str, Posterior]) -> tuple[pd.DataFrame, list[str]]:
    """Log evidences of those that have one, and what these make of models that are equally likely beforehand."""
    values = {name: (each.log_evidence, each.log_evidence_error) for name, each in posteriors.items()}
    frame = pd.DataFrame(
        [[np.nan if x is None else x for x in pair] for pair in values.values()],
        index=pd.Index(values, name="model"),
        columns=["log_evidence", "log_evidence_error"],
    ).assign(probability=np.nan)
    unlike = _unlike_priors(posteriors)
    if unlike:
        frame[["log_evidence", "log_evidence_error"]] = np.nan
        return frame, [unlike]
    evidences = frame["log_evidence"].to_numpy()
    known, remarks = np.isfinite(evidences), []
    if known.sum() > 1:
        frame["probability"] = np.where(known, softmax(np.where(known, evidences, -np.inf)), np.nan)
        remarks.append(
            "log p(y) is the evidence, the density of the data under model and priors; prob. what it makes of models "
            "that are equally likely beforehand. Both depend on the priors, of the covariance too."
        )
    if not known.all():
        without = [name for name, is_known in zip(posteriors, known, strict=True) if not is_known]
        remarks.append(f"{listing(without)}: NUTS gives no evidence; method='importance' or 'quadrature' do.")
    return frame, remarks


def _unlike_priors(posteriors: Mapping[str, Posterior]) -> str:
    """Say why evidences cannot be compared: improper priors are known up to a constant, which must be the same."""
    improper = {
        name: sorted((row.name, str(row.prior)) for row in each.priors.rows if not row.is_proper)
        for name, each in posteriors.items()
    }
    (first, one), *others = improper.items()
    X = posteriors[first].design.X
    for name, other in others:
        same_columns = np.array_equal(X, posteriors[name].design.X)
        if one != other or (one and not same_columns):
            rows = sorted({row for row, _ in one + other})
            return (
                f"{first} and {name} have no evidence that could be compared: priors of {listing(rows)} are improper, "
                "known up to a constant only."
            )
    return ""


def _differences(found: Mapping[str, ELPDData]) -> pd.DataFrame:
    """Tabulate expected log predictive densities and their differences from the best, as `arviz.compare` does."""
    pointwise = {name: np.asarray(each.elpd_i).ravel() for name, each in found.items()}
    best = max(found, key=lambda name: found[name].elpd)
    rows = []
    for name, each in found.items():
        difference = pointwise[name] - pointwise[best]
        rows.append(
            {
                "elpd": float(each.elpd),
                "elpd_error": float(each.se),
                "elpd_diff": float(difference.sum()),
                "elpd_diff_error": float(np.sqrt(len(difference) * difference.var())),
                "doubtful": int((np.asarray(each.pareto_k) > cast(float, each.good_k)).sum()),
            }
        )
    return pd.DataFrame(rows, index=pd.Index(found, name="model"))


def _doubts(columns: pd.DataFrame, of: str, n: int) -> list[str]:
    """Say what speaks against the differences."""
    said, doubtful = [], columns[f"doubtful_{of}"].to_dict()
    if any(doubtful.values()):
        each = [f"{count} in {name}" for name, count in doubtful.items() if count]
        what = "rows" if of == ROWS else f"levels of {of}"
        said.append(f"Of {n} {what} Pareto k̂ is large for {listing(each)}: elpd is rough there.")
    if n < FEW and columns[f"elpd_diff_{of}"].to_numpy().any():
        said.append(f"Of {n} {'rows' if of == ROWS else f'levels of {of}'} s.e. is rough, mostly too small.")
    return said


def check_left_out(leave_out: object) -> tuple[str, ...] | None:
    """Read what is to be left out.

    Raises
    ------
    ArgumentError
        If it is no text and no list of different texts.
    """
    if leave_out is None:
        return None
    wanted = (leave_out,) if isinstance(leave_out, str) else leave_out
    if not isinstance(wanted, list | tuple) or not all(isinstance(each, str) for each in wanted):
        raise ArgumentError(f"leave_out is {leave_out!r}: give 'row', a grouping factor, or a list of them.")
    return tuple(dict.fromkeys(each.strip("`") for each in wanted))
