"""What the figures of a comparison show beside its table: densities of draws, and intervals of a profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.bayes.densities import densities_by_name
from bayesmm.bayes.results.tables import stack_parameters
from bayesmm.console import listing
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.inference.profile.profile import Profile, build_profile

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit
    from bayesmm.plots.densities import Density


def densities_of_draws(posterior: Posterior) -> Mapping[str, Density]:
    """Density of each parameter, by its row in the table."""
    rows = posterior.labels.parameter_rows()
    draws = stack_parameters(posterior.data, posterior.labels)
    return densities_by_name([row.name for row in rows], [row.kind for row in rows], draws)


def profile_intervals(fit: Fit, profile: Profile | bool, level: float) -> pd.DataFrame | None:
    """Tabulate the intervals of a profile that was given, or that is to be made; None if none is wanted."""
    if profile is False:
        return None
    if profile is True:
        return build_profile(fit, None, level=level, progress=None).intervals(level)
    if not isinstance(profile, Profile):
        raise ArgumentError(
            f"profile is {shorten(profile)}: give a profile of the same fit, from fit.profile(), or True to make one."
        )
    other = profile.fit
    same = other.labels == fit.labels and other.method == fit.method and other.design.has_response_of(fit.design)
    if not same or not np.isclose(other.loglik, fit.loglik, rtol=1e-9):
        raise ComparisonError(
            "The profile is of another fit than the comparison. Give the profile of comparison.fit, "
            "comparison.plot(profile=comparison.fit.profile()), or profile=True."
        )
    return profile.intervals(level)


def choose_parameters(table: pd.DataFrame, parameters: str | Sequence[str] | None) -> pd.DataFrame:
    """Rows of a table by their names, in the order of the table; all if none are given."""
    if parameters is None:
        return table
    asked = [parameters] if isinstance(parameters, str) else parameters
    if not isinstance(asked, Iterable):
        raise ArgumentError(f"parameters is {shorten(parameters)}: give a name or several, such as 'sigma'.")
    asked, known = list(asked), list(map(str, table.index))
    for name in asked:
        if not isinstance(name, str) or name not in known:
            raise ArgumentError(
                f"parameters has {shorten(name)}, which is no parameter of the model: give some of {listing(known)}."
            )
    if not asked:
        raise ArgumentError(f"parameters is empty: give some of {listing(known)}.")
    return table.loc[[name for name in known if name in asked]]


def stack_intervals(table: pd.DataFrame, profile: pd.DataFrame | None, method: str) -> pd.DataFrame:
    """Stack what there is of each parameter: parameter, source, value, lower, upper."""
    sources = {method: ("estimate", "fit_lower", "fit_upper")}
    if profile is not None:
        table = table.join(profile[["lower", "upper"]].add_prefix("profile_"))
        sources["profile"] = ("estimate", "profile_lower", "profile_upper")
    if "bootstrap_lower" in table:
        sources["bootstrap"] = ("estimate", "bootstrap_lower", "bootstrap_upper")
    sources["posterior"] = ("mean", "posterior_lower", "posterior_upper")
    parts = [
        table[list(columns)]
        .set_axis(["value", "lower", "upper"], axis=1)
        .assign(parameter=list(table.index), source=source)
        for source, columns in sources.items()
    ]
    return pd.concat(parts, ignore_index=True).reindex(columns=["parameter", "source", "value", "lower", "upper"])
