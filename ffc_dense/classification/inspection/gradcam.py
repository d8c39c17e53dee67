"""Grad-CAM of the outputs of an image classifier (paper Fig. 1 and 4), at the last feature map of the backbone.

The pictures show what the network sees: the image after the resize and the crop of the test pipeline.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import default_collate
from torch import Tensor, nn

from ...errors import UserError
from ...inspection.gradcam.figure import Picture
from ...inspection.gradcam.maps import Head, choose_outputs, explain
from ...pictures.reading import read_bgr
from .classifier import Classifier


class ImageExplainer:
    """Explains the decisions of a :class:`Classifier`, stock or FFC.

    Args:
        classifier: its parameters no longer require gradients afterwards.

    Raises:
        ValueError: the head does not end in a linear layer, or the model is no ``ImageClassifier``.
    """

    def __init__(self, classifier: Classifier):
        self.classifier, model = classifier, classifier.model
        linear = [each for each in getattr(model, "head", nn.Module()).modules() if isinstance(each, nn.Linear)]
        if not linear or not hasattr(model, "backbone"):
            raise ValueError(f"model: {type(model).__name__} has no backbone and head with a linear layer to explain")
        self.head = Head(linear[-1])
        self.head.rest = self._rest
        model.requires_grad_(False)  # only the gradient of the map is needed

    def __call__(
        self, image: str | Path | np.ndarray, outputs: list[int] | None = None, target: str | int | None = None,
        limit: int = 1, pixel: tuple[int, int] | None = None,
    ) -> list[Picture]:  # fmt: skip
        """The one figure of an image.

        Args:
            image: a file, or (H0, W0, 3) uint8, BGR.
            outputs: from 1; see :func:`choose_outputs`.
            target: None: each map is of its output's own class; 'vote': of the predicted class; or a class's label.
            limit: of figures; there is one.

        Raises:
            UnreadableError: the file cannot be decoded.
            UserError: a pixel is asked for, or the backbone's last feature is no map.
        """
        if pixel is not None:
            raise UserError("--pixel: a classifier decides on the image as a whole; leave it out")
        if not isinstance(image, np.ndarray):
            image = read_bgr(str(image))
        prediction = self.classifier(image)
        model = self.classifier.model
        with torch.no_grad():
            found = self.classifier.packed(image)
            data = model.data_preprocessor(default_collate([found]), False)
            feature = model.extract_feat(data["inputs"], stage="backbone")[-1]
        if not isinstance(feature, Tensor) or feature.dim() != 4:
            raise UserError(f"model.backbone: the last feature of {type(model.backbone).__name__} is no map to explain")
        label = prediction.label if target == "vote" else target
        explained = explain(self.head, feature, torch.ones(1, 1), choose_outputs(self.head, outputs), label)
        seen = np.ascontiguousarray(found["inputs"].permute(1, 2, 0).numpy()[:, :, ::-1])
        height, width = seen.shape[:2]
        shown = [replace(each, map=cv2.resize(each.map, (width, height), interpolation=cv2.INTER_LINEAR))
                 for each in explained]  # fmt: skip
        return [
            Picture(
                image=seen,
                region=np.zeros((height, width), bool),
                window=(0, 0, width, height),
                title=f"predicted: {prediction.name}\n{prediction.probability:.0%}",
                outputs=shown,
                names=[self.classifier.name_of(k) for k in range(len(prediction.scores))],
                note="gradient of the class's logit at the backbone's last feature map",
            )
        ]

    def _rest(self, feature: Tensor) -> Tensor:
        """The last feature map (1, A, h, w) -> the input of the classifier, (1, C)."""
        model = self.classifier.model
        feats = (feature,) if model.neck is None else model.neck((feature,))
        return model.head.pre_logits(feats)
