from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SafeLoadingHook(Hook):
    """Imports :mod:`.safe_loading` when the runner is built, before it loads anything; does nothing else.

    In ``default_hooks`` of the shipped configs, so that mmseg's own ``train.py`` and ``test.py`` load checkpoints
    without running what is in them. The config itself has been read by then.
    """

    def __init__(self) -> None:
        from . import safe_loading  # noqa: F401  (installs itself)
