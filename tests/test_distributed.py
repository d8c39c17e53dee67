"""Real trainings in two CPU processes joined by gloo, started by the scripts in tools/, on the mini dataset.

Two processes with half the batch each are to train as one process with all of it. For that, nothing in the model may
depend on how the batch is shared out: GroupNorm stands for BatchNorm (whose statistics are those of a rank), nothing is
drawn at random (dropout, crops, sampling of anchors and boxes), and every image counts the same in the loss. Both
frameworks' samplers deal the images out in turn, so that the global batches are equal. What is left is rounding: sums
over a batch are taken in another order. 1e-5 is a hundred units in the last place of fp32, room for that rounding to
grow over the steps; one image that is missing or counted twice changes a loss by more than 1e-2.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

from ffc_dense.minidata import make_mini_cityscapes, make_mini_coco

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
WORKERS = Path(__file__).parent / "workers"
FFC_RCNN = ROOT / "configs" / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"
FFC_PSP = ROOT / "configs" / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
STEPS = 6
TOLERANCE = 1e-5

# 120 x 160 images, padded to 128 x 160, have 5118 anchors: a larger sample than there are takes them all.
RCNN = [
    "MODEL.RESNETS.NORM", "GN", "MODEL.RPN.BATCH_SIZE_PER_IMAGE", "10236", "MODEL.RPN.LOSS_WEIGHT", "2.0",
    "MODEL.RPN.SMOOTH_L1_BETA", "1.0", "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", "1.0",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", "50", "MODEL.RPN.NMS_THRESH", "0.9", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "100",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION", "0.5",
    "SOLVER.IMS_PER_BATCH", "4", "SOLVER.WARMUP_ITERS", "0", "SOLVER.STEPS", "(1000000,)", "DATASETS.TEST", "()",
]  # fmt: skip

PSP = """
_base_ = [{base!r}]
custom_imports = dict(imports=['ffc_dense.segmentation', 'record_losses'], allow_failed_imports=False)
custom_hooks = [dict(type='RecordLosses')]
norm_cfg = dict(_delete_=True, type='GN', num_groups=8)
model = dict(
    data_preprocessor=dict(size=(128, 256)),
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(norm_cfg=norm_cfg, dropout_ratio=0),
    auxiliary_head=dict(norm_cfg=norm_cfg, dropout_ratio=0))
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9))
train_cfg = dict(val_interval=1000000)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    make_mini_coco(folder / "data" / "mini_coco", 8, 2)
    two_objects_per_image(folder / "data" / "mini_coco" / "annotations" / "instances_train2017.json")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 8, 2)
    (folder / "psp.py").write_text(PSP.format(base=str(FFC_PSP)))
    return folder


def two_objects_per_image(path: Path) -> None:
    """The box losses are means over all boxes of a rank, ground truth included: give every image as many."""
    coco = json.loads(path.read_text())
    kept = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        kept[annotation["image_id"]].append(annotation)
    assert min(map(len, kept.values())) >= 2
    coco["annotations"] = [annotation for found in kept.values() for annotation in found[:2]]
    path.write_text(json.dumps(coco))


class Run:
    """A started script and every process that came of it (torchrun gives its workers sessions of their own)."""

    def __init__(self, folder: Path, *command, **variables):
        self.mark = f"TEST_RUN={uuid.uuid4()}"
        self.log = folder / "log"
        environment = dict(
            os.environ, DETECTRON2_DATASETS="data", OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore", DEVICE="cpu",
            PYTHON=sys.executable, PYTHONPATH=os.pathsep.join([str(WORKERS), str(ROOT)]),
            TEST_RUN=self.mark.split("=")[1], **variables,
        )  # fmt: skip
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def processes(self) -> dict[int, bool]:
        """Process id -> is it a rank? of all that have not ended."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                if self.mark in environment:
                    rank = any(variable.startswith("LOCAL_RANK=") for variable in environment)
                    found[int(entry.name)] = rank or "spawn_main" in (entry / "cmdline").read_text()
            except (ProcessLookupError, FileNotFoundError, PermissionError):
                continue
        return found

    def wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 180
        while not (path.exists() and path.stat().st_size):  # a file that is being written is empty first
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.1)

    def all_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.1)
        return not self.processes()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def run(folder, *command, **variables) -> str:
    """Run a script to its end -> what it printed."""
    with Run(folder, *command, **variables) as started:
        status = started.process.wait(240)
    log = started.log.read_text()
    assert status == 0, log[-4000:]
    return log


def difference(first: float, second: float) -> float:
    """Relative; 0 for two zeros."""
    return abs(first - second) / abs(second) if first != second else 0.0


def assert_same_weights(first: dict, second: dict, atol: float = 1e-6) -> None:
    torch.testing.assert_close(dict(first), dict(second), rtol=1e-4, atol=atol)


def detectron2_log(out: Path) -> dict[int, dict[str, float]]:
    """Iteration -> four losses, their sum and the learning rate."""
    entries = map(json.loads, (out / "metrics.json").read_text().splitlines())
    return {
        entry["iteration"]: {name: value for name, value in entry.items() if "loss" in name or name == "lr"}
        for entry in entries
        if "total_loss" in entry
    }


@pytest.mark.ci
def test_detectron2_scaled_to_two_processes_trains_as_one_with_all_of_the_batch(folder):
    whole = ["SOLVER.IMS_PER_BATCH", 4, "SOLVER.BASE_LR", 0.002, "SOLVER.MAX_ITER", STEPS]
    half = ["SOLVER.IMS_PER_BATCH", 2, "SOLVER.BASE_LR", 0.001, "SOLVER.MAX_ITER", 2 * STEPS]
    for processes, settings in ((1, whole), (2, [*half, "SOLVER.REFERENCE_WORLD_SIZE", 1])):
        run(
            folder, sys.executable, WORKERS / "train_net_losses.py", "--config-file", FFC_RCNN,
            "--num-gpus", processes, "--dist-url", "auto", *RCNN, *settings, "MODEL.DEVICE", "cpu",
            "OUTPUT_DIR", f"rcnn_{processes}",
        )  # fmt: skip
    one, two = (detectron2_log(folder / f"rcnn_{processes}") for processes in (1, 2))
    assert list(one) == list(two) == list(range(STEPS))
    assert all(one[i].keys() == two[i].keys() and len(one[i]) == 6 for i in one)
    # A loss near zero is all rounding, which each processor does in its own way: losses are compared with their sum.
    differences = {
        (i, name): abs(two[i][name] - value) / (value if name == "lr" else one[i]["total_loss"])
        for i in one
        for name, value in one[i].items()
    }
    print("detectron2: largest relative difference", max(differences.values()))
    assert max(differences.values()) <= TOLERANCE, differences
    one, two = (torch.load(folder / f"rcnn_{n}" / "model_final.pth", weights_only=True)["model"] for n in (1, 2))
    assert_same_weights(two, one, atol=1e-5)  # rounding alone: up to 1.8e-6 was seen


def mmseg_log(out: Path, rank: int) -> dict[int, tuple[float, float]]:
    """Iteration -> loss and learning rate of a rank."""
    lines = (out / f"losses_{rank}.jsonl").read_text().splitlines()
    return {i: (loss, lr) for i, loss, lr in map(json.loads, lines)}


def mmseg_weights(out: Path) -> dict:
    return torch.load(next(out.glob("iter_*.pth")), weights_only=False)["state_dict"]


# Runs the command once per node, here, as Slurm would there; forwards TERM to every one of them.
SRUN = """#!{python}
import os, signal, subprocess, sys
args = sys.argv[1:]
nodes = int(dict(arg.split("=", 1) for arg in args if arg.startswith("--nodes=")).get("--nodes", 1))
command = args[[i for i, arg in enumerate(args) if not arg.startswith("-")][0] :]
slurm = dict(SLURM_JOB_ID=str(os.getpid()), SLURM_NNODES=str(nodes), SLURM_JOB_NODELIST="localhost")
tasks = [subprocess.Popen(command, env=dict(os.environ, **slurm, SLURM_NODEID=str(i))) for i in range(nodes)]
with open(os.path.join(os.path.dirname(__file__), "tasks"), "w") as file:
    file.write(" ".join(str(task.pid) for task in tasks))
signal.signal(signal.SIGTERM, lambda *_: [task.kill() for task in tasks])  # as Slurm's does
sys.exit(max(task.wait() % 256 for task in tasks))
"""
SCANCEL = """#!/bin/sh
kill "-${1#--signal=}" $(cat "$(dirname "$0")/tasks")
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
echo 127.0.0.1
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for srun, scancel and scontrol on PATH -> the file in which scontrol writes down its arguments."""
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "calls"


@pytest.mark.ci
def test_mmseg_scaled_to_two_nodes_trains_as_one_process_with_all_of_the_batch(folder, slurm):
    options = ["--cfg-options", f"train_cfg.max_iters={STEPS}"]
    run(folder, TOOLS / "dist_train.sh", "psp.py", 1, *options, WORK_DIR="psp 1")
    run(
        folder, TOOLS / "slurm_train.sh", "partition", "job", "psp.py", "psp 2", *options,
        "train_dataloader.batch_size=2", "optim_wrapper.optimizer.lr=0.01", "auto_scale_lr.enable=True",
        "auto_scale_lr.base_batch_size=2", GPUS="2", GPUS_PER_NODE="1",
    )  # fmt: skip
    one = mmseg_log(folder / "psp 1", 0)
    ranks = [mmseg_log(folder / "psp 2", rank) for rank in (0, 1)]
    assert list(one) == list(ranks[0]) == list(ranks[1]) == list(range(STEPS))
    differences = {}
    for i, (loss, lr) in one.items():
        (first, first_lr), (second, second_lr) = (log[i] for log in ranks)
        assert first_lr == second_lr and difference(first, second) > TOLERANCE  # each rank has images of its own
        differences[i] = max(difference((first + second) / 2, loss), difference(first_lr, lr))
    print("mmseg: largest relative difference", max(differences.values()))
    assert max(differences.values()) <= TOLERANCE, differences
    assert_same_weights(*(mmseg_weights(folder / f"psp {n}") for n in (2, 1)))


def kill_a_rank(folder, checkpoint: Path, *command, **variables) -> None:
    """Start a training, SIGKILL the last of its ranks once there is a checkpoint; it is to end, and leave nobody."""
    with Run(folder, *command, **variables) as started:
        started.wait_for(checkpoint)
        ranks = [pid for pid, is_rank in started.processes().items() if is_rank]
        assert len(ranks) == 2
        os.kill(max(ranks), signal.SIGKILL)
        assert started.process.wait(90) != 0
        assert started.all_end(30)


@pytest.fixture
def detectron2_run(folder):
    def command(iterations):
        return [
            TOOLS / "dist_train.sh", FFC_RCNN, 2, "--resume", *RCNN, "SOLVER.MAX_ITER", iterations,
            "SOLVER.CHECKPOINT_PERIOD", 2,
        ]  # fmt: skip

    return command


@pytest.fixture
def mmseg_run(folder):
    def command(iterations):
        return [
            TOOLS / "dist_train.sh", folder / "psp.py", 2, "--resume", "--cfg-options",
            f"train_cfg.max_iters={iterations}", "train_dataloader.batch_size=2", "default_hooks.checkpoint.interval=2",
        ]  # fmt: skip

    return command


@pytest.mark.slow
def test_detectron2_ends_when_a_rank_is_killed_and_goes_on_from_the_last_checkpoint(folder, detectron2_run):
    out = folder / "killed_rcnn"
    last = out / "last_checkpoint"
    kill_a_rank(folder, last, *detectron2_run(1000), WORK_DIR=str(out))
    done = int(re.fullmatch(r"model_(\d+).pth", last.read_text())[1]) + 1
    log = run(folder, *detectron2_run(done + 2), WORK_DIR=str(out))
    assert f"Starting training from iteration {done}" in log
    assert last.read_text() == "model_final.pth"
    assert torch.load(out / "model_final.pth", weights_only=True)["iteration"] == done + 1


@pytest.mark.slow
def test_mmseg_ends_when_a_rank_is_killed_and_goes_on_from_the_last_checkpoint(folder, mmseg_run):
    out = folder / "killed psp"
    last = out / "last_checkpoint"
    kill_a_rank(folder, last, *mmseg_run(1000), WORK_DIR=str(out))
    done = int(re.search(r"iter_(\d+).pth$", last.read_text())[1])
    for path in out.glob("losses_*"):
        path.unlink()
    run(folder, *mmseg_run(done + 2), WORK_DIR=str(out))
    assert list(mmseg_log(out, 0)) == list(mmseg_log(out, 1)) == [done, done + 1]
    assert last.read_text().endswith(f"iter_{done + 2}.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "options", "interval", "length"),
    [
        (FFC_RCNN, RCNN, ["SOLVER.CHECKPOINT_PERIOD", "2"], "SOLVER.MAX_ITER {}"),
        ("psp.py", ["--cfg-options", "train_dataloader.batch_size=2"], ["default_hooks.checkpoint.interval=2"],
         "train_cfg.max_iters={}"),
    ],
    ids=["detectron2", "mmseg"],
)  # fmt: skip
def test_a_preempted_slurm_job_is_requeued_and_goes_on(folder, slurm, config, options, interval, length):
    """USR1 to the batch script, as Slurm sends it before the end; then the same job again, as Slurm requeues it."""
    out = folder / f"job {Path(config).stem}"
    (folder / "tools").exists() or (folder / "tools").symlink_to(TOOLS)
    job = dict(SLURM_JOB_ID="77", GPUS_PER_NODE="2", SLURM_SUBMIT_DIR=str(folder))
    command = ["bash", TOOLS / "train.sbatch", config, out, *options, *interval]
    with Run(folder, *command, *length.format(1000).split(), **job) as started:
        started.wait_for(out / "last_checkpoint")
        started.process.send_signal(signal.SIGUSR1)
        assert started.process.wait(90) == 143
        assert "requeue 77" in slurm.read_text().splitlines()
        assert started.all_end(30)
    slurm.unlink()
    for path in out.glob("losses_*"):
        path.unlink()
    done = int(re.search(r"_(\d+)\.pth", (out / "last_checkpoint").read_text())[1]) + (config == FFC_RCNN)
    log = run(folder, *command, *length.format(done + 2).split(), SLURM_RESTART_COUNT="1", **job)
    assert "start number 2" in log and "requeue" not in slurm.read_text()
    if config == FFC_RCNN:
        assert f"Starting training from iteration {done}" in log
        assert torch.load(out / "model_final.pth", weights_only=True)["iteration"] == done + 1
    else:
        assert list(mmseg_log(out, 1)) == [done, done + 1]
        assert (out / "last_checkpoint").read_text().endswith(f"iter_{done + 2}.pth")


@pytest.mark.slow
def test_detectron2_on_two_nodes_detects_what_one_process_detects(folder, slurm):
    """Training on two nodes, then evaluation in one process and in two."""
    out = folder / "nodes_rcnn"
    options = [*RCNN[:-2], "SOLVER.MAX_ITER", 2, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    run(
        folder, TOOLS / "slurm_train.sh", "partition", "job", FFC_RCNN, out, *options, "DATASETS.TEST", "()",
        GPUS="2", GPUS_PER_NODE="1",
    )  # fmt: skip
    found = []
    for processes in (1, 2):
        evaluation = folder / f"evaluation_{processes}"
        weights = out / "model_final.pth"
        run(folder, TOOLS / "dist_test.sh", FFC_RCNN, weights, processes, *options, WORK_DIR=str(evaluation))
        boxes = json.loads((evaluation / "inference" / "coco_instances_results.json").read_text())
        found.append(sorted((box["image_id"], box["category_id"], box["score"], *box["bbox"]) for box in boxes))
    assert len(found[0]) == 200  # 100 in each of two images
    assert found[0] == found[1]


@pytest.mark.slow
def test_mmseg_evaluates_in_two_processes_as_in_one(folder):
    train = ["--cfg-options", "train_cfg.max_iters=4", "default_hooks.checkpoint.interval=4"]
    run(folder, TOOLS / "dist_train.sh", "psp.py", 1, *train, WORK_DIR="evaluated")
    found = []
    for processes in (1, 2):
        out = folder / f"evaluation {processes}"
        run(folder, TOOLS / "dist_test.sh", "psp.py", "evaluated/iter_4.pth", processes, WORK_DIR=str(out))
        found.append(json.loads(next(out.glob("*/*.json")).read_text()))
    for name in ("aAcc", "mIoU", "mAcc"):
        assert found[0][name] == found[1][name] > 0
