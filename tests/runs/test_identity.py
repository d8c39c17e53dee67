"""A run stays what it was trained as, whatever is evaluated in its folder afterwards: seed, schedule, reduction."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("yaml")

import yaml
from repository import ROOT
from run_folders import PAPER_C4, PAPER_PSP, box_scores, detectron2_run, mmengine_run, reductions, rows

from ffc_dense.paper import compare, read_runs, without_doubles
from ffc_dense.paper.markdown import report
from ffc_dense.runs.train_config import recorded, write_train_config

TABLE = ROOT / "tools" / "results_table.py"


def overwrite_config(run, file="config.yaml", **keys):
    """Another command's config in ``run``: dotted keys with double underscores."""
    config = yaml.safe_load((run / file).read_text())
    for dotted, value in keys.items():
        *parents, name = dotted.split("__")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    (run / file).write_text(yaml.safe_dump(config))


def mmengine_test(folder, time, metrics, **replaced):
    """What test.py leaves in the training's own folder: TIMESTAMP/TIMESTAMP.json, and NAME.py written anew."""
    top = next(folder.glob("*.py"))
    text = top.read_text()
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, new)
    place = folder / time
    (place / "vis_data").mkdir(parents=True)
    for path in (top, place / "vis_data" / "config.py"):
        path.write_text(text)
    (place / f"{time}.json").write_text(json.dumps(metrics))


def test_an_evaluation_in_one_twins_folder_leaves_the_pair_together(tmp_path):
    """It replaces seed, weights, reduction and the unscaled schedule in config.yaml."""
    stock = detectron2_run(tmp_path / "a", seed=2, ap=27.0, iteration=100, max_iter=100)
    ffc = detectron2_run(tmp_path / "b", ffc=True, seed=2, ap=28.0, iteration=100, max_iter=100)
    overwrite_config(
        ffc,
        SEED=1,
        MODEL__WEIGHTS=str(ffc / "model_final.pth"),
        SOLVER__MAX_ITER=50,
        MODEL__ROI_BOX_HEAD__FFC__TEST_REDUCE="mean",
    )
    evaluated = {"weights": str(ffc / "model_final.pth"), "reduction": "mean"}
    (ffc / "results.json").write_text(json.dumps({"bbox": box_scores(26.0), "evaluated": evaluated}))
    runs = read_runs([stock, ffc])
    assert [(run.seed, run.max_iterations, run.notes, run.identity_note) for run in runs] == [(2, 100, [], "")] * 2
    assert {name: scores["AP"] for name, scores in runs[1].scores.items()} == {"vote": 28.0, "mean": 26.0}
    text = report(compare(runs))
    assert rows(text, f"{PAPER_C4} (100 iterations)", "FFC", "vote", "AP")[0][4:6] == ["1 (2)", "+1.00"]


def test_an_evaluation_elsewhere_counts_for_the_run_of_its_checkpoint(tmp_path):
    """``--eval-only`` without OUTPUT_DIR writes into the config's default folder, here that of another seed."""
    first, second = (detectron2_run(tmp_path / f"{seed}", seed=seed) for seed in (1, 2))
    evaluated = {"weights": str(second / "model_final.pth"), "reduction": "stock"}
    (first / "results.json").write_text(json.dumps({"bbox": box_scores(26.0), "evaluated": evaluated}))
    assert [run.scores.get("stock", {}).get("AP") for run in read_runs([first, second])] == [None, 26.0]


def test_without_train_config_the_table_says_that_identity_is_a_guess(tmp_path):
    folders = [detectron2_run(tmp_path / "a", ap=27.0), detectron2_run(tmp_path / "b", ffc=True, ap=28.0)]
    (folders[0] / "train_config.yaml").unlink()
    text = report(compare(read_runs(folders)))
    assert "no train_config.yaml" in rows(text, PAPER_C4, "FFC", "vote", "AP")[0][-1]
    assert f"its last command ({folders[0]})" in text and f"({folders[1]})" not in text
    overwrite_config(folders[0], SOLVER__REFERENCE_WORLD_SIZE=8)
    with pytest.raises(ValueError, match="REFERENCE_WORLD_SIZE, but not the scaled schedule"):
        read_runs(folders)


def test_the_first_record_of_a_training_stays(tmp_path):
    cfg = {"SEED": 2, "OUTPUT_DIR": "a", "MODEL": {"WEIGHTS": "R-50.pkl"}, "SOLVER": {"MAX_ITER": 12, "BASE_LR": 0.1}}

    def start(resumed, **changed):
        return write_train_config(tmp_path, yaml.safe_dump({**cfg, **changed}), 2, resumed)

    first = start(resumed=False)
    text = first.read_text()
    assert yaml.safe_load(text) == cfg and text.startswith("# Settings of a training with 2 process(es)")
    assert start(resumed=True, SEED=1, OUTPUT_DIR="b", MODEL={"WEIGHTS": "other.pkl"}) is None
    longer = {"MAX_ITER": 30, "BASE_LR": 0.1}
    assert start(resumed=True, SOLVER=longer).name == "train_config.1.yaml"
    assert start(resumed=True, SOLVER=longer) is None and first.read_text() == text
    start(resumed=False, SEED=5)
    assert recorded(tmp_path) == [first] and yaml.safe_load(first.read_text())["SEED"] == 5


def test_a_run_resumed_with_another_schedule_is_another_experiment(tmp_path):
    """12 iterations and then 30 are not 30 from the start."""
    long = detectron2_run(tmp_path / "a", iteration=30, max_iter=30, ap=20.0)
    extended = detectron2_run(tmp_path / "b", ffc=True, iteration=30, max_iter=12, ap=21.0)
    later = (extended / "train_config.yaml").read_text().replace("MAX_ITER: 12", "MAX_ITER: 30")
    (extended / "train_config.1.yaml").write_text(later)
    with (extended / "metrics.json").open("a") as log:
        log.write(json.dumps({"bbox/AP": 22.0, "iteration": 30}) + "\n")
    stock, ffc = read_runs([long, extended])
    assert (ffc.max_iterations, ffc.scores["vote"]["AP"]) == (30, 22.0) and ffc.key != stock.key
    assert "resumed with other settings: train_config.1.yaml" in ffc.notes


def test_one_bad_folder_is_a_line_and_not_the_end_of_the_table(tmp_path):
    good = detectron2_run(tmp_path / "good", ap=27.0)
    lazy = detectron2_run(tmp_path / "lazy", ap=99.0)
    (lazy / "train_config.yaml").unlink()
    (lazy / "config.yaml").write_text("train:\n  optimizer: !!python/object/apply:torch.optim.SGD []\n")
    broken = detectron2_run(tmp_path / "broken")
    (broken / "metrics.json").write_text("{\n{\n")
    reductions(good / "eval", "detectron2", tmp_path / "gone" / "model_final.pth", {"stock": {"bbox": box_scores(50)}})
    done = subprocess.run([sys.executable, TABLE, lazy, broken, good], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout, PAPER_C4, "stock")[0][6] == "27.00"
    left_out = done.stdout.split("### Left out")[1].strip().splitlines()
    said = [f"{lazy}/config.yaml is not from a LazyConfig", f"{broken}/metrics.json, line 1"]
    assert all(words in line for words, line in zip(said, left_out, strict=False))
    assert "gone holds no training" in left_out[2] and len(left_out) == 3
    done = subprocess.run([sys.executable, TABLE, lazy, broken], capture_output=True, text=True)
    assert done.returncode == 2 and "it has no train or no model" in done.stderr and done.stdout == ""


def test_two_runs_of_one_seed_are_left_out_together(tmp_path):
    runs = read_runs([detectron2_run(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))])
    left_out = []
    assert [run.folder.name for run in without_doubles(runs, left_out)] == ["c"]
    assert len(left_out) == 1 and f"{tmp_path / 'a'} and {tmp_path / 'b'} are all" in left_out[0]


def test_stock_scores_of_an_ffc_checkpoint_are_refused(tmp_path):
    run = detectron2_run(tmp_path / "a", ffc=True)
    reductions(run / "eval", "detectron2", run / "model_final.pth", {"stock": {"bbox": box_scores(50)}})
    with pytest.raises(ValueError, match="was trained as FFC"):
        read_runs([run])


def test_scores_of_another_dataset_are_left_out(tmp_path):
    run = detectron2_run(tmp_path / "a")
    overwrite_config(run, file="train_config.yaml", DATASETS__TEST=["coco_2017_val"])
    evaluated = {"weights": str(run / "model_final.pth"), "reduction": "stock", "dataset": "coco_2017_train"}
    (run / "results.json").write_text(json.dumps({"bbox": box_scores(60.0), "evaluated": evaluated}))
    (found,) = read_runs([run])
    assert not found.scores and "of coco_2017_train, the run's test set is coco_2017_val" in found.notes[0]


def test_a_test_in_an_mmengine_folder_changes_neither_seed_nor_reduction(tmp_path):
    run = mmengine_run(tmp_path / "run", ffc=True, seed=2, miou=78.0)
    checkpoint = f"load_from = '{run}/iter_40000.pth'"
    mmengine_test(
        run, "20261125_100000", {"mIoU": 70.0, "mAcc": 80.0, "aAcc": 90.0},
        weights=("load_from = None", checkpoint), seed=("seed=2", "seed=1"), iters=("max_iters=40000", "max_iters=400"),
        reduction=("type='FFCPSPHead'", "test_reduce='mean', type='FFCPSPHead'"),
    )  # fmt: skip
    (found,) = read_runs([run])
    assert (found.seed, found.max_iterations, found.identity_note) == (2, 40_000, "")
    assert {name: scores["mIoU"] for name, scores in found.scores.items()} == {"vote": 78.0, "mean": 70.0}


def test_scores_with_test_time_augmentation_are_left_out(tmp_path):
    run = mmengine_run(tmp_path / "run", ffc=True, miou=78.0)
    mmengine_test(
        run, "20261125_100000", {"mIoU": 80.0, "mAcc": 90.0, "aAcc": 95.0},
        weights=("load_from = None", f"load_from = '{run}/iter_40000.pth'"),
        model=("model = dict(", "model = dict(type='SegTTAModel', module=dict("),
        end=("mode='slide'))", "mode='slide')))"),
    )  # fmt: skip
    text = report(compare(read_runs([run])))
    assert rows(text, PAPER_PSP, "FFC", "vote")[0][4] == "78.00" and "80.00" not in text
    assert "20261125_100000.json left out: test-time augmentation (--tta)" in text


@pytest.mark.parametrize(
    ("pointer", "validated", "iteration"),
    [("iter_420.pth", False, 420), (None, True, 420), (None, False, 400), ("iter_40000.pth", False, 400)],
)
def test_the_last_iteration_need_not_be_logged(tmp_path, pointer, validated, iteration):
    """420 iterations, logged every 50. A checkpoint far ahead of the log is an earlier run's."""
    run = mmengine_run(tmp_path / "run", step=400, max_iters=420, miou=70.0 if validated else None)
    for path in run.rglob("*.py"):
        path.write_text(path.read_text() + "default_hooks = dict(logger=dict(interval=50, type='LoggerHook'))\n")
    if pointer:
        (run / "last_checkpoint").write_text(str(run / pointer))
    (found,) = read_runs([run])
    assert found.iteration == iteration and found.finished == (iteration == 420)


def test_a_resumed_mmengine_run_has_the_seed_and_weights_of_its_first_start(tmp_path):
    run = mmengine_run(tmp_path / "run", seed=2, step=4000)
    other = mmengine_run(tmp_path / "other", seed=3, miou=70.0)
    for folder in (run, other):
        first = next(folder.glob("*/vis_data/config.py"))
        first.write_text(first.read_text().replace("load_from = None", "load_from = 'stock.pth'"))
    later = run / "20261126_100000" / "vis_data"
    later.mkdir(parents=True)
    dumped = next(run.glob("*.py")).read_text().replace("seed=2", "seed=None") + "resume = True\n"
    (later / "config.py").write_text(dumped)
    (later / "scalars.json").write_text('{"loss": 1.0, "step": 40000}\n{"mIoU": 71.0, "step": 40000}\n')
    theirs, ours = read_runs([run, other])
    assert (ours.seed, ours.iteration, ours.scores["stock"]["mIoU"]) == (2, 40_000, 71.0)
    assert ours.key == theirs.key


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("load_from = None", "load_from = 'stock.pth'"),
        ("type='OptimWrapper'", "type='AmpOptimWrapper'"),
        ("param_scheduler", "auto_scale_lr = dict(base_batch_size=8, enable=True)\nparam_scheduler"),
        ("GPU number: 4", "GPU number: 8"),
    ],
)
def test_runs_that_were_trained_differently_are_not_seeds_of_one_config(tmp_path, old, new):
    folders = [mmengine_run(tmp_path / name, miou=78.0, seed=seed) for seed, name in enumerate("ab")]
    for folder in folders:
        log = next(folder.glob("*/vis_data")).parent
        (log / f"{log.name}.log").write_text("    Distributed training: True\n    GPU number: 4\n")
    first, second = read_runs(folders)
    assert first.key == second.key
    changed = list(folders[1].rglob("*.log" if "GPU" in old else "config.py"))
    assert changed and all(old in path.read_text() for path in changed)
    for path in changed:
        path.write_text(path.read_text().replace(old, new))
    first, second = read_runs(folders)
    assert first.key != second.key


def test_a_reader_that_stops_early_is_no_error(tmp_path):
    """``results_table.py | head``: the pipe is closed before anything is written; --json is written all the same."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, TABLE, "--json", tmp_path / "out.json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 0 and done.stderr == b""
    assert json.loads((tmp_path / "out.json").read_text())


def test_without_scipy_there_are_means_and_a_hint(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    folders = [
        detectron2_run(tmp_path / f"{ffc}{seed}", ffc=ffc, seed=seed, ap=27.0 + ffc * seed)
        for ffc in (False, True)
        for seed in (1, 2)
    ]
    (row,) = rows(report(compare(read_runs(folders))), PAPER_C4, "FFC", "vote", "AP")
    assert row[5].startswith("+1.50 ± 0.71") and "pip install scipy" in row[-1]
