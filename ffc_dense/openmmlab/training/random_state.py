"""The state of the random number generators, so that a resumed training draws what the uninterrupted one drew."""

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...reliability.random_state import random_state, set_random_state

KEY = "random_state"  # in a checkpoint's meta: one dict for each process


def gather(runner: Runner) -> list[dict]:
    """The states of all processes, by rank, each with the seed of its training sampler. All processes call it."""
    sampler = runner.train_dataloader.sampler
    return all_gather_object({**random_state(), "sampler_seed": getattr(sampler, "seed", None)})


@HOOKS.register_module()
class RandomStateHook(Hook):
    """A resumed training equals an uninterrupted one, with no data loader workers and deterministic operations.

    mmengine advances the sampler when it resumes, and restores optimizer and schedule. This hook adds what is missing
    for the same numbers: the generators' states and the sampler's seed, which :class:`.AtomicCheckpointHook` saves;
    validation and the start of the data loader leave the generators as they found them.

    Not covered: data loader workers, which start with their first random numbers again, so that crops and flips differ
    from those of the uninterrupted run (the order of the images does not); another number of processes; mmengine 0.10.7
    and older, which advance the sampler by loading the images and draw random numbers doing so.
    """

    priority = "LOW"  # before the checkpoint hook, which saves after a validation too

    def __init__(self) -> None:
        self._saved: list[dict] | None = None
        self._before_validation: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._saved = checkpoint.get("meta", {}).get(KEY)

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        # A loader without a generator draws a number for its workers from the global one at every start.
        loader.generator = torch.Generator().manual_seed(runner.seed)
        if runner.iter == 0:  # not resumed
            self._saved = None
            return
        if self._saved is None or len(self._saved) != runner.world_size:
            why = "no random state" if self._saved is None else f"the random states of {len(self._saved)} process(es)"
            self._saved = None
            runner.logger.warning(f"The checkpoint has {why}: random numbers differ from those of the first run")
            return
        seed = self._saved[get_rank()]["sampler_seed"]
        if seed is not None and hasattr(loader.sampler, "seed"):
            loader.sampler.seed = seed  # mmengine advances the sampler after this, from its seed

    def before_train_epoch(self, runner: Runner) -> None:
        if self._saved is not None:
            set_random_state(self._saved[get_rank()])
            self._saved = None

    def before_val(self, runner: Runner) -> None:
        self._before_validation = random_state()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if self._before_validation is not None:
            set_random_state(self._before_validation)
            self._before_validation = None
