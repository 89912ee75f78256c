"""Sampler diagnostics read into one sentence of advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from xarray import Dataset, DataTree

from bayesmm.bayes.results.tables import FEWEST
from bayesmm.console import fold, visible
from bayesmm.presenting.numbers import write_number
from bayesmm.presenting.parts import Column, Table, notes, warnings
from bayesmm.presenting.report import Report

MOST_R_HAT = 1.01  # Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16
LEAST_ESS = 100  # per chain, same source
LEAST_BFMI = 0.3  # Betancourt (2016), arXiv 1604.00695
FEWEST_TO_LOCATE = 5  # divergences that say where they are
UNSEEN = 0.01  # share of the probability in modes without draws that cannot be passed over
PARTED = 1.1  # R̂ of being in a mode from which on chains stay in their modes rather than move between them


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """How far the draws can be trusted.

    Attributes
    ----------
    chains, draws : int
        Number of chains, and of draws per chain.
    divergences : int
        Trajectories after warm-up that left the posterior: there are regions that the draws may have missed.
    divergent_at : str
        Where they did, "small sd(Intercept | Batch)"; empty if there are too few to tell.
    reached_max_tree_depth : int
        Trajectories after warm-up that were cut short.
    r_hat, r_hat_of : float, str
        Largest R̂, and whose it is.
    ess, ess_of : float, str
        Smallest effective sample size (bulk or tail) of a parameter, and whose it is.
    bfmi : float
        Smallest Bayesian fraction of missing information of a chain.
    energy_of : str
        Where the BFMI is low, the parameter that goes most with the energy; its tails are explored slowly.
    pareto_k : float, optional
        Of importance sampling: shape of the tail of the weights, good below 0.7. The draws of importance sampling and
        quadrature have no trajectories: nothing diverges, and the BFMI is NaN.
    modes : int
        Of the posterior, as far as they were found; ``posterior.data["modes"]`` describes them where there are several.
    unseen : float
        Probability, by Laplace's method, of modes that no draw is in.
    parted : str
        How the chains are parted between modes that they do not leave, "3 and 1"; empty if they move between them.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
    >>> posterior.diagnostics.advice[:17]
    'Independent draws'
    """

    chains: int
    draws: int
    divergences: int
    divergent_at: str
    reached_max_tree_depth: int
    r_hat: float
    r_hat_of: str
    ess: float
    ess_of: str
    bfmi: float
    energy_of: str
    pareto_k: float | None = None
    modes: int = 1
    unseen: float = 0.0
    parted: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing speaks against the draws."""
        return not self._complaints()

    @property
    def advice(self) -> str:
        """What to make of the draws, in one sentence."""
        complaints = self._complaints()
        if complaints:
            found, remedies = zip(*complaints, strict=True)
            return visible(f"{'; '.join(found)}: {', or '.join(dict.fromkeys(remedies))}.")
        if self.pareto_k is not None:
            return (
                f"Independent draws (Pareto k̂ of their weights {write_number(self.pareto_k, 2)}), worth {self.ess:.0f} "
                "of equal weight: they can be used as they are."
            )
        return (
            f"No divergences, every R̂ below {MOST_R_HAT}, at least {self.ess:.0f} effective draws of every parameter: "
            "the draws can be used as they are."
        )

    def _complaints(self) -> list[tuple[str, str]]:
        total = self.chains * self.draws
        complaints = []
        if self.unseen > UNSEEN:
            found = f"no draw is in modes that have {100.0 * self.unseen:.2g} % of the probability"
            complaints.append((found, "run more chains, or use method='importance' or method='quadrature'"))
        if self.parted:
            found = f"chains stay in different modes of the posterior ({self.parted} of {self.chains})"
            complaints.append((found, "use method='importance' or method='quadrature', which weigh the modes"))
        if self.divergences:
            where = f", mostly at {self.divergent_at}" if self.divergent_at else ""
            found = f"{self.divergences} of {total} trajectories diverged{where}"
            complaints.append((found, "raise target_accept towards 0.99, or use program='marginal' or tighter priors"))
        if self.r_hat > MOST_R_HAT and not self.parted:
            complaints.append((f"R̂ of {self.r_hat_of} is {self.r_hat:.3f}", "sample longer (tune and draws)"))
        if self.pareto_k is None and (self.chains < 2 or self.draws < FEWEST):
            complaints.append(
                (f"{self.chains} chain(s) of {self.draws} draws cannot be checked", "run four chains of 1000")
            )
        if self.ess < LEAST_ESS * self.chains and not self.parted:
            found = f"only {self.ess:.0f} effective draws of {self.ess_of}"
            complaints.append((found, "sample longer (tune and draws)"))
        if self.bfmi < LEAST_BFMI:
            found = f"BFMI is {self.bfmi:.2f}: the tails of {self.energy_of} are explored slowly"
            complaints.append((found, f"use another parameterisation or a tighter prior of {self.energy_of}"))
        if self.reached_max_tree_depth:
            found = f"{self.reached_max_tree_depth} of {total} trajectories reached the largest tree depth"
            complaints.append((found, "raise max_tree_depth"))
        return complaints

    def __str__(self) -> str:
        return "\n".join(fold(self.advice, then="  "))

    def _repr_html_(self) -> str:
        return self._report._repr_html_()

    @property
    def _report(self) -> Report:
        rows = self._rows()
        table = Table(
            names=[name for name, _, _ in rows],
            columns=(
                Column(head="value", cells=[value for _, value, _ in rows]),
                Column(head="of", cells=[of for _, _, of in rows], is_words=True),
            ),
        )
        verdict = notes((self.advice,)) if self.is_good else warnings((self.advice,))
        return Report(title="Diagnostics", parts=(verdict, table))

    def _rows(self) -> list[tuple[str, str, str]]:
        """Return what was measured, its value, and whose it is."""
        total = f"{self.chains * self.draws:,} draws"
        rows = [("chains", f"{self.chains}", ""), ("draws", f"{self.draws:,}", "each chain")]
        if self.pareto_k is None:
            where = f", mostly at {self.divergent_at}" if self.divergent_at else ""
            rows += [
                ("divergences", f"{self.divergences:,}", total + where),
                ("largest tree depth reached", f"{self.reached_max_tree_depth:,}", total),
                ("smallest BFMI", write_number(self.bfmi, 2), self.energy_of),
                ("largest R̂", write_number(self.r_hat, 3), self.r_hat_of),
            ]
        else:
            rows.append(("Pareto k̂", write_number(self.pareto_k, 2), "the weights"))
        rows.append(("smallest effective number of draws", write_number(self.ess, 0), self.ess_of))
        if self.modes > 1:
            rows.append(("modes", f"{self.modes}", "the posterior"))
        return rows


def diagnose(
    data: DataTree, parameters: pd.DataFrame, draws: np.ndarray, effects: tuple[float, str] = (1.0, "")
) -> Diagnostics:
    """Read the diagnostics of a posterior.

    Parameters
    ----------
    data : DataTree
        With its sampler statistics.
    parameters : DataFrame
        The parameter table, with r_hat, ess_bulk and ess_tail.
    draws : array, shape (chains, draws, m)
        Of the rows of that table.
    effects : (float, str)
        Largest R̂ of the random effects, and whose it is; effects drawn from their exact conditional need none.

    Returns
    -------
    Diagnostics
    """
    stats = data["sample_stats"].to_dataset()
    r_hat, r_hat_of = _extreme(parameters["r_hat"], largest=True)
    if effects[0] > r_hat:
        r_hat, r_hat_of = effects
    ess, ess_of = _extreme(parameters[["ess_bulk", "ess_tail"]].min(axis=1), largest=False)
    if "effective_draws" in stats.attrs:  # the same for all
        ess_of = "every parameter"
    names, bfmi = parameters.index.tolist(), _least_bfmi(stats)
    shares = data["modes"]["share"].to_numpy() if "modes" in data.children else np.ones(1)
    inside = _inside(stats, len(shares))
    return Diagnostics(
        chains=draws.shape[0],
        draws=draws.shape[1],
        divergences=_count(stats, "diverging"),
        divergent_at=_typical(stats, draws, names),
        reached_max_tree_depth=_count(stats, "reached_max_tree_depth"),
        r_hat=r_hat,
        r_hat_of=r_hat_of,
        ess=ess,
        ess_of=ess_of,
        bfmi=bfmi,
        energy_of=_follows_energy(stats, draws, names) if bfmi < LEAST_BFMI else "",
        pareto_k=stats.attrs.get("pareto_k"),
        modes=len(shares),
        unseen=float(shares[~inside.any(axis=(1, 2))].sum()),
        parted=_parted(inside),
    )


def _inside(stats: Dataset, modes: int) -> np.ndarray:
    """Whether each draw is in each mode, shape (modes, chains, draws)."""
    if modes == 1:
        return np.ones((1, *stats["lp"].shape), dtype=bool)
    return stats["mode"].to_numpy() == np.arange(modes)[:, None, None]


def _parted(inside: np.ndarray) -> str:
    """Count the chains by the mode they are mostly in, if they do not move between modes."""
    often = inside.mean(axis=2)  # (modes, chains)
    between = often.var(axis=1, ddof=1) if often.shape[1] > 1 else np.zeros(len(often))
    within = (often * (1.0 - often)).mean(axis=1)
    if (between <= (PARTED**2 - 1.0) * within).all():
        return ""
    counts = np.bincount(often.argmax(axis=0), minlength=len(often))
    return " and ".join(str(count) for count in counts if count)


def _count(stats: Dataset, name: str) -> int:
    return int(stats[name].to_numpy().sum()) if name in stats else 0


def _least_bfmi(stats: Dataset) -> float:
    if "energy" not in stats:
        return np.nan
    energy = stats["energy"].to_numpy()
    changes = (np.diff(energy, axis=1) ** 2).mean(axis=1) if energy.shape[1] > 1 else np.full(len(energy), np.inf)
    return float((changes / np.maximum(energy.var(axis=1), np.finfo(float).tiny)).min())


def _typical(stats: Dataset, draws: np.ndarray, names: list[str]) -> str:
    """Say which parameter is most unusual where trajectories diverge, and which way."""
    if _count(stats, "diverging") < FEWEST_TO_LOCATE:
        return ""
    ranks = _ranks(draws)[stats["diverging"].to_numpy().ravel()].mean(axis=0)
    j = int(np.abs(ranks - 0.5).argmax())
    return f"{'small' if ranks[j] < 0.5 else 'large'} {names[j]}"


def _follows_energy(stats: Dataset, draws: np.ndarray, names: list[str]) -> str:
    energy = rankdata(stats["energy"].to_numpy().ravel())
    distances = np.abs(_ranks(draws) - 0.5)  # energy is high in either tail
    spread = distances.std(axis=0)
    together = ((energy - energy.mean())[:, None] * (distances - distances.mean(axis=0))).mean(axis=0)
    return names[int((together / np.where(spread > 0, spread, np.inf)).argmax())]


def _ranks(draws: np.ndarray) -> np.ndarray:
    """Ranks of all draws of each parameter, between 0 and 1; shape (chains × draws, m)."""
    flat = draws.reshape(-1, draws.shape[-1])
    return rankdata(flat, axis=0) / (len(flat) + 1)


def _extreme(values: Any, *, largest: bool) -> tuple[float, str]:
    known: pd.Series = values.dropna()
    if known.empty:
        return (1.0, "") if largest else (np.inf, "")
    name = known.idxmax() if largest else known.idxmin()
    return float(known.max() if largest else known.min()), str(name)
