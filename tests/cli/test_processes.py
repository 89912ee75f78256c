"""What only a process of its own can show: what is imported, where compiled programs are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("jax", "numpyro", "arviz", "arviz_base", "arviz_stats", "matplotlib", "pandas", "scipy")
SAMPLERS = ("numpyro", "arviz", "arviz_base", "arviz_stats", "matplotlib")
WATCHED = """
import sys
from bayesmm.cli import main
sys.argv = ["bayesmm", *sys.argv[1:]]
try:
    main()
finally:
    print("\\nimported:", *sorted(set(sys.modules)), file=sys.stderr)
"""


def bayesmm(*arguments, **environment):
    """Run the command line in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def imported(result):
    return set(result.stderr.rsplit("imported:", 1)[1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("datasets",), ("datasets", "rail"), ("fit", "-h")])
def test_help_version_and_datasets_import_nothing_heavy(arguments):
    result = bayesmm(*arguments)
    assert result.returncode == 0
    assert not imported(result) & set(HEAVY)


def test_missing_file_is_reported_before_anything_heavy_is_imported(tmp_path):
    result = bayesmm("fit", "y ~ (1 | g)", "--data", str(tmp_path / "no.csv"))
    assert result.returncode == 2
    assert not imported(result) & set(HEAVY)


def test_fit_compiles_nothing_and_imports_no_compiler(tmp_path):
    result = bayesmm("fit", "travel ~ 1 + (1 | Rail)", "--data", "rail", XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 0
    assert not imported(result) & {*SAMPLERS, "jax", "jaxtyping"}
    assert not any(tmp_path.iterdir())


def test_sample_keeps_its_programs_in_the_users_cache(tmp_path):
    options = ("--data", "rail", "--draws", "20", "--tune", "20", "--chains", "1")
    result = bayesmm("sample", "travel ~ 1 + (1 | Rail)", *options, XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode in (0, 1)
    assert any((tmp_path / "bayesmm").iterdir())


def test_cache_folder_that_the_user_has_set_is_respected(tmp_path):
    script = (
        "import sys, jax, bayesmm.compilation as c\n"
        "print(c.enable_compilation_cache(), c.enable_compilation_cache(sys.argv[1]), sep='\\n')\n"
        "print(jax.config.jax_compilation_cache_dir)"
    )
    own = tmp_path / "own"
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "other")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "JAX_COMPILATION_CACHE_DIR": str(own),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [str(own)] * 3
    assert not (tmp_path / "other").exists()


def test_cache_folder_is_by_default_the_users(monkeypatch):
    from bayesmm.compilation import default_folder

    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/bayesmm")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "bayesmm"
