"""Cityscapes' layout: each fault gives its one line with path and remedy, and labelTrainIds are made."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffc_dense.data.cityscapes_labels import TRAIN_ID

TOWN = "minitown/minitown_{:06d}_000019"
HAVEN = "minihaven/minihaven_{:06d}_000019"
TRAIN_IDS = "_gtFine_labelTrainIds.png"


def truncate(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def remove(path):
    path.unlink()
    return path


# Faults in Cityscapes' layout


def image(root, index=0, split="train"):
    stem = (TOWN if split == "train" else HAVEN).format(index)
    return root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png"


def label(root, index=0, kind="labelTrainIds.png", split="train"):
    stem = (TOWN if split == "train" else HAVEN).format(index)
    return root / "gtFine" / split / f"{stem}_gtFine_{kind}"


def repaint(value, dtype=np.uint8, form="PNG"):
    """A corruption: some pixels of a label get this value."""

    def corrupt(root):
        path = label(root)
        pixels = np.array(Image.open(path)).astype(dtype)
        pixels[:2, :5] = np.array(value).astype(dtype)
        Image.fromarray(pixels).save(path, format=form)
        return path

    return corrupt


def label_ids_in_range(root):
    """Train ids and label ids of a scene in which the label ids, too, lie below 19."""
    ids = np.full((128, 256), 7, np.uint8)
    ids[:40] = 11
    for kind in ("labelIds.png", "labelTrainIds.png"):
        Image.fromarray(ids).save(label(root, kind=kind))
    return label(root)


def resized(root):
    path = label(root)
    for kind in ("labelTrainIds.png", "labelIds.png"):
        with Image.open(label(root, kind=kind)) as opened:
            half = opened.resize((128, 64), Image.Resampling.NEAREST)
        half.save(label(root, kind=kind))
    return path


def coloured(root):
    with Image.open(label(root, kind="color.png")) as opened:
        opened.convert("RGB").save(label(root))
    return label(root)


def without_labels(root):
    for path in label(root).parent.glob("minitown_000000_*"):
        path.unlink()
    return label(root)


def without_train_ids(root, split="train"):
    for path in (root / "gtFine" / split).rglob(f"*{TRAIN_IDS}"):
        path.unlink()
    return root / "gtFine" / split


def emptied(folder):
    for path in list(folder.rglob("*.*")):
        path.unlink()
    return folder


def new_folder(folder):
    folder.mkdir()
    return folder


CITYSCAPES_FAULTS = {
    "labelIds": (
        lambda r: Path(shutil.copy(label(r, kind="labelIds.png"), label(r))),
        "label-ids",
        "labelIds in place of labelTrainIds .it equals",
        "--make-train-ids --overwrite",
    ),
    "labelIds without the original": (
        lambda r: label(r, kind="labelIds.png").rename(label(r)),
        "label-ids",
        "in place of labelTrainIds .its values are 1, 4, 7",
        "--make-train-ids --overwrite",
    ),
    "labelIds within the range": (label_ids_in_range, "label-ids", "it equals", "--make-train-ids --overwrite"),
    "label == K": (repaint(19), "label-range", "19 .the number of classes.* in 10 pixels; expected 0 to 18", "as 255"),
    "label in 20..33": (repaint(26), "label-range", "wrong values: 26 in 10 pixels", "--overwrite"),
    "label > K": (repaint(200), "label-range", "200 in 10 pixels", "--overwrite"),
    "-1 in 16 bits": (repaint(-1, np.uint16), "label-negative", "negative values: 65535 .-1 in 16 bits", "as 255"),
    "-1 in 32 bits": (repaint(-1, np.int32, "TIFF"), "label-negative", "negative values: -1 in 10 pixels", "as 255"),
    "truncated image": (
        lambda r: truncate(image(r)),
        "unreadable",
        "cannot be decoded",
        "leftImg8bit_trainvaltest.zip",
    ),
    "truncated label": (
        lambda r: truncate(label(r)),
        "unreadable",
        "cannot be decoded",
        "--make-train-ids --overwrite",
    ),
    "truncated labelIds": (
        lambda r: truncate(label(r, kind="labelIds.png")),
        "unreadable",
        "cannot be decoded",
        "gtFine_trainvaltest.zip",
    ),
    "damaged PNG": (
        lambda r: (lambda p: (p.write_bytes(p.read_bytes()[:9000] + bytes(9) + p.read_bytes()[9009:]), p)[1])(image(r)),
        "unreadable",
        "cannot be decoded",
        "leftImg8bit_trainvaltest.zip",
    ),
    "no label": (without_labels, "missing-label", "minitown_000000_000019_leftImg8bit.png has no label", "gtFine_"),
    "no train ids of one image": (
        lambda r: remove(label(r)),
        "missing-train-ids",
        "no labelTrainIds",
        "--make-train-ids",
    ),
    "no train ids": (without_train_ids, "missing-train-ids", "none of the 6 images of train", "--make-train-ids"),
    "labels without image": (lambda r: remove(image(r)), "missing-image", "labels' image", "leftImg8bit_trainvaltest"),
    "image with a wrong suffix": (
        lambda r: image(r).rename(image(r).parent / "minitown_000000_000019_leftImg8bit.jpg"),
        "wrong-suffix",
        "not end with _leftImg8bit.png",
        "rename",
    ),
    "label with a wrong suffix": (
        lambda r: label(r).rename(label(r, kind="trainIds.png")),
        "wrong-suffix",
        "not end with _gtFine_labelTrainIds",
        "rename",
    ),
    "no images": (
        lambda r: emptied(r / "leftImg8bit" / "train"),
        "empty-folder",
        "no images of train",
        "leftImg8bit_trainvaltest",
    ),
    "no labels": (lambda r: emptied(r / "gtFine" / "val"), "empty-folder", "no labels of val", "gtFine_trainvaltest"),
    "empty city": (
        lambda r: new_folder(r / "leftImg8bit" / "train" / "zurich"),
        "empty-folder",
        "folder is empty",
        "remove the folder",
    ),
    "no folder of val": (
        lambda r: (shutil.rmtree(r / "gtFine/val"), r / "gtFine/val")[1],
        "layout",
        "gtFine/val is not there",
        "--split train",
    ),
    "label of another size": (resized, "label-size", "128 x 64 pixels, its image 256 x 128", "same size"),
    "colour image as label": (coloured, "label-mode", "3 channels", "--make-train-ids --overwrite"),
    "labels that differ from labelIds": (
        repaint(17),
        "label-mismatch",
        "10 pixels differ from the labelIds",
        "on purpose",
    ),
    "val without labelIds": (
        lambda r: remove(label(r, kind="labelIds.png", split="val")),
        "missing-label-ids",
        "1 images",
        "cityscapesscripts",
    ),
    "image without anything": (
        lambda r: (without_labels(r), remove(image(r)).parents[1])[1],
        "count",
        "5 images, but 6 by the mini dataset",
        "--num-train 5",
    ),
}


@pytest.mark.parametrize("name", CITYSCAPES_FAULTS)
def test_each_cityscapes_fault_is_named_with_path_and_remedy(cityscapes, run, name, only_fault):
    corrupt, kind, message, remedy = CITYSCAPES_FAULTS[name]
    path = corrupt(cityscapes)
    only_fault(run("cityscapes", cityscapes), kind, path, message, remedy)


def test_other_classes_than_cityscapes_are_allowed(cityscapes, run):
    repaint(19)(cityscapes)
    assert run("cityscapes", cityscapes, "--num-classes", 20)[:2] == (0, [])
    assert run("cityscapes", cityscapes, "--num-classes", 4)[0] == 1


def test_the_table_of_train_ids_is_cityscapesscripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    assert TRAIN_ID == {entry.id: entry.trainId for entry in labels if 0 <= entry.trainId < 255}


# Making labelTrainIds


@pytest.fixture
def official(originals, tmp_path):
    """The bytes that cityscapesscripts' own command writes, by file name."""
    pytest.importorskip("cityscapesscripts")
    root = Path(shutil.copytree(originals["cityscapes"], tmp_path / "official"))
    for split in ("train", "val"):
        without_train_ids(root, split)
    command = [sys.executable, "-m", "cityscapesscripts.preparation.createTrainIdLabelImgs"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CITYSCAPES_DATASET": str(root)})
    return {path.name: path.read_bytes() for path in root.rglob(f"*{TRAIN_IDS}")}


def test_made_train_ids_equal_the_originals_and_cityscapesscripts_own(originals, cityscapes, official, run):
    for split in ("train", "val"):
        without_train_ids(cityscapes, split)
    code, faults, notes, _ = run("cityscapes", cityscapes, "--make-train-ids", "--workers", 2)
    assert (code, faults) == (0, []) and "note: wrote 9 labelTrainIds files" in notes
    made = sorted(cityscapes.rglob(f"*{TRAIN_IDS}"))
    assert {path.name: path.read_bytes() for path in made} == official and len(made) == 9
    for path in made:
        original = originals["cityscapes"] / path.relative_to(cityscapes)
        np.testing.assert_array_equal(np.array(Image.open(path)), np.array(Image.open(original)))
    names = sorted(path.name for path in cityscapes.rglob("*"))
    assert names == sorted(path.name for path in originals["cityscapes"].rglob("*"))  # nothing else was left


def test_files_that_are_there_stay_unless_overwritten(cityscapes, official, run):
    path = CITYSCAPES_FAULTS["labelIds"][0](cityscapes)
    before = path.read_bytes()
    assert run("cityscapes", cityscapes, "--make-train-ids")[0] == 1 and path.read_bytes() == before
    assert run("cityscapes", cityscapes, "--make-train-ids", "--overwrite")[:2] == (0, [])
    assert path.read_bytes() == official[path.name]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [('"road"', '"raod"', "Label 'raod' not known"), ('{"imgHeight"', "{", "JSONDecodeError|KeyError|ValueError")],
)
def test_polygons_that_cannot_be_drawn_are_named_and_the_others_are_made(cityscapes, run, old, new, message):
    pytest.importorskip("cityscapesscripts")
    without_train_ids(cityscapes)
    path = label(cityscapes, kind="polygons.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    code, faults, notes, _ = run("cityscapes", cityscapes, "--make-train-ids")
    assert code == 1 and "note: wrote 5 labelTrainIds files" in notes
    assert len(faults) == 2 and faults[1].endswith("[missing-train-ids]")
    assert faults[0].startswith(f"error: {path}: ") and re.search(message, faults[0])
    assert not list(cityscapes.rglob(".*.png"))


def test_without_cityscapesscripts_the_package_is_named(cityscapes, monkeypatch, capsys, tool):
    monkeypatch.setitem(sys.modules, "cityscapesscripts.preparation.json2labelImg", None)
    assert tool.main(["cityscapes", str(cityscapes), "--make-train-ids"]) == 2
    assert "pip install cityscapesscripts" in capsys.readouterr().err
