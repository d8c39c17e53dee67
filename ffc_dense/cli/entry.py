"""Import and run a command's module, for ``ffc-dense`` and for the scripts of ``tools/``."""

import importlib
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..errors.reporting import reporting
from ..frameworks import FRAMEWORKS, recognise

NOISE = (  # beginnings of other packages' warnings about themselves: a user of a command cannot act on them
    "`torch.jit.script` is deprecated",
    "pkg_resources is deprecated",
    "torch.meshgrid: in an upcoming release",
    "Fail to import ``MultiScaleDeformableAttention``",
)
PACKAGES = {framework.package for framework in FRAMEWORKS} | {"mmengine"}


def without_noise() -> None:
    """Leave out the warnings of ``NOISE`` from now on; the user's -W and PYTHONWARNINGS come first."""
    if not sys.warnoptions:
        for text in NOISE:
            warnings.filterwarnings("ignore", re.escape(text))


def run(module: str, argv: list[str] | None = None) -> None:
    """Call ``module.command(argv)``. A framework that is not installed is one message and exit code 2."""
    without_noise()
    with reporting(Path(sys.argv[0]).name), _framework_needed():
        found = importlib.import_module(module)
        argv = sys.argv[1:] if argv is None else argv
        if "--data" in argv:
            argv = _with_own_data(module, argv)
    try:
        found.command(argv)
    except ModuleNotFoundError:  # a command that imports the adapter of its config
        with reporting(Path(sys.argv[0]).name), _framework_needed():
            raise


@contextmanager
def _framework_needed() -> Iterator[None]:
    """Within the context an adapter's word that its framework is not installed becomes a :class:`UserError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES or "pip install" not in str(error):
            raise
        raise UserError(str(error)) from error


def _with_own_data(module: str, argv: list[str]) -> list[str]:
    """A command line in which ``--data FOLDER`` is replaced by the options that the config's adapter makes of it."""
    files = (each for each in argv if Path(each).suffix in (".py", ".yaml", ".yml", ".json") and Path(each).is_file())
    config = next(files, None)
    if config is None:
        raise UserError("--data: the command line names no config file")
    framework, _ = recognise(config)
    commands = importlib.import_module(f"{framework.adapter}.commands")
    if not hasattr(commands, "arguments"):
        raise UserError(
            f"--data: {config} is a config of {framework.title}, whose own data are named by --dataset NAME "
            "ANNOTATIONS IMAGES (docs/how-to/datasets.md)"
        )
    command = module.rpartition(".")[2]
    if command == "scripts":  # the framework's own train.py or test.py
        command = "train" if "train" in argv else "evaluate"
    return commands.arguments(command, config, argv)
