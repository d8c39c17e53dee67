"""LoRA and its kind around an FFC layer: refused where merging would change the network; what is offered works."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from ffc_dense import FFCConv2d, FFCLinear, attach


class Wrapper(nn.Module):
    """What PEFT's modules do: hold the layer, and add to its result what they make of its input."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A, self.lora_B = (nn.Parameter(torch.randn(size)) for size in ((2, 8), (3, 2)))

    def forward(self, x):
        return self.base_layer(x) + x @ self.lora_A.T @ self.lora_B.T

    def merged(self):
        with torch.no_grad():
            self.base_layer.weight += self.lora_B @ self.lora_A
        return self.base_layer


class Update(nn.Module):
    """The same update inside the weight."""

    def __init__(self):
        super().__init__()
        self.lora_A, self.lora_B = (nn.Parameter(torch.randn(size)) for size in ((2, 8), (3, 2)))

    def forward(self, weight):
        return weight + (self.lora_B @ self.lora_A).view(weight.shape)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.body, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), FFCLinear(8, 5)

    def forward(self, x):
        return self.fc(self.body(self.conv(x).mean((2, 3))))


@pytest.mark.parametrize(
    "layer", [FFCLinear(8, 3), FFCConv2d(8, 3), FFCLinear(8, 3, num_filters=0, normalize_input=True)]
)
def test_an_adapter_around_a_layer_that_filters_is_refused_with_what_works(layer):
    with pytest.raises(TypeError, match=rf"Wrapper around an {type(layer).__name__}.*modules_to_save.*parametrize"):
        Wrapper(layer)


@pytest.mark.parametrize("layer", [nn.Linear(8, 3), FFCLinear(8, 3, num_filters=0)])
def test_an_adapter_around_a_stock_layer_merges_as_it_was(layer):
    wrapper, x = Wrapper(layer.eval()), torch.randn(4, 8)
    expected = wrapper(x)
    torch.testing.assert_close(wrapper.merged()(x), expected)


@pytest.mark.parametrize("reduce", ["vote", "mean"])
@pytest.mark.parametrize(("kind", "shape"), [(FFCLinear, (6, 8)), (FFCConv2d, (2, 8, 3, 4))])
def test_an_update_inside_the_weight_merges_as_it_was(kind, shape, reduce):
    layer, x = kind(8, 3, test_reduce=reduce).eval(), torch.randn(shape)
    before = layer(x)
    parametrize.register_parametrization(layer, "weight", Update())
    expected, outputs = layer(x), layer.outputs(x)
    assert not torch.allclose(expected, before)
    parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(layer(x), expected) and torch.equal(layer.outputs(x), outputs)


def test_attach_names_an_adapter_and_offers_nothing_within_one():
    model = nn.ModuleDict({"fc": Wrapper(nn.Linear(8, 3)), "free": nn.Linear(8, 3)})
    with pytest.raises(ValueError, match=r"'fc' is a .*Wrapper, not an nn\.Linear.*Candidates: free$"):
        attach(model, "fc")
    with pytest.raises(ValueError, match=r"inside an adapter.*Candidates: free$"):
        attach(model, "fc.base_layer")


@pytest.mark.parametrize("targets", [["fc"], "all-linear"])
def test_peft_is_refused_at_the_classifier(targets):
    peft = pytest.importorskip("peft")
    with pytest.raises(TypeError, match=r"peft\.tuners\.lora\S+ around an FFCLinear"):
        peft.get_peft_model(Net(), peft.LoraConfig(target_modules=targets))


def test_peft_elsewhere_trains_the_whole_classifier_and_merges_as_it_was():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules="all-linear", exclude_modules=["fc"], modules_to_save=["fc"])
    net, x = peft.get_peft_model(Net(), config), torch.randn(4, 3, 8, 8)
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert sum("fc.modules_to_save" in name for name in trained) == 8 and any("lora_A" in name for name in trained)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in trained:
                p.normal_()
    expected = net.eval()(x)
    merged = net.merge_and_unload()
    assert type(merged.fc) is FFCLinear
    torch.testing.assert_close(merged(x), expected)
