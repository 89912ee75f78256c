"""How much single rows, or all rows of a level, decide what a fit says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.inference.diagnostics.deletion import Deleted, delete_groups, delete_rows
from bayesmm.inference.diagnostics.row_view import view_rows_at
from bayesmm.inference.diagnostics.without_rows import parameter_values, refit_without
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.presenting.numbers import write_number, write_p
from bayesmm.presenting.parts import Column, Table, facts, notes
from bayesmm.presenting.progress import progress_bar, watched
from bayesmm.presenting.report import Report
from bayesmm.problem import FewRows

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Figure

ROWS = "rows"
SHOWN = 8  # of the most influential ones


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Influence:
    """What changes where a row, or a level with all its rows, is left out; made by `bayesmm.fit.Fit.influence`.

    Attributes
    ----------
    by : str
        "rows", or the grouping factor.
    refit : bool
        Whether variances were estimated anew without each, or stay as they are.
    table : DataFrame
        One row each: n_rows, leverage, cooks_distance, mdffits, covariance_ratio, covariance_trace, statistic, p_value.
    dfbeta : DataFrame
        β̂ − β̂ without it, in units of the coefficients (as R has it: positive where the estimate falls without it).
    dfbetas : DataFrame
        The same over the standard errors without it.
    parameters : DataFrame or None
        All parameters as estimated without it; only with `refit`.
    relative_change : DataFrame or None
        Of standard deviations and σ, estimate without it over estimate with it, less one; only with `refit`.
    formula : str
        The model.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = fit.influence("Subject")
    >>> found.table["cooks_distance"].idxmax()
    '309'
    """

    by: str
    refit: bool
    table: pd.DataFrame
    dfbeta: pd.DataFrame
    dfbetas: pd.DataFrame
    parameters: pd.DataFrame | None
    relative_change: pd.DataFrame | None
    formula: str

    @cached_property
    def undetermined(self) -> list[object]:
        """Rows or levels without which a coefficient is not determined."""
        lost = np.isnan(self.table["statistic"].to_numpy()) & (self.table["n_rows"].to_numpy() > 0)
        return self.table.index[lost].tolist()

    def largest(self, n: int = SHOWN, *, by: str = "cooks_distance") -> pd.DataFrame:
        """Return the n rows of `table` with the largest values in a column.

        Parameters
        ----------
        n : int
            How many.
        by : str
            A column of `table`.

        Returns
        -------
        DataFrame
            These rows of the table.

        Raises
        ------
        ArgumentError
            If there is no such column.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.influence("Subject").largest(2).index.tolist()
        ['309', '335']
        """
        if by not in self.table:
            raise ArgumentError(f"by is {by!r}: give a column of the table: {listing(self.table.columns)}.")
        return self.table.sort_values(by, ascending=False, kind="stable").head(n)

    def plot(self) -> Figure:
        """Draw Cook's distances, leverages beside distances from what the others predict, and DFBETAS.

        Returns
        -------
        matplotlib.figure.Figure
            The five with the largest Cook's distance are named. The distance from what the others predict is the root
            of `statistic`: of a row the size of its externally studentised residual. Of more than 30 coefficients the
            first are drawn.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.influence("Subject").plot()
        """
        from bayesmm.plots.influence import plot_influence

        how = "all parameters estimated anew" if self.refit else "variances as estimated from all rows"
        return plot_influence(self.table, self.dfbetas, by=self.by, title=f"Influence of {self.by}: {how}")

    def summary(self) -> Report:
        """Show the most influential ones.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.influence("Subject").summary()).splitlines()[0])
        Influence of Subject on Reaction ~ Days + (Days | Subject)
        """
        shown = self.largest()
        heads = {"leverage": 3, "cooks_distance": 3, "mdffits": 3, "covariance_ratio": 3, "statistic": 2}
        columns = [Column(head="rows", cells=[str(n) for n in shown["n_rows"]])]
        columns += [
            Column(head=name, cells=[write_number(value, digits) for value in shown[name]])
            for name, digits in heads.items()
        ]
        columns.append(Column(head="p", cells=[write_p(value) for value in shown["p_value"]]))
        how = "all parameters estimated anew" if self.refit else "variances as estimated from all rows"
        return Report(
            title=f"Influence of {self.by} on {self.formula}",
            parts=(
                facts(
                    (f"each left out, {how}", f"the {len(shown)} of {len(self.table)} with the largest Cook's distance")
                ),
                Table(
                    names=[str(label) for label in shown.index],
                    columns=columns,
                    head="row" if self.by == ROWS else self.by,
                    where="influence.table",
                ),
                notes(self._notes()),
            ),
        )

    def _notes(self) -> list[str]:
        said = [
            "p asks whether what is left out differs from what the rest predict; it is not adjusted for asking "
            f"{len(self.table)} times."
        ]
        if self.undetermined:
            said.append(
                f"Without {listing([str(each) for each in self.undetermined], 5)} a coefficient is not determined: "
                "there is nothing to compare with."
            )
        return said

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def measure_influence(
    fit: Fitted, by: str, *, refit: bool, progress: bool | None = False, rows: Any = None
) -> Influence:
    """Leave out rows or levels, each by itself; see `Fit.influence`."""
    if not isinstance(refit, bool):
        raise ArgumentError(f"refit is {shorten(refit)}: give True or False.")
    check_by(fit, by)
    if by == ROWS and fit.design.elsewhere is not None and fit.design.residual is None:
        raise RowsError(
            f"by is 'rows', and these are in {fit.design.elsewhere.where}, not in memory: fit.influence_rows(rows, "
            "to='influence.parquet') writes a line of each to a file, and fit.influence('g', rows=...) leaves levels "
            "out."
        )
    with progress_bar(f"leaving out {by}", None, progress) as bar:
        what, at = f"fit.influence({by!r}, rows='visits/*.parquet')", fit.estimate
        few = fit.problem.condense(rows, what, at.beta, at.modes, bar)
        return leave_out(fit, few, by, refit=refit, progress=progress)


def leave_out(fit: Fitted, few: FewRows, by: str, *, refit: bool = False, progress: bool | None = False) -> Influence:
    """Leave out rows, those that are rows of the model, or levels."""
    index, groups, factor = left_out(few.problem.design, by)
    view = view_rows_at(few.problem, fit.estimate)
    at = view.at
    if by != ROWS:
        deleted = delete_groups(at, groups, factor, few.counts)
    else:
        index = index[few.seen]
        deleted = delete_rows(view if few.n_sampled is None else view.first(few.n_sampled))
    change, variance = user_changes(fit, at, deleted)
    parameters = None
    if refit:
        possible = np.isfinite(deleted.explained)
        each = zip(watched(groups, f"refitting without each of {by}", progress), possible, strict=True)
        found = [refit_without(fit, own, few) if known else None for own, known in each]
        parameters = pd.DataFrame(
            parameter_values(fit, found), index=index, columns=[row.name for row in fit.labels.parameter_rows()]
        )
        p = len(fit.labels.coefficients)
        change = fit.estimate.beta - parameters.to_numpy()[:, :p]
        variance = np.array([np.full((p, p), np.nan) if each is None else each.beta_covariance for each in found])
        variance = variance.reshape(-1, p, p)
    names = pd.Index(fit.labels.coefficients, name="coefficient")
    errors = np.sqrt(np.einsum("gii->gi", variance))
    return Influence(
        by=by.strip("`"),
        refit=refit,
        table=pd.DataFrame(measures(fit, at, deleted, change, variance), index=index),
        dfbeta=pd.DataFrame(change, index=index, columns=names),
        dfbetas=pd.DataFrame(change / errors, index=index, columns=names),
        parameters=parameters,
        relative_change=None if parameters is None else _relative_change(fit, parameters),
        formula=fit.design.specification.shown,
    )


def user_changes(fit: Fitted, at: Eliminated, deleted: Deleted) -> tuple[np.ndarray, np.ndarray]:
    """Return how the user's coefficients change (G, p), and their covariances without each (G, p, p)."""
    to_user = np.linalg.inv(np.asarray(at.products.fixed_root))
    variance = np.einsum("ai,gij,bj->gab", to_user, deleted.variance, to_user) * fit.sigma**2
    return deleted.change @ to_user.T, variance


def measures(
    fit: Fitted, at: Eliminated, deleted: Deleted, change: np.ndarray, variance: np.ndarray
) -> dict[str, np.ndarray]:
    """Tabulate what is left out, column by column (G,), from the changes of the coefficients without each."""
    return {
        "n_rows": deleted.size,
        "leverage": deleted.leverage,
        **_distances(change, variance, fit.estimate.beta_covariance),
        **_outlyingness(fit, at, deleted),
    }


def check_by(fit: Fitted, by: object) -> None:
    """Refuse what is neither rows nor a grouping factor."""
    if not isinstance(by, str):
        raise ArgumentError(f"by is {shorten(by)}: give 'rows', or a grouping factor of the model.")
    names = grouping_names(fit)
    if by != ROWS and by not in names and by not in [f"`{name}`" for name in names]:
        groups = listing([repr(f"`{ROWS}`" if group == ROWS else group) for group in names])
        raise ArgumentError(f"by is {by!r}: give 'rows', or a grouping factor of the model: {groups}.")


def left_out(design: Design, by: str) -> tuple[pd.Index, Sequence[np.ndarray], int | None]:
    """Labels, the rows of each, and of which factor they are levels."""
    if by == ROWS:
        return design.rows, [np.array([i]) for i in range(design.n)], None
    for f, block in enumerate(design.blocks):
        if not block.is_whole and by in (block.group, f"`{block.group}`"):
            present, members = block.incidence.levels_present(), block.incidence.members()
            labels = [block.levels[level] for level in present]
            return pd.Index(labels, name=block.group), [members[level] for level in present], f
    residual = design.residual
    assert residual is not None
    order = np.argsort(residual.codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(residual.codes))[:-1])
    return pd.Index(residual.levels, name=residual.group), members, None


def grouping_names(fit: Fitted) -> list[str]:
    """List grouping factors whose levels can be left out: those of random effects, and of the residuals."""
    names = [block.group for block in fit.design.blocks if not block.is_whole]
    residual = fit.design.residual
    if residual is not None and residual.group:
        names.append(residual.group)
    return list(dict.fromkeys(names))


def _distances(change: np.ndarray, variance: np.ndarray, full: np.ndarray) -> dict[str, np.ndarray]:
    """Cook's distance, MDFFITS, covariance ratio and trace."""
    n_groups, p = change.shape
    if p == 0:
        nothing = np.full(n_groups, np.nan)
        return dict.fromkeys(("cooks_distance", "mdffits", "covariance_ratio", "covariance_trace"), nothing)
    root = np.linalg.cholesky(full)
    scaled = np.linalg.solve(root, change.T).T
    relative = np.linalg.solve(root, np.linalg.solve(root, variance).swapaxes(1, 2))
    known = np.isfinite(scaled).all(axis=1)
    ratio, mdffits = np.full(n_groups, np.nan), np.full(n_groups, np.nan)
    ratio[known] = np.linalg.det(relative[known])
    solved = np.linalg.solve(relative[known], scaled[known][:, :, None])[:, :, 0]
    mdffits[known] = (scaled[known] * solved).sum(axis=1) / p
    return {
        "cooks_distance": (scaled**2).sum(axis=1) / p,
        "mdffits": mdffits,
        "covariance_ratio": ratio,
        "covariance_trace": np.abs(np.einsum("gii->g", relative) - p),
    }


def _outlyingness(fit: Fitted, at: Eliminated, deleted: Deleted) -> dict[str, np.ndarray]:
    """How far rows lie from what the others predict: e'T⁻¹e over its rank and over σ² from the others, and its p-value.

    Given the relative variances r² = (r² − e'T⁻¹e) + e'T⁻¹e is a sum of independent multiples of χ², so that the ratio
    has an F distribution; for one row it is the square of the externally studentised residual.
    """
    rank, explained = deleted.size.astype(float), deleted.explained
    if fit.known_sigma is not None:
        statistic = explained / (rank * fit.known_sigma**2)
        return {"statistic": statistic, "p_value": stats.chi2.sf(statistic * rank, rank)}
    rest = fit.n - at.p - rank
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(rest > 0, (at.residual_square - explained) / rest, np.nan)
        statistic = explained / (rank * np.maximum(variance, 0.0))
    return {"statistic": statistic, "p_value": stats.f.sf(statistic, rank, np.maximum(rest, 1.0))}


def _relative_change(fit: Fitted, parameters: pd.DataFrame) -> pd.DataFrame:
    spreads = np.array([row.kind in ("sd", "sigma") for row in fit.labels.parameter_rows()])
    before = parameter_values(fit, [fit.estimate])[0, spreads]
    values = parameters.to_numpy()[:, spreads] / np.where(before > 0, before, np.nan) - 1.0
    return pd.DataFrame(values, index=parameters.index, columns=parameters.columns[spreads])
