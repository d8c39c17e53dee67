"""configs/coco: the paper's protocol to the letter, detectron2's own baselines, and LazyConfigs that equal the yaml."""

import re
from ast import literal_eval

import pytest
import torch
from repository import ROOT

pytest.importorskip("detectron2")

from detectron2 import model_zoo
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model
from omegaconf import OmegaConf

from ffc_dense import FFCLinear
from ffc_dense.detection import FFCFastRCNNOutputLayers, add_ffc_config

COCO = ROOT / "configs" / "coco"
CONFIGS = sorted(path.stem for path in COCO.glob("*.yaml") if not path.name.startswith("Base"))

PROTOCOL = {  # key: (value, F found in the source or I inferred)
    "DATASETS.TRAIN": (("coco_2017_train",), "F"),
    "DATASETS.TEST": (("coco_2017_val",), "F"),
    "INPUT.MIN_SIZE_TRAIN": ((600,), "F"),
    "INPUT.MAX_SIZE_TRAIN": (1000, "F"),
    "INPUT.MIN_SIZE_TEST": (600, "F"),
    "INPUT.MAX_SIZE_TEST": (1000, "F"),
    "INPUT.FORMAT": ("BGR", "F"),
    "INPUT.RANDOM_FLIP": ("horizontal", "F"),
    "DATALOADER.ASPECT_RATIO_GROUPING": (False, "F"),
    "SOLVER.IMS_PER_BATCH": (1, "F"),
    "SOLVER.BASE_LR": (0.001, "F"),
    "SOLVER.GAMMA": (0.1, "F"),
    "SOLVER.STEPS": ((350000,), "F"),
    "SOLVER.MAX_ITER": (490000, "F"),
    "SOLVER.WARMUP_ITERS": (0, "F"),
    "SOLVER.MOMENTUM": (0.9, "F"),
    "SOLVER.WEIGHT_DECAY": (1e-4, "F"),
    "SOLVER.WEIGHT_DECAY_BIAS": (0.0, "F"),
    "SOLVER.WEIGHT_DECAY_NORM": (1e-4, "I"),
    "SOLVER.BIAS_LR_FACTOR": (1.0, "F"),
    "MODEL.PIXEL_MEAN": ([102.9801, 115.9465, 122.7717], "F"),
    "MODEL.PIXEL_STD": ([1, 1, 1], "F"),
    "MODEL.MASK_ON": (False, "F"),
    "MODEL.BACKBONE.FREEZE_AT": (2, "F"),
    "MODEL.RESNETS.NORM": ("FrozenBN", "F"),
    "MODEL.RESNETS.STRIDE_IN_1X1": (True, "I"),
    "MODEL.RESNETS.OUT_FEATURES": (["res4"], "F"),
    "MODEL.ANCHOR_GENERATOR.SIZES": ([[64, 128, 256, 512]], "F"),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ([[0.5, 1.0, 2.0]], "F"),
    "MODEL.ANCHOR_GENERATOR.OFFSET": (0.5, "I"),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": (0, "F"),
    "MODEL.RPN.IN_FEATURES": (["res4"], "F"),
    "MODEL.RPN.CONV_DIMS": ([512], "F"),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": (256, "F"),
    "MODEL.RPN.POSITIVE_FRACTION": (0.5, "F"),
    "MODEL.RPN.IOU_THRESHOLDS": ([0.3, 0.7], "F"),
    "MODEL.RPN.BOUNDARY_THRESH": (0, "F"),
    "MODEL.RPN.SMOOTH_L1_BETA": (1 / 9, "F"),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": (12000, "F"),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": (6000, "F"),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": (2000, "F"),
    "MODEL.RPN.POST_NMS_TOPK_TEST": (300, "F"),
    "MODEL.RPN.NMS_THRESH": (0.7, "F"),
    "MODEL.ROI_HEADS.IN_FEATURES": (["res4"], "F"),
    "MODEL.ROI_HEADS.NUM_CLASSES": (80, "F"),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": (256, "F"),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": (0.25, "F"),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": ([0.5], "F"),
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": (False, "F"),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": (0.0, "F"),
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": (0.3, "F"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": ((10, 10, 5, 5), "F"),
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": (1.0, "F"),
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": (False, "F"),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlign", "I"),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": (0, "I"),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": (14, "I"),
    "TEST.DETECTIONS_PER_IMAGE": (100, "F"),
}
NOT_OF_THE_PROTOCOL = {"MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "MODEL.ROI_HEADS.NAME", "VERSION"}

ZOO = {
    "faster_rcnn_R_50_FPN_1x": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "faster_rcnn_R_50_FPN_3x": "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
    "faster_rcnn_R_101_FPN_3x": "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",
    "mask_rcnn_R_50_FPN_1x": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "cascade_mask_rcnn_R_50_FPN_1x": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
}


def load(path):
    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(str(path))
    return cfg


def config(name):
    return load(COCO / f"{name}.yaml")


def value(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def leaves(node, prefix=""):
    if not isinstance(node, dict):
        return {prefix[:-1]: node}
    return {key: leaf for name, child in node.items() for key, leaf in leaves(child, f"{prefix}{name}.").items()}


def differing(first, second):
    first, second = leaves(first), leaves(second)
    assert first.keys() == second.keys()
    return {key for key in first if first[key] != second[key]}


def parameters(cfg):
    """{name: shape}"""
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def count(shapes):
    return sum(torch.Size(shape).numel() for shape in shapes.values())


@pytest.mark.parametrize("ffc", ["", "_ffc"])
@pytest.mark.parametrize("depth", [50, 101])
def test_the_resolved_paper_config_has_the_protocols_values(depth, ffc):
    cfg = config(f"faster_rcnn_R_{depth}_C4_paper{ffc}")
    assert {key: value(cfg, key) for key in PROTOCOL} == {key: expected for key, (expected, _) in PROTOCOL.items()}
    assert cfg.MODEL.RESNETS.DEPTH == depth
    assert cfg.MODEL.WEIGHTS == f"detectron2://ImageNetPretrained/MSRA/R-{depth}.pkl"
    assert cfg.MODEL.ROI_HEADS.NAME == ("FFCRes5ROIHeads" if ffc else "Res5ROIHeads")


def test_every_key_of_the_paper_config_carries_its_mark():
    marks, parents = {}, []
    for line in (COCO / "Base-RCNN-C4-paper.yaml").read_text().splitlines():
        found = re.match(r"( *)(\w+):(.*)", line)
        if found:
            parents[len(found[1]) // 2 :] = [found[2]]
            if content := found[3].split("#")[0].strip():
                mark = re.search(r"# ([FIU])\b", found[3])
                marks[".".join(parents)] = (mark[1] if mark else None, content)
    assert {key for key, (mark, _) in marks.items() if mark is None} == NOT_OF_THE_PROTOCOL
    assert {key: mark for key, (mark, _) in marks.items() if mark} == {key: mark for key, (_, mark) in PROTOCOL.items()}
    assert literal_eval(marks["SOLVER.STEPS"][1]) == (350000,)  # the file itself, not detectron2's default


@pytest.mark.parametrize("name", ZOO)
def test_stock_configs_equal_those_of_the_model_zoo(name):
    zoo = load(model_zoo.get_config_file(ZOO[name]))
    assert differing(config(name), zoo) == {"OUTPUT_DIR"}


def test_configs_without_a_twin_in_the_model_zoo_differ_from_their_kin_as_they_say():
    one, three = config("faster_rcnn_R_101_FPN_1x"), config("faster_rcnn_R_101_FPN_3x")
    assert differing(one, three) == {"SOLVER.STEPS", "SOLVER.MAX_ITER", "OUTPUT_DIR"}
    assert differing(one, config("faster_rcnn_R_50_FPN_1x")) == {"MODEL.WEIGHTS", "MODEL.RESNETS.DEPTH", "OUTPUT_DIR"}
    boxes, masks = config("cascade_rcnn_R_50_FPN_1x"), config("cascade_mask_rcnn_R_50_FPN_1x")
    assert differing(boxes, masks) == {"MODEL.MASK_ON", "OUTPUT_DIR"}


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.endswith("_ffc")])
def test_ffc_adds_two_parameters_per_channel_and_filter(name):
    """2,048 channels, 3 filters: the paper's 0.012 M."""
    stock, ffc = config(name.removesuffix("_ffc")), config(name)
    assert len((COCO / f"{name}.yaml").read_text().splitlines()) <= 5
    stock, ffc = parameters(stock), parameters(ffc)
    expected = 12_288 if "_C4_" in name else 3 * 6_144 if "cascade" in name else 6_144
    assert count(ffc) - count(stock) == expected
    assert all(shape == stock[key] for key, shape in ffc.items() if ".filters." not in key)
    assert stock.keys() == {key for key in ffc if ".filters." not in key}


@pytest.mark.parametrize(("depth", "stock"), [(50, 29_026_445), (101, 47_966_349)])
def test_the_paper_models_have_the_documented_sizes(depth, stock):
    assert count(parameters(config(f"faster_rcnn_R_{depth}_C4_paper"))) == stock
    ffc = config(f"faster_rcnn_R_{depth}_C4_paper_ffc")
    assert count(parameters(ffc)) == stock + 12_288
    ffc.MODEL.ROI_HEADS.NAME = "FFCRes5Stride1ROIHeads"
    assert count(parameters(ffc)) == stock + 12_288


def test_runs_do_not_share_an_output_folder():
    folders = [config(name).OUTPUT_DIR for name in CONFIGS]
    folders += [str(LazyConfig.load(str(path)).train.output_dir) for path in sorted(COCO.glob("*.py"))]
    assert len(set(folders)) == len(folders) >= 26


def lazy(suffix=""):
    return LazyConfig.load(str(COCO / f"faster_rcnn_R_50_FPN_1x{suffix}.py"))


@pytest.mark.parametrize("suffix", ["", "_ffc"])
def test_the_lazy_model_equals_the_yaml_model(suffix):
    with torch.device("meta"):
        model = instantiate(lazy(suffix).model)
    expected = parameters(config(f"faster_rcnn_R_50_FPN_1x{suffix}"))
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == expected
    assert any(isinstance(module, FFCLinear) for module in model.modules()) == bool(suffix)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all(".stem." in name or ".res2." in name for name in frozen)


def test_lazy_twins_differ_in_the_predictor_alone():
    stock, ffc = (leaves(OmegaConf.to_container(lazy(suffix), resolve=False)) for suffix in ("", "_ffc"))
    assert stock.keys() == ffc.keys()
    changed = {key for key in stock if stock[key] != ffc[key]}
    assert changed == {"model.roi_heads.box_predictor._target_", "train.output_dir"}
    assert ffc["model.roi_heads.box_predictor._target_"] is FFCFastRCNNOutputLayers


def test_the_lazy_config_trains_as_the_yaml_does():
    cfg, yaml = lazy(), config("faster_rcnn_R_50_FPN_1x")
    assert cfg.train.init_checkpoint == yaml.MODEL.WEIGHTS and cfg.train.max_iter == yaml.SOLVER.MAX_ITER
    assert cfg.dataloader.train.dataset.names == yaml.DATASETS.TRAIN[0]
    assert cfg.dataloader.test.dataset.names == yaml.DATASETS.TEST[0]
    assert cfg.dataloader.train.total_batch_size == yaml.SOLVER.IMS_PER_BATCH
    assert cfg.dataloader.train.mapper.use_instance_mask == yaml.MODEL.MASK_ON
    assert tuple(cfg.dataloader.train.mapper.augmentations[0].short_edge_length) == yaml.INPUT.MIN_SIZE_TRAIN
    assert (cfg.optimizer.lr, cfg.optimizer.momentum) == (yaml.SOLVER.BASE_LR, yaml.SOLVER.MOMENTUM)
    assert cfg.optimizer.weight_decay == yaml.SOLVER.WEIGHT_DECAY
    schedule = instantiate(cfg.lr_multiplier)
    assert schedule(0.5) == 1.0 and schedule(0.7) == pytest.approx(0.1) and schedule(0.9) == pytest.approx(0.01)
