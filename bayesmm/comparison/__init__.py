"""Results side by side, and what their difference means: both of one model, and several models."""
