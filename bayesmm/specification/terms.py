"""What was asked, as plain text in frozen dataclasses: no data, no numerics."""

from dataclasses import dataclass
from typing import Literal

from bayesmm.console import visible
from bayesmm.covariance.table import find_structure
from bayesmm.specification.scanner import one_line
from bayesmm.specification.smooths import CALLEE, STRUCTURE
from bayesmm.specification.syntax import quote, write_bar

type GroupingKind = Literal["combination", "members", "roles", "relation"]

type SpreadKind = Literal["het", "power", "exponential"]
FITTED = "fitted"  # as a covariate: the fitted value

CALLEES: dict[GroupingKind, str] = {"members": "mm", "roles": "dyad", "relation": "rel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """What stands right of a bar: how columns of the data say which levels a row has.

    Attributes
    ----------
    factors : tuple of str
        The columns; of a combination from coarse to fine (lme4 writes ``b:a`` where ``a/b`` has become ``a:b``); none
        where all rows are one level, ``1``.
    kind : {"combination", "members", "roles", "relation"}
        Whether the combination of all columns is the level of a row, ``a:b``; or each column has a level of the same
        set, whose effects are added by weights, ``mm(a, b)``; or each has a level of the same set with effects of its
        own, ``dyad(sender, receiver)``; or levels are related as a matrix says, ``rel(animal, A)``.
    weights : tuple of str
        Expressions of the weights of members; none if all members weigh the same.
    scale : bool
        Whether the weights of each row are scaled to a sum of one.
    relation : str
        Name of the matrix that says how levels are related; empty if none does.
    by : str
        The column in each of whose levels, the strata, effects have a covariance matrix of their own, ``gr(g, by=f)``;
        empty if there is none.
    stratum : str
        The one of its levels that a term is about, once the data have said which there are.
    """

    factors: tuple[str, ...]
    kind: GroupingKind = "combination"
    weights: tuple[str, ...] = ()
    scale: bool = True
    relation: str = ""
    by: str = ""
    stratum: str = ""

    @property
    def has_members(self) -> bool:
        """Whether a row has several levels."""
        return self.kind in ("members", "roles")

    @property
    def name(self) -> str:
        """Name in tables; weights and matrices are not part of it."""
        if self.kind == "combination":
            return ":".join(self.factors) or "1"
        return f"{CALLEES[self.kind]}({', '.join(self.factors)})"

    @property
    def suffix(self) -> str:
        """What names of effects of a stratum end with: ``":Sex[Male]"``; nothing where there is none."""
        return f":{self.by}[{self.stratum}]" if self.by else ""

    @property
    def key(self) -> tuple:
        """What is equal for groupings that are the same whatever the order in which they are written."""
        if self.kind == "roles":
            return self.kind, self.factors
        if self.kind == "relation":
            return self.kind, self.factors, self.relation
        weights = self.weights or ("",) * len(self.factors)
        return self.kind, frozenset(zip(self.factors, weights, strict=True)), self.scale

    def write(self) -> str:
        """Write it so that a formula can hold it."""
        if self.kind == "combination":
            combined = ":".join(map(quote, self.factors)) or "1"
            return f"gr({combined}, by={quote(self.by)})" if self.by else combined
        parts = list(map(quote, self.factors))
        if self.relation:
            parts.append(quote(self.relation))
        if self.weights:
            parts.append(f"weights=cbind({', '.join(self.weights)})")
        if not self.scale:
            parts.append("scale=False")
        return f"{CALLEES[self.kind]}({', '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomTerm:
    """One random-effects term, ``(expression | group)``.

    Attributes
    ----------
    expression : str
        The columns whose effects vary, with the intercept explicit: ``"1 + Days"`` or ``"0 + Days"``.
    grouping : Grouping
        What the effects vary by.
    structure : str
        Covariance of the effects of one level, a name in `bayesmm.covariance.table.STRUCTURES`: ``|`` leaves it free
        (``"us"``), ``||`` sets every correlation to zero (``"diag"``), others are called, ``cs(x | g)``, some with an
        option after a comma, ``"mat, nu=2.5"``.
    """

    expression: str
    grouping: Grouping
    structure: str

    @property
    def is_smooth(self) -> bool:
        """Whether its effects are the departures of a smooth curve from a straight line, ``homdiag(0 + s(x) | g)``."""
        return self.structure == STRUCTURE and self.expression.startswith(f"0 + {CALLEE}(")

    @property
    def label(self) -> str:
        """What a parameter of all its effects is named by: the expression, ``s(x)`` alone of a smooth term."""
        return (self.expression.removeprefix("0 + ") if self.is_smooth else self.expression) + self.grouping.suffix

    @property
    def group(self) -> str:
        """Name of the grouping factor: ``"Subject"``, ``"a:b"``, ``"mm(a, b)"``."""
        return self.grouping.name

    @property
    def factors(self) -> tuple[str, ...]:
        """Columns of the data that the levels are made of."""
        return self.grouping.factors

    def write(self) -> str:
        """Write the term so that a formula can hold it."""
        return write_bar(self.expression, self.grouping.write(), self.structure)

    def __str__(self) -> str:
        return visible(self.write())


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualTerm:
    """How residuals of the rows of a group are correlated, ``ar1(week | id)``.

    Attributes
    ----------
    structure : str
        A name in `bayesmm.covariance.residual.RESIDUAL`.
    position : str
        The column that says where a row is in its group.
    grouping : Grouping
        What makes a group.
    by : tuple of str
        Columns each combination of whose levels has parameters of its own, ``us(visit | id, by=arm)``; usually none.
    nugget : bool
        Whether a part of the variance is of each row alone, ``exp(time | id, nugget=True)``.
    """

    structure: str
    position: str
    grouping: Grouping
    by: tuple[str, ...] = ()
    nugget: bool = False

    def write(self) -> str:
        """Write it so that it can be read again."""
        by = f", by={':'.join(map(quote, self.by))}" if self.by else ""
        nugget = ", nugget=True" if self.nugget else ""
        return f"{self.structure}({quote(self.position)} | {self.grouping.write()}{by}{nugget})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadTerm:
    """What the residual standard deviation changes with: ``het(arm)``, ``power(x)``, ``exponential(x)``.

    Attributes
    ----------
    kind : {"het", "power", "exponential"}
        One for each combination of levels; |x|^t times another; exp(t x) times another.
    factors : tuple of str
        Columns whose combinations are strata, of ``het``; none of ``het(1)``, all rows, beside a sigma that is known.
    expression : str
        The covariate as it was written, of the others; ``fitted`` is the fitted value.
    """

    kind: SpreadKind
    factors: tuple[str, ...] = ()
    expression: str = ""

    @property
    def of_fitted(self) -> bool:
        """Whether the covariate is the fitted value."""
        return self.expression == FITTED

    def write(self) -> str:
        """Write it so that it can be read again."""
        return f"{self.kind}({':'.join(map(quote, self.factors)) or self.expression})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualSpecification:
    """The covariance of the residuals, as it was asked for.

    Attributes
    ----------
    text : str
        As it was written.
    correlation : ResidualTerm or None
        Within groups.
    spreads : tuple of SpreadTerm
        What standard deviations change with.
    """

    text: str
    correlation: ResidualTerm | None
    spreads: tuple[SpreadTerm, ...]

    def write(self) -> str:
        """Write it in its normal form."""
        parts = [self.correlation] if self.correlation else []
        return " * ".join(term.write() for term in (*parts, *self.spreads))


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """A linear mixed model as it was asked for: text only, before any data are seen.

    Attributes
    ----------
    formula : str
        The formula as the user wrote it.
    response : str
        The expression left of ``~``.
    fixed : str
        The fixed part, with the intercept explicit: ``"1 + Days"`` or ``"0 + Days"``.
    offsets : tuple of str
        The arguments of ``offset(...)``.
    random_terms : tuple of RandomTerm
        The bars, in the order of the formula; ``(x | a/b)`` has become two terms.
    residual : ResidualSpecification, optional
        Covariance of the residuals, where they are not independent with one variance.
    """

    formula: str
    response: str
    fixed: str
    offsets: tuple[str, ...]
    random_terms: tuple[RandomTerm, ...]
    residual: ResidualSpecification | None = None

    def normalised(self) -> str:
        """Return the formula with nothing left implicit; parsing it gives the same model."""
        parts = [
            self.fixed,
            *(f"offset({offset})" for offset in self.offsets),
            *(term.write() for term in self.random_terms),
        ]
        return f"{self.response} ~ {' + '.join(parts)}"

    @property
    def shown(self) -> str:
        """The formula, and the covariance of the residuals if there is one, in one line, as a terminal may have it."""
        formula = one_line(self.formula)
        return formula if self.residual is None else f"{formula}, residuals {visible(self.residual.write())}"

    def __str__(self) -> str:
        lines = [one_line(self.formula), f"  response        {self.response}", f"  fixed effects   {self.fixed}"]
        lines += [f"  offset          {offset}" for offset in self.offsets]
        for position, term in enumerate(self.random_terms):
            title = "random effects" if position == 0 else ""
            lines.append(f"  {title:<14}  {term}  {_in_words(term)}")
        if self.residual is not None:
            lines.append(f"  residuals       {self.residual.write()}")
        return "\n".join(map(visible, lines))


def _in_words(term: RandomTerm) -> str:
    """Say in words what varies by what."""
    intercept, _, slopes = term.expression.partition(" + ")
    effects = ["intercept"] * (intercept == "1") + [slopes] * bool(slopes)
    several = len(effects) > 1 or " + " in slopes
    structure = find_structure(term.structure)
    freedom = f", {structure.freedom}" if several or structure.fewest_effects > 1 else ""
    if term.is_smooth:
        effects, freedom = [f"departures of {slopes} from a straight line"], ", with one standard deviation"
    by = f" by {term.group}" if term.factors else ""
    strata = f", in each level of {term.grouping.by} by itself" if term.grouping.by else ""
    return f"{' and '.join(effects)}{by}{freedom}{strata}"
