"""The settings of a LazyConfig's training, from the config.yaml that it saved.

The file is read as data: a tag's object is read as the plain values below the tag.
"""

import copy
from pathlib import Path
from typing import Any

from ..method import options
from .run import STOCK
from .train_config import without

PREDICTOR = "FFCFastRCNNOutputLayers"
# As INCIDENTAL of train_config.py.
INCIDENTAL = (
    "train.seed", "train.output_dir", "train.device", "train.eval_period", "train.log_period", "train.checkpointer",
    "train.non_finite_loss", "train.ffc_scalars_period", "train.cudnn_benchmark", "dataloader.train.num_workers",
    "dataloader.test.num_workers", "dataloader.evaluator",
)  # fmt: skip


def read_settings(path: Path) -> dict:
    """The mapping in the file.

    Raises:
        ValueError: it is no yaml, or no LazyConfig's.
    """
    import yaml

    class Plain(yaml.SafeLoader):
        pass

    def plain(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Plain.add_multi_constructor("tag:yaml.org,2002:python/", plain)
    try:
        content = Plain(path.read_text()).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid yaml: {error}") from error
    if not isinstance(content, dict) or not {"train", "model"} <= content.keys():
        raise ValueError(f"{path} is not from a LazyConfig: it has no train or no model")
    return content


def predictors(cfg: dict) -> list[dict]:
    """The nodes of the box predictors; a cascade has one per stage."""
    heads = cfg["model"].get("roi_heads") or {}
    found = heads.get("box_predictors", heads.get("box_predictor"))
    return [node for node in (found if isinstance(found, list) else [found]) if isinstance(node, dict)]


def variant(cfg: dict) -> str:
    """The variant of a run: 'stock', or 'FFC' with the options that are not the default."""
    for node in predictors(cfg):
        if str(node.get("_target_", "")).endswith(PREDICTOR):
            given = {name: node[name] for name in options.OPTIONS if name in node}
            return " ".join(["FFC", *(f"{name}={value}" for name, value in options.changed(given).items())])
    return STOCK


def reduction(cfg: dict) -> str:
    return STOCK if variant(cfg) == STOCK else str(predictors(cfg)[0].get("test_reduce", "vote"))


def test_sets(cfg: dict) -> tuple[str, ...]:
    test = (cfg.get("dataloader") or {}).get("test") or {}
    names = (test.get("dataset") or {}).get("names", ())
    return (names,) if isinstance(names, str) else tuple(names or ())


def compared(cfg: dict, folder: Path) -> dict:
    """The settings that comparable runs have in common: without the machine, the seed and FFC."""
    cfg = without(copy.deepcopy(cfg), INCIDENTAL)
    for node in predictors(cfg):
        node["_target_"] = str(node.get("_target_", "")).rpartition(".")[2].removeprefix("FFC")
        for name in (*options.OPTIONS, "opinions"):
            node.pop(name, None)
    weights = str(cfg["train"].get("init_checkpoint") or "")
    if weights and Path(weights).parent.resolve() == folder.resolve():
        del cfg["train"]["init_checkpoint"]
    return cfg
