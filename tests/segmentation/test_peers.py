"""What mmseg tests of its own decode heads, segmentors and test-time augmentation, asked of FFC's.

N images, C channels of a feature, K classes. The situations are those of mmseg's ``tests/test_models``: wrong
arguments, sizes of the input, several losses, auxiliary heads, windows, flips and sizes in augmentation, binary heads;
and, beyond them, maps of ignored pixels, features of infinity and NaN, autocast. Models and numbers are our own.
"Equal" is to the bit: losses, gradients of every parameter and predictions, of stock and of FFC without filters.
"""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmengine import ConfigDict
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from small_segmentor import BACKBONE, SLIDE

import ffc_dense.segmentation  # noqa: F401  (registers the heads)

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

N, K = 2, 5
CE = dict(type="CrossEntropyLoss")
HEADS = {
    "PSPHead": dict(pool_scales=(1, 2, 3)),
    "ASPPHead": dict(dilations=(1, 12, 24)),
    "DepthwiseSeparableASPPHead": dict(dilations=(1, 12, 24), c1_in_channels=0, c1_channels=0),
    "FCNHead": dict(kernel_size=1),
}
SIZES = {"45 x 45": (45, 45), "7 x 3": (7, 3), "1 x 1": (1, 1)}  # of the feature
every_head = pytest.mark.parametrize("name", HEADS)


def head(name, **options):
    torch.manual_seed(0)
    common = dict(in_channels=6, channels=8, num_classes=K)
    return MODELS.build({**common, **HEADS[name.removeprefix("FFC")], **options, "type": name})


def twins(name, **options):
    """The stock head and that of FFC without filters."""
    return head(name, **options), head(f"FFC{name}", num_filters=0, **options)


def feature(size=(9, 12), channels=6, seed=1):
    return torch.randn(N, channels, *size, generator=torch.Generator().manual_seed(seed))


def labelled(size, ignored=0.0, classes=K):
    """Samples whose pixels are 255 with the given probability."""
    torch.manual_seed(2)
    samples = [SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size)) for _ in range(N)]
    for sample in samples:
        labels = torch.randint(classes, (1, *size))
        sample.gt_sem_seg = PixelData(data=labels.masked_fill(torch.rand(1, *size) < ignored, 255))
    return samples


def step(module, inputs, samples, **more):
    """Losses and the gradients of a training step, by name."""
    torch.manual_seed(3)  # dropout
    losses = module.train().loss(inputs, samples, **more)
    sum(value for key, value in losses.items() if "loss" in key).backward()
    return {**losses, **{name: p.grad for name, p in module.named_parameters()}}


def predict(decode_head, inputs, size):
    with torch.no_grad():
        return decode_head.eval().predict(inputs, [dict(img_shape=size)] * N, {})


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert (ours[key] is value is None) or torch.equal(ours[key], value), key


# --- decode heads -----------------------------------------------------------------------------------------------------


WRONG = {
    "two inputs without a transform": dict(in_channels=[6, 6]),
    "two indices without a transform": dict(in_index=[-1, -2]),
    "unknown transform": dict(input_transform="concat"),
    "a transform of one input": dict(input_transform="resize_concat"),
    "an index that is no list": dict(in_channels=[6], in_index=-1, input_transform="resize_concat"),
    "more inputs than indices": dict(in_channels=[6, 6], in_index=[-1], input_transform="resize_concat"),
    "other output channels": dict(out_channels=K - 1),
    "a loss that is no dict": dict(loss_decode=["CrossEntropyLoss"]),
    "a loss that is a number": dict(loss_decode=0),
    "a scale that is no list": dict(pool_scales=1),
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_wrong_arguments_give_the_error_of_the_stock_head(options):
    errors = []
    for name in ("PSPHead", "FFCPSPHead"):
        with pytest.raises((AssertionError, ValueError, TypeError)) as error:
            head(name, **options)
        errors.append((error.type, str(error.value).replace("FFCPSPHead", "PSPHead")))
    assert errors[0] == errors[1]


@every_head
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("align_corners", [False, True], ids=["centers", "corners"])
def test_at_any_input_size_zero_filters_train_and_predict_as_the_stock_head(name, size, align_corners):
    image_size = tuple(8 * side - 3 for side in size)
    results = []
    for decode_head in twins(name, align_corners=align_corners):
        losses = step(decode_head, [feature(size)], labelled(image_size, ignored=0.2), train_cfg={})
        results.append({**losses, "predicted": predict(decode_head, [feature(size)], image_size)})
    assert results[0]["predicted"].shape == (N, K, *image_size)
    assert_equal(results[1], results[0])


@every_head
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_at_any_input_size_filters_keep_the_shape_and_get_gradients(name, size):
    decode_head = disagreeing_head(head(f"FFC{name}"))
    assert decode_head([feature(size)]).shape == (N, K, *size)
    image_size = tuple(8 * side - 3 for side in size)
    assert predict(decode_head, [feature(size)], image_size).shape == (N, K, *image_size)
    results = step(decode_head, [feature(size)], labelled(image_size), train_cfg={})
    filters = [value for key, value in results.items() if "filters" in key]
    assert len(filters) == 6 and all(value.isfinite().all() and value.any() for value in filters)


@torch.no_grad()
def disagreeing_head(decode_head):
    """Weights as if from training: with the initial ones the outputs hardly disagree."""
    torch.manual_seed(3)
    weight = decode_head.conv_seg.weight.normal_()
    weight -= weight.mean(1, keepdim=True)  # features are positive: else one class would win everywhere
    for norm in getattr(decode_head.conv_seg, "filters", []):
        norm.weight.normal_(1, 0.7)
        norm.bias.normal_(0, 0.7)
    return decode_head


def test_inputs_of_several_sizes_are_joined_as_in_the_stock_head():
    options = dict(in_channels=[6, 4], in_index=[0, 1], input_transform="resize_concat")
    inputs = [feature((11, 13)), feature((5, 6), channels=4)]
    results = []
    for decode_head in twins("FCNHead", **options):
        found = step(decode_head, inputs, labelled((22, 26)), train_cfg={})
        results.append({**found, "predicted": predict(decode_head, inputs, (22, 26))})
    assert_equal(results[1], results[0])
    assert head("FFCFCNHead", **options)(inputs).shape == (N, K, 11, 13)


def test_several_losses_are_computed_of_the_one_mean_and_equal_names_add_up():
    names = ["first", "second", "loss_ce", "loss_ce", "loss_ce"]
    losses = [dict(CE, loss_name=f"loss_{name}" if name != "loss_ce" else name) for name in names]
    several = disagreeing_head(head("FFCPSPHead", loss_decode=losses))
    single = disagreeing_head(head("FFCPSPHead", loss_decode=CE))
    samples = labelled((18, 24))
    one, all_ = (step(h, [feature()], samples, train_cfg={}) for h in (single, several))
    assert torch.equal(all_["loss_first"], one["loss_ce"]) and torch.equal(all_["loss_second"], one["loss_ce"])
    torch.testing.assert_close(all_["loss_ce"], 3 * one["loss_ce"])
    assert torch.equal(all_["acc_seg"], one["acc_seg"])
    gradients = [{name: found[name] for name, _ in single.named_parameters()} for found in (one, all_)]
    torch.testing.assert_close(gradients[1], {name: 5 * value for name, value in gradients[0].items()})


@pytest.mark.parametrize("avg_non_ignore", [False, True])
@pytest.mark.parametrize("num_filters", [0, 3])
def test_maps_of_ignored_pixels_give_a_loss_of_zero_and_gradients_of_zero(avg_non_ignore, num_filters):
    """Every parameter has one: DDP without find_unused_parameters waits for all of them."""
    decode_head = head("FFCPSPHead", num_filters=num_filters, loss_decode=dict(CE, avg_non_ignore=avg_non_ignore))
    results = step(decode_head, [feature()], labelled((18, 24), ignored=1.1), train_cfg={})
    assert results.pop("loss_ce") == 0
    results.pop("acc_seg")  # of no pixel; mmseg says 100
    assert all(gradient is not None and not gradient.any() for gradient in results.values())


@every_head
@pytest.mark.parametrize("vote_at", ["prediction", "feature"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_image_that_is_not_finite_leaves_the_other_as_it_is(name, vote_at, value):
    decode_head = disagreeing_head(head(f"FFC{name}", vote_at=vote_at))
    clean = feature()
    expected = predict(decode_head, [clean], (18, 24))[0]
    clean[1] = value
    found = predict(decode_head, [clean], (18, 24))
    torch.testing.assert_close(found[0], expected)
    assert not found[1].isfinite().any()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_features_that_are_not_finite_show_in_the_training_loss(value):
    """As in the stock head; LayerNorm and ReLU must not turn them into a finite loss."""
    spoilt = feature()
    spoilt[0, 0, 2, 2] = value
    decode_head = head("FFCFCNHead")
    assert not step(decode_head, [spoilt], labelled((18, 24)), train_cfg={})["loss_ce"].isfinite()


@every_head
def test_autocast_trains_and_without_filters_as_the_stock_head(name):
    def under_autocast(decode_head):
        with torch.autocast("cpu", torch.bfloat16):
            return step(decode_head, [feature()], labelled((18, 24)), train_cfg={})

    stock, ffc = (under_autocast(decode_head) for decode_head in twins(name))
    assert_equal(ffc, stock)
    results = under_autocast(head(f"FFC{name}"))
    assert all(value is not None and value.isfinite().all() for value in results.values())


# --- segmentors and augmentation --------------------------------------------------------------------------------------


def segmentor(name, auxiliary=0, mode=None, **options):
    torch.manual_seed(0)
    common = dict(norm_cfg=dict(type="BN"), align_corners=False, channels=8)
    decode = dict(common, type=name, in_channels=32, in_index=3, pool_scales=(1, 2), **{"num_classes": K, **options})
    extra = [dict(common, type="FCNHead", in_channels=16, in_index=2, num_classes=K, num_convs=1)] * auxiliary
    heads = dict(auxiliary_head=extra[0] if auxiliary == 1 else extra) if auxiliary else {}
    test_cfg = ConfigDict(mode or dict(mode="whole"))
    model = dict(type="EncoderDecoder", backbone=BACKBONE, decode_head=decode, test_cfg=test_cfg)
    return MODELS.build(dict(model, data_preprocessor=SegDataPreProcessor(), **heads))


# mmseg's augmentation applies the sigmoid to probabilities: 0.5 to 0.73, all of them above a threshold of 0.5
BINARY = dict(loss_decode=dict(CE, use_sigmoid=True), num_classes=2, out_channels=1, threshold=0.62)
MODES = {"whole": None, "slide": SLIDE, "slide beyond the image": dict(SLIDE, crop_size=(64, 64))}


@pytest.mark.parametrize("auxiliary", [0, 1, 2])
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_zero_filters_train_and_predict_as_the_stock_segmentor(auxiliary, mode):
    size = (40, 52)
    images = feature(size, channels=3)
    results = []
    for name, options in (("PSPHead", {}), ("FFCPSPHead", dict(num_filters=0))):
        model = segmentor(name, auxiliary, mode, **options)
        found = step(model, images, labelled(size))
        with torch.no_grad():
            predictions = model.eval().predict(images, labelled(size))
            found["tensor"] = model(images, mode="tensor")
        for i, one in enumerate(predictions):
            found.update({f"{i}.logits": one.seg_logits.data, f"{i}.labels": one.pred_sem_seg.data})
        results.append(found)
    assert sum("loss" in key for key in results[0]) == 1 + auxiliary
    assert_equal(results[1], results[0])


def augmented(model, count=6):
    """Labels of one image from copies of several sizes, some of them flipped: (1, 20, 24)."""
    disagreeing_head(model.decode_head)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the average of all batches
    inputs, samples = [], []
    for i in range(count):
        size = (32 + 4 * i, 40 + 4 * i)
        flip = dict(flip=i % 2 == 0, flip_direction="horizontal" if i % 3 == 0 else "vertical")
        meta = dict(ori_shape=(20, 24), img_shape=size, img_path="0.png", **flip)
        picture = F.interpolate(3 * feature((4, 5), channels=3)[:1], size)
        if flip["flip"]:
            picture = picture.flip(3 if flip["flip_direction"] == "horizontal" else 2)
        with torch.no_grad():
            model.train()(picture.repeat(2, 1, 1, 1))  # statistics of its BatchNorms
        inputs.append([picture[0]])
        samples.append([SegDataSample(metainfo=meta)])
    tta = MODELS.build(dict(type="SegTTAModel", module=model)).eval()
    (result,) = tta.test_step(dict(inputs=inputs, data_samples=samples))
    return result.pred_sem_seg.data


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("binary", [False, True], ids=["classes", "binary"])
def test_augmentation_of_several_sizes_and_flips_is_that_of_the_stock_model(mode, binary):
    options = BINARY if binary else {}
    stock = segmentor("PSPHead", mode=mode, **options)
    ffc = segmentor("FFCPSPHead", mode=mode, num_filters=0, **options)
    expected = augmented(stock)
    assert expected.shape == (1, 20, 24) and len(expected.unique()) > 1
    assert torch.equal(augmented(ffc), expected)


@pytest.mark.parametrize("binary", [False, True], ids=["classes", "binary"])
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_augmentation_of_votes_gives_labels_of_the_original_size(mode, binary):
    options = BINARY if binary else {}
    labels = augmented(segmentor("FFCPSPHead", mode=mode, **options))
    assert labels.shape == (1, 20, 24)
    assert set(labels.unique().tolist()) <= set(range(2 if binary else K))
    assert binary or len(labels.unique()) > 1
