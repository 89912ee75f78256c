"""Formulas of the pages as MathML, which browsers show by themselves: nothing is loaded, from anywhere.

The translation is that of docutils. Sphinx's own renderers load MathJax from a server, or make pictures with LaTeX.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.docutils import SphinxTranslator

MATHML = "http://www.w3.org/1998/Math/MathML"


def translate(formula: str, *, as_block: bool = False) -> str:
    r"""Write a formula of LaTeX as MathML.

    Notes
    -----
    docutils puts the index of an accented letter under it, as of a sum: ``\hat\beta_j`` becomes β with
    a hat above and j below. Here the index is one of the accented letter.
    """
    ElementTree.register_namespace("", MATHML)
    text = tex2mathml(formula, as_block=as_block)
    root = ElementTree.fromstring(re.sub(r"&(?!lt;|gt;|amp;|quot;|apos;)\w+;", lambda each: unescape(each[0]), text))
    for node in list(root.iter(f"{{{MATHML}}}munderover")):
        base, index, accent = node
        if base.tag == f"{{{MATHML}}}mo" or accent.tag != f"{{{MATHML}}}mo":  # a sum has limits above and below
            continue
        node.tag = f"{{{MATHML}}}msub"
        node.clear()
        accented = ElementTree.SubElement(node, f"{{{MATHML}}}mover", accent="true")
        accented.extend((base, accent))
        node.append(index)
    return ElementTree.tostring(root, encoding="unicode")


def _inline(translator: SphinxTranslator, node: nodes.math) -> None:
    translator.body.append(translate(node.astext()))
    raise nodes.SkipNode


def _block(translator: SphinxTranslator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{translate(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
