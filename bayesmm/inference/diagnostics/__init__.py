"""Whether a fit can be relied on: residuals, influence, envelopes, checks."""
