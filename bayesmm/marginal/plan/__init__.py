"""How random effects are eliminated: a plan made once a design, from which levels occur together."""
