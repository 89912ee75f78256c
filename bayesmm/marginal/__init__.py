"""The marginal Gaussian likelihood: pure JAX on cross-products, no labels and no tables."""
