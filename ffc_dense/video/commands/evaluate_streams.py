"""Score streams that decide about a video together: RGB, flow and MARS (the paper's Table 6).

    ffc-dense evaluate-streams RGB.py rgb.pth FLOW.py flow.pth MARS.py mars.pth --output streams.json

Each stream is scored alone, under the vote and the mean, and then all together by three rules, because the paper does
not say how FFC votes over streams: the mean of their mean logits, which is the rule of MARS; a vote of all outputs of
all streams; and a vote of the outputs averaged over the streams one by one. Their test sets must hold the same videos.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import Tensor

from ... import text
from ...cli.shipped_configs import config_path
from ...errors import UserError
from ...errors.reporting import add_debug_argument, reading_input, reporting
from ...method.reductions import STOCK
from ...openmmlab.inputs.checkpoint import classes_of, load_for_evaluation
from ...openmmlab.inputs.config_errors import explain_build
from ...openmmlab.inputs.read_config import read_config
from ...reliability.fitting import refuse_other_classes
from ..evaluation.streams import RULES, accuracies, collect, combined, reductions_of
from ..model.classifiers import VideoClassifier

PROG = "evaluate-streams"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="+", metavar="CONFIG CHECKPOINT", help="pairs, one for each stream")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if len(args.streams) % 2:
        parser.error(f"expected pairs CONFIG CHECKPOINT, got {len(args.streams)} files")
    args.streams = list(zip(args.streams[::2], args.streams[1::2], strict=True))
    return args


def outputs_of(cfg: Config, checkpoint: str, device: str) -> tuple[VideoClassifier, list[str], Tensor, Tensor]:
    """The model of a stream, the names of its test videos, their labels (B,) and outputs (M, B, K)."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        with reading_input(partial(explain_build, cfg=cfg)):
            model = MODELS.build(cfg.model).to(device).eval()
            if not isinstance(model, VideoClassifier):
                raise UserError(f"model.type: {type(model).__name__}, expected a VideoClassifier")
            load_for_evaluation(model, checkpoint)
            loader = Runner.build_dataloader(cfg.test_dataloader, seed=0)
            tested, key = loader.dataset.metainfo.get("classes") or (), "test_dataloader.dataset"
            refuse_other_classes(checkpoint, classes_of(checkpoint), tested, key, "test on the training's classes")
        names, labels, outputs = zip(*collect(model, loader), strict=True)
    return model, list(names), torch.tensor(labels), torch.stack(outputs, 1)


def main(args: argparse.Namespace) -> None:
    with reading_input():
        configs = [read_config(str(config_path(config)), None) for config, _ in args.streams]
    scores: dict[str, dict[str, float]] = {}
    streams: list[Tensor] = []
    first: list[str] = []
    for cfg, (config, checkpoint) in zip(configs, args.streams, strict=True):
        model, names, labels, outputs = outputs_of(cfg, checkpoint, args.device)
        names = [str(Path(name).relative_to(cfg.test_dataloader.dataset.data_root)) for name in names]
        first = first or names
        if names != first:
            raise UserError(f"{config}: its test set holds other videos than that of {args.streams[0][0]}; give all "
                            "streams the same data_root and split")  # fmt: skip
        wanted = [] if reductions_of(model, outputs, []).keys() == {STOCK} else ["vote", "mean"]
        for name, logits in reductions_of(model, outputs, wanted).items():
            scores[f"{Path(config).stem}, {name}"] = accuracies(logits, labels)
        streams.append(outputs)
    if len(streams) > 1:
        scores |= {f"together, {rule}": accuracies(logits, labels) for rule, logits in combined(streams).items()}
    columns = list(next(iter(scores.values())))
    print(text.table(["streams", *columns], [[name, *(f"{found[key]:.2f}" for key in columns)]
                                             for name, found in scores.items()]))  # fmt: skip
    if args.output:
        report = {"streams": [list(pair) for pair in args.streams], "rules": RULES, "results": scores}
        text.write_json_option("--output", report, args.output)
        print(f"scores: {args.output}")


def command(argv: list[str] | None = None) -> None:
    with reporting(PROG, "--debug" in (sys.argv[1:] if argv is None else argv)):
        main(parse_args(argv))
