"""What the outputs said of each detection: against a literal reference, and without changing any detection."""

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from small_detector import random_images, small_cfg, small_model

from ffc_dense.detection import AllReductions, FFCFastRCNNOutputLayers
from ffc_dense.detection.model.opinions import OPINION_FIELDS, VOTE_FIELDS, request_opinions

ON = ["MODEL.ROI_BOX_HEAD.FFC.OPINIONS", True]
K = 10


def predictor(*, channels=12, classes=K, **options) -> FFCFastRCNNOutputLayers:
    transform = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    options = {"opinions": True, "test_score_thresh": 0.0, **options}
    layer = FFCFastRCNNOutputLayers(
        ShapeSpec(channels=channels), box2box_transform=transform, num_classes=classes, **options
    )
    with torch.no_grad():
        layer.cls_score.weight.normal_()
        for norm in layer.cls_score.filters:
            norm.bias.normal_()
    return layer.eval()


def proposals(*counts) -> list[Instances]:
    found = []
    for count in counts:
        corners = torch.rand(count, 2) * 50
        found.append(Instances((100, 120), proposal_boxes=Boxes(torch.cat([corners, corners + 20], dim=1))))
    return found


def infer(layer, features, boxes):
    with torch.no_grad():
        return layer.inference(layer(features), boxes)


def rows_of(detections, features, layer) -> list[int]:
    """Of each detection, the box feature that it comes from: the one with its distribution."""
    probs = layer.predict_probs(layer(features), [Instances((1, 1), x=features)])[0]
    return [int((probs - wanted).abs().sum(1).argmin()) for wanted in detections.pred_class_probs]


@pytest.mark.parametrize("options", [{}, {"interpolate": False}, {"use_sigmoid_ce": True}, {"num_filters": 1}])
def test_opinions_equal_a_literal_election_of_each_box(literal, scramble, options):
    layer = scramble(predictor(**options))
    features = torch.randn(9, 12)
    (detections,), _ = infer(layer, features, proposals(9))
    assert len(detections) > 9  # several classes per box
    logits = torch.stack(literal.outputs(layer.cls_score, features))
    if options.get("use_sigmoid_ce"):
        logits = logits[..., :-1]
    elections = literal.samples(logits, -1)
    for i, row in enumerate(rows_of(detections, features, layer)):
        scores = elections[row]
        choices = [output.index(max(output)) for output in scores]
        winner = literal.winners(scores)[0]
        one = detections[i]
        assert one.winning_output.item() == winner + 1
        assert one.elected_class.item() == choices[winner]
        assert one.vote_count.item() == choices.count(choices[winner])
        assert one.class_votes.item() == choices.count(one.pred_classes.item())
        assert one.winning_confidence.item() == pytest.approx(
            torch.tensor(scores[winner], dtype=torch.float64).softmax(0).max().item(), abs=1e-5
        )
        assert one.num_outputs.item() == len(scores) == layer.cls_score.num_outputs
        assert one.scores.item() == one.pred_class_probs[0, one.pred_classes].item()


def test_class_votes_are_those_of_the_detections_own_class_not_of_the_elected_background():
    layer = predictor(channels=4, classes=2, num_filters=1)
    with torch.no_grad():
        layer.cls_score.weight.zero_()
        layer.cls_score.bias.copy_(torch.tensor([1.0, 0.0, 3.0]))  # every output chooses the background, class 2
    (detections,), _ = infer(layer, torch.randn(1, 4), proposals(1))
    assert detections.pred_classes.tolist() == [0, 1]
    assert detections.elected_class.tolist() == [2, 2] and detections.vote_count.tolist() == [3, 3]
    assert detections.class_votes.tolist() == [0, 0]


@pytest.mark.parametrize(("bias", "elected", "own"), [(2.0, 0, 3), (-2.0, 1, 0)])
def test_with_sigmoid_and_one_class_the_sign_is_the_vote(bias, elected, own):
    layer = predictor(channels=4, classes=1, num_filters=1, use_sigmoid_ce=True)
    with torch.no_grad():
        layer.cls_score.weight.zero_()
        layer.cls_score.bias.copy_(torch.tensor([bias, 50.0]))  # the background's logit takes no part
    (detections,), _ = infer(layer, torch.randn(1, 4), proposals(1))
    assert detections.elected_class.tolist() == [elected] and detections.vote_count.tolist() == [3]
    assert detections.class_votes.tolist() == [own]
    assert detections.winning_confidence.item() == pytest.approx(torch.tensor(2.0).sigmoid().item())


@pytest.mark.parametrize("reduction", ["vote", "mean", "out3"])
def test_opinions_follow_their_box_when_others_are_not_finite(scramble, reduction):
    layer = scramble(predictor(test_reduce=reduction, test_nms_thresh=1.0, test_topk_per_image=-1))
    features, boxes = torch.randn(6, 12), proposals(6)
    (whole,), (kept,) = infer(layer, features, boxes)
    boxes[0].proposal_boxes.tensor[[0, 3]] = float("nan")
    (found,), _ = infer(layer, features, boxes)
    alive = whole[(kept != 0) & (kept != 3)]
    assert len(found) == len(alive) == 4 * K
    for name in ("scores", "pred_classes", *OPINION_FIELDS):
        assert torch.equal(found.get(name), alive.get(name)), name


def test_opinions_of_a_second_image_are_its_own(scramble):
    layer = scramble(predictor())
    features, boxes = torch.randn(8, 12), proposals(5, 3)
    both, _ = infer(layer, features, boxes)
    for found, own, part in zip(both, boxes, features.split([5, 3]), strict=True):
        (alone,), _ = infer(layer, part, [own])
        for name in OPINION_FIELDS:
            torch.testing.assert_close(found.get(name), alone.get(name))


@pytest.mark.parametrize("counts", [(0,), (0, 3), (3, 0), ()])
def test_images_without_boxes_have_opinions_of_length_zero(counts):
    layer = predictor()
    found, _ = infer(layer, torch.randn(sum(counts), 12), proposals(*counts))
    assert len(found) == len(counts)
    for detections, count in zip(found, counts, strict=True):
        assert (len(detections) > 0) == (count > 0)
        assert detections.pred_class_probs.shape == (len(detections), K + 1)
        assert all(detections.get(name).shape == (len(detections),) for name in VOTE_FIELDS)


def test_huge_logits_keep_finite_opinions():
    layer = predictor(channels=4, classes=3)
    (detections,), _ = infer(layer, torch.randn(5, 4) * 1e30, proposals(5))
    assert torch.isfinite(detections.winning_confidence).all() and torch.isfinite(detections.pred_class_probs).all()
    assert ((detections.vote_count >= 1) & (detections.vote_count <= 7)).all()


@pytest.mark.parametrize(
    ("roi_heads", "mask"),
    [("FFCStandardROIHeads", True), ("FFCCascadeROIHeads", True), ("FFCRes5ROIHeads", True),
     ("FFCRes5Stride1ROIHeads", False)],
)  # fmt: skip
def test_detections_are_the_same_with_and_without_opinions(roi_heads, mask):
    model = small_model(roi_heads, *ON, mask=mask)
    predictors = [module for module in model.modules() if isinstance(module, FFCFastRCNNOutputLayers)]
    for reductions in (["vote", "mean"], ["out5"]):
        with_opinions = AllReductions(model, reductions)(random_images())
        for one in predictors:
            one.opinions = False
        plain = AllReductions(model, reductions)(random_images())
        for one in predictors:
            one.opinions = True
        for name in reductions:
            for found, expected in zip(with_opinions[name], plain[name], strict=True):
                found, expected = found["instances"], expected["instances"]
                assert len(found) == len(expected) > 0 and found.image_size == (50, 60)
                assert set(found.get_fields()) == {*expected.get_fields(), *OPINION_FIELDS}
                for field, value in expected.get_fields().items():
                    assert torch.equal(getattr(found.get(field), "tensor", found.get(field)),
                                       getattr(value, "tensor", value)), field  # fmt: skip
                at_class = found.pred_class_probs.gather(1, found.pred_classes[:, None])[:, 0]
                assert torch.equal(at_class, found.scores)
                torch.testing.assert_close(found.pred_class_probs.sum(1), torch.ones(len(found)))


def test_a_cascade_reports_the_votes_of_its_last_stage(literal):
    model = small_model("FFCCascadeROIHeads", *ON)
    heads, seen = model.roi_heads, []
    handle = heads.box_predictor[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        (output,) = model(random_images(1))
    handle.remove()
    elections = literal.samples(torch.stack(literal.outputs(heads.box_predictor[2].cls_score, seen[0])), -1)
    possible = set()
    for scores in elections:
        choices = [row.index(max(row)) for row in scores]
        winner = literal.winners(scores)[0]
        possible.add((choices[winner], choices.count(choices[winner]), winner + 1))
    found = output["instances"]
    triples = zip(found.elected_class.tolist(), found.vote_count.tolist(), found.winning_output.tolist(), strict=True)
    assert set(triples) <= possible and len(found) > 0


def test_a_stock_model_gives_its_class_distribution_and_the_same_detections():
    for name in ("StandardROIHeads", "CascadeROIHeads"):
        cfg = small_cfg(name)
        request_opinions(cfg)
        stock = small_model(name)
        opts = ["MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS", cfg.MODEL.ROI_BOX_HEAD.FFC.NUM_FILTERS, *ON]
        twin = small_model(cfg.MODEL.ROI_HEADS.NAME, *opts)
        twin.load_state_dict(stock.state_dict())
        with torch.no_grad():
            expected, found = stock(random_images(1))[0]["instances"], twin(random_images(1))[0]["instances"]
        assert set(found.get_fields()) == {*expected.get_fields(), "pred_class_probs"}
        assert torch.equal(found.scores, expected.scores) and len(found) > 0
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)


def test_roi_heads_without_opinions_are_named():
    cfg = small_cfg("StandardROIHeads")
    cfg.MODEL.ROI_HEADS.NAME = "RROIHeads"
    with pytest.raises(ValueError, match=r"MODEL\.ROI_HEADS\.NAME RROIHeads: votes are reported by StandardROIHeads"):
        request_opinions(cfg)


def test_opinions_are_off_unless_asked_for_and_training_never_gives_them():
    assert small_cfg("FFCStandardROIHeads").MODEL.ROI_BOX_HEAD.FFC.OPINIONS is False
    assert isinstance(small_cfg("FFCStandardROIHeads").MODEL.ROI_BOX_HEAD.FFC, CfgNode)
    layer = predictor(opinions=False)
    (detections,), _ = infer(layer, torch.randn(2, 12), proposals(2))
    assert set(detections.get_fields()) == {"pred_boxes", "scores", "pred_classes"}
    assert type(predictor().train()(torch.randn(2, 12))) is tuple
