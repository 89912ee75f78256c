"""Sparse symmetric matrices: their Cholesky factor, what is solved with it, and selected entries of the inverse."""
