"""New data for a bootstrap: responses drawn from the estimates, resampled effects and residuals, resampled levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.console import listing
from bayesmm.design.blocks.families import find_families
from bayesmm.design.blocks.residual import ResidualBlock
from bayesmm.design.design import Design
from bayesmm.design.related.relation import MOST_LEVELS, AnyRelation, KnownRelation
from bayesmm.errors import ArgumentError
from bayesmm.incidence import Incidence, Membership
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_responses import growth_at, simulate_responses
from bayesmm.marginal.residual.layout import unwhiten
from bayesmm.problem import lay_out_design

type DrawRows = Callable[[Sequence[np.random.Generator]], np.ndarray]
type Columns = Callable[[np.ndarray], np.ndarray]

RANK = 1e-10  # share of the largest eigenvalue that is rounding
FAMILIES = 12  # of related levels, that are resampled


def parametric_rows(fit: Fitted) -> DrawRows:
    """Draw responses (n, m) with new effects and new residuals, normal with the estimated covariances."""
    estimate = fit.estimate

    def draw(streams: Sequence[np.random.Generator]) -> np.ndarray:
        return simulate_responses(
            fit.design, estimate.beta, estimate.factors, estimate.sigma, streams, estimate.residual
        )

    return draw


def residual_rows(fit: Fitted) -> DrawRows:
    """Resample predicted effects and residuals, after they were given the estimated covariances.

    Notes
    -----
    Predicted effects and residuals are shrunken. They are centred and multiplied by the matrix A nearest to one (in the
    sense of optimal transport) that gives them the estimated covariance matrix: ASA = Σ̂ for their covariance matrix S,
    A = S^(−½)(S^½ Σ̂ S^½)^½ S^(−½). Carpenter, Goldstein & Rasbash (2003) take roots of Cholesky, which depend on the
    order of the effects. Levels of each factor, and rows, are resampled on their own; residuals times the roots of
    their weights. Of related levels b = Vv, VV' = A, the independent v are: of animals what each has that its parents'
    mean has not. Residuals with a covariance σ²LL' within groups are multiplied by L⁻¹ before, group by group in the
    order of their positions, and those that are drawn by L.

    References
    ----------
    Carpenter, Goldstein & Rasbash (2003), J. R. Stat. Soc. C 52, 431-443.
    """
    design, sigma = fit.design, fit.sigma
    whiten, unwhiten = _roots_of_residuals(fit)
    fitted = _add_up(fit, [modes[None] for modes in fit.estimate.modes])[:, 0]
    residuals = _reflate(whiten((design.y - fitted)[:, None]), np.array([[sigma**2]]))[:, 0]
    independent = [
        modes if block.relation is None else block.relation.unrelate(modes)
        for block, modes in zip(design.blocks, fit.estimate.modes, strict=True)
    ]
    pools = [_reflate(v, sigma**2 * L @ L.T) for v, L in zip(independent, fit.estimate.factors, strict=True)]

    def draw(streams: Sequence[np.random.Generator]) -> np.ndarray:
        drawn = [np.stack([pool[stream.integers(len(pool), size=len(pool))] for stream in streams]) for pool in pools]
        effects = [block.relate(v) for block, v in zip(design.blocks, drawn, strict=True)]
        noise = np.stack([residuals[stream.integers(design.n, size=design.n)] for stream in streams], axis=1)
        mean = _add_up(fit, effects)
        return mean + unwhiten(noise, mean)

    return draw


def _roots_of_residuals(fit: Fitted) -> tuple[Columns, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Return what makes columns (n, m) of residuals independent, of variance σ², and the way back, given means."""
    residual = fit.estimate.residual
    if residual is None:
        weights = np.sqrt(fit.design.weights)[:, None]
        return (lambda columns: weights * columns), (lambda columns, _: columns / weights)
    own = lay_out_design(fit.design.without_fitted())
    factors = [np.linalg.cholesky(R) for R in own.covariances_of(np, residual.public)]

    def back(columns: np.ndarray, mean: np.ndarray) -> np.ndarray:
        return growth_at(fit.design, residual.public, mean) * unwhiten(own.stacks, factors, columns)

    return residual.whiten, back


def _add_up(fit: Fitted, effects: Sequence[np.ndarray]) -> np.ndarray:
    """Xβ̂ + offset + Zb (n, m) of effects (m, q, k) of each factor; (n, 1) where there are none."""
    design = fit.design
    fixed = design.X[:, design.kept] @ fit.estimate.beta + design.offset
    total = np.tile(fixed, (len(effects[0]) if effects else 1, 1))
    for block, own in zip(design.blocks, effects, strict=True):
        block.incidence.add_to(total, own)
    return total.T


def _reflate(values: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Centre values (q, k) and give them a covariance matrix, as far as they vary at all."""
    values = values - values.mean(axis=0)
    root, back = _roots(values.T @ values / len(values))
    middle, _ = _roots(root @ covariance @ root)
    return values @ (back @ middle @ back)


def _roots(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric root of a matrix, and its generalised inverse."""
    values, vectors = np.linalg.eigh(M)
    seen = values > RANK * max(values[-1], 0.0)
    sizes = np.sqrt(np.where(seen, values, 0.0))
    inverse = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=seen)
    return vectors * sizes @ vectors.T, vectors * inverse @ vectors.T


class LevelSampler:
    """Data sets of levels of one grouping factor, with all their rows, drawn with replacement.

    Parameters
    ----------
    design : Design
        The data.
    group : str, optional
        The factor; by default the one that all others are nested in. Of related levels families are resampled.

    Raises
    ------
    ArgumentError
        If there is no such factor, or others are not nested in it; if families of related levels are few.
    """

    def __init__(self, design: Design, group: str | None) -> None:
        self._design = design
        families = [find_families(block) for block in design.blocks]
        outermost = [
            f for f, block in enumerate(design.blocks) if not block.is_whole and _holds_all(design, families, f)
        ]
        names = [block.group for block in design.blocks]
        if not names and design.residual is not None and design.residual.group:
            names = [design.residual.group]
        if group is not None and group not in names:
            raise ArgumentError(f"group is {group!r}, which is no grouping factor: give one of {listing(names)}.")
        wanted = outermost if group is None else [f for f in outermost if names[f] == group]
        if not wanted and outermost:
            raise ArgumentError(
                f"group is {group!r}, and its levels share rows with levels of factors that are not nested in it: "
                "resampling them would tear apart what belongs together. "
                f"Give {listing([names[f] for f in outermost])}."
            )
        residual = design.residual
        if not design.blocks and residual is not None and residual.group:
            self._outer, self.group, self.n_levels = None, residual.group, len(residual.levels)
            self._codes = residual.codes
            order = np.argsort(residual.codes, kind="stable")
            self._members = np.split(order, np.cumsum(np.bincount(residual.codes))[:-1])
            self._inner = {}
            return
        if not wanted:
            raise ArgumentError(
                f"No grouping factor holds all others ({listing(names)}): where factors are crossed, or a row has "
                "several levels, resampling the levels of one would tear apart what belongs together. "
                "Take kind='parametric' or kind='residual'."
            )
        if design.relations:
            self._outer = None
            self._resample_families(min(wanted, key=lambda f: len(np.unique(families[f]))), families)
            return
        self._outer: int | None = min(wanted, key=lambda f: design.blocks[f].q)
        block = design.blocks[self._outer]
        self.group, self.n_levels = block.group, block.q
        self._codes = block.incidence.memberships[0].codes
        self._members = block.incidence.members()
        self._inner = {g: self._locate(g) for g in range(len(names)) if g != self._outer}

    def _resample_families(self, f: int, families: Sequence[np.ndarray]) -> None:
        """Make families of one factor's levels what is resampled, where levels of some factor are related."""
        block = self._design.blocks[f]
        first, codes = np.unique(families[f][block.incidence.only.codes], return_inverse=True)
        self.n_levels, self._codes = len(first), codes.ravel()
        self.group = block.group
        if self.n_levels < FAMILIES:
            raise ArgumentError(
                f"Cases are resampled as whole sets of levels that the matrices of rel() do not tie to others, and "
                f"there {'is' if self.n_levels == 1 else 'are'} {self.n_levels} of {self.group}: too few to tell how "
                f"data vary, of which {FAMILIES} are the fewest. Take kind='parametric' or kind='residual'."
            )
        large = max((len(each.incidence.levels_present()), each.group) for each in self._design.blocks if each.relation)
        if large[0] > MOST_LEVELS:
            raise ArgumentError(
                f"Cases of related levels are resampled with their matrix, and {large[1]} has {large[0]:,} levels with "
                f"rows, more than {MOST_LEVELS:,}. Take kind='parametric' or kind='residual'."
            )
        order = np.argsort(self._codes, kind="stable")
        self._members = np.split(order, np.cumsum(np.bincount(self._codes))[:-1])
        self._inner = {g: self._locate(g) for g in range(len(self._design.blocks))}

    def _locate(self, g: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Levels of another factor in each level of this one, and the place of each row's levels among them."""
        outer = self._codes
        incidence = self._design.blocks[g].incidence
        holder, place = np.full(incidence.n_levels, -1), np.zeros(incidence.n_levels, int)
        for each in incidence.memberships:
            holder[each.codes] = outer
        order = np.argsort(holder, kind="stable")[(holder < 0).sum() :]  # related ones may have no rows
        counts = np.bincount(holder[order], minlength=self.n_levels)
        own = np.split(order, np.cumsum(counts)[:-1])
        for levels in own:
            place[levels] = np.arange(len(levels))
        return own, [place[each.codes] for each in incidence.memberships]

    def draw(self, chosen: np.ndarray) -> Design:
        """Return the data of some levels, copies of a level as levels of their own."""
        design, blocks = self._design, list(self._design.blocks)
        rows = np.concatenate([self._members[level] for level in chosen])
        copy = np.repeat(np.arange(len(chosen)), [len(self._members[level]) for level in chosen])
        if self._outer is not None:
            outer = blocks[self._outer]
            blocks[self._outer] = replace(
                outer,
                levels=_name_copies([outer.levels[level] for level in chosen]),
                columns=outer.columns[rows],
                incidence=Incidence.single(copy, outer.incidence.memberships[0].columns[rows], len(chosen)),
            )
        for g, (own, places) in self._inner.items():
            block = blocks[g]
            starts = np.concatenate([[0], np.cumsum([len(own[level]) for level in chosen])])
            names = [block.levels[inner] for level in chosen for inner in own[level]]
            memberships = tuple(
                Membership(codes=starts[copy] + place[rows], columns=each.columns[rows])
                for place, each in zip(places, block.incidence.memberships, strict=True)
            )
            blocks[g] = replace(
                block,
                levels=_name_copies(names),
                columns=block.columns[rows],
                incidence=Incidence(memberships=memberships, n_levels=int(starts[-1])),
                relation=_relate_copies(block.relation, [own[level] for level in chosen], names),
            )
        return replace(
            design,
            y=design.y[rows],
            offset=design.offset[rows],
            weights=design.weights[rows],
            X=design.X[rows],
            blocks=tuple(blocks),
            residual=None if design.residual is None else _copy_residual(design.residual, rows, copy),
            rows=design.rows[rows],
            used=design.used.take(rows),
        )


def _copy_residual(block: ResidualBlock, rows: np.ndarray, copy: np.ndarray) -> ResidualBlock:
    """Take the residuals of some rows, groups in different copies of a level apart."""
    spreads = tuple(replace(spread, columns=spread.columns[rows]) for spread in block.spreads)
    if not block.group:
        return replace(block, codes=np.arange(len(rows)), positions=block.positions[rows], spreads=spreads)
    pairs, codes = np.unique(np.column_stack([copy, block.codes[rows]]), axis=0, return_inverse=True)
    levels = _name_copies([block.levels[code] for code in pairs[:, 1]])
    return replace(block, codes=codes.ravel(), levels=levels, positions=block.positions[rows], spreads=spreads)


def _relate_copies(relation: AnyRelation | None, families: Sequence[np.ndarray], names: Sequence[str]) -> Any:
    """Relate the levels (names) of families, those of each as they are, copies of a family not to each other."""
    if relation is None:
        return None
    from scipy.linalg import block_diag  # where levels are related

    levels = _name_copies(names)
    parts = [relation.covariances(*np.ix_(own, own)) for own in families]
    return KnownRelation(levels=levels, covariance=np.asarray(block_diag(*parts)))


def _holds_all(design: Design, families: Sequence[np.ndarray], f: int) -> bool:
    """Whether each row has one level of a factor, and each family of levels of the others is in one family of it."""
    if len(design.blocks[f].incidence.memberships) > 1:
        return False
    outer = families[f][design.blocks[f].incidence.memberships[0].codes]
    for g, block in enumerate(design.blocks):
        if g != f:
            stacked = families[g][block.incidence.stacked().codes]
            pairs = np.unique(stacked * np.int64(design.blocks[f].q) + block.incidence.repeat(outer))
            if len(pairs) > len(np.unique(stacked)):
                return False
    return True


def _name_copies(names: Sequence[str]) -> tuple[str, ...]:
    """Tell the copies of a level apart by numbers, from the second on."""
    seen: Counter[str] = Counter()
    named = []
    for name in names:
        seen[name] += 1
        named.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(named)
