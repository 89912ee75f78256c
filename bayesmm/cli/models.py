"""From the options of a command to a model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from bayesmm.cli.data import Reading, read_data
from bayesmm.cli.priors import read_priors
from bayesmm.errors import StorageError

if TYPE_CHECKING:
    from bayesmm.model import Model


def build_model(
    formula: str,
    data: str,
    reading: Reading,
    *,
    weights: str | None,
    sigma: float | None,
    missing: Literal["drop", "raise"],
    residual: str | None = None,
    priors: Sequence[str] | None = None,
    compiles: bool = False,
) -> Model:
    """Read data and priors, and bind the formula to them; the options as the user gave them.

    What the command will have compiled (`compiles`) is kept in the user's cache folder for the next time.

    Raises
    ------
    BayesmmError
        For anything in them that cannot be used.
    """
    frame, declared = read_data(data, reading), read_priors(priors)
    # What is heavy is imported last: a misspelt file should not have to wait for it.
    from bayesmm.model import Model

    if compiles:
        from bayesmm.compilation import enable_compilation_cache

        with contextlib.suppress(StorageError):  # a cache that cannot be written costs time and nothing else
            enable_compilation_cache()
    return Model(formula, frame, residual=residual, weights=weights, sigma=sigma, missing=missing, priors=declared)
