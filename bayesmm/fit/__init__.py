"""Point estimates with their labels, and what is worked out from them when it is asked for."""

from bayesmm.fit.fit import Fit

__all__ = ["Fit"]
