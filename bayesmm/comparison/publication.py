"""One or several models side by side, as a paper prints them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError, FitStatus
from bayesmm.inference.either import is_posterior
from bayesmm.inference.fitted import Df
from bayesmm.inference.fixed.fixed_effects import check_choices
from bayesmm.presenting.columns import ESTIMATES
from bayesmm.presenting.intervals import check_level, interval_head
from bayesmm.presenting.numbers import UNKNOWN, write_digits, write_intervals, write_like, write_number, write_p
from bayesmm.presenting.page import write_document
from bayesmm.presenting.parts import Column, Interval, Shrinkage, Table, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from great_tables import GT  # pyright: ignore[reportMissingImports]  an extra

    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit

type Shown = Literal["std_error", "interval", "statistic", "df", "p_value"]
type Centre = Literal["mean", "median"]

SHOWN: tuple[Shown, ...] = ("std_error", "interval", "statistic", "df", "p_value")
CENTRES: tuple[Centre, ...] = ("mean", "median")
FIXED, RANDOM, WHOLE = "Fixed effects", "Random effects", "Model"  # parts of the table
INTERCEPT = "Intercept"
WAYS = {"reml": "REML", "ml": "ML", "nuts": "NUTS", "importance": "importance sampling", "quadrature": "quadrature"}
DEGREES = {
    "satterthwaite": "Satterthwaite",
    "kenward-roger": "Kenward-Roger",
    "residual": "n − p",
    "normal": "none (normal)",
}
WHOLE_NUMBERS = ("N ", "Observations")
SHARES = {
    "ICC": "ICC adjusted",
    "Marginal R²": "R2 marginal",
    "Conditional R²": "R2 conditional",
}
RANDOM_ROWS = ("σ²", "τ₀", "τ₁", "ρ₀", "ρ ", "IC")  # how rows begin, in the order of the table
WHOLE_ROWS = ("N ", "Ob", "Ma", "Co")
DECIMALS = 3  # of correlations, ICC and R²


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PublicationTable:
    """Models side by side, as a paper prints them.

    Made by `bayesmm.publication_table`. Prints as a report; a notebook shows it as a page.

    Attributes
    ----------
    frame : DataFrame
        The numbers. Index: part ("Fixed effects", "Random effects", "Model") and row; columns: model, and of each
        estimate, std_error, df, statistic, p_value, lower, upper. What is no fixed effect has an estimate alone. NaN
        where a model has no such row. The estimate of a posterior is its mean (or median), std_error its sd.
    methods : DataFrame
        One row a model: formula, method, df (how degrees of freedom were found).
    title : str
        What stands above the table.
    level : float
        Coverage of the intervals.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> table = bmm.publication_table(fit, names=["sleep"])
    >>> print(str(table).splitlines()[0])
    Linear mixed model
    """

    frame: pd.DataFrame
    methods: pd.DataFrame
    title: str
    level: float
    _table: Table
    _remarks: tuple[str, ...]

    def report(self) -> Report:
        """Write the report.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(bmm.publication_table(fit).report()).splitlines()[0])
        Linear mixed model
        """
        return Report(title=self.title, parts=(*_apart(self._table), notes(self._remarks)))

    def html(self) -> str:
        """Write the table as a page of its own, without scripts, for a file that a browser or a text processor opens.

        Returns
        -------
        str
            A document in UTF-8; every text in it is escaped.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> bmm.publication_table(fit).html().startswith("<")
        True
        """
        return write_document(self.title, (self._table, notes(self._remarks)))

    def latex(self) -> str:
        r"""Write the table as a LaTeX ``tabular``.

        Returns
        -------
        str
            For a document with ``\usepackage{booktabs,textcomp}`` and ``\usepackage[T1]{fontenc}``. What LaTeX would
            obey in a name is escaped. Letters beyond ASCII are in UTF-8; scripts other than Latin need LuaLaTeX or
            XeLaTeX.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> r"\begin{tabular}" in bmm.publication_table(fit).latex()
        True
        """
        from bayesmm.presenting.latex import write_latex

        return write_latex(self._table, notes=self._remarks)

    def great_table(self) -> GT:
        """Return the table as an object of the package great-tables, to be styled and saved there.

        Returns
        -------
        great_tables.GT

        Raises
        ------
        BayesmmError
            If the package is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> bmm.publication_table(fit).great_table().save("table.png")  # doctest: +SKIP
        """
        from bayesmm.presenting.great_table import make_great_table

        return make_great_table(self._table, self.title, self._remarks)

    def __str__(self) -> str:
        return str(self.report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def publication_table(
    *results: Fit | Posterior,
    names: Sequence[str] | None = None,
    show: Shown | Sequence[Shown] = ("interval", "p_value"),
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    df: Df = "satterthwaite",
    centre: Centre = "mean",
    level: float = 0.95,
) -> PublicationTable:
    """Put one or several models side by side, as a paper prints them.

    Parameters
    ----------
    *results : Fit and Posterior
        One or more, of the same data or of others.
    names : sequence of str, optional
        What stands above each; "model 1", "model 2", ... by default, or the response where there is one model.
    show : {"std_error", "interval", "statistic", "df", "p_value"} or sequence of these
        What stands beside the estimate of each fixed effect. Posteriors have no statistic, df and p.
    labels : mapping of str to str, optional
        Other texts for coefficients, by their names.
    title : str, optional
        What stands above the table.
    df : str
        Degrees of freedom of the fixed effects of fits, as in `bayesmm.fit.Fit.coefficients`; Kenward and Roger's are
        for REML only.
    centre : {"mean", "median"}
        What is shown of a posterior.
    level : float
        Coverage of the intervals: of fits by quantiles of t, of posteriors equal-tailed.

    Returns
    -------
    PublicationTable
        ``frame`` has the numbers; `html`, `latex` and `great_table` write the table. Prints as a report.

    Raises
    ------
    ArgumentError
        If a result is neither a fit nor a posterior, or an argument is none of these.

    Notes
    -----
    Below the fixed effects stand, as in tab_model of R's sjPlot: σ², the residual variance of a row of weight one; τ₀₀,
    the variance of the intercepts of a grouping factor; τ₁₁, those of other effects; ρ₀₁, correlations with the
    intercept, and ρ, others; then the adjusted ICC, the levels of each grouping factor, the rows, and marginal and
    conditional R². Of a posterior each is the mean (or median) of the same quantity of its draws, so that σ² is not the
    square of the mean of σ.

    References
    ----------
    Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4. Johnson (2014), Methods Ecol. Evol. 5.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> sleep = bmm.datasets.load("sleepstudy")
    >>> formulas = ["Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days | Subject)"]
    >>> table = bmm.publication_table(*(bmm.Model(formula, sleep).fit() for formula in formulas))
    >>> table.frame.xs("estimate", axis=1, level=1).loc["Random effects", "model 2"].round(1).to_dict()
    {'σ²': 654.9, 'τ₀₀ Subject': 612.1, 'τ₁₁ Subject.Days': 35.1, 'ρ₀₁ Subject.Days': 0.1, 'ICC': 0.7}
    """
    shown = _read_shown(show)
    level = check_level(level)
    if not is_one_of(centre, CENTRES) or centre is None:
        raise ArgumentError(f"centre is {shorten(centre)}: give {listing(CENTRES, quoted=True)}.")
    if title is not None and not isinstance(title, str):
        raise ArgumentError(f"title is {shorten(title)}: give a text.")
    labels = _read_labels(labels)
    named = _name(results, names)
    columns = {name: _of_posterior(each, centre, level) if is_posterior(each) else _of_fit(each, df, level)
               for name, each in named.items()}  # fmt: skip
    frame = _frame(columns)
    _check_labels(labels, [row for part, row in frame.index if part == FIXED])
    return PublicationTable(
        frame=frame,
        methods=pd.DataFrame([each.methods for each in columns.values()], index=pd.Index(columns, name="model")),
        title="Linear mixed models" if title is None and len(columns) > 1 else title or "Linear mixed model",
        level=level,
        _table=_write(frame, columns, shown, labels, level),
        _remarks=_remarks(named, columns),
    )


class _Side(NamedTuple):
    """What one model brings.

    Attributes
    ----------
    fixed : DataFrame
        Fixed effects by name: the columns of `ESTIMATES`.
    random, whole : dict of str to float
        What stands below them.
    spreads : dict of str to float
        Standard errors of some of these, for the digits that are shown.
    methods : dict of str to str
        formula, method, df.
    centre : str
        What its estimates are called.
    aliased : tuple of str
        Coefficients that are combinations of others.
    """

    fixed: pd.DataFrame
    random: dict[str, float]
    whole: dict[str, float]
    spreads: dict[str, float]
    methods: dict[str, str]
    centre: str
    aliased: tuple[str, ...]


def _of_fit(fit: Any, df: Df, level: float) -> _Side:
    check_choices(df, None)
    fixed = fit.coefficients(df=df, level=level)
    parameters = fit.parameter_table(level=level)
    values, errors = parameters["estimate"], parameters["std_error"]
    sds = {name: (float(values[name]), float(errors[name])) for name in values.index[parameters["kind"] == "sd"]}
    if in_place := _in_place(fit):
        sds["sigma"] = (float(values[in_place]), float(errors[in_place]))
    else:
        sds["sigma"] = (fit.sigma, float(errors["sigma"]) if "sigma" in errors else math.nan)
    variances = {name: sd**2 for name, (sd, _) in sds.items()}
    spreads = {name: 2.0 * sd * error for name, (sd, error) in sds.items()}
    correlations = values[parameters["kind"] == "cor"].to_dict()
    shares = fit.explained(level=level).table["estimate"]
    rows = _random_rows(fit, variances | correlations)
    return _Side(
        fixed=fixed.reindex(columns=list(ESTIMATES)),
        random={row: float((variances | correlations)[name]) for row, name in rows.items()}
        | {"ICC": float(shares[SHARES["ICC"]])},
        whole=_whole(fit, shares),
        spreads={row: spreads[name] for row, name in rows.items() if name in spreads},
        methods={"formula": fit.design.specification.shown, "method": WAYS[fit.method], "df": DEGREES[df]},
        centre="estimate",
        aliased=tuple(fit.design.aliased),
    )


def _of_posterior(posterior: Any, centre: Centre, level: float) -> _Side:
    table = posterior.parameter_table(level=level)
    draws = {row.name: _draws(posterior, row) for row in posterior.labels.parameter_rows()}
    in_place = _in_place(posterior)
    draws.setdefault("sigma", draws[in_place] if in_place else posterior.sigma)
    average = np.mean if centre == "mean" else np.median
    fixed = table.loc[list(posterior.labels.coefficients), ["mean", "sd", "lower", "upper"]]
    fixed = fixed.rename(columns={"mean": "estimate", "sd": "std_error"}).reindex(columns=list(ESTIMATES))
    if centre == "median":
        fixed["estimate"] = [float(np.median(draws[name])) for name in fixed.index]
    is_cor = {name: kind == "cor" for name, kind in table["kind"].items()}
    below = {name: own if is_cor.get(name, False) else own**2 for name, own in draws.items() if name not in fixed.index}
    rows = _random_rows(posterior, below)
    shares = _shares(posterior, centre, level)
    return _Side(
        fixed=fixed,
        random={row: float(average(below[name])) for row, name in rows.items()} | {"ICC": shares[SHARES["ICC"]]},
        whole=_whole(posterior, shares),
        spreads={row: float(np.std(below[name], ddof=1)) for row, name in rows.items() if not is_cor.get(name, False)},
        methods={"formula": posterior.design.specification.shown, "method": WAYS[posterior.method], "df": ""},
        centre=centre,
        aliased=tuple(posterior.design.aliased),
    )


def _draws(posterior: Any, row: Any) -> np.ndarray:
    drawn = posterior.draws(row.variable)
    return drawn if row.index is None else drawn[..., row.index]


def _shares(posterior: Any, centre: Centre, level: float) -> dict[str, float]:
    """Means of R² and ICC; or their medians, as the middle of the narrowest of their intervals."""
    if centre == "mean":
        return {str(name): float(value) for name, value in posterior.explained(level=level).table["mean"].items()}
    middle = posterior.explained(level=1e-9).table
    return {str(name): float(row["lower"] + row["upper"]) / 2.0 for name, row in middle.iterrows()}


def _random_rows(result: Any, known: Mapping[str, Any]) -> dict[str, str]:
    """Return the rows of variances and correlations, each with the parameter that it shows."""
    rows, correlations = {"σ²": "sigma"}, {}

    def add(to: dict[str, str], row: str, name: str) -> None:
        to[f"{row}: {name}" if row in to else row] = name  # c of a.b, and b.c of a, would be one row

    for block in result.labels.blocks:
        for effect, name in zip(block.sds, block.sd_rows, strict=True):
            add(rows, f"τ₀₀ {block.group}" if effect == INTERCEPT else f"τ₁₁ {block.group}.{effect}", name)
        for pair, name in zip(block.cors, block.cor_rows, strict=True):
            start = f"{INTERCEPT}, "
            shown = (
                f"₀₁ {block.group}.{pair.removeprefix(start)}" if pair.startswith(start) else f" {block.group}.{pair}"
            )
            add(correlations, f"ρ{shown}", name)
    return {row: name for row, name in (rows | correlations).items() if name in known}


def _in_place(result: Any) -> str:
    """Name the parameter that is in the place of a known sigma."""
    residual = result.design.residual
    return "" if residual is None else residual.in_place


def _whole(result: Any, shares: Any) -> dict[str, float]:
    levels = {f"N {block.group}": float(block.q) for block in result.design.blocks}
    r2 = {name: float(shares[SHARES[name]]) for name in ("Marginal R²", "Conditional R²")}
    return levels | {"Observations": float(result.n)} | r2


def _frame(columns: Mapping[str, _Side]) -> pd.DataFrame:
    """Put the models beside each other; a row that several have stands where the first has it."""
    sides = columns.values()
    rows = [(FIXED, name) for name in _merge(each.fixed.index for each in sides)]
    random = _merge(each.random for each in sides)
    rows += [(RANDOM, name) for name in sorted(random, key=lambda name: RANDOM_ROWS.index(name[:2]))]
    whole = _merge(each.whole for each in sides)
    rows += [(WHOLE, name) for name in sorted(whole, key=lambda name: WHOLE_ROWS.index(name[:2]))]
    index = pd.MultiIndex.from_tuples(rows, names=["part", "row"])
    parts = {}
    for name, side in columns.items():
        below = pd.DataFrame(
            {
                "estimate": [
                    (side.random if part == RANDOM else side.whole).get(row, math.nan)
                    for part, row in rows
                    if part != FIXED
                ]
            },
            index=index[[part != FIXED for part, _ in rows]],
        ).reindex(columns=list(ESTIMATES))
        above = side.fixed.set_axis(pd.MultiIndex.from_product([[FIXED], side.fixed.index]))
        parts[name] = pd.concat([above.astype(float), below.astype(float)]).reindex(index)
    return pd.concat(parts, axis=1, names=["model", "column"])


def _merge(orders: Iterable[Iterable[Any]]) -> list[str]:
    """Join orders of names: each new one behind the one that it follows where it is new."""
    merged: list[str] = []
    for order in orders:
        at = 0
        for name in map(str, order):
            if name in merged:
                at = merged.index(name) + 1
            else:
                merged.insert(at, name)
                at += 1
    return merged


def _write(
    frame: pd.DataFrame, columns: Mapping[str, _Side], shown: Sequence[Shown], labels: Mapping[str, str], level: float
) -> Table:
    rows: list[tuple[str, str]] = list(frame.index)
    words = {
        "Method": "method",
        **({"Degrees of freedom": "df"} if any(c.methods["df"] for c in columns.values()) else {}),
    }
    names = [labels.get(row, row) if part == FIXED else row for part, row in rows] + list(words)
    headings = {
        next(i for i, (own, _) in enumerate(rows) if own == part): part
        for part in dict.fromkeys(part for part, _ in rows)
    }
    written: list[Column | Interval] = []
    for name, side in columns.items():
        written += _write_side(
            pd.DataFrame(frame[name]), rows, name, side, shown, level, [side.methods[key] for key in words.values()]
        )
    return Table(names=names, columns=tuple(written), headings=headings, where="table.frame", is_whole=True)


def _apart(table: Table) -> tuple[Table, Table]:
    """Return two tables of which a terminal has room for both: fixed effects; and all else, one column a model."""
    start = next(i for i, part in table.headings.items() if part != FIXED)
    above = [
        replace(column, cells=column.cells[:start]) for column in table.columns if not isinstance(column, Shrinkage)
    ]
    seen, below = set(), []
    for column in table.columns:
        if isinstance(column, Column) and column.over not in seen:
            seen.add(column.over)
            below.append(Column(head=column.over, cells=column.cells[start:]))
    headings = {i - start: part for i, part in table.headings.items() if i >= start}
    fixed = replace(table, names=table.names[:start], columns=tuple(above), headings={}, caption=FIXED)
    return fixed, replace(table, names=table.names[start:], columns=tuple(below), headings=headings)


def _write_side(
    own: pd.DataFrame,
    rows: Sequence[tuple[str, str]],
    name: str,
    side: _Side,
    shown: Sequence[Shown],
    level: float,
    words: Sequence[str],
) -> list[Column | Interval]:
    """Write the columns of one model."""
    records = own.to_dict("records")
    empty = [""] * len(words)
    has = [
        part == FIXED and not math.isnan(record["estimate"]) for (part, _), record in zip(rows, records, strict=True)
    ]

    def below(write: Any, key: str) -> list[str]:
        cells = [write(record[key], record) if own_ else "" for own_, record in zip(has, records, strict=True)]
        return [*cells, *empty]

    estimates = []
    for (part, row), record in zip(rows, records, strict=True):
        if part == FIXED and row in side.aliased:
            estimates.append("aliased")
        elif math.isnan(record["estimate"]):
            estimates.append(UNKNOWN if row in (side.random | side.whole) else "")
        elif part == FIXED:
            estimates.append(write_like(record["estimate"], record["std_error"]))
        else:
            estimates.append(_write_below(row, record["estimate"], side.spreads.get(row)))
    made: list[Column | Interval] = [Column(head=side.centre, cells=[*estimates, *words], over=name)]
    is_drawn = side.centre != "estimate"
    for each in shown:
        match each:
            case "std_error":
                head = "sd" if is_drawn else "std_error"
                made.append(Column(head=head, cells=below(lambda x, _: write_like(x, x), "std_error"), over=name))
            case "interval":
                limits = [[record[key] for record in records] for key in ("lower", "upper", "estimate", "std_error")]
                cells = [c if h else ("", "") for c, h in zip(write_intervals(*limits), has, strict=True)]
                made.append(Interval(head=interval_head(level), cells=[*cells, *[("", "")] * len(words)], over=name))
            case "statistic" if not is_drawn:
                head = "z" if side.methods["df"] == DEGREES["normal"] else "t"
                made.append(Column(head=head, cells=below(lambda x, _: write_number(x, 2), "statistic"), over=name))
            case "df" if not is_drawn:
                made.append(Column(head="df", cells=below(lambda x, _: write_number(x, 1), "df"), over=name))
            case "p_value" if not is_drawn:
                made.append(Column(head="p", cells=below(lambda x, _: write_p(x), "p_value"), over=name))
    return made


def _write_below(row: str, value: float, spread: float | None) -> str:
    if row.startswith(WHOLE_NUMBERS):
        return str(int(value))
    if spread is None:
        return write_number(value, DECIMALS)
    return write_like(value, spread) if math.isfinite(spread) and spread > 0 else write_digits(value)


def _remarks(named: Mapping[str, Any], columns: Mapping[str, _Side]) -> tuple[str, ...]:
    """Say what is to be known beside the table."""
    said = [f"{name}: {side.methods['formula']}" for name, side in columns.items()]
    for name, result in named.items():
        status = getattr(result, "status", None)
        if status is FitStatus.NOT_CONVERGED:
            said.append(f"{name}: the search did not converge; its numbers are not estimates.")
        if status is FitStatus.BOUNDARY:
            said.append(f"{name}: singular, on the boundary of the variances.")
        if status is None and not result.diagnostics.is_good:
            said.append(f"{name}: something speaks against its draws, see its diagnostics.")
        if (result.known_sigma if status else result.priors.known_sigma) is not None and not _in_place(result):
            said.append(f"{name}: σ was given, not estimated.")
    return tuple(said)


def _name(results: Sequence[Any], names: Any) -> dict[str, Any]:
    if not results:
        raise ArgumentError("publication_table was given no result: give fits or posteriors, one or more.")
    for each in results:
        is_posterior(each)  # refuses all else
    if names is None:
        one = [results[0].design.response]
        return dict(
            zip(one if len(results) == 1 else [f"model {i + 1}" for i in range(len(results))], results, strict=True)
        )
    wrong = not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names)
    if wrong or len(set(names)) != len(names) or len(names) != len(results):
        raise ArgumentError(
            f"names is {shorten(names)}: give a list of {len(results)} different text(s), one for each result."
        )
    return dict(zip(names, results, strict=True))


def _read_shown(show: Any) -> tuple[Shown, ...]:
    wanted = [show] if isinstance(show, str) else list(show) if isinstance(show, list | tuple) else None
    if wanted is None or not all(isinstance(each, str) and each in SHOWN for each in wanted):
        raise ArgumentError(f"show is {shorten(show)}: give some of {listing(SHOWN, quoted=True)}.")
    return tuple(each for each in SHOWN if each in wanted)


def _check_labels(labels: Mapping[str, str], coefficients: Sequence[str]) -> None:
    """Refuse a label of what no model has: it would never be seen."""
    for name in labels:
        if name not in coefficients:
            near = get_close_matches(name, coefficients, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ArgumentError(
                f"labels names {name!r}, which is a coefficient of no model in the table.{hint} The coefficients are "
                f"{listing(list(map(repr, coefficients)), 10)}."
            )


def _read_labels(labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not all(isinstance(x, str) for pair in labels.items() for x in pair):
        raise ArgumentError(
            f"labels is {shorten(labels)}: give texts by the names of coefficients, {{'Days': 'days'}}."
        )
    return dict(labels)
