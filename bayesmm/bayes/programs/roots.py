"""Cholesky factors of correlation matrices as NumPyro sites, in few operations: fewer are compiled sooner."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import CorrCholeskyTransform


class _Roots(type(constraints.corr_cholesky)):  # pyright: ignore[reportGeneralTypeIssues]
    """Lower triangular, a positive diagonal, rows of length one: NumPyro's constraint, with the transform below."""


ROOTS = _Roots()


class LKJRoot(dist.Distribution):
    """Cholesky factors of correlation matrices R with density ∝ det(R)^(concentration − 1).

    NumPyro's `LKJCholesky` with the constant made on the host, where it is a few gamma functions.

    Parameters
    ----------
    size : int
        k.
    concentration : scalar
        One is uniform over correlation matrices.
    log_normaliser : scalar
        From `bayesmm.bayes.priors.families.cholesky_log_normaliser`.

    References
    ----------
    Lewandowski, Kurowicka & Joe (2009). J. Multivar. Anal. 100.
    """

    arg_constraints = {"concentration": constraints.positive}  # noqa: RUF012 - NumPyro's protocol
    support = ROOTS  # pyright: ignore[reportAssignmentType]
    reparametrized_params = ["concentration"]  # noqa: RUF012 - NumPyro's protocol
    pytree_data_fields = ("concentration", "log_normaliser")
    pytree_aux_fields = ("size",)

    def __init__(
        self, size: int, concentration: Array, log_normaliser: Array, *, validate_args: bool | None = None
    ) -> None:
        self.size, self.concentration, self.log_normaliser = size, concentration, log_normaliser
        super().__init__(event_shape=(size, size), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw from the distribution."""
        return dist.LKJCholesky(self.size, self.concentration).sample(key, sample_shape)

    def log_prob(self, value: Array) -> Array:
        """Evaluate the log density of the entries below the diagonal."""
        k = self.size
        orders = k - 1.0 - np.arange(1, k) + 2.0 * (self.concentration - 1.0)
        diagonal = jnp.stack([value[..., i, i] for i in range(1, k)], axis=-1)
        return jnp.sum(orders * jnp.log(diagonal), axis=-1) + self.log_normaliser


@biject_to.register(_Roots)
def _transform_to_roots(constraint: _Roots) -> RootTransform:
    return RootTransform()


class RootTransform(CorrCholeskyTransform):
    """Unconstrained numbers to Cholesky factors of correlation matrices, row by row: NumPyro's coordinates.

    An entry is tanh x times what the entries before it leave of the row's length.
    """

    codomain = ROOTS  # pyright: ignore[reportAssignmentType]

    def __call__(self, x: Float[Array, "*b m"]) -> Float[Array, "*b k k"]:
        """Take x to the factor."""
        partial = _partial(x)
        return (partial + np.eye(partial.shape[-1])) * _left(partial)

    def _inverse(self, y: Float[Array, "*b k k"]) -> Float[Array, "*b m"]:
        y = jnp.asarray(y)
        rows, columns = np.tril_indices(y.shape[-1], -1)
        before = jnp.cumsum(y * y, axis=-1) - y * y
        return jnp.arctanh((y / jnp.sqrt(1.0 - before))[..., rows, columns])

    def log_abs_det_jacobian(
        self, x: Float[Array, "*b m"], y: Float[Array, "*b k k"], intermediates: Any = None
    ) -> Float[Array, "*b"]:
        """Log volume of the entries below the diagonal over that of x; 1 − tanh² x has no digits far from zero."""
        far = jnp.abs(x)
        log_det = 2.0 * (np.log(2.0) - far - jnp.log1p(jnp.exp(-2.0 * far))).sum(-1)
        k = y.shape[-1]
        if k == 2:
            return log_det
        left = jnp.log(_left(_partial(x)))
        return log_det + (left * np.tril(np.ones((k, k)), -1)).sum((-2, -1))


def _partial(x: Float[Array, "*b m"]) -> Float[Array, "*b k k"]:
    """Partial correlations of each row with those before it, below the diagonal."""
    t = jnp.tanh(x)
    limit = 1.0 - np.finfo(t.dtype).eps
    t = jnp.clip(t, -limit, limit)
    m = t.shape[-1]
    k = round((1 + (1 + 8 * m) ** 0.5) / 2)
    rows = [jnp.zeros_like(t, shape=(*t.shape[:-1], k))]
    for i in range(1, k):
        row = t[..., i * (i - 1) // 2 : i * (i + 1) // 2]
        rows.append(jnp.pad(row, ((0, 0),) * (t.ndim - 1) + ((0, k - i),)))
    return jnp.stack(rows, axis=-2)


def _left(partial: Float[Array, "*b k k"]) -> Float[Array, "*b k k"]:
    """Length that is left of each row before each entry."""
    shorter = jnp.sqrt(1.0 - partial * partial)
    left = [jnp.ones_like(partial[..., 0])]
    for j in range(partial.shape[-1] - 1):
        left.append(left[-1] * shorter[..., j])
    return jnp.stack(left, axis=-1)
