"""What inference reads of a fit, which is above it."""

from __future__ import annotations

from typing import Literal, Protocol

import pandas as pd

from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design
from bayesmm.errors import FitStatus
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.problem import Problem
from bayesmm.reml.estimate import Estimate, LocalMaximum

type Df = Literal["satterthwaite", "kenward-roger", "residual", "normal"]
type Information = Literal["expected", "observed"]


class Fitted(Protocol):
    """A `bayesmm.fit.Fit`, as what is below it sees it."""

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
    def estimate(self) -> Estimate:
        """Point estimates as arrays."""
        ...

    @property
    def method(self) -> Method:
        """REML or ML."""
        ...

    @property
    def known_sigma(self) -> float | None:
        """Residual standard deviation where it is known."""
        ...

    @property
    def status(self) -> FitStatus:
        """The verdict."""
        ...

    @property
    def convergence(self) -> str:
        """How the search ended."""
        ...

    @property
    def n(self) -> int:
        """Rows used."""
        ...

    @property
    def n_parameters(self) -> int:
        """How many are estimated."""
        ...

    @property
    def loglik(self) -> float:
        """Log-likelihood."""
        ...

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        ...

    @property
    def bic(self) -> float:
        """Schwarz's criterion."""
        ...

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        ...

    @property
    def other_maxima(self) -> tuple[LocalMaximum, ...]:
        """Lower maxima."""
        ...

    @property
    def confounded(self) -> tuple[str, ...]:
        """Factors that share a variance."""
        ...

    @property
    def singular_directions(self) -> tuple[str, ...]:
        """Combinations without variance."""
        ...

    def parameter_table(
        self, *, df: Df = ..., information: Information | None = ..., level: float = ...
    ) -> pd.DataFrame:
        """Tabulate all parameters, with intervals of that probability."""
        ...

    def coefficients(self, *, df: Df = ..., information: Information | None = ..., level: float = ...) -> pd.DataFrame:
        """Tabulate the fixed effects."""
        ...

    def random_effects(self, *, level: float = ...) -> pd.DataFrame:
        """Tabulate the conditional modes."""
        ...

    def coef(self, *, level: float = ...) -> pd.DataFrame:
        """Tabulate the coefficients of each level."""
        ...
