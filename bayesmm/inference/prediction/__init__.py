"""Predictions of rows, seen and new, and how sure they are."""
