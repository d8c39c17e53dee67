"""Detectors that detect as one: against a literal reference, and against themselves (paper Table 7)."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("detectron2")

from small_detector import random_images, small_model

from ffc_dense.detection import AllReductions, DetectorEnsemble
from ffc_dense.detection.model.opinions import OPINION_FIELDS

BOTH = ["vote", "mean"]


def fields(outputs: list[dict]) -> list[dict[str, torch.Tensor]]:
    found = [output["instances"].get_fields() for output in outputs]
    return [{name: getattr(value, "tensor", value) for name, value in one.items()} for one in found]


def assert_same(found, expected, exactly=True):
    for name in found:
        for one, other in zip(fields(found[name]), fields(expected[name]), strict=True):
            assert one.keys() == other.keys() and len(one["scores"]) > 0
            for field, value in one.items():
                if exactly:
                    assert torch.equal(value, other[field]), (name, field)
                else:
                    torch.testing.assert_close(value, other[field])


@pytest.mark.parametrize(
    ("roi_heads", "mask", "opts", "copies"),
    [
        ("FFCStandardROIHeads", True, [], (1, 2)),
        ("FFCCascadeROIHeads", True, [], (1, 2)),
        ("FFCRes5ROIHeads", True, [], (1, 2)),
        ("FFCRes5Stride1ROIHeads", False, [], (2,)),
        ("FFCStandardROIHeads", False, ["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True], (3,)),
        ("FFCStandardROIHeads", False, ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True], (3,)),
    ],
)
def test_an_ensemble_of_copies_detects_what_the_model_detects(roi_heads, mask, opts, copies):
    model = small_model(roi_heads, *opts, mask=mask)
    expected = AllReductions(model, BOTH)(random_images())
    for number in copies:
        assert_same(DetectorEnsemble([model] * number)(random_images()), expected, exactly=number < 3)


def test_a_stock_model_in_an_ensemble_of_one_is_itself():
    model = small_model("StandardROIHeads")
    expected = AllReductions(model, ["stock"])(random_images())["stock"]
    assert_same(DetectorEnsemble([model])(random_images()), {"vote": expected, "mean": expected})


def test_the_order_of_the_members_does_not_matter():
    members = [small_model(seed=seed) for seed in (1, 2)]
    one, other = DetectorEnsemble(members)(random_images(1)), DetectorEnsemble(members[::-1])(random_images(1))
    assert_same(one, other, exactly=False)


def test_with_opinions_the_detections_stay_and_the_votes_are_those_of_all_outputs():
    members = [small_model(seed=1), small_model("StandardROIHeads", seed=2)]
    plain, found = (DetectorEnsemble(members, BOTH, opinions)(random_images()) for opinions in (False, True))
    for name in BOTH:
        for one, other in zip(fields(found[name]), fields(plain[name]), strict=True):
            assert one.keys() == {*other, *OPINION_FIELDS}
            assert all(torch.equal(value, one[field]) for field, value in other.items())
            assert set(one["num_outputs"].tolist()) == {8}  # seven and one
            assert one["winning_output"].max() <= 8 and one["vote_count"].max() <= 8


@pytest.mark.parametrize("kinds", [("FFCStandardROIHeads", "FFCStandardROIHeads"),
                                   ("FFCStandardROIHeads", "StandardROIHeads")])  # fmt: skip
def test_two_models_equal_the_literal_ensemble(literal, kinds):
    members = [small_model(kind, seed=seed) for seed, kind in enumerate(kinds, start=1)]
    inputs = [{"image": random_images(1)[0]["image"]}]  # answered at the size of the image
    found = DetectorEnsemble(members)(inputs)
    expected = LiteralEnsemble(members, literal).detect(inputs)
    for name in BOTH:
        (one,) = fields(found[name])
        assert len(one["scores"]) == len(expected[name]) > 20
        for i, (score, label, box) in enumerate(expected[name]):
            assert one["scores"][i].item() == pytest.approx(score, abs=1e-5)
            assert one["pred_classes"][i].item() == label
            assert one["pred_boxes"][i].tolist() == pytest.approx(box, abs=1e-2)
    assert [row[0] for row in expected["vote"]] != pytest.approx([row[0] for row in expected["mean"]], abs=1e-3)


class LiteralEnsemble:
    """One image through Standard ROI heads, box by box, in Python's own numbers from the box features on."""

    def __init__(self, members, literal):
        self.members, self.literal = members, literal

    @torch.no_grad()
    def detect(self, inputs) -> dict[str, list[tuple[float, int, list[float]]]]:
        """{reduction: (score, class, box) of every detection, the highest score first}"""
        views = []
        for member in self.members:
            images = member.preprocess_image(inputs)
            features = member.backbone(images.tensor)
            views.append(SimpleNamespace(heads=member.roi_heads, features=features,
                                         proposals=member.proposal_generator(images, features, None)[0]))  # fmt: skip
        candidates = {name: [] for name in BOTH}
        for proposals in [view.proposals for view in views]:
            of_members = [self.judge(view, proposals) for view in views]
            for i, proposal in enumerate(proposals[0].proposal_boxes.tensor.tolist()):
                outputs = [logits for logits, _ in of_members for logits in logits[i]]
                boxes = [decode(proposal, deltas[i]) for _, deltas in of_members]
                logits = {"vote": outputs[self.literal.winners(outputs)[0]],
                          "mean": [sum(column) / len(outputs) for column in zip(*outputs, strict=True)]}  # fmt: skip
                for name in BOTH:
                    exponentials = [math.exp(logit - max(logits[name])) for logit in logits[name]]
                    for label in range(10):
                        corners = [sum(box[label][side] for box in boxes) / len(boxes) for side in range(4)]
                        clipped = [min(max(corner, 0.0), 64.0) for corner in corners]
                        candidates[name].append((exponentials[label] / sum(exponentials), label, clipped))
        return {name: suppress(sorted(rows, key=lambda row: -row[0])) for name, rows in candidates.items()}

    def judge(self, view, proposals):
        """A member's logits [box][output][class] and deltas [box][4K] for somebody's proposals."""
        heads = view.heads
        levels = [view.features[name] for name in heads.box_in_features]
        x = heads.box_head(heads.box_pooler(levels, [proposals[0].proposal_boxes]))
        classifier = heads.box_predictor.cls_score
        ffc = hasattr(classifier, "filters")
        outputs = torch.stack(self.literal.outputs(classifier, x)) if ffc else classifier(x)[None]
        return self.literal.samples(outputs, -1), heads.box_predictor.bbox_pred(x).double().tolist()


def decode(proposal, deltas) -> list[list[float]]:
    """A box per class: detectron2's box2box transform with the weights 10, 10, 5, 5."""
    width, height = proposal[2] - proposal[0], proposal[3] - proposal[1]
    x, y = proposal[0] + width / 2, proposal[1] + height / 2
    found = []
    for first in range(0, len(deltas), 4):
        dx, dy, dw, dh = deltas[first : first + 4]
        middle, w = x + dx / 10 * width, math.exp(min(dw / 5, math.log(1000 / 16))) * width
        centre, h = y + dy / 10 * height, math.exp(min(dh / 5, math.log(1000 / 16))) * height
        found.append([middle - w / 2, centre - h / 2, middle + w / 2, centre + h / 2])
    return found


def suppress(rows):
    """NMS within each class at IoU 0.5, then at most 100."""
    kept = []
    for row in rows:
        if all(other[1] != row[1] or iou(other[2], row[2]) <= 0.5 for other in kept):
            kept.append(row)
    return kept[:100]


def iou(one, other) -> float:
    sides = [min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    if min(sides) <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def test_without_proposals_there_are_no_detections():
    none = ["MODEL.RPN.POST_NMS_TOPK_TEST", 0]
    members = [small_model("FFCStandardROIHeads", *none, seed=seed) for seed in (1, 2)]
    for outputs in DetectorEnsemble(members, opinions=True)(random_images()).values():
        assert [len(output["instances"]) for output in outputs] == [0, 0]
    members[1] = small_model(seed=2)  # the proposals of one member are enough
    found = DetectorEnsemble(members)(random_images())
    assert all(len(output["instances"]) > 0 for output in itertools.chain(*found.values()))


@pytest.mark.parametrize(
    ("roi_heads", "opts", "message"),
    [
        ("FFCStandardROIHeads", ["MODEL.ROI_HEADS.NUM_CLASSES", 9], "the number of classes: 10 and 9"),
        ("FFCCascadeROIHeads", [], "cascade stages: 1 and 3"),
        ("FFCStandardROIHeads", ["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True], "USE_SIGMOID_CE: False and True"),
        ("FFCStandardROIHeads", ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True], "CLS_AGNOSTIC_BBOX_REG"),
        ("FFCStandardROIHeads", ["INPUT.FORMAT", "RGB"], "INPUT.FORMAT: BGR and RGB"),
        ("FFCStandardROIHeads", ["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "detector 2 has no Standard, Cascade"),
        ("FFCStandardROIHeads", ["MODEL.LOAD_PROPOSALS", True, "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"],
         "detector 2: precomputed proposals"),
    ],
)  # fmt: skip
def test_members_that_do_not_fit_together_are_refused(roi_heads, opts, message):
    with pytest.raises(ValueError, match=message):
        DetectorEnsemble([small_model(), small_model(roi_heads, *opts)])


def test_no_member_and_single_outputs_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        DetectorEnsemble([])
    with pytest.raises(ValueError, match="vote, mean, got out1"):
        DetectorEnsemble([small_model()], ["vote", "out1"])
