"""The mmseg side of ``export_model.py``."""

from functools import partial

import torch
from mmseg.registry import MODELS
from torch import Tensor

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input
from ffc_dense.export.checking import Agreement, compare_dense
from ffc_dense.export.recording import Exportable
from ffc_dense.openmmlab.commands.export import build_to_export
from ffc_dense.openmmlab.inputs.checkpoint import details_of
from ffc_dense.openmmlab.inputs.config_errors import explain_build
from ffc_dense.openmmlab.inputs.read_config import parse_options, read_config
from ffc_dense.segmentation.inspection.export import INPUTS, OUTPUTS, ExportableSegmentor, exporting


def load(config: str, checkpoint: str, overrides: list[str], reduction: str | None, files: list[str]) -> Exportable:
    if files:
        raise UserError("--images are for detectors: a segmentor is checked on random images, each pixel of them")
    cfg = read_config(config, parse_options(overrides))
    with reading_input(partial(explain_build, cfg=cfg)):
        model, name = build_to_export(cfg, MODELS, checkpoint, reduction)
        module = ExportableSegmentor(model)

    def reference(image: Tensor) -> list[Tensor]:
        size = tuple(image.shape[2:])
        scores = model.encode_decode(image, [dict(ori_shape=size, img_shape=size, pad_shape=size)])
        return [scores, module.labels(scores)]

    return Exportable(
        module=module,
        reference=reference,
        example=images([(2, 96, 160)])[0],
        checks=inputs(),
        inputs=INPUTS,
        outputs=OUTPUTS,
        dynamic={name: {0: "batch", 2: "height", 3: "width"} for name in (*INPUTS, *OUTPUTS)},
        context=lambda form: exporting(),
        details=details_of(cfg, checkpoint),
        about={"reduction": name, "input": "image (N, 3, H, W), fp32, as data_preprocessor makes it"},
    )


def images(sizes: list[tuple[int, int, int]]) -> list[Tensor]:
    """Smooth noise with the mean and deviation of normalised images, for each (N, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.randn(n, 3, -(-h // 8), -(-w // 8), generator=generator) * 1.5 for n, h, w in sizes]
    return [torch.nn.functional.interpolate(c, s[1:], mode="bilinear") for c, s in zip(coarse, sizes, strict=True)]


def inputs() -> list[Tensor]:
    """Batches and sizes other than the example's, one without contents."""
    return [*images([(1, 128, 128), (3, 64, 200), (1, 121, 77)]), torch.zeros(1, 3, 96, 96)]


def compare(expected: list[Tensor], found: list[Tensor], image: Tensor) -> Agreement:
    return compare_dense(expected, found)
