"""The check of videos at the start of a training."""

from pathlib import Path

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset

from ...data.hmdb51 import video_faults
from ...openmmlab.inputs.dataset_check import DatasetCheckHook, say
from .dataset import HMDB51

DECODED = 100  # videos per split


@HOOKS.register_module()
class CheckVideosHook(DatasetCheckHook):
    """Refuse to train where the head has another number of classes than HMDB51's split files, or videos are wrong.

    Looked for are all videos of the split, and flow where the modality needs it; evenly spaced ones are opened. Other
    data sets are passed over, and that is logged. ``ffc-dense check-data hmdb51`` decodes every video.

    Args:
        mode: as in :class:`.DatasetCheckHook`.
    """

    def _problems(self, runner: Runner) -> str:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = runner.train_loop.dataloader.dataset
        number = len(dataset.metainfo.get("classes") or ())
        if isinstance(dataset, HMDB51) and model.head.num_classes != number:
            return (
                f"model.head.num_classes: {model.head.num_classes}, but the split files in {dataset.data_root} have "
                f"{number} classes; set it to {number}"
            )
        return super()._problems(runner)

    def check(self, name: str, dataset: Dataset) -> str:
        if not isinstance(dataset, HMDB51):
            say(f"dataset check: {name}: a {type(dataset).__name__} is not checked")
            return ""
        root, step = Path(dataset.data_root), max(1, len(dataset.videos) // DECODED)
        flow = "flow" in dataset.modality
        faults = []
        for place, video in enumerate(dataset.videos):
            found = video_faults(video, root, fast=True, opens=place % step == 0)
            faults += [fault for fault in found if fault[0] != "flow" or flow]
            if flow and not video.frames(root).is_dir():
                faults.append(("flow", video.frames(root), "there is no flow of it", "run: ffc-dense extract-flow"))
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        texts = [f"{path}: {message}; {remedy}" for _, path, message, remedy in faults[:3]]
        return f"{name}: " + "\n  ".join(texts) + more if faults else ""
