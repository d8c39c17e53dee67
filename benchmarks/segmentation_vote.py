"""The vote at image size: time, and peak memory in a fresh process.

FFC runs as for users, through ``predict`` of an mmseg head that consists of its classifier only; with 16 features the
classifier itself costs almost nothing. The features are noise, so the outputs disagree far more often than those of a
trained model.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ffc_dense import FFCConv2d
from ffc_dense.method.literal import LiteralFFC, literal_segmentation

from .memory import fresh_process, peak
from .timing import interleave
from .works import FFC, LITERAL, RESIZE, Samples, Work

FEATURES, CLASSES = 16, 19


def works(quick: bool) -> list[Work]:
    """The lines of section 'vote'."""
    image, feature = ((64, 128), (9, 17)) if quick else ((1024, 2048), (129, 257))
    name = f"{image[0]}x{image[1]}x{CLASSES} from {feature[0]}x{feature[1]}, float32"
    rounds = 1 if quick else None
    return [
        Work(
            "vote",
            f"vote at image size, {what}{name}",
            device,
            unit,
            {LITERAL: None, RESIZE: bar},
            partial(measure, image, feature, device, rounds),
            ("mmseg",),
        )
        for device, time_bar in (("cpu", 3.0), ("cuda", 1.5))
        for what, unit, bar, measure in (
            ("", "time", time_bar, measure_time),
            ("peak memory, ", "memory", 1.3, measure_peak),
        )
    ]


@torch.no_grad()
def candidate(name: str, image: tuple[int, int], feature: tuple[int, int], device: str) -> Callable[[], Tensor]:
    """A call that gives a label map (1, H, W). That of FFC needs mmseg."""
    torch.manual_seed(0)
    layer = FFCConv2d(FEATURES, CLASSES, device=device).eval()
    x = torch.randn(1, FEATURES, *feature, device=device)
    if name == FFC:
        head = classifier_head(FFC, FEATURES)
        head.conv_seg.load_state_dict(layer.state_dict())
        return partial(_labels, head.to(device), x, image)
    outputs = LiteralFFC(layer).outputs(x)
    if name == LITERAL:
        return partial(literal_segmentation, outputs, image, False)
    return partial(_resize, outputs[0], image)


def classifier_head(name: str, features: int):
    """An mmseg decode head whose only layer is its classifier, FFC or stock."""
    from mmseg.models.decode_heads import FCNHead
    from mmseg.utils import register_all_modules

    from ffc_dense.segmentation import FFCFCNHead

    register_all_modules()
    return (FFCFCNHead if name == FFC else FCNHead)(
        in_channels=features,
        channels=features,
        num_classes=CLASSES,
        num_convs=0,
        kernel_size=1,
        concat_input=False,
        align_corners=False,
    ).eval()


@torch.no_grad()
def predict(head, x: Tensor, image: tuple[int, int]) -> Tensor:
    """(1, K, H, W): the logits at the size of the image."""
    return head.predict([x], [dict(img_shape=image)], None)


def _labels(head, x: Tensor, image: tuple[int, int]) -> Tensor:
    return predict(head, x, image).argmax(1)


def _resize(logits: Tensor, image: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, image, mode="bilinear", align_corners=False).argmax(1)


def measure_time(image, feature, device: str, rounds: int | None) -> Samples:
    calls = {name: candidate(name, image, feature, device) for name in (FFC, RESIZE, LITERAL)}
    return interleave(calls, device, seconds=20, rounds=rounds)


def measure_peak(image, feature, device: str, rounds: int | None) -> Samples:
    arguments = [device, str(torch.get_num_threads()), *map(str, (*image, *feature))]
    return {name: [fresh_process("segmentation_vote", [name, *arguments])] for name in (FFC, RESIZE, LITERAL)}


def main(name: str, device: str, threads: str, *sizes: str) -> None:
    """In the fresh process: print the peak of candidate ``name``."""
    torch.set_num_threads(int(threads))
    height, width, *feature = map(int, sizes)
    candidate(name, (32, 64), (5, 9), device)()  # loads libraries, starts threads
    print(peak(candidate(name, (height, width), tuple(feature), device), device))


if __name__ == "__main__":
    main(*sys.argv[1:])
