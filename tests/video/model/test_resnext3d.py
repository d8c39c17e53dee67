"""The 3D ResNeXt: parameters, names and arithmetic of the MARS code's."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmpretrain")

from ffc_dense.video import ResNeXt3D

GOLDEN = Path(__file__).parent / "resnext3d_golden.json"
SMALL = dict(blocks=(1, 2, 1, 1), planes=(32, 64, 64, 64), cardinality=2)


def filled(network):
    """Parameters and statistics that depend on no random generator: sin(0), sin(1), ... scaled."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            wave = torch.arange(value.numel(), dtype=torch.float64).sin().view(value.shape)
            small = wave / max(1, value[0].numel()) ** 0.5 if value.dim() > 1 else 0.3 * wave
            value.copy_(1 + small if name.endswith(("bn1.weight", "running_var")) else small.abs() + 0.1
                        if "var" in name or (value.dim() == 1 and "weight" in name) else small)  # fmt: skip
    return network.eval()


def literal(state, x, blocks, cardinality):
    """The forward of ``models/resnext.py`` of MARS from a state dict, line by line."""

    def bn(x, name):
        shape = (1, -1, 1, 1, 1)
        mean, var = state[f"{name}.running_mean"].view(shape), state[f"{name}.running_var"].view(shape)
        return (x - mean) / (var + 1e-5).sqrt() * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(
            shape
        )

    x = F.conv3d(x, state["conv1.weight"], stride=(1, 2, 2), padding=3)
    x = F.max_pool3d(bn(x, "bn1").clamp(min=0), kernel_size=(3, 3, 3), stride=2, padding=1)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = bn(F.conv3d(x, state[f"{name}.conv1.weight"]), f"{name}.bn1").clamp(min=0)
            groups = zip(y.chunk(cardinality, 1), state[f"{name}.conv2.weight"].chunk(cardinality, 0), strict=True)
            y = torch.cat([F.conv3d(part, weight, stride=stride, padding=1) for part, weight in groups], 1)
            y = bn(F.conv3d(bn(y, f"{name}.bn2").clamp(min=0), state[f"{name}.conv3.weight"]), f"{name}.bn3")
            if f"{name}.downsample.0.weight" in state:
                x = bn(F.conv3d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            x = (y + x).clamp(min=0)
    return x


@pytest.mark.parametrize(("channels", "parameters"), [(3, 47_625_715), (2, 47_603_763)])
def test_it_has_the_parameters_and_keys_of_mars_at_51_classes(channels, parameters):
    with torch.device("meta"):
        network = ResNeXt3D(channels)
    keys = list(network.state_dict())
    assert sum(each.numel() for each in network.parameters()) + 2048 * 51 + 51 == parameters
    assert len(keys) == 624 and keys[:2] == ["conv1.weight", "bn1.weight"]
    assert "layer3.22.bn3.num_batches_tracked" in keys and "layer1.0.downsample.1.weight" in keys


def test_its_map_is_that_of_the_literal_form_and_of_the_golden_file():
    network = filled(ResNeXt3D(2, **SMALL)).double()
    x = torch.arange(2 * 2 * 9 * 20 * 24, dtype=torch.float64).pow(1.5).sin().view(2, 2, 9, 20, 24)
    with torch.no_grad():
        (found,) = network(x)
        torch.testing.assert_close(found, literal(network.state_dict(), x, SMALL["blocks"], 2), rtol=1e-9, atol=1e-12)
    golden = torch.tensor(json.loads(GOLDEN.read_text()), dtype=torch.float64)
    torch.testing.assert_close(found.mean((2, 3, 4))[:, ::16], golden, rtol=1e-6, atol=1e-9)


def test_a_published_checkpoint_loads_but_for_its_classifier(tmp_path):
    torch.manual_seed(0)
    source = ResNeXt3D(3, **SMALL)
    source.init_weights()
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    state |= {"module.fc.weight": torch.zeros(400, 128), "module.fc.bias": torch.zeros(400)}
    torch.save({"epoch": 1, "arch": "resnext-101", "state_dict": state, "optimizer": {}}, tmp_path / "kinetics.pth")
    pretrained = dict(type="Pretrained", checkpoint=str(tmp_path / "kinetics.pth"), prefix="module")
    target = ResNeXt3D(3, **SMALL, init_cfg=pretrained)
    target.init_weights()
    for name, value in target.state_dict().items():
        assert torch.equal(value, state[f"module.{name}"]), name


def test_frozen_stages_keep_their_parameters_and_follow_the_batches():
    network = ResNeXt3D(3, **SMALL, frozen_stages=3).train()
    trained = {name.split(".")[0] for name, value in network.named_parameters() if value.requires_grad}
    assert trained == {"layer4"}
    before = network.bn1.running_mean.clone()
    network(torch.randn(2, 3, 4, 16, 16))
    assert not torch.equal(before, network.bn1.running_mean)


@pytest.mark.parametrize(("wrong", "message"), [
    (dict(planes=(32, 40, 64, 64)), "planes: expected multiples of 32"),
    (dict(blocks=(1, 1)), "blocks and planes: one number"),
    (dict(frozen_stages=5), "frozen_stages: expected -1 to 4, got 5"),
])  # fmt: skip
def test_a_wrong_argument_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        ResNeXt3D(3, **{**SMALL, **wrong})
