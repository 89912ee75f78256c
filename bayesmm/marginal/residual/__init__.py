"""Covariance of residuals within groups: its parameters, sums over groups that share it, the criterion."""
