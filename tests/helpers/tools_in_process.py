"""The command-line tools as modules, run in this process: what they print, and how they end."""

import contextlib
import importlib.util
import io
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[2] / "tools"


@cache
def tool(name: str) -> ModuleType:
    """tools/NAME.py as a module; as in a script, its neighbours can be imported."""
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def run_tool(name: str, *args) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of ``python tools/NAME.py ARGS``. An exception that it would die of passes."""
    module, code = tool(name), 0
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            getattr(module, "command", getattr(module, "main", None))([str(arg) for arg in args])
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()
