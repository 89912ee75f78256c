"""Running the command line in this process."""

import json

import pytest
from typer.testing import CliRunner

from bayesmm.cli.app import app

SLEEP = ("Reaction ~ Days + (Days | Subject)", "--data", "sleepstudy")
DYESTUFF = ("Yield ~ 1 + (1 | Batch)", "--data", "dyestuff")
QUICK = ("--draws", "200", "--tune", "200", "--seed", "1")


def run(*arguments, code=0, **options):
    """Run a command, check its exit code, and return its result."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="bayesmm", **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def run_json(*arguments, code=0):
    """Run a command with --json, and return the document; strict about what is JSON."""
    return json.loads(run(*arguments, "--json", code=code).stdout, parse_constant=pytest.fail)


def mistake(*arguments):
    """Run a command that must be refused, and return the message as one line."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())
