"""One self-contained HTML page about runs: FFC beside its baseline, training curves, outputs, and a gallery.

:func:`collect` reads the runs, :func:`render` writes the page: the modules prepare plain data, ``templates`` make HTML
of it, ``assets`` are its style and script. ``ffc-dense report`` is the command line. It needs no framework.
"""

from .page import render
from .subjects import Group, Subject, collect

__all__ = ["Group", "Subject", "collect", "render"]
