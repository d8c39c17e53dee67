"""The files of a demo: what is read, where pictures go, what is skipped."""

import errno
from argparse import ArgumentParser

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")

import cv2

from ffc_dense.errors import CannotWrite, UserError
from ffc_dense.pictures.files import collect
from ffc_dense.pictures.reading import UnreadableError, read_bgr
from ffc_dense.pictures.run import run
from ffc_dense.pictures.scale import add_scale_argument, readable_scale
from ffc_dense.pictures.video import draw_video


def picture(path, color=(10, 20, 30), size=(16, 12), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


def video(path, frames=5, size=(48, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 7.0, size)
    for i in range(frames):
        writer.write(np.full((size[1], size[0], 3), 12 * i, np.uint8))
    writer.release()
    return path


def frames(path):
    reader = cv2.VideoCapture(str(path))
    found = []
    while True:
        read, frame = reader.read()
        if not read:
            return found, reader.get(cv2.CAP_PROP_FPS)
        found.append(frame)


def test_a_folder_is_searched_and_keeps_its_subfolders(tmp_path):
    source = tmp_path / "in"
    for name in ("b.jpg", "a.PNG", "sub/c.tif", "sub/c.png"):
        picture(source / name)
    video(source / "v.avi")
    (source / "notes.txt").write_text("no image")
    jobs = collect([source], tmp_path / "out")
    assert [(job.target.relative_to(tmp_path / "out").as_posix(), job.video) for job in jobs] == [
        ("a.PNG", False), ("b.jpg", False), ("sub/c.png", False), ("sub/c.tif.png", False), ("v.avi.mp4", True)
    ]  # fmt: skip


def test_pictures_of_an_earlier_run_inside_the_input_are_no_input(tmp_path):
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "out" / "a.jpg")
    assert [job.source for job in collect([tmp_path], tmp_path / "out")] == [tmp_path / "a.jpg"]


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["none.jpg"], "out", r"--input: there is no file or folder .*none\.jpg"),
        (["empty"], "out", r"empty holds no image or video \(\.png"),
        (["a.jpg"], ".", r"--output: .*a\.jpg would be written over an input"),
        (["a.jpg", "sub"], "out", r"a\.jpg and .*sub/a\.jpg would both be written to .*out/a\.jpg"),
        (["a.jpg"], "a.jpg", "a.jpg is a file, a folder is needed"),
    ],
)
def test_inputs_that_cannot_be_drawn_are_refused_before_any_work(tmp_path, inputs, output, message):
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "sub" / "a.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        collect([tmp_path / name for name in inputs], tmp_path / output)


def test_unreadable_files_are_reported_and_the_others_drawn(tmp_path, capsys):
    picture(tmp_path / "in" / "good.png", (1, 2, 3))
    whole = picture(tmp_path / "in" / "cut.jpg", size=(64, 64)).read_bytes()
    (tmp_path / "in" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "text.jpg").write_text("no image")
    (tmp_path / "in" / "text.mp4").write_text("no video")
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "in" / "deep.png")
    code = run(collect([tmp_path / "in"], tmp_path / "out"), lambda image: 255 - image)
    told = capsys.readouterr()
    assert code == 1 and "1 of 6 files drawn, 5 skipped" in told.out
    for name, reason in [("cut.jpg", "decoded"), ("empty.png", "0 bytes"), ("text.jpg", "no image"),
                         ("text.mp4", "OpenCV cannot open it"), ("deep.png", "more than 8 bits")]:  # fmt: skip
        assert any(name in line and reason in line for line in told.err.splitlines()), name
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["good.png"]
    assert np.asarray(Image.open(tmp_path / "out" / "good.png"))[0, 0].tolist() == [254, 253, 252]


def test_all_files_drawn_is_exit_code_0(tmp_path, capsys):
    assert run(collect([picture(tmp_path / "a.png")], tmp_path / "out"), lambda image: image) == 0
    assert capsys.readouterr().out == "1 of 1 files drawn\n"


def one_larger(frame):
    return np.pad(255 - frame, ((0, 1), (0, 1), (0, 0)), "edge")


def test_a_video_keeps_its_frames_their_order_and_rate(tmp_path):
    draw_video(video(tmp_path / "v.avi"), tmp_path / "drawn.mp4", one_larger)
    found, rate = frames(tmp_path / "drawn.mp4")
    assert len(found) == 5 and rate == pytest.approx(7.0)
    assert found[0].shape == (24, 48, 3)  # of 25 x 49: with even sides
    assert [float(frame.mean()) for frame in found] == pytest.approx([255 - 12 * i for i in range(5)], abs=4)


def test_pictures_of_another_size_are_fitted_to_the_first_one(tmp_path):
    grown = iter(range(10))
    draw_video(video(tmp_path / "v.avi"), tmp_path / "drawn.mp4",
               lambda frame: cv2.resize(frame, (48 + 4 * (n := next(grown)), 24 - 2 * n)))  # fmt: skip
    drawn, _ = frames(tmp_path / "drawn.mp4")
    assert [frame.shape for frame in drawn] == [(24, 48, 3)] * 5 and drawn[4][18:].min() > 200


def test_a_video_that_ends_early_is_unreadable_and_leaves_no_file(tmp_path):
    path = video(tmp_path / "v.avi", frames=20, size=(320, 240))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableError, match="of 20 frames could be read"):
        draw_video(path, tmp_path / "drawn.mp4", lambda frame: frame)
    assert [file.name for file in tmp_path.iterdir()] == ["v.avi"]


def test_images_are_read_as_bgr_and_turned_by_their_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image = read_bgr(str(picture(tmp_path / "turned.png", (10, 20, 30), (16, 12), exif=exif)))
    assert image.shape == (16, 12, 3) and image[0, 0].tolist() == [30, 20, 10] and image.flags.c_contiguous
    Image.new("LA", (5, 4), (90, 10)).save(tmp_path / "grey.png")
    assert read_bgr(str(tmp_path / "grey.png"))[0, 0].tolist() == [90, 90, 90]


def test_a_picture_that_cannot_be_written_ends_the_run(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").touch()  # a file where a folder is needed
    jobs = collect([picture(tmp_path / "in" / "sub" / "a.png").parent.parent], tmp_path / "out")
    with pytest.raises(UserError, match=r"--output: .* cannot be written") as raised:
        run(jobs, lambda image: image)
    assert raised.value.exit_code == 2  # no training stopped


@pytest.mark.parametrize("name", ["a.png", "v.avi"])
def test_a_folder_that_takes_no_files_is_told_as_wrong_output(tmp_path, name):
    source = picture(tmp_path / name) if name == "a.png" else video(tmp_path / name)
    (tmp_path / "out").mkdir()
    # A folder in the file's place: unlike missing permissions, root is stopped by it too.
    (jobs := collect([source], tmp_path / "out"))[0].target.mkdir()
    with pytest.raises(CannotWrite, match=r"^--output: .*out/.* cannot be written: .*directory.*name another folder"):
        run(jobs, lambda image: image)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [jobs[0].target.name]  # nothing half written


def test_a_full_disk_is_told_as_wrong_output_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ffc_dense.reliability.saving.os.fsync", full)
    with pytest.raises(CannotWrite, match=r"^--output: .*a\.png cannot be written: .*No space left on device; make"):
        run(collect([picture(tmp_path / "a.png")], tmp_path / "out"), lambda image: image)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "v.avi"])
def test_an_error_of_the_drawing_is_none_of_the_output(tmp_path, name):
    def draw(image):
        raise OSError("a font is missing")

    source = picture(tmp_path / name) if name == "a.png" else video(tmp_path / name)
    with pytest.raises(OSError, match=r"^a font is missing$"):
        run(collect([source], tmp_path / "out"), draw)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "101", "two"])
def test_a_factor_that_scales_nothing_is_told(text, capsys):
    parser = ArgumentParser()
    add_scale_argument(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([f"--scale={text}"])
    assert ended.value.code == 2
    assert f"--scale: expected a factor above 0 and up to 100, got {text}" in capsys.readouterr().err


def test_the_scale_is_the_one_asked_for_or_makes_small_images_readable():
    parser = ArgumentParser()
    add_scale_argument(parser)
    assert parser.parse_args([]).scale is None and parser.parse_args(["--scale", "0.5"]).scale == 0.5
    assert [readable_scale(*size) for size in ((400, 200), (1, 800), (800, 801), (3000, 10))] == [2, 1, 1, 1]
