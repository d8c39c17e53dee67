"""``normalize_input``: FFC behind a LayerNorm of its own. The reference is that LayerNorm before an FFC without it."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ffc_dense
from ffc_dense import FFCConv2d, FFCLinear, attach
from ffc_dense.inspection.training_scalars import training_scalars

C, K = 24, 5
KINDS = ["linear", "conv"]
SHAPES = {"linear": (6, C), "conv": (2, C, 3, 4)}


def stock_layer(kind):
    return nn.Linear(C, K) if kind == "linear" else nn.Conv2d(C, K, 1)


def make(kind, **options):
    cls = FFCLinear if kind == "linear" else FFCConv2d
    return cls.from_layer(stock_layer(kind), normalize_input=True, **options)


def normalised(x, norm, dim):
    """The LayerNorm, spelled out."""
    centred = x - x.mean(dim, keepdim=True)
    scaled = centred / ((centred * centred).mean(dim, keepdim=True) + norm.eps).sqrt()
    shape = [-1] + [1] * (-1 - dim)
    return scaled * norm.weight.view(shape) + norm.bias.view(shape)


def plain_twin(layer):
    """The same FFC without the first LayerNorm."""
    twin = copy.deepcopy(layer)
    twin.input_norm = None
    return twin


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_filters", [0, 1, 3])
@pytest.mark.parametrize("interpolate", [True, False])
def test_it_is_ffc_behind_a_layer_norm_with_all_gradients(scramble, kind, num_filters, interpolate):
    layer = scramble(make(kind, num_filters=num_filters, interpolate=interpolate)).double()
    twin = plain_twin(layer)
    for reduction in (None, "vote", "mean", "out1", f"out{layer.num_outputs}"):
        for module in (layer, twin):
            module.train(reduction is None)
            module.test_reduce = reduction or "vote"
        x = torch.randn(SHAPES[kind], dtype=torch.float64, requires_grad=True)
        ours = layer(x)
        norm = copy.deepcopy(layer.input_norm)
        theirs = twin(normalised(x, norm, layer._feature_dim))
        torch.testing.assert_close(ours, theirs)
        direction = torch.randn_like(ours)
        found = torch.autograd.grad((ours * direction).sum(), [x, *layer.input_norm.parameters(), layer.weight])
        expected = torch.autograd.grad((theirs * direction).sum(), [x, *norm.parameters(), twin.weight])
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
    stages = layer.stages(x)
    torch.testing.assert_close(stages[0], normalised(x, norm, layer._feature_dim))
    assert len(stages) == num_filters + 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_filters_it_is_one_layer_norm_before_the_stock_layer(scramble, kind):
    stock = stock_layer(kind)
    layer = scramble(type(make(kind)).from_layer(stock, num_filters=0, normalize_input=True))
    x = torch.randn(SHAPES[kind])
    for training in (True, False):
        logits = stock(normalised(x, layer.input_norm, layer._feature_dim))
        torch.testing.assert_close(layer.train(training)(x), logits)
    assert set(layer.state_dict()) == {"weight", "bias", "input_norm.weight", "input_norm.bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_off_is_the_default_and_adds_no_parameter(kind):
    layer = type(make(kind)).from_layer(stock_layer(kind))
    assert layer.input_norm is None and not any("input_norm" in key for key in layer.state_dict())
    assert "normalize_input" not in repr(layer) and "normalize_input=True" in repr(make(kind))
    added = sum(p.numel() for p in make(kind).parameters()) - sum(p.numel() for p in layer.parameters())
    assert added == 2 * C


VALUES = [(dtype, value) for dtype in (torch.float16, torch.bfloat16, torch.float32) for value in (0.0, 3.0, 6e4, 1e30)
          if value < torch.finfo(dtype).max]  # fmt: skip


@pytest.mark.parametrize(("dtype", "value"), VALUES)
def test_constant_and_huge_features_give_finite_logits_of_the_inputs_dtype(dtype, value):
    layer = make("linear").to(dtype)
    x = torch.full((3, C), value, dtype=dtype)
    x[1, ::2] *= -1
    for training in (True, False):
        logits = layer.train(training)(x)
        assert logits.dtype == dtype and bool(torch.isfinite(logits).all())
    assert layer(x[:0]).shape == (0, K)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_every_backend_gives_the_same_logits_and_gradients(scramble, kind, training):
    layer = scramble(make(kind)).train(training)
    found = []
    for backend in ("composite", "blocked"):
        with backend_of(backend):
            x = torch.randn(SHAPES[kind], generator=torch.Generator().manual_seed(2)).requires_grad_()
            logits = layer(x)
            gradients = torch.autograd.grad(logits.square().sum(), [x, *layer.input_norm.parameters()])
            found.append((logits, *gradients))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@contextmanager
def backend_of(name):
    before = ffc_dense.get_backend()
    ffc_dense.set_backend(name)
    try:
        yield
    finally:
        ffc_dense.set_backend(before)


def test_under_autocast_the_logits_are_those_of_the_autocast_twin(scramble):
    layer = scramble(make("linear", num_filters=0)).eval()
    x = torch.randn(SHAPES["linear"])
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(x)
        expected = F.linear(normalised(x, layer.input_norm, -1), layer.weight, layer.bias)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, expected)


def test_an_input_on_another_device_is_told():
    layer = make("linear", num_filters=0)
    layer.input_norm.to("meta")
    with pytest.raises(ValueError, match="the FFC input is on cpu, its LayerNorm is on meta: move one"):
        layer(torch.randn(SHAPES["linear"]))


def test_training_scalars_count_the_units_of_the_normalised_feature(scramble):
    layer = scramble(make("linear"))
    x = torch.randn(SHAPES["linear"]) + 100  # every unit of x is active
    found = training_scalars(layer, x, None)
    assert found["stage0/active_units"] == (normalised(x, layer.input_norm, -1) > 0).sum(1).double().mean()


def test_grad_cam_counts_the_units_of_the_normalised_feature(scramble):
    from ffc_dense.inspection.gradcam.maps import Head

    for kind, num_filters in (("linear", 3), ("conv", 0)):
        layer = scramble(make(kind, num_filters=num_filters)).eval()
        x = torch.randn(1, C, 1, 1) + 100
        units = Head(layer).units(x)
        assert len(units) == layer.num_outputs
        assert units[0].item() == (normalised(x, layer.input_norm, -3) > 0).sum()


def test_a_feature_of_any_scale_has_the_same_logits():
    layer = make("conv").eval()
    x = torch.randn(SHAPES["conv"])
    torch.testing.assert_close(layer(x * 1e20), layer(x), rtol=1e-3, atol=1e-3)


def test_init_weights_restores_it_and_wrong_values_are_refused(scramble):
    layer = scramble(make("linear"))
    layer.init_weights()
    assert layer.input_norm.weight.eq(1).all() and layer.input_norm.bias.eq(0).all()
    with pytest.raises(ValueError, match="normalize_input must be True or False, got 1"):
        FFCLinear(C, K, normalize_input=1)


def test_attach_takes_the_option():
    model = nn.Sequential(nn.ReLU(), nn.Linear(C, K))
    assert attach(model, "1", normalize_input=True, num_filters=0)[1].input_norm.weight.shape == (C,)


def test_exported_it_is_the_same(tmp_path):
    layer = make("conv").eval()
    x = torch.randn(SHAPES["conv"])
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x))


# The adapters


def test_detectron2_has_the_key(tmp_path):
    pytest.importorskip("detectron2")
    from small_detector import random_images, small_model

    from ffc_dense.detection import EvalCheckpointer

    keys = ("MODEL.ROI_BOX_HEAD.FFC.NORMALIZE_INPUT", True)
    model = small_model("FFCStandardROIHeads", *keys, "MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS", 0)
    layer = model.roi_heads.box_predictor.cls_score
    seen = []
    layer.register_forward_hook(lambda layer, args, result: seen.append((args[0], result)))
    with torch.no_grad():
        model(random_images(1))
    feature, logits = seen[0]
    expected = F.linear(normalised(feature, layer.input_norm, -1), layer.weight, layer.bias)
    torch.testing.assert_close(logits, expected)
    torch.save({"model": model.state_dict()}, tmp_path / "normalised.pth")
    with pytest.raises(RuntimeError, match=r"input_norm\.bias has no place in the model"):
        EvalCheckpointer(small_model("StandardROIHeads")).load(str(tmp_path / "normalised.pth"))


def test_mmseg_has_the_option_and_shields_its_initial_weights(tmp_path):
    pytest.importorskip("mmseg")
    from mmengine.registry import init_default_scope
    from small_segmentor import build, images

    from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation

    init_default_scope("mmseg")
    model = build(num_filters=0, normalize_input=True)
    head = model.decode_head
    head.init_weights()  # mmengine's Normal(std=0.01) on conv_seg reaches its children
    norm = head.conv_seg.input_norm
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all() and head.conv_seg.weight.std() < 0.02
    seen = []
    head.conv_seg.register_forward_hook(lambda layer, args, result: seen.append((args[0], result)))
    with torch.no_grad():
        model.encode_decode(images(), [dict(img_shape=images().shape[2:], pad_shape=images().shape[2:])] * 2)
    feature, logits = seen[0]
    expected = F.conv2d(normalised(feature, norm, -3), head.conv_seg.weight, head.conv_seg.bias)
    torch.testing.assert_close(logits, expected)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "normalised.pth")
    with pytest.raises(RuntimeError, match=r"input_norm\.weight has no place in the model"):
        load_for_evaluation(build(num_filters=0), str(tmp_path / "normalised.pth"))
