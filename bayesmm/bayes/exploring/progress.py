"""A progress bar for runs that a person watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bayesmm.bayes.exploring.run import Settings, Watcher
from bayesmm.presenting import progress


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
    with progress.progress_bar("compiling", settings.tune + settings.draws, show) as bar:

        def watch(done: int, divergences: int) -> None:
            phase = "warm-up" if done < settings.tune else "sampling"
            found = f", {divergences} divergences" if divergences else ""
            bar.tell(done, f"{settings.chains} chains, {phase}{found}")

        yield watch if bar.is_watched else None
