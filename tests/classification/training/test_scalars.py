"""Per-output scalars while a classifier trains: right, and without effect on the training."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("mmpretrain")

from literal_scalars import literal_scalars
from mmengine.registry import HOOKS, DefaultScope
from small_classifier import K, N, build, images, samples

from ffc_dense.classification import FFCScalarsHook


class Runner(SimpleNamespace):
    """What the hook asks of mmengine's Runner."""

    def __init__(self, model):
        super().__init__(model=model, iter=0, visualizer=self, written=[])

    def add_scalars(self, scalars, step):
        self.written.append((step, dict(scalars)))


def step(model, interval, labelled):
    """Losses, gradients and what was written in one step."""
    hook, runner = FFCScalarsHook(interval), Runner(model)
    model.zero_grad()
    hook.before_train_iter(runner, 0)
    losses = model.loss(images(), labelled)
    losses["loss"].backward()
    hook.after_train_iter(runner, 0)
    return losses, [parameter.grad.clone() for parameter in model.parameters()], runner.written


@pytest.mark.parametrize("mixed", [False, True], ids=["labels", "mixup"])
def test_the_numbers_are_those_of_the_batch_and_the_step_is_the_same(literal, mixed):
    model, labelled = build().train(), samples()
    labels = torch.cat([sample.gt_label for sample in labelled])
    if mixed:
        labels = labels.flip(0)
        for sample, label in zip(labelled, labels, strict=True):
            sample.set_gt_score(0.6 * torch.eye(K)[label] + 0.4 / K)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    feature = model.extract_feat(images())[-1].detach()
    model.load_state_dict(state)  # running statistics of the norms
    losses, gradients, nothing = step(model, 0, labelled)
    model.load_state_dict(state)
    with_hook, found, written = step(model, 1, labelled)
    assert nothing == [] and torch.equal(losses["loss"], with_hook["loss"])
    assert all(torch.equal(one, other) for one, other in zip(gradients, found, strict=True))
    expected = literal_scalars(literal, model.head.fc, feature, labels, torch.ones(N, dtype=torch.bool))
    assert written == [(1, pytest.approx({f"ffc/{name}": value for name, value in expected.items()}))]


def test_each_framework_s_scope_finds_its_own_hook():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        assert type(HOOKS.build(dict(type="FFCScalarsHook"))) is FFCScalarsHook
    pytest.importorskip("mmseg")
    import ffc_dense.segmentation

    with DefaultScope.overwrite_default_scope("mmseg"):
        assert type(HOOKS.build(dict(type="FFCScalarsHook"))) is ffc_dense.segmentation.FFCScalarsHook
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        assert type(HOOKS.build(dict(type="FFCScalarsHook"))) is FFCScalarsHook
