"""Where mmseg models start from: the hook that checks it, offline paths, and the conversion of MIT's ResNets."""

import hashlib
import logging
import os
import pickle

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from mmseg.models.backbones import ResNetV1c
from repository import ROOT

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.openmmlab.inputs import initial_weights
from ffc_dense.openmmlab.inputs.initial_weights import check_initial_weights
from ffc_dense.segmentation.commands import convert_toolbox_resnet

CONFIG = ROOT / "configs/cityscapes/pspnet-ffc_r18-d8_1xb2-4_mini-cityscapes-128x128_toolbox_instant_test.py"
KEY = "model.backbone.init_cfg.checkpoint"
convert = convert_toolbox_resnet.main


def backbone(**options):
    """That of CONFIG, with random numbers."""
    init_default_scope("mmseg")
    return ResNetV1c(
        depth=18, base_channels=32, stem_channels=32, dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), **options
    )


def weights_of(module):
    return {key: tensor for key, tensor in module.state_dict().items() if not key.endswith("num_batches_tracked")}


class Malicious:
    """Unpickling it writes the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# ---------------------------------------------------------------------------------------------------- the conversion


def mit_resnet101():
    """Keys and shapes of MIT's resnet101-imagenet.pth, written out from the architecture: stem 64-64-128, [3, 4, 23, 3]
    bottlenecks. The stem has random numbers, the rest is one repeated number: a file of a few kB.
    """
    found = {}

    def convolution(name, out, inputs, size):
        found[f"{name}.weight"] = torch.tensor(0.5).expand(out, inputs, size, size)

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{part}"] = torch.tensor(0.5).expand(channels)

    for i, (inputs, out) in enumerate([(3, 64), (64, 64), (64, 128)], 1):
        convolution(f"conv{i}", out, inputs, 3)
        norm(f"bn{i}", out)
    found = {key: torch.rand(tensor.shape) + 0.1 for key, tensor in found.items()}
    inputs = 128
    for stage, blocks in enumerate((3, 4, 23, 3), 1):
        width = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for i, (given, out, size) in enumerate([(inputs, width, 1), (width, width, 3), (width, 4 * width, 1)], 1):
                convolution(f"{name}.conv{i}", out, given, size)
                norm(f"{name}.bn{i}", out)
            if block == 0:
                convolution(f"{name}.downsample.0", 4 * width, inputs, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    found["fc.weight"], found["fc.bias"] = torch.zeros(1).expand(1000, 2048), torch.zeros(1000)
    return found


def test_converted_resnet_fits_the_toolbox_config_and_computes_the_same_stem(tmp_path, capsys):
    source = mit_resnet101()
    torch.save(source, tmp_path / "resnet101-imagenet.pth")
    output = tmp_path / "pretrained" / "resnet101_v1c_stem128.pth"
    convert([str(tmp_path / "resnet101-imagenet.pth"), str(output)])
    assert f"{hashlib.sha256(output.read_bytes()).hexdigest()}  {output}" in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == [output.name]

    model = ResNetV1c(depth=101, stem_channels=128)
    model.eval()
    check_initial_weights(model, str(output), None, KEY)
    load_checkpoint(model, str(output), "cpu", strict=True, logger="silent")
    x = torch.randn(1, 3, 32, 32)
    expected = x
    for i, stride in ((1, 2), (2, 1), (3, 1)):
        expected = F.conv2d(expected, source[f"conv{i}.weight"], stride=stride, padding=1)
        mean, variance = source[f"bn{i}.running_mean"], source[f"bn{i}.running_var"]
        expected = F.batch_norm(expected, mean, variance, source[f"bn{i}.weight"], source[f"bn{i}.bias"]).relu()
    torch.testing.assert_close(model.stem(x), expected)
    assert all((model.state_dict()[key] == 0.5).all() for key in source if key.startswith("layer"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda w: w.pop("bn3.running_var"), "lacks bn3.running_var (1 keys)"),
        (lambda w: w.update({"layer3.23.conv1.weight": torch.zeros(1)}), "layer3.23.conv1.weight"),
        (
            lambda w: w.update({"conv1.weight": torch.zeros(64, 3, 7, 7)}),
            "conv1.weight has the shape (64, 3, 7, 7), (64, 3, 3, 3) is needed",
        ),
        (lambda w: w.update({"epoch": 3}), "holds no dictionary of named tensors"),
        (lambda w: w.clear(), "lacks bn1.bias"),
    ],
)
def test_conversion_of_another_file_names_the_fault_and_writes_nothing(tmp_path, capsys, fault, message):
    source = mit_resnet101()
    fault(source)
    torch.save(source, tmp_path / "source.pth")
    with pytest.raises(SystemExit) as exit_status:
        convert([str(tmp_path / "source.pth"), str(tmp_path / "out.pth")])
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source.pth"]


def test_conversion_runs_no_code_and_needs_a_file(tmp_path, capsys):
    source = tmp_path / "source.pth"
    source.write_bytes(pickle.dumps({"conv1.weight": Malicious(tmp_path / "executed")}, protocol=2))
    for path, message in ((source, "no file of tensors alone"), (tmp_path / "absent.pth", "there is no file")):
        with pytest.raises(SystemExit) as exit_status:
            convert([str(path), str(tmp_path / "out.pth")])
        assert exit_status.value.code == 2 and message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source.pth"]


# ----------------------------------------------------------------------------------------------------------- the check


def test_complete_weights_pass_with_and_without_wrapping(tmp_path):
    module = backbone()
    weights = weights_of(module)
    plain = {**weights, "fc.weight": torch.zeros(2, 2)}
    whole = {"state_dict": {f"backbone.{key}": tensor for key, tensor in weights.items()}}
    parallel = {"state_dict": {f"module.{key}": tensor for key, tensor in weights.items()}}
    for content, prefix in ((plain, None), ({"state_dict": plain}, None), (whole, "backbone"), (whole, "backbone."),
                            (parallel, None), (parallel, "module")):  # fmt: skip
        torch.save(content, tmp_path / "weights.pth")
        check_initial_weights(module, str(tmp_path / "weights.pth"), prefix, KEY)


def test_a_wrapper_s_name_before_the_prefix_is_refused_as_by_mmengine_itself(tmp_path):
    module = backbone()
    state = {f"module.backbone.{key}": tensor for key, tensor in weights_of(module).items()}
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=f"{KEY}: .*lacks"):
        check_initial_weights(module, str(tmp_path / "weights.pth"), "backbone", KEY)
    check_initial_weights(module, str(tmp_path / "weights.pth"), "module.backbone", KEY)


def stem_of_64(path):
    torch.save({**weights_of(backbone()), "stem.6.weight": torch.zeros(64, 16, 3, 3)}, path)


def unconverted(path):
    torch.save(mit_resnet101(), path)


def truncated(path):
    torch.save(weights_of(backbone()), path)
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda path: None, FileNotFoundError, "there is no file"),
        (stem_of_64, ValueError, "stem.6.weight: (64, 16, 3, 3) in the file, (32, 16, 3, 3) needed"),
        (unconverted, ValueError, "tools/convert_toolbox_resnet.py"),
        (truncated, ValueError, "no checkpoint of tensors and plain values"),
        (lambda path: path.write_bytes(b""), ValueError, "no checkpoint of tensors and plain values"),
        (lambda path: torch.save(torch.zeros(3), path), ValueError, "holds no weights"),
        (lambda path: torch.save({"a": Malicious(path.with_name("executed"))}, path), ValueError, "it holds posix"),
    ],
    ids=["absent", "other shape", "unconverted", "truncated", "empty", "a tensor", "code"],
)
def test_unfit_weights_name_the_key_the_file_and_the_fault(tmp_path, write, error, message):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(error) as raised:
        check_initial_weights(backbone(), str(path), None, KEY)
    assert KEY in str(raised.value) and str(path) in str(raised.value) and message in str(raised.value)
    assert not (tmp_path / "executed").exists()


def test_a_file_whose_name_has_another_digest_is_reported(tmp_path, monkeypatch):
    module, said = backbone(), []
    monkeypatch.setattr(initial_weights, "print_log", lambda message, logger, level: said.append((message, level)))
    torch.save(weights_of(module), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    for name in (f"resnet18_v1c-{digest[:8]}.pth", "resnet18_v1c-20240101.pth", "resnet18_v1c-stem128.pth"):
        (tmp_path / name).write_bytes(content)
        check_initial_weights(module, str(tmp_path / name), None, KEY)
    ((message, level),) = said
    assert "resnet18_v1c-20240101.pth" in message and digest[:8] in message and level == logging.WARNING


def test_unknown_and_unreachable_remote_weights_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="knows no weights open-mmlab://resnet7"):
        check_initial_weights(backbone(), "open-mmlab://resnet7", None, KEY)
    with pytest.raises(FileNotFoundError) as raised:
        check_initial_weights(backbone(), "http://127.0.0.1:9/weights.pth", None, KEY)  # the port of no server
    assert str(tmp_path / "hub" / "checkpoints" / "weights.pth") in str(raised.value)


# -------------------------------------------------------------------------------------------------------- in a training


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Makes mmengine runners of CONFIG for one iteration, with some keys changed, in a folder with the mini dataset."""
    make_mini_cityscapes(tmp_path / "data" / "mini_cityscapes", 2, 1)
    monkeypatch.chdir(tmp_path)

    def make(name, **keys):
        cfg = Config.fromfile(CONFIG)
        cfg.merge_from_dict({"train_cfg.max_iters": 1, "train_cfg.val_interval": 2, "work_dir": name})
        cfg.merge_from_dict({"experiment_name": f"{tmp_path.name}_{name}", **keys})
        return Runner.from_cfg(cfg)

    return make


def test_training_starts_from_a_cached_open_mmlab_file_without_a_network(runner, tmp_path, monkeypatch):
    """And from a checkpoint of that training, tests without the file."""
    start = weights_of(backbone())
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(start, tmp_path / "start.pth")
    digest = hashlib.sha256((tmp_path / "start.pth").read_bytes()).hexdigest()[:8]
    cached = cache / f"resnet18_v1c-{digest}.pth"
    (tmp_path / "start.pth").rename(cached)
    (tmp_path / "open_mmlab.json").write_text(f'{{"resnet18_v1c": "http://127.0.0.1:9/{cached.name}"}}')
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    options = {"model.pretrained": "open-mmlab://resnet18_v1c", "optim_wrapper.optimizer.lr": 0}
    runner("train", **options).train()
    trained = torch.load("train/iter_1.pth", weights_only=False)["state_dict"]
    for key, tensor in start.items():
        if "running" not in key:  # the statistics move at any learning rate
            assert torch.equal(trained[f"backbone.{key}"], tensor), key

    cached.unlink()
    assert "mIoU" in runner("test", load_from="train/iter_1.pth", **options).test()


@pytest.mark.parametrize(
    ("option", "value", "names"),
    [
        ("model.pretrained", "pretrained/absent.pth", [KEY, "no file pretrained/absent.pth", "docs/how-to/weights.md"]),
        ("load_from", "absent.pth", ["load_from: there is no file absent.pth"]),
    ],
)
def test_training_without_its_weights_ends_before_the_first_iteration(runner, option, value, names):
    refused = runner("refused", **{option: value})
    with pytest.raises(FileNotFoundError) as raised:
        refused.train()
    assert all(name in str(raised.value) for name in names)
    assert refused.iter == 0


def test_a_checkpoint_of_another_depth_is_refused_and_one_of_other_classes_is_not(runner):
    state = {f"module.{name}": value for name, value in runner("source").model.state_dict().items()}
    other = {**state, "module.decode_head.conv_seg.weight": torch.zeros(3, 64, 1, 1)}
    torch.save({"state_dict": other}, "classes.pth")
    runner("classes", load_from="classes.pth").train()
    torch.save({"state_dict": {name: value for name, value in state.items() if ".layer4." not in name}}, "depth.pth")
    with pytest.raises(ValueError, match=r"load_from: depth\.pth lacks \d+ tensors \(layer4\.0\.conv1\.weight"):
        runner("refused", load_from="depth.pth").train()
