"""Options stand once: one entry in ``method/options.py`` reaches every place, docs/reference/options.md too."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from repository import ROOT

from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.method.filtering import FeatureFilter
from ffc_dense.method.options import OPTIONS

EVERYWHERE = """
import inspect

from detectron2.config import get_cfg
from mmseg.models.decode_heads import FCNHead
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear, attach
from ffc_dense.detection import FFCFastRCNNOutputLayers, add_ffc_config
from ffc_dense.detection.inputs.config_checks import check_ffc
from ffc_dense.errors import UserError
from ffc_dense.method.options import documented
from ffc_dense.runs import detectron2_runs, mmengine_runs
from ffc_dense.segmentation import FFCFCNHead

for place in (FFCLinear, FFCConv2d, FFCFastRCNNOutputLayers, FFCFCNHead):
    assert inspect.signature(place).parameters["dummy"].default == 2, place
assert "dummy" in dict(row[:2] for row in documented())
attach(nn.Sequential(nn.Linear(3, 2)), "0", dummy=5)
FFCFCNHead(in_channels=4, channels=4, num_classes=2, num_convs=0, concat_input=False, dummy=5)
for build in (lambda: FFCLinear(3, 2, dummy=-1), lambda: FFCFCNHead(
    in_channels=4, channels=4, num_classes=2, num_convs=0, concat_input=False, dummy=-1)):
    try:
        build()
    except ValueError as error:
        assert "dummy must be an integer >= 0, got -1" in str(error)
    else:
        raise AssertionError
cfg = get_cfg()
add_ffc_config(cfg)
cfg.MODEL.ROI_HEADS.NAME = "FFCStandardROIHeads"
assert cfg.MODEL.ROI_BOX_HEAD.FFC.DUMMY == 2
cfg.MODEL.ROI_BOX_HEAD.FFC.DUMMY = -1
try:
    check_ffc(cfg)
except UserError as error:
    assert "MODEL.ROI_BOX_HEAD.FFC.DUMMY must be an integer >= 0, got -1" in str(error)
else:
    raise AssertionError
from detectron2.layers import ShapeSpec

cfg.MODEL.ROI_BOX_HEAD.FFC.DUMMY = 5
assert FFCFastRCNNOutputLayers.from_config(cfg, ShapeSpec(channels=4))["dummy"] == 5
assert detectron2_runs._variant("FFCStandardROIHeads", {"DUMMY": 5, "NUM_FILTERS": 3}) == "FFC dummy=5"
assert mmengine_runs._variant({"type": "FFCPSPHead", "dummy": 5}) == "FFC dummy=5"
"""


def test_one_entry_reaches_every_place(tmp_path):
    pytest.importorskip("detectron2")
    pytest.importorskip("mmseg")
    shutil.copytree(ROOT / "ffc_dense", tmp_path / "ffc_dense", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "ffc_dense" / "method" / "options.py"
    head, end, rest = table.read_text().partition("    )\n}")
    entry = 'Option("dummy", 2, "an integer", "a test", lambda name, value: check_integer(name, value, 0)),'
    table.write_text(f"{head}        {entry}\n{end}{rest}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", EVERYWHERE], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("layer", [FFCLinear, FFCConv2d])
def test_a_misspelt_option_is_named_with_the_closest_one(layer):
    with pytest.raises(TypeError, match=r"unknown option 'num_filter' \(did you mean num_filters\?\)"):
        layer(4, 3, num_filter=2)


def test_every_default_is_valid_and_the_paper_s():
    layer = FFCLinear(4, 3)
    assert {name: getattr(layer, name) for name in ("num_filters", "interpolate", "test_reduce")} == {
        "num_filters": 3, "interpolate": True, "test_reduce": "vote",
    }  # fmt: skip
    assert all(norm.eps == OPTIONS["eps"].default == 1e-5 for norm in layer.filters) and layer.input_norm is None


class HalvingFilter(FeatureFilter):
    """A filter that halves the feature in the place of LayerNorm and ReLU."""

    def filtered(self, norm, feature):
        return feature / 2


class HalvingLinear(FFCLinear):
    def make_filters(self, num_features, num_filters, eps, **like):
        return HalvingFilter(num_features, num_filters, eps, **like)


@pytest.mark.parametrize("training", [True, False])
def test_another_filter_is_one_subclass_and_no_fast_form_passes_it_over(training):
    layer = HalvingLinear(64, 5, num_filters=2, test_reduce="mean").train(training)
    x = torch.randn(4096, 64)  # large enough for the blocked form
    stages = [x, x / 2, x / 4]
    features = [stages[0], (stages[0] + stages[1]) / 2, stages[1], (stages[1] + stages[2]) / 2, stages[2]]
    outputs = torch.stack([torch.nn.functional.linear(each, layer.weight, layer.bias) for each in features])
    torch.testing.assert_close(layer(x), outputs.mean(0))
    with torch.no_grad():
        torch.testing.assert_close(layer.outputs(x), outputs)


class BiasedLinear(FFCLinear):
    """Another constant for the logits of each stage."""

    def stage_logits(self, x):
        return [logits + 10 * i for i, logits in enumerate(super().stage_logits(x))]


@pytest.mark.parametrize("training", [True, False])
def test_other_logits_of_a_stage_are_one_subclass(training):
    layer, plain = BiasedLinear(64, 5, test_reduce="mean").train(training), FFCLinear(64, 5, test_reduce="mean")
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(4096, 64)
    torch.testing.assert_close(layer(x), plain.train(training)(x) + 15)  # the mean of 0, 5, ..., 30
