"""Table 1 for a video classifier: a decision is the label of a video."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.registry import LOOPS

from ...classification.inspection.analysis import AnalysisTestLoop
from ...inspection.activity import active_units
from ..inputs.clips import count_frames, read_frames

SHOWN = 4  # frames of a video in the gallery


@LOOPS.register_module()
class VideoAnalysisTestLoop(AnalysisTestLoop):
    """Identical to :class:`.AnalysisTestLoop`, except that units are counted clip by clip, and that the gallery shows
    frames of a video, side by side, in time order."""

    def counting_units(self) -> AbstractContextManager:
        """See the base class. A ``VideoClassifier`` asks an FFC layer for its outputs, which calls no hook of it."""
        if not self.analysis.is_ffc:
            return super().counting_units()

        def count(neck: Any, args: tuple, feats: tuple) -> None:
            stages = self.layer.stages(self.model.head.pre_logits(feats))
            self.analysis.activity.update(active_units(stages, -1, self.layer.interpolate))

        return self.model.neck.register_forward_hook(count)

    def picture_of(self, metainfo: dict) -> dict:
        """See the base class. ``frames`` (H, SHOWN * W, 3) RGB is left out where there is flow alone."""
        video, folder = Path(metainfo["video"]), Path(metainfo["frames"])
        try:
            numbers = np.linspace(0, count_frames(video, folder, "RGB") - 1, SHOWN).round().astype(int)
            frames = np.concatenate(list(read_frames(video, folder, "RGB", numbers)), 1)
        except FileNotFoundError:
            return {"image": str(video), "height": 3, "width": 4 * SHOWN}
        return {"image": str(video), "height": frames.shape[0], "width": frames.shape[1], "frames": frames}
