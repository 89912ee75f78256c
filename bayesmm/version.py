"""The version, where modules of every floor can read it without the package that lists them all."""

__version__ = "0.1.0"
