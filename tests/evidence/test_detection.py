"""A detection run of the evidence: same start as the stock detector, and scores as detectron2 itself gives them."""

import json
import math

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from repeated_run import end_with_weights, same

from evidence import detection_data, plan, score_detection, select_outputs, train_detection
from evidence.box_scores import RULES
from evidence.detection_model import VariantOutputLayers
from evidence.plan import Run
from evidence.selectors import CHOSEN, EVERY_SCORE
from evidence.variants import VariantLinear
from ffc_dense.method.reductions import reduced
from ffc_dense.minidata import make_mini_coco


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    make_mini_coco(folder / "data/mini_coco", num_train=4, num_val=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection_data, "HELD_OUT_IMAGES", 4)
        detection_data.register(folder)
        yield folder


def run_of(head, seed=1):
    return Run("detection", head, 8, seed)


def model_of(work, head):
    cfg = train_detection.config(work, run_of(head))
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = score_detection.SCORE_THRESHOLD
    torch.manual_seed(3)
    return cfg, train_detection.Trainer.build_model(cfg)


@pytest.mark.parametrize("head", ["ffc", "ffc_n5", "ffc_stage_bias", "ln", "stock_scale10"])
def test_every_head_starts_with_the_weights_of_the_stock_detector(work, head):
    _, stock = model_of(work, "stock")
    _, ours = model_of(work, head)
    state = ours.state_dict()
    for name, value in stock.state_dict().items():
        assert torch.equal(state.pop(name), value), name
    assert all(".filters." in name or ".stage_" in name for name in state)


def start_of(work, head, seed):
    """The weights that a run starts with and the images of its first batches."""
    trainer = train_detection.seeded_trainer(train_detection.config(work, run_of(head, seed)))
    batches = iter(trainer.data_loader)
    return trainer.model.state_dict(), [image["image_id"] for _ in range(4) for image in next(batches)]


def test_runs_of_one_seed_share_weights_and_order_of_the_images_and_those_of_another_seed_do_not(work):
    (stock, stock_images), (ffc, images) = start_of(work, "stock", 1), start_of(work, "ffc", 1)
    assert all(torch.equal(ffc[name], value) for name, value in stock.items()) and images == stock_images
    other, other_images = start_of(work, "stock", 2)
    name = "roi_heads.box_head.fc1.weight"
    assert not torch.equal(other[name], stock[name]) and other_images != stock_images


def test_a_run_made_twice_is_the_same_to_the_bit_and_another_seed_is_another_run(work, tmp_path, monkeypatch):
    runs = [run_of("ffc", seed) for seed in (1, 1, 2)]
    first, again, other = end_with_weights(train_detection, work, tmp_path, monkeypatch, runs)
    assert same(again, first) and not same(other, first)


def test_only_the_classifiers_initial_weights_differ_where_the_head_says_so(work):
    (_, stock), (_, ours) = model_of(work, "stock"), model_of(work, "stock_init10")
    for name, value in stock.state_dict().items():
        factor = 10 if name == "roi_heads.box_predictor.cls_score.weight" else 1
        assert torch.equal(ours.state_dict()[name], factor * value), name


def settings(work, head):
    """{parameter's name: (learning rate, weight decay)}"""
    cfg, model = model_of(work, head)
    optimizer = train_detection.Trainer.build_optimizer(cfg, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups
            for p in group["params"]}  # fmt: skip


def test_optimizers_differ_where_the_head_says_so_and_nowhere_else(work):
    stock, ffc = settings(work, "stock"), settings(work, "ffc")
    assert {name: ffc[name] for name in stock} == stock
    faster = settings(work, "stock_lr10")
    changed = {name for name in stock if faster[name] != stock[name]}
    assert changed == {f"roi_heads.box_predictor.cls_score.{part}" for part in ("weight", "bias")}
    assert all(math.isclose(faster[name][0], 10 * stock[name][0]) for name in changed)
    decayed = settings(work, "ffc_decay")
    changed = {name for name in ffc if decayed[name] != ffc[name]}
    assert changed == {name for name in ffc if ".filters." in name}
    assert {decayed[name][1] for name in changed} == {1e-4} and {ffc[name][1] for name in changed} == {0.0}


def disagreeing(model):
    torch.manual_seed(5)
    with torch.no_grad():
        predictor = model.roi_heads.box_predictor
        predictor.cls_score.weight.normal_(0, 0.3)
        predictor.bbox_pred.weight.normal_(0, 0.02)
        if isinstance(predictor.cls_score, VariantLinear):
            for norm in predictor.cls_score.filters:
                norm.bias.normal_()
    return model


@pytest.mark.parametrize("head", ["stock", "ffc", "ln", "ffc_four"])
def test_the_scores_of_the_dump_are_those_of_detectron2s_own_inference(work, head):
    cfg, model = model_of(work, head)
    parts = {"test": train_detection.dump(disagreeing(model), cfg, "evidence_test")}
    found = score_detection.score(parts, run_of(head))
    names = ("vote", "mean", "out1", "out3") if head.startswith("ffc") else ("out1",)
    for name in names:
        with reduced(model, name if head != "stock" else "stock"):
            loader = build_detection_test_loader(cfg, "evidence_test")
            truth = inference_on_dataset(model, loader, COCOEvaluator("evidence_test", ("bbox",), distributed=False))
        assert found[name] == {key: pytest.approx(truth["bbox"][key], nan_ok=True) for key in ("AP", "AP50", "AP75")}
    assert len({scores["AP"] for scores in found.values()}) > 1 or head in ("stock", "ln")


def test_a_loss_on_every_output_is_the_mean_of_their_cross_entropies(work):
    _, model = model_of(work, "ffc_every_output")
    predictor = disagreeing(model).roi_heads.box_predictor.train()
    assert isinstance(predictor, VariantOutputLayers)
    feature = torch.randn(6, predictor.cls_score.in_features).relu()
    labels = torch.tensor([0, 3, 10, 10, 2, 9])
    proposals = [proposal(labels[:2]), proposal(labels[2:])]
    with EventStorage():
        loss = predictor.losses(predictor(feature), proposals)["loss_cls"]
    outputs = predictor.cls_score.outputs(feature)
    expected = sum(-logits.log_softmax(-1)[range(6), labels].mean() for logits in outputs) / 7
    torch.testing.assert_close(loss, expected)


def proposal(labels):
    boxes = Boxes(torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(len(labels), 1))
    return Instances((20, 20), proposal_boxes=boxes, gt_boxes=boxes, gt_classes=labels)


def test_a_proposal_is_labelled_by_the_object_that_its_box_for_that_class_overlaps_most(work):
    image = DatasetCatalog.get("evidence_test")[0]
    annotation = image["annotations"][0]
    x, y, width, height = annotation["bbox"]
    label = annotation["category_id"]
    boxes = torch.zeros(3, 10, 4)
    boxes[0, label] = torch.tensor([x, y, x + width, y + height])
    boxes[1, label] = torch.tensor([x, y, x + 0.4 * width, y + height])  # overlaps by less than half
    boxes[2, (label + 1) % 10] = boxes[0, label]  # right place, another class's box
    part = [{"image_id": image["image_id"], "boxes": boxes.flatten(1)}]
    assert score_detection._labels(part, "evidence_test")[0].tolist() == [label, 10, 10]


def test_a_run_leaves_its_scores_a_learning_curve_and_no_checkpoint_and_selectors_add_theirs(work, monkeypatch):
    monkeypatch.setattr(plan, "SCHEDULES", {"detection": (2, 4, 8)})
    run = run_of("ffc")
    train_detection.main(work, run)
    out = work / run.name
    record = json.loads((out / "scores.json").read_text())
    assert set(record["scores"]) == {*score_detection.rules(7, every=True)} and set(record["curve"]) == set("12345678")
    assert not list(out.glob("model_*.pth"))
    select_outputs.main(work, run)
    added = set(json.loads((out / "scores.json").read_text())["scores"]) - set(record["scores"])
    fitted = {*select_outputs.SELECTORS, "oracle: the best stage"}
    assert added == {*fitted, CHOSEN, *(name + EVERY_SCORE for name in (*fitted, *RULES))}
