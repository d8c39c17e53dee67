"""A training of detectron2 that goes on from a checkpoint."""

import logging
import os
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import TrainingSampler
from detectron2.engine import DefaultTrainer
from detectron2.utils.env import seed_all_rng
from tiny_training import make_dataset, tiny_cfg, tiny_lazy_cfg, train
from tools_in_process import tool

from ffc_dense.detection.training.atomic_checkpoint import AtomicCheckpointer
from ffc_dense.detection.training.data_stream import ContinuedSampler
from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.errors import UserError
from ffc_dense.reliability.resuming import NothingToResume


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("resumed") / "mini_coco")


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    train(tiny_cfg(out, "SOLVER.MAX_ITER", 10, "SOLVER.CHECKPOINT_PERIOD", 4, "DATASETS.TRAIN", [dataset]))
    return out


def differences(a, b, name="checkpoint"):
    """Names of what differs by a bit."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [name]
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return [found for key in a for found in differences(a[key], b[key], f"{name}.{key}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        return [found for i, pair in enumerate(zip(a, b, strict=True)) for found in differences(*pair, f"{name}.{i}")]
    return [] if a == b else [name]


def loaded(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)


def resumed_from(uninterrupted, out, iteration, *opts):
    shutil.copy(uninterrupted / f"model_{iteration:07d}.pth", out)
    (out / "last_checkpoint").write_text(f"model_{iteration:07d}.pth")
    return tiny_cfg(out, "SOLVER.MAX_ITER", 10, "SOLVER.CHECKPOINT_PERIOD", 4, *opts)


def test_a_resumed_training_equals_the_uninterrupted_one_bit_for_bit(uninterrupted, dataset, tmp_path):
    cfg = resumed_from(uninterrupted, tmp_path, 3, "DATASETS.TRAIN", [dataset])
    torch.manual_seed(99)  # what ran before must not matter
    train(cfg, resume=True)
    a, b = loaded(uninterrupted), loaded(tmp_path)
    assert not differences(a, b)
    # Nor after a second interruption, of the resumed one.
    (tmp_path / "last_checkpoint").write_text("model_0000007.pth")
    train(cfg, resume=True)
    assert not differences(a, loaded(tmp_path))
    assert a["trainer"]["iteration"] == 9 and len(a["trainer"]["_trainer"]["optimizer"]["state"]) > 100
    assert len(a["trainer"]["hooks"]["LRScheduler"]) > 0  # the comparison saw optimizer and schedule


def test_a_resumed_training_of_a_lazy_config_equals_the_uninterrupted_one_bit_for_bit(dataset, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for out, resume in ((whole, False), (resumed, True)):
        out.mkdir()
        if resume:
            shutil.copy(whole / "model_0000003.pth", out)
            (out / "last_checkpoint").write_text("model_0000003.pth")
        seed_all_rng(3)
        tool("lazyconfig_train_net").train(tiny_lazy_cfg(out, dataset), resume)
    assert (resumed / "model_0000007.pth").exists()
    assert not differences(loaded(whole), loaded(resumed))


def test_an_uninterrupted_training_has_the_weights_of_detectron2s_trainer(uninterrupted, dataset, tmp_path):
    opts = ["SOLVER.MAX_ITER", 10, "SOLVER.CHECKPOINT_PERIOD", 4, "DATASETS.TRAIN", [dataset]]
    train(tiny_cfg(tmp_path, *opts), kind=DefaultTrainer)
    assert not differences(loaded(uninterrupted)["model"], loaded(tmp_path)["model"])


def test_a_checkpoint_of_detectron2_resumes_with_a_warning_and_a_new_shuffle(uninterrupted, dataset, tmp_path, caplog):
    cfg = resumed_from(uninterrupted, tmp_path, 7, "DATASETS.TRAIN", [dataset])
    state = torch.load(tmp_path / "model_0000007.pth", weights_only=True)
    del state["trainer"]["hooks"]["ContinueDataStream"]
    torch.save(state, tmp_path / "model_0000007.pth")
    with caplog.at_level(logging.WARNING):
        train(cfg, resume=True)
    assert "start with a new shuffle: the checkpoint does not say where they were" in caplog.text
    assert loaded(tmp_path)["trainer"]["hooks"]["ContinueDataStream"]["first_iteration"] == 8


@pytest.mark.parametrize("batches", [0, 1, 7, 40])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_continued_sampler_has_the_batches_of_detectron2s_stream(batches, batch_size):
    generator = torch.Generator().manual_seed(batches)
    records = [{"index": i, "width": int(w), "height": 50} for i, w in enumerate(torch.randint(48, 53, (11,)))]

    def stream(sampler, grouped):
        images = (records[index] for index in sampler)
        one_by_one = iter(lambda: list(islice(images, batch_size)), [])
        groups = AspectRatioGroupedDataset(images, batch_size) if grouped else one_by_one
        return ([image["index"] for image in batch] for batch in groups)

    seed = int(torch.randint(1000, (), generator=generator))
    for wide in (None, [record["width"] > record["height"] for record in records]):
        sampler, grouped = TrainingSampler(11, seed=seed), wide is not None
        whole = stream(sampler, grouped)
        continued = stream(ContinuedSampler(sampler, batches, batch_size, wide), grouped)
        assert list(islice(whole, batches, batches + 30)) == list(islice(continued, 30))


@pytest.mark.parametrize("fault", ["truncated", "a byte changed", "empty", "missing"])
def test_resume_falls_back_to_the_newest_whole_checkpoint(uninterrupted, dataset, tmp_path, caplog, fault):
    cfg = resumed_from(uninterrupted, tmp_path, 3, "DATASETS.TRAIN", [dataset])
    torch.save({"model": {}}, tmp_path / "weights.pth")  # newer, but not of a training
    broken = tmp_path / "model_0000007.pth"
    content = bytearray((uninterrupted / broken.name).read_bytes())
    if fault == "a byte changed":
        content[len(content) // 2] ^= 1
    if fault != "missing":
        broken.write_bytes({"truncated": content[:-1000], "empty": b""}.get(fault, content))
    (tmp_path / "last_checkpoint").write_text(broken.name)
    (tmp_path / "model_0000011.pth.12ab34cd.partial").write_bytes(content[:5000])
    trainer = ReliableTrainer(cfg)
    with caplog.at_level(logging.WARNING):
        trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 4
    state = "missing" if fault == "missing" else "damaged"
    assert f"names {broken}, which is {state}: going on from {tmp_path / 'model_0000003.pth'}, " in caplog.text
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert not list(tmp_path.glob("*.partial"))


def test_resume_without_last_checkpoint_goes_on_and_passes_over_what_cannot_be_read_safely(
    uninterrupted, dataset, tmp_path, caplog
):
    cfg = resumed_from(uninterrupted, tmp_path, 3, "DATASETS.TRAIN", [dataset])
    (tmp_path / "last_checkpoint").unlink()
    torch.save({"trainer": Path("object")}, tmp_path / "other.pth")  # newer, with an object that is refused
    (tmp_path / "gone.pth").symlink_to(tmp_path / "nowhere")
    trainer = ReliableTrainer(cfg)
    with caplog.at_level(logging.WARNING):
        trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 4
    assert f"last_checkpoint is missing: going on from {tmp_path / 'model_0000003.pth'}, " in caplog.text
    assert f"Not resuming from {tmp_path / 'other.pth'}: " in caplog.text
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"


@pytest.mark.parametrize(
    ("names", "damaged", "expected"),
    [
        (["model_0000003", "model_0000007"], "", "model_0000007"),
        (["model_0000003", "model_0000007", "model_final"], "", "model_final"),  # its content says iteration 9
        (["model_0000003", "model_0000007", "model_final"], "model_final", "model_0000007"),
        (["model_final", "model_0000011"], "model_0000011", "model_final"),
    ],
)
def test_the_whole_checkpoint_of_the_most_iterations_is_the_newest_whatever_the_files_times_are(
    uninterrupted, tmp_path, names, damaged, expected
):
    for age, name in enumerate(names):
        source = uninterrupted / f"{name}.pth"
        shutil.copy(source if source.is_file() else uninterrupted / "model_0000007.pth", tmp_path / f"{name}.pth")
        if name == damaged:
            (tmp_path / f"{name}.pth").write_bytes(source.read_bytes()[:-1] if source.is_file() else b"PK")
        os.utime(tmp_path / f"{name}.pth", (2000 - age, 2000 - age))  # the first is the youngest
    found = AtomicCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))._to_resume()
    assert found == str(tmp_path / f"{expected}.pth")
    assert (tmp_path / "last_checkpoint").read_text() == f"{expected}.pth"


def test_weights_alone_in_the_output_folder_are_no_training_to_resume(uninterrupted, dataset, tmp_path):
    torch.save({"model": {}}, tmp_path / "weights.pth")
    trainer = ReliableTrainer(tiny_cfg(tmp_path, "DATASETS.TRAIN", [dataset]))
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 0 and not (tmp_path / "last_checkpoint").exists()


@pytest.mark.parametrize("pointer", [True, False])
def test_resume_refuses_to_start_anew_when_no_checkpoint_is_whole(pointer, dataset, tmp_path):
    (tmp_path / "model_0000003.pth").write_bytes(b"PK")
    if pointer:
        (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    trainer = ReliableTrainer(tiny_cfg(tmp_path, "DATASETS.TRAIN", [dataset]))
    with pytest.raises(NothingToResume, match=r"no other checkpoint in .* is whole") as caught:
        trainer.resume_or_load(resume=True)
    assert caught.value.exit_code == 2  # wrong input, as in segmentation


def test_the_newest_checkpoints_are_kept_those_from_before_a_resume_too(uninterrupted, dataset, tmp_path):
    cfg = resumed_from(uninterrupted, tmp_path, 3, "DATASETS.TRAIN", [dataset], "SOLVER.CHECKPOINT_MAX_TO_KEEP", 1)
    shutil.copy(tmp_path / "model_0000003.pth", tmp_path / "model_0000001.pth")  # of an earlier interruption
    shutil.copy(tmp_path / "model_0000003.pth", tmp_path / "model_best.pth")
    train(cfg, resume=True)
    names = {path.name for path in tmp_path.glob("*.pth")}
    assert names == {"model_0000007.pth", "model_best.pth", "model_final.pth"}


def test_keys_of_checkpoints_and_losses_are_checked(dataset, tmp_path):
    for key, value in (
        ("CHECKPOINT_MAX_TO_KEEP", -1),
        ("NON_FINITE_LOSS.ACTION", "abort"),
        ("NON_FINITE_LOSS.MAX_CONSECUTIVE", 0),
    ):
        cfg = tiny_cfg(tmp_path, f"SOLVER.{key}", value, "DATASETS.TRAIN", [dataset])
        with pytest.raises(UserError, match=rf"SOLVER\.{key}.*{value}"):
            ReliableTrainer(cfg)
