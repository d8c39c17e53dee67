"""Scores of finished detectron2 and mmseg runs, and what they say about FFC against its stock twin.

``read_runs`` -> ``compare`` -> ``markdown`` and ``plot``; ``tools/results_table.py`` is the command line. Neither
framework needs to be installed.
"""

from .comparison import Comparison, compare
from .reading import EXPECTED, holds_run, read_runs
from .run import Run

__all__ = ["EXPECTED", "Comparison", "Run", "compare", "holds_run", "read_runs"]
