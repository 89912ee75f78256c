"""Data that a model draws: from a fit, or from a formula with parameters that are stated."""
