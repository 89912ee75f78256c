"""Model: a specification bound to data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np

from bayesmm.design.design import Design, build_design
from bayesmm.design.labels import Labels, build_labels
from bayesmm.errors import SpecificationError
from bayesmm.marginal.covariance import Layout
from bayesmm.marginal.crossproducts import BlockArrays, CrossProducts, build_products
from bayesmm.marginal.plan import Plan
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import estimate
from bayesmm.reml.fit import Fit
from bayesmm.specification.formula import parse_formula
from bayesmm.specification.terms import Specification


class Model:
    """A linear mixed model: one formula bound to one data set.

    Parameters
    ----------
    formula : str
        lme4's grammar, for example ``"Reaction ~ Days + (Days | Subject)"``.
    data : data frame
        A pandas, polars or pyarrow table, one row an observation.
    weights : str or array-like, optional
        Prior weights w of the residual variance σ²/w: a column, an expression such as ``"1 / se**2"``, or one number
        for each row of the data.
    sigma : float, optional
        Residual standard deviation (of a row of weight one) where it is known, as in a meta-analysis; estimated by
        default.
    priors : dict or "flat", optional
        Priors for `sample`, by parameter or by kind; weakly informative ones by default, see `Model.priors`.
    missing : {"drop", "raise"}
        Whether rows with missing values are left out (counted and reported) or refused.
    namespace : mapping, optional
        Functions and values that the formula may use by these names.

    Raises
    ------
    SpecificationError
        If the formula cannot be read.
    DesignError
        If the data do not fit it.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    >>> round(model.fit().loglik, 3)
    -871.814
    """

    def __init__(
        self,
        formula: str,
        data: Any,
        *,
        weights: Any = None,
        sigma: float | None = None,
        priors: Any = None,
        missing: Literal["drop", "raise"] = "drop",
        namespace: Mapping[str, Any] | None = None,
    ) -> None:
        self.known_sigma = _check_sigma(sigma)
        self.design: Design = build_design(
            parse_formula(formula),
            data,
            weights=weights,
            missing=missing,
            namespace=namespace,
            sigma_fixed=sigma is not None,
        )
        self.labels: Labels = build_labels(self.design)

    @property
    def specification(self) -> Specification:
        """What the formula says."""
        return self.design.specification

    @cached_property
    def _layout(self) -> Layout:
        return tuple(
            tuple((piece.start, piece.stop, piece.term.structure) for piece in block.pieces)
            for block in self.design.blocks
        )

    @cached_property
    def _summed(self) -> tuple[CrossProducts, Plan]:
        design = self.design
        blocks = [
            BlockArrays(codes=block.codes, columns=block.columns, n_levels=block.q, pieces=pieces)
            for block, pieces in zip(design.blocks, self._layout, strict=True)
        ]
        return build_products(design.X[:, design.kept], design.y - design.offset, design.weights, blocks)

    def fit(self, method: Literal["reml", "ml"] = "reml") -> Fit:
        """Estimate by restricted or full maximum likelihood.

        Parameters
        ----------
        method : {"reml", "ml"}
            Whether the fixed effects are integrated out of the likelihood (REML) or maximised over (ML).

        Returns
        -------
        Fit
        """
        if method not in ("reml", "ml"):
            raise ValueError(f"method is {method!r}: give 'reml' or 'ml'.")
        products, plan = self._summed
        criterion = Criterion(products, self._layout, method, self.known_sigma)
        return Fit(
            design=self.design,
            labels=self.labels,
            method=method,
            known_sigma=self.known_sigma,
            layout=self._layout,
            estimate=estimate(criterion, plan.n_levels),
        )

    def __str__(self) -> str:
        return str(self.design)

    __repr__ = __str__


def _check_sigma(sigma: float | None) -> float | None:
    if sigma is None:
        return None
    if not isinstance(sigma, (int, float, np.number)) or not np.isfinite(sigma) or sigma <= 0:
        raise SpecificationError(
            f"sigma is {sigma!r}: give the known residual standard deviation, a positive number, or leave it out to "
            "have it estimated."
        )
    return float(sigma)
