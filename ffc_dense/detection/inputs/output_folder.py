"""Where a command logs: a training in its own folder, an evaluation without touching a training's files."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from omegaconf import DictConfig

from ...errors import UserError

EVALUATION = "eval_only"
OF_TRAININGS = ("metrics.json", "last_checkpoint", "train_config.yaml", "*.pth")
OF_EVALUATIONS = ("results.json", "reductions.json", "ensemble.json")


def set_up(cfg: CfgNode | DictConfig, args: Namespace) -> str:
    """detectron2's ``default_setup``, except that an evaluation leaves what a training has in the output folder.

    The stock one writes ``config.yaml`` and goes on with ``log.txt`` at every start. Every process must call it. What
    ``config.yaml`` was before is kept in ``args`` for :func:`refused_resumption_restored`.

    Returns:
        The folder for config.yaml, log.txt and the predictions: the output folder or, for ``args.eval_only`` where a
        training is, ``eval_only`` in it.
    """
    folder = output_folder(cfg)
    if args.eval_only:
        folder = comm.all_gather(_of_evaluation(folder))[0]  # before any process writes there
    config = Path(folder, "config.yaml")
    args.config_before = (config, config.read_bytes()) if args.resume and config.is_file() else None
    default_setup(with_output_folder(cfg, folder), args)
    return folder


@contextmanager
def refused_resumption_restored(args: Namespace) -> Iterator[None]:
    """Within the context a :class:`UserError` leaves the folder's ``config.yaml`` as it was: no training has begun."""
    try:
        yield
    except UserError:
        if args.config_before is not None and comm.is_main_process():
            config, content = args.config_before
            config.write_bytes(content)
        raise


def output_folder(cfg: CfgNode | DictConfig) -> str:
    return cfg.OUTPUT_DIR if isinstance(cfg, CfgNode) else cfg.train.output_dir


def with_output_folder(cfg: CfgNode | DictConfig, folder: str) -> CfgNode | DictConfig:
    """``cfg``, or a copy that names another output folder."""
    if folder == output_folder(cfg):
        return cfg
    if isinstance(cfg, CfgNode):
        other = cfg.clone()
        other.defrost()
        other.OUTPUT_DIR = folder
        other.freeze()
        return other
    other = cfg.copy()
    other.train.output_dir = folder
    return other


def _of_evaluation(folder: str) -> str:
    path = Path(folder)
    trained = any(any(path.glob(name)) for name in OF_TRAININGS)
    unknown = (path / "config.yaml").is_file() and not any((path / name).is_file() for name in OF_EVALUATIONS)
    return str(path / EVALUATION) if trained or unknown else folder
