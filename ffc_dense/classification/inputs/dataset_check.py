"""The check of class folders at the start of a training."""

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset

from ...openmmlab.inputs.dataset_check import DatasetCheckHook, say
from ...pictures.reading import UnreadableError, read_size

IMAGES = 200  # per split that are opened


@HOOKS.register_module()
class CheckDatasetHook(DatasetCheckHook):
    """Refuse to train on class folders that differ between the splits, or hold images that cannot be opened.

    mmpretrain numbers the classes by the order of their folders: folders that are in one split alone give every class
    after them another number. Other data sets than those of class folders are passed over, and that is logged.

    Args:
        mode: as in :class:`.DatasetCheckHook`.
        images: evenly spaced images per split whose headers are read; 0 reads all.
    """

    def __init__(self, mode: str = "error", images: int = IMAGES):
        super().__init__(mode)
        self.images = images
        self._first: tuple[str, list[str]] | None = None

    def check(self, name: str, dataset: Dataset) -> str:
        folders = sorted(getattr(dataset, "folder_to_idx", {}))
        if not isinstance(dataset, CustomDataset) or not folders:
            say(f"dataset check: {name}: a {type(dataset).__name__} without class folders is not checked")
            return ""
        faults = [self._other_folders(name, folders), self._unreadable(name, dataset)]
        return "\n".join(fault for fault in faults if fault)

    def _other_folders(self, name: str, folders: list[str]) -> str:
        if self._first is None:
            self._first = (name, folders)
            return ""
        first, known = self._first
        here, there = sorted(set(folders) - set(known)), sorted(set(known) - set(folders))
        if not here and not there:
            return ""
        alone = [
            f"{folder} in {where} alone" for where, found in ((name, here), (first, there)) for folder in found[:3]
        ]
        return f"{name}: its class folders are not those of {first} ({', '.join(alone)}), so that labels would differ"

    def _unreadable(self, name: str, dataset: CustomDataset) -> str:
        step = max(1, len(dataset) // self.images) if self.images else 1
        faults = []
        for index in range(0, len(dataset), step):
            path = dataset.get_data_info(index)["img_path"]
            try:
                read_size(path, decode=False)
            except UnreadableError as error:
                faults.append(f"{path}: {error}")
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        return f"{name}: " + "; ".join(faults[:3]) + more if faults else ""
