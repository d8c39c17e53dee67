"""``make demo``: its jobs, and the whole of it with few iterations."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("detectron2")
pytest.importorskip("mmpretrain")
pytest.importorskip("mmseg")

from repository import ROOT

from ffc_dense.cli import demo_jobs


def python_job(folder, code, **options):
    return demo_jobs.demo_job("job", folder / "run", [sys.executable, "-c", code], **options)


def test_a_finished_job_is_not_run_again(tmp_path, capsys):
    code = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    for _ in range(2):
        demo_jobs.run("title", [python_job(tmp_path, code)])
    assert (tmp_path / "count").read_text() == "x"
    assert "job: done already" in capsys.readouterr().out


def test_a_job_is_another_one_when_its_command_the_data_or_the_code_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = python_job(tmp_path, "1").key
    assert python_job(tmp_path, "1").key == key != python_job(tmp_path, "2").key
    marker = tmp_path / "data/mini_coco/minidata.json"
    marker.parent.mkdir(parents=True)
    marker.write_text("of few images")
    few = python_job(tmp_path, "1").key
    marker.write_text("of many images")
    assert len({key, few, python_job(tmp_path, "1").key}) == 3
    marker.unlink()
    monkeypatch.setattr(demo_jobs, "code_digest", lambda: "of other code")
    assert python_job(tmp_path, "1").key != key


def test_a_failing_job_stops_the_demo_with_its_last_words(tmp_path):
    job = python_job(tmp_path, "raise RuntimeError('no such file: weights.pth')")
    with pytest.raises(SystemExit, match=r"(?s)no such file: weights\.pth.*exit code 1, see .*run\.log"):
        demo_jobs.run("title", [job])
    assert not job.is_done()


def test_status_shows_iteration_and_time_left_despite_a_half_written_line(tmp_path):
    log = tmp_path / "run" / "metrics.json"
    log.parent.mkdir()
    job = python_job(tmp_path, "", progress="metrics.json", iterations=100)
    assert job.status() == "job 0/100"
    log.write_text('{"iteration": 19, "total_loss": 2}\n')
    assert job.status() == "job 20/100"
    job.first = (20, time.time() - 60)
    log.write_text('{"iteration": 19}\n{"iteration": 39}\n{"iterat')
    assert job.status() == "job 40/100 (about 3.0 min left)"


def whole_demo(folder, *options):
    """The demo as a user runs it, in a folder of their own."""
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), *options]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = dict(os.environ, DETECTRON2_DATASETS="/nowhere", PYTHONPATH=path)  # the user's data, not the demo's
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def rows_of(out):
    """{(classifier, reduction): its cells} of detection, of segmentation and of classification."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    scores = [row for row in lines if len(row) > 3 and row[1] in ("stock", "FFC") and row[3] == "1"]
    return [{(row[1], row[2]): row for row in scores if name in row[0]} for name in MODELS]


MODELS = ("faster_rcnn", "pspnet", "resnet18")
ROWS = {("stock", "-"), ("FFC", "vote"), ("FFC", "mean")}


def test_demo_ends_with_table_pictures_and_report_and_keeps_what_is_done(tmp_path):
    # After one iteration the detector still finds boxes, of every class; soon after it is sure of none.
    few = ["--detection-iterations=1", "--segmentation-iterations=3", "--classification-iterations=3"]
    few += ["--num-train=4", "--num-val=4"]
    out = whole_demo(tmp_path, *few)
    assert [set(rows) for rows in rows_of(out)] == [ROWS] * 3, out
    work = tmp_path / "work_dirs/demo"
    for kind in ("detection", "segmentation", "classification"):
        folder = Path("work_dirs/demo") / f"pictures_{kind}"
        pictures = [path for path in (tmp_path / folder).iterdir() if path.suffix in (".jpg", ".png", ".JPEG")]
        assert str(folder) in out and len(pictures) == 4
        for path in pictures:
            with Image.open(path) as picture:
                assert min(picture.size) > 100
    page = (work / "report.html").read_text()
    assert "report: work_dirs/demo/report.html" in out
    assert page.count('<section id="group-') == 3 and page.count('class="plots"') == 3
    assert "Not analysed yet" not in page and page.count('alt="Predictions in pictures_') == 12
    assert out.strip().splitlines()[-1].startswith("One seed of a short run")
    assert whole_demo(tmp_path, *few).count("done already") == 18


@pytest.mark.slow
def test_the_whole_demo_scores_above_chance_in_twelve_minutes(tmp_path):
    begin = time.time()
    detection, segmentation, classification = rows_of(whole_demo(tmp_path))
    assert time.time() - begin < 12 * 60
    for reduction in ("vote", "mean"):
        assert float(detection["FFC", reduction][4]) > 30  # AP50
        assert float(segmentation["FFC", reduction][4]) > 40  # mIoU
        assert float(classification["FFC", reduction][4]) > 50  # Top-1
    scores = json.loads((tmp_path / "work_dirs/demo/faster_rcnn_ffc/eval/reductions.json").read_text())["results"]
    assert scores["vote"]["bbox"]["AP50"] > 30
