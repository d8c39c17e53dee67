"""The choice of test reductions for models with FFC classifiers of any framework, or without one."""

import pytest
import torch
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.method.reductions import choose_reductions, ffc_layers, reduced


def model(*reductions, num_filters=1):
    layers = [FFCLinear(4, 3, num_filters=num_filters, test_reduce=reduction) for reduction in reductions]
    return nn.Sequential(nn.ReLU(), *layers)


def test_layers_are_found_in_the_order_of_the_modules():
    found = nn.ModuleDict({"a": FFCConv2d(2, 2), "b": nn.Sequential(nn.Linear(2, 2), FFCLinear(2, 2))})
    assert ffc_layers(found) == [found["a"], found["b"][1]]
    assert ffc_layers(found["a"]) == [found["a"]] and ffc_layers(nn.ReLU()) == []


def test_without_a_wish_the_model_keeps_its_own():
    assert choose_reductions(model("mean", "mean")) == ["mean"]
    assert choose_reductions(nn.Linear(2, 2)) == ["stock"]
    assert choose_reductions(nn.Linear(2, 2), ["stock"]) == ["stock"]


def test_classifiers_that_differ_need_a_choice():
    with pytest.raises(ValueError, match=r"different reductions \(mean, vote\)"):
        choose_reductions(model("vote", "mean"))
    assert choose_reductions(model("vote", "mean"), ["out2"]) == ["out2"]


def test_names_come_once_and_all_means_every_one():
    assert choose_reductions(model("vote"), ["out3", "vote", "out3"]) == ["out3", "vote"]
    assert choose_reductions(model("vote"), ("all",)) == ["vote", "mean", "out1", "out2", "out3"]
    assert choose_reductions(model("vote"), ["vote", "all"]) == ["vote", "mean", "out1", "out2", "out3"]


def test_only_what_every_classifier_has_can_be_chosen():
    mixed = nn.Sequential(FFCLinear(4, 3, num_filters=3), FFCLinear(4, 3, num_filters=1))
    assert choose_reductions(mixed, ["all"]) == ["vote", "mean", "out1", "out2", "out3"]
    with pytest.raises(ValueError, match="'out7'"):
        choose_reductions(mixed, ["out7"])


@pytest.mark.parametrize("name", ["vote", "mean", "out1", "out2", "out3"])
def test_within_reduced_the_result_is_that_of_the_reduction(name):
    layer = FFCLinear(4, 3, num_filters=1, test_reduce="mean").eval()
    other = FFCLinear(4, 3, num_filters=1, test_reduce=name).eval()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(5, 4)
    with reduced(nn.Sequential(layer), name):
        assert torch.equal(layer(x), other(x))
    assert layer.test_reduce == "mean"


def test_an_error_within_reduced_restores_the_reductions():
    several = model("vote", "out2")
    with pytest.raises(KeyError), reduced(several, "mean"):
        raise KeyError
    assert [layer.test_reduce for layer in ffc_layers(several)] == ["vote", "out2"]


def test_stock_changes_nothing():
    several = model("vote", "out2")
    with reduced(several, "stock"):
        assert [layer.test_reduce for layer in ffc_layers(several)] == ["vote", "out2"]
