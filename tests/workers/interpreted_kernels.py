"""Run by test_ops_triton.py in a process of its own, where Triton interprets its kernels on the CPU.

Prints a JSON object: the name of each case -> the name of each tensor -> its largest error against the literal
algorithm in float64, relative to its largest value (a string if something else than a number is wrong).
"""

import copy
import json
import sys

import torch
from gradients import gradients

from ffc_dense import FFCConv2d, FFCLinear, set_backend
from ffc_dense.method import literal
from ffc_dense.method.fast import triton_mean

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cases():
    """Name, layer, input."""
    for name, dtype in DTYPES.items():
        yield f"rows-{name}", FFCLinear(24, 5).to(dtype), torch.randn(7, 24).to(dtype)
        yield f"map-{name}", FFCConv2d(24, 5).to(dtype), torch.randn(2, 24, 3, 5).to(dtype)
    for features in (1, 16, 33, 200, 2048, 4096):
        yield f"rows-{features}-features", FFCLinear(features, 3), torch.randn(3, features)
        yield f"map-{features}-features", FFCConv2d(features, 3), torch.randn(1, features, 3, 3)
    for filters in (1, 2, 5):
        for interpolate in (True, False):
            layer = FFCLinear(20, 3, num_filters=filters, interpolate=interpolate)
            yield f"{filters}-filters-{interpolate}", layer, torch.randn(4, 20)
    yield "no-bias-rows", FFCLinear(20, 3, False), torch.randn(4, 20)
    yield "no-bias-map", FFCConv2d(20, 3, bias=False), torch.randn(2, 20, 2, 2)
    yield "one-row", FFCLinear(20, 3), torch.randn(20)
    yield "three-dimensions", FFCLinear(20, 3), torch.randn(2, 3, 20)
    yield "one-map", FFCConv2d(20, 3), torch.randn(20, 3, 2)
    yield "many-tiles-map", FFCConv2d(9, 3), torch.randn(2, 9, 11, 13)
    yield "many-tiles-rows", FFCLinear(200, 3), torch.randn(19, 200)
    yield "eps", FFCLinear(20, 3, eps=0.5), torch.randn(4, 20)
    yield "channels-last", FFCConv2d(24, 5), torch.randn(2, 24, 3, 5).to(memory_format=torch.channels_last)
    yield "strided-rows", FFCLinear(24, 5), torch.randn(7, 48)[:, ::2]
    yield "strided-map", FFCConv2d(24, 5), torch.randn(2, 24, 3, 10)[..., ::2]
    yield "zero", FFCLinear(24, 5), torch.zeros(3, 24)
    yield "constant", FFCConv2d(24, 5), torch.full((1, 24, 2, 2), 3.7)
    yield "huge", FFCLinear(24, 5), torch.randn(5, 24) * torch.tensor([1, 1e16, 1, 1e30, 1])[:, None]
    yield "empty-rows", FFCLinear(24, 5), torch.randn(0, 24)
    yield "empty-maps", FFCConv2d(24, 5), torch.randn(0, 24, 3, 3)


def errors(layer, x):
    with torch.no_grad():
        for norm in layer.filters:
            norm.weight.normal_(1, 0.3)
            norm.bias.normal_(0, 0.3)
    found = gradients(layer, x, layer)
    again = gradients(layer, x, layer)
    exact = copy.deepcopy(layer).double()
    expected = gradients(exact, x.double(), lambda x: literal.mean(exact, x))
    result = {}
    for name, value in expected.items():
        tensor = found[name]
        if (tensor.shape, tensor.dtype) != (value.shape, x.dtype):
            result[name] = f"{tuple(tensor.shape)} {tensor.dtype}"
        elif not torch.equal(tensor, again[name]):
            result[name] = "differs from run to run"
        elif value.numel():
            error = (tensor.double() - value).abs().max() / value.abs().max().clamp(min=1e-3)
            result[name] = error.item()
    return result


def main():
    torch.manual_seed(0)
    set_backend("triton")
    launched = []
    for name in ("forward", "backward"):
        function = getattr(triton_mean, name)
        setattr(triton_mean, name, lambda *args, f=function, n=name: launched.append(n) or f(*args))
    triton_mean.MAX_PROGRAMS = 3  # so that each program walks over several tiles
    report = {}
    for name, layer, x in cases():
        launched.clear()
        report[name] = errors(layer, x)
        if x.numel() and launched != ["forward", "backward"] * 2:
            report[name]["kernels"] = f"launched {launched}"
    json.dump(report, sys.stdout)


main()
