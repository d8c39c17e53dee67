"""Every shipped config builds, and an FFC config differs from its stock twin in the FFC keys alone."""

import re

import pytest
import torch
from repository import ROOT

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from detectron2.config import get_cfg
from detectron2.modeling import build_model
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import ffc_dense.segmentation  # noqa: F401
from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.detection import add_ffc_config

CONFIGS = ROOT / "configs"
DETECTION = sorted(path for path in CONFIGS.glob("*/*.yaml") if not path.name.startswith("Base"))
SEGMENTATION = sorted(CONFIGS.glob("*cityscapes/*.py"))


def stock_twin(path):
    """faster_rcnn_X_ffc.yaml -> faster_rcnn_X.yaml; pspnet-ffc_X.py -> pspnet_X.py"""
    return path.with_name(path.name.replace("_ffc.", ".").replace("-ffc_", "_"))


def twins(paths):
    pairs = [pytest.param(stock_twin(path), path, id=path.stem) for path in paths if stock_twin(path) != path]
    assert pairs
    return pairs


def detection_cfg(path):
    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "meta"
    return cfg


def detection_model(cfg):
    """The model without the memory and the initialisation of its parameters."""
    with torch.device("meta"):
        return build_model(cfg)


def flat(node, prefix=""):
    """{dotted key: value} of a nested mapping, lists of mappings included."""
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(item, dict) for item in node):
        items = enumerate(node)
    else:
        return {prefix: node}
    return {key: value for name, child in items for key, value in flat(child, f"{prefix}.{name}").items()}


def differing_keys(first, second):
    first, second = flat(first), flat(second)
    return {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def ffc_layers(model):
    return [module for module in model.modules() if isinstance(module, FFCLinear | FFCConv2d)]


@pytest.mark.parametrize("path", DETECTION, ids=lambda path: path.stem)
def test_detection_config_builds(path):
    model = detection_model(detection_cfg(path))
    assert bool(ffc_layers(model)) == ("_ffc" in path.stem)


@pytest.mark.parametrize(("stock", "ffc"), twins(DETECTION))
def test_detection_twins_differ_in_the_roi_heads_alone(stock, ffc):
    stock, ffc = detection_cfg(stock), detection_cfg(ffc)
    assert differing_keys(stock, ffc) == {".MODEL.ROI_HEADS.NAME", ".OUTPUT_DIR"}
    assert ffc.MODEL.ROI_HEADS.NAME == "FFC" + stock.MODEL.ROI_HEADS.NAME
    stock, ffc = detection_model(stock), detection_model(ffc)
    layers = ffc_layers(ffc)
    assert parameters(ffc) - parameters(stock) == sum(2 * layer.in_features * 3 for layer in layers) > 0


def segmentation_model(path):
    """Without numbers: a ResNet-101 would take seconds."""
    cfg = Config.fromfile(path)
    init_default_scope("mmseg")
    with torch.device("meta"):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize("path", SEGMENTATION, ids=lambda path: path.stem)
def test_segmentation_config_builds(path):
    model = segmentation_model(path)
    assert len(ffc_layers(model)) == ("-ffc" in path.stem)
    assert not ffc_layers(model.auxiliary_head)


@pytest.mark.parametrize(("stock", "ffc"), twins(SEGMENTATION))
def test_segmentation_twins_differ_in_the_head_type_alone(stock, ffc):
    stock_cfg, ffc_cfg = Config.fromfile(stock), Config.fromfile(ffc)
    changed = differing_keys(stock_cfg.to_dict(), ffc_cfg.to_dict())
    imports = {key for key in changed if key.startswith(".custom_imports")}
    assert changed - imports == {".model.decode_head.type"}
    assert ffc_cfg.model.decode_head.type == "FFC" + stock_cfg.model.decode_head.type
    assert ffc_cfg.custom_imports == dict(imports=["ffc_dense.segmentation"], allow_failed_imports=False)
    (layer,) = ffc_layers(ffc_model := segmentation_model(ffc))
    assert parameters(ffc_model) - parameters(segmentation_model(stock)) == 2 * layer.in_channels * 3


def test_every_base_config_lies_inside_the_repository():
    """mmengine resolves 'mmseg::...' by distribution name, which one of the two package lines lacks."""
    bases = [
        (path.parent / base).resolve()
        for path in CONFIGS.rglob("*.*")
        for block in re.findall(
            r"(?s)^_base_ = (\[.*?\]|'.*?')|^_BASE_: (\[.*?\]|\".*?\")", path.read_text(), re.MULTILINE
        )
        for base in re.findall(r"['\"](.*?)['\"]", "".join(block))
    ]
    assert len(bases) >= 12
    assert all(base.is_relative_to(CONFIGS) and base.is_file() for base in bases)
