"""Evaluate a detectron2 checkpoint with the official COCO evaluator, under any reduction of FFC's outputs.

One pass over the data for all of them. Writes, under ``--output``: ``reductions.json`` with every score,
``<dataset>/<reduction>/coco_instances_results.json`` in COCO's result format (for the test server too: name
``coco_2017_test-dev`` in DATASETS.TEST), and a Markdown table on the standard output. A checkpoint that lacks weights
of the model is refused.

    python tools/eval_coco.py --config-file CONFIG.yaml --reduce all [--num-gpus 8] MODEL.WEIGHTS model_final.pth

``--opinions`` adds to every detection in the result files what the outputs said of it; scores and AP stay the same.
``--ensemble`` evaluates several checkpoints as one detector, under vote and mean (paper Table 7), and writes
``ensemble.json`` in the place of ``reductions.json``.

The yaml twin of a LazyConfig has the same parameter names and evaluates its checkpoints.
"""

import os
import re
import sys
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, default_argument_parser
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.utils import comm
from torch import nn

from ffc_dense import text
from ffc_dense.detection import (
    AllReductions,
    DetectorEnsemble,
    EvalCheckpointer,
    OpinionCOCOEvaluator,
    PerReduction,
    request_opinions,
)
from ffc_dense.detection.commands.train import setup
from ffc_dense.detection.inputs.config_errors import explain_build
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.detection.inputs.startup import check_weights
from ffc_dense.detection.model.opinions import FFC_TWINS
from ffc_dense.detection.training.preemption import launch
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.frameworks import DETECTRON2
from ffc_dense.method.reductions import choose_reductions
from ffc_dense.runs.files import within_run
from ffc_dense.safe_files import add_weights_only_argument, require_safetensors, without_query

COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
INPUT = ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST")  # what the members of an ensemble must read alike
CONFIG_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+")


def load(cfg: CfgNode, wanted: list[str], opinions: bool = False) -> AllReductions:
    """The trained detector, under each of the wanted reductions."""
    stock = opinions and cfg.MODEL.ROI_HEADS.NAME in FFC_TWINS
    if opinions:
        cfg = cfg.clone()
        cfg.defrost()
        request_opinions(cfg)
    model = DefaultTrainer.build_model(cfg)
    # A stock model that gives its opinions has FFC's classifier without filters: it has no reductions all the same.
    names = choose_reductions(nn.Identity() if stock else model, wanted)
    EvalCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return AllReductions(model, names)


def load_ensemble(cfgs: list[CfgNode], wanted: list[str], opinions: bool = False) -> DetectorEnsemble:
    """The trained detectors as one, under each of the wanted reductions, vote and mean by default.

    Raises:
        UserError: the detectors do not fit together.
    """
    for number, cfg in enumerate(cfgs[1:], start=2):
        for key in INPUT:
            if cfg.INPUT[key] != cfgs[0].INPUT[key]:
                values = f"{cfgs[0].INPUT[key]} and {cfg.INPUT[key]}"
                raise UserError(f"--ensemble: detectors 1 and {number} differ in INPUT.{key}: {values}")
    members = []
    for cfg in cfgs:
        members.append(DefaultTrainer.build_model(cfg).eval())
        EvalCheckpointer(members[-1]).load(cfg.MODEL.WEIGHTS)
    names = ["vote", "mean"] if not wanted or "all" in wanted else list(dict.fromkeys(wanted))
    return DetectorEnsemble(members, names, opinions)


def evaluate(cfg: CfgNode, model: AllReductions | DetectorEnsemble, opinions: bool = False) -> dict:
    """{dataset: {reduction: {"bbox": {"AP": percent, ...}, ...}}}; empty on other ranks than the first."""
    evaluator = OpinionCOCOEvaluator if opinions else COCOEvaluator
    scores = {}
    for dataset in cfg.DATASETS.TEST:
        folders = {name: os.path.join(cfg.OUTPUT_DIR, dataset, name) for name in model.names}
        # The official implementation, where detectron2 would prefer its own faster one.
        evaluators = {name: evaluator(dataset, output_dir=folders[name], use_fast_impl=False) for name in model.names}
        loader = DefaultTrainer.build_test_loader(cfg, dataset)
        scores[dataset] = inference_on_dataset(model, loader, PerReduction(evaluators))
    return scores


def table(scores: dict) -> str:
    """Markdown, a row per dataset, task and reduction."""
    rows = [
        [dataset, task, name, *(f"{values[column]:.2f}" for column in COLUMNS)]
        for dataset, reductions in scores.items()
        for name, results in reductions.items()
        for task, values in (results or {}).items()
    ]
    return text.table(["dataset", "task", "reduction", *COLUMNS], rows)


def checkpoint_and_output(args) -> tuple[str, str]:
    """The checkpoint to evaluate and the folder for the results: of its own, so that no training's files are replaced.

    Raises:
        UserError: the config is wrong or not a yaml file, no checkpoint is named, ``--resume`` finds none, or the
            folder cannot be told from the checkpoint.
    """
    for flag, file in [("--config-file", args.config_file), *(("--ensemble-configs", file) for file in args.configs)]:
        if not file.endswith((".yaml", ".yml")):
            raise UserError(f"{flag}: expected a .yaml file, got {file!r} (a LazyConfig's yaml twin)")
    cfg = read_config(args.config_file, args.opts)
    weights = cfg.MODEL.WEIGHTS
    if args.resume:
        checkpointer = EvalCheckpointer(nn.Module(), save_dir=cfg.OUTPUT_DIR)
        if not checkpointer.has_checkpoint():
            raise UserError(f"--resume: there is no checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR}")
        weights = checkpointer.get_checkpoint_file()
    if not weights:
        raise UserError("nothing to evaluate: add MODEL.WEIGHTS CHECKPOINT at the end, or --resume")
    if not args.output and args.ensemble:
        raise UserError("--output: name a folder for the results of the ensemble")
    if not args.output and "://" in weights:
        raise UserError(f"--output: name a folder for the results of {weights}")
    path = Path(without_query(weights))  # ?sha256=HEX may follow
    return weights, args.output or str(path.parent / f"eval_{path.stem}")


def main(args) -> dict:
    cfg = setup(args)
    with reading_input(partial(explain_build, cfg=cfg)):
        if args.ensemble:
            others = [read_config(file, [*args.opts, "MODEL.DEVICE", cfg.MODEL.DEVICE, "MODEL.WEIGHTS", weights])
                      for file, weights in zip(args.configs, args.ensemble, strict=True)]  # fmt: skip
            for other in others:
                if args.weights_only:
                    require_safetensors(other.MODEL.WEIGHTS, "--ensemble")
                check_weights(other.MODEL.WEIGHTS, "--ensemble", needed=True)
            model = load_ensemble([cfg, *others], args.reduce, args.opinions)
        else:
            model = load(cfg, args.reduce, args.opinions)
    scores = evaluate(cfg, model, args.opinions)
    if comm.is_main_process():
        report = {"framework": DETECTRON2.name, "config": args.config_file, "weights": cfg.MODEL.WEIGHTS}
        if args.ensemble:
            report["ensemble"] = [list(pair) for pair in zip(args.configs, args.ensemble, strict=True)]
        report |= within_run(cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR)
        first = cfg.DATASETS.TEST[0]
        report |= {"dataset": first, "results": scores[first], "datasets": scores}
        # Not reductions.json, whose scores belong to one training.
        file = Path(cfg.OUTPUT_DIR, "ensemble.json" if args.ensemble else "reductions.json")
        text.write_json(report, file)
        print(table(scores))
        print(f"scores and COCO result files: {cfg.OUTPUT_DIR}")
    return scores


def without_config_keys(values: list[str]) -> tuple[list[str], list[str]]:
    """The files that follow an option of many, and the KEY VALUE pairs that argparse has taken for more of them."""
    first = next((i for i, value in enumerate(values) if CONFIG_KEY.fullmatch(value)), len(values))
    return values[:first], values[first:]


def parse_args(argv: list[str] | None = None):
    parser = default_argument_parser(__doc__)
    parser.add_argument(
        "--reduce", type=lambda names: names.split(","), default=[], metavar="NAMES",
        help="vote, mean, out1 ... out7, several with commas, or all; default: the config's own. Not for stock models",
    )  # fmt: skip
    add_weights_only_argument(parser)
    parser.add_argument("--output", help="folder for the results; eval_CHECKPOINT beside the checkpoint by default")
    parser.add_argument(
        "--opinions", action="store_true",
        help="write the class distribution, the votes and the winning output of every detection to the result files",
    )  # fmt: skip
    parser.add_argument(
        "--ensemble", nargs="+", default=[], metavar="CHECKPOINT",
        help="further checkpoints; they and MODEL.WEIGHTS detect as one, under vote and mean",
    )  # fmt: skip
    parser.add_argument(
        "--ensemble-configs", nargs="+", default=[], metavar="CONFIG", dest="configs",
        help="their configs, one for each --ensemble checkpoint; --config-file by default",
    )  # fmt: skip
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    for name in ("ensemble", "configs"):
        files, pairs = without_config_keys(getattr(args, name))
        setattr(args, name, files)
        args.opts = [*pairs, *args.opts]
    if args.configs and len(args.configs) != len(args.ensemble):
        parser.error(f"--ensemble-configs: {len(args.configs)} configs for {len(args.ensemble)} --ensemble checkpoints")
    args.configs = args.configs or [args.config_file] * len(args.ensemble)
    weights, output = checkpoint_and_output(args)
    args.opts = [*args.opts, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", output]
    args.eval_only, args.resume = True, False
    return args


def reported_main(args) -> dict:
    """:func:`main`, where an error of the input is a message and an exit code; in each process of the job."""
    with reporting("eval_coco.py", args.debug):
        return main(args)


def command(argv: list[str] | None = None) -> None:
    with reporting("eval_coco.py", "--debug" in (sys.argv[1:] if argv is None else argv)):
        args = parse_args(argv)
        launch(
            reported_main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
