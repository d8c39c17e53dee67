"""A detectron2 detector as one function of tensors, for torch.export, ONNX and tracing.

Shape shorthand: (H, W) the image's size, D detections.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import torch
import torch.nn.functional as F
from detectron2.export.torchscript_patch import patch_builtin_len
from detectron2.modeling import GeneralizedRCNN, PanopticFPN
from detectron2.structures import ImageList
from torch import Tensor, nn

from .branch_free import branch_free

INPUTS, OUTPUTS = ("image",), ("boxes", "labels", "scores")


class ExportableDetector(nn.Module):
    """A copy of a detector in eval mode that maps one image to its detections.

    Mean, standard deviation and padding are inside, resizing to the test size is outside, as in detectron2's own
    exports. Boxes are in pixels of the image given. One image at a time: detectron2 returns a list per image.

    Args:
        model: a ``GeneralizedRCNN`` for boxes.

    Raises:
        TypeError: ``model`` is no ``GeneralizedRCNN``, or a ``PanopticFPN``, which has more to say than boxes.
        ValueError: it predicts masks or keypoints too, which the graph would drop, or takes precomputed proposals.
    """

    def __init__(self, model: GeneralizedRCNN):
        super().__init__()
        if not isinstance(model, GeneralizedRCNN) or isinstance(model, PanopticFPN):
            raise TypeError(
                f"expected a detectron2 GeneralizedRCNN, got {type(model).__name__}; detectron2's own "
                "tools/deploy/export_model.py exports the models that have no FFC"
            )
        if model.proposal_generator is None:
            raise ValueError(
                "MODEL.PROPOSAL_GENERATOR.NAME PrecomputedProposals: the graph takes an image alone, which has no "
                "proposals; use a config with RPN"
            )
        more = [name for name in ("mask_on", "keypoint_on") if getattr(model.roi_heads, name, False)]
        if more:
            keys = " ".join(f"MODEL.{name.upper()} False" for name in more)
            raise ValueError(f"the exported graph has boxes alone, this model has more: give {keys} to leave it out")
        self.model = deepcopy(model)
        predictors = self.model.roi_heads.box_predictor
        for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
            predictor.opinions = False  # further fields, which the graph does not return
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(3, H, W), channels as in INPUT.FORMAT, 0 to 255 -> boxes (D, 4) XYXY, labels (D,) int64, scores (D,)."""
        model = self.model
        images = self._padded(image) if torch.compiler.is_compiling() else model.preprocess_image([{"image": image}])
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        found = model.roi_heads(images, features, proposals, None)[0][0]
        return found.pred_boxes.tensor, found.pred_classes, found.scores

    def _padded(self, image: Tensor) -> ImageList:
        """``preprocess_image`` on sizes that are symbols; the stock one would read them from a tensor."""
        size, multiple = tuple(image.shape[1:]), self.model.backbone.size_divisibility
        image = (image - self.model.pixel_mean) / self.model.pixel_std
        if multiple > 1:
            height, width = ((side + multiple - 1) // multiple * multiple - side for side in size)
            image = F.pad(image, (0, width, 0, height))
        return ImageList(image.unsqueeze(0), [size])


@contextmanager
def exporting(without_branches: bool = False) -> Iterator[None]:
    """The context to record an :class:`ExportableDetector` in.

    Args:
        without_branches: for torch.export, see ``branch_free.py``; tracing and the ONNX exporter on top of it do
            without.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(branch_free() if without_branches else patch_builtin_len())
        yield
