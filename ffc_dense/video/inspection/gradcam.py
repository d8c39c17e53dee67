"""Grad-CAM of the outputs of a video classifier, on the middle frame of its middle clip.

The map that is explained is the backbone's last one, (t, h, w) for a clip. A video's logit is the mean over its clips,
so the gradient tells what this clip adds to the decision about the whole video. The picture is the frame as the network
sees it, after the resize and the crop of the test pipeline; for flow, the frame that the flow starts from.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...errors import UserError
from ...inspection.gradcam.figure import Picture
from ...inspection.gradcam.maps import Head, choose_outputs, explain
from .clip_classifier import ClipClassifier


class ClipExplainer:
    """Explains the decisions of a :class:`ClipClassifier`, stock or FFC.

    Args:
        classifier: its parameters no longer require gradients afterwards.
    """

    takes_videos = True

    def __init__(self, classifier: ClipClassifier):
        self.classifier, model = classifier, classifier.model
        self.head = Head(model.head.fc)
        self.head.rest = self._rest
        model.requires_grad_(False)  # only the gradient of the map is needed

    def __call__(
        self, video: str | Path, outputs: list[int] | None = None, target: str | int | None = None,
        limit: int = 1, pixel: tuple[int, int] | None = None,
    ) -> list[Picture]:  # fmt: skip
        """The one figure of a video.

        Args:
            video: a file.
            outputs: from 1; see :func:`choose_outputs`.
            target: None: each map is of its output's own class; 'vote': of the predicted class; or a class's label.
            limit: of figures; there is one.

        Raises:
            UnreadableError: the file cannot be decoded.
            UserError: a pixel is asked for.
        """
        if pixel is not None:
            raise UserError("--pixel: a classifier decides on the video as a whole; leave it out")
        frames = self.classifier.frames(video)
        clips, numbers = self.classifier.clips(frames)
        sample, _ = self.classifier.decide(clips)
        model, clip, moment = self.classifier.model, len(clips) // 2, numbers.shape[1] // 2
        with torch.no_grad():
            feature = torch.cat([model.backbone(part)[-1] for part in clips.split(model.clips_at_once)])
        label = int(sample.pred_label)
        chosen = label if target == "vote" else target
        found = explain(self.head, feature, torch.ones(1, 1), choose_outputs(self.head, outputs), chosen, clip)
        number = int(numbers[clip, moment])
        seen = np.ascontiguousarray(self.classifier.cropped(frames[None, [number]])[0, 0])
        height, width = seen.shape[:2]
        shown = [replace(each, map=_at(each.map, clips.shape[2], moment, (height, width))) for each in found]
        return [
            Picture(
                image=seen,
                region=np.zeros((height, width), bool),
                window=(0, 0, width, height),
                title=f"predicted: {self.classifier.name_of(label)}\n{float(sample.pred_score[label]):.0%}, "
                f"frame {number + 1} of {len(frames)}",
                outputs=shown,
                names=[self.classifier.name_of(k) for k in range(len(sample.pred_score))],
                note=f"gradient of the class's logit at the backbone's last feature map, clip {clip + 1} of "
                f"{len(clips)}, its middle frame",
            )
        ]

    def _rest(self, feature: Tensor) -> Tensor:
        """The last feature maps (V, A, t, h, w) -> the input of the classifier, (V, C)."""
        model = self.classifier.model
        feats = (feature,) if model.neck is None else model.neck((feature,))
        return model.head.pre_logits(feats)


def _at(map_: np.ndarray, frames: int, moment: int, size: tuple[int, int]) -> np.ndarray:
    """A clip's map (t, h, w) at one of its T frames, (H, W); linear in time as in space."""
    _, h, w = map_.shape
    in_time = interpolate(torch.from_numpy(map_)[None, None], (frames, h, w), mode="trilinear")[0, 0, moment]
    return cv2.resize(in_time.numpy(), size[::-1], interpolation=cv2.INTER_LINEAR)
