#!/usr/bin/env python
"""Evaluate a detectron2 checkpoint with the official COCO evaluator, under any reduction of FFC's outputs.

One pass over the data for all of them. Writes, under ``--output``: ``reductions.json`` with every score,
``<dataset>/<reduction>/coco_instances_results.json`` in COCO's result format (for the test server too: name
``coco_2017_test-dev`` in DATASETS.TEST), and a Markdown table on the standard output. A checkpoint that lacks weights
of the model is refused.

    python tools/eval_coco.py --config-file CONFIG.yaml --reduce all [--num-gpus 8] MODEL.WEIGHTS model_final.pth

The yaml twin of a LazyConfig has the same parameter names and evaluates its checkpoints.
"""

import json
import math
import os
import sys
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer, default_argument_parser, launch
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.utils import comm
from torch import nn
from train_net import setup

from ffc_dense.detection import AllReductions, EvalCheckpointer, PerReduction, add_ffc_config
from ffc_dense.detection.data_files import merge_config_file
from ffc_dense.reductions import choose_reductions
from ffc_dense.safe_files import UnsafeFileError, add_weights_only_argument

COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def load(cfg: CfgNode, wanted: list[str]) -> tuple[nn.Module, list[str]]:
    """The trained detector, and the names of the reductions to evaluate it under."""
    model = DefaultTrainer.build_model(cfg)
    names = choose_reductions(model, wanted)
    EvalCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model, names


def evaluate(cfg: CfgNode, model: nn.Module, names: list[str]) -> dict:
    """{dataset: {reduction: {"bbox": {"AP": percent, ...}, ...}}}; empty on other ranks than the first."""
    scores = {}
    for dataset in cfg.DATASETS.TEST:
        folders = {name: os.path.join(cfg.OUTPUT_DIR, dataset, name) for name in names}
        # The official implementation, where detectron2 would prefer its own faster one.
        evaluators = {name: COCOEvaluator(dataset, output_dir=folders[name], use_fast_impl=False) for name in names}
        loader = DefaultTrainer.build_test_loader(cfg, dataset)
        scores[dataset] = inference_on_dataset(AllReductions(model, names), loader, PerReduction(evaluators))
    return scores


def without_nan(node):
    """JSON knows no nan: None stands for the score of a size or class that the dataset does not have."""
    if isinstance(node, dict):
        return {key: without_nan(value) for key, value in node.items()}
    return None if isinstance(node, float) and math.isnan(node) else node


def table(scores: dict) -> str:
    """Markdown, a row per dataset, task and reduction."""
    lines = [f"| dataset | task | reduction | {' | '.join(COLUMNS)} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for dataset, reductions in scores.items():
        for name, results in reductions.items():
            for task, values in (results or {}).items():
                cells = [f"{values[column]:.2f}" for column in COLUMNS]
                lines.append(f"| {dataset} | {task} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def checkpoint_and_output(args) -> tuple[str, str]:
    """The checkpoint to evaluate and the folder for the results: of its own, so that no training's files are replaced.

    Raises:
        FileNotFoundError: no checkpoint is named, or ``--resume`` finds none.
        ValueError: the config is not a yaml file, or the folder cannot be told from the checkpoint.
    """
    if not args.config_file.endswith((".yaml", ".yml")):
        raise ValueError(f"--config-file: expected a .yaml file, got {args.config_file!r} (a LazyConfig's yaml twin)")
    cfg = get_cfg()
    add_ffc_config(cfg)
    merge_config_file(cfg, args.config_file)
    cfg.merge_from_list(args.opts)
    weights = cfg.MODEL.WEIGHTS
    if args.resume:
        checkpointer = EvalCheckpointer(nn.Module(), save_dir=cfg.OUTPUT_DIR)
        if not checkpointer.has_checkpoint():
            raise FileNotFoundError(f"--resume: there is no checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR}")
        weights = checkpointer.get_checkpoint_file()
    if not weights:
        raise FileNotFoundError("nothing to evaluate: add MODEL.WEIGHTS CHECKPOINT at the end, or --resume")
    if not args.output and "://" in weights:
        raise ValueError(f"--output: name a folder for the results of {weights}")
    path = Path(weights.split("?")[0])  # ?sha256=HEX may follow
    return weights, args.output or str(path.parent / f"eval_{path.stem}")


def main(args) -> dict:
    try:
        cfg = setup(args)
        model, names = load(cfg, args.reduce)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"eval_coco: {error}", file=sys.stderr)
        sys.exit(2)
    scores = evaluate(cfg, model, names)
    if comm.is_main_process():
        report = {"framework": "detectron2", "config": args.config_file, "weights": cfg.MODEL.WEIGHTS}
        first = cfg.DATASETS.TEST[0]
        scores_or_none = without_nan(scores)
        report |= {"dataset": first, "results": scores_or_none[first], "datasets": scores_or_none}
        Path(cfg.OUTPUT_DIR, "reductions.json").write_text(json.dumps(report, indent=1) + "\n")
        print(table(scores))
        print(f"scores and COCO result files: {cfg.OUTPUT_DIR}")
    return scores


def parse_args(argv: list[str] | None = None):
    parser = default_argument_parser(__doc__)
    parser.add_argument(
        "--reduce", type=lambda names: names.split(","), default=[], metavar="NAMES",
        help="vote, mean, out1 ... out7, several with commas, or all; default: the config's own. Not for stock models",
    )  # fmt: skip
    add_weights_only_argument(parser)
    parser.add_argument("--output", help="folder for the results; eval_CHECKPOINT beside the checkpoint by default")
    args = parser.parse_args(argv)
    try:
        weights, output = checkpoint_and_output(args)
    except (KeyError, OSError, UnsafeFileError, ValueError) as error:
        parser.error(str(error))
    args.opts = [*args.opts, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", output]
    args.eval_only, args.resume = True, False
    return args


if __name__ == "__main__":
    args = parse_args()
    launch(main, args.num_gpus, num_machines=args.num_machines, machine_rank=args.machine_rank,
           dist_url=args.dist_url, args=(args,))
