"""The posterior: NumPyro programs, NUTS, exact recovery, labelled draws."""

# ArviZ registers numpyro as a module to be loaded lazily; a submodule of it imported before that happens is left half
# loaded. Asking for an attribute loads it.
from numpyro import __version__ as numpyro_version

__all__ = ["numpyro_version"]
