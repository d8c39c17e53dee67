"""Every FFC head of mmpretrain against its stock twin and against the literal outputs and vote."""

import copy
import pickle

import pytest
import torch

pytest.importorskip("mmpretrain")

from mmpretrain.models import heads
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead, MultiTaskHead, RegressionHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import ffc_dense.classification
from ffc_dense import FFCLinear
from ffc_dense.classification.model.heads import CLASSIFIES_BY_ONE_LINEAR_LAYER, LEFT_OUT

N, C, K = 6, 8, 4
STOCK = {  # options, the classifier's name, and its width
    "EfficientFormerClsHead": (dict(distillation=False), "head", C),
    "LinearClsHead": ({}, "fc", C),
    "StackedLinearClsHead": (dict(mid_channels=[10, 6], norm_cfg=dict(type="BN1d")), "layers.2.fc", 6),
    "VigClsHead": (dict(hidden_dim=12), "fc2", 12),
    "VisionTransformerClsHead": (dict(hidden_dim=10), "layers.head", 10),
}
every_head = pytest.mark.parametrize("name", STOCK)
either_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def build(name, **options):
    torch.manual_seed(0)
    stock = STOCK[name.removeprefix("FFC")][0]
    return MODELS.build(dict(type=name, num_classes=K, in_channels=C, **{**stock, **options}))


def features():
    torch.manual_seed(1)
    return (torch.randn(N, C),)


def samples(classes=K):
    torch.manual_seed(2)
    return [DataSample().set_gt_label(label) for label in torch.randint(classes, (N,))]


@torch.no_grad()
def trained(head):
    """Weights as if from training: with the initial ones the outputs hardly disagree."""
    torch.manual_seed(3)
    head.ffc_layer.weight.normal_()
    for norm in head.ffc_layer.filters:
        norm.weight.normal_(1, 0.7)
        norm.bias.normal_(0, 0.7)
    return head


def classified(head):
    """The feature that reaches the classifier."""
    return head.pre_logits(features())


# --- which heads there are --------------------------------------------------------------------------------------------


def test_every_classification_head_of_mmpretrain_is_supported_or_left_out():
    kinds = (ClsHead, MultiLabelClsHead, MultiTaskHead, RegressionHead)
    present = {
        name
        for name, kind in MODELS.module_dict.items()
        if isinstance(kind, type) and issubclass(kind, kinds) and kind.__module__.startswith(heads.__name__)
    }
    assert present == {*CLASSIFIES_BY_ONE_LINEAR_LAYER, *LEFT_OUT}
    assert set(STOCK) == set(CLASSIFIES_BY_ONE_LINEAR_LAYER)


@every_head
def test_a_head_is_registered_and_exported_under_ffc_and_its_name(name):
    head = getattr(ffc_dense.classification, f"FFC{name}")
    assert MODELS.get(f"FFC{name}") is head and issubclass(head, getattr(heads, name))
    assert f"FFC{name}" in ffc_dense.classification.__all__


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_head_that_is_left_out_says_why(name):
    with pytest.raises(TypeError, match=f"no FFC{name}.*{LEFT_OUT[name]}"):
        MODELS.build(dict(type=f"FFC{name}", in_channels=C, num_classes=K))


def test_a_head_with_two_classifiers_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match="two linear layers; set distillation=False"):
        build("FFCEfficientFormerClsHead", distillation=True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(test_reduce="median"), "'vote', 'mean'"),
        (dict(num_filters=-1), ">= 0"),
        (dict(interpolate="yes"), "True or False"),
        (dict(eps=1e-8), "at least 1e-05"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_lists_what_is_valid(option, message):
    with pytest.raises(ValueError, match=message):
        build("FFCLinearClsHead", **option)


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
    classifier, width = STOCK[name][1:]
    stock, ffc = build(name), build(f"FFC{name}", num_filters=2)
    added = {f"{classifier}.filters.{i}.{kind}" for i in range(2) for kind in ("weight", "bias")}
    result = ffc.load_state_dict(stock.state_dict(), strict=False)
    assert set(result.missing_keys) == added and result.unexpected_keys == []
    assert set(ffc.state_dict()) - set(stock.state_dict()) == added
    assert sum(p.numel() for p in ffc.parameters()) - sum(p.numel() for p in stock.parameters()) == 2 * 2 * width
    assert type(ffc.get_submodule(classifier)) is FFCLinear


@every_head
@either_mode
def test_without_filters_the_head_is_the_stock_head_to_the_bit(name, training):
    stock, ffc = build(name).train(training), build(f"FFC{name}", num_filters=0).train(training)
    assert torch.equal(ffc(features()), stock(features()))
    losses = [head.loss(features(), samples()) for head in (stock, ffc)]
    assert losses[0].keys() == losses[1].keys() and all(torch.equal(losses[0][k], losses[1][k]) for k in losses[0])
    if not training:
        for ours, theirs in zip(ffc.predict(features()), stock.predict(features()), strict=True):
            assert torch.equal(ours.pred_score, theirs.pred_score)


def test_init_weights_leaves_the_filters_alone():
    for init in (
        dict(type="Normal", layer=["Linear", "LayerNorm"], std=3.0),
        dict(type="Constant", layer="Linear", val=5),
    ):
        head = trained(build("FFCLinearClsHead", init_cfg=init, normalize_input=True))
        before = head.fc.weight.clone()
        head.init_weights()
        assert not torch.equal(head.fc.weight, before)
        for norm in (*head.fc.filters, head.fc.input_norm):
            assert (norm.weight == 1).all() and (norm.bias == 0).all()


def test_filters_that_a_checkpoint_brings_are_kept(tmp_path):
    source = trained(build("FFCLinearClsHead"))
    torch.save(source.state_dict(), tmp_path / "head.pth")
    head = build("FFCLinearClsHead", init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "head.pth")))
    head.init_weights()
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in head.state_dict().items())


def test_a_head_can_be_copied_and_pickled():
    head = trained(build("FFCVisionTransformerClsHead")).eval()
    expected = head(features())
    assert torch.equal(copy.deepcopy(head)(features()), expected)
    assert torch.equal(pickle.loads(pickle.dumps(head))(features()), expected)


# --- training and testing ---------------------------------------------------------------------------------------------


@every_head
def test_in_training_the_loss_is_that_of_the_mean_of_the_literal_outputs(name, literal):
    head = trained(build(f"FFC{name}"))
    torch.testing.assert_close(head(features()), literal.mean(head.ffc_layer, classified(head)), rtol=1e-4, atol=1e-4)
    head.loss(features(), samples())["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.ffc_layer.parameters())


@every_head
@torch.no_grad()
def test_in_testing_the_literal_vote_decides(name, literal):
    head = trained(build(f"FFC{name}")).eval()
    outputs = torch.stack(literal.outputs(head.ffc_layer, classified(head)))
    torch.testing.assert_close(head.outputs(features()), outputs, rtol=1e-4, atol=1e-4)
    winners = [literal.winners(ballot)[0] for ballot in literal.samples(outputs, 2)]
    expected = torch.stack([outputs[m, n] for n, m in enumerate(winners)])
    torch.testing.assert_close(head(features()), expected, rtol=1e-4, atol=1e-4)
    for n, sample in enumerate(head.predict(features(), samples())):
        assert sample.pred_label.item() == expected[n].argmax()
        torch.testing.assert_close(sample.pred_score, expected[n].softmax(0), rtol=1e-4, atol=1e-4)
    assert len(set(winners)) > 1 and not torch.equal(expected.argmax(1), outputs[0].argmax(1))


@torch.no_grad()
def test_every_reduction_can_be_chosen_in_the_config_and_later(literal):
    outputs = trained(build("FFCLinearClsHead")).outputs(features())
    expected = {"mean": outputs.mean(0), "out3": outputs[2], "out7": outputs[6]}
    for name, logits in expected.items():
        for head in (build("FFCLinearClsHead", test_reduce=name), build("FFCLinearClsHead")):
            head.test_reduce = name
            assert head.fc.test_reduce == head.test_reduce == name
            torch.testing.assert_close(trained(head).eval()(features()), logits)
