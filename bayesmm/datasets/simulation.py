"""What the simulators share: drawing random effects, and the truth in the names of the result tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesmm.presenting.numbers import write_digits
from bayesmm.presenting.parts import Column, Table
from bayesmm.presenting.report import Report


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """A simulated data set with the truth it was drawn from.

    Attributes
    ----------
    data : pandas.DataFrame
        One row an observation.
    formula : str
        The formula of the model that the data were drawn from.
    parameters : pandas.Series
        The true values under the row names of `Fit.parameters` and `Posterior.parameters`, in the same order; a
        correlation is NaN where a standard deviation of zero leaves it undefined.
    random_effects : pandas.DataFrame
        The random effects drawn: group, level, effect, value; levels that occur in `data` only, or in `pedigree`.
    pedigree : pandas.DataFrame, optional
        Animal, sire and dam, where levels are related; also of animals that `data` has no rows of.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> found = bmm.datasets.simulate_dyads(6, sender_sd=0.9, receiver_sd=0.6, correlation=0.6, sigma=0.7, seed=1)
    >>> found.formula
    'log_count ~ 1 + (1 | dyad(sender, receiver))'
    """

    data: pd.DataFrame
    formula: str
    parameters: pd.Series
    random_effects: pd.DataFrame
    pedigree: pd.DataFrame | None = None

    @property
    def _report(self) -> Report:
        cells = [write_digits(value) for value in self.parameters]
        names = [str(name) for name in self.parameters.index]
        table = Table(names=names, columns=(Column(head="truth", cells=cells),), where="simulation.parameters")
        return Report(title=self._summary(), parts=(table,))

    def __str__(self) -> str:
        return str(self._report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report._repr_html_()

    def _summary(self) -> str:
        counts = self.random_effects.groupby("group", sort=False)["level"].nunique()
        levels = ", ".join(f"{count} {group}" for group, count in counts.items())
        return f"{len(self.data)} rows ({levels}) drawn from {self.formula}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEffects:
    """The random effects of one grouping factor: their distribution and the values drawn from it."""

    group: str
    levels: Sequence[str]  # q labels
    effects: tuple[str, ...]  # "Intercept", or "Intercept" and one slope
    sds: tuple[float, ...]
    correlation: float
    values: NDArray[np.float64]  # (q, k)

    def frame(self, present: Sequence[str]) -> pd.DataFrame:
        """Tabulate the drawn values of the levels present."""
        q, k = self.values.shape
        table = pd.DataFrame(
            {
                "group": self.group,
                "level": np.repeat(np.asarray(self.levels, dtype=object), k),
                "effect": np.tile(np.asarray(self.effects, dtype=object), q),
                "value": self.values.ravel(),
            }
        ).astype({"group": "str", "level": "str", "effect": "str"})
        return table.loc[table["level"].isin(list(present))]

    def truth(self) -> dict[str, float]:
        """Name the standard deviations and the correlation as the result tables do."""
        rows = {f"sd({effect} | {self.group})": sd for effect, sd in zip(self.effects, self.sds, strict=True)}
        if len(self.effects) == 2:
            defined = min(self.sds) > 0
            rows[f"cor({', '.join(self.effects)} | {self.group})"] = self.correlation if defined else float("nan")
        return rows


def draw_group(
    rng: np.random.Generator,
    *,
    group: str,
    levels: Sequence[str],
    effects: tuple[str, ...],
    sds: tuple[float, ...],
    correlation: float = 0.0,
) -> GroupEffects:
    """Draw the effects of every level from a normal distribution, one or two effects a level."""
    standard = rng.standard_normal((len(levels), len(effects)))
    if len(effects) == 2:
        standard[:, 1] = correlation * standard[:, 0] + np.sqrt(1.0 - correlation**2) * standard[:, 1]
    return GroupEffects(
        group=group, levels=levels, effects=effects, sds=sds, correlation=correlation, values=standard * np.asarray(sds)
    )


def assemble(
    data: pd.DataFrame,
    formula: str,
    *,
    coefficients: dict[str, float],
    groups: Sequence[tuple[GroupEffects, Sequence[str]]],
    sigma: float,
) -> Simulation:
    """Put data and truth together; each group comes with the labels of its levels that occur in the data."""
    rows = dict(coefficients)
    for group, _ in groups:
        rows |= group.truth()
    rows["sigma"] = sigma
    return Simulation(
        data=data,
        formula=formula,
        parameters=pd.Series(rows, name="truth", dtype=float),
        random_effects=pd.concat([group.frame(present) for group, present in groups], ignore_index=True),
    )


def numbered(codes: NDArray[np.integer]) -> pd.Categorical:
    """Label codes 0, 1, ... as the levels "1", "2", ..., in numeric order, those that occur."""
    occurring = np.unique(codes)
    return pd.Categorical.from_codes(
        np.searchsorted(occurring, codes), categories=pd.Index([str(code + 1) for code in occurring], dtype="str")
    )
