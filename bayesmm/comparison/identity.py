"""REML as a posterior mode: the identity checked in numbers, and what moves the mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.bayes.checks.flat_posterior import FlatPosterior, build_flat_posterior
from bayesmm.bayes.exploring.start import WarmStart, interior_factors
from bayesmm.comparison.flat_modes import FLOOR, FlatModes
from bayesmm.covariance.layout import theta_of
from bayesmm.covariance.public import read_covariance
from bayesmm.covariance.structure import lower_triangular
from bayesmm.errors import ComparisonError
from bayesmm.fit.fit import Fit
from bayesmm.presenting.numbers import write_column
from bayesmm.presenting.parts import Column, Table, Words
from bayesmm.presenting.report import Report

POINTS = 10  # at random around the estimate, beside the estimate and a point without random effects
AROUND = 0.5  # relative width of the cloud of points
ZERO = 1e-3  # of the standard error that a level's own data give: a found mode below this is one at zero
DETOUR = 1.3  # a search starts this far from the estimate, so that what it finds is found
STEPS = 8  # from the mode in standard deviations to that in variances, which another start may miss
SAME_PEAK = 1e-6  # difference of log densities
NOTHING = 1e-12  # of the values: a constant that is only rounding
HEADS = {"REML": "REML", "sd": "in sds", "variance": "in variances", "log": "in logarithms"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Identity:
    """What ties REML to the posterior under flat priors, in numbers; prints as a report.

    Made by `bayesmm.Model.check_identity`.

    Attributes
    ----------
    formula : str
        Of the model.
    points : DataFrame
        One row a point of (θ, φ, σ): ``log_posterior``, evaluated by the NumPyro program in JAX, ``restricted``, the
        restricted log-likelihood in NumPy, and their ``difference``. The first row is the REML estimate, the last has
        no random effects, if the model has some.
    slopes : Series
        Gradient of the log posterior density at the REML estimate, by differences of what the program gives, along the
        entries of θ (on orthonormal columns) and log σ; without units.
    gap : float
        Log posterior density at the peak that a search found, less that at the REML estimate.
    modes : DataFrame
        One row a standard deviation, correlation or σ: ``REML``, and the modes of the same posterior found numerically
        as a density of standard deviations (``sd``), of variances (``variance``) and of logarithms (``log``). A
        standard deviation of zero is a mode on the boundary; a correlation with it is NaN.
    boundary : tuple of str
        Standard deviations that REML puts at zero.
    singular_directions : tuple of str
        Combinations of effects without variance in the REML fit.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> found = model.check_identity()
    >>> bool(found.deviation < 1e-8)
    True
    """

    formula: str
    points: pd.DataFrame
    slopes: pd.Series
    gap: float
    modes: pd.DataFrame
    boundary: tuple[str, ...]
    singular_directions: tuple[str, ...]

    @property
    def constant(self) -> float:
        """The constant by which log posterior density and restricted log-likelihood differ."""
        return float(np.mean(self.points["difference"].to_numpy()))

    @property
    def deviation(self) -> float:
        """Largest departure from that constant."""
        return float(np.abs(self.points["difference"].to_numpy() - self.constant).max())

    @property
    def size(self) -> float:
        """Largest restricted log-likelihood at the points, as an absolute number."""
        return float(np.abs(self.points["restricted"].to_numpy()).max())

    @property
    def largest_slope(self) -> float:
        """Largest entry of the gradient at the REML estimate, as an absolute number."""
        return float(np.abs(self.slopes.to_numpy()).max())

    def __str__(self) -> str:
        return str(build_report(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return build_report(self)._repr_html_()


def check_identity(fit: Fit) -> Identity:
    """Show that REML is the mode of a posterior, and on which scale.

    Parameters
    ----------
    fit : Fit
        A REML fit.

    Returns
    -------
    Identity

    Raises
    ------
    ComparisonError
        If the fit is one of maximum likelihood.
    ArgumentError
        If the residual variance changes with fitted values.
    PriorError
        If flat priors leave the posterior improper.
    """
    if fit.method != "reml":
        raise ComparisonError(
            "The identity is one of REML, and the fit is one of maximum likelihood, which maximises over the "
            "coefficients where a posterior integrates them out. Give model.fit('reml')."
        )
    fit.design.require_one_likelihood("check_identity")
    flat = build_flat_posterior(fit.problem)
    estimate = fit.estimate.coordinates if fit.known_sigma is None else fit.estimate.coordinates[:-1]
    rows = [row for row in fit.labels.parameter_rows() if row.kind != "fixed"]
    reml = fit.parameters["estimate"].loc[[row.name for row in rows]]
    search = FlatModes(fit)
    scales = {"sd": _mode(search, fit, estimate), **_moved_modes(search, estimate)}
    found = {name: _values(flat, search.floors, fit, point) for name, point in scales.items()}
    modes = pd.DataFrame({"REML": reml, **found})
    return Identity(
        formula=fit.design.specification.shown,
        points=_compare_at_points(flat, search, fit, estimate),
        slopes=pd.Series(flat.slopes(estimate), index=_point_names(fit), name="slope"),
        gap=flat.evaluate(scales["sd"]) - flat.evaluate(estimate),
        modes=modes.assign(kind=[row.kind for row in rows]),
        boundary=tuple(row.name for row in rows if row.kind == "sd" and reml[row.name] == 0.0),
        singular_directions=fit.singular_directions,
    )


def _point_names(fit: Fit) -> list[str]:
    """Name the entries of θ as the fit does; it has as many on any columns."""
    block = fit.design.residual
    phi = [] if block is None else [f"phi({name})" for name in (*block.sd_names, *block.cor_names)]
    return [*map(str, fit.theta.index), *phi, *(["log sigma"] if fit.known_sigma is None else [])]


def _compare_at_points(flat: FlatPosterior, search: FlatModes, fit: Fit, estimate: np.ndarray) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n_theta = len(fit.theta)
    size = np.maximum(np.abs(estimate), 2.0 * np.abs(_interior(search, estimate)))  # where the estimate is zero, too
    size[:n_theta] = np.maximum(size[:n_theta], 0.2 * size[:n_theta].max(initial=0.0))
    size[n_theta:] = 1.0
    residual = fit.estimate.residual
    if residual is not None:
        size[n_theta : n_theta + len(residual.phi)] = residual.layout.sizes
    cloud = estimate + AROUND * size * rng.standard_normal((POINTS, len(estimate)))
    none = np.where(np.arange(len(estimate)) < n_theta, 0.0, estimate)
    records = []
    for point in [estimate, *cloud, *([none] if n_theta else [])]:
        psi = point if fit.known_sigma is not None else point[:-1]
        at = search.criterion_at(psi, fit.known_sigma or float(np.exp(point[-1])))
        records.append((flat.evaluate(point), -0.5 * float(at.value)))
    points = pd.DataFrame(records, columns=["log_posterior", "restricted"])
    return points.assign(difference=points["log_posterior"] - points["restricted"])


def _interior(search: FlatModes, estimate: np.ndarray) -> np.ndarray:
    """Move the estimate off the boundary, to where every standard deviation is above zero."""
    fit, at = search.fit, search.fit.estimate
    if not fit.design.blocks:
        return estimate.copy()
    warm = WarmStart(sigma=at.sigma, factors=at.factors, beta=at.beta, beta_covariance=at.beta_covariance)
    factors = [lower_triangular(T @ F) for T, F in zip(search.roots, interior_factors(warm, fit.design), strict=True)]
    theta = theta_of(factors, fit.problem.layout)
    return np.concatenate([theta, estimate[len(theta) :]])


def _mode(search: FlatModes, fit: Fit, estimate: np.ndarray) -> np.ndarray:
    start, t, residual = _interior(search, estimate), len(fit.theta), fit.estimate.residual
    start[:t] *= DETOUR
    if residual is not None:
        start[t : t + len(residual.phi)] += (DETOUR - 1.0) * residual.layout.sizes
    return search.find_mode(start)[0]


def _moved_modes(search: FlatModes, estimate: np.ndarray) -> dict[str, np.ndarray]:
    """Follow the mode from standard deviations to variances, and climb to that in logarithms."""
    point, curvature = search.find_mode(estimate)
    for power in -np.arange(1, STEPS + 1) / STEPS:
        point, curvature = search.find_mode(point, power, curvature)
    logs, _ = search.find_mode(_interior(search, estimate), 1.0)
    return {"variance": point, "log": logs}


def _values(flat: FlatPosterior, limits: tuple[np.ndarray, ...], fit: Fit, point: np.ndarray) -> np.ndarray:
    """Read off standard deviations, correlations and σ at a point, in the order of the table."""
    factors, public, sigma = flat.factors(point)
    values: list[float] = []
    for F, floors, block in zip(factors, limits, fit.labels.blocks, strict=True):
        seen = np.linalg.norm(F, axis=1) >= ZERO / FLOOR * floors * sigma
        F = np.where(seen[:, None], F, 0.0)
        values += np.concatenate(read_covariance(np, F @ F.T, block.pieces)).tolist()
    block = fit.design.residual
    if block is not None:
        spreads, n = np.array(block.are_sds, dtype=bool), len(block.are_sds)
        values += np.where(spreads, sigma * np.exp(public[:n]), public[:n]).tolist() + public[n:].tolist()
    return np.array(values if fit.known_sigma is not None else [*values, sigma])


def build_report(identity: Identity) -> Report:
    """Say what was checked, what was found, and what it means."""
    parts = (
        *_section("The model", _setting(identity)),
        *_section("1. One function", _same_function(identity)),
    )
    if identity.modes.empty:
        peak = iter(("All variances are known: there is no parameter along which a peak could be looked for.",))
        return Report(
            title=f"REML as a posterior mode: {identity.formula}", parts=(*parts, *_section("2. One peak", peak))
        )
    return Report(
        title=f"REML as a posterior mode: {identity.formula}",
        parts=(
            *parts,
            *_section("2. One peak", _same_peak(identity)),
            Words(role="heading", texts=("3. The peak depends on the scale",)),
            _table(identity),
            Words(role="paragraph", texts=(" ".join(_scales(identity)),)),
        ),
    )


def _section(heading: str, sentences: Iterator[str]) -> tuple[Words, Words]:
    return Words(role="heading", texts=(heading,)), Words(role="paragraph", texts=(" ".join(sentences),))


def _setting(identity: Identity) -> Iterator[str]:
    kinds = set(identity.modes["kind"])
    if "sigma" in kinds:
        yield "Flat priors on the coefficients, the standard deviations and sigma."
    else:
        yield "Flat priors on the coefficients and the standard deviations; sigma is known."
    names = [str(name) for name in identity.slopes.index]
    if any(name.startswith("phi(") for name in names):
        yield "Flat ones on exponents and correlations of the residuals, as LKJ(1) is over correlation matrices."
    elif "cor" in kinds:
        yield "LKJ(1), constant over correlation matrices."
    effects = " and the random effects" if any(name.startswith("theta(") for name in names) else ""
    yield f"The coefficients{effects} are integrated out of the posterior."


def _same_function(identity: Identity) -> Iterator[str]:
    size, constant, deviation = identity.size, identity.constant, identity.deviation
    differs = "is" if abs(constant) < NOTHING * size else f"differs by the constant {constant:.6g} from"
    yield (
        f"At {len(identity.points)} points, the REML estimate among them, the log posterior density {differs} the "
        f"restricted log-likelihood, up to {_small(deviation)}."
    )
    yield (
        f"The values are up to {size:.4g} in size, where doubles are {_small(float(np.spacing(size)))} apart. "
        "One is computed by the NumPyro program in JAX, the other by the optimiser's code in NumPy."
    )


def _same_peak(identity: Identity) -> Iterator[str]:
    names = [str(name) for name in identity.slopes.index]
    letters = {"θ": "theta(", "φ": "phi(", "log sigma": "log sigma"}
    *others, last = (letter for letter, begin in letters.items() if any(name.startswith(begin) for name in names))
    entries = f"{', '.join(others)} and {last}" if others else last
    yield f"At the REML estimate the slope of the log posterior density along {entries} is at most"
    yield f"{_small(identity.largest_slope)}."
    if abs(identity.gap) < SAME_PEAK:
        same = _small(abs(identity.gap))
        yield f"A search for the peak, started elsewhere, ends at the same height to within {same}."
    else:
        other = f"{_small(abs(identity.gap))} {'higher' if identity.gap > 0 else 'lower'}"
        yield f"A search for the peak, started elsewhere, ends at another, {other}: the density has more than one."
    if identity.boundary:
        names, are = " and ".join(identity.boundary), "are" if len(identity.boundary) > 1 else "is"
        yield (
            f"The estimate is on the boundary: {names} {are} zero. The density is even in a standard deviation, so its "
            "slope there is zero too; it is a peak because the density falls away from it."
        )
    elif identity.singular_directions:
        yield f"The estimate is on the boundary: {'; '.join(identity.singular_directions)}."


def _small(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _table(identity: Identity) -> Table:
    decimals = [_decimals(row) for row in identity.modes[list(HEADS)].to_numpy(dtype=float)]
    return Table(
        names=[str(name) for name in identity.modes.index],
        columns=[Column(head=head, cells=write_column(identity.modes[name], decimals)) for name, head in HEADS.items()],
        where="identity.modes",
    )


def _decimals(row: np.ndarray) -> int | None:
    """Decimals that show the largest number of a row with five digits."""
    largest = np.nanmax(np.abs(row), initial=0.0)
    decimals = 4 - int(np.floor(np.log10(largest))) if largest > 0 else 4
    return min(max(decimals, 0), 4) if largest > 1e-3 else None


def _scales(identity: Identity) -> Iterator[str]:
    yield (
        "All columns but the first are modes of the same posterior, found numerically. Only the scale on which its "
        "density is taken differs. The mode in standard deviations is REML."
    )
    yield (
        "A density of variances is that of standard deviations divided by 2 sd, which favours small values. Next to "
        "zero it rises without bound; the table has the peak above zero."
    )
    sds = identity.modes.loc[identity.modes["kind"] == "sd"]
    at_zero = [str(name) for name, value in sds["variance"].items() if value == 0.0]
    if at_zero:
        yield f"For {' and '.join(at_zero)} there is none."
    yield (
        "A density of logarithms is that of standard deviations times sd, which favours large values, and it has no "
        "peak at zero. The logarithm of a variance is twice that of the standard deviation, so both have the same mode."
    )
    yield "Probabilities, medians and quantiles do not depend on the scale; modes and means do."
