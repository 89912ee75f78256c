"""Profiles of the likelihood in one parameter after the other."""
