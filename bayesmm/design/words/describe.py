"""A design in words and in mathematics, as a statistician would write it down."""

from __future__ import annotations

from collections.abc import Sequence

from bayesmm.console import cells, columns, fold, listing, visible
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.relations import find_relations
from bayesmm.design.design import Design
from bayesmm.presenting.parts import Column, Table, Words, notes
from bayesmm.presenting.report import Report

_WIDTH = 100
_INDENT = 14
_MOST_TERMS = 6  # written out in the equation; more are summed over j
_MOST_NAMES = 12
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def describe(design: Design) -> str:
    """Describe rows, groups and columns, how groups are nested or crossed, and the mathematical form.

    Parameters
    ----------
    design : Design
        Data and specification.

    Returns
    -------
    str
        Several lines of plain text.
    """
    lines = [*fold(design.specification.shown, first="Linear mixed model  ", then="    "), ""]
    lines += [f"  {line}" for line in equations(design, _width() - 2)]
    lines += ["", *_entry("Rows", _rows(design)), *_entry("Columns of X", _columns(design))]
    if design.aliased:
        lines += _entry("Aliased", _aliased(design))
    for position, block in enumerate(design.blocks):
        lines += _entry("Groups" if position == 0 else "", _group(block))
    for position, relation in enumerate(find_relations(design.blocks)):
        lines += _entry("Structure" if position == 0 else "", str(relation))
    return "\n".join(map(visible, lines))


def build_report(design: Design) -> Report:
    """Describe the same for a notebook.

    Parameters
    ----------
    design : Design
        Data and specification.
    """
    names, entries = ["Rows", "Columns of X"], [_rows(design), _columns(design)]
    if design.aliased:
        names.append("Aliased")
        entries.append(_aliased(design))
    blocks = design.blocks
    groups = Table(
        names=[block.group for block in blocks],
        head="group",
        columns=(
            Column(head="levels", cells=[f"{block.q}" for block in blocks]),
            Column(head="they are", cells=[_shorten(block.levels, 4) for block in blocks], is_words=True),
            Column(head="effects", cells=[_shorten(block.effects) for block in blocks], is_words=True),
        ),
        caption="Groups",
    )
    return Report(
        title=f"Linear mixed model {design.specification.shown}",
        parts=(
            Words(role="equations", texts=tuple(equations(design))),
            Table(names=names, columns=(Column(head="", cells=entries, is_words=True),)),
            groups,
            notes(map(str, find_relations(blocks))),
        ),
    )


def equations(design: Design, width: int = _WIDTH) -> list[str]:
    """Write the model as equations.

    Parameters
    ----------
    design : Design
        Data and specification.
    width : int
        Columns of a line.

    Returns
    -------
    list of str
        The equation of the response (with continuation lines), the distribution of each set of random effects, and
        that of the residuals.

    Notes
    -----
    The subscript i is the row; ``b₁[Subjectᵢ]`` is the second effect of the level that row i belongs to.
    """
    summands = [*_fixed_summands(design), *(f"offset({text})ᵢ" for text in design.specification.offsets)]
    for block in design.blocks:
        summands += _random_summands(block)
    lines = _fold(f"{_of_row(design.response)} = ", [*summands, "εᵢ"], width)
    for block in design.blocks:
        for line in _distributions(block):
            lines += [line] if cells(visible(line)) <= width else fold(line, width, then="    ")
    variance = "σ²/wᵢ" if design.has_weights else "σ²"
    return [*lines, f"εᵢ ~ N(0, {variance}){', σ known' if design.known_sigma is not None else ''}"]


def _of_row(name: str) -> str:
    """Write the value of a column in row i."""
    return f"({name})ᵢ" if " " in name and not name.endswith((")", "]")) else f"{name}ᵢ"


def _numbered(letter: str, index: int) -> str:
    return letter + str(index).translate(_SUBSCRIPTS)


def _fixed_summands(design: Design) -> list[str]:
    names = [design.coefficients[j] for j in design.kept]
    start = 0 if names[:1] == ["Intercept"] else 1
    if len(names) > _MOST_TERMS:
        intercept = ["β₀"] if start == 0 else []
        return [*intercept, f"Σⱼ βⱼ·Xᵢⱼ (j = 1, ..., {len(names) - len(intercept)})"]
    return [_product(_numbered("β", start + j), name) for j, name in enumerate(names)]


def _random_summands(block: RandomBlock) -> list[str]:
    if block.grouping.kind == "roles":
        return _role_summands(block)
    if block.grouping.kind == "members":
        return _member_summands(block)
    level = f"[{', '.join(_of_row(factor) for factor in block.factors)}]" if not block.is_whole else ""
    if block.k > _MOST_TERMS:
        is_smooth = len(block.pieces) == 1 and block.pieces[0].term.is_smooth
        columns = f"{block.pieces[0].term.label}ᵢⱼ" if is_smooth else "Zᵢⱼ"
        return [f"Σⱼ bⱼ{level}·{columns} (j = 0, ..., {block.k - 1})"]
    return [_product(f"{_numbered('b', j)}{level}", name) for j, name in enumerate(block.effects)]


def _role_summands(block: RandomBlock) -> list[str]:
    summands = []
    for role, own in zip(block.factors, block.roles, strict=True):
        for j in own:
            name = "Intercept" if block.effects[j] == role else block.effects[j].removesuffix(f" of {role}")
            summands.append(_product(f"{_numbered('b', j)}[{_of_row(role)}]", name))
    return summands


def _member_summands(block: RandomBlock) -> list[str]:
    weights = [_weight(text) for text in block.grouping.weights]
    total = f"({' + '.join(weights)})" if weights else str(len(block.factors))

    def effect(j: int) -> str:
        levels = [f"{_numbered('b', j)}[{_of_row(factor)}]" for factor in block.factors]
        parts = [f"{w}·{level}" for w, level in zip(weights, levels, strict=True)] if weights else levels
        return f"({' + '.join(parts)})" + (f"/{total}" if block.grouping.scale else "")

    return [_product(effect(j), name) for j, name in enumerate(block.effects)]


def _weight(text: str) -> str:
    """Write the weight of a member in row i: a number as it is."""
    if text.lstrip("-").replace(".", "", 1).isdigit():
        return f"({text})" if text.startswith("-") else text
    return _of_row(text) if text.isidentifier() else f"({text})ᵢ"


def _product(coefficient: str, name: str) -> str:
    return coefficient if name == "Intercept" else f"{coefficient}·{_of_row(name)}"


def _distributions(block: RandomBlock) -> list[str]:
    """Write the distribution of each independent set of effects of one level."""
    lines = []
    for piece in block.pieces:
        effects = [_numbered("b", j) for j in range(piece.start, piece.stop)]
        k = len(effects)
        shown = ", ".join(effects) if k <= _MOST_TERMS else f"{effects[0]}, ..., {effects[-1]}"
        if k == 1:
            covariance = f"sd({block.effects[piece.start]} | {block.group})²"
        else:
            covariance = f"Σ), Σ {k} × {k} {piece.structure.words}"
        left = shown if k == 1 else f"({shown})"
        whose, levels = (f"[{block.group}]", f", {block.q} levels") if not block.is_whole else ("", "")
        lines.append(f"{left}{whose} ~ N(0, {covariance}{')' if k == 1 else ''}{levels}")
    return lines


def _width() -> int:
    return min(_WIDTH, columns())


def _fold(start: str, summands: Sequence[str], width: int) -> list[str]:
    """Join summands by plus signs, in lines that fit the page."""
    lines, current = [], start + summands[0]
    for summand in summands[1:]:
        if len(current) + len(summand) + 3 > width:
            lines.append(current)
            current = " " * min(len(start) - 2, width // 4) + f"+ {summand}"
        else:
            current += f" + {summand}"
    whole = [*lines, current]
    return [part for line in whole for part in ([line] if cells(line) <= width else fold(line, width, then="    "))]


def _entry(title: str, text: str) -> list[str]:
    return fold(text, _width(), first=f"{title:<{_INDENT}}", then=" " * _INDENT)


def _rows(design: Design) -> str:
    if not design.n_dropped:
        return f"{design.n} used, none dropped"
    counts = listing([f"{name} {count}" for name, count in design.dropped_by.items()])
    return f"{design.n} used, {design.n_dropped} dropped because of missing values ({counts})"


def _columns(design: Design) -> str:
    return f"{design.p}: {_shorten([design.coefficients[j] for j in design.kept])}" if design.p else "none"


def _aliased(design: Design) -> str:
    return f"{_shorten(design.aliased)}: combinations of earlier columns, left out"


def _group(block: RandomBlock) -> str:
    effects = f"effects {_shorten(block.effects)}"
    if block.is_whole:
        return f"{block.group} (all rows): {effects}"
    return f"{block.group}: {block.q} levels ({_shorten(block.levels, 4)}), {effects}"


def _shorten(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """List names, the middle left out if there are many."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])}, ..., {names[-1]}"
