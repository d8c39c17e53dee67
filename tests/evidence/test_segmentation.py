"""A segmentation run of the evidence: same start as mmseg's own head, and scores as mmseg itself gives them."""

import json

import pytest
import torch

pytest.importorskip("mmseg")

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from repeated_run import end_with_weights, same

from evidence import plan, score_segmentation, select_outputs, train_segmentation
from evidence.plan import Run
from evidence.segmentation_model import VariantDecodeHead
from evidence.selectors import CHOSEN
from ffc_dense.minidata import make_mini_cityscapes

PARTS = {"heldout": [0, 1], "test": [2, 3, 4]}
CONTROLS = ("ln", "ln_relu")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    init_default_scope("mmseg")
    make_mini_cityscapes(folder / "data/mini_cityscapes", num_train=4, num_val=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_segmentation, "PARTS", PARTS)
        patch.setattr(plan, "SCHEDULES", dict.fromkeys(plan.SCHEDULES, (2, 4, 8)))
        yield folder


def run_of(head, task="pspnet"):
    return Run(task, head, 8, 1)


def model_of(work, run):
    cfg = train_segmentation.config(work, run)
    torch.manual_seed(3)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return cfg, model


@pytest.mark.parametrize("task", ["pspnet", "deeplabv3"])
@pytest.mark.parametrize("head", ["ffc", "ffc_n5", "ffc_before_dropout", *CONTROLS])
def test_every_head_starts_with_the_weights_of_mmsegs_own(work, task, head):
    _, stock = model_of(work, run_of("stock", task))
    _, ours = model_of(work, run_of(head, task))
    state = ours.state_dict()
    for name, value in stock.state_dict().items():
        assert torch.equal(state.pop(name), value), name
    assert state and all(".filters." in name for name in state)
    assert {value.unique().item() for value in state.values()} == {0.0, 1.0}


@pytest.mark.ci
def test_a_run_made_twice_is_the_same_to_the_bit_and_another_seed_is_another_run(work, tmp_path, monkeypatch):
    runs = [Run("pspnet", "ffc", 4, seed) for seed in (1, 1, 2)]
    first, again, other = end_with_weights(train_segmentation, work, tmp_path, monkeypatch, runs)
    assert same(again, first) and not same(other, first)


def disagreeing(model):
    torch.manual_seed(5)
    with torch.no_grad():
        layer = model.decode_head.conv_seg
        layer.weight.normal_()
        if isinstance(model.decode_head, VariantDecodeHead):
            for norm in layer.filters:
                norm.bias.normal_()
    return model.eval()


@pytest.mark.parametrize("head", ["stock", "ln", "ffc"])
def test_the_scores_of_the_dump_are_those_of_mmsegs_own_test(work, head):
    cfg, model = model_of(work, run_of(head))
    disagreeing(model)
    cfg.val_dataloader.dataset.indices = PARTS["test"]
    loader = Runner.build_dataloader(cfg.val_dataloader)
    found = score_segmentation.score({"test": train_segmentation.dump(model, loader)}, run_of(head))
    MMLogger.get_current_instance().setLevel("ERROR")
    for name in ("vote", "vote at feature size", "mean", "out3") if head == "ffc" else ("out1",):
        if head == "ffc":
            model.decode_head.vote_at = "feature" if "feature" in name else "prediction"
            model.decode_head.test_reduce = name.split()[0]
        metric = score_segmentation.metric()
        for batch in loader:
            for sample in model.test_step(batch):
                metric.process({}, [sample.to_dict()])
        assert found[name]["mIoU"] == pytest.approx(metric.compute_metrics(metric.results)["mIoU"], abs=0.02), name
    assert len({scores["mIoU"] for scores in found.values()}) > 1 or head != "ffc"


def losses(work, head, dropout):
    _, model = model_of(work, run_of(head))
    decode = disagreeing(model).decode_head.train()
    if not dropout:
        decode.dropout.p = 0.0
    feature = torch.randn(2, decode.channels, 4, 6)
    logits = decode.cls_seg(feature)
    return decode, feature, logits


def test_a_loss_on_every_output_is_the_mean_of_their_losses(work):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    decode, feature, logits = losses(work, "ffc_every_output", dropout=False)
    labels = torch.randint(19, (2, 16, 24))
    labels[0, :4] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label.unsqueeze(0))) for label in labels]
    loss = decode.loss_by_feat(logits, samples)["loss_ce"]
    expected = 0
    for output in decode.conv_seg.outputs(feature):
        large = torch.nn.functional.interpolate(output, size=(16, 24), mode="bilinear")
        chosen = -large.log_softmax(1).gather(1, labels.where(labels != 255, 0).unsqueeze(1)).squeeze(1)
        expected += (chosen * (labels != 255)).sum() / labels.numel() / 7  # mmseg divides by all pixels
    torch.testing.assert_close(loss, expected)


def test_filters_before_the_dropout_see_every_feature(work):
    decode, feature, logits = losses(work, "ffc_before_dropout", dropout=False)
    torch.testing.assert_close(logits, decode.conv_seg(feature))
    decode, feature, _ = losses(work, "ffc_before_dropout", dropout=True)
    decode.dropout.p = 1.0  # every channel of every stage is dropped: the bias is left
    bias = decode.conv_seg.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(decode.cls_seg(feature), bias.expand(2, -1, 4, 6))


def test_a_run_leaves_its_scores_a_learning_curve_and_no_checkpoint_and_selectors_add_theirs(work):
    run = run_of("ffc")
    train_segmentation.main(work, run)
    out = work / run.name
    record = json.loads((out / "scores.json").read_text())
    singles = {f"out{i}" for i in range(1, 8)}
    assert set(record["scores"]) == {"vote", "mean", "vote at feature size", *singles}
    assert set(record["curve"]) == set("12345678") and not list(out.glob("iter_*.pth"))
    select_outputs.main(work, run)
    added = set(json.loads((out / "scores.json").read_text())["scores"]) - set(record["scores"])
    assert added == {*select_outputs.SELECTORS, CHOSEN, "oracle: the best stage"}
