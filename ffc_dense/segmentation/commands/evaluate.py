"""Evaluate an mmseg checkpoint on its test set, under any test mode of FFC, in one pass over the data.

Scores are those of the config's own ``test_evaluator``, before mmseg rounds them. On Cityscapes cityscapesscripts also
scores the PNGs of label ids that are written for it, and must agree with mmseg to 1e-6. Writes, under ``--work-dir``:
``reductions.json`` with every score and ``png/<reduction>/*.png``: for Cityscapes what the test server takes (``--split
test`` writes them without scores), for other datasets the labels. A checkpoint that lacks weights of the model, or was
trained with the classes in another order than the test set's, is refused. With ``--maps`` also ``maps/<reduction>/*``:
every pixel's confidence and, under the vote, agreement, as NumPy archives and greyscale PNGs. With ``--ensemble``
several checkpoints decide as one, scored in ``ensemble.json``.

    python tools/eval_cityscapes.py CONFIG.py iter_40000.pth --reduce all
    python tools/eval_cityscapes.py CONFIG.py seed0/iter_40000.pth --ensemble seed1/iter_40000.pth --reduce vote,mean
    torchrun --nproc-per-node 4 tools/eval_cityscapes.py CONFIG.py iter_40000.pth --reduce all --launcher pytorch
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmseg.datasets import CityscapesDataset

from ffc_dense import text
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting
from ffc_dense.frameworks import MMSEG
from ffc_dense.openmmlab.commands.evaluation import (
    add_arguments,
    nested,
    parsed,
    read_test_config,
    run,
    write_report,
)
from ffc_dense.openmmlab.evaluation.evaluators import joined, loop_config
from ffc_dense.openmmlab.inputs.checkpoint import check_class_order
from ffc_dense.openmmlab.inputs.config_checks import check_folders, metainfo_of
from ffc_dense.openmmlab.inputs.config_errors import class_of, type_name
from ffc_dense.runs.files import is_number
from ffc_dense.segmentation import with_opinions
from ffc_dense.segmentation.evaluation.evaluators import main_metric, main_score, own_metrics
from ffc_dense.segmentation.inspection.segmentor import SAME_ORDER

OFFICIAL = "cityscapesscripts"
AGREEMENT = 1e-6  # between the two evaluators, as a share of 1
LABELS = "_gtFine_labelTrainIds.png"  # beside which cityscapesscripts finds its own
IGNORED = 255  # mmseg's label of pixels that cityscapesscripts does not score


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
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
    args = parsed(parser, argv)
    if args.split == "test" and args.no_png:
        parser.error("--split test has no labels to score; without PNGs there is nothing to do")
    return args


def evaluation_config(args: argparse.Namespace) -> Config:
    cfg = read_test_config(args, MMSEG)
    if args.split == "test":
        choose_test_split(cfg)
    if args.ensemble:
        cfg.model = dict(type="mmseg.SegmentorEnsemble", member=cfg.model, size=1 + len(args.ensemble))
    if args.maps:
        cfg.model = with_opinions(cfg.model)
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
    """Markdown, a row per test mode: the scores over all classes, mmseg's main ones first."""
    found = dict.fromkeys(key for scores in results.values() for key, value in scores.items() if is_number(value))
    keys = [*(key for key in MMSEG.metrics if key in found), *(key for key in found if key not in MMSEG.metrics)]
    official = any(OFFICIAL in scores for scores in results.values())
    rows = []
    for reduction, scores in results.items():
        values = [scores.get(key) for key in keys]
        values += [scores.get(OFFICIAL, {}).get("mIoU")] if official else []
        rows.append([reduction, *("-" if value is None else f"{value:.2f}" for value in values)])
    return text.table(["test mode", *keys, *([f"mIoU by {OFFICIAL}"] if official else [])], rows)


def main(args: argparse.Namespace) -> None:
    check = partial(check_class_order, remedy=SAME_ORDER)
    cfg, metrics = run(args, evaluation_config, "eval_cityscapes", check)
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
    path = write_report(args, cfg, MMSEG, results)
    print(table(results))
    print(
        f"scores: {path}"
        + (f", predictions: {path.parent / 'png'}" if (path.parent / "png").is_dir() else "")
        + (f", maps: {path.parent / 'maps'}" if args.maps else "")
    )


def command(argv: list[str] | None = None) -> None:
    with reporting("eval_cityscapes.py", "--debug" in (sys.argv[1:] if argv is None else argv)):
        main(parse_args(argv))
