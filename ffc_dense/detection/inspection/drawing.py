import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer

from ...pictures.scale import readable_scale

# Okabe and Ito's palette without black: distinct for colour-blind readers too. RGB in [0, 1].
COLORS = [
    tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    for code in ("E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7")
]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the image


def labels(instances: Instances, metadata: Metadata) -> list[str]:
    """'cat 97%', and with votes 'cat 97% 5/7': five of the seven outputs chose the detection's class."""
    names = [metadata.thing_classes[label] for label in instances.pred_classes.tolist()]
    found = [f"{name} {score:.0%}" for name, score in zip(names, instances.scores.tolist(), strict=True)]
    if not instances.has("class_votes"):
        return found
    votes = zip(instances.class_votes.tolist(), instances.num_outputs.tolist(), strict=True)
    return [f"{label} {chose}/{outputs}" for label, (chose, outputs) in zip(found, votes, strict=True)]


def draw(image: np.ndarray, instances: Instances, metadata: Metadata, scale: float | None = None) -> np.ndarray:
    """The image with its detections, by detectron2's Visualizer, in a colour for each class.

    Args:
        image: (H, W, 3) uint8, BGR.
        scale: of the picture, above 0; by default that of :func:`readable_scale`.

    Returns:
        (H', W', 3) uint8, BGR.
    """
    scale = readable_scale(*image.shape[:2]) if scale is None else scale
    visualizer = Visualizer(image[:, :, ::-1], metadata, scale=scale)
    colors = [COLORS[label % len(COLORS)] for label in instances.pred_classes.tolist()]
    visualizer.overlay_instances(
        boxes=instances.pred_boxes,
        masks=instances.pred_masks if instances.has("pred_masks") else None,
        keypoints=instances.pred_keypoints if instances.has("pred_keypoints") else None,
        assigned_colors=colors,
    )
    taken: list[Rectangle] = []
    for label, box, color in zip(
        labels(instances, metadata), instances.pred_boxes.tensor.tolist(), colors, strict=True
    ):
        _draw_label(visualizer, label, box, color, taken)
    return np.ascontiguousarray(visualizer.output.get_image()[:, :, ::-1])


def _draw_label(visualizer: Visualizer, label: str, box: list[float], color: tuple, taken: list[Rectangle]) -> None:
    """Beside the box, where it covers no label in ``taken``; the highest score comes first and has the best place."""
    output = visualizer.output
    size = max(11.0, 0.012 * output.scale * max(output.width, output.height))  # points
    light = tuple(0.5 + channel / 2 for channel in color)  # on the label's black ground
    visualizer.draw_text(label, (0, 0), font_size=size / output.scale, color=light, horizontal_alignment="left")
    text = output.ax.texts[-1]
    renderer = output.canvas.get_renderer()
    text.update_bbox_position_size(renderer)
    ground, letters = text.get_bbox_patch().get_window_extent(renderer), text.get_window_extent(renderer)
    width, height = ground.width / output.scale, ground.height / output.scale
    pad = (ground.height - letters.height) / 2 / output.scale
    x0, y0, x1, y1 = box
    corners = [(x0, y0 - height), (x0, y1), (x1, y0), (x0 - width, y0), (x1, y1 - height), (x0, y0)]
    corners += [(x0, y1 + i * height) for i in range(1, 5)]
    places = []
    for x, y in corners:
        x = min(max(x, 0.0), max(0.0, output.width - width))
        y = min(max(y, 0.0), max(0.0, output.height - height))
        places.append((x, y, x + width, y + height))
    place = min(places, key=lambda place: sum(_overlap(place, other) for other in taken))
    taken.append(place)
    text.set_position((place[0] + pad, place[1] + pad))


def _overlap(one: Rectangle, other: Rectangle) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
