"""Files that create a folder, the *canary*, when they are read carelessly."""

import functools
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Call:
    """Unpickles to ``function(*args)``. Itself callable, so that a call may be what is called."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args

    def __call__(self):
        raise AssertionError("only unpickling may call")


def payloads(canary: Path) -> dict[str, object]:
    """{name: object that creates ``canary`` when unpickled}: the ways that are found in malicious models."""
    path = str(canary)
    hidden = io.BytesIO()
    torch.save(Call(os.mkdir, path), hidden, _use_new_zipfile_serialization=False)
    return {
        "os.system": Call(os.system, f"mkdir {path}"),
        "eval": Call(eval, f"__import__('os').mkdir({path!r})"),
        "exec": Call(exec, f"import os; os.mkdir({path!r})"),
        "getattr chain": Call(Call(getattr, Call(__import__, "os"), "mkdir"), path),
        "subprocess": Call(subprocess.check_call, ["mkdir", path]),
        "partial": Call(Call(functools.partial, os.mkdir, path)),
        "map": Call(list, Call(map, os.mkdir, [path])),
        "torch's nested loader": Call(torch.storage._load_from_bytes, hidden.getvalue()),
        "a module's import": Call(Call(getattr, Call(__import__, "planted_by_weights"), "anything"), path),
    }


def plant_module(folder: Path, name: str, canary: Path) -> None:
    """A module or a package with a ``registry``, whose import creates ``canary``."""
    code = f"import os\nos.makedirs({str(canary)!r}, exist_ok=True)\ndef anything(*args, **kwargs): pass\n"
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text(code)
    (folder / name / "registry.py").write_text(code)


def placements(payload: object) -> dict[str, dict]:
    """{name: checkpoint that looks like one of either framework and has the payload somewhere}."""
    weights = {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}
    both = {"model": weights, "state_dict": weights}
    hidden = np.empty(1, dtype=object)
    hidden[0] = payload
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1).state_dict()
    return {
        "weights": {"model": {**weights, "extra": payload}, "state_dict": {**weights, "extra": payload}},
        "object array": {**both, "running": hidden},
        "optimizer": {**both, "optimizer": {**optimizer, "state": {0: {"momentum_buffer": payload}}}},
        "message hub": {**both, "message_hub": {"log_scalars": {"train/loss": payload}, "runtime_info": {}}},
        "meta": {**both, "meta": {"cfg": payload}, "trainer": {"iteration": payload}},
    }


def write_pth(folder: Path, canary: Path) -> list[Path]:
    """Every payload in every place, as zip and in torch's older format; and a pickle and archives as .pth."""
    written = []
    for name, payload in payloads(canary).items():
        for place, content in placements(payload).items():
            for newer in (True, False):
                path = folder / f"{name}, {place}, {'zip' if newer else 'legacy'}.pth".replace(" ", "_")
                torch.save(content, path, _use_new_zipfile_serialization=newer)
                written.append(path)
    evil = payloads(canary)["os.system"]
    plain = folder / "plain_pickle.pth"
    plain.write_bytes(pickle.dumps({"model": {"weight": evil}, "state_dict": {"weight": evil}}))
    return [*written, plain, _tar(folder, evil), _other_pickle_in_zip(folder, evil)]


def _tar(folder: Path, evil: object) -> Path:
    """The format of torch before 0.1.10."""
    path = folder / "tar.pth"
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(evil, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def _other_pickle_in_zip(folder: Path, evil: object) -> Path:
    """A checkpoint whose data.pkl was replaced after it was written."""
    source, path = folder / "replaced_source.zip", folder / "replaced.pth"
    torch.save({"model": {"weight": torch.ones(2)}}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(evil, protocol=2) if name.endswith("data.pkl") else old.read(name))
    source.unlink()
    return path


def write_pkl(folder: Path, canary: Path) -> list[Path]:
    """Every payload in the plain and the Caffe2 style, in an object array and as a key, with old and new protocols."""
    written = []
    for name, payload in payloads(canary).items():
        hidden = np.empty(1, dtype=object)
        hidden[0] = payload
        contents = {
            "zoo": {"model": {"weight": np.ones(2), "bias": payload}, "__author__": "Detectron2 Model Zoo"},
            "caffe2": {"blobs": {"conv1_w": np.ones(2), "conv1_momentum": payload}},
            "array": {"model": {"weight": hidden}, "__author__": "Detectron2 Model Zoo"},
        }
        for style, content in contents.items():
            for protocol in (0, 2, 5):
                path = folder / f"{name}, {style}, {protocol}.pkl".replace(" ", "_")
                path.write_bytes(pickle.dumps(content, protocol=protocol))
                written.append(path)
    return written


def write_safetensors(folder: Path, canary: Path) -> list[Path]:
    """Pickles with the name of a file that holds none."""
    evil = payloads(canary)["os.system"]
    pickled, zipped = folder / "pickle.safetensors", folder / "zip.safetensors"
    pickled.write_bytes(pickle.dumps(evil))
    torch.save({"state_dict": {"weight": evil}}, zipped)
    return [pickled, zipped]


def yaml_tags(canary: Path) -> dict[str, str]:
    """{name: yaml value that creates ``canary`` under ``yaml.unsafe_load``}."""
    path = str(canary)
    return {
        "apply": f"!!python/object/apply:os.mkdir ['{path}']",
        "apply with keywords": f"!!python/object/apply:os.mkdir {{kwds: {{path: '{path}'}}}}",
        "new": f"!!python/object/new:os.mkdir ['{path}']",
        "system": f"!!python/object/apply:os.system ['mkdir {path}']",
        "eval": f"!!python/object/apply:eval [\"__import__('os').mkdir('{path}')\"]",
        "state": f"!!python/object/new:tuple [!!python/object/new:map [!!python/name:eval , "
        f"[\"__import__('os').mkdir('{path}')\"]]]",
    }


def appeared(canary: Path) -> bool:
    """Whether ``canary`` was created; removes it."""
    found = canary.is_dir()
    if found:
        canary.rmdir()
    sys.modules.pop("planted_by_weights", None)
    return found
