"""Crossed factors of many levels: conjugate gradients, and a log-determinant by probes with its Monte Carlo error."""
