"""What quadrature says of every quantity: the group ``quadrature`` of a DataTree, and the tables read off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import logsumexp, ndtr, ndtri

from bayesmm.bayes.exploring.lattice import Lattice
from bayesmm.bayes.exploring.lines import Scattered, distribution_function
from bayesmm.bayes.exploring.moments import MomentSum, effect_variables
from bayesmm.bayes.exploring.quadrature import (
    COMPARED,
    DEGREES,
    FINER,
    POINTS,
    REACH,
    TOO_MANY,
    Quadrature,
    lattices_along,
    marginal_distribution,
)
from bayesmm.bayes.exploring.surface import Surface
from bayesmm.design.blocks.labels import BlockLabels, Labels, ParameterRow
from bayesmm.design.coordinates import effect_coordinates
from bayesmm.errors import BayesmmError
from bayesmm.presenting.intervals import tails

LEAST_SHARE = 1e-7  # of the integral: nodes that add up to less are left out of what is stored
MOST_NUMBERS = 5_000_000  # conditional means of random effects that are stored, 40 MB
BISECTIONS = 50  # of the search for a quantile, in a range of some twenty standard deviations
FAR = 9.0  # standard deviations about a node's mean that the search looks at
DIFFERENCE = 0.1  # step of differences of a function, in standard deviations at a mode
FINER_LINES = 3  # lattices of lines at most, each finer than the one before,
TWICE = 2.0  # of the difference that half of the lines make is the error, to be on the safe side
LINES_APART = 5e-3  # until limits by half of the lines are as near as this, in standard deviations: all are nearer
SCALES = {  # on which parameters change more evenly along a line
    "sd": (np.log, np.exp),
    "sigma": (np.log, np.exp),
    "cor": (lambda r: np.arctanh(np.clip(r, -1.0 + 1e-15, 1.0 - 1e-15)), np.tanh),
}

Described = dict[str, np.ndarray]


class Summary(NamedTuple):
    """Mean, standard deviation and limits of some quantities, arrays of one shape."""

    mean: np.ndarray
    sd: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def quadrature_group(surface: Surface, quadrature: Quadrature, labels: Labels) -> xr.Dataset:
    """Store the nodes with their weights, and what is known at each.

    Parameters
    ----------
    surface : Surface
        The posterior; describes itself by `bayesmm.bayes.programs.program.MarginalProgram.moments`.
    quadrature : Quadrature
        Its nodes.
    labels : Labels
        The names.

    Returns
    -------
    Dataset
        ``weight`` (node). Conditional moments of what is integrated out: ``beta_mean``, ``beta_sd`` (node, coef),
        ``b_Subject_mean``, ``b_Subject_sd`` (node, Subject, Subject_effect), the latter without nodes, as moments of
        the posterior, where they would be too many numbers. Of the parameters that the nodes are positions of:
        ``mean``, ``sd`` (parameter), and their distributions, ``value`` and ``cumulative`` (parameter, point).
    """
    nodes = _choose_nodes([lattices[0] for lattices in quadrature.lattices])
    weight = nodes.weights
    at_nodes, variables = _describe_nodes(surface, quadrature, nodes.positions, weight, labels)
    coordinates = {dim: values for block in labels.blocks for dim, values in effect_coordinates(block).items()}
    variables["weight"] = (["node"], weight)
    if labels.coefficients:
        variables["beta_mean"] = (["node", "coef"], at_nodes["beta_mean"])
        variables["beta_sd"] = (["node", "coef"], np.sqrt(at_nodes["beta_variance"]))
        coordinates["coef"] = list(labels.coefficients)
    rows = [row for row in labels.parameter_rows() if _is_position(row, at_nodes)]
    at = np.stack([_values(row, at_nodes) for row in rows])  # (r, nodes)
    mean = at @ weight
    sd = np.sqrt((at - mean[:, None]) ** 2 @ weight)
    variables["mean"] = (["parameter"], mean)
    variables["sd"] = (["parameter"], sd)
    tables, error = _distributions(surface, quadrature, rows, sd)
    variables["value"] = (["parameter", "point"], np.stack([values for values, _ in tables]))
    variables["cumulative"] = (["parameter", "point"], np.stack([cumulative for _, cumulative in tables]))
    coordinates["parameter"] = [row.name for row in rows]
    attributes = {
        "log_evidence": quadrature.log_evidence,
        "log_evidence_error": quadrature.log_evidence_error,
        "error": max(quadrature.error, error),
        "nodes": sum(len(each.energies) for lattices in quadrature.lattices for each in lattices),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attributes)


class Nodes(NamedTuple):
    """Nodes of a lattice of each mode, those of little weight left out.

    Attributes
    ----------
    mode : array of int, shape (m,)
        Whose share of the density they are about.
    index : array of int, shape (m, d)
        Places on the lattice.
    positions : array, shape (m, d)
        Where they are.
    weights : array, shape (m,)
        Of sum 1.
    """

    mode: np.ndarray
    index: np.ndarray
    positions: np.ndarray
    weights: np.ndarray


def _choose_nodes(lattices: Sequence[Lattice]) -> Nodes:
    masses = np.array([lattice.log_integral for lattice in lattices])
    shares = np.exp(masses - logsumexp(masses))
    weights = np.concatenate([share * lattice.weights for share, lattice in zip(shares, lattices, strict=True)])
    order = np.argsort(-weights)
    kept = order[: np.searchsorted(np.cumsum(weights[order]), 1.0 - LEAST_SHARE) + 1]
    mode = np.repeat(np.arange(len(lattices)), [len(lattice.energies) for lattice in lattices])
    index = np.concatenate([lattice.index for lattice in lattices])
    positions = np.concatenate([lattice.positions for lattice in lattices])
    return Nodes(mode[kept], index[kept], positions[kept], weights[kept] / weights[kept].sum())


def _describe_nodes(
    surface: Surface, quadrature: Quadrature, positions: np.ndarray, weight: np.ndarray, labels: Labels
) -> tuple[Described, dict[str, tuple[list[str], np.ndarray]]]:
    """Describe nodes part by part; the random effects apart, added up where they would be too many numbers."""
    names = [block.effect_variable for block in labels.blocks]
    n_effects = sum(len(block.levels) * len(block.effects) for block in labels.blocks)
    parts, sums, done = [], {name: MomentSum() for name in names}, 0
    for part in surface.describe(quadrature.modes.place, {"dense": positions}):
        share = weight[done : done + len(next(iter(part.values())))]
        done += len(share)
        if len(positions) * n_effects > MOST_NUMBERS:
            for name, total in sums.items():
                total.add(share, part.pop(f"{name}_mean"), part.pop(f"{name}_variance"))
        parts.append(part)
    at_nodes = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    variables = {}
    for block in labels.blocks:
        name = block.effect_variable
        if f"{name}_mean" in at_nodes:
            variables |= effect_variables(block, at_nodes[f"{name}_mean"], np.sqrt(at_nodes[f"{name}_variance"]))
        else:
            variables |= effect_variables(block, sums[name].mean, sums[name].sd)
    return at_nodes, variables


def _is_position(row: ParameterRow, at_nodes: Mapping[str, np.ndarray]) -> bool:
    """Whether a parameter is fixed by a node: a spread, a correlation, or a coefficient that is not integrated out."""
    return row.kind != "fixed" or not at_nodes["beta_variance"][:, row.index].any()


def _values(row: ParameterRow, described: Mapping[str, np.ndarray]) -> np.ndarray:
    values = described["beta_mean" if row.kind == "fixed" else row.variable]
    return values if row.index is None else values[:, row.index]


Table = tuple[np.ndarray, np.ndarray]  # values, and the probabilities of lying below


def _distributions(
    surface: Surface, quadrature: Quadrature, rows: Sequence[ParameterRow], sds: np.ndarray
) -> tuple[list[Table], float]:
    """Tabulate the distribution of each parameter, and estimate the error of their limits, in standard deviations."""
    origin = quadrature.modes.found[0].position
    d = len(origin)
    around = _read(surface, quadrature, origin + np.vstack([np.zeros(d), np.eye(d)]))
    tables, error = [], 0.0
    for row, sd in zip(rows, sds, strict=True):
        near = _values(row, around)
        moved = np.flatnonzero(near[1:] != near[0])
        if len(moved) == 1:
            table, apart = _along_coordinate(surface, quadrature, row, int(moved[0]))
        else:
            table, apart = _along_lines(surface, quadrature, row, float(sd))
        tables.append(table)
        error = max(error, apart / float(sd))
    return tables, error


def _along_coordinate(surface: Surface, quadrature: Quadrature, row: ParameterRow, c: int) -> tuple[Table, float]:
    """Tabulate a function of one coordinate, and how far splines of two degrees are apart."""
    origin, tables = quadrature.modes.found[0].position, []
    for degree in DEGREES:
        fine, cumulative = marginal_distribution(quadrature.parts(c), c, degree)
        line = np.tile(origin, (len(fine), 1))
        line[:, c] = fine
        along = _values(row, _read(surface, quadrature, line))
        rising = along[-1] >= along[0]
        tables.append((along, cumulative) if rising else (along[::-1], 1.0 - cumulative[::-1]))
    one, other = (np.interp(ndtr(COMPARED), cumulative, values) for values, cumulative in tables)
    return tables[0], float(np.abs(one - other).max())


def _along_lines(surface: Surface, quadrature: Quadrature, row: ParameterRow, sd: float) -> tuple[Table, float]:
    """Tabulate a function of several coordinates, on lattices of its own, made finer until the limits agree."""
    bend, straighten = SCALES.get(row.kind, (np.asarray, np.asarray))

    def function(positions: np.ndarray) -> np.ndarray:
        return bend(_values(row, _read(surface, quadrature, positions)))

    gradients = []
    for mode in quadrature.modes.found:
        steps = DIFFERENCE * np.linalg.cholesky(mode.covariance).T
        near = function(mode.position + np.vstack([steps, -steps]))
        gradients.append(near[: len(steps)] - near[len(steps) :])
    wanted, compared = ndtr(np.linspace(-REACH, REACH, POINTS)), ndtr(COMPARED)
    best: tuple[Table, float] | None = None
    for finer in range(FINER_LINES):
        lattices = lattices_along(surface, quadrature, gradients, quadrature.cell * FINER**finer)
        if lattices is None:
            break
        found = distribution_function(_scatter(lattices, function))
        along = straighten(np.interp(wanted, found.cumulative, found.values))
        limits = np.interp(compared, wanted, along)
        others = (straighten(np.interp(compared, other, found.values)) for other in found.others)
        best = (along, wanted), TWICE * float(max(np.abs(other - limits).max() for other in others))
        if best[1] < LINES_APART * sd:
            break
    if best is None:
        raise BayesmmError(TOO_MANY)
    return best


def _scatter(lattices: Sequence[Lattice], function: Callable[[np.ndarray], np.ndarray]) -> list[Scattered]:
    """Evaluate a function at the nodes of each mode, and half a step further."""
    nodes = _choose_nodes(lattices)
    steps = np.stack([lattice.axes[:, 0] for lattice in lattices])[nodes.mode]
    values, beyond = np.split(function(np.concatenate([nodes.positions, nodes.positions + 0.5 * steps])), 2)
    owned = (nodes.mode == k for k in np.unique(nodes.mode))
    return [Scattered(nodes.index[own], nodes.weights[own], values[own], beyond[own]) for own in owned]


def _read(surface: Surface, quadrature: Quadrature, positions: np.ndarray) -> Described:
    return surface.read(quadrature.modes.place, {"dense": positions})


def summarise_parameters(group: xr.Dataset, labels: Labels, level: float) -> Summary:
    """Summarise the parameters, in the order of the table."""
    probabilities = np.array(tails(level))
    tabulated = group.coords["parameter"].to_numpy().tolist()
    integrated = _mixture(group, "beta", probabilities) if labels.coefficients else None
    rows = []
    for row in labels.parameter_rows():
        if row.name in tabulated:
            own = group.isel(parameter=tabulated.index(row.name))
            # the tails are those of a normal distribution rather than straight: 1e-4 sds better at 2.5 %
            limits = np.interp(ndtri(probabilities), ndtri(own["cumulative"]), own["value"])
            rows.append((float(own["mean"]), float(own["sd"]), *limits))
        else:
            assert integrated is not None
            rows.append(tuple(each[row.index] for each in integrated))
    return Summary(*np.array(rows).T)


def summarise_effects(group: xr.Dataset, block: BlockLabels, level: float) -> Summary | None:
    """Summarise the effects of a grouping factor, shapes (q, k); None where nodes do not have them."""
    if "node" not in group[f"{block.effect_variable}_mean"].dims:
        return None
    return _mixture(group, block.effect_variable, np.array(tails(level)))


def _mixture(group: xr.Dataset, name: str, probabilities: np.ndarray) -> Summary:
    """Summarise mixtures of normals, one normal a node."""
    weight, means, sds = (group[key].to_numpy() for key in ("weight", f"{name}_mean", f"{name}_sd"))
    mean = np.tensordot(weight, means, axes=1)
    sd = np.sqrt(np.tensordot(weight, sds**2 + (means - mean) ** 2, axes=1))
    limits = [_quantile(weight, means, sds, probability) for probability in probabilities]
    return Summary(mean, sd, *limits)


def _quantile(weight: np.ndarray, means: np.ndarray, sds: np.ndarray, probability: float) -> np.ndarray:
    """Find where the distribution function of each mixture is `probability`, by bisection."""
    lower, upper = (means - FAR * sds).min(axis=0), (means + FAR * sds).max(axis=0)
    scale = np.where(sds > 0, sds, np.finfo(float).tiny)
    for _ in range(BISECTIONS):
        middle = 0.5 * (lower + upper)
        with np.errstate(over="ignore"):  # a point mass is on one side or the other: ±∞ is right
            standardised = (middle - means) / scale
        below = np.tensordot(weight, ndtr(standardised), axes=1) < probability
        lower, upper = np.where(below, middle, lower), np.where(below, upper, middle)
    return 0.5 * (lower + upper)
