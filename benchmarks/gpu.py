"""Compare, time and count every backend on a GPU, in under 8 minutes: ``python -m benchmarks gpu``.

It requires torch alone; mmseg's ``predict`` is measured only where mmseg is installed. For every layer and for the
vote it compares each form (backend or chunk size) with the naive implementation, times all forms in turns with the
device's own clock, counts their kernel launches, and prints the default that the figures suggest. Without a GPU,
``--quick`` runs everything on the CPU: a test of this file.
"""

import argparse
import copy
import gc
import importlib
import importlib.util
import json
import math
import statistics
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ffc_dense
from ffc_dense.method.fast import devices
from ffc_dense.method.fast.triton_support import triton_problem
from ffc_dense.method.literal import literal_segmentation

from .layers import iteration, layers
from .machine import machine, revision
from .works import FFC, LITERAL, PLAIN, RESIZE

FORMS = ("composite", "blocked", "triton")
LAYERS = [((1024, 2048), 81), ((2, 512, 97, 97), 19), ((16, 512, 128, 128), 19)]
VOTES = [(19, (129, 257), (1024, 2048)), (150, (65, 86), (512, 683))]
QUICK_LAYERS, QUICK_VOTES = [((8, 16), 5), ((1, 16, 5, 7), 3)], [(5, (9, 17), (64, 128))]
CHUNKS = [2**20 * size for size in (32, 64, 128, 256, 512)]
ROUNDS = 20
LARGEST_ERROR = {torch.float32: 1e-3, torch.bfloat16: 0.05}  # relative to the largest number of a tensor
LARGEST_SHARE = 1e-5  # of pixels whose label differs from the naive vote's
NEARLY = 1.05  # times the fastest: counts as equal, so the smaller chunk is chosen


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, on the CPU if there is no GPU")
    parser.add_argument("--seconds", type=float, default=420, help="start no new work after this time (default: 420)")
    parser.add_argument("--output", type=Path, help="write every number to this JSON file")
    args = parser.parse_args(argv)
    if not (args.quick or torch.cuda.is_available()):
        parser.error("torch finds no CUDA device; --quick runs a test of this script on the CPU")
    kit = Kit("cuda" if torch.cuda.is_available() else "cpu", args.quick, time.monotonic() + args.seconds)
    print(f"{machine(kit.device)}. Commit: {revision() or 'unknown'}.")
    before = ffc_dense.get_backend(), devices.CHUNK_BYTES
    try:
        for shape, classes in QUICK_LAYERS if args.quick else LAYERS:
            for dtype in (torch.float32, torch.bfloat16):
                kit.layer(shape, classes, dtype)
        for classes, feature, image in QUICK_VOTES if args.quick else VOTES:
            kit.vote(classes, feature, image)
        kit.predict()
    finally:
        ffc_dense.set_backend(before[0])
        devices.CHUNK_BYTES = before[1]
    kit.choose()
    if args.output:
        args.output.write_text(json.dumps(kit.lines, indent=1) + "\n")


class Kit:
    """Measures one piece of work after another; ``lines`` holds the results.

    Args:
        device: 'cuda', or 'cpu' for a test.
        quick: one round.
        deadline: the value of ``time.monotonic`` after which no further piece starts.
    """

    def __init__(self, device: str, quick: bool, deadline: float):
        self.device, self.rounds, self.deadline = device, 1 if quick else ROUNDS, deadline
        self.lines: list[dict] = []

    def layer(self, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> None:
        """Forward and backward of one layer with every backend, the plain layer and the naive implementation."""
        work = f"forward + backward, {shape} -> {classes}, {str(dtype).removeprefix('torch.')}"
        modules = layers(shape, classes, dtype, self.device)
        x = torch.randn(shape, device=self.device, dtype=dtype, requires_grad=True)
        gradient = torch.randn_like(modules[PLAIN](x))
        exact = copy.deepcopy(modules[LITERAL]).float()
        expected = _gradients(exact, x.float(), gradient.float())
        del exact
        calls, errors = {}, {}
        for form in FORMS:
            if self._why_not(form):
                self._skipped(work, form, self._why_not(form))
                continue
            calls[form] = partial(_under, form, iteration(modules[FFC], x, gradient))
            found = _under(form, partial(_gradients, modules[FFC], x, gradient))
            errors[form] = max(_error(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
        for name in (PLAIN, LITERAL):
            calls[name] = iteration(modules[name], x, gradient)
        self._measure(work, calls, errors, LARGEST_ERROR[dtype])

    def vote(self, classes: int, feature: tuple[int, int], image: tuple[int, int]) -> None:
        """Seven outputs to one label map: chunks of several sizes, the kernel, and one output's resize + argmax."""
        work = f"vote, {image[0]}x{image[1]}x{classes} from {feature[0]}x{feature[1]}"
        torch.manual_seed(0)
        outputs = torch.randn(7, 1, classes, *feature, device=self.device) * 2
        vote_upsampled = _vote_module().vote_upsampled
        calls: dict[str, Callable[[], Tensor]] = {}
        for chunk in CHUNKS:
            call = partial(vote_upsampled, outputs, image, False)
            calls[f"chunk {chunk >> 20} MiB"] = partial(_in_chunks, chunk, call)
        if self._why_not("triton"):
            self._skipped(work, "triton", self._why_not("triton"))
        else:
            calls["triton"] = partial(_under, "triton", partial(vote_upsampled, outputs, image, False))
        calls[RESIZE] = partial(F.interpolate, outputs[0], image, mode="bilinear", align_corners=False)
        calls = {name: partial(_labels, call) for name, call in calls.items()}
        expected = literal_segmentation(outputs, image, False)
        shares = {name: float((call() != expected).double().mean()) for name, call in calls.items() if name != RESIZE}
        calls[LITERAL] = partial(literal_segmentation, outputs, image, False)
        self._measure(work, calls, shares, LARGEST_SHARE)

    def predict(self) -> None:
        """``predict`` of an mmseg head, by the default of this commit."""
        work = "mmseg predict, vote"
        try:
            importlib.import_module("mmseg")
        except ImportError:
            return self._skipped(work, FFC, "mmseg is not installed")
        from .segmentation_vote import candidate

        image, feature = ((64, 128), (9, 17)) if self.rounds == 1 else ((1024, 2048), (129, 257))
        self._measure(work, {name: candidate(name, image, feature, self.device) for name in (FFC, RESIZE)}, {}, 0)

    def choose(self) -> None:
        """Print the defaults that the measurements suggest."""
        right = [line for line in self.lines if line.get("seconds") and line["right"]]
        for kind, what in (("forward", "form of the layers"), ("vote", "chunk of the vote")):
            works = {line["work"] for line in right if line["work"].startswith(kind)}
            names = [n for n in dict.fromkeys(line["form"] for line in right) if n not in (PLAIN, LITERAL, RESIZE)]
            times = {
                name: [line["seconds"] for line in right if line["form"] == name and line["work"] in works]
                for name in names
            }
            mean = {name: math.prod(t) ** (1 / len(t)) for name, t in times.items() if len(t) == len(works) > 0}
            if not mean:
                print(f"{what}: nothing was measured")
                continue
            good = [name for name, value in mean.items() if value <= NEARLY * min(mean.values())]
            print(f"{what}: {good[0]} (geometric means: {', '.join(f'{k} {1e3 * v:.3g} ms' for k, v in mean.items())})")
        if self.device == "cpu":
            print("this was a CPU: a test of the script, no basis for a default")

    def _why_not(self, form: str) -> str:
        if form != "triton":
            return ""
        return triton_problem() or ("" if self.device == "cuda" else "the tensors are on the CPU")

    def _measure(self, work: str, calls: dict[str, Callable], errors: dict[str, float], largest: float) -> None:
        if time.monotonic() > self.deadline:
            return self._skipped(work, "every form", "the time was up")
        for call in calls.values():
            call()
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for i in range(self.rounds):
            for name in reversed(calls) if i % 2 else calls:
                seconds[name].append(self._time(calls[name]))
            if time.monotonic() > self.deadline:
                break
        for name, call in calls.items():
            line = dict(
                work=work, form=name, seconds=statistics.median(seconds[name]), launches=self._launches(call),
                peak=self._peak(call), error=errors.get(name), right=errors.get(name, 0.0) <= largest,
            )  # fmt: skip
            self.lines.append(line)
            wrong = "" if line["right"] else " TOO MUCH"
            error = "" if line["error"] is None else f", off by {line['error']:.1e}{wrong}"
            peak = "" if line["peak"] is None else f", peak {line['peak'] / 2**20:.0f} MiB"
            cost = f"{1e3 * line['seconds']:.3f} ms, {line['launches']} launches"
            print(f"{work}: {name}: {cost}{peak}{error}", flush=True)

    def _skipped(self, work: str, form: str, reason: str) -> None:
        self.lines.append(dict(work=work, form=form, not_measured=reason))
        print(f"{work}: {form}: not measured: {reason}", flush=True)

    def _time(self, call: Callable) -> float:
        if self.device == "cpu":
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def _launches(self, call: Callable) -> int:
        """Kernels and copies that the device ran; on the CPU, operators."""
        if self.device == "cpu":
            with _Operators() as operators:
                call()
            return operators.count
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            call()
            torch.cuda.synchronize()
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())

    def _peak(self, call: Callable) -> int | None:
        if self.device == "cpu":
            return None
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


class _Operators(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def _under(form: str, call: Callable):
    ffc_dense.set_backend(form)
    try:
        return call()
    finally:
        ffc_dense.set_backend("auto")


def _in_chunks(size: int, call: Callable):
    devices.CHUNK_BYTES = size
    return call()


def _labels(call: Callable[[], Tensor]) -> Tensor:
    return call().argmax(1)


def _gradients(layer, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """The result and the gradients of the feature and of every parameter, in the same order for every form."""
    x = x.detach().requires_grad_()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        result = layer(x)
        return [result.detach(), *torch.autograd.grad(result, [x, *layer.parameters()], gradient)]


def _error(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.double().flatten(), theirs.double().flatten()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))


def _vote_module():
    """The module ``upsampled_vote``, also without mmseg: its package's front imports mmseg, the vote does not."""
    name = "ffc_dense.segmentation"
    if importlib.util.find_spec("mmseg") is None and name not in sys.modules:
        front = types.ModuleType(name)
        front.__path__ = [str(Path(ffc_dense.__file__).parent / "segmentation")]
        sys.modules[name] = front
    return importlib.import_module(f"{name}.model.upsampled_vote")


if __name__ == "__main__":
    main(sys.argv[1:])
