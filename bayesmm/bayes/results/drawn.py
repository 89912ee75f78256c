"""What is read off a posterior starts from: the draws, and the model that they are of."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from xarray import DataTree

from bayesmm.bayes.priors.resolution import ResolvedPriors
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design
from bayesmm.problem import Problem


class DrawnModel(Protocol):
    """A model with draws of its parameters, such as a `Posterior`, which is above all that is read off it."""

    @property
    def data(self) -> DataTree:
        """Draws, in groups as ArviZ has them."""
        ...

    @property
    def problem(self) -> Problem:
        """Data and names, with the sums that the likelihood takes."""
        ...

    @property
    def design(self) -> Design:
        """Data and specification."""
        ...

    @property
    def labels(self) -> Labels:
        """Names of everything."""
        ...

    @property
    def priors(self) -> ResolvedPriors:
        """The priors in force."""
        ...

    @property
    def program(self) -> str:
        """Which program was sampled."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or decided on the way."""
        ...

    @property
    def n(self) -> int:
        """Number of rows used."""
        ...

    @property
    def beta(self) -> np.ndarray:
        """Draws of the coefficients, shape (chains, draws, p)."""
        ...

    @property
    def sigma(self) -> np.ndarray:
        """Draws of the residual standard deviation, shape (chains, draws)."""
        ...

    def draws(self, name: str, *, progress: bool | None = None) -> np.ndarray:
        """Draws of one variable, shape (chains, draws, ...)."""
        ...
