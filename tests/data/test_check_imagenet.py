"""ImageNet's layout: each fault gives its one line with path and remedy; what is legal gives none."""

import json
import shutil

import pytest
from PIL import Image

C = [f"n{digit:08d}" for digit in range(10)]


def some(root, split="train", digit=3):
    return root / split / C[digit] / f"{C[digit]}_0.JPEG"


def truncated(root):
    path = some(root)
    path.write_bytes(path.read_bytes()[:700])
    return path


def not_an_image(root):
    some(root).write_text("moved")
    return some(root)


def empty_class(root):
    for split in ("train", "val"):
        (root / split / C[3]).rename(root / split / "kept")  # so that the numbers stay
        shutil.move(str(root / split / "kept"), str(root / split / C[4] / "kept"))
    (root / "train" / C[3]).mkdir()
    (root / "val" / C[3]).mkdir()
    some(root, "val", 4).rename(root / "val" / C[3] / "a.JPEG")  # val has one, train none
    return root / "train" / C[3]


def foreign_file(root):
    path = root / "train" / C[2] / "notes.txt"
    path.write_text("")
    return path


def archive_beside(root):
    path = root / "val" / "ILSVRC2012_img_val.tar"
    path.write_text("")
    return path


def one_too_many(root):
    shutil.copy(some(root), some(root).with_name("copy.JPEG"))
    return root / "train"


def no_val(root):
    shutil.rmtree(root / "val")
    return root / "val"


def bare_val(root):
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    return root / "val"


def flat_val(root):
    for path in list((root / "val").rglob("*.JPEG")):
        path.rename(root / "val" / path.name)
    for folder in (root / "val").iterdir():
        if folder.is_dir():
            folder.rmdir()
    return root / "val"


def renamed_in_val(root):
    (root / "val" / C[3]).rename(root / "val" / "n00000033")
    return root / "val"


def interrupted(root):
    path = root / "minidata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "in progress"}))
    return path


FAULTS = {
    "truncated": (truncated, "unreadable", "cannot be decoded .*truncated", "fetch the file again"),
    "text": (not_an_image, "unreadable", "no image that Pillow knows", "fetch the file again"),
    "empty class": (empty_class, "empty-folder", "the class has no images", "the classes behind it get other labels"),
    "notes": (foreign_file, "not-image", r"no image that is read \(\.jpg", "move it away"),
    "archive": (archive_beside, "not-image", "no image that is read", "move it away"),
    "more": (one_too_many, "count", "train has 21 images, but 20 by the mini dataset", "--num-train 21"),
    "no val": (no_val, "layout", "the folder val is not there", "give --split train"),
    "bare val": (bare_val, "empty-folder", "no class folders of val", "unpack the archive"),
    "flat val": (flat_val, "layout", "holds 10 images and no class folders", "into the folder of its class"),
    "renamed": (
        renamed_in_val, "category-mismatch",
        "it lacks n00000003 and has besides n00000033; labels from 3 on mean other classes", "the same class folders",
    ),
    "interrupted": (interrupted, "incomplete", "not written to the end", "minidata imagenet --root"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_gives_one_line(imagenet, run, only_fault, name):
    corrupt, kind, message, remedy = FAULTS[name]
    path = corrupt(imagenet)
    only_fault(run("imagenet", imagenet), kind, path, message, remedy)


def test_another_number_of_classes_is_named_for_each_split(imagenet, run):
    for split in ("train", "val"):
        (imagenet / split / ".ipynb_checkpoints").mkdir()  # mmpretrain and torchvision take it for a class
        shutil.copy(some(imagenet, split), imagenet / split / ".ipynb_checkpoints" / "a.JPEG")
    code, faults, _, _ = run("imagenet", imagenet, "--any-size", "--classes", "10")
    assert code == 1 and len(faults) == 2
    for fault, split in zip(faults, ("train", "val"), strict=True):
        assert f"{split} has 11 class folders, not 10; not named as ImageNet's classes: .ipynb_checkpoints" in fault
        assert fault.endswith("say --classes 11 [num-classes]")


def test_official_numbers_are_expected_where_no_others_are_given(imagenet, run):
    (imagenet / "minidata.json").unlink()
    code, faults, _, _ = run("imagenet", imagenet)
    assert code == 1 and [fault.rpartition(" ")[2] for fault in faults] == ["[num-classes]", "[count]"] * 2
    assert "10 class folders, not 1,000" in faults[0] and "20 images, but 1,281,167 by the official" in faults[1]
    assert "10 images, but 50,000 by the official dataset" in faults[3]
    assert run("imagenet", imagenet, "--any-size")[:2] == (0, [])
    assert run("imagenet", imagenet, "--num-train", 20, "--num-val", 10)[:2] == (0, [])
    code, faults, _, _ = run("imagenet", imagenet, "--any-size", "--num-classes", 7)
    assert code == 1 and all("10 class folders, not 7" in fault for fault in faults)


def test_numbers_as_class_names_are_sorted_as_text(imagenet, run, only_fault):
    for split in ("train", "val"):
        for digit, name in enumerate(C):
            (imagenet / split / name).rename(imagenet / split / str(digit + 1))
    result = run("imagenet", imagenet, "--split", "val")
    only_fault(result, "class-order", imagenet / "val", ": 10 gets label 1, before 2", "as many digits")


def test_other_formats_folders_within_a_class_and_hidden_files_are_no_fault(imagenet, run):
    below = imagenet / "train" / C[1] / "below"
    below.mkdir()
    with Image.open(some(imagenet, digit=1)) as image:
        image.convert("CMYK").save(below / "a.jpg")
        image.convert("P").save(below / "b.PNG")
    (below / ".DS_Store").write_text("")
    (imagenet / "train" / ".cache").write_text("")
    assert run("imagenet", imagenet, "--num-train", 22)[:2] == (0, [])


def test_a_file_damaged_in_the_middle_is_found_without_fast_alone(imagenet, run, only_fault):
    path = some(imagenet).with_suffix(".png")
    with Image.open(some(imagenet)) as image:
        image.save(path)
    some(imagenet).unlink()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    assert run("imagenet", imagenet, "--fast")[:2] == (0, [])
    only_fault(run("imagenet", imagenet), "unreadable", path, "cannot be decoded", "fetch")


def test_a_folder_named_imagenet_is_found_below(imagenet, run):
    imagenet.rename(imagenet.parent / "imagenet")
    code, faults, notes, _ = run("imagenet", imagenet.parent)
    assert (code, faults) == (0, []) and notes[0] == f"note: checking {imagenet.parent / 'imagenet'}"
    assert notes[1:] == ["note: train: 20 images in 10 classes", "note: val: 10 images in 10 classes"]
