"""Properties of the generated mini datasets, checked with the official COCO and Cityscapes tools and mmpretrain."""

import contextlib
import hashlib
import importlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("sklearn")

import ffc_dense.minidata as minidata
from ffc_dense.minidata import DatasetFolderError, make_mini_cityscapes, make_mini_coco, make_mini_imagenet, sources
from ffc_dense.minidata import cityscapes as cityscapes_module
from ffc_dense.minidata import coco as coco_module
from ffc_dense.minidata import imagenet as imagenet_module
from ffc_dense.minidata.__main__ import main

MAKERS = [make_mini_coco, make_mini_cityscapes, make_mini_imagenet]
WROTE = {make_mini_imagenet: "wrote 20 train and 10 val images"}  # 2 and 1 of each class
SPLITS = {"train": "minitown", "val": "minihaven"}


@pytest.fixture(scope="module")
def coco_root(tmp_path_factory):
    return make_mini_coco(tmp_path_factory.mktemp("coco"), num_train=24, num_val=12)


@pytest.fixture(scope="module")
def cityscapes_root(tmp_path_factory):
    return make_mini_cityscapes(tmp_path_factory.mktemp("cityscapes"), num_train=12, num_val=8)


@pytest.fixture(scope="module")
def imagenet_root(tmp_path_factory):
    return make_mini_imagenet(tmp_path_factory.mktemp("imagenet"), num_train=6, num_val=3)


def hashes(root):
    """{relative path: SHA-256} of every file under `root`."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def load_coco(root, split):
    coco = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        return coco.COCO(str(root / "annotations" / f"instances_{split}2017.json"))


def label_files(root, kind):
    """All gtFine files of one kind, e.g. 'labelIds.png', of both splits."""
    files = sorted((root / "gtFine").glob(f"*/*/*_gtFine_{kind}"))
    assert len(files) == 20
    return files


def sibling(path, kind):
    return Path(re.sub(r"_gtFine_.*", f"_gtFine_{kind}", str(path)))


# Determinism and the split


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_gives_identical_bytes(make, tmp_path):
    first, second = make(tmp_path / "a", 3, 2, seed=5), make(tmp_path / "b", 3, 2, seed=5)
    assert hashes(first) == hashes(second)


@pytest.mark.parametrize("make", MAKERS)
def test_different_seed_differs(make, tmp_path):
    first, second = hashes(make(tmp_path / "a", 3, 2, seed=5)), hashes(make(tmp_path / "b", 3, 2, seed=6))
    images = [name for name in first if name.endswith((".jpg", "_leftImg8bit.png", ".JPEG"))]
    assert len(images) == (50 if make is make_mini_imagenet else 5)
    assert all(first[name] != second[name] for name in images)


@pytest.mark.parametrize(("make", "number"), [(make_mini_coco, 3), (make_mini_imagenet, 30)])
def test_images_do_not_depend_on_the_count(make, number, tmp_path):
    few, more = hashes(make(tmp_path / "a", 2, 1)), hashes(make(tmp_path / "b", 4, 3))
    images = [name for name in few if name.endswith((".jpg", ".JPEG"))]
    assert len(images) == number
    assert all(few[name] == more[name] for name in images)


def test_digit_and_photo_splits_are_disjoint_and_complete():
    train = np.concatenate([sources.digit_indices("train", d) for d in range(10)])
    val = np.concatenate([sources.digit_indices("val", d) for d in range(10)])
    assert sorted(train) == list(range(1400))
    assert sorted(val) == list(range(1400, sources.DIGIT_COUNT))
    for name in sources.PHOTOS:
        width = sources.load_photo(name).width
        (t0, t1), (v0, v1) = sources.photo_columns(width, "train"), sources.photo_columns(width, "val")
        assert (t0, v1) == (0, width)
        assert t1 == v0 == round(0.68 * width)
    with pytest.raises(ValueError, match="split"):
        sources.photo_columns(100, "test")


@pytest.mark.parametrize("fixture", ["coco_root", "cityscapes_root", "imagenet_root"])
def test_train_and_val_share_no_digit_and_no_photo_region(fixture, request):
    root = request.getfixturevalue(fixture)
    used = json.loads((root / "provenance.json").read_text())
    digits = {split: {d for image in used[split] for d in image["digits"]} for split in SPLITS}
    assert digits["train"] and max(digits["train"]) < 1400
    assert digits["val"] and min(digits["val"]) >= 1400
    for split in SPLITS:
        for image in used[split]:
            assert (root / image["file"]).is_file()
            assert image["photos"]
            for name, x0, y0, x1, y1 in image["photos"]:
                photo = sources.load_photo(name)
                first, last = sources.photo_columns(photo.width, split)
                assert first <= x0 < x1 <= last
                assert 0 <= y0 < y1 <= photo.height


def test_every_photo_is_named_in_the_licence_file():
    text = (Path(minidata.__file__).parent / "LICENCES.md").read_text(encoding="utf-8")
    for photo in sources.PHOTOS.values():
        rows = [line for line in text.splitlines() if f"`{photo.package}/{photo.file}`" in line]
        assert len(rows) == 1 and photo.licence in rows[0]
        assert photo.author.split(" (")[0] in rows[0]


# COCO


@pytest.mark.parametrize("split", SPLITS)
def test_coco_api_loads_it(coco_root, split):
    coco = load_coco(coco_root, split)
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == [str(d) for d in range(10)]
    assert coco.getCatIds() == list(range(1, 11))
    assert len(coco.imgs) == {"train": 24, "val": 12}[split]
    assert len({a["id"] for a in coco.dataset["annotations"]}) == len(coco.dataset["annotations"])
    licences = {entry["id"] for entry in coco.dataset["licenses"]}
    for image in coco.imgs.values():
        with Image.open(coco_root / f"{split}2017" / image["file_name"]) as pixels:
            assert pixels.size == (image["width"], image["height"]) == (160, 120)
        assert image["file_name"] == f"{image['id']:012d}.jpg"
        assert image["license"] in licences
        assert 2 <= len(coco.getAnnIds(imgIds=image["id"])) <= 5
    for annotation in coco.anns.values():
        x, y, w, h = annotation["bbox"]
        assert x >= 0 and y >= 0 and x + w <= 160 and y + h <= 120
        assert 20 <= h <= 60 and annotation["area"] > 0 and annotation["iscrowd"] == 0
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        assert columns.min() >= np.floor(x) - 1 and columns.max() <= np.ceil(x + w)
        assert rows.min() >= np.floor(y) - 1 and rows.max() <= np.ceil(y + h)
        assert mask.sum() == pytest.approx(annotation["area"], rel=0.08)
        assert annotation["area"] > 0.7 * w * h


def test_coco_image_and_annotation_ids_are_unique_across_splits(coco_root):
    train, val = load_coco(coco_root, "train"), load_coco(coco_root, "val")
    assert not set(train.imgs) & set(val.imgs)
    assert not set(train.anns) & set(val.anns)


def test_coco_categories_are_the_digits_that_were_drawn(coco_root):
    classes = sources.load_digits()[1]
    used = json.loads((coco_root / "provenance.json").read_text())
    for split in SPLITS:
        coco = load_coco(coco_root, split)
        for image, origin in zip(coco.dataset["images"], used[split], strict=True):
            annotations = coco.imgToAnns[image["id"]]
            assert [a["category_id"] - 1 for a in annotations] == [classes[d] for d in origin["digits"]]


def test_coco_plates_are_light_with_dark_ink(coco_root):
    coco = load_coco(coco_root, "val")
    for annotation in coco.anns.values():
        path = coco_root / "val2017" / coco.imgs[annotation["image_id"]]["file_name"]
        grey = np.asarray(Image.open(path).convert("L"))[coco.annToMask(annotation) > 0]
        dark, light = np.percentile(grey, [5, 70])
        assert light - dark > 70


def test_coco_eval_of_perfect_detections_is_one(coco_root):
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    coco = load_coco(coco_root, "val")
    for kind in ("bbox", "segm"):
        detections = [
            {
                "image_id": a["image_id"],
                "category_id": a["category_id"],
                "score": 1.0,
                **({"bbox": a["bbox"]} if kind == "bbox" else {"segmentation": coco.annToRLE(a)}),
            }
            for a in coco.dataset["annotations"]
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            result = evaluation.COCOeval(coco, coco.loadRes(detections), kind)
            result.evaluate()
            result.accumulate()
            result.summarize()
        assert result.stats[0] == pytest.approx(1.0)


# Cityscapes


def test_cityscapes_names_match_real_layout(cityscapes_root):
    helpers = pytest.importorskip("cityscapesscripts.helpers.csHelpers")
    kinds = ["color.png", "instanceIds.png", "labelIds.png", "labelTrainIds.png", "polygons.json"]
    for split, city in SPLITS.items():
        images = sorted((cityscapes_root / "leftImg8bit" / split / city).iterdir())
        assert len(images) == {"train": 12, "val": 8}[split]
        expected = set()
        for path in images:
            assert re.fullmatch(city + r"_\d{6}_000019_leftImg8bit\.png", path.name)
            info = helpers.getCsFileInfo(str(path))
            assert (info.city, info.type, info.ext) == (city, "leftImg8bit", "png")
            core = helpers.getCoreImageFileName(str(path))
            expected |= {f"{core}_gtFine_{kind}" for kind in kinds}
            with Image.open(path) as image:
                assert image.size == (256, 128) and image.mode == "RGB"
        assert {p.name for p in (cityscapes_root / "gtFine" / split / city).iterdir()} == expected


def test_label_table_equals_cityscapesscripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    for name, (label_id, train_id, colour) in cityscapes_module.LABELS.items():
        official = labels.name2label[name]
        assert (official.id, official.trainId, official.color) == (label_id, train_id, colour)
        assert official.hasInstances == (name in cityscapes_module.THINGS)


def test_train_ids_equal_cityscapesscripts_mapping(cityscapes_root):
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    table = np.full(256, 255)
    for label in labels.labels:
        if label.id >= 0:
            table[label.id] = label.trainId
    seen = set()
    for path in label_files(cityscapes_root, "labelIds.png"):
        ids, train_ids = np.array(Image.open(path)), np.array(Image.open(sibling(path, "labelTrainIds.png")))
        assert ids.dtype == train_ids.dtype == np.uint8
        np.testing.assert_array_equal(train_ids, table[ids])
        seen |= set(np.unique(train_ids).tolist())
    assert seen == {0, 1, 2, 8, 9, 10, 11, 12, 13, 18, 255}


def test_polygons_rasterise_to_label_ids(cityscapes_root):
    annotation = pytest.importorskip("cityscapesscripts.helpers.annotation")
    to_labels = pytest.importorskip("cityscapesscripts.preparation.json2labelImg")
    to_instances = pytest.importorskip("cityscapesscripts.preparation.json2instanceImg")
    for path in label_files(cityscapes_root, "polygons.json"):
        polygons = annotation.Annotation()
        polygons.fromJsonFile(str(path))
        drawn = {
            "labelIds.png": to_labels.createLabelImage(polygons, "ids"),
            "labelTrainIds.png": to_labels.createLabelImage(polygons, "trainIds"),
            "color.png": to_labels.createLabelImage(polygons, "color"),
            "instanceIds.png": to_instances.createInstanceImage(polygons, "ids"),
        }
        for kind, image in drawn.items():
            stored = np.array(Image.open(sibling(path, kind)))
            np.testing.assert_array_equal(stored, np.array(image), err_msg=kind)


def test_instance_ids_match_labels(cityscapes_root):
    for path in label_files(cityscapes_root, "instanceIds.png"):
        instances = np.array(Image.open(path))
        assert instances.dtype == np.uint16
        ids = np.array(Image.open(sibling(path, "labelIds.png")))
        np.testing.assert_array_equal(np.where(instances >= 1000, instances // 1000, instances), ids)
        assert set(np.unique(ids[instances >= 1000]).tolist()) <= {24, 25, 26, 33}
        assert not np.isin(ids[instances < 1000], [24, 25, 26, 33]).any()
        objects = json.loads(sibling(path, "polygons.json").read_text())["objects"]
        things = [o for o in objects if o["label"] in cityscapes_module.THINGS]
        assert 2 <= len(things) <= 5
        assert len(np.unique(instances[instances >= 1000])) == len(things)


def test_cityscapes_evaluation_of_ground_truth_is_one(cityscapes_root):
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    files = [str(path) for path in label_files(cityscapes_root, "labelIds.png")]
    evaluation.args.quiet, evaluation.args.JSONOutput = True, False
    with contextlib.redirect_stdout(io.StringIO()):
        result = evaluation.evaluateImgLists(files, files, evaluation.args)
    assert result["averageScoreClasses"] == pytest.approx(1.0)
    present = {name for name, score in result["classScores"].items() if not np.isnan(score)}
    assert present == {
        "road",
        "sidewalk",
        "building",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "bicycle",
    }


# ImageNet


def test_imagenet_is_read_by_mmpretrain_with_the_digit_as_label(imagenet_root):
    datasets = pytest.importorskip("mmpretrain.datasets")
    used = json.loads((imagenet_root / "provenance.json").read_text())
    classes = sources.load_digits()[1]
    for split, number in (("train", 6), ("val", 3)):
        dataset = datasets.CustomDataset(data_root=str(imagenet_root), data_prefix=split)
        labels = {Path(each["img_path"]): each["gt_label"] for each in map(dataset.get_data_info, range(len(dataset)))}
        assert list(dataset.CLASSES) == [f"n{digit:08d}" for digit in range(10)]
        assert sorted(labels.values()) == sorted(list(range(10)) * number)
        for origin in used[split]:
            assert labels[imagenet_root / origin["file"]] == classes[origin["digits"][0]]


def test_imagenet_images_are_of_one_size_and_show_a_plate_with_ink(imagenet_root):
    for path in (imagenet_root / "val").rglob("*.JPEG"):
        with Image.open(path) as image:
            assert image.size == (64, 64) and image.mode == "RGB" and image.format == "JPEG"
            grey = np.asarray(image.convert("L"), dtype=float)
        assert (grey > 150).mean() > 0.08 and np.ptp(np.percentile(grey, [3, 90])) > 70
    photos = {image["photos"][0][0] for image in json.loads((imagenet_root / "provenance.json").read_text())["train"]}
    assert len(photos) > 6


# The folder


@pytest.mark.parametrize("make", MAKERS)
def test_foreign_folder_is_refused(make, tmp_path):
    photo = tmp_path / "train2017" / "000000000009.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"somebody's image")
    with pytest.raises(DatasetFolderError, match="nothing was changed") as error:
        make(tmp_path, 2, 1)
    assert str(tmp_path) in str(error.value)
    assert hashes(tmp_path).keys() == {"train2017/000000000009.jpg"}
    assert photo.read_bytes() == b"somebody's image"


def test_foreign_marker_is_refused(tmp_path):
    (tmp_path / "minidata.json").write_text('{"generator": "something else"}')
    with pytest.raises(DatasetFolderError):
        make_mini_coco(tmp_path, 2, 1)


def test_file_as_root_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetFolderError, match="not a folder"):
        make_mini_coco(tmp_path / "file", 2, 1)


def test_other_layout_is_refused(tmp_path):
    make_mini_coco(tmp_path, 1, 1)
    before = hashes(tmp_path)
    with pytest.raises(DatasetFolderError, match="holds the mini coco dataset"):
        make_mini_cityscapes(tmp_path, 1, 1)
    assert hashes(tmp_path) == before


def test_linked_subfolder_is_refused(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (real / "000000000001.jpg").write_bytes(b"somebody's image")
    root = make_mini_coco(tmp_path / "mini", 1, 1)
    for path in (root / "train2017").iterdir():
        path.unlink()
    (root / "train2017").rmdir()
    (root / "train2017").symlink_to(real)
    with pytest.raises(DatasetFolderError, match="symbolic link"):
        make_mini_coco(root, 2, 1)
    assert (real / "000000000001.jpg").read_bytes() == b"somebody's image"


@pytest.mark.parametrize("make", MAKERS)
def test_second_call_is_a_no_op(make, tmp_path, capsys):
    assert make(tmp_path, 2, 1) == tmp_path
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert WROTE.get(make, "wrote 2 train and 1 val images") in capsys.readouterr().out
    make(tmp_path, 2, 1)
    assert "up to date" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("make", MAKERS)
def test_other_parameters_regenerate(make, tmp_path):
    make(tmp_path / "a", 3, 2)
    make(tmp_path / "a", 2, 1, seed=3)
    assert hashes(tmp_path / "a") == hashes(make(tmp_path / "b", 2, 1, seed=3))


@pytest.mark.parametrize(
    ("make", "module", "name"),
    [
        (make_mini_coco, coco_module, "make_image"),
        (make_mini_cityscapes, cityscapes_module, "make_scene"),
        (make_mini_imagenet, imagenet_module, "make_image"),
    ],
)
def test_interrupted_generation_is_completed(make, module, name, tmp_path, monkeypatch):
    original = getattr(module, name)

    def stop_in_val(split, *arguments):
        if split == "val":
            raise KeyboardInterrupt
        return original(split, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, stop_in_val)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "a", 2, 2)
    assert json.loads((tmp_path / "a" / "minidata.json").read_text())["status"] == "in progress"
    make(tmp_path / "a", 2, 2)
    assert hashes(tmp_path / "a") == hashes(make(tmp_path / "b", 2, 2))


@pytest.mark.parametrize("make", MAKERS)
def test_deleted_labels_are_regenerated(make, tmp_path):
    make(tmp_path, 2, 1)
    before = hashes(tmp_path)
    for pattern in ("instances_val2017.json", "minihaven_*_labelTrainIds.png", "n00000003_0.JPEG"):
        for path in list(tmp_path.rglob(pattern)):
            path.unlink()
    assert hashes(tmp_path) != before
    make(tmp_path, 2, 1)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("bad", [{"num_train": 0}, {"num_val": -1}, {"seed": -1}, {"num_train": 1.5}])
def test_bad_parameters_are_refused(bad, tmp_path):
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_mini_coco(tmp_path / "a", **bad)
    assert not (tmp_path / "a").exists()


# Command line and import


def test_cli(tmp_path, capsys):
    assert main(["all", "--root", str(tmp_path), "--num-train", "2", "--num-val", "1", "--seed", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [
        str(tmp_path / f"mini_{name}") for name in ("coco", "cityscapes", "imagenet")
    ]
    marker = json.loads((tmp_path / "mini_cityscapes" / "minidata.json").read_text())
    assert marker["parameters"] == {"num_train": 2, "num_val": 1, "seed": 4}
    assert marker["status"] == "complete" and marker["counts"]["train"]["images"] == 2


def test_cli_reports_a_bad_root(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["coco", "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(tmp_path) in error and error.count("\n") == 1


def test_cli_in_a_new_process_gives_the_same_bytes(tmp_path):
    command = [
        sys.executable,
        "-m",
        "ffc_dense.minidata",
        "coco",
        "--root",
        str(tmp_path / "a"),
        "--num-train",
        "2",
        "--num-val",
        "1",
    ]
    subprocess.run(command, check=True, cwd=Path(minidata.__file__).parents[2])
    assert hashes(tmp_path / "a") == hashes(make_mini_coco(tmp_path / "b", 2, 1))


def test_import_without_scikit_image_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'ffc_dense[minidata]'")):
        importlib.reload(minidata)
