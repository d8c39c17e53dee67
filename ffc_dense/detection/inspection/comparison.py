"""Detections of two detectors beside each other: stock, FFC, and where they disagree."""

from collections.abc import Iterator

import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances, pairwise_iou
from detectron2.utils.visualizer import Visualizer
from matplotlib.colors import to_rgb

from ... import style
from ...pictures.panels import greyed, side_by_side
from ...pictures.scale import readable_scale
from .drawing import draw, draw_boxes

SAME_PLACE = 0.5  # IoU from which two boxes are of one object, as in AP50
PANEL = 480  # pixels of a small image's longer side
AGREED = (0.45, 0.45, 0.45)


def pairs(stock: Instances, ffc: Instances) -> Iterator[tuple[int | None, int | None]]:
    """(index of a stock box, index of FFC's box of the same object); None where there is no such box.

    FFC's boxes choose in the order of their scores, each the free stock box of largest IoU, of at least SAME_PLACE.
    """
    overlaps = pairwise_iou(ffc.pred_boxes, stock.pred_boxes).numpy()
    free = list(range(len(stock)))
    for box in ffc.scores.argsort(descending=True, stable=True).tolist():
        best = max(free, key=lambda other: overlaps[box, other], default=None)
        found = best if best is not None and overlaps[box, best] >= SAME_PLACE else None
        if found is not None:
            free.remove(found)
        yield found, box
    yield from ((other, None) for other in free)


def compared(
    image: np.ndarray, stock: Instances, ffc: Instances, metadata: Metadata, scale: float | None = None
) -> np.ndarray:
    """Three panels: what either finds in an image, and the boxes of which they disagree.

    Args:
        image: (H, W, 3) uint8, BGR.
        stock, ffc: detections on the CPU, of the same classes.
        scale: of a panel; by default small images are enlarged to PANEL pixels.
    """
    scale = readable_scale(*image.shape[:2], PANEL) if scale is None else scale
    visualizer = Visualizer(greyed(image)[:, :, ::-1], metadata, scale=scale)
    names = metadata.thing_classes
    boxes, texts, colors, lines = [], [], [], []
    agreed = alone = 0
    for one, other in pairs(stock, ffc):
        found = [names[int(each.pred_classes[place])] for each, place in ((stock, one), (ffc, other))
                 if place is not None]  # fmt: skip
        boxes.append((stock.pred_boxes.tensor[one] if other is None else ffc.pred_boxes.tensor[other]).tolist())
        same = one is not None and other is not None
        agreed += same and found[0] == found[1]
        alone += not same
        if same:
            look = (AGREED, "-", "") if found[0] == found[1] else (style.PURPLE, "-", " -> ".join(found))
        elif other is None:
            look = (style.STOCK, "--", f"stock: {found[0]}")
        else:
            look = (style.FFC, "-", f"FFC: {found[0]}")
        colors.append(look[0])
        lines.append(look[1])
        texts.append(look[2])
    draw_boxes(visualizer, boxes, texts, [to_rgb(color) for color in colors], lines)
    title = f"{agreed} agree, {len(boxes) - agreed - alone} differ in class, {alone} found by one"
    return side_by_side({
        "stock": draw(image, stock, metadata, scale, summarised=False),
        "FFC": draw(image, ffc, metadata, scale, summarised=False),
        title: np.ascontiguousarray(visualizer.output.get_image()[:, :, ::-1]),
    })  # fmt: skip
