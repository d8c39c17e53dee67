"""Whether a layer computes what ``nn.Linear`` or a 1x1 ``nn.Conv2d`` computes, from its weight and bias alone."""

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

POINTWISE = {"kernel_size": 1, "stride": 1, "padding": 0, "groups": 1}
SCALES = (1e-3, 1.0, 1e3)  # of the features that a subclass is tried on: a bound or a step of its own shows at one


def why_not_plain(layer: nn.Module, stock: type[nn.Module]) -> str:
    """Why ``layer`` is not a plain ``stock`` layer that FFC can replace; '' if it is.

    A subclass with code of its own, such as timm's ``Linear`` or detectron2's ``Conv2d``, is plain if it gives the
    results of ``stock`` on random numbers, in training and testing.
    """
    name = type(layer).__name__
    if "forward" in vars(layer):
        return f"the forward of this {name} was replaced (by a library?), which would be lost"
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return "nn.MultiheadAttention reads the weight of its out_proj and never calls it"
    weight = layer._parameters.get("weight")
    if is_parametrized(layer) or weight is None or "bias" not in layer._parameters:
        return f"the {name} does not hold weight and bias as plain parameters (parametrized, pruned or quantized)"
    if is_lazy(weight):
        return f"the {name} has no shape yet; run the model once first"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return f"the {name} has hooks, which would be lost; register them on the new layer"
    if isinstance(layer, nn.Conv2d) and (other := unlike_pointwise({key: getattr(layer, key) for key in POINTWISE})):
        return f"a 1x1 convolution without stride, padding and groups is needed; this one has {', '.join(other)}"
    return "" if type(layer) is stock else _why_other_mathematics(layer, stock)


def unlike_pointwise(settings: dict[str, Any]) -> list[str]:
    """Those of ``POINTWISE`` in ``settings`` that are not a 1x1 convolution's, as 'name=value'."""
    return [f"{key}={value!r}" for key, value in settings.items() if not _is_pointwise(key, value)]


def _is_pointwise(key: str, value: Any) -> bool:
    if isinstance(value, str):  # either pads a 1x1 convolution by nothing
        return key == "padding" and value in ("same", "valid")
    wanted = POINTWISE[key]
    return not isinstance(value, bool) and value in (wanted, (wanted, wanted), [wanted, wanted])


def _why_other_mathematics(layer: nn.Module, stock: type[nn.Module]) -> str:
    name = f"{type(layer).__module__}.{type(layer).__qualname__}"
    everything = {**layer._parameters, **layer._buffers, **layer._modules}
    held = {key for key, value in everything.items() if value is not None} - {"weight", "bias"}
    if held:
        return f"the {name} holds more than weight and bias ({', '.join(sorted(held))}), which would be lost"
    generator = torch.Generator().manual_seed(0)

    def numbers(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")

    given = {key: numbers(*each.shape) for key, each in layer._parameters.items() if each is not None}
    num_features, positions = given["weight"].shape[1], [4] * (given["weight"].dim() - 2)
    compute = F.linear if stock is nn.Linear else F.conv2d
    before = layer.training
    try:
        for training, scale in product((True, False), SCALES):
            layer.training, x = training, numbers(3, num_features, *positions) * scale
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                found = functional_call(layer, given, (x,))
            torch.testing.assert_close(found, compute(x, given["weight"], given.get("bias")))
    except AssertionError:
        return f"the {name} computes something else than {stock.__name__}"
    except Exception as error:  # whatever foreign code may raise
        return f"the {name} cannot be compared with {stock.__name__}: {type(error).__name__}: {error}"
    finally:
        layer.training = before
    return ""
