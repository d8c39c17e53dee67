"""``--verbose``: what a framework prints and logs before a command's own few lines, which is shown on request."""

import io
import re
import sys
from argparse import ArgumentParser
from contextlib import AbstractContextManager, redirect_stdout

# Of the frameworks' own words what a waiting user needs: warnings, and how far an evaluation is.
SHOWN = re.compile(r"WARNING|ERROR|CRITICAL|Iter\(test\)|Inference done")
BEGINNING = 160  # characters of a record, in which a level and a progress stand


def add_verbose_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="show all that the framework prints and logs")


def framework_output(verbose: bool) -> AbstractContextManager:
    """Within the context what is printed or logged to the standard output goes to the standard error: all of it, or
    warnings and progress alone. A framework's log files stay complete.
    """
    _ToStderr.verbose = verbose
    return redirect_stdout(_ToStderr())


class _ToStderr(io.TextIOBase):
    """A log handler keeps its stream for the life of the process: this one asks for ``sys.stderr`` at every write, and
    shows what the command that runs shows.
    """

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
