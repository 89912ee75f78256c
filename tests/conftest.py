"""Shapes in the annotations of the small linear algebra are checked while the tests run."""

from jaxtyping import install_import_hook

# Elsewhere a letter means another number in each element of a sequence (k of each grouping factor), which jaxtyping
# would bind once; those functions are held to the dense oracle instead.
install_import_hook(["bayesmm.marginal.linalg", "bayesmm.marginal.covariance"], "beartype.beartype")
