"""What detectron2 tests of its own ROI heads and models, asked of FFC's, and of stock against FFC without filters.

N images, R boxes, C features, K classes. The situations are those of detectron2's ``tests/modeling``: images without
objects among images with, no proposals, features of infinity and NaN, autocast, losses of options; models and numbers
are our own. "Equal" is to the bit: losses, gradients of every parameter, detections and the random state.
"""

import copy

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from small_detector import small_cfg

from ffc_dense.detection import FFCFastRCNNOutputLayers

HEADS = ["StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads"]
BATCHES = {"objects": (2, 1), "half empty": (0, 2), "empty": (0, 0)}  # objects in each image
NO_PROPOSALS = ["MODEL.RPN.POST_NMS_TOPK_TRAIN", 0, "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT", False]
every_head = pytest.mark.parametrize("heads", HEADS)


@pytest.fixture(autouse=True)
def event_storage():
    """detectron2's training code logs into one."""
    with EventStorage():
        yield


def image(objects, height, width, seed=1):
    """An input of a detector with 0 to 2 objects and their masks."""
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 30, 30], [20, 24, 60, 50]])[:objects])
    instances.gt_classes = torch.tensor([3, 7])[:objects]
    masks = torch.zeros(objects, height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, instances.gt_boxes.tensor.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    instances.gt_masks = BitMasks(masks)
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 255
    return {"image": pixels, "instances": instances}


def batch(name):
    """Two images of different sizes."""
    first, second = BATCHES[name]
    return [image(first, 64, 80), image(second, 60, 79, seed=2)]


def model(heads, *options, mask=True):
    options = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.RPN.POST_NMS_TOPK_TEST", 20, *options]
    torch.manual_seed(0)
    return build_model(small_cfg(heads, *options, mask=mask))


def twins(heads, *options, mask=True):
    """The stock model and that of FFC without filters."""
    return [
        model(heads, *options, mask=mask),
        model(f"FFC{heads}", "MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS", 0, *options, mask=mask),
    ]


def step(detector, inputs):
    """Losses, gradients by parameter (None where there is none) and the random state after a training step."""
    torch.manual_seed(3)
    losses = detector.train()(copy.deepcopy(inputs))
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in detector.named_parameters()}, {"random": torch.get_rng_state()}


def fields_of(*instances):
    """Every field of every image's detections, by the image's number and the field's name."""
    return {f"{i}.{key}": getattr(value, "tensor", value)
            for i, one in enumerate(instances) for key, value in one.get_fields().items()}  # fmt: skip


@torch.no_grad()
def detections(detector, inputs):
    return fields_of(*(result["instances"] for result in detector.eval()(inputs)))


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert (ours[key] is value is None) or torch.equal(ours[key], value), key


def features_of(value, channels=16, size=(64, 80), n=1):
    """Maps p2 ... p6 filled with one value."""
    return {f"p{i}": torch.full((n, channels, size[0] >> i, size[1] >> i), value) for i in range(2, 7)}


def proposals(boxes, size=(64, 80)):
    instances = Instances(size)
    instances.proposal_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    instances.objectness_logits = torch.ones(len(boxes))
    return instances


# --- the predictor ----------------------------------------------------------------------------------------------------

OPTIONS = {
    "class-specific boxes": {},
    "agnostic boxes": dict(cls_agnostic_bbox_reg=True),
    "sigmoid": dict(use_sigmoid_ce=True),
    "giou": dict(box_reg_loss_type="giou"),
    "smooth l1, weighted": dict(smooth_l1_beta=0.5, loss_weight={"loss_box_reg": 3.0, "loss_cls": 0.5}),
}


def predictor(cls, options, **more):
    torch.manual_seed(0)
    arguments = dict(box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=4, **options, **more)
    layers = cls(ShapeSpec(channels=8), **arguments)
    with torch.no_grad():
        layers.cls_score.weight.mul_(50)  # the initial 0.01 makes all scores alike
    return layers


def matched(num_boxes):
    """Proposals in a 64 x 64 image with their ground truth; some are background."""
    generator = torch.Generator().manual_seed(4)
    corners, sizes = torch.rand(2, num_boxes, 2, generator=generator) * 20
    instances = proposals(torch.cat([corners, corners + 5 + sizes], 1).tolist(), (64, 64))
    instances.gt_boxes = Boxes(instances.proposal_boxes.tensor + torch.rand(num_boxes, 4, generator=generator))
    instances.gt_classes = torch.arange(num_boxes) % 5
    return instances


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_zero_filters_give_the_losses_gradients_and_detections_of_the_stock_predictor(options):
    stock, ffc = predictor(FastRCNNOutputLayers, options), predictor(FFCFastRCNNOutputLayers, options, num_filters=0)
    results = []
    for layers in (stock, ffc):
        x = torch.randn(12, 8, generator=torch.Generator().manual_seed(5)).requires_grad_()
        losses = layers.losses(layers(x), [matched(7), matched(5)])
        sum(losses.values()).backward()
        gradients = {name: p.grad for name, p in layers.named_parameters()}
        found, kept = layers.eval().inference(layers(x), [matched(7), matched(5)])
        kept = {f"{i}.kept": one for i, one in enumerate(kept)}
        results.append({**losses, **gradients, **fields_of(*found), **kept, "x": x.grad})
    assert len(results[0]["0.kept"]) > 0 and len(results[0]["1.kept"]) > 0
    assert_equal(results[1], results[0])


def test_the_classification_loss_is_the_cross_entropy_of_the_mean_output(literal, scramble):
    """Computed from the paper's formulas; the box loss is the stock one of the same deltas."""
    stock, ffc = predictor(FastRCNNOutputLayers, {}), scramble(predictor(FFCFastRCNNOutputLayers, {}))
    x, truth = torch.randn(12, 8), matched(12)
    losses = ffc.losses(ffc(x), [truth])
    with torch.no_grad():
        logits = literal.mean(ffc.cls_score, x)
    expected = -logits.log_softmax(1)[torch.arange(12), truth.gt_classes].mean()
    torch.testing.assert_close(losses["loss_cls"], expected)
    assert torch.equal(losses["loss_box_reg"], stock.losses(stock(x), [truth])["loss_box_reg"])


def empty_batch(cls, options):
    """Losses and gradients of a batch without images.

    With class-specific boxes detectron2's own ``losses`` cannot index an empty list of images.
    """
    layers = predictor(cls, options, cls_agnostic_bbox_reg=True)
    losses = layers.losses(layers(torch.zeros(0, 8)), [])
    assert all(loss.item() == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert layers.eval().inference(layers(torch.zeros(0, 8)), []) == ([], [])
    return {name: p.grad for name, p in layers.named_parameters()}


def test_a_batch_without_images_has_losses_of_zero_and_gradients():
    gradients = empty_batch(FFCFastRCNNOutputLayers, {})
    assert all(gradient is not None and not gradient.any() for gradient in gradients.values())


def test_detectron2s_sigmoid_loss_of_no_boxes_gives_the_classifier_no_gradient():
    """A constant 0 in detectron2: such a rank of DDP needs find_unused_parameters=True, stock or FFC."""
    for cls in (FastRCNNOutputLayers, FFCFastRCNNOutputLayers):
        gradients = empty_batch(cls, dict(use_sigmoid_ce=True))
        without = {name for name, gradient in gradients.items() if gradient is None}
        assert without == {name for name in gradients if name.startswith("cls_score")}


# --- whole models -----------------------------------------------------------------------------------------------------


@every_head
@pytest.mark.parametrize("name", BATCHES)
def test_zero_filters_train_and_detect_as_the_stock_model(heads, name):
    results = []
    for detector in twins(heads):
        inputs = batch(name)
        results.append((*step(detector, inputs), detections(detector, inputs)))
    assert "loss_mask" in results[0][0] and len(results[0][3]["0.scores"]) > 0
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert_equal(ours, theirs)


@every_head
def test_zero_filters_do_without_proposals_what_the_stock_model_does(heads):
    results = [step(detector, batch("objects")) for detector in twins(heads, *NO_PROPOSALS)]
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert_equal(ours, theirs)


@every_head
@pytest.mark.parametrize("name", [*BATCHES, "no proposals"])
def test_every_parameter_gets_a_finite_gradient_whatever_the_batch(heads, name):
    """DDP without find_unused_parameters waits for every one of them."""
    if name == "no proposals":
        losses, gradients, _ = step(model(f"FFC{heads}", *NO_PROPOSALS), batch("objects"))
    else:
        losses, gradients, _ = step(model(f"FFC{heads}"), batch(name))
    assert all(loss.isfinite() for loss in losses.values())
    for key, gradient in gradients.items():
        assert gradient is not None and gradient.isfinite().all(), key


@every_head
def test_an_image_has_the_same_detections_beside_one_without_proposals(heads):
    detector = model(f"FFC{heads}").eval()
    inputs = batch("objects")
    images = detector.preprocess_image(inputs)
    with torch.no_grad():
        features = detector.backbone(images.tensor)
        found, _ = detector.proposal_generator(images, features)
        both, _ = detector.roi_heads(images, features, copy.deepcopy(found))
        one, _ = detector.roi_heads(images, features, [found[0], found[1][:0]])
    assert len(both[1]) > 0 and len(one[0]) > 0 and len(one[1]) == 0
    torch.testing.assert_close(fields_of(one[0]), fields_of(both[0]))
    assert fields_of(one[1]).keys() == fields_of(both[1]).keys()


def detect_in_maps_of(detector, value):
    images = ImageList(torch.full((1, 3, 64, 80), value), [(64, 80)])
    boxes = proposals([[10.0, 10, 20, 20], [2.0, 5, 60, 40]])
    with torch.no_grad():
        (found,), _ = detector.eval().roi_heads(images, features_of(value), [boxes])
    return found


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_features_that_are_not_finite_give_no_detections(value):
    detector = model("FFCStandardROIHeads")
    assert len(detect_in_maps_of(detector, value)) == 0
    assert len(detect_in_maps_of(detector, 0.5)) > 0


def test_a_cascade_refuses_features_that_are_not_finite_as_detectron2_does():
    for heads in ("CascadeROIHeads", "FFCCascadeROIHeads"):
        with pytest.raises(AssertionError, match="Box tensor contains infinite or NaN"):
            detect_in_maps_of(model(heads), float("nan"))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_one_image_that_is_not_finite_leaves_the_other_as_it_is(value):
    detector = model("FFCStandardROIHeads").eval()
    boxes = proposals([[10.0, 10, 20, 20], [2.0, 5, 60, 40]])
    torch.manual_seed(1)
    good = {key: torch.randn_like(map_) for key, map_ in features_of(0.0).items()}
    both = {key: torch.cat([map_, torch.full_like(map_, value)]) for key, map_ in good.items()}
    with torch.no_grad():
        (alone,), _ = detector.roi_heads(ImageList(torch.zeros(1, 3, 64, 80), [(64, 80)]), good, [boxes])
        images = ImageList(torch.zeros(2, 3, 64, 80), [(64, 80)] * 2)
        (beside, bad), _ = detector.roi_heads(images, both, [boxes, copy.deepcopy(boxes)])
    assert len(alone) > 0 and len(bad) == 0
    torch.testing.assert_close(fields_of(beside), fields_of(alone))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_features_that_are_not_finite_show_in_the_training_loss(value):
    """As in the stock class; LayerNorm and ReLU must not turn them into a finite loss."""
    layers = predictor(FFCFastRCNNOutputLayers, {})
    x = torch.zeros(6, 8)
    x[2, 3] = value
    assert not layers.losses(layers(x), [matched(6)])["loss_cls"].isfinite()


def recorded_dtypes(module, into):
    return module.register_forward_hook(
        lambda _, inputs, outputs: into.append([*(x.dtype for x in inputs), *(y.dtype for y in outputs)])
    )


@pytest.mark.parametrize("heads", ["StandardROIHeads", "CascadeROIHeads"])
def test_under_autocast_the_types_are_those_of_the_stock_model(heads):
    """bf16 in and out of the predictor, boxes in fp32, whether there are filters or not."""
    found = []
    for detector in (*twins(heads), model(f"FFC{heads}")):
        predictors = detector.roi_heads.box_predictor
        last = predictors[-1] if heads == "CascadeROIHeads" else predictors
        dtypes = []
        with recorded_dtypes(last, dtypes), torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            (instances,) = detector.eval().inference(batch("objects")[:1], do_postprocess=False)
        assert len(instances) > 0
        fields = fields_of(instances)
        found.append((dtypes, {key: value.dtype for key, value in fields.items()}, fields))
    assert found[0][0] == [[torch.bfloat16] * 3] and found[0][1]["0.pred_boxes"] == torch.float32
    assert found[0][:2] == found[1][:2] == found[2][:2]
    assert_equal(found[1][2], found[0][2])
    assert all(value.isfinite().all() for value in found[2][2].values())


@pytest.mark.parametrize("name", ["half empty", "empty"])
def test_autocast_trains_on_any_batch_and_without_filters_as_the_stock_model(name):
    def under_autocast(detector):
        with torch.autocast("cpu", torch.bfloat16):
            return step(detector, batch(name))

    stock, ffc = (under_autocast(detector) for detector in twins("StandardROIHeads"))
    for ours, theirs in zip(ffc, stock, strict=True):
        assert_equal(ours, theirs)
    losses, gradients, _ = under_autocast(model("FFCStandardROIHeads"))
    assert all(loss.isfinite() for loss in losses.values())
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
