"""`report`: a whole analysis in one file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm.arguments import check_path, shorten
from bayesmm.comparison.same_model import check_same_model
from bayesmm.errors import ArgumentError, StorageError
from bayesmm.files import check_writable, naming
from bayesmm.inference.either import is_posterior
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.parts import facts, notes
from bayesmm.presenting.progress import progress_bar
from bayesmm.presenting.report import Report
from bayesmm.replacing import replacing
from bayesmm.reporting.page import fill_page, import_jinja
from bayesmm.reporting.sections import Results, build_sections

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior

ENDINGS = (".html", ".htm")
USUAL_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ReportPage:
    """A page, made by `bayesmm.report`.

    Attributes
    ----------
    title : str
        What stands on top.
    sections : tuple of str
        Titles of its sections, in order.
    html : str
        The page: one document, which asks for nothing from anywhere.
    left_out : tuple of str
        What did not fit into its 2 MB; the page says so at its place.
    """

    title: str
    sections: tuple[str, ...]
    html: str
    left_out: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, in one piece: what was there stays where that fails.

        Parameters
        ----------
        path : path
            Its name ends in .html.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        ArgumentError
            If it is not named as a page is.
        StorageError
            If it cannot be written.
        """
        where = check_page_path(path)
        with naming(where, "written"), replacing(where) as partial:
            partial.write_text(self.html, encoding="utf-8")
        return where

    def __str__(self) -> str:
        size = f"{len(self.html.encode()) / 1000:,.0f} kB; sections: {', '.join(self.sections)}"
        left_out = (f"Left out for its size: {what}" for what in self.left_out)
        return str(Report(title=f"Report: {self.title}", parts=(facts((size,)), notes(left_out))))

    __repr__ = __str__


def report(
    fit: Any,
    posterior: Posterior | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    data: str | None = None,
    title: str | None = None,
    explorer: bool = True,
    level: float = 0.95,
    rows: Any = None,
    progress: bool | None = None,
) -> ReportPage:
    """Put a whole analysis on one page, for a browser: model, data, estimates, figures, checks, and code.

    Parameters
    ----------
    fit : Fit or Posterior
        Of `bayesmm.Model.fit`; or a posterior alone.
    posterior : Posterior, optional
        Of the same model and data, to stand beside the fit.
    path : path, optional
        A file ending in .html that the page is written to.
    data : str, optional
        Words on the data. The name of a bundled data set, or of a file (.csv, .tsv, .parquet), is what the code on the
        page reads.
    title : str, optional
        By default the formula.
    explorer : bool
        Whether the shrinkage explorer is on the page, which takes a fit.
    level : float
        Coverage of all intervals.
    rows : path, list, or data frame, optional
        Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; without them the page
        has no checks, lines of levels, or explorer.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    Returns
    -------
    ReportPage
        ``html`` is the page, ``save(path)`` writes it.

    Raises
    ------
    ArgumentError
        If an argument is none of these.
    ComparisonError
        If the posterior is of another model or other data.
    RowsError
        If rows are given, and are not those of the model.
    StorageError
        If the file cannot be written.
    BayesmmError
        If jinja2 or matplotlib is not installed.

    Notes
    -----
    The page asks for nothing from the network, and has no more than 2 MB: figures that do not fit are left out, the
    largest first, with a sentence at their place. Of more than 20,000 rows or 3,000 effects of levels what refits or
    simulates much is left out too (profiles, envelopes, layers of uncertainty), with the call that makes it. Names of
    columns and levels are on the page, and in the explorer sums of each level; in small models points of the figures
    are the rows themselves. Who may not see these may not see the page.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    >>> page = bmm.report(fit, data="dyestuff", explorer=False)
    >>> page.sections[:4]
    ('At a glance', 'Model', 'Data', 'Estimates')
    """
    point, drawn = _told_apart(fit, posterior)
    for name, value in (("data", data), ("title", title)):
        if value is not None and not isinstance(value, str):
            raise ArgumentError(f"{name} is {shorten(value)}: give a text.")
    if not isinstance(explorer, bool):
        raise ArgumentError(f"explorer is {shorten(explorer)}: give True or False.")
    level = check_level(level)
    known: Any = point if point is not None else drawn
    if rows is not None and known.design.elsewhere is None:
        raise ArgumentError(f"rows is {shorten(rows)}, and the model has its rows in memory: leave rows out.")
    where = None if path is None else check_page_path(path)
    import_jinja()  # before anything takes long
    results = Results(
        fit=point,
        posterior=drawn,
        level=level,
        data=data,
        has_explorer=explorer,
        page=USUAL_NAME if where is None else where.name,
        rows=rows,
    )
    with progress_bar("working out what the page shows", None, progress):
        page = fill_page(title if title is not None else known.design.specification.shown, build_sections(results))
    made = ReportPage(title=page.title, sections=page.sections, html=page.html, left_out=page.left_out)
    if where is not None:
        made.save(where)
    return made


def check_page_path(path: Any) -> Path:
    """Refuse a path that no page can be written to.

    Raises
    ------
    ArgumentError
        If it does not end as a page does.
    StorageError
        If its folder is not there, or cannot be written to.
    """
    where = check_path("path", path)
    if where.suffix.lower() not in ENDINGS:
        raise ArgumentError(f"path is {shorten(path)}: name a file that ends in .html, such as {USUAL_NAME!r}.")
    if where.is_dir():
        raise StorageError(f"{str(path)!r} cannot be written: it is a folder. Name a file.")
    check_writable(where)
    return where


def _told_apart(fit: Any, posterior: Any) -> tuple[Any, Any]:
    """Return the fit and the posterior, one of them perhaps None."""
    if is_posterior(fit):
        if posterior is not None:
            raise ArgumentError("Both results are posteriors: give the fit first, report(fit, posterior).")
        return None, fit
    if posterior is None:
        return fit, None
    if not is_posterior(posterior):
        raise ArgumentError("Both results are fits: give a posterior second, report(fit, posterior).")
    check_same_model(fit, posterior)
    return fit, posterior
