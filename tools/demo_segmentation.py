"""The segmentation picture of ``make demo``: ground truth, stock and FFC labels, and where the outputs disagreed."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch.nn.functional import interpolate

import ffc_dense.openmmlab.inputs.safe_loading  # noqa: F401  (registers the heads; mmengine runs nothing that it reads)

IMAGES = 4


def load(folder: Path):
    """The trained model of a run, in eval mode on the CPU, and its config."""
    # Not by read_config: the training has checked it, and this is the copy that the training wrote.
    cfg = Config.fromfile(next(folder.glob("*.py")))
    model = MODELS.build(cfg.model)
    last = max(folder.glob("iter_*.pth"), key=lambda path: int(path.stem.removeprefix("iter_")))
    load_checkpoint(model, str(last), "cpu", logger="silent")
    return model.eval(), cfg


@torch.no_grad()
def predict(model, sample: dict) -> np.ndarray:
    """Label map (H, W) of one image."""
    (result,) = model.test_step(dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]]))
    return result.pred_sem_seg.data[0].numpy()


@torch.no_grad()
def disagreement(model, sample: dict, labels: np.ndarray) -> np.ndarray:
    """How many outputs voted for another class than ``labels`` (H, W), at every pixel."""
    batch = model.data_preprocessor(dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]]))
    head = model.decode_head
    outputs = head.conv_seg.outputs(head._forward_feature(model.extract_feat(batch["inputs"]))).squeeze(1)
    votes = interpolate(outputs, labels.shape, mode="bilinear", align_corners=head.align_corners).argmax(1)
    return (votes.numpy() != labels).sum(0)


def draw(work: Path) -> dict[str, int]:
    """Write ``work/segmentation.png``. Returns the number of parameters of each run."""
    register_all_modules()
    models = {name: load(work / name) for name in ("pspnet", "pspnet_ffc")}
    cfg = models["pspnet"][1]
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    palette = np.array(dataset.metainfo["palette"] + [(0, 0, 0)] * (256 - len(dataset.metainfo["palette"])), np.uint8)
    ffc = models["pspnet_ffc"][0]
    total = ffc.decode_head.conv_seg.num_outputs

    figure, axes = plt.subplots(IMAGES, 5, figsize=(18, 2 * IMAGES), layout="constrained")
    for row, sample in zip(axes, dataset, strict=False):
        truth = sample["data_samples"].gt_sem_seg.data[0].numpy()
        maps = [predict(model, sample) for model, _ in models.values()]
        row[0].imshow(sample["inputs"].permute(1, 2, 0).numpy()[:, :, ::-1])
        for axis, labels in zip(row[1:4], [truth, *maps], strict=True):
            axis.imshow(palette[labels], interpolation="nearest")
        heat = row[4].imshow(disagreement(ffc, sample, maps[1]), cmap="cividis", vmin=0, vmax=total - 1)
        for axis in row:
            axis.axis("off")
    titles = ("image", "ground truth", "stock", "FFC (vote)", "outputs that disagreed")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    figure.colorbar(heat, ax=axes[:, 4], shrink=0.6, label=f"of {total} outputs")
    figure.suptitle("Mini Cityscapes val, Cityscapes colours; black is ignored")
    figure.savefig(work / "segmentation.png", dpi=110)
    plt.close(figure)
    return {name: sum(p.numel() for p in model.parameters()) for name, (model, _) in models.items()}
