"""What the per-output scalars cost a training: steps with and without a measurement, in turns, in one process.

    python -m benchmarks.scalars [--steps N]

The mini detector and the mini segmentor, on random images. The figures are medians of the process's CPU time in ms. The
overhead of one measurement is spread over the 100 iterations between two measurements.
"""

import argparse
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import torch

CONFIGS = Path(__file__).parent.parent / "configs"
PERIOD = 100


def detector():
    """A function that trains one step, with or without a measurement."""
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    from ffc_dense.detection import add_ffc_config
    from ffc_dense.detection.training.scalars import OutputScalarsHook

    cfg = get_cfg()
    add_ffc_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "mini_coco" / "faster_rcnn_R_18_FPN_ffc.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).train()
    corners = torch.tensor([[10.0, 10, 60, 60], [70, 20, 150, 110]])
    truth = Instances((120, 160), gt_boxes=Boxes(corners), gt_classes=torch.tensor([1, 2]))
    images = [{"image": torch.rand(3, 120, 160) * 255, "instances": truth} for _ in range(cfg.SOLVER.IMS_PER_BATCH)]
    hook = OutputScalarsHook(model, 1)

    def step(look: bool) -> None:
        hook.trainer = SimpleNamespace(iter=0)
        with EventStorage():
            if look:
                hook.before_step()
            sum(model(images).values()).backward()
            hook.after_step()

    return step


def segmentor():
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    from ffc_dense.segmentation import FFCScalarsHook

    init_default_scope("mmseg")
    cfg = Config.fromfile(CONFIGS / "mini_cityscapes" / "pspnet-ffc_r18-d8_1xb4-400_mini-cityscapes-128x128.py")
    model = MODELS.build(cfg.model).train()
    images = torch.randn(4, 3, 128, 128)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, 128, 128)))) for _ in images]
    hook = FFCScalarsHook(1)
    runner = SimpleNamespace(model=model, iter=0, visualizer=SimpleNamespace(add_scalars=lambda *_, **__: None))

    def step(look: bool) -> None:
        if look:
            hook.before_train_iter(runner, 0)
        losses = model.loss(images, samples)
        sum(value for name, value in losses.items() if "loss" in name).backward()
        hook.after_train_iter(runner, 0)

    return step


def measure(step, steps: int) -> tuple[float, float]:
    """Median ms of a step without and with a measurement."""
    for look in (False, True):
        step(look)
    times: dict[bool, list[float]] = {False: [], True: []}
    for i in range(2 * steps):
        start = time.process_time()
        step(bool(i % 2))
        times[bool(i % 2)].append(1000 * (time.process_time() - start))
    return statistics.median(times[False]), statistics.median(times[True])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15, help="number of steps of each kind")
    steps = parser.parse_args().steps
    print(f"| training | step (ms) | step with a measurement (ms) | measurement / step | overhead at every {PERIOD} |")
    print("|---|---|---|---|---|")
    for name, build in (("Faster R-CNN R18-FPN", detector), ("PSPNet R18-d8", segmentor)):
        without, with_look = measure(build(), steps)
        share = with_look / without - 1
        print(f"| {name} | {without:.1f} | {with_look:.1f} | {100 * share:.1f} % | {100 * share / PERIOD:.3f} % |")


if __name__ == "__main__":
    main()
