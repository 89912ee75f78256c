"""Simulated animals with their pedigree: a trait that is inherited in part."""

from dataclasses import replace

import numpy as np
import pandas as pd

from bayesmm.datasets import arguments
from bayesmm.datasets.simulation import GroupEffects, Simulation, assemble
from bayesmm.descent import find_inbreeding, sampling_variances
from bayesmm.errors import DatasetError

ANIMAL, SEX = "animal", "sex"


def simulate_pedigree(
    n_sires: int = 5,
    n_dams: int = 20,
    *,
    offspring: int = 3,
    generations: int = 3,
    intercept: float = 20.0,
    sex_effect: float = 2.0,
    animal_sd: float = 1.0,
    sigma: float = 1.5,
    share_observed: float = 1.0,
    response: str = "weight",
    seed: int = 0,
) -> Simulation:
    """Simulate a trait in generations of animals, such as the weight of calves.

    Parameters
    ----------
    n_sires, n_dams : int
        Fathers and mothers of each generation, chosen at random among the animals of the one before.
    offspring : int
        Offspring of each mother.
    generations : int
        Generations after the founders, which have no records.
    intercept, sex_effect : float
        Mean of females, and how much heavier males are.
    animal_sd : float
        Additive genetic standard deviation, of founders.
    sigma : float
        Residual standard deviation.
    share_observed : float
        Chance of each animal to have a record.
    response : str
        Name of the response.
    seed : int
        Equal seeds give equal data.

    Returns
    -------
    Simulation
        Data with the columns ``animal``, ``sex``, ``generation`` and the response, the truth, and the pedigree.

    Raises
    ------
    DatasetError
        If an argument is impossible.

    Notes
    -----
    An animal's breeding value is the mean of its parents' and a Mendelian part of variance σ²(1 − F̄)/2, F̄ the mean
    inbreeding of the parents (Bulmer 1985, The Mathematical Theory of Quantitative Genetics, chapter 9).

    Examples
    --------
    >>> import bayesmm as bmm
    >>> simulation = bmm.datasets.simulate_pedigree(2, 6, generations=2, seed=1)
    >>> simulation.formula
    'weight ~ 1 + sex + (1 | rel(animal, A))'
    >>> len(simulation.data), len(simulation.pedigree)
    (36, 44)
    """
    sires = arguments.count("n_sires", n_sires, at_least=1, at_most=1000)
    dams = arguments.count("n_dams", n_dams, at_least=1, at_most=10_000)
    litter = arguments.count("offspring", offspring, at_least=2, at_most=100)
    times = arguments.count("generations", generations, at_least=1, at_most=100)
    arguments.count("animals", dams * litter * times, at_least=2, at_most=arguments.MOST)
    mean, difference = arguments.number("intercept", intercept), arguments.number("sex_effect", sex_effect)
    sd = arguments.spread("animal_sd", animal_sd)
    residual = arguments.spread("sigma", sigma, positive=True)
    share = arguments.fraction("share_observed", share_observed)
    arguments.name("response", response, taken=(ANIMAL, SEX, "generation", "sire", "dam"))
    rng = np.random.default_rng(arguments.count("seed", seed, at_least=0))

    sire, dam, is_male, generation = _breed(rng, sires, dams, litter, times)
    F, q = find_inbreeding(sire, dam), len(sire)
    values = np.zeros((q + 1, 1))
    own = sd * np.sqrt(sampling_variances(sire, dam, F)) * rng.standard_normal(q)
    for i in range(q):
        values[i] = 0.5 * (values[sire[i]] + values[dam[i]]) + own[i]
    values = values[:q]
    width = len(str(q))
    names = np.array([f"a{number:0{width}d}" for number in range(1, q + 1)], dtype=object)
    kept = np.flatnonzero((generation > 0) & (rng.random(q) < share))
    if len(kept) < 2:
        raise DatasetError(f"share_observed is {share:g}, which leaves {len(kept)} records; give a larger share.")
    y = mean + difference * is_male[kept] + values[kept, 0] + residual * rng.standard_normal(len(kept))
    data = pd.DataFrame(
        {
            ANIMAL: names[kept],
            SEX: np.where(is_male[kept], "male", "female"),
            "generation": generation[kept],
            response: y,
        }
    ).astype({ANIMAL: "str", SEX: "str"})
    parents = np.array([*names, None], dtype=object)
    simulation = assemble(
        data,
        f"{response} ~ 1 + {SEX} + (1 | rel({ANIMAL}, A))",
        coefficients={"Intercept": mean, f"{SEX}[T.male]": difference},
        groups=[
            (
                GroupEffects(
                    group=f"rel({ANIMAL})",
                    levels=names.tolist(),
                    effects=("Intercept",),
                    sds=(sd,),
                    correlation=0.0,
                    values=values,
                ),
                names.tolist(),
            )
        ],
        sigma=residual,
    )
    return replace(simulation, pedigree=pd.DataFrame({ANIMAL: names, "sire": parents[sire], "dam": parents[dam]}))


def _breed(
    rng: np.random.Generator, n_sires: int, n_dams: int, litter: int, generations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fathers, mothers (−1 of founders), sex and generation of each animal, founders first."""
    sire, dam = [np.full(n_sires + n_dams, -1)], [np.full(n_sires + n_dams, -1)]
    is_male = [np.arange(n_sires + n_dams) < n_sires]
    start, total = 0, n_sires + n_dams
    for _ in range(generations):
        males = start + np.flatnonzero(is_male[-1])
        females = start + np.flatnonzero(~is_male[-1])
        fathers = rng.choice(males, min(n_sires, len(males)), replace=False)
        mothers = rng.choice(females, min(n_dams, len(females)), replace=False)
        sire.append(np.repeat(rng.choice(fathers, len(mothers)), litter))
        dam.append(np.repeat(mothers, litter))
        sexes = rng.random(len(mothers) * litter) < 0.5
        sexes[:2] = True, False
        is_male.append(sexes)
        start, total = total, total + len(sexes)
    generation = np.repeat(np.arange(generations + 1), [len(each) for each in sire])
    return np.concatenate(sire), np.concatenate(dam), np.concatenate(is_male), generation
