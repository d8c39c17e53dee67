"""Evaluate an mmpretrain checkpoint on its test set, under any test mode of FFC, in one pass over the data.

Scores are those of the config's own ``test_evaluator`` (Top-1 and Top-5; under the vote Top-5 is that of the winning
output). Writes ``reductions.json`` into ``--output``. A checkpoint that lacks weights of the model, or was trained with
classes in another order than the test set's, is refused. With ``--opinions`` also ``predictions/<reduction>.csv`` and
``.json``: for every image the label, its probability, how many outputs chose it and what each of them chose. With
``--ensemble`` several checkpoints decide as one, scored in ``ensemble.json``.

    ffc-dense evaluate CONFIG.py epoch_90.pth --reduce all
    ffc-dense evaluate CONFIG.py seed0/epoch_90.pth --ensemble seed1/epoch_90.pth --reduce vote,mean
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ffc_dense import text
from ffc_dense.classification.model.cls_head import FFCClsHead
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting
from ffc_dense.frameworks import MMPRETRAIN
from ffc_dense.openmmlab.commands.evaluation import (
    add_arguments,
    nested,
    parsed,
    read_test_config,
    run,
    write_report,
)
from ffc_dense.openmmlab.evaluation.evaluators import joined, listed, loop_config, per_reduction
from ffc_dense.openmmlab.inputs.checkpoint import check_class_order
from ffc_dense.openmmlab.inputs.config_checks import check_folders
from ffc_dense.runs.files import is_number

PROG = "evaluate"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--opinions", action="store_true", help="write the votes of the outputs for every image")
    return parsed(parser, argv)


def evaluation_config(args: argparse.Namespace) -> Config:
    cfg = read_test_config(args, MMPRETRAIN)
    if not cfg.get("test_evaluator"):
        raise UserError("test_evaluator: the config has none; set it, such as to dict(type='Accuracy', topk=(1, 5))")
    check_folders(cfg, ("test_dataloader",))
    cfg.test_dataloader.setdefault("collate_fn", dict(type="default_collate"))  # as mmpretrain's test.py
    if args.ensemble:
        cfg.model = dict(type="mmpretrain.ClassifierEnsemble", member=cfg.model, size=1 + len(args.ensemble))
    metrics = [per_reduction(metric) for metric in listed(cfg.test_evaluator)]
    if args.opinions:
        path = str(Path(cfg.work_dir, "predictions", "{reduction}"))
        metrics.append(dict(type="mmpretrain.PredictionWriter", path=path))
    cfg.test_evaluator = joined(cfg, metrics)
    cfg.test_cfg = loop_config(cfg, "mmpretrain.AllReductionsTestLoop", reductions=args.reduce)
    return cfg


def check_class_folders(runner: Runner, checkpoints: list[str]) -> None:
    """Refuse checkpoints whose classes are not those of the test set, in their order: folders have no other names."""
    check_class_order(runner, checkpoints, "test on the same class folders", renamed=False)


def table(results: dict) -> str:
    """Markdown, a row per test mode."""
    found = dict.fromkeys(key for scores in results.values() for key, value in scores.items() if is_number(value))
    keys = [*(key for key in MMPRETRAIN.metrics if key in found), *(k for k in found if k not in MMPRETRAIN.metrics)]
    rows = [[name, *("-" if scores.get(k) is None else f"{scores[k]:.2f}" for k in keys)]
            for name, scores in results.items()]  # fmt: skip
    return text.table(["test mode", *keys], rows)


def with_opinions(runner: Runner) -> None:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if isinstance(model.head, FFCClsHead):
        model.head.opinions = True


def main(args: argparse.Namespace) -> None:
    def check(runner: Runner, checkpoints: list[str]) -> None:
        check_class_folders(runner, checkpoints)
        if args.opinions:
            with_opinions(runner)

    cfg, metrics = run(args, evaluation_config, PROG, check)
    if not is_main_process():
        return
    prefix = f"/{MMPRETRAIN.log_prefix}"
    results = nested({name.replace(prefix, "/", 1): value for name, value in metrics.items()})
    path = write_report(args, cfg, MMPRETRAIN, results)
    print(table(results))
    print(f"scores: {path}" + (f", predictions: {path.parent / 'predictions'}" if args.opinions else ""))


def command(argv: list[str] | None = None) -> None:
    with reporting(PROG, "--debug" in (sys.argv[1:] if argv is None else argv)):
        main(parse_args(argv))
