"""Partly centred random effects: a family from non-centred to centred, all of the same posterior.

With m what the effects of a level vary around, Var(b) = FF', F = DL, D the standard deviations and R = LL' the
correlations, and F₀ = D₀L₀, R₀ a reference near which F is thought to be, the site of degree w is

    t ~ N(wm, KK'),   b = FK⁻¹(t − wm),   K = D₀¹⁻ʷDʷC,   CC' = (1 − w)R₀ + wR.

w = 1 has K = F, so that t ~ N(m, FF') and b = t − m: centred. w = 0 has K = F₀, so that t ~ N(0, F₀F₀') and
b = FF₀⁻¹t: non-centred but for a constant factor. With one effect and F₀ = 1, t ~ N(wm, sd²ʷ) as in the papers. They
leave the reference out, but then a degree means something else in grams than in kilograms: at F = F₀, t = wm + b, and
the best w is the share of the variance of b that the data remove.

References
----------
Papaspiliopoulos, Roberts & Sköld (2007). Stat. Sci. 22. Gorinova, Moore & Hoffman (2020). ICML.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from bayesmm.bayes.programs.covariances import Block


def partial_factor(factor: Any, reference: Any, degree: Any) -> Any:
    """Compute K of F, shape (k, k): F₀ for degree 0, F for degree 1; NumPy or JAX."""
    xp = factor.__array_namespace__()
    sd, reference_sd = (xp.sqrt((each**2).sum(axis=1)) for each in (factor, reference))
    L, L0 = factor / sd[:, None], reference / reference_sd[:, None]
    mixed = (1.0 - degree) * L0 @ L0.T + degree * L @ L.T
    return (reference_sd ** (1.0 - degree) * sd**degree)[:, None] * xp.linalg.cholesky(mixed)


def sample_partly_centred(
    block: Block,
    factor: Float[Array, "k k"],
    reference: Float[Array, "k k"],
    around: Float[Array, "*q k"],
    degree: Float[Array, ""],
) -> Float[Array, "q k"]:
    """Sample t of a block; return the effects."""
    mean = jnp.broadcast_to(around, (block.n_levels, block.n_effects))
    site = f"t_{block.label}"
    if block.matrices:
        K = partial_factor(factor, reference, degree)
        t = jnp.asarray(numpyro.sample(site, dist.MultivariateNormal(degree * mean, scale_tril=K).to_event(1)))
        return solve_triangular(K, (t - degree * mean).T, lower=True).T @ factor.T
    relative, unit = jnp.diag(factor) / jnp.diag(reference), jnp.diag(reference)
    t = jnp.asarray(numpyro.sample(site, dist.Normal(degree * mean, unit * relative**degree).to_event(2)))
    return relative ** (1.0 - degree) * (t - degree * mean)
