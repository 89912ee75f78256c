"""Draw what the elimination plan does to three small designs: python docs/pictures/elimination.py.

One row and column per level, in the order of elimination. Coloured squares: pairs of levels that share rows of the
data, by the step that eliminates them. Hollow squares: pairs that elimination joins. Grey: dense blocks.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

import bayesmm as bmm
from bayesmm.marginal.plan import planning

planning.SCATTER_NS = 0.0  # so small, one dense product would be cheaper; drawn is what large designs get
COLOURS = ["#4477AA", "#CC6677", "#117733"]
DENSE = "#999999"


def nested() -> tuple[str, pd.DataFrame]:
    """Pupils in classes in schools."""
    pupil = np.repeat(np.arange(18), 2)
    return "(1 | school/classroom/pupil)", pd.DataFrame({"pupil": pupil, "class": pupil // 3, "school": pupil // 9})


def crossed() -> tuple[str, pd.DataFrame]:
    """Students crossed with lecturers."""
    rng = np.random.default_rng(4)
    student = np.repeat(np.arange(16), 2)
    lecturer = np.concatenate([rng.choice(8, 2, replace=False) for _ in range(16)])
    return "(1 | student) + (1 | lecturer)", pd.DataFrame({"student": student, "lecturer": lecturer})


def clustered() -> tuple[str, pd.DataFrame]:
    """Students crossed with the teachers of their school."""
    rng = np.random.default_rng(2)
    student = np.repeat(np.arange(15), 2)
    school = student // 5
    teacher = 3 * school + np.concatenate([rng.choice(3, 2, replace=False) for _ in range(15)])
    frame = pd.DataFrame({"student": student, "teacher": teacher, "school": school})
    return "(1 | student) + (1 | teacher) + (1 | school)", frame


def main() -> None:
    """Draw all three."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
    for axis, (terms, frame) in zip(axes, (nested(), crossed(), clustered()), strict=True):
        draw(axis, terms, frame)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


def draw(axis: plt.Axes, terms: str, frame: pd.DataFrame) -> None:
    """Draw one design."""
    columns = frame.rename(columns={"class": "classroom"})
    columns["y"] = np.random.default_rng(1).normal(size=len(columns))
    names = [name for name in columns.columns if name != "y"]
    model = bmm.Model("y ~ 1 + " + " + ".join(f"(1 | {name})" for name in names), columns)
    steps = model.plan.steps
    nodes = [(name, level) for name in steps["group"] for level in sorted(columns[name].unique())]
    batches = steps.loc[steps["how"] == "batch", "group"].tolist()
    n_batch = sum(name in batches for name, _ in nodes)
    data = pattern_of(columns[names], nodes)
    component = connected_components(fill(data, n_batch)[n_batch:, n_batch:], directed=False)[1]
    arranged = [*range(n_batch), *(n_batch + np.argsort(component, kind="stable"))]
    data, filled = (pattern[np.ix_(arranged, arranged)] for pattern in (data, fill(data, n_batch)))
    nodes = [nodes[i] for i in arranged]
    for i in range(len(nodes)):
        for j in range(i + 1):
            if data[i, j]:
                step = batches.index(nodes[j][0]) if j < n_batch else None
                square(axis, j, i, COLOURS[step] if step is not None else DENSE, filled=True)
            elif filled[i, j]:
                square(axis, j, i, DENSE, filled=False)
    start = n_batch
    for size in np.bincount(component) if len(component) else ():
        frame_block(axis, start, size)
        start += size
    axis.set(xlim=(-1, len(nodes)), ylim=(len(nodes), -1), aspect="equal", xticks=[])
    axis.set_title(terms, fontsize=10)
    starts = [next(i for i, node in enumerate(nodes) if node[0] == name) for name in steps["group"]]
    axis.set_yticks(starts, [f"{name} →" for name in steps["group"]])
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def pattern_of(levels: pd.DataFrame, nodes: list[tuple[str, int]]) -> np.ndarray:
    """Pairs of levels that share rows."""
    position = {node: i for i, node in enumerate(nodes)}
    data = np.zeros((len(nodes),) * 2, bool)
    for row in levels.itertuples(index=False):
        places = [position[name, level] for name, level in zip(levels.columns, row, strict=True)]
        data[np.ix_(places, places)] = True
    return data


def fill(data: np.ndarray, n_batch: int) -> np.ndarray:
    """Pattern after the batches: each level joins all that come after it and that it touches."""
    pattern = data.copy()
    for k in range(n_batch):
        later = np.flatnonzero(pattern[:, k] & (np.arange(len(pattern)) > k))
        pattern[np.ix_(later, later)] = True
    return pattern


def square(axis: plt.Axes, x: int, y: int, colour: str, *, filled: bool) -> None:
    """Draw one pair of levels."""
    size = 0.86 if filled else 0.7
    axis.add_patch(
        mpl.patches.Rectangle(
            (x - size / 2, y - size / 2),
            size,
            size,
            facecolor=colour if filled else "none",
            edgecolor=colour,
            linewidth=0.9,
        )
    )


def frame_block(axis: plt.Axes, start: int, size: int) -> None:
    """Frame one dense block."""
    corner = (start - 0.5, start - 0.5)
    axis.add_patch(mpl.patches.Rectangle(corner, size, size, facecolor="none", edgecolor="black", linewidth=1.3))


if __name__ == "__main__":
    main()
