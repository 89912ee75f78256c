"""What goes to the terminal: results, and what a person must be told on the way."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from bayesmm.errors import BayesmmError, BayesmmWarning

MISTAKE = 2  # exit code, as of the option parser
MOST_COLUMNS = 100


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say what a user got wrong in a few lines and leave with exit code 2; print warnings as notes.

    Errors that nobody foresaw keep their traceback.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", BayesmmWarning)
        usual = warnings.showwarning
        warnings.showwarning = lambda message, category, *where: (
            tell("Note", str(message), typer.colors.YELLOW)
            if issubclass(category, BayesmmWarning)
            else usual(message, category, *where)
        )
        try:
            yield
        except BrokenPipeError:
            raise
        except (BayesmmError, OSError) as error:
            tell("Error", _text_of(error), typer.colors.RED)
            raise typer.Exit(MISTAKE) from None


def tell(title: str, text: str, colour: str) -> None:
    """Write a titled message to standard error, folded to the width of the terminal."""
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    lines: list[str] = []
    for line in f"{title}: {text}".splitlines():
        # An indented line shows a place in a formula: its blanks matter.
        folded = textwrap.wrap(line, columns, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        lines += [line] if line.startswith(" ") else folded
    head = f"{title}:"
    lines[0] = _style(head, fg=colour, bold=True) + lines[0].removeprefix(head)
    typer.echo("\n".join(lines), err=True)


def show(text: str) -> None:
    """Print a result: its first line bold, lines of rules dim."""
    first, *others = text.split("\n")
    lines = [_style(line, dim=True) if "──" in line and "│" not in line else line for line in others]
    typer.echo("\n".join([_style(first, bold=True), *lines]))


@contextmanager
def stage(doing: str) -> Iterator[None]:
    """Say what is being done, on standard error, while a person watches."""
    watched = sys.stderr.isatty()
    if watched:
        print(f"{doing} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _style(text: str, **look: Any) -> str:
    """Colour text, unless the user has asked for none; pipes and files never get any (typer.echo sees to it)."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, **look)


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename!r}." if error.filename else f"{error.strerror}."
    return str(error)
