"""Simulated data of pairs: what each sends to each other."""

import numpy as np
import pandas as pd

from bayesmm.datasets import arguments
from bayesmm.datasets.simulation import Simulation, assemble, draw_group
from bayesmm.errors import DatasetError

SENDER, RECEIVER = "sender", "receiver"


def simulate_dyads(
    n_people: int = 20,
    *,
    repeats: int = 1,
    intercept: float = 1.0,
    sender_sd: float = 1.0,
    receiver_sd: float = 0.6,
    correlation: float = 0.5,
    sigma: float = 0.5,
    share_observed: float = 1.0,
    response: str = "log_count",
    seed: int = 0,
) -> Simulation:
    """Simulate what people send to each other, such as the logarithm of the number of messages from i to j.

    Parameters
    ----------
    n_people : int
        Number of people; each is sender and receiver.
    repeats : int
        Observations of each ordered pair.
    intercept : float
        Mean of the response.
    sender_sd, receiver_sd : float
        Standard deviations of the effects of a person as a sender and as a receiver.
    correlation : float
        Of the two effects of a person, from −1 to 1.
    sigma : float
        Residual standard deviation.
    share_observed : float
        Chance of each observation to be there.
    response : str
        Name of the response.
    seed : int
        Equal seeds give equal data.

    Returns
    -------
    Simulation
        Data with the columns ``sender``, ``receiver`` and the response, and the truth.

    Raises
    ------
    DatasetError
        If an argument is impossible.

    Notes
    -----
    y = μ + Aᵢ + Bⱼ + ε for i ≠ j, the social relations model (Warner, Kenny & Stoto 1979, J. Pers. Soc. Psychol. 37)
    without an effect of the pair.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> simulation = bmm.datasets.simulate_dyads(10, correlation=0.8, seed=1)
    >>> simulation.formula
    'log_count ~ 1 + (1 | dyad(sender, receiver))'
    >>> len(simulation.data)
    90
    """
    q = arguments.count("n_people", n_people, at_least=3, at_most=int(arguments.MOST**0.5))
    most = max(arguments.MOST // (q * (q - 1)), 1)
    times = arguments.count("repeats", repeats, at_least=1, at_most=most)
    mean = arguments.number("intercept", intercept)
    sds = (arguments.spread("sender_sd", sender_sd), arguments.spread("receiver_sd", receiver_sd))
    rho = arguments.fraction("correlation", correlation, low=-1.0)
    residual = arguments.spread("sigma", sigma, positive=True)
    share = arguments.fraction("share_observed", share_observed)
    arguments.name("response", response, taken=(SENDER, RECEIVER))
    rng = np.random.default_rng(arguments.count("seed", seed, at_least=0))

    width = len(str(q))
    people = np.array([f"p{number:0{width}d}" for number in range(1, q + 1)], dtype=object)
    drawn = draw_group(
        rng,
        group=f"dyad({SENDER}, {RECEIVER})",
        levels=people.tolist(),
        effects=(SENDER, RECEIVER),
        sds=sds,
        correlation=rho,
    )
    first, second = np.nonzero(~np.eye(q, dtype=bool))
    sender, receiver = np.tile(first, times), np.tile(second, times)
    kept = np.flatnonzero(rng.random(len(sender)) < share)
    if len(kept) < 2:
        raise DatasetError(f"share_observed is {share:g}, which leaves {len(kept)} observations; give a larger share.")
    sender, receiver = sender[kept], receiver[kept]
    y = mean + drawn.values[sender, 0] + drawn.values[receiver, 1] + residual * rng.standard_normal(len(kept))
    data = pd.DataFrame({SENDER: people[sender], RECEIVER: people[receiver], response: y})
    present = people[np.union1d(sender, receiver)].tolist()
    return assemble(
        data.astype({SENDER: "str", RECEIVER: "str"}),
        f"{response} ~ 1 + (1 | {drawn.group})",
        coefficients={"Intercept": mean},
        groups=[(drawn, present)],
        sigma=residual,
    )
