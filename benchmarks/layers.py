"""The classifier alone: forward + backward, memory kept for backward, and its share of a box head."""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ffc_dense import FFCConv2d, FFCLinear, vote
from ffc_dense.method.literal import LiteralFFC

from .memory import fresh_process, held, kept_for_backward
from .timing import copy_bandwidth, interleave
from .works import COMPILED, FFC, FLOOR, LITERAL, PLAIN, STOCK, Samples, Work, bytes_of


def works(quick: bool) -> list[Work]:
    """The lines of section 'layers', with the project's own targets."""
    cpu = partial(_line, device="cpu", quick=quick)
    cuda = partial(_line, device="cuda", quick=quick)
    rows, maps = (1024, 2048), (2, 512, 97, 97)
    fp32, bf16 = torch.float32, torch.bfloat16
    return [
        cpu(rows, 81, fp32, {LITERAL: 1 / 2, PLAIN: None}),
        cpu(maps, 19, fp32, {LITERAL: 1 / 3, PLAIN: None}),
        cpu(rows, 81, bf16, {LITERAL: None, PLAIN: None}),
        cpu(maps, 19, bf16, {LITERAL: None, PLAIN: None}),
        cpu(rows, 81, fp32, {LITERAL: None, PLAIN: None}, memory=True),
        cpu(maps, 19, fp32, {LITERAL: None, PLAIN: 1.15}, memory=True),
        _held(quick),
        _box_head(quick, "cpu", whole=False),
        _box_head(quick, "cpu", whole=True),
        cuda(rows, 81, fp32, {LITERAL: None, COMPILED: None, PLAIN: None}),
        cuda(rows, 81, bf16, {LITERAL: None, COMPILED: None, PLAIN: None}),
        cuda(maps, 19, fp32, {LITERAL: None, COMPILED: None, PLAIN: None}),
        cuda(maps, 19, bf16, {LITERAL: None, COMPILED: None, PLAIN: 1.5}),
        cuda((16, 512, 128, 128), 19, bf16, {LITERAL: None, COMPILED: None, PLAIN: None, FLOOR: 1 / 0.7}),
        cuda(rows, 81, bf16, {LITERAL: None, PLAIN: None}, backend="triton"),
        cuda(maps, 19, bf16, {LITERAL: None, PLAIN: 1.5}, backend="triton"),
        cuda((16, 512, 128, 128), 19, bf16, {LITERAL: None, PLAIN: None, FLOOR: 1 / 0.7}, backend="triton"),
        cuda(maps, 19, bf16, {LITERAL: None, PLAIN: 1.15}, memory=True, backend="triton"),
        cuda(maps, 19, bf16, {LITERAL: None, PLAIN: 1.15}, memory=True),
        _box_head(quick, "cuda", whole=False),
        _box_head(quick, "cuda", whole=True),
    ]


def _line(shape, classes, dtype, bars, *, device: str, quick: bool, memory: bool = False, backend: str = "") -> Work:
    if quick:
        shape = (8, 16) if len(shape) == 2 else (1, 16, 5, 7)
    name = f"{_shape(shape)} -> {classes}, {str(dtype).removeprefix('torch.')}"
    name += f", backend {backend}" if backend else ""
    if memory:
        return Work(
            "layers",
            f"memory kept for backward, {name}",
            device,
            "memory",
            bars,
            partial(measure_memory, shape, classes, dtype, device),
            backend=backend,
        )
    return Work(
        "layers",
        f"forward + backward, {name}",
        device,
        "time",
        bars,
        partial(measure_time, shape, classes, dtype, device, list(bars), 1 if quick else None),
        backend=backend,
    )


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}" if len(shape) == 2 else str(tuple(shape)).replace(" ", "")


def layers(shape: tuple[int, ...], classes: int, dtype: torch.dtype, device: str, num_filters: int = 3):
    """{candidate: layer} with the same parameters, for rows (N, C) or maps (N, C, h, w)."""
    torch.manual_seed(0)
    plain = nn.Linear(shape[1], classes) if len(shape) == 2 else nn.Conv2d(shape[1], classes, 1)
    plain = plain.to(device, dtype)
    ffc = (FFCLinear if len(shape) == 2 else FFCConv2d).from_layer(plain, num_filters=num_filters)
    return {PLAIN: plain, LITERAL: LiteralFFC(ffc), FFC: ffc}


def iteration(layer: nn.Module, x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """Forward and backward, with gradients of the feature and of every parameter."""
    parameters = list(layer.parameters())

    def call() -> None:
        x.grad = None
        for parameter in parameters:
            parameter.grad = None
        layer(x).backward(gradient)

    return call


def measure_time(shape, classes, dtype, device: str, baselines: list[str], rounds: int | None) -> Samples:
    modules = layers(shape, classes, dtype, device)
    if COMPILED in baselines:
        torch.compiler.reset()  # else earlier lines count towards its limit of recompilations
        modules[COMPILED] = torch.compile(LiteralFFC(modules[FFC]))
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
    gradient = torch.randn_like(modules[PLAIN](x))
    names = [FFC, *(name for name in baselines if name != FLOOR)]
    calls = {name: iteration(modules[name], x, gradient) for name in names}
    samples = interleave(calls, device, seconds=6, rounds=rounds)
    if FLOOR in baselines:
        # The feature is read in forward and again in backward, its gradient is written once.
        samples[FLOOR] = [3 * bytes_of(shape, dtype) / copy_bandwidth(device)]
    return samples


def measure_memory(shape, classes, dtype, device: str) -> Samples:
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
    modules = layers(shape, classes, dtype, device)
    return {name: [kept_for_backward(partial(module, x))] for name, module in modules.items()}


def _held(quick: bool) -> Work:
    shape, classes = ((1, 16, 64, 64), 3) if quick else ((2, 512, 97, 97), 19)

    def measure() -> Samples:
        arguments = [str(torch.get_num_threads()), str(classes), *map(str, shape)]
        return {
            name: [bytes_of(shape, torch.float32) + fresh_process("layers", [name, *arguments])]
            for name in (PLAIN, LITERAL, FFC)
        }

    return Work(
        "layers",
        f"feature + growth of a fresh process over forward, {_shape(shape)} -> {classes}, float32",
        "cpu",
        "memory",
        {LITERAL: None, PLAIN: 1.15},
        measure,
    )


class BoxHead(nn.Module):
    """detectron2's two-layer box head with its predictor: (R, 256 * 7 * 7) -> scores (R, K + 1), deltas (R, 4K)."""

    def __init__(self, classifier: nn.Module, features: int, width: int, classes: int):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.classifier = classifier
        self.deltas = nn.Linear(width, 4 * classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.head(x)
        return self.classifier(x), self.deltas(x)


def _box_head(quick: bool, device: str, whole: bool) -> Work:
    """The whole FFC predictor, or the stock predictor followed by the vote alone, behind the stock box head."""
    rows, features, width = (4, 32, 16) if quick else (1000, 256 * 7 * 7, 1024)

    def measure() -> Samples:
        torch.manual_seed(0)
        stock = BoxHead(nn.Linear(width, 81), features, width, 80).to(device).eval()
        ffc = BoxHead(FFCLinear.from_layer(stock.classifier), features, width, 80).to(device).eval()
        ffc.load_state_dict(stock.state_dict(), strict=False)  # the filters keep their 1 and 0
        x = torch.randn(rows, features, device=device)
        with torch.no_grad():
            outputs = ffc.classifier.outputs(ffc.head(x))
            then_vote = lambda: (stock(x), vote(outputs, -1))  # noqa: E731
            candidate = partial(ffc, x) if whole else then_vote
            return interleave({STOCK: partial(stock, x), FFC: candidate}, device, 6, 1 if quick else None)

    name = "box head with FFC predictor" if whole else "box head, and the vote of 7 outputs"
    # The target, a few percent, is for the vote; the classifier's n further products come on top.
    bar = None if whole else 1.05
    return Work("layers", f"{name}, inference, {rows} proposals, 81 classes", device, "time", {STOCK: bar}, measure)


def main(name: str, threads: str, classes: str, *shape: str) -> None:
    """In the fresh process: print the bytes that layer ``name`` holds after forward."""
    torch.set_num_threads(int(threads))
    sizes = tuple(map(int, shape))
    layer = layers(sizes, int(classes), torch.float32, "cpu")[name]
    layer(torch.randn(1, sizes[1], 8, 8, requires_grad=True)).sum().backward()  # loads libraries, starts threads
    x = torch.randn(sizes, requires_grad=True)
    print(held(partial(layer, x)))


if __name__ == "__main__":
    main(*sys.argv[1:])
