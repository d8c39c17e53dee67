"""Check the weights that a model starts from, before its first iteration."""

import logging
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models
from mmseg.registry import HOOKS
from torch import Tensor, nn

REMEDY = "see docs/WEIGHTS.md for where it comes from, or set model.pretrained=/path/to/file (None: random weights)"


@HOOKS.register_module()
class InitialWeightsHook(Hook):
    """Refuse to train from initial weights that are missing, damaged or of another architecture.

    mmengine itself loads ``init_cfg=dict(type='Pretrained', ...)`` (what ``model.pretrained`` becomes) with
    ``strict=False``: keys that do not fit are logged and their layers stay random. It also falls back to unpickling
    when a file holds more than tensors. With this hook in ``custom_hooks``, a training run ends before that happens,
    unless every tensor of the module is in the file with its shape. Further keys of the file, such as an ImageNet
    classifier, are allowed. A file whose name ends in ``-`` and eight hexadecimal digits should have a sha256 that
    begins so (OpenMMLab's and PyTorch's convention); if it has not, a warning says so. Testing is not checked: it
    overwrites these weights.

    ``open-mmlab://`` names and http(s) addresses are downloaded to torch's cache, where mmengine finds them;
    ``torchvision://``, ``mmcls://`` and storage back ends are left to mmengine.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        ValueError: the file is not what the module needs.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        # before_run precedes mmengine's initialisation. Testing builds no optimizer.
        if not isinstance(runner.optim_wrapper, OptimWrapper | OptimWrapperDict):
            return
        load_from = runner.cfg.get("load_from")
        if load_from and not _is_remote(load_from) and not Path(load_from).expanduser().is_file():
            raise FileNotFoundError(f"load_from: there is no file {load_from}; give the path of a checkpoint, or None")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, module, init in pretrained_modules(model):
            key = f"model.{name}.init_cfg.checkpoint".replace("..", ".")
            check_initial_weights(module, init["checkpoint"], init.get("prefix"), key)


def pretrained_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict]]:
    """(dotted name, module, its ``init_cfg`` of type Pretrained) for every such module of a model."""
    for name, module in model.named_modules():
        found = getattr(module, "init_cfg", None) or []
        for init in found if isinstance(found, list | tuple) else [found]:
            if getattr(init["type"], "__name__", init["type"]) in ("Pretrained", "PretrainedInit"):
                yield name, module, init


def check_initial_weights(module: nn.Module, checkpoint: str, prefix: str | None, key: str) -> None:
    """Raise unless ``checkpoint`` holds every tensor of ``module``.

    Args:
        checkpoint: a path, an ``open-mmlab://`` name or an http(s) address.
        prefix: of the module's keys in the file.
        key: the config key that names the checkpoint, for the error messages.
    """
    path = _local_path(checkpoint, key)
    if path is None:
        return
    given = _read(path, key)
    if prefix:
        start = prefix.rstrip(".") + "."
        given = {name.removeprefix(start): tensor for name, tensor in given.items() if name.startswith(start)}
    needed = {name: t for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    missing = [name for name in needed if name not in given]
    other = [name for name, t in needed.items() if name in given and given[name].shape != t.shape]
    if not missing and not other:
        return
    faults = [f"lacks {len(missing)} tensors ({_some(missing)})"] if missing else []
    if other:
        shapes = f"{other[0]}: {tuple(given[other[0]].shape)} in the file, {tuple(needed[other[0]].shape)} needed"
        faults.append(f"has other shapes for {len(other)} ({shapes})")
    remedy = REMEDY
    if "stem.0.weight" in missing and {"conv3.weight", "bn3.weight"} <= given.keys():
        remedy = "its keys are those of MIT's and the toolbox's ResNet: convert it with tools/convert_toolbox_resnet.py"
    raise ValueError(
        f"{key}: {path} {' and '.join(faults)} of the {len(needed)} that {type(module).__name__} needs; {remedy}"
    )


def _is_remote(checkpoint: str) -> bool:
    return re.match(r"[\w+:-]+://", checkpoint) is not None


def _local_path(checkpoint: str, key: str) -> Path | None:
    """Where the checkpoint lies, after a download if need be. None: a scheme that mmengine alone can read."""
    if not _is_remote(checkpoint):
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{key}: there is no file {path}; {REMEDY}")
        return path
    scheme, _, name = checkpoint.partition("://")
    if scheme in ("open-mmlab", "openmmlab"):
        url = get_external_models().get(get_deprecated_model_names().get(name, name))
        if url is None:
            raise ValueError(f"{key}: mmengine knows no weights {checkpoint}; {REMEDY}")
        if not _is_remote(url):
            return None  # a file that the user's own open_mmlab.json names
    elif scheme in ("http", "https"):
        url = checkpoint
    else:
        return None
    path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    if is_main_process():
        _download(url, path, key)
    barrier()
    _download(url, path, key)  # ranks on another machine, which has a cache of its own
    return path


def _download(url: str, path: Path, key: str) -> None:
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:  # no network, an HTTP error, a full disk
        raise FileNotFoundError(
            f"{key}: {url} cannot be downloaded ({error}); without a network, put the file at {path}, "
            "or set model.pretrained=/path/to/file"
        ) from error


def _digest_in(path: Path) -> str | None:
    """The first eight digits of the sha256 that a file's name ends with, or None."""
    found = re.search(r"-([0-9a-f]{8})$", path.stem)
    return found and found[1]


def _read(path: Path, key: str) -> dict[str, Tensor]:
    """The file's tensors under the names that mmengine's loader gives them. Runs no code of the file."""
    expected = _digest_in(path)
    if expected:
        digest = sha256(path.read_bytes()).hexdigest()
        if not digest.startswith(expected):
            message = f"{key}: the sha256 of {path} begins with {digest[:8]} and not as its name says; is it damaged?"
            print_log(message, logger="current", level=logging.WARNING)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError) as error:  # RuntimeError: a damaged zip archive
        raise ValueError(
            f"{key}: {path} is no checkpoint of tensors alone ({_first_line(error)}); other files could run code and "
            "are not read"
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    found = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{key}: {path} holds no named tensors; {REMEDY}")
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
