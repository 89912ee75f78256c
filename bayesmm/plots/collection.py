"""Figures of ArviZ, for matplotlib, Plotly and Bokeh, from labelled trees and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from bayesmm.errors import ArgumentError, BayesmmError
from bayesmm.plots.canvas import BOOTSTRAP, FIT, POSTERIOR, PROFILE, WHOLE, Look, line_of, literal, shade, show_key

if TYPE_CHECKING:
    from arviz_plots import PlotCollection as PlotCollection
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from xarray import DataTree

type Backend = Literal["matplotlib", "plotly", "bokeh", "none"]

BACKENDS = ("matplotlib", "plotly", "bokeh", "none")
LOOKS = {"profile": PROFILE, "bootstrap": BOOTSTRAP, "posterior": POSTERIOR}
WIDTH, LETTER = 900, 9  # pixels, of forests of Plotly and Bokeh
INSTALL = "pip install 'arviz-plots[{}]'"


def import_arviz_plots(backend: Any) -> Any:
    """Import ArviZ's plots for a backend, or say what is not there.

    Raises
    ------
    ArgumentError
        If ArviZ has no such backend.
    BayesmmError
        If what it needs is not installed.
    """
    if not isinstance(backend, str) or backend not in BACKENDS:
        shown = ascii(backend) if len(ascii(backend)) <= 60 else f"a {type(backend).__name__}"
        raise ArgumentError(f"backend is {shown}: give 'matplotlib', 'plotly', 'bokeh' or 'none'.")
    import arviz_plots

    try:
        import_module(f"arviz_plots.backend.{backend}")
    except ImportError as error:
        raise BayesmmError(
            f"backend='{backend}' needs what cannot be imported ({error}). Install it: {INSTALL.format(backend)}."
        ) from error
    return arviz_plots


def plot_forest(table: pd.DataFrame, *, backend: Backend) -> PlotCollection:
    """Draw intervals of several kinds for each parameter with ArviZ's forest.

    Parameters
    ----------
    table : DataFrame
        Columns parameter, source, value, lower, upper: one row an interval. Missing ends are not drawn.
    backend : {"matplotlib", "plotly", "bokeh", "none"}
        What draws.

    Returns
    -------
    arviz_plots.PlotCollection

    Raises
    ------
    ArgumentError
        If ArviZ has no such backend.
    BayesmmError
        If what it needs is not installed.

    Notes
    -----
    ArviZ is given points and ends as its ``stats``, computes nothing, and labels by one dim, ``parameter``, whose
    coordinates are the rows of our tables.
    """
    azp = import_arviz_plots(backend)
    from xarray import DataArray, Dataset, DataTree

    names, sources = (list(dict.fromkeys(table[column])) for column in ("parameter", "source"))
    wide = table.set_index(["source", "parameter"])[["value", "lower", "upper"]]
    cells = wide.reindex(pd.MultiIndex.from_product([sources, names])).to_numpy(dtype=float)
    values = cells.reshape(len(sources), len(names), 3)
    coords = {"model": sources, "parameter": names}
    point = Dataset({"value": DataArray(values[..., 0], dims=("model", "parameter"), coords=coords)})
    ends = Dataset(
        {
            "value": DataArray(
                values[..., 1:],
                dims=("model", "parameter", "ci_bound"),
                coords=coords | {"ci_bound": ["lower", "upper"]},
            )
        }
    )
    trees = {
        source: DataTree.from_dict({"posterior": own.expand_dims(chain=[0], draw=[0])})
        for source, own in ((source, point.sel(model=source, drop=True)) for source in sources)
    }
    collection = azp.plot_forest(
        trees,
        combined=True,
        labels=["parameter"],
        labeller=_labeller(backend),
        backend=backend,
        stats={"trunk": ends, "twig": ends, "point_estimate": point},
        visuals={"ticklabels": False},  # "parameter", below the names
        **_looks([LOOKS.get(source, FIT) for source in sources], backend),
    )
    if backend == "matplotlib":
        _finish(collection, {source: line_of(LOOKS.get(source, FIT), linestyle="-") for source in sources})
    elif backend != "none":
        _make_room(collection, names, backend)
        collection.add_legend("model", title="")
    return collection


def _make_room(collection: PlotCollection, names: Sequence[str], backend: Backend) -> None:
    """Make the column of names as wide as they are, without a scale, where the backend does not see to it."""
    draw = import_module(f"arviz_plots.backend.{backend}")
    column, rest = (collection.viz["plot"].sel(column=name).item() for name in ("labels", "forest"))
    draw.remove_axis(column, axis="both")
    draw.xlim((0.0, 1.0), column)  # names begin at the left
    width = min(LETTER * max(map(len, names), default=0), 0.6 * WIDTH)
    if backend == "bokeh":
        column.width, rest.width = round(width), round(WIDTH - width)
        column.grid.visible = False
    else:
        figure = collection.viz["figure"].item()
        figure.update_layout(width=WIDTH, xaxis={"domain": (0.0, width / WIDTH)}, plot_bgcolor="rgba(0, 0, 0, 0)")
        figure.update_layout(xaxis2={"domain": (width / WIDTH + 0.02, 1.0), "gridcolor": "lightgrey"})


def _looks(looks: Sequence[Look], backend: Backend) -> dict[str, Any]:
    """Say how each of some models is drawn; marks have other names in other backends."""
    colours = [look.colour for look in looks]
    if backend != "matplotlib":
        return {"color": colours}
    marks = [look.marker for look in looks]
    own = ("color", "facecolor", "marker")
    return {
        "aes": {name: ["model"] for name in own},
        "aes_by_visuals": {"credible_interval": {"color", "y", "overlay"}, "point_estimate": {*own, "y", "overlay"}},
        "color": colours,
        "facecolor": colours,
        "marker": marks,
    }


def _finish(collection: PlotCollection, entries: Mapping[str, Artist]) -> None:
    """Give a figure of matplotlib its key, and all that stands around its axes its room."""
    figure = collection.viz["figure"].item()
    figure.set_layout_engine("constrained")
    for axis in figure.axes:
        if not axis.lines and not axis.collections:  # of names
            axis.spines[:].set_visible(False)
            axis.set_xticks([])
    show_key(figure, entries)


def _labeller(backend: Backend, variables: Mapping[str, str] | None = None) -> Any:
    """Write coordinates and variables as they are."""
    from arviz_base.labels import BaseLabeller

    known = dict(variables or {})

    class Plain(BaseLabeller):
        def dim_coord_to_str(self, dim: Any, coord_val: Any, coord_idx: Any) -> str:
            return _plain(coord_val, backend)

        def var_name_to_str(self, var_name: Any) -> str:
            return _plain(known.get(var_name, var_name), backend)

    return Plain()


def _plain(text: Any, backend: Backend) -> str:
    """Write a text so that it is shown as it is: in matplotlib a dollar sign would begin a formula."""
    return literal(text, WHOLE) if backend == "matplotlib" else str(text)


def plot_predictive(tree: DataTree, *, response: str, kind: str, backend: Backend) -> PlotCollection:
    """Draw observed data over predicted ones, with ArviZ's predictive check.

    Parameters
    ----------
    tree : DataTree
        Groups posterior_predictive, all of whose draws are drawn, and observed_data.
    response : str
        What the variable ``y`` is called.
    kind : {"kde", "ecdf", "hist"}
        How each set of data is drawn.
    backend : {"matplotlib", "plotly", "bokeh", "none"}
        What draws.
    """
    azp = import_arviz_plots(backend)
    sizes = tree["posterior_predictive"].sizes
    collection = azp.plot_ppc_dist(
        tree,
        kind=kind,
        num_samples=sizes["chain"] * sizes["draw"],
        backend=backend,
        visuals={"predictive_dist": {"color": POSTERIOR.colour}, "title": False},  # ArviZ's is the variable's name
    )
    collection.map(
        azp.visuals.labelled_title,
        "title",
        ignore_aes=collection.aes_set,
        store_artist=backend == "none",
        text=_plain(response, backend),
    )
    if backend == "matplotlib":
        _finish(collection, {"observed": _line(shade(1.0)), "predicted": _line(POSTERIOR.colour)})
    return collection


def _line(colour: Any) -> Line2D:
    return line_of(POSTERIOR, color=colour, marker=None)


def plot_pit(tree: DataTree, *, response: str, backend: Backend) -> PlotCollection:
    """Draw probabilities of observed values given the others, less what they would be were they uniform.

    Parameters
    ----------
    tree : DataTree
        Group loo_pit with the variable ``y`` (obs).
    response : str
        What the variable is called.
    backend : {"matplotlib", "plotly", "bokeh", "none"}
        What draws.
    """
    azp = import_arviz_plots(backend)
    collection = azp.plot_ecdf_pit(
        tree,
        group="loo_pit",
        sample_dims=["obs"],
        labeller=_labeller(backend, {"y": response}),
        backend=backend,
        visuals={"ecdf_lines": {"color": POSTERIOR.colour}},
    )
    if backend == "matplotlib":
        _finish(
            collection,
            {"distribution function of the rows' probabilities, less a uniform one": _line(POSTERIOR.colour)},
        )
    return collection
