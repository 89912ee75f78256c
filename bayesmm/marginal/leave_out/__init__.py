"""Densities of rows and of groups given all others."""
