"""Style-based recalibration against loops, and its place in the block."""

import math

import pytest
import torch

pytest.importorskip("mmpretrain")

from mmpretrain.registry import MODELS
from small_classifier import on_meta

from ffc_dense.classification.model.srm import SRMBottleneck, StyleRecalibration

N, C, H, W = 3, 4, 2, 5


def literal_gates(layer, x):
    """gate[n][c], with BatchNorm over the batch in training and by the running statistics in testing."""
    z = [[0.0] * C for _ in range(N)]
    for n in range(N):
        for c in range(C):
            values = [x[n, c, i, j].item() for i in range(H) for j in range(W)]
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
            z[n][c] = layer.cfc[c, 0].item() * mean + layer.cfc[c, 1].item() * math.sqrt(variance + 1e-5)
    gates = [[0.0] * C for _ in range(N)]
    for c in range(C):
        column = [z[n][c] for n in range(N)]
        if layer.training:
            mean = sum(column) / N
            variance = sum((value - mean) ** 2 for value in column) / N
        else:
            mean, variance = layer.bn.running_mean[c].item(), layer.bn.running_var[c].item()
        for n in range(N):
            normed = (column[n] - mean) / math.sqrt(variance + layer.bn.eps)
            gates[n][c] = 1 / (1 + math.exp(-(normed * layer.bn.weight[c].item() + layer.bn.bias[c].item())))
    return torch.tensor(gates, dtype=x.dtype)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_each_channel_is_weighed_by_the_gate_of_its_own_style(training):
    layer = StyleRecalibration(C).double().train(training)
    with torch.no_grad():
        for tensor in (*layer.parameters(), layer.bn.running_mean):
            tensor.normal_()
        layer.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(N, C, H, W, dtype=torch.float64)
    gates = literal_gates(layer, x)
    torch.testing.assert_close(layer(x), x * gates[:, :, None, None])
    assert gates.std() > 0.1


def test_it_starts_as_a_half_and_has_four_numbers_for_each_channel():
    layer, x = StyleRecalibration(C), torch.randn(N, C, H, W)
    torch.testing.assert_close(layer(x), x / 2)
    assert sum(p.numel() for p in layer.parameters()) == 4 * C


def test_the_block_recalibrates_after_the_last_norm_and_before_the_addition():
    block = SRMBottleneck(8, 8).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
    x = torch.randn(2, 8, 4, 4)
    out = block.bn1(block.conv1(x)).relu()
    out = block.bn3(block.conv3(block.bn2(block.conv2(out)).relu()))
    torch.testing.assert_close(block(x), (block.se_layer(out) + x).relu())


def test_a_resnet_50_gets_60416_parameters_and_nothing_else():
    stock, srm = on_meta(dict(type="ResNet", depth=50)), on_meta(dict(type="SRMResNet", depth=50))
    added = set(srm.state_dict()) - set(stock.state_dict())
    assert set(stock.state_dict()) <= set(srm.state_dict()) and all(".se_layer." in key for key in added)
    assert sum(p.numel() for p in srm.parameters()) - sum(p.numel() for p in stock.parameters()) == 60_416


def test_init_weights_keeps_the_style_weights_at_zero_and_the_batch_norm_at_one():
    backbone = MODELS.build(
        dict(type="SRMResNet", depth=50, base_channels=4, stem_channels=4, zero_init_residual=False)
    )
    backbone.init_weights()
    for block in (*backbone.layer1, *backbone.layer4):
        assert not block.se_layer.cfc.any() and (block.se_layer.bn.weight == 1).all() and (block.bn3.weight == 1).all()
