"""Maps of confidence and agreement as files, without a model."""

import errno

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmseg")

from ffc_dense.errors import CannotWrite
from ffc_dense.segmentation.inspection.map_files import write_maps

MAPS = {
    "label": np.array([[0, 300]], np.uint16),
    "confidence": np.array([[0.25, 1.0]], np.float32),
    "agreement": np.array([[0.5, 0.0]], np.float32),
    "num_outputs": np.int64(4),
}


def test_maps_are_read_back_as_they_were_written(tmp_path):
    write_maps(MAPS, tmp_path / "maps" / "a.b.png")
    found = np.load(tmp_path / "maps" / "a.b.png.npz")
    assert found.files == list(MAPS)
    assert all(found[name].dtype == MAPS[name].dtype and np.array_equal(found[name], MAPS[name]) for name in MAPS)
    grey = Image.open(tmp_path / "maps" / "a.b.png_confidence.png")
    assert grey.mode == "L" and np.asarray(grey).tolist() == [[64, 255]]
    assert len(list((tmp_path / "maps").iterdir())) == 3


def test_a_full_disk_leaves_the_earlier_maps_and_is_no_stopped_training(tmp_path, monkeypatch):
    write_maps(MAPS, tmp_path / "a")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ffc_dense.reliability.saving.os.fsync", full)
    with pytest.raises(CannotWrite, match=r"^--output: .*a\.npz cannot be written: .*No space left") as raised:
        write_maps(MAPS | {"label": np.zeros((1, 2), np.uint8)}, tmp_path / "a")
    assert raised.value.exit_code == 2
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_in_the_folders_place_is_named_with_the_argument(tmp_path):
    (tmp_path / "maps").touch()
    with pytest.raises(CannotWrite, match=r"^output_dir: .*maps/a\.npz cannot be written"):
        write_maps(MAPS, tmp_path / "maps" / "a", "output_dir")
