"""Margins: rows of combinations of fixed effects, with names, and contrasts between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.reading.dtypes import level_text
from bayesmm.errors import ArgumentError
from bayesmm.inference.means.adjust import Adjust, check_adjust
from bayesmm.inference.means.coefficients import Contrasts, Method, build_contrasts
from bayesmm.inference.means.evidence import Estimates, Evidence
from bayesmm.inference.means.report import build_report
from bayesmm.presenting.columns import in_order
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from xarray import DataTree

    from bayesmm.plots.canvas import Axes, Figure

TESTS = ("statistic", "p_value")
CONTRAST = "contrast"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Margins:
    """Means, slopes, comparisons or contrasts of them: combinations Lβ of the fixed effects, estimated or drawn.

    Made by `bayesmm.emmeans`, `bayesmm.slopes`, `bayesmm.comparisons`, and by `contrasts`.

    Attributes
    ----------
    kind : str
        "mean", "slope", "comparison" or "contrast": also the variable of `data`.
    title : str
        What they are, in words.
    labels : DataFrame
        One row each: values of the columns in `by`, then of those that tell the rows of a group apart.
    by : tuple of str
        Columns whose values make groups; groups follow each other, and contrasts and adjustments stay inside them.
    L : array, shape (r, p)
        Coefficients of the combinations, on the columns of X that are estimated; NaN where one is not estimable.
    offset : array, shape (r,)
        What is known and added.
    evidence : Evidence
        Estimates or draws of β.
    adjust : str
        How tests and intervals are adjusted inside a group.
    pairs_of : int or None
        How many means all pairs are compared of; None if rows are no pairs.
    level : float
        Coverage of the intervals.
    notes : tuple of str
        What they are averaged over, and what to be careful with.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("weight ~ Treatment + (1 | Litter)", bmm.datasets.load("ratpupweight")).fit()
    >>> found = bmm.emmeans(fit, "Treatment")
    >>> found.table["estimate"].round(2).tolist()
    [6.45, 6.06, 6.02]
    """

    kind: str
    title: str
    labels: pd.DataFrame
    by: tuple[str, ...]
    L: np.ndarray
    offset: np.ndarray
    evidence: Evidence
    adjust: Adjust = "none"
    pairs_of: int | None = None
    level: float = 0.95
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_level(self.level)
        check_adjust(self.adjust, is_pairs=self.pairs_of is not None)

    @property
    def index(self) -> pd.Index:
        """Names of the rows, the same for a fit and for a posterior; of several levels if one column does not do."""
        if self.labels.shape[1] == 1:
            return pd.Index(self.labels.iloc[:, 0])
        return pd.MultiIndex.from_frame(self.labels)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a combination.

        Of a fit: estimate, std_error, df, statistic, p_value, lower, upper, but no tests of means. Of a posterior:
        mean, sd, lower, upper, r_hat, ess_bulk, ess_tail. NaN where a combination cannot be estimated.
        """
        columns = self._tabulated[0]
        if self.kind == "mean":
            columns = {name: values for name, values in columns.items() if name not in TESTS}
        return pd.DataFrame(in_order(columns), index=self.index)

    @cached_property
    def _tabulated(self) -> tuple[dict[str, np.ndarray], str | None]:
        return self.evidence.tabulate(self.L, self.offset, self.groups, self.adjust, self.pairs_of, self.level)

    @cached_property
    def groups(self) -> tuple[slice, ...]:
        """The rows of each group of `by`."""
        keys = list(self.labels[list(self.by)].itertuples(index=False, name=None))
        starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
        return tuple(slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(keys)], strict=True))

    @property
    def inside(self) -> tuple[str, ...]:
        """Columns of the labels that tell the rows of a group apart."""
        return tuple(str(name) for name in self.labels if name not in self.by)

    @cached_property
    def data(self) -> DataTree:
        """Draws for ArviZ.

        One variable, called as `kind`, in the group posterior; its dims are chain, draw and one for each column of
        the labels where rows are all combinations of their values, otherwise one, ``row``.

        Raises
        ------
        ArgumentError
            If these are no draws.
        """
        from bayesmm.inference.means.tree import build_tree

        return build_tree(self.kind, self._draws("data"), self.labels)

    def probability(self, above: float = 0.0) -> pd.Series:
        """Posterior probability that each combination is larger than a number.

        Parameters
        ----------
        above : float
            The number, in units of the rows.

        Returns
        -------
        Series
            With the same rows as `table`.

        Raises
        ------
        ArgumentError
            If these are no draws.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> bmm.slopes(posterior, "Days").probability(above=5).shape
        (1,)
        """
        draws = self._draws("probability")
        share = np.where(np.isnan(draws).any(axis=(0, 1)), np.nan, (draws > above).mean(axis=(0, 1)))
        return pd.Series(share, index=self.index, name="probability")

    def _draws(self, asked: str) -> np.ndarray:
        """Draws of the combinations (chains, draws, r)."""
        beta = self.evidence.draws
        if beta is None:
            raise ArgumentError(f"{asked} is of draws, and these are estimates: give a posterior, from model.sample().")
        return beta @ self.L.T + self.offset

    def joint_test(self) -> pd.DataFrame:
        """Test that all combinations of a group are zero together.

        Returns
        -------
        DataFrame
            One row a group: statistic (F), num_df, den_df, p_value. Combinations that are no contrasts of each other,
            as all pairs, count once.

        Raises
        ------
        ArgumentError
            If these are draws.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("score ~ Machine + (1 | Worker)", bmm.datasets.load("machines")).fit()
        >>> bmm.emmeans(fit, "Machine").contrasts().joint_test().columns.tolist()
        ['statistic', 'num_df', 'den_df', 'p_value']
        """
        if not isinstance(self.evidence, Estimates):
            raise ArgumentError("A joint test is of estimates, and these are draws: give a fit, from model.fit().")
        rows = []
        for group in self.groups:
            known = np.isfinite(self.L[group]).all(axis=1)
            L, offset = self.L[group][known], self.offset[group][known]
            rows.append(self.evidence.inference.f_test(L, -offset)._asdict() if L.any() else {})
        keys = self.labels.iloc[[group.start for group in self.groups]][list(self.by)]
        index = (
            pd.MultiIndex.from_frame(keys) if len(self.by) > 1 else pd.Index(keys.iloc[:, 0]) if self.by else ["all"]
        )
        return pd.DataFrame(rows, index=index, columns=["statistic", "num_df", "den_df", "p_value"])

    def contrasts(
        self,
        method: Method | Mapping[str, Sequence[float]] | Any = "pairwise",
        *,
        ref: str | int | None = None,
        interaction: bool = False,
        adjust: Adjust | None = None,
        level: float | None = None,
    ) -> Margins:
        """Compare the rows of each group.

        Parameters
        ----------
        method : str, mapping, array or data frame
            "pairwise" (first less second), "revpairwise" (second less first), "trt.vs.ctrl" (each less a control),
            "consec" (each less the one before), "poly" (orthogonal polynomials of equally spaced rows, in whole
            numbers), "eff" (each less the mean of all), "identity" (the rows themselves); or coefficients: {name: one
            number a row}, or an array with a row a contrast.
        ref : str or int, optional
            Label or position of the control of "trt.vs.ctrl"; the first by default.
        interaction : bool
            Whether contrasts of several columns are contrasts of contrasts, by `method` in each column, rather than of
            all their combinations. `method` may then be a list, one a column.
        adjust : str, optional
            For several tests in a group: "tukey" (all pairs; the default there), "dunnett" and "mvt" (multivariate t,
            exact for any rows; the default against a control and of consecutive rows), "holm", "bonferroni", "sidak",
            "scheffe", "fdr" (the default of "eff"), "none" (otherwise the default). Intervals hold together where the
            method has intervals; with "holm" and "fdr" they are Bonferroni's. A posterior has none.
        level : float, optional
            Coverage of the intervals; that of these rows by default.

        Returns
        -------
        Margins
            With the column ``contrast`` (with `interaction`, one a column) in place of those that are compared.

        Raises
        ------
        ArgumentError
            If an argument is none of these.

        References
        ----------
        Tukey (1953); Kramer (1956), Biometrics 12. Dunnett (1955), JASA 50. Holm (1979), Scand. J. Stat. 6.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("score ~ Machine + (1 | Worker)", bmm.datasets.load("machines")).fit()
        >>> bmm.emmeans(fit, "Machine").contrasts().table["estimate"].round(2).tolist()
        [-7.97, -13.92, -5.95]
        """
        by = list(self.by)
        parts: list[pd.DataFrame] = []
        L, offset, made = [], [], None
        for group in self.groups:
            own = self.labels.iloc[group]
            made, labels = self._contrasts_of(own, method, ref, interaction)
            labels.columns = [free_name(name, by) for name in labels]
            keys = pd.DataFrame({name: [own[name].iloc[0]] * len(labels) for name in by}, index=labels.index)
            parts.append(pd.concat([keys, labels], axis=1))
            L.append(_times(made.matrix, self.L[group]))
            offset.append(made.matrix @ self.offset[group])
        assert made is not None
        default = made.adjust if isinstance(self.evidence, Estimates) else "none"
        return replace(
            self,
            kind="contrast",
            title=f"Contrasts of {self.title[0].lower()}{self.title[1:]}",
            labels=pd.concat(parts, ignore_index=True),
            L=np.concatenate(L),
            offset=np.concatenate(offset),
            adjust=default if adjust is None else adjust,
            pairs_of=len(self.labels.iloc[self.groups[-1]]) if made.is_pairs else None,
            level=self.level if level is None else level,
        )

    def _contrasts_of(
        self, labels: pd.DataFrame, method: Any, ref: Any, interaction: bool
    ) -> tuple[Contrasts, pd.DataFrame]:
        """Coefficients of the rows of one group, and the labels of the contrasts."""
        inside = list(self.inside)
        if not isinstance(interaction, bool):
            raise ArgumentError(f"interaction is {shorten(interaction)}: give True or False.")
        if not interaction:
            made = build_contrasts(method, _names(pd.DataFrame(labels, columns=inside)), ref)
            return made, pd.DataFrame({CONTRAST: made.names})
        values = [list(dict.fromkeys(labels[name])) for name in inside]
        if len(inside) < 2 or list(labels[inside].itertuples(index=False, name=None)) != [
            key[::-1] for key in product(*values[::-1])
        ]:
            raise ArgumentError(
                f"interaction is True, and rows are by {listing(inside)}: it is for rows that are all combinations of "
                "two columns or more."
            )
        methods = list(method) if isinstance(method, (list, tuple)) else [method] * len(inside)
        if len(methods) != len(inside):
            raise ArgumentError(f"method is {shorten(method)}: give one, or one for each of {listing(inside)}.")
        each = [
            build_contrasts(own, _names(pd.DataFrame({name: known})), ref)
            for name, known, own in zip(inside, values, methods, strict=True)
        ]
        matrix = np.ones((1, 1))
        for part in each:  # the first column varies fastest
            matrix = np.kron(part.matrix, matrix)
        rows = [key[::-1] for key in product(*(part.names for part in each[::-1]))]
        return (
            Contrasts(["" for _ in rows], matrix, "none", is_pairs=False),
            pd.DataFrame(rows, columns=[f"{name}_{CONTRAST}" for name in inside]),
        )

    def plot(self, x: str | None = None, *, ax: Axes | None = None) -> Figure:
        """Draw all rows with their intervals.

        Parameters
        ----------
        x : str, optional
            A column that the rows are by, to draw over: one line for each combination of the others, which shows their
            interaction. Of means and slopes by two columns or more it is the first that tells the rows of a group
            apart; all else is a forest, one row each.
        ax : matplotlib.axes.Axes, optional
            To draw into.

        Returns
        -------
        matplotlib.figure.Figure
            Intervals are those of the table, adjusted where it says so. Contrasts and comparisons have their p-values
            beside them, and a line at zero.

        Raises
        ------
        ArgumentError
            If there is no such column.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("score ~ Machine + (1 | Worker)", bmm.datasets.load("machines")).fit()
        >>> figure = bmm.emmeans(fit, "Machine").plot()
        """
        from bayesmm.plots.means import MeanRows, plot_forest, plot_interaction

        names = [str(name) for name in self.labels]
        if x is not None and (not isinstance(x, str) or x not in names):
            raise ArgumentError(f"x is {shorten(x)}: give a column of the rows: {listing(names)}.")
        are_means = self.kind in ("mean", "slope")
        if x is None and are_means and len(names) > 1:
            x = self.inside[0]
        adjusted = isinstance(self.evidence, Estimates) and self._tabulated[1] is not None
        rows = MeanRows(
            table=self.table,
            labels=self.labels,
            by=self.by,
            title=self.title,
            scale=self._scale(),
            level=self.level,
            note=", adjusted" if adjusted else "",
        )
        if x is None:
            return plot_forest(rows, has_zero=self.kind != "mean", ax=ax)
        return plot_interaction(rows, x, ax=ax)

    def _scale(self) -> str:
        """Say what the numbers are of."""
        response = self.evidence.design.response
        words = {"mean": "mean of", "slope": "slope of", "comparison": "change of"}
        return f"{words.get(self.kind, 'contrast of')} {response}"

    def summary(self) -> Report:
        """Show the table with what it is averaged over, for a terminal or a notebook.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("score ~ Machine + (1 | Worker)", bmm.datasets.load("machines")).fit()
        >>> print(str(bmm.emmeans(fit, "Machine").summary()).splitlines()[0])
        Estimated marginal means of Machine
        """
        return build_report(
            title=self.title,
            lines=(self.evidence.design.specification.shown, self.evidence.words),
            labels=self.labels,
            by=self.by,
            groups=self.groups,
            table=self.table,
            level=self.level,
            remarks=(*self.notes, *self._remarks()),
        )

    def _remarks(self) -> list[str]:
        said = []
        adjusted = self._tabulated[1]
        if adjusted is not None:
            what = "Intervals are" if self.kind == "mean" else "p-values and intervals are"
            inside = " in each group" if len(self.groups) > 1 else ""
            said.append(f"{what} adjusted{inside}: {adjusted}.")
        lost = int(np.isnan(self.L).any(axis=1).sum())
        if lost:
            said.append(
                f"{lost} of {len(self.L)} rows cannot be estimated, since combinations in them have no data: they are "
                "left out (NaN)."
            )
        return said

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name for a column of labels that none of the data's has."""
    while name in taken:
        name += "_"
    return name


def _times(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Multiply, where zero times NaN is zero: a contrast does not need the rows that it leaves out."""
    lost = np.isnan(rows).any(axis=1)
    made = matrix @ np.where(lost[:, None], 0.0, rows)
    return np.where((matrix[:, lost] != 0.0).any(axis=1)[:, None], np.nan, made)


def _names(labels: pd.DataFrame) -> list[str]:
    """Join the labels of each row; what looks like a number or a truth value is said to be of which column."""
    columns = [_column_names(str(name), labels[name].to_list()) for name in labels]
    return [" ".join(parts) for parts in zip(*columns, strict=True)]


def _column_names(name: str, values: Sequence[Any]) -> list[str]:
    texts = [f"{value:.6g}" if isinstance(value, float) else level_text(value) for value in values]
    if all(text in ("True", "False") or _is_number(text) for text in texts):
        return [f"{name}{text}" for text in texts]
    return texts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
