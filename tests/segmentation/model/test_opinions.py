"""Agreement and confidence of every pixel, through padding, flips, resizing, slide windows and augmentation."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("mmseg")

from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from small_segmentor import SIZE, SLIDE, K, N, build, config, images, samples

from ffc_dense import vote
from ffc_dense.method.reductions import reduced
from ffc_dense.segmentation import with_opinions
from ffc_dense.segmentation.evaluation.reductions import features_once
from ffc_dense.segmentation.model import opinions, upsampling
from ffc_dense.segmentation.model.decode_head import collecting_agreement
from ffc_dense.segmentation.model.opinions import label_probability
from ffc_dense.segmentation.model.upsampled_vote import vote_upsampled

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners
H, W = SIZE


def segmentor(*arguments, **options):
    return build(*arguments, wrap=with_opinions, **options)


@torch.no_grad()
def predict(model, inputs=None, data_samples=None):
    inputs = images() if inputs is None else inputs
    return model.predict(inputs, samples() if data_samples is None else data_samples)


@torch.no_grad()
def literal(model, inputs, size=SIZE):
    """Every output upsampled, then counted: agreement (N, 1, H, W) and the winners' softmax at their class."""
    head = model.decode_head
    maps = head.conv_seg.outputs(head._forward_feature(model.extract_feat(inputs)))
    m, n = maps.shape[:2]
    maps = F.interpolate(maps.flatten(0, 1), size, mode="bilinear", align_corners=True).unflatten(0, (m, n))
    winners, _ = vote(maps, 2)
    elected = winners.argmax(1)
    agreement = torch.zeros(n, *size)
    for output in maps:
        agreement += output.argmax(1) == elected
    return (agreement / m).unsqueeze(1), winners.softmax(1).amax(1, keepdim=True)


def stacked(found, name):
    return torch.stack([sample.get(name).data for sample in found])


# --- what the maps say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strip", [5000, 2**19], ids=["strips of rows", "one strip"])
def test_the_maps_are_those_of_a_literal_count(strip, monkeypatch):
    monkeypatch.setattr(upsampling, "STRIP_ELEMENTS", strip)
    model = segmentor()
    found = predict(model)
    agreement, confidence = literal(model, images())
    assert len(agreement.unique()) > 3
    torch.testing.assert_close(stacked(found, "agreement"), agreement)
    torch.testing.assert_close(stacked(found, "confidence"), confidence)
    assert found[0].agreement.num_outputs == 7
    assert found[0].agreement.shape == found[0].confidence.shape == found[0].pred_sem_seg.shape


@pytest.mark.parametrize("kind", ["EncoderDecoder", "CascadeEncoderDecoder"])
@pytest.mark.parametrize("mode", [None, SLIDE], ids=["whole", "slide"])
def test_labels_and_scores_stay_those_of_the_segmentor_that_was_not_asked(kind, mode):
    asked, stock = predict(segmentor(kind, mode=mode)), predict(build(kind, mode=mode))
    for one, other in zip(asked, stock, strict=True):
        assert torch.equal(one.seg_logits.data, other.seg_logits.data)
        assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)
        assert "confidence" not in other and "agreement" not in other
        assert 1 / 7 <= one.agreement.data.min() < one.agreement.data.max() <= 1


def test_weights_of_the_plain_segmentor_load_into_the_one_that_tells():
    plain = build()
    telling = MODELS.build(with_opinions(config()))
    assert telling.load_state_dict(plain.state_dict()).missing_keys == []


def test_without_the_request_nothing_is_counted():
    model = segmentor()
    model.opinions = False
    with collecting_agreement() as outer:
        assert "agreement" not in predict(model)[0]
    assert len(outer) == 1  # the switch is the segmentor's; whoever collects himself is served


@pytest.mark.parametrize("outputs", ["unanimous", "all different"])
def test_agreement_is_1_where_all_agree_and_one_share_where_none_do(outputs):
    maps = torch.zeros(4, 1, 5, 3, 3)
    for m in range(4):
        maps[m, :, 0 if outputs == "unanimous" else m] = 1.0 + m
    agreement = torch.empty(1, 1, 9, 9)
    vote_upsampled(maps, (9, 9), True, agreement)
    assert (agreement == (1 if outputs == "unanimous" else 0.25)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_counted_as_the_vote_takes_them(bad):
    maps = torch.randn(7, 1, 5, 6, 6)
    maps[2, 0, 1] = bad
    agreement = torch.empty(1, 1, 6, 6)
    vote_upsampled(maps, (6, 6), False, agreement)
    labels = torch.where(maps.isnan(), torch.inf, maps).argmax(2)  # a NaN is the largest
    most = torch.stack([(labels == k).sum(0) for k in range(5)]).amax(0)
    torch.testing.assert_close(agreement[:, 0], most / 7)


@pytest.mark.parametrize("head", ["PSPHead", "FFCPSPHead"])
@pytest.mark.parametrize("name", ["mean", "out3"])
def test_where_nothing_votes_there_is_confidence_alone(head, name):
    model = segmentor(head=head)
    if head == "FFCPSPHead":
        model.decode_head.test_reduce = name
    for sample in predict(model):
        assert "agreement" not in sample
        torch.testing.assert_close(sample.confidence.data, sample.seg_logits.data.softmax(0).amax(0, keepdim=True))


def test_the_reduction_before_leaves_no_agreement_behind():
    model, data_samples = segmentor(), samples()
    with features_once(model) as rewind:
        for name in ("vote", "mean"):
            rewind()
            with reduced(model, name):
                found = predict(model, data_samples=data_samples)
            assert ("agreement" in found[0]) == (name == "vote")
    torch.testing.assert_close(found[0].confidence.data, found[0].seg_logits.data.softmax(0).amax(0, keepdim=True))


def test_a_binary_segmentor_is_confident_of_the_label_that_it_gives():
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = segmentor(num_classes=2, out_channels=1, threshold=0.7, loss_decode=loss)
    found = predict(model)
    probability, label = stacked(found, "seg_logits"), stacked(found, "pred_sem_seg")
    assert 0 < label.mean() < 1
    torch.testing.assert_close(stacked(found, "confidence"), torch.where(label == 1, probability, 1 - probability))
    assert (stacked(found, "agreement") * 7).round().unique().tolist() == [4, 5, 6, 7]  # a majority of two choices


def test_feature_votes_are_counted_before_they_are_upsampled():
    model = segmentor(vote_at="feature")
    found = predict(model)
    small = tuple(size // 8 for size in SIZE)
    agreement, _ = literal(model, images(), small)
    expected = F.interpolate(agreement, SIZE, mode="bilinear", align_corners=True)
    torch.testing.assert_close(stacked(found, "agreement"), expected)


# --- the way of the scores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical"])
@pytest.mark.parametrize("ori_shape", [(H - 3, W - 5), (50, 61)], ids=["original size", "resized"])
def test_padding_flip_and_resize_act_on_the_maps(flip, ori_shape):
    model = segmentor()
    meta = dict(ori_shape=ori_shape, padding_size=[0, 5, 0, 3], flip=flip is not None, flip_direction=flip)
    found = predict(model, data_samples=samples(**meta))
    agreement = literal(model, images())[0][..., : H - 3, : W - 5]
    if flip:
        agreement = agreement.flip(3 if flip == "horizontal" else 2)
    expected = F.interpolate(agreement, ori_shape, mode="bilinear", align_corners=True)
    torch.testing.assert_close(stacked(found, "agreement"), expected)
    probabilities = stacked(found, "seg_logits").softmax(1)
    chosen = probabilities.gather(1, stacked(found, "pred_sem_seg"))
    torch.testing.assert_close(stacked(found, "confidence"), chosen)


def test_windows_average_their_agreement():
    model = segmentor(mode=SLIDE)
    inputs = images()
    left, right = (literal(model, inputs[..., x : x + 32], (32, 32))[0] for x in (0, 16))
    expected = torch.cat([left[..., :16], (left[..., 16:] + right[..., :16]) / 2, right[..., 16:]], 3)
    found = predict(model)
    torch.testing.assert_close(stacked(found, "agreement"), expected)
    torch.testing.assert_close(stacked(found, "confidence"), stacked(found, "seg_logits").softmax(1).amax(1, True))


def test_without_data_samples_the_maps_have_the_size_of_the_input():
    model = segmentor()
    with torch.no_grad():
        found = model.predict(images(), None)
    torch.testing.assert_close(stacked(found, "agreement"), literal(model, images())[0])


@torch.no_grad()
def augmented(kind, flips):
    model = segmentor()
    model.data_preprocessor = SegDataPreProcessor()
    image = images(1)[0]
    inputs = [[image.flip(2) if flip else image] for flip in flips]
    metas = [dict(flip=True, flip_direction=flip) if flip else {} for flip in flips]
    data_samples = [samples(1, img_path="0.png", **meta) for meta in metas]
    tta = MODELS.build(dict(type=kind, module=model)).eval()
    return model, tta.test_step(dict(inputs=inputs, data_samples=data_samples))[0]


def test_augmentation_averages_agreement_and_probability_of_the_merged_label():
    model, merged = augmented("FFCSegTTAModel", [None, "horizontal"])
    image = images(1)
    upright, flipped = predict(model, image, samples(1))[0], predict(model, image.flip(3), samples(1))[0]
    expected = (upright.agreement.data + flipped.agreement.data.flip(2)) / 2
    torch.testing.assert_close(merged.agreement.data, expected)
    probabilities = (upright.seg_logits.data.softmax(0) + flipped.seg_logits.data.softmax(0).flip(2)) / 2
    assert torch.equal(merged.pred_sem_seg.data[0], probabilities.argmax(0))
    torch.testing.assert_close(merged.confidence.data, probabilities.amax(0, keepdim=True))
    assert merged.agreement.num_outputs == 7


def test_augmentation_by_the_identity_changes_no_map():
    model, merged = augmented("FFCSegTTAModel", [None])
    (alone,) = predict(model, images(1), samples(1))
    for name in ("agreement", "confidence"):
        torch.testing.assert_close(merged.get(name).data, alone.get(name).data)


def test_other_segmentors_are_refused_by_name():
    with pytest.raises(ValueError, match=r"model\.type: 'SAN' gives no maps"):
        with_opinions(dict(type="SAN"))


# --- memory -----------------------------------------------------------------------------------------------------------


def test_the_probability_of_a_label_is_that_of_the_softmax_in_any_strip(monkeypatch):
    scores = torch.randn(19, 13, 17) * 5
    scores[:, 0, 0] = float("nan")
    scores[3, 0, 1] = float("inf")
    label = scores.nan_to_num().argmax(0, keepdim=True)
    expected = scores.double().softmax(0).gather(0, label).nan_to_num(0).float()
    for elements in (1, 500, 2**19):
        monkeypatch.setattr("ffc_dense.segmentation.model.opinions.STRIP_ELEMENTS", elements)
        torch.testing.assert_close(label_probability(scores, label), expected)
    assert expected[0, 0, :2].tolist() == [0, 0]


class Allocations(TorchDispatchMode):
    """The sizes in bytes of all memory that the operators inside return."""

    def __init__(self):
        super().__init__()
        self.bytes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                storage = tensor.untyped_storage()
                self.bytes[storage.data_ptr()] = max(storage.nbytes(), self.bytes.get(storage.data_ptr(), 0))
        return result


def test_the_maps_need_no_second_map_of_scores(monkeypatch):
    """Beyond what predict without them allocates, nothing has more than four numbers for a pixel."""
    for module in (upsampling, opinions):
        monkeypatch.setattr(module, "STRIP_ELEMENTS", 2**19)  # 2 MiB: less than that
    size, large = (256, 512), 19 * 256 * 512 * 4
    inputs, data_samples = images(1, size), samples(1, size)
    counts = {}
    for asked in (True, False):
        model = segmentor(num_classes=19, channels=32)
        model.opinions = asked
        with Allocations() as found:
            predict(model, inputs, data_samples)
        counts[asked] = sum(size >= large / 19 * 4.5 for size in found.bytes.values())
        assert max(found.bytes.values()) <= large
    assert counts[True] == counts[False] >= 1


def test_images_of_a_batch_keep_their_own_maps():
    model = segmentor()
    together = predict(model)
    for i in range(N):
        (alone,) = predict(model, images()[i : i + 1], samples(1))
        torch.testing.assert_close(together[i].agreement.data, alone.agreement.data)
        assert K > alone.pred_sem_seg.data.max()
