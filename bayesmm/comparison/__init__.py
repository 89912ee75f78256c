"""Both results of one model side by side, and what their difference means."""

from bayesmm.comparison.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
