"""Grad-CAM of a segmentor's regions against gradients taken by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from small_segmentor import SLIDE, config, disagreeing

from ffc_dense.errors import UserError
from ffc_dense.segmentation import Segmentor
from ffc_dense.segmentation.inspection.gradcam import RegionExplainer

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners
PIPELINE = [dict(type="LoadImageFromFile"), dict(type="PackSegInputs")]
PREPROCESSOR = dict(bgr_to_rgb=True, mean=[120.0] * 3, std=[60.0] * 3)


def explainer_of(tmp_path, classes="abcde", **options):
    model = config(preprocessor=PREPROCESSOR, **options)
    torch.manual_seed(0)
    init_default_scope("mmseg")
    built = MODELS.build(model)
    if options.get("head", "FFC").startswith("FFC"):
        built = disagreeing(built)
    torch.save({"meta": {}, "state_dict": built.state_dict()}, tmp_path / "model.pth")
    metainfo = dict(classes=list(classes), palette=[[0, 0, 0]] * len(classes))
    data = dict(dataset=dict(type="BaseSegDataset", metainfo=metainfo, pipeline=PIPELINE))
    return RegionExplainer(Segmentor(Config(dict(model=model, test_dataloader=data)), tmp_path / "model.pth", "cpu"))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)


CASES = [
    dict(),
    dict(head="PSPHead"),
    dict(mode=SLIDE),
    dict(segmentor="CascadeEncoderDecoder"),
]


@pytest.mark.parametrize("options", CASES, ids=["ffc", "stock", "slide", "cascade"])
def test_the_maps_are_those_of_the_regions_mean_logit_at_the_backbones_last_stage(tmp_path, image, options):
    explainer = explainer_of(tmp_path, **options)
    model = explainer.segmentor.model
    pictures = explainer(image, None, "vote", 2)
    labels = explainer.segmentor(image).pred_sem_seg.data[0].numpy()
    counts = np.bincount(labels.ravel())
    assert np.array_equal(pictures[0].region, labels == counts.argmax())
    pixels = torch.from_numpy(((image[:, :, ::-1] - 120.0) / 60.0).astype(np.float32).transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        features = list(model.backbone(pixels))
    for picture in pictures:
        label = picture.outputs[0].target
        assert np.array_equal(picture.region, labels == label)
        leaf = features[3].clone().requires_grad_()
        maps = [*features[:3], leaf]
        if isinstance(model.decode_head, torch.nn.ModuleList):
            head = model.decode_head[-1]
            shared = head._transform_inputs(maps)
            x = head.bottleneck(shared)
            context = head.spatial_gather_module(x, model.decode_head[0](maps))
            x = head.object_context_block(x, context)
        else:
            head = model.decode_head
            x = head._forward_feature(maps)
        outputs = head.conv_seg.outputs(x) if "PSPHead" != options.get("head") else head.conv_seg(x)[None]
        region = torch.from_numpy(picture.region.astype(np.float32))[None]
        weights = F.adaptive_avg_pool2d(region, x.shape[2:])[0]
        assert len(picture.outputs) == (1 if len(outputs) == 1 else 4)
        for found in picture.outputs:
            logit = (outputs[found.output - 1, 0, label] * weights).sum() / weights.sum()
            (gradient,) = torch.autograd.grad(logit, leaf, retain_graph=True)
            small = (gradient.mean((2, 3), keepdim=True) * features[3]).sum(1, keepdim=True).clamp(min=0)
            expected = F.interpolate(small, image.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
            np.testing.assert_allclose(found.map, expected, rtol=1e-2, atol=1e-3 * expected.max() + 1e-12)


def test_a_pixel_is_explained_alone_and_a_wrong_one_is_named(tmp_path, image):
    explainer = explainer_of(tmp_path)
    (picture,) = explainer(image, [1, 3], pixel=(55, 39))
    assert picture.region[39, 55] and picture.region.sum() < 30
    assert [found.output for found in picture.outputs] == [1, 3]
    with pytest.raises(ValueError, match="--pixel 56,0: the image has 56 x 40 pixels"):
        explainer(image, pixel=(56, 0))


def test_a_wrong_pixel_or_output_is_an_error_of_the_input_to_commands(tmp_path, image):
    explainer = explainer_of(tmp_path)
    for choice, message in ({"pixel": (0, 40)}, "--pixel 0,40"), ({"outputs": [8]}, "--outputs 8"):
        with pytest.raises(UserError, match=message) as raised:
            explainer(image, **choice)
        assert raised.value.exit_code == 2


def test_an_output_that_is_not_there_is_named(tmp_path, image):
    with pytest.raises(ValueError, match="--outputs 2: the model has the outputs 1 to 1"):
        explainer_of(tmp_path, head="PSPHead")(image, [2])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("head", ["PSPHead", "FFCPSPHead"])
def test_the_single_logit_of_a_binary_head_is_explained_on_either_side(tmp_path, image, head, threshold):
    options = dict(num_classes=2, out_channels=1, threshold=threshold)
    explainer = explainer_of(tmp_path, "ab", head=head, **options)
    model, segmentor = explainer.segmentor.model, explainer.segmentor
    negative, positive = (explainer(image, [1], target, 1)[0].outputs[0] for target in (0, 1))
    pixels = torch.from_numpy(((image[:, :, ::-1] - 120.0) / 60.0).astype(np.float32).transpose(2, 0, 1).copy())[None]
    leaf = model.backbone(pixels)[3].detach().requires_grad_()
    layer = model.decode_head.conv_seg
    x = model.decode_head._forward_feature([leaf] * 4)
    logit = (layer.outputs(x)[0] if head.startswith("FFC") else layer(x))[0, 0]
    labels = segmentor(image).pred_sem_seg.data[0].numpy().astype(int)
    (picture,) = explainer(image, [1], limit=1)
    assert picture.region.mean() == pytest.approx(max((labels == 0).mean(), (labels == 1).mean()))
    region = torch.from_numpy(picture.region.astype(np.float32))[None]
    weights = F.adaptive_avg_pool2d(region, logit.shape)[0]
    own = (logit.sigmoid() > threshold).float()
    assert picture.outputs[0].label == int((own * weights).sum() > weights.sum() / 2)
    (gradient,) = torch.autograd.grad((logit * weights).sum() / weights.sum(), leaf)
    for found, sign in ((positive, 1), (negative, -1)):
        small = (sign * gradient.mean((2, 3), keepdim=True) * leaf.detach()).sum(1, keepdim=True).clamp(min=0)
        expected = F.interpolate(small, image.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
        np.testing.assert_allclose(found.map, expected, rtol=1e-2, atol=1e-3 * expected.max() + 1e-12)
    assert positive.map.any() or negative.map.any()
