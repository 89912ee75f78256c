"""The elimination plan of a model, in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.blocks.labels import Labels
from bayesmm.marginal.plan.plan import Plan, StepCost, StepShape
from bayesmm.marginal.residual.pattern_sums import keeps_rows
from bayesmm.marginal.residual.weighted_sums import takes_less
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.stochastic.matrices import arrange
from bayesmm.presenting.parts import Column, Table, Words
from bayesmm.presenting.report import Report


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PlanDescription:
    """What the likelihood's elimination does with each grouping factor, and why.

    Attributes
    ----------
    steps : DataFrame
        One row a grouping factor in the order of elimination: group, levels, effects; touches (whether
        rows have several levels of it, or its levels are related); relation (the matrix that relates them, if
        one does); how ("batch", "dense block", "sparse matrix" or "probes");
        fill ("none", "scatter" or "product"), pairs: pairs of neighbours that the levels of a batch leave behind;
        scatter_seconds, product_seconds: what either way was predicted to cost an evaluation.
    block_sizes : array of int
        Rows of each dense block.
    formula : str
        The model.
    residual : str
        What an evaluation needs of the rows, where residuals have a covariance; otherwise empty.
    n_entries : int
        Entries of the Cholesky factor where all effects are one sparse matrix, zeros inside of its blocks included.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> print(str(model.plan).splitlines()[0])
    Elimination plan of Yield ~ 1 + (1 | Batch)
    """

    steps: pd.DataFrame
    block_sizes: np.ndarray
    formula: str
    residual: str = ""
    n_entries: int = 0

    @property
    def _sentences(self) -> Words:
        sentences = [_sentence(row, self.steps) for row in self.steps.to_dict("records") if row["how"] == "batch"]
        dense = [row for row in self.steps.to_dict("records") if row["how"] == "dense block"]
        if dense:
            sentences.append(_dense_sentence(dense, self.block_sizes))
        by_probes = [row for row in self.steps.to_dict("records") if row["how"] == "probes"]
        if by_probes:
            sentences.append(_probes_sentence(by_probes, self.steps))
        if self.residual:
            sentences.append(self.residual)
        sparse = [row for row in self.steps.to_dict("records") if row["how"] == "sparse matrix"]
        if sparse:
            sentences.append(_sparse_sentence(sparse, self.n_entries))
        return Words(role="steps", texts=tuple(sentences))

    def _report(self, *parts: Table) -> Report:
        return Report(title=f"Elimination plan of {self.formula}", parts=(self._sentences, *parts))

    def __str__(self) -> str:
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report(_step_table(self.steps))._repr_html_()


def describe_plan(
    plan: Plan, labels: Labels, formula: str, residual_rows: ResidualRows | None = None
) -> PlanDescription:
    """Describe a plan with the names of its grouping factors.

    Parameters
    ----------
    plan : Plan
        From `bayesmm.marginal.sums.crossproducts.build_products`.
    labels : Labels
        Names of the model.
    formula : str
        The model.
    residual_rows : ResidualRows, optional
        Where residuals have a covariance.
    """
    rows = [_step_row(plan, labels, step, cost) for step, cost in zip(plan.shape.steps, plan.costs, strict=True)]
    for factor in plan.shape.remainder:
        rows.append(_factor_row(plan, labels, factor) | {"how": "dense block", "fill": "", "pairs": 0})
    if plan.shape.too_large:
        rows = _rows_by_probes(plan, labels)
    n_entries = 0
    if plan.sparse is not None:
        n_entries = plan.sparse.fronts.n_entries
        factors = range(len(plan.n_levels))
        rows = [_factor_row(plan, labels, f) | {"how": "sparse matrix", "fill": "", "pairs": 0} for f in factors]
    return PlanDescription(
        steps=pd.DataFrame(rows),
        block_sizes=plan.block_sizes,
        formula=formula,
        residual="" if residual_rows is None else _residual_sentence(residual_rows),
        n_entries=n_entries,
    )


def _residual_sentence(rows: ResidualRows) -> str:
    pieces = rows.layout.pieces
    patterns = sum(len(stack.positions) for stack in pieces)
    groups = round(sum(stack.counts.sum() for stack in rows.layout.stacks))
    what = f"Residuals, {groups:,} groups: {patterns:,} covariance {'matrix' if patterns == 1 else 'matrices'}"
    if rows.layout.is_chain:
        what += " of neighbours"
    if not rows.blocks:
        if not any(keeps_rows(stack, rows.p + 1) for stack in pieces):
            return f"{what}, for each of which rows are summed once. An evaluation weighs the sums."
        return f"{what}, whose sums would be more numbers than the rows. An evaluation goes through the rows."
    if takes_less(rows):
        return f"{what}, for each of which rows are summed once by level. An evaluation weighs the sums."
    return f"{what}, whose sums by level would be more numbers than the rows. An evaluation whitens the rows."


def _factor_row(plan: Plan, labels: Labels, factor: int) -> dict:
    return {
        "group": labels.blocks[factor].group,
        "levels": plan.n_levels[factor],
        "effects": plan.shape.widths[factor],
        "touches": (factor, factor) in plan.shape.pairs,
        "relation": labels.blocks[factor].relation,
    }


def _rows_by_probes(plan: Plan, labels: Labels) -> list[dict]:
    layout = arrange(plan.shape.pairs, plan.shape.widths, plan.n_levels)
    nothing = {"fill": "none", "pairs": 0, "neighbours": ""}
    rows = [] if layout.first is None else [_factor_row(plan, labels, layout.first) | nothing | {"how": "batch"}]
    return rows + [_factor_row(plan, labels, f) | nothing | {"how": "probes"} for f in layout.rest]


def _step_row(plan: Plan, labels: Labels, step: StepShape, cost: StepCost) -> dict:
    shared = np.isfinite(cost.product) or cost.scatter > 0.0
    return _factor_row(plan, labels, step.factor) | {
        "how": "batch",
        "fill": step.kind if shared else "none",
        "pairs": cost.n_pairs if shared else 0,
        "scatter_seconds": cost.scatter,
        "product_seconds": cost.product,
        "neighbours": ", ".join(labels.blocks[g].group for g in step.neighbours),
    }


def _step_table(steps: pd.DataFrame) -> Table:
    rows = steps.to_dict("records")
    return Table(
        names=[row["group"] for row in rows],
        head="group",
        caption="Grouping factors in the order of elimination",
        columns=(
            Column(head="levels", cells=[f"{row['levels']:,}" for row in rows]),
            Column(head="effects", cells=[f"{row['effects']}" for row in rows]),
            Column(head="how", cells=[row["how"] for row in rows], is_words=True),
            Column(head="fill", cells=[row["fill"] for row in rows], is_words=True),
            Column(head="pairs", cells=[f"{row['pairs']:,}" for row in rows]),
        ),
    )


def _sentence(row: dict, steps: pd.DataFrame) -> str:
    effects = "" if row["effects"] == 1 else f" with {row['effects']} effects each"
    size = "" if row["effects"] == 1 else f" of {row['effects']} × {row['effects']} Cholesky factors"
    untouched = "no two of them touch"
    if row["relation"]:
        untouched = f"related by {row['relation']}, they are turned once into as many that are independent"
    text = f"{row['group']}, {row['levels']:,} levels{effects}: {untouched}, so all go in one batch{size}."
    if row["fill"] == "none":
        if row["neighbours"]:
            text += f" Each lies in one level of {row['neighbours']}: nothing new is joined."
        return text
    ways = {
        "scatter": f"scattered one by one (predicted {_time(row['scatter_seconds'])} an evaluation",
        "product": f"as one dense product (predicted {_time(row['product_seconds'])} an evaluation",
    }
    others = {
        "scatter": f"; as a dense product {_time(row['product_seconds'])})",
        "product": f"; scattered one by one {_time(row['scatter_seconds'])})",
    }
    return text + (
        f" They join what they share rows with in {row['neighbours']}: {row['pairs']:,} pairs, "
        f"{ways[row['fill']]}{others[row['fill']]}."
    )


def _time(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "would not fit into memory"
    if seconds < 1e-4:
        return "below 0.1 ms"
    return f"{1e3 * seconds:#.2g} ms".replace(". ", " ") if seconds < 0.1 else f"{seconds:#.2g} s"


def _sparse_sentence(rows: list[dict], n_entries: int) -> str:
    names = " and ".join(f"{row['group']} ({row['levels']:,} levels)" for row in rows)
    related = [f"{row['group']} is related by {row['relation']}" for row in rows if row["relation"]]
    return (
        f"{names}: {' and '.join(related)}, whose inverse is sparse. All effects are one sparse matrix, in an order of "
        f"little fill: one Cholesky factor of {n_entries:,} entries, front by front."
    )


def _probes_sentence(rows: list[dict], steps: pd.DataFrame) -> str:
    names = " and ".join(f"{row['group']} ({row['levels']:,} levels)" for row in rows)
    size = sum(row["levels"] * row["effects"] for row in rows)
    left = f" after {steps['group'].iloc[0]}" if len(rows) < len(steps) else ""
    return (
        f"{names}: what is left{left} would be a matrix of {size:,} rows, or more pairs of levels than are listed, and "
        "is not formed. model.fit() solves it by conjugate gradients, with the log-determinant by random probes "
        "(determinant='stochastic')."
    )


def _dense_sentence(dense: list[dict], sizes: np.ndarray) -> str:
    names = " and ".join(f"{row['group']} ({row['levels']:,} levels)" for row in dense)
    touching = [row["group"] for row in dense if row["touches"] and not row["relation"]]
    related = [row["group"] for row in dense if row["relation"]]
    reasons = [f"rows have several levels of {' and of '.join(touching)}"] if touching else []
    reasons += [f"levels of {' and of '.join(related)} are related"] if related else []
    if reasons:
        why = f"{' and '.join(reasons)}, so that levels touch each other"
    else:
        why = "their levels now touch each other"
    if len(sizes) == 1:
        blocks = f"one dense block of {sizes[0]:,} rows, one Cholesky factor"
    else:
        few, many = int(sizes.min()), int(sizes.max())
        rows = f"{many}" if few == many else f"{few} to {many}"
        blocks = f"{len(sizes):,} connected components of {rows} rows, each one dense block, factored in batches"
    return f"{names}: {why}. What is left is {blocks}."
