"""The files of an analysis: the numbers are there first, and stay whatever happens to the pictures."""

import json
import resource
from contextlib import contextmanager

import pytest
import torch
from report_runs import analyzed, gallery_entry

from ffc_dense.errors import CannotWrite
from ffc_dense.inspection import plots
from ffc_dense.inspection.files import NAME, write

PICTURES = ["active_units.png", "reliability.png", "agreement.png"]


def report(detection=False):
    found = analyzed(torch.randn(20, 6, generator=torch.Generator().manual_seed(0)))
    found.gallery.offer(3, 1, lambda: gallery_entry("image.jpg", detection))
    return found.report("mIoU", {})


@contextmanager
def largest_file(size):
    """The system refuses to write beyond ``size`` bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_files_are_what_the_report_names(tmp_path):
    write(report(), tmp_path)
    found = json.loads((tmp_path / NAME).read_text())
    assert found["pictures"] == PICTURES
    named = [*found["pictures"], *found["gallery"]["fixed"][0]["label_maps"].values(), NAME]
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(named)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_drawing_leaves_the_numbers(tmp_path, monkeypatch, error):
    def failing(report, plt):
        raise error("a bug in a plot")

    monkeypatch.setattr(plots, "reliability", failing)
    with pytest.raises(error, match="a bug in a plot"):
        write(report(), tmp_path)
    found, expected = json.loads((tmp_path / NAME).read_text()), report()
    assert found["pictures"] == [] and found["images"] == expected["images"] == 3
    assert [row["won"] for row in found["outputs"]] == [row["won"] for row in expected["outputs"]]
    assert all((tmp_path / name).is_file() for name in found["gallery"]["fixed"][0]["label_maps"].values())


@pytest.mark.parametrize("taken", ["reliability.png", "gallery"])
def test_a_picture_that_cannot_be_written_leaves_the_numbers_and_is_an_error_that_names_it(tmp_path, taken):
    (tmp_path / taken).mkdir() if taken.endswith(".png") else (tmp_path / taken).write_text("a file")
    with pytest.raises(CannotWrite, match=rf"{taken}.*its numbers are in .*analysis\.json; make room"):
        write(report(), tmp_path)
    assert len(json.loads((tmp_path / NAME).read_text())["outputs"]) == 9


def test_a_full_disk_is_an_error_in_words_and_keeps_an_older_analysis(tmp_path):
    (tmp_path / NAME).write_text('{"older": 1}')
    with pytest.raises(CannotWrite, match=r"File too large\), the analysis is lost; make room") as caught, \
            largest_file(500):  # fmt: skip
        write(report(), tmp_path)
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == [NAME] and json.loads((tmp_path / NAME).read_text())


def test_a_disk_that_fills_while_drawing_keeps_the_numbers(tmp_path):
    size = len(json.dumps(report(detection=True), indent=1)) + 500
    with pytest.raises(CannotWrite, match="its numbers are in"), largest_file(size):
        write(report(detection=True), tmp_path)
    assert json.loads((tmp_path / NAME).read_text())["images"] == 3
