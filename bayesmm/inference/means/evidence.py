"""What combinations of fixed effects are read from: estimates with their covariance, or draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError
from bayesmm.inference.either import is_posterior
from bayesmm.inference.fitted import Df, Fitted, Information
from bayesmm.inference.fixed.fixed_effects import FixedInference, infer_fixed_effects
from bayesmm.inference.fixed.student import t_quantile, two_sided
from bayesmm.inference.fixed.wald_tests import DEGREES
from bayesmm.inference.means.adjust import Adjust, Family, adjust_tests, say_adjust
from bayesmm.presenting.progress import progress_bar

if TYPE_CHECKING:
    from bayesmm.bayes.results.drawn import DrawnModel

ROUNDING = 1e-12  # part of the sum of absolute terms that a standard error may be without being one


class Evidence(Protocol):
    """Fixed effects of one model, estimated or drawn."""

    @property
    def design(self) -> Design:
        """Data and specification."""
        ...

    @property
    def words(self) -> str:
        """Where the numbers come from."""
        ...

    @property
    def draws(self) -> np.ndarray | None:
        """Draws of the coefficients (chains, draws, p), if there are any."""
        ...

    def tabulate(
        self,
        L: np.ndarray,
        offset: np.ndarray,
        groups: Sequence[slice],
        adjust: Adjust,
        pairs_of: int | None,
        level: float,
    ) -> tuple[dict[str, np.ndarray], str | None]:
        """Columns of a table of Lβ + offset, tests adjusted within groups of rows; how they were adjusted, in words."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Point estimates with whatever says how sure they are.

    Attributes
    ----------
    design : Design
        Data and specification.
    inference : FixedInference
        Coefficients, covariance, degrees of freedom.
    words : str
        Which method that is.
    """

    design: Design
    inference: FixedInference
    words: str

    @property
    def draws(self) -> None:
        """There are none."""
        return None

    def tabulate(
        self,
        L: np.ndarray,
        offset: np.ndarray,
        groups: Sequence[slice],
        adjust: Adjust,
        pairs_of: int | None,
        level: float,
    ) -> tuple[dict[str, np.ndarray], str | None]:
        """Tabulate estimate, std_error, df, statistic, p_value, lower, upper; NaN where L is."""
        of = self.inference
        estimate = L @ of.beta + offset
        error, df = np.full(len(L), np.nan), np.full(len(L), np.nan)
        known = np.isfinite(L).all(axis=1)
        variance = np.einsum("rp,pq,rq->r", L[known], of.covariance, L[known])
        noise = ROUNDING * (np.abs(L[known]) @ np.sqrt(np.diag(of.covariance)))
        error[known] = np.where(variance > noise**2, np.sqrt(np.maximum(variance, 0.0)), 0.0)
        moves = error > 0.0
        df[moves] = of.df(L[moves]) if moves.any() else np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(error > 0.0, estimate / error, np.nan)
        p, reach = two_sided(statistic, df), t_quantile(0.5 + level / 2.0, df)
        said = None
        for group in groups:
            own = np.arange(len(L))[group]
            own = own[(error[own] > 0.0) & ~np.isnan(df[own])]
            family = Family(
                statistic=statistic[own], df=df[own], covariance=L[own] @ of.covariance @ L[own].T, means=pairs_of
            )
            p[own], reach[own] = adjust_tests(adjust, family, level)
            said = said or say_adjust(adjust, family)
        columns = {"estimate": estimate, "std_error": error, "df": df, "statistic": statistic, "p_value": p}
        half = np.where(error > 0.0, reach * error, error)
        return columns | {"lower": estimate - half, "upper": estimate + half}, said


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Draws of the coefficients.

    Attributes
    ----------
    design : Design
        Data and specification.
    draws : array, shape (chains, draws, p)
        Coefficients.
    worth : float or None
        Effective number of draws that are independent, made by importance sampling or quadrature.
    words : str
        How many they are.
    """

    design: Design
    draws: np.ndarray
    worth: float | None
    words: str

    def tabulate(
        self,
        L: np.ndarray,
        offset: np.ndarray,
        groups: Sequence[slice],
        adjust: Adjust,
        pairs_of: int | None,
        level: float,
    ) -> tuple[dict[str, np.ndarray], str | None]:
        """Tabulate mean, sd, lower, upper, r_hat, ess_bulk, ess_tail; NaN where L is."""
        from bayesmm.bayes.results.tables import draw_columns

        if adjust != "none":
            raise ArgumentError(
                f"adjust is {adjust!r}, and a posterior has no p-values to adjust: leave it out, or ask for all rows "
                "together with margins.data."
            )
        known = np.isfinite(L).all(axis=1)
        found = draw_columns(self.draws @ L[known].T + offset[known], level, self.worth)
        columns = {name: np.full(len(L), np.nan) for name in found}
        for name, values in found.items():
            columns[name][known] = values
        return columns, None


def read_evidence(
    result: Fitted | DrawnModel,
    df: Df | None,
    information: Information | None,
    covariance: FixedInference | None,
    progress: bool | None,
) -> Evidence:
    """Read what a fit or a posterior says of the fixed effects.

    Parameters
    ----------
    result : Fit or Posterior
        Either.
    df, information : str, optional
        Degrees of freedom, for a fit: see `bayesmm.fit.Fit.coefficients`; Satterthwaite's by default.
    covariance : FixedInference, optional
        A covariance of another kind with its own degrees of freedom, such as `bayesmm.fit.Fit.robust` makes.
    progress : bool, optional
        Whether to show a progress bar.

    Raises
    ------
    ArgumentError
        If the result is neither, has no fixed effects, or an argument does not go with it.
    """
    given: dict[str, Any] = {"df": df, "information": information, "covariance": covariance}
    is_fit, design = not is_posterior(result), result.design
    if not design.p:
        raise ArgumentError(f"{design.specification.shown!r} has no fixed effects, and so no means of them.")
    if is_fit:
        fit: Any = result
        if covariance is None:
            method = "satterthwaite" if df is None else df
            with progress_bar("working out degrees of freedom", None, progress):
                inference = infer_fixed_effects(fit, method, information)
            return Estimates(design=design, inference=inference, words=DEGREES[method])
        for name in ("df", "information"):
            if given[name] is not None:
                raise ArgumentError(
                    f"{name} is {given[name]!r}, and covariance= brings its own: leave one of them out."
                )
        if np.shape(getattr(covariance, "covariance", ())) != (design.p, design.p):
            raise ArgumentError(
                f"covariance is {shorten(covariance)}: give what fit.robust(...) of the same fit returns."
            )
        kind = getattr(covariance, "kind", None)
        words = (
            "covariance as given" if kind is None else f"cluster-robust covariance {kind} with its degrees of freedom"
        )
        return Estimates(design=design, inference=covariance, words=words)
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(f"{name} is {shorten(value)}, and draws of a posterior need none: leave it out.")
    posterior: Any = result
    beta = posterior.beta
    worth = posterior.data["sample_stats"].attrs.get("effective_draws")
    words = f"posterior: {beta.shape[0]} chain{'s' * (beta.shape[0] > 1)} of {beta.shape[1]} draws"
    return Draws(design=design, draws=beta, worth=worth, words=words)
