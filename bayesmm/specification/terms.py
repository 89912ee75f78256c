"""What was asked, as plain text in frozen dataclasses: no data, no numerics."""

from dataclasses import dataclass

from bayesmm.console import visible
from bayesmm.covariance.table import STRUCTURES
from bayesmm.specification.scanner import one_line
from bayesmm.specification.syntax import quote, write_bar


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomTerm:
    """One random-effects term, ``(expression | group)``.

    Attributes
    ----------
    expression : str
        The columns whose effects vary, with the intercept explicit: ``"1 + Days"`` or ``"0 + Days"``.
    group : str
        Name of the grouping factor, ``"Subject"``; the parts of a combination are joined from coarse to fine, ``"a:b"``
        (lme4 writes the same factor as ``b:a`` when it comes from ``a/b``).
    factors : tuple of str
        Columns of the data whose combinations are the levels, ``("a", "b")``.
    structure : str
        Covariance of the effects of one level, a name in `bayesmm.covariance.table.STRUCTURES`: ``|`` leaves it free
        (``"us"``), ``||`` sets every correlation to zero (``"diag"``), others are called, ``cs(x | g)``.
    """

    expression: str
    group: str
    factors: tuple[str, ...]
    structure: str

    def write(self) -> str:
        """Write the term so that a formula can hold it."""
        return write_bar(self.expression, ":".join(map(quote, self.factors)), self.structure)

    def __str__(self) -> str:
        return visible(self.write())


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
    """

    formula: str
    response: str
    fixed: str
    offsets: tuple[str, ...]
    random_terms: tuple[RandomTerm, ...]

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
        """The formula in one line, as a terminal may have it."""
        return one_line(self.formula)

    def __str__(self) -> str:
        lines = [self.shown, f"  response        {self.response}", f"  fixed effects   {self.fixed}"]
        lines += [f"  offset          {offset}" for offset in self.offsets]
        for position, term in enumerate(self.random_terms):
            title = "random effects" if position == 0 else ""
            lines.append(f"  {title:<14}  {term}  {_in_words(term)}")
        return "\n".join(map(visible, lines))


def _in_words(term: RandomTerm) -> str:
    """Say in words what varies by what."""
    intercept, _, slopes = term.expression.partition(" + ")
    effects = ["intercept"] * (intercept == "1") + [slopes] * bool(slopes)
    several = len(effects) > 1 or " + " in slopes
    structure = STRUCTURES[term.structure]
    freedom = f", {structure.freedom}" if several or structure.correlations == "one" else ""
    return f"{' and '.join(effects)} by {term.group}{freedom}"
