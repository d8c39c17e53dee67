"""Train one detection run and keep the box head's logits of every proposal on held-out and test images.

    python -m evidence.train_detection WORK detection HEAD ITERATIONS SEED

``dump.pt`` is {"test": images, "heldout": images}. Of each image: ``image_id``, ``size`` (h, w), ``boxes`` (R, 4K)
decoded, ``logits`` (S, R, K + 1) of the stages, ``active`` and ``deviation`` (S, R), the share of units above zero and
their standard deviation. Shape shorthand: R proposals, K classes, S stages.
"""

import json
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import build_detection_test_loader
from detectron2.engine import HookBase
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.modeling import GeneralizedRCNN
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from torch import nn

from ffc_dense.detection import add_ffc_config
from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.reliability.random_state import kept_random_state

from . import detection_model  # noqa: F401 (registers)
from .detection_data import register
from .finishing import CURVE_POINTS, command, finish
from .folders import ROOT, folder, write_json
from .plan import HEADS, Head, Run
from .score_detection import score
from .variants import VariantFilter


def config(work: Path, run: Run) -> CfgNode:
    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.MODEL.ROI_BOX_HEAD.EVIDENCE = run.head
    cfg.merge_from_file(str(ROOT / "evidence/detection.yaml"))
    steps = (run.iterations * 3 // 4, run.iterations * 11 // 12)
    cfg.MODEL.DEVICE, cfg.SEED, cfg.OUTPUT_DIR = "cpu", run.seed, str(folder(work, run))
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = run.iterations, steps
    cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP = 200, 1
    return cfg


class Trainer(ReliableTrainer):
    """detectron2's trainer with the optimizer's settings of a :class:`Head`."""

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        head = HEADS[cfg.MODEL.ROI_BOX_HEAD.EVIDENCE]
        groups = get_default_optimizer_params(
            model, base_lr=cfg.SOLVER.BASE_LR, weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM
        )
        groups = adjusted(groups, model, head, cfg.SOLVER.BASE_LR)
        sgd = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
        return sgd(groups, cfg.SOLVER.BASE_LR, cfg.SOLVER.MOMENTUM, weight_decay=cfg.SOLVER.WEIGHT_DECAY)

    def build_writers(self) -> list:
        return super().build_writers()[:2]  # no TensorBoard


def seeded_trainer(cfg: CfgNode) -> Trainer:
    """A trainer whose weights and image order depend on SEED, which detectron2 reads only in ``default_setup``."""
    seed_all_rng(cfg.SEED)
    return Trainer(cfg)


def adjusted(groups: list[dict], model: nn.Module, head: Head, lr: float) -> list[dict]:
    """Parameter groups in which classifier and filters have the settings of ``head``."""
    predictor = model.roi_heads.box_predictor
    classifier = {id(parameter) for parameter in (predictor.cls_score.weight, predictor.cls_score.bias)}
    filters = {
        id(parameter) for module in model.modules() if isinstance(module, VariantFilter)
        for parameter in module.parameters()
    }  # fmt: skip
    found = []
    for group in groups:
        apart = {"classifier": [], "filters": [], "rest": []}
        for parameter in group["params"]:
            kind = "classifier" if id(parameter) in classifier else "filters" if id(parameter) in filters else "rest"
            apart[kind].append(parameter)
        settings = {"rest": {}, "classifier": {"lr": group.get("lr", lr) * head.classifier_lr}, "filters": {}}
        if head.filter_decay is not None:
            settings["filters"]["weight_decay"] = head.filter_decay
        found += [{**group, **settings[kind], "params": params} for kind, params in apart.items() if params]
    return found


class LearningCurve(HookBase):
    """AP on the held-out images, a few times during the training, in ``curve.json``."""

    def __init__(self, cfg: CfgNode):
        self.file = Path(cfg.OUTPUT_DIR) / "curve.json"
        self.period = cfg.SOLVER.MAX_ITER // CURVE_POINTS

    def after_step(self) -> None:
        iteration = self.trainer.iter + 1
        if iteration % self.period:
            return
        with kept_random_state():
            loader = build_detection_test_loader(self.trainer.cfg, "evidence_heldout")
            evaluator = COCOEvaluator("evidence_heldout", ("bbox",), distributed=False)
            found = inference_on_dataset(self.trainer.model, loader, evaluator)
        curve = json.loads(self.file.read_text()) if self.file.exists() else {}
        write_json(self.file, {**curve, str(iteration): found["bbox"]["AP"]})


@torch.no_grad()
def dump(model: GeneralizedRCNN, cfg: CfgNode, dataset: str) -> list[dict]:
    """The box head's logits of every proposal of every image."""
    model.eval()
    heads = model.roi_heads
    predictor = heads.box_predictor
    found = []
    for batch in build_detection_test_loader(cfg, dataset):
        image = batch[0]
        size = tuple(image["image"].shape[1:])
        assert size == (image["height"], image["width"]), "boxes would have to be rescaled"
        images = model.preprocess_image(batch)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        pooled = heads.box_pooler([features[name] for name in heads.box_in_features], [proposals[0].proposal_boxes])
        feature = heads.box_head(pooled)
        classifier = predictor.cls_score
        variant = hasattr(classifier, "stage_logits")
        stages = torch.stack(classifier.filters(feature)) if variant else feature.unsqueeze(0)
        logits = torch.stack(classifier.stage_logits(feature)) if variant else classifier(feature).unsqueeze(0)
        boxes = predictor.predict_boxes((logits[0], predictor.bbox_pred(feature)), proposals)[0]
        found.append(
            dict(image_id=image["image_id"], size=size, boxes=boxes, logits=logits,
                 active=(stages > 0).float().mean(-1), deviation=stages.std(-1))
        )  # fmt: skip
    return found


def main(work: Path, run: Run) -> None:
    setup_logger()
    register(work)
    cfg = config(work, run)
    out = Path(cfg.OUTPUT_DIR)
    out.mkdir(parents=True, exist_ok=True)
    trainer = seeded_trainer(cfg)
    if run.is_main:
        trainer.register_hooks([LearningCurve(cfg)])
    trainer.resume_or_load(resume=True)
    trainer.train()
    parts = {name: dump(trainer.model, cfg, f"evidence_{name}") for name in ("test", "heldout")}
    finish(work, run, trainer.model, parts, score, "model_*.pth")


if __name__ == "__main__":
    command(main)
