"""HMDB51 as a dataset of mmpretrain."""

from pathlib import Path

from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from ...data.hmdb51_files import SUBSETS, read_split
from .clips import MODALITIES

MODALITY, CLIP_LENGTH = "RGB", 64  # where a config does not say


@DATASETS.register_module()
class HMDB51(BaseDataset):
    """HMDB51 in its own layout (:mod:`ffc_dense.data.hmdb51_files`). Its classes are those of the split files, sorted.

    Args:
        data_root: the folder that holds ``videos`` or ``frames``, and ``testTrainMulti_7030_splits``.
        split: 1, 2 or 3.
        subset: 'train' or 'test'.
        modality: 'RGB', 'flow' or 'RGB+flow'; flow needs the folders that ``ffc-dense extract-flow`` writes.
        clip_length: frames of a clip.
        **kwargs: of mmpretrain's ``BaseDataset``: ``pipeline``, ``test_mode``, ``lazy_init``.

    Raises:
        ValueError: the split files are not as expected; the message names the file.
    """

    def __init__(
        self,
        data_root: str,
        split: int = 1,
        subset: str = "train",
        modality: str = MODALITY,
        clip_length: int = CLIP_LENGTH,
        **kwargs,
    ):
        for name, value, valid in (("subset", subset, SUBSETS), ("modality", modality, MODALITIES)):
            if value not in valid:
                raise ValueError(f"{name}: expected one of {', '.join(valid)}, got {value!r}")
        if clip_length < 1:
            raise ValueError(f"clip_length: expected at least 1, got {clip_length}")
        self.modality, self.clip_length = modality, clip_length
        classes, videos = read_split(data_root, split)
        self.videos = [video for video in videos if video.subset == subset]
        super().__init__(ann_file="", data_root=data_root, classes=classes, **kwargs)

    def load_data_list(self) -> list[dict]:
        root = Path(self.data_root)
        return [
            dict(
                video=str(video.path(root)),
                frames=str(video.frames(root)),
                gt_label=video.label,
                modality=self.modality,
                clip_length=self.clip_length,
            )
            for video in self.videos
        ]
