"""Figures; each takes results and computes nothing that a table does not hold."""
