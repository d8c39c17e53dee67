"""What every framework on mmengine shares: MMSegmentation, MMPretrain, or a Runner of your own.

``custom_imports = dict(imports=["ffc_dense.openmmlab"])`` in a config registers the hooks on mmengine's root registry,
where each framework's scope finds them (``AtomicCheckpointHook``, ``mmseg.AtomicCheckpointHook``). mmengine must be
installed; none of the frameworks on it has to be.

The import itself changes nothing in mmengine. :func:`install` does: files are then read without running what is in them
(SECURITY.md). :class:`SafeLoadingHook` in ``default_hooks`` calls it, and so does the import of
``ffc_dense.openmmlab.inputs.safe_loading``, with which each of our commands begins.
"""

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "mmengine":
        raise
    raise ModuleNotFoundError(
        "ffc_dense.openmmlab needs mmengine, which is not installed: pip install 'ffc_dense[segmentation]' or "
        "'ffc_dense[classification]' (maintained packages), or mmengine>=0.10",
        name="mmengine",
    ) from error

from mmengine.registry import Registry

from .inputs.initial_weights import InitialWeightsHook
from .inputs.safe_loading_hook import SafeLoadingHook
from .installing import install
from .training.checkpoint_hook import AtomicCheckpointHook
from .training.non_finite_loss import NonFiniteLoss, NonFiniteLossHook
from .training.preemption import PreemptionHook
from .training.random_state import RandomStateHook
from .training.resuming import NothingToResume, checkpoint_to_resume


def register_hooks(hooks: Registry) -> None:
    """Register the hooks with a framework too.

    mmengine looks for an explicit ``mmseg.AtomicCheckpointHook`` in mmseg's registry alone where mmseg is the scope.
    """
    for hook in (
        AtomicCheckpointHook, InitialWeightsHook, NonFiniteLossHook, PreemptionHook, RandomStateHook, SafeLoadingHook,
    ):  # fmt: skip
        hooks.register_module(module=hook)


__all__ = [
    "AtomicCheckpointHook",
    "InitialWeightsHook",
    "NonFiniteLoss",
    "NonFiniteLossHook",
    "NothingToResume",
    "PreemptionHook",
    "RandomStateHook",
    "SafeLoadingHook",
    "checkpoint_to_resume",
    "install",
    "register_hooks",
]
