"""A trained detector in two lines."""

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.data import transforms as T
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from detectron2.structures import Instances
from omegaconf import DictConfig
from torch import Tensor

from ...errors import UserError
from ...pictures.reading import UnreadableError, check_kind, read_bgr
from ..inputs import lazy
from ..inputs.architectures import check_single_images, num_classes
from ..inputs.checkpoint import EvalCheckpointer, saved_class_names
from ..inputs.config_checks import check_model
from ..inputs.datasets import dataset_class_names
from ..inputs.read_config import merge_options, read_config
from ..inputs.startup import check_weights, choose_device
from ..model.opinions import has_opinions, request_opinions


class Detector(DefaultPredictor):
    """A detector for one image at a time.

    ::

        from ffc_dense.detection import Detector

        instances = Detector("config.yaml", "model_final.pth")("image.jpg")

    Identical to :class:`DefaultPredictor`, except that it takes file names too, returns the :class:`Instances`
    themselves, on the CPU and with the outputs' votes, refuses weights that do not fill the model, runs no code that is
    in them, and runs on the CPU where there is no CUDA.

    Args:
        config: a .yaml file, or a config with FFC's keys; or a LazyConfig or its .py file, which runs.
        weights: a checkpoint; by default the one in ``MODEL.WEIGHTS`` or ``train.init_checkpoint``.
        opinions: add to the detections what each output said, see :meth:`FFCFastRCNNOutputLayers.inference`; of a
            stock model the class distribution. None: where the model has them.
        confidence_threshold: detections below it are left out; by default ``MODEL.ROI_HEADS.SCORE_THRESH_TEST``, or
            the key of that name in ``MODEL.RETINANET``.
        options: further keys and values of the config, ``["MODEL.DEVICE", "cpu"]``; of a LazyConfig ``["KEY=VALUE"]``.

    Attributes:
        metadata: with ``thing_classes``, the names of the classes, as the checkpoint or the dataset has them.

    Raises:
        UserError: there is no such config, a key or value of it or of ``options`` is wrong, or the model finds no
            instances in an image alone (precomputed proposals, semantic segmentation).
        FileNotFoundError: there is no such checkpoint, or none is named.
        RuntimeError: the checkpoint is another model's.
        ValueError: the model has no ``opinions``, or the dataset's classes are not as many as the model's.
    """

    def __init__(
        self,
        config: str | Path | CfgNode | DictConfig,
        weights: str | Path = "",
        *,
        opinions: bool | None = None,
        confidence_threshold: float | None = None,
        options: list = (),
    ):
        # DefaultPredictor's own constructor would load the checkpoint in detectron2's way.
        given = (config, str(weights), opinions, confidence_threshold, options)
        if lazy.is_lazy(config):
            names = self._from_lazy(*given)
        else:
            names = self._from_yaml(*given)
        self.metadata = Metadata(thing_classes=names)

    def _from_yaml(self, config, weights: str, opinions, confidence_threshold, options) -> list[str]:
        """Build the model; the names of its classes."""
        if isinstance(config, CfgNode):
            cfg = config.clone()
            cfg.defrost()
            merge_options(cfg, options)
            check_model(cfg)
        else:
            cfg = read_config(str(config), options, splits=())
        if weights:
            cfg.MODEL.WEIGHTS = weights
        if confidence_threshold is not None:
            part = "RETINANET" if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else "ROI_HEADS"
            cfg.MODEL[part].SCORE_THRESH_TEST = confidence_threshold
        check_single_images(cfg)
        if has_opinions(cfg) if opinions is None else opinions:
            request_opinions(cfg)
        cfg.MODEL.DEVICE = choose_device(cfg.MODEL.DEVICE, "MODEL.DEVICE", 1)
        check_weights(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS", needed=True)
        self.cfg = cfg
        self.model = build_model(cfg).eval()
        loaded = EvalCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        self.aug, self.input_format = test_input(cfg)
        return saved_class_names(loaded, num_classes(cfg)[0]) or class_names(cfg)

    def _from_lazy(self, config, weights: str, opinions, confidence_threshold, options) -> list[str]:
        cfg = config if isinstance(config, DictConfig) else lazy.read_lazy_config(str(config), options, ())
        cfg = lazy.on_device(cfg)
        if weights:
            cfg.train.init_checkpoint = weights
        if opinions is None or opinions:
            lazy.request_opinions(cfg, needed=bool(opinions))
        check_weights(cfg.train.init_checkpoint, lazy.WEIGHTS, needed=True)
        self.cfg = cfg
        self.aug, self.input_format = test_input(cfg)
        self.model = lazy.build_model(cfg).eval()
        if getattr(self.model, "proposal_generator", self.model) is None:
            raise UserError("model.proposal_generator: an image alone has no proposals; use a config with an RPN")
        for module in [self.model, *self.model.modules()] if confidence_threshold is not None else []:
            if hasattr(module, "test_score_thresh"):
                module.test_score_thresh = confidence_threshold
        loaded = EvalCheckpointer(self.model, weights_key=lazy.WEIGHTS).load(cfg.train.init_checkpoint)
        number = lazy.number_of_classes(cfg)
        return saved_class_names(loaded, number) or lazy.class_names(cfg, number)

    def __call__(self, image: str | Path | np.ndarray) -> Instances:
        """The detections in an image: a file, or (H, W, 3) uint8 in BGR order.

        Raises:
            UnreadableError: (a ValueError) the file cannot be decoded, or the image is too narrow to be resized.
            ValueError: an array of another shape or dtype.
            TypeError: neither a file name nor an array.
        """
        image = as_array(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"expected a (H, W, 3) uint8 image in BGR order, got {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        inputs = {"image": network_input(image, self.aug, self.input_format), "height": height, "width": width}
        with torch.no_grad():
            return self.model([inputs])[0]["instances"].to("cpu")


def as_array(image: str | Path | np.ndarray) -> np.ndarray:
    """An array as it is, a file's pixels in BGR order.

    Raises:
        UnreadableError: the file cannot be decoded.
        TypeError: it is neither; the message says how to make an array of it.
    """
    check_kind(image)
    return image if isinstance(image, np.ndarray) else read_bgr(str(image))


def test_input(cfg: CfgNode | DictConfig) -> tuple[T.ResizeShortestEdge, str]:
    """How an image is resized for the model, and its order of channels."""
    if isinstance(cfg, DictConfig):
        return lazy.test_input(cfg)
    return T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST), cfg.INPUT.FORMAT


def network_input(image: np.ndarray, aug: T.ResizeShortestEdge, input_format: str) -> Tensor:
    """An image as :class:`DefaultPredictor` gives it to the model.

    Args:
        image: (H, W, 3) uint8, BGR.
        aug: of the config's ``INPUT.MIN_SIZE_TEST`` and ``INPUT.MAX_SIZE_TEST``.
        input_format: ``INPUT.FORMAT``; channels are swapped for 'RGB'.

    Returns:
        (3, H', W') fp32, 0 to 255.

    Raises:
        UnreadableError: the image is too narrow: resized, a side would have no pixel.
        UserError: ``input_format`` is neither 'BGR' nor 'RGB'.
    """
    if input_format not in ("BGR", "RGB"):
        raise UserError(f"INPUT.FORMAT {input_format!r}: expected BGR or RGB")
    transform = aug.get_transform(image)
    if min(getattr(transform, "new_h", 1), getattr(transform, "new_w", 1)) < 1:
        height, width = image.shape[:2]
        raise UnreadableError(f"an image of {width}x{height} is too narrow for INPUT.MAX_SIZE_TEST")
    resized = transform.apply_image(image[:, :, ::-1] if input_format == "RGB" else image)
    return torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))


def class_names(cfg: CfgNode) -> list[str]:
    """Those of ``DATASETS.TEST``: of its metadata, or else of its annotation file; without either, the class numbers.

    Raises:
        ValueError: they are not as many as the model's classes.
    """
    number, key = num_classes(cfg)
    for dataset in cfg.DATASETS.TEST[:1]:
        names = dataset_class_names(dataset)
        if names is not None and len(names) != number:
            raise ValueError(
                f"{key} is {number}, the dataset {dataset} of DATASETS.TEST has {len(names)} "
                "classes: name the dataset that the model was trained on"
            )
        if names is not None:
            return names
    return [str(label) for label in range(number)]
