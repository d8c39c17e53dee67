"""What the box predictor launches on an accelerator, counted without one."""

import pytest
import torch
from accelerator import Launches
from torch._subclasses.fake_tensor import FakeTensorMode

pytest.importorskip("detectron2")

from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform

from ffc_dense.detection import FFCFastRCNNOutputLayers


@pytest.mark.parametrize("test_reduce", ["vote", "mean"])
@pytest.mark.parametrize("training", [False, True])
def test_the_predictor_launches_few_kernels_and_never_waits(test_reduce, training):
    with FakeTensorMode(), torch.device("cuda"):
        predictor = FFCFastRCNNOutputLayers(
            ShapeSpec(channels=1024),
            box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
            num_classes=80,
            test_reduce=test_reduce,
        ).train(training)
        features = torch.empty(1000, 1024, requires_grad=training)
        with torch.set_grad_enabled(training), Launches() as seen:
            scores, deltas = predictor(features)
        assert scores.shape == (1000, 81) and deltas.shape == (1000, 320)
        assert (scores.grad_fn is not None) == training
    assert 0 < seen.kernels <= 60
