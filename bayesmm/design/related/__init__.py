"""How levels are related: known covariance matrices, pedigrees, neighbouring regions."""
