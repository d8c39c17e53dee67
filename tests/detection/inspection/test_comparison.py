"""Detections of two detectors beside each other: which boxes are of one object, and what is drawn."""

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances

from ffc_dense.detection.inspection import comparison
from ffc_dense.detection.inspection.comparison import compared, pairs

CAT, DOG = 0, 1
NAMES = Metadata(thing_classes=["cat", "dog"])


def detections(*rows):
    """(box, class, score) each."""
    boxes, classes, scores = zip(*rows, strict=True) if rows else ([], [], [])
    found = Instances((60, 80), pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)))
    found.pred_classes, found.scores = torch.tensor(classes, dtype=torch.int64), torch.tensor(scores)
    return found


def test_boxes_of_one_object_are_paired_once_the_best_score_first():
    stock = detections(([0, 0, 20, 20], CAT, 0.9), ([40, 0, 60, 20], DOG, 0.8), ([0, 40, 10, 50], CAT, 0.7))
    ffc = detections(([1, 0, 21, 20], CAT, 0.6), ([0, 1, 20, 21], CAT, 0.9), ([41, 0, 61, 20], CAT, 0.5))
    assert list(pairs(stock, ffc)) == [(0, 1), (None, 0), (1, 2), (2, None)]
    assert list(pairs(stock, detections())) == [(0, None), (1, None), (2, None)]
    assert list(pairs(detections(), ffc)) == [(None, 1), (None, 0), (None, 2)]
    half = detections(([0, 0, 20, 11], CAT, 0.6))  # IoU of 0.55, and then of 0.45
    assert list(pairs(detections(([0, 0, 20, 20], CAT, 0.9)), half)) == [(0, 0)]
    less = detections(([0, 0, 20, 9], CAT, 0.6))
    assert list(pairs(detections(([0, 0, 20, 20], CAT, 0.9)), less)) == [(None, 0), (0, None)]


def test_the_third_panel_names_what_differs(monkeypatch):
    told = {}
    monkeypatch.setattr(comparison, "side_by_side", lambda panels: told.update(panels) or next(iter(panels.values())))
    drawn = []
    draw_boxes = comparison.draw_boxes
    monkeypatch.setattr(comparison, "draw_boxes", lambda *args: drawn.append(args[2:]) or draw_boxes(*args))
    stock = detections(([0, 0, 20, 20], CAT, 0.9), ([40, 0, 60, 20], DOG, 0.8), ([0, 40, 10, 50], CAT, 0.7))
    ffc = detections(([0, 0, 20, 20], CAT, 0.9), ([40, 0, 60, 20], CAT, 0.8), ([60, 40, 70, 50], DOG, 0.7))
    compared(np.full((60, 80, 3), (200, 100, 50), np.uint8), stock, ffc, NAMES)
    assert list(told) == ["stock", "FFC", "1 agree, 1 differ in class, 2 found by one"]
    ((texts, colours, lines),) = drawn
    assert texts == ["", "dog -> cat", "FFC: dog", "stock: cat"] and lines == ["-", "-", "-", "--"]
    assert len(set(colours)) == 4
    assert {picture.shape for picture in told.values()} == {(360, 480, 3)}
    third = told["1 agree, 1 differ in class, 2 found by one"]
    assert np.ptp(third[300:, 200:300].astype(int), axis=2).max() == 0  # the image itself is grey there


def test_panels_stand_side_by_side_below_their_titles():
    empty = detections()
    picture = compared(np.full((60, 80, 3), 90, np.uint8), empty, empty, NAMES, 2)
    assert picture.shape[1] == 3 * 160 + 2 * 6 and picture.shape[0] > 120
    assert (picture[-1] != 255).any(1).mean() == pytest.approx(480 / 492)
