"""Lines of the levels of a grouping factor over one column: where they are drawn, and what the model says there.

Both wings draw the same figure, and neither may import from a floor above. What they share is which levels and values
are looked at, and the lines at given fixed and random effects.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.blocks.labels import find_group
from bayesmm.design.design import Design
from bayesmm.design.predictors import Predictors, build_predictors
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.words.factors import is_factor, levels_of
from bayesmm.errors import ArgumentError

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Figure

type Unpooled = Callable[[int], np.ndarray]  # from a factor to what each level's own rows say, (q, k)

MOST_LEVELS = 20  # that are drawn unless they are named
POINTS = 41  # of a line, over the range of a number
MOST_ROWS = 200_000  # of all lines together


class LevelRows(Protocol):
    """Rows of a model by their levels."""

    def heights(self, f: int, effects: np.ndarray) -> np.ndarray:
        """Return the mean of the random part of a factor over the rows of each of its levels, (q,)."""
        ...

    def take(self, f: int, codes: np.ndarray) -> Design:
        """Return the model with the rows of some levels of a factor, in their order, and perhaps others."""
        ...


class RowsInMemory:
    """Those of a design that has them.

    Parameters
    ----------
    design : Design
        Any.
    """

    def __init__(self, design: Design) -> None:
        self._design = design

    def heights(self, f: int, effects: np.ndarray) -> np.ndarray:
        """Return the mean of the random part of a factor over the rows of each of its levels, (q,)."""
        block, total = self._design.blocks[f], np.zeros(self._design.n)
        block.incidence.add_to(total, effects)
        codes, q = block.incidence.only.codes, len(block.levels)
        return np.bincount(codes, weights=total, minlength=q) / np.maximum(np.bincount(codes, minlength=q), 1)

    def take(self, f: int, codes: np.ndarray) -> Design:
        """Return all rows."""
        return self._design


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupLines:
    """Data of some levels, and their lines.

    Attributes
    ----------
    group : str
        Grouping factor.
    x : str or None
        What the lines are over: a column, or nothing but the number of the row within its level.
    response : str
        As it was written.
    categories : tuple of str or None
        Of a factor x, in order; `x` in the tables is then their position.
    n_levels : int
        Of the factor; fewer may be drawn.
    are_chosen : bool
        Whether the user named them.
    rows : DataFrame
        The data: level, x, y.
    table : DataFrame
        The lines: level, x, unpooled (NaN beyond the level's own rows), complete, estimate, lower, upper.
    level : float
        Of the intervals.
    """

    group: str
    x: str | None
    response: str
    categories: tuple[str, ...] | None
    n_levels: int
    are_chosen: bool
    rows: pd.DataFrame
    table: pd.DataFrame
    level: float

    @property
    def frame(self) -> pd.DataFrame:
        """The lines, as a user has them: categories of a factor by name."""
        if self.categories is None:
            return self.table
        return self.table.assign(x=[self.categories[int(position)] for position in self.table["x"]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where lines are evaluated.

    Attributes
    ----------
    f : int
        Which grouping factor.
    codes : int array, shape (m,)
        The level of each place.
    predictors : Predictors
        Of the m places: the effects of their level, and of the levels of other factors that all its rows share.
    lines : GroupLines
        With a table that lacks estimate, lower and upper.
    """

    f: int
    codes: np.ndarray
    predictors: Predictors
    lines: GroupLines

    def with_estimates(self, estimate: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> GroupLines:
        """Add the partially pooled lines (m,) and their limits."""
        return replace(self.lines, table=self.lines.table.assign(estimate=estimate, lower=lower, upper=upper))


def plot_group_lines(found: Sequence[tuple[str, GroupLines]]) -> Figure:
    """Draw the lines of a "fit", of a "posterior", or of both at the same levels and values."""
    from bayesmm.plots.groups import GroupPanels, plot_groups

    lines = found[0][1]
    n = len(set(lines.rows["level"].to_list()))
    is_some = n < lines.n_levels and not lines.are_chosen
    title = f"{n} of {lines.n_levels:,} levels of {lines.group}, evenly over how high their lines lie"
    return plot_groups(
        GroupPanels(
            group=lines.group,
            x=lines.x,
            response=lines.response,
            categories=lines.categories,
            title=title if is_some else f"Levels of {lines.group}",
            rows=lines.rows,
            tables=[(kind, each.table) for kind, each in found],
            level=lines.level,
        )
    )


def lay_out_groups(
    design: Design,
    beta: np.ndarray,
    effects: Sequence[np.ndarray],
    unpooled: Unpooled,
    rows: LevelRows | None = None,
    *,
    x: Any = None,
    group: Any = None,
    levels: Any = None,
    level: float = 0.95,
) -> Places:
    """Choose levels and values, and evaluate the lines of no and of complete pooling there.

    Parameters
    ----------
    design : Design
        The data.
    beta : array, shape (p,)
        Fixed effects that are estimated.
    effects : sequence of array, shapes (q, k)
        Random effects of each grouping factor.
    unpooled : callable
        From the position of a grouping factor to what each level's own rows say of its effects (q, k).
    rows : LevelRows, optional
        Those of the data, if they are not in memory.
    x, group, levels, level
        As `bayesmm.fit.Fit.group_lines` takes them.

    Raises
    ------
    ArgumentError
        If an argument suits nothing in the model.
    """
    design.require_random_effects("Lines of levels")
    f = 0 if group is None else find_group(design.labels, group)
    block = design.blocks[f]
    if block.incidence.touches_itself or len(block.incidence.memberships) > 1:
        raise ArgumentError(
            f"group is {block.group!r}, of which a row has several levels: it has no line of its own. Name a grouping "
            "factor of one level a row."
        )
    x = _find_column(design, f, x)
    rows = RowsInMemory(design) if rows is None else rows
    codes = _choose_levels(design, f, effects[f], rows, levels)
    near = rows.take(f, codes)
    members = near.blocks[f].incidence.members()
    categories = _categories(design, x)
    frame, of_place, at = _place(near, x, codes, members, _limits(design, x), is_category=categories is not None)
    predictors = _predict(near, f, frame, members, of_place, x)
    own = unpooled(f)
    complete = predictors.X @ beta + predictors.offset
    alone = predictors.mean(beta, [own if g == f else b for g, b in enumerate(effects)])
    data = _rows(near, x, codes, members, categories)
    kind = "count" if x is None else "number" if categories is None else "category"
    within = _within(data, block.levels, of_place, at, kind)
    table = pd.DataFrame(
        {
            "level": np.array(block.levels, dtype=object)[of_place],
            "x": at,
            "unpooled": np.where(within, alone, np.nan),
            "complete": complete,
        }
    )
    lines = GroupLines(
        group=block.group,
        x=x,
        response=design.response,
        categories=categories,
        n_levels=len(block.levels),
        are_chosen=levels is not None,
        rows=data,
        table=table,
        level=level,
    )
    return Places(f=f, codes=of_place, predictors=predictors, lines=lines)


def _find_column(design: Design, f: int, x: object) -> str | None:
    """Return the column that lines are over: by default a number with random slopes, a number, a factor, or none."""
    block, sources = design.blocks[f], design.sources
    varying = [name for columns in sources.blocks[f].columns for name in columns.uses]
    known = [name for name in dict.fromkeys([*varying, *sources.fixed.uses]) if name not in block.factors]
    if x is None:
        return next(iter(sorted(known, key=lambda name: is_factor(design, name))), None)
    plain = x[1:-1] if isinstance(x, str) and len(x) > 2 and x[0] == x[-1] == "`" else x
    if not isinstance(plain, str) or plain not in known:
        have = f"it has {listing(known)}" if known else "it has none"
        raise ArgumentError(
            f"x is {shorten(x)}: give a column of the fixed part, or of the random effects of {block.group}: {have}."
        )
    return plain


def _choose_levels(design: Design, f: int, effects: np.ndarray, rows: LevelRows, levels: Any) -> np.ndarray:
    """Return the codes of levels that are named, in that order, or of some, evenly over how high their lines lie."""
    block = design.blocks[f]
    present = block.incidence.levels_present()
    if levels is not None:
        known = {level: i for i, level in enumerate(block.levels)}
        if isinstance(levels, (str, bytes)) or not isinstance(levels, Iterable):
            raise ArgumentError(f"levels is {shorten(levels)}: give a list of levels of {block.group}.")
        wanted = list(dict.fromkeys(level_text(each) for each in levels))
        for each in wanted:
            if each not in known:
                raise ArgumentError(
                    f"levels has {shorten(each)}, which is no level of {block.group}: it has {listing(block.levels)}."
                )
        without = [each for each in wanted if known[each] not in present]
        if without:
            raise ArgumentError(
                f"levels has {without[0]!r}, a level of {block.group} without rows: it has no line beside data. See "
                "its effects in random_effects(), or predict rows of it."
            )
        if not wanted:
            raise ArgumentError("levels is empty: give one level or more, or leave it out.")
        return np.array([known[each] for each in wanted])
    if len(present) <= MOST_LEVELS:
        return present
    order = np.argsort(-rows.heights(f, effects), kind="stable")
    order = order[np.isin(order, present)]
    return order[np.linspace(0, len(order) - 1, MOST_LEVELS).round().astype(int)]


def _limits(design: Design, x: str | None) -> tuple[float, float]:
    """Least and greatest value of a number over all rows."""
    if x is None or is_factor(design, x):
        return 0.0, 0.0
    numbers = design.known_rows.frame[x].to_numpy(dtype=float)
    return float(numbers.min()), float(numbers.max())


def _categories(design: Design, x: str | None) -> tuple[str, ...] | None:
    if x is None or not is_factor(design, x):
        return None
    return tuple(level_text(value) for value in levels_of(design, x))


def _place(
    design: Design,
    x: str | None,
    codes: np.ndarray,
    members: Sequence[np.ndarray],
    limits: tuple[float, float],
    *,
    is_category: bool,
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Rows of the places, the level of each, and where it stands on the axis."""
    frames, levels, places = [], [], []
    for code in codes:
        own = design.frame.iloc[members[code]]
        values: Any
        if x is None:
            values, at = [0, 1], np.array([0.5, len(own) + 0.5])
        elif is_category:
            values = levels_of(design, x)
            at = np.arange(float(len(values)))
        else:
            of_level = own[x].to_numpy(dtype=float)
            ends = np.array([of_level.min(), of_level.max()])
            values = at = np.union1d(np.linspace(*limits, POINTS), ends)
        rows = _typical(design, own, len(values))
        if x is not None:
            kind = design.frame[x].dtype
            rows[x] = pd.Series(list(values), index=rows.index).astype(kind if is_category else float)
        frames.append(rows)
        levels.append(np.full(len(values), code))
        places.append(at)
        if len(frames) * len(values) > MOST_ROWS:
            raise ArgumentError(f"levels has {len(codes):,} levels, too many lines to draw: name fewer.")
    return pd.concat(frames, ignore_index=True), np.concatenate(levels), np.concatenate(places)


def _typical(design: Design, own: pd.DataFrame, n: int) -> pd.DataFrame:
    """Hold each column at a value that occurs in these rows: the most frequent level, the number nearest the mean."""
    position: dict[Hashable, int] = {}
    for name in own:
        values = own[name]
        if is_factor(design, str(name)):
            codes = pd.factorize(values)[0]
            position[name] = int(np.argmax(codes == np.bincount(codes).argmax()))
        elif values.dtype == object or not pd.api.types.is_numeric_dtype(values):
            position[name] = 0
        else:
            numbers = values.to_numpy(dtype=float)
            position[name] = int(np.argmin(np.abs(numbers - numbers.mean())))
    return pd.DataFrame({name: own[name].iloc[[row] * n].reset_index(drop=True) for name, row in position.items()})


def _predict(
    design: Design, f: int, frame: pd.DataFrame, members: Sequence[np.ndarray], of_place: np.ndarray, x: str | None
) -> Predictors:
    """Evaluate the places, with the effects of other factors where all rows of the level share theirs."""
    groups = [block.group for g, block in enumerate(design.blocks) if g == f or x not in block.factors]
    found = build_predictors(design, frame, random=groups, new_levels="population")
    incidences = list(found.incidences)
    for g, (block, incidence) in enumerate(zip(design.blocks, incidences, strict=True)):
        if g == f or incidence is None:
            continue
        shared = {
            code: all(len(np.unique(each.codes[members[code]])) == 1 for each in block.incidence.memberships)
            for code in np.unique(of_place)
        }
        keep = np.array([shared[code] for code in of_place])
        incidences[g] = incidence.map(lambda codes, keep=keep: np.where(keep, codes, -1))
    return replace(found, incidences=tuple(incidences))


def _rows(
    design: Design,
    x: str | None,
    codes: np.ndarray,
    members: Sequence[np.ndarray],
    categories: tuple[str, ...] | None,
) -> pd.DataFrame:
    parts = []
    for code in codes:
        rows = members[code]
        if x is None:
            at = np.arange(1.0, len(rows) + 1.0)
        elif categories is not None:
            at = np.array([float(categories.index(level_text(value))) for value in design.frame[x].iloc[rows]])
        else:
            at = design.frame[x].to_numpy(dtype=float)[rows]
        parts.append(pd.DataFrame({"code": code, "x": at, "y": design.y[rows]}, index=design.rows[rows]))
    return pd.concat(parts)


def _within(rows: pd.DataFrame, levels: Sequence[str], of_place: np.ndarray, at: np.ndarray, kind: str) -> np.ndarray:
    """Say which places are within the level's own rows, or in a category that they have."""
    found = np.zeros(len(at), dtype=bool)
    for code, own in rows.groupby("code"):
        here = of_place == code
        values = own["x"].to_numpy()
        if kind == "category":
            found[here] = np.isin(at[here], values)
        elif kind == "number":
            found[here] = (at[here] >= values.min()) & (at[here] <= values.max())
        else:
            found[here] = True
    rows.insert(0, "level", [levels[code] for code in rows.pop("code")])
    return found
