"""What ends a training of detectron2 early: losses and weights that are not finite, a full disk, SIGTERM."""

import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from repository import ROOT

pytest.importorskip("detectron2")

from tiny_training import make_dataset, tiny_cfg, tiny_lazy_cfg, train
from tools_in_process import tool

from ffc_dense.detection.training import preemption
from ffc_dense.detection.training.finite_loss import NonFiniteLoss
from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.errors import UserError
from ffc_dense.reliability.saving import NonFiniteState, NotSaved, is_whole

HERE = ROOT / "tests"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("faults") / "mini_coco")


@pytest.fixture
def cfg(dataset, tmp_path):
    def build(*opts):
        steps = ["SOLVER.MAX_ITER", 8, "SOLVER.CHECKPOINT_PERIOD", 3]
        return tiny_cfg(tmp_path, *steps, "DATASETS.TRAIN", [dataset], *opts)

    return build


def trainer_with(at_iteration=None, losses=None):
    """A trainer that calls ``at_iteration(trainer)`` before each step, and ``losses(trainer, losses)`` on its losses.

    ``states`` of the class has the weights, buffers and momenta before each iteration.
    """

    class Trainer(ReliableTrainer):
        states = {}

        def run_step(self):
            state = {**self.model.state_dict(), **momenta(self)}
            self.states[self.iter] = {name: tensor.clone() for name, tensor in state.items()}
            if at_iteration:
                at_iteration(self)
            super().run_step()

        def build_hooks(self):
            if losses:
                self.model.register_forward_hook(lambda model, images, found: losses(self, found))
            return super().build_hooks()

    return Trainer


def momenta(trainer):
    state = trainer._trainer.optimizer.state_dict()["state"]
    return {f"momentum.{i}": each["momentum_buffer"] for i, each in state.items()}


def broken_at(*iterations, value=float("nan")):
    """The loss of the box classifier is ``value`` at these iterations."""

    def losses(trainer, found):
        return found | {"loss_cls": found["loss_cls"] * value} if trainer.iter in iterations else found

    return losses


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training_before_the_update(cfg, tmp_path, caplog, monkeypatch, value):
    kind = trainer_with(losses=broken_at(5, value=value))
    trainer = kind(cfg())
    monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)  # its setup_logger sets False
    with pytest.raises(NonFiniteLoss, match=rf"iteration 5: loss_cls is {value} on rank 0\. The weights were not"):
        trainer.train()
    found = {**trainer.model.state_dict(), **momenta(trainer)}
    statistics = [name for name in found if ".norm.running" in name or "num_batches" in name]
    trained = {name: tensor for name, tensor in found.items() if name not in statistics}
    assert equal(trained, {name: kind.states[5][name] for name in trained}) and len(trained) > 300
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
    logged = [record for record in caplog.records if "iteration 5" in record.getMessage()]
    assert logged and not any(record.exc_info for record in logged)  # a message, no traceback


def test_a_skipped_loss_changes_nothing_and_the_training_goes_on(cfg, caplog):
    kind = trainer_with(losses=broken_at(2, 5))
    with caplog.at_level(logging.WARNING):
        trainer = train(cfg("SOLVER.NON_FINITE_LOSS.ACTION", "skip"), kind=kind)
    assert "iteration 2: loss_cls is nan on rank 0" in caplog.text and "skipped, 1 in a row, 2 in all" in caplog.text
    for iteration in (2, 5):
        assert equal(kind.states[iteration], kind.states[iteration + 1])  # buffers and momenta too
    assert not equal(kind.states[3], kind.states[4])
    assert trainer.iter == 8 and trainer.storage.latest()["skipped_updates"][0] == 2


def test_an_ignored_loss_is_trained_on_and_the_checkpoint_is_refused(cfg, tmp_path):
    """detectron2 itself ends before the update, with a FloatingPointError on rank 0 alone."""
    kind = trainer_with(losses=broken_at(5))
    with pytest.raises(NonFiniteState, match=r"model_0000005\.pth was not written"):
        train(cfg("SOLVER.NON_FINITE_LOSS.ACTION", "ignore"), kind=kind)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"


def test_too_many_skips_in_a_row_stop_the_training(cfg):
    limit = ["SOLVER.NON_FINITE_LOSS.ACTION", "skip", "SOLVER.NON_FINITE_LOSS.MAX_CONSECUTIVE", 2]
    train(cfg(*limit), kind=trainer_with(losses=broken_at(1, 2, 4, 5)))
    with pytest.raises(NonFiniteLoss, match=r"iteration 6: loss_cls is nan .* number 3 in a row"):
        train(cfg(*limit), kind=trainer_with(losses=broken_at(1, 4, 5, 6)))


def test_a_lazy_config_says_what_a_loss_that_is_not_finite_does(dataset, tmp_path, caplog, monkeypatch):
    build_model = tool("lazyconfig_train_net").build_model

    def broken(cfg):
        """Its loss of the box classifier is NaN in iteration 2."""
        model = build_model(cfg)
        values = iter([1.0, 1.0, float("nan")] + [1.0] * 9)
        model.register_forward_hook(lambda _, images, found: found | {"loss_cls": found["loss_cls"] * next(values)})
        return model

    def trained(name, **keys):
        (tmp_path / name).mkdir()
        tool("lazyconfig_train_net").train(tiny_lazy_cfg(tmp_path / name, dataset, max_iter=4, **keys), False)

    monkeypatch.setattr(tool("lazyconfig_train_net"), "build_model", broken)
    for name, keys in (("default", {}), ("stop", {"non_finite_loss": {"action": "stop"}})):
        with pytest.raises(NonFiniteLoss, match=r"iteration 2: loss_cls is nan on rank 0\. The weights were not"):
            trained(name, **keys)
    with caplog.at_level(logging.WARNING):
        trained("skip", non_finite_loss={"action": "skip"})
    assert "iteration 2: loss_cls is nan on rank 0" in caplog.text and "skipped, 1 in a row, 1 in all" in caplog.text
    assert is_whole(tmp_path / "skip" / "model_final.pth")
    with pytest.raises(UserError, match=r"non_finite_loss\.action\): expected one of stop, skip, ignore, got 'abort'"):
        trained("abort", non_finite_loss={"action": "abort"})


def test_weights_that_are_not_finite_are_not_saved(cfg, tmp_path):
    def spoil(trainer):
        if trainer.iter == 4:  # BatchNorm does not use them in training: the losses stay finite
            trainer.model.backbone.bottom_up.stem.conv1.norm.running_var[0] = float("inf")

    with pytest.raises(NonFiniteState, match=r"model_0000005\.pth was not written: model\.backbone.*running_var holds"):
        train(cfg(), kind=trainer_with(spoil))
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000002.pth"]
    assert is_whole(tmp_path / (tmp_path / "last_checkpoint").read_text())


def test_a_full_disk_stops_the_training_and_the_previous_checkpoint_resumes(cfg, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(trainer):
        if trainer.iter == 4:  # no file may become larger: the system refuses the write, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))

    try:
        with pytest.raises(NotSaved) as caught:
            train(cfg(), kind=trainer_with(fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    message, previous = str(caught.value), tmp_path / "model_0000002.pth"
    assert f"{tmp_path / 'model_0000005.pth'} was not written: File too large (EFBIG)" in message
    assert f"The previous checkpoint {previous} is untouched" in message and caught.value.exit_code == 3
    assert list(tmp_path.glob("model*")) == [previous] and is_whole(previous)
    trainer = train(cfg(), resume=True)
    assert trainer.start_iter == 3 and trainer.iter == 8


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130)])
def test_a_signal_ends_a_training_with_a_checkpoint_and_its_exit_code(cfg, tmp_path, name, code):
    signalled, number = [], signal.Signals[f"SIG{name}"]

    def signal_all(trainer):
        if trainer.iter == 4:
            workers = multiprocessing.active_children()
            # From another process and to all of the job, as a cluster does.
            processes = [*workers, multiprocessing.current_process()]
            subprocess.run(["kill", f"-{name}", *(str(process.pid) for process in processes)], check=True)
            signalled.extend(workers)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        train(cfg("DATALOADER.NUM_WORKERS", 2), kind=trainer_with(signal_all))
    assert caught.value.code == code and len(signalled) >= 2
    assert signal.getsignal(number) is before
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert train(cfg("DATALOADER.NUM_WORKERS", 2), resume=True).start_iter == 5


def test_sigterm_in_the_last_iteration_changes_nothing(cfg, tmp_path):
    def signal_self(trainer):
        if trainer.iter == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    train(cfg(), kind=trainer_with(signal_self))
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def on_one_of_two_ranks(tmp_path, *faults):
    """The exit code, how each training ended on both ranks, and what was printed to stderr."""
    command = [sys.executable, HERE / "workers" / "faults_on_one_rank.py", tmp_path, *faults]
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore", CUDA_VISIBLE_DEVICES="-1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    ends = {fault: [(tmp_path / fault / f"rank{rank}").read_text() for rank in (0, 1)] for fault in faults}
    return done.returncode, ends, done.stderr


def check_sigterm(folder, ends):
    assert ends == ["SystemExit: 143", "SystemExit: 143"]
    last = (folder / "last_checkpoint").read_text()
    assert is_whole(folder / last) and 3 <= int(last[6:13]) < 12
    assert [path.name for path in folder.glob("*.pth")] == [last]


@pytest.mark.ci
def test_a_fault_of_one_rank_ends_both_in_the_same_way(tmp_path):
    """A loss that is not finite; then SIGTERM to the process that waits for the ranks."""
    code, ends, _ = on_one_of_two_ranks(tmp_path, "nan", "sigterm-parent")
    first, second = ends["nan"]
    assert first == second and first.startswith("NonFiniteLoss: iteration 3: loss_box_reg is nan on rank 1.")
    assert code == 143
    check_sigterm(tmp_path / "sigterm-parent", ends["sigterm-parent"])


ENDS = {  # how the second of two ranks ends: exit code of the job, and what is printed for it
    "os._exit(3)": (3, None),
    "sys.exit(2)": (2, None),
    "sys.exit(143)": (143, None),
    "sys.exit(7)": (7, "process 1 terminated with exit code 7"),
    "os.kill(os.getpid(), signal.SIGKILL)": (137, "process 1 terminated with signal SIGKILL"),
    "os.kill(os.getpid(), signal.SIGTERM)": (143, "process 1 terminated with signal SIGTERM"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_rank_that_ends_without_a_word_is_named_on_stderr(end, monkeypatch, capsys):
    def detectron2_launch(main, *args, **kwargs):
        torch.multiprocessing.start_processes(second_rank_ends, (end,), nprocs=2, start_method="fork")

    monkeypatch.setattr(preemption, "detectron2_launch", detectron2_launch)
    monkeypatch.setattr(sys, "argv", ["tools/train_net.py"])
    with pytest.raises(SystemExit) as caught:
        preemption.launch(None, 2)
    code, said = ENDS[end]
    assert caught.value.code == code
    printed = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert printed == ([f"train_net.py: error: {said}"] if said else [])


def second_rank_ends(rank, end):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if rank == 1:
        exec(end)
    time.sleep(60)  # until the launcher ends it


@pytest.mark.slow
def test_exit_codes_of_a_fault_of_one_rank_are_those_of_the_job(tmp_path):
    code, _, stderr = on_one_of_two_ranks(tmp_path / "a", "nan")
    assert code == 3 and "faults_on_one_rank.py: error: iteration 3: loss_box_reg is nan on rank 1" in stderr
    code, ends, _ = on_one_of_two_ranks(tmp_path / "b", "sigterm")
    assert code == 143
    check_sigterm(tmp_path / "b" / "sigterm", ends["sigterm"])
