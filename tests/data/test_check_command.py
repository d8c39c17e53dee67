"""tools/check_dataset.py as a command: numbers of images, processes, output, exit codes."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffc_dense.data import KINDS, Report, check_coco
from ffc_dense.data.parallel import FEW, over_files

from repository import ROOT as REPO
TOOL = REPO / "tools" / "check_dataset.py"
IMAGE = "train2017/000000000001.jpg"


def edit(root, change):
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("layout", ["coco", "cityscapes"])
@pytest.mark.parametrize("options", [(), ("--fast",), ("--split", "val"), ("--num-train", "6", "--num-val", "3")])
def test_a_generated_dataset_has_no_fault(originals, run, layout, options):
    code, faults, notes, summary = run(layout, originals[layout], *options)
    assert (code, faults) == (0, [])
    assert summary.startswith("ok: 0 errors, 0 warnings")
    assert any("val: 3 images" in note for note in notes)


def test_a_folder_below_detectron2_datasets_is_found(coco, run):
    coco.rename(coco.parent / "coco")
    code, faults, notes, _ = run("coco", coco.parent)
    assert (code, faults) == (0, []) and notes[0] == f"note: checking {coco.parent / 'coco'}"


@pytest.mark.parametrize("layout", ["coco", "cityscapes"])
def test_a_path_that_matches_nothing_names_what_fits(originals, tmp_path, run, layout, only_fault):
    root = originals[layout].parent
    only_fault(run(layout, root), "layout", root, "has none of the folders", f"subfolders: {originals[layout]}")
    only_fault(run(layout, tmp_path), "layout", tmp_path, "has none of the folders", "docs/how-to/datasets.md")


# Numbers of images


@pytest.mark.parametrize(
    ("layout", "official_counts"), [("coco", ("118,287", "5,000")), ("cityscapes", ("2,975", "500"))]
)
def test_numbers_are_official_or_given_or_any(coco, cityscapes, run, layout, official_counts):
    root = {"coco": coco, "cityscapes": cityscapes}[layout]
    (root / "minidata.json").unlink()
    code, faults, _, _ = run(layout, root)
    assert code == 1 and len(faults) == 2
    for fault, number, found in zip(faults, official_counts, (6, 3), strict=True):
        assert f"{found} images, but {number} by the official dataset" in fault and "--any-size" in fault
    assert run(layout, root, "--any-size")[:2] == (0, [])
    assert run(layout, root, "--num-train", 6)[:2] == (0, [])
    assert run(layout, root, "--num-train", 6, "--num-val", 3)[:2] == (0, [])
    code, faults, _, _ = run(layout, root, "--num-train", 7)
    assert code == 1 and "6 images, but 7 by the numbers given" in faults[0] and len(faults) == 1


# The report and the command line


@pytest.fixture
def many(coco):
    """COCO's layout with 100 images of train, of which every third is truncated."""
    numbers = range(100)

    def change(content):
        first = content["images"][0]
        content["images"] = [{**first, "id": 1 + n, "file_name": f"{n}.jpg"} for n in numbers]
        content["annotations"] = content["annotations"][:1]

    edit(coco, change)
    data = (coco / IMAGE).read_bytes()
    for n in numbers:
        (coco / "train2017" / f"{n}.jpg").write_bytes(data[: len(data) // (2 if n % 3 == 0 else 1)])
    for path in (coco / "train2017").glob("0000*.jpg"):
        path.unlink()
    return coco


def test_faults_and_their_order_do_not_depend_on_the_number_of_processes(many):
    assert len(os.listdir(many / "train2017")) > FEW
    found = []
    for workers in (1, 2):
        report = Report()
        check_coco(many, report, any_size=True, workers=workers)
        found.append(report.as_dict())
    assert found[0] == found[1] and found[0]["errors"] == 34


def test_lines_per_kind_are_capped_and_json_has_all(many, capsys, tmp_path, tool):
    arguments = ["coco", str(many), "--any-size", "--max-lines", "3", "--json", str(tmp_path / "report.json")]
    assert tool.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum("[unreadable]" in line and "truncated" in line for line in lines) == 3
    assert "error: 31 further of this kind [unreadable]" in lines
    assert lines[-1] == "faulty: 34 errors, 0 warnings (unreadable 34)"
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["ok"], report["errors"], report["warnings"]) == (False, 34, 0)
    assert report["counts"] == [{"kind": "unreadable", "severity": "error", "count": 34}]
    assert [Path(fault["path"]).stem for fault in report["faults"]] == [str(n) for n in range(0, 100, 3)]


def test_fast_finds_every_truncated_file(coco, cityscapes, run, only_fault):
    for layout, root in (("coco", coco), ("cityscapes", cityscapes)):
        pattern = "train2017/*1.jpg" if layout == "coco" else "leftImg8bit/train/*/*1_*.png"
        path = next(root.glob(pattern))
        path.write_bytes(path.read_bytes()[:-500])
        only_fault(run(layout, root, "--fast"), "unreadable", path, "truncated|cannot be decoded", "again")


def test_a_whole_file_with_bytes_after_its_end_is_no_fault(coco, run):
    path = coco / IMAGE
    path.write_bytes(path.read_bytes() + bytes(100))
    assert run("coco", coco, "--fast")[:2] == (0, []) == run("coco", coco)[:2]


def test_fast_says_that_it_did_not_look_into_the_middle_of_files(coco, run):
    path = coco / IMAGE
    with Image.open(path) as image:
        image.load()
    image.save(path, format="PNG")  # a PNG has check sums
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(9) + data[middle + 9 :])
    assert run("coco", coco)[0] == 1
    code, faults, _, summary = run("coco", coco, "--fast")
    assert (code, faults) == (0, []) and "run without --fast" in summary


def test_fast_still_reads_some_labels(cityscapes, run, only_fault):
    path = next((cityscapes / "gtFine" / "train").rglob("*_labelTrainIds.png"))
    Image.fromarray(np.full((128, 256), 19, np.uint8)).save(path)
    only_fault(run("cityscapes", cityscapes, "--fast"), "label-range", path, "19", "255")


def test_an_error_can_be_made_a_warning(coco, run):
    edit(coco, lambda content: content["annotations"][0].update(bbox=[150, 100, 30, 30]))
    code, faults, _, summary = run("coco", coco, "--as-warning", "box-outside")
    assert code == 0 and faults[0].startswith("warning: ") and summary.startswith("ok: 0 errors, 1 warning ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coco", "{tmp}/absent"], "{tmp}/absent: no such folder"),
        (["coco", "{tmp}/file"], "{tmp}/file: is not a folder"),
        (["voc", "{tmp}"], "invalid choice: 'voc'"),
        (["coco", "{tmp}", "--workers", "0"], "at least 1, got '0'"),
        (["coco", "{tmp}", "--as-warning", "boxes"], "invalid choice: 'boxes'"),
        (["coco", "{tmp}", "--any-size", "--num-val", "3"], "not together"),
        (["coco", "{tmp}", "--json", "{tmp}/a/b.json"], "no such folder: {tmp}/a"),
        (["coco", "{tmp}", "--split", "val", "--train", "a.json", "b"], "give --val JSON IMAGES"),
        (["cityscapes", "{tmp}", "--overwrite"], "only with --make-train-ids"),
    ],
)
def test_a_wrong_command_exits_with_2(tmp_path, capsys, arguments, message, tool):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        tool.main([argument.format(tmp=tmp_path) for argument in arguments])
    assert stopped.value.code == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err


def _die(task):
    os._exit(9)  # as the kernel's out-of-memory killer would


def test_a_killed_worker_is_an_error_and_not_a_hang(coco, monkeypatch, capsys, tool):
    with pytest.raises(BrokenProcessPool):
        list(over_files(_die, range(FEW + 1), 2, "files"))

    def killed(*args, **kwargs):
        raise BrokenProcessPool

    monkeypatch.setattr(tool, "check_coco", killed)
    assert tool.main(["coco", str(coco)]) == 2
    assert "--workers 1" in capsys.readouterr().err


def test_an_interrupted_check_says_what_it_found_and_that_it_did_not_end(coco, monkeypatch, capsys, tool):
    def interrupted(path, report, **kwargs):
        report.add("missing-image", path / "a.jpg", "not there", "fetch it")
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, "check_coco", interrupted)
    assert tool.main(["coco", str(coco)]) == 130
    out, err = capsys.readouterr()
    assert err == "interrupted before the end; 1 error, 0 warnings (missing-image 1) so far\n"
    assert out == f"error: {coco}/a.jpg: not there: fetch it [missing-image]\n"


def test_an_unknown_kind_as_warning_is_refused():
    with pytest.raises(ValueError, match="no kind of fault is named"):
        Report(as_warnings=["boxes"])


def test_the_command_runs_with_no_framework_installed(originals):
    absent = (
        "detectron2",
        "fvcore",
        "mmseg",
        "mmengine",
        "mmcv",
        "torchvision",
        "pycocotools",
        "cityscapesscripts",
        "cv2",
        "skimage",
        "sklearn",
    )
    script = (
        "import sys, runpy\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"sys.argv = ['check_dataset.py', 'cityscapes', {str(originals['cityscapes'])!r}]\n"
        f"runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok: 0 errors, 0 warnings" and done.stderr == ""


def test_without_pillow_the_package_is_named():
    script = "import sys\nsys.modules['PIL'] = None\nimport ffc_dense.data"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO, timeout=120)
    assert done.returncode == 1 and "pip install numpy Pillow" in done.stderr.splitlines()[-1]


def test_the_docs_list_every_kind_of_fault():
    text = (REPO / "docs" / "how-to" / "datasets.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (error|warning) \|", text, flags=re.MULTILINE))
    assert listed == {kind: severity for kind, (severity, _) in KINDS.items()}
