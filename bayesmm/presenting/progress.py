"""A bar for loops that a person watches."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sized


def watched[T](items: Iterable[T], text: str, show: bool | None) -> Iterator[T]:
    """Yield items, and show beside a text how many are done.

    Parameters
    ----------
    items : iterable
        What is gone through; of known length, if the bar is to have an end.
    text : str
        What is being done.
    show : bool, optional
        None shows the bar in a terminal and in a notebook, and nowhere else.
    """
    if show is False or (show is None and not (sys.stderr.isatty() or "ipykernel" in sys.modules)):
        yield from items
        return
    state = random.getstate()  # rich draws from Python's generator, whose numbers are the user's
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=show is None) as bar:
        random.setstate(state)
        total = len(items) if isinstance(items, Sized) else None
        yield from bar.track(items, total=total, description=text)
