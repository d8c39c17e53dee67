"""Configs: yaml and JSON are data and run nothing, Python configs are programs. ``pytest -s`` shows the counts."""

import json
import subprocess
import sys
from pathlib import Path

import malicious
import pytest
import yaml

from ffc_dense.errors import UserError

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from mmengine.config import Config
from mmengine.registry import registry
from repository import ROOT
from tools_in_process import tool

from ffc_dense.openmmlab.inputs import data_configs, safe_loading, safe_readers
from ffc_dense.openmmlab.inputs.data_configs import check_config_files, check_values
from ffc_dense.safe_files import UnsafeFileError

STOCK = ROOT / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN.yaml"
SEGMENTOR = ROOT / "configs" / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
TAGS = malicious.yaml_tags(Path("canary"))
PLANTED = "planted_by_config"


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Where malicious configs make a folder; a module whose import makes it can be imported."""
    path = tmp_path / "canary"
    malicious.plant_module(tmp_path, PLANTED, path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield path
    for name in [name for name in sys.modules if name.split(".")[0] == PLANTED]:
        del sys.modules[name]


def train_net(path, *options):
    return tool("train_net").main(default_argument_parser().parse_args(["--config-file", str(path), *options]))


def eval_coco(path, *options):
    return tool("eval_coco").parse_args(["--config-file", str(path), "MODEL.WEIGHTS", "x.pth", *options])


def lazyconfig_train_net(path, *options):
    arguments = default_argument_parser().parse_args(["--config-file", str(path), *options])
    return tool("lazyconfig_train_net").main(arguments)


def mmseg_train(path, *options):
    return tool("mmseg_tool").main(["--device", "cpu", "train", str(path), *options])


def mmseg_test(path, *options):
    return tool("mmseg_tool").main(["--device", "cpu", "test", str(path), "x.pth", *options])


def eval_cityscapes(path, *options):
    module = tool("eval_cityscapes")
    return module.evaluation_config(module.parse_args([str(path), "x.pth", *options]))


TOOLS = {
    function.__name__: function
    for function in (train_net, eval_coco, lazyconfig_train_net, mmseg_train, mmseg_test, eval_cityscapes)
}


@pytest.mark.parametrize("name", TOOLS)
def test_yaml_tags_run_in_no_tool(tmp_path, canary, name, capsys):
    tried = 0
    for tag in malicious.yaml_tags(canary).values():
        (tmp_path / "evil.yaml").write_text(f"OUTPUT_DIR: {tag}\nmodel: {tag}\n")
        (tmp_path / "key.yaml").write_text(f"? {tag}\n: 1\n")
        (tmp_path / "based.yaml").write_text("_BASE_: evil.yaml\n_base_: evil.yaml\n")
        for path in ("evil.yaml", "key.yaml", "based.yaml"):
            with pytest.raises((UserError, SystemExit)) as ended:
                TOOLS[name](tmp_path / path)
            assert not isinstance(ended.value, SystemExit) or ended.value.code == 2
            assert not canary.exists()
            tried += 1
    with capsys.disabled():
        print(f"\n{name}: {tried} yaml configs with !!python tags, 0 executed")


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_tags_do_run_in_the_frameworks_own_readers(tmp_path, canary, tag):
    (tmp_path / "evil.yaml").write_text(f"OUTPUT_DIR: {malicious.yaml_tags(canary)[tag]}\n")
    CfgNode.load_yaml_with_base(str(tmp_path / "evil.yaml"), allow_unsafe=True)  # what merge_from_file does
    assert malicious.appeared(canary)


WORDS = [
    "__import__('os').mkdir('{}')",
    "!!python/object/apply:os.mkdir ['{}']",
    "${{eval:__import__('os').mkdir('{}')}}",
]


@pytest.mark.parametrize("word", WORDS)
def test_overrides_are_not_evaluated(tmp_path, canary, word):
    word = word.format(canary)
    with pytest.raises((UserError, OSError)):
        train_net(STOCK, "MODEL.WEIGHTS", word)
    with pytest.raises(SystemExit):
        mmseg_train(SEGMENTOR, "--cfg-options", f"train_cfg={word}", "--not-an-option")
    assert not canary.exists()


def test_the_config_beside_a_converted_checkpoint_runs_nothing(tmp_path, canary):
    import torch

    torch.save({"model": {"w": torch.ones(1)}}, tmp_path / "x.pth")
    for tag in malicious.yaml_tags(canary).values():
        (tmp_path / "config.yaml").write_text(f"MODEL: {tag}\n")
        tool("convert_checkpoint").main(["x.pth", "x.safetensors", "--overwrite"])
        assert not canary.exists()


# What is a program runs as one, by design: the other half of SECURITY.md's list.


def test_python_configs_and_custom_imports_do_run(tmp_path, canary):
    (tmp_path / "lazy.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    with pytest.raises(UserError):
        lazyconfig_train_net(tmp_path / "lazy.py")
    assert malicious.appeared(canary)
    with pytest.raises(UserError):
        eval_cityscapes_error(tmp_path / "lazy.py")
    assert malicious.appeared(canary)
    (tmp_path / "imports.yaml").write_text(f"custom_imports: {{imports: [{PLANTED}]}}\n")
    Config.fromfile(str(tmp_path / "imports.yaml"))
    assert malicious.appeared(canary)


def eval_cityscapes_error(path):
    try:
        eval_cityscapes(path)
    except ValueError as error:  # no test_dataloader
        raise UserError(str(error)) from error


REFUSED = {
    "program.py": ("a = 1\n", "is a program"),
    "base.yaml": ("_base_: program.py\n", "program.py is a program"),
    "base.json": ('{"_base_": ["./program.py"]}', "program.py is a program"),
    "package base.yaml": ("_base_: 'mmseg::_base_/default_runtime.py'\n", "is a program of a package"),
    "substituted base.yaml": ('"{{$ANY:_base_}}": program.py\n', "write the values out"),
    "imports.yaml": (f"custom_imports: {{imports: [ffc_dense.segmentation, {PLANTED}]}}\n", f"imports {PLANTED}"),
    "one import.yaml": (f"custom_imports: {{imports: {PLANTED}}}\n", f"imports {PLANTED}"),
    "module type.yaml": (f"model: {{type: {PLANTED}.anything}}\n", f"model.type='{PLANTED}.anything'"),
    "nested type.yaml": ("a: [{b: [{type: os.system, command: ls}]}]\n", "a.0.b.0.type='os.system'"),
    "through ours.yaml": ("a: {type: mmengine.utils.path.osp.os.system}\n", "a.type="),
    "scope.yaml": (f"default_scope: {PLANTED}\n", f"makes mmengine import {PLANTED}"),
    "inner scope.yaml": (f"model: {{_scope_: {PLANTED}, type: X}}\n", f"makes mmengine import {PLANTED}"),
    "eval.yaml": ("custom_hooks: [{type: RFSearchHook}]\n", "import or evaluate"),
    "scoped eval.yaml": ("custom_hooks: [{type: mmcv.RFSearchHook}]\n", "import or evaluate"),
    "pickled images.yaml": ("a: {type: LoadBiomedicalImageFromFile, decode_backend: pickle}\n", "unpickles the images"),
    "a list.yaml": ("[1]\n", "expected keys and values"),
    "no json.json": ("{", "is no JSON"),
    "tag.yaml": ("a: !!python/object/apply:os.getcwd []\n", "line 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_weights_only_refuses_configs_that_can_run_code(tmp_path, canary, name):
    (tmp_path / "program.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    content, message = REFUSED[name]
    if name != "program.py":
        (tmp_path / name).write_text(content)
    with pytest.raises(UnsafeFileError) as raised:
        check_config_files(tmp_path / name)
    assert message in str(raised.value) and not canary.exists()


@pytest.mark.parametrize("name", [name for name in REFUSED if name.endswith(".yaml") and name != "tag.yaml"])
def test_weights_only_refuses_a_json_config_for_what_its_yaml_twin_is_refused_for(tmp_path, name):
    (tmp_path / "program.py").touch()
    content, message = REFUSED[name]
    path = tmp_path / "twin.json"
    path.write_text(json.dumps(yaml.safe_load(content)))
    with pytest.raises(UnsafeFileError) as raised:
        check_config_files(path)
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["absent.yaml", "absent.json", "on an absent base.yaml"])
def test_weights_only_passes_over_no_absent_config(tmp_path, name):
    (tmp_path / "on an absent base.yaml").write_text("_base_: absent.yaml\n")
    with pytest.raises(FileNotFoundError, match="absent"):
        check_config_files(tmp_path / name)


@pytest.mark.parametrize("run", [mmseg_train, mmseg_test, eval_cityscapes])
def test_no_tool_of_mmseg_runs_a_python_config_under_weights_only(tmp_path, canary, run, capsys, monkeypatch):
    monkeypatch.setattr(safe_readers, "_pickles_forbidden", False)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    with pytest.raises((SystemExit, UnsafeFileError)) as ended:
        run(tmp_path / "evil.py", "--weights-only")
    said = capsys.readouterr().err + str(ended.value)
    assert "evil.py is a program" in said and not canary.exists()


def test_weights_only_takes_a_dumped_config_of_ours(tmp_path, monkeypatch):
    cfg = Config.fromfile(str(SEGMENTOR))
    for name in ("dumped.yaml", "dumped.json"):
        cfg.dump(str(tmp_path / name))
        check_config_files(tmp_path / name)
    read = Config.fromfile(str(tmp_path / "dumped.yaml"))
    assert read.to_dict() == cfg.to_dict()  # tuples too
    check_values(read, "dumped.yaml", weights=True)


@pytest.mark.parametrize("key", ["load_from", "model.pretrained", "model.backbone.init_cfg.checkpoint"])
def test_weights_only_refuses_other_weights(key):
    cfg = Config({"load_from": None, "model": {"pretrained": None, "backbone": {"init_cfg": {"type": "Pretrained"}}}})
    for good in ("x.safetensors", "https://host/x.safetensors", "x.safetensors?sha256=00112233"):
        cfg.merge_from_dict({key: good})
        check_values(cfg, "c.yaml", weights=True)
    for bad in ("x.pth", "x.safetensors.pkl", "open-mmlab://resnet50_v1c", "x.pth?a=.safetensors"):
        cfg.merge_from_dict({key: bad})
        with pytest.raises(UnsafeFileError, match=rf"c\.yaml: {key} "):
            check_values(cfg, "c.yaml", weights=True)


def test_weights_only_imports_nothing_by_the_name_of_a_type(canary, monkeypatch):
    from mmengine.registry import MODELS

    with pytest.raises((KeyError, TypeError)):
        MODELS.build(dict(type=PLANTED))
    assert malicious.appeared(canary)  # mmengine imports a module whose name is not registered
    del sys.modules[PLANTED]
    monkeypatch.setattr(registry, "get_object_from_string", registry.get_object_from_string)  # undone at the end
    data_configs.forbid_imports_by_name()
    with pytest.raises((KeyError, RuntimeError)):
        MODELS.build(dict(type=PLANTED))
    assert not canary.exists()
    assert MODELS.get("Conv2d") is not None


def test_weights_only_limits_the_loader_to_safetensors_and_the_run_s_own_checkpoints(tmp_path, monkeypatch):
    import torch
    from mmengine.runner.checkpoint import CheckpointLoader

    monkeypatch.setattr(safe_readers, "_pickles_forbidden", False)
    monkeypatch.setattr(safe_readers, "_own_folder", None)
    own, other = tmp_path / "run" / "iter_1.pth", tmp_path / "iter_1.pth"
    own.parent.mkdir()
    for path in (own, other):
        torch.save({"state_dict": {"w": torch.ones(1)}}, path)
    safe_loading.forbid_pickled_checkpoints(own.parent)
    assert CheckpointLoader.load_checkpoint(str(own))["state_dict"] == {"w": torch.ones(1)}
    for path in (other, own.parent / ".." / "iter_1.pth"):
        with pytest.raises(UnsafeFileError, match=r"--weights-only: checkpoint .*iter_1\.pth is not a \.safetensors"):
            CheckpointLoader.load_checkpoint(str(path))


def test_weights_only_of_detectron2_refuses_pickled_weights_and_lazyconfigs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pth").write_bytes(b"")
    arguments = default_argument_parser().parse_args(["--config-file", str(STOCK), "MODEL.WEIGHTS", "x.pth"])
    arguments.weights_only = True
    with pytest.raises(UnsafeFileError, match=r"MODEL\.WEIGHTS x\.pth is not a \.safetensors file"):
        tool("train_net").main(arguments)
    arguments.config_file = str(ROOT / "configs" / "coco" / "faster_rcnn_R_50_FPN_1x.py")
    with pytest.raises(UnsafeFileError, match="a LazyConfig is a program"):
        tool("lazyconfig_train_net").main(arguments)


@pytest.mark.parametrize("address", ["pavi://x", "mmcls://x"])
def test_schemes_that_only_unsafe_loaders_know_are_refused(address):
    from mmengine.runner.checkpoint import CheckpointLoader

    with pytest.raises(UnsafeFileError, match="was not read"):
        CheckpointLoader.load_checkpoint(address)


def test_the_shipped_configs_make_mmengine_load_safely():
    paths = [path for kind in ("cityscapes", "mini_cityscapes") for path in (ROOT / "configs" / kind).glob("*.py")]
    assert len(paths) >= 40
    for path in {path.name.partition("_r")[2]: path for path in paths}.values():  # each base schedule and dataset
        hooks = Config.fromfile(str(path), import_custom_modules=False).default_hooks
        assert hooks.safe_loading == dict(type="SafeLoadingHook"), path.name


@pytest.mark.parametrize("way", ["the module", "the hook"])
def test_one_line_of_a_config_makes_mmengine_load_safely(tmp_path, canary, way):
    """In a process of its own, without our tools; mmengine's own loader would run the file."""
    import torch

    torch.save({"state_dict": {"w": malicious.payloads(canary)["os.system"]}}, tmp_path / "evil.pth")
    line = {
        "the module": "custom_imports=dict(imports=['ffc_dense.openmmlab.inputs.safe_loading'])",
        "the hook": "custom_imports=dict(imports=['ffc_dense.segmentation'])\n"
        "default_hooks=dict(safe_loading=dict(type='SafeLoadingHook'))",
    }[way]
    (tmp_path / "config.py").write_text(f"{line}\n")
    code = (
        "from mmengine.config import Config\nfrom mmengine.runner.checkpoint import CheckpointLoader\n"
        "cfg = Config.fromfile('config.py')\n"
        "from mmseg.registry import HOOKS\n"
        "[HOOKS.build(hook) for hook in cfg.get('default_hooks', {}).values()]\n"
        "CheckpointLoader.load_checkpoint('evil.pth')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "UnsafeFileError: " in ended.stderr and "posix.system" in ended.stderr
    assert not canary.exists()
