"""``--dataset NAME ANNOTATIONS IMAGES``: data of one's own in COCO's format, without Python."""

import importlib
import json
from argparse import ArgumentParser
from pathlib import Path

from ..errors import UserError
from ..frameworks import DETECTRON2, Framework


def add_dataset_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", nargs=3, action="append", default=[], metavar=("NAME", "ANNOTATIONS", "IMAGES"), dest="datasets",
        help="detectron2: register your own dataset, a JSON file in COCO's format and the folder of its images, under a "
             "name for DATASETS.TRAIN and DATASETS.TEST; may be given several times",
    )  # fmt: skip


def register(framework: Framework, datasets: list[list[str]]) -> None:
    """Register what ``--dataset`` names with the framework of a config.

    Raises:
        UserError: it is not detectron2, or a dataset is not there.
    """
    if datasets and framework is not DETECTRON2:
        raise UserError(f"--dataset: for detectron2's configs; {framework.title}'s name their data in the config file")
    if datasets:
        importlib.import_module(f"{framework.adapter}.inputs.datasets").register_own(datasets)


def read_categories(file: str | Path, key: str) -> list[dict]:
    """The categories of a JSON file in COCO's format, by their ids: class k is the k-th.

    Args:
        key: what named the file, for the message.

    Raises:
        UserError: there is no such file, or it is not in COCO's format.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            categories = json.load(opened)["categories"]
        return sorted(({"id": each["id"], **each, "name": str(each["name"])} for each in categories),
                      key=lambda each: each["id"])  # fmt: skip
    except OSError as error:
        raise UserError(f"{key}: {file} cannot be read ({error.strerror}); correct the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{key}: {file} is not in COCO's format ({type(error).__name__}: {error}); expected a JSON file with the "
            "lists images, annotations and categories"
        ) from error
