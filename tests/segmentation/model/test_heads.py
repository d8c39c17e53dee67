"""Every FFC decode head of mmseg against its stock twin and against a literal transcription of the paper."""

import copy
import importlib
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy_reference
import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("mmseg")

from mmengine.model import PretrainedInit
from mmengine.structures import PixelData
from mmseg.models import decode_heads
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ffc_dense.segmentation
from ffc_dense.method import literal
from ffc_dense.segmentation.model.heads import CLASSIFIES_THROUGH_CLS_SEG, LEFT_OUT

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

N, C, K = 2, 8, 4
FEATURE, PREDICTION = (4, 5), (9, 11)
METAS = [dict(img_shape=PREDICTION)] * N
CE = dict(type="CrossEntropyLoss")
OHEM = dict(type="OhemCrossEntropy", thres=0.9, min_kept=9)

ONE = dict(in_channels=6)
TWO = dict(in_channels=[6, 8], in_index=[0, 1])
SELECT = dict(input_transform="multiple_select")
FOUR = dict(SELECT, in_channels=[8] * 4, in_index=[0, 1, 2, 3])
STOCK = {  # the smallest heads that still do all of what they do
    "ANNHead": dict(TWO, project_channels=4, key_pool_scales=(1, 3)),
    "APCHead": dict(ONE, pool_scales=(1, 2)),
    "ASPPHead": dict(ONE, dilations=(1, 2)),
    "CCHead": ONE,
    "DAHead": dict(ONE, pam_channels=4),
    "DDRHead": dict(in_channels=8, loss_decode=[CE, CE]),
    "DMHead": dict(ONE, filter_sizes=(1, 3)),
    "DNLHead": ONE,
    "DPTHead": dict(FOUR, embed_dims=8, post_process_channels=[8] * 4),
    "DepthwiseSeparableASPPHead": dict(in_channels=8, dilations=(1, 2), c1_in_channels=6, c1_channels=4),
    "DepthwiseSeparableFCNHead": ONE,
    "EMAHead": dict(ONE, ema_channels=8, num_bases=4, num_stages=2),
    "EncHead": dict(TWO, num_codes=3, add_lateral=True),
    "FCNHead": ONE,
    "FPNHead": dict(TWO, feature_strides=[4, 8]),
    "GCHead": ONE,
    "ISAHead": dict(ONE, isa_channels=4, down_factor=(2, 2)),
    "LRASPPHead": dict(SELECT, in_channels=[6, 6, 8], in_index=[0, 1, 2], branch_channels=(4, 4)),
    "LightHamHead": dict(TWO, ham_channels=8, ham_kwargs=dict(MD_R=4)),
    "NLHead": ONE,
    "OCRHead": dict(ONE, ocr_channels=4),
    "PIDHead": dict(in_channels=8, loss_decode=[CE, OHEM, dict(type="BoundaryLoss"), OHEM]),
    "PSAHead": dict(ONE, mask_size=FEATURE),
    "PSPHead": dict(ONE, pool_scales=(1, 2)),
    "SETRMLAHead": dict(TWO, mla_channels=4, up_scale=2),
    "SETRUPHead": dict(ONE, up_scale=2),
    "STDCHead": ONE,
    "SegformerHead": TWO,
    "UPerHead": dict(TWO, pool_scales=(1, 2)),
}


def build(name, **options):
    torch.manual_seed(0)
    common = dict(channels=C, num_classes=K, norm_cfg=dict(type="BN"))
    head = MODELS.build(dict(common, **{**STOCK[name.removeprefix("FFC")], **options}, type=name))
    return head.to(torch.get_default_dtype())


def refusal(name):
    """The error of a stock head whose compiled mmcv operator is missing; '' if it can be built."""
    try:
        build(name)
    except RuntimeError as error:
        return str(error)
    return ""


REFUSED = [name for name in ("CCHead", "PSAHead") if refusal(name)]
every_head = pytest.mark.parametrize("name", [name for name in STOCK if name not in REFUSED])
either_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
either_corners = pytest.mark.parametrize("align_corners", [False, True], ids=["centers", "corners"])


@pytest.fixture
def fp64():
    """A literal computation in fp64 meets no accidental ties."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def inputs_of(head):
    """The arguments of the head's ``forward``; always the same numbers."""
    torch.manual_seed(1)
    name = type(head).__name__.removeprefix("FFC")
    h, w = FEATURE
    six, eight = torch.randn(N, 6, h, w), torch.randn(N, 8, h, w)
    if name == "OCRHead":
        return [six], torch.randn(N, K, h, w)
    if name == "DPTHead":  # maps and class tokens
        return ([(torch.randn(N, 8, h, w), torch.randn(N, 8)) for _ in range(4)],)
    if name == "LRASPPHead":  # pools 49 x 49
        return ([torch.randn(N, 6, 51, 52), torch.randn(N, 6, 50, 51), torch.randn(N, 8, 49, 50)],)
    if name in ("DDRHead", "PIDHead"):
        if not head.training:
            return (eight,)
        return ([six[:, :4], eight] + [six[:, 2:]] * (name == "PIDHead"),)
    return ([six] if STOCK[name]["in_channels"] == 6 else [six, eight],)


def forward(head):
    """All that ``forward`` returns, as a tuple, and the feature that reached ``conv_seg``."""
    features = []
    hook = head.conv_seg.register_forward_pre_hook(lambda _, args: features.append(args[0].detach()))
    inputs = inputs_of(head)
    torch.manual_seed(2)  # dropout; LightHamHead draws bases
    out = head(*inputs)
    hook.remove()
    (feature,) = features
    return out if isinstance(out, tuple) else (out,), feature


def main_map(head, out):
    """What ``cls_seg`` returned, among the results of ``forward``."""
    return out[1] if len(out) == 3 and "PID" in type(head).__name__ else out[0]


@torch.no_grad()
def predict(head):
    inputs = inputs_of(head)
    torch.manual_seed(2)
    return head.predict(*inputs, METAS, dict())


def losses(head, classes=K):
    inputs = inputs_of(head)
    torch.manual_seed(2)
    samples = [SegDataSample() for _ in range(N)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(classes, (1, *PREDICTION)))
        sample.gt_edge_map = PixelData(data=torch.randint(2, (1, *PREDICTION)).float())
    return head.loss(*inputs, samples, dict())


def total(losses):
    return sum(value for key, value in losses.items() if "loss" in key)


@torch.no_grad()
def trained(head):
    """Weights as if from training: with the initial ones the outputs hardly disagree."""
    torch.manual_seed(3)
    head.conv_seg.weight.normal_()
    for norm in head.conv_seg.filters:
        norm.weight.normal_(1, 0.7)
        norm.bias.normal_(0, 0.7)
    return head


def filter_parameters(head):
    return {f"conv_seg.filters.{key}": value for key, value in head.conv_seg.filters.named_parameters()}


# --- the paper, literally ---------------------------------------------------------------------------------------------


@torch.no_grad()
def literal_outputs(head, feature, interpolate=True):
    """[Out1 ... OutM], the logits (N, K, h, w) of every output."""
    parts = {name: getattr(head.conv_seg, name) for name in ("weight", "bias", "filters")}
    return literal.outputs(SimpleNamespace(**parts, interpolate=interpolate), feature)


def literal_vote(outputs):
    """Fig. 3 for every pixel: M maps (N, K, H, W) -> the winners' logits (N, K, H, W), the labels (N, H, W)."""
    n, _, h, w = outputs[0].shape
    logits = numpy_reference.samples(torch.stack(outputs), 2)
    electable, confidence, labels = numpy_reference.election(logits)
    winner, pixels = numpy_reference.first_winner(electable, confidence), range(len(logits))
    won, label = torch.from_numpy(logits[pixels, winner]), torch.from_numpy(labels[pixels, winner])
    return won.to(outputs[0].dtype).view(n, h, w, -1).permute(0, 3, 1, 2), label.view(n, h, w)


def upsampled(logits, head):
    return F.interpolate(logits, PREDICTION, mode="bilinear", align_corners=head.align_corners)


def literal_predict(head, interpolate=True):
    outputs = literal_outputs(head, forward(head)[1], interpolate)
    logits, labels = literal_vote([upsampled(out, head) for out in outputs])
    return (logits.log_softmax(1) if logits.shape[1] > 1 else logits), labels


# --- which heads there are --------------------------------------------------------------------------------------------


def test_every_mmseg_decode_head_is_supported_or_left_out():
    classes = {name: cls for name, cls in vars(decode_heads).items() if isinstance(cls, type)}
    present = {name for name, cls in classes.items() if issubclass(cls, BaseDecodeHead) or name.endswith("Head")}
    assert present - {"KernelUpdateHead"} == {*CLASSIFIES_THROUGH_CLS_SEG, *LEFT_OUT}


def test_every_supported_head_is_tested_here():
    assert set(STOCK) == set(CLASSIFIES_THROUGH_CLS_SEG)


@pytest.mark.parametrize("name", STOCK)
def test_a_head_is_registered_and_exported_under_ffc_and_its_name(name):
    head = getattr(ffc_dense.segmentation, f"FFC{name}")
    assert MODELS.get(f"FFC{name}") is head
    assert issubclass(head, getattr(decode_heads, name))
    assert f"FFC{name}" in ffc_dense.segmentation.__all__


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_head_that_is_left_out_says_why(name):
    with pytest.raises(TypeError, match=f"no FFC{name}.*{LEFT_OUT[name]}"):
        MODELS.build(dict(type=f"FFC{name}", in_channels=6, channels=C, num_classes=K))


@pytest.mark.parametrize("name", REFUSED)
def test_a_missing_mmcv_operator_is_reported_as_by_the_stock_head(name):
    with pytest.raises(RuntimeError) as error:
        build(f"FFC{name}")
    assert str(error.value) == refusal(name)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(test_reduce="median"), "'vote', 'mean'"),
        (dict(vote_at="input"), "'prediction', 'feature'"),
        (dict(num_filters=-1), ">= 0"),
        (dict(num_filters=1.5), ">= 0"),
        (dict(interpolate="yes"), "True or False"),
        (dict(eps=1e-8), "at least 1e-05"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_out_of_range_is_an_error_that_lists_what_is_valid(option, message):
    with pytest.raises(ValueError, match=message):
        build("FFCPSPHead", **option)


def test_the_options_reach_the_filters():
    layer = build("FFCPSPHead", num_filters=2, interpolate=False, eps=1e-3).conv_seg
    assert (layer.num_filters, layer.num_outputs) == (2, 3)
    assert {norm.eps for norm in layer.filters} == {1e-3}


def test_without_mmseg_the_import_error_says_what_to_install():
    program = """
import sys
sys.modules["mmseg"] = None
try:
    import ffc_dense.segmentation
except ModuleNotFoundError as error:
    print(error.name, error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.startswith("mmseg ffc_dense.segmentation needs MMSegmentation")
    assert "pip install" in run.stdout


def test_a_broken_dependency_of_mmseg_is_not_taken_for_a_missing_mmseg(monkeypatch, tmp_path):
    (tmp_path / "mmseg.py").write_text("import absent_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("mmseg", "ffc_dense.segmentation"):
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ModuleNotFoundError) as error:
        importlib.import_module("ffc_dense.segmentation")
    assert error.value.name == "absent_dependency"


# --- identical to the stock head, except for the filters --------------------------------------------------------------


@every_head
@pytest.mark.parametrize("initialize", [False, True], ids=["constructed", "init_weights"])
def test_a_seed_gives_the_weights_and_the_random_state_of_the_stock_head(name, initialize):
    results = []
    for kind in (name, f"FFC{name}"):
        head = build(kind)
        if initialize:
            head.init_weights()
        results.append((head.state_dict(), torch.get_rng_state()))
    (stock, stock_random), (ffc, ffc_random) = results
    assert all(torch.equal(ffc[key], value) for key, value in stock.items())
    assert torch.equal(ffc_random, stock_random)


@every_head
def test_the_state_dict_is_that_of_the_stock_head_plus_the_filters(name):
    stock, ffc = build(name).state_dict(), build(f"FFC{name}", num_filters=2).state_dict()
    added = {f"conv_seg.filters.{i}.{kind}" for i in range(2) for kind in ("weight", "bias")}
    assert set(ffc) - set(stock) == added
    assert set(stock) <= set(ffc)


@every_head
def test_a_stock_checkpoint_loads_and_only_the_filters_are_missing(name):
    stock, ffc = build(name), build(f"FFC{name}")
    for value in [*stock.parameters(), *stock.buffers()]:
        value.data.fill_(3)
    result = ffc.load_state_dict(stock.state_dict(), strict=False)
    assert set(result.missing_keys) == set(filter_parameters(ffc))
    assert result.unexpected_keys == []
    assert all((value == 3).all() for key, value in ffc.state_dict().items() if "filters" not in key)


@every_head
@either_mode
def test_without_filters_forward_is_that_of_the_stock_head(name, training):
    stock, ffc = build(name).train(training), build(f"FFC{name}", num_filters=0).train(training)
    for ours, theirs in zip(forward(ffc)[0], forward(stock)[0], strict=True):
        assert torch.equal(ours, theirs)


@every_head
def test_without_filters_the_loss_is_that_of_the_stock_head(name):
    stock, ffc = losses(build(name)), losses(build(f"FFC{name}", num_filters=0))
    assert list(ffc) == list(stock)
    assert all(torch.equal(ffc[key], stock[key]) for key in stock)


@every_head
@either_corners
def test_without_filters_predict_is_that_of_the_stock_head(name, align_corners):
    stock = build(name, align_corners=align_corners).eval()
    ffc = build(f"FFC{name}", align_corners=align_corners, num_filters=0).eval()
    assert torch.equal(predict(ffc), predict(stock))


@every_head
@either_mode
def test_forward_returns_the_shapes_of_the_stock_head(name, training):
    stock, ffc = build(name).train(training), build(f"FFC{name}").train(training)
    assert [out.shape for out in forward(ffc)[0]] == [out.shape for out in forward(stock)[0]]


def test_a_head_can_be_copied_and_pickled():
    head = trained(build("FFCPSPHead")).eval()
    expected = predict(head)
    assert torch.equal(predict(copy.deepcopy(head)), expected)
    assert torch.equal(predict(pickle.loads(pickle.dumps(head))), expected)


# --- training ---------------------------------------------------------------------------------------------------------


@every_head
def test_the_loss_gives_every_filter_a_gradient(name):
    head = trained(build(f"FFC{name}"))
    total(losses(head)).backward()
    for key, parameter in filter_parameters(head).items():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key


@every_head
@pytest.mark.usefixtures("fp64")
def test_in_training_forward_is_the_mean_of_the_outputs(name):
    head = trained(build(f"FFC{name}"))
    out, feature = forward(head)
    expected = sum(literal_outputs(head, feature)) / 7
    torch.testing.assert_close(main_map(head, out), expected)


@pytest.mark.usefixtures("fp64")
def test_dropout_comes_before_the_filters():
    head = trained(build("FFCPSPHead", dropout_ratio=0.5))
    _, feature = forward(head)
    zeroed = (feature == 0).flatten(2).all(2)  # Dropout2d: whole channels
    assert zeroed.any() and not zeroed.all()


@pytest.mark.usefixtures("fp64")
def test_dropout_left_on_at_test_time_acts_on_predict_as_on_forward():
    head = trained(build("FFCPSPHead", dropout_ratio=0.5)).eval()
    without = predict(head)
    head.dropout.train()  # Monte Carlo dropout
    torch.testing.assert_close(predict(head), literal_predict(head)[0])
    assert not torch.allclose(predict(head), without)


# --- testing ----------------------------------------------------------------------------------------------------------


@every_head
@pytest.mark.usefixtures("fp64")
def test_in_testing_forward_votes_at_the_resolution_of_the_feature(name):
    head = trained(build(f"FFC{name}")).eval()
    out, feature = forward(head)
    torch.testing.assert_close(out[0], literal_vote(literal_outputs(head, feature))[0])


@every_head
@either_corners
@pytest.mark.usefixtures("fp64")
def test_predict_votes_for_every_pixel_after_upsampling(name, align_corners):
    head = trained(build(f"FFC{name}", align_corners=align_corners)).eval()
    predicted = predict(head)
    log_prob, labels = literal_predict(head)
    assert predicted.shape == (N, K, *PREDICTION)
    torch.testing.assert_close(predicted, log_prob)
    assert torch.equal(predicted.argmax(1), labels)


@pytest.mark.parametrize("name", ["FFCPSPHead", "FFCASPPHead"])
@pytest.mark.usefixtures("fp64")
def test_the_reference_tells_where_and_over_what_the_vote_is_taken(name):
    """The other tests could not fail if the outputs agreed, or the order of vote and upsampling did not matter."""
    head = trained(build(name)).eval()
    feature = forward(head)[1]
    outputs = literal_outputs(head, feature)
    _, labels = literal_predict(head)
    at_feature = upsampled(literal_vote(outputs)[0].log_softmax(1), head).argmax(1)
    of_mean = upsampled(sum(outputs), head).argmax(1)
    of_first = upsampled(outputs[0], head).argmax(1)
    for other in (at_feature, of_mean, of_first, literal_predict(head, interpolate=False)[1]):
        assert (other != labels).sum() > 5


@pytest.mark.usefixtures("fp64")
def test_without_interpolation_the_stages_alone_vote():
    head = trained(build("FFCASPPHead", interpolate=False)).eval()
    torch.testing.assert_close(predict(head), literal_predict(head, interpolate=False)[0])


@either_corners
@pytest.mark.usefixtures("fp64")
def test_vote_at_feature_votes_before_upsampling(align_corners):
    head = trained(build("FFCPSPHead", vote_at="feature", align_corners=align_corners)).eval()
    winners, _ = literal_vote(literal_outputs(head, forward(head)[1]))
    torch.testing.assert_close(predict(head), upsampled(winners.log_softmax(1), head))


@pytest.mark.parametrize("vote_at", ["prediction", "feature"])
@either_corners
@pytest.mark.usefixtures("fp64")
def test_mean_passes_on_the_mean_of_the_logits(vote_at, align_corners):
    head = trained(build("FFCPSPHead", test_reduce="mean", vote_at=vote_at, align_corners=align_corners)).eval()
    mean = sum(literal_outputs(head, forward(head)[1])) / 7
    torch.testing.assert_close(predict(head), upsampled(mean, head))


@pytest.mark.usefixtures("fp64")
def test_in_training_mode_predict_passes_on_the_mean_of_the_logits():
    head = trained(build("FFCPSPHead"))
    mean = sum(literal_outputs(head, forward(head)[1])) / 7
    torch.testing.assert_close(predict(head), upsampled(mean, head))


@pytest.mark.usefixtures("fp64")
def test_test_reduce_may_be_changed_after_construction():
    head = trained(build("FFCPSPHead")).eval()
    head.conv_seg.test_reduce = "mean"
    mean = trained(build("FFCPSPHead", test_reduce="mean")).eval()
    assert torch.equal(predict(head), predict(mean))
    head.conv_seg.test_reduce = "vote"
    torch.testing.assert_close(predict(head), literal_predict(head)[0])


@pytest.mark.usefixtures("fp64")
def test_a_single_output_passes_on_its_upsampled_logits():
    head = trained(build("FFCPSPHead")).eval()
    expected = literal_outputs(head, forward(head)[1])
    for i in (0, 3, 6):
        head.test_reduce = f"out{i + 1}"
        torch.testing.assert_close(predict(head), upsampled(expected[i], head))


@pytest.mark.parametrize("name", ["FFCPSPHead", "FFCASPPHead", "FFCFCNHead"])
@pytest.mark.usefixtures("fp64")
def test_a_binary_head_votes_on_the_sign_and_passes_on_the_logit(name):
    head = trained(build(name, num_classes=2, out_channels=1, threshold=0.3, loss_decode=dict(CE, use_sigmoid=True)))
    total(losses(head, classes=2)).backward()
    assert all(parameter.grad.any() for parameter in filter_parameters(head).values())
    head.eval()
    logits, labels = literal_predict(head)
    assert 0 < labels.sum() < labels.numel()
    assert predict(head).shape == (N, 1, *PREDICTION)
    torch.testing.assert_close(predict(head), logits)
    assert torch.equal(predict(head)[:, 0] > 0, labels == 1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("put", [nn.Conv2d, nn.Sequential], ids=["convolution", "sequence"])
def test_a_layer_put_in_the_place_of_conv_seg_acts_as_in_the_stock_head(put, training):
    ours, stock = build("FFCPSPHead"), build("PSPHead")
    ours.load_state_dict(stock.state_dict(), strict=False)
    for head in (ours, stock):
        torch.manual_seed(7)
        layer = nn.Conv2d(head.channels, head.out_channels, 1)
        head.conv_seg = layer if put is nn.Conv2d else nn.Sequential(layer, nn.Tanh())
        head.init_weights()
        head.train(training)
    assert torch.equal(predict(ours), predict(stock))
    assert torch.equal(forward(ours)[0][0], forward(stock)[0][0])
    assert total(losses(ours)) == total(losses(stock))


# --- predict leaves no trace ------------------------------------------------------------------------------------------


@every_head
@either_mode
def test_predict_leaves_forward_as_it_was(name, training):
    fresh, used = trained(build(f"FFC{name}")), trained(build(f"FFC{name}"))
    predict(used.eval())
    for ours, theirs in zip(forward(used.train(training))[0], forward(fresh.train(training))[0], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["FFCPSPHead", "FFCEncHead", "FFCDAHead", "FFCOCRHead"])
def test_an_error_in_predict_leaves_the_head_usable(name):
    head = trained(build(name)).eval()
    (before, _), voted = forward(head), predict(head)
    with pytest.raises(KeyError):
        head.predict(*inputs_of(head), [dict()] * N, dict())  # where is img_shape?
    assert all(torch.equal(a, b) for a, b in zip(forward(head)[0], before, strict=True))
    assert torch.equal(predict(head), voted)


# --- initialization ---------------------------------------------------------------------------------------------------


@every_head
def test_init_weights_leaves_the_filters_at_one_and_zero(name):
    head = trained(build(f"FFC{name}"))
    head.init_weights()
    for key, parameter in filter_parameters(head).items():
        assert (parameter == (1 if key.endswith("weight") else 0)).all(), key


@pytest.mark.parametrize("name", ["PSPHead", "ASPPHead", "SETRUPHead", "PIDHead"])
def test_a_second_init_weights_touches_no_more_than_in_the_stock_head(name):
    """mmengine initializes a module once and then warns; trained filters must not be lost where nothing else is."""
    stock, ffc = build(name), build(f"FFC{name}")
    for head in (stock, ffc):
        head.init_weights()
        for parameter in head.parameters():
            parameter.data.fill_(5)
        head.init_weights()
    if all((parameter == 5).all() for parameter in stock.parameters()):
        assert all((parameter == 5).all() for parameter in filter_parameters(ffc).values())
    else:  # heads with an init_weights of their own start over
        assert not any((parameter == 5).all() for parameter in filter_parameters(ffc).values())


NORMAL = dict(type="Normal", std=0.01, override=dict(name="conv_seg"))


@pytest.mark.parametrize("name", ["FFCPSPHead", "FFCASPPHead"])
@pytest.mark.parametrize(
    "init_cfg",
    [
        lambda pretrained: pretrained,
        lambda pretrained: [pretrained],
        lambda pretrained: [NORMAL, pretrained],
        lambda pretrained: dict(pretrained, type=PretrainedInit),
    ],
    ids=["dict", "list", "after Normal", "class"],
)
def test_pretrained_filters_are_kept(name, init_cfg, tmp_path):
    source = trained(build(name))
    state = {f"decode_head.{key}": value for key, value in source.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "head.pth")
    pretrained = dict(type="Pretrained", checkpoint=str(tmp_path / "head.pth"), prefix="decode_head.")
    head = build(name, init_cfg=init_cfg(pretrained))
    head.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(head.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["FFCPSPHead", "FFCASPPHead"])
def test_a_pretrained_stock_head_gets_filters_at_one_and_zero(name, tmp_path):
    source = build(name.removeprefix("FFC"))
    torch.save({f"decode_head.{key}": value + 1 for key, value in source.state_dict().items()}, tmp_path / "head.pth")
    head = build(name, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "head.pth"), prefix="decode_head."))
    head.init_weights()
    assert torch.equal(head.conv_seg.weight, source.conv_seg.weight + 1)
    for key, parameter in filter_parameters(head).items():
        assert (parameter == (1 if key.endswith("weight") else 0)).all(), key
