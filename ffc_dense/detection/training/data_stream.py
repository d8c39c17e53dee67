"""A resumed training goes on with the images, and the random numbers, of the uninterrupted one."""

import logging
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from detectron2.data.common import AspectRatioGroupedDataset, MapDataset, ToIterableDataset
from detectron2.engine import HookBase, SimpleTrainer, TrainerBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader, Sampler

from ...reliability.random_state import random_state, set_random_state

_logger = logging.getLogger(__name__)


class ContinuedSampler(Sampler[int]):
    """The indices of a training sampler from behind ``batches`` batches on.

    Args:
        sampler: an endless one, of one rank.
        batches: how many batches this rank has seen.
        batch_size: of this rank.
        wide: for each image whether it is wider than high, if batches are grouped by it. An image that waited for
            others of its kind comes first then, as it does in detectron2's buckets. None: batches are not grouped.
    """

    def __init__(self, sampler: Sampler[int], batches: int, batch_size: int, wide: Sequence[bool] | None = None):
        self.sampler, self.batches, self.batch_size, self.wide = sampler, batches, batch_size, wide

    def __iter__(self) -> Iterator[int]:
        indices = iter(self.sampler)
        if self.wide is None:
            yield from islice(indices, self.batches * self.batch_size, None)
            return
        waiting: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        batches = 0
        for position, index in enumerate(indices if self.batches else ()):
            group = waiting[self.wide[index]]
            group.append((position, index))
            if len(group) == self.batch_size:
                group.clear()
                batches += 1
            if batches == self.batches:
                break
        yield from (index for _, index in sorted(waiting[True] + waiting[False]))
        yield from indices


class ContinueDataStream(HookBase):
    """Saves the training sampler's seed and the random generators' states in each checkpoint, and goes on from them.

    detectron2 starts a new shuffle when it resumes; with ``SEED`` it is the one that the training began with, so that a
    training that is interrupted often sees the beginning of it most. A training that is not resumed is left alone.

    With one process and no data loader workers, a resumed training on the CPU equals the uninterrupted one bit for bit,
    unless the data set has images of both orientations and ``DATALOADER.ASPECT_RATIO_GROUPING`` is on: then the order
    of the images is the same, but those that waited in a bucket are augmented anew. With workers the images are the
    same ones, their order is nearly so, and crops and flips differ. Other ranks than 0 draw new random numbers. With
    another batch, number of ranks or data set the stream cannot go on: it starts anew, with a warning.
    """

    def __init__(self) -> None:
        self._saved: dict | None = None
        self._first_iteration = 0  # of the stream

    def state_dict(self) -> dict:
        return {**self._stream(), "first_iteration": self._first_iteration, "random": random_state()}

    def load_state_dict(self, state: dict) -> None:
        self._saved = state

    def before_train(self) -> None:
        start = self.trainer.start_iter
        if start == 0:
            return
        now, saved = self._stream(), self._saved
        if saved is None or now["seed"] is None or any(saved[key] != now[key] for key in now if key != "seed"):
            why = "the checkpoint does not say where they were" if saved is None else f"there are others now, {now}"
            _logger.warning("The training images start with a new shuffle: %s", why)
            self._first_iteration = start
            return
        self._first_iteration = saved["first_iteration"]
        batches, loader = _inner(self.trainer).data_loader, loader_of(self.trainer)
        dataset = loader.dataset
        dataset.sampler._seed = saved["seed"]
        wide = _are_wide(dataset) if isinstance(batches, AspectRatioGroupedDataset) else None
        dataset.sampler = ContinuedSampler(dataset.sampler, start - self._first_iteration, batches.batch_size, wide)
        random, rank = saved["random"], comm.get_rank()
        seed = zlib.crc32(random["torch"].numpy().tobytes()) % 2**31 + rank
        if rank == 0:
            set_random_state(random)
        else:
            seed_all_rng(seed)
        # At its start the loader draws a number for its workers, which the uninterrupted training drew long ago.
        loader.generator = torch.Generator().manual_seed(seed)

    def _stream(self) -> dict:
        """What makes the order of the images. ``seed`` is None if it is not a sampler of detectron2's that makes it."""
        loader = loader_of(self.trainer)
        dataset = loader.dataset if loader is not None else None
        sampler = getattr(dataset, "sampler", None)
        sampler = getattr(sampler, "sampler", sampler)  # of a ContinuedSampler
        known = isinstance(dataset, ToIterableDataset)
        return {
            "seed": getattr(sampler, "_seed", None) if known else None,
            "images": len(dataset.dataset) if known else None,
            "batch_size": getattr(_inner(self.trainer).data_loader, "batch_size", None),
            "ranks": comm.get_world_size(),
        }


def loader_of(trainer: TrainerBase) -> DataLoader | None:
    """The torch data loader behind a trainer of detectron2, None if there is another kind of loader."""
    loader = _inner(trainer).data_loader
    if isinstance(loader, AspectRatioGroupedDataset):
        loader = loader.dataset
    return loader if isinstance(loader, DataLoader) else None


def _inner(trainer: TrainerBase) -> SimpleTrainer:
    return getattr(trainer, "_trainer", trainer)  # DefaultTrainer has the loader in another one


def _are_wide(dataset: ToIterableDataset) -> list[bool]:
    records = dataset.dataset
    while isinstance(records, MapDataset):
        records = records._dataset
    return [bool(record["width"] > record["height"]) for record in records]
