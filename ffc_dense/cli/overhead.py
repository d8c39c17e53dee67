"""Parameters and GFLOPs, stock against FFC, of every pair of configs, by the frameworks' own counters.

detectron2: fvcore through ``detectron2.utils.analysis``, one image of the config's test size, POST_NMS_TOPK_TEST
proposals, DETECTIONS_PER_IMAGE detections. mmseg and mmpretrain: ``mmengine.analysis``, one crop. Random weights, on
the CPU.

    python tools/overhead.py --only 'mini_*'
    OMP_NUM_THREADS=1 python tools/overhead.py --json docs/overhead.json    # all: about half an hour of one CPU core

docs/reference/model-zoo.md says what the counters count.
"""

import argparse
import fnmatch
import hashlib
import importlib
import json
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

from ffc_dense import FFCLinear, text
from ffc_dense.cli.shipped_configs import folder, shipped
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reporting
from ffc_dense.frameworks import DETECTRON2, recognise
from ffc_dense.inspection.cost import Classifier

PAPER = dict(features=2048, classes=1000, filters=3, parameters="0.012 M", gflops="0.014")


def baseline_of(path: Path) -> Path:
    """faster_rcnn_X_ffc.yaml -> faster_rcnn_X.yaml; pspnet-ffc_X.py -> pspnet_X.py."""
    return path.with_name(path.name.replace("_ffc.", ".").replace("-ffc_", "_"))


def find_pairs(configs: Path, only: str = "*") -> list[tuple[Path, Path]]:
    """(stock, FFC) of every FFC config under ``configs``; ``only`` is a pattern for their path below it.

    LazyConfigs (``*_ffc.py``) are left out: each builds the model of the yaml config with the same name.

    Raises:
        FileNotFoundError: nothing matches, or an FFC config has no baseline config.
    """
    found = sorted([*configs.glob("*/*_ffc.yaml"), *configs.glob("*/*-ffc_*.py")])
    chosen = [path for path in found if fnmatch.fnmatch(str(path.relative_to(configs)), f"*{only}*")]
    if not chosen:
        raise FileNotFoundError(f"no FFC config under {configs} matches {only!r}; there are {len(found)}")
    for path in chosen:
        if not baseline_of(path).is_file():
            raise FileNotFoundError(f"{path} has no baseline config: {baseline_of(path)} is missing")
    return [(baseline_of(path), path) for path in chosen]


def find_singles(configs: Path, only: str = "*") -> list[Path]:
    """Configs without an FFC counterpart, such as the rows of Table 3 before FFC is added."""
    paired = {path for pair in find_pairs(configs) for path in pair}
    names = (configs / name for name in shipped() if fnmatch.fnmatch(name, f"*{only}*"))
    return [path for path in names if path not in paired and recognise(path)[1] != "lazy"]


def strides(stock: list[Path]) -> list[dict]:
    """Multiply-adds of mmpretrain's bottleneck networks with the stride in either convolution, beside the paper's."""
    found = []
    for path in stock:
        module = importlib.import_module(f"{recognise(path)[0].adapter}.commands.overhead")
        paper = getattr(module, "PAPER", {}).get(path.name.partition("_")[0])
        if paper:
            counted = module.multiply_adds_by_stride(str(path))
            found.append({"config": f"configs/{path.relative_to(folder())}", "paper": paper, **counted})
    return found


def stride_table(rows: list[dict]) -> str:
    """Markdown. The paper's GFLOPs are those of a stride in the 1x1 convolution, its code has it in the 3x3."""
    head = ["stock config", "GFLOPs, stride in the 3x3 (trained here)", "GFLOPs, stride in the 1x1", "GFLOPs, paper"]
    cells = ([Path(row["config"]).stem, f"{row['3x3'] / 1e9:.3f}", f"{row['1x1'] / 1e9:.3f}", f"{row['paper']:.2f}"]
             for row in rows)  # fmt: skip
    return text.table(head, list(cells))


def key_of(content: str) -> str:
    """Equal for configs whose model and input are equal."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class Counter:
    """Counts configs, each model once: configs that differ only in their schedule share one count."""

    def __init__(self, known: dict[str, dict] | None = None):
        self.known = known or {}

    def __call__(self, path: Path) -> dict:
        """Of one config: its path, input and schedule, parameters and FLOPs."""
        module = importlib.import_module(f"{recognise(path)[0].adapter}.commands.overhead")
        content, size = module.resolved(str(path))
        key = key_of(content)
        if key not in self.known:
            start = time.time()
            count = module.count(str(path))
            self.known[key] = {**asdict(count), "flops_train": count.flops_train}
            print(f"{path.name}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
        about = {
            "config": f"configs/{path.relative_to(folder())}",
            "key": key,
            "input": size,
            **module.schedule(str(path)),
        }
        return {**about, **self.known[key]}


def check(stock: dict, ffc: dict) -> None:
    """Check that FFC adds the parameters of its LayerNorms: 2C for each filter.

    Raises:
        RuntimeError: they are not.
    """
    expected = sum(2 * layer["features"] * layer["num_filters"] for layer in ffc["classifiers"])
    if ffc["parameters"] - stock["parameters"] != expected:
        raise RuntimeError(
            f"{ffc['config']} has {ffc['parameters'] - stock['parameters']:,} parameters more than {stock['config']}; "
            f"2 * C * num_filters is {expected:,}. The two differ in more than the classifier"
        )


def paper_case() -> dict:
    """The paper's example, counted by fvcore: a classifier of 2048 features and 1000 classes."""
    layer_flops = importlib.import_module(f"{DETECTRON2.adapter}.commands.overhead").layer_flops  # its own counter
    stock = torch.nn.Linear(PAPER["features"], PAPER["classes"]).eval()
    ffc = FFCLinear.from_layer(stock, num_filters=PAPER["filters"]).eval()
    one = torch.zeros(1, PAPER["features"])
    counted = Classifier.of("fc", ffc, tuple(one.shape), layer_flops(ffc, one), layer_flops)
    return {"stock": int(layer_flops(stock, one)), "ffc": asdict(counted)}


def table(pairs: list[dict]) -> str:
    """Markdown, a row per pair. One multiply-add is one FLOP, as in both counters."""
    head = ["FFC config", "input", "parameters, stock", "parameters, FFC", "added", "GFLOPs, stock", "GFLOPs, FFC"]
    head += ["added, vote", "added, training pass"]
    rows = []
    for pair in pairs:
        stock, ffc = pair["stock"], pair["ffc"]
        added, train = ffc["flops"] - stock["flops"], ffc["flops_train"] - stock["flops_train"]
        rows.append([
            Path(ffc["config"]).stem, ffc["input"], f"{stock['parameters']:,}", f"{ffc['parameters']:,}",
            f"{ffc['parameters'] - stock['parameters']:,}", f"{stock['flops'] / 1e9:.3f}", f"{ffc['flops'] / 1e9:.3f}",
            f"{added / 1e9:.4f} ({added / stock['flops']:.2%})", f"{train / 1e9:.4f} ({train / stock['flops']:.2%})",
        ])  # fmt: skip
    return text.table(head, rows)


def paper_note(case: dict) -> str:
    """The paper's figures for ResNet-50 on ImageNet, how they are computed, and the counter's for the same layer."""
    features, classes, filters = PAPER["features"], PAPER["classes"], PAPER["filters"]
    outputs = 2 * filters + 1
    return (
        f"Paper, ResNet-50 on ImageNet: {PAPER['parameters']} parameters = {filters} filters x 2 x {features} = "
        f"{filters * 2 * features:,}; {PAPER['gflops']} GFLOPs = {outputs} outputs x {features} x {classes} = "
        f"{outputs * features * classes:,} multiply-adds, {features * classes:,} of them the stock classifier's. "
        f"fvcore counts {case['ffc']['flops_test']:,} for that FFC classifier with the vote "
        f"({case['ffc']['flops_test'] - case['stock']:,} more than stock) and {case['ffc']['flops_train']:,} for its "
        f"training pass ({case['ffc']['flops_train'] - case['stock']:,} more)."
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="pattern in a config's FOLDER/NAME")
    parser.add_argument("--json", metavar="FILE", help="write every count to FILE, for tools/model_zoo.py")
    parser.add_argument(
        "--reuse", metavar="FILE", help="an earlier --json file: unchanged models are not counted again"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    warnings.filterwarnings("ignore", category=UserWarning)
    pairs = find_pairs(folder(), args.only)
    known = {}
    if args.reuse:
        earlier = json.loads(Path(args.reuse).read_text())
        known = {
            side["key"]: {name: side[name] for name in ("parameters", "flops", "flops_train", "classifiers")}
            for pair in [*earlier["pairs"], *({"single": side} for side in earlier.get("singles", ()))]
            for side in pair.values()
        }
    count = Counter(known)
    counted: list[dict] = []
    content: dict = {"command": "python tools/overhead.py --json", "paper": paper_case()} if args.json else {}
    for number, (stock, ffc) in enumerate(pairs, 1):
        print(f"[{number}/{len(pairs)}] {ffc.relative_to(folder())}", file=sys.stderr, flush=True)
        pair = {"stock": count(stock), "ffc": count(ffc)}
        check(**pair)
        counted.append(pair)
        if args.json:  # after every pair, so that --reuse continues an interrupted run
            text.write_json_option("--json", content | {"pairs": counted}, args.json)
    content["strides"] = strides([stock for stock, _ in pairs])
    content["singles"] = [count(path) for path in find_singles(folder(), args.only)]
    if args.json:
        text.write_json_option("--json", content | {"pairs": counted}, args.json)
    print(table(counted))
    if content["strides"]:
        print(f"\nConvolutions and linear layers alone, by torch's counter:\n\n{stride_table(content['strides'])}")
    if any(recognise(ffc)[0] is DETECTRON2 for _, ffc in pairs):  # the paper's case is counted by its counter
        print("\n" + paper_note(paper_case()))


def command(argv: list[str] | None = None) -> None:
    with reporting("overhead", debug=False):
        try:
            main(argv)
        except (FileNotFoundError, RuntimeError, ValueError) as error:
            raise UserError(str(error)) from error
