"""Tests of fixed effects: of each term, and of hypotheses that a user writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.inference.fixed.contrasts import contrast_table
from bayesmm.inference.fixed.fixed_effects import DFS, FixedInference, FTest
from bayesmm.inference.fixed.hypotheses import Hypotheses
from bayesmm.inference.fixed.student import two_sided
from bayesmm.inference.fixed.term_contrasts import TermContrasts, Type
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import write_intervals, write_like, write_number, write_p
from bayesmm.presenting.parts import Column, Interval, Table, facts, notes
from bayesmm.presenting.report import Report

ROMAN = {1: "I", 2: "II", 3: "III"}
DEGREES = {  # how the degrees of freedom are called, below a caption
    "satterthwaite": "Satterthwaite's degrees of freedom",
    "kenward-roger": "Kenward and Roger's standard errors and degrees of freedom",
    "residual": "n − p degrees of freedom",
    "normal": "normal quantiles",
}
assert tuple(DEGREES) == DFS


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TermTests:
    """An F test of each term of the fixed part.

    Made by `bayesmm.fit.Fit.anova`. Prints as a report; a notebook shows it as a page.

    Attributes
    ----------
    formula : str
        Of the model.
    type : {1, 2, 3}
        Which hypotheses a term stands for.
    df : str
        Which degrees of freedom: a name that `bayesmm.fit.Fit.coefficients` takes, or words for others.
    terms : tuple of TermContrasts
        What is tested of each term.
    tests : tuple of FTest
        With what result.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> fit.anova().table.index.tolist()
    ['Days']
    """

    formula: str
    type: Type
    df: str
    terms: tuple[TermContrasts, ...]
    tests: tuple[FTest, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a term: statistic (F), num_df, den_df, p_value; NaN where the data tell nothing of it."""
        columns = {name: [getattr(test, name) for test in self.tests] for name in FTest._fields}
        return pd.DataFrame(columns, index=pd.Index([term.name for term in self.terms], name="term"))

    @cached_property
    def _report(self) -> Report:
        rows = self.table.to_dict("records")
        is_normal = self.df == "normal"
        columns = [
            Column(head="F", cells=[write_number(row["statistic"], 3) for row in rows]),
            Column(head="df", cells=[write_number(row["num_df"], 0) for row in rows]),
            Column(head="denominator df", cells=[write_number(row["den_df"], 1) for row in rows]),
            Column(head="p", cells=[write_p(row["p_value"]) for row in rows]),
        ]
        if is_normal:
            columns.pop(2)
        return Report(
            title=f"Tests of fixed effects, type {ROMAN[self.type]}: {self.formula}",
            parts=(
                facts((f"F tests with {DEGREES.get(self.df, self.df)}",)),
                Table(names=list(map(str, self.table.index)), columns=columns, head="term", where="fit.anova().table"),
                notes(self._remarks()),
            ),
        )

    def _remarks(self) -> tuple[str, ...]:
        said = [
            f"{term.name}: {term.n_lost} of its {term.n_lost + len(term.L)} hypotheses cannot be tested, for columns "
            "are combinations of others."
            for term in self.terms
            if term.n_lost
        ]
        if not self.terms:
            said.append("The model has no fixed effects but the intercept: there is no term to test.")
        return tuple(said)

    def __str__(self) -> str:
        return str(self._report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report._repr_html_()


def run_term_tests(design: Design, of: FixedInference, terms: list[TermContrasts], type: Type, df: str) -> TermTests:
    """Test each term by F."""
    lost = FTest(float("nan"), 0, float("nan"), float("nan"))
    return TermTests(
        formula=design.specification.shown,
        type=type,
        df=df,
        terms=tuple(terms),
        tests=tuple(of.f_test(term.L) if len(term.L) else lost for term in terms),
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LinearTest:
    """A test of linear hypotheses about the fixed effects, each alone and all together.

    Made by `bayesmm.fit.Fit.test`. Prints as a report; a notebook shows it as a page.

    Attributes
    ----------
    df : str
        Which degrees of freedom: a name that `bayesmm.fit.Fit.coefficients` takes, or words for others.
    level : float
        Coverage of the intervals.
    hypotheses : Hypotheses
        What is tested.
    joint : FTest
        All of them together: statistic (F), num_df, den_df, p_value.
    table : DataFrame
        One row a hypothesis: estimate of its left side less its right side but for the constant, value (that constant),
        std_error, df, statistic, p_value, and an interval (lower, upper) for the estimate.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = fit.test("Days = 10")
    >>> print(str(found).splitlines()[0])
    Test of linear hypotheses
    """

    df: str
    level: float
    hypotheses: Hypotheses
    joint: FTest
    table: pd.DataFrame

    @cached_property
    def _report(self) -> Report:
        rows = self.table.to_dict("records")
        errors = [row["std_error"] for row in rows]
        is_normal = self.df == "normal"
        lower, upper, estimate = ([row[name] for row in rows] for name in ("lower", "upper", "estimate"))
        columns = [
            Column(head="estimate", cells=[write_like(row["estimate"], row["std_error"]) for row in rows]),
            Column(head="std_error", cells=[write_like(error, error) for error in errors]),
            Column(head="df", cells=[write_number(row["df"], 1) for row in rows]),
            Column(head="z" if is_normal else "t", cells=[write_number(row["statistic"], 2) for row in rows]),
            Column(head="p", cells=[write_p(row["p_value"]) for row in rows]),
            Interval(head=interval_head(self.level), cells=write_intervals(lower, upper, estimate, errors)),
        ]
        if is_normal:
            columns.pop(2)
        joint, together = self.joint, ()
        if len(rows) > 1:
            under = "" if is_normal else f", {write_number(joint.den_df, 1)}"
            together = (
                f"All together: F({joint.num_df}{under}) = {write_number(joint.statistic, 3)}, "
                f"p {_equals(write_p(joint.p_value))}.",
            )
        return Report(
            title="Test of linear hypotheses",
            parts=(
                facts((DEGREES.get(self.df, self.df),)),
                Table(
                    names=list(map(str, self.table.index)),
                    columns=columns,
                    head="hypothesis",
                    where="fit.test(...).table",
                ),
                notes(together),
            ),
        )

    def __str__(self) -> str:
        return str(self._report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report._repr_html_()


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def run_linear_test(of: FixedInference, hypotheses: Hypotheses, df: str, level: float) -> LinearTest:
    """Test hypotheses by t, and together by F."""
    index = pd.Index(hypotheses.texts, name="hypothesis")
    table = contrast_table(of, hypotheses.L, index, level)
    statistic = (table["estimate"] - hypotheses.values) / table["std_error"]
    table = table.assign(statistic=statistic, p_value=two_sided(statistic.to_numpy(), table["df"].to_numpy()))
    table.insert(1, "value", np.asarray(hypotheses.values))
    joint = of.f_test(hypotheses.L, hypotheses.values)
    return LinearTest(df=df, level=level, hypotheses=hypotheses, joint=joint, table=table)
