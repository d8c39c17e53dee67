"""The mmpretrain side of ``export``: a classifier as one function of tensors.

Shape shorthand: N images, K classes.
"""

from copy import deepcopy
from functools import partial

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ffc_dense.classification.inputs.config_checks import check_images
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input
from ffc_dense.export.checking import Agreement, compare_dense
from ffc_dense.export.recording import Exportable
from ffc_dense.openmmlab.commands.export import build_to_export
from ffc_dense.openmmlab.inputs.checkpoint import details_of
from ffc_dense.openmmlab.inputs.config_errors import explain_build
from ffc_dense.openmmlab.inputs.read_config import parse_options, read_config

INPUTS, OUTPUTS = ("image",), ("scores", "labels")


class ExportableClassifier(nn.Module):
    """A copy of a classifier in eval mode that maps normalised images (N, 3, H, W) to logits (N, K) and labels (N,).

    ``data_preprocessor`` and the resizing stay outside. With ``test_reduce='vote'`` the logits are the winner's.

    Raises:
        TypeError: ``model`` is no ``ImageClassifier``.
    """

    def __init__(self, model: ImageClassifier):
        super().__init__()
        if not isinstance(model, ImageClassifier):
            raise TypeError(f"expected an mmpretrain ImageClassifier, got {type(model).__name__}")
        self.model = deepcopy(model)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.model(image)
        return scores, scores.argmax(1)


def load(config: str, checkpoint: str, overrides: list[str], reduction: str | None, files: list[str]) -> Exportable:
    if files:
        raise UserError("--images are for detectors: a classifier is checked on random images")
    cfg = read_config(config, parse_options(overrides))
    check_images(cfg, "an exported classifier")
    with reading_input(partial(explain_build, cfg=cfg)):
        model, name = build_to_export(cfg, MODELS, checkpoint, reduction)
        module = ExportableClassifier(model)
    return Exportable(
        module=module,
        reference=lambda image: [scores := model(image), scores.argmax(1)],
        example=images([(2, 96, 160)])[0],
        checks=[*images([(64, 64, 64), (3, 128, 96), (1, 65, 77)]), torch.zeros(1, 3, 96, 96)],
        inputs=INPUTS,
        outputs=OUTPUTS,
        dynamic={"image": {0: "batch", 2: "height", 3: "width"}, "scores": {0: "batch"}, "labels": {0: "batch"}},
        context=lambda form: torch.no_grad(),
        details=details_of(cfg, checkpoint),
        about={"reduction": name, "input": "image (N, 3, H, W), fp32, as data_preprocessor makes it"},
    )


def images(sizes: list[tuple[int, int, int]]) -> list[Tensor]:
    """Smooth noise with the deviation of normalised images, for each (N, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.randn(n, 3, -(-h // 8), -(-w // 8), generator=generator) * 1.5 for n, h, w in sizes]
    return [torch.nn.functional.interpolate(c, s[1:], mode="bilinear") for c, s in zip(coarse, sizes, strict=True)]


def compare(expected: list[Tensor], found: list[Tensor], image: Tensor) -> Agreement:
    """As for pixels: an image has one."""
    sides = ([scores[..., None, None], labels[:, None, None, None]] for scores, labels in (expected, found))
    return compare_dense(*sides)
