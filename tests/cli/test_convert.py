"""tools/convert_checkpoint.py: weights go to .safetensors and back bit for bit, and load in both frameworks; sha256."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import re
import signal

import numpy as np
import pytest
import torch
from tools_in_process import tool
from torch import nn

from ffc_dense import FFCLinear
from ffc_dense.safe_files import (
    UnsafeFileError,
    check_digest,
    classes_in,
    read_safetensors,
    read_torch,
    split_sha256,
    without_query,
    write_safetensors,
)
from ffc_dense.safe_files.digest import DigestError

convert = tool("convert_checkpoint").main


def model():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), FFCLinear(4, 3, num_filters=2))


def content_of(framework, state):
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1).state_dict()
    if framework == "detectron2":
        return {"model": state, "optimizer": optimizer, "iteration": 9}
    return {
        "state_dict": state,
        "optimizer": optimizer,
        "meta": {"cfg": "hooks = dict(type='FFCScalarsHook')\nmodel = dict(head=dict(type='FFCPSPHead'))\n"},
    }


@pytest.mark.parametrize("framework", ["detectron2", "mmseg"])
def test_weights_go_there_and_back_bit_for_bit(tmp_path, framework, capsys):
    state = model().state_dict()
    state["half"], state["empty"] = torch.randn(3).bfloat16(), torch.zeros(0, 2)
    state["shared"], state["strided"] = state["0.weight"], torch.arange(6.0).reshape(2, 3).T
    source, middle, back = tmp_path / "a.pth", tmp_path / "a.safetensors", tmp_path / "b.pth"
    torch.save(content_of(framework, state), source)
    convert([str(source), str(middle)])
    convert([str(middle), str(back)])
    found = read_torch(back)[{"detectron2": "model", "mmseg": "state_dict"}[framework]]
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) and found[key].dtype == state[key].dtype for key in state)
    tensors, metadata = read_safetensors(middle)
    assert tensors.keys() == state.keys()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    expected = {"format": "pt", "framework": framework, "source": "a.pth", "source_sha256": digest, "num_filters": "2"}
    assert metadata == expected | ({"head": "FFCPSPHead"} if framework == "mmseg" else {})
    assert f"{digest}  {source}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kept", "framework"),
    [
        ({"model": {}, "class_names": ["a cat", "b"]}, "detectron2"),
        ({"state_dict": {}, "meta": {"dataset_meta": {"classes": ("a cat", "b")}}}, "mmseg"),
        (
            {
                "state_dict": {},
                "meta": {"dataset_meta": {"classes": ("a cat", "b")}, "cfg": "default_scope = 'mmpretrain'\n"},
            },
            "mmpretrain",
        ),
    ],
)
def test_the_names_of_the_classes_go_there_and_back(tmp_path, kept, framework):
    kept[next(iter(kept))] = model().state_dict()
    torch.save(kept, tmp_path / "a.pth")
    convert([str(tmp_path / "a.pth"), str(tmp_path / "b.safetensors")])
    convert([str(tmp_path / "b.safetensors"), str(tmp_path / "c.pth")])
    assert read_safetensors(tmp_path / "b.safetensors")[1]["framework"] == framework
    for name in ("a.pth", "b.safetensors", "c.pth"):
        path = str(tmp_path / name)
        if framework == "detectron2":
            detection = pytest.importorskip("ffc_dense.detection")
            assert detection.EvalCheckpointer(model()).load(path)["class_names"] == ["a cat", "b"]
        else:
            checkpoint = pytest.importorskip("ffc_dense.openmmlab.inputs.checkpoint")
            assert checkpoint.classes_of(path) == ["a cat", "b"]


@pytest.mark.parametrize("classes", ["cat", '{"cat": 1}', "[1, 2]"])
def test_metadata_that_name_no_classes_are_refused(tmp_path, classes):
    write_safetensors(model().state_dict(), tmp_path / "a.safetensors", {"classes": classes})
    with pytest.raises(UnsafeFileError, match=r"a\.safetensors was not read: its metadata 'classes' is no JSON list"):
        classes_in(read_safetensors(tmp_path / "a.safetensors")[1], tmp_path / "a.safetensors")


def test_the_head_of_a_detectron2_run_is_noted(tmp_path):
    torch.save(content_of("detectron2", model().state_dict()), tmp_path / "a.pth")
    (tmp_path / "config.yaml").write_text("MODEL: {ROI_HEADS: {NAME: FFCStandardROIHeads}}\n")
    convert([str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")])
    assert read_safetensors(tmp_path / "a.safetensors")[1]["head"] == "FFCStandardROIHeads"


def test_detectron2_loads_the_result_as_it_loads_the_source(tmp_path):
    detection = pytest.importorskip("ffc_dense.detection")
    source, other = model(), model()
    nn.init.normal_(source[3].weight)
    torch.save({"model": source.state_dict()}, tmp_path / "a.pth")
    convert([str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")])
    rest = detection.EvalCheckpointer(other).load(str(tmp_path / "a.safetensors"))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in other.state_dict().items()) and rest == {}


@pytest.mark.parametrize("kind", ["Caffe2", "torchvision"])
def test_names_of_other_origins_are_still_matched(tmp_path, kind):
    """?matching_heuristics and the conversion of Caffe2's names survive the way through .safetensors and back."""
    detection = pytest.importorskip("ffc_dense.detection")
    weight = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype("f4")
    if kind == "Caffe2":
        path = tmp_path / "R.pkl"
        path.write_bytes(pickle.dumps({"res2_0_branch2a_w": weight, "res2_0_branch2a_w_momentum": weight}, protocol=2))
    else:
        path = tmp_path / "R.pth"
        names = {"res2.0.conv1.weight": torch.from_numpy(weight)}
        torch.save({"model": names, "__author__": "torchvision", "matching_heuristics": True}, path)
    convert([str(path), str(tmp_path / "x.safetensors")])
    convert([str(tmp_path / "x.safetensors"), str(tmp_path / "x.pth")])
    for name in (path.name, "x.safetensors", "x.pth"):
        net = nn.ModuleDict(
            {"backbone": nn.ModuleDict({"res2": nn.Sequential(nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 1)}))})}
        )
        detection.SafeCheckpointer(net).load(str(tmp_path / name))
        assert np.array_equal(net["backbone"]["res2"][0]["conv1"].weight.detach().numpy(), weight), name


def test_a_query_asks_for_matching_in_every_format(tmp_path):
    detection = pytest.importorskip("ffc_dense.detection")
    weight = torch.randn(4, 3)
    torch.save({"fc.weight": weight}, tmp_path / "x.pth")
    write_safetensors({"fc.weight": weight}, tmp_path / "x.safetensors", {})
    for name in ("x.pth", "x.safetensors"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for query in ("?matching_heuristics=True", f"?matching_heuristics=True&sha256={digest}"):
            net = nn.ModuleDict({"head": nn.ModuleDict({"fc": nn.Linear(3, 4)})})
            detection.SafeCheckpointer(net).load(f"{tmp_path / name}{query}")
            assert torch.equal(net["head"]["fc"].weight, weight)
        with pytest.raises(ValueError, match=r"unknown .*speed"):
            detection.SafeCheckpointer(nn.Linear(3, 4)).load(f"{tmp_path / name}?speed=1")


def test_mmengine_loads_the_result_as_it_loads_the_source(tmp_path):
    pytest.importorskip("ffc_dense.openmmlab.inputs.safe_loading")
    from mmengine.runner import load_checkpoint

    from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation

    source = model()
    torch.save({"state_dict": source.state_dict(), "meta": {}}, tmp_path / "a.pth")
    convert([str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")])
    for load in (load_for_evaluation, lambda net, path: load_checkpoint(net, str(path), strict=True)):
        other = model()
        load(other, tmp_path / "a.safetensors")
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.pth", "b.pth"], "expected FILE"),
        (["a.safetensors", "b.safetensors"], "expected FILE"),
        (["a.pth", "there.safetensors"], "exists already"),
        (["gone.pth", "b.safetensors"], "gone.pth"),
        (["a.pth?sha256=" + 64 * "0", "b.safetensors"], "not 0000"),
        (["nameless.safetensors", "b.pth"], "add --framework"),
        (["weightless.pth", "b.safetensors"], "holds no weights"),
        (["a.pth", "none/b.safetensors"], "there is no folder none"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": model().state_dict()}, "a.pth")
    torch.save({"iteration": 3}, "weightless.pth")
    write_safetensors(model().state_dict(), "nameless.safetensors", {})
    (tmp_path / "there.safetensors").touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SystemExit) as ended:
        convert(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_debug_shows_the_traceback(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        convert([str(tmp_path / "gone.pth"), str(tmp_path / "b.safetensors"), "--debug"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "Traceback" in said and said.splitlines()[-1].startswith("convert_checkpoint.py: ")


@pytest.mark.parametrize(("source", "target"), [("a.pth", "b.safetensors"), ("c.safetensors", "b.pth")])
@pytest.mark.parametrize("end", ["kill", "full disk"])
def test_what_is_to_be_overwritten_stays_until_the_new_file_is_whole(
    tmp_path, monkeypatch, capsys, source, target, end
):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": model().state_dict()}, "a.pth")
    write_safetensors(model().state_dict(), "c.safetensors", {"framework": "detectron2"})
    (tmp_path / target).write_text("the old file")
    arguments = [source, target, "--overwrite"]

    def fsync(descriptor):
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    if end == "kill":
        process = multiprocessing.get_context("fork").Process(target=convert, args=(arguments,))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    else:
        with pytest.raises(SystemExit) as ended:
            convert(arguments)
        assert ended.value.code == 3 and "No space left on device" in capsys.readouterr().err
    assert (tmp_path / target).read_text() == "the old file"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    convert(arguments)
    assert (tmp_path / target).stat().st_size > 100


# sha256


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_sha256_after_the_path_is_taken_off_and_the_rest_stays():
    full = 64 * "a"
    assert split_sha256(f"x.pth?sha256={full}") == ("x.pth", full)
    assert split_sha256(f"x.pth?sha256={full.upper()}&matching_heuristics=True") == (
        "x.pth?matching_heuristics=True",
        full,
    )
    assert split_sha256("x.pth?matching_heuristics=True") == ("x.pth?matching_heuristics=True", None)
    assert split_sha256("https://host/x.pth?sha256=0011aabb") == ("https://host/x.pth", "0011aabb")
    for bad in ("x?sha256=", "x?sha256=xyz", "x?sha256=1234567", f"x?sha256={full}0", f"x?sha256={full}&sha256={full}"):
        with pytest.raises(DigestError, match=re.escape(bad)):
            split_sha256(bad)


@pytest.mark.parametrize("path", ["x.pth", "https://host/x.pth", ""])
def test_a_path_without_its_query_is_the_path(path):
    for query in ("", "?", "?sha256=0011aabb", "?matching_heuristics=True&sha256=00?.safetensors"):
        assert without_query(path + query) == path


@pytest.mark.parametrize("given", ["query", "side file"])
def test_another_file_than_the_sha256_says_is_refused_before_it_is_read(tmp_path, given):
    detection = pytest.importorskip("ffc_dense.detection")
    segmentation = pytest.importorskip("ffc_dense.openmmlab.inputs.safe_loading")
    path = tmp_path / "x.pth"
    torch.save({"model": nn.Linear(2, 2).state_dict()}, path)
    digest, name = digest_of(path), str(path)
    if given == "query":
        name += f"?sha256={digest}"
    else:
        (tmp_path / "x.pth.sha256").write_text(f"{digest}  x.pth\n")  # as sha256sum writes it
    detection.SafeCheckpointer(nn.Linear(2, 2)).load(name)
    segmentation.load_from_checked_file(name)
    path.write_bytes(b"no checkpoint, and it would be an error to read it")
    for load in (detection.SafeCheckpointer(nn.Linear(2, 2)).load, segmentation.load_from_checked_file):
        with pytest.raises(DigestError) as raised:
            load(name)
        assert digest in str(raised.value) and digest_of(path) in str(raised.value) and str(path) in str(raised.value)


def test_an_empty_side_file_is_named(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"1")
    (tmp_path / "x.pth.sha256").write_text("\n")
    with pytest.raises(DigestError, match=r"x\.pth\.sha256: expected what sha256sum writes"):
        check_digest(tmp_path / "x.pth")


def test_a_name_that_ends_in_other_digits_is_a_warning_only(tmp_path):
    (tmp_path / "run-20240101.pth").write_bytes(b"1")
    said = []
    check_digest(tmp_path / "run-20240101.pth", warn=said.append)
    assert len(said) == 1 and "run-20240101.pth" in said[0]
    good = tmp_path / f"x-{hashlib.sha256(b'1').hexdigest()[:8]}.pth"
    good.write_bytes(b"1")
    check_digest(good, warn=said.append)
    assert len(said) == 1
