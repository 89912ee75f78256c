"""One spelling for names that lme4, the reference files and the package write differently."""

from __future__ import annotations

import re

LEVEL = re.compile(r"\[(T\.)?([^\]]*)\]")


def canonical_effect(name: str) -> str:
    """A coefficient or effect: no blanks, the parts of an interaction sorted, numbers as levels in one notation."""
    parts = [_number_levels(part.replace(" ", "")) for part in split_outside_brackets(name, ":")]
    return ":".join(sorted(parts))


def canonical_group(group: str) -> str:
    """A grouping factor: `cask:batch` of lme4 and `batch:cask` of the package are one."""
    return ":".join(sorted(group.split(":")))


def canonical_level(group: str, level: str) -> str:
    """A level's label, its parts in the order of the canonical group."""
    factors = group.split(":")
    if len(factors) == 1:
        return level  # a colon may belong to the label: Pastes has a sample "A:a"
    parts = level.split(":")
    assert len(parts) == len(factors), f"level {level!r} does not belong to group {group!r}"
    return ":".join(part for _, part in sorted(zip(factors, parts, strict=True)))


def split_outside_brackets(text: str, separator: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _number_levels(part: str) -> str:
    def shorten(match: re.Match[str]) -> str:
        try:
            return f"[{match[1] or ''}{float(match[2]):g}]"
        except ValueError:
            return match[0]

    return LEVEL.sub(shorten, part)
