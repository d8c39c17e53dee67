"""A classification run of the evidence: same start as mmpretrain's own head, and scores as mmpretrain gives them."""

import json

import pytest
import torch

pytest.importorskip("mmpretrain")

from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy
from mmpretrain.registry import MODELS
from repeated_run import end_with_weights, same

from evidence import plan, select_outputs, train_classification
from evidence.plan import MAIN, RATES, Run, with_rate
from evidence.score_classification import score
from evidence.selectors import CHOSEN, HELD_OUT
from ffc_dense.method.reductions import reduced
from ffc_dense.minidata import make_mini_imagenet

NEW = ("ln", "ln_relu", "ffc", "ffc_four")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    init_default_scope("mmpretrain")
    make_mini_imagenet(folder / "data/mini_imagenet", num_train=4, num_val=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SCHEDULES", dict.fromkeys(plan.SCHEDULES, (2, 8)))
        yield folder


def run_of(head, iterations=8, seed=1):
    return Run("classification", head, iterations, seed)


def model_of(work, head):
    cfg = train_classification.config(work, run_of(head))
    torch.manual_seed(3)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return cfg, model


@pytest.mark.parametrize("head", NEW)
def test_every_head_starts_with_the_weights_of_mmpretrains_own(work, head):
    (_, stock), (_, ours) = model_of(work, "stock"), model_of(work, head)
    state = ours.state_dict()
    for name, value in stock.state_dict().items():
        assert torch.equal(state.pop(name), value), name
    assert state and all(name.startswith("head.fc.filters.") for name in state)
    assert {value.unique().item() for value in state.values()} == {0.0, 1.0}


@pytest.mark.ci
def test_a_run_made_twice_is_the_same_to_the_bit_and_another_seed_is_another_run(work, tmp_path, monkeypatch):
    runs = [run_of("ffc", 2, seed) for seed in (1, 1, 2)]
    first, again, other = end_with_weights(train_classification, work, tmp_path, monkeypatch, runs)
    assert same(again, first) and not same(other, first)


def rates(work, head):
    cfg, model = model_of(work, head)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("head", MAIN)
@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != 1])
def test_a_rate_of_the_search_is_that_of_the_classifier_and_of_nothing_else(work, head, rate):
    plain, changed = rates(work, head), rates(work, with_rate(head, rate))
    for name, value in plain.items():
        factor = rate if name in ("head.fc.weight", "head.fc.bias") else 1
        assert changed[name] == pytest.approx(factor * value), name


def test_held_out_and_test_images_are_apart_and_have_every_class_alike(work):
    root = str(work / "data/mini_imagenet")
    parts = [train_classification.part(root, name) for name in ("heldout", "test")]
    assert sorted(index for indices in parts for index in indices) == list(range(30))
    for indices, count in zip(parts, (1, 2), strict=True):
        assert [index // 3 for index in indices] == [k for k in range(10) for _ in range(count)]


@torch.no_grad()
def disagreeing(model):
    torch.manual_seed(5)
    model.head.fc.weight.normal_()
    for norm in getattr(model.head.fc, "filters", ()):
        norm.bias.normal_()
    return model.eval()


@pytest.mark.parametrize("head", ["stock", "ln", "ffc", "ffc_four"])
def test_the_scores_of_the_dump_are_those_of_mmpretrains_own_test(work, head):
    cfg, model = model_of(work, head)
    disagreeing(model)
    root = cfg.val_dataloader.dataset.data_root
    parts, loaders = {}, {}
    for name in ("test", "heldout"):
        cfg.val_dataloader.dataset.indices = train_classification.part(root, name)
        loaders[name] = Runner.build_dataloader(cfg.val_dataloader)
        parts[name] = train_classification.dump(model, loaders[name])
    found = score(parts, run_of(head))

    def own(name, loader):
        metric = Accuracy(topk=1)
        with reduced(model, name):
            for batch in loader:
                metric.process({}, [sample.to_dict() for sample in model.test_step(batch)])
        return metric.compute_metrics(metric.results)["top1"]

    several = head.startswith("ffc")
    for name in ("vote", "mean", "out1", "out3") if several else ("out1",):
        assert found[name]["Top-1"] == pytest.approx(own(name if head != "stock" else "stock", loaders["test"])), name
    default = "vote" if several else "out1" if head != "stock" else "stock"
    assert found[HELD_OUT]["Top-1"] == pytest.approx(own(default, loaders["heldout"]))
    assert len({scores["Top-1"] for name, scores in found.items() if name != HELD_OUT}) > 1 or not several


def test_a_run_leaves_its_scores_a_learning_curve_and_no_checkpoint_and_selectors_add_theirs(work):
    run = run_of("ffc")
    train_classification.main(work, run)
    out = work / run.name
    record = json.loads((out / "scores.json").read_text())
    assert {"vote", "mean", HELD_OUT, *(f"out{i}" for i in range(1, 8))} < set(record["scores"])
    assert set(record["curve"]) == set("12345678") and not list(out.glob("*.pth"))
    select_outputs.main(work, run)
    added = set(json.loads((out / "scores.json").read_text())["scores"]) - set(record["scores"])
    assert added == {*select_outputs.SELECTORS, CHOSEN, "oracle: the best stage"}
