"""Means, slopes, comparisons and their contrasts: rows of combinations of fixed effects, estimated or drawn."""
