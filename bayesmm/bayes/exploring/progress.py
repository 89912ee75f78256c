"""A progress bar for runs that a person watches."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bayesmm.bayes.exploring.run import Settings, Watcher


@contextmanager
def progress_bar(settings: Settings, show: bool | None) -> Iterator[Watcher | None]:
    """Show iterations and divergences while chains run.

    Parameters
    ----------
    settings : Settings
        For the number of iterations.
    show : bool, optional
        None shows the bar in a terminal and in a notebook, and nowhere else.

    Yields
    ------
    callable or None
        To be told about every chunk of iterations.
    """
    if show is False or (show is None and not _is_watched()):
        yield None
        return
    state = random.getstate()  # rich draws from Python's generator, whose numbers are the user's
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=show is None) as bar:
        random.setstate(state)
        task = bar.add_task("compiling", total=settings.tune + settings.draws)

        def watch(done: int, divergences: int) -> None:
            phase = "warm-up" if done < settings.tune else "sampling"
            found = f", {divergences} divergences" if divergences else ""
            bar.update(task, completed=done, description=f"{settings.chains} chains, {phase}{found}")

        yield watch


def _is_watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
