"""Check the weights that a model starts from, before its first iteration."""

import logging
from collections.abc import Iterator
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ...safe_files import UnsafeFileError, check_digest, split_sha256
from .config_errors import type_name
from .mmengine_files import read_checkpoint
from .weight_addresses import REMEDY, is_remote, weights_file


@HOOKS.register_module()
class InitialWeightsHook(Hook):
    """Refuse to train from initial weights that are missing, damaged or of another architecture.

    mmengine itself loads ``init_cfg=dict(type='Pretrained', ...)`` (what ``model.pretrained`` becomes) with
    ``strict=False``: keys that do not fit are logged and their layers stay random. It also falls back to unpickling
    when a file holds more than tensors. With this hook in ``custom_hooks``, a training run ends before that happens,
    unless every tensor of the module is in the file with its shape. Of ``load_from`` the backbone is asked for: heads
    may have other classes. Further keys of the file, such as an ImageNet classifier, are allowed. A file whose name
    ends in ``-`` and eight hexadecimal digits should have a sha256 that
    begins so (OpenMMLab's and PyTorch's convention); if it has not, a warning says so. Testing is not checked: it
    overwrites these weights.

    ``open-mmlab://`` and ``torchvision://`` names and http(s) addresses are downloaded to torch's cache, where mmengine
    finds them; the file of a storage back end is read through it. ``mmcls://`` and schemes of a loader of the user's
    own are left to mmengine, or refused by :mod:`.safe_loading`.

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
        load_from = split_sha256(load_from)[0] if load_from else None
        if load_from and not is_remote(load_from) and not Path(load_from).expanduser().is_file():
            raise FileNotFoundError(f"load_from: there is no file {load_from}; give the path of a checkpoint, or None")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, "backbone", None)
        if load_from and not runner.cfg.get("resume") and isinstance(backbone, nn.Module):
            check_initial_weights(backbone, runner.cfg["load_from"], "backbone", "load_from", of_model=True)
        for name, module, init in pretrained_modules(model):
            key = f"model.{name}.init_cfg.checkpoint".replace("..", ".")
            check_initial_weights(module, init["checkpoint"], init.get("prefix"), key)


def pretrained_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict]]:
    """(dotted name, module, its ``init_cfg`` of type Pretrained) for every such module of a model."""
    for name, module in model.named_modules():
        found = getattr(module, "init_cfg", None) or []
        for init in found if isinstance(found, list | tuple) else [found]:
            if type_name(init) in ("Pretrained", "PretrainedInit"):
                yield name, module, init


def check_initial_weights(
    module: nn.Module, checkpoint: str, prefix: str | None, key: str, of_model: bool = False
) -> None:
    """Raise unless ``checkpoint`` holds every tensor of ``module``.

    Args:
        checkpoint: a path, an ``open-mmlab://`` or ``torchvision://`` name, an http(s) address or one of a registered
            storage back end; ``?sha256=HEX`` may follow.
        prefix: of the module's keys in the file.
        key: the config key that names the checkpoint, for the error messages.
        of_model: the file is that of a whole model, from whose keys mmengine takes ``module.`` away.
    """
    place, digest = split_sha256(checkpoint)
    with weights_file(place, key) as path:
        if path is None:
            return
        check_digest(path, digest, lambda message: print_log(f"{key}: {message}", "current", logging.WARNING))
        given = _read(path, key)
    if of_model or not prefix:  # mmengine's loader takes this one away, unless it is asked for a prefix
        given = {name.removeprefix("module."): tensor for name, tensor in given.items()}
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
        f"{key}: {place} {' and '.join(faults)} of the {len(needed)} that {type(module).__name__} needs; {remedy}"
    )


def _read(path: Path, key: str) -> dict[str, Tensor]:
    """The file's tensors. Runs no code of the file."""
    try:
        content = read_checkpoint(path)
    except UnsafeFileError as error:
        raise ValueError(f"{key}: {error}") from error
    content = content.get("state_dict", content)
    found = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{key}: {path} holds no named tensors; {REMEDY}")
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
