"""Whether a layer is a plain ``nn.Linear`` or 1x1 ``nn.Conv2d``, whose parameters alone say what it computes."""

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized


def why_not_plain(layer: nn.Module, stock: type[nn.Module]) -> str:
    """Why ``layer`` is not a plain ``stock`` layer that FFC can replace; '' if it is."""
    name = type(layer).__name__
    if type(layer).forward is not stock.forward or "forward" in vars(layer):
        return f"this {name} computes something else than {stock.__name__}"
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return "nn.MultiheadAttention reads the weight of its out_proj and never calls it"
    weight = layer._parameters.get("weight")
    if is_parametrized(layer) or weight is None or "bias" not in layer._parameters:
        return f"the {name} does not hold weight and bias as plain parameters (parametrized, pruned or quantized)"
    if is_lazy(weight):
        return f"the {name} has no shape yet; run the model once first"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return f"the {name} has hooks, which would be lost; register them on the new layer"
    if stock is nn.Conv2d:
        plain = dict(kernel_size=(1, 1), stride=(1, 1), padding=(0, 0), groups=1)
        other = [f"{key}={getattr(layer, key)}" for key, value in plain.items() if getattr(layer, key) != value]
        if other:
            return f"a 1x1 convolution without stride, padding and groups is needed; this one has {', '.join(other)}"
    return ""
