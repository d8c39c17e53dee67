"""Grad-CAM of the outputs of a segmentor's classifier.

The map that is explained is the last one that the decode head takes: the backbone's last stage in PSPNet, DeepLabV3
and most others. It is the deepest map before context is pooled over the image, so it still says where the evidence of
a region lies, inside or outside of the region. After the pooling and the last bottleneck the classifier is a 1x1
convolution: there the gradient is zero outside of the region by construction. The image goes through the network at
once, also where the config tests with sliding windows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...inspection.gradcam.figure import Picture
from ...inspection.gradcam.maps import ChoiceError, Head, choose_outputs, explain
from ...method.reductions import STOCK, ffc_layers, reduced
from ...pictures.reading import read_bgr
from .segmentor import Segmentor


class RegionExplainer:
    """Explains regions of the label maps of a :class:`Segmentor`, stock or FFC.

    Args:
        segmentor: its parameters no longer require gradients afterwards.

    Raises:
        ValueError: the decode head's classifier is no ``conv_seg``.
    """

    def __init__(self, segmentor: Segmentor):
        self.segmentor, model = segmentor, segmentor.model
        heads = model.decode_head
        self.chain = list(heads) if isinstance(heads, nn.ModuleList) else [heads]
        classifier = getattr(self.chain[-1], "conv_seg", None)
        if not isinstance(classifier, nn.Conv2d):
            name = type(self.chain[-1]).__name__
            raise ValueError(f"decode_head: {name} has no conv_seg that classifies its feature")
        threshold = getattr(self.chain[-1], "threshold", None)  # of a binary head, out_channels=1
        self.head = Head(classifier, threshold=0.5 if threshold is None else threshold)
        model.requires_grad_(False)  # only the gradient of the map is needed

    def __call__(
        self, image: str | Path | np.ndarray, outputs: list[int] | None = None, target: str | int | None = None,
        limit: int = 3, pixel: tuple[int, int] | None = None,
    ) -> list[Picture]:  # fmt: skip
        """The figures of an image's regions: for each of the ``limit`` largest classes, the pixels predicted as it.

        Args:
            image: a file, or (H0, W0, 3) uint8, BGR.
            outputs: from 1; see :func:`choose_outputs`.
            target: None: each map is of its output's own class; 'vote': of the predicted class; or a class's label.
            pixel: (x, y) from the image's upper left corner: explain this pixel instead.

        Raises:
            UnreadableError: the file cannot be decoded.
            ChoiceError: (a ValueError) an output or the pixel is not there.
        """
        if not isinstance(image, np.ndarray):
            image = read_bgr(str(image))
        outputs = choose_outputs(self.head, outputs)
        height, width = image.shape[:2]
        labels = self.segmentor(image).pred_sem_seg.data.reshape(height, width).cpu().numpy()
        labels = labels.astype(np.int64)  # mmseg's binary heads (out_channels=1) give floats
        if pixel is not None:
            if not (0 <= pixel[0] < width and 0 <= pixel[1] < height):
                raise ChoiceError(f"--pixel {pixel[0]},{pixel[1]}: the image has {width} x {height} pixels")
            mask = np.zeros((height, width), bool)
            mask[pixel[1], pixel[0]] = True
            regions = [(int(labels[pixel[1], pixel[0]]), mask)]
        else:
            counts = np.bincount(labels.ravel())
            largest = [label for label in np.argsort(-counts, kind="stable")[:limit].tolist() if counts[label]]
            regions = [(label, labels == label) for label in largest]
        features, explained, size = self._features(image)
        return [self._explain(image, features, explained, size, label, mask, outputs, target, pixel)
                for label, mask in regions]  # fmt: skip

    @torch.no_grad()
    def _features(self, image: np.ndarray) -> tuple[list[Tensor], int, tuple[int, int, int, int]]:
        """What the decode head takes its inputs from, the index of the explained one, and the image's (H, W) in the
        network's input followed by that of the input, which may be padded."""
        model = self.segmentor.model
        found = self.segmentor._from_array(dict(img=image))
        data = model.data_preprocessor(dict(inputs=[found["inputs"]], data_samples=[found["data_samples"]]), False)
        features = list(model.extract_feat(data["inputs"]))
        index = self.chain[-1].in_index
        index = index[-1] if isinstance(index, list | tuple) else index
        return features, index % len(features), (*found["inputs"].shape[-2:], *data["inputs"].shape[-2:])

    def _explain(self, image, features, explained, size, label, mask, outputs, target, pixel) -> Picture:
        height, width, full_height, full_width = size
        classifier = self.head.classifier

        def rest(feature: Tensor) -> Tensor:
            maps = [*features[:explained], feature, *features[explained + 1 :]]
            before = ()
            with _single_output(classifier), _inputs_of(classifier) as seen:
                for each in self.chain:
                    before = (each.forward(maps, *before),)
            return seen[0]

        self.head.rest = rest
        with torch.no_grad():
            classified = rest(features[explained]).shape[-2:]
        # Each of the map's positions counts by its share of the region's pixels.
        resized = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        padded = np.pad(resized, ((0, full_height - height), (0, full_width - width)))
        weights = F.adaptive_avg_pool2d(torch.from_numpy(padded)[None, None], classified)[0, 0]
        chosen = label if target == "vote" else target
        found = explain(self.head, features[explained], weights, outputs, chosen)
        shown = [replace(each, map=self._on_image(each.map, size, mask.shape)) for each in found]
        name = self.segmentor.classes[label]
        what = f"pixel {pixel[0]},{pixel[1]}" if pixel is not None else f"{100 * mask.mean():.1f} % of the image"
        return Picture(
            image=np.ascontiguousarray(image[:, :, ::-1]),
            region=mask if pixel is None else _around(mask),
            window=(0, 0, mask.shape[1], mask.shape[0]),
            title=f"predicted: {name}\n{what}",
            outputs=shown,
            names=list(self.segmentor.classes),
            note="gradient of the class's mean logit over the outlined region, at the last map that the decode head "
            "takes",
        )

    @staticmethod
    def _on_image(map_: np.ndarray, size: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray:
        height, width, full_height, full_width = size
        full = cv2.resize(map_, (full_width, full_height), interpolation=cv2.INTER_LINEAR)[:height, :width]
        return cv2.resize(full, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _single_output(classifier: nn.Conv2d):
    """A context in which the head does not vote: only the classifier's input is needed."""
    return reduced(classifier, "out1" if ffc_layers(classifier) else STOCK)


@contextmanager
def _inputs_of(classifier: nn.Conv2d) -> Iterator[list[Tensor]]:
    """Within the context, note what ``classifier`` is called with."""
    seen: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        handle.remove()


def _around(mask: np.ndarray) -> np.ndarray:
    """A pixel grown until its outline can be seen."""
    side = max(3, max(mask.shape) // 40)
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
