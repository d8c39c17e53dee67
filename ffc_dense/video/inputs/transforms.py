"""Transforms of clips, as the MARS code makes them. Shape shorthand as in ``clips.py``."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample

from .clips import MODALITIES, clip_frames, clip_starts, count_frames, read_frames


@TRANSFORMS.register_module()
class LoadClips(BaseTransform):
    """Reads clips of a video of :class:`.HMDB51`, whose modality and clip length they have.

    Adds 'clips', (V, T, H, W, C) uint8; 'flow_channel', the place of x flow in C or None; and 'every_clip'.

    Args:
        every: False: one clip at a random place. True: all that do not overlap, for tests.

    Required keys: 'video', the path of the file; 'frames', the folder of its frames and flow; 'modality', 'RGB'
    (C = 3), 'flow' (2) or 'RGB+flow' (5); 'clip_length', T.

    Raises:
        ValueError: a file cannot be decoded.
        FileNotFoundError: there is no video, or no flow.
    """

    def __init__(self, every: bool = False):
        self.every = every

    def transform(self, results: dict) -> dict:
        video, frames = Path(results["video"]), Path(results["frames"])
        modality, length = results["modality"], results["clip_length"]
        count = count_frames(video, frames, modality)
        starts = clip_starts(count, length)
        if not self.every:
            starts = [int(np.random.randint(max(0, count - length) + 1))]
        numbers = np.concatenate([clip_frames(start, length, count) for start in starts])
        found = read_frames(video, frames, modality, numbers)
        results["clips"] = found.reshape(len(starts), length, *found.shape[1:])
        results["flow_channel"] = MODALITIES[modality]
        results["every_clip"] = self.every
        return results


@TRANSFORMS.register_module()
class MultiScaleCornerCrop(BaseTransform):
    """Crops a square, whose side is a random share of the short side, at a random corner or the centre, and resizes it.

    Args:
        size: in pixels, of the result.
        scales: the shares.
    """

    def __init__(self, size: int = 112, scales: tuple[float, ...] = (1, 2**-0.25, 2**-0.5, 2**-0.75, 0.5)):
        self.size, self.scales = size, tuple(scales)

    def transform(self, results: dict) -> dict:
        clips = results["clips"]
        height, width = clips.shape[2:4]
        side = max(1, int(min(height, width) * self.scales[np.random.randint(len(self.scales))]))
        down, right = height - side, width - side
        places = ((down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right))
        top, left = places[np.random.randint(len(places))]
        results["clips"] = _resized(clips[:, :, top : top + side, left : left + side], (self.size, self.size))
        return results


@TRANSFORMS.register_module()
class ClipFlip(BaseTransform):
    """Mirrors left and right with a probability; the x flow, whose 127.5 is no motion, changes its sign."""

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.random() < self.prob:
            clips = results["clips"][:, :, :, ::-1].copy()
            channel = results["flow_channel"]
            if channel is not None:
                clips[..., channel] = 255 - clips[..., channel]
            results["clips"] = clips
        return results


@TRANSFORMS.register_module()
class ClipCenterCrop(BaseTransform):
    """Resizes to a short side of ``size`` pixels and keeps the square in the middle."""

    def __init__(self, size: int = 112):
        self.size = size

    def transform(self, results: dict) -> dict:
        height, width = results["clips"].shape[2:4]
        scale = self.size / min(height, width)
        shape = tuple(self.size if side == min(height, width) else int(side * scale) for side in (height, width))
        clips = _resized(results["clips"], shape)
        top, left = ((side - self.size) // 2 for side in shape)
        results["clips"] = clips[:, :, top : top + self.size, left : left + self.size]
        return results


@TRANSFORMS.register_module()
class PackClips(BaseTransform):
    """'inputs', (V, C, T, H, W) uint8, and 'data_samples' with the label. Without ``every`` of LoadClips V is left out.

    Args:
        meta_keys: of the data sample.
    """

    def __init__(self, meta_keys: tuple[str, ...] = ("video", "frames")):
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        clips = torch.from_numpy(np.ascontiguousarray(results["clips"].transpose(0, 4, 1, 2, 3)))
        sample = DataSample()
        if "gt_label" in results:
            sample.set_gt_label(results["gt_label"])
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        return {"inputs": clips if results["every_clip"] else clips[0], "data_samples": sample}


def _resized(clips: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Every frame at (H, W) = ``shape``, bilinear."""
    frames = clips.reshape(-1, *clips.shape[2:])
    resized = np.stack([cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_LINEAR) for frame in frames])
    return resized.reshape(*clips.shape[:2], *resized.shape[1:])
