"""Adapters such as LoRA around an FFC layer: refused, since they would be one network before merging, another after.

PEFT puts its own module, which holds the layer as ``base_layer``, in the layer's place. It adds to the result what it
makes of the raw feature; merged into the weight, the same update meets every stage of the chain.
"""

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

BASE = "base_layer"  # what every module of PEFT calls the layer within


def refuse_adapters(kind: type[nn.Module]) -> None:
    """From now on a module that takes a ``kind`` that filters as its ``base_layer`` is a TypeError."""

    def refuse(parent: nn.Module, name: str, child: nn.Module | None) -> None:
        if name != BASE or not isinstance(child, kind) or child.is_stock:
            return
        raise TypeError(
            f"{type(parent).__module__}.{type(parent).__name__} around an {type(child).__name__}: what it adds would "
            "see the raw feature alone, and merged into the weight every stage of the filters. Train the classifier "
            "itself: LoraConfig(modules_to_save=[its name]), with exclude_modules=[its name] if target_modules has it "
            "too; or put the update into its weight: torch.nn.utils.parametrize.register_parametrization"
        )

    register_module_module_registration_hook(refuse)
