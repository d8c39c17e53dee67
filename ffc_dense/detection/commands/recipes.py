"""What commands that take a trained detector need of its config: the same questions to a yaml and to a LazyConfig."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import PanopticFPN
from omegaconf import DictConfig, OmegaConf, flag_override
from torch import nn

from ...errors import UserError
from ...errors.reporting import reading_input
from ...errors.wording import parameters
from ...method.reductions import choose_reductions
from ..evaluation.evaluators import build_evaluator, build_test_loader, check_evaluators
from ..inputs import lazy
from ..inputs.architectures import boxes_alone, has_roi_heads, num_classes
from ..inputs.checkpoint import EvalCheckpointer, check_class_order, saved_class_names
from ..inputs.config_checks import lazy_datasets
from ..inputs.config_errors import class_of_target, explain_build, explain_lazy
from ..inputs.read_config import read_config
from ..inputs.startup import choose_device
from ..inspection.analysis import Annotated, AnnotatedMapper
from ..inspection.detector import class_names, test_input
from ..model.opinions import FFC_TWINS, request_opinions


class _Recipe:
    """What yaml and LazyConfigs have in common."""

    cfg: CfgNode | DictConfig
    weights: str
    datasets: list[str]
    datasets_key: str
    content: dict[str, Any] = {}  # of the loaded checkpoint

    def input(self) -> dict[str, Any]:
        """How a test image is resized, and its order of channels, under the names of the yaml keys."""
        aug, channels = test_input(self.cfg)
        sizes = {"MIN_SIZE_TEST": aug.short_edge_length[0], "MAX_SIZE_TEST": aug.max_size}
        return {f"INPUT.{key}": value for key, value in {"FORMAT": channels, **sizes}.items()}

    def check_class_order(self, datasets: Sequence[str] | None = None) -> None:
        """Raises a UserError for a loaded checkpoint that was trained with other classes than the test sets'.

        Args:
            datasets: names, those of the recipe by default.
        """
        check_class_order(self.content, self.weights, datasets or self.datasets, self.datasets_key)

    def _loaded(self, model: nn.Module, key: str, wanted: Sequence[str], stock: bool) -> tuple[nn.Module, list[str]]:
        # A stock model that reports votes has FFC's classifier without filters: it has no test modes all the same.
        names = choose_reductions(nn.Identity() if stock else model, wanted)
        self.content = EvalCheckpointer(model, weights_key=key).load(self.weights)
        return model, names


class YamlRecipe(_Recipe):
    """Of detectron2's yaml configs.

    Args:
        cfg: checked, with the checkpoint in MODEL.WEIGHTS.
    """

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg
        self.weights, self.output_dir = cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR
        self.datasets = list(cfg.DATASETS.TEST)
        self.datasets_key = "DATASETS.TEST"
        self.augmented = cfg.TEST.AUG.ENABLED
        self.explain = partial(explain_build, cfg=cfg)

    def load(self, wanted: Sequence[str] = (), opinions: bool = False) -> tuple[nn.Module, list[str]]:
        """The trained model, and the test modes to run it under."""
        cfg, stock = self.cfg, opinions and self.cfg.MODEL.ROI_HEADS.NAME in FFC_TWINS
        if opinions:
            cfg = cfg.clone()
            cfg.defrost()
            request_opinions(cfg)
        return self._loaded(DefaultTrainer.build_model(cfg), "MODEL.WEIGHTS", wanted, stock)

    def check_boxes(self) -> None:
        """Raises a UserError for a model without the ROI heads whose boxes are analysed; leaves masks out."""
        if not has_roi_heads(self.cfg):
            raise UserError(
                f"MODEL.META_ARCHITECTURE {self.cfg.MODEL.META_ARCHITECTURE}: it has no ROI heads, whose proposals are "
                "what is analysed; score it with ffc-dense evaluate"
            )
        boxes_alone(self.cfg)

    def loader(self, dataset: str, annotated: bool = False) -> Iterable[list[dict]]:
        """Of the test set; ``annotated``: the inputs keep their annotations."""
        if not annotated:
            return build_test_loader(self.cfg, dataset)
        return build_detection_test_loader(self.cfg, dataset, mapper=AnnotatedMapper(self.cfg, is_train=False))

    def evaluator(self, dataset: str, folder: str, opinions: bool = False) -> DatasetEvaluator:
        return build_evaluator(dataset, folder, self.cfg, official=True, opinions=opinions)

    def class_names(self) -> list[str]:
        return saved_class_names(self.content, num_classes(self.cfg)[0]) or class_names(self.cfg)


class LazyRecipe(_Recipe):
    """Of detectron2's LazyConfigs; the members are those of :class:`YamlRecipe`.

    Args:
        cfg: checked, with the checkpoint in train.init_checkpoint.
    """

    augmented = False  # LazyConfigs have no key for it

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.weights, self.output_dir = cfg.train.init_checkpoint, cfg.train.output_dir
        self.datasets = lazy_datasets(cfg)[1]
        self.datasets_key = "dataloader.test.dataset.names"
        self.explain = partial(explain_lazy, cfg=cfg)
        self.boxes_alone = False

    def load(self, wanted: Sequence[str] = (), opinions: bool = False) -> tuple[nn.Module, list[str]]:
        cfg = self.cfg.copy()
        stock = lazy.request_opinions(cfg) if opinions else False
        model, names = self._loaded(lazy.build_model(cfg), lazy.WEIGHTS, wanted, stock)
        if self.boxes_alone and not isinstance(model, PanopticFPN):
            model.roi_heads.mask_on = model.roi_heads.keypoint_on = False
        return model, names

    def check_boxes(self) -> None:
        heads = OmegaConf.select(self.cfg, "model.roi_heads")
        if heads is None:
            raise UserError(
                "model.roi_heads: the model has none, whose proposals are what is analysed; score it with ffc-dense "
                "evaluate"
            )
        self.boxes_alone = True

    def loader(self, dataset: str, annotated: bool = False) -> Iterable[list[dict]]:
        cfg = self.cfg.copy()
        if annotated:
            if OmegaConf.select(cfg, "dataloader.test.mapper") is None:
                raise UserError("dataloader.test.mapper: the config has none, and annotations come from it; add it")
            with flag_override(cfg, "allow_objects", True):
                cfg.dataloader.test.mapper = Annotated(lazy.build(cfg, "dataloader.test.mapper"))
        return lazy.build(cfg, "dataloader.test")

    def evaluator(self, dataset: str, folder: str, opinions: bool = False) -> DatasetEvaluator:
        """The config's own, with its options; where it leaves them open, with files and pycocotools' implementation."""
        node = OmegaConf.select(self.cfg, "dataloader.evaluator")
        if node is None:
            raise UserError(
                "dataloader.evaluator: the config has no such key; add it, as detectron2's configs/common do"
            )
        cfg = self.cfg.copy()
        node = cfg.dataloader.evaluator
        if OmegaConf.is_dict(node):
            kind = class_of_target(OmegaConf.to_container(node, resolve=False))
            for name, value in (("output_dir", folder), ("use_fast_impl", False)):
                if kind is not None and name in parameters(kind) and (name == "output_dir" or name not in node):
                    node[name] = value
            if opinions:
                node["_target_"] = "ffc_dense.detection.evaluation.coco.OpinionCOCOEvaluator"
        return lazy.build(cfg, "dataloader.evaluator")

    def class_names(self) -> list[str]:
        number = lazy.number_of_classes(self.cfg)
        return saved_class_names(self.content, number) or lazy.class_names(self.cfg, number)


Recipe = YamlRecipe | LazyRecipe


def recipe_of(config: str, checkpoint: str, overrides: Sequence[str], splits: Sequence[str]) -> Recipe:
    """Read and check a config, for one process.

    Args:
        overrides: KEY VALUE ..., of a LazyConfig KEY=VALUE ...
        splits: those whose datasets the command uses.

    Raises:
        UserError: something is wrong with it; the message names it.
    """
    with reading_input():
        if lazy.is_lazy(config):
            given = [*overrides, lazy.override(lazy.WEIGHTS, checkpoint)]
            return LazyRecipe(lazy.on_device(lazy.read_lazy_config(config, given, splits)))
        cfg = read_config(config, [*overrides, "MODEL.WEIGHTS", checkpoint], splits)
        cfg.MODEL.DEVICE = choose_device(cfg.MODEL.DEVICE, "MODEL.DEVICE", 1)
        return YamlRecipe(cfg)


def check_one_dataset(recipe: Recipe, kinds: Sequence[str]) -> str:
    """The only test set of ``recipe``.

    Raises:
        UserError: there are several or none, or it has an evaluator of another type than ``kinds``.
    """
    if len(recipe.datasets) != 1:
        raise UserError(f"{recipe.datasets_key}: one dataset is analysed at a time, it names {recipe.datasets}")
    check_evaluators(recipe.datasets, recipe.datasets_key, kinds)
    return recipe.datasets[0]
