"""Convert MIT's ImageNet ResNet with a stem of three convolutions into initial weights of mmseg's ``ResNetV1c``.

The source is what speedinghzl/pytorch-segmentation-toolbox starts from, ``resnet101-imagenet.pth`` of
CSAILVision/semantic-segmentation-pytorch: stem convolutions of 64, 64 and 128 channels under the keys ``conv1``,
``bn1`` ... ``conv3``, ``bn3``. They become ``stem.0``, ``stem.1`` ... ``stem.6``, ``stem.7``; the residual stages keep
their keys, the classifier ``fc`` is left out. Every key and shape is compared with ``ResNetV1c(stem_channels=128)``
before anything is written. No code of the source file is run.

Exit status: 0, or 2 with one line that says what is wrong.
"""

import argparse
import os
import sys
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmseg.models.backbones import ResNetV1c
from torch import Tensor

STEM = {"conv1": "stem.0", "bn1": "stem.1", "conv2": "stem.3", "bn2": "stem.4", "conv3": "stem.6", "bn3": "stem.7"}


def read(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file; ValueError if it is another kind of file."""
    if not path.is_file():
        raise ValueError(f"SOURCE: there is no file {path}; docs/how-to/weights.md says where it comes from")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError) as error:  # RuntimeError: a damaged zip archive
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"SOURCE: {path} is no file of tensors alone ({reason})") from error
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"SOURCE: {path} holds no dictionary of named tensors")
    return content


def convert(source: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Tensors under MIT's keys -> under those of ``ResNetV1c(depth, stem_channels=128)``.

    Raises:
        ValueError: a tensor is missing, is not of the backbone, or has another shape; the message names it.
    """
    converted = {}
    for key, tensor in source.items():
        layer, _, rest = key.removeprefix("module.").partition(".")
        if layer != "fc":
            converted[f"{STEM.get(layer, layer)}.{rest}"] = tensor
    with torch.device("meta"):
        backbone = ResNetV1c(depth=depth, stem_channels=128)
    needed = {key: t.shape for key, t in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    back = {new: old for old, new in STEM.items()}
    found = {key for key in converted if not key.endswith("num_batches_tracked")}
    for what, keys in (("lacks", needed.keys() - found), ("has, besides a ResNet's keys,", found - needed.keys())):
        if keys:
            names = sorted(_mit_key(key, back) for key in keys)
            raise ValueError(
                f"SOURCE {what} {', '.join(names[:4])} ({len(names)} keys): is it a ResNet-{depth} of MIT's?"
            )
    for key, shape in needed.items():
        if converted[key].shape != shape:
            got = tuple(converted[key].shape)
            raise ValueError(f"SOURCE: {_mit_key(key, back)} has the shape {got}, {tuple(shape)} is needed")
    return converted


def _mit_key(key: str, back: dict[str, str]) -> str:
    layer, _, rest = key.rpartition(".")
    return f"{back.get(layer, layer)}.{rest}"


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="resnet101-imagenet.pth")
    parser.add_argument("output", type=Path, help="for the shipped configs: pretrained/resnet101_v1c_stem128.pth")
    parser.add_argument("--depth", type=int, choices=(50, 101), default=101)
    args = parser.parse_args(args)
    try:
        converted = convert(read(args.source), args.depth)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    partial = args.output.with_name(args.output.name + ".partial")
    torch.save(dict(state_dict=converted), partial)
    os.replace(partial, args.output)
    for path in (args.source, args.output):
        print(f"{sha256(path.read_bytes()).hexdigest()}  {path}")
    negative = sum(int((t < 0).sum()) for key, t in converted.items() if t.dim() == 1 and key.endswith("weight"))
    print(
        f"{len(converted)} tensors, {negative} negative normalisation weights (the toolbox used their absolute value)"
    )


def command(argv: list[str] | None = None) -> None:
    sys.exit(main(argv))
