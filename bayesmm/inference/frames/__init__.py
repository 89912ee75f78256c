"""A fit as plain frames, in the sense of R's broom."""
