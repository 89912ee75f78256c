"""The posterior as a function of unconstrained coordinates, and NUTS, importance sampling and quadrature over it."""
