"""Initial weights on detectron2: the formats that docs/how-to/weights.md names load, a missing file is an error."""

import hashlib
import os
import pickle

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.engine import default_argument_parser
from detectron2.modeling import build_model
from repository import ROOT
from small_detector import small_cfg
from tools_in_process import tool
from torchvision.models import resnet50

from ffc_dense.detection import add_ffc_config
from ffc_dense.detection.commands import convert_torchvision_resnet
from ffc_dense.detection.inputs.startup import check_amp, check_weights, choose_device
from ffc_dense.errors import UserError

R_50 = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
PREDICTOR = "roi_heads.box_predictor"
FILTERS = {f"{PREDICTOR}.cls_score.filters.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")}
NEW_LAYERS = {f"{PREDICTOR}.{layer}.{kind}" for layer in ("cls_score", "bbox_pred") for kind in ("weight", "bias")}


class Recorder(DetectionCheckpointer):
    def _load_model(self, checkpoint):
        self.found = super()._load_model(checkpoint)
        return self.found


def c4_model(heads, *opts):
    """A C4 detector with R-50's layers and few channels, and frozen normalisation as the MSRA weights need it."""
    return build_model(small_cfg(heads, "MODEL.RESNETS.NORM", "FrozenBN", *opts))


NORM_PARTS = {  # in detectron2's own R-50.pkl, and in Detectron's, whose norms are fused into scale and shift
    "detectron2": {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"},
    "detectron": {"weight": "s", "bias": "b"},
}


def caffe2_name(key, parts):
    """'backbone.res2.0.conv1.norm.weight' -> 'res2_0_branch2a_bn_gamma'."""
    key = key.removeprefix("backbone.").removeprefix("roi_heads.")
    branches = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c", "shortcut": "branch1"}
    *layer, kind = key.split(".")
    is_norm = layer[-1] == "norm"
    if layer[0] == "stem":
        name = "res_conv1" if is_norm else "conv1"
    else:
        name = f"{layer[0]}_{layer[1]}_{branches[layer[2]]}"
    return f"{name}_bn_{parts[kind]}" if is_norm else f"{name}_w"


@pytest.mark.parametrize("origin", NORM_PARTS)
def test_a_caffe2_pickle_fills_the_resnet_and_leaves_the_new_layers(tmp_path, origin):
    model, parts = c4_model("FFCRes5ROIHeads", "MODEL.RESNETS.RES2_OUT_CHANNELS", 32), NORM_PARTS[origin]
    resnet = [key for key in model.state_dict() if key.startswith(("backbone.stem", "backbone.res", "roi_heads.res5"))]
    source = {
        key: torch.randn_like(model.state_dict()[key])
        for key in resnet
        if ".norm." not in key or key.rsplit(".")[-1] in parts
    }
    names = {caffe2_name(key, parts): tensor.numpy() for key, tensor in source.items()}
    assert len(names) == len(source) == 53 * (1 + len(parts))  # ResNet-50: 53 convolutions, each with a norm
    assert {"conv1_w", "res2_0_branch1_w", "res5_2_branch2c_w", f"res4_5_branch2b_bn_{parts['bias']}"} <= set(names)
    assert f"res_conv1_bn_{parts['weight']}" in names
    with open(tmp_path / "R-50.pkl", "wb") as file:
        pickle.dump({**names, "fc1000_w": torch.randn(1000, 128).numpy()}, file)

    checkpointer = Recorder(model)
    checkpointer.load(str(tmp_path / "R-50.pkl"))
    state = model.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in source.items())
    missing = set(checkpointer.found.missing_keys)
    assert {key for key in missing if PREDICTOR in key} == FILTERS | NEW_LAYERS
    assert all(key.startswith(("proposal_generator.", PREDICTOR)) for key in missing)
    assert checkpointer.found.unexpected_keys == ["fc1000.weight"] and not checkpointer.found.incorrect_shapes


def test_a_trained_stock_checkpoint_warm_starts_ffc_with_the_filters_missing(tmp_path):
    stock, ffc = c4_model("Res5ROIHeads"), c4_model("FFCRes5ROIHeads")
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter)
    torch.save({"model": stock.state_dict(), "iteration": 9}, tmp_path / "model_final.pth")
    checkpointer = Recorder(ffc)
    checkpointer.load(str(tmp_path / "model_final.pth"), checkpointables=[])
    assert set(checkpointer.found.missing_keys) == FILTERS
    assert not checkpointer.found.unexpected_keys and not checkpointer.found.incorrect_shapes
    state = ffc.state_dict()
    assert all(torch.equal(state[key], value) for key, value in stock.state_dict().items())


def convert(source, target):
    convert_torchvision_resnet.main([str(source), str(target)])


def test_converted_torchvision_weights_give_torchvisions_features(tmp_path, capsys):
    theirs = resnet50().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "raw.pth")
    digest = hashlib.sha256((tmp_path / "raw.pth").read_bytes()).hexdigest()
    (tmp_path / "raw.pth").rename(tmp_path / f"resnet50-{digest[:8]}.pth")
    convert(tmp_path / f"resnet50-{digest[:8]}.pth", tmp_path / "R-50.pth")
    assert digest in capsys.readouterr().out

    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "coco" / "faster_rcnn_R_50_C4_paper_ffc.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.RESNETS.STRIDE_IN_1X1", False])
    model = build_model(cfg).eval()
    checkpointer = Recorder(model)
    checkpointer.load(str(tmp_path / "R-50.pth"))
    assert all(key.startswith(("proposal_generator.", PREDICTOR)) for key in checkpointer.found.missing_keys)
    assert not checkpointer.found.unexpected_keys and not checkpointer.found.incorrect_shapes
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        feature = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        res4 = theirs.layer3(theirs.layer2(theirs.layer1(feature)))
        torch.testing.assert_close(model.backbone(image)["res4"], res4, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.roi_heads.res5(res4), theirs.layer4(res4), rtol=1e-4, atol=1e-4)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_the_converter_refuses_other_files_and_runs_none_of_their_code(tmp_path, capsys):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save({"conv1.weight": Malicious(str(tmp_path / "owned"))}, tmp_path / "evil.pth")
    torch.save({}, tmp_path / "resnet50-00000000.pth")
    for name, fault in (
        ("gone.pth", "not there"),
        ("other.pth", "layer1.0.conv1.weight"),
        ("evil.pth", "no file of tensors alone"),
        ("resnet50-00000000.pth", "its name says 00000000"),
    ):
        with pytest.raises(SystemExit, match=r"^2$"):
            convert(tmp_path / name, tmp_path / "out.pth")
        assert fault in capsys.readouterr().err
    assert not (tmp_path / "out.pth").exists() and not (tmp_path / "owned").exists()
    with pytest.raises(SystemExit, match=r"^2$"):
        convert(tmp_path / "other.pth", tmp_path / "out.pkl")
    assert "name a .pth file" in capsys.readouterr().err


def test_a_missing_file_names_key_path_and_remedy(tmp_path):
    for path, fault in ((tmp_path / "gone.pkl", "not there"), (tmp_path, "a folder, not a file")):
        with pytest.raises(FileNotFoundError, match=f"^MODEL.WEIGHTS: {path} is {fault} .*docs/how-to/weights.md"):
            check_weights(str(path), "MODEL.WEIGHTS")
    with pytest.raises(FileNotFoundError, match=r"^nothing to evaluate: name a checkpoint in train"):
        check_weights("", "train.init_checkpoint", needed=True)


def test_weights_that_are_there_or_not_needed_pass(tmp_path):
    (tmp_path / "R-50.pth").touch()
    check_weights("", "MODEL.WEIGHTS")
    check_weights(str(tmp_path / "R-50.pth"), "MODEL.WEIGHTS")
    check_weights(f"{tmp_path}/R-50.pth?matching_heuristics=True", "MODEL.WEIGHTS")
    with pytest.raises(FileNotFoundError):  # nothing to resume from: the weights are needed
        check_weights("gone.pkl", "MODEL.WEIGHTS", output_dir=str(tmp_path), resume=True)
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    check_weights("gone.pkl", "MODEL.WEIGHTS", output_dir=str(tmp_path), resume=True, needed=True)
    with pytest.raises(FileNotFoundError):
        check_weights("gone.pkl", "MODEL.WEIGHTS", output_dir=str(tmp_path))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # refuses connections at once
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_failed_download_names_key_address_and_remedy(no_network):
    url = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    with pytest.raises(OSError, match=f"^MODEL.WEIGHTS: {R_50} could not be fetched from {url} .*set MODEL.WEIGHTS to"):
        check_weights(R_50, "MODEL.WEIGHTS")
    with pytest.raises(OSError, match=r"^MODEL.WEIGHTS: catalog://ImageNetPretrained/R-5 could not be fetched"):
        check_weights("catalog://ImageNetPretrained/R-5", "MODEL.WEIGHTS")


def test_a_file_in_detectron2s_cache_needs_no_network(no_network):
    cached = no_network / "detectron2" / "ImageNetPretrained" / "MSRA"
    cached.mkdir(parents=True)
    (cached / "R-50.pkl").touch()
    check_weights(R_50, "MODEL.WEIGHTS")


@pytest.mark.parametrize(
    ("script", "config", "key", "override"),
    [
        ("train_net", "faster_rcnn_R_50_C4_paper_ffc.yaml", "MODEL.WEIGHTS", ["MODEL.WEIGHTS", "gone.pkl"]),
        (
            "lazyconfig_train_net",
            "faster_rcnn_R_50_FPN_1x_ffc.py",
            "train.init_checkpoint",
            ["train.init_checkpoint=gone.pkl"],
        ),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--eval-only"], ["--resume"]], ids=["train", "eval", "resume"])
def test_a_run_stops_before_it_reads_data_or_writes(tmp_path, monkeypatch, script, config, key, override, flags):
    monkeypatch.chdir(tmp_path)
    command = ["--config-file", str(ROOT / "configs" / "coco" / config), *flags, *override]
    with pytest.raises(UserError, match=f"^{key}: gone.pkl is not there"):
        tool(script).main(default_argument_parser().parse_args(command))
    assert list(tmp_path.iterdir()) == []


def test_mixed_precision_is_refused_where_detectron2_has_none():
    check_amp(False, "SOLVER.AMP.ENABLED", "cpu")
    with pytest.raises(ValueError, match=r"^SOLVER.AMP.ENABLED: .* on CUDA only, this run is on 'cpu'"):
        check_amp(True, "SOLVER.AMP.ENABLED", "cpu")


@pytest.mark.parametrize("cuda", [True, False])
def test_one_process_falls_back_to_the_cpu_and_several_never_do(monkeypatch, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert choose_device("cuda", "MODEL.DEVICE", 1) == ("cuda" if cuda else "cpu")
    assert choose_device("cpu", "MODEL.DEVICE", 1) == "cpu"
    refused, allowed = ("cpu", "cuda") if cuda else ("cuda", "cpu")
    assert choose_device(allowed, "MODEL.DEVICE", 8) == allowed
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE"):
        choose_device(refused, "MODEL.DEVICE", 8)
