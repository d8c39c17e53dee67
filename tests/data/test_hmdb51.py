"""The check of HMDB51's layout, and its optical flow."""

import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from ffc_dense.cli import check_data, extract_flow
from ffc_dense.data import Report
from ffc_dense.data.flow import as_image, extract, extract_all, scaled, tvl1
from ffc_dense.data.hmdb51 import check_hmdb51
from ffc_dense.data.hmdb51_files import DONE, read_split
from ffc_dense.errors import UserError
from ffc_dense.minidata.hmdb51 import make_mini_hmdb51


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_mini_hmdb51(tmp_path_factory.mktemp("data") / "mini_hmdb51", 6, 6)


@pytest.fixture
def hmdb51(original, tmp_path):
    return shutil.copytree(original, tmp_path / "mini_hmdb51")


def faults(root, **options):
    report = Report()
    check_hmdb51(root, report, workers=1, **options)
    return [(fault.kind, fault.path) for fault in report.faults]


def first_video(root):
    return read_split(root, 1)[1][0]


def test_a_generated_dataset_has_no_fault_and_the_official_numbers_are_asked_of_another(hmdb51):
    assert faults(hmdb51) == []
    (hmdb51 / "minidata.json").unlink()
    assert [kind for kind, _ in faults(hmdb51)] == ["count"] * 6
    assert faults(hmdb51, any_size=True) == []


def test_missing_damaged_and_unlisted_videos_are_named(hmdb51):
    _, videos = read_split(hmdb51, 1)
    missing, damaged, cut = (video.path(hmdb51) for video in videos[:3])
    missing.rename(missing.with_name("other.avi"))
    damaged.write_bytes(b"no video")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 4 // 5])
    found = faults(hmdb51)
    assert sorted(found) == sorted([
        ("missing-video", str(missing)), ("unlisted-video", str(missing.with_name("other.avi"))),
        ("unreadable", str(damaged)), ("unreadable", str(cut)),
    ])  # fmt: skip
    assert ("unreadable", str(cut)) not in faults(hmdb51, fast=True)


def test_split_files_that_are_wrong_or_gone_are_named(hmdb51):
    folder = hmdb51 / "testTrainMulti_7030_splits"
    (folder / "climb_test_split2.txt").unlink()
    (folder / "fall_test_split3.txt").write_text("fall.avi one\n")
    kinds = [kind for kind, _ in faults(hmdb51, any_size=True)]
    assert kinds == ["split-file", "split-file"]  # a line of split 3, and other classes in split 2
    shutil.rmtree(folder)
    assert [kind for kind, _ in faults(hmdb51)] == ["layout"]


def test_frames_without_all_their_flow_are_named(hmdb51):
    _, videos = read_split(hmdb51, 1)
    for video in videos:
        assert extract(video, hmdb51, 24) == ""
    assert faults(hmdb51) == []
    (videos[0].frames(hmdb51) / "TVL1jpg_x_00003.jpg").unlink()
    (videos[1].frames(hmdb51) / DONE).unlink()
    assert faults(hmdb51) == [("flow", str(videos[i].frames(hmdb51))) for i in (0, 1)]


def test_flow_is_the_shift_in_pixels_x_first():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (80, 100), dtype=np.uint8), (0, 0), 3)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    moved = np.roll(image, (2, -3), (0, 1))  # two pixels down, three to the left
    flow = tvl1(image, moved)[15:-15, 15:-15]
    np.testing.assert_allclose(np.median(flow, (0, 1)), (-3, 2), atol=0.1)


def test_flow_is_stored_between_minus_and_plus_twenty_pixels():
    assert as_image(np.array([-30.0, -20.0, 0.0, 10.0, 20.0, 50.0])).tolist() == [0, 0, 128, 191, 255, 255]


def test_frames_are_scaled_by_their_short_side():
    frame = np.zeros((60, 90, 3), np.uint8)
    assert scaled(frame, 30).shape == (30, 45, 3) and scaled(frame.transpose(1, 0, 2), 30).shape == (45, 30, 3)
    assert scaled(frame, 0) is frame and scaled(frame, 60) is frame


def test_extraction_goes_on_where_it_was_interrupted_and_names_what_it_cannot_read(hmdb51):
    _, videos = read_split(hmdb51, 1)
    extract(videos[0], hmdb51, 24)
    kept = videos[0].frames(hmdb51) / "00001.jpg"
    kept.write_bytes(b"as it was")
    videos[1].path(hmdb51).write_bytes(b"no video")
    said = []
    (problem,) = extract_all(videos[:4], hmdb51, 24, 1, said.append)
    assert kept.read_bytes() == b"as it was" and said[0] == "4 videos, 1 done already" and "about 0.0 hours" in said[1]
    assert problem.startswith(f"{videos[1].path(hmdb51)}: 0 frames can be decoded")
    frames = cv2.VideoCapture(str(videos[2].path(hmdb51))).get(cv2.CAP_PROP_FRAME_COUNT)
    assert len(list(videos[2].frames(hmdb51).glob("TVL1jpg_y_*.jpg"))) == frames - 1


def test_the_command_refuses_split_files_whose_videos_are_not_there(hmdb51):
    first_video(hmdb51).path(hmdb51).unlink()
    with pytest.raises(UserError, match="1 videos of the split files are missing"):
        extract_flow.main([str(hmdb51), "--short-side", "24"])
    with pytest.raises(UserError, match="expected files CLASS_test_split1"):
        extract_flow.main([str(hmdb51.parent)])


def test_another_size_is_extracted_anew_and_nothing_older_stays(hmdb51):
    video = first_video(hmdb51)
    assert extract(video, hmdb51, 48) == ""
    folder = video.frames(hmdb51)
    whole = sorted(path.name for path in folder.iterdir())
    (folder / "00099.jpg").write_bytes(b"of an older video")
    assert extract(video, hmdb51, 24) == ""
    assert sorted(path.name for path in folder.iterdir()) == whole
    assert cv2.imread(str(folder / "00001.jpg")).shape[:2] == (24, 32)


def test_a_frame_that_cannot_be_written_is_named_and_the_video_is_not_done(hmdb51, monkeypatch):
    video, write = first_video(hmdb51), cv2.imwrite
    monkeypatch.setattr(cv2, "imwrite", lambda path, *rest: "00003" not in path and write(path, *rest))
    problem = extract(video, hmdb51, 24)
    assert "00003.jpg cannot be written" in problem and not (video.frames(hmdb51) / DONE).exists()


def test_a_video_that_is_listed_twice_is_a_fault_and_a_byte_order_mark_is_none(hmdb51, capsys):
    path = hmdb51 / "testTrainMulti_7030_splits/fall_test_split1.txt"
    lines = path.read_text()
    path.write_text(lines, encoding="utf-8-sig")
    assert faults(hmdb51) == []
    path.write_text(lines + lines.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"fall_test_split1\.txt, line \d+: .*\.avi is listed for the second time"):
        read_split(hmdb51, 1)
    assert [kind for kind, _ in faults(hmdb51, any_size=True)] == ["split-file"]


def test_the_remedy_of_a_count_is_an_option_that_exists(hmdb51, capsys):
    (hmdb51 / "minidata.json").unlink()
    assert check_data.main(["hmdb51", str(hmdb51), "--json", str(hmdb51 / "out.json")]) == 1
    said = capsys.readouterr().out
    assert "val of split 1 has 6 videos" in said and "--num-val 6 or --any-size" in said
    assert json.loads((hmdb51 / "out.json").read_text())["layout"] == "hmdb51"
    (hmdb51 / "folder").mkdir()
    assert check_data.main(["hmdb51", str(hmdb51), "--any-size", "--json", str(hmdb51 / "folder")]) == 2
    assert f"--json: {hmdb51 / 'folder'} cannot be written" in capsys.readouterr().err
