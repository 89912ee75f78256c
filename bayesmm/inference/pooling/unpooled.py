"""Effects of a fit that the rows of each level give alone."""

from __future__ import annotations

import numpy as np

from bayesmm.inference.fitted import Fitted


def unpooled_effects(fit: Fitted) -> list[np.ndarray]:
    """Estimate every level's effects from its own rows alone, all else as fitted; (q, k) of each grouping factor."""
    found = fit.estimate
    return [own.unpooled for own in fit.problem.read_own_rows(found.beta, found.modes, found.whiten)]
