import pytest


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    """Commands run in the process of the tests must not write into the user's cache, nor set JAX's configuration."""
    monkeypatch.setattr("bayesmm.compilation.enable_compilation_cache", lambda: None)
