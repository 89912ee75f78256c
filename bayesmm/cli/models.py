"""From the options of a command to a model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from bayesmm.cli.data import read_data
from bayesmm.cli.priors import read_priors

if TYPE_CHECKING:
    from bayesmm.model import Model


def build_model(
    formula: str,
    data: str,
    *,
    weights: str | None,
    sigma: float | None,
    missing: Literal["drop", "raise"],
    priors: Sequence[str] | None = None,
) -> Model:
    """Read data and priors, and bind the formula to them; the options as the user gave them.

    Raises
    ------
    BayesmmError
        For anything in them that cannot be used.
    """
    frame, declared = read_data(data), read_priors(priors)
    # JAX is imported last: a misspelt file should not have to wait for it.
    from bayesmm.compilation import enable_compilation_cache
    from bayesmm.model import Model

    # A cache that cannot be written costs time and nothing else.
    with contextlib.suppress(OSError):
        enable_compilation_cache()
    return Model(formula, frame, weights=weights, sigma=sigma, missing=missing, priors=declared)
