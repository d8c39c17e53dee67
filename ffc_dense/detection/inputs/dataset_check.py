"""The check of the datasets at the start of a training, by the first process for all of them."""

from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial

from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from ...data.quick import MODES, checked, quick_coco
from ...errors import UserError


def add_dataset_check_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dataset-check", choices=MODES, default="error",
        help="what a fault of the datasets does before a training: stop it (default), be told, or not be looked for",
    )  # fmt: skip


def check_datasets(
    train: Sequence[str], test: Sequence[str], num_classes: int | None, classes_key: str, mode: str
) -> None:
    """Check registered datasets in COCO's format; those of other formats are passed over, and that is printed.

    Every process of the job must call it: the first one checks, and its answer goes to all.

    Args:
        train, test: names of registered datasets.
        num_classes: the model's number of classes. None: not compared.
        classes_key: the config key that says it.
        mode: one of :data:`ffc_dense.data.quick.MODES`.

    Raises:
        UserError: a dataset is faulty, and ``mode`` is "error".
    """
    if mode == "off":
        return
    problems = []
    if comm.is_main_process():
        splits = {**{name: "test" if "test" in name else "val" for name in test}, **dict.fromkeys(train, "train")}
        found = (_check(name, split, num_classes, classes_key) for name, split in splits.items())
        problems = [problem for problem in found if problem]
    problems = comm.all_gather(problems)[0]
    if problems and mode == "error":
        problems.append("Correct them, or train anyway with --dataset-check warn; see docs/how-to/datasets.md")
        raise UserError("\n".join(problems))
    for problem in problems if comm.is_main_process() else []:
        _say(f"dataset check: warning: {problem}")


def _say(line: str) -> None:
    print(line, flush=True)


def _check(name: str, split: str, num_classes: int | None, classes_key: str) -> str:
    """What is wrong with a dataset, '' if nothing is."""
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "coco" or not metadata.get("json_file") or not metadata.get("image_root"):
        _say(f"dataset check: {name} is not in COCO's format and was not checked")
        return ""
    paths = [PathManager.get_local_path(metadata.get(key)) for key in ("json_file", "image_root")]
    check = partial(quick_coco, *paths, split, num_classes=num_classes, key=classes_key)
    return checked(f"dataset {name}", lambda report: check(report=report), _say)
