"""Phylogenies: species whose traits wandered apart since they parted."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.cholesky.precision import Factored
from bayesmm.console import listing
from bayesmm.design.related.relation import AnyRelation, KnownRelation
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.errors import DesignError

SPARSE_FROM = 2000  # tips and inner nodes up to which A itself is taken
TOKEN = re.compile(r"\[[^\]]*\]|'(?:[^']|'')*'|[(),:;]|[^\s(),:;\[\]']+|\S")


def phylogeny(tree: str, *, scaled: bool = True) -> AnyRelation:
    """Relate species by their tree, under Brownian motion.

    Parameters
    ----------
    tree : str
        In Newick's notation, with the length of every branch: ``"((human:6,chimpanzee:6):3,gorilla:9);"``.
    scaled : bool
        Whether the covariance is divided by the mean distance of the tips from the root, so that the standard deviation
        of the term is that of a species today. Without, it is that of a branch of length one.

    Returns
    -------
    KnownRelation or SparseRelation
        For ``relations`` of `Model`. Its levels are the tips and the inner nodes but for the root, by their names or
        as ``"node 1"``, ``"node 2"``, ... from the root outwards: ancestors, whose effects are predicted. Of more than
        2,000 levels the inverse of A is taken, which is sparse.

    Raises
    ------
    DesignError
        If the text is no tree, a branch has no length or a negative one, or a name occurs twice; or if there are more
        than 2,000 levels and a branch of length zero.

    Notes
    -----
    A node is its parent's value plus a step whose variance is the length of the branch, so that the covariance of two
    species is the length of the branches that they share. What comes before the root is in the intercept.

    References
    ----------
    Felsenstein (1985), Am. Nat. 125. Lynch (1991), Evolution 45. Hadfield & Nakagawa (2010), J. Evol. Biol. 23, for the
    inner nodes, with which A⁻¹ is sparse.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> apes = bmm.phylogeny("((human:6,chimpanzee:6):3,gorilla:9);")
    >>> apes.levels
    ('node 1', 'human', 'chimpanzee', 'gorilla')
    >>> apes.covariances([1], [2]).round(3).tolist()
    [0.333]
    """
    if not isinstance(tree, str):
        raise DesignError(f"tree is {shorten(tree)}: give a text such as '((a:1,b:1):2,c:3);'.")
    if not isinstance(scaled, bool):
        raise DesignError(f"scaled is {shorten(scaled)}: give True or False.")
    nodes = _read(tree)
    parents, lengths = np.array(nodes.parents[1:]) - 1, np.array(nodes.lengths[1:])  # without the root, which is −1
    labels = _name(nodes)
    heights = np.zeros(len(parents) + 1)
    for i, parent in enumerate(parents.tolist()):
        heights[i] = heights[parent] + lengths[i]
    is_tip = np.ones(len(parents) + 1, dtype=bool)
    is_tip[parents] = is_tip[-1] = False
    height = float(heights[is_tip].mean())
    if not height > 0:
        raise DesignError("No branch of the tree has a length above zero: all species would be one.")
    lengths = lengths / height if scaled else lengths
    if len(labels) <= SPARSE_FROM:
        return KnownRelation(levels=labels, covariance=_covariance(parents, lengths))
    zero = np.flatnonzero(lengths == 0)
    if len(zero):
        raise DesignError(
            f"{len(zero)} branch(es) of the tree have the length zero: those of "
            f"{listing([labels[i] for i in zero], 5, quoted=True)}. Of so many levels the inverse of A is needed, and "
            "there is none. Join what is one, or give the branches a small length."
        )
    return SparseRelation(levels=labels, precision=_precision(parents, lengths))


@dataclass
class _Nodes:
    """Nodes of a tree, parents before their children, the root first."""

    parents: list[int] = field(default_factory=lambda: [-1])
    labels: list[str] = field(default_factory=lambda: [""])
    lengths: list[float] = field(default_factory=lambda: [np.nan])

    def add(self, parent: int) -> int:
        self.parents.append(parent)
        self.labels.append("")
        self.lengths.append(np.nan)
        return len(self.parents) - 1


def _read(text: str) -> _Nodes:
    """Read Newick's notation; comments in brackets are skipped."""
    nodes, at, depth, is_length, ended = _Nodes(), 0, 0, False, False
    for token in TOKEN.findall(text):
        if token.startswith("[") and token.endswith("]"):
            continue
        if ended:
            raise DesignError(f"The tree goes on after its ';', with {shorten(token)}. Give one tree.")
        if is_length:
            nodes.lengths[at], is_length = _read_length(token, nodes.labels[at]), False
        elif token == "(":
            at, depth = nodes.add(at), depth + 1
        elif token in ",)" and depth == 0:
            raise DesignError(f"The tree has a {token!r} that no '(' stands before.")
        elif token == ",":
            at = nodes.add(nodes.parents[at])
        elif token == ")":
            at, depth = nodes.parents[at], depth - 1
        elif token == ":":
            is_length = True
        elif token == ";":
            ended = True
        elif nodes.labels[at] or (token[0] in "[]'" and len(token) == 1):
            raise DesignError(
                f"The tree has {shorten(token)} after {nodes.labels[at]!r}, where a ',' or ')' must stand."
            )
        else:
            nodes.labels[at] = token[1:-1].replace("''", "'") if token.startswith("'") else token
    if depth or is_length or len(nodes.parents) == 1:
        raise DesignError(
            f"The tree {shorten(text)} is not whole: write '((a:1,b:1):2,c:3);', as many '(' as ')', with a length "
            "after each ':'."
        )
    return nodes


def _read_length(token: str, label: str) -> float:
    try:
        length = float(token)
    except ValueError:
        length = np.nan
    if not (np.isfinite(length) and length >= 0):
        raise DesignError(f"The branch of {label!r} has the length {shorten(token)}: give a number of at least 0.")
    return length


def _name(nodes: _Nodes) -> tuple[str, ...]:
    """Labels of all but the root; inner nodes are counted where they have none."""
    inner = set(nodes.parents)
    labels, count = [], 0
    for i, label in enumerate(nodes.labels[1:], start=1):
        count += i in inner
        if not label and i not in inner:
            raise DesignError("A tip of the tree has no name: name every species.")
        labels.append(label or f"node {count}")
    unknown = [label for label, length in zip(labels, nodes.lengths[1:], strict=True) if np.isnan(length)]
    if unknown:
        raise DesignError(
            f"{len(unknown)} branch(es) of the tree have no length: those of {listing(unknown, 5, quoted=True)}. Write "
            "it after the name, 'human:6.2'."
        )
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DesignError(f"The name {twice!r} occurs twice in the tree. Name each species and each node once.")
    return tuple(labels)


def _covariance(parents: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Make A (q, q): a node is related to all before it as its parent is; the root is zero."""
    q = len(parents)
    A = np.zeros((q + 1, q + 1))
    for i, parent in enumerate(parents.tolist()):
        A[i, :i] = A[:i, i] = A[parent, :i]
        A[i, i] = A[parent, parent] + lengths[i]
    return A[:q, :q]


def _precision(parents: np.ndarray, lengths: np.ndarray) -> Factored:
    """Make A⁻¹: each branch has the square of the difference of its ends over its length in the exponent."""
    q, weights = len(parents), 1.0 / lengths
    has_parent = np.flatnonzero(parents >= 0)
    diagonal = weights + np.bincount(parents[has_parent], weights[has_parent], minlength=q)
    rows, every = np.concatenate([np.arange(q), has_parent]), np.concatenate([np.arange(q), parents[has_parent]])
    return Factored(q, rows, every, np.concatenate([diagonal, -weights[has_parent]]))
