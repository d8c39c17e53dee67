"""Losses that are not finite, and SIGTERM, in segmentation trainings with the shipped hooks."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch

pytest.importorskip("mmseg")

import mmseg
import segmentation_runs
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from repository import ROOT
from segmentation_runs import Break, load, train

from ffc_dense.errors import UserError
from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.segmentation import NonFiniteLoss, NonFiniteLossHook, PreemptionHook

EVERY = dict(default_hooks__checkpoint__interval=1, default_hooks__checkpoint__max_keep_ckpts=10)
SKIP = dict(default_hooks__non_finite_loss__action="skip", **EVERY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    make_mini_cityscapes(folder / "data" / "mini_cityscapes", 6, 2)
    segmentation_runs.write_config(folder)
    return folder


def numbers(folder: Path, out: str, iteration: int) -> dict:
    """Weights, BatchNorm's statistics and AdamW's state after an iteration."""
    checkpoint = load(folder / out / f"iter_{iteration}.pth")
    state = {f"{key}.{name}": value for key, entry in checkpoint["optimizer"]["state"].items()
             for name, value in entry.items()}  # fmt: skip
    return {**checkpoint["state_dict"], **state}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_updated(folder):
    with pytest.raises(NonFiniteLoss) as error:
        train(folder, "stop", 3, broken=dict(iterations=[2]), **EVERY)
    message = str(error.value)
    assert re.match(r"iteration 2: aux\.loss_ce is nan on rank 0 \(images: \S+\.png, \S+\.png\)\. The weights", message)
    assert "decode.loss_ce" not in message and f"Go on from {folder / 'stop' / 'iter_1.pth'} with" in message
    # The weights in memory are still those of the checkpoint.
    model = error.traceback[-2].frame.f_locals["self"]._model  # of the hook, which asked the rule
    saved = load(folder / "stop" / "iter_1.pth")["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in model.named_parameters())
    assert [*(folder / "stop").glob("iter_*")] == [folder / "stop" / "iter_1.pth"]


@pytest.mark.parametrize("what", [pytest.param("term", marks=pytest.mark.slow), "image"])
def test_a_skipped_iteration_changes_neither_weights_nor_momentum_nor_batch_statistics(folder, what):
    out = f"skip {what}"
    train(folder, out, 3, broken=dict(iterations=[2], what=what), **SKIP)
    one, two, three = (numbers(folder, out, iteration) for iteration in (1, 2, 3))
    assert same(one, two) and not same(two, three)
    assert all(value.isfinite().all() for value in three.values())
    log = next((folder / out).glob("*/*.log")).read_text()
    assert re.search(r"iteration 2: .*loss_ce is nan.*: skipped, 1 in a row", log)


def test_too_many_skips_in_a_row_stop(folder):
    limit = dict(default_hooks__non_finite_loss__max_consecutive=2, **SKIP)
    with pytest.raises(
        NonFiniteLoss,
        match=r"iteration 6: .* number 3 in a row, and default_hooks\S+max_consecutive is 2",
    ):
        train(folder, "row", 8, broken=dict(iterations=[1, 2, 4, 5, 6]), **limit)


def test_with_gradient_accumulation_the_bad_iterations_share_is_dropped(folder):
    """Steps at iterations 2 and 4; NaN in 1 leaves the gradient of 2 alone, NaN in 4 leaves that of 3 out."""
    train(folder, "accumulated", 4, broken=dict(iterations=[1, 4]), optim_wrapper__accumulative_counts=2, **SKIP)
    after = [load(folder / "accumulated" / f"iter_{i}.pth")["optimizer"]["state"] for i in (1, 2, 3, 4)]
    assert [len(state) > 0 for state in after] == [False, True, True, True]
    assert {float(entry["step"]) for entry in after[3].values()} == {1.0}  # of two steps, one was taken
    assert all(value.isfinite().all() for value in numbers(folder, "accumulated", 4).values())


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's AmpOptimWrapper refuses to be built without a GPU; GradScaler itself runs on a CPU."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
        self.cast_dtype = torch.bfloat16


def test_grad_scaler_and_the_hook_go_together(folder):
    scaled = dict(optim_wrapper__type="CpuAmpOptimWrapper", **SKIP)
    runner = train(folder, "amp", 3, broken=dict(iterations=[2]), **scaled)
    one, two, three = (numbers(folder, "amp", iteration) for iteration in (1, 2, 3))
    assert same(one, two) and not same(two, three)
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0**7  # the scaler too saw the gradients
    assert "iteration 2: aux.loss_ce is nan" in next((folder / "amp").glob("*/*.log")).read_text()
    with pytest.raises(NonFiniteLoss, match="iteration 2: "):
        train(folder, "amp stop", 3, broken=dict(iterations=[2]), optim_wrapper__type="CpuAmpOptimWrapper", **EVERY)


def test_wrong_options_are_refused():
    for make in (lambda: NonFiniteLossHook(action="abort"), lambda: NonFiniteLossHook(max_consecutive=0),
                 lambda: PreemptionHook(interval=-1)):  # fmt: skip
        with pytest.raises((UserError, ValueError), match=r"action|max_consecutive|interval"):
            make()


def launch(folder: Path, config: str, out: str, processes: int, *options) -> subprocess.Popen:
    """Start a training by tools/dist_train.sh in a process group of its own; its output goes to OUT.log."""
    environment = dict(
        os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore", DEVICE="cpu", PYTHON=sys.executable,
        PYTHONPATH=os.pathsep.join(map(str, (ROOT / "tests" / "helpers", ROOT))), WORK_DIR=str(folder / out),
    )  # fmt: skip
    command = [ROOT / "tools" / "dist_train.sh", folder / config, processes, "--resume", "--cfg-options", *options]
    with open(folder / f"{out}.log", "w") as log:
        return subprocess.Popen(list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log,
                                start_new_session=True)  # fmt: skip


def workers_of(mark: str) -> list[int]:
    """Process ids of everything whose environment has ``mark``: torchrun gives its processes sessions of their own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def end(out: Path) -> None:
    for process in workers_of(f"WORK_DIR={out}"):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank_stops_the_others_which_name_it(folder):
    more = """
custom_imports = dict(imports=['ffc_dense.segmentation', 'segmentation_runs'], allow_failed_imports=False)
custom_hooks = [dict(type='Break', iterations=[3], rank=1)]
"""
    segmentation_runs.write_config(folder, "broken.py", more)
    process = launch(folder, "broken.py", "broken", 2, "train_cfg.max_iters=8", "default_hooks.checkpoint.interval=1")
    try:
        assert process.wait(200) == 3  # before a collective operation would time out
    finally:
        end(folder / "broken")
    log = (folder / "broken.log").read_text()
    # Our commands print on rank 0 alone, whose own loss is finite.
    assert re.search(r"error: iteration 3: aux\.loss_ce is nan on rank 1 \(images: \S+\.png, ", log), log[-3000:]
    assert re.search(r"rank +: 0 \(local_rank: 0\)\s+exitcode +: 3 ", log) and "decode.loss_ce is" not in log
    assert {path.name for path in (folder / "broken").glob("iter_*")} == {"iter_2.pth"}


@pytest.mark.slow
def test_sigterm_ends_mmsegs_own_train_script_with_143_and_resume_goes_on(folder):
    train_py = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"
    out = folder / "own"
    command = [sys.executable, train_py, folder / "tiny.py", "--work-dir", out, "--resume", "--cfg-options",
               "default_hooks.checkpoint.interval=1000"]  # fmt: skip
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    with open(folder / "own.log", "w") as log:
        process = subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log)
    limit = time.monotonic() + 200
    while "Iter(train)" not in (folder / "own.log").read_text():
        assert process.poll() is None and time.monotonic() < limit, (folder / "own.log").read_text()[-3000:]
        time.sleep(0.1)
    process.terminate()
    assert process.wait(60) == 143
    log = (folder / "own.log").read_text()
    stopped = int(re.search(r"SIGTERM: stopped after iteration (\d+), checkpoint", log)[1])
    assert "Traceback" not in log
    again = subprocess.run([*map(str, command), f"train_cfg.max_iters={stopped + 1}"], env=environment,
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert f"resumed epoch: 0, iter: {stopped}" in again.stdout + again.stderr
    assert (out / f"iter_{stopped + 1}.pth").exists()


@pytest.mark.ci
def test_sigterm_to_every_process_of_a_job_writes_one_checkpoint_and_ends_it(folder):
    """As Slurm sends it: to torchrun, both ranks and their data loaders' workers."""
    out = folder / "preempted"
    options = ["train_dataloader.num_workers=1", "default_hooks.checkpoint.interval=1000", "train_cfg.max_iters=1000",
               "default_hooks.logger.interval=1"]  # fmt: skip
    process = launch(folder, "tiny.py", "preempted", 2, *options)
    try:
        limit = time.monotonic() + 200
        while "Iter(train)" not in (folder / "preempted.log").read_text():
            assert process.poll() is None and time.monotonic() < limit, (folder / "preempted.log").read_text()[-3000:]
            time.sleep(0.1)
        processes = workers_of(f"WORK_DIR={out}")
        assert len(processes) >= 5  # torchrun, two ranks, a worker of each
        for each in processes:
            os.kill(each, signal.SIGTERM)
        status = process.wait(120)
    finally:
        end(out)
    log = (folder / "preempted.log").read_text()
    assert status == 143, log[-3000:]
    stopped = re.search(r"SIGTERM: stopped after iteration (\d+), checkpoint \S+iter_\1\.pth", log)
    assert stopped, log[-3000:]
    assert load(out / f"iter_{stopped[1]}.pth")["meta"]["iter"] == int(stopped[1])
    assert (out / "last_checkpoint").read_text() == str(out / f"iter_{stopped[1]}.pth")
    assert "killed by signal" not in log


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_training_of_one_process_with_a_checkpoint(folder, number, code):
    def tell(hook, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            os.kill(os.getpid(), number)

    before, out = signal.getsignal(number), f"signal{code}"
    changes = {"default_hooks__preemption__interval": 5, "default_hooks__checkpoint__interval": 100}
    with mock.patch.object(Break, "before_train_iter", tell), pytest.raises(SystemExit) as stopped:
        train(folder, out, 8, broken=dict(iterations=[]), **changes)
    signal.signal(number, before)
    assert stopped.value.code == code
    assert (folder / out / "last_checkpoint").read_text() == str(folder / out / "iter_3.pth")
    assert train(folder, out, 4, resume=True, **changes).iter == 4
