"""attach(): the classifier of any model, swapped by name."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from ffc_dense import FFCConv2d, FFCLinear, attach

torchvision = pytest.importorskip("torchvision")
FILTER_KEYS = {f"filters.{i}.{name}" for i in range(3) for name in ("weight", "bias")}


class ScaledLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class SameLinear(nn.Linear):
    """As timm's: the same mathematics in other words."""

    def forward(self, input):
        return (self.weight @ input.unsqueeze(-1)).squeeze(-1) + (0 if self.bias is None else self.bias)


class SameConv(nn.Conv2d):
    """As detectron2's and mmcv's: something before, and something after if it is asked for."""

    norm = None

    def forward(self, x):
        x = nn.functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return x if self.norm is None else self.norm(x)


class PaddedConv(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(input, weight - weight.mean(), bias)


class DroppingLinear(nn.Linear):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class ClampedLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x.clamp(-100, 100))


class LowRankLinear(nn.Linear):
    """As loralib's: its own update starts at zero."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.update = nn.Parameter(torch.zeros(sizes[::-1]))

    def forward(self, x):
        return super().forward(x) + x @ self.update.T


class FailingLinear(nn.Linear):
    def forward(self, x):
        raise RuntimeError("not like this")


def normed_conv():
    layer = SameConv(8, 3, 1)
    layer.norm = nn.BatchNorm2d(3)
    return layer


class TwoNames(nn.Module):
    """One classifier under two names, inside a block that has two names itself."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))
        self.classifier = self.head[1]
        self.same_head = self.head

    def forward(self, x):
        return self.head(x) + self.classifier(x) + self.same_head(x)


def small_model():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 3)))


def size(model):
    return sum(p.numel() for p in model.parameters())


# Real models


@pytest.mark.parametrize(
    ("name", "features", "before", "after"),
    [("resnet18", 512, "11.690M", "11.693M"), ("resnet50", 2048, "25.557M", "25.569M"),
     ("resnet101", 2048, "44.549M", "44.561M")],
)  # fmt: skip
def test_parameter_counts_are_those_of_the_paper(name, features, before, after):
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    stock = size(model)
    assert f"{stock / 1e6:.3f}M" == before
    assert size(attach(model, "fc")) == stock + 6 * features
    assert f"{size(model) / 1e6:.3f}M" == after


def test_resnet_classifies_and_trains():
    model = attach(torchvision.models.resnet18(num_classes=4), "fc")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(torch.randn(2, 3, 32, 32)), torch.tensor([1, 3])).backward()
    before = {name: p.detach().clone() for name, p in model.fc.named_parameters()}
    optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in model.fc.named_parameters())
    assert model.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 4)


def test_stock_checkpoint_loads_with_only_filters_missing():
    stock = torchvision.models.resnet18(num_classes=4)
    model = attach(torchvision.models.resnet18(num_classes=4), "fc")
    keys = model.load_state_dict(stock.state_dict(), strict=False)
    assert set(keys.missing_keys) == {f"fc.{key}" for key in FILTER_KEYS} and keys.unexpected_keys == []
    x = torch.randn(2, 3, 32, 32)
    features = nn.Sequential(*list(stock.eval().children())[:-1])(x).flatten(1)
    assert torch.equal(model.eval().fc.outputs(features)[0], stock(x))


@pytest.mark.filterwarnings("ignore")
def test_faster_rcnn_trains_a_step_and_predicts():
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=5, min_size=64, max_size=64, box_score_thresh=0.0,
        rpn_pre_nms_top_n_train=50, rpn_post_nms_top_n_train=20, rpn_post_nms_top_n_test=20,
    )  # fmt: skip
    regression = model.roi_heads.box_predictor.bbox_pred
    attach(model, "roi_heads.box_predictor.cls_score")
    classifier = model.roi_heads.box_predictor.cls_score
    assert type(classifier) is FFCLinear and model.roi_heads.box_predictor.bbox_pred is regression

    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([2])}
    losses = model([torch.rand(3, 64, 64)], [target])
    assert "loss_classifier" in losses and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.any() for p in classifier.parameters())
    torch.optim.SGD(model.parameters(), lr=1e-4).step()

    with torch.no_grad():
        (detections,) = model.eval()([torch.rand(3, 64, 64)])
    assert len(detections["scores"]) == len(detections["boxes"]) > 0
    assert detections["scores"].isfinite().all()


def test_deeplabv3_segments_and_trains():
    model = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    )
    attach(model, "classifier.4")
    assert type(model.classifier[4]) is FFCConv2d
    x = torch.randn(2, 3, 32, 32)
    nn.functional.cross_entropy(model(x)["out"], torch.randint(4, (2, 32, 32))).backward()
    assert all(p.grad.any() for p in model.classifier[4].parameters())
    assert model.eval()(x)["out"].shape == (2, 4, 32, 32)


# What the swap keeps


def test_model_is_changed_in_place_and_returned():
    model = small_model()
    others = [model[0], model[1], model[2]]
    assert attach(model, "2.0", num_filters=2, interpolate=False, test_reduce="mean", eps=1e-3) is model
    assert [model[0], model[1], model[2]] == others
    layer = model[2][0]
    assert type(layer) is FFCLinear
    assert (layer.num_filters, layer.interpolate, layer.test_reduce, layer.filters[0].eps) == (2, False, "mean", 1e-3)


def test_zero_filters_change_nothing():
    model = small_model()
    x = torch.randn(4, 8)
    expected = model(x)
    names = list(model.state_dict())
    attach(model, "2.0", num_filters=0)
    assert torch.equal(model(x), expected) and list(model.state_dict()) == names


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_parameters_dtype_mode_and_frozen_state_are_kept(dtype, training):
    model = small_model().to(dtype).train(training).requires_grad_(False)
    before = dict(model.named_parameters())
    attach(model, "2.0")
    after = dict(model.named_parameters())
    assert all(after[name] is p and not p.requires_grad for name, p in before.items())
    assert {p.dtype for p in after.values()} == {dtype}
    assert all(module.training == training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("kind", "arguments"), [(SameLinear, (8, 3)), (SameConv, (8, 3, 1, 1, "same"))])
def test_a_subclass_with_the_same_mathematics_is_replaced(kind, arguments, bias, device, training):
    layer = kind(*arguments, bias=bias, device=device, dtype=torch.bfloat16).train(training)
    model, before = nn.Sequential(layer), torch.get_rng_state()
    attach(model, "0")
    assert type(model[0]) is (FFCLinear if kind is SameLinear else FFCConv2d)
    assert model[0].weight is layer.weight and model[0].bias is layer.bias and model[0].training == training
    assert layer.training == training and torch.equal(torch.get_rng_state(), before)


def test_the_wrappers_of_detectron2_and_mmcv_are_replaced_unless_they_do_more():
    layers = pytest.importorskip("detectron2.layers")
    wrappers = pytest.importorskip("mmcv.cnn.bricks.wrappers")
    for plain in (layers.Conv2d(8, 3, 1), wrappers.Conv2d(8, 3, 1), wrappers.Linear(8, 3)):
        attach(nn.Sequential(plain), "0")
    for more in (layers.Conv2d(8, 3, 1, norm=nn.BatchNorm2d(3)), layers.Conv2d(8, 3, 1, activation=nn.functional.relu)):
        with pytest.raises(ValueError, match=r"more than weight and bias|computes something else"):
            attach(nn.Sequential(more), "0")


def test_the_classifier_of_timm_is_replaced():
    timm = pytest.importorskip("timm")
    model = timm.create_model("mobilenetv3_small_050", num_classes=4)
    assert type(attach(model, "classifier").classifier) is FFCLinear


@pytest.mark.parametrize("name", ["head.1", "classifier", "same_head.1"])
def test_every_alias_is_replaced(name):
    model = attach(TwoNames(), name)
    assert type(model.classifier) is FFCLinear
    assert model.classifier is model.head[1] is model.same_head[1]
    assert not any(type(module) is nn.Linear for module in model.modules())


def test_tied_weight_stays_tied():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 8), "decoder": nn.Linear(8, 3, bias=False)})
    model["decoder"].weight = model["embedding"].weight
    attach(model, "decoder")
    assert model["decoder"].weight is model["embedding"].weight
    model["decoder"](torch.randn(4, 8)).sum().backward()
    assert model["embedding"].weight.grad.any()


def test_no_random_number_is_drawn():
    model = small_model()
    before = torch.get_rng_state()
    attach(model, "2.0")
    assert torch.equal(torch.get_rng_state(), before)


def test_existing_optimizer_still_owns_the_classifier():
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(model, "2.0")
    before = model[2][0].weight.detach().clone()
    model(torch.randn(4, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[2][0].weight, before)


def test_attached_model_can_be_copied():
    model = attach(TwoNames(), "classifier").eval()
    other = copy.deepcopy(model)
    x = torch.randn(4, 8)
    assert torch.equal(other(x), model(x)) and other.classifier is other.head[1] is not model.classifier


# What is refused


def with_own_forward(layer):
    layer.forward = lambda x: x  # as accelerate does
    return layer


def with_hook(layer):
    layer.register_forward_hook(lambda module, inputs, output: None)
    return layer


@pytest.mark.parametrize("name", ["3", "fc", "", "2.0.weight", "2.", ".2", "2..0"])
def test_missing_name_lists_the_candidates(name):
    with pytest.raises(ValueError, match=r"Candidates.*: 0, 2\.0$") as error:
        attach(small_model(), name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(("name", "kind"), [("1", "ReLU"), ("2", "Sequential")])
def test_layer_that_is_no_classifier_lists_the_candidates(name, kind):
    with pytest.raises(ValueError, match=rf"{kind}.*Candidates.*: 0, 2\.0$"):
        attach(small_model(), name)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(8, 3, 3), "kernel_size"),
        (nn.Conv2d(8, 4, 1, groups=2), "groups"),
        (nn.Conv2d(8, 3, 1, stride=2), "stride"),
        (nn.Conv2d(8, 3, 1, padding=1), "padding"),
        (nn.Conv1d(8, 3, 1), "Conv1d"),
        (FFCLinear(8, 3), "already"),
        (FFCConv2d(8, 3), "already"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)), "parametrized"),
        (nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 3, 1)), "parametrized"),
        (nn.LazyLinear(3), "no shape"),
        (nn.LazyConv2d(3, 1), "no shape"),
        (ScaledLinear(8, 3), "ScaledLinear"),
        (nn.MultiheadAttention(8, 2).out_proj, "MultiheadAttention"),
        (prune.l1_unstructured(nn.Linear(8, 3), "bias", 1), "pruned"),
        (with_own_forward(nn.Linear(8, 3)), "forward of this Linear was replaced"),
        (PaddedConv(8, 3, 1), "computes something else"),
        (DroppingLinear(8, 3), "computes something else"),
        (ClampedLinear(8, 3), "computes something else"),
        (LowRankLinear(8, 3), "more than weight and bias .update."),
        (FailingLinear(8, 3), "not like this"),
        (normed_conv(), "more than weight and bias .norm."),
        (with_hook(nn.Linear(8, 3)), "hooks"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)
def test_layer_that_cannot_be_replaced_is_refused_with_a_reason(layer, reason):
    model = nn.ModuleDict({"good": nn.Linear(8, 3), "bad": layer})
    with pytest.raises(ValueError, match=rf"(?s){reason}.*Candidates: good$"):
        attach(model, "bad")
    assert model["bad"] is layer


def test_model_without_a_classifier_says_so():
    with pytest.raises(ValueError, match=r"no nn\.Linear or 1x1 nn\.Conv2d"):
        attach(nn.Sequential(nn.ReLU()), "fc")


def test_candidates_of_a_large_model_end_with_the_classifier():
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    with pytest.raises(ValueError, match=r"the last \d+ of \d+\): .*, fc$"):
        attach(model, "head")


@pytest.mark.parametrize("option", [{"num_filters": -1}, {"test_reduce": "max"}, {"eps": 1e-12}, {"interpolate": 1}])
def test_wrong_option_leaves_the_model_as_it_was(option):
    model = small_model()
    (name,) = option
    with pytest.raises(ValueError, match=name):
        attach(model, "2.0", **option)
    assert type(model[2][0]) is nn.Linear
