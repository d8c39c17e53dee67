"""A trained classifier for images one by one. Images are (H0, W0, 3) uint8, BGR as OpenCV and mmpretrain have them.

::

    from ffc_dense.classification import Classifier
    print(Classifier("config.py", "model.pth")("image.jpg"))  # tabby 97 %, 5 of 7 outputs
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ...frameworks import MMPRETRAIN
from ...method.reductions import choose_reductions, ffc_layers
from ...openmmlab.inputs.checkpoint import classes_of, load_for_evaluation
from ...openmmlab.inputs.config_checks import check_config, check_framework, metainfo_of, wrapped_datasets
from ...openmmlab.inputs.config_errors import type_name
from ...pictures.panels import with_lines
from ...pictures.reading import check_kind, read_size
from ...pictures.scale import readable_scale
from ..inputs.config_checks import check_images
from ..model.cls_head import FFCClsHead


@dataclass(frozen=True)
class Opinion:
    """A label, its name and its probability."""

    label: int
    name: str
    probability: float

    def __str__(self) -> str:
        return f"{self.name} {self.probability:.0%}"


@dataclass(frozen=True)
class Prediction(Opinion):
    """What a classifier decides, and what each output said.

    Args:
        scores: (K,), the probability of every class.
        outputs: Out1 ... OutM; a stock model's only one.
        votes: {name of a class: how many outputs chose it}, the most votes first.
        sample: mmpretrain's.
    """

    scores: torch.Tensor
    outputs: tuple[Opinion, ...]
    votes: dict[str, int]
    sample: DataSample

    def __str__(self) -> str:
        said = f", {self.votes.get(self.name, 0)} of {len(self.outputs)} outputs" if len(self.outputs) > 1 else ""
        return super().__str__() + said


class Classifier:
    """Identical to mmpretrain's ``ImageClassificationInferencer`` for one image, except for four things.

    The checkpoint is read without running code in it, and refused if it does not fit the model. The pipeline is that of
    the config's ``test_dataloader``, built once. The result says what each output chose. An image that cannot be read
    is named.

    Args:
        config: path of the config, or the config, that ``checkpoint`` was trained with.
        checkpoint: .pth or .safetensors file.
        device: of torch; by default 'cuda' where there is one, else 'cpu'.
        reduce: 'vote', 'mean', 'out1' ...; by default the config's own.

    Attributes:
        model: the ``nn.Module``.
        classes: names of the K classes: the checkpoint's, else the test dataset's, else numbers.

    Raises:
        FileNotFoundError, RuntimeError: as :func:`load_for_evaluation`.
        UserError: the config's file cannot be read, or a value of it is wrong. See :func:`check_config`.
        ValueError: ``reduce`` is no test mode of the model, or the config has no test dataset with a pipeline.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | None = None,
        *,
        reduce: str | None = None,
    ):
        if isinstance(config, str | Path):
            from ...openmmlab.inputs.read_config import read_config  # mmengine's readers run nothing from now on

            config = read_config(str(config), None)
            check_framework(config, MMPRETRAIN)
        else:
            config = copy.deepcopy(config)
            check_framework(config, MMPRETRAIN)
            check_config(config)
        check_images(config, "Classifier")
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        init_default_scope(config.get("default_scope", "mmpretrain"))
        name = "test_dataloader.dataset"
        dataset = dict(wrapped_datasets((config.get("test_dataloader") or {}).get("dataset"), name)).get(name, {})
        if "pipeline" not in dataset:
            raise ValueError(f"{name}: expected a dataset with a pipeline, which says how an image is resized")
        self._from_file = Compose(copy.deepcopy(dataset["pipeline"]))
        steps = [step for step in copy.deepcopy(dataset["pipeline"]) if type_name(step) != "LoadImageFromFile"]
        self._from_array = Compose(steps)
        if "data_preprocessor" in config:
            config.model.setdefault("data_preprocessor", config.data_preprocessor)
        self.model = MODELS.build(config.model).eval()
        load_for_evaluation(self.model, checkpoint)
        if reduce is not None:
            (chosen,) = choose_reductions(self.model, [reduce])
            for layer in ffc_layers(self.model):
                layer.test_reduce = chosen
        if isinstance(getattr(self.model, "head", None), FFCClsHead):
            self.model.head.opinions = True
        named = classes_of(checkpoint) or dataset.get("classes") or metainfo_of(dataset).get("classes") or ()
        self.classes = [str(each) for each in named] if isinstance(named, list | tuple) else []
        self.model.to(self.device)

    @torch.no_grad()
    def __call__(self, image: str | Path | np.ndarray) -> Prediction:
        """The label of an image, given as its file or as an array.

        Raises:
            UnreadableError: the file cannot be decoded.
            ValueError: the array is no image.
            TypeError: neither a file name nor an array.
        """
        (sample,) = self.model.test_step(default_collate([self.packed(image)]))
        scores = sample.pred_score.cpu()
        label = int(sample.pred_label)
        outputs = tuple(map(self._opinion, *self._outputs(sample, scores)))
        chosen = [output.name for output in outputs]
        votes = {name: chosen.count(name) for name in sorted(dict.fromkeys(chosen), key=chosen.count, reverse=True)}
        about = self._opinion(label, scores[label])
        return Prediction(about.label, about.name, about.probability, scores, outputs, votes, sample)

    def packed(self, image: str | Path | np.ndarray) -> dict:
        """What the test pipeline makes of an image: ``inputs`` (3, H, W) uint8 and ``data_samples``."""
        check_kind(image)
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
            return self._from_array(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
        read_size(str(image), decode=False)
        return self._from_file(dict(img_path=str(image)))

    def _opinion(self, label, probability) -> Opinion:
        return Opinion(int(label), self.name_of(int(label)), float(probability))

    def name_of(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)

    @staticmethod
    def _outputs(sample: DataSample, scores: torch.Tensor) -> tuple[list, list]:
        """Labels and probabilities of the outputs; a stock model has one."""
        if "output_labels" not in sample:
            return [int(sample.pred_label)], [scores.max()]
        return sample.output_labels.tolist(), sample.output_scores.tolist()

    def draw(self, image: np.ndarray, prediction: Prediction, scale: float | None = None) -> np.ndarray:
        """``image`` above lines of text: the decision, and what each output said.

        Args:
            image: (H0, W0, 3).
            prediction: what calling the classifier with ``image`` gave.
            scale: size of the picture against ``image``, above 0; by default that of :func:`readable_scale`.
        """
        height, width = image.shape[:2]
        scale = readable_scale(height, width) if scale is None else scale
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        lines = [str(prediction)]
        if len(prediction.outputs) > 1:
            lines += [f"Out{i + 1}: {output}" for i, output in enumerate(prediction.outputs)]
        return with_lines(picture, lines)
