"""What every structure of the table must satisfy, each held to its covariance matrix as textbooks write it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq

from bayesmm.covariance.layout import Piece, held_theta, piece_factor, scale_theta, theta_of
from bayesmm.covariance.public import (
    assemble_correlation,
    assemble_covariance,
    effect_sds,
    free_sds,
    read_covariance,
)
from bayesmm.covariance.structure import Structure, lower_triangular
from bayesmm.covariance.table import HOMOGENEOUS, STRUCTURES
from bayesmm.covariance.tangents import jacobians, tangents

Textbook = Callable[[np.ndarray, np.ndarray, int, int], float]

SIZES = (1, 2, 3, 5)
MORE_SIZES = {"kron": (4, 6)}  # products of factors
CASES = [
    pytest.param(name, k, id=f"{name}-{k}")
    for name, k in [*product(STRUCTURES, SIZES), *((name, k) for name, sizes in MORE_SIZES.items() for k in sizes)]
    if k >= STRUCTURES[name].fewest_effects
]
ROUNDING = 1e-12
FIRST = 1e-6  # central differences with a step of 1e-5, relative to the largest entry
SECOND = 1e-5  # the same of differences of first derivatives, and of the complex steps that second ones are made of


def _pair(i: int, j: int) -> int:
    """Number of the pair of effects among (0, 1), (0, 2), (1, 2), ..."""
    low, high = sorted((i, j))
    return high * (high - 1) // 2 + low


# Σ_ij from the free standard deviations s and correlations r, entry by entry.
TEXTBOOK: dict[str, Textbook] = {
    "us": lambda s, r, i, j: s[i] ** 2 if i == j else r[_pair(i, j)] * s[i] * s[j],
    "diag": lambda s, r, i, j: s[i] ** 2 * (i == j),
    "homdiag": lambda s, r, i, j: s[0] ** 2 * (i == j),
    "cs": lambda s, r, i, j: s[i] * s[j] * (1.0 if i == j else r[0]),
    "homcs": lambda s, r, i, j: s[0] ** 2 * (1.0 if i == j else r[0]),
    "ar1": lambda s, r, i, j: s[0] ** 2 * r[0] ** abs(i - j),
    "hetar1": lambda s, r, i, j: s[i] * s[j] * r[0] ** abs(i - j),
    "exp": lambda s, r, i, j: s[0] ** 2 * r[0] ** abs(i - j),
    "hetexp": lambda s, r, i, j: s[i] * s[j] * r[0] ** abs(i - j),
    "ou": lambda s, r, i, j: s[0] ** 2 * r[0] ** abs(i - j),
    "toep": lambda s, r, i, j: s[i] * s[j] * (1.0 if i == j else r[abs(i - j) - 1]),
    "homtoep": lambda s, r, i, j: s[0] ** 2 * (1.0 if i == j else r[abs(i - j) - 1]),
    "gau": lambda s, r, i, j: s[0] ** 2 * r[0] ** (i - j) ** 2,
    "ratio": lambda s, r, i, j: s[0] ** 2 * (1.0 if i == j else r[0] / (r[0] + (1.0 - r[0]) * (i - j) ** 2)),
    "sph": lambda s, r, i, j: s[0] ** 2 * _spherical(abs(i - j) * 2.0 * np.sin(np.arcsin(1.0 - r[0]) / 3.0)),
    "lin": lambda s, r, i, j: s[0] ** 2 * max(0.0, 1.0 - abs(i - j) * (1.0 - r[0])),
    "mat": lambda s, r, i, j: s[0] ** 2 * _matern(r[0], abs(i - j)),
    "propto": lambda s, r, i, j: s[0] ** 2 * (i == j),
    "equalto": lambda s, r, i, j: float(i == j),
    "kron": lambda s, r, i, j: _separable(s, r, i, j, 2 if len(s) > 1 else 99),
    "rr": lambda s, r, i, j: s[i] ** 2 if i == j else r[_pair(i, j)] * s[i] * s[j],
    "fa": lambda s, r, i, j: s[i] ** 2 if i == j else r[_pair(i, j)] * s[i] * s[j],
}


def _separable(s: np.ndarray, r: np.ndarray, i: int, j: int, k2: int) -> float:
    """Unstructured ⊗ AR(1): the last correlation is that of the latter."""
    (a, t), (b, u) = divmod(i, k2), divmod(j, k2)
    return s[a] * s[b] * (1.0 if a == b else r[_pair(a, b)]) * r[-1] ** abs(t - u)


def _spherical(h: float) -> float:
    """Of a distance over the range."""
    return 1.0 - 1.5 * h + 0.5 * h**3 if h < 1.0 else 0.0


def _matern(rho: float, h: int) -> float:
    """(1 + ah)exp(−ah), with a such that it is ρ at h = 1."""
    if h == 0 or rho >= 1.0 or rho <= 0.0:
        return float(h == 0 or rho >= 1.0)
    a = brentq(lambda a: np.log1p(a) - a - np.log(rho), 0.0, 10.0 - 2.0 * np.log(rho), xtol=1e-15, rtol=1e-15)
    return (1.0 + a * h) * np.exp(-a * h)


def has_positive_correlation(structure: Structure, k: int) -> bool:
    """Whether the one correlation ends at zero, where effects are independent."""
    return structure.correlations == "one" and structure.limits(k)[0] == 0.0


def name_of(structure: Structure) -> str:
    return next(name for name, other in STRUCTURES.items() if other == structure)


def textbook(name: str, sd: np.ndarray, cor: np.ndarray, k: int) -> np.ndarray:
    return np.array([[TEXTBOOK[name](sd, cor, i, j) for j in range(k)] for i in range(k)])


def pieces_of(name: str, k: int) -> tuple[Piece, ...]:
    return (Piece(0, k, STRUCTURES[name]),)


def random_public(structure: Structure, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Free standard deviations, and correlations strictly inside their limits."""
    rng = np.random.default_rng(seed)
    sd = rng.uniform(0.3, 3.0, structure.n_sds(k))
    if structure.correlations in ("matrix", "rank"):
        if name_of(structure) == "fa":
            A = np.hstack([rng.normal(size=(k, 1)), np.diag(rng.uniform(0.3, 1.0, k))])
        else:
            A = rng.normal(size=(k, k + 2 if structure.correlations == "matrix" else structure.rank(k)))
        C = A @ A.T
        R = C / np.sqrt(np.outer(np.diag(C), np.diag(C)))
        return sd, np.array([R[i, j] for j in range(k) for i in range(j)])
    low, high = structure.limits(k) if k > 1 else (-1.0, 1.0)
    cor = rng.uniform(0.9 * low, 0.9 * high, structure.n_cors(k))
    if structure.correlations == "several":  # inside together
        R = textbook(name_of(structure), np.ones(structure.n_sds(k)), cor, k)
        cor *= min(1.0, 0.9 / max(1e-9, 1.0 - np.linalg.eigvalsh(R)[0]))
    return sd, cor


def random_theta(name: str, k: int, seed: int) -> np.ndarray:
    structure = STRUCTURES[name]
    return structure.start(k) + np.random.default_rng(seed).uniform(-0.6, 0.6, structure.n_theta(k))


def special_thetas(name: str, k: int) -> list[np.ndarray]:
    """θ in the midst, of either sign, with each entry zero, all zero, and each where its correlation is at a limit."""
    structure, inside = STRUCTURES[name], random_theta(name, k, seed=3)
    found = [inside, -inside, np.zeros_like(inside)]
    for at in range(len(inside)):
        found.append(np.where(np.arange(len(inside)) == at, 0.0, inside))
    if structure.correlations in ("one", "several"):
        m = structure.n_sds(k)
        for at in range(m, len(inside)):
            end = np.where(np.arange(len(inside)) == at, np.pi / 2, inside)
            found += [end, np.append(0.0 * end[:m], end[m:])]
    return found


def test_every_structure_of_the_table_has_a_textbook_here() -> None:
    assert set(TEXTBOOK) == set(STRUCTURES)
    assert {name for forms in HOMOGENEOUS.values() for name in forms.values()} <= set(STRUCTURES)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_factor_is_lower_triangular_and_gives_the_textbook_covariance(name, k) -> None:
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    start = piece_factor(np, structure.start(k), pieces[0])
    assert np.linalg.matrix_rank(start) == structure.rank(k)
    if structure.rank(k) == k:
        np.testing.assert_allclose(start, np.eye(k), atol=ROUNDING)
    for theta in special_thetas(name, k):
        L = piece_factor(np, theta, pieces[0])
        np.testing.assert_array_equal(L, np.tril(L))
        sd, cor = read_covariance(np, L @ L.T, pieces)
        assert sd.shape == (structure.n_sds(k),)
        assert cor.shape == (structure.n_cors(k),)
        np.testing.assert_allclose(L @ L.T, textbook(name, sd, np.nan_to_num(cor), k), atol=1e-10)
        low, high = structure.limits(k) if k > 1 else (-1.0, 1.0)
        known = cor[~np.isnan(cor)]
        assert ((known >= low - 1e-10) & (known <= high + 1e-10)).all()


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return lower_triangular(vectors * np.sqrt(np.maximum(values, 0.0)))


@pytest.mark.parametrize(("name", "k"), CASES)
def test_free_numbers_and_covariance_are_inverses(name, k) -> None:
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    for seed in range(5):
        sd, cor = random_public(structure, k, seed)
        covariance = assemble_covariance(np, sd, cor, pieces)
        np.testing.assert_allclose(covariance, textbook(name, sd, cor, k), atol=ROUNDING)
        np.testing.assert_allclose(
            assemble_correlation(np, cor, pieces), textbook(name, np.ones_like(sd), cor, k), atol=ROUNDING
        )
        back_sd, back_cor = read_covariance(np, covariance, pieces)
        np.testing.assert_allclose(back_sd, sd, rtol=1e-12)
        np.testing.assert_allclose(back_cor, cor, atol=1e-12)
        sds = effect_sds(np, sd, pieces)
        np.testing.assert_allclose(sds, np.sqrt(np.diag(covariance)), rtol=1e-12)
        np.testing.assert_allclose(free_sds(np, sds, pieces), sd, rtol=1e-12)
        theta = theta_of([_root(covariance)], (pieces,))
        L = piece_factor(np, theta, pieces[0])
        np.testing.assert_allclose(L @ L.T, covariance, atol=1e-10)
        if structure.invariance != "none":
            larger = piece_factor(np, scale_theta(theta, 2.5, (pieces,)), pieces[0])
            np.testing.assert_allclose(larger, 2.5 * L, atol=1e-10)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_many_draws_at_once_are_each_by_itself(name, k) -> None:
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    draws = [random_public(structure, k, seed) for seed in range(6)]
    sd, cor = (np.array(part).reshape(2, 3, -1) for part in zip(*draws, strict=True))
    together = assemble_covariance(np, sd, cor, pieces)
    assert together.shape == (2, 3, k, k)
    for at, (one_sd, one_cor) in zip(np.ndindex(2, 3), draws, strict=True):
        np.testing.assert_allclose(together[at], assemble_covariance(np, one_sd, one_cor, pieces), atol=ROUNDING)
    back_sd, back_cor = read_covariance(np, together, pieces)
    np.testing.assert_allclose(back_sd, sd, rtol=1e-12)
    np.testing.assert_allclose(back_cor, cor, atol=1e-12)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_nearest_keeps_the_matrices_on_the_boundary(name, k) -> None:
    piece = pieces_of(name, k)[0]
    for theta in special_thetas(name, k):
        L = piece_factor(np, theta, piece)
        near = piece_factor(np, piece.structure.nearest(lower_triangular(L)), piece)
        if not np.diag(L @ L.T).any() or (np.diag(L @ L.T) > 0.0).all() or piece.structure.is_divisible:
            np.testing.assert_allclose(near @ near.T, L @ L.T, atol=1e-7)  # a limit of a correlation, by its angle
        else:  # the correlation is read off the pairs that vary
            np.testing.assert_allclose(np.diag(near @ near.T), np.diag(L @ L.T), atol=1e-10)


def _differences(function: Callable[[np.ndarray], np.ndarray], theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    found = [(function(theta + e) - function(theta - e)) / (2.0 * step) for e in step * np.eye(len(theta))]
    return np.reshape(found, (len(theta), *np.shape(function(theta))))  # which may be none


@pytest.mark.parametrize(("name", "k"), CASES)
def test_tangents_equal_differences_everywhere(name, k) -> None:
    pieces = pieces_of(name, k)
    rng = np.random.default_rng(k)
    G, r = rng.normal(size=(k, k)), rng.normal(size=(k, 4))
    G = G + G.T

    def covariance(theta: np.ndarray) -> np.ndarray:
        L = piece_factor(np, theta, pieces[0])
        return L @ L.T

    def gradient(theta: np.ndarray) -> np.ndarray:
        L = piece_factor(np, theta, pieces[0])
        return 2.0 * tangents(np, theta, (pieces,))[0].along(G @ L)

    for theta in special_thetas(name, k):
        L, tangent = piece_factor(np, theta, pieces[0]), tangents(np, theta, (pieces,))[0]
        first = _differences(lambda t: np.array((G * covariance(t)).sum()), theta)
        size = max(1.0, np.abs(first).max(initial=0.0))
        np.testing.assert_allclose(gradient(theta), first, atol=FIRST * size)
        bend = tangent.bend(G, G @ L)
        np.testing.assert_allclose(
            bend, _differences(gradient, theta), atol=SECOND * max(1.0, np.abs(bend).max(initial=0.0))
        )
        np.testing.assert_allclose(bend, bend.T, atol=ROUNDING * max(1.0, np.abs(bend).max(initial=0.0)))
        moved = _differences(covariance, theta) @ r  # (t, k, 4)
        np.testing.assert_allclose(tangent.move(np, L, r), moved.swapaxes(0, 1), atol=FIRST * 10.0)
        found = jacobians(np, theta, (pieces,))[0]
        half = found @ L.T
        np.testing.assert_allclose(half + half.swapaxes(1, 2), _differences(covariance, theta), atol=FIRST * 10.0)
        if name not in (
            "fa",
            "sph",
            "lin",
        ):  # whose factor is turned; whose own part of 10⁻¹²k shows next to a right angle
            slopes = _differences(lambda t: piece_factor(np, t, pieces[0]), theta)
            np.testing.assert_allclose(found, slopes, atol=FIRST * 10.0)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_factor_is_analytic(name, k) -> None:
    """A complex step gives the derivative to the last digit: standard errors are made of such steps."""
    piece = pieces_of(name, k)[0]
    theta = random_theta(name, k, seed=8)
    for at, exact in enumerate(jacobians(np, theta, ((piece,),))[0]):
        moved = theta + 1e-30j * (np.arange(len(theta)) == at)
        np.testing.assert_allclose(piece_factor(np, moved, piece).imag / 1e-30, exact, atol=1e-12)


@pytest.mark.parametrize(("name", "k"), [case for case in CASES if case.values[1] in (2, 3)])  # type: ignore[operator]
def test_numpy_and_jax_agree(name, k) -> None:
    from bayesmm.inside_jax import inside_jax

    jnp = pytest.importorskip("jax.numpy")
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    sd, cor = random_public(structure, k, seed=1)
    G = np.add.outer(np.arange(k), np.arange(k)) + np.eye(k)
    with inside_jax():
        covariance = assemble_covariance(jnp, jnp.asarray(sd), jnp.asarray(cor), pieces)
        np.testing.assert_allclose(covariance, assemble_covariance(np, sd, cor, pieces), atol=ROUNDING)
        found = read_covariance(jnp, covariance, pieces)
        for one, other in zip(found, (sd, cor), strict=True):
            np.testing.assert_allclose(one, other, atol=ROUNDING)
        for theta in special_thetas(name, k):
            L = piece_factor(np, theta, pieces[0])
            np.testing.assert_allclose(piece_factor(jnp, jnp.asarray(theta), pieces[0]), L, atol=ROUNDING)
            there, here = tangents(jnp, jnp.asarray(theta), (pieces,))[0], tangents(np, theta, (pieces,))[0]
            np.testing.assert_allclose(there.along(G @ L), here.along(G @ L), atol=1e-10)
            np.testing.assert_allclose(there.bend(G, G @ L), here.bend(G, G @ L), atol=1e-8)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_invariance_is_as_declared(name, k) -> None:
    """Changes of columns under which the structure is the same turn one of its matrices into another."""
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    rng = np.random.default_rng(5)
    change = {
        "linear": rng.normal(size=(k, k)) + 2.0 * np.eye(k),
        "column": np.diag(rng.uniform(0.2, 4.0, k)),
        "scale": 1.7 * np.eye(k),
        "none": np.eye(k),
    }[structure.invariance]
    sd, cor = random_public(structure, k, seed=4)
    moved = change @ assemble_covariance(np, sd, cor, pieces) @ change.T
    again = assemble_covariance(np, *read_covariance(np, moved, pieces), pieces)
    np.testing.assert_allclose(again, moved, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "k"), [case for case in CASES if case.values[1] > 1])  # type: ignore[operator]
def test_convexity_is_as_declared(name, k) -> None:
    """Whether the mean of two matrices of the structure always has it."""
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    kept = []
    for seed in range(5):
        mean = sum(assemble_covariance(np, *random_public(structure, k, 2 * seed + i), pieces) for i in (0, 1)) / 2.0
        again = assemble_covariance(np, *read_covariance(np, mean, pieces), pieces)
        kept.append(np.allclose(again, mean))
    if structure.is_convex:
        assert all(kept)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_snapped_parameters_are_held_where_they_are_on_the_boundary(name, k) -> None:
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    for theta in special_thetas(name, k):
        L = piece_factor(np, theta, pieces[0])
        snapped = structure.snapped(theta, k)
        there = piece_factor(np, snapped, pieces[0])
        np.testing.assert_allclose(there @ there.T, L @ L.T, atol=1e-3)
        np.testing.assert_allclose(structure.snapped(snapped, k), snapped, rtol=ROUNDING)
        held = held_theta(snapped, (pieces,))
        is_singular = np.linalg.matrix_rank(there, tol=1e-10) < structure.rank(k)
        is_at_zero = has_positive_correlation(structure, k) and snapped[-1] == 0.0  # regular, and nothing lies beyond
        if name == "fa":  # a specific variance of zero, or no factor: Σ is regular all the same
            is_singular |= not snapped[-k:].all() or not snapped[:-k].any()
        assert held.any() == (is_singular or is_at_zero)


@pytest.mark.parametrize(
    ("name", "k"),
    [case for case in CASES if STRUCTURES[case.values[0]].correlations == "one"],  # type: ignore[index]
)
def test_unit_factor_is_that_of_the_correlation_where_it_lies_between_its_limits(name, k) -> None:
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    low, high = structure.limits(k)
    for share in (0.0, 0.03, 0.5, 0.9, 1.0):
        C = structure.unit_factor(np, np.array([share]), k)
        R = assemble_correlation(np, np.array([low + (high - low) * share]), pieces)
        np.testing.assert_array_equal(C, np.tril(C))
        np.testing.assert_allclose(C @ C.T, R, atol=1e-7)
    exact = (high + 1e-3,) if has_positive_correlation(structure, k) else (low - 1e-3, high + 1e-3)
    for beyond in exact:  # the limits are exact: nothing beyond is a correlation matrix
        assert np.linalg.eigvalsh(assemble_correlation(np, np.array([beyond]), pieces))[0] < 0.0


PATTERNS = [case for case in CASES if STRUCTURES[case.values[0]].correlations in ("one", "several")]  # type: ignore[index]


@pytest.mark.parametrize(("name", "k"), PATTERNS)
def test_shares_are_those_of_the_unit_factor(name, k) -> None:
    structure, pieces = STRUCTURES[name], pieces_of(name, k)
    rng = np.random.default_rng(k)
    for shares in rng.uniform(0.05, 0.95, (5, structure.n_cors(k))):
        C = structure.unit_factor(np, shares, k)
        _, cor = read_covariance(np, C @ C.T, pieces)
        np.testing.assert_allclose(assemble_correlation(np, cor, pieces), C @ C.T, atol=ROUNDING)
        np.testing.assert_allclose(structure.shares(cor, k), shares, atol=1e-9)


@pytest.mark.parametrize(("name", "k"), PATTERNS)
@pytest.mark.parametrize("concentration", [1.0, 2.5])
def test_lkj_shapes_are_those_of_a_power_of_the_determinant(name, k, concentration) -> None:
    """Betas of the shares, less the log Jacobian of the correlations: by complex steps, or else by differences."""
    structure = STRUCTURES[name]
    if not structure.has_lkj and concentration != 1.0:
        with pytest.raises(NotImplementedError, match="no beta density"):
            structure.lkj_shapes(concentration, k)
        return
    first, second = structure.lkj_shapes(concentration, k)
    c, differences = structure.n_cors(k), []
    for shares in np.random.default_rng(k).uniform(0.1, 0.9, (5, c)):

        def correlations(at: np.ndarray) -> np.ndarray:
            C = structure.unit_factor(np, at, k)
            return structure.read(np, C @ C.T)[1]

        if structure.has_lkj:
            slopes = np.array([correlations(shares + 1e-30j * e).imag / 1e-30 for e in np.eye(c)])
        else:
            steps = 1e-5 * np.eye(c)
            slopes = np.array([correlations(shares + e) - correlations(shares - e) for e in steps]) / 2e-5
        R = structure.lkj_matrix(np, correlations(shares), k)
        found = ((first - 1.0) * np.log(shares) + (second - 1.0) * np.log1p(-shares)).sum()
        found -= np.linalg.slogdet(slopes)[1]
        differences.append(found - (concentration - 1.0) * np.linalg.slogdet(R)[1])
    np.testing.assert_allclose(differences, differences[0], atol=1e-9 if structure.has_lkj else 1e-6)


@pytest.mark.parametrize(
    "name", [name for name in STRUCTURES if STRUCTURES[name].correlations in ("matrix", "several")]
)
@pytest.mark.parametrize("concentration", [1.0, 2.0])
def test_marginal_density_of_a_correlation_is_the_sum_over_the_others(name, concentration) -> None:
    structure, k = STRUCTURES[name], 3
    middles = (np.arange(100) + 0.5) / 50.0 - 1.0
    grid = np.stack(np.meshgrid(*[middles] * structure.n_cors(k), indexing="ij"), axis=-1)
    R = structure.correlation(np, grid.reshape(-1, structure.n_cors(k)), k)
    determinant = np.linalg.det(R)
    density = np.where(determinant > 0.0, np.abs(determinant) ** (concentration - 1.0), 0.0)
    density = (density / density.sum()).reshape(grid.shape[:-1])
    for which in range(structure.n_cors(k)):
        axes = tuple(axis for axis in range(structure.n_cors(k)) if axis != which)
        found = np.cumsum(structure.cor_density(middles, which, concentration, k)) / 50.0
        np.testing.assert_allclose(found, np.cumsum(density.sum(axis=axes)), atol=5e-3)
