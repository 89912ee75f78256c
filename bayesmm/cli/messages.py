"""What goes to the terminal: results, and what a person must be told on the way."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import typer

from bayesmm.cli.encoding import plain
from bayesmm.console import cells, columns, fold
from bayesmm.errors import BayesmmError, BayesmmWarning

MISTAKE = 2  # exit codes; this is the option parser's too
FAILED = 3
NOBODY_READS = 141  # as the shell says of a command that SIGPIPE ended
LESS = "Use fewer rows, columns, levels or draws, or a machine with more."
OPTIONS: ContextVar[Mapping[str, str]] = ContextVar("OPTIONS", default=MappingProxyType({}))  # by arguments of Python
RULES = re.compile("^[^│|]*(?:──|--)[^│|]*$")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say what a user got wrong in a few lines and leave with exit code 2; print warnings as notes.

    Memory that does not suffice is exit code 3; errors that nobody foresaw are too, and keep their traceback.
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
            try:
                yield
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  Python flushes it when it ends
            raise typer.Exit(NOBODY_READS) from None
        except MemoryError as error:
            reason = f" ({error})" if str(error) else ""
            tell("Error", f"There is not enough memory{reason}. {LESS}", typer.colors.RED)
            raise typer.Exit(FAILED) from None
        except (BayesmmError, OSError) as error:
            tell("Error", _in_options(_text_of(error)), typer.colors.RED)
            raise typer.Exit(MISTAKE) from None


def _in_options(text: str) -> str:
    """Name options of the command that runs where a message of the library names arguments of Python: --df for df=."""
    options = OPTIONS.get()
    named = "|".join(map(re.escape, options))
    if not named:
        return text

    def written(match: re.Match[str]) -> str:
        value = match["value"] or ""
        return f"{options[match['name']]} {f'"{value}"' if re.search(r'[^\w.-]', value) else value}".rstrip()

    text = re.sub(rf"(?<![\w.(\-'])(?P<name>{named})=(?:'(?P<value>[^']*)')?", written, text)
    return re.sub(rf"^({named})(?= (?:is|has|names) )", lambda match: options[match[1]], text)


def remember_options(context: typer.Context) -> None:
    """Remember the options of the command that is about to run."""
    command = getattr(context.command, "commands", {}).get(context.invoked_subcommand)
    options = {each.name: max(each.opts, key=len) for each in getattr(command, "params", ())}
    OPTIONS.set({name: option for name, option in options.items() if name and option.startswith("--")})


def tell(title: str, text: str, colour: str) -> None:
    """Write a titled message to standard error, folded to the width of the terminal."""
    lines: list[str] = []
    for line in plain(f"{title}: {text}", sys.stderr).splitlines():
        # An indented line shows a place in a formula: its blanks matter. A long path or piece of code stays whole.
        lines += [line] if line.startswith(" ") else fold(line, then="  ", break_words=False)
    head = f"{title}:"
    lines[0] = _style(head, fg=colour, bold=True) + lines[0].removeprefix(head)
    typer.echo("\n".join(lines), err=True)


def show(text: str) -> None:
    """Print a result: its first line bold, lines of rules dim."""
    first, *others = _fitting(plain(text, sys.stdout))
    lines = [_style(line, dim=True) if RULES.search(line) else line for line in others]
    typer.echo("\n".join([_style(first, bold=True), *lines]))


def _fitting(text: str) -> Iterator[str]:
    """Yield lines; those that grew too long by characters that were spelled out are folded again."""
    for line in text.split("\n"):
        margin = line[: len(line) - len(line.lstrip())]
        yield from fold(line, first=margin, then=f"{margin}  ") if cells(line) > columns() else [line]


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
