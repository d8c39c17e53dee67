"""A trained segmentor for images one by one. Images are (H0, W0, 3) uint8, BGR as OpenCV and mmseg have them.

::

    from ffc_dense.segmentation import Segmentor
    result = Segmentor("config.py", "model.pth")("image.jpg")  # result.pred_sem_seg.data: (1, H0, W0) labels
"""

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.apis import init_model
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ...frameworks import MMSEG
from ...method.reductions import choose_reductions, ffc_layers
from ...openmmlab.inputs.checkpoint import classes_of, load_for_evaluation
from ...openmmlab.inputs.config_checks import check_config, check_framework, metainfo_of, wrapped_datasets
from ...openmmlab.inputs.config_errors import type_name
from ...pictures.reading import check_kind, read_size
from ...pictures.scale import readable_scale
from ...reliability.fitting import refuse_other_classes
from ..model.opinions import with_opinions
from .legend import legend

SAME_ORDER = "give test_dataloader.dataset.metainfo the classes in the order of the training"


class Segmentor:
    """Identical to mmseg's ``init_model`` and ``inference_model``, except for four things.

    The checkpoint is read without running code in it, and refused if it does not fit the model. The pipeline is that of
    the config's ``test_dataloader``, built once. Classes and palette are those of its dataset. An image that cannot be
    read is named.

    Args:
        config: path of the config, or the config, that ``checkpoint`` was trained with.
        checkpoint: .pth file.
        device: of torch; by default 'cuda' where there is one, else 'cpu'.
        reduce: 'vote', 'mean', 'out1' ...; by default the config's own.
        opinions: whether results have ``confidence`` and ``agreement``, see :class:`OpinionsMixin`.

    Attributes:
        model: the ``nn.Module``.
        classes, palette: names, and (R, G, B) of 0 to 255, of the K classes.

    Raises:
        FileNotFoundError, RuntimeError: as :func:`load_for_evaluation`.
        UserError: the config's file cannot be read, or a value of it is wrong, such as a head of another number of
            classes than the dataset, or classes in another order than in the training; the message names it. See
            :func:`check_config`.
        ValueError: ``reduce`` is no test mode of the model, the segmentor knows no ``opinions``, or the config has no
            test dataset that names its classes, each with a colour.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | None = None,
        *,
        reduce: str | None = None,
        opinions: bool = False,
    ):
        if isinstance(config, str | Path):
            from ...openmmlab.inputs.read_config import (
                read_config,  # mmengine's readers run nothing in a yaml config from now on
            )

            config = read_config(str(config), None)
            check_framework(config, MMSEG)
        else:
            config = copy.deepcopy(config)
            check_framework(config, MMSEG)
            check_config(config)
        if opinions:
            config.model = with_opinions(config.model)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        init_default_scope(config.get("default_scope", "mmseg"))
        dataset = _dataset(config)
        self.classes, self.palette = _classes(dataset)
        self._from_file = _pipeline(dataset["pipeline"], "LoadImageFromFile")
        self._from_array = _pipeline(dataset["pipeline"], "LoadImageFromNDArray")
        self.model = init_model(config, device="cpu")
        load_for_evaluation(self.model, checkpoint)
        trained, key = classes_of(checkpoint), "test_dataloader.dataset"
        refuse_other_classes(str(checkpoint), trained, self.classes, key, SAME_ORDER)
        if reduce is not None:
            (name,) = choose_reductions(self.model, [reduce])
            for layer in ffc_layers(self.model):
                layer.test_reduce = name
        self.model.to(self.device)

    @torch.no_grad()
    def __call__(self, image: str | Path | np.ndarray) -> SegDataSample:
        """The labels of an image, given as its file or as an array, with ``seg_logits`` and ``pred_sem_seg``.

        Raises:
            UnreadableError: the file cannot be decoded.
            ValueError: the array is no image.
            TypeError: neither a file name nor an array.
        """
        check_kind(image)
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
            found = self._from_array(dict(img=image))
        else:
            read_size(str(image), decode=False)
            found = self._from_file(dict(img_path=str(image)))
        (result,) = self.model.test_step(dict(inputs=[found["inputs"]], data_samples=[found["data_samples"]]))
        return result

    def draw(
        self,
        image: np.ndarray,
        result: SegDataSample,
        opacity: float = 0.5,
        names: bool = True,
        scale: float | None = None,
    ) -> np.ndarray:
        """``image`` under the labels' colours, drawn by mmseg's ``SegLocalVisualizer``, above a legend.

        Args:
            image: (H0, W0, 3).
            result: what calling the segmentor with ``image`` gave.
            opacity: of the colours, in (0, 1].
            names: draw the :func:`legend` of the classes.
            scale: size of the picture against ``image``, above 0; by default that of :func:`readable_scale`.
        """
        height, width = image.shape[:2]
        scale = readable_scale(height, width) if scale is None else scale
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        label = result.pred_sem_seg.data.reshape(height, width).cpu().numpy().astype(np.int32)
        rgb = cv2.resize(image[:, :, ::-1], size, interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        shown = SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(label)[None]))
        visualizer = SegLocalVisualizer(alpha=opacity)
        visualizer.dataset_meta = dict(classes=self.classes, palette=self.palette)
        visualizer.add_datasample("image", rgb, shown, draw_gt=False, with_labels=False)
        picture = np.ascontiguousarray(visualizer.get_image()[:, :, ::-1])
        return np.concatenate([picture, legend(label, self.classes, self.palette, size[0])]) if names else picture


def _dataset(config: Config) -> dict:
    """The config of the test dataset, without the wrappers around it."""
    name = "test_dataloader.dataset"
    _, dataset = next(wrapped_datasets(config.get("test_dataloader", {}).get("dataset"), name), (name, {}))
    if "pipeline" not in dataset or "type" not in dataset:
        raise ValueError(f"{name}: expected a dataset with type and pipeline, which tells the classes")
    return dataset


def _classes(dataset: dict) -> tuple[list[str], list[list[int]]]:
    """Names and colours as mmseg's BaseSegDataset has them."""
    metainfo = metainfo_of(dataset)
    classes, palette = list(metainfo.get("classes") or []), metainfo.get("palette")
    if not classes:
        raise ValueError(
            f"test_dataloader.dataset: {type_name(dataset)} names no classes; set metainfo=dict(classes=...)"
        )
    if not palette:
        palette = np.random.RandomState(42).randint(0, 255, (len(classes), 3)).tolist()
    if len(palette) != len(classes):  # a choice of the classes of its class keeps their colours
        colours = dict(zip(metainfo_of({"type": dataset["type"]}).get("classes") or [], palette, strict=False))
        if not colours.keys() >= set(classes):
            raise ValueError(
                f"test_dataloader.dataset.metainfo.palette: {len(palette)} colours for {len(classes)} "
                "classes; give each class a colour (R, G, B)"
            )
        palette = [colours[name] for name in classes]
    return classes, [list(colour) for colour in palette]


def _pipeline(steps: list[dict], loader: str) -> Compose:
    """The test pipeline with another loader of images and without one of labels."""
    steps = [step for step in copy.deepcopy(steps) if type_name(step) != "LoadAnnotations"]
    for step in steps:
        if type_name(step) == "LoadImageFromFile" != loader:
            step["type"] = loader
    return Compose(steps)
