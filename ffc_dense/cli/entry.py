"""How a command's module is imported and run, by ``ffc-dense`` and by the scripts of ``tools/``."""

import importlib
import sys
from pathlib import Path

from ..errors import UserError
from ..errors.reporting import reporting
from ..frameworks import FRAMEWORKS

PACKAGES = {framework.package for framework in FRAMEWORKS} | {"mmengine"}


def run(module: str, argv: list[str] | None = None) -> None:
    """Call ``module.command(argv)``. A framework that is not installed is one message and exit code 2."""
    with reporting(Path(sys.argv[0]).name):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in PACKAGES:
                raise
            raise UserError(str(error)) from error
    found.command(argv)
