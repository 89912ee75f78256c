"""Point estimates: restricted and full maximum likelihood."""
