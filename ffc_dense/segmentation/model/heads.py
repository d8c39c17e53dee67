"""``FFC`` + name for every mmseg decode head whose last step is ``cls_seg``, registered in mmseg's ``MODELS``."""

from mmseg.models import decode_heads
from mmseg.registry import MODELS

from .decode_head import FFCDecodeHead

CLASSIFIES_THROUGH_CLS_SEG = (
    "ANNHead",
    "APCHead",
    "ASPPHead",
    "CCHead",
    "DAHead",
    "DDRHead",
    "DMHead",
    "DNLHead",
    "DPTHead",
    "DepthwiseSeparableASPPHead",
    "DepthwiseSeparableFCNHead",
    "EMAHead",
    "EncHead",
    "FCNHead",
    "FPNHead",
    "GCHead",
    "ISAHead",
    "LRASPPHead",
    "LightHamHead",
    "NLHead",
    "OCRHead",
    "PIDHead",
    "PSAHead",
    "PSPHead",
    "SETRMLAHead",
    "SETRUPHead",
    "STDCHead",
    "SegformerHead",
    "UPerHead",
)

LEFT_OUT = {
    "IterativeDecodeHead": "it predicts with kernels updated from its inner head, not with conv_seg",
    "MaskFormerHead": "it classifies queries, not pixels",
    "Mask2FormerHead": "it classifies queries, not pixels",
    "PointHead": "it refines single points with a 1D classifier and deletes conv_seg",
    "SegmenterMaskTransformerHead": "its masks are products with class tokens; it deletes conv_seg",
    "SideAdapterCLIPHead": "it classifies mask proposals with CLIP; it deletes conv_seg",
    "VPDDepthHead": "it regresses depth",
}

__all__ = [f"FFC{name}" for name in CLASSIFIES_THROUGH_CLS_SEG if hasattr(decode_heads, name)]


def _register(stock: type) -> type:
    name = f"FFC{stock.__name__}"
    doc = f"Identical to mmseg's ``{stock.__name__}``, except for what :class:`FFCDecodeHead` says."
    head = type(name, (FFCDecodeHead, stock), {"__doc__": doc, "__module__": __name__})
    return MODELS.register_module(module=head)


def _refuse(name: str, reason: str) -> None:
    def refuse(*args, **kwargs):
        raise TypeError(f"there is no FFC{name}: {name} has no 1x1 conv_seg as its last step; {reason}")

    MODELS.register_module(name=f"FFC{name}", module=refuse)


for _name in __all__:
    globals()[_name] = _register(getattr(decode_heads, _name.removeprefix("FFC")))
for _name, _reason in LEFT_OUT.items():
    _refuse(_name, _reason)
