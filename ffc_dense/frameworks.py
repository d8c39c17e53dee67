"""The frameworks, a row each: how their configs are recognised, which package serves them, what scores them.

Standard library alone, so that every command can ask before it imports a framework.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .scopes import imported_modules, mmengine_scope


@dataclass(frozen=True)
class Framework:
    """What the rest of the package must know of a framework.

    Args:
        name: as run folders, JSON files and ``Run.framework`` name it.
        title: as prose names it.
        adapter: our package for it; its ``commands`` are what ``ffc-dense`` runs.
        package: the import name that has to be installed.
        install: what to do if it is not.
        reader: the module of ``ffc_dense.runs`` that knows its run folders.
        task: in one word.
        unit: what the outputs decide on.
        metrics: of the tables, in their order; ``main_metric`` is the one that decides.
        log_prefix: what stands before a metric's name in its logs and results.
        weights_key: of the weights in its checkpoints.
        scope: mmengine's ``default_scope`` of its configs; '' for a framework without mmengine.
        head: of mmengine's frameworks, the key of the head in the config's ``model``.
    """

    name: str
    title: str
    adapter: str
    package: str
    install: str
    reader: str
    task: str
    unit: str
    metrics: tuple[str, ...]
    main_metric: str
    log_prefix: str
    weights_key: str
    scope: str = ""
    head: str = ""

    def logged(self, metric: str) -> str:
        """The key of a metric in the logs."""
        return self.log_prefix + metric


DETECTRON2 = Framework(
    name="detectron2",
    title="detectron2",
    adapter="ffc_dense.detection",
    package="detectron2",
    install="pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git', "
    "then pip install 'ffc_dense[detection]'",
    reader="ffc_dense.runs.detectron2_runs",
    task="detection",
    unit="proposals",
    metrics=("AP50", "AP75", "AP"),
    main_metric="AP",
    log_prefix="bbox/",
    weights_key="model",
)
MMSEG = Framework(
    name="mmseg",
    title="MMSegmentation",
    adapter="ffc_dense.segmentation",
    package="mmseg",
    install="pip install 'ffc_dense[segmentation]' (maintained packages), or mmsegmentation>=1.2 with a matching mmcv",
    reader="ffc_dense.runs.mmengine_runs",
    task="segmentation",
    unit="pixels",
    metrics=("mIoU", "mAcc", "aAcc"),
    main_metric="mIoU",
    log_prefix="",
    weights_key="state_dict",
    scope="mmseg",
    head="decode_head",
)
MMPRETRAIN = Framework(
    name="mmpretrain",
    title="MMPretrain",
    adapter="ffc_dense.classification",
    package="mmpretrain",
    install="pip install 'ffc_dense[classification]' (maintained packages), or mmpretrain>=1.2 with a matching mmcv",
    reader="ffc_dense.runs.mmengine_runs",
    task="classification",
    unit="images",
    metrics=("top1", "top5"),
    main_metric="top1",
    log_prefix="accuracy/",
    weights_key="state_dict",
    scope="mmpretrain",
    head="head",
)
FRAMEWORKS = (DETECTRON2, MMSEG, MMPRETRAIN)


def by_name(name: str) -> Framework:
    """The row of a framework, as run folders and JSON files name it.

    Raises:
        KeyError: there is none.
    """
    return {framework.name: framework for framework in FRAMEWORKS}[name]


def recognise(config: str | Path) -> tuple[Framework, str]:
    """The framework of a config file and the file's kind: 'yaml', 'lazy' (detectron2's LazyConfig) or 'mmengine'.

    Nothing in the file runs. Its import statements tell a LazyConfig from mmengine's Python configs, its keys a
    detectron2 yaml (MODEL, _BASE_) from mmengine's (model, _base_) and from a saved LazyConfig (_target_);
    :func:`.mmengine_scope` tells the frameworks on mmengine apart.

    Raises:
        UserError: there is no such file, or it is no config of a known framework.
    """
    path = Path(config)
    if not path.is_file():
        raise UserError(f"the config {path} is not a file")
    if path.suffix in (".yaml", ".yml"):
        text = path.read_text(errors="replace")
        if "_target_" in text:
            return DETECTRON2, "lazy"
        keys = re.findall(r"^([A-Za-z_]+):", text, re.MULTILINE)
        return (_on_mmengine(path), "mmengine") if any(map(str.islower, keys)) else (DETECTRON2, "yaml")
    if path.suffix == ".json":
        return _on_mmengine(path), "mmengine"
    if path.suffix != ".py":
        raise UserError(f"{path}: expected detectron2's .yaml, or a .py of mmseg or mmpretrain")
    return (DETECTRON2, "lazy") if _is_lazy(path) else (_on_mmengine(path), "mmengine")


def _on_mmengine(path: Path) -> Framework:
    """Whose an mmengine config is: MMSegmentation's, unless it or a base of it says otherwise."""
    scope = mmengine_scope(path)
    return next((row for row in FRAMEWORKS if scope and row.scope == scope), MMSEG)


def _is_lazy(path: Path) -> bool:
    """Whether a Python config is a LazyConfig: it imports detectron2, our adapter of it, or a neighbouring file."""
    try:
        modules = imported_modules(ast.parse(path.read_text(errors="replace")))
    except SyntaxError:
        return False  # the framework says where
    return any(each.startswith((".", "detectron2", DETECTRON2.adapter, "omegaconf")) for each in modules)


def framework_of(config: str, checkpoint: str, overrides: list[str], cfg_options: list[str] | None) -> Framework:
    """The framework of a config that has a checkpoint and overrides.

    Args:
        config: detectron2's yaml, or a Python file of a framework on mmengine.
        checkpoint: a file, or an address, which the framework looks up; ``?sha256=HEX`` may follow.
        overrides: detectron2's KEY VALUE pairs, of a LazyConfig KEY=VALUE.
        cfg_options: mmengine's KEY=VALUE pairs.

    Raises:
        UserError: the config or the checkpoint is not there, or the overrides are those of the other framework.
    """
    from .safe_files import without_query  # imports torch

    framework, _ = recognise(config)
    if "://" not in checkpoint and not Path(without_query(checkpoint)).is_file():
        raise UserError(f"the checkpoint {Path(without_query(checkpoint))} is not a file")
    if framework is DETECTRON2 and cfg_options:
        raise UserError(
            f"--cfg-options are for mmseg and mmpretrain, {config} is detectron2's: write KEY VALUE instead"
        )
    if framework.scope and overrides:
        raise UserError(f"{' '.join(overrides)}: {config} is {framework.name}'s, write --cfg-options KEY=VALUE instead")
    return framework
