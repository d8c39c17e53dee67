from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..installing import install


@HOOKS.register_module()
class SafeLoadingHook(Hook):
    """Calls :func:`ffc_dense.openmmlab.installing.install` when the runner is built, before it loads anything.

    In ``default_hooks`` of the shipped configs, so that mmseg's own ``train.py`` and ``test.py`` load checkpoints
    without running what is in them. The config itself has been read by then.
    """

    def __init__(self) -> None:
        install()
