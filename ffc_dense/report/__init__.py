"""One self-contained HTML page about runs: scores against the stock twin, curves, outputs, and a gallery.

``collect`` -> ``render``; ``tools/report.py`` is the command line. Neither framework needs to be installed; Pillow and
numpy are needed where an analysis has a gallery.
"""

from .page import render
from .subjects import Group, Subject, collect

__all__ = ["Group", "Subject", "collect", "render"]
