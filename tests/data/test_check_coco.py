"""COCO's layout: what is legal passes, and each fault gives its one line with path and remedy."""

import copy
import json
import random
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ffc_dense.data import Report, check_coco
from ffc_dense.data.coco import ImageTask, check_image
from ffc_dense.data.coco_json import mapping_text

IMAGE = "train2017/000000000001.jpg"


def json_path(root, split="train"):
    return root / "annotations" / f"instances_{split}2017.json"


def edit(root, change, split="train"):
    """Load the annotation file, let ``change`` edit it, write it, return its path."""
    path = json_path(root, split)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def annotations(**values):
    """A corruption: these values in the second annotation."""
    return lambda root: edit(root, lambda content: content["annotations"][1].update(values))


def truncate(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def remove(path):
    path.unlink()
    return path


def write(path, text):
    path.write_text(text)
    return path


# What is legal


def test_non_contiguous_category_ids_are_legal_and_their_mapping_is_detectron2s(coco, run):
    gaps = {1: 1, 2: 2, 3: 3, 4: 5, 5: 6, 6: 11, 7: 40, 8: 41, 9: 89, 10: 90}

    def change(content):
        for category in content["categories"]:
            category["id"] = gaps[category["id"]]
        for annotation in content["annotations"]:
            annotation["category_id"] = gaps[annotation["category_id"]]

    for split in ("train", "val"):
        path = edit(coco, change, split)
    code, faults, notes, _ = run("coco", coco)
    assert (code, faults) == (0, [])
    text = "1-3 -> 0-2, 5-6 -> 3-4, 11 -> 5, 40-41 -> 6-7, 89-90 -> 8-9"
    assert any("with gaps, which is legal" in note and text in note and "NUM_CLASSES is 10" in note for note in notes)

    detectron2 = pytest.importorskip("detectron2.data")
    from detectron2.data.datasets.coco import load_coco_json

    name = f"check_dataset_{coco.parent.name}"
    load_coco_json(str(path), str(coco / "val2017"), name)
    mapping = detectron2.MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id
    detectron2.MetadataCatalog.remove(name)
    assert mapping == {key: index for index, key in enumerate(gaps.values())}


def test_the_mapping_of_coco_2017_is_written_in_runs():
    absent = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    ids = [key for key in range(1, 91) if key not in absent]
    text = mapping_text(ids)
    read = {}
    for run_of_ids in text.split(", "):
        old, new = ([int(n) for n in side.split("-")] for side in run_of_ids.split(" -> "))
        read.update(zip(range(old[0], old[-1] + 1), range(new[0], new[-1] + 1), strict=True))
    assert read == {key: index for index, key in enumerate(ids)} and len(read) == 80
    assert mapping_text([]) == ""


def test_images_without_objects_are_legal(coco, run):
    def change(content):
        first = content["images"][0]["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != first]

    edit(coco, change)
    code, faults, notes, _ = run("coco", coco)
    assert (code, faults) == (0, []) and any("1 images have no box, which is legal" in note for note in notes)


def test_a_layout_of_ones_own_needs_no_official_names_or_numbers(coco, run):
    (coco / "minidata.json").unlink()
    json_path(coco).rename(coco / "mine.json")
    (coco / "train2017").rename(coco / "pictures")
    code, faults, notes, _ = run("coco", coco, "--train", "mine.json", "pictures")
    assert (code, faults) == (0, []) and len(notes) == 2


# Faults in COCO's layout: corruption (returns the path that the fault names), kind, message, remedy

COCO_FAULTS = {
    "missing image": (lambda r: remove(r / IMAGE), "missing-image", "image 1 of", "fetch it again"),
    "truncated JPEG": (lambda r: truncate(r / IMAGE), "unreadable", "truncated", "fetch the file again"),
    "JPEG cut in its header": (lambda r: truncate(r / IMAGE, 0.02), "unreadable", "cannot|no image", "fetch the file"),
    "empty file": (lambda r: truncate(r / IMAGE, 0), "unreadable", "0 bytes", "fetch the file again"),
    "web page as image": (lambda r: write(r / IMAGE, "<html>"), "unreadable", "no image", "fetch the file again"),
    "folder as image": (
        lambda r: (remove(r / IMAGE), (r / IMAGE).mkdir())[0],
        "unreadable",
        "directory",
        "fetch the file again",
    ),
    "category == K": (annotations(category_id=11), "category", "category 11.*1-10 as 0-9", "add the category"),
    "category > K": (annotations(category_id=999), "category", "category 999", "add the category"),
    "category 0": (annotations(category_id=0), "category", "category 0", "not from 0"),
    "negative category": (annotations(category_id=-1), "category", "category -1", "correct the annotation"),
    "category as text": (annotations(category_id="3"), "record", "'category_id' is '3'", "correct the annotation file"),
    "empty annotation list": (
        lambda r: edit(r, lambda c: c["annotations"].clear()),
        "no-annotations",
        "train has no",
        "instances_",
    ),
    "box outside": (annotations(bbox=[150, 100, 30, 30]), "box-outside", r"\[150, 100, 30, 30\].*160 x 120", "x1, y1"),
    "box left of the image": (annotations(bbox=[-9, 5, 20, 20]), "box-outside", "leaves the image", "upper|width"),
    "zero-area box": (annotations(bbox=[20, 20, 0, 10]), "box-empty", "no area", "remove the annotation"),
    "negative width": (annotations(bbox=[60, 20, -30, 10]), "box", "negative width", "upper left"),
    "box with NaN": (annotations(bbox=[60, 20, float("nan"), 10]), "box", "nan", "correct the annotation file"),
    "box of three": (annotations(bbox=[60, 20, 5]), "box", "expected .x, y, width, height", "correct"),
    "no box": (annotations(bbox=None), "box", "None", "correct the annotation file"),
    "box of endless numbers": (annotations(bbox=[0, 0, 10**400, 1]), "box", "expected .x, y", "correct"),
    "huge box": (annotations(bbox=[0, 0, 1e300, 1e300]), "box-outside", "1e.300", "x1, y1"),
    "ignore flag": (annotations(ignore=1), "ignore-flag", "detectron2 refuses", "iscrowd"),
    "polygon of two points": (
        annotations(segmentation=[[1, 1, 5, 5]]),
        "polygon",
        "three points",
        "correct the polygon",
    ),
    "annotation of no image": (annotations(image_id=77), "orphan-annotation", "image 77", "from the same file"),
    "duplicate annotation id": (
        lambda r: edit(r, lambda c: c["annotations"].append(c["annotations"][0])),
        "duplicate-id",
        "annotation id",
        "own id",
    ),
    "duplicate image id": (
        lambda r: edit(r, lambda c: c["images"].append(c["images"][0])),
        "duplicate-id",
        "image id 1 ",
        "own id",
    ),
    "duplicate category id": (
        lambda r: edit(r, lambda c: c["categories"].append({"id": 4, "name": "four"})),
        "duplicate-id",
        "category id 4",
        "own id",
    ),
    "size in the file": (
        lambda r: (edit(r, lambda c: c["images"][0].update(width=161)), r / IMAGE)[1],
        "image-size",
        "160 x 120 pixels, the annotation file says 161 x 120",
        "correct 'width'",
    ),
    "no height": (
        lambda r: edit(r, lambda c: [c["images"].append({"id": 9, "file_name": "9.jpg", "width": 3})]),
        "record",
        "image 9: has no 'height'",
        "correct",
    ),
    "file listed twice": (
        lambda r: (
            edit(r, lambda c: c["images"][1].update(file_name=c["images"][0]["file_name"]))
            and (remove(r / "train2017/000000000002.jpg"), json_path(r))[1]
        ),
        "duplicate-file",
        "2 image ids name the file 000000000001.jpg",
        "one image record",
    ),
    "image that is not listed": (
        lambda r: Path(shutil.copy(r / IMAGE, r / "train2017/extra.jpg")).parent,
        "unlisted-image",
        "1 images .*extra.jpg",
        "belong together",
    ),
    "other categories in val": (
        lambda r: edit(r, lambda c: c["categories"][3].update(name="x"), "val"),
        "category-mismatch",
        "id 4 is '3' in train and 'x' in val",
        "same list",
    ),
    "val without area": (
        lambda r: edit(r, lambda c: c["annotations"][0].pop("area"), "val"),
        "record",
        "'area'.*pycocotools",
        "correct",
    ),
    "val with id 0": (
        lambda r: edit(r, lambda c: c["annotations"][0].update(id=0), "val"),
        "annotation-zero",
        "not matched",
        "from 1",
    ),
    "truncated annotation file": (lambda r: truncate(json_path(r)), "json", "no valid JSON", "unpack it again"),
    "result file": (lambda r: write(json_path(r), "[]"), "json", "got a list", "instances_"),
    "image_info file": (
        lambda r: edit(r, lambda c: c.pop("annotations")),
        "json",
        "annotations are missing",
        "image_info",
    ),
    "no annotation file": (lambda r: remove(json_path(r, "val")), "layout", "file of val", "--split train"),
    "empty image folder": (
        lambda r: [remove(p) for p in (r / "val2017").iterdir()][0].parent,
        "empty-folder",
        "val is empty",
        "val2017.zip",
    ),
    "no image folder": (
        lambda r: (shutil.rmtree(r / "val2017"), r / "val2017")[1],
        "layout",
        "folder of val",
        "val2017.zip",
    ),
    "empty annotations folder": (
        lambda r: (remove(json_path(r)), remove(json_path(r, "val")).parent)[1],
        "empty-folder",
        "folder is empty",
        "annotations_trainval2017.zip",
    ),
    "unfinished generation": (
        lambda r: write(r / "minidata.json", (r / "minidata.json").read_text().replace("complete", "in progress")),
        "incomplete",
        "not written to the end",
        "python -m ffc_dense.minidata coco",
    ),
}


@pytest.mark.parametrize("name", COCO_FAULTS)
def test_each_coco_fault_is_named_with_path_and_remedy(coco, run, name, only_fault):
    corrupt, kind, message, remedy = COCO_FAULTS[name]
    path = corrupt(coco)
    only_fault(run("coco", coco), kind, path, message, remedy)


def test_no_annotations_in_val_is_a_warning(coco, run):
    path = edit(coco, lambda content: content["annotations"].clear(), "val")
    code, faults, _, _ = run("coco", coco)
    assert code == 0 and len(faults) == 1 and faults[0].startswith(f"warning: {path}: val has no annotations")


def test_a_box_may_leave_the_image_by_rounding(coco, run):
    annotations(bbox=[120, 80, 40.9, 40.9])(coco)
    assert run("coco", coco)[:2] == (0, [])


def test_the_size_is_compared_after_the_exif_orientation_as_in_detectron2(coco, run, only_fault):
    path = coco / IMAGE
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)
    only_fault(run("coco", coco), "image-size", path, "120 x 160 pixels after its EXIF orientation 6", "restore")


def test_another_number_of_classes_is_refused(coco, run, only_fault):
    only_fault(
        run("coco", coco, "--num-classes", 80),
        "num-classes",
        json_path(coco),
        "10 categories, not 80",
        "NUM_CLASSES.* to 10",
    )


JUNK = [
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("-inf"),
    10**400,
    "",
    "\ud800",
    "a/../b\x00.jpg",
    "a\nb.jpg",
    [],
    [[]],
    {},
    [None],
]


@pytest.mark.parametrize("name", ["train2017.json", "a.json\n"])
def test_an_annotation_file_of_any_content_gives_faults_and_no_exception(coco, name):
    pristine = json_path(coco).read_text()
    path = coco / name
    rng = random.Random(0)
    faulty = 0
    for _ in range(150):
        content = json.loads(pristine)
        for _ in range(rng.randint(1, 4)):
            target = content
            for _ in range(rng.choice((1, 3, 3, 3, 4))):  # walk down to a value and replace it by junk
                keys = list(target) if isinstance(target, dict) else range(len(target))
                if not keys:
                    break
                parent, key = target, rng.choice(list(keys))
                target = target[key]
                if not isinstance(target, (dict, list)):
                    break
            parent[key] = copy.deepcopy(rng.choice(JUNK))
        path.write_text(json.dumps(content))
        report = Report(show=lambda line: line.encode())
        check_coco(coco, report, splits=["train"], files={"train": (name, "train2017")}, fast=True)
        faulty += report.errors > 0
        assert all("\n" not in str(fault) for fault in report.faults)
    assert faulty > 50


def test_a_damaged_image_gives_a_fault_or_decodes_but_no_exception(coco):
    path = coco / IMAGE
    pristine = path.read_bytes()
    rng = random.Random(0)
    kinds = set()
    for number in range(200):
        data = bytearray(pristine if number % 2 else pristine[:700])
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        found = check_image(ImageTask(str(path), (160, 120), decode=True))
        kinds |= {fault[0] for fault in found} or {"none"}
    assert {"unreadable", "none"} <= kinds <= {"unreadable", "image-size", "none"}
