"""Markdown as a test reads it: fenced blocks of Python and of commands, what they print, and what is not run.

Blocks of `python` are run, and blocks of `sh` that call ``bayesmm``; other commands install things, and are left alone. A
block of `text` that directly follows a block is its output, as a notebook would show it: what was printed,
then the value of the last expression. It is compared word by word; numbers may differ in their last shown digits. After
the remark ``<!-- output varies: reason -->`` numbers may be any, and most of the words must be the same; headings, heads of tables and
legends must be there as they are. Terminals have a hundred columns.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
from typer.testing import CliRunner

from bayesmm.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
REMARK = re.compile(r"<!-- (not run|output varies): (.+) -->")
NUMBER = re.compile(r"[-−+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
COMMAND = "bayesmm "
LEVEL = re.compile(r"\b\d+ % interval")
WORD = re.compile(r"[^\W\d_]{2,}")
SAME_WORDS = 0.8  # share of the words of an output that varies: a note may come or go with the numbers
COLUMNS = "100"  # of the terminal
LAST_DIGIT = 1.001  # units of the last shown digit: rounding may go either way


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block that is run."""

    page: Path
    line: int
    language: str
    code: str
    output: str | None = None
    output_varies: bool = False
    not_run: str | None = None

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The blocks of one page that are run, in order."""
    blocks: list[Block] = []
    remark: tuple[str, str] | None = None
    fence: list[str] | None = None
    language, start, follows = "", 0, False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if fence is not None:
            if line.strip() != "```":
                fence.append(line)
                continue
            code = "\n".join(fence)
            runs = language == "python" or (language == "sh" and code.startswith(COMMAND))
            if runs:
                reason = _reason(remark, "not run")
                blocks.append(Block(page=page, line=start, language=language, code=code, not_run=reason))
            elif language == "text" and follows:
                varies = _reason(remark, "output varies") is not None
                blocks[-1] = replace(blocks[-1], output=code, output_varies=varies)
            follows, fence, remark = runs, None, None
        elif line.startswith("```"):
            language, fence, start = line[3:].strip(), [], number
        elif match := REMARK.fullmatch(line.strip()):
            remark = (match[1], match[2])
        elif line.strip():
            follows = False
    assert fence is None, f"{page.name}:{start}: the block is never closed"
    return blocks


def _reason(remark: tuple[str, str] | None, kind: str) -> str | None:
    return remark[1] if remark and remark[0] == kind else None


def run(block: Block, namespace: dict[str, Any]) -> str:
    """Run one block, and return what a notebook or a terminal would show."""
    if block.language == "sh":
        return _run_command(block.code)
    tree = ast.parse("\n" * block.line + block.code, filename=block.id)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    shown = io.StringIO()
    width = pd.option_context("display.width", 100, "display.max_columns", 20, "display.max_rows", 60)
    with contextlib.redirect_stdout(shown), width, mock.patch.dict(os.environ, COLUMNS=COLUMNS):
        exec(compile(tree, block.id, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), block.id, "eval"), namespace)
            if value is not None:
                print(repr(value))
    return shown.getvalue()


def _run_command(code: str) -> str:
    """Run one command of bayesmm in this process, with a cache folder of its own; `tests/cli` starts processes."""
    arguments = shlex.split(code.replace("\\\n", " "))[1:]
    environment = {"XDG_CACHE_HOME": str(Path.cwd()), "COLUMNS": COLUMNS}
    done = CliRunner().invoke(app, arguments, prog_name="bayesmm", env=environment)
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    assert done.exit_code in (0, 1), done.output
    return done.stdout


def differences(shown: str, documented: str, *, varies: bool) -> str:
    """Say where an output is not what the page says; empty if it is."""
    if varies:
        found, expected = set(WORD.findall(shown)), set(WORD.findall(documented))
        same = len(found & expected) / max(len(found | expected), 1)
        if same < SAME_WORDS:
            return f"other words than the page, {sorted(found ^ expected)}"
        frames = _frame(shown), _frame(documented)
        return "" if frames[0] == frames[1] else f"other headings or legends than the page, {frames[0] ^ frames[1]}"
    pieces, expected_pieces = _words(shown), _words(documented)
    for one, other in zip(pieces, expected_pieces, strict=False):
        if one != other and not (_is_number(one) and _is_number(other) and _close(one, other)):
            return f"{one!r} where the page has {other!r}"
    if len(pieces) != len(expected_pieces):
        return f"{len(pieces)} words where the page has {len(expected_pieces)}"
    return ""


def _frame(text: str) -> set[str]:
    """Lines that do not depend on the numbers: headings, heads of tables and legends, without blanks and rules."""
    lines = (line for line in text.splitlines() if not line.startswith(("•", "  ")) or line.startswith(" " * 8))
    plain = (" ".join(word for word in line.split() if not set(word) <= set("─-=_━═")) for line in lines)
    return {line for line in plain if line and not line.endswith(".") and not NUMBER.search(LEVEL.sub("", line))}


def _words(text: str) -> list[str]:
    """Words and numbers, without blanks and rules, whose widths follow the numbers."""
    pieces: list[str] = []
    for word in text.split():
        if set(word) <= set("─-=_━═"):
            continue
        position = 0
        for match in NUMBER.finditer(word):
            pieces += [part for part in (word[position : match.start()], match[0]) if part]
            position = match.end()
        pieces += [word[position:]] if word[position:] else []
    return pieces


def _is_number(word: str) -> bool:
    return NUMBER.fullmatch(word) is not None


def _close(one: str, other: str) -> bool:
    unit = max(_unit(one), _unit(other))
    return math.isclose(_value(one), _value(other), rel_tol=1e-6, abs_tol=LAST_DIGIT * unit)


def _value(word: str) -> float:
    return float(word.replace("−", "-").replace(",", ""))


def _unit(word: str) -> float:
    """One unit of the last shown digit; zero of a whole number."""
    mantissa, _, exponent = word.partition("e")
    decimals = mantissa.partition(".")[2]
    return 10.0 ** (int(exponent or 0) - len(decimals)) if decimals else 0.0
