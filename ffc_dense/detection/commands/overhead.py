"""Parameters and FLOPs of a detectron2 config, counted by fvcore through detectron2's own wrapper."""

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.utils.analysis import FlopCountAnalysis, parameter_count
from detectron2.utils.analysis import fvcore as detectron2_fvcore
from torch import nn

from ffc_dense.detection import add_ffc_config
from ffc_dense.detection.inputs.data_files import merge_config_file
from ffc_dense.inspection.cost import Classifier, Count, record_inputs


def resolved(path: str) -> tuple[str, str]:
    """(what the model and its input depend on, the input size in words): equal configs are counted once."""
    cfg = load(path)
    return f"{cfg.MODEL.dump()}{cfg.INPUT.dump()}{cfg.TEST.dump()}", "x".join(map(str, input_size(cfg)))


def schedule(path: str) -> dict:
    """Length and batch of the training."""
    cfg = load(path)
    return {"iterations": cfg.SOLVER.MAX_ITER, "images_per_iteration": cfg.SOLVER.IMS_PER_BATCH}


def load(path: str):
    """The config, with settings that fix the number of boxes: the count must not depend on random weights.

    NMS drops no proposal and every class of a proposal passes the score threshold, so the box head sees
    POST_NMS_TOPK_TEST proposals and the mask head DETECTIONS_PER_IMAGE boxes.
    """
    cfg = get_cfg()
    add_ffc_config(cfg)
    merge_config_file(cfg, path)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RPN.NMS_THRESH = 1.0
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return cfg


def input_size(cfg) -> tuple[int, int]:
    """(height, width): the largest image that the config's test-time resize makes."""
    return cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST


@torch.no_grad()
def count(path: str) -> Count:
    """Count the model of a yaml config in eval mode, for one image of :func:`input_size`, on the CPU."""
    torch.manual_seed(0)
    cfg = load(path)
    model = build_model(cfg).eval()
    _neutral_boxes(model)
    classifiers = {name: m.cls_score for name, m in model.named_modules() if isinstance(m, FastRCNNOutputLayers)}
    shapes = record_inputs(classifiers)
    image = torch.rand(3, *input_size(cfg)) * 255
    analysis = _quiet(FlopCountAnalysis(model, [{"image": image}]))
    per_module = analysis.by_module()
    counts = []
    for name, layer in classifiers.items():
        # The wrapper that detectron2 traces holds the model under the name "model".
        in_model = per_module[f"model.{name}.cls_score"]
        counts.append(Classifier.of(f"{name}.cls_score", layer, shapes[name], in_model, layer_flops))
    return Count(parameter_count(model)[""], analysis.total(), counts)


def layer_flops(layer: nn.Module, features: torch.Tensor) -> int:
    """FLOPs of one layer alone, by the same counter as the model's."""
    return _quiet(detectron2_fvcore.nn.FlopCountAnalysis(layer, features)).total()


def _neutral_boxes(model: nn.Module) -> None:
    """Weights 0 in the last layers: proposals are the anchors, all classes score alike, no box is lost to inf or nan.

    A random model under FrozenBN grows its features from block to block. The counts do not see the values.
    """
    for module in model.modules():
        if isinstance(module, StandardRPNHead):
            nn.init.zeros_(module.anchor_deltas.weight)
        if isinstance(module, FastRCNNOutputLayers):
            for layer in (module.cls_score, module.bbox_pred):
                nn.init.zeros_(layer.weight)


def _quiet(analysis):
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
