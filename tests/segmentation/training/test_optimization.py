"""Mixed precision and gradient accumulation of FFC heads, with mmengine's optimizer wrappers."""

from copy import deepcopy

import pytest
import torch
from repository import ROOT

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ffc_dense.minidata import make_mini_cityscapes
from ffc_dense.segmentation import FFCPSPHead

CONFIG = ROOT / "configs/cityscapes/pspnet-ffc_r18-d8_1xb2-4_mini-cityscapes-128x128_toolbox_instant_test.py"


def head():
    init_default_scope("mmseg")
    return FFCPSPHead(
        in_channels=6, channels=8, pool_scales=(1, 2), num_classes=5, dropout_ratio=0, norm_cfg=None,
        align_corners=True, loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    )  # fmt: skip


def samples(labels):
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


def test_accumulating_two_halves_is_the_step_of_the_whole_batch():
    x, labels = torch.randn(4, 6, 5, 5), torch.randint(0, 5, (4, 9, 9))
    whole = head()
    halves = deepcopy(whole)
    for model, parts, counts in ((whole, [slice(0, 4)], 1), (halves, [slice(0, 2), slice(2, 4)], 2)):
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5), accumulative_counts=counts)
        wrapper.initialize_count_status(model, 0, len(parts))
        for part in parts:
            with wrapper.optim_context(model):
                loss = model.loss([x[part]], samples(labels[part]), None)["loss_ce"]
            wrapper.update_params(loss)
    start = head().conv_seg.filters[0].weight
    assert not torch.equal(whole.conv_seg.filters[0].weight, start)
    for (name, expected), found in zip(whole.named_parameters(), halves.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.ci
def test_amp_trains_an_ffc_model(tmp_path, monkeypatch):
    """What `train.py --amp` makes of the config; on a CPU mmengine's autocast is bfloat16."""
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)  # it refuses a CPU otherwise
    make_mini_cityscapes(tmp_path / "data", 2, 1)
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        {
            "work_dir": str(tmp_path / "run"),
            "experiment_name": "amp",
            "optim_wrapper.type": "AmpOptimWrapper",
            "optim_wrapper.loss_scale": "dynamic",
            "train_dataloader.dataset.data_root": str(tmp_path / "data"),
            "val_dataloader.dataset.data_root": str(tmp_path / "data"),
            "test_dataloader.dataset.data_root": str(tmp_path / "data"),
            "train_cfg.max_iters": 3,
            "train_cfg.val_interval": 3,
        }
    )
    runner = Runner.from_cfg(cfg)
    layer = runner.model.decode_head.conv_seg
    dtypes = set()
    layer.register_forward_hook(lambda module, args, logits: dtypes.add(logits.dtype) if module.training else None)
    runner.train()
    assert isinstance(runner.optim_wrapper, AmpOptimWrapper)
    assert dtypes <= {torch.bfloat16, torch.float16} and len(dtypes) == 1
    losses = [buffer.current() for name, buffer in runner.message_hub.log_scalars.items() if name == "train/loss"]
    assert len(losses) == 1 and 0 < losses[0] < 20
    for norm in layer.filters:
        assert norm.weight.dtype == torch.float32
        assert torch.isfinite(norm.weight).all() and not torch.equal(norm.weight, torch.ones_like(norm.weight))


def test_amp_is_refused_without_an_accelerator(monkeypatch):
    for device in ("cuda", "npu", "mlu", "musa"):
        monkeypatch.setattr(amp_optimizer_wrapper, f"is_{device}_available", lambda: False, raising=False)
    with pytest.raises(AssertionError, match="only available training"):
        AmpOptimWrapper(optimizer=torch.optim.SGD(head().parameters(), lr=0.1))
