"""FFC heads inside mmseg's segmentors: training, sliding windows, test-time augmentation, resizing, initialization."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmseg")

from mmengine import ConfigDict
from mmengine.analysis import get_model_complexity_info
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense import FFCConv2d

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about losses and align_corners

N, K = 2, 5
H, W = 32, 48
HEADS = {"FFCPSPHead": dict(pool_scales=(1, 2)), "FFCASPPHead": dict(dilations=(1, 2))}
BACKBONE = dict(
    type="ResNetV1c",
    depth=18,
    stem_channels=8,
    base_channels=4,
    dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1),
    norm_eval=False,
)
FILTER = {"weight": 1, "bias": 0}  # what an untrained filter holds


def build(decode_head="FFCPSPHead", head=None, aux=True, mode=None, **options):
    torch.manual_seed(0)
    common = dict(num_classes=K, norm_cfg=dict(type="BN"), align_corners=True)
    kind = HEADS["FFC" + decode_head.removeprefix("FFC")]
    cfg = dict(
        type="EncoderDecoder",
        backbone=BACKBONE,
        decode_head=dict(common, type=decode_head, in_channels=32, in_index=3, channels=8, **kind, **(head or {})),
        auxiliary_head=dict(common, type="FCNHead", in_channels=16, in_index=2, channels=8, num_convs=1),
        test_cfg=ConfigDict(mode or dict(mode="whole")),
    )
    return MODELS.build({**cfg, **options})


@torch.no_grad()
def trained(model):
    """Weights as if from training: with the initial ones the outputs hardly disagree."""
    torch.manual_seed(3)
    layer = model.decode_head.conv_seg
    layer.weight.normal_()
    for norm in getattr(layer, "filters", []):
        norm.weight.normal_(1, 0.7)
        norm.bias.normal_(0, 0.7)
    return model


def image(n=N, size=(H, W)):
    torch.manual_seed(1)
    return torch.randn(n, 3, *size)


def samples(n=N, size=(H, W), **meta):
    torch.manual_seed(1)
    found = []
    for _ in range(n):
        sample = SegDataSample(metainfo=dict(dict(ori_shape=size, img_shape=size, pad_shape=size), **meta))
        sample.gt_sem_seg = PixelData(data=torch.randint(K, (1, *size)))
        found.append(sample)
    return found


@torch.no_grad()
def scores(model, images=None):
    """What ``inference`` hands to the postprocessing: (N, K, H, W)."""
    images = image() if images is None else images
    metas = [sample.metainfo for sample in samples(len(images), tuple(images.shape[2:]))]
    return model.eval().inference(images, metas)


@torch.no_grad()
def predicted(model, images, data_samples):
    results = model.eval().predict(images, data_samples)
    return [(result.seg_logits.data, result.pred_sem_seg.data) for result in results]


def backward(model):
    torch.manual_seed(2)
    losses = model.train().loss(image(), samples())
    sum(value for key, value in losses.items() if "loss" in key).backward()
    return losses


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_gives_every_parameter_a_gradient(name):
    """DDP stops at a parameter without one."""
    model = trained(build(name))
    losses = backward(model)
    assert {"decode.loss_ce", "aux.loss_ce"} <= set(losses)
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", HEADS)
def test_only_the_decode_head_gets_filters(name):
    model = build(name)
    with_filters = {key for key, module in model.named_modules() if isinstance(module, FFCConv2d)}
    assert with_filters == {"decode_head.conv_seg"}


@pytest.mark.parametrize("name", HEADS)
def test_without_filters_the_segmentor_is_the_stock_one(name):
    stock, ffc = build(name.removeprefix("FFC")), build(name, dict(num_filters=0))
    stock_losses, ffc_losses = backward(stock), backward(ffc)
    assert list(ffc_losses) == list(stock_losses)
    assert all(torch.equal(ffc_losses[key], stock_losses[key]) for key in stock_losses)
    ffc.load_state_dict(stock.state_dict())
    assert torch.equal(scores(ffc), scores(stock))


# --- initialization ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_init_weights_of_a_segmentor_initializes_the_classifier_and_not_the_filters(name):
    model = trained(build(name, dict(num_classes=64)))
    model.init_weights()
    layer = model.decode_head.conv_seg
    assert 0.008 < layer.weight.std() < 0.012 and abs(layer.weight.mean()) < 0.002
    assert (layer.bias == 0).all()
    for key, parameter in layer.filters.named_parameters():
        assert (parameter == FILTER[key.split(".")[-1]]).all(), key


@pytest.mark.parametrize("name", HEADS)
def test_init_weights_of_a_segmentor_draws_what_the_stock_one_draws(name):
    """The auxiliary head, and data augmentation after it, see the same random numbers."""
    stock, ffc = build(name.removeprefix("FFC")), build(name)
    random_states = []
    for model in (stock, ffc):
        torch.manual_seed(5)
        model.init_weights()
        random_states.append(torch.get_rng_state())
    assert torch.equal(*random_states)
    for key, value in stock.state_dict().items():
        assert torch.equal(ffc.state_dict()[key], value), key


@pytest.mark.parametrize("name", HEADS)
def test_pretrained_filters_of_a_whole_model_are_kept(name, tmp_path):
    source = trained(build(name))
    torch.save(dict(state_dict=source.state_dict()), tmp_path / "model.pth")
    model = build(name, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "model.pth")))
    model.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


# --- what is passed on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vote_at", ["prediction", "feature"])
def test_votes_are_passed_on_as_finite_log_probabilities(vote_at):
    """A vote at the feature is upsampled afterwards, which leaves log-probabilities of at most one in total."""
    passed_on = scores(trained(build(head=dict(vote_at=vote_at))))
    assert passed_on.shape == (N, K, H, W)
    assert passed_on.isfinite().all()
    total = passed_on.exp().sum(1)
    if vote_at == "prediction":
        torch.testing.assert_close(total, torch.ones_like(total))
    else:
        assert (total < 1 + 1e-5).all()


def test_bfloat16_autocast_passes_on_float32_log_probabilities():
    model = trained(build())
    with torch.autocast("cpu", torch.bfloat16):
        passed_on = scores(model)
    assert passed_on.dtype == torch.float32
    assert passed_on.isfinite().all()
    total = passed_on.exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert (passed_on.argmax(1) == scores(model).argmax(1)).float().mean() > 0.8


def constant_filters(*constants, classes):
    """A head that classifies its input itself, logit by logit; its other outputs are the given constants."""
    head = dict(type="FFCFCNHead", in_channels=classes, channels=classes, num_classes=classes, num_convs=0)
    options = dict(num_filters=len(constants), interpolate=False, concat_input=False)
    head = MODELS.build({**head, **options}).eval()
    with torch.no_grad():
        head.conv_seg.weight.copy_(torch.eye(classes)[:, :, None, None])
        head.conv_seg.bias.zero_()
        for norm, constant in zip(head.conv_seg.filters, constants, strict=True):
            norm.weight.zero_()
            norm.bias.copy_(torch.tensor(constant))
    return head


@torch.no_grad()
def labels_of(head, logits, size=(1, 1)):
    return head.predict([logits.view(1, -1, 1, 1).expand(-1, -1, *size)], [dict(img_shape=size)], dict())


@pytest.mark.parametrize("vote_at", ["prediction", "feature"])
@pytest.mark.parametrize("classes", [2, 3, 19, 150])
@pytest.mark.parametrize("difference", [1e-8, 1e-12, 1e-30])
def test_the_label_is_the_elected_one_where_log_probabilities_round_to_the_same_number(vote_at, classes, difference):
    for label in range(classes)[-3:]:
        logits = torch.zeros(classes)
        logits[label] = difference
        head = constant_filters(logits.tolist(), classes=classes)
        head.vote_at = vote_at
        rounded = logits.log_softmax(0)
        assert rounded[label] == rounded[0]  # without care, class 0 would win
        passed_on = labels_of(head, logits)
        assert passed_on.argmax(1).item() == label
        torch.testing.assert_close(passed_on.flatten(), rounded)


@pytest.mark.parametrize("seed", range(3))
def test_the_label_is_the_elected_one_for_logits_of_any_scale(seed):
    torch.manual_seed(seed)
    logits = torch.randn(40, 5) * 10.0 ** torch.randint(-12, 6, (40, 1))
    head = constant_filters([0.0] * 5, classes=5)
    head.conv_seg.filters[0].bias.data.copy_(torch.tensor([0.0, 0.0, 1e-9, 0.0, 0.0]))  # the other output votes for 2
    passed_on = torch.cat([labels_of(head, one) for one in logits])
    confidence = logits.double().softmax(1).amax(1)
    other = head.conv_seg.filters[0].bias.double().softmax(0).amax()
    clear = (confidence - other).abs() > 1e-6  # fp32 tells which of the two is surer
    assert clear.sum() > 10
    expected = torch.where(confidence > other, logits.argmax(1), 2)
    assert torch.equal(passed_on.argmax(1).flatten()[clear], expected[clear])


def test_the_majority_is_passed_on_against_the_mean_and_the_surest_output():
    head = constant_filters([1.0, 1.1, 0.0], [0.5, 0.9, 0.0], classes=3)
    passed_on = labels_of(head, torch.tensor([9.0, 0.0, 0.0]))  # two hesitant outputs against one that is sure
    expected = torch.tensor([0.5, 0.9, 0.0]).log_softmax(0)  # the surer of the two
    torch.testing.assert_close(passed_on.flatten(), expected)


# --- sliding windows and augmentation ---------------------------------------------------------------------------------


def slide(crop, stride):
    return dict(mode="slide", crop_size=crop, stride=stride)


@pytest.mark.parametrize("vote_at", ["prediction", "feature"])
@pytest.mark.parametrize("crop", [(H, W), (H + 8, W + 8)], ids=["fits", "exceeds the image"])
def test_one_window_is_the_whole_image(vote_at, crop):
    whole = trained(build(head=dict(vote_at=vote_at)))
    window = trained(build(head=dict(vote_at=vote_at), mode=slide(crop, (16, 16))))
    assert torch.equal(scores(window), scores(whole))


def test_windows_average_the_log_probabilities_of_their_votes():
    model = trained(build(mode=slide((32, 32), (16, 16))))
    images = image()
    passed_on = scores(model, images)
    assert passed_on.shape == (N, K, H, W)
    whole = build()
    whole.load_state_dict(model.state_dict())
    left, right = scores(whole, images[..., :32]), scores(whole, images[..., 16:])
    expected = torch.cat([left[..., :16], (left[..., 16:] + right[..., :16]) / 2, right[..., 16:]], 3)
    torch.testing.assert_close(passed_on, expected)


def augmented(model, flips):
    """What mmseg's TTA model returns for image 0 under each of the flips (None: as it is)."""
    images = image(1)
    inputs, data_samples = [], []
    for flip in flips:
        inputs.append([images[0].flip(2) if flip else images[0]])
        meta = dict(flip=True, flip_direction=flip) if flip else dict()
        data_samples.append(samples(1, img_path="0.png", **meta))
    tta = MODELS.build(dict(type="SegTTAModel", module=model)).eval()
    (result,) = tta.test_step(dict(inputs=inputs, data_samples=data_samples))
    return result.pred_sem_seg.data[0]


def with_preprocessor(**options):
    return trained(build(data_preprocessor=SegDataPreProcessor(**options)))


def test_augmentation_by_the_identity_changes_no_label():
    model = with_preprocessor()
    ((_, labels),) = predicted(model, image(1), samples(1))
    assert len(labels.unique()) > 1
    assert torch.equal(augmented(model, [None]), labels[0])


def test_augmentation_averages_the_probabilities_of_the_votes():
    model = with_preprocessor()
    images = image(1)
    upright, flipped = scores(model, images).exp(), scores(model, images.flip(3)).exp().flip(3)
    assert not torch.equal(upright.argmax(1), flipped.argmax(1))
    assert torch.equal(augmented(model, [None, "horizontal"]), (upright + flipped).argmax(1)[0])


# --- postprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical"])
@pytest.mark.parametrize("ori_shape", [(H - 3, W - 5), (50, 61)], ids=["original size", "resized"])
def test_padding_flip_and_resize_act_on_the_log_probabilities(flip, ori_shape):
    model = trained(build())
    meta = dict(ori_shape=ori_shape, padding_size=[0, 5, 0, 3], flip=flip is not None, flip_direction=flip)
    passed_on = scores(model)[..., : H - 3, : W - 5]
    if flip:
        passed_on = passed_on.flip(3 if flip == "horizontal" else 2)
    expected = F.interpolate(passed_on, ori_shape, mode="bilinear", align_corners=True)
    for (logits, labels), one in zip(predicted(model, image(), samples(**meta)), expected, strict=True):
        torch.testing.assert_close(logits, one)
        assert torch.equal(labels, one.argmax(0, keepdim=True))


def test_images_are_padded_and_cut_back_by_the_preprocessor():
    model = with_preprocessor(test_cfg=dict(size_divisor=32)).eval()
    shape = (29, 43)
    sample = samples(1, shape)
    with torch.no_grad():
        (result,) = model.test_step(dict(inputs=[image(1, shape)[0]], data_samples=sample))
    padded = F.pad(image(1, shape), (0, 64 - 43, 0, 32 - 29))
    torch.testing.assert_close(result.seg_logits.data, scores(model, padded)[0, :, :29, :43])
    assert result.pred_sem_seg.data.shape == (1, *shape)


def test_a_binary_segmentor_trains_and_applies_its_threshold():
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    head = dict(num_classes=2, out_channels=1, threshold=0.6, loss_decode=loss)
    model = trained(build(head=head, auxiliary_head=None))
    data_samples = samples()
    for sample in data_samples:
        sample.gt_sem_seg.data.clamp_(max=1)
    losses = model.loss(image(), data_samples)
    losses["decode.loss_ce"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    logits = scores(model)
    for (probability, labels), logit in zip(predicted(model, image(), samples()), logits, strict=True):
        torch.testing.assert_close(probability, logit.sigmoid())
        assert torch.equal(labels, (probability > 0.6).float())
        assert 0 < labels.mean() < 1


# --- other segmentors and tools ---------------------------------------------------------------------------------------


def cascade(head, **options):
    torch.manual_seed(0)
    common = dict(num_classes=K, norm_cfg=dict(type="BN"), in_channels=32, in_index=3, channels=8)
    return MODELS.build(
        dict(
            type="CascadeEncoderDecoder",
            num_stages=2,
            backbone=BACKBONE,
            decode_head=[
                dict(common, type="FCNHead", num_convs=1),
                dict(common, type=head, ocr_channels=4, **options),
            ],
            test_cfg=ConfigDict(mode="whole"),
        )
    )


def test_a_cascade_trains_and_votes_in_its_last_head():
    model = cascade("FFCOCRHead")
    losses = backward(model)
    assert {"decode_0.loss_ce", "decode_1.loss_ce"} <= set(losses)
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
    passed_on = scores(model)
    assert passed_on.shape == (N, K, H, W)
    total = passed_on.exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_without_filters_a_cascade_is_the_stock_one():
    assert torch.equal(scores(cascade("FFCOCRHead", num_filters=0)), scores(cascade("OCRHead")))


@pytest.mark.parametrize("name", HEADS)
def test_flops_and_parameters_can_be_counted(name):
    stock, ffc = (
        get_model_complexity_info(build(kind).eval(), (3, H, W), show_table=False, show_arch=False)
        for kind in (name.removeprefix("FFC"), name)
    )
    assert ffc["flops"] > stock["flops"] > 0
    assert ffc["params"] == stock["params"] + 3 * 2 * 8


def test_tensor_mode_returns_one_map_per_image():
    model = trained(build()).eval()
    scores(model)
    with torch.no_grad():
        assert model(image(), mode="tensor").shape == (N, K, H // 8, W // 8)


def test_options_can_be_changed_on_a_trained_head():
    head = MODELS.build(dict(type="FFCPSPHead", in_channels=6, channels=8, num_classes=4, pool_scales=(1, 2))).eval()
    assert (head.test_reduce, head.vote_at) == ("vote", "prediction")
    head.test_reduce, head.vote_at = "mean", "feature"
    assert (head.conv_seg.test_reduce, head.vote_at) == ("mean", "feature")
    for name in ("test_reduce", "vote_at"):
        with pytest.raises(ValueError, match=name):
            setattr(head, name, "median")
