"""Fixed effects: their covariance, degrees of freedom, contrasts and tests."""
