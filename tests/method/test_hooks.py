"""What asks a layer for several outputs runs its hooks: they may make the weight (pruning, weight_norm, sharding)."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from ffc_dense import FFCConv2d, FFCLinear


@pytest.mark.parametrize(("layer", "shape"), [(FFCLinear(6, 4), (9, 6)), (FFCConv2d(6, 4), (2, 6, 3, 5))])
@pytest.mark.parametrize("reduce", ["vote", "mean", "out3"])
def test_outputs_after_loading_are_those_of_the_pruned_layer(layer, shape, reduce):
    first = prune.random_unstructured(copy.deepcopy(layer).eval(), "weight", 0.5)
    second = prune.identity(copy.deepcopy(layer).eval(), "weight")
    first.test_reduce = second.test_reduce = reduce
    second.load_state_dict(first.state_dict())  # weight_orig and weight_mask: the hook makes weight of them
    x = torch.randn(shape)
    assert torch.equal(first.outputs(x), second.outputs(x))
    assert torch.equal(first(x), second(x))


def test_outputs_follow_the_parameters_that_a_pre_hook_reads():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old form of weight_norm, which works by a pre-hook, is deprecated
        layer = nn.utils.weight_norm(FFCLinear(6, 4).eval())
    x = torch.randn(5, 6)
    before = layer.outputs(x)
    with torch.no_grad():
        layer.weight_g.mul_(2)
    after = layer.outputs(x) - layer.bias
    torch.testing.assert_close(after, 2 * (before - layer.bias))


def test_a_pre_hook_that_changes_the_feature_changes_every_output():
    layer = FFCLinear(6, 4).eval()
    x = torch.randn(5, 6)
    expected = layer.outputs(x + 1)
    layer.register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    assert torch.equal(layer.outputs(x), expected)


def test_a_hook_that_drops_keyword_arguments_is_named_and_changes_no_vote():
    layer = FFCLinear(8, 3).eval()
    layer.register_forward_pre_hook(lambda module, args, kwargs: (args, {}), with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"drops keyword arguments .* got \(4, 3\), expected \(7, \.\.\.\)"):
        layer.outputs(torch.randn(4, 8))
