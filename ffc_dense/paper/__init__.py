"""Scores of finished runs, and the comparison of FFC with its baseline.

``read_runs`` -> ``compare`` -> ``markdown`` and ``plot``; ``tools/results_table.py`` is the command line. No
framework is required.
"""

from ..runs.reading import read_runs
from ..runs.run import Run
from .comparison import Comparison, compare, without_doubles

__all__ = ["Comparison", "Run", "compare", "read_runs", "without_doubles"]
