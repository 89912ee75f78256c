"""The shrinkage explorer: partial pooling moved by hand, in a page or a notebook.

``explorer.js`` is one ES module in anywidget's convention, ``export default { render({ model, el }) }``, and asks its
model for ``data``, and for a ``key`` that ids begin with, if there is one. It computes everything in the browser from
the sums that `data.py` writes. `pages.py` puts both into HTML, `widget.py` into a notebook; that file alone imports
anywidget.

For a page of one's own::

    from bayesmm.explorer.pages import write_fragment

    html = write_fragment(fit, posterior, key="explorer")

is a piece of a body: an element, the data as escaped JSON, and the module with a line that mounts it, some 70 kB with
the data of some dozen levels. It has no ``id`` but those that begin with ``key``, no class but those that begin with
``bmm-``, asks for nothing from anywhere, and takes text and ground from what it stands in. A page may hold several of
different keys; ``write_policy(*keys)`` is a content security policy under which they run and no other script does.
`ArgumentError` says which models it does not take, `why_not` the same in advance.
"""
