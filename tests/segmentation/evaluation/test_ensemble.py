"""Segmentors that decide as one, against a literal vote over the outputs of all."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmseg.registry import MODELS
from numpy_reference import winners
from small_segmentor import SIZE, SLIDE, build, config, images, samples

from ffc_dense.method.reductions import choose_reductions, reduced
from ffc_dense.segmentation.evaluation.reductions import features_once
from ffc_dense.segmentation.model.decode_head import collecting_outputs

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners
KINDS = ("EncoderDecoder", "CascadeEncoderDecoder")
MODES = pytest.mark.parametrize("mode", [None, SLIDE], ids=["whole", "slide"])


def ensemble(members, *arguments, **options):
    """Of the weights of ``members``."""
    config_ = dict(type="SegmentorEnsemble", member=config(*arguments, **options), size=len(members), opinions=True)
    model = MODELS.build(config_)
    for own, member in zip(model.members, members, strict=True):
        own.load_state_dict(member.state_dict())
    return model.eval()


@torch.no_grad()
def scores(model, inputs=None):
    inputs = images() if inputs is None else inputs
    size = tuple(inputs.shape[2:])
    return model.inference(inputs, [sample.metainfo for sample in samples(len(inputs), size)])


@torch.no_grad()
def outputs(model, inputs, size=SIZE):
    """Every output of a model, upsampled: (M, N, K, H, W)."""
    head = model.decode_head
    maps = head.conv_seg.outputs(head._forward_feature(model.extract_feat(inputs)))
    large = F.interpolate(maps.flatten(0, 1), size, mode="bilinear", align_corners=True)
    return large.unflatten(0, maps.shape[:2])


def literal_vote(joined):
    """Log-probabilities (N, K, H, W) of the winners, pixel by pixel; (N, H, W) True where only one can be."""
    n, k, h, w = joined.shape[1:]
    per_pixel = joined.double().permute(1, 3, 4, 0, 2).flatten(0, 2)  # (pixels, M, K)
    electable = winners(per_pixel.numpy(), rounding=1e-6)
    first = torch.tensor([found[0] for found in electable])
    clear = torch.tensor([len(found) == 1 for found in electable])
    won = per_pixel[torch.arange(len(first)), first].log_softmax(1)
    return won.view(n, h, w, k).permute(0, 3, 1, 2).float(), clear.view(n, h, w)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vote_at", ["prediction", "feature"])
@pytest.mark.parametrize("name", ["vote", "mean", "out3"])
@MODES
def test_an_ensemble_of_one_and_one_of_a_model_with_itself_are_the_model(kind, vote_at, name, mode):
    member = build(kind, mode=mode, vote_at=vote_at)
    with reduced(member, name):
        alone = scores(member)
    for size in (1, 2):
        model = ensemble([member] * size, kind, mode=mode, vote_at=vote_at)
        with reduced(model, name):
            assert torch.equal(scores(model), alone), size


@MODES
def test_a_stock_ensemble_of_one_is_the_stock_model(mode):
    member = build(head="PSPHead", mode=mode)
    for size in (1, 2):
        model = ensemble([member] * size, head="PSPHead", mode=mode)
        with reduced(model, "mean"):
            assert torch.equal(scores(model), scores(member))
        with reduced(model, "vote"):
            assert torch.equal(scores(model).argmax(1), scores(member).argmax(1)) or mode is not None


def test_the_outputs_of_all_members_vote_as_in_the_literal_vote():
    members = [build(seed=seed) for seed in range(3)]
    inputs = images(1)
    joined = torch.cat([outputs(member, inputs) for member in members])
    assert len(joined) == 21
    expected, clear = literal_vote(joined)
    model = ensemble(members)
    with torch.no_grad():
        (found,) = model.predict(inputs, samples(1))
    passed_on = found.seg_logits.data[None]
    assert clear.float().mean() > 0.95
    assert ((passed_on - expected).abs().amax(1)[clear] < 1e-4).all()
    alone = [scores(member, inputs).argmax(1) for member in members]
    assert all((passed_on.argmax(1) != labels).any() for labels in alone)
    votes = (joined.argmax(2) == passed_on.argmax(1)).sum(0)
    torch.testing.assert_close(found.agreement.data, votes / 21)
    assert found.agreement.num_outputs == 21


def test_the_mean_is_that_of_all_outputs_of_all_members():
    members = [build(seed=seed) for seed in range(3)]
    inputs = images()
    joined = torch.cat([outputs(member, inputs) for member in members])
    model = ensemble(members)
    with reduced(model, "mean"):
        torch.testing.assert_close(scores(model), joined.mean(0), rtol=1e-4, atol=1e-4)


def test_stock_members_vote_with_one_output_each():
    """Two of three decide; the surest where all differ."""
    members = [build(head="PSPHead", seed=seed) for seed in range(3)]
    inputs = images() * 100  # the feature of a small input hardly varies from pixel to pixel
    maps = torch.stack([F.interpolate(scores(member, inputs), SIZE) for member in members])
    labels, sure = maps.argmax(2), maps.softmax(2).amax(2)
    votes = torch.stack([(labels == own).sum(0) for own in labels])
    winner = (votes.float() + sure).argmax(0)  # confidences are below 1
    expected = labels.gather(0, winner[None])[0]
    model = ensemble(members, head="PSPHead")
    assert choose_reductions(model) == ["vote"]
    assert torch.equal(scores(model, inputs).argmax(1), expected)
    assert (expected != maps.mean(0).argmax(1)).any()


def test_every_window_votes_alone_and_their_log_probabilities_are_averaged():
    members = [build(seed=seed, mode=SLIDE) for seed in range(2)]
    inputs = images()
    whole = ensemble(members)
    left, right = scores(whole, inputs[..., :32]), scores(whole, inputs[..., 16:])
    expected = torch.cat([left[..., :16], (left[..., 16:] + right[..., :16]) / 2, right[..., 16:]], 3)
    torch.testing.assert_close(scores(ensemble(members, mode=SLIDE), inputs), expected)


@MODES
def test_one_pass_serves_every_reduction_of_an_ensemble(mode):
    members = [build(seed=seed, mode=mode) for seed in range(2)]
    model = ensemble(members, mode=mode)
    expected = {}
    for name in ("vote", "mean"):
        with reduced(model, name):
            expected[name] = scores(model)
    calls = []
    for member in model.members:
        member.backbone.register_forward_hook(lambda module, *_: calls.append(module))
    with features_once(model) as rewind:
        for name in ("vote", "mean"):
            rewind()
            with reduced(model, name):
                assert torch.equal(scores(model), expected[name])
    assert len(calls) == (2 if mode is None else 4)


def test_members_hand_over_small_maps_and_upsample_none():
    model = ensemble([build(seed=seed) for seed in range(2)])
    with torch.no_grad(), collecting_outputs() as found:
        for member in model.members:
            member.encode_decode(images(), [dict(img_shape=SIZE)] * 2)
    assert [maps.shape for maps in found] == [(7, 2, 5, 4, 6)] * 2


def test_what_cannot_be_an_ensemble_is_refused():
    with pytest.raises(ValueError, match="at least one member"):
        MODELS.build(dict(type="SegmentorEnsemble", member=config(), size=0))
    other = config()
    other["decode_head"] = dict(type="SegmenterMaskTransformerHead")
    with pytest.raises(ValueError, match=r"model\.decode_head\.type: outputs of SegmenterMaskTransformerHead"):
        MODELS.build(dict(type="SegmentorEnsemble", member=other, size=2))
    model = ensemble([build()])
    with pytest.raises(TypeError, match="predicts only"):
        model.loss(images(), samples())
    with pytest.raises(TypeError, match="predicts only"):
        model(images())
