"""Ends of the command-line tools: ``PROG: error: MESSAGE`` and an exit code, or the traceback of a bug.

::

    def main(args):
        with reading_input(explain):  # every error in here becomes a UserError: the input is wrong
            trainer = Trainer(setup(args))
        trainer.train()  # an error in here is a bug, unless it is a UserError

    with reporting("train_net.py", args.debug):
        main(args)

Exit codes: :mod:`ffc_dense.errors`. Nothing here imports a framework.
"""

import os
import signal
import sys
import threading
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from . import UserError
from .wording import describe

# Every process of a job reads the same wrong config. The first one reports it. The others wait for the launcher to end
# them. A process that is not ended has an error of its own and reports it.
PATIENCE = 5.0  # seconds

EXIT_CODES = "FFC_EXIT_CODES"  # environment variable: a file to which processes of a job write their exit codes

Explain = Callable[[Exception], str | None]


def add_debug_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error in the input")


class reading_input:
    """Within the context every exception becomes a :class:`UserError`.

    Args:
        *explain: functions from an exception to a message, or to None. The first message is used. Without one, the
            message is the exception's type, text and place.
        unless: function of a traceback; True leaves the exception unchanged.
    """

    def __init__(self, *explain: Explain, unless: Callable[[TracebackType], bool] = lambda trace: False):
        self.explain, self.unless = explain, unless

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if not isinstance(error, Exception) or isinstance(error, UserError) or self.unless(trace):
            return
        found = (message for explain in self.explain if (message := explain(error)))
        raise UserError(next(found, None) or describe(error)) from error


class reporting:
    """Within the context a :class:`UserError` is printed to stderr and ends the process with its exit code.

    Ctrl-C ends the process with 130 and one line. Other exceptions pass.

    Args:
        prog: the script's name; ``ffc-dense`` shows the command's name instead.
        debug: print the traceback too.
    """

    def __init__(self, prog: str, debug: bool = False):
        self.prog, self.debug = prog, debug

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        prog = sys.argv[0] if sys.argv[0].startswith("ffc-dense ") else self.prog
        if isinstance(error, KeyboardInterrupt):
            if self.debug:
                traceback.print_exception(error)
            if process_rank() == 0:
                print(f"{prog}: interrupted", file=sys.stderr, flush=True)
            raise SystemExit(128 + signal.SIGINT) from None
        if isinstance(error, UserError):
            rank = process_rank()
            if rank > 0:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(PATIENCE)
            if self.debug:
                traceback.print_exception(error)
            where = f" on rank {rank}" if rank > 0 else ""
            print(f"{prog}: error{where}: {error}", file=sys.stderr, flush=True)
            raise SystemExit(error.exit_code) from None


@contextmanager
def recording_exit_code() -> Iterator[None]:
    """If the context ends this process, append its exit code to the file that ``EXIT_CODES`` names.

    torchrun always ends with 1 after a failure; tools/torchrun.py reads the first line of the file. Every exception but
    SystemExit is written as 1; 0 is not written.
    """
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        if (path := os.environ.get(EXIT_CODES)) and code not in (0, None):
            with open(path, "a") as file:
                file.write(f"{code if isinstance(code, int) else 1}\n")
        raise


def process_rank() -> int:
    """The rank of this process in its job, 0 for a single one."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ.get("RANK", 0))
