"""The command-line tools as modules, run in this process: what they print, and how they end."""

import contextlib
import importlib
import io
import logging
import re
import sys
from types import ModuleType

from repository import ROOT

from ffc_dense.cli.__main__ import main

TOOLS = ROOT / "tools"


def tool(name: str) -> ModuleType:
    """The module whose ``command`` tools/NAME.py runs."""
    module = re.search(r'^    run\("(\S+)"\)$', (TOOLS / f"{name}.py").read_text(), re.MULTILINE)
    return importlib.import_module(module[1])


def run_tool(name: str, *args) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of ``python tools/NAME.py ARGS``. An exception that it would die of passes."""
    module, code = tool(name), 0
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    _forget()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            module.command([str(arg) for arg in args])
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    finally:
        sys.argv = before
        _forget(out, err)
    return code, out.getvalue(), err.getvalue()


def _forget(*streams: io.StringIO) -> None:
    """Take away the log handlers that write into ``streams``, or into one that is closed: another test's."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    for logger in loggers:
        for handler in list(logger.handlers):
            stream = getattr(handler, "stream", None)
            if stream in streams or getattr(stream, "closed", False):
                logger.removeHandler(handler)


def program(*arguments) -> int:
    """The exit code of ``ffc-dense ARGUMENTS``, in this process."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as stopped:
        return stopped.code or 0
    return 0
