# ruff: noqa -- a record of how the reference values were made, kept as it ran (folder names and layout apart)
"""Exact posterior summaries by deterministic quadrature over the variance parameters (fixed and random effects
integrated analytically).  python scripts/14_bayes_quadrature.py

Every grid is evaluated twice (n and 1.5 n points per axis); the largest change of any summary is recorded."""

import json, math
import numpy as np, pandas as pd
from scipy.stats import norm
from scipy.optimize import brentq


def gl(n, a, b):
    x, w = np.polynomial.legendre.leggauss(n)
    return (b - a) / 2 * x + (a + b) / 2, (b - a) / 2 * w


# ---- log prior densities on a standard deviation
PR = {
    "half_normal": lambda s, sc: math.log(2) - 0.5 * math.log(2 * math.pi) - math.log(sc) - 0.5 * (s / sc) ** 2,
    "half_cauchy": lambda s, sc: math.log(2 / math.pi) - math.log(sc) - np.log1p((s / sc) ** 2),
    "uniform": lambda s, sc: 0.0 * s,
    "inv_gamma_on_variance": lambda s, ab: (
        ab[0] * math.log(ab[1]) - math.lgamma(ab[0]) - (2 * ab[0] + 1) * np.log(s) - ab[1] / s**2 + math.log(2)
    ),
}


def wquant(f, t, w, probs):
    """quantiles of a density known at Gauss-Legendre nodes t (weights w): Legendre series of the density, integrated exactly"""
    from numpy.polynomial import legendre as Lg

    n = len(t)
    x, wx = Lg.leggauss(n)
    h = (t[-1] - t[0]) / (x[-1] - x[0])
    mid = t[0] - h * x[0]
    c = (2 * np.arange(n) + 1) / 2 * (Lg.legvander(x, n - 1) * (wx * f)[:, None]).sum(0)
    C = Lg.legint(c, lbnd=-1)
    tot = Lg.legval(1.0, C)
    return [float(mid + h * brentq(lambda z: Lg.legval(z, C) / tot - p, -1, 1, xtol=1e-13)) for p in probs]


def run(d, axes, loglik, n, names, mean_fun, mu_names, extra_logprior, probs=(0.025, 0.25, 0.5, 0.75, 0.975)):
    """axes: list of (lo, hi, 'log'|'lin'); loglik(grid list of flattened arrays) -> log p(y|theta) with beta integrated, E[beta|theta,y], Var[beta|theta,y]"""
    nodes = []
    for lo, hi, kind in axes:
        if kind == "log":
            t, w = gl(n, math.log(lo), math.log(hi))
            nodes.append((np.exp(t), w * np.exp(t), t))
        else:
            t, w = gl(n, lo, hi)
            nodes.append((t, w, t))
    G = np.meshgrid(*[a[0] for a in nodes], indexing="ij")
    W = np.ones_like(G[0])
    for k, a in enumerate(nodes):
        W = W * a[1].reshape([-1 if j == k else 1 for j in range(len(nodes))])
    fl = [g.ravel() for g in G]
    ll, m, v = loglik(fl)
    lp = ll + extra_logprior(fl)
    c = lp.max()
    p = np.exp(lp - c) * W.ravel()
    Z = p.sum()
    p /= Z
    out = {"log_marginal_likelihood": float(c + math.log(Z)), "parameters": {}}
    for k, nm in enumerate(names):
        x = fl[k]
        mu = (p * x).sum()
        sd = math.sqrt((p * x * x).sum() - mu**2)
        marg = p.reshape(G[0].shape).sum(axis=tuple(j for j in range(len(names)) if j != k)) / nodes[k][1]
        if axes[k][2] == "log":  # density in log coordinate
            q = [math.exp(z) for z in wquant(marg * nodes[k][0], nodes[k][2], None, probs)]
        else:
            q = wquant(marg, nodes[k][0], None, probs)
        out["parameters"][nm] = dict(mean=float(mu), sd=sd, quantiles=q)
    for k, nm in enumerate(mu_names):
        mu = (p * m[:, k]).sum()
        var = (p * (v[:, k] + m[:, k] ** 2)).sum() - mu**2
        keep = p > 1e-14 * p.max()
        f = lambda z, pr: (p[keep] * norm.cdf((z - m[keep, k]) / np.sqrt(v[keep, k]))).sum() / p[keep].sum() - pr
        s = math.sqrt(var)
        out["parameters"][nm] = dict(
            mean=float(mu),
            sd=s,
            quantiles=[float(brentq(f, mu - 12 * s, mu + 12 * s, args=(pr,), xtol=1e-10)) for pr in probs],
        )
    return out


def twice(tag, n, **kw):
    a = run(n=n, **kw)
    b = run(n=int(1.5 * n), **kw)
    ch = 0
    for k in a["parameters"]:
        A, B = a["parameters"][k], b["parameters"][k]
        ch = max(
            ch,
            abs(A["mean"] - B["mean"]) / B["sd"],
            abs(A["sd"] / B["sd"] - 1),
            max(abs(x - y) for x, y in zip(A["quantiles"], B["quantiles"])) / B["sd"],
        )
    if ch > 1e-5:
        print(
            {
                k: (
                    a["parameters"][k]["mean"] - b["parameters"][k]["mean"],
                    [x - y for x, y in zip(a["parameters"][k]["quantiles"], b["parameters"][k]["quantiles"])],
                )
                for k in a["parameters"]
            }
        )
    b["quantile_probabilities"] = [0.025, 0.25, 0.5, 0.75, 0.975]
    b["grid_points_per_axis"] = int(1.5 * n)
    b["max_change_in_sd_units_when_grid_grows"] = ch
    print(
        tag, "change", ch, {k: (round(v["mean"], 4), round(v["sd"], 4)) for k, v in b["parameters"].items()}, flush=True
    )
    return b


models = []
# ---------------------------------------------------------------- eight schools
es = pd.read_csv("golden/data/eight_schools.csv")
y, s2 = es.y.to_numpy(float), es.sigma.to_numpy(float) ** 2


def es_ll(fl, mu0=None):
    tau = fl[0]
    V = s2[None, :] + tau[:, None] ** 2
    w = 1 / V
    P = w.sum(1)
    q = (w * y).sum(1)
    P0, m0 = (0, 0) if mu0 is None else (1 / mu0[1] ** 2, mu0[0])
    Pt = P + P0
    mh = (q + P0 * m0) / Pt
    ll = (
        -0.5 * np.log(2 * np.pi * V).sum(1)
        - 0.5 * (w * y**2).sum(1)
        + 0.5 * Pt * mh**2
        - 0.5 * P0 * m0**2
        - 0.5 * np.log(Pt)
        + (0.5 * math.log(2 * math.pi) if mu0 is None else 0.5 * math.log(P0))
    )
    B = tau[:, None] ** 2 / V  # theta_j | tau = B y + (1-B) mu
    th = B * y + (1 - B) * mh[:, None]
    vt = B * s2 + (1 - B) ** 2 / Pt[:, None]
    return ll, np.column_stack([mh, th]), np.column_stack([1 / Pt, vt])


for tag, pr, sc, mu0, hi in (
    ("eight_schools_flat", "uniform", None, None, 3000.0),
    ("eight_schools_half_cauchy5", "half_cauchy", 5.0, (0.0, 5.0), 5000.0),
    ("eight_schools_half_normal10", "half_normal", 10.0, (0.0, 20.0), 120.0),
):
    r = twice(
        tag,
        400,
        d=None,
        axes=[(1e-6, hi, "log")],
        loglik=lambda fl: es_ll(fl, mu0),
        names=["tau"],
        mean_fun=None,
        mu_names=["mu"] + [f"theta[{a}]" for a in es.school],
        extra_logprior=lambda fl: PR[pr](fl[0], sc),
    )
    models.append(
        dict(
            id=tag,
            data_file="data/eight_schools.csv",
            model="y_j ~ Normal(theta_j, sigma_j known); theta_j ~ Normal(mu, tau)",
            priors={
                "mu": "flat" if mu0 is None else "Normal(%g, %g)" % mu0,
                "tau": pr if sc is None else "%s(scale=%g)" % (pr, sc),
            },
            **r,
        )
    )


# ---------------------------------------------------------------- one random intercept, balanced groups: 2-d
def ri_setup(df, yv, gv, cols):
    X = np.column_stack([np.ones(len(df)) if c == "1" else df[c].to_numpy(float) for c in cols])
    yy = df[yv].to_numpy(float)
    g = pd.factorize(df[gv])[0]
    G = g.max() + 1
    n = np.bincount(g)
    Sx = np.stack([np.bincount(g, X[:, k]) for k in range(X.shape[1])], 1)
    Sy = np.bincount(g, yy)
    XX = X.T @ X
    Xy = X.T @ yy
    YY = yy @ yy
    N = len(yy)

    def ll(fl, prior=None):
        sb2, s2_ = fl[0] ** 2, fl[1] ** 2
        k = len(cols)
        m = len(sb2)
        c = sb2[:, None] / (s2_[:, None] * (s2_[:, None] + n[None, :] * sb2[:, None]))  # V^-1 = I/s2 - c 11'
        A = XX[None] / s2_[:, None, None] - np.einsum("mg,gi,gj->mij", c, Sx, Sx)
        b = Xy[None] / s2_[:, None] - np.einsum("mg,gi,g->mi", c, Sx, Sy)
        q = YY / s2_ - (c * Sy**2).sum(1)
        ld = N * np.log(s2_) + np.log1p(n[None, :] * (sb2 / s2_)[:, None]).sum(1)
        if prior is not None:
            P0 = np.diag(1 / np.array(prior[1]) ** 2)
            m0 = np.array(prior[0])
            A = A + P0
            b = b + P0 @ m0
            q = q + m0 @ P0 @ m0
            lp0 = 0.5 * np.log(np.diag(P0)).sum() - 0.5 * k * math.log(2 * math.pi)
        else:
            lp0 = 0.0
        Ai = np.linalg.inv(A)
        bh = np.einsum("mij,mj->mi", Ai, b)
        val = (
            -0.5 * (N * math.log(2 * math.pi) + ld + q - np.einsum("mi,mi->m", b, bh))
            - 0.5 * np.linalg.slogdet(A)[1]
            + 0.5 * k * math.log(2 * math.pi)
            + lp0
        )
        # group effects b_g: mean, variance
        r = Sy[None, :] - np.einsum("gi,mi->mg", Sx, bh)
        sh = sb2[:, None] / (s2_[:, None] + n[None, :] * sb2[:, None])
        bm = sh * r
        bv = sh * s2_[:, None] + sh**2 * np.einsum("gi,mij,gj->mg", Sx, Ai, Sx)
        return val, np.column_stack([bh, bm]), np.column_stack([np.einsum("mii->mi", Ai), bv])

    return ll, G


def ri(tag, name, yv, gv, cols, neutral, sp, ax, prior, formula, n=120):
    df = pd.read_csv(f"golden/data/{name}.csv")
    ll, G = ri_setup(df, yv, gv, cols)
    lev = pd.factorize(df[gv])[1]
    r = twice(
        tag,
        n,
        d=None,
        axes=ax,
        loglik=lambda fl: ll(fl, prior),
        names=["sd_" + gv, "sigma"],
        mean_fun=None,
        mu_names=neutral + [f"b[{l}]" for l in lev],
        extra_logprior=lambda fl: PR[sp[0][0]](fl[0], sp[0][1]) + PR[sp[1][0]](fl[1], sp[1][1]),
    )
    show = lambda z: (
        z[0]
        + (
            ""
            if z[1] is None
            else "(shape=%g, scale=%g)" % tuple(z[1])
            if isinstance(z[1], (list, tuple))
            else "(scale=%g)" % z[1]
        )
    )
    models.append(
        dict(
            id=tag,
            data_file=f"data/{name}.csv",
            model=formula,
            priors={
                "fixed effects": "flat" if prior is None else ["Normal(%g, %g)" % z for z in zip(*prior)],
                "sd_" + gv: show(sp[0]),
                "sigma": show(sp[1]),
            },
            **r,
        )
    )


ri(
    "dyestuff_weak",
    "Dyestuff",
    "Yield",
    "Batch",
    ["1"],
    ["Intercept"],
    (("half_normal", 100.0), ("half_normal", 100.0)),
    [(1e-4, 800, "log"), (15, 250, "log")],
    ([1500.0], [250.0]),
    "Yield ~ 1 + (1 | Batch)",
    160,
)
ri(
    "dyestuff_half_cauchy",
    "Dyestuff",
    "Yield",
    "Batch",
    ["1"],
    ["Intercept"],
    (("half_cauchy", 50.0), ("half_cauchy", 50.0)),
    [(1e-5, 1e6, "log"), (15, 300, "log")],
    ([1500.0], [500.0]),
    "Yield ~ 1 + (1 | Batch)",
    200,
)
ri(
    "dyestuff2_half_normal",
    "Dyestuff2",
    "Yield",
    "Batch",
    ["1"],
    ["Intercept"],
    (("half_normal", 3.0), ("half_normal", 10.0)),
    [(1e-6, 27, "log"), (1.2, 12, "log")],
    ([5.0], [10.0]),
    "Yield ~ 1 + (1 | Batch)",
    160,
)
ri(
    "rail_half_normal",
    "Rail",
    "travel",
    "Rail",
    ["1"],
    ["Intercept"],
    (("half_normal", 50.0), ("half_normal", 20.0)),
    [(1, 450, "log"), (1, 40, "log")],
    ([60.0], [50.0]),
    "travel ~ 1 + (1 | Rail)",
    160,
)
ri(
    "sleepstudy_ri",
    "sleepstudy",
    "Reaction",
    "Subject",
    ["1", "Days"],
    ["Intercept", "Days"],
    (("half_normal", 100.0), ("half_normal", 100.0)),
    [(8, 200, "log"), (20, 50, "log")],
    ([250.0, 0.0], [100.0, 50.0]),
    "Reaction ~ Days + (1 | Subject)",
    90,
)


# ---------------------------------------------------------------- common-design growth curves: uncorrelated (3-d), correlated with LKJ (4-d)
def growth(tag, name, yv, tv, gv, centre, axes, lprior, prior, n, corr, formula, priors, names):
    df = pd.read_csv(f"golden/data/{name}.csv")
    Y = df.pivot(index=gv, columns=tv, values=yv).to_numpy(float)
    t = np.sort(df[tv].unique()).astype(float) - centre
    Xd = np.column_stack([np.ones_like(t), t])
    G, T = Y.shape
    XtX = Xd.T @ Xd
    iX = np.linalg.inv(XtX)
    Bg = Y @ Xd @ iX
    rss = ((Y - Bg @ Xd.T) ** 2).sum()
    Bm = Bg.mean(0)
    S = (Bg - Bm).T @ (Bg - Bm)
    ldx = np.linalg.slogdet(XtX)[1]

    def ll(fl):  # group-wise least-squares lines b_g ~ N(beta, M), M = D + s2 (X'X)^-1
        s2_ = fl[-1] ** 2
        a, b = fl[0] ** 2, fl[1] ** 2
        co = fl[2] * fl[0] * fl[1] if corr else 0 * a
        M11, M22, M12 = a + s2_ * iX[0, 0], b + s2_ * iX[1, 1], co + s2_ * iX[0, 1]
        det = M11 * M22 - M12**2
        I11, I22, I12 = M22 / det, M11 / det, -M12 / det
        base = (
            -0.5 * (G * (T - 2) * np.log(2 * np.pi * s2_) + rss / s2_)
            - 0.5 * G * ldx
            - 0.5
            * (2 * G * math.log(2 * math.pi) + G * np.log(det) + I11 * S[0, 0] + I22 * S[1, 1] + 2 * I12 * S[0, 1])
        )
        A11, A22, A12 = G * I11, G * I22, G * I12
        if prior is None:
            dA = A11 * A22 - A12**2
            return (
                base + math.log(2 * math.pi) - 0.5 * np.log(dA),
                np.column_stack([np.full_like(a, Bm[0]), np.full_like(a, Bm[1])]),
                np.column_stack([A22 / dA, A11 / dA]),
            )
        m0, s0 = prior
        p1, p2 = 1 / s0[0] ** 2, 1 / s0[1] ** 2
        h1, h2 = A11 * Bm[0] + A12 * Bm[1] + p1 * m0[0], A12 * Bm[0] + A22 * Bm[1] + p2 * m0[1]
        C11, C22, C12 = A11 + p1, A22 + p2, A12
        dC = C11 * C22 - C12**2
        e1, e2 = (C22 * h1 - C12 * h2) / dC, (C11 * h2 - C12 * h1) / dC
        qd = (
            A11 * Bm[0] ** 2
            + A22 * Bm[1] ** 2
            + 2 * A12 * Bm[0] * Bm[1]
            + p1 * m0[0] ** 2
            + p2 * m0[1] ** 2
            - h1 * e1
            - h2 * e2
        )
        return (
            base - 0.5 * qd - 0.5 * np.log(dC) + 0.5 * math.log(p1 * p2),
            np.column_stack([e1, e2]),
            np.column_stack([C22 / dC, C11 / dC]),
        )

    r = twice(
        tag,
        n,
        d=None,
        axes=axes,
        loglik=ll,
        names=names,
        mean_fun=None,
        mu_names=["Intercept", "slope"],
        extra_logprior=lprior,
    )
    models.append(dict(id=tag, data_file=f"data/{name}.csv", model=formula, priors=priors, **r))


hn = lambda s, c: PR["half_normal"](s, c)
growth(
    "sleepstudy_uncorr",
    "sleepstudy",
    "Reaction",
    "Days",
    "Subject",
    0.0,
    [(0.05, 220, "log"), (0.2, 60, "log"), (17, 42, "log")],
    lambda f: hn(f[0], 100.0) + hn(f[1], 50.0) + hn(f[2], 100.0),
    ([250.0, 0.0], [100.0, 50.0]),
    80,
    False,
    "Reaction ~ Days + (Days || Subject)",
    {
        "fixed effects": ["Normal(250, 100)", "Normal(0, 50)"],
        "sd_Intercept": "half_normal(scale=100)",
        "sd_Days": "half_normal(scale=50)",
        "sigma": "half_normal(scale=100)",
    },
    ["sd_Intercept", "sd_Days", "sigma"],
)
growth(
    "sleepstudy_corr_lkj2",
    "sleepstudy",
    "Reaction",
    "Days",
    "Subject",
    0.0,
    [(1, 130, "log"), (1.5, 30, "log"), (-1, 1, "lin"), (19, 37, "log")],
    lambda f: hn(f[0], 100.0) + hn(f[1], 50.0) + hn(f[3], 100.0) + math.log(0.75) + np.log1p(-(f[2] ** 2)),
    ([250.0, 0.0], [100.0, 50.0]),
    40,
    True,
    "Reaction ~ Days + (Days | Subject)",
    {
        "fixed effects": ["Normal(250, 100)", "Normal(0, 50)"],
        "sd_Intercept": "half_normal(scale=100)",
        "sd_Days": "half_normal(scale=50)",
        "correlation": "LKJ(eta=2): density 0.75*(1-rho^2)",
        "sigma": "half_normal(scale=100)",
    },
    ["sd_Intercept", "sd_Days", "corr", "sigma"],
)
ig = lambda s: PR["inv_gamma_on_variance"](s, (0.001, 0.001))
growth(
    "rats_bugs",
    "rats",
    "weight",
    "day",
    "rat",
    22.0,
    [(5, 40, "log"), (0.1, 2, "log"), (3.5, 12, "log")],
    lambda f: ig(f[0]) + ig(f[1]) + ig(f[2]),
    ([0.0, 0.0], [1000.0, 1000.0]),
    70,
    False,
    "weight ~ I(day - 22) + (I(day - 22) || rat)",
    {
        "fixed effects": ["Normal(0, 1000)", "Normal(0, 1000)"],
        "all three variances": "InvGamma(0.001, 0.001), i.e. Gamma(0.001, 0.001) on the precision as in BUGS Examples vol. I",
    },
    ["sd_Intercept", "sd_slope", "sigma"],
)
json.dump(
    dict(
        what="Posterior means, standard deviations and quantiles by deterministic quadrature; normal priors are Normal(mean, sd); half_normal(scale), half_cauchy(scale) on standard deviations; effects of groups are named b[level] or theta[level]",
        provenance=dict(
            script="scripts/14_bayes_quadrature.py",
            numpy=np.__version__,
            how="Gauss-Legendre product rule over log sd (correlation on its own scale), fixed and group effects integrated analytically",
        ),
        models=models,
    ),
    open("golden/reference/bayes_exact.json", "w"),
    indent=1,
)
