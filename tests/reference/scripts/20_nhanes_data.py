# ruff: noqa -- a record of how the reference values were made, kept as it ran (folder names and layout apart)
"""Write golden/data/nhanes_like.csv.gz and add it to schema.json and README.md.  Run after 00_export_data.R."""

import sys, json, gzip, io, hashlib

sys.dont_write_bytecode = True
import nhanes_like as nl


def emit(tree, name, title, **kw):
    d = nl.make(**kw)
    seed = kw.get("seed", nl.SEED)
    nsub = kw.get("n_subjects", nl.N_SUBJECTS)
    b = d.to_csv(index=False, lineterminator="\n").encode()
    with (
        open(f"{tree}/data/{name}.csv.gz", "wb") as f,
        gzip.GzipFile(fileobj=f, mode="wb", mtime=0, compresslevel=9, filename="") as g,
    ):
        g.write(b)
    print(
        len(d), d.subject.nunique(), d.groupby(["bpt", "bpi"]).size().to_dict(), len(b), hashlib.sha256(b).hexdigest()
    )
    s = json.load(open(f"{tree}/data/schema.json"))
    cols = {}
    for c in d.columns:
        if c in ("subject", "bpt"):
            cols[c] = dict(
                type="factor",
                n_levels=int(d[c].nunique()),
                levels=sorted(d[c].unique().tolist()) if c == "bpt" else None,
            )
        else:
            cols[c] = dict(
                type="integer" if c != "bmi" else "numeric",
                min=float(d[c].min()),
                max=float(d[c].max()),
                sum=float(d[c].sum()),
                n_missing=0,
            )
    units = "bp: mmHg (even numbers); bpt: SY systolic, DI diastolic; bpi: reading 1-4; age: years; female: 0/1; bmi: kg/m^2"
    s[name] = dict(
        file=name + ".csv.gz",
        title=title,
        rows=len(d),
        columns=cols,
        units=units,
        source="simulated",
        read_from="reference/nhanes_like.py, seed %d, %d subjects" % (seed, nsub),
        sha256_of_csv=hashlib.sha256(b).hexdigest(),
        n_subjects_simulated=nsub,
        n_subjects_with_data=int(d.subject.nunique()),
    )
    json.dump(s, open(f"{tree}/data/schema.json", "w"), indent=1)
    md = open(f"{tree}/data/README.md").read().split("\n")
    md = [l for l in md if not l.startswith(f"| {name} ")]
    i = max(k for k, l in enumerate(md) if l.startswith("| ")) + 1
    md.insert(
        i,
        (
            "| "
            + name
            + " - "
            + title
            + " | `"
            + name
            + ".csv.gz` | %d | %s | %s | simulated (%d subjects simulated, %d with data) | reference/nhanes_like.py, seed %d |"
        )
        % (
            len(d),
            ", ".join(
                "`%s` (%s)" % (c, "factor, %d" % v["n_levels"] if v["type"] == "factor" else v["type"])
                for c, v in cols.items()
            ),
            units,
            nsub,
            d.subject.nunique(),
            seed,
        ),
    )
    open(f"{tree}/data/README.md", "w").write("\n".join(md))


emit("golden", "nhanes_like", "Simulated blood pressure, NHANES-like layout")
