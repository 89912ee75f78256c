"""Posteriors and runs in files."""
