"""What ``predict`` of an mmseg head launches on an accelerator, counted without one; its numbers on the CPU."""

import pytest
import torch
import torch.nn.functional as F
from accelerator import Launches
from torch._subclasses.fake_tensor import FakeTensorMode

from ffc_dense.method.fast import devices
from ffc_dense.method.literal import literal_segmentation

pytest.importorskip("mmseg")

from mmseg.registry import MODELS

import ffc_dense.segmentation  # noqa: F401
from ffc_dense.segmentation.model.upsampled_vote import comparable, vote_once, vote_upsampled

pytestmark = pytest.mark.filterwarnings("ignore")  # mmseg's advice about align_corners
either_corners = pytest.mark.parametrize("align_corners", [True, False])
WHOLE = dict(img_shape=(1024, 2048)), (129, 257)
SLIDE = dict(img_shape=torch.Size((769, 769))), (97, 97)  # what slide inference asks for one window


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def predicted(meta, size, align_corners=False, **options):
    """Launches of ``predict`` of a head that is nothing but its classifier, and the bytes of its result."""
    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        head = MODELS.build(
            dict(
                type="FFCFCNHead", in_channels=16, channels=16, num_classes=19, num_convs=0, kernel_size=1,
                concat_input=False, align_corners=align_corners, **options,
            )
        ).eval()  # fmt: skip
        feature = torch.empty(1, 16, *size)
        with Launches() as seen:
            result = head.predict([feature], [meta], None)
        assert result.shape == (1, 19, *meta["img_shape"])
        return seen, result.untyped_storage().nbytes()


@pytest.mark.parametrize(("meta", "size"), [WHOLE, SLIDE], ids=["whole", "slide"])
@either_corners
def test_the_vote_launches_few_kernels_and_never_waits(meta, size, align_corners, threads):
    found = []
    for count in (1, 2, 4):
        threads(count)
        seen, result = predicted(meta, size, align_corners)
        found.append((seen.operators, seen.kernels))
        assert seen.peak <= result + 2.4 * devices.CHUNK_BYTES
    assert len(set(found)) == 1  # the CPU's threads have no say
    assert seen.kernels <= 300 and seen.operators <= 400


@pytest.mark.parametrize(("meta", "size"), [WHOLE, SLIDE], ids=["whole", "slide"])
@pytest.mark.parametrize("options", [dict(test_reduce="mean"), dict(test_reduce="out3"), dict(vote_at="feature")])
def test_other_reductions_launch_few_kernels(meta, size, options):
    assert 0 < predicted(meta, size, **options)[0].kernels <= 70


@pytest.mark.parametrize("classes", [1, 2, 150, 300])
@pytest.mark.parametrize("images", [1, 4])
def test_memory_is_bounded_for_any_number_of_classes(classes, images):
    with FakeTensorMode():
        outputs = torch.empty(7, images, classes, 65, 129, device="cuda")
        with Launches() as seen:
            result = vote_upsampled(outputs, (512, 1024), False)
        assert seen.peak <= result.untyped_storage().nbytes() + 2.4 * devices.CHUNK_BYTES


def test_less_memory_is_taken_where_less_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in (("memory_reserved", 96), ("memory_allocated", 32), ("mem_get_info", (64, 1000))):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert devices.chunk_bytes(torch.device("cuda")) == 32  # a quarter of 64 + (96 - 32)


# --- the numbers of that path, with CPU tensors -----------------------------------------------------------------------


@pytest.fixture
def as_on_cuda(monkeypatch):
    """The accelerator's path, in chunks of a few rows."""
    monkeypatch.setattr(devices, "is_cpu", lambda x: False)
    monkeypatch.setattr(devices, "CHUNK_BYTES", 2**20)


def literally(outputs, size, align_corners):
    maps = F.interpolate(outputs.flatten(0, 1), size, mode="bilinear", align_corners=align_corners)
    return vote_once(maps.unflatten(0, outputs.shape[:2]))


@pytest.mark.parametrize("classes", [1, 3, 19, 150, 300])
@pytest.mark.parametrize(("source", "target"), [((17, 33), (129, 257)), ((13, 7), (100, 61)), ((40, 50), (13, 11))])
@either_corners
@pytest.mark.usefixtures("as_on_cuda")
def test_labels_are_those_of_the_literal_vote(classes, source, target, align_corners):
    outputs = torch.randn(7, 1, classes, *source) * 2
    found = vote_upsampled(outputs, target, align_corners)
    if classes == 1:
        labels, expected = found > 0, literally(outputs, target, align_corners) > 0
    else:
        labels, expected = found.argmax(1), literal_segmentation(outputs, target, align_corners)
    assert (labels != expected).sum() <= 1e-5 * labels.numel()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@either_corners
@pytest.mark.usefixtures("as_on_cuda")
def test_logits_that_are_not_finite_vote_as_in_the_literal_vote(bad, align_corners, monkeypatch):
    monkeypatch.setattr(devices, "CHUNK_BYTES", 2**14)
    outputs = torch.randn(7, 2, 5, 9, 33)
    outputs[torch.rand_like(outputs) < 0.02] = bad
    expected, found = (make(outputs, (60, 129), align_corners) for make in (literally, vote_upsampled))
    assert not expected.isfinite().all()
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("classes", [1, 19])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.usefixtures("as_on_cuda")
def test_other_precisions_vote_as_in_the_literal_vote(dtype, classes):
    outputs = torch.randn(7, 1, classes, 33, 65).mul(3).to(dtype)
    expected = literally(outputs, (129, 257), False)
    agreement = torch.empty(1, 1, 129, 257)
    found = vote_upsampled(outputs, (129, 257), False, agreement)
    assert found.dtype == expected.dtype == (dtype if classes == 1 else torch.promote_types(dtype, torch.float32))
    assert 1 / 7 <= agreement.min() < agreement.max() <= 1
    if dtype == torch.float64:
        assert ((found - expected).abs().amax(1) > 1e-4).double().mean() < 1e-5
    else:  # the CPU's interpolation rounds its weights too
        labels, literal = (each > 0 if classes == 1 else each.argmax(1) for each in (found, expected))
        assert (labels != literal).double().mean() < 0.02


@pytest.mark.usefixtures("as_on_cuda")
def test_equal_outputs_elect_the_first():
    tied = torch.zeros(7, 2, 4, 5, 6)
    tied[2:] = torch.tensor([0.0, 2.0, 2.0, 0.0])[:, None, None]
    found = vote_upsampled(tied, (300, 400), True)
    assert (found.argmax(1) == 1).all()
    torch.testing.assert_close(found, comparable(tied[2])[:, :, :1, :1].expand_as(found))
