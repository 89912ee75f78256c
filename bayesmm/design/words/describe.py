"""A design in words and in mathematics, as a statistician would write it down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bayesmm.console import columns, fold, listing, visible
from bayesmm.design.blocks.arrangements import find_arrangements
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.residual import ResidualBlock
from bayesmm.design.design import Design
from bayesmm.presenting.formula import (
    Equation,
    Formula,
    below,
    bracketed,
    joined,
    number,
    operator,
    squared,
    summed,
    symbol,
    upright,
    word,
)
from bayesmm.presenting.parts import Column, Table, Words, notes
from bayesmm.presenting.report import Report

_WIDTH = 100
_INDENT = 14
_MOST_TERMS = 6  # written out in the equation; more are summed over j
_MOST_NAMES = 12


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
    lines += [f"  {line}" for each in equations(design) for line in each.lines(_width() - 2)]
    lines += ["", *_entry("Rows", _rows(design)), *_entry("Columns of X", _columns(design))]
    if design.aliased:
        lines += _entry("Aliased", _aliased(design))
    for position, block in enumerate(design.blocks):
        lines += _entry("Groups" if position == 0 else "", _group(block))
    if design.residual is not None and design.residual.group:
        lines += _entry("Residuals", _residuals(design.residual))
    for position, arrangement in enumerate(find_arrangements(design.blocks, design.n_pairs)):
        lines += _entry("Structure" if position == 0 else "", str(arrangement))
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
    if design.residual is not None and design.residual.group:
        names.append("Residuals")
        entries.append(_residuals(design.residual))
    blocks, written = design.blocks, equations(design)
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
            Words(
                role="equations",
                texts=tuple(line for each in written for line in each.lines(_WIDTH)),
                mathml=tuple(each.html for each in written),
            ),
            Table(names=names, columns=(Column(head="", cells=entries, is_words=True),)),
            groups,
            notes(map(str, find_arrangements(blocks, design.n_pairs))),
        ),
    )


def equations(design: Design) -> list[Equation]:
    """Write the model as equations.

    Parameters
    ----------
    design : Design
        Data and specification.

    Returns
    -------
    list of Equation
        That of the response, the distribution of each set of random effects, and that of the residuals.

    Notes
    -----
    The subscript i is the row; ``b₁[Subjectᵢ]`` is the second effect of the level that row i belongs to.
    """
    summands = _fixed_summands(design)
    for text in design.specification.offsets:
        summands.append(below(word("offset") + bracketed(word(text)), "i"))
    for block in design.blocks:
        summands += _random_summands(block)
    residual = below(symbol("ε"), "i")
    response = Equation(left=_of_row(design.response), relation="=", summands=(*summands, residual))
    variance = squared(symbol("σ"))
    if design.has_weights:
        variance += operator("/") + below(symbol("w"), "i")
    known = ", σ known" if design.known_sigma is not None else ""
    if design.residual is not None:
        variance = squared(symbol("σ")) + symbol("R")
        if design.has_weights:
            variance += operator("/") + symbol("w")
        return [
            response,
            *(line for block in design.blocks for line in _distributions(block)),
            Equation(
                left=symbol("ε"),
                relation="~",
                summands=(_normal(variance),),
                note=f"{known}, R: {design.residual.words}",
            ),
        ]
    return [
        response,
        *(line for block in design.blocks for line in _distributions(block)),
        Equation(left=residual, relation="~", summands=(_normal(variance),), note=known),
    ]


def _normal(variance: Formula) -> Formula:
    return upright("N") + bracketed(number(0) + operator(", ") + variance)


def _of_row(name: str) -> Formula:
    """Write the value of a column in row i."""
    own = word(name)
    return below(bracketed(own) if " " in name and not name.endswith((")", "]")) else own, "i")


def _numbered(letter: str, index: int) -> Formula:
    return below(symbol(letter), str(index))


def _fixed_summands(design: Design) -> list[Formula]:
    names = [design.coefficients[j] for j in design.kept]
    start = 0 if names[:1] == ["Intercept"] else 1
    if len(names) > _MOST_TERMS:
        intercept = [_numbered("β", 0)] if start == 0 else []
        return [*intercept, summed("β", "j", 1, len(names) - len(intercept), operator("·") + below(symbol("X"), "ij"))]
    return [_product(_numbered("β", start + j), name) for j, name in enumerate(names)]


def _random_summands(block: RandomBlock) -> list[Formula]:
    if block.grouping.kind == "roles":
        return _role_summands(block)
    if block.grouping.kind == "members":
        return _member_summands(block)
    if block.k > _MOST_TERMS:
        is_smooth = len(block.pieces) == 1 and block.pieces[0].term.is_smooth
        columns = below(word(block.pieces[0].term.label) if is_smooth else symbol("Z"), "ij")
        product = operator("·") + columns
        return [summed("b", "j", 0, block.k - 1, product if block.is_whole else _level_of_row(block) + product)]
    effects = [_numbered("b", j) for j in range(block.k)]
    if not block.is_whole:
        effects = [effect + _level_of_row(block) for effect in effects]
    return [_product(effect, name) for effect, name in zip(effects, block.effects, strict=True)]


def _level_of_row(block: RandomBlock) -> Formula:
    return bracketed(joined(", ", map(_of_row, block.factors)), "[]")


def _role_summands(block: RandomBlock) -> list[Formula]:
    summands = []
    for role, own in zip(block.factors, block.roles, strict=True):
        for j in own:
            name = "Intercept" if block.effects[j] == role else block.effects[j].removesuffix(f" of {role}")
            summands.append(_product(_numbered("b", j) + bracketed(_of_row(role), "[]"), name))
    return summands


def _member_summands(block: RandomBlock) -> list[Formula]:
    weights = [_weight(text) for text in block.grouping.weights]
    total = bracketed(joined(" + ", weights)) if weights else number(len(block.factors))

    def effect(j: int) -> Formula:
        parts = [_numbered("b", j) + bracketed(_of_row(factor), "[]") for factor in block.factors]
        if weights:
            parts = [w + operator("·") + part for w, part in zip(weights, parts, strict=True)]
        sum_ = bracketed(joined(" + ", parts))
        return sum_ + operator("/") + total if block.grouping.scale else sum_

    return [_product(effect(j), name) for j, name in enumerate(block.effects)]


def _weight(text: str) -> Formula:
    """Write the weight of a member in row i: a number as it is."""
    if text.lstrip("-").replace(".", "", 1).isdigit():
        return bracketed(number(text)) if text.startswith("-") else number(text)
    return _of_row(text) if text.isidentifier() else below(bracketed(word(text)), "i")


def _product(coefficient: Formula, name: str) -> Formula:
    return (
        coefficient if name == "Intercept" else coefficient + operator("·") + _of_row(name.removeprefix("Intercept:"))
    )


def _distributions(block: RandomBlock) -> Iterator[Equation]:
    """Write the distribution of each independent set of effects of one level."""
    group = bracketed(word(block.group), "[]")
    for piece in block.pieces:
        effects = [_numbered("b", j) for j in range(piece.start, piece.stop)]
        k = len(effects)
        shown = effects if k <= _MOST_TERMS else [effects[0], operator("..."), effects[-1]]
        if k == 1:
            left, words = effects[0], ""
            sd = joined(" | ", [word(block.effects[piece.start]), word(block.group)])
            variance = squared(word("sd") + bracketed(sd))
            if block.relation is not None:
                variance = variance + operator("·") + word(block.grouping.relation)
        else:
            left, variance = bracketed(joined(", ", shown)), upright("Σ")
            if block.relation is not None:
                variance = word(block.grouping.relation) + operator(" ⊗ ") + variance
            words = f", Σ {k} × {k} {piece.structure.words}"
        n = block.incidence.n_reached()[piece.start : piece.stop].max() if piece.term.grouping.by else block.q
        note = words if block.is_whole else f"{words}, {n} levels"
        whose = left if block.is_whole else left + group
        yield Equation(left=whose, relation="~", summands=(_normal(variance),), note=note)


def _width() -> int:
    return min(_WIDTH, columns())


def _entry(title: str, text: str) -> list[str]:
    return fold(text, _width(), first=f"{title:<{_INDENT}}", then=" " * _INDENT)


def _rows(design: Design) -> str:
    known = design.elsewhere
    read = "" if known is None else f"; read from {known.where} in {known.n_chunks} chunk{'s'[: known.n_chunks != 1]}"
    if not design.n_dropped:
        return f"{design.n} used, none dropped{read}"
    counts = listing([f"{name} {count}" for name, count in design.dropped_by.items()])
    return f"{design.n} used, {design.n_dropped} dropped because of missing values ({counts}){read}"


def _columns(design: Design) -> str:
    return f"{design.p}: {_shorten([design.coefficients[j] for j in design.kept])}" if design.p else "none"


def _aliased(design: Design) -> str:
    return f"{_shorten(design.aliased)}: combinations of earlier columns, left out"


def _group(block: RandomBlock) -> str:
    effects = f"effects {_shorten(block.effects)}"
    if block.is_whole:
        return f"{block.group} (all rows): {effects}"
    text = f"{block.group}: {block.q} levels ({_shorten(block.levels, 4)}), {effects}"
    if block.relation is None:
        return text
    return f"{text}, related by {block.grouping.relation}; {len(block.incidence.levels_present())} levels have rows"


def _residuals(residual: ResidualBlock) -> str:
    least, most = residual.sizes
    rows = f"{least} to {most}" if least < most else f"{most}"
    return f"{len(residual.levels)} groups by {residual.group} of {rows} rows"


def _shorten(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """List names, the middle left out if there are many."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])}, ..., {names[-1]}"
