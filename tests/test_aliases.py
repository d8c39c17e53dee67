"""Module paths that documents, users' configs and saved LazyConfigs name lead to what moved."""

import importlib
import subprocess
import sys

import pytest

ALIASES = {
    "ffc_dense.detection.predictor.FFCFastRCNNOutputLayers": "ffc_dense.detection.model.predictor",
    "ffc_dense.detection.roi_heads.FFCCascadeROIHeads": "ffc_dense.detection.model.roi_heads",
    "ffc_dense.detection.training_scalars.OutputScalarsHook": "ffc_dense.detection.training.scalars",
    "ffc_dense.segmentation.upsampled_vote.vote_upsampled": "ffc_dense.segmentation.model.upsampled_vote",
    "ffc_dense.segmentation.safe_loading.forbid_pickled_checkpoints": "ffc_dense.openmmlab.inputs.safe_loading",
}


@pytest.mark.parametrize("old", ALIASES)
def test_an_old_path_leads_to_the_same_object(old):
    pytest.importorskip("detectron2" if ".detection." in old else "mmseg")
    module, name = old.rsplit(".", 1)
    assert getattr(importlib.import_module(module), name) is getattr(importlib.import_module(ALIASES[old]), name)


def test_a_saved_lazy_config_builds_the_predictor_by_its_old_path():
    pytest.importorskip("detectron2")
    from detectron2.config import instantiate
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.box_regression import Box2BoxTransform

    node = dict(
        _target_="ffc_dense.detection.predictor.FFCFastRCNNOutputLayers", input_shape=ShapeSpec(channels=4),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)), num_classes=3, num_filters=2,
    )  # fmt: skip
    assert instantiate(node).cls_score.num_filters == 2


def test_the_documented_import_makes_mmengine_read_safely():
    pytest.importorskip("mmseg")
    code = (
        "from mmengine.runner.checkpoint import CheckpointLoader as loader\n"
        "import ffc_dense.segmentation.safe_loading\n"
        "print(loader._get_checkpoint_loader('a.pth').__module__)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1].startswith("ffc_dense."), done.stderr
