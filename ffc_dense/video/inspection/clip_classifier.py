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
from ...pictures.reading import UnreadableError
from ..inputs.clips import clip_frames, clip_starts, decode
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
        self.dataset = config.test_dataloader.dataset
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            self.model = MODELS.build(config.model).eval()
            # The first step reads clips from disk; the last packs them for a batch.
            self.pipeline = Compose(list(self.dataset.pipeline)[1:-1])
        if not isinstance(self.model, VideoClassifier):
            raise UserError(f"model.type: {type(self.model).__name__}, expected a VideoClassifier")
        load_for_evaluation(self.model, checkpoint)
        for layer in ffc_layers(self.model) if reduce else ():
            (layer.test_reduce,) = choose_reductions(self.model, [str(reduce)])
        self.classes = classes_of(checkpoint)
        self.model.to(self.device)

    @torch.no_grad()
    def __call__(self, video: Path | str) -> tuple[DataSample, Tensor]:
        """The data sample of a video, with ``pred_label`` and ``pred_score``, and every output's probabilities (M, K).

        Raises:
            UnreadableError: no frame can be decoded, or there is one frame where flow needs two.
        """
        try:
            frames = decode(Path(video))
        except ValueError as error:
            raise UnreadableError("no frame can be decoded") from error
        images = self.channels(frames)
        length = self.dataset.clip_length
        numbers = [clip_frames(start, length, len(images)) for start in clip_starts(len(images), length)]
        results = self.pipeline({"clips": images[np.stack(numbers)], "flow_channel": None})
        clips = torch.from_numpy(np.ascontiguousarray(results["clips"].transpose(0, 4, 1, 2, 3)))
        data = self.model.data_preprocessor({"inputs": [clips], "data_samples": [DataSample()]}, False)
        outputs = self.model.outputs(data["inputs"][0])
        (sample,) = self.model.head._get_predictions(self.model.scores(outputs).unsqueeze(0), data["data_samples"])
        return sample, outputs.softmax(1).cpu()

    def channels(self, frames: np.ndarray) -> np.ndarray:
        """Frames (T, H, W, 3) RGB -> what the model takes, (T, H, W, C), or (T - 1, H, W, 2) flow."""
        if self.dataset.modality == "RGB":
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
    text = np.full((22 * len(lines) + 8, picture.shape[1], 3), 255, np.uint8)
    for place, line in enumerate(lines, 1):
        cv2.putText(text, line, (6, 22 * place), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([picture, text])
