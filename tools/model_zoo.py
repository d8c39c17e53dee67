#!/usr/bin/env python
"""Write the tables of docs/reference/model-zoo.md, between its markers: no figure in them is typed by hand.

    python tools/model_zoo.py                           # from docs/overhead.json, which tools/overhead.py writes
    python tools/model_zoo.py --results results.json    # with scores: what tools/results_table.py --json writes

Exits with 1 under --check if the document is not what this command would write.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from ffc_dense.cli.overhead import paper_note, stride_table
from ffc_dense.paper.systems import stock_name, system_of
from ffc_dense.text import table as markdown

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT, OVERHEAD = ROOT / "docs/reference/model-zoo.md", ROOT / "docs/overhead.json"

# Published training speed, seconds per iteration of 16 images on 8 V100, of the model zoo of detectron2.
# (pattern of our config, s/iter, the model that was timed)
DETECTRON2_SPEED = (
    ("faster_rcnn_R_50_C4", 0.551, "R50-C4 1x"),
    ("faster_rcnn_R_101_C4", 0.619, "R101-C4 3x"),
    ("faster_rcnn_R_50_FPN", 0.210, "R50-FPN 1x"),
    ("faster_rcnn_R_101_FPN", 0.286, "R101-FPN 3x"),
    ("mask_rcnn_R_50_FPN", 0.261, "Mask R-CNN R50-FPN 1x"),
    ("cascade_mask_rcnn_R_50_FPN", 0.317, "Cascade Mask R-CNN R50-FPN 1x"),
    ("cascade_rcnn_R_50_FPN", 0.317, "Cascade Mask R-CNN R50-FPN 1x"),
)
# The same of mmsegmentation (docs/en/model_zoo.md): PSPNet R101, 2 images of 512x1024 per V100.
MMSEG_SPEED, MMSEG_TIMED = 0.83, "configs/cityscapes/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py"
# NVIDIA/DeepLearningExamples, ResNet-50 v1.5 for PyTorch: 2855 images a second in FP32 on 8 V100, stride in the 3x3.
IMAGENET_SPEED, IMAGENET_TIMED = 2855 / 8, "configs/imagenet/resnet50_8xb32-90e_in1k.py"

IN_DEMO = (  # scores of `make demo`
    "faster_rcnn_R_18_FPN",
    "pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128",
    "resnet18_1xb32-504_mini-imagenet-64x64",
)

SECTIONS = {
    "imagenet": lambda path: path.parent.name == "imagenet" and re.match(r"res(net\d|next)(?!.*_instant)", path.stem),
    "imagenet-tricks": lambda path: path.parent.name == "imagenet" and re.match("resnetv1d|s[er]", path.stem),
    "hmdb51": lambda path: path.parent.name == "hmdb51",
    "coco-paper": lambda path: path.parent.name == "coco" and "_paper" in path.stem,
    "coco": lambda path: path.parent.name == "coco" and not re.search("_paper|_instant_test", path.stem),
    "cityscapes-paper": lambda path: path.parent.name == "cityscapes" and path.stem.endswith("_toolbox"),
    "cityscapes": lambda path: path.parent.name == "cityscapes" and not re.search("_toolbox", path.stem),
    "small": lambda path: path.parent.name.startswith("mini_") or "_instant_test" in path.stem,
}


def configs() -> list[Path]:
    """Every config that trains: bases are left out."""
    found = [path for path in (ROOT / "configs").glob("*/*.*") if path.suffix in (".yaml", ".py")]
    return sorted(path for path in found if not path.name.startswith("Base") and path.parent.name != "_base_")


def gpu_hours(entry: dict, counts: dict[str, dict]) -> float:
    """V100-hours of a full training, from published speeds; those of the stock model stand for FFC too."""
    name = stock_name(Path(entry["config"]).stem)
    images = entry["iterations"] * entry["images_per_iteration"]
    for pattern, seconds, _ in DETECTRON2_SPEED:
        if entry["config"].startswith("configs/coco/") and name.startswith(pattern):
            return images * seconds * 8 / 16 / 3600
    if entry["config"].startswith(("configs/imagenet/", "configs/hmdb51/")):
        return images / IMAGENET_SPEED * entry["flops"] / counts[IMAGENET_TIMED]["flops"] / 3600
    timed = counts[MMSEG_TIMED]
    stock = next(other for path, other in counts.items() if Path(path).stem == name)
    return images * MMSEG_SPEED / 2 * stock["flops"] / timed["flops"] / 3600


def our_score(name: str, ffc: bool, results: list[dict]) -> str:
    """Mean scores of the finished runs of a config, with the number of seeds; '' if there are none."""
    for group in results:
        if group["config"] == name:
            wanted = ("FFC", "vote") if ffc else ("stock", "stock")
            found = [
                r
                for r in group["results"]
                if (r["variant"], r["reduction"]) == wanted and r["metric"] in ("AP50", "AP75", "AP", "mIoU", "top1")
            ]
            if found:
                return " / ".join(f"{r['mean']:.1f}" for r in found) + f" (n = {found[0]['n']})"
    return ""


def row(path: Path, counts: dict[str, dict], results: list[dict]) -> list[str]:
    """One config: link, schedule, parameters, GFLOPs, the paper's score, ours or the training's cost, number of GPUs.

    Raises:
        ValueError: the config was not counted.
    """
    relative = str(path.relative_to(ROOT))
    name, ffc = stock_name(path.stem), stock_name(path.stem) != path.stem
    lazy = path.suffix == ".py" and path.parent.name == "coco"
    counted = relative.replace(".py", ".yaml") if lazy else relative
    if counted not in counts:
        raise ValueError(f"{counted} was not counted: run tools/overhead.py --reuse {OVERHEAD} --json {OVERHEAD}")
    entry = counts[counted]
    system = system_of(path.stem)
    paper = " / ".join(map(system.shown, (system.ffc if ffc else system.stock).values())) if system else ""
    if SECTIONS["small"](path):
        iterations = entry["iterations"]
        ours = f"{iterations} iterations, no score" if "_instant_test" in name else "no full run recorded"
        if name in IN_DEMO:
            ours = "one seed: [make demo](../how-to/evaluate.md)"
        gpus = "none"
    else:
        hours = f"not trained: about {gpu_hours(entry, counts):.0f} GPU-hours"
        ours = (not lazy and our_score(name, ffc, results)) or hours
        named = re.search(r"_(\d+)xb\d+-", path.stem)  # of mmengine's configs
        gpus = named[1] if named else {1: "1", 16: "8"}[entry["images_per_iteration"]]
    cells = [
        f"[{path.name}](../../{relative})" + (" (LazyConfig)" if lazy else ""),
        f"{entry['iterations']:,} x {entry['images_per_iteration']}", entry["input"], f"{entry['parameters']:,}",
        f"{entry['flops'] / 1e9:.3f}", paper, ours, gpus,
    ]  # fmt: skip
    return cells


def table(section: str, counts: dict[str, dict], results: list[dict]) -> str:
    chosen = [path for path in configs() if SECTIONS[section](path)]
    head = ["config", "iterations x images", "input", "parameters", "GFLOPs", "paper", "ours", "GPUs"]
    # Each FFC config is directly below its baseline.
    chosen.sort(key=lambda path: (path.parent.name, stock_name(path.stem), path.suffix, len(path.stem)))
    return markdown(head, [row(path, counts, results) for path in chosen])


def added(pairs: list[dict]) -> str:
    """What FFC adds: pairs with the same model are one row."""
    head = ["FFC model, as in", "classifier input", "parameters added", "GFLOPs added, vote", "the same, training"]
    rows, seen = [], set()
    for pair in pairs:
        stock, ffc = pair["stock"], pair["ffc"]
        if ffc["key"] in seen:
            continue
        seen.add(ffc["key"])
        vote, train = ffc["flops"] - stock["flops"], ffc["flops_train"] - stock["flops_train"]
        shape = " + ".join("x".join(map(str, layer["input_shape"])) for layer in ffc["classifiers"])
        rows.append([
            Path(ffc["config"]).stem, shape, f"{ffc['parameters'] - stock['parameters']:,}",
            f"{vote / 1e9:.4f} ({vote / stock['flops']:.3%})", f"{train / 1e9:.4f} ({train / stock['flops']:.3%})",
        ])  # fmt: skip
    return markdown(head, rows)


def speeds() -> str:
    """The published speeds that the GPU-hours are computed from."""
    rows = [[f"{pattern}*", f"{seconds:.3f}", model] for pattern, seconds, model in DETECTRON2_SPEED]
    rows.append(["cityscapes", f"{MMSEG_SPEED:.2f}", "PSPNet R101, 512x1024"])
    rows.append(["imagenet", f"{256 / (8 * IMAGENET_SPEED):.3f}", "ResNet-50, 256 images of 224x224, FP32"])
    return markdown(["configs", "published s/iter", "of"], rows)


def fill(document: str, overhead: dict, results: list[dict]) -> str:
    """``document`` with the text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` written anew, for every table.

    Raises:
        ValueError: a marker is missing.
    """
    counts = {side["config"]: side for pair in overhead["pairs"] for side in (pair["stock"], pair["ffc"])}
    counts |= {side["config"]: side for side in overhead["singles"]}
    tables = {section: table(section, counts, results) for section in SECTIONS}
    tables |= {
        "added": added(overhead["pairs"]),
        "paper-overhead": paper_note(overhead["paper"]),
        "speeds": speeds(),
        "imagenet-strides": stride_table(overhead["strides"]),
    }
    for name, text in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(document):
            raise ValueError(f"{DOCUMENT}: the markers <!-- {name} --> and <!-- /{name} --> are missing")
        document = pattern.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", document)
    return document


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", metavar="FILE", help="what tools/results_table.py --json wrote")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    results = json.loads(Path(args.results).read_text()) if args.results else []
    before = DOCUMENT.read_text()
    after = fill(before, json.loads(OVERHEAD.read_text()), results)
    if args.check:
        return int(before != after)
    DOCUMENT.write_text(after)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"model_zoo: {error}")
