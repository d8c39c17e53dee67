"""``FFC`` + name for every mmpretrain head that ends in one linear layer, registered in mmpretrain's ``MODELS``."""

from mmpretrain.models import heads
from mmpretrain.registry import MODELS

from .cls_head import FFCClsHead

CLASSIFIES_BY_ONE_LINEAR_LAYER = (
    "EfficientFormerClsHead",
    "LinearClsHead",
    "StackedLinearClsHead",
    "VigClsHead",
    "VisionTransformerClsHead",
)

LEFT_OUT = {
    "ArcFaceClsHead": "it compares directions: its logits are cosines with unit vectors, with a margin in training",
    "CSRAClsHead": "it pools class by class, after the classifier, and decides about each class on its own",
    "ClsHead": "it has no classifier",
    "ConformerHead": "it adds the logits of two linear layers, whose votes have no common scale",
    "DeiTClsHead": "it averages the logits of two linear layers; for one class token there is "
    "FFCVisionTransformerClsHead",
    "LeViTClsHead": "a BatchNorm is part of its classifier and is merged into it for deployment, which filters forbid",
    "LinearRegressionHead": "it regresses numbers",
    "MultiLabelClsHead": "it has no classifier",
    "MultiLabelLinearClsHead": "it decides about each class on its own, and the vote gives one class",
    "MultiTaskHead": "it holds other heads: name FFC heads in its task_heads",
    "RegressionHead": "it regresses numbers",
}

__all__ = [f"FFC{name}" for name in CLASSIFIES_BY_ONE_LINEAR_LAYER if hasattr(heads, name)]


def _register(stock: type) -> type:
    name = f"FFC{stock.__name__}"
    doc = f"Identical to mmpretrain's ``{stock.__name__}``, except for what :class:`FFCClsHead` says."
    head = type(name, (FFCClsHead, stock), {"__doc__": doc, "__module__": __name__})
    return MODELS.register_module(module=head)


def _refuse(name: str, reason: str) -> None:
    def refuse(*args, **kwargs):
        raise TypeError(f"there is no FFC{name}: {name} does not predict a class by one linear layer; {reason}")

    MODELS.register_module(name=f"FFC{name}", module=refuse)


for _name in __all__:
    globals()[_name] = _register(getattr(heads, _name.removeprefix("FFC")))
for _name, _reason in LEFT_OUT.items():
    _refuse(_name, _reason)
