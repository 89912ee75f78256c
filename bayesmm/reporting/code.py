"""The lines of Python that make the same results again, and what they were made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from bayesmm.console import visible
from bayesmm.datasets.catalogue import names as bundled
from bayesmm.presenting.parts import Column, Table
from bayesmm.version import __version__

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.design.design import Design
    from bayesmm.inference.fitted import Fitted
    from bayesmm.specification.prior import Prior

ALWAYS = ("numpy", "scipy", "pandas", "formulae")
OF_A_POSTERIOR = ("jax", "numpyro", "arviz")
READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".csv.gz": "read_csv",
    ".tsv.gz": "read_csv",
    ".parquet": "read_parquet",
}


def write_code(fit: Fitted | None, posterior: Posterior | None, data: str | None, page: str, rows: Any = None) -> str:
    """Write a script that fits, samples and reports as it was done.

    Parameters
    ----------
    fit : Fit, optional
    posterior : Posterior, optional
        At least one of both.
    data : str, optional
        Words on the data; the name of a bundled data set or of a file is read by the script.
    page : str
        Name of the page.
    rows : object, optional
        Where rows are that are not in memory; as the script has it, if it is a text.
    """
    known: Any = fit if fit is not None else posterior
    first, load = _reading(data)
    if rows is not None:
        first, load = [], [f"data = {rows!r}" if isinstance(rows, str) else "data = ...  # where the rows are"]
    lines = [*first, "import bayesmm as bmm", "", *load, _model(known.design, posterior)]
    results = []
    if fit is not None:
        lines.append(f"fit = model.fit({'' if fit.method == 'reml' else repr(fit.method)})")
        results.append("fit")
    if posterior is not None:
        lines.append(f"posterior = model.sample({_settings(posterior)})")
        results.append("posterior")
    lines.append(f"bmm.report({', '.join(results)}, path={page!r}{'' if rows is None else ', rows=data'})")
    return visible_lines(lines)


def visible_lines(lines: list[str]) -> str:
    """Join lines, with what cannot be seen in them spelled out."""
    return "\n".join(visible(line) for line in lines)


def _reading(data: str | None) -> tuple[list[str], list[str]]:
    if data is not None and data in bundled():
        return [], [f"data = bmm.datasets.load({data!r})"]
    for ending, reader in READERS.items():
        if data is not None and data.lower().endswith(ending) and "\n" not in data:
            sep = ', sep="\\t"' if ".tsv" in ending else ""
            return ["import pandas as pd", ""], [f"data = pd.{reader}({data!r}{sep})"]
    return [], ["data = ...  # the data frame" + ("" if data is None else ": " + " ".join(data.split()))]


def _model(design: Design, posterior: Posterior | None) -> str:
    parts = [repr(design.specification.formula), "data"]
    if design.residual is not None:
        parts.append(f"residual={design.residual.specification.text!r}")
    if design.has_weights:
        parts.append(f"weights={design.weights_text!r}" if design.weights_text else "weights=weights")
    if design.known_sigma is not None:
        parts.append(f"sigma={design.known_sigma!r}")
    if design.user_names:
        parts.append(f"namespace={{{', '.join(f'{name!r}: {name}' for name in design.user_names)}}}")
    if posterior is not None and (priors := _priors(posterior)):
        parts.append(f"priors={priors}")
    return f"model = bmm.Model({', '.join(parts)})"


def _priors(posterior: Posterior) -> str:
    rows = posterior.priors.rows
    if rows and all(row.source == "flat" for row in rows):
        return repr("flat")
    own = [f"{row.name!r}: {_prior(row.prior)}" for row in rows if row.source != "default"]
    return f"{{{', '.join(own)}}}" if own else ""


def _prior(prior: Prior) -> str:
    numbers = [repr(value) for value in prior.numbers.values()]
    scale = [f"on={prior.stated_for!r}"] if prior.stated_for != prior.scales[0] else []
    return f"bmm.priors.{prior.family}({', '.join([*numbers, *scale])})"


def _settings(posterior: Posterior) -> str:
    sizes, attributes = posterior.data["posterior"].sizes, posterior.data["sample_stats"].attrs
    settings: dict[str, Any] = {"draws": sizes["draw"], "chains": sizes["chain"]}
    for name in ("tune", "seed"):
        if name in attributes and (name == "seed" or posterior.method == "nuts"):  # others have no warm-up
            settings[name] = int(attributes[name])
    for name, usual in (("method", "nuts"), ("program", "marginal")):
        value = getattr(posterior, name)
        if value != usual:
            settings[name] = value
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def version_table(*, has_posterior: bool) -> Table:
    """Tabulate what computed the numbers."""
    found = {"bayesmm": __version__, "Python": platform.python_version()}
    for name in (*ALWAYS, *(OF_A_POSTERIOR if has_posterior else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not known"
    return Table(names=list(found), columns=[Column(head="", cells=list(found.values()))], caption="Versions")


def citation() -> str:
    """Write how the package is cited, as BibTeX."""
    return (
        "@software{bayesmm,\n"
        "  author = {{the bayesmm authors}},\n"
        "  title = {bayesmm: linear mixed models, REML and NUTS side by side},\n"
        f"  version = {{{__version__}}},\n"
        "}"
    )
