"""A tiny ResNet whose outputs disagree, for tests of what happens around the head."""

from functools import partial
from unittest import mock

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import ffc_dense.classification  # noqa: F401  (registers the heads)
from ffc_dense.method.reductions import ffc_layers

N, K = 4, 5
SIZE = (32, 32)
BACKBONE = dict(type="ResNet", depth=18, stem_channels=8, base_channels=4)


def config(head="FFCLinearClsHead", **options):
    """An ``ImageClassifier``; ``options`` are the head's."""
    head = dict(dict(type=head, num_classes=K, in_channels=32), **options)
    return dict(type="ImageClassifier", backbone=BACKBONE, neck=dict(type="GlobalAveragePooling"), head=head)


@torch.no_grad()
def disagreeing(model, seed=3):
    """Weights as if from training: with the initial ones the outputs hardly disagree."""
    torch.manual_seed(seed)
    for layer in ffc_layers(model) or [model.head.fc]:
        layer.weight.normal_()
        for norm in getattr(layer, "filters", ()):
            norm.weight.normal_(1, 0.7)
            norm.bias.normal_(0, 0.7)
    return model.eval()


def build(seed=0, **options):
    torch.manual_seed(seed)
    return disagreeing(MODELS.build(config(**options)), seed + 3)


def images(n=N, size=SIZE):
    torch.manual_seed(1)
    return torch.randn(n, 3, *size)


def samples(n=N):
    torch.manual_seed(2)
    return [DataSample().set_gt_label(label) for label in torch.randint(K, (n,))]


def on_meta(model):
    """A model without numbers, which is fast. mmpretrain's ResNets ask a linspace for its numbers."""
    with torch.device("meta"), mock.patch.object(torch, "linspace", partial(torch.linspace, device="cpu")):
        return MODELS.build(model)
