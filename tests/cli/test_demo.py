"""``make demo``: its jobs, and the whole of it with few iterations."""

import json
import os
import subprocess
import sys
import time

import pytest
from PIL import Image

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from repository import ROOT


@pytest.fixture(scope="module")
def demo_module():
    from ffc_dense.cli import demo

    return demo


def python_job(demo, folder, code, **options):
    return demo.Job("job", folder / "run", [sys.executable, "-c", code], **options)


def test_a_finished_job_is_not_run_again(demo_module, tmp_path, capsys):
    code = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    for _ in range(2):
        demo_module.run("title", [python_job(demo_module, tmp_path, code)])
    assert (tmp_path / "count").read_text() == "x"
    assert "job: done already" in capsys.readouterr().out


def test_an_interrupted_job_keeps_its_folder_and_a_changed_one_starts_over(demo_module, tmp_path, capsys):
    code = "import os, time; open('{0}/checkpoint', 'a').write('x'); time.sleep({1})"
    run_folder = tmp_path / "run"
    job = python_job(demo_module, tmp_path, code.format(run_folder, 60))
    job.start(1)
    while not (run_folder / "checkpoint").exists():
        time.sleep(0.05)
    job.process.kill()
    job.process.wait()
    assert not job.is_done()
    again = python_job(demo_module, tmp_path, code.format(run_folder, 60))
    again.start(1)
    while (run_folder / "checkpoint").read_text() != "xx":
        time.sleep(0.05)
    again.process.kill()
    again.process.wait()
    demo_module.run("title", [python_job(demo_module, tmp_path, code.format(run_folder, 0))])
    assert (run_folder / "checkpoint").read_text() == "x"
    assert "the settings changed" in capsys.readouterr().out


def test_a_failing_job_stops_the_demo_with_its_last_words(demo_module, tmp_path):
    job = python_job(demo_module, tmp_path, "raise RuntimeError('no such file: weights.pth')")
    with pytest.raises(SystemExit, match=r"(?s)no such file: weights\.pth.*exit code 1, see .*run\.log"):
        demo_module.run("title", [job])
    assert not job.is_done()


def test_status_shows_iteration_and_time_left_despite_a_half_written_line(demo_module, tmp_path):
    log = tmp_path / "run" / "metrics.json"
    log.parent.mkdir()
    job = python_job(demo_module, tmp_path, "", progress="metrics.json", iterations=100)
    assert job.status() == "job 0/100"
    log.write_text('{"iteration": 19, "total_loss": 2}\n')
    assert job.status() == "job 20/100"
    job.first = (20, time.time() - 60)
    log.write_text('{"iteration": 19}\n{"iteration": 39}\n{"iterat')
    assert job.status() == "job 40/100 (about 3.0 min left)"


def demo(work, *options):
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--work-dir", str(work), *options]
    environment = dict(os.environ, DETECTRON2_DATASETS="/nowhere")  # the user's, which is not the demo's
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def rows_of(work):
    lines = (work / "table.md").read_text().splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_demo_ends_with_table_and_pictures_and_keeps_what_is_done(tmp_path):
    few = ["--detection-iterations", "3", "--segmentation-iterations", "3"]
    out = demo(tmp_path, *few)
    rows = rows_of(tmp_path)
    assert [tuple(row[1:3]) for row in rows] == [("stock", "-"), ("FFC", "vote"), ("FFC", "mean")] * 2
    parameters = [int(row[6].replace(",", "")) for row in rows]
    assert parameters[1] - parameters[0] == 2 * 256 * 3 and parameters[4] - parameters[3] == 2 * 64 * 3
    for name in ("detection.png", "segmentation.png"):
        assert name in out
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 500
    page = (tmp_path / "report.html").read_text()
    assert f"report: {os.path.relpath(tmp_path / 'report.html', ROOT)}" in out
    assert page.count("<section") == 2 and page.count('class="plots"') == 2 and "Not analysed yet" not in page
    assert out.strip().splitlines()[-1].startswith("One seed of a short run")
    assert demo(tmp_path, *few).count("done already") == 12


@pytest.mark.slow
def test_the_whole_demo_scores_above_chance_in_twelve_minutes(tmp_path):
    begin = time.time()
    demo(tmp_path)
    assert time.time() - begin < 12 * 60
    rows = rows_of(tmp_path)
    assert all(float(row[4]) > 30 for row in rows[1:3])  # AP50 of FFC
    assert all(float(row[5]) > 40 for row in rows[4:6])  # mIoU of FFC
    assert json.loads((tmp_path / "faster_rcnn_ffc/eval_vote/results.json").read_text())["bbox"]["AP50"] > 30
