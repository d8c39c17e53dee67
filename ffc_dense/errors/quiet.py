"""``--verbose``: show a framework's own output and log, which are hidden by default."""

import io
import re
import sys
from argparse import ArgumentParser
from contextlib import AbstractContextManager, redirect_stdout

# The lines of a framework that are always shown: warnings, and the progress of an evaluation.
SHOWN = re.compile(r"WARNING|ERROR|CRITICAL|Iter\(test\)|Inference done")
BEGINNING = 160  # characters of a record, in which a level and a progress stand


def add_verbose_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="show everything that the framework prints and logs")


def framework_output(verbose: bool) -> AbstractContextManager:
    """Within the context the standard output goes to the standard error: everything, or only warnings and progress.

    A framework's log files stay complete.
    """
    _ToStderr.verbose = verbose
    return redirect_stdout(_ToStderr())


class _ToStderr(io.TextIOBase):
    """A stream for log handlers, which keep it until the process ends: it looks up ``sys.stderr`` at every write."""

    verbose = False

    def write(self, text: str) -> int:
        if self.verbose or SHOWN.search(text[:BEGINNING]):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()

    def writable(self) -> bool:
        return True
