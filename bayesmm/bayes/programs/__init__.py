"""The two NumPyro programs, what they consist of, and how they are bound to a model."""
