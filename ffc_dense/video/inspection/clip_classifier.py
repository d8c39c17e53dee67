"""A trained video classifier for videos one by one. Shape shorthand as in ``classifiers.py``."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...data.flow import as_image, tvl1
from ...errors import UserError
from ...method.reductions import choose_reductions, ffc_layers
from ...openmmlab.inputs.checkpoint import classes_of, load_for_evaluation
from ...pictures.panels import with_lines
from ...pictures.reading import UnreadableError
from ..inputs.clips import clip_frames, clip_starts, decode
from ..inputs.dataset import CLIP_LENGTH, MODALITY
from ..model.classifiers import VideoClassifier


class ClipClassifier:
    """Classifies a video file as the config's test set is classified; flow is computed if the model takes it.

    Args:
        config: that ``checkpoint`` was trained with.
        checkpoint: .pth or .safetensors file.
        device: of torch; by default 'cuda' where there is one, else 'cpu'.
        reduce: 'vote', 'mean', 'out1' ...; by default the config's own.

    Raises:
        UserError: the model is no :class:`VideoClassifier`.
        FileNotFoundError, RuntimeError: as :func:`load_for_evaluation`.
        ValueError: ``reduce`` is no test mode of the model.
    """

    def __init__(self, config: Config, checkpoint: str, device: str | None = None, reduce: str | None = None):
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dataset = config.test_dataloader.dataset
        self.modality, self.clip_length = dataset.get("modality", MODALITY), dataset.get("clip_length", CLIP_LENGTH)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            self.model = MODELS.build(config.model).eval()
            # The first step reads clips from disk; the last packs them for a batch.
            self.pipeline = Compose(list(dataset.pipeline)[1:-1])
        if not isinstance(self.model, VideoClassifier):
            raise UserError(f"model.type: {type(self.model).__name__}, expected a VideoClassifier")
        load_for_evaluation(self.model, checkpoint)
        for layer in ffc_layers(self.model) if reduce else ():
            (layer.test_reduce,) = choose_reductions(self.model, [str(reduce)])
        self.classes = classes_of(checkpoint)
        self.model.to(self.device)

    def __call__(self, video: Path | str) -> tuple[DataSample, Tensor]:
        """The data sample of a video, with ``pred_label`` and ``pred_score``, and every output's probabilities (M, K).

        Raises:
            UnreadableError: no frame can be decoded, or there is one frame where flow needs two.
        """
        return self.decide(self.clips(self.frames(video))[0])

    @staticmethod
    def frames(video: Path | str) -> np.ndarray:
        """(F, H, W, 3) uint8 RGB.

        Raises:
            UnreadableError: no frame can be decoded.
        """
        try:
            return decode(Path(video))
        except ValueError as error:
            raise UnreadableError("no frame can be decoded") from error

    def clips(self, frames: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The clips of a video (V, C, T, H, W), ready for the backbone, and the numbers of their frames (V, T).

        Raises:
            UnreadableError: there is one frame where flow needs two.
        """
        images, length = self.channels(frames), self.clip_length
        numbers = np.stack([clip_frames(start, length, len(images)) for start in clip_starts(len(images), length)])
        clips = torch.from_numpy(np.ascontiguousarray(self.cropped(images[numbers]).transpose(0, 4, 1, 2, 3)))
        return self.model.data_preprocessor({"inputs": [clips]}, False)["inputs"][0], numbers

    def cropped(self, clips: np.ndarray) -> np.ndarray:
        """Clips (V, T, H, W, C) as the test pipeline resizes and crops them."""
        return self.pipeline({"clips": clips, "flow_channel": None})["clips"]

    @torch.no_grad()
    def decide(self, clips: Tensor) -> tuple[DataSample, Tensor]:
        """What a call returns, of the clips (V, C, T, H, W) of a video."""
        outputs = self.model.outputs(clips)
        (sample,) = self.model.head._get_predictions(self.model.scores(outputs).unsqueeze(0), [DataSample()])
        return sample, outputs.softmax(1).cpu()

    def channels(self, frames: np.ndarray) -> np.ndarray:
        """Frames (T, H, W, 3) RGB -> what the model takes, (T, H, W, C), or (T - 1, H, W, 2) flow."""
        if self.modality == "RGB":
            return frames
        if len(frames) < 2:
            raise UnreadableError("flow needs two frames")
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        return np.stack([as_image(tvl1(*pair)) for pair in pairwise(grey)])

    def name_of(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)

    def lines(self, sample: DataSample, outputs: Tensor) -> list[str]:
        """What is written below every frame: the decision, and how the outputs voted."""
        label = int(sample.pred_label)
        lines = [f"{self.name_of(label)} {float(sample.pred_score[label]):.0%}"]
        if len(outputs) > 1:
            votes = Counter(outputs.argmax(1).tolist()).most_common()
            lines.append(", ".join(f"{self.name_of(each)} {count} of {len(outputs)}" for each, count in votes))
        return lines


def labelled(frame: np.ndarray, lines: list[str], width: int = 320) -> np.ndarray:
    """A frame (H, W, 3), at least ``width`` pixels wide, above lines of text."""
    scale = max(1.0, width / frame.shape[1])
    picture = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return with_lines(picture, lines)
