#!/usr/bin/env python
"""Evaluate a detectron2 checkpoint with the official COCO evaluator, under any reduction of FFC's outputs.

One pass over the data for all of them. Writes, under ``--output``: ``reductions.json`` with every score,
``<dataset>/<reduction>/coco_instances_results.json`` in COCO's result format (for the test server too: name
``coco_2017_test-dev`` in DATASETS.TEST), and a Markdown table on the standard output. A checkpoint that lacks weights
of the model is refused.

    python tools/eval_coco.py --config-file CONFIG.yaml --reduce all [--num-gpus 8] MODEL.WEIGHTS model_final.pth
"""

import json
import math
import os
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, default_argument_parser, launch
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.utils import comm
from train_net import setup

from ffc_dense.detection import AllReductions, EvalCheckpointer, PerReduction
from ffc_dense.reductions import choose_reductions

COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def evaluate(cfg: CfgNode, wanted: list[str], resume: bool) -> dict:
    """{dataset: {reduction: {"bbox": {"AP": percent, ...}, ...}}}; empty on other ranks than the first."""
    model = DefaultTrainer.build_model(cfg)
    names = choose_reductions(model, wanted)
    EvalCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
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


def main(args) -> dict:
    cfg = setup(args)
    scores = evaluate(cfg, args.reduce, args.resume)
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
        "--reduce", nargs="+", default=[], metavar="NAME",
        help="vote, mean, out1 ... out7, or all; the config's own by default. Not for stock models",
    )  # fmt: skip
    parser.add_argument("--output", help="folder for the results; OUTPUT_DIR of the config by default")
    args = parser.parse_args(argv)
    args.eval_only = True
    if args.output:
        args.opts = [*args.opts, "OUTPUT_DIR", args.output]
    return args


if __name__ == "__main__":
    args = parse_args()
    launch(main, args.num_gpus, num_machines=args.num_machines, machine_rank=args.machine_rank,
           dist_url=args.dist_url, args=(args,))
