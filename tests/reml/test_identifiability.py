"""Effects are told from residuals by rank: flat likelihoods are refused, others are fitted however many effects there are."""

import re

import numpy as np
import pandas as pd
import pytest
from oracle import DenseModel, block_diagonal, level_covariance, random_columns

import bayesmm as bmm
from bayesmm.design.blocks.told_apart import find_indistinct
from bayesmm.errors import BayesmmWarning, DesignError, EstimationError

Q = 24
CROWDED = "has 48 random effects (24 levels × 2 effects) for 48 rows"


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """Two rows a level; x differs between levels, z is 0 and 1 in each."""
    rng = np.random.default_rng(5)
    g, x, z = np.repeat(np.arange(Q), 2), rng.normal(size=2 * Q), np.tile([0.0, 1.0], Q)
    b = rng.normal(size=(Q, 2))
    return pd.DataFrame(
        {
            "g": [f"g{i:02}" for i in g],
            "h": [f"h{i % 6}" for i in range(2 * Q)],
            "x": x,
            "z": z,
            "first": 1.0 - z,
            "w": rng.uniform(0.5, 2.0, 2 * Q),
            "y": 1.0 + b[g, 0] + 2.0 * b[g, 1] * x + 0.5 * rng.normal(size=2 * Q),
        }
    )


def test_slopes_of_two_rows_a_level_are_fitted_where_the_covariate_differs(pairs):
    """lme4 refuses these by their number: 48 effects for 48 observations."""
    with pytest.warns(BayesmmWarning, match=re.escape(CROWDED)):
        fit = bmm.Model("y ~ x + (x | g)", pairs).fit()
    code = pd.factorize(pairs["g"])[0]
    columns = np.column_stack([np.ones(2 * Q), pairs["x"]])
    dense = DenseModel(y=pairs["y"].to_numpy(), X=columns, Z=random_columns(code, columns, Q))
    (Lambda,) = fit.factors

    def value(L, sigma):
        return dense.log_likelihood(level_covariance(sigma**2 * L @ L.T, Q), sigma, "reml")

    top = value(Lambda, fit.sigma)
    assert fit.loglik == pytest.approx(top, abs=1e-8)
    rng = np.random.default_rng(1)
    for _ in range(200):  # a maximum, though not a sharp one
        moved = np.tril(Lambda + 0.05 * rng.normal(size=(2, 2)))
        assert value(moved, fit.sigma * np.exp(0.05 * rng.normal())) <= top + 1e-9


@pytest.mark.parametrize("term", ["(z | g)", "(0 + first + z | g)", "(0 + C(z) | g)", "cs(z | g)", "homcs(0 + first + z | g)", "homdiag(0 + first + z | g)", "(0 + first | g) + (0 + z | g)"])  # fmt: skip
def test_slopes_of_two_rows_a_level_are_refused_where_all_levels_are_alike(pairs, term):
    with pytest.raises(DesignError, match="the resid"):
        bmm.Model(f"y ~ z + {term}", pairs)
    with np.errstate(all="ignore"):
        assert bmm.Model(f"y ~ z + {term}", pairs, sigma=0.5).fit().n == 2 * Q
    bmm.Model(f"y ~ z + {term}", pairs, weights="w")  # the weights tell the levels apart
    bmm.Model(f"y ~ z + {term}", pd.concat([pairs, pairs[:1]], ignore_index=True))  # a repeated row


def test_what_is_refused_is_flat_and_what_is_not_is_not(pairs):
    """The dense likelihood along the direction in which the residual variance goes to the effects."""
    code = pd.factorize(pairs["g"])[0]
    for column, is_flat in (("z", True), ("x", False)):
        columns = np.column_stack([np.ones(2 * Q), pairs[column]])
        dense = DenseModel(y=pairs["y"].to_numpy(), X=columns, Z=random_columns(code, columns, Q))
        G, sigma, move = np.array([[1.0, 0.3], [0.3, 2.0]]), 1.0, 0.2
        gain = move * np.linalg.inv(columns[:2].T @ columns[:2])
        one, two = (
            dense.log_likelihood(level_covariance(each, Q), s, "reml")
            for each, s in ((G, sigma), (G + gain, np.sqrt(sigma**2 - move)))
        )
        assert (abs(one - two) < 1e-9) == is_flat


def test_one_row_a_level_is_told_from_the_residual_by_its_weight(pairs):
    rng = np.random.default_rng(4)
    w = np.geomspace(0.05, 5.0, Q)
    one = pairs[::2].reset_index(drop=True).assign(w=w, y=0.6 * rng.normal(size=Q) + rng.normal(size=Q) / np.sqrt(w))
    with pytest.raises(DesignError, match="24 random effects"):
        bmm.Model("y ~ 1 + (1 | g)", one)
    with pytest.raises(DesignError, match="24 random effects"):
        bmm.Model("y ~ 1 + (1 | g)", one.assign(w=3.0), weights="w")
    with pytest.warns(BayesmmWarning, match="24 random effects"):
        fit = bmm.Model("y ~ 1 + (1 | g)", one, weights="w").fit()
    dense = DenseModel(y=one["y"].to_numpy(), X=np.ones((Q, 1)), Z=np.eye(Q), weights=one["w"].to_numpy())
    values = [dense.profiled_log_likelihood(t**2 * np.eye(Q), "reml") for t in np.linspace(0.0, 5.0, 501)]
    assert fit.loglik >= max(values) - 1e-9
    assert np.ptp(values) > 0.01


def test_known_sigma_leaves_nothing_to_tell_apart(pairs):
    fit = bmm.Model("y ~ 1 + (1 | g)", pairs[::2], sigma=0.5).fit()
    assert fit.parameters.loc["sd(Intercept | g)", "estimate"] > 0


def test_fixed_effects_can_take_away_what_tells_them_apart(pairs):
    """Once each level has its own mean, REML sees one difference a level, of variance sd² + 2σ² for all of them."""
    with pytest.raises(EstimationError, match=r"restricted likelihood is flat.*24 fixed effects"):
        bmm.Model("y ~ 0 + g + (0 + z | g)", pairs).fit()
    fit = bmm.Model("y ~ 0 + g + (0 + x | g)", pairs).fit()
    assert fit.sigma > 0
    assert bmm.Model("y ~ 0 + g + (0 + z | g)", pairs, sigma=0.5).fit().n == 2 * Q


def test_terms_of_several_factors_together_can_be_the_residual(pairs):
    two = pairs.assign(k=pairs["g"])
    with pytest.raises(DesignError, match=r"\(0 \+ first \| g\) and \(0 \+ z \| k\) together"):
        bmm.Model("y ~ z + (0 + first | g) + (0 + z | k)", two)
    bmm.Model("y ~ z + (0 + first | g) + (1 | k)", two)


def test_verdict_does_not_depend_on_units_origins_or_order(pairs):
    for column, expected in (("x", 0), ("z", 1)):
        for scale, shift in ((1.0, 0.0), (1e-6, 0.0), (1e6, 0.0), (1.0, 2000.0), (7.0, -30.0)):
            moved = pairs.assign(v=scale * (pairs[column] + shift)).sample(frac=1.0, random_state=2)
            design = bmm.Model("y ~ 1 + (v | g)", moved, sigma=0.5).design
            assert len(find_indistinct(design.blocks, design.weights)) == expected


def test_members_and_crossed_factors_are_seen_in_full():
    """A dense rank decides the same: is the identity among the combinations of the derivatives of V?"""
    rng = np.random.default_rng(8)
    n = 12
    frame = pd.DataFrame(
        {
            "a": [f"p{i}" for i in rng.permutation(n)],
            "b": [f"p{i}" for i in rng.permutation(n)],
            "c": [f"c{i % 4}" for i in range(n)],
            "y": rng.normal(size=n),
        }
    )
    frame = frame[frame["a"] != frame["b"]].reset_index(drop=True)
    for formula in ("y ~ 1 + (1 | mm(a, b))", "y ~ 1 + (1 | a) + (1 | c)", "y ~ 1 + (1 | mm(a, b)) + (1 | c)"):
        design = bmm.Model(formula, frame, sigma=1.0).design
        parts = []
        for block in design.blocks:
            Z = np.zeros((design.n, block.q))
            for own in block.incidence.memberships:
                Z[np.arange(design.n), own.codes] += own.columns[:, 0]
            parts.append((Z @ Z.T).ravel())
        identity = np.eye(design.n).ravel()
        left = identity - np.column_stack(parts) @ np.linalg.lstsq(np.column_stack(parts), identity, rcond=None)[0]
        assert bool(find_indistinct(design.blocks, design.weights)) == (np.linalg.norm(left) < 1e-9)


def test_dense_blocks_agree(pairs):
    """The flat restricted likelihood is flat by the textbook, too."""
    code = pd.factorize(pairs["g"])[0]
    X = random_columns(code, np.ones(2 * Q), Q)
    dense = DenseModel(y=pairs["y"].to_numpy(), X=X, Z=random_columns(code, pairs["z"].to_numpy(), Q))
    values = [
        dense.log_likelihood(block_diagonal([level_covariance(np.array([[total - 2.0 * s2]]), Q)]), np.sqrt(s2), "reml")
        for total in (3.0,)
        for s2 in (0.2, 0.7, 1.4)
    ]
    assert np.ptp(values) < 1e-9
