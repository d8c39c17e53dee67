"""The legend below a label map, and two segmentors beside each other."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmseg")

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ffc_dense.segmentation.inspection import comparison
from ffc_dense.segmentation.inspection.legend import CELLS, ROW, legend

CLASSES = ["road", "sky", "car"]
PALETTE = [[128, 64, 128], [70, 130, 180], [0, 0, 142]]


def painted(picture, colour):
    """How many pixels of a BGR picture have an (R, G, B) colour."""
    return int((picture == np.array(colour[::-1])).all(2).sum())


def test_each_class_has_its_colour_and_absent_ones_an_empty_swatch():
    labels = np.zeros((10, 10), np.int64)
    labels[:, :3] = 2
    picture = legend(labels, CLASSES, PALETTE, 600)
    there, absent = painted(picture, PALETTE[0]), painted(picture, PALETTE[1])
    assert there == painted(picture, PALETTE[2]) > 100 and 0 < absent < 0.8 * there


@pytest.mark.parametrize("width", [60, 300, 800])
def test_its_size_depends_on_classes_and_width_alone(width):
    rng = np.random.default_rng(0)
    sizes = {legend(rng.integers(0, most, (20, 20)), CLASSES, PALETTE, width).shape for most in (1, 2, 3)}
    assert len(sizes) == 1 and sizes.pop()[1] == width


def test_names_are_neither_cut_nor_laid_over_each_other(monkeypatch):
    import cv2

    places = []
    put = cv2.putText

    def noting(picture, text, place, font, factor, *more):
        (width, height), _ = cv2.getTextSize(text, font, factor, 1)
        places.append((place[0], place[1] - height, place[0] + width, place[1]))
        return put(picture, text, place, font, factor, *more)

    monkeypatch.setattr(cv2, "putText", noting)
    names = [f"class with a long name {k}" for k in range(19)]
    for width in (120, 400, 1000):
        places.clear()
        picture = legend(np.arange(19).repeat(5).reshape(19, 5), names, [[9, 9, 9]] * 19, width)
        assert len(places) == 19
        for i, (left, top, right, bottom) in enumerate(places):
            assert left >= 0 and top >= 0 and right <= picture.shape[1] and bottom <= picture.shape[0]
            assert all(right <= a or c <= left or bottom <= b or d <= top for a, b, c, d in places[:i])


def test_of_many_classes_the_largest_in_the_picture_are_shown():
    labels = np.repeat(np.arange(CELLS + 6), np.arange(CELLS + 6) + 1)[None]
    palette = [[k, 255 - k, 7] for k in range(CELLS + 6)]
    picture = legend(labels, [str(k) for k in range(CELLS + 6)], palette, 10_000)
    shown = [k for k in range(CELLS + 6) if painted(picture, palette[k])]
    assert shown == list(range(7, CELLS + 6)) and len(picture) == ROW + 6


class Segmentor:
    """One whose labels are given, drawn as grey values."""

    def __init__(self, labels):
        self.labels = labels

    def __call__(self, image):
        return SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(self.labels)[None]))

    def draw(self, image, result, opacity, names, scale):
        assert not names
        return np.full((round(image.shape[0] * scale), round(image.shape[1] * scale), 3), 50, np.uint8)


def test_the_third_panel_has_the_pixels_at_which_they_differ(monkeypatch):
    told = {}
    monkeypatch.setattr(comparison, "side_by_side", lambda panels: told.update(panels))
    one = np.zeros((20, 40), np.int64)
    two = one.copy()
    two[5:10, :8] = 1
    stock, ffc = Segmentor(one), Segmentor(two)
    image = np.full((20, 40, 3), (200, 100, 50), np.uint8)
    comparison.compared(image, stock, ffc, ffc(image), {}, scale=2)
    assert list(told) == ["stock", "FFC", "differ at 5.0% of the pixels"]
    third = told["differ at 5.0% of the pixels"]
    marked = (third == np.array(comparison.DIFFERENT)).all(2)
    expected = np.kron(two, np.ones((2, 2))) > 0
    assert np.array_equal(marked, expected) and np.ptp(third[~expected].astype(int), axis=1).max() == 0


def test_maps_are_further_panels(monkeypatch):
    told = {}
    monkeypatch.setattr(comparison, "side_by_side", lambda panels: told.update(panels))
    segmentor = Segmentor(np.zeros((20, 40), np.int64))
    image = np.zeros((20, 40, 3), np.uint8)
    maps = {"confidence": np.full((20, 40), 0.5, np.float32)}
    comparison.compared(image, segmentor, segmentor, segmentor(image), maps, scale=4)
    assert list(told) == ["stock", "FFC", "differ at 0.0% of the pixels", "confidence"]
    assert told["confidence"].shape[0] == told["stock"].shape[0]
