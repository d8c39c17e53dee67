"""Evaluate an mmseg checkpoint on Cityscapes, under any reduction of FFC's outputs, in one pass over the data.

Scores come from mmseg's IoUMetric and from cityscapesscripts on the PNGs of label ids that are written for it; the two
must agree to 1e-6. Writes, under ``--work-dir``: ``reductions.json`` with every score and ``png/<reduction>/*.png``,
which the test server takes (``--split test`` writes them without scores). A checkpoint that lacks weights of the model
is refused. With ``--maps`` also ``maps/<reduction>/*``: every pixel's confidence and, under the vote, agreement, as
NumPy archives and greyscale PNGs. With ``--ensemble`` several checkpoints decide as one, scored in ``ensemble.json``.

    python tools/eval_cityscapes.py CONFIG.py iter_40000.pth --reduce all
    python tools/eval_cityscapes.py CONFIG.py seed0/iter_40000.pth --ensemble seed1/iter_40000.pth --reduce vote,mean
    torchrun --nproc-per-node 4 tools/eval_cityscapes.py CONFIG.py iter_40000.pth --reduce all --launcher pytorch
"""

import argparse
import math
import os
import sys
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ffc_dense import text
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.frameworks import MMSEG
from ffc_dense.method.reductions import choose_reductions
from ffc_dense.openmmlab.commands.scripts import join_on_cpu
from ffc_dense.openmmlab.inputs import safe_loading
from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation
from ffc_dense.openmmlab.inputs.config_checks import check_folders
from ffc_dense.openmmlab.inputs.config_errors import explain_build, in_a_loop
from ffc_dense.openmmlab.inputs.data_configs import check_config_files, check_values, forbid_imports_by_name
from ffc_dense.openmmlab.inputs.read_config import read_config
from ffc_dense.safe_files import add_weights_only_argument, require_safetensors, without_query
from ffc_dense.segmentation import with_opinions

OFFICIAL = "cityscapesscripts"
AGREEMENT = 1e-6  # between the two evaluators, as a share of 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help=".pth or .safetensors file; ?sha256=HEX may follow")
    parser.add_argument(
        "--reduce",
        type=lambda names: names.split(","),
        default=[],
        metavar="NAMES",
        help="vote, mean, out1 ... out7, several with commas, or all; the config's own by default. Not "
        "for stock models",
    )
    parser.add_argument(
        "--ensemble",
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="more checkpoints of this config: the outputs of all vote together, or are averaged",
    )
    parser.add_argument(
        "--output",
        "--work-dir",
        dest="work_dir",
        metavar="DIR",
        help="default: eval_CHECKPOINT beside the checkpoint; of an ensemble of N, ensemble_N_CHECKPOINT",
    )
    parser.add_argument(
        "--split",
        choices=["val", "test"],
        default="val",
        help="test: the images without labels; writes PNGs for the test server only",
    )
    parser.add_argument("--no-png", action="store_true", help="write no PNGs, and so do without cityscapesscripts")
    parser.add_argument(
        "--opinions", "--maps", dest="maps", action="store_true", help="write agreement and confidence of every pixel"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides of the config")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: join processes with gloo")
    add_weights_only_argument(parser)
    add_debug_argument(parser)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    with reading_input(lambda error: f"--cfg-options: expected KEY=VALUE pairs ({error})"):
        args = parser.parse_args(argv)
    if args.split == "test" and args.no_png:
        parser.error("--split test has no labels to score; without PNGs there is nothing to do")
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def evaluation_config(args: argparse.Namespace) -> Config:
    if args.weights_only:
        check_config_files(args.config)
        for path in (args.checkpoint, *args.ensemble):
            require_safetensors(path, "checkpoint")
        safe_loading.forbid_pickled_checkpoints()
        forbid_imports_by_name()
    cfg = read_config(args.config, args.cfg_options)
    if args.weights_only:
        check_values(cfg, args.config, weights=True)
    dataset = cfg.get("test_dataloader", {}).get("dataset", ConfigDict(type=None))
    if dataset.type != "CityscapesDataset":
        raise UserError(f"{args.config}: test_dataloader.dataset.type is {dataset.type!r}, expected CityscapesDataset")
    cfg.launcher = args.launcher
    if args.device == "cpu" and args.launcher != "none":
        cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
    checkpoint = Path(without_query(args.checkpoint))
    kind = f"ensemble_{1 + len(args.ensemble)}" if args.ensemble else "eval"
    cfg.work_dir = args.work_dir or str(checkpoint.parent / f"{kind}_{checkpoint.stem}")
    if args.ensemble:
        cfg.model = dict(type="SegmentorEnsemble", member=cfg.model, size=1 + len(args.ensemble))
    if args.maps:
        cfg.model = with_opinions(cfg.model)
    cfg.load_from, cfg.resume = None, False  # loaded here, with a check
    png = dict(
        type="CityscapesScriptsMetric",
        prefix=OFFICIAL,
        keep_results=True,
        output_dir=str(Path(cfg.work_dir, "png", "{reduction}")),
    )
    if args.split == "test":
        images = Path(dataset.get("data_root") or "", "leftImg8bit", "test")
        if not images.is_dir():
            raise UserError(f"--split test: there is no folder {images} (data_root of the config)")
        dataset.data_prefix = dict(img_path="leftImg8bit/test", seg_map_path="")
        dataset.test_mode = True
        dataset.pipeline = [step for step in dataset.pipeline if step.type != "LoadAnnotations"]
        evaluators = [{**png, "format_only": True}]
    else:
        scored = dict(type="UnroundedIoUMetric", iou_metrics=["mIoU"])
        evaluators = [scored] if args.no_png else [scored, png]
        check_folders(cfg, ("test_dataloader",))
    if args.maps:
        evaluators.append(dict(type="MapWriter", output_dir=str(Path(cfg.work_dir, "maps", "{reduction}"))))
    cfg.test_evaluator = evaluators
    cfg.test_cfg = dict(type="AllReductionsTestLoop", reductions=args.reduce)
    return cfg


def nested(metrics: dict[str, float]) -> dict:
    """{'vote/cityscapesscripts/IoU.road': x} -> {'vote': {'cityscapesscripts': {'IoU': {'road': x}}}}; nan -> None."""
    tree: dict = {}
    for path, value in metrics.items():
        *parents, leaf = path.split("/")
        *kind, name = leaf.split(".", 1)
        node = tree
        for key in (*parents, *kind):
            node = node.setdefault(key, {})
        node[name] = None if math.isnan(value) else float(value)
    return tree


def check_agreement(results: dict) -> None:
    """mmseg and cityscapesscripts must have counted the same.

    Raises:
        RuntimeError: they differ in a class; the message names it.
    """
    for reduction, scores in results.items():
        for label, official in scores.get(OFFICIAL, {}).get("IoU", {}).items():
            own = scores["IoU"][label]
            if (own is None) != (official is None) or (own is not None and abs(own - official) > 100 * AGREEMENT):
                raise RuntimeError(
                    f"{reduction}: IoU of {label} is {own} by mmseg and {official} by {OFFICIAL}. They read different "
                    "labels: make labelTrainIds from the labelIds again (tools/check_dataset.py says how)"
                )


def table(results: dict) -> str:
    """Markdown, a row per reduction."""
    rows = []
    for reduction, scores in results.items():
        official = scores.get(OFFICIAL, {}).get("mIoU")
        cells = [f"{scores[key]:.2f}" for key in MMSEG.metrics]
        rows.append([reduction, *cells, "-" if official is None else f"{official:.2f}"])
    return text.table(["reduction", *MMSEG.metrics, f"mIoU by {OFFICIAL}"], rows)


def choose_device(args: argparse.Namespace) -> None:
    """Hide CUDA and join the processes where the CPU is asked for; several processes never fall back to it."""
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        if args.launcher != "none":
            join_on_cpu()
    elif not torch.cuda.is_available():
        if args.launcher != "none":
            raise UserError("--launcher joins processes on CUDA devices, and there is none; add --device cpu")
        print("eval_cityscapes: no CUDA on this machine, running on the CPU", file=sys.stderr)


def main(args: argparse.Namespace) -> None:
    with reading_input():
        choose_device(args)
        cfg = evaluation_config(args)
    with reading_input(partial(explain_build, cfg=cfg)):
        runner = Runner.from_cfg(cfg)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        members = model.members if args.ensemble else [model]
        for member, path in zip(members, [args.checkpoint, *args.ensemble], strict=True):
            load_for_evaluation(member, path)
        choose_reductions(runner.model, args.reduce)
    with reading_input(partial(explain_build, cfg=cfg), unless=in_a_loop):
        metrics = runner.test()
    if not is_main_process():
        return
    if args.split == "test":
        print(f"predictions for the test server: {Path(cfg.work_dir, 'png')}")
        return
    results = nested(metrics)
    check_agreement(results)  # before anything is written: what disagrees is no score
    report = {"framework": MMSEG.name, "config": args.config, "weights": args.checkpoint, "results": results}
    path = Path(cfg.work_dir, "reductions.json")
    if args.ensemble:  # no score of a single training: tools/results_table.py leaves it
        report["weights"], path = [args.checkpoint, *args.ensemble], path.with_name("ensemble.json")
    text.write_json(report, path)
    print(table(results))
    print(
        f"scores: {path}"
        + ("" if args.no_png else f", predictions: {path.parent / 'png'}")
        + (f", maps: {path.parent / 'maps'}" if args.maps else "")
    )


def command(argv: list[str] | None = None) -> None:
    with reporting("eval_cityscapes.py", "--debug" in (sys.argv[1:] if argv is None else argv)):
        main(parse_args(argv))
