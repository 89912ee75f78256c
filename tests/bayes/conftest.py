"""Models in pieces, as the programs take them."""

from dataclasses import dataclass

import numpy as np
import pytest
from oracle import DenseModel, block_diagonal, level_covariance, random_columns

from bayesmm import datasets
from bayesmm.bayes.priors.resolution import ResolvedPriors, resolve_priors
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design, build_design
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.problem import Problem
from bayesmm.specification.formula import parse_formula


@dataclass(frozen=True, kw_only=True)
class Case:
    design: Design
    labels: Labels
    products: CrossProducts
    priors: ResolvedPriors

    @property
    def problem(self) -> Problem:
        return Problem(self.design, products=self.products)

    @property
    def dense(self) -> DenseModel:
        design = self.design
        Z = np.hstack(
            [
                sum(random_columns(each.codes, each.columns, block.q) for each in block.incidence.memberships)
                for block in design.blocks
            ]
        )
        X = design.X[:, design.kept]
        return DenseModel(y=design.y - design.offset, X=X, Z=Z, weights=design.weights)

    def dense_covariance(self, factors) -> np.ndarray:
        """G of factors F with Var(b) = FF'."""
        blocks = zip(factors, self.design.blocks, strict=True)
        return block_diagonal([level_covariance(F @ F.T, block.q) for F, block in blocks])


def make_case(formula, data, *, priors=None, weights=None, sigma=None) -> Case:
    data = datasets.load(data) if isinstance(data, str) else data
    design = build_design(parse_formula(formula), data, weights=weights, known_sigma=sigma)
    return Case(
        design=design,
        labels=design.labels,
        products=Problem(design).products,
        priors=resolve_priors(priors, design),
    )


@pytest.fixture(scope="session")
def build():
    return make_case
