"""Maps of a clip's middle frame against backpropagation through the whole model, and the command."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from video_models import saved_model

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from mmengine.config import Config

from ffc_dense.cli import gradcam
from ffc_dense.data.hmdb51_files import read_split
from ffc_dense.errors import UserError
from ffc_dense.minidata.hmdb51 import make_mini_hmdb51
from ffc_dense.video.inspection.clip_classifier import ClipClassifier
from ffc_dense.video.inspection.gradcam import ClipExplainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_mini_hmdb51(tmp_path_factory.mktemp("data") / "mini_hmdb51", 6, 6)


@pytest.fixture(scope="module")
def video(data):
    return read_split(data, 1)[1][0].path(data)


def literal(model, clips, output, label, clip):
    """ReLU(sum of mean gradient times activation) of the mean logit of all clips, (t, h, w) of one of them."""
    kept = []
    handle = model.backbone.layer4.register_forward_hook(lambda _, args, out: kept.append(out))
    feature = model.extract_feat(clips)[-1]
    handle.remove()
    layer = model.head.fc
    outputs = layer.outputs(feature) if hasattr(layer, "outputs") else layer(feature)[None]
    (gradient,) = torch.autograd.grad(outputs[output, :, label].mean(), kept[0])
    return (gradient.mean((2, 3, 4), keepdim=True) * kept[0]).sum(1)[clip].relu().detach()


@pytest.mark.parametrize("kind", ["-ffc", ""])
@pytest.mark.parametrize("length", [16, 4])
def test_the_maps_are_those_of_literal_backpropagation_at_the_middle_frame(data, video, tmp_path, kind, length):
    config, checkpoint = saved_model(tmp_path, data, "rgb", kind)
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.clip_length = length
    cfg.test_dataloader.dataset.pipeline[1].size = 70  # a map of 1 x 5 x 5
    classifier, reference = ClipClassifier(cfg, checkpoint, "cpu"), ClipClassifier(cfg, checkpoint, "cpu")
    (picture,) = ClipExplainer(classifier)(video)
    clips, numbers = reference.clips(reference.frames(video))
    clip, moment = len(clips) // 2, length // 2
    frame = reference.frames(video)[numbers[clip, moment]]
    assert np.array_equal(picture.image, reference.cropped(frame[None, None])[0, 0])
    said = reference(video)[1]
    assert [each.output for each in picture.outputs] == ([1, 3, 5, 7] if kind else [1])
    for each in picture.outputs:
        assert each.label == each.target == said[each.output - 1].argmax()
        assert each.confidence == pytest.approx(float(said[each.output - 1].max()), abs=1e-5)
        map_ = literal(reference.model, clips, each.output - 1, each.label, clip)
        at = interpolate(map_[None, None], (length, *map_.shape[1:]), mode="trilinear")[0, 0, moment].numpy()
        expected = cv2.resize(at, (70, 70), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(each.map, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert any(each.map.std() > 0 for each in picture.outputs)
    with pytest.raises(UserError, match="--pixel: a classifier decides on the video as a whole"):
        ClipExplainer(classifier)(video, pixel=(1, 1))


def test_the_command_explains_videos_and_refuses_images(data, video, tmp_path, capsys):
    model = saved_model(tmp_path, data, "rgb", "-ffc")
    (tmp_path / "broken.avi").write_bytes(b"no video")
    arguments = [*model, "--output", str(tmp_path / "out"), "--input"]
    assert gradcam.main(gradcam.parse_args([*arguments, str(video), str(tmp_path / "broken.avi")])) == 1
    said = capsys.readouterr()
    assert "1 figures of 1 videos" in said.out and "no frame can be decoded" in said.err
    with Image.open(tmp_path / "out" / f"{video.name}.gradcam1.png") as figure:
        assert figure.width > 2 * figure.height  # an image and four maps
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"a\.png: .*config\.py takes videos, not images"):
        gradcam.main(gradcam.parse_args([*arguments, str(tmp_path / "a.png")]))


def test_flow_is_shown_on_the_frame_that_it_starts_from(data, video, tmp_path):
    pytest.importorskip("skimage")
    config, checkpoint = saved_model(tmp_path, data, "flow", "-ffc")
    classifier = ClipClassifier(Config.fromfile(config), checkpoint, "cpu")
    (picture,) = ClipExplainer(classifier)(video, [1])
    frames = classifier.frames(video)
    _, numbers = classifier.clips(frames)
    frame = frames[numbers[len(numbers) // 2, numbers.shape[1] // 2]]
    assert np.array_equal(picture.image, classifier.cropped(frame[None, None])[0, 0])
    assert picture.outputs[0].map.shape == picture.image.shape[:2]
