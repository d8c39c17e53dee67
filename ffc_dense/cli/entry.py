"""Import and run a command's module, for ``ffc-dense`` and for the scripts of ``tools/``."""

import importlib
import re
import sys
import warnings
from pathlib import Path

from ..errors import UserError
from ..errors.reporting import reporting
from ..frameworks import FRAMEWORKS

NOISE = (  # beginnings of other packages' warnings about themselves: a user of a command cannot act on them
    "`torch.jit.script` is deprecated",
    "pkg_resources is deprecated",
    "torch.meshgrid: in an upcoming release",
    "Fail to import ``MultiScaleDeformableAttention``",
)
PACKAGES = {framework.package for framework in FRAMEWORKS} | {"mmengine"}


def run(module: str, argv: list[str] | None = None) -> None:
    """Call ``module.command(argv)``. A framework that is not installed is one message and exit code 2."""
    if not sys.warnoptions:  # the user's -W and PYTHONWARNINGS come first
        for text in NOISE:
            warnings.filterwarnings("ignore", re.escape(text))
    with reporting(Path(sys.argv[0]).name):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in PACKAGES:
                raise
            raise UserError(str(error)) from error
    found.command(argv)
