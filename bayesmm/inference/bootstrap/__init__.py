"""Refits to resampled data, and what is read off them."""
