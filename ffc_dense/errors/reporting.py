"""How the command-line tools end: ``PROG: error: MESSAGE`` and an exit code, or the traceback of an unforeseen error.

::

    def main(args):
        with reading_input(explain):  # whatever fails in here is the input's fault: a UserError
            trainer = Trainer(setup(args))
        trainer.train()  # what fails in here is unforeseen, unless it is a UserError itself

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

# Every process of a job meets the same wrong config. The first one tells it; the others wait to be ended by the
# launcher, and speak only if they are not, because the error is theirs alone.
PATIENCE = 5.0  # seconds

EXIT_CODES = "FFC_EXIT_CODES"  # environment variable: a file in which processes of a job note how they ended

Explain = Callable[[Exception], str | None]


def add_debug_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error in the input")


class reading_input:
    """Within the context every exception becomes a :class:`UserError`, apart from those that are one already.

    Args:
        *explain: functions from an exception to the message, or to None for one that they do not know. The first
            message is taken. Without one, the message is the exception's type, text and place.
        unless: function of a traceback; True leaves the exception as it is.
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
    """Within the context a :class:`UserError` is printed to stderr and ends the process with its exit code, and Ctrl-C
    ends it with 130 and one line.

    Other exceptions pass.

    Args:
        prog: the script's name; under ``ffc-dense`` the command's is taken in its place.
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
    """Append the exit code with which the context ends this process to the file that ``EXIT_CODES`` names, if it does.

    torchrun ends with 1 whatever its processes ended with; tools/torchrun.py reads the first line. 1 stands for every
    exception but SystemExit, 0 is not noted.
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
