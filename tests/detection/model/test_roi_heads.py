"""The detectron2 adapter. R boxes, C features, K classes; tiny models from the shipped mini configs."""

import copy

import pytest
import torch
from torch import nn

pytest.importorskip("detectron2")

from detectron2.config import LazyCall, get_cfg, instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from small_detector import small_cfg

from ffc_dense import FFCLinear, vote
from ffc_dense.detection import EvalCheckpointer, FFCFastRCNNOutputLayers, add_ffc_config

HEADS = ["StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads"]
FILTER_KEYS = [f"cls_score.filters.{i}.{name}" for i in range(3) for name in ("weight", "bias")]


@pytest.fixture(autouse=True)
def event_storage():
    """detectron2's training code logs into one."""
    with EventStorage():
        yield


def seeded_model(cfg):
    torch.manual_seed(0)
    return build_model(cfg)


def sample(num_boxes=2, size=64):
    instances = Instances((size, size))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 30, 30], [20, 24, 60, 50]])[:num_boxes])
    instances.gt_classes = torch.tensor([3, 7])[:num_boxes]
    masks = torch.zeros(num_boxes, size, size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, instances.gt_boxes.tensor.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    instances.gt_masks = BitMasks(masks)
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(1)) * 255
    return {"image": image, "instances": instances, "height": size, "width": size}


def predictors(**options):
    """A stock predictor and its FFC twin with equal weights, C = 12, K = 4."""
    arguments = dict(box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=4)
    torch.manual_seed(0)
    stock = FastRCNNOutputLayers(ShapeSpec(channels=12), **arguments)
    nn.init.normal_(stock.cls_score.weight)  # the stock 0.01 makes all scores alike
    ffc = FFCFastRCNNOutputLayers(ShapeSpec(channels=12), **arguments, **options)
    ffc.load_state_dict(stock.state_dict(), strict=False)
    return stock, ffc


def proposals(num_boxes, with_truth=True):
    instances = Instances((64, 64))
    corners = torch.rand(num_boxes, 2) * 20
    instances.proposal_boxes = Boxes(torch.cat([corners, corners + 5 + torch.rand(num_boxes, 2) * 20], 1))
    instances.objectness_logits = torch.rand(num_boxes)
    if with_truth:
        instances.gt_boxes = instances.proposal_boxes.clone()
        instances.gt_classes = torch.arange(num_boxes) % 5
    return instances


def test_adding_the_config_twice_keeps_the_values():
    cfg = get_cfg()
    add_ffc_config(cfg)
    expected = {"NUM_FILTERS": 3, "INTERPOLATE": True, "TEST_REDUCE": "vote", "EPS": 1e-5}
    expected |= {"NORMALIZE_INPUT": False, "OPINIONS": False, "SCALARS_PERIOD": 100}
    assert dict(cfg.MODEL.ROI_BOX_HEAD.FFC) == expected
    cfg.MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS = 5
    add_ffc_config(cfg)
    assert cfg.MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS == 5


def test_a_config_without_ffc_keys_names_the_remedy():
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NAME = "FFCStandardROIHeads"
    with pytest.raises(KeyError, match=r"MODEL.ROI_BOX_HEAD.FFC.*add_ffc_config"):
        FFCFastRCNNOutputLayers(cfg, ShapeSpec(channels=4))


@pytest.mark.parametrize(("key", "value"), [("TEST_REDUCE", "median"), ("NUM_FILTERS", -1)])
def test_a_bad_option_is_an_error_before_training(key, value):
    cfg = small_cfg("FFCStandardROIHeads", f"MODEL.ROI_BOX_HEAD.FFC.{key}", value)
    with pytest.raises(ValueError, match=key.lower()):
        build_model(cfg)


@pytest.mark.parametrize("training", [True, False])
def test_zero_filters_equals_the_stock_predictor(training):
    stock, ffc = predictors(num_filters=0)
    x = torch.randn(9, 12)
    batch = [proposals(9)]
    for module in (stock, ffc):
        module.train(training)
    for ours, theirs in zip(ffc(x), stock(x), strict=True):
        assert torch.equal(ours, theirs)
    if training:
        ours, theirs = ffc.losses(ffc(x), batch), stock.losses(stock(x), batch)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    else:
        (ours,), (ours_kept,) = ffc.inference(ffc(x), batch)
        (theirs,), (theirs_kept,) = stock.inference(stock(x), batch)
        assert torch.equal(ours.scores, theirs.scores) and torch.equal(ours_kept, theirs_kept)


def test_scores_come_from_the_vote_and_deltas_from_the_raw_feature():
    stock, ffc = predictors()
    x = torch.randn(40, 12) * 2 + 1
    scores, deltas = ffc.eval()(x)
    assert scores.shape == (40, 5)
    assert torch.equal(deltas, stock(x)[1])
    outputs = ffc.cls_score.outputs(x)
    for box in range(40):
        ballots = outputs[:, box].argmax(-1).tolist()
        elected = scores[box].argmax().item()
        assert ballots.count(elected) == max(ballots.count(label) for label in ballots)
        assert any(torch.equal(scores[box], output) for output in outputs[:, box])
    assert not torch.equal(scores, outputs[0])


def test_box_features_with_height_and_width_are_flattened_as_in_the_stock_class():
    arguments = dict(box2box_transform=Box2BoxTransform((10, 10, 5, 5)), num_classes=4)
    ffc = FFCFastRCNNOutputLayers(ShapeSpec(channels=3, height=2, width=2), **arguments)
    assert ffc.cls_score.filters[0].normalized_shape == (12,)
    scores, deltas = ffc(torch.randn(5, 3, 2, 2))
    assert scores.shape == (5, 5) and deltas.shape == (5, 16)


def test_the_reduction_can_be_changed_on_a_trained_predictor():
    _, ffc = predictors()
    x = torch.randn(40, 12)
    ffc.eval().test_reduce = "mean"
    assert torch.allclose(ffc(x)[0], ffc.cls_score.outputs(x).mean(0), atol=1e-5)
    with pytest.raises(ValueError, match="'vote', 'mean'"):
        ffc.test_reduce = "median"


@pytest.mark.parametrize("reduce", ["vote", "mean"])
def test_no_proposals_give_gradients_to_every_parameter_and_no_detections(reduce):
    _, ffc = predictors(test_reduce=reduce)
    losses = ffc.losses(ffc(torch.zeros(0, 12)), [proposals(0)])
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in ffc.parameters())
    (detections,), _ = ffc.eval().inference(ffc(torch.zeros(0, 12)), [proposals(0, with_truth=False)])
    assert len(detections) == 0


def test_sigmoid_scores_are_voted_on_without_the_background():
    """detectron2 trains no background logit with USE_SIGMOID_CE; what it happens to be must not elect an output."""
    _, ffc = predictors(use_sigmoid_ce=True)
    x, batch = torch.randn(30, 12) + 1, [proposals(30)]
    assert ffc.losses(ffc(x), batch)["loss_cls"].isfinite()
    scores, deltas = ffc.eval()(x)
    _, winner = vote(ffc.cls_score.outputs(x)[..., :-1], -1)
    for box in range(30):
        assert torch.equal(scores[box], ffc.cls_score.outputs(x)[winner[box], box])
    assert torch.equal(deltas, ffc.bbox_pred(x))
    with torch.no_grad():
        ffc.cls_score.bias[-1] += 100
    changed, _ = ffc(x)
    assert torch.equal(changed[:, :-1], scores[:, :-1]) and not torch.equal(changed[:, -1], scores[:, -1])
    assert ffc(x[:0])[0].shape == (0, 5)


def test_lazy_config_needs_the_target_alone():
    lazy = LazyCall(FastRCNNOutputLayers)(
        input_shape=LazyCall(ShapeSpec)(channels=12),
        box2box_transform=LazyCall(Box2BoxTransform)(weights=(10, 10, 5, 5)),
        num_classes=4,
    )
    lazy["_target_"] = FFCFastRCNNOutputLayers
    layer = instantiate(lazy).cls_score
    assert isinstance(layer, FFCLinear) and layer.num_filters == 3 and layer.test_reduce == "vote"
    lazy.num_filters, lazy.test_reduce = 1, "mean"
    layer = instantiate(lazy).cls_score
    assert layer.num_filters == 1 and layer.test_reduce == "mean"


@pytest.mark.parametrize("name", ["mask_rcnn_fpn", "cascade_rcnn"])
def test_lazy_config_of_a_whole_model_changes_the_predictors_alone(name):
    from detectron2 import model_zoo

    model_cfg = model_zoo.get_config(f"common/models/{name}.py").model
    heads = model_cfg.roi_heads
    predictors = heads.box_predictors if "box_predictors" in heads else [heads.box_predictor]
    for predictor in predictors:
        predictor._target_ = FFCFastRCNNOutputLayers
    with torch.device("meta"):
        model = instantiate(model_cfg)
    layers = [module for module in model.modules() if isinstance(module, FFCLinear)]
    assert len(layers) == len(predictors) == (3 if name == "cascade_rcnn" else 1)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("mask", [False, True])
def test_the_same_seed_starts_with_the_stock_weights(heads, mask):
    stock = seeded_model(small_cfg(heads, mask=mask))
    state = torch.get_rng_state()
    ffc = seeded_model(small_cfg("FFC" + heads, mask=mask))
    assert torch.equal(state, torch.get_rng_state())
    theirs, ours = stock.state_dict(), ffc.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    added = set(ours) - set(theirs)
    stages = [f"box_predictor.{i}" for i in range(3)] if heads == "CascadeROIHeads" else ["box_predictor"]
    assert added == {f"roi_heads.{stage}.{key}" for stage in stages for key in FILTER_KEYS}


@pytest.mark.parametrize("heads", HEADS)
def test_a_stock_checkpoint_loads_with_only_the_filters_missing(heads):
    stock, ffc = build_model(small_cfg(heads)), build_model(small_cfg("FFC" + heads))
    result = ffc.load_state_dict(stock.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert result.missing_keys and all(".cls_score.filters." in key for key in result.missing_keys)


@pytest.mark.parametrize("heads", HEADS)
def test_zero_filters_equals_the_stock_model(heads):
    """Losses of a training step and detections, to the bit."""
    options = ("MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS", 0)
    stock, ffc = seeded_model(small_cfg(heads)), seeded_model(small_cfg("FFC" + heads, *options))
    results = []
    for model in (stock, ffc):
        torch.manual_seed(3)
        results.append(model([copy.deepcopy(sample())]))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])
    with torch.no_grad():
        theirs, ours = (model.eval()([sample()])[0]["instances"] for model in (stock, ffc))
    assert len(theirs) and torch.equal(theirs.scores, ours.scores)
    assert torch.equal(theirs.pred_boxes.tensor, ours.pred_boxes.tensor)


@pytest.mark.parametrize("heads", HEADS)
def test_masks_train_and_every_parameter_gets_a_gradient(heads):
    model = seeded_model(small_cfg("FFC" + heads, mask=True))
    losses = model([sample(), sample()])
    assert "loss_mask" in losses
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    with torch.no_grad():
        (result,) = model.eval()([sample()])
    assert result["instances"].has("pred_masks")


def test_an_image_without_objects_trains():
    model = seeded_model(small_cfg("FFCStandardROIHeads"))
    losses = model([sample(num_boxes=0)])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    grads = [p.grad for name, p in model.named_parameters() if "filters" in name]
    assert len(grads) == 6 and all(grad is not None and grad.isfinite().all() for grad in grads)


def test_autocast_keeps_losses_and_scores_finite():
    model = seeded_model(small_cfg("FFCStandardROIHeads"))
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([sample()])
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for name, p in model.named_parameters() if "filters" in name)
        with torch.no_grad():
            detections = model.eval()([sample()])[0]["instances"]
            scores, _ = model.roi_heads.box_predictor(torch.randn(50, 32))
    assert len(detections) > 0
    assert scores.isfinite().all()


def test_filters_get_the_weight_decay_of_norm_layers():
    from detectron2.solver import build_optimizer

    cfg = small_cfg("FFCStandardROIHeads", "SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.WEIGHT_DECAY_NORM", 0.25)
    model = build_model(cfg)
    groups = build_optimizer(cfg, model).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    layer = model.roi_heads.box_predictor.cls_score
    assert decay[id(layer.weight)] == 0.5
    assert all(decay[id(norm.weight)] == 0.25 for norm in layer.filters)


def test_evaluation_refuses_a_checkpoint_without_the_filters(tmp_path):
    stock, ffc = build_model(small_cfg("StandardROIHeads")), build_model(small_cfg("FFCStandardROIHeads"))
    torch.save({"model": stock.state_dict()}, tmp_path / "stock.pth")
    torch.save({"model": ffc.state_dict()}, tmp_path / "ffc.pth")
    with pytest.raises(RuntimeError, match=r"stock\.pth cannot be evaluated.*cls_score\.filters\.0\.weight"):
        EvalCheckpointer(ffc).load(str(tmp_path / "stock.pth"))
    EvalCheckpointer(ffc).load(str(tmp_path / "ffc.pth"))
    with pytest.raises(RuntimeError, match=r"MODEL\.WEIGHTS"):
        EvalCheckpointer(ffc).load("")


def test_evaluation_refuses_another_number_of_classes(tmp_path):
    torch.save({"model": build_model(small_cfg("FFCStandardROIHeads")).state_dict()}, tmp_path / "ten.pth")
    other = build_model(small_cfg("FFCStandardROIHeads", "MODEL.ROI_HEADS.NUM_CLASSES", 80))
    with pytest.raises(RuntimeError, match=r"cls_score\.weight"):
        EvalCheckpointer(other).load(str(tmp_path / "ten.pth"))
