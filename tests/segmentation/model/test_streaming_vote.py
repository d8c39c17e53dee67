"""The vote at the size of the prediction, strip by strip, against upsampling everything and voting then."""

import pytest
import torch
import torch.nn.functional as F
from numpy_reference import samples, winners
from torch.utils._python_dispatch import TorchDispatchMode

from ffc_dense import vote
from ffc_dense.method.voting import elect, first_maximum, replace_infinite
from ffc_dense.segmentation.model import upsampling
from ffc_dense.segmentation.model.upsampling import bilinear_strips

pytest.importorskip("mmseg")

from mmseg.models.decode_heads import PSPHead
from mmseg.registry import MODELS

from ffc_dense.segmentation import FFCDecodeHead
from ffc_dense.segmentation.model.upsampled_vote import comparable, vote_upsampled

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about align_corners
either_corners = pytest.mark.parametrize("align_corners", [True, False])
SIZES = [  # (h, w) -> (H, W)
    ((17, 33), (129, 257)),
    ((16, 16), (128, 200)),
    ((13, 7), (100, 61)),
    ((40, 50), (13, 11)),
    ((30, 20), (30, 90)),
    ((9, 11), (9, 11)),
    ((1, 1), (6, 9)),
    ((5, 6), (1, 1)),
]


@pytest.fixture
def thin_strips(monkeypatch):
    """Strips of one row, as for an image that is much larger than those of the tests."""
    monkeypatch.setattr(upsampling, "STRIP_ELEMENTS", 1)


def upsampled(outputs, size, align_corners):
    maps = F.interpolate(outputs.flatten(0, -4), size, mode="bilinear", align_corners=align_corners)
    return maps.view(*outputs.shape[:-2], *size)


def literal_prediction(outputs, size, align_corners):
    return comparable(vote(upsampled(outputs, size, align_corners), -3)[0])


def realistic(m=7, n=1, k=19, size=(33, 65), scale=4.0):
    """Smooth maps with regions, outputs that agree mostly, interpolated ones between the stages."""
    regions = upsampled(torch.randn(1, n, k, 6, 9) * scale, size, True)
    stages = regions + torch.randn((m + 1) // 2, n, k, *size) * 0.7
    between = (stages[:-1] + stages[1:]) / 2
    return torch.stack([stages[i // 2] if i % 2 == 0 else between[i // 2] for i in range(m)])


# --- upsampling -------------------------------------------------------------------------------------------------------


def joined(maps, size, align_corners, rows):
    found = list(bilinear_strips(maps, size, align_corners, rows * maps.shape[:-2].numel() * size[1]))
    covered = [y for strip_rows, _ in found for y in range(strip_rows.start, strip_rows.stop)]
    assert covered == list(range(size[0]))
    assert all(strip.shape[-2] <= rows for _, strip in found)
    return torch.cat([strip for _, strip in found], -2)


@pytest.mark.parametrize("rows", [1, 3, 1000])
@pytest.mark.parametrize(("source", "target"), SIZES)
@either_corners
def test_strips_are_the_rows_of_the_stock_interpolation(source, target, align_corners, rows):
    for dtype, tolerance in ((torch.float32, 3e-6), (torch.float64, 1e-12)):
        maps = torch.randn(2, 3, 4, *source, dtype=dtype)
        expected = upsampled(maps, target, align_corners)
        found = joined(maps, target, align_corners, rows)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * maps.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 19])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("source", "target"), [((17, 33), (129, 257)), ((20, 20), (60, 60)), ((60, 90), (33, 100))])
@either_corners
def test_strips_round_half_precision_as_the_stock_interpolation(
    dtype, channels, channels_last, source, target, align_corners
):
    """torch rounds the weights in some of its kernels; with the other weights a third of the numbers would differ."""
    maps = torch.randn(2, channels, *source).to(dtype)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    expected = F.interpolate(maps, target, mode="bilinear", align_corners=align_corners)
    assert (joined(maps, target, align_corners, 2) != expected).double().mean() < 0.01


@either_corners
def test_a_wide_strip_is_the_stock_interpolation_to_the_bit(align_corners):
    maps = torch.randn(3, 19, 20, 30)
    found = joined(maps, (50, 70), align_corners, 50)
    assert torch.equal(found, F.interpolate(maps, (50, 70), mode="bilinear", align_corners=align_corners))


# --- the election -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 19, 127, 128, 300])
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_first_maximum_is_that_of_torch_with_ties_and_without_finite_values(size, dim, dtype):
    inf, nan = float("inf"), float("nan")
    choice = torch.tensor([0.0, 1.0, -1.0, 1e-45, -1e-45, 3e38, -3e38, nan, inf, -inf], dtype=dtype)
    shape = [6, 11, 13]
    shape[dim] = size
    frequent = torch.tensor([8.0, 3.0, 8.0, 1.0, 1.0, 0.2, 1.0, 0.2, 0.2, 8.0])
    values = choice[torch.multinomial(frequent, shape[0] * shape[1] * shape[2], replacement=True)].view(shape)
    assert torch.equal(first_maximum(replace_infinite(values), dim)[2].long(), values.max(dim).indices)


@pytest.mark.parametrize(("shape", "class_dim"), [((7, 300, 5), -1), ((4, 2, 6, 8, 9), 2), ((1, 3, 40), 1)])
def test_finite_logits_need_no_pass_that_replaces_others(shape, class_dim):
    outputs = torch.randn(shape) * 3
    class_dim %= len(shape)
    for ours, theirs in zip(elect(outputs, class_dim, finite=True), elect(outputs, class_dim), strict=True):
        assert torch.equal(ours, theirs)


def test_many_outputs_vote_as_few():
    """More than 255 ballots do not fit in 8 bits."""
    outputs = torch.zeros(600, 3, 2)
    outputs[:300, :, 1] = 5.0
    outputs[300:, :, 0] = 1.0
    outputs[7, :, 0] = 9.0
    assert vote(outputs, -1)[1].tolist() == [7] * 3  # 301 votes for class 0


@pytest.mark.parametrize("class_dim", [-1, -3])
def test_the_vote_can_be_mapped_over_a_batch(class_dim):
    outputs = torch.randn(4, 7, 3, 5, 6)
    logits, index = torch.func.vmap(lambda one: vote(one, class_dim))(outputs)
    for i, one in enumerate(outputs):
        expected = vote(one, class_dim)
        assert torch.equal(logits[i], expected[0]) and torch.equal(index[i], expected[1])


# --- the vote at the size of the prediction ---------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize(("source", "target"), [((7, 5), (20, 21)), *SIZES[3:]])
@either_corners
@pytest.mark.usefixtures("thin_strips")
def test_every_pixel_elects_a_winner_of_the_brute_force_vote(classes, source, target, align_corners):
    outputs = torch.randn(5, 2, classes, *source, dtype=torch.float64)
    found = vote_upsampled(outputs, target, align_corners)
    maps = upsampled(outputs, target, align_corners)
    passed_on = maps if classes == 1 else maps.log_softmax(2)
    is_winner = (passed_on - found).abs().amax(2).flatten(1) < 1e-9  # (M, pixels)
    for i, allowed in enumerate(winners(samples(maps, 2), rounding=1e-12)):
        assert is_winner[allowed, i].any()


@pytest.mark.parametrize("make", [realistic, lambda: torch.randn(7, 1, 19, 33, 65) * 2], ids=["realistic", "random"])
@pytest.mark.parametrize("target", [(257, 513), (264, 520)])
@either_corners
def test_strips_vote_as_the_literal_vote_but_for_rounding(make, target, align_corners):
    outputs = make()
    expected, found = literal_prediction(outputs, target, align_corners), vote_upsampled(outputs, target, align_corners)
    assert len(found.argmax(1).unique()) > 5
    differ = (found.argmax(1) != expected.argmax(1)) | ((found - expected).abs() > 1e-4).any(1)
    assert differ.double().mean() < 1e-5


@pytest.mark.parametrize("rows", [1, 2, 1000])
@either_corners
def test_tied_and_constant_logits_elect_the_first(rows, align_corners, monkeypatch):
    monkeypatch.setattr(upsampling, "STRIP_ELEMENTS", rows * 7 * 4 * 40)
    tied = torch.zeros(7, 2, 4, 5, 6)
    tied[2:] = torch.tensor([0.0, 2.0, 2.0, 0.0])[:, None, None]
    found = vote_upsampled(tied, (30, 40), align_corners)
    assert (found.argmax(1) == 1).all()
    expected = torch.tensor([0.0, 2.0, 2.0, 0.0]).log_softmax(0)
    torch.testing.assert_close(found, expected[:, None, None].expand(2, 4, 30, 40))
    equal = torch.randn(1, 2, 4, 5, 6).expand(7, -1, -1, -1, -1)
    torch.testing.assert_close(
        vote_upsampled(equal, (30, 40), align_corners), upsampled(equal[0], (30, 40), align_corners).log_softmax(1)
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e4, 1e30, 3e38])
@pytest.mark.usefixtures("thin_strips")
def test_logits_of_any_scale_keep_their_label(scale):
    outputs = torch.rand(3, 1, 4, 5, 6) * 0.1
    label = torch.randint(4, (5, 6))
    outputs.scatter_(2, label.expand(3, 1, 1, 5, 6), 1.0)
    found = vote_upsampled(outputs * scale, (5, 6), False)
    assert found.isfinite().all()
    assert torch.equal(found.argmax(1)[0], label)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@either_corners
@pytest.mark.usefixtures("thin_strips")
def test_logits_that_are_not_finite_vote_as_in_the_literal_vote(bad, align_corners):
    outputs = torch.randn(7, 2, 5, 9, 33)
    outputs[torch.rand_like(outputs) < 0.02] = bad
    expected, found = (make(outputs, (60, 129), align_corners) for make in (literal_prediction, vote_upsampled))
    assert not expected.isfinite().all()
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("classes", [1, 19])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("thin_strips")
def test_half_precision_votes_as_in_the_literal_vote(dtype, classes):
    outputs = realistic(k=classes).to(dtype)
    expected, found = literal_prediction(outputs, (129, 257), False), vote_upsampled(outputs, (129, 257), False)
    assert found.dtype == expected.dtype == (dtype if classes == 1 else torch.float32)
    differ = (found.float() - expected.float()).abs().amax(1) > 1e-4
    assert differ.double().mean() < 1e-3


@pytest.mark.usefixtures("thin_strips")
def test_images_of_a_batch_vote_alone():
    outputs = realistic(n=3, k=5)
    together = vote_upsampled(outputs, (70, 129), False)
    for i in range(3):
        assert torch.equal(together[i : i + 1], vote_upsampled(outputs[:, i : i + 1], (70, 129), False))


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


@pytest.mark.parametrize("classes", [1, 19])
def test_nothing_but_the_result_has_the_size_of_the_prediction(classes):
    outputs = torch.randn(7, 1, classes, 33, 65)
    with Allocations() as strips:
        result = vote_upsampled(outputs, (512, 1024), False)
    assert strips.bytes.pop(result.untyped_storage().data_ptr()) == result.numel() * 4
    assert max(strips.bytes.values()) <= 4 * upsampling.STRIP_ELEMENTS
    with Allocations() as literal:  # the measurement finds such maps
        literal_prediction(outputs, (512, 1024), False)
    assert max(literal.bytes.values()) >= 7 * result.numel() * 4


# --- in the heads -----------------------------------------------------------------------------------------------------

K = 5
HEADS = {
    "FFCPSPHead": dict(in_channels=6, pool_scales=(1, 2)),
    "FFCFCNHead": dict(in_channels=6, num_convs=1),
    "FFCEncHead": dict(in_channels=[6, 6, 6], in_index=(0, 1, 2), num_codes=4, add_lateral=True),
    "FFCSegformerHead": dict(in_channels=[6, 6, 6], in_index=(0, 1, 2)),
}


def build(name, **options):
    torch.manual_seed(0)
    common = dict(type=name, channels=8, num_classes=K, norm_cfg=dict(type="BN"))
    head = MODELS.build({**common, **HEADS[name], **options}).eval()
    with torch.no_grad():
        head.conv_seg.weight.normal_()
        for norm in head.conv_seg.filters:
            norm.weight.normal_(1, 0.7)
            norm.bias.normal_(0, 0.7)
    return head


def features(n=2, size=(16, 20)):
    torch.manual_seed(1)
    return [torch.randn(n, 6, *size) for _ in range(3)]


def predict(head, size=(64, 80), inputs=None, **meta):
    inputs = features() if inputs is None else inputs
    return head.predict(inputs, [dict(dict(img_shape=size), **meta)] * len(inputs[0]), dict())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(64, 80), (37, 101), (16, 20), (9, 7)])
@either_corners
@torch.no_grad()
def test_predict_in_strips_equals_predict_at_once(name, size, align_corners, monkeypatch):
    head = build(name, align_corners=align_corners)
    at_once = predict(head, size)
    monkeypatch.setattr(upsampling, "STRIP_ELEMENTS", 1)
    in_strips = predict(head, size)
    assert in_strips.shape == (2, K, *size)
    torch.testing.assert_close(in_strips, at_once)
    assert torch.equal(in_strips.argmax(1), at_once.argmax(1))


@pytest.mark.parametrize("meta", [dict(img_shape=(64, 80)), dict(img_shape=torch.Size((64, 80)), pad_shape=(1, 1))])
@pytest.mark.usefixtures("thin_strips")
@torch.no_grad()
def test_the_head_itself_decides_on_the_size(meta):
    """Whole inference passes the padded size, slide inference the window's as a torch.Size."""
    assert predict(build("FFCPSPHead"), **meta).shape == (2, K, 64, 80)
    assert predict(build("FFCPSPHead"), img_shape=(3, 3), pad_shape=(40, 48, 3)).shape == (2, K, 40, 48)


class NearestPSPHead(PSPHead):
    def predict_by_feat(self, seg_logits, batch_img_metas):
        return F.interpolate(seg_logits, batch_img_metas[0]["img_shape"]) * 2


class FFCNearestPSPHead(FFCDecodeHead, NearestPSPHead):
    pass


@pytest.mark.usefixtures("thin_strips")
@torch.no_grad()
def test_a_head_with_an_upsampling_of_its_own_keeps_it():
    head = build("FFCPSPHead")
    outputs = head.conv_seg.outputs(head._forward_feature(features()))
    maps = F.interpolate(outputs.flatten(0, 1), (64, 80)).unflatten(0, (7, 2)) * 2
    head.__class__ = FFCNearestPSPHead
    torch.testing.assert_close(predict(head), comparable(vote(maps, -3)[0]))


@pytest.mark.usefixtures("thin_strips")
def test_predict_stays_differentiable():
    head = build("FFCPSPHead")
    inputs = [feature.requires_grad_() for feature in features()]
    predict(head, inputs=inputs).amax(1).sum().backward()
    assert inputs[-1].grad.any()
    with torch.no_grad():
        torch.testing.assert_close(predict(head, inputs=inputs), predict(head, inputs=features()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@either_corners
def test_the_vote_does_not_depend_on_the_number_of_threads(dtype, align_corners):
    outputs = realistic(n=2).to(dtype)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            agreement = torch.empty(2, 1, 300, 500)
            found.append((vote_upsampled(outputs, (300, 500), align_corners, agreement), agreement))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
