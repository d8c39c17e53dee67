"""Classifiers of videos: clips, outputs, MARS."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmpretrain")

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import ffc_dense.video  # noqa: F401
from ffc_dense import attach
from ffc_dense.method.literal import LiteralFFC, literal_vote
from ffc_dense.method.reductions import reduced

BACKBONE = dict(type="ResNeXt3D", blocks=(1, 1, 1, 1), planes=(32, 32, 32, 32), cardinality=2)
CLASSES, LENGTH, SIZE = 4, 4, 16


def config(kind="VideoClassifier", channels=3, mean=(110.0, 105.0, 100.0), **extra):
    return dict(
        type=kind, data_preprocessor=dict(type="ClipPreprocessor", mean=list(mean)),
        backbone=dict(BACKBONE, in_channels=channels), neck=dict(type="GlobalAveragePooling", dim=3),
        head=dict(type="LinearClsHead", num_classes=CLASSES, in_channels=64), **extra,
    )  # fmt: skip


def classifier(ffc=False, **options):
    torch.manual_seed(0)
    model = MODELS.build(config(**options))
    model.init_weights()
    if ffc:
        attach(model.head, "fc")
        torch.manual_seed(1)
        for parameter in model.head.fc.filters.parameters():
            torch.nn.init.normal_(parameter, 0.3, 1)
        torch.nn.init.normal_(model.head.fc.weight)
    return model.eval()


def videos(*clips, channels=3):
    torch.manual_seed(2)
    return [torch.randint(0, 256, (count, channels, LENGTH, SIZE, SIZE), dtype=torch.uint8) for count in clips]


def literal_outputs(model, clips):
    """Clip by clip: mean, backbone, mean over time and space, classifier; averaged over the clips."""
    found = []
    for clip in clips:
        x = clip.float() - torch.tensor([110.0, 105.0, 100.0]).view(3, 1, 1, 1)
        feature = model.backbone(x.unsqueeze(0))[0].mean((2, 3, 4))
        layer = model.head.fc
        if hasattr(layer, "filters"):
            found.append(LiteralFFC(layer).outputs(feature))
        else:
            found.append(F.linear(feature, layer.weight, layer.bias).unsqueeze(0))
    return sum(found)[:, 0] / len(found)


@torch.no_grad()
@pytest.mark.parametrize("ffc", [False, True])
def test_the_clips_of_a_video_are_averaged_per_output_and_then_reduced(ffc):
    model, batch = classifier(ffc=ffc, clips_at_once=2), videos(1, 3, 5)
    data = model.data_preprocessor(dict(inputs=batch, data_samples=[DataSample() for _ in batch]))
    for name in ("vote", "mean", "out3") if ffc else ("stock",):
        with reduced(model, name):
            samples = model(**data, mode="predict")
        for clips, sample in zip(batch, samples, strict=True):
            outputs = literal_outputs(model, clips)
            if name == "vote":
                wanted = literal_vote(outputs.unsqueeze(1))[0]
            else:
                wanted = outputs[2] if name == "out3" else outputs.mean(0)
            torch.testing.assert_close(sample.pred_score, wanted.softmax(0), rtol=1e-4, atol=1e-6)


def test_training_takes_a_batch_of_clips():
    model = classifier(ffc=True).train()
    (clips,) = videos(3)
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 2)]
    losses = model(**model.data_preprocessor(dict(inputs=clips, data_samples=samples), True), mode="loss")
    losses["loss"].backward()
    assert list(losses) == ["loss"] and model.backbone.conv1.weight.grad.abs().sum() > 0


@pytest.fixture
def flow_checkpoint(tmp_path):
    model = classifier(channels=2, mean=(127.5, 127.5))
    torch.manual_seed(3)
    for parameter in model.backbone.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "flow.pth")
    return tmp_path / "flow.pth", model


def mars(checkpoint):
    pretrained = dict(type="Pretrained", checkpoint=str(checkpoint), prefix="backbone")
    teacher = dict(BACKBONE, in_channels=2, init_cfg=pretrained)
    return dict(kind="MARSClassifier", mean=(110.0, 105.0, 100.0, 127.5, 127.5), teacher=teacher)


def test_mars_adds_50_times_the_squared_difference_to_the_teachers_features(flow_checkpoint):
    checkpoint, flow = flow_checkpoint
    model = classifier(**mars(checkpoint)).train()
    (clips,) = videos(2, channels=5)
    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    data = model.data_preprocessor(dict(inputs=clips, data_samples=samples), True)
    losses = model(**data, mode="loss")
    with torch.no_grad():
        wanted = flow.backbone(clips[:, 3:].float() - 127.5)[0].mean((2, 3, 4))
        own = model.backbone(data["inputs"][:, :3])[0].mean((2, 3, 4))
    torch.testing.assert_close(losses["loss_mars"], 50 * ((own - wanted) ** 2).mean(), rtol=1e-4, atol=1e-5)


def test_the_teacher_is_in_no_checkpoint_and_no_optimizer_and_moves_with_the_model(flow_checkpoint):
    model, plain = classifier(**mars(flow_checkpoint[0])), classifier()
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    model.double().train()
    assert model.teacher.conv1.weight.dtype == torch.float64 and not model.teacher.training


@torch.no_grad()
def test_a_mars_model_is_tested_on_rgb_without_its_teacher(flow_checkpoint):
    trained = classifier(**mars(flow_checkpoint[0]))
    flow_checkpoint[0].unlink()
    with pytest.raises(FileNotFoundError):
        classifier(**mars(flow_checkpoint[0]))  # a training is refused before its first iteration
    tested = MODELS.build(config(**mars(flow_checkpoint[0])))
    tested.load_state_dict(trained.state_dict())
    (clips,) = videos(2)
    for model in (trained, tested.eval()):
        data = model.data_preprocessor(dict(inputs=[clips], data_samples=None))
        found = model(**data, mode="predict")[0].pred_score
    torch.testing.assert_close(found, trained(**data, mode="predict")[0].pred_score)


def test_a_mars_model_without_a_trained_teacher_is_refused():
    with pytest.raises(ValueError, match=r"teacher\.init_cfg: expected dict"):
        classifier(kind="MARSClassifier", teacher=dict(BACKBONE, in_channels=2))


def test_a_teacher_of_another_network_is_refused_by_the_name_of_its_key(flow_checkpoint):
    options = mars(flow_checkpoint[0])
    options["teacher"]["in_channels"] = 3
    with pytest.raises(ValueError, match=r"model\.teacher\.init_cfg\.checkpoint: .*other shapes for 1 \(conv1\.weight"):
        classifier(**options)
