"""Convert torchvision's ImageNet ResNets (18, 34, 50, 101, 152) into weights for detectron2's backbones.

    python tools/convert_torchvision_resnet.py resnet50-0676ba61.pth R-50-torchvision.pth

Writes tensors and plain values alone: the result loads with ``weights_only=True``. detectron2's loader finds the
backbone's prefix by itself. A file whose name ends in ``-<first digits of its sha256>``, as torchvision's do, is
checked against them. Such weights need other settings than the MSRA ones; docs/how-to/weights.md lists them.

Exit status: 0, or 2 with one line that says what is wrong.
"""

import argparse
import hashlib
import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor


def detectron2_name(name: str) -> str:
    """'layer1.0.bn2.weight' -> 'res2.0.conv2.norm.weight', 'bn1.bias' -> 'stem.conv1.norm.bias'."""
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda stage: f"res{int(stage[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def convert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's state dict -> detectron2's, without the classifier and the counters of BatchNorm.

    Raises:
        ValueError: these are not the weights of a torchvision ResNet.
    """
    wanted = {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer4.1.bn2.running_var"}
    if missing := sorted(wanted - weights.keys()):
        raise ValueError(f"not the state dict of a torchvision ResNet: it lacks {', '.join(missing)}")
    return {
        detectron2_name(name): tensor
        for name, tensor in weights.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict in a file, and the file's sha256.

    Raises:
        ValueError: no such file, no file of tensors alone, or not the file that its name promises.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    promised = re.search(r"-([0-9a-f]{8,64})$", path.stem)
    if promised and not digest.startswith(promised[1]):
        raise ValueError(f"{path} is damaged or another file: its sha256 is {digest}, its name says {promised[1]}...")
    try:
        return torch.load(path, map_location="cpu", weights_only=True), digest
    except (UnpicklingError, EOFError, RuntimeError) as error:  # RuntimeError: a damaged zip archive
        raise ValueError(f"{path} is no file of tensors alone ({str(error).splitlines()[0]})") from error


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="torchvision's .pth")
    parser.add_argument("target", type=Path, help="the .pth to write, for MODEL.WEIGHTS")
    args = parser.parse_args(args)
    if args.target.suffix != ".pth":
        parser.error(f"{args.target}: detectron2 tells formats by their suffix; name a .pth file")
    try:
        source, digest = read(args.source)
        weights = convert(source)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    torch.save({"model": weights, "__author__": "torchvision", "matching_heuristics": True}, args.target)
    print(f"{digest}  {args.source}")
    print(f"{hashlib.sha256(args.target.read_bytes()).hexdigest()}  {args.target}")
    print(f"{len(weights)} tensors")


def command(argv: list[str] | None = None) -> None:
    main(argv)
