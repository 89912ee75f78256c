"""Leave-one-out predictions of rows and of groups, without refits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import jax
import numpy as np
from arviz_stats import ELPDData
from arviz_stats import loo as psis_loo
from scipy.special import ndtr
from xarray import DataArray, Dataset, DataTree

from bayesmm.arguments import is_one_of, shorten
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.program import MarginalData, conditional_prior
from bayesmm.bayes.residual_draws import normal_log_density, residuals_of
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, map_draws, read_draws, stack_draws
from bayesmm.bayes.results.indispensable import refuse_indispensable
from bayesmm.bayes.results.pointwise import pointwise_log_likelihood
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.bayes.results.residual_leave_out import (
    conditional_groups,
    conditional_levels,
    leave_crossing_related,
    leave_groups,
    leave_levels,
    leave_rows,
)
from bayesmm.bayes.results.streamed_leave_out import leave_streamed
from bayesmm.console import listing
from bayesmm.design.blocks.labels import safe_name
from bayesmm.design.coordinates import row_coordinate
from bayesmm.design.predictors import build_predictors
from bayesmm.design.reading.levels import read_levels
from bayesmm.errors import ArgumentError, PredictionError, RowsError
from bayesmm.marginal.in_jax.hosted import HostedProducts, host_products
from bayesmm.marginal.leave_out.leave_out import (
    leave_apart,
    leave_crossed,
    leave_together,
    read_groups,
    read_rows,
)
from bayesmm.marginal.leave_out.left_out import ApartGroups, CrossedGroups, Draw, TogetherGroups
from bayesmm.marginal.leave_out.row_groups import Rows, group_rows, share_levels, single_rows
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.presenting.progress import progress_bar, watched
from bayesmm.rows.scan import scan

type Predictive = Literal["auto", "marginal", "conditional"]
type Groups = TogetherGroups | ApartGroups | CrossedGroups

MOST_NUMBERS = 50_000_000  # draws times rows: 400 MB, of which a few copies are needed
SMOOTHED = 1_000_000  # draws times rows at once, about half a second
ROWS = "row"


def log_likelihood(
    posterior: DrawnModel, of: str, predictive: Predictive, draws: int | None, progress: bool | None, rows: Any = None
) -> DataTree:
    """Pointwise log-likelihoods with the parameters they depend on; see `Posterior.log_likelihood`."""
    if rows is not None and posterior.design.elsewhere is None:
        raise ArgumentError(f"rows is {shorten(rows)}, and the model has its rows in memory: leave rows out.")
    if posterior.design.elsewhere is not None and posterior.design.residual is not None and of != ROWS:
        return _of_groups_elsewhere(posterior, of, predictive, draws, progress, rows)
    dim, groups, coordinate = _left_out(posterior, of)
    predictive = choose_predictive(posterior, predictive, of)
    chosen = read_draws(posterior, draws)
    _check_size(chosen, len(coordinate))
    evaluate = _marginal if predictive == "marginal" else _conditional
    values = evaluate(posterior, chosen, groups, progress)
    return _tree(posterior, chosen, {dim: coordinate}, values, predictive)


def _of_groups_elsewhere(
    posterior: DrawnModel, of: str, wish: Predictive, draws: int | None, progress: bool | None, rows: Any
) -> DataTree:
    """Leave out groups of rows that are not in memory, and whose residuals have a covariance.

    Levels of a grouping factor are left out by sums; groups of the residuals, of which a sum is of many, from the rows.
    """
    design, labels = posterior.design, posterior.labels
    residual, known = design.residual, design.elsewhere
    assert residual is not None
    assert known is not None
    predictive, chosen = choose_predictive(posterior, wish, of), read_draws(posterior, draws)
    for f, (block, names) in enumerate(zip(design.blocks, labels.blocks, strict=True)):
        if not block.is_whole and of in (block.group, f"`{block.group}`"):
            codes = posterior.problem.residual_rows.blocks[f].incidence.only.codes
            present, owner = np.unique(codes, return_inverse=True)
            _check_size(chosen, len(present))
            leave = leave_levels if predictive == "marginal" else conditional_levels
            values = leave(posterior, chosen, owner.reshape(-1), len(present), progress)
            levels = [block.levels[level] for level in present]
            return _tree(posterior, chosen, {names.dim: levels}, values, predictive)
    if not residual.group or of not in (residual.group, f"`{residual.group}`"):
        groups = list(dict.fromkeys([*labels.n_levels, *([residual.group] if residual.group else [])]))
        raise RowsError(
            f"of is {of!r}, and the rows are in {known.where}, not in memory: of these the levels of a grouping factor "
            f"({listing(list(map(repr, groups)))}) are left out here, and rows by loo_rows."
        )
    if rows is None:
        raise RowsError(
            f"Groups by {residual.group!r} are left out from their rows, which are in {known.where}, not in memory: "
            f"give them once more, posterior.loo({of!r}, rows='visits/*.parquet')."
        )
    _check_size(chosen, len(residual.levels))
    values = np.empty((len(chosen.sigma), len(residual.levels)))
    with progress_bar("leaving out groups", posterior.n, progress) as bar:
        for found in leave_streamed(posterior, chosen, scan(rows), predictive, "groups", bar):
            values[:, found.which] = found.values
    return _tree(posterior, chosen, {safe_name(residual.group): list(residual.levels)}, values, predictive)


def loo(
    posterior: DrawnModel, of: str, predictive: Predictive, draws: int | None, progress: bool | None, rows: Any = None
) -> ELPDData:
    """Pareto-smoothed importance sampling leave-one-out; see `Posterior.loo`."""
    return _weigh(log_likelihood(posterior, of, predictive, draws, progress, rows), progress)


def loo_pit(posterior: DrawnModel, draws: int | None, progress: bool | None) -> DataTree:
    """Probability integral transforms of rows given the others; see `Posterior.loo_pit`."""
    chosen = read_draws(posterior, draws)
    dim, _, coordinate = _left_out(posterior, ROWS)
    _check_size(chosen, len(coordinate))
    predictive = choose_predictive(posterior, "auto", ROWS)
    sd, z = (_leave_rows if predictive == "marginal" else _rows_as_drawn)(posterior, chosen, progress)
    tree = _tree(posterior, chosen, {dim: coordinate}, normal_log_density(sd, z), predictive)
    weights = cast(Any, _weigh(tree, progress)).log_weights
    below = DataArray(ndtr(z).reshape(*chosen.shape, -1), dims=("chain", "draw", dim), coords=weights.coords)
    pit = below.weighted(cast(DataArray, np.exp(weights))).mean(["chain", "draw"])
    return DataTree.from_dict({"loo_pit": pit.rename("y").to_dataset()})


def choose_predictive(posterior: DrawnModel, wish: Predictive, of: str) -> Literal["marginal", "conditional"]:
    """Settle what is integrated out where something is left out: by default all that can be.

    Raises
    ------
    ArgumentError
        If the wish is none of the choices.
    PredictionError
        If coefficients and random effects make the residual variance, so that they cannot be integrated out, and that
        is asked for, or groups are left out, whose random effects the draws know from their rows.
    """
    if not is_one_of(wish, ("auto", "marginal", "conditional")):
        raise ArgumentError(f"predictive is {wish!r}: give 'marginal' or 'conditional'.")
    residual = posterior.design.residual
    if wish == "conditional" or residual is None or not residual.growth:
        return "conditional" if wish == "conditional" else "marginal"
    if wish == "marginal" or (of != ROWS and posterior.design.blocks):
        raise PredictionError(
            f"Densities with random effects integrated out are not available with residual="
            f"{residual.specification.text!r}: effects make the residual variance. predictive='conditional' takes "
            "them as drawn, which says little of whole levels: their Pareto k̂ are large."
        )
    return "conditional"


def _weigh(tree: DataTree, progress: bool | None) -> ELPDData:
    """Call ArviZ's `loo`, with its weights made for some of the rows or groups at a time."""
    values = cast(DataArray, tree["log_likelihood"]["y"])
    drawn, dim = ["chain", "draw"], str(values.dims[-1])
    n = values.sizes[dim]
    reff = efficiency(tree["posterior"].to_dataset())
    weights, k = np.empty((n, *values.shape[:2])), np.empty(n)
    size = max(1, SMOOTHED // values[..., 0].size)
    for start in watched(range(0, n, size), "smoothing weights", progress):
        some = slice(start, start + size)
        weights[some], k[some] = smooth_weights(values.isel({dim: some}), reff)
    labels = {dim: values[dim], **{name: values[name] for name in drawn}}
    log_weights = DataArray(weights, dims=(dim, *drawn), coords=labels, name="y")
    pareto_k = DataArray(k, dims=(dim,), coords={dim: values[dim]}, name="y")
    found = psis_loo(tree, var_name="y", pointwise=True, reff=reff, log_weights=log_weights, pareto_k=pareto_k)
    return cast(ELPDData, found)


def smooth_weights(values: DataArray, reff: float) -> tuple[Any, Any]:
    """Call ArviZ's `psislw`; log-likelihoods that no draw changes, where all variances are known, need no smoothing."""
    if np.ptp(values.to_numpy(), axis=(0, 1)).any():
        return values.azstats.psislw(r_eff=reff, dim=["chain", "draw"])
    even = np.full(values.shape[::-1][:1] + values.shape[:2], -np.log(values[..., 0].size))
    return even, np.full(values.shape[-1], -np.inf)


def efficiency(draws: Dataset) -> float:
    """Effective over actual number of draws, as `arviz.loo` takes it: the mean over all parameters."""
    if draws.sizes["chain"] == 1:
        return 1.0
    sizes = draws.azstats.ess(method="mean").data_vars.values()
    return np.hstack([each.to_numpy().ravel() for each in sizes]).mean() / (draws.sizes["chain"] * draws.sizes["draw"])


def _left_out(posterior: DrawnModel, of: str) -> tuple[str, list[np.ndarray] | None, Any]:
    """Dim, rows of each group (None: each row its own), and coordinate of what is left out."""
    design, labels = posterior.design, posterior.labels
    if of == ROWS:
        return "obs", None, row_coordinate(design.rows)
    for block, names in zip(design.blocks, labels.blocks, strict=True):
        if not block.is_whole and of in (block.group, f"`{block.group}`"):
            pairs = zip(block.levels, block.incidence.members(), strict=True)
            kept = [(level, own) for level, own in pairs if len(own)]  # related ones may have no rows
            return names.dim, [own for _, own in kept], [level for level, _ in kept]
    residual = design.residual
    if residual is not None and residual.group and of in (residual.group, f"`{residual.group}`"):
        return safe_name(residual.group), _split(residual.codes, len(residual.levels)), list(residual.levels)
    column = of[1:-1] if isinstance(of, str) and of[:1] == of[-1:] == "`" else of
    if design.elsewhere is None and isinstance(column, str) and column in design.frame:
        levels = read_levels((column,), [design.used.columns[column]], design.n)
        if len(levels.labels) > 1:
            return safe_name(column), _split(levels.codes, len(levels.labels)), list(levels.labels)
    names = [*labels.n_levels, *([residual.group] if residual is not None and residual.group else [])]
    groups = listing([repr(f"`{ROWS}`" if group == ROWS else group) for group in dict.fromkeys(names)])
    raise ArgumentError(
        f"of is {of!r}: give 'row', a grouping factor of the model ({groups}), or another column that it uses."
    )


def _split(codes: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows of each group."""
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=count))[:-1])


def _check_size(draws: ParameterDraws, n_groups: int) -> None:
    numbers = len(draws.sigma) * n_groups
    if numbers > MOST_NUMBERS:
        raise PredictionError(
            f"{len(draws.sigma):,} draws of {n_groups:,} log-likelihoods would be {numbers:,} numbers, more than the "
            f"{MOST_NUMBERS:,} that are kept. Use fewer draws: draws={max(MOST_NUMBERS // n_groups, 1)}."
        )


def _tree(
    posterior: DrawnModel, draws: ParameterDraws, coordinate: dict[str, Any], values: np.ndarray, predictive: Predictive
) -> DataTree:
    """Log-likelihoods for ArviZ, which finds the relative efficiency from the draws that go with them."""
    kept = draws_beside(posterior, draws, predictive)
    likelihood = label_draws(values.reshape(*draws.shape, -1), kept, coordinate)
    return DataTree.from_dict({"posterior": kept, "log_likelihood": likelihood})


def draws_beside(posterior: DrawnModel, draws: ParameterDraws, predictive: Predictive) -> Dataset:
    """Return the draws that log-likelihoods depend on."""
    kept = posterior.data["posterior"].to_dataset().isel(draw=draws.chosen)
    if predictive == "marginal":
        return kept.drop_vars([block.effect_variable for block in posterior.labels.blocks], errors="ignore")
    return kept


def label_draws(values: np.ndarray, beside: Dataset, coordinate: dict[str, Any]) -> Dataset:
    """Name draws of one quantity ``y`` (chains, draws, m) like those beside them."""
    (dim,) = coordinate
    coordinates = {"chain": beside["chain"], "draw": beside["draw"], **coordinate}
    return DataArray(values, dims=("chain", "draw", dim), coords=coordinates, name="y").to_dataset()


def _conditional(
    posterior: DrawnModel, draws: ParameterDraws, groups: list[np.ndarray] | None, progress: bool | None
) -> np.ndarray:
    """Sum log p(y_i | β, b, σ) over the rows of each group; (draws, G)."""
    if groups is not None and posterior.design.residual is not None:
        return conditional_groups(posterior, draws, groups, progress)
    labels = posterior.labels
    names = list(dict.fromkeys(row.variable for row in labels.parameter_rows()))
    sites = {name: posterior.draws(name)[:, draws.chosen] for name in names}
    for block, b in zip(labels.blocks, read_effects(posterior, draws, progress=progress), strict=True):
        sites[block.effect_variable] = b.reshape(*draws.shape, *b.shape[1:])
    limit = draws.shape[0] * draws.shape[1] * posterior.n
    values, _ = pointwise_log_likelihood(sites, posterior.design, limit)
    assert values is not None
    rows = values.reshape(-1, posterior.n)
    if groups is None:
        return rows
    starts = np.cumsum([0, *map(len, groups[:-1])])
    return np.add.reduceat(rows[:, np.concatenate(groups)], starts, axis=1)


def _marginal(
    posterior: DrawnModel, draws: ParameterDraws, groups: list[np.ndarray] | None, progress: bool | None
) -> np.ndarray:
    """Evaluate log p(y_g | y_-g, θ) of each draw and group; (draws, G)."""
    if posterior.design.residual is not None and groups is not None:
        return leave_groups(posterior, draws, groups, progress)
    if groups is None:
        return normal_log_density(*_leave_rows(posterior, draws, progress))
    bound = _bind(posterior)
    refuse_indispensable(posterior.design, bound.rows, groups, bound.data.prior)
    if bound.products.sparse is not None and not share_levels(bound.rows, groups):
        return leave_crossing_related(posterior, draws, groups, bound.data, bound.rows.fixed, progress)
    turned = group_rows(bound.rows, groups, bound.products)
    with progress_bar("leaving out groups", len(draws.sigma), progress) as bar:
        stacked = stack_draws(draws, bound.data.prior)
        return map_draws(_group_densities, (bound.holding(turned), turned), stacked, bar=bar)


def _leave_rows(posterior: DrawnModel, draws: ParameterDraws, progress: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of each row given the others, and its deviation in units of it; (draws, n) each."""
    if posterior.design.residual is not None:
        return leave_rows(posterior, draws, progress)
    bound = _bind(posterior)
    refuse_indispensable(posterior.design, bound.rows, list(np.arange(posterior.n)[:, None]), bound.data.prior)
    groups = single_rows(bound.rows, bound.products)
    with progress_bar("leaving out rows", len(draws.sigma), progress) as bar:
        stacked = stack_draws(draws, bound.data.prior)
        return map_draws(row_deviations, (bound.holding(groups), groups), stacked, bar=bar)


def _rows_as_drawn(
    posterior: DrawnModel, draws: ParameterDraws, progress: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same given coefficients and random effects as drawn, and the other residuals of a row's group."""
    design = posterior.design
    assert draws.residual is not None
    mean = build_predictors(design).mean(draws.beta, read_effects(posterior, draws, progress=progress))
    return residuals_of(design, draws.residual, draws.sigma, mean).rows_given_others(design.y - mean)


@dataclass(frozen=True)
class _Bound:
    """The marginal program's data, and the sums and rows behind them."""

    data: MarginalData
    products: CrossProducts
    rows: Rows

    def holding(self, groups: Groups) -> MarginalData:
        """Return the data; where the host is asked for what is left out, it knows the groups."""
        if not isinstance(self.data.products, HostedProducts):
            return self.data
        assert isinstance(groups, TogetherGroups)
        return self.data._replace(products=host_products(self.products, groups))


def _bind(posterior: DrawnModel) -> _Bound:
    problem = posterior.problem.sparse
    _, data = bind_marginal(problem, posterior.priors)
    products = problem.products if isinstance(data.products, HostedProducts) else data.products
    return _Bound(data, products, problem.conditioned_rows())


@partial(jax.jit, static_argnames="batch")
def row_deviations(data: MarginalData, groups: TogetherGroups, draws: Draw, batch: int) -> Any:
    """Return the standard deviation of each row given the others, and its deviation in units of it; see `map_draws`."""

    def one(draw: Draw) -> Any:
        left = leave_together(data.products, conditional_prior(data, draw.beta), groups, draw)
        return read_rows(left, groups.rows, draw.sigma)

    return jax.lax.map(one, draws, batch_size=batch)


@partial(jax.jit, static_argnames="batch")
def _group_densities(data: MarginalData, groups: Groups, draws: Draw, batch: int) -> Any:
    def one(draw: Draw) -> Any:
        prior, products = conditional_prior(data, draw.beta), data.products
        if isinstance(products, CrossProducts) and isinstance(groups, ApartGroups):
            return leave_apart(products, prior, groups, draw)
        if isinstance(products, CrossProducts) and isinstance(groups, CrossedGroups):
            left = leave_crossed(products, prior, groups, draw)
        else:
            assert isinstance(groups, TogetherGroups)
            left = leave_together(products, prior, groups, draw)
        return read_groups(left, groups.rows, draw.sigma)

    return jax.lax.map(one, draws, batch_size=batch)
