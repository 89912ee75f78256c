"""The bundled data sets as data frames."""

from collections.abc import Iterable
from importlib.resources import files

import pandas as pd

from bayesmm.datasets.catalogue import describe


def load(name: str) -> pd.DataFrame:
    """Read a bundled data set.

    Parameters
    ----------
    name : str
        One of `names()`; upper and lower case, blanks, hyphens and underscores make no difference.

    Returns
    -------
    pandas.DataFrame
        A fresh copy. Factors are unordered categoricals of text labels ("308", not 308), their levels in the order that
        `describe(name)` shows; other columns are int64 or float64, missing values NaN.

    Raises
    ------
    DatasetError
        There is no such data set.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> bmm.datasets.load("sleepstudy").shape
    (180, 3)
    """
    description = describe(name)
    factors = {column.name: column for column in description.columns if column.type == "factor"}
    with (files("bayesmm.datasets") / "files" / description.file).open("rb") as file:
        frame = pd.read_csv(
            file,
            compression="gzip" if description.file.endswith(".gz") else None,
            dtype=dict.fromkeys(factors, str),
            # Only an empty field is missing: "NA" and "None" are levels of somebody's factor.
            keep_default_na=False,
            na_values=[""],
        )
    for column in factors.values():
        levels = column.levels or natural_order(frame[column.name].dropna().unique())
        frame[column.name] = pd.Categorical(frame[column.name], categories=levels, ordered=False)
    return frame


def natural_order(labels: Iterable[str]) -> list[str]:
    """Sort labels as numbers if all of them are numbers, else by code point."""
    labels = list(labels)
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)
