"""What the outputs do while a model trains: their accuracy and the active units of the stages, on one batch."""

import torch
from torch import Tensor

from ..method.layers import FFCConv2d, FFCLinear
from ..method.voting import elect
from .decisions import NONE


@torch.no_grad()
def training_scalars(layer: FFCLinear | FFCConv2d, x: Tensor, labels: Tensor | None) -> dict[str, float]:
    """Names and values for a training's log.

    Draws no random number, changes nothing of the model and keeps nothing for backward, so the training goes on as
    without it. The numbers are computed in the weights' precision, outside autocast.

    Args:
        layer: the classifier.
        x: the feature that it got, (P, C) or (N, C, h, w).
        labels: int64, (P,) or (N, h, w); NONE where there is no ground truth. None: only activity is needed.

    Returns:
        'out1/accuracy' ... 'outM/accuracy', 'mean/accuracy', 'vote/accuracy' in [0, 1], and 'stage0/active_units' ...
        'stagen/active_units'. Accuracies are left out without any label, all without any sample.
    """
    dim = layer._feature_dim
    if x.numel() == 0:
        return {}
    x = x.detach().to(layer.weight.dtype)
    found: dict[str, Tensor] = {}
    with torch.autocast(x.device.type, enabled=False):
        for i, stage in enumerate(layer.stages(x)):
            found[f"stage{i}/active_units"] = (stage > 0).sum(dim).double().mean()
        known = None if labels is None else labels != NONE
        if known is not None and bool(known.any()):
            outputs = layer.outputs(x)
            decided = {f"out{i + 1}": output[None] for i, output in enumerate(outputs)}
            decided |= {"mean": outputs.mean(0, keepdim=True), "vote": outputs}
            for name, logits in decided.items():
                label = elect(logits, dim % logits.dim())[1]
                found[f"{name}/accuracy"] = (label == labels)[known].double().mean()
    # One transfer from the device for all of them.
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))
