"""The likelihood in JAX: what programs sample from, and what is recovered from their draws."""
