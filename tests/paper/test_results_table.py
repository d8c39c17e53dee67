"""tools/results_table.py on run folders in the formats of both frameworks."""

import json
import math
import runpy
import sys

import pytest

pytest.importorskip("scipy")
pytest.importorskip("yaml")

import yaml
from repository import ROOT
from run_folders import (
    PAPER_C4,
    PAPER_PSP,
    PAPER_R50,
    box_scores,
    classification_run,
    detectron2_run,
    mmengine_run,
    reductions,
    rows,
)

from ffc_dense.paper import compare, read_runs
from ffc_dense.paper.as_json import as_json
from ffc_dense.paper.markdown import report
from ffc_dense.paper.plot import draw
from ffc_dense.paper.statistics import paired
from ffc_dense.paper.systems import SYSTEMS
from ffc_dense.runs.files import read_dumped_config
from ffc_dense.runs.mmengine_runs import log_entries


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run the tool as a script in ``tmp_path``: (what it printed, its error message or None)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["results_table.py", *args])
        code = 0
        try:
            runpy.run_path(str(ROOT / "tools" / "results_table.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        assert code in (0, 2)
        out, err = capsys.readouterr()
        return out, err if code else None

    return run


def test_without_runs_every_row_of_the_paper_is_missing():
    text = report(compare([]))
    for system in SYSTEMS:
        (stock,), ffc = rows(text, system.config, "stock"), rows(text, system.config, "FFC", "vote")
        assert len(ffc) == bool(system.ffc)
        digits = 1 if system.table in (4, 5) else 2
        for row, numbers in zip([stock, *ffc], (system.stock, system.ffc), strict=False):
            assert row[4] == "missing"
            assert [cell for cell in row[4:] if cell][1:] == [f"{number:.{digits}f}" for number in numbers.values()]


def test_paper_numbers_are_those_of_tables_2_to_6():
    tables = {(s.table, s.title): (list(s.stock.values()), list(s.ffc.values())) for s in SYSTEMS}
    assert tables == {
        (2, "ResNet-18"): ([70.40], [70.70]),
        (2, "ResNet-34"): ([73.31], [73.96]),
        (2, "ResNet-50"): ([75.85], [76.80]),
        (2, "ResNet-101"): ([76.62], [77.91]),
        (2, "ResNeXt-50 (32x4d)"): ([77.19], [77.56]),
        (2, "ResNeXt-101 (32x4d)"): ([78.46], [78.61]),
        (3, "ResNet-50-D, efficient"): ([77.06, 93.53], []),
        (3, "+ cosine"): ([77.91, 93.81], []),
        (3, "+ label smoothing"): ([75.60, 94.09], []),
        (3, "+ mixup"): ([79.15, 94.58], [79.62, 94.75]),
        (3, "ResNet-50 + SE"): ([76.80], [77.54]),
        (3, "ResNet-50 + SRM"): ([77.01], [77.91]),
        (4, "Faster R-CNN, ResNet-50"): ([46.3, 28.0, 27.1], [47.1, 28.6, 27.7]),
        (4, "Faster R-CNN, ResNet-101"): ([48.4, 30.7, 29.1], [49.1, 31.4, 29.5]),
        (5, "PSPNet, ResNet-101"): ([78.3], [78.8]),
        (5, "DeepLabV3, ResNet-101"): ([78.9], [79.3]),
        (6, "3D ResNeXt-101, RGB"): ([73.0], [74.82]),
        (6, "3D ResNeXt-101, flow"): ([75.9], [77.45]),
    }
    assert {tuple(s.stock) for s in SYSTEMS if s.table == 4} == {("AP50", "AP75", "AP")}


def test_both_frameworks_stand_beside_the_paper(tmp_path):
    runs = read_runs([
        detectron2_run(tmp_path / "a", ap=27.0), detectron2_run(tmp_path / "b", ffc=True, ap=27.5),
        mmengine_run(tmp_path / "c", miou=78.25), mmengine_run(tmp_path / "d", ffc=True, miou=78.0),
    ])  # fmt: skip
    text = report(compare(runs))
    assert rows(text, PAPER_C4, "FFC", "vote")[0][3:] == [
        "1", "46.50", "28.50", "27.50", "47.1", "28.6", "27.7", "+0.50", "+0.50", "+0.50",
    ]  # fmt: skip
    assert rows(text, PAPER_PSP, "stock")[0][3:8] == ["1", "78.25", "85.25", "93.25", "78.3"]
    assert rows(text, PAPER_PSP, "FFC", "vote")[0][-3] == "-0.25"
    assert rows(text, PAPER_C4, "FFC", "vote", "AP")[0][-1] == "no test: one pair"


def test_image_classifiers_that_train_by_epochs_stand_beside_the_paper(tmp_path):
    folders = [classification_run(tmp_path / "a", top1=75.5), classification_run(tmp_path / "b", ffc=True, top1=76.25)]
    scores = {"vote": {"top1": 76.5, "top5": 93.0}, "mean": {"top1": 76.125, "top5": 93.5}}
    reductions(tmp_path / "b" / "eval", "mmpretrain", tmp_path / "b" / "epoch_90.pth", scores)
    runs = read_runs(folders)
    assert [(run.framework.name, run.iteration, run.unit) for run in runs] == [("mmpretrain", 90, "epoch")] * 2
    text = report(compare(runs))
    assert rows(text, PAPER_R50, "stock")[0][3:7] == ["1", "75.50", "92.50", "75.85"]
    assert rows(text, PAPER_R50, "FFC", "vote")[0][3:] == ["1", "76.50", "93.00", "76.80", "+1.00", "+0.50"]
    assert rows(text, PAPER_R50, "FFC", "mean")[0][4] == "76.12"
    entries = log_entries(runs[0])
    validations = [entry["iterations"] for entry in entries if "accuracy/top1" in entry]
    assert validations == [300 * epoch - 100 for epoch in range(1, 91)]


def test_an_unfinished_training_by_epochs_says_how_many_are_done(tmp_path):
    (run,) = read_runs([classification_run(tmp_path / "a", top1=60.0, epoch=41)])
    assert run.status == "unfinished: epoch 41 of 90" and not run.scores
    reductions(tmp_path / "a" / "eval", "mmpretrain", tmp_path / "a" / "epoch_40.pth", {"stock": {"top1": 70.0}})
    (run,) = read_runs([tmp_path / "a"])
    assert run.notes == ["reductions.json evaluates epoch 40 of 90"]
    (short,) = read_runs([classification_run(tmp_path / "b", top1=60.0, epoch=2, max_epochs=2)])
    assert any(f"{PAPER_R50} (2 epochs)" in row for row in rows(report(compare([short])), f"{PAPER_R50} (2 epochs)"))


def test_mean_deviation_and_paired_tests_over_seeds(tmp_path):
    stock, ffc = {1: 27.1, 2: 26.2, 3: 27.9, 4: 26.8}, {1: 28.0, 2: 26.1, 3: 28.7, 4: 27.5, 9: 50.0}
    folders = [detectron2_run(tmp_path / f"s{seed}", seed=seed, ap=ap) for seed, ap in stock.items()]
    folders += [detectron2_run(tmp_path / f"f{seed}", seed=seed, ap=ap, ffc=True) for seed, ap in ffc.items()]
    comparisons = compare(read_runs(folders))

    mean = sum(stock.values()) / 4
    sd = math.sqrt(sum((value - mean) ** 2 for value in stock.values()) / 3)
    assert rows(report(comparisons), PAPER_C4, "stock")[0][6] == f"{mean:.2f} ± {sd:.2f}"

    differences = [ffc[seed] - stock[seed] for seed in (1, 2, 3, 4)]
    centre = sum(differences) / 4
    spread = math.sqrt(sum((value - centre) ** 2 for value in differences) / 3)
    t = centre / (spread / 2)
    (entry,) = [entry for entry in as_json(comparisons) if entry["config"] == PAPER_C4]
    (result,) = [r for r in entry["results"] if r["variant"] == "FFC" and r["metric"] == "AP"]
    found = result["difference"]
    assert found["seeds"] == [1, 2, 3, 4]
    assert found["mean"] == pytest.approx(centre) and found["sd"] == pytest.approx(spread)
    # Student's t with 3 degrees of freedom has a closed form.
    x = t / math.sqrt(3)
    assert found["t_p"] == pytest.approx(1 - 2 / math.pi * (math.atan(x) + x / (1 + x * x)), rel=1e-9)
    assert found["interval_95"] == pytest.approx([centre - 3.182446305 * spread / 2, centre + 3.182446305 * spread / 2])
    # Signed ranks: -0.1 has rank 1, the others 2, 3, 4. Of 16 sign patterns 2 have a sum of 1 or less, on each side.
    assert found["wilcoxon_p"] == pytest.approx(4 / 16)
    assert "seeds 9 without a partner left out" in rows(report(comparisons), PAPER_C4, "FFC", "vote", "AP")[0][-1]


@pytest.mark.parametrize(
    ("stock", "ffc", "note"),
    [
        ({1: 1.0}, {1: 2.0}, "no test: one pair"),
        ({1: 1.0, 2: 3.0}, {1: 1.0, 2: 3.0}, "no test: all differences are zero"),
        ({1: 1.1, 2: 3.3}, {1: 1.4, 2: 3.6}, "no t-test: all differences are equal"),
    ],
)
def test_no_test_is_made_where_none_is_defined(stock, ffc, note):
    result = paired(stock, ffc)
    assert result.note == note and result.t_p is None and result.interval is None
    assert paired(stock, {7: 1.0}) is None


def test_an_unfinished_run_is_no_number(tmp_path):
    half = detectron2_run(tmp_path / "a", iteration=1000, ap=27.0)  # a score at MAX_ITER that is not its own
    reductions(tmp_path / "a" / "eval", "detectron2", half / "model_0000999.pth", {"stock": {"bbox": box_scores(20.0)}})
    other = mmengine_run(tmp_path / "b", ffc=True, step=4000)
    text = report(compare(read_runs([half, other])))
    assert rows(text, PAPER_C4, "stock")[0][3:5] == ["-", "unfinished: iteration 1,000 of 490,000"]
    assert rows(text, PAPER_PSP, "FFC", "vote")[0][3:5] == ["-", "unfinished: iteration 4,000 of 40,000"]
    assert "20.0" not in text and "27.00" not in text


def test_a_finished_run_without_score_says_so(tmp_path):
    bare = detectron2_run(tmp_path / "a")
    nan = mmengine_run(tmp_path / "b", miou=float("nan"))
    text = report(compare(read_runs([bare, nan])))
    assert rows(text, PAPER_C4, "stock")[0][4] == "trained, not evaluated"
    assert "has no mIoU for stock" in rows(text, PAPER_PSP, "stock")[0][4]


def test_a_shortened_schedule_is_not_the_papers_row(tmp_path):
    text = report(compare(read_runs([detectron2_run(tmp_path / "a", ap=27.0, iteration=100, max_iter=100)])))
    assert rows(text, PAPER_C4, "stock")[0][4] == "missing"
    assert rows(text, f"{PAPER_C4} (100 iterations)", "stock")[0][6] == "27.00"


def test_an_evaluation_belongs_to_the_run_of_its_checkpoint(tmp_path):
    """Given the evaluation alone, the training's seed and schedule are found; both given, the run counts once."""
    run = detectron2_run(tmp_path / "run", ffc=True, seed=5)
    expected = {"vote": 27.5, "mean": 27.25, "out1": 26.0}
    results = {name: {"bbox": box_scores(ap)} for name, ap in expected.items()}
    ours = reductions(tmp_path / "eval", "detectron2", "run/model_final.pth", results)
    segmentor = mmengine_run(tmp_path / "seg", ffc=True, seed=6, miou=78.0)
    scores = {"vote": {"mIoU": 78.012, "mAcc": 85.0, "aAcc": 93.0, "IoU": {"road": 98.0, "sky": None}}}
    reductions(segmentor / "eval", "mmseg", segmentor / "iter_40000.pth", scores)
    for folders in ([ours, segmentor], [run, ours, segmentor]):
        detection, segmentation = read_runs(folders)
        assert (detection.seed, segmentation.seed) == (5, 6)
        assert {name: values["AP"] for name, values in detection.scores.items()} == expected
        assert segmentation.scores["vote"]["mIoU"] == 78.012  # not the rounded one of the training log


def test_an_evaluation_without_labels_is_no_score(tmp_path):
    run = detectron2_run(tmp_path / "run", ffc=True)
    reductions(run / "test-dev", "detectron2", run / "model_final.pth", {"vote": None, "mean": {}})
    text = report(compare(read_runs([run])))
    assert "has no AP for vote" in rows(text, PAPER_C4, "FFC", "vote")[0][4]


def test_other_evaluations_are_read_too(tmp_path):
    run = detectron2_run(tmp_path / "run", ffc=True)
    other = tmp_path / "eval_mean"
    other.mkdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["MODEL"]["WEIGHTS"] = str(run / "model_final.pth")
    config["MODEL"]["ROI_BOX_HEAD"]["FFC"]["TEST_REDUCE"] = "mean"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    (other / "results.json").write_text(json.dumps({"bbox": box_scores(25.0)}))
    segmentor = mmengine_run(tmp_path / "seg", ffc=True)
    tested = segmentor / "20261125_100000"
    (tested / "vis_data").mkdir(parents=True)
    (tested / "20261125_100000.json").write_text(json.dumps({"aAcc": 93.0, "mIoU": 77.5, "mAcc": 85.0, "time": 0.1}))
    dumped = next(segmentor.glob("*.py")).read_text()
    dumped = dumped.replace("type='FFCPSPHead'", "test_reduce='mean', type='FFCPSPHead'")
    dumped = dumped.replace("load_from = None", f"load_from = '{segmentor}/iter_40000.pth'")
    (tested / "vis_data" / "config.py").write_text(dumped)
    detection, segmentation = read_runs([other, segmentor])
    assert detection.scores["mean"]["AP"] == 25.0
    assert segmentation.scores == {"mean": {"mIoU": 77.5, "mAcc": 85.0, "aAcc": 93.0}}


def test_settings_that_matter_keep_runs_apart(tmp_path):
    """Another initial checkpoint is another experiment; another seed, folder and device is not."""
    stock = detectron2_run(tmp_path / "a", ap=27.0)
    other = detectron2_run(tmp_path / "b", ffc=True, ap=30.0, WEIGHTS="other.pkl")
    same = detectron2_run(tmp_path / "c", ffc=True, ap=28.0, DEVICE="cpu")
    groups = compare(read_runs([stock, other, same]))
    with_runs = [group for group in groups if group.runs]
    assert sorted(len(group.runs) for group in with_runs) == [1, 2]
    assert not rows(report(groups), PAPER_C4, "FFC", "vote", "AP")[0][5].startswith("+3")


def test_two_runs_of_one_seed_are_refused(tmp_path):
    folders = [detectron2_run(tmp_path / name, ap=27.0) for name in "ab"]
    with pytest.raises(ValueError, match=r"b and .*a are both .* seed 1"):
        compare(read_runs(folders))


def test_a_run_without_a_seed_is_not_paired(tmp_path):
    stock, ffc = detectron2_run(tmp_path / "a", seed=-1, ap=27.0), detectron2_run(tmp_path / "b", ffc=True, ap=28.0)
    text = report(compare(read_runs([stock, ffc])))
    assert rows(text, PAPER_C4, "FFC", "vote")[0][-1] == "+1.00 (not paired)"
    assert not rows(text, PAPER_C4, "FFC", "vote", "AP")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", '{"iteration": 1}\n{broken\n{"iteration": 2}\n', r"metrics\.json, line 2"),
        ("metrics.json", "[1, 2]\n", r"metrics\.json, line 1: expected a JSON mapping"),
        ("train_config.yaml", "a: [", r"train_config\.yaml is no valid yaml"),
        ("train_config.yaml", "SEED: 1\n", r"train_config\.yaml is no complete detectron2 config: 'SOLVER'"),
        ("results.json", "{", r"results\.json is no valid JSON"),
        ("reductions.json", "{}", r"reductions\.json: 'results' is missing"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, file, content, message):
    run = detectron2_run(tmp_path / "a", ap=27.0)
    (run / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_runs([run])


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    run = detectron2_run(tmp_path / "a", iteration=1000)
    with (run / "metrics.json").open("a") as log:
        log.write('{"iteration": 1019, "total_l')
    assert read_runs([run])[0].iteration == 1000


def test_a_dumped_config_is_not_executed(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("a = dict(b=[1, (2, -3.5)], c={'d': None})\n")
    assert read_dumped_config(path) == {"a": {"b": [1, [2, -3.5]], "c": {"d": None}}}
    for code in ("import os\n", f"a = open({str(tmp_path / 'made')!r}, 'w')\n", "a = dict(b=print('x'))\n", "a = (\n"):
        path.write_text(code)
        with pytest.raises(ValueError, match=r"config\.py is no config that mmengine dumped"):
            read_dumped_config(path)
    assert not (tmp_path / "made").exists()


def test_real_dumps_of_twins_are_one_comparison(tmp_path):
    """Configs as the frameworks write them, of the paper's systems."""
    config = pytest.importorskip("detectron2.config")
    mmengine = pytest.importorskip("mmengine.config")
    from ffc_dense.detection import add_ffc_config

    folders = []
    for ffc in (False, True):
        folders.append(detectron2_run(tmp_path / f"d{ffc}", ffc=ffc, ap=27.0 + ffc))
        cfg = config.get_cfg()
        add_ffc_config(cfg)
        cfg.merge_from_file(str(ROOT / "configs" / "coco" / f"{PAPER_C4}{'_ffc' * ffc}.yaml"))
        cfg.SEED, cfg.OUTPUT_DIR = 1, str(folders[-1])
        (folders[-1] / "train_config.yaml").write_text(cfg.dump())
        folders.append(mmengine_run(tmp_path / f"m{ffc}", ffc=ffc, miou=78.0 + ffc))
        dumped = next(folders[-1].glob("*/vis_data/config.py"))
        name = next(folders[-1].glob("*.py")).name
        source = mmengine.Config.fromfile(ROOT / "configs" / "cityscapes" / name)
        source.merge_from_dict({"randomness.seed": 1, "work_dir": str(folders[-1])})
        source.dump(dumped)
    text = report(compare(read_runs(folders)))
    assert rows(text, PAPER_C4, "FFC", "vote")[0][-1] == rows(text, PAPER_PSP, "FFC", "vote")[0][-1] == "+1.00"


def test_command_writes_table_json_and_plot(tmp_path, command):
    pytest.importorskip("matplotlib")
    from PIL import Image

    detectron2_run(tmp_path / "runs" / "a", ap=27.0)
    (tmp_path / "runs" / "other").mkdir()
    text, error = command("runs/a", "runs/other", "--json", "out.json", "--plot", "out.png")
    assert error is None
    assert rows(text, PAPER_C4, "stock")[0][6] == "27.00" and "- runs/other holds no run: expected" in text
    entries = json.loads((tmp_path / "out.json").read_text())
    entry = next(entry for entry in entries if entry["config"] == PAPER_C4)
    assert entry["runs"][0]["scores"]["stock"]["AP"] == 27.0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 800
    assert command("runs/a", "--json", "out.png/x.json")[1].startswith(
        "results_table: error: --json: out.png/x.json cannot"
    )
    (tmp_path / "runs" / "a" / "metrics.json").write_text("{\n{\n")
    assert "metrics.json, line 1 is no valid JSON" in command("runs/a")[1]
    assert command("runs/other")[1].startswith(
        "results_table: error: no run in the folders given:\n- runs/other holds no run"
    )


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is not a folder"):
        read_runs([tmp_path / "absent"])
    with pytest.raises(FileNotFoundError, match=r"holds no run: expected detectron2's config\.yaml"):
        read_runs([tmp_path])
    orphan = reductions(tmp_path / "eval", "mmseg", "elsewhere/iter_40000.pth", {"vote": {"mIoU": 78.0}})
    with pytest.raises(FileNotFoundError, match="elsewhere holds no training"):
        read_runs([orphan])


def test_nothing_is_drawn_without_scores(tmp_path):
    assert not draw(compare([]), tmp_path / "out.png") and not (tmp_path / "out.png").exists()
