"""Malicious weights, proposal files and pickles: nothing in them runs, whatever reads them (``pytest -s``: counts)."""

import collections
import faulthandler
import importlib
import io
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import malicious
import numpy as np
import pytest
import torch
from tools_in_process import tool
from torch import nn

from ffc_dense.errors import UserError
from ffc_dense.reliability.saving import is_whole
from ffc_dense.safe_files import UnsafeFileError, read_pickle, read_safetensors, read_torch, read_weights, read_yaml


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """(folder with all malicious files, canary, files)."""
    folder = tmp_path_factory.mktemp("malicious")
    canary = folder / "canary"
    with pytest.MonkeyPatch.context() as patch:
        malicious.plant_module(folder, "planted_by_weights", canary)
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        files = [*malicious.write_pth(folder, canary), *malicious.write_pkl(folder, canary)]
        files += malicious.write_safetensors(folder, canary)
        malicious.appeared(canary)
        yield folder, canary, files


def detectron2_checkpointer(kind, path):
    checkpoint = pytest.importorskip("ffc_dense.detection")
    return getattr(checkpoint, kind)(nn.Linear(2, 2), save_dir=str(path.parent)).load(str(path))


def detectron2_resumed(path):
    checkpointer = pytest.importorskip("ffc_dense.detection.training.atomic_checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, Path(folder, "model_0000009.pth"))
        Path(folder, "last_checkpoint").write_text("model_0000009.pth")
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return checkpointer.AtomicCheckpointer(model, folder, optimizer=optimizer).resume_or_load("", resume=True)


def detectron2_proposals(path):
    """What detectron2's data loaders call."""
    pytest.importorskip("ffc_dense.detection.inputs.safe_proposals")
    from detectron2.data.build import load_proposals_into_dataset

    return load_proposals_into_dataset([], str(path))


def mmengine_loaded(path):
    """``load_from`` and ``init_cfg``."""
    pytest.importorskip("ffc_dense.openmmlab.inputs.safe_loading")
    from mmengine.runner import load_checkpoint

    return load_checkpoint(nn.Linear(2, 2), str(path))


def mmengine_prefixed(path):
    """``init_cfg`` with ``prefix``."""
    pytest.importorskip("ffc_dense.openmmlab.inputs.safe_loading")
    from mmengine.runner.checkpoint import _load_checkpoint_with_prefix

    return _load_checkpoint_with_prefix("backbone", str(path))


def mmengine_resumed(path):
    """What ``Runner.resume`` calls."""
    pytest.importorskip("ffc_dense.openmmlab.inputs.safe_loading")
    from mmengine.runner import Runner

    return Runner.load_checkpoint(collections.namedtuple("Run", "model logger")(nn.Linear(2, 2), "current"), str(path))


def mmengine_evaluated(path):
    evaluation = pytest.importorskip("ffc_dense.openmmlab.inputs.checkpoint")
    return evaluation.load_for_evaluation(nn.Linear(2, 2), path)


def mmengine_initial(path):
    initial = pytest.importorskip("ffc_dense.openmmlab.inputs.initial_weights")
    return initial.check_initial_weights(nn.Linear(2, 2), str(path), None, "model.backbone.init_cfg.checkpoint")


def mmengine_data(path):
    """``mmengine.load``: a .pkl that a config names, such as ``class_weight``."""
    pytest.importorskip("ffc_dense.openmmlab.inputs.safe_loading")
    from mmengine.fileio import load

    return load(str(path), file_format="pkl")


def converted(path):
    tool("convert_checkpoint").main([str(path), str(path.with_name("converted.safetensors")), "--overwrite"])


READERS = {
    "read_pickle": read_pickle,
    "read_torch": read_torch,
    "read_safetensors": read_safetensors,
    "read_weights": read_weights,
    "SafeCheckpointer": lambda path: detectron2_checkpointer("SafeCheckpointer", path),
    "EvalCheckpointer": lambda path: detectron2_checkpointer("EvalCheckpointer", path),
    "AtomicCheckpointer, resume": detectron2_resumed,
    "PROPOSAL_FILES": detectron2_proposals,
    "mmengine, load_from": mmengine_loaded,
    "mmengine, init_cfg with prefix": mmengine_prefixed,
    "mmengine, resume": mmengine_resumed,
    "mmengine, evaluation": mmengine_evaluated,
    "mmengine, InitialWeightsHook": mmengine_initial,
    "mmengine.load": mmengine_data,
}


# torch's older format begins with a number, and a reader of pickles reads no further: 45 files give that number.
ONLY_A_NUMBER = ("read_pickle", "mmengine.load")


@pytest.mark.parametrize("reader", READERS)
def test_no_malicious_file_runs_or_loads(planted, reader):
    _, canary, files = planted
    read, executed, loaded, unnamed = READERS[reader], [], {}, 0
    for path in files:
        try:
            loaded[path.name] = read(path)
        except (UserError, RuntimeError, ValueError) as error:  # the hook's ValueError names the key as well
            unnamed += str(path) not in str(error)
        if malicious.appeared(canary):
            executed.append(path.name)
    refused = len(files) - len(loaded)
    print(f"\n{reader}: {len(files)} malicious files, {len(executed)} executed, {refused} refused")
    assert len(files) == 176 and executed == []
    assert unnamed == 0 or reader in ("mmengine.load", "AtomicCheckpointer, resume")  # an open file, a copy
    if reader in ONLY_A_NUMBER:
        assert len(loaded) == 45 and all("legacy" in name and type(number) is int for name, number in loaded.items())
    else:
        assert loaded == {}


@pytest.mark.parametrize("script", ["convert_checkpoint", "convert_torchvision_resnet", "convert_toolbox_resnet"])
def test_no_malicious_file_runs_in_a_converter(planted, tmp_path, script, capsys):
    _, canary, files = planted
    main = tool(script).main
    suffix = ".safetensors" if script == "convert_checkpoint" else ".pth"
    chosen = [path for path in files if path.suffix != ".safetensors"]
    for path in chosen:
        with pytest.raises(SystemExit) as ended:
            main([str(path), str(tmp_path / f"out{suffix}")])
        assert ended.value.code not in (0, None) and not malicious.appeared(canary)
    assert list(tmp_path.iterdir()) == []
    print(f"\n{script}: {len(chosen)} malicious files, 0 executed")


def test_is_whole_runs_nothing(planted):
    _, canary, files = planted
    for path in files:
        if path.suffix != ".safetensors":
            is_whole(path)
        assert not malicious.appeared(canary)


def test_the_files_do_run_where_nothing_stops_them(planted):
    """The counterpart: without it, files that can do nothing would pass the tests above."""
    _, canary, files = planted
    idle = []
    for path in files:
        try:
            if path.suffix == ".pkl" or path.name in ("pickle.safetensors", "plain_pickle.pth"):
                pickle.loads(path.read_bytes())
            else:
                # torch goes by the name of a .safetensors file.
                torch.load(path if path.suffix == ".pth" else io.BytesIO(path.read_bytes()), weights_only=False)
        except (AttributeError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError):
            pass  # after the payload
        if not malicious.appeared(canary):
            idle.append(path.name)
    assert idle == [] and len(files) == 176


def test_the_message_names_file_object_and_remedy(planted):
    folder, _, _ = planted
    cases = {"os.system,_weights,_zip.pth": "posix.system", "eval,_optimizer,_legacy.pth": "builtins.eval",
             "os.system,_zoo,_2.pkl": "posix.system", "eval,_caffe2,_5.pkl": "builtins.eval"}  # fmt: skip
    for name, found in cases.items():
        with pytest.raises(UnsafeFileError) as raised:
            (read_pickle if name.endswith("pkl") else read_torch)(folder / name)
        message = str(raised.value)
        assert str(folder / name) in message and found in message and "SECURITY.md" in message, message


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "script.pth"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    with pytest.raises(UnsafeFileError, match=r"script\.pth was not read"):
        read_torch(path)


ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 3), "f2"),
    "truth": np.array([True, False]),
    "text": np.array(["a", "bcd"]),
    "complex": np.array([1 + 2j]),
    "no axis": np.array(7),
    "strided": np.arange(10)[::3],
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_scalars_and_plain_values_are_read_as_pickle_reads_them(tmp_path, protocol):
    content = {
        "model": ARRAYS, "scalar": np.float32(1.5), "count": np.int64(3), "long": 2**70, "none": None, "empty": b"",
        "order": collections.OrderedDict(b=[1, (2.5, "x")], a=b"\x00\xff"), "shared": [ARRAYS["matrix"]] * 2,
    }  # fmt: skip
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found, expected = read_pickle(path), pickle.loads(path.read_bytes())
    for name, array in expected["model"].items():
        own = found["model"][name]
        assert type(own) is np.ndarray and own.dtype == array.dtype.newbyteorder("=") and own.shape == array.shape
        assert np.array_equal(own, array) and own.flags.writeable
    assert found["scalar"] == 1.5 and type(found["scalar"]) is np.float32 and found["order"] == expected["order"]
    assert list(found["order"]) == ["b", "a"] and found["long"] == 2**70 and found["none"] is None
    assert found["empty"] == b"" and found["shared"][0] is found["shared"][1]


def test_a_pickle_of_python_2_and_numpy_1_is_read(tmp_path):
    """detectron2's and Caffe2's files: byte strings as text, and numpy's old module names."""
    raw = np.arange(3, dtype="f4").tobytes()
    text = (
        b"\x80\x02}q\x00U\x07conv1_wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b"
        b"\x87Rq\x04(K\x01K\x03\x85cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87Rq\x06(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    (tmp_path / "old.pkl").write_bytes(text)
    found = read_pickle(tmp_path / "old.pkl")
    assert list(found) == ["conv1_w"] and np.array_equal(found["conv1_w"], np.arange(3, dtype="f4"))


def forged_dtype(flags):
    """An array of objects that says it has none: numpy alone would take its bytes for the addresses of objects."""
    return (
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\n"
        b"dtype\nU\x02V8K\x00K\x01\x87R(K\x03U\x01|NU\x01a\x85}U\x01acnumpy\ndtype\nU\x02O8K\x00K\x01\x87RK\x00\x86s"
        b"K\x08K\x01" + flags + b"tb\x89U\x08\x01\x02\x03\x04\x05\x06\x07\x08tb."
    )


@pytest.mark.parametrize("content", [forged_dtype(b"K\x00"), forged_dtype(b"K\x3f")], ids=["no objects", "objects"])
def test_a_forged_dtype_reaches_no_memory(tmp_path, content):
    (tmp_path / "forged.pkl").write_bytes(content)
    with pytest.raises(UnsafeFileError, match=r"forged\.pkl was not read: .*dtype 'V8'"):
        read_pickle(tmp_path / "forged.pkl")


def exit_code_of(function):
    """Of a copy of this process that calls ``function``; a crash ends it at once."""

    def call():
        faulthandler.disable()  # pytest's: its report of a crash can crash again, for ever
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        function()

    process = multiprocessing.get_context("fork").Process(target=call)
    process.start()
    process.join(120)
    process.kill()
    process.join()
    return process.exitcode


DROPPED = (  # a numpy scalar of objects at the address 0x4141414141414141, which POP takes off the stack; then {}
    b"\x80\x04cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tR(J\x03\x00\x00\x00X\x01\x00"
    b"\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffJ\x00\x00\x00\x00tbC\x08AAAAAAAAtR0}."
)


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "detectron2's"])
def test_proposals_are_read_once_so_that_what_a_pickle_drops_is_not_built(tmp_path, ours):
    """A record that is dropped is in no result that could be checked; detectron2's own reader dies of it (SIGSEGV)."""
    pytest.importorskip("detectron2")
    path = tmp_path / "dropped.pkl"
    path.write_bytes(DROPPED)

    def read():
        from detectron2.data import build

        import ffc_dense.detection  # noqa: F401  (its import replaces the reader)

        if not ours:
            build.pickle = pickle
        with pytest.raises(KeyError, match="ids"):  # of the dict that is left
            build.load_proposals_into_dataset([], str(path))

    assert exit_code_of(read) == (0 if ours else -signal.SIGSEGV)


def test_whatever_of_the_adapter_is_imported_proposals_are_read_safely():
    """Python imports the package before a module of it, and the package's import replaces the reader."""
    pytest.importorskip("detectron2")
    code = (
        "import ffc_dense.detection.model.config\nfrom detectron2.data import build\n"
        "assert build.pickle.load.__module__ == 'ffc_dense.detection.inputs.safe_proposals'"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_a_set_or_a_key_holds_no_objects_and_a_set_of_plain_values_is_read(tmp_path):
    path = tmp_path / "x.pkl"
    for content in ({np.float32(1.5)}, [frozenset({(1, np.float32(1.5))})], {(1, np.float32(1.5)): 2}):
        path.write_bytes(pickle.dumps(content, protocol=4))
        with pytest.raises(UnsafeFileError, match=r"x\.pkl was not read: it holds numpy.*multiarray\.scalar"):
            read_pickle(path)
    plain = {"set": {1, "a", (2, 3)}, "frozen": frozenset({1}), (1, 2): 3}
    path.write_bytes(pickle.dumps(plain, protocol=4))
    assert read_pickle(path) == plain


def test_a_pickle_cannot_change_what_stands_for_its_objects(tmp_path):
    """BUILD sets attributes of what it is given; a change would last for the next file."""
    change = b"\x80\x02c%s\nN}U\x07resolveK\x01s\x86b."
    for number, name in enumerate(
        (b"_codecs\nencode", b"numpy\nndarray", b"numpy\ndtype", b"collections\nOrderedDict")
    ):
        (tmp_path / f"{number}.pkl").write_bytes(change % name)
        with pytest.raises(UnsafeFileError, match=rf"{number}\.pkl was not read"):
            read_pickle(tmp_path / f"{number}.pkl")
    path = tmp_path / "next.pkl"
    path.write_bytes(pickle.dumps(np.arange(3)))
    assert np.array_equal(read_pickle(path), np.arange(3))


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."])
def test_a_damaged_pickle_is_named(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(UnsafeFileError, match=r"bad\.pkl was not read"):
        read_pickle(tmp_path / "bad.pkl")


def test_a_checkpoint_of_mmengine_keeps_all_that_resuming_needs(tmp_path):
    pytest.importorskip("mmengine")
    from mmengine.logging import HistoryBuffer

    from ffc_dense.openmmlab.inputs.mmengine_files import read_checkpoint

    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "meta": {"iter": 7, "seed": 1, "cfg": "a = 1", "dataset_meta": {"classes": ("a", "b"), "palette": [[1, 2, 3]]}},
        "state_dict": collections.OrderedDict(model.state_dict()),
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [{"last_step": 7, "_global_step": 8, "base_values": [0.1]}],
        "message_hub": {
            "log_scalars": collections.OrderedDict(loss=HistoryBuffer([3.0, 2.0, 1.0], [1, 1, 2], max_length=3)),
            "runtime_info": collections.OrderedDict(iter=7, lr=np.float64(0.5), grad=np.array([1.0])),
            "resumed_keys": collections.OrderedDict(iter=True),
        },
    }
    torch.save(content, tmp_path / "iter_7.pth")
    found = read_checkpoint(tmp_path / "iter_7.pth")
    assert found["meta"] == content["meta"] and found["param_schedulers"] == content["param_schedulers"]
    moments = content["optimizer"]["state"][0]
    assert all(torch.equal(found["optimizer"]["state"][0][key], moments[key]) for key in moments)
    assert found["optimizer"]["param_groups"] == content["optimizer"]["param_groups"]
    loss = found["message_hub"]["log_scalars"]["loss"]
    assert type(loss) is HistoryBuffer and loss.max_length == 3
    assert loss.data[0].tolist() == [3, 2, 1] and loss.data[1].tolist() == [1, 1, 2]
    loss.update(0.0)
    assert loss.data[0].tolist() == [2, 1, 0] and loss.mean(2) == 1 / 3
    info = found["message_hub"]["runtime_info"]
    assert info["lr"] == 0.5 and info["grad"].tolist() == [1.0] and info["iter"] == 7


def test_a_history_that_names_other_functions_gets_those_of_its_class(tmp_path):
    pytest.importorskip("mmengine")
    from mmengine.logging import HistoryBuffer

    from ffc_dense.openmmlab.inputs.mmengine_files import read_checkpoint

    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    buffer._statistics_methods = {**buffer._statistics_methods, "mean": HistoryBuffer.max}
    torch.save(
        {"state_dict": {"w": torch.ones(1)}, "message_hub": {"log_scalars": {"loss": buffer}}}, tmp_path / "x.pth"
    )
    found = read_checkpoint(tmp_path / "x.pth")["message_hub"]["log_scalars"]["loss"]
    assert found.statistics("mean") == 1.5


@pytest.mark.parametrize("tag", malicious.yaml_tags(Path("canary")))
def test_yaml_tags_are_refused_with_file_and_line(tmp_path, tag):
    canary, path = tmp_path / "canary", tmp_path / "x.yaml"
    path.write_text(f"a: 1\nb: {malicious.yaml_tags(canary)[tag]}\n")
    with pytest.raises(UnsafeFileError, match=r"x\.yaml, line 2"):
        read_yaml(path)
    assert not canary.exists()


def test_yaml_keeps_tuples_and_plain_values(tmp_path):
    (tmp_path / "x.yaml").write_text("size: !!python/tuple [512, !!python/tuple [1, 2]]\nlr: 0.1\n")
    assert read_yaml(tmp_path / "x.yaml") == {"size": (512, (1, 2)), "lr": 0.1}


def test_results_readers_run_nothing(tmp_path):
    from ffc_dense.runs import files

    for name, tag in malicious.yaml_tags(tmp_path / "canary").items():
        (tmp_path / "config.yaml").write_text(f"MODEL: {tag}\n")
        with pytest.raises(ValueError, match=r"config\.yaml"):
            files.read_yaml(tmp_path / "config.yaml")
        assert not (tmp_path / "canary").exists(), name
