"""Reading HMDB51 and its clips, and the transforms of the MARS code."""

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from ffc_dense.data.hmdb51_files import DONE, FRAME, flow_files, read_split
from ffc_dense.minidata.hmdb51 import ACTIONS, make_mini_hmdb51, make_video
from ffc_dense.video import HMDB51, ClipCenterCrop, ClipFlip, LoadClips, MultiScaleCornerCrop, PackClips
from ffc_dense.video.inputs.clips import clip_frames, clip_starts, count_frames, decode, read_frames


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_mini_hmdb51(tmp_path_factory.mktemp("data") / "mini_hmdb51", 6, 6)


@pytest.fixture(scope="module")
def with_flow(root):
    """Frames and flow of the first video, as MARS stores them, whose numbers say which file they come from."""
    _, videos = read_split(root, 1)
    folder = videos[0].frames(root)
    folder.mkdir(parents=True)
    for number in range(1, 11):
        cv2.imwrite(str(folder / FRAME.format(number)), np.full((30, 40, 3), (3, 2, 10 * number), np.uint8))
        if number < 10:
            for place, path in enumerate(flow_files(folder, number)):
                cv2.imwrite(str(path), np.full((30, 40), 20 * number + place, np.uint8))
    (folder / DONE).write_text("")
    return videos[0]


def test_a_split_file_says_class_and_subset_of_every_video(root):
    classes, videos = read_split(root, 2)
    assert classes == list(ACTIONS) == sorted(ACTIONS)
    assert [video.subset for video in videos].count("test") == 6
    assert all(video.path(root).is_file() and classes[video.label] == video.class_name for video in videos)


@pytest.mark.parametrize("line", ["jump.avi", "jump.avi 3", "jump.mp4 1"])
def test_a_wrong_line_of_a_split_file_is_named(tmp_path, line):
    (tmp_path / "testTrainMulti_7030_splits").mkdir()
    path = tmp_path / "testTrainMulti_7030_splits/jump_test_split1.txt"
    path.write_text(f"good.avi 1 \n\n{line}\n")
    with pytest.raises(ValueError, match=rf"{path}, line 3: expected 'NAME\.avi 0\|1\|2'"):
        read_split(tmp_path, 1)


def test_a_folder_without_split_files_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"testTrainMulti_7030_splits: expected files CLASS_test_split1\.txt"):
        read_split(tmp_path, 1)


def test_the_dataset_holds_the_videos_of_one_subset(root):
    data = HMDB51(str(root), split=1, subset="test", pipeline=[])
    assert len(data) == 6 and data.metainfo["classes"] == ACTIONS
    assert {data.get_data_info(i)["gt_label"] for i in range(6)} == set(range(6))
    with pytest.raises(ValueError, match="subset: expected one of unused, train, test, got 'val'"):
        HMDB51(str(root), subset="val")
    with pytest.raises(ValueError, match=r"modality: expected one of RGB, flow, RGB\+flow, got 'Flow'"):
        HMDB51(str(root), modality="Flow")


def test_a_decoded_video_has_the_frames_that_were_written(root):
    frames, action, _ = make_video("train", 0, 0)
    found = decode(root / "videos" / action / f"{action}_train_0000.avi")
    assert found.shape == frames.shape
    assert np.abs(found.astype(int) - frames).mean() < 8  # XVID loses little


@pytest.mark.parametrize(("frames", "length", "starts"), [(64, 64, [0]), (200, 64, [0, 64, 128]), (10, 64, [0])])
def test_test_clips_do_not_overlap_and_the_rest_is_dropped(frames, length, starts):
    assert clip_starts(frames, length) == starts


def test_a_video_that_is_too_short_is_looped():
    assert clip_frames(0, 7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_clip_pairs_a_frame_with_the_flow_to_the_next(root, with_flow):
    results = dict(video=str(with_flow.path(root)), frames=str(with_flow.frames(root)), clip_length=4)
    clips = LoadClips(every=True)(dict(results, modality="RGB+flow"))["clips"]
    assert clips.shape == (2, 4, 30, 40, 5)  # nine pairs: the ninth is dropped
    middle = clips[:, :, 15, 20].astype(int)
    numbers = np.arange(1, 9).reshape(2, 4)
    assert np.abs(middle[..., 0] - 10 * numbers).max() <= 2  # red first; JPEG may be off by a little
    assert np.abs(middle[..., 3] - 20 * numbers).max() <= 1 and np.abs(middle[..., 4] - 20 * numbers - 1).max() <= 1
    flow = LoadClips(every=True)(dict(results, modality="flow"))["clips"]
    assert np.array_equal(flow, clips[..., 3:])


def test_a_training_clip_begins_anywhere(root, with_flow):
    load, clips = LoadClips(), dict(modality="flow", clip_length=4)
    results = dict(video=str(with_flow.path(root)), frames=str(with_flow.frames(root)), **clips)
    np.random.seed(0)
    firsts = {int(load(dict(results))["clips"][0, 0, 0, 0, 0]) // 20 for _ in range(60)}
    assert firsts == set(range(1, 7))


def test_missing_flow_says_which_command_makes_it(root):
    _, videos = read_split(root, 1)
    clips = dict(modality="flow", clip_length=4)
    results = dict(video=str(videos[1].path(root)), frames=str(videos[1].frames(root)), **clips)
    with pytest.raises(FileNotFoundError, match=rf"{videos[1].stem}: no flow .*ffc-dense extract-flow"):
        LoadClips()(results)


def test_a_video_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "broken.avi").write_bytes(b"RIFF nothing")
    with pytest.raises(ValueError, match=r"broken\.avi: no frame can be decoded"):
        LoadClips()(dict(video=str(tmp_path / "broken.avi"), frames="none", modality="RGB", clip_length=4))


def clips_of(height, width, channels=3):
    """Pixels that say where they are: row in channel 0, column in channel 1."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, 0 * rows, rows, columns][:channels], -1).astype(np.uint8)
    return np.broadcast_to(image, (1, 2, *image.shape)).copy()


def test_the_corner_crop_is_a_square_of_a_share_of_the_short_side_at_one_of_five_places():
    crop = MultiScaleCornerCrop(size=20, scales=(0.5,))
    np.random.seed(0)
    corners = set()
    for _ in range(60):
        found = crop(dict(clips=clips_of(40, 60)))["clips"]
        assert found.shape == (1, 2, 20, 20, 3)
        corners.add(tuple(int(v) for v in found[0, 0, 0, 0, :2]))
    assert corners == {(10, 20), (0, 0), (0, 40), (20, 0), (20, 40)}


def test_a_mirrored_flow_changes_the_sign_of_x_alone():
    clips = clips_of(10, 30, 5)
    found = ClipFlip(prob=1.0)(dict(clips=clips, flow_channel=3))["clips"]
    mirrored = clips[:, :, :, ::-1]
    assert np.array_equal(found[..., :3], mirrored[..., :3]) and np.array_equal(found[..., 4], mirrored[..., 4])
    assert np.array_equal(found[..., 3], 255 - mirrored[..., 3])
    same = ClipFlip(prob=0.0)(dict(clips=clips, flow_channel=3))["clips"]
    assert np.array_equal(same, clips)


def test_a_test_clip_is_the_middle_of_a_frame_with_the_short_side_asked_for():
    found = ClipCenterCrop(20)(dict(clips=clips_of(20, 50)))["clips"]
    assert np.array_equal(found, clips_of(20, 50)[:, :, :, 15:35])
    assert ClipCenterCrop(10)(dict(clips=clips_of(20, 50)))["clips"].shape == (1, 2, 10, 10, 3)
    assert ClipCenterCrop(16)(dict(clips=clips_of(9, 31)))["clips"].shape == (1, 2, 16, 16, 3)


def test_packed_clips_have_channels_before_frames_and_clips_first_in_tests():
    clips = clips_of(6, 8)
    for every in (False, True):
        packed = PackClips()(dict(clips=clips, every_clip=every, gt_label=3, video="a.avi"))
        wanted = torch.from_numpy(clips).permute(0, 4, 1, 2, 3)
        assert torch.equal(packed["inputs"], wanted if every else wanted[0])
        assert packed["data_samples"].gt_label.tolist() == [3] and packed["data_samples"].video == "a.avi"


def test_frames_of_an_interrupted_extraction_are_not_taken(root, tmp_path):
    """RGB clips come from the video then; flow is refused."""
    video = read_split(root, 1)[1][1].path(root)
    cv2.imwrite(str(tmp_path / FRAME.format(1)), np.zeros((30, 40, 3), np.uint8))
    cv2.imwrite(str(flow_files(tmp_path, 1)[0]), np.zeros((30, 40), np.uint8))
    whole = decode(video)
    assert count_frames(video, tmp_path, "RGB") == len(whole) > 1
    assert np.array_equal(read_frames(video, tmp_path, "RGB", np.arange(3)), whole[:3])
    with pytest.raises(FileNotFoundError, match=r"its flow is not complete: there is no file done.*extract-flow"):
        count_frames(video, tmp_path, "flow")
