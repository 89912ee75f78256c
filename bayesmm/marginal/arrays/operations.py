"""What NumPy and JAX do differently, behind one interface.

The elimination is written once. `bayesmm.marginal.arrays.host` runs it in NumPy, for point estimates: nothing is
compiled, and a small fit takes milliseconds from a cold start. `bayesmm.marginal.in_jax.traced` runs it in JAX, for the
sampler and for accelerators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bayesmm.marginal.shapes import Array, Float, Int

if TYPE_CHECKING:
    from bayesmm.marginal.plan.plan import FillMap


@runtime_checkable
class Operations(Protocol):
    """A module of array operations.

    Arrays go in and new arrays come out; only `add_flat`, `rescale`, `add_identity` and `factor` may reuse their first.
    """

    xp: Any
    """The array library: ``numpy`` or ``jax.numpy``."""

    def add_levels(self, blocks: Float[Array, "k l q"], where: Int[Array, " P"], terms: Float[Array, "k l P"]) -> Array:
        """Add terms to the levels that they belong to."""
        ...

    def take_levels(self, blocks: Float[Array, "k l q"], where: Int[Array, " P"]) -> Float[Array, "k l P"]:
        """Read levels."""
        ...

    def add_flat(self, flat: Float[Array, " d"], where: Int[Array, " ..."], terms: Float[Array, " ..."]) -> Array:
        """Add terms at flat positions, of which several may be the same; positions beyond the end are dropped."""
        ...

    def take_flat(self, flat: Float[Array, " d"], where: Int[Array, " ..."]) -> Array:
        """Read flat positions; zero beyond the end."""
        ...

    def transform(self, T: Float[Array, "r a"], A: Float[Array, "r ..."]) -> Float[Array, "a ..."]:
        """T'A for every level, with the same T."""
        ...

    def sum_gram(self, A: Float[Array, "k c q"]) -> Float[Array, "c c"]:
        """ΣA'A over levels."""
        ...

    def sum_outer(self, A: Float[Array, "k c q"], weights: Float[Array, "c c"]) -> Float[Array, "k k"]:
        """ΣA weights A' over levels, for symmetric weights."""
        ...

    def rescale(self, A: Float[Array, " ..."], factor: Float[Array, " ..."]) -> Float[Array, " ..."]:
        """Multiply entry by entry."""
        ...

    def add_identity(self, blocks: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
        """Add I."""
        ...

    def times(self, A: Float[Array, "B r m"], B: Float[Array, "B m c"]) -> Float[Array, "B r c"]:
        """AB."""
        ...

    def gram(self, A: Float[Array, "B r m"]) -> Float[Array, "B m m"]:
        """A'A."""
        ...

    def fold(self, upper: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
        """U + U'."""
        ...

    def factor(self, M: Float[Array, "B m m"]) -> Any:
        """Factor symmetric positive definite matrices, for the operations below."""
        ...

    def reduce(self, factor: Any, B: Float[Array, "B m c"]) -> tuple[Array, Array]:
        """log|M| (B,) and B'M⁻¹B (B, c, c)."""
        ...

    def solve(self, factor: Any, B: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
        """M⁻¹B."""
        ...

    def solve_root(self, factor: Any, z: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
        """L⁻ᵀz, with M = LL'."""
        ...

    def invert(self, factor: Any) -> Float[Array, "B m m"]:
        """M⁻¹."""
        ...

    def fill(self, fill: FillMap, blocks: Float[Array, " t"], length: int) -> Float[Array, " d"]:
        """Apply the fill map."""
        ...

    def fill_transposed(self, fill: FillMap, covariance: Float[Array, " d"], length: int) -> Float[Array, " t"]:
        """Apply its transpose."""
        ...
