"""What the Python workers of `sampling.py` do: draw whenever a line asks for it, and leave the draws in a file.

A request is ``draw``, a seed and the path of a CSV file, with tabs between them. Writing the file is not timed. It runs
in the environments of the rivals too, so it needs nothing but pandas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from worker_loop import answer_lines, timed


class Drawn(NamedTuple):
    """What the parent wants of a posterior.

    Attributes
    ----------
    draws : array, shape (chains, draws, m)
        Of the parameters of interest.
    names : list of str
        Their names in the program.
    divergences : int
        Divergent draws.
    share : float
        What a draw is worth in independent ones, apart from autocorrelation; below 1 where weighted draws are repeated,
        in random order, so that autocorrelation does not show it.
    notes : str
        What the program has to say about its draws.
    """

    draws: np.ndarray
    names: list[str]
    divergences: int
    share: float = 1.0
    notes: str = ""


def serve_draws(
    package: str, *, sample: Callable[[dict[str, Any], Any, int], Any], read: Callable[[Any], Drawn]
) -> None:
    """Answer every request by its seconds.

    Parameters
    ----------
    package : str
        Name of the package, for its version.
    sample : callable
        From the task, the data frame and a seed to a posterior; what is timed.
    read : callable
        Takes coefficients, standard deviations, correlations and sigma from a posterior.
    """

    def answer(request: str, task: dict[str, Any], frame: Any) -> dict[str, Any]:
        _, seed, path = request.split("\t")
        seconds, posterior = timed(sample, task, frame, int(seed))
        drawn = read(posterior)
        write_draws(path, drawn)
        answered = {"seconds": seconds, "divergences": drawn.divergences, "share": drawn.share}
        return answered | ({"notes": drawn.notes} if drawn.notes else {})

    answer_lines(package, answer)


def write_draws(path: str, drawn: Drawn) -> None:
    """Write one column a parameter, after those of chain and draw."""
    chains, draws, m = drawn.draws.shape
    table = pd.DataFrame(drawn.draws.reshape(-1, m), columns=drawn.names)
    table.insert(0, "chain", np.repeat(np.arange(chains), draws))
    table.insert(1, "draw", np.tile(np.arange(draws), chains))
    table.to_csv(path, index=False)
