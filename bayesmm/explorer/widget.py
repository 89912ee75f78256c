"""The explorer in a notebook; anywidget is imported here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesmm.errors import BayesmmError
from bayesmm.explorer.data import write_data
from bayesmm.explorer.pages import read_module
from bayesmm.inference.fitted import Fitted

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior


def make_widget(fit: Fitted, posterior: Posterior | None = None, **how: Any) -> Any:
    """Make a widget of anywidget; arguments and errors as of `bayesmm.explorer.pages.write_fragment`.

    Raises
    ------
    BayesmmError
        If anywidget is not installed.
    """
    data = write_data(fit, posterior, **how)
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise BayesmmError(
            f"The explorer in a notebook needs anywidget, which cannot be imported ({error}). Install it: pip install "
            "anywidget. Without it, fit.explore('explorer.html') writes the explorer as a page."
        ) from error

    class ShrinkageExplorer(anywidget.AnyWidget):
        """Shows itself in a notebook."""

        _esm = read_module()
        data = traitlets.Dict().tag(sync=True)

        def __repr__(self) -> str:  # no more than 110 characters are shown of it
            return "Shrinkage explorer; where none is drawn, fit.explore('explorer.html') writes a page"

    return ShrinkageExplorer(data=data)
