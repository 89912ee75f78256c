"""Simulation-based calibration, and the posterior under flat priors."""
