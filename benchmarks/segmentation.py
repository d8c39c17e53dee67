"""End to end in mmseg: PSPNet R50-D8 as in configs/cityscapes, stock and FFC.

Weights and images are random: the time of an iteration does not depend on their content. The learning rate is zero, so
the models do not change.
"""

from functools import partial

import torch

from .memory import ROOT
from .segmentation_vote import classifier_head, predict
from .timing import interleave
from .works import FFC, STOCK, Samples, Work

CONFIGS = {
    STOCK: "configs/cityscapes/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    FFC: "configs/cityscapes/pspnet-ffc_r50-d8_4xb2-40k_cityscapes-512x1024.py",
}
NARROW = {  # for --quick
    "backbone.base_channels": 8,
    "backbone.stem_channels": 8,
    "decode_head.in_channels": 256,
    "decode_head.channels": 16,
    "auxiliary_head.in_channels": 128,
    "auxiliary_head.channels": 16,
}


def works(quick: bool) -> list[Work]:
    """The lines of section 'end_to_end' that need mmseg."""
    found = []
    for device, bar, crop, image in (("cpu", 1.05, (256, 256), (512, 1024)), ("cuda", 1.02, (512, 1024), (1024, 2048))):
        if quick:
            crop = image = (64, 64)
        for name, training, size in (
            (f"training iteration, batch 2, {crop[0]}x{crop[1]}", True, crop),
            (f"inference, {image[0]}x{image[1]}", False, image),
        ):
            found.append(
                Work(
                    "end_to_end",
                    f"PSPNet R50-D8, {name}",
                    device,
                    "time",
                    {STOCK: bar},
                    partial(measure_model, training, size, device, quick),
                    ("mmseg",),
                )
            )
        if device == "cpu":  # where the noise of whole models hides the head
            found.append(
                Work(
                    "end_to_end",
                    f"PSPNet R50-D8, inference, {image[0]}x{image[1]}, by parts",
                    device,
                    "time",
                    {STOCK: bar},
                    partial(measure_parts, image, quick),
                    ("mmseg",),
                )
            )
    return found


def models(size: tuple[int, int], device: str, quick: bool) -> dict[str, tuple]:
    """{candidate: (model, optimizer wrapper)}, with the same weights wherever both have the same parameter."""
    from mmengine.config import Config
    from mmengine.model import revert_sync_batchnorm
    from mmengine.optim import OptimWrapper
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    init_default_scope("mmseg")
    found = {}
    for name, path in CONFIGS.items():
        cfg = Config.fromfile(str(ROOT / path))
        cfg.model.pretrained = None
        cfg.model.data_preprocessor.size = size
        if quick:
            cfg.merge_from_dict({f"model.{key}": value for key, value in NARROW.items()})
        torch.manual_seed(0)
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)
        found[name] = (model, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)))
    return found


def samples(batch: int, size: tuple[int, int]) -> dict:
    """Images of noise with random labels, as mmseg's data loader gives them."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    data = dict(inputs=[], data_samples=[])
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(19, (1, *size)))
        data["inputs"].append(torch.randint(256, (3, *size), dtype=torch.uint8))
        data["data_samples"].append(sample)
    return data


def measure_model(training: bool, size: tuple[int, int], device: str, quick: bool) -> Samples:
    pair = models(size, device, quick)
    data = samples(2 if training else 1, size)
    calls = {name: partial(iterate if training else infer, *pair[name], data) for name in (STOCK, FFC)}
    return interleave(calls, device, seconds=40, rounds=1 if quick else None)


def measure_parts(size: tuple[int, int], quick: bool) -> Samples:
    """The stock model's inference, and the same with the last layer's time replaced by that of FFC."""
    model, optimizer = models(size, "cpu", quick)[STOCK]
    channels = model.decode_head.channels
    feature = torch.randn(1, channels, *(side // 8 for side in size))
    calls = {name: partial(predict, classifier_head(name, channels), feature, size) for name in (STOCK, FFC)}
    calls = {f"last layer, {name}": call for name, call in calls.items()}
    calls[STOCK] = partial(infer, model, optimizer, samples(1, size))
    found = interleave(calls, "cpu", seconds=40, rounds=1 if quick else None)
    parts = zip(found[STOCK], found[f"last layer, {FFC}"], found[f"last layer, {STOCK}"], strict=True)
    return {STOCK: found[STOCK], FFC: [whole + ours - theirs for whole, ours, theirs in parts]}


def iterate(model, optimizer, data: dict) -> None:
    """One training iteration, as in mmengine's ``IterBasedTrainLoop``."""
    model.train()
    model.train_step(data, optimizer)


def infer(model, optimizer, data: dict) -> list:
    with torch.no_grad():
        return model.eval().test_step(data)
