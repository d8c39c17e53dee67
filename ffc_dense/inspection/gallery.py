"""The images in which the vote fixed or broke most decisions of Out1: a bounded number of them."""

import heapq
from collections.abc import Callable
from itertools import count

KINDS = ("fixed", "broken")


class Gallery:
    """Keeps the ``size`` images with most fixed and the ``size`` with most broken decisions of a stream."""

    def __init__(self, size: int):
        self.size = size
        self._kept: dict[str, list[tuple[int, int, dict]]] = {kind: [] for kind in KINDS}
        self._order = count()

    def offer(self, fixed: int, broken: int, describe: Callable[[], dict]) -> None:
        """Offer an image; ``describe`` is called only if it is kept. Among equal counts the first images stay."""
        entry: dict | None = None
        for kind, number in zip(KINDS, (fixed, broken), strict=True):
            kept = self._kept[kind]
            if number == 0 or (len(kept) >= self.size and (not kept or number <= kept[0][0])):
                continue
            entry = entry or {"fixed": fixed, "broken": broken, **describe()}
            heapq.heappush(kept, (number, -next(self._order), entry))
            if len(kept) > self.size:
                heapq.heappop(kept)

    def entries(self) -> dict[str, list[dict]]:
        """{'fixed': [...], 'broken': [...]}, most first."""
        return {kind: [entry for *_, entry in sorted(kept, key=lambda item: item[:2], reverse=True)]
                for kind, kept in self._kept.items()}  # fmt: skip
