"""Sparse eliminations in programs of JAX: they are made on the host, in NumPy, and the programs call them.

JAX has no sparse factorisation. What a program gets of one is small: log|H| and S with their derivatives, or the
effects of one draw. So a sparse model has the programs, the samplers and the tables of any other.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Int

from bayesmm.errors import ArgumentError
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import Absorbed, AnyElimination, Reduced, eliminate
from bayesmm.marginal.elimination.sparse import SparseElimination, invert_sparse
from bayesmm.marginal.likelihood.along import Along, find_along
from bayesmm.marginal.sums.crossproducts import CrossProducts

_NUMBERS = itertools.count()
_HELD: WeakValueDictionary[int, Host] = WeakValueDictionary()


class Host:
    """Sums of one design that programs ask for by number, and the last elimination of them."""

    def __init__(self, products: CrossProducts, groups: Any = None) -> None:
        self.products, self.groups, self.is_stopped = products, groups, False
        self.along = find_along(products)
        self._last: tuple[bytes, AnyElimination, Absorbed] | None = None
        self._answers: dict[str, tuple[bytes, Any]] = {}

    def answer(self, answer: Callable[..., Any], arguments: Any) -> Any:
        """Answer, unless it is the same that was asked last: parts of many positions are filled up with one."""
        key, name = b"".join(leaf.tobytes() for leaf in jax.tree.leaves(arguments)), answer.__name__
        last = self._answers.get(name)
        if last is None or last[0] != key:
            last = self._answers[name] = key, answer(self, *arguments)
        return last[1]

    def eliminate(self, factors: Sequence[np.ndarray]) -> tuple[AnyElimination, Absorbed]:
        """Eliminate, unless that was done last: a draw asks for S first, then for the effects."""
        key, last = b"".join(Lambda.tobytes() for Lambda in factors), self._last
        if last is not None and last[0] == key:
            return last[1:]
        self._last = None  # two factors need not be held at once
        elimination, absorbed = eliminate(host, self.products, factors)
        self._last = key, elimination, absorbed
        return elimination, absorbed


class _Handle(np.ndarray):
    """The number of a host, which lives as long as this does."""

    host: Host

    def __reduce__(self) -> Any:
        return _hold, (self.host.products, self.host.groups)


def _hold(products: CrossProducts, groups: Any = None) -> _Handle:
    number = next(_NUMBERS)
    handle = np.array(number, dtype=np.int64).view(_Handle)
    handle.host = _HELD[number] = Host(products, groups)
    return handle


@register_dataclass
@dataclass(frozen=True)
class HostedProducts:
    """Of cross-products whose random effects are one sparse matrix, what a program of JAX takes as its argument.

    Attributes
    ----------
    handle : array of int, shape ()
        Which ones they are. One compiled program serves all of one shape.
    n_levels : tuple of int
        Levels of each factor.
    gram, effect_roots, fixed_root, fixed_origin, n, log_weights
        See `bayesmm.marginal.sums.crossproducts.CrossProducts`.
    """

    handle: Int[Array, ""]
    gram: Float[Array, "c c"]
    effect_roots: tuple[Float[Array, "k k"], ...]
    fixed_root: Float[Array, "p p"]
    fixed_origin: Float[Array, " p"]
    n: Float[Array, ""]
    log_weights: Float[Array, ""]
    n_levels: tuple[int, ...] = field(metadata={"static": True})


def host_products(products: CrossProducts, groups: Any = None) -> HostedProducts:
    """Keep the sums of a design on the host, for programs to call, and groups of rows that are left out."""
    return HostedProducts(
        handle=cast(Any, _hold(products, groups)),
        gram=products.gram,
        effect_roots=products.effect_roots,
        fixed_root=products.fixed_root,
        fixed_origin=products.fixed_origin,
        n=products.n,
        log_weights=products.log_weights,
        n_levels=tuple(K.shape[2] for K in products.cross),
    )


def is_hosted(arguments: Any) -> bool:
    """Whether a program of these arguments calls the host, one position after the other."""
    leaves = jax.tree.leaves(arguments, is_leaf=lambda leaf: isinstance(leaf, HostedProducts))
    return any(isinstance(leaf, HostedProducts) for leaf in leaves)


def n_hosted(arguments: Any) -> int:
    """Count the random effects that programs of these arguments ask the host for; one at least."""
    leaves = jax.tree.leaves(arguments, is_leaf=lambda leaf: isinstance(leaf, HostedProducts))
    hosted = [leaf for leaf in leaves if isinstance(leaf, HostedProducts)]
    return max(1, sum(q * len(T) for each in hosted for q, T in zip(each.n_levels, each.effect_roots, strict=True)))


@contextmanager
def stoppable(arguments: Any) -> Iterator[Callable[[], None]]:
    """Let programs of these arguments that run in other threads be stopped at their next call, until the block ends.

    Yields
    ------
    callable
        Stops them.
    """
    hosts = [leaf.host for leaf in jax.tree.leaves(arguments) if isinstance(leaf, _Handle)]

    def set_stopped(stopped: bool) -> None:
        for each in hosts:
            each.is_stopped = stopped

    try:
        yield partial(set_stopped, True)
    finally:
        set_stopped(False)


def call_host(
    answer: Callable[..., Any], shapes: Any, products: HostedProducts, factors: Sequence[Array], *arguments: Any
) -> Any:
    """Have the host answer in these shapes; NaN where M cannot be factored, as at parameters beyond all measure.

    JAX may call in any of its threads, where the precision is single: numbers go there and back as bits.
    """
    given, structure = jax.tree.flatten((list(factors), *arguments))
    forms = [(np.shape(leaf), leaf.dtype) for leaf in given]
    wanted, found_structure = jax.tree.flatten(shapes)

    def asked(number: Any, bits: Any) -> np.ndarray:
        at = _HELD.get(int(number))
        if at is None:
            raise ArgumentError("The data of this program are gone: keep what model.program() returned.")
        try:
            if at.is_stopped:
                raise KeyboardInterrupt
            with np.errstate(all="ignore"):
                found = at.answer(answer, jax.tree.unflatten(structure, _unpack(np.asarray(bits), forms)))
            parts = [np.asarray(leaf, dtype=float).ravel() for leaf in jax.tree.leaves(found)]
        except np.linalg.LinAlgError:
            parts = [np.full(shape.size, np.nan) for shape in wanted]
        except KeyboardInterrupt:
            logging.getLogger("jax._src.callback").addFilter(_is_no_interruption)  # which it prints as an error
            raise
        return np.concatenate(parts).view(np.uint32)

    size = sum(shape.size for shape in wanted)
    bits = jnp.concatenate([_bits(leaf) for leaf in given]) if given else jnp.zeros(0, jnp.uint32)
    answered = jax.ShapeDtypeStruct((2 * size,), jnp.uint32)
    flat = jax.pure_callback(asked, answered, products.handle.astype(jnp.int32), bits, vmap_method="sequential")
    flat = jax.lax.bitcast_convert_type(flat.reshape(size, 2), jnp.float64)
    parts = jnp.split(flat, np.cumsum([shape.size for shape in wanted])[:-1])
    leaves = [part.reshape(shape.shape) for part, shape in zip(parts, wanted, strict=True)]
    return jax.tree.unflatten(found_structure, leaves)


def _bits(leaf: Array) -> Array:
    return (leaf if leaf.dtype == jnp.uint32 else jax.lax.bitcast_convert_type(leaf, jnp.uint32)).reshape(-1)


def _unpack(bits: np.ndarray, forms: Sequence[tuple[tuple[int, ...], Any]]) -> list[np.ndarray]:
    found, done = [], 0
    for shape, dtype in forms:
        size = math.prod(shape) * (dtype.itemsize // 4)
        found.append(bits[done : done + size].view(dtype).reshape(shape))
        done += size
    return found


def _is_no_interruption(record: logging.LogRecord) -> bool:
    return not (record.exc_info and record.exc_info[0] is KeyboardInterrupt)


def of_shape(*sizes: int) -> Any:
    """Describe an array of numbers."""
    return jax.ShapeDtypeStruct(sizes, float)


def reduce_on_host(products: HostedProducts, factors: Sequence[Float[Array, "k k"]]) -> Reduced:
    """Reduce to log|H| and S."""
    return call_host(_reduce, Reduced(of_shape(), of_shape(*products.gram.shape)), products, factors)


def _reduce(at: Host, factors: list[np.ndarray]) -> Reduced:
    if at.along is not None and at.along.reaches(float(factors[0][0, 0])):
        return at.along.reduce(float(factors[0][0, 0]))
    reduced = at.eliminate(factors)[1].reduced
    return Reduced(np.float64(reduced.log_det), reduced.gram)  # pyright: ignore[reportArgumentType]


class Sloped(NamedTuple):
    """log|H| and S with what their derivatives are made of.

    Attributes
    ----------
    reduced : Reduced
        The values.
    residual : list of arrays, shape (k, c, r)
        Columns with the sums of outer products over levels that Z'Ṽ⁻¹[X y] of independent effects has, r of them at
        most kc.
    influence : list of arrays, shape (k, k)
        Σ Z_i'Ṽ⁻¹Z_iΛ of each factor.
    """

    reduced: Reduced
    residual: Sequence[Float[Array, "k c r"]]
    influence: Sequence[Float[Array, "k k"]]


def differentiate_on_host(products: HostedProducts, factors: Sequence[Float[Array, "k k"]]) -> Sloped:
    """Reduce to log|H| and S, with what their derivatives are made of."""
    c, sizes = len(products.gram), [len(T) for T in products.effect_roots]
    residual = [of_shape(k, c, min(k * c, q)) for k, q in zip(sizes, products.n_levels, strict=True)]
    shapes = Sloped(Reduced(of_shape(), of_shape(c, c)), residual, [of_shape(k, k) for k in sizes])
    return call_host(_differentiate, shapes, products, factors)


def _differentiate(at: Host, factors: list[np.ndarray]) -> Sloped:
    if at.along is not None and at.along.reaches(float(factors[0][0, 0])):
        return _read_slopes(at.along, float(factors[0][0, 0]))
    products, sparse = at.products, at.products.sparse
    assert sparse is not None
    elimination, absorbed = eliminate(host, products, factors)
    assert isinstance(elimination, SparseElimination)
    residual = sparse.gather(solve_effects(host, products, elimination, absorbed).residual)
    influence = invert_sparse(products, elimination)[2]
    reduced = Reduced(np.float64(elimination.log_det), absorbed.reduced.gram)  # pyright: ignore[reportArgumentType]
    compressed: list[Any] = [_compress(R) for R in residual]  # NumPy arrays in the place of JAX ones
    return Sloped(reduced, compressed, influence)


def _read_slopes(along: Along, scale: float) -> Sloped:
    """Read the same off polynomials: what is summed over levels is −dS/dλ²."""
    slope = along.slope(scale)
    values, vectors = np.linalg.eigh(-np.asarray(slope.gram) / scale**2)
    root: Any = (vectors * np.sqrt(np.maximum(values, 0.0)))[None]
    influence: Any = np.array([[float(slope.log_det) / scale]])
    return Sloped(along.reduce(scale), [root], [influence])


def _compress(R: np.ndarray) -> np.ndarray:
    """Write the sums over levels by as few of them."""
    k, c, q = R.shape
    triangle = np.linalg.qr(R.reshape(k * c, q).T, mode="r")
    return np.ascontiguousarray(triangle.T).reshape(k, c, -1)


def draw_on_host(
    products: HostedProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    combination: Float[Array, " c"],
    key: Array | None,
) -> tuple[Float[Array, "q k"], ...]:
    """Draw random effects of the user's columns, given the columns that are left of y; their means without a key."""
    shapes = [of_shape(q, len(T)) for q, T in zip(products.n_levels, products.effect_roots, strict=True)]
    seed = None if key is None else jax.random.key_data(key)
    return tuple(call_host(_draw, shapes, products, factors, sigma, combination, seed))


def _draw(
    at: Host, factors: list[np.ndarray], sigma: np.ndarray, combination: np.ndarray, seed: np.ndarray | None
) -> list[np.ndarray]:
    elimination, absorbed = at.eliminate(factors)
    noise = None
    if seed is not None:
        rng = np.random.default_rng(seed.ravel().tolist())
        noise = [sigma * rng.standard_normal((K.shape[0], 1, K.shape[2])) for K in at.products.cross]
    effects = solve_effects(host, at.products, elimination, absorbed, combination[:, None], noise).effects
    pairs = zip(at.products.effect_roots, effects, strict=True)
    return [np.ascontiguousarray(np.linalg.solve(T, b[:, 0]).T) for T, b in pairs]


class EffectMoments(NamedTuple):
    """Means and variances of the random effects per grouping factor, of the user's columns."""

    mean: Sequence[Float[Array, "q k"]]
    variance: Sequence[Float[Array, "q k"]]


def moments_on_host(
    products: HostedProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    combination: Float[Array, " c"],
    spread: Float[Array, "r f"],
) -> EffectMoments:
    """Return the moments of what `draw_on_host` draws, over the coefficients too: their root is `spread`."""
    shapes = [of_shape(q, len(T)) for q, T in zip(products.n_levels, products.effect_roots, strict=True)]
    return call_host(_moments, EffectMoments(shapes, shapes), products, factors, sigma, combination, spread)


def _moments(
    at: Host, factors: list[np.ndarray], sigma: np.ndarray, combination: np.ndarray, spread: np.ndarray
) -> EffectMoments:
    elimination, absorbed = at.eliminate(factors)
    solved = solve_effects(host, at.products, elimination, absorbed).effects
    inverse = _invert(at.products, elimination)
    means, variances = list[Any](), list[Any]()
    for T, B, C in zip(at.products.effect_roots, solved, inverse, strict=True):
        back = np.linalg.inv(T)  # b = T⁻¹ on the conditioned columns
        means.append(back @ np.tensordot(B, combination, axes=(1, 0)))
        moved = np.einsum("ij,jcq,cf->ifq", back, B[:, :-1], spread, optimize=True)
        own = np.einsum("ij,jlq,il->iq", back, C, back, optimize=True)
        variances.append(sigma**2 * own + (moved**2).sum(axis=1))
    return EffectMoments([mean.T for mean in means], [variance.T for variance in variances])


def _invert(products: CrossProducts, elimination: AnyElimination) -> list[np.ndarray]:
    assert isinstance(elimination, SparseElimination)
    return invert_sparse(products, elimination)[0]
