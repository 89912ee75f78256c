"""What was asked: formulas and declarations, without data or numerics."""

from bayesmm.specification.formula import parse_formula
from bayesmm.specification.terms import RandomTerm, Specification

__all__ = ["RandomTerm", "Specification", "parse_formula"]
