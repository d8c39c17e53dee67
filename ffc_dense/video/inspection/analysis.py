"""Table 1 for a video classifier: a decision is the label of a video."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.registry import LOOPS

from ...classification.inspection.analysis import AnalysisTestLoop
from ...inspection.activity import active_units
from ..inputs.clips import count_frames, read_frames

ROWS, COLUMNS = 2, 2  # of frames of a video in the gallery


@LOOPS.register_module()
class VideoAnalysisTestLoop(AnalysisTestLoop):
    """Identical to :class:`.AnalysisTestLoop`, except that units are counted clip by clip, and that the gallery shows
    frames of a video, from the first one to the last, row by row."""

    def counting_units(self) -> AbstractContextManager:
        """See the base class. A ``VideoClassifier`` asks an FFC layer for its outputs, which calls no hook of it."""
        if not self.analysis.is_ffc:
            return super().counting_units()

        def count(neck: Any, args: tuple, feats: tuple) -> None:
            stages = self.layer.stages(self.model.head.pre_logits(feats))
            self.analysis.activity.update(active_units(stages, -1, self.layer.interpolate))

        return self.model.neck.register_forward_hook(count)

    def picture_of(self, metainfo: dict) -> dict:
        """See the base class. ``frames`` (ROWS * H, COLUMNS * W, 3) RGB is left out where there is flow alone."""
        video, folder = Path(metainfo["video"]), Path(metainfo["frames"])
        try:
            last = count_frames(video, folder, "RGB") - 1
            found = read_frames(video, folder, "RGB", np.linspace(0, last, ROWS * COLUMNS).round().astype(int))
        except FileNotFoundError:
            return {"image": str(video), "height": 3, "width": 4}
        rows = [np.concatenate(list(found[i : i + COLUMNS]), 1) for i in range(0, len(found), COLUMNS)]
        frames = np.concatenate(rows)
        return {"image": str(video), "height": frames.shape[0], "width": frames.shape[1], "frames": frames}
