"""The posterior: NumPyro programs, NUTS, exact recovery, labelled draws.

Importing this package loads neither NumPyro nor JAX: priors are resolved, printed, drawn and simulated from without.
"""

# ArviZ registers numpyro as a module to be loaded lazily, and an import of numpyro.infer before that happens leaves it
# half loaded. Asking numpyro for an attribute loads it: write "from numpyro import infer" first.
