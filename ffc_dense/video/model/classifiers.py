"""Classifiers of videos. Shape shorthand: N clips or videos, V clips of a video, C channels, T frames, K classes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...method.layers import FFCLinear
from ...openmmlab.inputs.initial_weights import check_initial_weights


@MODELS.register_module()
class ClipPreprocessor(BaseDataPreprocessor):
    """Subtracts a mean from clips (..., C, T, H, W), a batch or a list of videos. Of 0 ... 255, with deviation 1.

    Args:
        mean: a number per channel. Clips with fewer channels than means have the first ones: a MARS model is trained on
            RGB and flow, and tested on RGB.
    """

    def __init__(self, mean: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        data = self.cast_data(data)
        inputs = data["inputs"]
        ready = [self._ready(x) for x in inputs] if isinstance(inputs, list | tuple) else self._ready(inputs)
        return {"inputs": ready, "data_samples": data.get("data_samples")}

    def _ready(self, clips: Tensor) -> Tensor:
        channels = clips.shape[-4]
        if channels > len(self.mean):
            raise ValueError(f"the clips have {channels} channels, data_preprocessor.mean has {len(self.mean)}")
        return clips.float() - self.mean[:channels]


@MODELS.register_module()
class VideoClassifier(ImageClassifier):
    """Identical to mmpretrain's ImageClassifier, except that a test input is a video of several clips.

    In training it takes clips (N, C, T, H, W). In ``predict`` it takes videos, a batch (N, V, C, T, H, W) or a list of
    (V, C, T, H, W): every output of the classifier is averaged over the clips, then the outputs are reduced. For a
    stock head and ``test_reduce='mean'`` this is the rule of MARS, the mean of the clips' logits.

    Args:
        data_preprocessor: config of a :class:`ClipPreprocessor`.
        clips_at_once: clips that go through the backbone together in ``predict``.
        **kwargs: those of ImageClassifier; the head has one linear layer, ``fc`` (``LinearClsHead`` and its FFC form).
    """

    def __init__(self, *args, data_preprocessor: dict, clips_at_once: int = 8, **kwargs):
        # Built here: ImageClassifier adds arguments for batch augmentation, which clips have none of.
        super().__init__(*args, data_preprocessor=MODELS.build(data_preprocessor), **kwargs)
        if clips_at_once < 1:
            raise ValueError(f"clips_at_once: expected at least 1, got {clips_at_once}")
        self.clips_at_once = clips_at_once

    def outputs(self, clips: Tensor) -> Tensor:
        """A video (V, C, T, H, W) -> the logits of every output, averaged over the clips: (M, K); M = 1 in stock."""
        features = [self.extract_feat(part)[-1] for part in clips.split(self.clips_at_once)]
        feature = self.head.pre_logits((torch.cat(features),))
        layer = self.head.fc
        several = isinstance(layer, FFCLinear) and layer.num_filters > 0
        outputs = layer.outputs(feature) if several else layer(feature).unsqueeze(0)
        return outputs.mean(1)

    def scores(self, outputs: Tensor) -> Tensor:
        """Outputs (M, ..., K) of one model -> its logits (..., K), by the classifier's ``test_reduce``."""
        return outputs[0] if len(outputs) == 1 else self.head.fc.reduce(outputs)

    def predict(self, inputs, data_samples: list[DataSample] | None = None, **kwargs) -> list[DataSample]:
        scores = torch.stack([self.scores(self.outputs(clips)) for clips in inputs])
        return self.head._get_predictions(scores, data_samples)


@MODELS.register_module()
class MARSClassifier(VideoClassifier):
    """An RGB network that learns the features of a trained flow network (Crasto et al. 2019): MARS.

    Identical to :class:`VideoClassifier`, except that a training clip has flow behind RGB (C = 5) and that the loss has
    one term more, ``loss_mars``: ``distill_weight`` times the mean squared difference between the pooled features of
    this network and those of the teacher, which is frozen and in eval mode. Tests need neither flow nor teacher.

    The teacher is no submodule: checkpoints, the optimizer and DistributedDataParallel do not see it.

    Args:
        teacher: config of the flow network's backbone, with ``init_cfg=dict(type='Pretrained', checkpoint=FILE,
            prefix='backbone')`` for a checkpoint of a flow run.
        distill_weight: 50 in MARS.
    """

    def __init__(self, *args, teacher: dict, distill_weight: float = 50.0, **kwargs):
        super().__init__(*args, **kwargs)
        if "checkpoint" not in (teacher.get("init_cfg") or {}):
            raise ValueError("teacher.init_cfg: expected dict(type='Pretrained', checkpoint=FILE, prefix='backbone'), "
                             f"a trained flow network; got {teacher.get('init_cfg')}")  # fmt: skip
        self.distill_weight, self.teacher_config = distill_weight, teacher
        self._teacher: list[nn.Module] = []  # a list, so that it is no submodule

    @property
    def teacher(self) -> nn.Module:
        """Built and loaded at the first call, so that tests need no file of it.

        Raises:
            FileNotFoundError, ValueError: the file is not there, or lacks a tensor; the message names the key.
        """
        if not self._teacher:
            teacher, init = MODELS.build(self.teacher_config), self.teacher_config["init_cfg"]
            check_initial_weights(teacher, init["checkpoint"], init.get("prefix"), "model.teacher.init_cfg.checkpoint")
            teacher.init_weights()
            teacher.requires_grad_(False).eval()
            self._teacher.append(teacher.to(next(self.parameters()).device))
        return self._teacher[0]

    def init_weights(self) -> None:
        super().init_weights()
        self.teacher  # noqa: B018 - a missing file is told of before the first iteration

    def _apply(self, fn: Callable, *args, **kwargs):
        for teacher in self._teacher:
            teacher._apply(fn)
        return super()._apply(fn, *args, **kwargs)

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        if inputs.shape[1] != 5:
            raise ValueError(f"a MARS training clip has 5 channels (modality='RGB+flow'), got {inputs.shape[1]}")
        features = self.extract_feat(inputs[:, :3])
        with torch.no_grad():
            wanted = self.neck(self.teacher(inputs[:, 3:]))[-1]
        losses = self.head.loss(features, data_samples)
        losses["loss_mars"] = self.distill_weight * F.mse_loss(features[-1], wanted)
        return losses
