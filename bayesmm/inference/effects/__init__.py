"""How sure one is of predicted random effects."""
