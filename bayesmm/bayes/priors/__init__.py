"""From declared priors to the numbers of a model, and priors alone."""
