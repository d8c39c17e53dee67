"""Import mmseg or mmpretrain without what they print about packages that few need; nothing of them is changed."""

import importlib
import logging
from unittest import mock

from mmengine.logging import print_log


def _without_debug(msg, logger=None, level=logging.INFO) -> None:
    """mmengine's ``print_log``, which prints debug messages too where there is no logger."""
    if logger is not None or level > logging.DEBUG:
        print_log(msg, logger, level)


def quiet_import(module: str) -> None:
    with mock.patch("mmengine.logging.print_log", _without_debug):  # "Could not import OneDL", twice
        importlib.import_module(module)
