"""Evaluate an mmseg checkpoint on its test set, under any reduction of FFC's outputs, in one pass over the data.

Scores are those of the config's own ``test_evaluator``, before mmseg rounds them. On Cityscapes cityscapesscripts also
scores the PNGs of label ids that are written for it, and must agree with mmseg to 1e-6. Writes, under ``--work-dir``:
``reductions.json`` with every score and ``png/<reduction>/*.png``: for Cityscapes what the test server takes (``--split
test`` writes them without scores), for other datasets the labels. A checkpoint that lacks weights of the model is
refused. With ``--maps`` also ``maps/<reduction>/*``: every pixel's confidence and, under the vote, agreement, as
NumPy archives and greyscale PNGs. With ``--ensemble`` several checkpoints decide as one, scored in ``ensemble.json``.

    python tools/eval_cityscapes.py CONFIG.py iter_40000.pth --reduce all
    python tools/eval_cityscapes.py CONFIG.py seed0/iter_40000.pth --ensemble seed1/iter_40000.pth --reduce vote,mean
    torchrun --nproc-per-node 4 tools/eval_cityscapes.py CONFIG.py iter_40000.pth --reduce all --launcher pytorch
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.datasets import CityscapesDataset

from ffc_dense import text
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.frameworks import MMSEG
from ffc_dense.method.reductions import choose_reductions
from ffc_dense.openmmlab.commands.scripts import join_on_cpu
from ffc_dense.openmmlab.inputs import safe_loading
from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation
from ffc_dense.openmmlab.inputs.config_checks import check_folders, metainfo_of
from ffc_dense.openmmlab.inputs.config_errors import class_of, explain_build, in_a_loop, type_name
from ffc_dense.openmmlab.inputs.data_configs import check_config_files, check_values, forbid_imports_by_name
from ffc_dense.openmmlab.inputs.read_config import read_config
from ffc_dense.runs.files import is_number, within_run
from ffc_dense.safe_files import add_weights_only_argument, require_safetensors, without_query
from ffc_dense.segmentation import with_opinions
from ffc_dense.segmentation.evaluation.evaluators import joined, loop_config, main_metric, main_score, own_metrics

OFFICIAL = "cityscapesscripts"
AGREEMENT = 1e-6  # between the two evaluators, as a share of 1
LABELS = "_gtFine_labelTrainIds.png"  # beside which cityscapesscripts finds its own
IGNORED = 255  # mmseg's label of pixels that cityscapesscripts does not score


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
    if "test_dataloader" not in cfg:
        raise UserError(f"{args.config}: test_dataloader: the config has none, so there is nothing to test on")
    if args.split == "test":
        choose_test_split(cfg)
    cfg.launcher = args.launcher
    if args.device == "cpu" and args.launcher != "none":
        cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
    checkpoint = Path(without_query(args.checkpoint))
    kind = f"ensemble_{1 + len(args.ensemble)}" if args.ensemble else "eval"
    cfg.work_dir = args.work_dir or str(checkpoint.parent / f"{kind}_{checkpoint.stem}")
    if args.ensemble:
        cfg.model = dict(type="mmseg.SegmentorEnsemble", member=cfg.model, size=1 + len(args.ensemble))
    if args.maps:
        cfg.model = with_opinions(cfg.model)
    cfg.load_from, cfg.resume = None, False  # loaded here, with a check
    metrics = chosen_metrics(cfg, args)
    if args.maps:
        metrics.append(dict(type="mmseg.MapWriter", output_dir=str(Path(cfg.work_dir, "maps", "{reduction}"))))
    cfg.test_evaluator = joined(cfg, metrics)
    cfg.test_cfg = loop_config(cfg, "mmseg.AllReductionsTestLoop", reductions=args.reduce)
    return cfg


def choose_test_split(cfg: Config) -> None:
    """Test on Cityscapes' images without labels."""
    dataset = cfg.test_dataloader.dataset
    if not is_cityscapes(cfg):
        raise UserError(
            f"--split test: test_dataloader.dataset.type is {type_name(dataset)!r}, and only the layout of "
            "CityscapesDataset is known; set test_dataloader.dataset.data_prefix and test_evaluator.format_only"
        )
    images = Path(dataset.get("data_root") or "", "leftImg8bit", "test")
    if not images.is_dir():
        raise UserError(f"--split test: there is no folder {images} (data_root of the config)")
    dataset.data_prefix = dict(img_path="leftImg8bit/test", seg_map_path="")
    dataset.test_mode = True
    dataset.pipeline = [step for step in dataset.pipeline if type_name(step) != "LoadAnnotations"]


def is_cityscapes(cfg: Config) -> bool:
    """Whether cityscapesscripts knows the test set: its classes, and the names of its files."""
    dataset = cfg.test_dataloader.dataset
    if class_of(dataset) is not CityscapesDataset or dataset.get("seg_map_suffix", LABELS) != LABELS:
        return False
    return tuple(metainfo_of(dataset)["classes"]) == CityscapesDataset.METAINFO["classes"]


def chosen_metrics(cfg: Config, args: argparse.Namespace) -> list[dict]:
    """Configs of the metrics: the config's own, PNGs, and on Cityscapes cityscapesscripts."""
    png = str(Path(cfg.work_dir, "png", "{reduction}"))
    scripts = dict(type="mmseg.CityscapesScriptsMetric", prefix=OFFICIAL, keep_results=True, output_dir=png)
    if args.split == "test":
        return [{**scripts, "format_only": True}]
    metrics = own_metrics(cfg)
    check_folders(cfg, ("test_dataloader",))
    main = main_metric(metrics)
    if args.no_png or main is None:
        return metrics
    if not is_cityscapes(cfg):
        main["output_dir"] = main.get("output_dir") or png
        return metrics
    if not scores_alike(main):
        print(
            f"eval_cityscapes: test_evaluator has options that {OFFICIAL} lacks; its PNGs are written, its scores are "
            "left out",
            file=sys.stderr,
        )
        scripts["format_only"] = True
    return [*metrics, scripts]


def scores_alike(metric: dict) -> bool:
    """Whether cityscapesscripts computes what an IoU metric of the config does."""
    plain = metric.get("ignore_index", IGNORED) == IGNORED and metric.get("nan_to_num") is None
    return plain and main_score(metric) == "mIoU" and not metric.get("format_only")


def nested(metrics: dict[str, float]) -> dict:
    """{'vote/cityscapesscripts/IoU.road': x} -> {'vote': {'cityscapesscripts': {'IoU': {'road': x}}}}; nan -> None."""
    tree: dict = {}
    for path, value in metrics.items():
        *parents, leaf = path.split("/")
        *kind, name = leaf.split(".", 1)
        node = tree
        for key in (*parents, *kind):
            node = node.setdefault(key, {})
        node[name] = value.tolist() if hasattr(value, "tolist") else value  # of numpy and torch
    return text.without_nan(tree)


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
    """Markdown, a row per reduction: the scores over all classes, mmseg's main ones first."""
    found = dict.fromkeys(key for scores in results.values() for key, value in scores.items() if is_number(value))
    keys = [*(key for key in MMSEG.metrics if key in found), *(key for key in found if key not in MMSEG.metrics)]
    official = any(OFFICIAL in scores for scores in results.values())
    rows = []
    for reduction, scores in results.items():
        values = [scores.get(key) for key in keys]
        values += [scores.get(OFFICIAL, {}).get("mIoU")] if official else []
        rows.append([reduction, *("-" if value is None else f"{value:.2f}" for value in values)])
    return text.table(["reduction", *keys, *([f"mIoU by {OFFICIAL}"] if official else [])], rows)


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
    if not metrics:  # every metric of the config has format_only
        print(f"no scores: test_evaluator only writes predictions, into {cfg.work_dir} unless it names a folder")
        return
    results = nested(metrics)
    check_agreement(results)  # before anything is written: what disagrees is no score
    report = {"framework": MMSEG.name, "config": args.config, "weights": args.checkpoint}
    report |= {**within_run(args.checkpoint, cfg.work_dir), "results": results}
    path = Path(cfg.work_dir, "reductions.json")
    if args.ensemble:  # no score of a single training: tools/results_table.py leaves it
        report["weights"], path = [args.checkpoint, *args.ensemble], path.with_name("ensemble.json")
    text.write_json(report, path)
    print(table(results))
    print(
        f"scores: {path}"
        + (f", predictions: {path.parent / 'png'}" if (path.parent / "png").is_dir() else "")
        + (f", maps: {path.parent / 'maps'}" if args.maps else "")
    )


def command(argv: list[str] | None = None) -> None:
    with reporting("eval_cityscapes.py", "--debug" in (sys.argv[1:] if argv is None else argv)):
        main(parse_args(argv))
