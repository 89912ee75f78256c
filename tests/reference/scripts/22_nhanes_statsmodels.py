# ruff: noqa -- a record of how the reference values were made, kept as it ran (folder names and layout apart)
"""statsmodels MixedLM on the simulated blood-pressure table: estimates and wall times.
python scripts/22_nhanes_statsmodels.py run     (each fit in its own process, 240 s limit)"""

import sys, json, time, subprocess, os, warnings

FE = "bp ~ age + female + C(bpt) + bmi"
SPEC = {
    1: dict(f=FE),
    2: dict(f="bp ~ age + female + bmi"),
    3: dict(f="bp ~ age + female + bmi"),
    4: dict(f="bp ~ age + female + bmi + bpi", re="1 + bpi"),
    5: dict(f=FE),
    6: dict(f=FE, re="1", vc={"bpt": "0 + C(bpt)"}),
    7: dict(f=FE, re="1", vc={"sy": "0 + sy", "di": "0 + di"}),
    8: dict(f=FE, re="1", vc={"sy": "0 + sy", "di": "0 + di", "dye": "0 + di1 + di2 + di3"}),
}


def one(k, which):
    import numpy as np, pandas as pd, statsmodels, statsmodels.api as sm, nhanes_like as nl

    dx = nl.add_indicators(pd.read_csv("golden/data/nhanes_like.csv.gz"))
    d = nl.subset(dx, k, 5000 if which == "sub5000" else None).copy()
    s = SPEC[k]
    t0 = time.perf_counter()
    if k == 1:
        r = sm.OLS.from_formula(s["f"], d).fit()
        t1 = t2 = time.perf_counter()
        out = dict(
            params=r.params.to_dict(), bse=r.bse.to_dict(), scale=float(r.scale), llf=float(r.llf), converged=True
        )
    else:
        kw = {}
        if "re" in s:
            kw["re_formula"] = s["re"]
        if "vc" in s:
            kw["vc_formula"] = s["vc"]
        m = sm.MixedLM.from_formula(s["f"], groups="subject", data=d, **kw)
        t1 = time.perf_counter()
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter("always")
            r = m.fit()
        t2 = time.perf_counter()
        out = dict(
            fe_params=r.fe_params.to_dict(),
            bse_fe=r.bse_fe.to_dict(),
            cov_re=np.asarray(r.cov_re).tolist(),
            vcomp=dict(zip(m.exog_vc.names, np.asarray(r.vcomp).tolist())) if "vc" in s else {},
            scale=float(r.scale),
            llf=float(r.llf),
            converged=bool(r.converged),
            warnings=sorted({str(x.message).split("\n")[0][:160] for x in w}),
        )
    out.update(
        id=f"m{k}_{which}",
        n_obs=len(d),
        seconds_setup=round(t1 - t0, 2),
        seconds_fit=round(t2 - t1, 2),
        seconds_total=round(t2 - t0, 2),
    )
    print("RESULT " + json.dumps(out))


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(int(sys.argv[2]), sys.argv[3])
        sys.exit()
    import statsmodels, numpy, platform

    res = []
    fn = "golden/reference/nhanes_like_statsmodels.json"
    for which in ("sub5000", "full"):
        for k in SPEC:
            t0 = time.perf_counter()
            try:
                p = subprocess.run(
                    [sys.executable, __file__, "one", str(k), which], capture_output=True, text=True, timeout=240
                )
                line = [l for l in p.stdout.split("\n") if l.startswith("RESULT ")]
                r = (
                    json.loads(line[0][7:])
                    if line
                    else dict(id=f"m{k}_{which}", failed=p.stderr.strip().split("\n")[-1][:300])
                )
            except subprocess.TimeoutExpired:
                r = dict(id=f"m{k}_{which}", failed="stopped after 240 s wall time")
            res.append(r)
            print(
                r["id"],
                r.get("seconds_total"),
                r.get("seconds_setup"),
                r.get("scale"),
                r.get("llf"),
                r.get("converged"),
                r.get("failed"),
                r.get("warnings"),
                flush=True,
            )
            json.dump(
                dict(
                    dataset="nhanes_like",
                    engine="statsmodels %s MixedLM (REML, default settings)" % statsmodels.__version__,
                    numpy=numpy.__version__,
                    python=platform.python_version(),
                    machine="2 shared virtual CPU cores, one process",
                    models=res,
                ),
                open(fn, "w"),
                indent=1,
            )
