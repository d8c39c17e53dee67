"""The mini detectors' config with fewer channels, for each family of ROI heads, and models of it."""

from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import GeneralizedRCNN, build_model

from ffc_dense.detection import add_ffc_config
from ffc_dense.method.reductions import ffc_layers

CONFIGS = Path(__file__).parent.parent.parent / "configs" / "mini_coco"


def small_cfg(roi_heads: str, *opts, mask: bool = False) -> CfgNode:
    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-FPN.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NAME", roi_heads, "MODEL.MASK_ON", mask])
    cfg.merge_from_list(["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 32])
    cfg.merge_from_list(["MODEL.ROI_MASK_HEAD.NUM_CONV", 1, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16])
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = "Cascade" in roi_heads
    if "Res5" in roi_heads:
        cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", 50])
        cfg.merge_from_list(["MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16])
        cfg.merge_from_list(["MODEL.RESNETS.WIDTH_PER_GROUP", 8, "MODEL.RPN.CONV_DIMS", [-1]])
        for key in ("RESNETS.OUT_FEATURES", "RPN.IN_FEATURES", "ROI_HEADS.IN_FEATURES"):
            cfg.merge_from_list([f"MODEL.{key}", ["res4"]])
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[12, 24, 48]]
    cfg.merge_from_list(list(opts))
    return cfg


def small_model(roi_heads: str = "FFCStandardROIHeads", *opts, mask: bool = False, seed: int = 0) -> GeneralizedRCNN:
    """With random weights, in eval mode."""
    cfg = small_cfg(roi_heads, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, mask=mask)  # random weights score low
    cfg.merge_from_list(["MODEL.RPN.POST_NMS_TOPK_TEST", 20, *opts])
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    with torch.no_grad():  # as if trained: with the initial weights the outputs hardly disagree
        for layer in ffc_layers(model):
            layer.weight.normal_(0, 0.05)
            for norm in layer.filters:
                norm.bias.normal_()
    return model


def random_images(n: int = 2) -> list[dict]:
    """Inputs of a detector, each to be answered at a size of its own."""
    generator = torch.Generator().manual_seed(1)
    return [{"image": torch.rand(3, 64, 64, generator=generator) * 255, "height": 50, "width": 60} for _ in range(n)]
