"""Simulated responses as a frame, and the arguments that every way to simulate has."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import check_seed, is_one_of, shorten
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError

type Effects = Literal["redrawn", "kept"]
MOST_NUMBERS = 2**27  # of a result, 1 GB


def check_simulations(n: Any, random: Any, seed: Any, n_rows: int) -> list[np.random.Generator]:
    """Return a stream for each simulation.

    Raises
    ------
    ArgumentError
        If an argument is out of its range.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ArgumentError(f"n is {shorten(n)}: give a whole number of simulations, at least 1.")
    if n * n_rows > MOST_NUMBERS:
        raise ArgumentError(
            f"n is {shorten(n)}: with {n_rows:,} rows that is more than the {MOST_NUMBERS:,} numbers that are drawn at "
            f"once. Ask for at most {max(1, MOST_NUMBERS // n_rows):,}."
        )
    if random is None or not is_one_of(random, ("redrawn", "kept")):
        raise ArgumentError(f"random is {shorten(random)}: give 'redrawn' or 'kept'.")
    return np.random.default_rng(check_seed(seed)).spawn(int(n))


def simulation_frame(drawn: np.ndarray, design: Design) -> pd.DataFrame:
    """Label responses (n, m) by the rows of a design and the numbers of the simulations."""
    return pd.DataFrame(drawn, index=design.rows, columns=pd.RangeIndex(drawn.shape[1], name="simulation"))
