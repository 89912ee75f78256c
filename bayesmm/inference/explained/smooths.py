"""Smooth terms of a fit: how far each departs from a straight line, by how many degrees of freedom, and its curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import check_count, is_one_of, shorten
from bayesmm.console import listing
from bayesmm.design.blocks.blocks import BlockPiece
from bayesmm.design.columns.smooths import SmoothTerm
from bayesmm.design.predictors import Predictors
from bayesmm.errors import ArgumentError
from bayesmm.incidence import Incidence, Membership
from bayesmm.inference.effects.layers import build_layers
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.information import parameter_covariance
from bayesmm.inference.fixed.student import t_quantile
from bayesmm.inference.prediction.predict import Noise, condition_rows, residual_variances, row_variances
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.numbers import decimals_for, write_number
from bayesmm.presenting.parts import Column, Table, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Axes, Figure

POINTS = 100  # of a curve


class _Place(NamedTuple):
    """A smooth term, and where its effects are."""

    name: str
    block: int
    piece: BlockPiece
    term: SmoothTerm


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Smooths:
    """The smooth terms of a fit.

    Attributes
    ----------
    table : DataFrame
        Index: terms, ``"s(x)"``, or ``"s(x) | g"`` of curves by group. Columns: group (None for one curve of all
        rows); levels; k, dimension of the basis; sd, root mean square departure from the straight line, in units of
        the response; edf, effective degrees of freedom of the departures of all levels together; most_edf, what they
        would be without a penalty; lambda, σ²/τ² on the columns of the design, infinite where sd is zero.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("height ~ s(age) + (1 | Subject)", bmm.datasets.load("oxboys")).fit()
    >>> print(str(fit.smooths()).splitlines()[0])
    Smooth terms
    """

    table: pd.DataFrame
    fit: Fitted

    def curves(self, term: str | None = None, *, level: float = 0.95, points: int = POINTS) -> pd.DataFrame:
        """Tabulate the curves of terms that are one curve of all rows.

        Parameters
        ----------
        term : str, optional
            One of the table's; by default all that are curves of all rows.
        level : float
            Coverage of the intervals.
        points : int
            Of each curve, at equal distances over the range of the rows used.

        Returns
        -------
        DataFrame
            One row a point: term, x, estimate, std_error, df, lower, upper, in units of the response. The curve is its
            straight line, where the model has that coefficient, and its departures, less the line at the mean of x over
            the rows used: its mean over the rows is zero. Standard errors are those of `Fit.predict`.

        Raises
        ------
        ArgumentError
            If there is no such curve, or an argument cannot be used.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("height ~ s(age) + (age | Subject)", bmm.datasets.load("oxboys")).fit()
        >>> fit.smooths().curves(points=3)["estimate"].round(1).tolist()
        [-6.3, -0.4, 6.9]
        """
        above, points = tails(level)[1], check_count("points", points, 2)
        parts = [_curve(self.fit, place, above, points) for place in self._chosen(term)]
        return pd.concat(parts, ignore_index=True)

    def plot(self, term: str | None = None, *, level: float = 0.95, ax: Axes | None = None) -> Figure:
        """Draw the curves with their intervals, and where the rows are.

        Parameters
        ----------
        term, level
            As for `curves`.
        ax : matplotlib.axes.Axes, optional
            To draw one curve into.

        Returns
        -------
        matplotlib.figure.Figure
            One panel a curve.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If there is no such curve, or several are to go into one axes.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("height ~ s(age) + (age | Subject)", bmm.datasets.load("oxboys")).fit()
        >>> fit.smooths().plot("s(age)").axes[0].get_xlabel()
        'age'
        """
        from bayesmm.plots.smooths import SmoothPanel, plot_smooths

        design, table = self.fit.design, self.table
        panels = [
            SmoothPanel(
                term=place.name,
                x=place.term.of,
                edf=float(table.loc[place.name, "edf"]),  # pyright: ignore[reportArgumentType]
                curve=self.curves(place.name, level=level),
                at=np.unique(place.term.source.fitted(design.n)[:, 0]),
            )
            for place in self._chosen(term)
        ]
        return plot_smooths(panels, response=design.response, level=float(level), ax=ax)

    def _chosen(self, term: str | None) -> list[_Place]:
        whole = [place for place in _places(self.fit) if not place.piece.term.factors]
        names = [place.name for place in whole]
        if term is None and whole:
            return whole
        if term is None or not is_one_of(term, names):
            has = f"Curves of all rows are {listing(names, quoted=True)}." if names else "No term is one curve of all."
            raise ArgumentError(f"term is {shorten(term)}. {has} Curves by group are drawn by plot_groups(x=...).")
        return [place for place in whole if place.name == term]

    def _report(self) -> Report:
        """Return what is printed."""
        table = self.table
        numbers = {
            "sd": [write_number(value, decimals_for(value)) for value in table["sd"]],
            "edf": [write_number(value, 2) for value in table["edf"]],
        }
        columns = [
            Column(head="levels", cells=[f"{value}" for value in table["levels"]]),
            Column(head="k", cells=[f"{value}" for value in table["k"]]),
            Column(head="sd", cells=numbers["sd"]),
            Column(head="edf", cells=numbers["edf"]),
            Column(head="of at most", cells=[f"{value}" for value in table["most_edf"]]),
        ]
        remarks = [
            "sd is the root mean square departure of a curve from its straight line over the rows used, in units of "
            "the response; edf are the effective degrees of freedom of the departures, of all levels together. The "
            "straight line is a fixed effect, or a slope of each level."
        ]
        remarks += [
            f"The departures of {name} use nearly all that the basis has ({edf:.1f} of {most}): try a larger k."
            for name, edf, most in zip(table.index, table["edf"], table["most_edf"], strict=True)
            if edf > 0.9 * most
        ]
        return Report(title="Smooth terms", parts=(Table(names=list(table.index), columns=columns), notes(remarks)))

    def __str__(self) -> str:
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report()._repr_html_()


def tabulate_smooths(fit: Fitted) -> Smooths:
    """Tabulate the smooth terms of a fit; see `bayesmm.fit.fit.Fit.smooths`."""
    places = list(_places(fit))
    if not places:
        raise ArgumentError("The model has no smooth term. Write one as s(x): y ~ s(x) + (1 | g).")
    layers = build_layers(fit, "observed", None, second_order=False)
    rows = []
    for place in places:
        inside, block = slice(place.piece.start, place.piece.stop), fit.design.blocks[place.block]
        variance = float((fit.estimate.factors[place.block][inside, inside] ** 2).sum() / place.piece.k) * fit.sigma**2
        own = np.einsum("qaa->qa", layers[place.block].fixed)[:, inside]
        edf = float((1.0 - own / variance).sum()) if variance > 0.0 else 0.0
        rows.append(
            {
                "group": block.group if block.factors else None,
                "levels": block.q,
                "k": place.piece.k + 2,
                "sd": np.sqrt(variance),
                "edf": edf,
                "most_edf": place.piece.k * block.q,
                "lambda": fit.sigma**2 / variance if variance > 0.0 else np.inf,
            }
        )
    index = pd.Index([place.name for place in places], name="term")
    return Smooths(table=pd.DataFrame(rows, index=index), fit=fit)


def _places(fit: Fitted) -> Iterator[_Place]:
    """Find the smooth terms."""
    for f, (block, sources) in enumerate(zip(fit.design.blocks, fit.design.sources.blocks, strict=True)):
        for piece, columns in zip(block.pieces, sources.columns, strict=True):
            if columns.smooth is not None:
                name = columns.smooth.text if not block.factors else f"{columns.smooth.text} | {block.group}"
                yield _Place(name, f, piece, columns.smooth)


def _curve(fit: Fitted, place: _Place, above: float, points: int) -> pd.DataFrame:
    design, term = fit.design, place.term
    x = np.linspace(term.low, term.high, points)
    coefficients = [design.coefficients[j] for j in design.kept]
    X = np.zeros((points, len(coefficients)))
    if term.of in coefficients:
        X[:, coefficients.index(term.of)] = x - term.source.fitted(design.n)[:, 0].mean()
    block = design.blocks[place.block]
    columns = np.zeros((points, block.k))
    columns[:, place.piece.start : place.piece.stop] = term.at(x)
    membership = Membership(codes=np.zeros(points, dtype=np.int64), columns=columns)
    incidences: list[Incidence | None] = [None] * len(design.blocks)
    incidences[place.block] = Incidence(memberships=(membership,), n_levels=1)
    rows = Predictors(
        index=pd.RangeIndex(points),
        X=X,
        offset=np.zeros(points),
        incidences=tuple(incidences),
        n_new=(0,) * len(incidences),
    )
    conditioned, W, nothing = condition_rows(fit, rows), parameter_covariance(fit, "expected"), np.zeros(points)
    if fit.estimate.residual is None:
        found = row_variances(fit, conditioned, nothing, W, "full")
    else:
        exact = Noise(nothing, np.zeros((points, len(W))))
        found = residual_variances(fit, conditioned, exact, W, "full")
    estimate, error = rows.expectation(fit.estimate.beta, fit.estimate.modes), np.sqrt(found.variance)
    half = t_quantile(above, found.df) * error
    return pd.DataFrame(
        {
            "term": place.name,
            "x": x,
            "estimate": estimate,
            "std_error": error,
            "df": found.df,
            "lower": estimate - half,
            "upper": estimate + half,
        }
    )
