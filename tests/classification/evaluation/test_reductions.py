"""All reductions in one pass are those of single runs to the bit; ensembles against the literal vote."""

import pytest
import torch

pytest.importorskip("mmpretrain")

from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from small_classifier import K, build, config, images, samples

from ffc_dense.classification import ClassifierEnsemble
from ffc_dense.classification.evaluation.reductions import features_once
from ffc_dense.method.reductions import reduced

ALL = ["vote", "mean", *(f"out{i}" for i in range(1, 8))]


def scores(model, inputs=None):
    inputs = images() if inputs is None else inputs
    with torch.no_grad():
        return torch.stack([sample.pred_score for sample in model(inputs, samples(len(inputs)), mode="predict")])


def ensemble(members, **options):
    model = ClassifierEnsemble(config(**options), len(members)).eval()
    for one, other in zip(model.members, members, strict=True):
        one.load_state_dict(other.state_dict())
    return model


@pytest.mark.parametrize("size", [1, 2])
def test_one_pass_gives_what_each_reduction_alone_gives(size):
    model = build() if size == 1 else ensemble([build(seed=seed) for seed in range(size)])
    backbones = [module.backbone for module in getattr(model, "members", [model])]
    expected = {}
    for name in ALL:
        with reduced(model, name):
            expected[name] = scores(model)
    calls = []
    handles = [backbone.register_forward_hook(lambda module, *_: calls.append(module)) for backbone in backbones]
    with features_once(model) as rewind:
        for name in ALL:
            rewind()
            with reduced(model, name):
                assert torch.equal(scores(model), expected[name]), name
    assert calls == backbones  # once each
    assert len({tuple(each.argmax(1).tolist()) for each in expected.values()}) > 2
    for handle in handles:
        handle.remove()
    with reduced(model, "vote"):
        assert not torch.equal(scores(model, images() * 2 + 1), expected["vote"])  # nothing stays behind


@pytest.mark.parametrize("name", ALL)
def test_an_ensemble_of_one_and_one_of_a_model_with_itself_are_the_model(name):
    member = build()
    with reduced(member, name):
        alone = scores(member)
    for size in (1, 2):
        model = ensemble([member] * size)
        with reduced(model, name):
            assert torch.equal(scores(model), alone), size


@torch.no_grad()
def test_the_outputs_of_all_members_vote_as_in_the_literal_vote(literal):
    members = [build(seed=seed) for seed in range(3)]
    inputs = images(20)
    joined = torch.cat([torch.stack(literal.outputs(m.head.fc, m.extract_feat(inputs)[-1])) for m in members])
    assert joined.shape == (21, 20, K)
    winners = [literal.winners(ballot, rounding=1e-5) for ballot in literal.samples(joined, 2)]
    found = scores(ensemble(members), inputs)
    for n, winner in enumerate(winners):
        assert any(torch.allclose(found[n], joined[m, n].softmax(0), atol=1e-4) for m in winner)
    alone = [scores(member, inputs).argmax(1) for member in members]
    assert all((found.argmax(1) != labels).any() for labels in alone)


@torch.no_grad()
def test_the_mean_is_that_of_all_outputs_and_an_output_that_of_the_members_own():
    members = [build(seed=seed) for seed in range(3)]
    outputs = torch.stack([member.head.outputs(member.extract_feat(images())) for member in members])
    model = ensemble(members)
    for name, expected in (("mean", outputs.mean((0, 1))), ("out4", outputs[:, 3].mean(0))):
        with reduced(model, name):
            torch.testing.assert_close(scores(model), expected.softmax(1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_stock_members_vote_with_one_output_each(literal):
    members = [build(seed=seed, head="LinearClsHead") for seed in range(3)]
    logits = torch.stack([member(images()) for member in members])
    model = ensemble(members, head="LinearClsHead")
    with reduced(model, "vote"):
        found = scores(model)
    for n, ballot in enumerate(literal.samples(logits, 2)):
        assert any(torch.allclose(found[n], logits[m, n].softmax(0), atol=1e-5) for m in literal.winners(ballot, 1e-5))
    with reduced(model, "mean"):
        torch.testing.assert_close(scores(model), logits.mean(0).softmax(1))


@pytest.mark.parametrize("kind", ["mmpretrain.LinearClsHead", "mmpretrain.models.LinearClsHead", LinearClsHead])
def test_a_head_is_joined_however_its_type_is_written(kind):
    member = dict(config(), type="mmpretrain.ImageClassifier")
    member["head"] = dict(type=kind, num_classes=K, in_channels=32)
    model = MODELS.build(dict(type="ClassifierEnsemble", member=member, size=2))
    assert len(model.outputs(images())) == 2


def test_what_cannot_be_joined_is_refused_by_name():
    with pytest.raises(ValueError, match=r"model\.head\.type: outputs of ConformerHead cannot be joined"):
        ClassifierEnsemble(dict(config(), head=dict(type="ConformerHead", num_classes=K, in_channels=[8, 8])), 2)
    with pytest.raises(ValueError, match="at least one member, got 0"):
        ClassifierEnsemble(config(), 0)
    with pytest.raises(ValueError, match=r"model\.type: TimmClassifier"):
        ClassifierEnsemble(dict(type="TimmClassifier", model_name="resnet18"), 2)
    model = MODELS.build(dict(type="ClassifierEnsemble", member=config(), size=2))
    with pytest.raises(TypeError, match="train its members one by one"):
        model(images(), samples(), mode="loss")
