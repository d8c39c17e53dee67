"""What this package replaces in mmengine, in one place."""

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.fileio.handlers import register_handler
from mmengine.runner.checkpoint import CheckpointLoader, load_from_ceph
from mmengine.utils import is_installed

from .inputs import safe_readers

OURS = ("", "http://", "https://", "open-mmlab://", "openmmlab://", "torchvision://", "modelzoo://")


def install() -> None:
    """Make mmengine read files without running what is in them, in this process and from now on. Again: no change.

    ``_base_ = ['mmseg::...']`` also finds a package whose distribution has another name (onedl-mmsegmentation).

    Replaced are the loaders of ``CheckpointLoader``, for paths and addresses, and the handlers of ``.yaml``, ``.yml``,
    ``.pickle`` and ``.pkl`` files of ``mmengine.load``; see :mod:`.inputs.safe_loading`.
    """
    for module, package in MODULE2PACKAGE.items():
        if not is_installed(package) and is_installed(module):
            MODULE2PACKAGE[module] = module
    others = {prefix: loader for prefix, loader in CheckpointLoader._schemes.items()
              if prefix not in OURS and loader.__module__ == CheckpointLoader.__module__}  # fmt: skip
    stored = [prefix for prefix, loader in others.items() if loader is load_from_ceph]
    CheckpointLoader.register_scheme(list(others), safe_readers.refuse_scheme, force=True)
    CheckpointLoader.register_scheme([*OURS, *stored], safe_readers.load_from_checked_file, force=True)
    register_handler(["yaml", "yml"])(safe_readers.SafeYamlHandler)
    register_handler(["pickle", "pkl"])(safe_readers.SafePickleHandler)
