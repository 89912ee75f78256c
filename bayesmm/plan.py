"""The elimination plan of a model, in words."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from textwrap import wrap

import numpy as np
import pandas as pd

from bayesmm.console import visible
from bayesmm.design.labels import Labels
from bayesmm.marginal.plan_parts import Plan, StepCost, StepShape

_WIDTH = 100


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PlanDescription:
    """What the likelihood's elimination does with each grouping factor, and why.

    Attributes
    ----------
    steps : DataFrame
        One row a grouping factor in the order of elimination: group, levels, effects; how ("batch" or "dense block");
        fill ("none", "scatter" or "product"), pairs: pairs of neighbours that the levels of a batch leave behind;
        scatter_seconds, product_seconds: what either way was predicted to cost an evaluation.
    block_sizes : array of int
        Rows of each dense block.
    formula : str
        The model.
    """

    steps: pd.DataFrame
    block_sizes: np.ndarray
    formula: str

    def __str__(self) -> str:
        sentences = [_sentence(row, self.steps) for row in self.steps.to_dict("records") if row["how"] == "batch"]
        dense = [row for row in self.steps.to_dict("records") if row["how"] == "dense block"]
        if dense:
            sentences.append(_dense_sentence(dense, self.block_sizes))
        lines = [f"Elimination plan  {self.formula}", ""]
        for number, sentence in enumerate(sentences, start=1):
            start = f"  {number}. "
            lines += wrap(visible(sentence), _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def describe_plan(plan: Plan, labels: Labels, formula: str) -> PlanDescription:
    """Describe a plan with the names of its grouping factors.

    Parameters
    ----------
    plan : Plan
        From `bayesmm.marginal.crossproducts.build_products`.
    labels : Labels
        Names of the model.
    formula : str
        The model.
    """
    rows = [_step_row(plan, labels, step, cost) for step, cost in zip(plan.shape.steps, plan.costs, strict=True)]
    for factor in plan.shape.remainder:
        rows.append(_factor_row(plan, labels, factor) | {"how": "dense block", "fill": "", "pairs": 0})
    return PlanDescription(steps=pd.DataFrame(rows), block_sizes=plan.block_sizes, formula=formula)


def _factor_row(plan: Plan, labels: Labels, factor: int) -> dict:
    return {
        "group": labels.blocks[factor].group,
        "levels": plan.n_levels[factor],
        "effects": plan.shape.widths[factor],
    }


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


def _sentence(row: dict, steps: pd.DataFrame) -> str:
    effects = "" if row["effects"] == 1 else f" with {row['effects']} effects each"
    size = "" if row["effects"] == 1 else f" of {row['effects']} × {row['effects']} Cholesky factors"
    text = f"{row['group']}, {row['levels']:,} levels{effects}: no two of them touch, so all go in one batch{size}."
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


def _dense_sentence(dense: list[dict], sizes: np.ndarray) -> str:
    names = " and ".join(f"{row['group']} ({row['levels']:,} levels)" for row in dense)
    if len(sizes) == 1:
        blocks = f"one dense block of {sizes[0]:,} rows, one Cholesky factor"
    else:
        few, many = int(sizes.min()), int(sizes.max())
        rows = f"{many}" if few == many else f"{few} to {many}"
        blocks = f"{len(sizes):,} connected components of {rows} rows, each one dense block, factored in batches"
    return f"{names}: their levels now touch each other. What is left is {blocks}."
