"""The detectron2 side of ``export_model.py``."""

import torch
from detectron2.config import CfgNode
from omegaconf import DictConfig
from torch import Tensor

from ffc_dense.detection.commands.recipes import recipe_of
from ffc_dense.detection.inspection.detector import network_input, test_input
from ffc_dense.detection.inspection.export import INPUTS, OUTPUTS, ExportableDetector, exporting
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input
from ffc_dense.export.checking import Agreement, compare_detections
from ffc_dense.export.recording import Exportable
from ffc_dense.method.reductions import reduced
from ffc_dense.pictures.reading import UnreadableError, read_bgr


def load(config: str, checkpoint: str, overrides: list[str], reduction: str | None, files: list[str]) -> Exportable:
    recipe = recipe_of(config, checkpoint, overrides, ())
    with reading_input(recipe.explain):
        model, (name,) = recipe.load([reduction] if reduction else [])
        model = model.cpu().eval()
        with reduced(model, name):
            module = ExportableDetector(model)  # a copy

    def reference(image: Tensor) -> list[Tensor]:
        (found,) = module.model.inference([{"image": image}], do_postprocess=False)
        return [found.pred_boxes.tensor, found.pred_classes, found.scores]

    # Over twice the coarsest stride: torch.export takes a map of one position for another case than larger ones.
    multiple = max(16, model.backbone.size_divisibility)
    return Exportable(
        module=module,
        reference=reference,
        example=images([(6 * multiple, 8 * multiple)])[0],
        checks=[*inputs(), *(read(file, recipe.cfg) for file in files)],
        inputs=INPUTS,
        outputs=OUTPUTS,
        dynamic={"image": {1: "height", 2: "width"}, **{name: {0: "detections"} for name in OUTPUTS}},
        context=lambda form: exporting(without_branches=form == "torch_export"),
        traced_onnx=True,
        details={"classes": recipe.class_names(), "channels": test_input(recipe.cfg)[1]},
        about={"reduction": name, "input": "image (3, H, W), fp32, channels as in INPUT.FORMAT, 0 to 255"},
    )


def images(sizes: list[tuple[int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) * 255 for size in sizes]


def read(file: str, cfg: CfgNode | DictConfig) -> Tensor:
    """(3, H, W), resized as detectron2 tests."""
    try:
        return network_input(read_bgr(file), *test_input(cfg))
    except UnreadableError as error:
        raise UserError(f"--images: {file} cannot be read: {error}") from error


def inputs() -> list[Tensor]:
    """Images of other sizes than the example, one without contents."""
    return [*images([(128, 192), (200, 150), (97, 331), (256, 256)]), torch.zeros(3, 160, 120)]


def compare(expected: list[Tensor], found: list[Tensor], image: Tensor) -> Agreement:
    return compare_detections(expected, found, tuple(image.shape[1:]))
