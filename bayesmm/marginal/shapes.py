"""Annotations of array shapes, in the letters of the legend in `bayesmm.marginal.likelihood.likelihood`.

They are jaxtyping's wherever jaxtyping is imported already, as in the tests, which check them at run time. Otherwise
they are only read: importing jaxtyping takes longer than a small fit.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Inexact, Int
else:

    class _Unchecked:
        def __class_getitem__(cls, _: Any) -> Any:
            return Any

    Float = Inexact = Int = _Unchecked

Array = Any  # of NumPy or of JAX: the same code serves both

__all__ = ["Array", "Float", "Inexact", "Int"]
